package partition

import (
	"slices"
	"time"

	"outrigger/broker/wal"
)

// What a compaction is about to drop is not copied before. A full file of which much belongs to logs that are due once it
// is drained is adopted, whatever else is appended, and is written anew after the compaction; so is one that was adopted
// under load, or before a start, once it would be written anew:
//
//	full file ──> adopted ──> compaction ──> what stays of the logs that were due, in packs of their own
//	                 └──────> written anew, once none is due ──> what is needed of the others
//
// It waits for the compaction for a while only, and not while space is wanted: then it is copied as it is.

const (
	// dueShare: much is more than one in so many bytes of a full file, and one is nearly full if no more than one in so many
	// is empty. What takes up less is copied for less than the space of a file that stays.
	dueShare = 4
	// dueBatch is how large the batches of logs that are due are at least, in the mean: between those of other logs each is
	// read by itself, twice.
	dueBatch = 16 << 10
	// dueMost is how long a file waits for its compaction, beyond the time until one is looked for.
	dueMost = 5 * time.Minute
)

// compactsFirst reports whether a file is adopted, so that a compaction comes before any copy. As many wait as there are
// spares in their place.
func (d *drainer) compactsFirst(file uint64) bool {
	whole := d.store.walLog.FileBytes()
	if !d.store.mayAdopt() || d.waiting() >= d.store.cfg.WAL.SparesMax {
		return false
	}
	p, _, ok := d.store.walLog.Adoptable(file)
	return ok && whole-p.Bytes <= whole/dueShare && d.isDue(wal.Position{File: file})
}

// isDue reports whether much of a file of the WAL, or of what it became, belongs to logs of which a compaction will take
// that soon, in batches that are worth it.
func (d *drainer) isDue(file wal.Position) bool {
	rules := d.store.rules.Load()
	if rules == nil || !d.mayWait() || !d.moving.may() || d.store.cfg.CompactBackoff > dueMost {
		return false
	}
	end := wal.Position{File: file.File + 1}
	var due, least int64
	for _, l := range d.store.snapshot() {
		bytes, n := l.lying(file, end)
		if n == 0 || d.compaction.has(l) || d.compaction.queues(l) {
			continue
		}
		if r, ok := (*rules)(l.partition); ok {
			if _, worth := l.dirt(r, end); worth {
				large := int64(n) * d.store.cfg.dueBatch
				if least += large; bytes >= large {
					due += bytes
				}
			}
		}
	}
	return due > d.store.walLog.FileBytes()/dueShare && due >= least
}

// has reports whether a log is in the compaction, which takes nothing of it that came after it had begun, and is hardly
// followed by another at once.
func (c *compaction) has(l *Log) bool {
	return c != nil && (c.now != nil && c.now.log == l || c.rest != nil && c.rest.log == l ||
		slices.ContainsFunc(c.done, func(done *cleaning) bool { return done.log == l }))
}

// queues reports whether a log will be in the compaction, which takes nothing of it that came after it had begun.
func (c *compaction) queues(l *Log) bool {
	return c != nil && slices.ContainsFunc(c.queue, func(q dirty) bool { return q.log == l })
}

// mayWait reports whether packs may keep what is dead in them for a while.
func (d *drainer) mayWait() bool {
	return !d.store.scarce() && !d.store.crowded.Load() && d.store.cfg.Now() >= d.crampedUntil
}

// lying is how many durable bytes and batches the log has in a file of the WAL, or in a pack, which ends before a place.
func (l *Log) lying(from, end wal.Position) (bytes int64, batches int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from.File&wal.PackBit != 0 && !l.mu.index.packs.has(from.File&^wal.PackBit) {
		return 0, 0 // What is in packs is counted: nothing is looked for.
	}
	first, next := l.placedLocked(from), l.placedLocked(end)
	bytes, _ = l.mu.index.sum(first, next)
	return bytes, next - first
}

// awaitCompaction has an adopted file wait for a compaction.
func (d *drainer) awaitCompaction(file uint64) {
	for number := range d.packs {
		if wal.Adopted(number) && wal.AdoptedFile(number) == file {
			d.await(number)
		}
	}
	d.count()
}

func (d *drainer) await(number uint64) {
	d.due[number] = d.store.cfg.Now() + d.store.cfg.CompactBackoff + dueMost
}

// defers reports whether an adopted pack that is to be written anew waits for a compaction before. It is asked once.
func (d *drainer) defers(number uint64) bool {
	if _, asked := d.due[number]; asked || !wal.Adopted(number) {
		return false
	}
	d.due[number] = 0
	if d.isDue(wal.Position{File: number | wal.PackBit}) {
		d.await(number)
		return true
	}
	return false
}

// awaits reports whether a pack waits for a compaction.
func (d *drainer) awaits(number uint64) bool { return d.store.cfg.Now() < d.due[number] && d.mayWait() }

// waiting counts the packs that wait for a compaction.
func (d *drainer) waiting() (packs int) {
	for _, until := range d.due {
		if until > 0 {
			packs++
		}
	}
	return packs
}

// release lets go of a pack that waited.
func (d *drainer) release(number uint64) {
	d.due[number] = 0
	d.store.unsorted.Store(true)
}

// compactedFirst lets go of the packs in which none of the logs that are to be compacted has batches.
func (d *drainer) compactedFirst(queue []dirty) {
	var rest []uint64
	for number, until := range d.due {
		if until > 0 {
			rest = append(rest, number)
		}
	}
	for _, q := range queue {
		if len(rest) == 0 {
			break
		}
		under := d.compaction.has(q.log)
		q.log.mu.Lock()
		rest = slices.DeleteFunc(rest, func(number uint64) bool {
			return q.log.mu.index.packs.has(number) && (!under || d.compaction.reads[number])
		})
		q.log.mu.Unlock()
	}
	for _, number := range rest {
		d.release(number)
	}
}
