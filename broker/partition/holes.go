package partition

import (
	"slices"

	"outrigger/broker/wal"
)

// The record that dropped batches may be lost after they are gone for good, with damage in the WAL that a quarantine has
// set aside:
//
//  1. A log start moves, a log is cut or removed; the record of that is durable.
//  2. The pack that held the batches is removed, or written anew without them, or what is left of the log is moved.
//  3. A block of the WAL goes bad, and a start sets aside what lies from there on, that record among it.
//  4. The catalog names batches in a pack that is not there, or behind what moved.
//
// Such a batch is damaged, as any that the disk does not give back: whoever replicates is told, and the leader fills the
// log from there on again. Until then it has a place at which nothing is, in the order of the log: everything that looks
// for a batch by its place, such as what writes a pack anew, relies on that order, and would lose those that are whole.

// settleHoles takes such batches for damaged. It is for Open, before anybody reads.
func (s *Store) settleHoles() {
	if s.cfg.mutant == StartsTrustTheCatalog {
		return
	}
	for _, l := range s.snapshot() {
		l.settleHoles(s.drainer.packs)
	}
}

func (l *Log) settleHoles(packs map[uint64]wal.Pack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.index.holed(packs) {
		return
	}
	last, before := nowhere, len(l.mu.damaged)
	for i := range l.mu.settled {
		e := l.mu.index.at(i)
		if lies(e.at, packs) && e.at.Compare(last) > 0 {
			last = e.at
			continue
		}
		last.Offset++ // A record is longer than that. If there are so many that the next whole one comes before it, that goes, too.
		e.at = last
		l.mu.index.set(i, e)
		l.mu.damaged = append(l.mu.damaged, e.base)
	}
	l.mu.index.unordered = false
	found := len(l.mu.damaged) - before
	if found == 0 {
		return
	}
	slices.Sort(l.mu.damaged)
	l.store.cfg.Logger.Error("the catalog names batches that no pack holds, they count as damaged; the record that "+
		"dropped them was lost with a part of the write-ahead log", keyPartition, l.partition,
		keyOffset, l.mu.damaged[0], keyBatches, found)
	select {
	case l.store.damageFound <- struct{}{}:
	default:
	}
}

// lies reports whether there is a file at a place.
func lies(at wal.Position, packs map[uint64]wal.Pack) bool {
	_, there := packs[at.File&^wal.PackBit]
	return there || at.File&wal.PackBit == 0
}

// holed reports whether an extent may lie where nothing is, or out of order.
func (x *index) holed(packs map[uint64]wal.Pack) bool {
	return x.unordered || slices.ContainsFunc(x.packs, func(p packed) bool { return !lies(p.place(), packs) })
}
