package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// Run runs the WAL's writer until ctx ends, and then ends every wait. At the end of ctx the high
// watermarks are checkpointed and the WAL is drained; after a clean stop the error is nil. A WAL
// that failed is the error, and nothing is appended any more: the node has to stop.
func (s *Store) Run(ctx context.Context) error { return s.run(ctx, s.walLog.Run) }

func (s *Store) run(ctx context.Context, write func(context.Context) error) error {
	// The writer must still take the checkpoints after ctx has ended, so its own context ends later.
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	draining, stopDrain := context.WithCancel(ctx)
	defer stopDrain()
	var failed error
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		if failed = s.drain(draining); failed != nil {
			stop() // The WAL is whole, but what the catalog says of it is unknown.
		}
	}()
	var unreadable error
	read := make(chan struct{})
	go func() {
		defer close(read)
		if unreadable = s.readIndexes(draining); unreadable != nil {
			stop()
		}
	}()
	saved := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(saved)
		s.saveHighWatermarks(0)
		<-drained // The writer gives up the lock of the directory when it ends.
		stop()
	})
	err := write(writing)
	stopDrain()
	<-drained
	<-read
	err = errors.Join(err, failed, unreadable)
	if !unhook() {
		<-saved
	}
	err = s.end(err)
	return errors.Join(err, s.bodies.close())
}

// drain drains the WAL when it is told to, until ctx ends.
func (s *Store) drain(ctx context.Context) error {
	s.drainer.pause = func(d time.Duration) bool { return pause(ctx, d) }
	s.drainer.ending = func() bool { return ctx.Err() != nil }
	for {
		select {
		case <-ctx.Done():
			return s.drainer.stop()
		case <-s.drainNow:
		}
		from := s.cfg.Now()
		for due := s.drainDue.Load(); due && ctx.Err() == nil; {
			drained, err := s.drainer.step(s.adopts())
			if errors.Is(err, errEnding) {
				break // nothing was recorded
			}
			if err != nil {
				return fmt.Errorf("drain node WAL: %w", err)
			}
			s.spillNow() // It may go on for long.
			due = drained && s.drainsOn(from)
		}
		if !s.compactDue.Swap(false) {
			continue
		}
		s.spillNow()
		more, err := s.drainer.compactTurn(s.compactUntil(ctx, s.cfg.Now()-from))
		if errors.Is(err, wal.ErrNoSpace) {
			more, err = false, nil // the drain tells, and makes room
		}
		if err != nil {
			return fmt.Errorf("compact logs: %w", err)
		}
		s.compacting.Store(more)
	}
}

// drainTurn is how long files are drained at least while a compaction is due.
const drainTurn = time.Second

// drainsOn reports whether the next file is drained at once. As long as files are filled faster than they are adopted there
// is always one more: a compaction has its turn between them, unless producers wait.
func (s *Store) drainsOn(from time.Duration) bool {
	return (s.overdue() || s.adopts()) && (!s.compactDue.Load() || s.urges() || s.cfg.Now()-from < drainTurn)
}

// compactTurnMax is how long a compaction has at once at most while something else waits.
const compactTurnMax = 10 * time.Second

// compactUntil says when a compaction is to let others go on: once it has had as long as they had before it, or it is
// urgent. Without that it would have one slice after each pack.
func (s *Store) compactUntil(ctx context.Context, had time.Duration) func() bool {
	until := s.cfg.Now() + min(had, compactTurnMax)
	return func() bool {
		return ctx.Err() != nil || len(s.drainNow) > 0 && (s.cfg.Now() >= until || s.urges())
	}
}

// demand is what Tick found last.
func (s *Store) demand() demand { return demand(s.found.Load()) }

// calm reports whether a copy makes nobody wait for long.
func (s *Store) calm() bool { return s.demand() >= quiet }

// adopts reports whether files are adopted now. It costs no I/O, but some work for each log and each batch, and is in
// vain for what retention takes before long: so files wait for each other, unless one is owed.
func (s *Store) adopts() bool {
	if s.demand() != busy || !s.mayAdopt() {
		return false
	}
	return s.overdue() || s.piled() >= 1
}

// piled is how many times what may wait to be adopted waits: bytes, and batches, of which a quarter of a burden may.
func (s *Store) piled() float64 {
	sealed, _ := s.walLog.Sealed()
	return max(float64(sealed.Waiting)/float64(min(adoptBytes, s.walLog.BytesMax()/8)), 4*s.digests.burden())
}

// overdue reports whether what waits is drained before the store is quiet.
func (s *Store) overdue() bool { return s.pressed() || s.owes() || s.digests.burdens() }

func (s *Store) mayAdopt() bool { return s.cfg.MayAdopt == nil || s.cfg.MayAdopt() }

func (s *Store) mayBeTerse() bool { return s.cfg.MayBeTerse == nil || s.cfg.MayBeTerse() }

func (s *Store) mayHead() bool { return s.cfg.MayHead == nil || s.cfg.MayHead() }

// adoptBytes is how much waits at most to be adopted.
const adoptBytes = 1 << 30

// pressed reports whether so much waits to be drained that it is done whatever else wants the disk: also little
// if it takes up all files that there may be, as after many starts.
func (s *Store) pressed() bool {
	sealed, _ := s.walLog.Sealed()
	chain, _ := s.walLog.ChainBytes()
	return sealed.Waiting*2 >= s.walLog.BytesMax() || chain >= s.walLog.BytesMax()
}

