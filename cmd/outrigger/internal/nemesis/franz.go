package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

const (
	franzBackOff = 100 * time.Millisecond
	// spotMax bounds how long a reader that begins in the middle lives.
	spotMin, spotMax = 2 * time.Second, 6 * time.Second
)

// franzOptions are those of an impatient client: it learns of new leaders quickly, and never gives up.
func (l *load) franzOptions(extra ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(l.seeds...),
		kgo.MetadataMinAge(franzBackOff),
		kgo.MetadataMaxAge(time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return franzBackOff }),
		kgo.RequestTimeoutOverhead(time.Second),
		kgo.DialTimeout(time.Second),
	}, extra...)
}

// compressions are those of the producers, in turn; kafka-python reads both without another library.
var compressions = [...]func() kgo.CompressionCodec{kgo.NoCompression, kgo.GzipCompression}

func (l *load) franzProducerOptions(index int) []kgo.Opt {
	return l.franzOptions(
		kgo.ProducerBatchCompression(compressions[index%len(compressions)]()),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DefaultProduceTopic(l.topic), kgo.ProduceRequestTimeout(2*time.Second),
		kgo.RecordRetries(math.MaxInt32), kgo.ProducerLinger(0), kgo.StopProducerOnDataLossDetected(),
	)
}

// franzProducer sends until ctx ends, with a new client from time to time.
func (l *load) franzProducer(ctx context.Context, name string, index int) {
	every := time.Duration(float64(time.Second) * float64(l.partitions) / (float64(l.rate) * franzShare))
	// they do not renew at the same time
	life := renewAfter * time.Duration(1+index) / franzProducers
	for ctx.Err() == nil {
		client, err := kgo.NewClient(l.franzProducerOptions(index)...)
		if err != nil {
			l.told(name, err)
			return
		}
		recorder := l.history.Producer(history.ProducerConfig{Name: name, Idempotent: true, Ordered: true})
		living, cancel := context.WithTimeout(ctx, life)
		var feeds sync.WaitGroup
		for p := range int32(l.partitions) {
			feed := &franzFeed{load: l, client: client, recorder: recorder, name: name, partition: p}
			feeds.Go(func() { feed.run(living, ctx, every) })
		}
		feeds.Wait()
		cancel()
		client.Close()
		life = renewAfter
	}
}

// franzFeed sends to one partition, so that the order of its records is the order of its calls.
type franzFeed struct {
	load      *load
	client    *kgo.Client
	recorder  *history.Producer
	name      string
	partition int32
	slots     chan struct{}
}

// run sends until living ends, and waits for the answers. Only once all of the load has ended does it
// lose its patience.
func (f *franzFeed) run(living, all context.Context, every time.Duration) {
	f.slots = make(chan struct{}, inFlightMax)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for living.Err() == nil {
		select {
		case <-living.Done():
		case <-ticker.C:
			select {
			case f.slots <- struct{}{}:
				f.send()
			default: // enough are waiting
			}
		}
	}
	var patience <-chan time.Time
	done := all.Done()
	for held := 0; held < cap(f.slots); {
		select {
		case f.slots <- struct{}{}:
			held++
		case <-done:
			timer := time.NewTimer(answersWithin)
			defer timer.Stop()
			patience, done = timer.C, nil
		case <-patience:
			f.load.unanswered(f.name, cap(f.slots)-held)
			return
		}
	}
}

func (f *franzFeed) send() {
	value, payload := f.load.values.next()
	record := &kgo.Record{Partition: f.partition, Value: []byte(payload), Timestamp: time.Now()}
	sent := f.recorder.SendStored(f.load.topic, f.partition, value, stored(payload, record.Timestamp))
	f.client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
		defer func() { <-f.slots }()
		switch {
		case err == nil:
			sent.Acked(r.Offset)
			f.load.acked(r.Partition, r.Offset)
			return
		case definite(err):
			sent.Failed()
		default:
			sent.Unknown()
		}
		f.load.told(f.name, err)
	})
}

