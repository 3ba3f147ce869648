package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

// ledger is what the clients of a test were told: the history that is judged in the end, and what a
// test asks for meanwhile.
type ledger struct {
	history *history.History
	tails   []*tail

	mu sync.Mutex
	// acked counts the acknowledged records. lastAck and longest are the time of the last
	// acknowledgement and the longest time between two. All per partition.
	acked   map[int32]int
	lastAck map[int32]time.Time
	longest map[int32]time.Duration
	errors  map[string]int
	total   int
}

func newLedger() *ledger {
	return &ledger{
		history: history.New(history.Config{}), acked: map[int32]int{}, lastAck: map[int32]time.Time{},
		longest: map[int32]time.Duration{}, errors: map[string]int{},
	}
}

// idempotent is a new producer as the history has it.
func (l *ledger) idempotent(name string) *history.Producer {
	return l.history.Producer(history.ProducerConfig{Name: name, Idempotent: true})
}

// note is what a client that tries again and again was told: an error says of its last attempt that
// it was refused, and nothing of those before.
func (l *ledger) note(sent history.Sent, r *kgo.Record, err error) {
	if err != nil {
		sent.Unknown()
	} else {
		sent.AckedAt(r.Partition, r.Offset)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errors[err.Error()]++
		return
	}
	l.acked[r.Partition]++
	now := time.Now()
	if last, ok := l.lastAck[r.Partition]; ok {
		l.longest[r.Partition] = max(l.longest[r.Partition], now.Sub(last))
	}
	l.lastAck[r.Partition] = now
	l.total++
}

// noteOnce is note for a client that made one attempt.
func noteOnce(sent history.Sent, offset int64, err error) {
	// what the broker answers before it appends, and never after
	refusals := []error{
		kerr.NotEnoughReplicas, kerr.NotLeaderForPartition, kerr.MessageTooLarge, kerr.CorruptMessage,
	}
	switch {
	case err == nil:
		sent.Acked(offset)
	case slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) }):
		sent.Failed()
	default:
		sent.Unknown()
	}
}

// acks is how many records were acknowledged so far, per partition.
func (l *ledger) acks() map[int32]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[int32]int{}
	for p, n := range l.acked {
		out[p] = n
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

// summary is for the closing log line of a test.
func (l *ledger) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d records acknowledged, errors %v", l.total, l.errors)
}

// check ends a history: it reads the topic from the start to the end for the last time, and requires
// that everything the clients were told fits together. Whoever produced has ended.
func (l *ledger) check(t testing.TB, seeds []string, topic string, partitions int) history.Verdict {
	t.Helper()
	asked := l.history.Now()
	ends := endOffsets(t, seeds, topic, partitions)
	for _, tail := range l.tails {
		eventually(t, 30*time.Second, "the reader that follows "+topic, func() error { return tail.behind(ends) })
		tail.stop()
	}
	l.finalPolls(t, seeds, asked, map[string]map[int32]int64{topic: ends})
	return l.judge(t)
}

// sawVanish is check for a log that has lost so many records of which the ledger knows: the judge must
// see that, and nothing else.
func (l *ledger) sawVanish(t testing.TB, seeds []string, topic string, partitions, lost int) {
	t.Helper()
	asked := l.history.Now()
	l.finalPolls(t, seeds, asked, map[string]map[int32]int64{topic: endOffsets(t, seeds, topic, partitions)})
	verdict := history.Check(l.history)
	if verdict.Counts[history.Vanished] != lost || verdict.Total() != lost {
		t.Errorf("got anomalies %v, want %d records vanished", verdict.Counts, lost)
	}
}

// finalPolls reads partitions to the ends that the broker named after the time asked.
func (l *ledger) finalPolls(t testing.TB, seeds []string, asked time.Duration, ends map[string]map[int32]int64) {
	t.Helper()
	c := l.history.Consumer(history.ConsumerConfig{Name: "final polls"})
	for topic, partitions := range ends {
		for p, end := range partitions {
			c.Final(topic, p, history.Range{Asked: asked, End: end})
		}
	}
	readTo(t, seeds, ends, c)
}

