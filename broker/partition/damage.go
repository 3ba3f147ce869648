package partition

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// DamagedLog is a log with a batch that the disk does not give back.
type DamagedLog struct {
	Partition topic.Partition
	// Offset is the first of the first such batch.
	Offset topic.Offset
}

// DamageFound is signalled when a batch was found damaged that was not known to be. It holds one token.
func (s *Store) DamageFound() <-chan struct{} { return s.damageFound }

// Damaged lists the logs with damaged batches, by partition.
func (s *Store) Damaged() []DamagedLog {
	var all []DamagedLog
	for _, l := range s.snapshot() {
		if s := l.State(); s.Damaged {
			all = append(all, DamagedLog{Partition: l.partition, Offset: s.DamagedAt})
		}
	}
	return all
}

// scrubbed takes a place that the WAL's scrub has found. What a log has there is read batch by batch,
// for a group that is damaged can hold many that are not.
func (s *Store) scrubbed(d wal.Damage) {
	batches, partitions := s.examine(d)
	attrs := []any{keyFile, d.File, keyOffset, d.At.Offset, keyBytes, d.Bytes, keyReason, d.Reason,
		keyBatches, batches, keyPartitions, partitions}
	pack := d.At.File&wal.PackBit != 0
	switch {
	case pack && batches == 0:
		s.cfg.Logger.Error("pack is damaged where no batch lies that is still needed", attrs...)
	case pack:
		s.cfg.Logger.Error("pack is damaged, batches are lost here; their replicas are filled again by "+
			"their leaders", attrs...)
	case batches == 0:
		s.cfg.Logger.Error("write-ahead log is damaged where no batch lies that is still needed; "+
			"a start before that file is drained sets it aside from there on", attrs...)
	default:
		s.cfg.Logger.Error("write-ahead log is damaged, batches are lost here; a start before that "+
			"file is drained sets it aside from there on", attrs...)
	}
}

// refusalsMax is how often a device may refuse what is examined before it is asked for no more: each answer may take it
// seconds. What was not asked for is found when somebody reads it.
const refusalsMax = 32

// refusals counts what the device has refused.
func (s *Store) refusals() int64 {
	if s.walLog == nil {
		return 0
	}
	return s.walLog.Refusals()
}

// examine verifies every batch that lies in the damaged range, as far as the device answers, and counts the damaged
// ones and their partitions.
func (s *Store) examine(d wal.Damage) (batches, partitions int) {
	most := s.refusals() + refusalsMax
	end := wal.Position{File: d.At.File, Offset: d.At.Offset + d.Bytes}
	for _, l := range s.snapshot() {
		found := 0
		for left := l.between(d.At, end); len(left) > 0 && s.refusals() < most; {
			some := slices.Clone(left[:1])
			for n := int64(left[0].encoded); len(some) < len(left) && n < passBytes; n += int64(left[len(some)-1].encoded) {
				some = append(some, left[len(some)])
			}
			good, err := l.load(some)
			if errors.Is(err, wal.ErrDamaged) {
				found++
			}
			left = left[min(len(left), good+min(1, len(some)-good)):]
		}
		batches += found
		partitions += min(found, 1)
	}
	return batches, partitions
}

// passOver finds where a scan goes on behind a record that it cannot read: at the next batch that any
// log has. ok is false if there is none. What lies there is examined, once: the same scan comes again
// as long as somebody lacks the batch.
func (s *Store) passOver(d *wal.Damage) (next wal.Position, ok bool) {
	s.mu.Lock()
	known := s.mu.passed[d.At]
	s.mu.passed[d.At] = true
	s.mu.Unlock()
	if !known {
		s.scrubbed(wal.Damage{At: d.At, File: d.File, Reason: d.Reason, Bytes: passBytes})
	}
	return s.behind(d.At)
}

// behind is where the first batch lies behind a place that any log has, and that is not known to be damaged.
func (s *Store) behind(place wal.Position) (next wal.Position, ok bool) {
	for _, l := range s.snapshot() {
		if at, found := l.after(place); found && (!ok || at.Compare(next) < 0) {
			next, ok = at, true
		}
	}
	return next, ok
}

// passBytes is how far behind a record that cannot be read others are looked at.
const passBytes = 1 << 20

// between lists the durable batches that lie in the WAL at or after from and before end, none of them
// from memory.
func (l *Log) between(from, end wal.Position) []piece {
	l.mu.Lock()
	defer l.mu.Unlock()
	var pieces []piece
	for i := l.placedLocked(from); i < l.mu.settled && l.mu.index.at(i).at.Compare(end) < 0; i++ {
		pieces = append(pieces, piece{extent: l.mu.index.at(i)})
	}
	return pieces
}

