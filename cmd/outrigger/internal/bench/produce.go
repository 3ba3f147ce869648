package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

// producer is one client that sends, from one goroutine, so that the order of its records is known.
type producer struct {
	load   *load
	index  int
	client *kgo.Client
	meter  *meter
	// recorder is nil if nobody will verify; told then takes what was acknowledged.
	recorder *history.Producer
	told     acknowledged
	// free are slots that wait for nothing; made of at most cap(free) exist.
	free chan *slot
	made int
	sent uint64
	// unseen says that nobody will look at what is read of the records.
	unseen bool
}

// slot is the place of a record that waits for its answer. It is used again and again, so that the
// client allocates nothing per record of its own.
type slot struct {
	record  kgo.Record
	payload []byte
	done    func(*kgo.Record, error)
	sent    history.Sent
	// due is when it was meant to be sent, handed when it was.
	due, handed time.Duration
}

// producers sends with all producers until the window ends, or, without an end, so many records, and waits for all
// answers.
func (l *load) producers(ctx context.Context, records int64) error {
	var all sync.WaitGroup
	var behind, left atomic.Int64
	left.Store(records)
	failures := make([]error, l.o.Load.Producers)
	room := ctx
	if l.window.to != never {
		var cancel context.CancelFunc
		room, cancel = context.WithTimeout(ctx, l.window.to-l.now())
		defer cancel()
	}
	for i := range l.o.Load.Producers {
		p, err := l.newProducer(i)
		if err != nil {
			return err
		}
		all.Go(func() {
			defer p.client.Close()
			switch {
			case l.window.to == never:
				p.sendAtFullSpeed(room, func() bool { return left.Add(-1) >= 0 })
			case l.o.Load.Rate > 0:
				behind.Add(p.sendOnSchedule(room))
			default:
				p.sendAtFullSpeed(room, func() bool { return true })
			}
			failures[i] = p.drain()
			l.acknowledged.merge(p.told)
		})
	}
	all.Wait()
	l.behind = behind.Load()
	return errors.Join(append(failures, ctx.Err())...)
}

func (l *load) newProducer(index int) (*producer, error) {
	client, err := kgo.NewClient(l.producerOptions()...)
	if err != nil {
		return nil, fmt.Errorf("make producer %d: %w", index+1, err)
	}
	f := l.o.Load
	number := int(l.producersMade.Add(1)) - 1
	p := &producer{load: l, index: number, client: client, meter: l.meters[Produced].worker(l.window),
		free: make(chan *slot, slotsOf(f)), told: make(acknowledged, l.partitions),
		unseen: !f.Verify && l.meters[Consumed] == nil}
	if f.Verify {
		p.recorder = l.history.Producer(history.ProducerConfig{Name: fmt.Sprintf("producer %d", number+1),
			Idempotent: f.Idempotent, Ordered: f.Idempotent || f.InFlight == 1})
	}
	return p, nil
}

// slotsMax bounds the records of a producer that wait for answers, however small they are.
const slotsMax = 1 << 18

// produceWithin is how long a broker may take to answer, as with the Java client (request.timeout.ms): a
// request that is given up sooner is made again, and a slow broker has its load twice.
const produceWithin = 30 * time.Second

func slotsOf(f Load) int { return min(max(1, f.BufferBytes/f.RecordBytes), slotsMax) }

func (l *load) producerOptions() []kgo.Opt {
	f := l.o.Load
	options := append(l.clientOptions(f.CountRetries),
		kgo.DefaultProduceTopic(l.topic),
		kgo.ProducerBatchCompression(codecs[f.Compression]),
		kgo.ProducerLinger(f.Linger),
		kgo.ProducerBatchMaxBytes(int32(f.BatchBytes)),
		kgo.MaxBufferedRecords(slotsOf(f)+1), // ours is the bound
		kgo.RecordDeliveryTimeout(f.Delivery),
		kgo.ProduceRequestTimeout(produceWithin),
		kgo.UnknownTopicRetries(-1),
		kgo.WithHooks(l.batches),
	)
	if !f.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(f.InFlight))
	}
	switch f.Acks {
	case acksAll:
		options = append(options, kgo.RequiredAcks(kgo.AllISRAcks()))
	case acksOne:
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()))
	case acksNone:
		options = append(options, kgo.RequiredAcks(kgo.NoAck()))
	}
	if f.Partitioner == Sticky {
		return append(options, kgo.RecordPartitioner(kgo.UniformBytesPartitioner(f.BatchBytes, false, false, nil)))
	}
	return append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
}