// judge requires a valid history, and keeps one that is not.
func (l *ledger) judge(t testing.TB) history.Verdict {
	t.Helper()
	verdict := history.Check(l.history)
	err := verdict.Err()
	if err == nil {
		t.Logf("the history is %s", verdict)
		return verdict
	}
	t.Error(err)
	path := filepath.Join(os.TempDir(), "outrigger-"+strings.ReplaceAll(t.Name(), "/", "_")+".history")
	file, err := os.Create(path)
	if err != nil {
		t.Log(err)
		return verdict
	}
	defer file.Close()
	if _, err := l.history.WriteTo(file); err != nil {
		t.Log(err)
	}
	t.Logf("the history is in %s", path)
	return verdict
}

// readTo reads partitions from their start to those offsets through the given brokers, and notes what
// it reads. It returns how many records of each partition it was given.
func readTo(t testing.TB, seeds []string, ends map[string]map[int32]int64, c *history.Consumer) map[string]map[int32]int64 {
	t.Helper()
	assign, read := map[string]map[int32]kgo.Offset{}, map[string]map[int32]int64{}
	left := map[history.Partition]bool{}
	for topic, partitions := range ends {
		assign[topic], read[topic] = map[int32]kgo.Offset{}, map[int32]int64{}
		for p, end := range partitions {
			assign[topic][p] = kgo.NewOffset().AtStart()
			read[topic][p] = 0
			if end > 0 {
				left[history.Partition{Topic: topic, ID: p}] = true
			}
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(100*time.Millisecond), kgo.ConsumePartitions(assign))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for len(left) > 0 {
		for _, r := range poll(ctx, t, client, c) {
			read[r.Topic][r.Partition]++
			if r.Offset+1 >= ends[r.Topic][r.Partition] {
				delete(left, history.Partition{Topic: r.Topic, ID: r.Partition})
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("%d partitions not read to their ends, of them %v; read %v of %v", len(left), left, read, ends)
		}
	}
	return read
}

// poll is one operation of a consumer.
func poll(ctx context.Context, t testing.TB, client *kgo.Client, c *history.Consumer) []*kgo.Record {
	c.Poll()
	fetches := client.PollFetches(ctx)
	if ctx.Err() == nil {
		fetches.EachError(func(topic string, p int32, err error) { t.Logf("fetch %s-%d: %v", topic, p, err) })
	}
	records := fetches.Records()
	for _, r := range records {
		c.Read(r.Topic, r.Partition, r.Offset, history.ValueOf(r.Value))
	}
	c.Done()
	return records
}

// readAll reads a topic without a judge: partition, offset, value.
func readAll(t testing.TB, seeds []string, topic string, partitions int) map[int32]map[int64]string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	left := endOffsets(t, seeds, topic, partitions)
	read := map[int32]map[int64]string{}
	for p, end := range left {
		read[p] = map[int64]string{}
		if end == 0 {
			delete(left, p)
		}
	}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %s: partitions %v not read to their ends", topic, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read[r.Partition][r.Offset] = string(r.Value)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return read
}

// tail is a reader that follows a topic from its start while things happen: what it was shown must
// stay, and it must not be shown anything twice.
type tail struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	next map[int32]int64
}

// startTail follows a topic until check, which wants it at the end, or until its own stop.
func startTail(t testing.TB, seeds []string, topic string, partitions int, l *ledger) *tail {
	t.Helper()
	c := l.history.Consumer(history.ConsumerConfig{Name: "tail"})
	assign := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		assign[p] = kgo.NewOffset().At(0)
		c.Seek(topic, p, 0)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(50*time.Millisecond), kgo.DialTimeout(time.Second),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assign}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	follower := &tail{cancel: cancel, done: make(chan struct{}), next: map[int32]int64{}}
	go func() {
		defer close(follower.done)
		defer client.Close()
		for ctx.Err() == nil {
			follower.moved(poll(ctx, t, client, c))
		}
	}()
	l.tails = append(l.tails, follower)
	t.Cleanup(follower.stop)
	return follower
}

func (f *tail) moved(records []*kgo.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range records {
		f.next[r.Partition] = r.Offset + 1
	}
}

// behind says what was not read yet. A reader that is stuck stays behind.
func (f *tail) behind(ends map[int32]int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, end := range ends {
		if f.next[p] < end {
			return fmt.Errorf("it is at %d of %d in partition %d", f.next[p], end, p)
		}
	}
	return nil
}

func (f *tail) stop() {
	f.cancel()
	<-f.done
}
