package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

const (
	// mailboxMax is how many requests may wait for one shard; further ones are refused.
	mailboxMax = 4096
	// turnMax is how many requests share one append.
	turnMax = 256
	// shardBatchBytes is how much goes into one batch of records, unless one record is larger.
	shardBatchBytes = 256 << 10
	// shardRoom is for how much there must be room in the log if the disk has none for more of that: what all but the
	// largest turns append.
	shardRoom = 4 * shardBatchBytes
	// loadBytes is how much of the log is read at a time.
	loadBytes = 1 << 20
	// loadRetry is how long a shard that cannot read its log waits before it tries again.
	loadRetry = time.Second
	// beat is the longest that a shard sleeps.
	beat = time.Second
	// recordOverhead is the most that a record takes in a batch beside key and value.
	recordOverhead = 32
)

// shards keeps one shard for each partition of an internal topic that this node leads, for as long as
// it leads it in one epoch, each with a goroutine of its own. One per partition, and not a few that
// share them, since a partition is the unit that is loaded, led and lost: a shard that replays a long
// log, or waits for room in one, holds up nobody else.
type shards[S shard] struct {
	broker *Broker
	// name is the topic's.
	name string
	// make makes a shard, which is run then.
	make  func(*partition.Log, topic.Epoch) S
	table atomic.Pointer[shardTable[S]]
	// cue says that a role has changed or a shard has ended; one token.
	cue   chan struct{}
	began time.Time
}

// shard is what coordinates one partition. The methods of its core are all that shards calls, but run.
type shard interface {
	comparable
	heart() *shardCore
	// run loads and serves until ctx ends or the shard must.
	run(ctx context.Context)
}

// shardTable is what this node coordinates. It is immutable.
type shardTable[S shard] struct {
	topic topic.ID
	// shards is indexed by partition; the zero value where another node leads.
	shards []S
}

func newShards[S shard](b *Broker, name string) *shards[S] {
	c := &shards[S]{broker: b, name: name, cue: make(chan struct{}, 1), began: time.Now()}
	c.table.Store(&shardTable[S]{})
	return c
}

// look has run look at the roles again.
func (c *shards[S]) look() {
	select {
	case c.cue <- struct{}{}:
	default:
	}
}

// run keeps the shards until ctx ends, and returns when all of them have.
func (c *shards[S]) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		changed := c.broker.cluster.Changed()
		c.align(ctx, &running)
		select {
		case <-changed:
		case <-c.cue:
		case <-ctx.Done():
			return
		}
	}
}

// align starts and stops shards so that there is one for each partition, and epoch, that is led.
func (c *shards[S]) align(ctx context.Context, running *sync.WaitGroup) {
	var none S
	old := c.table.Load()
	next := &shardTable[S]{}
	if t, ok := c.broker.cluster.View().TopicByName(c.name); ok {
		next.topic, next.shards = t.ID, make([]S, len(t.Partitions))
	}
	altered := next.topic != old.topic || len(next.shards) != len(old.shards)
	for i := range next.shards {
		var present S
		if next.topic == old.topic && i < len(old.shards) {
			present = old.shards[i]
		}
		next.shards[i] = c.alignOne(ctx, running, topic.Partition{Topic: next.topic, Index: int32(i)}, present)
		altered = altered || next.shards[i] != present
	}
	if !altered {
		return
	}
	c.table.Store(next)
	for i, shard := range old.shards {
		if shard != none && (i >= len(next.shards) || next.shards[i] != shard) {
			shard.heart().stop()
		}
	}
}

// alignOne returns the shard that is to be there for a partition, none if another node leads it. A shard
// that is to be followed by another in the same epoch has ended: two of them would append into each
// other's state.
func (c *shards[S]) alignOne(
	ctx context.Context, running *sync.WaitGroup, p topic.Partition, present S,
) (next S) {
	log := c.broker.logs.Log(p)
	if log == nil {
		return next
	}
	role := log.State().Role
	if !role.Leading {
		return next
	}
	if present != next {
		if core := present.heart(); core.log == log && core.epoch == role.Epoch && !core.over() {
			return present
		}
	}
	next = c.make(log, role.Epoch)
	ctx, next.heart().stop = context.WithCancel(ctx)
	running.Go(func() { next.run(ctx) })
	return next
}