// sendOnSchedule is the open loop, until ctx ends. It returns how many records were due and could not
// be sent: their room was taken by others that waited for answers.
func (p *producer) sendOnSchedule(ctx context.Context) int64 {
	s, end := newSchedule(p.load.o.Load.Rate, p.index, p.load.o.Load.Producers), p.load.window.to
	for i := int64(0); ; i++ {
		due := s.due(i)
		if due >= end {
			return 0
		}
		if due > p.load.now() && !p.load.wait(ctx, due) {
			return 0 // the end came first
		}
		at := p.take(ctx)
		if at == nil {
			return s.dueBefore(end) - i
		}
		p.send(at, due, p.load.now())
	}
}

// clockEvery is for how many records that follow each other without a wait the clock is read once: that is
// microseconds, and to read it takes as long as the rest of what we do for a small record.
const clockEvery = 16

// sendAtFullSpeed is the closed loop: a record is due when there is room for it.
func (p *producer) sendAtFullSpeed(ctx context.Context, more func() bool) {
	var now time.Duration
	for read := 0; more(); read-- {
		at := p.ready()
		if at == nil {
			if at, read = p.take(ctx), 0; at == nil {
				return
			}
		}
		if read <= 0 {
			now, read = p.load.now(), clockEvery
			if now >= p.load.window.to {
				p.free <- at
				return
			}
		}
		p.send(at, now, now)
	}
}

// ready is an empty slot, if there is one without a wait.
func (p *producer) ready() *slot {
	select {
	case s := <-p.free:
		return s
	default:
	}
	if p.made < cap(p.free) {
		p.made++
		return p.newSlot()
	}
	return nil
}

// take is an empty slot, or nil if ctx ended before there was one.
func (p *producer) take(ctx context.Context) *slot {
	if s := p.ready(); s != nil {
		return s
	}
	select {
	case s := <-p.free:
		return s
	case <-ctx.Done():
		return nil
	}
}

func (p *producer) newSlot() *slot {
	s := &slot{}
	if !p.unseen {
		s.payload = make([]byte, p.load.o.Load.RecordBytes)
	}
	s.done = func(r *kgo.Record, err error) {
		p.answered(s, r, err)
		p.free <- s
	}
	return s
}

func (p *producer) send(s *slot, due, now time.Duration) {
	value := valueAt(p.index, p.sent)
	s.due, s.handed = due, now
	if p.unseen {
		s.payload = p.load.payloads.unread(value)
	} else {
		p.load.payloads.fill(s.payload, value, due)
	}
	// the time is ours, so that the client does not ask for it once more
	s.record = kgo.Record{Value: s.payload, Timestamp: p.load.began.Add(now)}
	partition := history.AnyPartition
	if p.load.o.Load.Partitioner == RoundRobin {
		partition = int32((uint64(p.index) + p.sent) % uint64(p.load.partitions))
		s.record.Partition = partition
	}
	p.sent++
	if p.recorder != nil {
		s.sent = p.recorder.Send(p.load.topic, partition, value)
	}
	p.client.Produce(context.Background(), &s.record, s.done)
}

// answered measures and records what became of a record.
func (p *producer) answered(s *slot, r *kgo.Record, err error) {
	if p.recorder != nil {
		p.tell(s.sent, r, err)
	}
	if err != nil {
		p.load.failures.add(codeOf(err))
		p.meter.addError()
		return
	}
	now := p.load.now()
	p.meter.add(event{due: s.due, now: now, bytes: len(s.payload)})
	if p.load.silence != nil {
		p.load.silence.acked(r.Partition, s.handed, now)
	}
}

// tell tells the history. The client calls this from one goroutine.
func (p *producer) tell(sent history.Sent, r *kgo.Record, err error) {
	switch {
	case err != nil && definite(err):
		sent.Failed()
	case err != nil, p.load.o.Load.Acks == acksNone:
		sent.Unknown() // without acks it was written to a socket: nobody promised anything
	case p.load.o.Load.Partitioner == Sticky:
		sent.AckedAt(r.Partition, r.Offset)
		p.told.add(r.Partition, r.Offset)
	default:
		sent.Acked(r.Offset)
		p.told.add(r.Partition, r.Offset)
	}
}

// drain waits until every slot is free again. The client may keep a record for ever if it cannot know
// whether it was written: after a while it is closed, and the record's fate is unknown.
func (p *producer) drain() error {
	patience := time.NewTimer(p.load.o.Load.Delivery + drainGrace)
	defer patience.Stop()
	closed := false
	for held := 0; held < p.made; {
		select {
		case <-p.free:
			held++
		case <-patience.C:
			if closed {
				return fmt.Errorf("producer %d: %d records have no answer", p.index+1, p.made-held)
			}
			closed = true
			p.client.Close()
			patience.Reset(drainGrace)
		}
	}
	return nil
}

// drainGrace is what the client needs beyond its delivery timeout.
const drainGrace = 5 * time.Second

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
