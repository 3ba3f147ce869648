package partition

import (
	"context"
	"errors"
	"fmt"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// AcksAll is the acks value of a producer that waits for all in-sync replicas.
const AcksAll = -1

// AppendOptions says how a batch is appended.
type AppendOptions struct {
	// Acks is the producer's: AcksAll, 0 or 1. It selects the gate (Role.AcceptAll, Role.AcceptOne)
	// and the error that a closed gate gives; waiting is a matter of AwaitCommit and AwaitDurable.
	Acks int16
	// Fenced: append in Epoch or not at all. It is for a coordinator whose state is that of an epoch:
	// leadership may have gone and come back since, with other records in between.
	Fenced bool
	Epoch  topic.Epoch
	// Continues: take a batch only if it continues its producer's sequence as the log knows it.
	Continues bool
	// Guard lets the batch begin its producer's transaction here; see GuardTransaction.
	Guard Guard

	// marker, if set, is the control record that the batch holds.
	marker *EndTransaction
}

// Appended is where a batch went.
type Appended struct {
	// Base is the offset of its first record, End the one after its last.
	Base, End topic.Offset
	LogStart  topic.Offset
	// Timestamp is the largest of the batch, as it stands in the log.
	Timestamp int64
	// Epoch is the leader epoch to wait in.
	Epoch topic.Epoch
	// Duplicate: the batch was there already, at these offsets. It may still be uncommitted, so the
	// producer's wait is the same.
	Duplicate bool
}

// Append appends a producer's batch, which package batch has found valid. It may wait for room below
// the bound on unacknowledged bytes and for space in the WAL, both until ctx ends; with a ctx that has
// ended already it is a try, which never waits. On success the
// log owns b: its base offset and leader epoch have been written into it, and nobody may change it
// any more. It is not copied, so what else lies in the same allocation is kept as long. On an error
// nothing was appended, no offset was used up and b is untouched.
//
// Errors: ErrNotLeader, ErrNotEnoughReplicas, ErrOutOfOrderSequence, ErrInvalidProducerEpoch,
// ErrNoTransaction, ErrTooManyAborted,
// wal.ErrFull (ctx ended), wal.ErrTooLarge, wal.ErrFailed, ErrStopped; ErrMalformed if b is no batch.
func (l *Log) Append(ctx context.Context, b []byte, o AppendOptions) (Appended, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return Appended{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r := wal.Record{Kind: wal.Data, Partition: l.partition, Count: h.LastOffsetDelta + 1, Payload: b,
		Summed: len(b) - batch.SummedFrom, Sum: h.CRC}
	bytes, size := int64(len(b)), wal.EncodedLen(r)
	// Refusals and duplicates are answered without a wait; what is decided here is decided again
	// once the waiting is over.
	first, decided, err := l.appendNow(h, r, o, size)
	if decided {
		return first, err
	}
	if err := l.takeRoom(ctx, bytes); err != nil {
		return Appended{}, err
	}
	if err := l.store.appender.Reserve(ctx, wal.Leader, size); err != nil {
		l.giveRoom(bytes)
		return Appended{}, reservationError(err)
	}
	a, err := l.assign(h, r, o, first.Epoch)
	if err != nil || a.Duplicate {
		// Every reservation is consumed or given back, on every path (failure mode 53).
		l.store.appender.Release(wal.Leader, size)
		l.giveRoom(bytes)
	}
	return a, err
}

// Starves reports whether appends to this node's logs wait for space on the disk, or one of a batch of so many bytes
// would. It is as of now: who must not fail asks before it decides anything.
func (l *Log) Starves(bytes int64) bool {
	w := l.store.walLog
	return w != nil && w.Starves(wal.Leader, wal.EncodedBytes(int(bytes)))
}

// Starved reports whether appends wait for space on the disk.
func (s *Store) Starved() bool { return s.walLog.Starved() }

// reservationError says in this package's words that the WAL has stopped.
func reservationError(err error) error {
	if errors.Is(err, wal.ErrClosed) {
		return fmt.Errorf("reserve space for a batch: %w: %w", ErrStopped, err)
	}
	return fmt.Errorf("reserve space for a batch: %w", err)
}

// appendNow judges a batch and appends it, unless it has to wait for room or space: then it is not decided.
func (l *Log) appendNow(h batch.Header, r wal.Record, o AppendOptions, size int64) (a Appended, decided bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, err = l.admitLocked(h, o)
	if err != nil || a.Duplicate {
		return a, true, err
	}
	if !l.mu.room.free(int64(len(r.Payload))) || !l.store.appender.TryReserve(wal.Leader, size) {
		return a, false, nil
	}
	return l.assignLocked(h, r, a), true, nil
}

// admitLocked judges a batch: may this node append now, and does the batch follow its producer's
// last one? A duplicate is answered with the offsets that it has (failure mode 49).
func (l *Log) admitLocked(h batch.Header, o AppendOptions) (Appended, error) {
	if err := l.gateLocked(o.Acks); err != nil {
		return Appended{}, err
	}
	if o.Fenced && o.Epoch != l.mu.role.Epoch {
		return Appended{}, ErrNotLeader
	}
	a := Appended{LogStart: l.mu.start, Epoch: l.mu.role.Epoch, Timestamp: h.MaxTimestamp}
	if o.marker != nil {
		return a, l.mu.producers.judgeMarker(o.marker)
	}
	original, duplicate, err := l.mu.producers.judge(h, o.Continues)
	if err == nil && !duplicate {
		err = l.mu.producers.transactions.judge(h, o.Guard)
	}
	if err != nil {
		return Appended{}, err
	}
	if duplicate {
		a.Base, a.End, a.Timestamp, a.Duplicate = original.base, original.end, original.timestamp, true
	}
	return a, nil
}

// gateLocked says whether this node may append as leader now.
func (l *Log) gateLocked(acks int16) error {
	role := l.mu.role
	switch {
	case l.removedLocked():
		return ErrNotLeader
	case l.mu.failed != nil:
		return l.mu.failed
	case !role.Leading, role.Epoch < l.mu.epochs.tail():
		return ErrNotLeader
	}
	open, refusal := role.AcceptOne, ErrNotLeader
	if acks == AcksAll {
		open, refusal = role.AcceptAll, ErrNotEnoughReplicas
	}
	if !open || !l.store.Leased() {
		return refusal
	}
	return nil
}

// assign is the end of an append that has waited. Space and room are reserved, so from
// the assignment on nothing can be refused: there are no holes (failure mode 29).
// What the caller knows of the producer's batches before may not be so any more in another epoch than the one in which the
// batch was admitted first.
func (l *Log) assign(h batch.Header, r wal.Record, o AppendOptions, admitted topic.Epoch) (Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, err := l.admitLocked(h, o)
	if err == nil && a.Epoch != admitted {
		err = ErrNotLeader
	}
	if err != nil || a.Duplicate {
		return a, err
	}
	l.mu.room.granted -= int64(len(r.Payload))
	return l.assignLocked(h, r, a), nil
}

// assignLocked gives a batch that was admitted its offsets and hands it to the WAL.
func (l *Log) assignLocked(h batch.Header, r wal.Record, a Appended) Appended {
	r.Base, r.Epoch = l.mu.end, l.mu.role.Epoch
	batch.SetBaseOffset(r.Payload, int64(r.Base))
	batch.SetLeaderEpoch(r.Payload, int32(r.Epoch))
	l.enqueueLocked(wal.Leader, h, r)
	a.Base, a.End = r.Base, l.mu.end
	return a
}

// Entry is one batch on its way between replicas.
type Entry struct {
	Partition topic.Partition
	Epoch     topic.Epoch
	// PrevEpoch is the epoch of the record before Base, NoEpoch if there is none.
	PrevEpoch topic.Epoch
	Base      topic.Offset
	Count     int32
	// Payload is the batch with Base and Epoch written into it. It is immutable.
	Payload []byte
}

// AppendReplica appends a leader's batch as it is, in a follower's log. Whoever received it has found
// its checksum right. It never waits. On success the log owns e.Payload.
//
// Errors: ErrGap if e.Base is not the log end, above it or below (failure modes 22, 23); ErrDiverged
// if e.PrevEpoch is not the tail's, or e.Epoch is older than it; ErrMalformed; ErrLeading;
// ErrRemoved; wal.ErrFull if the follower's share of the WAL queue or the disk is full.
func (l *Log) AppendReplica(e Entry) error {
	h, err := batch.ParseHeader(e.Payload)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if h.BaseOffset != int64(e.Base) || h.PartitionLeaderEpoch != int32(e.Epoch) ||
		h.LastOffsetDelta+1 != e.Count || e.Count <= 0 || e.Partition != l.partition {
		return fmt.Errorf("%w: entry of %v at %d, epoch %d, count %d holds a batch at %d, %d, %d",
			ErrMalformed, e.Partition, e.Base, e.Epoch, e.Count,
			h.BaseOffset, h.PartitionLeaderEpoch, h.LastOffsetDelta+1)
	}
	r := wal.Record{Kind: wal.Data, Partition: l.partition, Epoch: e.Epoch, Base: e.Base,
		Count: e.Count, Payload: e.Payload, Summed: len(e.Payload) - batch.SummedFrom, Sum: h.CRC}
	size := wal.EncodedLen(r)
	if !l.store.appender.TryReserve(wal.Follower, size) {
		return fmt.Errorf("reserve space for an entry: %w", wal.ErrFull)
	}
	if err := l.follow(h, r, e.PrevEpoch); err != nil {
		l.store.appender.Release(wal.Follower, size)
		return err
	}
	return nil
}

// follow appends r behind a record of prevEpoch, or says why it does not belong there.
func (l *Log) follow(h batch.Header, r wal.Record, prevEpoch topic.Epoch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	tail := l.mu.epochs.tail()
	switch {
	case l.mu.failed != nil:
		return l.mu.failed
	case l.mu.role.Leading:
		return ErrLeading
	case r.Base != l.mu.end:
		return fmt.Errorf("%w: entry at %d, log end %d", ErrGap, r.Base, l.mu.end)
	case prevEpoch != tail || r.Epoch < tail:
		return fmt.Errorf("%w: entry of epoch %d follows epoch %d, the log ends in %d",
			ErrDiverged, r.Epoch, prevEpoch, tail)
	}
	l.enqueueLocked(wal.Follower, h, r)
	if l.store.cfg.mutant == FollowersForgetProducers {
		l.mu.producers = newProducerTable(l.store.cfg.ProducersMax)
	}
	return nil
}