// shardOf is the shard of a group or transactional id: none if another node coordinates it, or nobody.
func (c *shards[S]) shardOf(name string) (s S) {
	table := c.table.Load()
	if len(table.shards) == 0 {
		return s
	}
	return table.shards[groupPartition(name, len(table.shards))]
}

// shardCore is what all shards have: a log in one epoch, what they append to it, and those who wait until
// it is on the in-sync replicas.
type shardCore struct {
	broker *Broker
	// name is the topic's.
	name  string
	log   *partition.Log
	epoch topic.Epoch
	// loaded: the log was replayed, requests are taken.
	loaded atomic.Bool
	// ended is closed when the shard answers nobody any more.
	ended chan struct{}
	stop  context.CancelFunc

	// entries are what the present turn is to append.
	entries []entry
	// flights are appended batches that are not committed yet, in their order.
	flights []*flight
	// landed is what the log has told of the flights.
	landed struct {
		sync.Mutex
		end topic.Offset
		err error
	}
	settled chan struct{}
}

// entry is a record of a shard, or a marker. Neighbours share a batch if they can.
type entry struct {
	key, value []byte
	// producer is set if the record is part of a transaction; its records are neighbours.
	producer *transactionOf
	marker   *partition.EndTransaction
}

// transactionOf is the transaction that a record is part of.
type transactionOf struct {
	id    int64
	epoch int16
	guard partition.Guard
}

func (e entry) bytes() int { return len(e.key) + len(e.value) + recordOverhead }

// flight is what one turn has appended, on its way to the in-sync replicas.
type flight struct {
	// first is where its first record lies. The others follow; if somebody else appended between two of its
	// batches, they lie further back than counting on from there says, never before that.
	first, end topic.Offset
	done       bool
	// parked are those who wait for it, each with when it is given up (milliseconds).
	parked []parked
}

// parked is called once: with nil when the flight is committed, or with what it is given up for.
type parked struct {
	deliver func(error)
	until   int64
}

// untilCommitted is a wait that is not given up before the shard is.
const untilCommitted = math.MaxInt64

func newShardCore(b *Broker, name string, log *partition.Log, epoch topic.Epoch) shardCore {
	return shardCore{
		broker: b, name: name, log: log, epoch: epoch, ended: make(chan struct{}), settled: make(chan struct{}, 1),
	}
}

// heart implements shard for whoever embeds the core.
func (s *shardCore) heart() *shardCore { return s }

// over reports whether the shard has ended.
func (s *shardCore) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// live loads and serves until ctx ends, the leadership does, or something cannot be appended: then what
// the machines have decided is not what the log says, and another shard begins with the log. Callers
// notice by themselves that the shard has ended; gone is called when it has.
func (s *shardCore) live(ctx context.Context, load, serve func(context.Context) error, gone func()) {
	began := time.Now()
	err := load(ctx)
	if err == nil {
		s.broker.meters.loads.WithLabelValues(s.name).Observe(time.Since(began).Seconds())
		s.loaded.Store(true)
		err = serve(ctx)
	}
	close(s.ended)
	gone()
	if ctx.Err() == nil && !errors.Is(err, partition.ErrNotLeader) && !errors.Is(err, partition.ErrStopped) {
		s.broker.logger.Warn("coordinator starts again", keyPartition, s.log.Partition().Index, keyError, err)
	}
}

