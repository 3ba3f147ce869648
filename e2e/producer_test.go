package e2e

import (
	"context"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

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
	// producer is what the history knows of it.
	producer *history.Producer
	topic    string
	client   *kgo.Client
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

var loads atomic.Int64

// startLoad keeps a few records in flight on each partition.
func startLoad(t testing.TB, seeds []string, topic string, partitions int, ledger *ledger) *load {
	t.Helper()
	return startLoadWith(t, clientOptions(seeds), topic, partitions, ledger)
}

// startLoadWith is startLoad with a client of these options.
func startLoadWith(t testing.TB, options []kgo.Opt, topic string, partitions int, ledger *ledger) *load {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, name: strconv.FormatInt(loads.Add(1), 10), ledger: ledger, topic: topic, client: client, cancel: cancel}
	l.producer = ledger.idempotent("load " + l.name)
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
		record := &kgo.Record{Partition: partition, Value: []byte(value)}
		sent := l.producer.Send(l.topic, partition, history.ValueOf(record.Value))
		l.client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			l.ledger.note(sent, r, err)
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

// gone waits until nothing that was produced can have an answer any more: its brokers are dead.
func (l *load) gone() {
	l.cancel()
	l.client.Close()
	l.done.Wait()
}
