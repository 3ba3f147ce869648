package partition

import "time"

// Files that nobody needs any more are removed one by one, by pieces of 4 MiB, and that has its share of the time (share.go), as copies
// have: where the disk is told which blocks are free (a file system mounted with discard) everybody who writes waits for
// it, and retention, or the deletion of a topic, gives up many files at once. Meanwhile they are there for the WAL to
// write again:
//
//	retired, or an adopted pack in which nothing is needed ──> waits ──┬─> a spare, as soon as one is wanted
//	                                                                   └─> removed, piece by piece
//
// Where space is scarce they are removed at once. On a busy disk they wait until it is not busy any more, as long as they are no
// more than the WAL may hold: to be told of 64 MiB took one device up to 100 ms under load, in which nobody's write came to it.

// removedBytes is how much is removed in a second, by what it is charged at least: some file systems tell the disk later
// than they return.
const removedBytes = 4 << 30

// removeTurn is how long is removed until something else has its turn, however long that takes then.
const removeTurn = time.Second

// beginRemoving gives removals their turn and their share of the time. It does not grow with what waits: that was there before, too,
// and what is appended is written over it. Nothing is saved up: brokers that share a disk begin together, when the records of
// all replicas expire.
func (d *drainer) beginRemoving() {
	now := d.store.cfg.Now()
	d.removing.spares = true
	d.grant(&d.removing, now, 0)
	d.removing.credit = min(d.removing.credit, 0)
	d.removeUntil = now + d.removeTurn
}

// mayRemove reports whether the next file may be removed. Files of the WAL that are to be drained do not wait for those
// that may.
func (d *drainer) mayRemove() bool {
	if d.pause == nil || d.store.scarce() {
		return true
	}
	return d.removing.at < d.removeUntil && (d.removing.may() || !d.store.waits())
}

// removed counts what was removed, and stops until more may be. An error is errEnding.
func (d *drainer) removed(bytes int64) error {
	if d.store.scarce() {
		d.beginRemoving() // What was urgent is not owed: it is not done for those who are still to come.
		return d.ends()
	}
	took := d.store.cfg.Now() - d.removing.at
	d.removing.credit -= max(0, charged(bytes)-took)
	d.relent(&d.removing, d.store.waits)
	return d.ends()
}

// charged is the time that is counted at least for what was removed.
func charged(bytes int64) time.Duration {
	return time.Duration(float64(bytes) / removedBytes * float64(time.Second))
}

// hoardMax bounds what waits for a busy disk to be less busy.
const hoardMax = 8 << 30

// hoards is how many bytes of files that nobody needs stay for now.
func (d *drainer) hoards() int64 {
	if d.store.demand() != busy || d.store.scarce() {
		return 0
	}
	return min(d.store.walLog.BytesMax(), d.hoardMost)
}

// discard removes the files of the WAL that wait for it, as many as may be.
func (d *drainer) discard() error {
	if err := d.store.walLog.Recycle(); err != nil {
		return err
	}
	for d.beginRemoving(); d.store.walLog.Waste() > d.hoards() && d.mayRemove(); {
		bytes, err := d.store.walLog.DiscardSome()
		if err != nil || bytes == 0 {
			return err
		}
		if err := d.removed(bytes); err != nil {
			return err
		}
	}
	return nil
}
