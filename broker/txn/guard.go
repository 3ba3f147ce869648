package txn

import "encoding/binary"

// guarded walks over a value of version 1 and reports whether all that it counts can be there: the decoder
// goes by the number of tags that a value claims, also when there are no bytes for them.
func guarded(value []byte) bool {
	const fixedFront, fixedEnd = 2 + 8 + 2 + 4 + 1, 8 + 8
	g := walk{left: value, ok: true}
	g.skip(fixedFront)
	for topics := g.count(); topics > 0 && g.ok; topics-- {
		g.skip(g.count()) // the name
		g.skip(4 * g.count())
		g.tags()
	}
	g.skip(fixedEnd)
	g.tags()
	return g.ok
}

// walk is what is left of a value.
type walk struct {
	left []byte
	ok   bool
}

func (g *walk) skip(n int) {
	if n > len(g.left) {
		g.left, g.ok = nil, false
		return
	}
	g.left = g.left[n:]
}

func (g *walk) uvarint() int {
	v, n := binary.Uvarint(g.left)
	if n <= 0 || v > uint64(len(g.left)) {
		g.left, g.ok = nil, false
		return 0
	}
	g.left = g.left[n:]
	return int(v)
}

// count is a length that is written as one more; null counts as none.
func (g *walk) count() int { return max(0, g.uvarint()-1) }

func (g *walk) tags() {
	for tags := g.uvarint(); tags > 0 && g.ok; tags-- {
		g.uvarint() // the number
		g.skip(g.uvarint())
	}
}
