package partition

import (
	"errors"
	"time"

	"outrigger/broker/batch"
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
// there. Without a digest the records that are good are read, one by one where their group is bad, and of a batch that is
// bad the index in memory knows what a replay needs, but for its producer: that log's producers are made anew from its
// batches at the next start, as after a cut. Where neither knows what lay, such as a batch that was cut since, or a log
// start, the file stays, and so do all behind it: what that record did is known to nobody. Then the chain grows beyond its bound, and the next start sets the file and
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

// around drains a file that is damaged: by its digest, or by what else is known of it. If that is not enough, the drain
// is stuck.
func (d *drainer) around(file uint64, damage *wal.Damage) (drained bool, err error) {
	known := d.store.digests.find(file) != nil
	if _, _, synced := d.store.walLog.Adoptable(file); !synced {
		d.stuckUntil = d.store.cfg.Now() + syncWait
		return false, nil
	}
	// Where one block is bad others are: all of the rest is looked at.
	batches, partitions := d.store.examine(wal.Damage{At: damage.At, Bytes: d.store.walLog.FileBytes() - damage.At.Offset})
	attrs := []any{keyFile, damage.File, keyOffset, damage.At.Offset, keyReason, damage.Reason,
		keyBatches, batches, keyPartitions, partitions}
	if d.store.mayAdopt() {
		adopted, err := d.adoptDamaged(file, known)
		if err != nil && !errors.Is(err, wal.ErrDamaged) {
			return false, err
		}
		if err == nil && adopted {
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

// adoptDamaged adopts a file in which something is bad, from its digest if that is known.
func (d *drainer) adoptDamaged(file uint64, known bool) (adopted bool, err error) {
	run, err := d.begin()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, run.end()) }()
	var next wal.Start
	if known {
		next, err = run.adopt([]uint64{file})
	} else {
		next, err = run.salvage(file)
	}
	if err != nil || run.files == 0 {
		return false, err
	}
	return true, run.commit(next)
}

// salvage is adopt of a file without a digest, in which something is bad.
func (d *drain) salvage(file uint64) (next wal.Start, err error) {
	pack, _, ok := d.store.walLog.Adoptable(file)
	if !ok || d.nextPack > file*wal.PackStep {
		return next, nil
	}
	d.adopting = pack
	recalled := false
	known := func(at wal.Position) (r wal.Record, ok bool) {
		r, ok = d.store.recall(at)
		recalled = ok
		return r, ok
	}
	next, err = d.store.walLog.Salvage(file, known, func(r wal.Placed) error {
		if err := d.take(r); err != nil {
			return err
		}
		if recalled {
			d.shadows[r.Partition].log.mu.producers.stale = true
		}
		recalled = false
		return nil
	})
	if err != nil {
		return next, err
	}
	if d.needed {
		d.made = append(d.made, pack)
	}
	d.files++
	return next, nil
}

// recall is the batch that was made durable at a place of the WAL, if a log still has it: without its records, and as if
// it were of no producer.
func (s *Store) recall(at wal.Position) (wal.Record, bool) {
	behind := wal.Position{File: at.File, Offset: at.Offset + 1}
	for _, l := range s.snapshot() {
		found := l.between(at, behind)
		if len(found) == 0 {
			continue
		}
		p := found[0]
		h := batch.Header{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
		if p.newest != noTimestamp {
			h.BaseTimestamp, h.MaxTimestamp, h.Records = p.newest, p.newest, p.count
		}
		r := wal.Placed{At: at, Record: wal.Record{Kind: wal.Data, Partition: l.partition, Epoch: p.epoch, Base: p.base,
			Count: p.count, Payload: make([]byte, p.bytes)}}
		headerOf(&r, h).Put(r.Payload)
		return r.Record, true
	}
	return wal.Record{}, false
}

// stay is stuck until it is time to try again. To wait for a drain would be to wait for ever.
func (d *drainer) stay() {
	d.stuck = true
	d.stuckFor = min(max(stuckLeast, 2*d.stuckFor), stuckMost)
	d.stuckUntil = d.store.cfg.Now() + d.stuckFor
	d.store.drained.stuck.Store(1)
	d.store.walLog.Unbind()
}
