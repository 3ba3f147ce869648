package partition

import (
	"iter"

	"outrigger/broker/topic"
)

// listing is some of the batches of an index to which nothing is added any more: what a compaction notes of a log. They
// are frozen, as those of the log are, so that it takes no more memory than that however many there are.
//
//	a log's batches in packs ──> listing of all ──> a part of it for each portion
type listing struct {
	x           *index
	from, until int
}

// newListing lists all extents of x, and freezes them.
func newListing(x *index) listing {
	x.finish()
	return listing{x, 0, x.len()}
}

func (l listing) len() int { return l.until - l.from }

func (l listing) at(i int) extent { return l.x.at(l.from + i) }

// first is where the first batch begins, end where the last one ends, of some at least.
func (l listing) first() topic.Offset { return l.at(0).base }
func (l listing) end() topic.Offset   { return l.at(l.len() - 1).end() }

// part is those from i up to j.
func (l listing) part(i, j int) listing { return listing{l.x, l.from + i, l.from + j} }

// before counts those that end at an offset or below it.
func (l listing) before(offset topic.Offset) int {
	return min(max(l.from, l.x.covering(offset)), l.until) - l.from
}

// next are those from i on that are frozen together. They are good until others are looked at.
func (l listing) next(i int) []extent {
	number, until := l.x.gone+l.from+i, l.x.gone+l.until
	k := l.x.find(number)
	begin := l.x.chunks[k].from
	return l.x.open(k)[number-begin : min(until, l.x.behind(k))-begin]
}

// all are all of them. What is done with one may look at others of another listing alone.
func (l listing) all() iter.Seq2[int, extent] {
	return func(yield func(int, extent) bool) {
		for i := 0; i < l.len(); {
			for _, e := range l.next(i) {
				if !yield(i, e) {
					return
				}
				i++
			}
		}
	}
}

// bytes is how long they are, packs how many bytes of records they have in each pack.
func (l listing) bytes() int64 {
	bytes, _ := l.x.sum(l.from, l.until)
	return bytes
}

func (l listing) packs() tally { return l.x.packed(l.from, l.until) }