// end takes in how the WAL ended: nothing is appended any more.
func (s *Store) end(err error) error {
	if err == nil {
		s.fail(ErrStopped)
		return nil
	}
	if !errors.Is(err, wal.ErrFailed) {
		err = fmt.Errorf("%w: %w", wal.ErrFailed, err)
	}
	s.fail(err)
	return fmt.Errorf("run node WAL: %w", err)
}

// Close ends all waits and releases the files. It is for a Store whose Run has returned, whose Driver
// was closed, or that had neither.
func (s *Store) Close() error {
	s.fail(ErrStopped)
	if err := errors.Join(s.walLog.Close(), s.bodies.close()); err != nil {
		return fmt.Errorf("close node WAL: %w", err)
	}
	return nil
}

// fail makes all logs, also those that are created later, take nothing any more.
func (s *Store) fail(err error) {
	s.mu.Lock()
	if s.mu.failed == nil {
		s.mu.failed = err
	}
	s.mu.Unlock()
	for _, l := range s.snapshot() {
		l.fail(err)
	}
}

// Tick passes time, about a second of it: high watermarks are checkpointed and silent producers
// forgotten when their time has come. It does no I/O. One goroutine calls it.
func (s *Store) Tick() {
	now := s.cfg.Now()
	if s.walLog != nil && s.cfg.Catalog != nil {
		s.tickDrain(now)
	}
	if now-s.savedAt >= s.cfg.HighWatermarkCheckpoint {
		s.savedAt = now
		s.saveHighWatermarks(0)
	} else if s.demand() == busy {
		s.saveHighWatermarks(savedBehind)
	}
	// Expiry may be late by a sixteenth: walking all producers each second would be idle cost.
	if now-s.expiredAt >= s.cfg.ProducerIDExpiration/16 {
		s.expiredAt = now
		for _, l := range s.snapshot() {
			l.expireProducers()
		}
	}
}

// tickDrain wakes the drainer if something waits and it is time.
func (s *Store) tickDrain(now time.Duration) {
	s.found.Store(int32(s.pace.judge(now, s.walLog.WrittenBytes(), s.served.Load())))
	s.roll(now)
	_, spares := s.walLog.ChainBytes()
	scarce := s.scarce()
	if scarce && !s.wasScarce { // Packs are worth it now that were not.
		s.unsorted.Store(true)
	}
	s.wasScarce = scarce
	if after := s.badAfter.Load(); after != 0 && int64(now) >= after {
		s.badAfter.CompareAndSwap(after, 0)
		s.unsorted.Store(true)
	}
	due := s.drains() || s.sorts() ||
		s.headless.Load() && s.mayHead() || s.dropped.Load() != s.swept.Load() || s.doomed.Load() || scarce && spares > 0 || s.walLog.Waste() > 0
	s.drainDue.Store(due)
	if s.compacting.Load() || now-s.compactedAt >= s.cfg.CompactBackoff {
		s.compactedAt = now
		s.compactDue.Store(true)
		due = true
	}
	if !due {
		return
	}
	select {
	case s.drainNow <- struct{}{}:
	default:
	}
}

// drains reports whether a file waits to be drained, and it is time for that.
func (s *Store) drains() bool {
	_, sealed := s.walLog.Sealed()
	return sealed && (s.calm() || s.scarce() || s.pressed() || s.owes() || s.demand() == loaded && s.piled() >= 1 || s.adopts())
}

// savedBehind is how many records a checkpoint of a high watermark is behind at most on a busy disk: of the batches that are not
// known to be committed when a file is drained, the catalog has to remember all for their producers, and not the last few.
const savedBehind = 1000

// saveHighWatermarks queues a checkpoint record for every log whose high watermark has moved by more than that. A full
// WAL is no reason to wait: the next round comes.
func (s *Store) saveHighWatermarks(behind topic.Offset) {
	for _, l := range s.snapshot() {
		if !l.saveHighWatermark(behind) {
			return
		}
	}
}

// saveHighWatermark queues the log's checkpoint, if it is due. It is false when the WAL is full. A
// crash before the record is durable leaves an older checkpoint, which is lower and so just as true.
func (l *Log) saveHighWatermark(behind topic.Offset) bool {
	r := wal.Record{Kind: wal.HighWatermark, Partition: l.partition, Epoch: topic.NoEpoch}
	size := wal.EncodedLen(r)
	if !l.highWatermarkMoved(behind) {
		return true
	}
	if !l.store.appender.TryReserve(wal.Leader, size) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failed != nil || l.mu.highWatermark == l.mu.savedHighWatermark {
		l.store.appender.Release(wal.Leader, size)
		return true
	}
	r.Base = l.mu.highWatermark
	l.store.appender.Append(wal.Leader, r)
	l.mu.savedHighWatermark = r.Base
	return true
}

func (l *Log) highWatermarkMoved(by topic.Offset) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	moved := l.mu.highWatermark - l.mu.savedHighWatermark
	return l.mu.failed == nil && (moved > by || moved < 0)
}

func (l *Log) expireProducers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.producers.expire(l.store.cfg.Now(), l.store.cfg.ProducerIDExpiration)
}
