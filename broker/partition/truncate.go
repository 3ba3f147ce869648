package partition

import (
	"errors"
	"fmt"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// cuts are the truncations on their way through the WAL. A cut counts in memory at once; the records
// that it removed may still be ahead of it in the WAL, and what the WAL says of those must not be
// taken for news of the records that came in their place:
//
//  1. A follower appends 100..110. Its group is sealed, the sync begins.
//  2. Truncate(100): the log end is 100; the Truncate record waits behind the sync.
//  3. AppendReplica puts other records at 100..105.
//  4. The sync of 1 ends. The durable end stays at 100: 110 is no offset of this log, and 100..105
//     of the new leader's records are in memory only. An ack of 105 now, and a crash, would lose
//     them although they were counted.
//  5. The group of 2 and 3 is durable: now the durable end is 105.
//
// Since the WAL keeps the order, a record was cut if and only if a cut below its end is still behind
// it. So a list of the cuts under way is enough, and it is nearly always empty.
type cuts struct {
	// pending holds the new log end of each cut that is not durable; the first `sealed` are sealed.
	pending queue[topic.Offset]
	sealed  int
	// count numbers the incarnations of the log between cuts.
	count uint64
}

func (c *cuts) add(end topic.Offset) {
	c.pending.push(end)
	c.count++
}

// overUnsealed reports whether a record that is being sealed and ends at end was cut.
func (c *cuts) overUnsealed(end topic.Offset) bool { return c.over(end, c.sealed) }

// overUndurable reports whether a record that has become durable and ends at end was cut.
func (c *cuts) overUndurable(end topic.Offset) bool { return c.over(end, 0) }

func (c *cuts) over(end topic.Offset, from int) bool {
	for i := from; i < c.pending.len(); i++ {
		if *c.pending.at(i) < end {
			return true
		}
	}
	return false
}

// seal and settle note that the next cut has been sealed, has become durable.
func (c *cuts) seal() { c.sealed++ }

func (c *cuts) settle() {
	c.pending.pop()
	c.sealed--
}

// Truncate cuts a follower's log back to `to`, or to the start of the batch that holds it: State
// tells where the log ends then. Cutting at or above the log end does nothing. The cut is in force
// on return, the record of it is queued; a crash before that is durable brings the old tail back,
// which is then reconciled again.
//
// Cutting below the high watermark, which only an unclean election asks for, lowers it and reads the
// log to rebuild the producers' state; otherwise there is no I/O.
//
// Errors: wal.ErrFull (nothing happened, try again), ErrLeading, ErrRemoved, what reading gave.
func (l *Log) Truncate(to topic.Offset) error {
	for {
		end, belowCommitted, err := l.planCut(to)
		if err != nil || end == topic.NoOffset {
			return err
		}
		var producers *producerTable
		if belowCommitted {
			l.store.cfg.Logger.Warn("committed records are cut", keyPartition, l.partition,
				keyLogEnd, end, keyHighWatermark, l.State().HighWatermark)
			if producers, err = l.producersAt(end); err != nil {
				return fmt.Errorf("truncate to %d: %w", end, err)
			}
		}
		r := wal.Record{Kind: wal.Truncate, Partition: l.partition, Epoch: topic.NoEpoch, Base: end}
		size := wal.EncodedLen(r)
		if !l.store.appender.TryReserve(wal.Relief, size) {
			return fmt.Errorf("truncate to %d: %w", end, wal.ErrFull)
		}
		if l.cut(r, producers) {
			return nil
		}
		// The log changed since it was looked at. The plan is made anew.
		l.store.appender.Release(wal.Relief, size)
	}
}

// planCut says where a cut to `to` would end the log, NoOffset if it would cut nothing, and whether
// that is below the high watermark.
func (l *Log) planCut(to topic.Offset) (end topic.Offset, belowCommitted bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.followingLocked(); err != nil {
		return topic.NoOffset, false, err
	}
	end, _ = l.boundaryLocked(to)
	if end == l.mu.end {
		return topic.NoOffset, false, nil
	}
	if end < l.mu.pinned {
		return topic.NoOffset, false, fmt.Errorf("cut to %d while the log is compacted: %w", end, wal.ErrFull)
	}
	return end, end < l.mu.highWatermark, nil
}

// followingLocked says whether somebody else may decide what is in the log.
func (l *Log) followingLocked() error {
	if l.mu.failed != nil {
		return l.mu.failed
	}
	if l.mu.role.Leading {
		return ErrLeading
	}
	return nil
}

// boundaryLocked finds the log end that a cut to `to` leaves, and how many batches.
func (l *Log) boundaryLocked(to topic.Offset) (end topic.Offset, kept int) {
	if to >= l.mu.end {
		return l.mu.end, l.mu.index.len()
	}
	kept = l.mu.index.covering(to)
	if kept == 0 {
		// The first batch may hold records below the log start. It goes as a whole, as any other does,
		// and the start with it: the leader, which has the batch, will say where the log starts.
		return min(l.mu.start, l.firstLocked()), 0
	}
	return l.mu.index.at(kept - 1).end(), kept
}

// producersAt is the producers' state as of a log end below the high watermark: what PrepareCut has
// made, if that is the end it was made for.
func (l *Log) producersAt(end topic.Offset) (*producerTable, error) {
	if l.store.cfg.mutant == RepairsForgetProducers {
		return newProducerTable(l.store.cfg.ProducersMax), nil
	}
	l.mu.Lock()
	prepared := l.mu.prepared
	usable := prepared != nil && l.mu.preparedEnd == end
	l.mu.Unlock()
	if usable {
		return prepared, nil
	}
	return l.rebuildProducers(end, end, false)
}

// cut carries out a planned cut, unless the plan no longer holds. producers is the state as of the
// new end, nil if the cut stays above the high watermark.
func (l *Log) cut(r wal.Record, producers *producerTable) bool {
	l.mu.Lock()
	end, _ := l.boundaryLocked(r.Base)
	belowCommitted := end < l.mu.highWatermark
	if l.followingLocked() != nil || end != r.Base || belowCommitted != (producers != nil) || end < l.mu.pinned {
		l.mu.Unlock()
		return false
	}
	l.store.appender.Append(wal.Relief, r)
	l.mu.cuts.add(end)
	l.cutLocked(end, producers)
	var woken wakeList
	if l.store.cfg.mutant != WaitsOutliveEpochs {
		woken = l.dismissLocked(ErrNotLeader)
	}
	l.mu.Unlock()
	woken.call()
	return true
}

// cutLocked moves the log end, and all that depends on it, back to `to`. producers replaces the
// producers' state if the cut is below the high watermark.
func (l *Log) cutLocked(to topic.Offset, producers *producerTable) {
	end, kept := l.boundaryLocked(to)
	removed := l.mu.index.len() - kept
	bytes, _ := l.mu.index.sum(kept, l.mu.index.len())
	unacked, _ := l.mu.index.sum(max(kept, l.mu.committed), l.mu.index.len())
	l.mu.bytes -= bytes
	l.mu.room.unacked -= unacked
	l.mu.start = min(l.mu.start, end)
	l.mu.startDurable = min(l.mu.startDurable, l.mu.start)
	l.mu.index.cut(kept)
	if removed > 0 {
		l.store.dropped.Add(1)
	}
	l.mu.tail.cut(max(0, l.mu.tail.len()-removed))
	l.mu.epochs.cut(end)
	l.mu.end = end
	l.mu.durable = min(l.mu.durable, end)
	l.mu.settled = min(l.mu.settled, kept)
	l.forgetDamageLocked()
	if end <= l.mu.preparedEnd {
		l.mu.prepared = nil // In use now, or made from batches in whose place others may come.
	}
	l.mu.committed = min(l.mu.committed, kept)
	l.mu.compacted = min(l.mu.compacted, end)
	l.mu.dropped = min(l.mu.dropped, end)
	l.mu.savedHighWatermark = min(l.mu.savedHighWatermark, end)
	if producers != nil {
		l.mu.producers = producers
	} else {
		l.mu.producers.cut(end)
	}
	l.mu.highWatermark = min(l.mu.highWatermark, end)
	l.mu.producers.commit(l.mu.highWatermark)
	l.mu.room.grant()
}

// rebuildProducers derives the producers' state from the batches below end, by reading them. What
// lies below highWatermark is committed. Damaged batches are passed over if skip says so.
func (l *Log) rebuildProducers(end, highWatermark topic.Offset, skip bool) (*producerTable, error) {
	producers := newProducerTable(l.store.cfg.ProducersMax)
	rereads := 0
	for from := topic.Offset(0); ; {
		pieces := l.pieces(from, end, rebuildBytes)
		if len(pieces) == 0 {
			return producers, nil
		}
		loaded, err := l.load(pieces)
		damaged := errors.Is(err, wal.ErrDamaged)
		if errors.Is(err, errRewritten) && rereads < rereadsMax {
			rereads++
			continue
		} else if skip && damaged {
			from, pieces = pieces[loaded].end(), pieces[:loaded]
		} else if err != nil {
			return nil, fmt.Errorf("rebuild producer state: %w", err)
		}
		for _, p := range pieces {
			h, err := batch.ParseHeader(p.payload)
			if err != nil {
				return nil, fmt.Errorf("rebuild producer state at %d: %w", p.base, err)
			}
			producers.take(h, p.base, p.payload, l.store.cfg.Now())
			producers.commit(min(p.end(), highWatermark))
			from = max(from, p.end())
		}
		if damaged {
			producers.transactions.passOver()
		}
	}
}

// rebuildBytes is how much rebuildProducers reads at once.
const rebuildBytes = 1 << 20
