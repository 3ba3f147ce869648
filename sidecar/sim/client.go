package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
	"outrigger/sidecar/cluster"
)

// Clients of a run with brokers.
const (
	minInSync      = 2
	requestTimeout = 150_000 // µs
	attemptsMax    = 12
	backoffMicros  = 10_000
)

// now is a context that has ended: whoever would wait is refused instead.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// producer sends one batch after another and knows of each what it was told.
type producer struct {
	w          *World
	idempotent bool
	// transactional: all it sends is part of transactions; in is the one that is not over.
	transactional bool
	in            *transaction
	acks          int16
	pid           int64
	next          map[topic.Partition]int32
	// sending is the batch under way, nil if none.
	sending *sending
}

// sending is a batch on its way, perhaps for the n-th time.
type sending struct {
	partition topic.Partition
	values    []uint64
	// marker is nil but for one that ends a transaction, which values are.
	marker   *batch.Marker
	sequence int32
	attempt  int
	// unknown: an attempt may have been appended.
	unknown bool
}

// reader follows one partition.
type reader struct {
	w         *World
	partition topic.Partition
	next      topic.Offset
	// aware: it remembers the newest epoch that it knows of, and follows no older one (KIP-320).
	aware bool
	epoch topic.Epoch
	fetch uint64 // the fetch under way, 0 if none
}

// makeClients draws who produces and who reads.
func (w *World) makeClients() {
	for i := range 4 {
		p := &producer{w: w, idempotent: i < 3, acks: partition.AcksAll, next: map[topic.Partition]int32{}}
		if i == 2 && w.rng.IntN(2) == 0 {
			p.acks = 1
		}
		w.producers = append(w.producers, p)
	}
	if w.mix.compacts {
		w.producers = append(w.producers, &producer{w: w, idempotent: true, transactional: true, acks: partition.AcksAll,
			next: map[topic.Partition]int32{}})
	}
	for range 2 {
		w.readers = append(w.readers, &reader{w: w, aware: len(w.readers) == 0})
	}
}

// clients lets one of them act.
func (w *World) clients() {
	im := w.check.image
	if im == nil || im.TopicCount() == 0 {
		w.createTopic("river")
		return
	}
	if w.moving() && !w.healing && w.rng.IntN(15) == 0 {
		w.move()
		return
	}
	switch act := w.rng.IntN(40); {
	case act == 0:
		w.createTopic("creek")
	case act == 1:
		w.deleteTopic("creek")
	case act == 2:
		w.grow("river")
	case act == 3:
		w.prefer()
	case act == 4:
		w.deleteRecords()
	case act < 28:
		w.producers[w.rng.IntN(len(w.producers))].act()
	default:
		w.readers[w.rng.IntN(len(w.readers))].act()
	}
}

// anyBroker is a broker that takes requests, or nil.
func (w *World) anyBroker() *broker {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if !h.up() || h.paused() {
		return nil
	}
	return h.broker
}

func (w *World) createTopic(name string) {
	b := w.anyBroker()
	if b == nil || w.quiet {
		return
	}
	if _, ok := b.view.Image.TopicByName(name); ok || len(b.view.Image.Brokers()) < minInSync {
		return
	}
	c := topic.Creation{Name: name, Partitions: w.mix.partitions, ReplicationFactor: int16(w.factor())}
	if int(c.ReplicationFactor) > len(b.view.Image.Brokers()) {
		return
	}
	binary.BigEndian.PutUint64(c.ID[:], w.rng.Uint64())
	if least := w.rng.IntN(6); least > 0 { // 0: the cluster's
		c.Configs = map[string]string{cluster.ConfigMinInSync: strconv.Itoa(1 + least%3)}
	}
	b.propose(cluster.CreateTopics{Topics: []topic.Creation{c}}, 4*leaderTimeout, false, func(r cluster.Result, err error) {
		if err == nil && r.Err() == nil {
			w.count.topicsMade++
		}
	})
}

func (w *World) deleteTopic(name string) {
	b := w.anyBroker()
	if b == nil || w.quiet {
		return
	}
	if t, ok := b.view.Image.TopicByName(name); ok {
		b.propose(cluster.DeleteTopics{IDs: []topic.ID{t.ID}}, 4*leaderTimeout, false, func(cluster.Result, error) {
			w.count.topicsGone++
		})
	}
}

func (w *World) grow(name string) {
	b := w.anyBroker()
	if b == nil || w.quiet {
		return
	}
	if t, ok := b.view.Image.TopicByName(name); ok && len(t.Partitions) < int(w.mix.partitions)+1 {
		b.propose(cluster.CreatePartitions{Growths: []topic.Growth{{ID: t.ID, Total: int32(len(t.Partitions) + 1)}}},
			4*leaderTimeout, false, func(cluster.Result, error) {})
	}
}

