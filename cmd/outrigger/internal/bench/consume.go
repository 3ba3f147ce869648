package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

// positions are the next offsets of all partitions, for a set of consumers that share them.
type positions []atomic.Int64

func (p positions) reached(ends map[int32]history.Range) bool {
	for partition, r := range ends {
		if p[partition].Load() < r.End {
			return false
		}
	}
	return true
}

// consumer reads some partitions, which it was assigned.
type consumer struct {
	load      *load
	client    *kgo.Client
	positions positions
	// recorder is nil if nobody will verify.
	recorder *history.Consumer
	// meter is nil for final polls. fromDue: latency is from when a record was due, else that of polls.
	meter   *meter
	fromDue bool
	// gaps counts offsets that were passed over.
	gaps *atomic.Int64
}

// reading is a set of consumers that read every partition once, from given offsets.
type reading struct {
	name  string
	count int
	from  map[int32]int64
	// final are the ranges if these are final polls.
	final   map[int32]history.Range
	meters  *meters
	fromDue bool
}

// open makes the consumers of a reading. None polls yet.
func (l *load) open(r reading) ([]*consumer, positions, error) {
	next := make(positions, l.partitions)
	shares := make([]map[int32]kgo.Offset, min(r.count, l.partitions))
	for partition, offset := range r.from {
		next[partition].Store(offset)
		share := &shares[int(partition)%len(shares)]
		if *share == nil {
			*share = map[int32]kgo.Offset{}
		}
		(*share)[partition] = kgo.NewOffset().At(offset)
	}
	var all []*consumer
	for i, share := range shares {
		client, err := kgo.NewClient(append(l.clientOptions(false),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: share}),
			kgo.FetchMaxWait(fetchMaxWait))...)
		if err != nil {
			closeAll(all)
			return nil, nil, fmt.Errorf("make consumer %d: %w", i+1, err)
		}
		c := &consumer{load: l, client: client, positions: next, fromDue: r.fromDue, gaps: &l.gaps}
		if r.meters != nil {
			c.meter = r.meters.worker(l.window)
		}
		if l.o.Load.Verify {
			c.recorder = l.history.Consumer(history.ConsumerConfig{Name: fmt.Sprintf("%s %d", r.name, i+1)})
			r.record(c.recorder, l.topic, share)
		}
		all = append(all, c)
	}
	return all, next, nil
}

// record notes where a consumer begins.
func (r reading) record(recorder *history.Consumer, topic string, share map[int32]kgo.Offset) {
	for partition := range share {
		if r.final != nil {
			recorder.Final(topic, partition, r.final[partition])
		} else {
			recorder.Seek(topic, partition, r.from[partition])
		}
	}
}

func closeAll(all []*consumer) {
	for _, c := range all {
		c.client.Close()
	}
}

const (
	fetchMaxWait = 500 * time.Millisecond
	pollMax      = 10_000
)

// runAll polls with all of them until done says so, or ctx ends, and closes them.
func runAll(ctx context.Context, all []*consumer, done func() bool) {
	defer closeAll(all)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	for _, c := range all {
		running.Go(func() {
			for ctx.Err() == nil {
				c.poll(ctx)
				if done() {
					cancel()
				}
			}
		})
	}
	running.Wait()
}

// poll is one operation.
func (c *consumer) poll(ctx context.Context) {
	if c.recorder != nil {
		c.recorder.Poll()
		defer c.recorder.Done()
	}
	asked := c.load.now()
	fetches := c.client.PollRecords(ctx, pollMax)
	now := c.load.now()
	fetches.EachError(func(_ string, _ int32, err error) {
		if ctx.Err() == nil {
			c.load.failures.add("consumer: " + codeOf(err))
			if c.meter != nil {
				c.meter.addError()
			}
		}
	})
	if c.recorder == nil && !c.fromDue {
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { c.count(p.Partition, p.Records, asked, now) })
		return
	}
	fetches.EachRecord(func(r *kgo.Record) { c.read(r, asked, now) })
}

// count takes the records of a partition of a poll unread: what they hold is nobody's question then, and to
// compare every byte would be a good part of what a reader costs.
func (c *consumer) count(partition int32, records []*kgo.Record, asked, now time.Duration) {
	if len(records) == 0 {
		return
	}
	at, bytes, gaps := c.positions[partition].Load(), 0, int64(0)
	for _, r := range records {
		if r.Offset != at {
			gaps++
		}
		at = r.Offset + 1
		bytes += len(r.Value)
	}
	c.positions[partition].Store(at)
	c.gaps.Add(gaps)
	if c.meter != nil {
		c.meter.addAll(event{due: asked, now: now, bytes: bytes}, int64(len(records)))
	}
}

// read looks at a record of a poll.
func (c *consumer) read(r *kgo.Record, asked, now time.Duration) {
	value, due, ours := c.load.payloads.read(r.Value)
	if c.recorder != nil {
		c.recorder.Read(r.Topic, r.Partition, r.Offset, value)
	}
	if at := c.positions[r.Partition].Swap(r.Offset + 1); at != r.Offset {
		c.gaps.Add(1)
	}
	if c.meter == nil {
		return
	}
	if !c.fromDue || !ours {
		due = asked
	}
	c.meter.add(event{due: due, now: now, bytes: len(r.Value)})
}

// bounds are what every partition holds, as the brokers say now.
func (b *bench) bounds(ctx context.Context) (map[int32]history.Range, error) {
	admin := kadm.NewClient(b.admin)
	var all map[int32]history.Range
	err := eventually(ctx, boundsWithin, "ask for the ends of the partitions", func() error {
		all = map[int32]history.Range{}
		asked := b.history.Now()
		first, err1 := admin.ListStartOffsets(ctx, b.topic)
		last, err2 := admin.ListEndOffsets(ctx, b.topic)
		if err := errors.Join(err1, err2, first.Error(), last.Error()); err != nil {
			return err
		}
		for p := range int32(b.partitions) {
			from, ok1 := first.Lookup(b.topic, p)
			to, ok2 := last.Lookup(b.topic, p)
			if !ok1 || !ok2 {
				return fmt.Errorf("no broker names the ends of partition %d", p)
			}
			all[p] = history.Range{Asked: asked, Start: from.Offset, End: to.Offset}
		}
		return nil
	})
	return all, err
}

const (
	boundsWithin   = 30 * time.Second
	eventuallyWait = 100 * time.Millisecond
)

// eventually tries until it works.
func eventually(ctx context.Context, within time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if !pause(ctx, eventuallyWait) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}
