package partition

import (
	"slices"
	"time"

	"outrigger/broker/wal"
)

// What a compaction is about to drop is not copied before. A full file of which much belongs to logs that are due once it
// is drained is adopted, whatever else is appended, and is written anew after the compaction:
//
//	full file ──> adopted ──> compaction ──> what stays of the logs that were due, in packs of their own
//	                 └──────> written anew, once none is due ──> what is needed of the others
//
// It waits for the compaction for a while only, and not while space is wanted: then it is copied as it is.

const (
	// dueShare: much is more than one in so many bytes of a full file, and one is nearly full if no more than one in so many
	// is empty. What takes up less is copied for less than the space of a file that stays.
	dueShare = 4
	// dueBatch is how large a log's batches are at least, in the mean: between those of other logs each is read by itself,
	// twice.
	dueBatch = 16 << 10
	// dueMost is how long a file waits for its compaction, beyond the time until one is looked for.
	dueMost = 5 * time.Minute
)

// compactsFirst reports whether a file is adopted, so that a compaction comes before any copy.
func (d *drainer) compactsFirst(file uint64) bool {
	rules, whole := d.store.rules.Load(), d.store.walLog.FileBytes()
	if rules == nil || !d.store.mayAdopt() || !d.mayWait() || d.store.cfg.CompactBackoff > dueMost {
		return false
	}
	if p, _, ok := d.store.walLog.Adoptable(file); !ok || whole-p.Bytes > whole/dueShare {
		return false
	}
	var due int64
	for _, l := range d.store.snapshot() {
		bytes, n := l.within(file)
		if n == 0 || bytes < int64(n)*d.store.cfg.dueBatch || d.compaction.has(l) {
			continue
		}
		if r, ok := (*rules)(l.partition); ok {
			if _, worth := l.dirt(r, wal.Position{File: file + 1}); worth {
				due += bytes
			}
		}
	}
	return due > whole/dueShare
}

// has reports whether a log is in the compaction, which takes nothing that came after it had begun, and is hardly followed
// by another at once.
func (c *compaction) has(l *Log) bool {
	return c != nil && (c.now != nil && c.now.log == l || c.rest != nil && c.rest.log == l ||
		slices.ContainsFunc(c.done, func(done *cleaning) bool { return done.log == l }))
}

// mayWait reports whether packs may keep what is dead in them for a while.
func (d *drainer) mayWait() bool {
	return !d.store.scarce() && !d.store.crowded.Load() && d.store.cfg.Now() >= d.crampedUntil
}

// within is how many durable bytes and batches the log has in a file of the WAL that was not drained.
func (l *Log) within(file uint64) (bytes int64, batches int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, until := l.placedLocked(wal.Position{File: file}), l.placedLocked(wal.Position{File: file + 1})
	bytes, _ = l.mu.index.sum(from, until)
	return bytes, until - from
}

// awaitCompaction has an adopted file wait for a compaction.
func (d *drainer) awaitCompaction(file uint64) {
	for number := range d.packs {
		if wal.Adopted(number) && number/wal.PackStep == file {
			d.due[number] = d.store.cfg.Now() + d.store.cfg.CompactBackoff + dueMost
		}
	}
	d.count()
}

// awaits reports whether a pack waits for a compaction.
func (d *drainer) awaits(number uint64) bool { return d.store.cfg.Now() < d.due[number] && d.mayWait() }

// compactedFirst lets go of the packs in which none of the logs that are to be compacted has batches.
func (d *drainer) compactedFirst(queue []dirty) {
	if len(d.due) == 0 {
		return
	}
	wanted := map[uint64]bool{}
	for _, q := range queue {
		under := d.compaction.has(q.log)
		q.log.mu.Lock()
		for number := range d.due {
			if q.log.mu.index.packs.has(number) && (!under || d.compaction.reads[number]) {
				wanted[number] = true
			}
		}
		q.log.mu.Unlock()
	}
	for number, until := range d.due {
		if !wanted[number] || d.store.cfg.Now() >= until {
			delete(d.due, number)
			d.store.unsorted.Store(true)
		}
	}
}
