package partition

import (
	"context"
	"errors"
	"fmt"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// firstLocked is where the first batch begins, the log end if there is none.
func (l *Log) firstLocked() topic.Offset {
	if l.mu.index.len() == 0 {
		return l.mu.end
	}
	return l.mu.index.first()
}

// DeleteRecords moves the start of a log that is led here up to `before`, or to the high watermark if
// that is topic.NoOffset: what DeleteRecords of the Kafka protocol and retention ask for. It returns
// where the log is to start and the epoch to wait in, with AwaitLowWatermark. It may wait for space in
// the WAL until ctx ends.
//
// The start counts in memory at once. A crash before the record of it is durable brings the records
// back, which nobody was told are gone.
//
// Errors: ErrOffsetOutOfRange if `before` is above the high watermark, ErrNotReady if that is not known
// yet, ErrNotLeader, wal.ErrFull (ctx ended), wal.ErrFailed, ErrStopped.
func (l *Log) DeleteRecords(
	ctx context.Context, before topic.Offset,
) (to topic.Offset, epoch topic.Epoch, err error) {
	if to, epoch, err = l.deletable(before); err != nil || l.startsAt(to) {
		return to, epoch, err
	}
	size := wal.EncodedLen(l.startRecord(to))
	if err := l.store.appender.Reserve(ctx, wal.Relief, size); err != nil {
		return to, epoch, reservationError(err)
	}
	now, current, err := l.deletable(to)
	if err != nil || current != epoch {
		l.store.appender.Release(wal.Relief, size)
		return to, epoch, errors.Join(err, ErrNotLeader)
	}
	l.raise(now)
	return now, epoch, nil
}

// deletable judges a request to delete what lies below `before`, and says up to where it goes.
func (l *Log) deletable(before topic.Offset) (topic.Offset, topic.Epoch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.gateLocked(0); err != nil {
		return before, l.mu.role.Epoch, err
	}
	known := l.mu.highWatermark
	// A new leader may not know yet what is committed, or not have synced all of it.
	certain := l.mu.role.Ready && known <= l.mu.durable
	switch {
	case before == topic.NoOffset && certain:
		before = known
	case (before == topic.NoOffset || before > min(known, l.mu.durable)) && !certain:
		return before, l.mu.role.Epoch, ErrNotReady
	case before < 0 || before > known:
		return before, l.mu.role.Epoch, fmt.Errorf("%w: start %d, high watermark %d", ErrOffsetOutOfRange, before, known)
	}
	return before, l.mu.role.Epoch, nil
}

// MoveStart moves the log start up to `to`, but not above the high watermark or the durable end: what
// the leader told a follower. Moving to or below the present start does nothing. The start is in force
// on return, the record of it is queued.
//
// Errors: wal.ErrFull (nothing happened, try again), ErrRemoved, and why the log has failed.
func (l *Log) MoveStart(to topic.Offset) error {
	l.mu.Lock()
	to = min(to, l.mu.highWatermark, l.mu.durable)
	err := l.mu.failed
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if l.startsAt(to) {
		return nil
	}
	if !l.store.appender.TryReserve(wal.Relief, wal.EncodedLen(l.startRecord(to))) {
		return fmt.Errorf("move the log start to %d: %w", to, wal.ErrFull)
	}
	l.raise(to)
	return nil
}

// startsAt reports whether the log starts at `to` or above.
func (l *Log) startsAt(to topic.Offset) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.start >= to
}

func (l *Log) startRecord(to topic.Offset) wal.Record {
	return wal.Record{Kind: wal.LogStart, Partition: l.partition, Epoch: topic.NoEpoch, Base: to}
}

// raise moves the log start, for whose record the space is reserved. The log may have changed since
// that was planned: what does not hold any more gives the space back.
func (l *Log) raise(to topic.Offset) {
	r := l.startRecord(to)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failed != nil || to <= l.mu.start || to > min(l.mu.highWatermark, l.mu.durable) {
		l.store.appender.Release(wal.Relief, wal.EncodedLen(r))
		return
	}
	// Both happen under the mutex, as with a batch: the order of the WAL is that of the log.
	l.moveStartLocked(to)
	if l.store.cfg.mutant == StartsStayInMemory {
		l.store.appender.Release(wal.Relief, wal.EncodedLen(r))
		l.mu.startDurable = to
		return
	}
	r.Epoch = l.mu.epochs.of(l.firstLocked() - 1)
	l.store.appender.Append(wal.Relief, r)
}

// moveStartLocked moves the log start up to start, which is committed and durable, and drops the batches
// that lie wholly below it. What producers wrote there is still remembered of them, and so is
// the epoch of the last record dropped.
func (l *Log) moveStartLocked(start topic.Offset) {
	if start <= l.mu.start {
		return
	}
	l.mu.start = start
	l.commitLocked(start, nil) // a replay may know the start before it knows a high watermark
	dropped := l.mu.index.covering(start)
	bytes, _ := l.mu.index.sum(0, dropped)
	l.mu.bytes -= bytes
	l.mu.index.drop(dropped)
	if dropped > 0 {
		l.store.dropped.Add(1)
	}
	for l.mu.tail.len() > l.mu.index.len() {
		l.mu.tail.pop()
	}
	l.forgetDamageLocked()
	l.mu.committed -= dropped
	l.mu.settled -= dropped
	l.forgetLocked(l.firstLocked())
}

