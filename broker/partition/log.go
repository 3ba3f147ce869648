package partition

import (
	"errors"
	"sync"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// Log is one partition's log. It is safe for concurrent use.
type Log struct {
	partition topic.Partition
	store     *Store
	// touched marks the log while a durable group is worked through. It belongs to the WAL's writer
	// goroutine.
	touched bool

	// mu is held briefly: never over I/O, a wait or a callback, but for a page of the index (see Spill). Under it only the WAL's own mutex is
	// taken, by Append, and that one is never held while the WAL calls us.
	mu struct {
		sync.Mutex
		role Role
		// failed is why the log takes nothing any more: ErrRemoved, ErrStopped or wal.ErrFailed.
		failed error

		start, highWatermark, durable, end topic.Offset
		// startDurable is the log start as of the records that are durable. lowWatermark is what the
		// log starts of all in-sync replicas were known to have reached on their disks.
		startDurable, lowWatermark topic.Offset
		// resets counts the Reset records under way: until they are durable, durable < start.
		resets int

		// index holds all batches; the first `committed` lie wholly below the high watermark, the
		// first `settled` are durable.
		index              index
		committed, settled int
		// tail holds the bytes of the last tail.len() batches of the index.
		tail queue[held]
		// heldCount numbers what was ever held, so that none is mistaken for another.
		heldCount uint64

		epochs    epochCache
		producers *producerTable

		cuts cuts
		room room

		// damaged lists the bases of batches that the disk does not give back, sorted.
		damaged []topic.Offset
		// prepared is the producers' state as of the first damaged batch, nil if nobody has made it.
		prepared    *producerTable
		preparedEnd topic.Offset

		// expected are offsets where reads from disk have ended: who reads from there on reads on.
		// expectedNext is the place of the next one that is learned of.
		expected     [expectedMax]topic.Offset
		expectedNext int

		// compacted is how far the log was compacted. uncleanable: it cannot be. Below pinned nothing may be
		// cut now, since a compaction is being recorded.
		compacted, pinned topic.Offset
		uncleanable       bool
		// dropped is one past the newest tombstone or marker that is known to be gone, or may be, dropping what
		// that will be once the compaction that is being recorded counts: see State.
		dropped, dropping topic.Offset

		// bytes is the size of all batches, room.unacked of those above the high watermark.
		bytes              int64
		savedHighWatermark topic.Offset

		// awaitHigh holds commit waiters and long polls, awaitDurable those of acks=1, awaitLow those
		// of DeleteRecords.
		awaitHigh, awaitDurable, awaitLow waiters
	}
}

// held is a batch kept in memory.
type held struct {
	payload []byte
	number  uint64
}

// Role is what a node is allowed to do with a partition now.
type Role struct {
	// Leading: this node was elected in Epoch.
	Leading bool
	Epoch   topic.Epoch
	// AcceptAll lets acks=all batches in: enough in-sync replicas are heard.
	AcceptAll bool
	// AcceptOne lets acks=0 and acks=1 batches in.
	AcceptOne bool
	// Ready: the high watermark has reached the start of Epoch, so "latest" has an answer.
	Ready bool
}

// State is a moment of a log.
type State struct {
	// DurableEnd is below LogStart while a reset is not durable: nothing may be said of the log then.
	LogStart, HighWatermark, DurableEnd, LogEnd topic.Offset
	// First is where the first batch begins, which may hold records below LogStart; LogEnd if there is
	// none. StartDurable is the log start that would be left by a crash.
	First, StartDurable topic.Offset
	// Dropped is one past the newest offset where compaction has dropped a tombstone or a marker, here or, as
	// far as can be seen, at a leader that this log was copied from; 0 if nowhere. Records below it that came
	// from another log may lack here what ends them. Dropping is what a compaction that is being recorded will
	// make of it, 0 while none is: whoever is sent records meanwhile may have some of before and some of after.
	Dropped, Dropping topic.Offset
	// LowWatermark is what the log starts of all in-sync replicas were known to have reached.
	LowWatermark topic.Offset
	// LastStable is the offset below which every transaction is decided; it is never above HighWatermark.
	LastStable topic.Offset
	// TailEpoch is the epoch of the last record, NoEpoch in an empty log.
	TailEpoch topic.Epoch
	Role      Role
	// Size is the bytes of all batches, Unacked of those above the high watermark.
	Size, Unacked int64
	// Damaged: a batch is known that the disk does not give back; the first one begins at DamagedAt.
	Damaged   bool
	DamagedAt topic.Offset
	// Cuts counts the truncations of this log since Open. A DurableEnd that bears another count
	// speaks of records that may have been cut.
	Cuts uint64
}

func newLog(s *Store, p topic.Partition) *Log {
	l := &Log{partition: p, store: s}
	l.mu.role = Role{Epoch: topic.NoEpoch}
	l.mu.producers = newProducerTable(s.cfg.ProducersMax)
	l.mu.room.bytesMax = s.cfg.UnackedBytesMax
	l.mu.index.extents = s.cfg.ChunkBatches
	return l
}

// Partition names the partition whose log this is.
func (l *Log) Partition() topic.Partition { return l.partition }

// State returns the log's present state.
func (l *Log) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{
		LogStart:      l.mu.start,
		First:         l.firstLocked(),
		StartDurable:  l.mu.startDurable,
		Dropped:       l.mu.dropped,
		Dropping:      l.mu.dropping,
		LowWatermark:  l.mu.lowWatermark,
		HighWatermark: l.mu.highWatermark,
		DurableEnd:    l.mu.durable,
		LogEnd:        l.mu.end,
		LastStable:    l.lastStableLocked(),
		TailEpoch:     l.mu.epochs.tail(),
		Role:          l.mu.role,
		Size:          l.mu.bytes,
		Unacked:       l.mu.room.unacked,
		Cuts:          l.mu.cuts.count,
	}
	if l.store.cfg.mutant == TombstonesIgnoreReplicas {
		s.Dropped, s.Dropping = 0, 0
	}
	if len(l.mu.damaged) > 0 {
		s.Damaged, s.DamagedAt = true, l.mu.damaged[0]
	}
	return s
}