// after is where the first batch behind a place in the WAL lies that is not known to be damaged.
func (l *Log) after(at wal.Position) (wal.Position, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.placedLocked(at); i < l.mu.settled; i++ {
		if e := l.mu.index.at(i); e.at != at && !l.damagedLocked(e.base) {
			return e.at, true
		}
	}
	return wal.Position{}, false
}

// placedLocked is the first durable batch at or behind a place in the WAL: a log's batches lie there in
// the order of their offsets.
func (l *Log) placedLocked(at wal.Position) int {
	return min(l.mu.settled, l.mu.index.placed(at))
}

// damagedLocked reports whether the batch at base is known to be damaged.
func (l *Log) damagedLocked(base topic.Offset) bool {
	_, found := slices.BinarySearch(l.mu.damaged, base)
	return found
}

// noteDamage remembers that the disk does not give the batch e back, and tells whoever repairs. Nothing is repaired in a store that has
// ended, where a batch may be looked for in the wrong place (see unread.read).
func (l *Log) noteDamage(e extent) {
	l.mu.Lock()
	i := l.mu.index.covering(e.base)
	if i >= l.mu.settled || l.mu.index.at(i).at != e.at || l.damagedLocked(e.base) || l.mu.failed != nil {
		l.mu.Unlock()
		return
	}
	at, _ := slices.BinarySearch(l.mu.damaged, e.base)
	l.mu.damaged = slices.Insert(l.mu.damaged, at, e.base)
	l.mu.Unlock()
	l.store.cfg.Logger.Error("batch is damaged on disk", keyPartition, l.partition, keyOffset, e.base,
		keyFile, e.at.String())
	select {
	case l.store.damageFound <- struct{}{}:
	default:
	}
}

// forgetDamageLocked drops what is known of batches that are not part of the log any more.
func (l *Log) forgetDamageLocked() {
	if l.store.cfg.mutant == ForgetsDamage {
		l.mu.damaged = nil
	}
	l.mu.damaged = slices.DeleteFunc(l.mu.damaged, func(base topic.Offset) bool {
		i := l.mu.index.covering(base)
		return i >= l.mu.index.len() || l.mu.index.at(i).base != base
	})
	if len(l.mu.damaged) == 0 {
		l.mu.producers.transactions.doubt = math.MaxInt64
	}
}

// PrepareCut reads what CutDamage will need, so that it can be called where nothing may wait for a disk.
// It may be called in any role: what lies below a damaged batch that is committed does not change. More
// damage may be found on the way; then what is needed is less.
func (s *Store) PrepareCut(p topic.Partition) error {
	l := s.Log(p)
	if l == nil {
		return nil
	}
	for {
		l.mu.Lock()
		if len(l.mu.damaged) == 0 {
			l.mu.Unlock()
			return nil
		}
		end, _ := l.boundaryLocked(l.mu.damaged[0])
		done := l.mu.prepared != nil && l.mu.preparedEnd == end || end >= l.mu.highWatermark
		l.mu.Unlock()
		if done {
			return nil
		}
		producers, err := l.rebuildProducers(end, end, false)
		l.mu.Lock()
		lower := len(l.mu.damaged) > 0 && l.mu.damaged[0] < end
		if err == nil && end <= l.mu.highWatermark {
			l.mu.prepared, l.mu.preparedEnd = producers, end
		}
		l.mu.Unlock()
		if err != nil && (!lower || !errors.Is(err, wal.ErrDamaged)) {
			return fmt.Errorf("prepare the cut to %d: %w", end, err)
		}
	}
}

// CutDamage cuts a follower's log before its first damaged batch, below the high watermark too: what
// is cut comes back from the leader. It is for a replica that counts for nothing and whose leader has no
// proof of what it held; see replica and cluster.QuarantineReplicas. A log without damage stays as it
// is. Errors are those of Truncate.
func (l *Log) CutDamage() error {
	for {
		s := l.State()
		if !s.Damaged {
			return nil
		}
		if l.store.cfg.mutant == CutsBehindDamage {
			return l.Truncate(l.endAt(s.DamagedAt))
		}
		err := l.Truncate(s.DamagedAt)
		// What lies below the cut is read, and may be found damaged on the way: then the cut is lower.
		if err != nil && (!errors.Is(err, wal.ErrDamaged) || l.State().DamagedAt >= s.DamagedAt) {
			return fmt.Errorf("cut the damaged batch at %d: %w", s.DamagedAt, err)
		}
	}
}

// endAt is where the batch at an offset ends.
func (l *Log) endAt(offset topic.Offset) topic.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.index.at(l.mu.index.covering(offset)).end()
}