// forgetLocked forgets, beside batches, what lies before the log start, and before its first batch.
func (l *Log) forgetLocked(first topic.Offset) {
	l.mu.epochs.drop(first)
	l.mu.producers.transactions.drop(l.mu.start)
	if l.store.cfg.mutant == StartsForgetAborted {
		l.mu.producers.transactions.dropBegun(l.mu.start)
	}
}

// startBefore moves the log start of a log as it is restored without its batches, of which the first will begin at `first`: up to
// start, which lies before all those that it has.
func (l *Log) startBefore(start, first topic.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.start, l.mu.startDurable = start, start
	l.commitLocked(start, nil)
	l.forgetLocked(first)
}

// first is firstLocked.
func (l *Log) first() topic.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.firstLocked()
}

// Reset replaces a follower's log by an empty one that begins at `to`, behind a record of epoch
// (topic.NoEpoch if there is none): its leader has deleted everything up to there that this log could be
// compared by, or the log starts where its leader's has not come to. It is in force on return, the record
// of it is queued; a crash before that is durable brings the old log back, which is then compared again.
// Until it is durable, the durable end is below the log start, so that nobody counts on an empty log
// that a crash takes back.
//
// What was remembered of producers goes: their newer batches are not here to follow it, and a producer
// whose state is old would be refused for ever, while one that is unknown is taken as it comes.
//
// Errors: wal.ErrFull (nothing happened, try again), ErrLeading, ErrRemoved.
func (l *Log) Reset(to topic.Offset, epoch topic.Epoch) error {
	r := wal.Record{Kind: wal.Reset, Partition: l.partition, Epoch: epoch, Base: to}
	size := wal.EncodedLen(r)
	if !l.store.appender.TryReserve(wal.Relief, size) {
		return fmt.Errorf("reset the log to %d: %w", to, wal.ErrFull)
	}
	l.mu.Lock()
	err := l.followingLocked()
	if err == nil && l.mu.pinned > 0 {
		err = fmt.Errorf("reset the log to %d while it is compacted: %w", to, wal.ErrFull)
	}
	if err != nil {
		l.mu.Unlock()
		l.store.appender.Release(wal.Relief, size)
		return err
	}
	l.store.appender.Append(wal.Relief, r)
	l.mu.cuts.add(topic.NoOffset) // every batch that is under way was cut
	l.mu.resets++
	l.resetLocked(to, epoch)
	if l.store.cfg.mutant == CountsUnsyncedResets {
		l.mu.durable, l.mu.startDurable = to, to
	}
	woken := l.dismissLocked(ErrNotLeader)
	l.mu.Unlock()
	woken.call()
	return nil
}

// resetLocked empties the log.
func (l *Log) resetLocked(to topic.Offset, epoch topic.Epoch) {
	l.cutLocked(0, nil)
	l.mu.start, l.mu.highWatermark, l.mu.end = to, to, to
	l.mu.durable = min(l.mu.durable, to-1)
	l.mu.startDurable = min(l.mu.startDurable, to)
	l.mu.savedHighWatermark = to
	l.mu.compacted, l.mu.dropped = 0, 0
	if l.store.cfg.mutant != ResetsKeepProducers {
		l.mu.producers = newProducerTable(l.store.cfg.ProducersMax)
	}
	l.mu.epochs = nil
	if epoch != topic.NoEpoch && to > 0 {
		// As if the record before the log start were here, and nothing before that.
		l.mu.epochs.note(epoch, to-1)
	}
}

// settleStartLocked takes in that a LogStart record is durable.
func (l *Log) settleStartLocked(to topic.Offset) (moved bool) {
	to = min(to, l.mu.start) // a cut that is still behind it may have taken the first batch whole
	if l.mu.resets > 0 || to <= l.mu.startDurable {
		return false
	}
	l.mu.startDurable = to
	return true
}

// settleResetLocked takes in that a Reset record is durable: so is the empty log, unless there is
// another one under way.
func (l *Log) settleResetLocked(to topic.Offset) (moved bool) {
	l.mu.resets--
	if l.mu.resets > 0 {
		return false
	}
	l.mu.durable, l.mu.startDurable = to, to
	return true
}

// SetLowWatermark notes that the log starts of all in-sync replicas have reached low on their disks, and
// wakes who waited for it. It never moves down.
func (l *Log) SetLowWatermark(low topic.Offset) {
	l.mu.Lock()
	var woken wakeList
	if low > l.mu.lowWatermark {
		l.mu.lowWatermark = low
		woken = l.mu.awaitLow.reached(low, woken)
	}
	l.mu.Unlock()
	woken.call()
}

// AwaitLowWatermark is AwaitCommit for the low watermark: every in-sync replica starts at `start` or
// above, and so will every leader that is elected from among them.
func (l *Log) AwaitLowWatermark(
	epoch topic.Epoch, start topic.Offset, done func(error),
) (cancel func()) {
	l.mu.Lock()
	err := l.awaitLocked(epoch)
	if err != nil || l.mu.lowWatermark >= start {
		l.mu.Unlock()
		done(err)
		return func() {}
	}
	return l.wait(&l.mu.awaitLow, start, done)
}
