package partition

import (
	"time"

	"outrigger/broker/wal"
)

// Only what was drained is compacted, and a file of the WAL is drained once it is full, and while the disk has time
// for that. So that a log waits no longer for its compaction than it may, whatever else is appended:
//
//	the oldest file that holds a batch of it is older than that ──> the file and those before it are owed
//	an owed file is in use     ──> it is sealed as it is (wal.Log.Seal), once all before it are drained
//	an owed file is sealed     ──> it is drained although the store is not quiet, in its share of the time;
//	                               while the disk is busy it is adopted
//
// As a log is looked at every Config.RollBackoff, and no file is sealed while another waits, at most one short file
// comes about in that time, however little a topic wants to wait, and none where files cannot be drained. The small packs
// that are drained from them are merged (merge.go).

// Due is how long a batch of the log may wait in the WAL; maxAge for as long as it takes.
func (c Compaction) due() time.Duration {
	due := c.LagMax
	if c.Roll > 0 {
		due = min(due, c.Roll)
	}
	return due
}

// roll looks which files of the WAL are owed to logs that are compacted. It is for the goroutine that calls Tick.
func (s *Store) roll(now time.Duration) {
	rules := s.rules.Load()
	if rules == nil || now-s.rolledAt < s.cfg.RollBackoff {
		return
	}
	s.rolledAt = now
	used := s.walLog.End().File
	first, waits := s.walLog.Sealed()
	if !waits {
		first.File = used
	}
	oldest, known := s.walLog.Born(first.File)
	owed := uint64(0)
	for _, l := range s.snapshot() {
		if !l.waits() {
			continue
		}
		r, ok := (*rules)(l.partition)
		if due := r.due(); ok && due < maxAge && (!known || now-oldest >= due) {
			owed = max(owed, l.owed(r, now))
		}
	}
	s.owed.Store(owed)
	if owed == used && !waits && !s.scarce() { // A short file takes as much space as a full one.
		s.drained.rolled.Add(1)
		s.walLog.Seal(used)
	}
}

// owes reports whether the oldest file that can be drained is owed.
func (s *Store) owes() bool {
	sealed, ok := s.walLog.Sealed()
	return ok && sealed.File <= s.owed.Load()
}

// waits reports whether a durable batch of the log is not drained.
func (l *Log) waits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.mu.settled
	return n > 0 && l.mu.index.at(n-1).at.File&wal.PackBit == 0
}

// owed is the file with the oldest batch that is not drained, if that has waited for as long as it may; else 0.
// How old a file of an earlier session is, only the batch's own time tells; what has none is as old as the run.
func (l *Log) owed(r Compaction, now time.Duration) uint64 {
	l.mu.Lock()
	var e extent
	if n := l.placedLocked(wal.Position{}); n < l.mu.settled {
		e = l.mu.index.at(n)
	}
	l.mu.Unlock()
	if e.at.File == 0 {
		return 0
	}
	age := (now - l.store.openedAt).Milliseconds()
	if at, known := l.store.walLog.Born(e.at.File); known {
		age = (now - at).Milliseconds()
	} else if e.newest >= 0 {
		age = max(age, r.Now-e.newest)
	}
	if age < r.due().Milliseconds() {
		return 0
	}
	return e.at.File
}