// Assume sets what this node may do with the partition. Losing the leadership, or getting it in a
// new epoch, ends every wait with ErrNotLeader; the flags may change within an epoch, and then
// nobody is woken but those who wait for room. A role of an older epoch is ignored: epochs never go
// backwards (failure mode 42).
func (l *Log) Assume(r Role) {
	l.mu.Lock()
	if r.Epoch < l.mu.role.Epoch {
		l.mu.Unlock()
		return
	}
	var woken wakeList
	changed := r.Leading != l.mu.role.Leading || r.Epoch != l.mu.role.Epoch
	if changed && l.store.cfg.mutant != WaitsOutliveEpochs {
		woken = l.dismissLocked(ErrNotLeader)
	}
	l.mu.role = r
	if changed {
		l.mu.lowWatermark = 0 // it speaks of the in-sync replicas of an epoch
	}
	l.mu.Unlock()
	woken.call()
	if changed {
		l.store.roleChanged()
	}
}

// dismissLocked ends all waits.
func (l *Log) dismissLocked(err error) wakeList {
	woken := make(wakeList, 0, len(l.mu.awaitHigh)+len(l.mu.awaitDurable)+len(l.mu.awaitLow))
	woken = l.mu.awaitHigh.all(err, woken)
	woken = l.mu.awaitLow.all(err, woken)
	woken = l.mu.awaitDurable.all(err, woken)
	l.mu.room.dismiss(err)
	return woken
}

// fail makes the log take nothing any more, and ends all waits. The first reason stays.
func (l *Log) fail(err error) {
	l.mu.Lock()
	if l.mu.failed == nil {
		l.mu.failed = err
	}
	woken := l.dismissLocked(err)
	l.mu.Unlock()
	woken.call()
}

// remove appends the Remove record r, whose space is reserved, and lets go of all memory. Waiters
// hear ErrNotLeader: their client looks for the partition elsewhere.
func (l *Log) remove(r wal.Record) {
	l.mu.Lock()
	l.mu.failed = ErrRemoved
	if l.store.cfg.mutant != RemovesStayInMemory {
		l.store.appender.Append(wal.Relief, r)
	}
	woken := l.dismissLocked(ErrNotLeader)
	l.mu.role = Role{Epoch: l.mu.role.Epoch}
	l.mu.index.reset()
	l.mu.committed, l.mu.settled = 0, 0
	l.mu.tail = queue[held]{}
	l.store.dropped.Add(1)
	l.mu.damaged, l.mu.prepared = nil, nil
	l.mu.producers = newProducerTable(l.store.cfg.ProducersMax)
	l.mu.bytes, l.mu.room.unacked = 0, 0
	l.mu.Unlock()
	woken.call()
	l.store.roleChanged()
}

// removedLocked reports whether the partition was removed from this node.
func (l *Log) removedLocked() bool { return errors.Is(l.mu.failed, ErrRemoved) }

// extendLocked adds a batch to everything that is derived from batches. r.Base is the log end; r.At is the zero of one that is not
// durable.
func (l *Log) extendLocked(h batch.Header, r wal.Placed) {
	l.mu.index.push(extent{
		at:      r.At,
		base:    r.Base,
		latest:  newestOf(h),
		newest:  newestOf(h),
		count:   r.Count,
		epoch:   r.Epoch,
		bytes:   int32(len(r.Payload)),
		encoded: int32(wal.EncodedLen(r.Record)),
	})
	l.mu.epochs.note(r.Epoch, r.Base)
	l.mu.producers.take(h, r.Base, r.Payload, l.store.cfg.Now())
	l.mu.end = r.Base + topic.Offset(r.Count)
	if h.Records < r.Count {
		l.mu.dropped = l.mu.end // Its leader had compacted it. What was there cannot be told any more.
	}
	l.mu.bytes += int64(len(r.Payload))
	l.mu.room.unacked += int64(len(r.Payload))
}

// enqueueLocked hands a batch to the WAL and extends the log by it. Both happen under the mutex, so
// the order of the WAL is the order of offsets (failure mode 29).
func (l *Log) enqueueLocked(b wal.Budget, h batch.Header, r wal.Record) {
	l.store.appender.Append(b, r)
	l.extendLocked(h, wal.Placed{Record: r})
	l.mu.heldCount++
	l.mu.tail.push(held{payload: r.Payload, number: l.mu.heldCount})
}
