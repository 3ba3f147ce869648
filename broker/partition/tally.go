package partition

import (
	"cmp"
	"slices"

	"outrigger/broker/wal"
)

// tally is how many bytes of records an index has in each pack, in the order of their numbers. It is kept with each
// change, so that nobody has to walk the extents to find the packs that are not needed.
type tally []packed

// packed is what lies in one pack: at least one record.
type packed struct {
	number uint64
	bytes  int64
}

// place is somewhere in the pack.
func (p packed) place() wal.Position { return wal.Position{File: p.number | wal.PackBit, Offset: 1} }

// has reports whether there is a record in a pack.
func (t tally) has(number uint64) bool {
	_, found := t.find(number)
	return found
}

func (t tally) find(number uint64) (int, bool) {
	return slices.BinarySearchFunc(t, number, func(p packed, n uint64) int { return cmp.Compare(p.number, n) })
}

// add counts a record, or takes it away if bytes is negative. What does not lie in a pack is not counted, nor what lies in none: there is no pack 0.
func (t *tally) add(at wal.Position, bytes int64) {
	if at.File&wal.PackBit == 0 || at.File == nowhere.File {
		return
	}
	number := at.File &^ wal.PackBit
	i, found := t.find(number)
	if !found {
		*t = slices.Insert(*t, i, packed{number: number})
	}
	if (*t)[i].bytes += bytes; (*t)[i].bytes == 0 {
		*t = slices.Delete(*t, i, i+1)
	}
}

// join adds what another one has counted.
func (t *tally) join(other tally) {
	for _, p := range other {
		t.add(p.place(), p.bytes)
	}
}

// subtract takes away what another one has counted.
func (t *tally) subtract(other tally) {
	for _, p := range other {
		t.add(p.place(), -p.bytes)
	}
}