// loadLog waits until everything in the log is committed, and has apply take each batch, which returns
// the offset behind it. Nobody else appends in this epoch, so what is committed then is all there is.
func (s *shardCore) loadLog(ctx context.Context, apply func([]byte) (topic.Offset, error)) error {
	end := s.log.State().LogEnd
	committed := make(chan error, 1)
	cancel := s.log.AwaitCommit(s.epoch, end, func(err error) { committed <- err })
	select {
	case err := <-committed:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		cancel()
		return ctx.Err()
	}
	if err := s.replayLog(ctx, end, apply); err != nil {
		select {
		case <-time.After(loadRetry):
		case <-ctx.Done():
		}
		return fmt.Errorf("load %v: %w", s.log.Partition(), err)
	}
	return nil
}

// eachRecord makes of what takes a record what takes a batch, for loadLog.
func eachRecord(apply func(batch.Record) error) func([]byte) (topic.Offset, error) {
	return func(b []byte) (topic.Offset, error) {
		h, err := batch.ParseHeader(b)
		if err != nil {
			return 0, err
		}
		for r, err := range batch.Records(b) {
			if err != nil {
				return 0, err
			}
			if err := apply(r); err != nil {
				return 0, fmt.Errorf("record at %d: %w", r.Offset, err)
			}
		}
		return topic.Offset(h.LastOffset()) + 1, nil
	}
}

