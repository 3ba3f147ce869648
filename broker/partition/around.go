package partition

import (
	"errors"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A sealed file with a bad group cannot be replayed by reading it: the group may hold a truncation, or a log start, and
// without it every record behind it would be applied to something else than it was written for. While its digest is
// there, nothing has to be read: the digest has every record, and the file is adopted as it is, bad bytes and all.
// From then on it is a pack like any other whose bytes have rotted: its good batches are read, each of its bad ones is
// found, cut and fetched again from the leader, and a start does not read it, so that nothing has to be set aside.
//
//	digest of file n ──> shadows ──> the catalog; file n becomes a pack ──> the chain begins at n+1
//	batches in what is bad ──> read one by one ──> those that are damaged are noted ──> repair
//
// The adoption is that of a busy disk, with its order of steps, so that a crash at any of them leaves what it leaves
// there. Without a digest the file stays, and so do all behind it: what the bad group did is known to nobody but to the
// logs in memory, which have gone on since. Then the chain grows beyond its bound, and the next start sets the file and
// all later ones aside. Until then it is tried again now and then, for what a device refuses it may give back later.

// stuckLeast and stuckMost are how long a drain waits before it tries again what was damaged.
const (
	stuckLeast = time.Minute
	stuckMost  = time.Hour
	// syncWait is how long it waits for a sync that comes in its time, under an interval.
	syncWait = time.Second
)

// rests reports whether a damaged file is not to be tried yet.
func (d *drainer) rests() bool { return d.store.cfg.Now() < d.stuckUntil }

// freed ends that a file could not be drained.
func (d *drainer) freed() {
	was := d.stuck
	if d.stuck, d.stuckUntil, d.stuckFor = false, 0, 0; !was {
		return
	}
	d.store.drained.stuck.Store(0)
	d.store.walLog.Bind()
	d.store.cfg.Logger.Info("write-ahead log is drained again")
}

// around drains a file that is damaged, by its digest. Without one the drain is stuck.
func (d *drainer) around(file uint64, damage *wal.Damage) (drained bool, err error) {
	known := d.store.digests.find(file) != nil
	if d.stuck && !known {
		d.stay()
		return false, nil
	}
	if _, _, synced := d.store.walLog.Adoptable(file); !synced {
		d.stuckUntil = d.store.cfg.Now() + syncWait
		return false, nil
	}
	// Where one block is bad others are: all of the rest is looked at.
	batches, partitions := d.store.examine(wal.Damage{At: damage.At, Bytes: d.store.walLog.FileBytes() - damage.At.Offset})
	attrs := []any{keyFile, damage.File, keyOffset, damage.At.Offset, keyReason, damage.Reason,
		keyBatches, batches, keyPartitions, partitions}
	if known && (d.store.cfg.MayAdopt == nil || d.store.cfg.MayAdopt()) {
		run := &drain{drainer: d, shadows: map[topic.Partition]*shadow{}}
		next, err := run.adopt([]uint64{file})
		if err == nil && run.files > 0 {
			err = run.commit(next)
		}
		if err != nil && !errors.Is(err, wal.ErrDamaged) {
			return false, err
		}
		if err == nil && run.files > 0 {
			d.store.cfg.Logger.Error("file of the write-ahead log is damaged, it is kept as a pack; replicas with batches "+
				"that are lost there are filled again by their leaders", attrs...)
			d.freed()
			return true, nil
		}
	}
	if !d.stuck {
		d.store.cfg.Logger.Error("file of the write-ahead log is damaged and cannot be drained, nor can those behind it: the "+
			"log grows beyond wal.retained.bytes until the broker is started again, which sets them aside and fetches "+
			"what they held from the leaders; restart it soon, and replace the disk if it fails", attrs...)
	}
	d.stay()
	return false, nil
}

// stay is stuck until it is time to try again. To wait for a drain would be to wait for ever.
func (d *drainer) stay() {
	d.stuck = true
	d.stuckFor = min(max(stuckLeast, 2*d.stuckFor), stuckMost)
	d.stuckUntil = d.store.cfg.Now() + d.stuckFor
	d.store.drained.stuck.Store(1)
	d.store.walLog.Unbind()
}
