package e2e

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ledger is what a producer was told: which value has which offset.
type ledger struct {
	mu    sync.Mutex
	acked map[int32]map[int64]string
	// lastAck and longest are the time of the last acknowledgement and the longest time between two,
	// per partition.
	lastAck map[int32]time.Time
	longest map[int32]time.Duration
	errors  map[string]int
	total   int
}

func newLedger() *ledger {
	return &ledger{
		acked: map[int32]map[int64]string{}, lastAck: map[int32]time.Time{},
		longest: map[int32]time.Duration{}, errors: map[string]int{},
	}
}

func (l *ledger) note(t testing.TB, r *kgo.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errors[err.Error()]++
		return
	}
	offsets := l.acked[r.Partition]
	if offsets == nil {
		offsets = map[int64]string{}
		l.acked[r.Partition] = offsets
	}
	if old, ok := offsets[r.Offset]; ok {
		t.Errorf("partition %d offset %d was acknowledged for %q and for %q", r.Partition, r.Offset, old, r.Value)
	}
	offsets[r.Offset] = string(r.Value)
	now := time.Now()
	if last, ok := l.lastAck[r.Partition]; ok {
		l.longest[r.Partition] = max(l.longest[r.Partition], now.Sub(last))
	}
	l.lastAck[r.Partition] = now
	l.total++
}

// acks is how many records were acknowledged so far, per partition.
func (l *ledger) acks() map[int32]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[int32]int{}
	for p, offsets := range l.acked {
		out[p] = len(offsets)
	}
	return out
}

// takeLongest returns the longest time without an acknowledgement on any partition since the last
// call, and which partition that was.
func (l *ledger) takeLongest() (time.Duration, int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest, partition := time.Duration(0), int32(-1)
	for p, d := range l.longest {
		if d > longest {
			longest, partition = d, p
		}
	}
	clear(l.longest)
	return longest, partition
}

// clientOptions are those of an impatient, idempotent acks=all producer.
func clientOptions(seeds []string, extra ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(seeds...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.MetadataMaxAge(100 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
		// The client waits for the sum of the two, one second, for a produce request, and for the second
		// alone for any other: a paused broker takes connections and answers nothing, and franz-go asks it
		// four times over when it has picked it for its metadata.
		kgo.ProduceRequestTimeout(850 * time.Millisecond),
		kgo.RequestTimeoutOverhead(150 * time.Millisecond),
		kgo.DialTimeout(time.Second),
		kgo.RecordRetries(math.MaxInt32),
		kgo.ProducerLinger(0),
	}, extra...)
}

// load produces unique values to every partition of a topic until stop is called.
type load struct {
	t testing.TB
	// name makes values unique over all loads.
	name   string
	ledger *ledger
	client *kgo.Client
	cancel context.CancelFunc
	done   sync.WaitGroup
}

var loads atomic.Int64

// startLoad keeps a few records in flight on each partition.
func startLoad(t testing.TB, seeds []string, topic string, partitions int, ledger *ledger) *load {
	t.Helper()
	client, err := kgo.NewClient(clientOptions(seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, name: strconv.FormatInt(loads.Add(1), 10), ledger: ledger, client: client, cancel: cancel}
	for p := range partitions {
		l.done.Add(1)
		go l.feed(ctx, int32(p))
	}
	return l
}

// feed keeps up to eight records of one partition in flight.
func (l *load) feed(ctx context.Context, partition int32) {
	defer l.done.Done()
	slots := make(chan struct{}, 8)
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			for range cap(slots) {
				slots <- struct{}{}
			}
			return
		case slots <- struct{}{}:
		}
		value := l.name + "-" + strconv.Itoa(int(partition)) + "-" + strconv.Itoa(i) + "-" + padding
		l.client.Produce(context.Background(), &kgo.Record{Partition: partition, Value: []byte(value)},
			func(r *kgo.Record, err error) {
				l.ledger.note(l.t, r, err)
				<-slots
			})
	}
}

const padding = "................................................................................................"

// stop waits until everything that was produced has an answer.
func (l *load) stop() {
	l.t.Helper()
	l.cancel()
	finished := make(chan struct{})
	go func() { l.done.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(60 * time.Second):
		l.t.Fatalf("producer got no answers for 60 s; acknowledged %v, errors %v", l.ledger.acks(), l.ledger.errors)
	}
	l.client.Close()
}

// readAll reads every partition of a topic from the start to its end through the given brokers.
func readAll(t testing.TB, seeds []string, topic string, partitions int) map[int32]map[int64]string {
	t.Helper()
	return readTo(t, seeds, topic, endOffsets(t, seeds, topic, partitions))
}

// readTo reads the partitions that ends names from the start to those offsets.
func readTo(t testing.TB, seeds []string, topic string, ends map[int32]int64) map[int32]map[int64]string {
	t.Helper()
	assign := map[int32]kgo.Offset{}
	left := map[int32]bool{}
	for p, end := range ends {
		assign[p] = kgo.NewOffset().AtStart()
		if end > 0 {
			left[p] = true
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assign}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	got := map[int32]map[int64]string{}
	next := map[int32]int64{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %s: partitions %v not read to their ends %v, at %v", topic, left, ends, next)
		}
		fetches.EachError(func(_ string, p int32, err error) { t.Logf("fetch partition %d: %v", p, err) })
		fetches.EachRecord(func(r *kgo.Record) {
			if got[r.Partition] == nil {
				got[r.Partition] = map[int64]string{}
			}
			if r.Offset != next[r.Partition] {
				t.Errorf("partition %d: read offset %d, want %d", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition] = r.Offset + 1
			got[r.Partition][r.Offset] = string(r.Value)
			if r.Offset+1 >= ends[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return got
}

// check requires that everything acknowledged is read back at its offset, and no value twice.
func (l *ledger) check(t testing.TB, read map[int32]map[int64]string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	wrong := 0
	for p, offsets := range l.acked {
		for offset, want := range offsets {
			if got, ok := read[p][offset]; got != want {
				if wrong++; wrong <= 10 {
					t.Errorf("partition %d offset %d: read %.40q (present %t), acknowledged was %.40q", p, offset, got, ok, want)
				}
			}
		}
	}
	for p, offsets := range read {
		seen := map[string]int64{}
		for offset, value := range offsets {
			if first, twice := seen[value]; twice {
				t.Errorf("partition %d: %.40q is at offsets %d and %d", p, value, first, offset)
			}
			seen[value] = offset
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d acknowledged records are missing or changed", wrong, l.total)
	}
}

// summary is for the closing log line of a test.
func (l *ledger) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d records acknowledged, errors %v", l.total, l.errors)
}