func (s *shardCore) replayLog(
	ctx context.Context, end topic.Offset, apply func([]byte) (topic.Offset, error),
) error {
	for from := s.log.State().LogStart; from < end && ctx.Err() == nil; {
		read, err := s.log.Read(from, loadBytes, true)
		if err != nil {
			return err
		}
		if len(read.Batches) == 0 {
			return fmt.Errorf("nothing to read at %d, below %d", from, end)
		}
		for _, b := range read.Batches {
			if from, err = apply(b); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// leads says whether this node still leads the partition in the shard's epoch.
func (s *shardCore) leads() (partition.Role, error) {
	role := s.log.State().Role
	if !role.Leading || role.Epoch != s.epoch {
		return role, partition.ErrNotLeader
	}
	return role, nil
}

// keeps says whether what is decided now can be kept: enough replicas are in sync, and the log does not wait for space on
// the disk. Else an append would fail, and with it the shard, and all its groups would begin anew each time.
func (s *shardCore) keeps(role partition.Role) bool {
	return role.AcceptAll && !s.log.Starves(shardRoom)
}

// speaks says whether this node may tell what its machines are. While it may, it is in the in-sync set of
// whoever may have been elected, who commits nothing that has not come here under a later epoch.
func (s *shardCore) speaks() bool { return s.broker.speaksFor(s.log.Partition(), s.epoch) }

// board is the flight of the present turn, which has entries.
func (s *shardCore) board() *flight {
	if n := len(s.flights); n > 0 && s.flights[n-1].end == 0 {
		return s.flights[n-1]
	}
	f := &flight{}
	s.flights = append(s.flights, f)
	return f
}

// append writes the entries of the turn. It may wait for room in the log, for a moment.
func (s *shardCore) append(ctx context.Context, wall int64) error {
	if len(s.entries) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.broker.config.Requests.AppendWait)
	defer cancel()
	f := s.board()
	for rest := s.entries; len(rest) > 0; {
		n := fitting(rest)
		appended, err := s.appendBatch(ctx, rest[:n], wall)
		if err != nil {
			return fmt.Errorf("append to %v: %w", s.log.Partition(), err)
		}
		if f.end == 0 {
			f.first = appended.Base
		}
		f.end = appended.End
		rest = rest[n:]
	}
	clear(s.entries)
	s.entries = s.entries[:0]
	end := f.end
	s.log.AwaitCommit(s.epoch, end, func(err error) { s.tell(end, err) })
	return nil
}

// fitting is how many entries go into the next batch.
func fitting(entries []entry) int {
	n, bytes := 1, entries[0].bytes()
	if entries[0].marker != nil {
		return 1
	}
	for n < len(entries) && entries[n].marker == nil && entries[n].producer == entries[0].producer &&
		bytes+entries[n].bytes() <= shardBatchBytes {
		bytes += entries[n].bytes()
		n++
	}
	return n
}

func (s *shardCore) appendBatch(ctx context.Context, entries []entry, wall int64) (partition.Appended, error) {
	o := partition.AppendOptions{Acks: partition.AcksAll, Fenced: true, Epoch: s.epoch}
	if m := entries[0].marker; m != nil {
		return s.log.AppendMarker(ctx, *m, o)
	}
	b := batch.NewBuilder(batch.CodecNone)
	if p := entries[0].producer; p != nil {
		b.ProducerID, b.ProducerEpoch, b.Transactional, o.Guard = p.id, p.epoch, true, p.guard
	}
	for _, e := range entries {
		b.Add(batch.Record{Timestamp: wall, Key: e.key, Value: e.value})
	}
	raw, err := b.Build()
	if err != nil {
		return partition.Appended{}, err
	}
	return s.log.Append(ctx, raw, o)
}

// tell is the log's word on a flight. It runs on the log's goroutines.
func (s *shardCore) tell(end topic.Offset, err error) {
	s.landed.Lock()
	s.landed.end = max(s.landed.end, end)
	if err != nil && s.landed.err == nil {
		s.landed.err = err
	}
	s.landed.Unlock()
	select {
	case s.settled <- struct{}{}:
	default:
	}
}

// land serves those who waited for what is committed by now.
func (s *shardCore) land() error {
	s.landed.Lock()
	end, err := s.landed.end, s.landed.err
	s.landed.Unlock()
	if err != nil {
		return fmt.Errorf("await records of %v: %w", s.log.Partition(), err)
	}
	n := 0
	for ; n < len(s.flights) && s.flights[n].end <= end; n++ {
		s.flights[n].done = true
		for _, p := range s.flights[n].parked {
			p.deliver(nil)
		}
	}
	clear(s.flights[:n])
	s.flights = s.flights[n:]
	return nil
}

// giveUp lets go of those who have waited too long. What they wait for may be committed yet; they ask
// again.
func (s *shardCore) giveUp(now int64) {
	for _, f := range s.flights {
		kept := f.parked[:0]
		for _, p := range f.parked {
			if p.until > now {
				kept = append(kept, p)
			} else {
				p.deliver(errCoordinatorShut)
			}
		}
		clear(f.parked[len(kept):])
		f.parked = kept
	}
}

// await hands a call to a shard and waits for its reply, at most for limit, which is only the last
// resort, since shard and machine have deadlines of their own.
func await[C, R any](
	ctx context.Context, s *shardCore, mailbox chan<- C, call C, reply <-chan R, limit time.Duration,
) (none R, err error) {
	if !s.loaded.Load() {
		return none, errCoordinatorLoading
	}
	select {
	case mailbox <- call:
	default:
		return none, errCoordinatorBusy
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-reply:
		return r, nil
	case <-s.ended:
		// What it had decided may be in the log, or not.
		return none, errNotCoordinator
	case <-timer.C:
		return none, errCoordinatorBusy
	case <-ctx.Done():
		return none, errNotCoordinator
	}
}

// turns has a shard take its turns until ctx ends or one fails: when a call comes, when what was appended is
// settled, and when its timers are due: wait says after every turn in how many milliseconds.
func turns[C any](
	ctx context.Context, mailbox <-chan C, settled <-chan struct{}, turn func(context.Context, []C) error,
	wait func() int64,
) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	calls := make([]C, 0, turnMax)
	for {
		calls = calls[:0]
		select {
		case call := <-mailbox:
			calls = append(calls, call)
		case <-settled:
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := turn(ctx, more(mailbox, calls)); err != nil {
			return err
		}
		timer.Reset(time.Duration(max(1, wait())) * time.Millisecond)
	}
}

// more takes what else waits in a mailbox, so that it shares one append.
func more[C any](mailbox <-chan C, calls []C) []C {
	for len(calls) < turnMax {
		select {
		case call := <-mailbox:
			calls = append(calls, call)
		default:
			return calls
		}
	}
	return calls
}