// prefer has a partition given back to its preferred leader.
func (w *World) prefer() {
	p, ok := w.pick()
	b := w.anyBroker()
	if b == nil || !ok || w.quiet {
		return
	}
	placement, known := b.view.Image.Partition(p)
	if !known || placement.Leader == placement.Replicas[0] {
		return
	}
	b.propose(cluster.ElectPreferred{Partitions: []topic.Partition{p}}, 4*leaderTimeout, false, func(r cluster.Result, err error) {
		if err == nil && r.Items[0] == cluster.OK {
			w.count.preferred++
		}
	})
}

// pick draws a partition of the newest image.
func (w *World) pick() (topic.Partition, bool) {
	topics := w.check.image.Topics()
	if len(topics) == 0 {
		return topic.Partition{}, false
	}
	t := topics[w.rng.IntN(len(topics))]
	return topic.Partition{Topic: t.ID, Index: int32(w.rng.IntN(len(t.Partitions)))}, true
}

// guess is whom a client takes for the leader, and the epoch that it knows: what some broker's image
// says, be it old.
func (w *World) guess(p topic.Partition) (*host, topic.Epoch) {
	if b := w.anyBroker(); b != nil && w.rng.IntN(8) > 0 {
		if placement, ok := b.view.Image.Partition(p); ok && placement.Leader != topic.NoNode {
			return w.hosts[placement.Leader-1], placement.LeaderEpoch
		}
	}
	return w.hosts[w.rng.IntN(len(w.hosts))], topic.NoEpoch
}

// act begins another batch if none is under way.
func (p *producer) act() {
	w := p.w
	if p.sending != nil || w.quiet {
		return
	}
	if p.transactional {
		p.actIn()
		return
	}
	at, ok := w.pick()
	if !ok {
		return
	}
	if p.pid == 0 {
		w.pids++
		p.pid = int64(w.pids)
		clear(p.next)
	}
	p.sending = &sending{partition: at, sequence: p.next[at], attempt: 1, values: w.fresh()}
	p.attempt()
}

// fresh draws the values of a batch.
func (w *World) fresh() (values []uint64) {
	for range 1 + w.rng.IntN(3) {
		w.values++
		values = append(values, w.values)
	}
	return values
}

// attempt sends the batch to whom it takes for the leader.
func (p *producer) attempt() {
	w, s := p.w, p.sending
	attempt := s.attempt
	h, _ := w.guess(s.partition)
	w.laterAnywhere(w.between(50, 1_000), func() {
		if h.up() && !h.paused() && !w.chance(w.mix.clientLossPercent) {
			h.broker.produce(p, s, attempt)
		}
	})
	w.laterAnywhere(requestTimeout, func() { p.answer(s, attempt, 0, errTimeout) })
}

// errTimeout: no answer came.
var errTimeout = errors.New("request timed out")

// refusal is an error with which nothing was appended.
type refusal struct{ error }

// payload encodes the batch anew: the log writes into it.
func (p *producer) payload(s *sending) []byte {
	b := batch.NewBuilder(batch.CodecNone)
	b.Transactional = p.transactional
	if p.idempotent {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = p.pid, 0, s.sequence
	}
	for _, v := range s.values {
		b.Add(p.w.record(v))
	}
	payload, err := b.Build()
	if err != nil {
		p.w.check.fail("build a batch: %v", err)
	}
	return payload
}

// produce is a broker's part.
func (b *broker) produce(p *producer, s *sending, attempt int) {
	run := b.h.run
	reply := func(base topic.Offset, err error) {
		if b.h.run != run || b.w.chance(b.w.mix.clientLossPercent) {
			return
		}
		b.w.laterAnywhere(b.w.between(50, 1_000), func() { p.answer(s, attempt, base, err) })
	}
	log := b.store.Log(s.partition)
	if log == nil {
		reply(0, refusal{partition.ErrNotLeader})
		return
	}
	a, err := p.append(log, s)
	b.want(partWAL)
	if err != nil {
		b.w.count.refusedAppends++
		b.w.check.refusedAppend(b, p, s, err)
		reply(0, refusal{err})
		return
	}
	if a.Duplicate {
		b.w.count.duplicatesAnswered++
	}
	await := log.AwaitCommit
	if p.acks == 1 {
		await = log.AwaitDurable
	}
	await(a.Epoch, a.End, func(err error) {
		if err == nil && p.acks == partition.AcksAll {
			// From here on the record is promised, whether or not the client hears of it.
			b.w.check.promised(b, s, a.Base)
		}
		reply(a.Base, err)
	})
}

