package partition

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"outrigger/broker/catalog"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A pack in which little is needed any more is written anew, without the rest: the new one takes the
// place of the old in the order of packs, so its number is the next above it.
//
//	number of a pack   drains before it, times 65,536 (the first drain makes pack 65,536)
//	                   + how often it was written anew

// packStep is how far apart the packs of two drains are.
const packStep = 1 << 16

// repackShare: a pack is written anew once less than one in so many of its bytes is needed.
const repackShare = 2

// repack writes one pack anew, if there is one that is worth it and the disk is quiet. It reports whether
// there may be more to do.
func (d *drainer) repack(used map[uint64]int64) (again bool, err error) {
	if d.compaction != nil {
		return true, nil // It knows where its batches lie.
	}
	for _, number := range slices.Sorted(maps.Keys(d.packs)) {
		next := number + 1
		if _, taken := d.packs[next]; taken || next%packStep == 0 || used[number]*repackShare > d.packs[number].RecordBytes() {
			continue
		}
		if !d.store.quiet.Load() {
			return true, nil
		}
		return d.repackOne(d.packs[number], next)
	}
	return false, nil
}

// resident is a batch that a log has in a pack.
type resident struct {
	log *Log
	extent
}

// repackOne copies what is needed of a pack into another one. Damage leaves it as it is: the repair of
// the replica takes the batch away.
func (d *drainer) repackOne(old wal.Pack, number uint64) (again bool, err error) {
	needed, settled := d.store.residents(old.Number)
	if !settled {
		return true, nil
	}
	if reported, synced := d.store.walLog.Sequences(); synced < reported {
		return true, nil
	}
	pack, moves, err := d.copyResidents(needed, number)
	if errors.Is(err, wal.ErrDamaged) || errors.Is(err, ErrOffsetOutOfRange) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	edits := []catalog.Edit{{Key: packKey(number), Value: encodePack(pack)},
		{Key: packKey(old.Number), Until: append(packKey(old.Number), 0)}}
	for _, p := range slices.SortedFunc(maps.Keys(moves), comparePartitions) {
		more, err := d.repackedRuns(p, old.Number, moves[p])
		if err != nil {
			return false, err
		}
		edits = append(edits, more...)
	}
	if err := d.store.cfg.Catalog.Apply(edits); err != nil {
		return false, fmt.Errorf("record that pack %d was written anew: %w", old.Number, err)
	}
	d.packs[number] = pack
	d.store.walLog.Adopt(pack)
	for p, list := range moves {
		if l := d.store.Log(p); l != nil {
			l.relocate(list, live)
		}
	}
	delete(d.packs, old.Number)
	d.store.drained.repacked.Add(1)
	if err := d.store.walLog.RemovePack(old.Number); err != nil {
		return false, fmt.Errorf("remove a pack that was written anew: %w", err)
	}
	return true, nil
}

// residents lists the batches that lie in a pack, by partition and offset. It is not settled while a
// crash could bring batches back that were dropped.
func (s *Store) residents(number uint64) (all []resident, settled bool) {
	file := number | wal.PackBit
	for _, l := range s.snapshot() {
		l.mu.Lock()
		settled := l.settledLocked()
		from := l.placedLocked(wal.Position{File: file})
		for i := from; settled && i < l.mu.settled && l.mu.index.at(i).at.File == file; i++ {
			all = append(all, resident{l, l.mu.index.at(i)})
		}
		l.mu.Unlock()
		if !settled {
			return nil, false
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return all, len(s.mu.removing) == 0
}

// copyResidents writes a pack.
func (d *drainer) copyResidents(
	needed []resident, number uint64,
) (wal.Pack, map[topic.Partition][]moved, error) {
	w, err := d.store.walLog.NewPack(number)
	if err != nil {
		return wal.Pack{}, nil, fmt.Errorf("write a pack anew: %w", err)
	}
	moves := map[topic.Partition][]moved{}
	for _, r := range needed {
		one := []piece{{extent: r.extent}}
		if _, err = r.log.load(one); err != nil {
			break
		}
		var at wal.Position
		at, err = w.Add(&wal.Record{Kind: wal.Data, Partition: r.log.partition, Epoch: r.epoch, Base: r.base,
			Count: r.count, Payload: one[0].payload})
		if err != nil {
			break
		}
		moves[r.log.partition] = append(moves[r.log.partition], moved{base: r.base, from: r.at, to: at})
	}
	var pack wal.Pack
	if err == nil {
		pack, err = w.Finish()
	}
	if err != nil {
		return wal.Pack{}, nil, errors.Join(fmt.Errorf("write a pack anew: %w", err), w.Abandon())
	}
	return pack, moves, nil
}

// repackedRuns are a partition's runs in the old pack with their batches' new places. A batch that was not
// copied lies nowhere from now on: a record that is not drained yet drops it. Partitions of which nothing
// was copied keep their runs until then, as when a pack is removed.
func (d *drainer) repackedRuns(
	p topic.Partition, old uint64, moves []moved,
) (edits []catalog.Edit, err error) {
	to := make(map[topic.Offset]wal.Position, len(moves))
	for _, m := range moves {
		to[m.base] = m.to
	}
	err = d.store.cfg.Catalog.Range(runKey(p, 0), runsEnd(p), func(key, value []byte) error {
		_, base, err := parseRunKey(key)
		if err != nil || packOfRun(value) != old {
			return err
		}
		edits = append(edits, catalog.Edit{Key: slices.Clone(key), Until: append(slices.Clone(key), 0)})
		var run runs
		err = decodeRun(base, value, func(e extent) {
			at, copied := to[e.base]
			if e.at = at; !copied {
				e.at = nowhere
			}
			run.add(p, e)
		})
		edits = append(edits, run.done(p)...)
		return err
	})
	return edits, err
}

// runBatches is how many batches a run has at most, so that none is large.
const runBatches = 4096

// runs gathers extents into runs.
type runs struct {
	edits []catalog.Edit
	open  []extent
}

func (r *runs) add(p topic.Partition, e extent) {
	if n := len(r.open); n > 0 && (n == runBatches || !e.continues(r.open[n-1])) {
		r.end(p)
	}
	r.open = append(r.open, e)
}

func (r *runs) end(p topic.Partition) {
	if len(r.open) > 0 {
		r.edits = append(r.edits, catalog.Edit{Key: runKey(p, r.open[0].base), Value: encodeRun(r.open)})
	}
	r.open = r.open[:0]
}

func (r *runs) done(p topic.Partition) []catalog.Edit {
	r.end(p)
	return r.edits
}
