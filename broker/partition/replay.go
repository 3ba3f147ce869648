package partition

import (
	"errors"
	"fmt"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// replay takes in one record of the WAL, on the way of Open: the records pass by once, in order, and
// no payload is kept. All of them are durable, so durable end and log end agree when it is over.
func (s *Store) replay(r wal.Placed) error {
	if s.cfg.Catalog != nil {
		s.digests.add(r)
	}
	logs := s.mu.logs // nobody else knows the store yet
	l := logs[r.Partition]
	if r.Kind == wal.Remove {
		if l != nil {
			l.mu.index.reset()
		}
		delete(logs, r.Partition)
		s.mu.sorted = nil
		return nil
	}
	if l == nil {
		l = s.openLog(r.Partition)
	}
	if err := l.replay(r); err != nil {
		return fmt.Errorf("replay %v: %w", r.Partition, err)
	}
	return nil
}

// openLog makes a log on the way of Open, when nobody else knows the store.
func (s *Store) openLog(p topic.Partition) *Log {
	l := newLog(s, p)
	l.mu.index.spill, l.mu.index.hasty = s.cfg.Spill, true
	s.mu.logs[p], s.mu.sorted = l, nil
	return l
}

// finishReplay does what could not be done while the records passed by.
func (s *Store) finishReplay() error {
	for _, l := range s.snapshot() {
		l.mu.index.hasty, l.mu.index.spare = false, nil
		if err := l.finishReplay(); err != nil {
			return fmt.Errorf("%v: %w", l.partition, err)
		}
	}
	return nil
}

// replay takes in one record.
func (l *Log) replay(r wal.Placed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.Kind {
	case wal.Data:
		return l.replayDataLocked(r)
	case wal.Truncate:
		stale := r.Base < l.mu.highWatermark
		l.cutLocked(r.Base, nil)
		if stale {
			l.mu.producers.stale = true
			l.mu.producers.forget(l.mu.end)
		}
	case wal.LogStart:
		if r.Base > l.mu.end {
			l.resetLocked(r.Base, r.Epoch)
			l.mu.durable = r.Base
		} else {
			l.moveStartLocked(r.Base)
		}
		l.mu.startDurable = l.mu.start
	case wal.Reset:
		l.resetLocked(r.Base, r.Epoch)
		l.mu.durable, l.mu.startDurable = r.Base, r.Base
	case wal.HighWatermark:
		l.commitLocked(r.Base, nil)
		l.mu.savedHighWatermark = l.mu.highWatermark
	default:
		return fmt.Errorf("record at %v is of unknown kind %d", r.At, r.Kind)
	}
	return nil
}

// replayDataLocked takes in a batch. The WAL yields records in the order of Append, so the batch
// starts at the log end; one that does not is damage that the WAL did not see.
func (l *Log) replayDataLocked(r wal.Placed) error {
	h, err := batch.ParseHeader(r.Payload)
	if err != nil {
		return fmt.Errorf("parse batch at %v: %w", r.At, err)
	}
	if r.Base != l.mu.end || r.Epoch < l.mu.epochs.tail() || r.Count != h.LastOffsetDelta+1 {
		return fmt.Errorf("batch at %v has base %d, epoch %d, count %d; log ends at %d, epoch %d",
			r.At, r.Base, r.Epoch, r.Count, l.mu.end, l.mu.epochs.tail())
	}
	l.extendLocked(h, r)
	l.mu.settled++
	l.mu.durable = l.mu.end
	return nil
}

// finishReplay rebuilds the producers of a log that was once cut below its high watermark: while the
// records pass by, those below the cut cannot be read again.
func (l *Log) finishReplay() error {
	l.mu.Lock()
	stale, end, highWatermark := l.mu.producers.stale, l.mu.end, l.mu.highWatermark
	l.mu.Unlock()
	if !stale {
		return nil
	}
	producers, err := l.rebuildProducers(end, highWatermark, false)
	if errors.Is(err, wal.ErrDamaged) {
		return l.finishDamaged(end, highWatermark)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.producers = producers
	return nil
}

// finishDamaged is for a log of which a pack does not give a batch back, which is noted by now. The log will be cut below
// it, and what the table should be is found out then. Until then it knows of producers what was remembered, but for what
// was cut, and of transactions what the other batches tell as well: one whose marker was cut is open again.
func (l *Log) finishDamaged(end, highWatermark topic.Offset) error {
	producers, err := l.rebuildProducers(end, highWatermark, true)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.producers.transactions.recall(&producers.transactions)
	return nil
}
