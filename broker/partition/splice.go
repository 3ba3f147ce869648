package partition

import (
	"fmt"
	"slices"
)

// A compaction exchanges the most of what an index has, and nobody must wait for that: what comes in its place is made
// beside the log, and is exchanged chunk by chunk. Chunks need not be full for that. Only the two at the edges are taken apart:
//
//	an index   | a, b, c | d, e, f | g, h, i | j, k
//	instead of c to h    | C, D | E |
//	becomes    | a, b | C, D | E | i | j, k

// finish freezes all chunks of an index of durable extents, to which nothing is added any more.
func (x *index) finish() {
	x.close()
	for ; x.frozen < len(x.chunks); x.frozen++ {
		x.freezeChunk(x.frozen)
		x.chunks[x.frozen].open = nil
	}
	x.spare = nil
}

// splice puts all of another index, which is finished, in the place of the extents from i up to j, which are durable.
// was is what those have in packs. The chunks are listed anew in room; those that are not needed any more are returned, for
// who gives back their slots once no lock is held.
func (x *index) splice(i, j int, other *index, was tally, room []chunk) (rest []chunk) {
	from, until := i+x.gone, j+x.gone
	if i < 0 || i >= j || j > x.length || other.length == 0 || i > 0 && other.gone > other.chunks[0].from {
		panic(fmt.Sprintf("splice %d extents, %d of them gone, for %d to %d of %d", other.length, other.gone, i, j, x.length))
	}
	x.close()
	x.freeze()
	x.fronted = false
	a, b := x.find(from), x.find(until-1)
	behind, moved := x.behind(b), other.length-(j-i)
	all := append(room[:0], x.chunks[:a]...)
	if first := max(x.gone, x.chunks[a].from); first < from {
		all = append(all, x.part(a, first, from, first, true))
	}
	for _, c := range other.chunks {
		c.from += from - other.gone
		all = append(all, c)
	}
	if until < behind {
		all = append(all, x.part(b, until, behind, until+moved, b < x.frozen))
	}
	inserted, frozen := len(all), len(all)
	if b >= x.frozen && until < behind {
		frozen-- // What is added goes there.
	}
	frozen += max(0, x.frozen-b-1)
	x.close()
	for _, c := range x.chunks[b+1:] {
		c.from += moved
		all = append(all, c)
	}
	rest, x.chunks = x.chunks[a:b+1], all
	x.frozen, x.unspilled = frozen, min(x.unspilled, a)
	x.length += moved
	x.rerun(a, inserted)
	x.packs.subtract(was)
	x.packs.join(other.packs)
	x.unfreeze(min(x.frozen, len(x.chunks)-1))
	return rest
}

// part is the extents of chunk k between two numbers as a chunk of its own, of which the first has another number from then on.
func (x *index) part(k, from, until, number int, frozen bool) chunk {
	begin := x.chunks[k].from
	c := chunk{open: slices.Clone(x.open(k)[from-begin : until-begin]), from: number}
	rerun(c.open)
	if frozen {
		x.work++
		c.freeze()
		c.open = nil
	}
	return c
}
