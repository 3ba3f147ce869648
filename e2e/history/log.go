package history

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"time"
)

// log is what the history says of one partition.
type log struct {
	pages map[int64]*page
	// last is the page of the last access: accesses run along the log.
	last   *page
	lastAt int64
	// highest is the highest offset that was read; -1 if none was.
	highest int64
	// gaps are the offsets, from inclusive and to exclusive, that a reader passed over without a jump.
	gaps []span
	// final is the range of the final polls: the last one asked for that was read to its end.
	final *Range
	// mayHold: something was sent there that did not definitely fail.
	mayHold bool
	// lastAck is when the last send was acknowledged.
	lastAck time.Duration
}

// span is a range of offsets, to exclusive.
type span struct{ from, to int64 }

const pageLen = 64

// page is what is said of 64 offsets: one bit of each set stands for one offset.
type page struct {
	// values are what was first said to be there, by an acknowledgement if there is one.
	values [pageLen]Value
	// sends are the numbers of their sends plus one, 0 where none is known.
	sends [pageLen]uint32
	// readBy are the numbers of the first polls that read there.
	readBy [pageLen]uint32
	// acked and read: somebody was told of a record. sure: one that no transaction can take back.
	// disputed: another value was claimed, and that was reported.
	acked, read, sure, disputed uint64
}

func newLog() *log { return &log{pages: map[int64]*page{}, highest: -1} }

// at is the page of an offset and the bit in it.
func (l *log) at(offset int64) (*page, int) {
	number := offset >> 6
	if l.last == nil || l.lastAt != number {
		p := l.pages[number]
		if p == nil {
			p = &page{}
			l.pages[number] = p
		}
		l.last, l.lastAt = p, number
	}
	return l.last, int(offset & (pageLen - 1))
}

// looked is the page of an offset, or nothing; it makes none.
func (l *log) looked(offset int64) (*page, int) {
	return l.pages[offset>>6], int(offset & (pageLen - 1))
}

// sureWithin is the first offset of a span that holds a record for certain.
func (l *log) sureWithin(s span) (int64, bool) {
	if s.to-s.from > int64(len(l.pages))*pageLen {
		return l.sureAmong(s, slices.Sorted(maps.Keys(l.pages)))
	}
	for number := s.from >> 6; number <= (s.to-1)>>6; number++ {
		if at, ok := l.sureOn(number, s); ok {
			return at, true
		}
	}
	return 0, false
}

// sureAmong is sureWithin for a span that is wider than all that is known.
func (l *log) sureAmong(s span, numbers []int64) (int64, bool) {
	for _, number := range numbers {
		if at, ok := l.sureOn(number, s); ok {
			return at, true
		}
	}
	return 0, false
}

func (l *log) sureOn(number int64, s span) (int64, bool) {
	p := l.pages[number]
	if p == nil {
		return 0, false
	}
	first := bits.TrailingZeros64(p.sure & clip(number, s))
	return number<<6 + int64(first), first < pageLen
}

// clip is the bits of a page that lie in a span.
func clip(number int64, s span) uint64 {
	low, high := s.from-number<<6, s.to-number<<6
	if low >= pageLen || high <= 0 {
		return 0
	}
	mask := ^uint64(0)
	if low > 0 {
		mask <<= uint(low)
	}
	if high < pageLen {
		mask &= 1<<uint(high) - 1
	}
	return mask
}

// holes are the spans from an offset up to the highest one read of which nobody was told anything.
func (l *log) holes(from int64) []span {
	var found []span
	next, end := from, l.highest
	missing := func(s span) {
		if n := len(found); n > 0 && found[n-1].to == s.from {
			found[n-1].to = s.to
			return
		}
		found = append(found, s)
	}
	for _, number := range slices.Sorted(maps.Keys(l.pages)) {
		first := number << 6
		if first+pageLen <= next || first > end {
			continue
		}
		if first > next {
			missing(span{next, first})
			next = first
		}
		p := l.pages[number]
		for ; next < first+pageLen && next <= end; next++ {
			if (p.acked|p.read)>>uint(next&(pageLen-1))&1 == 0 {
				missing(span{next, next + 1})
			}
		}
	}
	return found
}

// covers reports whether an offset without a reader was passed over: by the final polls, or by a
// reader that read before and after it.
func (l *log) covers(offset int64, rules Rules) bool {
	if l.final != nil {
		return offset >= l.final.Start || !rules.Retention
	}
	_, found := slices.BinarySearchFunc(l.gaps, offset, func(s span, offset int64) int {
		switch {
		case s.to <= offset:
			return -1
		case s.from > offset:
			return 1
		default:
			return 0
		}
	})
	return found
}

// mergeGaps sorts the gaps and makes them disjoint, for covers.
func (l *log) mergeGaps() {
	slices.SortFunc(l.gaps, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	merged := l.gaps[:0]
	for _, g := range l.gaps {
		if n := len(merged); n > 0 && g.from <= merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, g.to)
			continue
		}
		merged = append(merged, g)
	}
	l.gaps = merged
}