// answer is what the client makes of it. Only the newest attempt counts for a retry, but a success is
// a success whenever it comes.
func (p *producer) answer(s *sending, attempt int, base topic.Offset, err error) {
	if p.sending != s {
		return
	}
	if err == nil {
		p.acked(s, base)
		return
	}
	if attempt != s.attempt {
		return
	}
	if !errors.As(err, new(refusal)) {
		s.unknown = true
	}
	gone := p.w.check.gone(s.partition)
	// A marker that is sent again is another one.
	if s.marker == nil && s.attempt < attemptsMax && !gone && (p.idempotent || !s.unknown) && !p.w.quiet {
		s.attempt++
		again := s.attempt
		p.w.laterAnywhere(p.w.between(1, 2*backoffMicros), func() {
			if p.sending == s && s.attempt == again {
				p.attempt()
			}
		})
		return
	}
	// Given up. An idempotent producer begins anew: there would be a gap in its sequence.
	if s.unknown {
		p.w.count.unknown++
	} else {
		p.w.check.failed(s)
	}
	p.sending = nil
	if p.in != nil {
		p.over(s, false)
		return
	}
	p.pid = 0
}

func (p *producer) acked(s *sending, base topic.Offset) {
	p.w.count.acked += uint64(len(s.values))
	if p.acks == partition.AcksAll {
		p.w.check.ackedRecords(s, base)
	}
	if s.marker == nil {
		p.next[s.partition] = s.sequence + int32(len(s.values))
	}
	p.sending = nil
	if p.in != nil {
		p.over(s, true)
	}
}

// act fetches once, if no fetch is under way.
func (r *reader) act() {
	w := r.w
	if r.fetch != 0 {
		return
	}
	if r.partition == (topic.Partition{}) || w.check.gone(r.partition) || w.rng.IntN(50) == 0 {
		at, ok := w.pick()
		if !ok {
			return
		}
		r.partition, r.next, r.epoch = at, 0, topic.NoEpoch
	}
	w.fetches++
	fetch := w.fetches
	r.fetch = fetch
	h, epoch := w.guess(r.partition)
	if r.aware && (epoch == topic.NoEpoch || epoch < r.epoch) {
		r.fetch = 0
		return
	}
	r.epoch = epoch
	w.laterAnywhere(w.between(50, 1_000), func() {
		if h.up() && !h.paused() && r.fetch == fetch {
			h.broker.serve(r, fetch, epoch)
		}
	})
	w.laterAnywhere(requestTimeout, func() {
		if r.fetch == fetch {
			r.fetch = 0
		}
	})
}

// serve is a broker's part of a fetch.
func (b *broker) serve(r *reader, fetch uint64, epoch topic.Epoch) {
	log := b.store.Log(r.partition)
	if log == nil {
		return
	}
	state := log.State()
	if !state.Role.Leading || epoch != topic.NoEpoch && epoch != state.Role.Epoch {
		return
	}
	result, err := log.Read(r.next, 1<<10, true)
	if errors.Is(err, partition.ErrOffsetOutOfRange) && r.next < result.LogStart {
		r.next = result.LogStart // as a client that resets its position to the earliest
		return
	}
	if errors.Is(err, partition.ErrOffsetOutOfRange) && b.store.Mandated() {
		b.w.check.outOfRange(b, r, result)
	}
	if err != nil {
		return
	}
	b.w.check.serves(b, r.partition, r.next, state.Role.Epoch)
	b.w.laterAnywhere(b.w.between(50, 1_000), func() {
		if r.fetch != fetch {
			return
		}
		r.fetch = 0
		for _, bytes := range result.Batches {
			base, end := b.w.check.readBatch(b.h, r.partition, bytes)
			if base > r.next { // whoever reads by old metadata may read what is deleted elsewhere
				b.w.check.fail("a reader of %v at %d is given %d", r.partition, r.next, base)
			}
			r.next = max(r.next, end)
		}
	})
}

// refuses is what becomes of a host that does not start.
func (w *World) refuses(h *host, err error) {
	if errors.Is(err, waltest.ErrCrashed) || errors.Is(err, errDisk) || errors.Is(err, errCrash) {
		if w.bearsPowerLoss(h) {
			h.disk.fs = h.disk.fs.Crash(w.rng)
			h.disk.forget(w)
		} else {
			h.disk.fs = h.disk.fs.Restart()
		}
		w.restartLater(h)
		return
	}
	if errors.Is(err, wal.ErrNoSpace) {
		w.restartLater(h)
		return
	}
	w.check.fail("%s does not start: %v", h, err)
}