// definite reports whether the error means that nothing was written and nothing will be.
func definite(err error) bool {
	for _, refusal := range []error{kerr.MessageTooLarge, kerr.InvalidRecord, kerr.RecordListTooLarge,
		kerr.TopicAuthorizationFailed, kerr.PolicyViolation} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// franzReader is a reader from given offsets.
func (l *load) franzReader(name string, from map[int32]int64) (*kgo.Client, *history.Consumer, error) {
	offsets := map[int32]kgo.Offset{}
	for p, offset := range from {
		offsets[p] = kgo.NewOffset().At(offset)
	}
	client, err := kgo.NewClient(l.franzOptions(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: offsets}),
		kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return nil, nil, err
	}
	return client, l.history.Consumer(history.ConsumerConfig{Name: name}), nil
}

// poll is one operation of a reader. See gets every record.
func (l *load) poll(ctx context.Context, name string, client *kgo.Client, recorder *history.Consumer, see func(*kgo.Record)) {
	recorder.Poll()
	fetches := client.PollFetches(ctx)
	fetches.EachError(func(_ string, _ int32, err error) {
		if ctx.Err() == nil {
			l.told(name, err)
		}
	})
	fetches.EachRecord(func(r *kgo.Record) {
		recorder.Read(r.Topic, r.Partition, r.Offset, valueOf(r.Value))
		see(r)
	})
	recorder.Done()
}

// fromStart is offset 0 of every partition.
func (l *load) fromStart() map[int32]int64 {
	from := map[int32]int64{}
	for p := range int32(l.partitions) {
		from[p] = 0
	}
	return from
}

// franzTail reads everything once, as it comes.
func (l *load) franzTail(ctx context.Context) {
	const name = "franz-go tail"
	client, recorder, err := l.franzReader(name, l.fromStart())
	if err != nil {
		l.told(name, err)
		return
	}
	defer client.Close()
	l.seeks(recorder, l.fromStart())
	for ctx.Err() == nil {
		l.poll(ctx, name, client, recorder, func(*kgo.Record) {})
	}
}

// franzSpots are readers that live for a moment and begin anywhere.
func (l *load) franzSpots(ctx context.Context) {
	const name = "franz-go spot"
	for ctx.Err() == nil {
		from := map[int32]int64{}
		for p := range l.partitions {
			from[int32(p)] = rand.Int64N(l.ends[p].Load() + 1)
		}
		client, recorder, err := l.franzReader(name, from)
		if err != nil {
			l.told(name, err)
			return
		}
		l.seeks(recorder, from)
		living, cancel := context.WithTimeout(ctx, spotMin+rand.N(spotMax-spotMin))
		for living.Err() == nil {
			l.poll(living, name, client, recorder, func(*kgo.Record) {})
		}
		cancel()
		client.Close()
	}
}

// seeks notes where a reader begins.
func (l *load) seeks(recorder *history.Consumer, from map[int32]int64) {
	for p, offset := range from {
		recorder.Seek(l.topic, p, offset)
	}
}

// franzFinal reads from start to end.
func (l *load) franzFinal(ctx context.Context, bounds map[int32]history.Range) error {
	const name = "franz-go final"
	from, left := map[int32]int64{}, map[int32]bool{}
	for p, b := range bounds {
		from[p] = b.Start
		if b.End > b.Start {
			left[p] = true
		}
	}
	client, recorder, err := l.franzReader(name, from)
	if err != nil {
		return err
	}
	defer client.Close()
	for p, b := range bounds {
		recorder.Final(l.topic, p, b)
	}
	for len(left) > 0 {
		l.poll(ctx, name, client, recorder, func(r *kgo.Record) {
			if r.Offset+1 >= bounds[r.Partition].End {
				delete(left, r.Partition)
			}
		})
		if ctx.Err() != nil {
			return fmt.Errorf("partitions %v are not at their ends: %w", left, ctx.Err())
		}
	}
	return nil
}
