package partition

import "outrigger/broker/wal"

// What a compaction is about to drop is not copied before. A full file of which much belongs to logs that are due once it
// is drained is adopted, whatever else is appended, and adopted files in which such logs have batches are written anew
// after the compaction:
//
//	full file ──> adopted ──> compaction ──> what stays of the logs that were due, in packs of their own
//	                 └──────> written anew, once none is due ──> what is needed of the others

// dueShare: much is more than one in so many of the file's bytes.
const dueShare = 4

// compactsFirst reports whether a file is adopted, so that a compaction comes before any copy.
func (d *drainer) compactsFirst(file uint64) bool {
	rules := d.store.rules.Load()
	if rules == nil || !d.store.mayAdopt() || d.store.scarce() {
		return false
	}
	var all, due int64
	for _, l := range d.store.snapshot() {
		bytes := l.bytesIn(file)
		if all += bytes; bytes == 0 {
			continue
		}
		if r, ok := (*rules)(l.partition); ok {
			if _, worth := l.dirt(r, wal.Position{File: file + 1}); worth {
				due += bytes
			}
		}
	}
	return due*dueShare > all
}

// bytesIn is how many durable bytes the log has in a file of the WAL that was not drained.
func (l *Log) bytesIn(file uint64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes, _ := l.mu.index.sum(l.placedLocked(wal.Position{File: file}), l.placedLocked(wal.Position{File: file + 1}))
	return bytes
}

// noteDue notes the adopted packs in which logs have batches that are to be compacted.
func (d *drainer) noteDue(queue []dirty) {
	due := map[uint64]bool{}
	for _, q := range queue {
		q.log.mu.Lock()
		for _, p := range q.log.mu.index.packs {
			if wal.Adopted(p.number) {
				due[p.number] = true
			}
		}
		q.log.mu.Unlock()
	}
	for number := range d.due {
		if !due[number] { // It may be written anew now.
			d.store.unsorted.Store(true)
		}
	}
	d.due = due
}
