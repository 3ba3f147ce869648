package partition

import (
	"math"
	"slices"
	"sort"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// index is the list of a log's extents in offset order. Every extent is one batch, in a pack or in the
// WAL; what is drained comes first.
//
// Chunks of extents that are all durable are frozen: a batch takes about 12 bytes then instead of 56. To
// look into one thaws it, and it stays so until another is looked into. That may wait for the disk (see Spill), so
// whoever holds a lock thaws a few at most, however long the log is: what is to be known of many extents is known
// of whole chunks, and an exchange of many is one of chunks.
type index struct {
	// chunks are of up to chunkLength extents that were pushed, or of what a head tells of, up to half as many more; the last is
	// open. Extents are numbered for good, and the first `gone` numbers were dropped; the first chunk may still hold some of those.
	chunks []chunk
	gone   int
	length int
	// frozen counts the chunks at the front that are frozen, thawed is which of them is open now, if it is
	// above zero: its number and one. dirty says that it has changed.
	frozen, thawed int
	dirty          bool
	// front is where the first extent begins, if fronted: else a look into its chunk has to tell.
	front   topic.Offset
	fronted bool
	// packs counts what lies in packs.
	packs tally
	// unordered: an extent was pushed that lies nowhere, or not behind the one before it.
	unordered bool
	// spill takes frozen chunks that lie in packs; nil if they stay in memory. hasty puts them there as soon as
	// they are frozen, which may wait for the disk: for who holds no lock. Those before unspilled are there, or
	// are too large for it.
	spill     *Spill
	hasty     bool
	unspilled int
	// extents is how long a chunk becomes, chunkLength unless set.
	extents int
	// spare is the memory of the chunk that was frozen last, for the next one: of who is hasty.
	spare []extent
	// work counts the chunks that were thawed or frozen.
	work int
}

func (x *index) len() int { return x.length }

func (x *index) at(i int) extent {
	k := x.find(i + x.gone)
	e := x.open(k)[i+x.gone-x.chunks[k].from]
	e.latest = max(e.latest, x.before(k))
	return e
}

// first is where the first extent begins. Who asks at each batch must not have its chunk thawed each time.
func (x *index) first() topic.Offset {
	if !x.fronted {
		x.front, x.fronted = x.at(0).base, true
	}
	return x.front
}

// find is which chunk has the extent of a number.
func (x *index) find(number int) int {
	last := len(x.chunks) - 1
	if number >= x.chunks[last].from {
		return last
	}
	if k := x.thawed - 1; k >= 0 && x.chunks[k].from <= number && number < x.chunks[k+1].from {
		return k
	}
	return sort.Search(last, func(k int) bool { return x.chunks[k].from > number }) - 1
}

// behind is the number behind the last one of a chunk.
func (x *index) behind(k int) int {
	if k == len(x.chunks)-1 {
		return x.gone + x.length
	}
	return x.chunks[k+1].from
}

// before is the largest timestamp before a chunk.
func (x *index) before(k int) int64 {
	if k == 0 {
		return math.MinInt64
	}
	return x.chunks[k-1].latest
}

// set replaces the extent i by one of the same offsets and timestamps.
func (x *index) set(i int, e extent) {
	k := x.find(i + x.gone)
	old := &x.open(k)[i+x.gone-x.chunks[k].from]
	if old.at != e.at {
		x.packs.add(old.at, -int64(old.encoded))
		x.packs.add(e.at, int64(e.encoded))
	}
	e.latest = old.latest
	*old = e
	x.dirty = x.dirty || k < x.frozen
}

// settle has the extent i lie in the WAL: where is known once it is durable. It returns where the extent ends; not
// ok if none begins at base.
func (x *index) settle(i int, base topic.Offset, at wal.Position) (end topic.Offset, ok bool) {
	if i >= x.length {
		return 0, false
	}
	k := x.find(i + x.gone)
	e := &x.open(k)[i+x.gone-x.chunks[k].from]
	if e.base != base {
		return 0, false
	}
	e.at = at
	x.dirty = x.dirty || k < x.frozen
	return e.end(), true
}

// refile has the extents from i on that lie in a file of the WAL lie in a pack, at the same places, up to the end of a chunk, and
// counts them.
func (x *index) refile(i int, file, pack uint64) (n int) {
	k := x.find(i + x.gone)
	open := x.open(k)[i+x.gone-x.chunks[k].from:]
	encoded := int64(0)
	for ; n < len(open) && open[n].at.File == file; n++ {
		open[n].at.File = pack
		encoded += int64(open[n].encoded)
	}
	if n > 0 {
		x.packs.add(open[0].at, encoded)
		x.dirty = x.dirty || k < x.frozen
	}
	return n
}

// open returns the extents of a chunk, which is thawed for that.
func (x *index) open(k int) []extent {
	if x.chunks[k].open != nil {
		return x.chunks[k].open
	}
	buffer := x.close()
	x.work++
	x.chunks[k].open = x.thaw(k, buffer[:0])
	x.thawed = k + 1
	return x.chunks[k].open
}

// thaw returns the extents of a frozen chunk, which stays so.
func (x *index) thaw(k int, into []extent) []extent {
	c := &x.chunks[k]
	if c.unread == nil {
		return thaw(into, c.frozen)
	}
	into = c.unread.read(c, into)
	c.frozen, c.unread = freeze(into), nil
	return into
}

// close ends that a chunk is thawed, and returns its memory.
func (x *index) close() (buffer []extent) {
	if x.thawed == 0 {
		return nil
	}
	c := &x.chunks[x.thawed-1]
	if buffer = c.open; x.dirty {
		x.freezeChunk(x.thawed - 1)
	}
	c.open, x.thawed, x.dirty = nil, 0, false
	return buffer
}

func (x *index) most() int {
	if x.extents > 0 {
		return x.extents
	}
	return chunkLength
}

func (x *index) push(e extent) {
	last := len(x.chunks) - 1
	if last < 0 || x.chunks[last].unread != nil || len(x.chunks[last].open) >= x.most() {
		x.add(chunk{open: x.spare})
		x.spare = nil
		last++
	}
	open := x.chunks[last].open
	if e.at != (wal.Position{}) { // Not so of what is appended.
		place := x.lastPlace()
		x.unordered = x.unordered || e.at == nowhere || place != (wal.Position{}) && e.at.Compare(place) <= 0
	}
	if len(open) > 0 {
		e.latest = max(e.latest, open[len(open)-1].latest)
	}
	x.chunks[last].open = append(open, e)
	x.packs.add(e.at, int64(e.encoded))
	x.length++
}

// add adds a chunk behind the last one, which is full.
func (x *index) add(c chunk) {
	if last := len(x.chunks) - 1; last >= 0 {
		x.chunks[last].latest = max(x.before(last), x.chunks[last].largest())
	}
	x.freeze()
	c.from = x.gone + x.length
	x.chunks = append(x.chunks, c)
}

// lastPlace is where the last extent lies; the zero if there is none, or it is not durable.
func (x *index) lastPlace() (at wal.Position) {
	last := len(x.chunks) - 1
	if last > 0 && len(x.chunks[last].open) == 0 && x.chunks[last].unread == nil {
		last--
	}
	if last < 0 || x.length == 0 {
		return at
	}
	_, at = x.chunks[last].last()
	return at
}

// freeze freezes the chunks before the last whose extents are durable: they became so in their order.
func (x *index) freeze() {
	for ; x.frozen < len(x.chunks)-1; x.frozen++ {
		c := &x.chunks[x.frozen]
		if c.unread != nil {
			continue
		}
		if c.open[len(c.open)-1].at == (wal.Position{}) {
			return
		}
		x.freezeChunk(x.frozen)
		if x.hasty {
			x.spare = c.open[:0]
		}
		c.open = nil
	}
}

// freezeChunk encodes the open extents of a chunk.
func (x *index) freezeChunk(k int) {
	c := &x.chunks[k]
	x.giveBack(c)
	x.work++
	c.freeze()
	if x.hasty && c.packed {
		if slot, ok := x.spill.put(c.frozen); ok {
			c.frozen, c.spilled = slot, true
		}
	}
	x.unspilled = min(x.unspilled, k)
}

// giveBack lets go of what is frozen.
func (x *index) giveBack(c *chunk) {
	if c.spilled {
		x.spill.give(c.frozen)
	}
	c.frozen, c.spilled, c.unread = nil, false, nil
}

// reset empties the index, and all copies of it with it.
func (x *index) reset() {
	for k := range x.chunks {
		x.giveBack(&x.chunks[k])
	}
	*x = index{spill: x.spill, hasty: x.hasty, extents: x.extents, work: x.work}
}

// spillLooks bounds how many chunks are looked at at once for one to spill.
const spillLooks = 1024

// spillable finds a chunk that can be moved to the spill, and what is to be copied there; nothing if none was found
// yet. more: there may be another.
func (x *index) spillable() (k int, frozen []byte, more bool) {
	for range spillLooks {
		if x.thawed == x.unspilled+1 {
			x.close()
		}
		// What is drained comes first: behind a chunk that is not, none is.
		if x.unspilled >= x.frozen || !x.chunks[x.unspilled].packed || x.chunks[x.unspilled].unread != nil {
			return 0, nil, false
		}
		if c := &x.chunks[x.unspilled]; !c.spilled && len(c.frozen) <= spillLargest {
			return x.unspilled, c.frozen, true
		}
		x.unspilled++
	}
	return 0, nil, true
}

// spilledAs takes in that what was frozen in chunk k was copied to slot. It is not ok if it is not there any more.
func (x *index) spilledAs(k int, frozen, slot []byte) bool {
	if k >= x.frozen || x.thawed == k+1 && x.dirty || len(x.chunks[k].frozen) == 0 || &x.chunks[k].frozen[0] != &frozen[0] {
		return false
	}
	x.chunks[k].frozen, x.chunks[k].spilled = slot, true
	return true
}

// unfreeze makes the chunks from k on open for good.
func (x *index) unfreeze(k int) {
	x.close()
	for ; x.frozen > k; x.frozen-- {
		c := &x.chunks[x.frozen-1]
		x.work++
		open := x.thaw(x.frozen-1, nil)
		x.giveBack(c)
		*c = chunk{open: open, from: c.from, latest: c.latest}
	}
	x.unspilled = min(x.unspilled, x.frozen)
}

// cut keeps the first n extents.
func (x *index) cut(n int) {
	if n == 0 {
		x.reset()
		return
	}
	if n == x.length {
		return
	}
	x.uncount(n, x.length)
	last := x.find(x.gone + n - 1)
	x.close()
	for k := last + 1; k < len(x.chunks); k++ {
		x.giveBack(&x.chunks[k])
	}
	x.frozen = min(x.frozen, last+1)
	clear(x.chunks[last+1:])
	x.chunks = x.chunks[:last+1]
	x.unfreeze(last)
	c := &x.chunks[last]
	c.open = c.open[:x.gone+n-c.from]
	x.length = n
}

// each passes over the extents from i up to j, and counts them: over frozen chunks as a whole where that is taken, else one by
// one, until that is enough.
func (x *index) each(i, j int, whole func(*chunk) (taken bool), one func(extent) (more bool)) (passed int) {
	number, until := i+x.gone, j+x.gone
	for number < until {
		k := x.find(number)
		c, behind := &x.chunks[k], x.behind(k)
		if c.open == nil && number == c.from && behind <= until && whole(c) {
			number = behind
			continue
		}
		for open := x.open(k); number < min(behind, until); number++ {
			if !one(open[number-c.from]) {
				return number - i - x.gone
			}
		}
	}
	return max(0, j-i)
}

// uncount takes the extents from i up to j out of the count of what lies in packs.
func (x *index) uncount(i, j int) { x.packs.subtract(x.packed(i, j)) }

// packed counts what the extents from i up to j have in packs.
func (x *index) packed(i, j int) (packs tally) {
	x.each(i, j, func(c *chunk) bool {
		if c.alike {
			packs.add(c.at, c.encoded)
		} else if c.unread != nil {
			packs.join(c.unread.packs)
		}
		return c.alike || c.unread != nil
	}, func(e extent) bool {
		packs.add(e.at, int64(e.encoded))
		return true
	})
	return packs
}

// sum adds up the bytes of the extents from i up to j, and finds their smallest timestamp, math.MaxInt64 if
// they have none.
func (x *index) sum(i, j int) (bytes, oldest int64) {
	oldest = math.MaxInt64
	x.each(i, j, func(c *chunk) bool {
		bytes, oldest = bytes+c.bytes, min(oldest, c.oldest)
		return true
	}, func(e extent) bool {
		bytes, oldest = bytes+int64(e.bytes), min(oldest, e.age())
		return true
	})
	return bytes, oldest
}

// drop removes the first n extents, and with them their part in the running maximum.
func (x *index) drop(n int) {
	if n >= x.length {
		x.reset()
		return
	}
	if n == 0 {
		return
	}
	x.uncount(0, n)
	x.close()
	x.fronted = false
	x.gone += n
	x.length -= n
	first := x.find(x.gone)
	for k := range first {
		x.giveBack(&x.chunks[k])
	}
	x.chunks = slices.Delete(x.chunks, 0, first)
	x.frozen = max(0, x.frozen-first)
	x.unspilled = max(0, x.unspilled-first)
	open := x.open(0)[x.gone-x.chunks[0].from:]
	if rerun(open) && x.frozen > 0 {
		x.dirty = true
	}
	x.rerun(0, 0)
}

// rerun makes the running maxima of the chunks from k on anew, of those up to another one whether they seem right or not.
func (x *index) rerun(k, upTo int) {
	for latest := x.before(k); k < len(x.chunks)-1; k++ {
		c := &x.chunks[k]
		if latest = max(latest, c.largest()); latest == c.latest && k >= upTo {
			return
		}
		c.latest = latest
	}
}

// search finds the first of the extents that is not below what is looked for, or len(): below tells of an
// extent, and chunkBelow whether it is so of all of a chunk.
func (x *index) search(chunkBelow func(k int) bool, below func(extent) bool) int {
	k := sort.Search(len(x.chunks), func(k int) bool { return !chunkBelow(k) })
	if k == len(x.chunks) {
		return x.length
	}
	from := max(x.gone, x.chunks[k].from)
	open := x.open(k)[from-x.chunks[k].from:]
	return from + sort.Search(len(open), func(i int) bool { return !below(open[i]) }) - x.gone
}

// covering finds the extent that holds offset: the first that ends above it. It is len() if offset
// is at or beyond the end of the last.
func (x *index) covering(offset topic.Offset) int {
	return x.search(func(k int) bool {
		end, _ := x.chunks[k].last()
		return end <= offset
	}, func(e extent) bool { return e.end() <= offset })
}

// reaching finds the first of the first n extents that holds a timestamp of at least ts, or n.
func (x *index) reaching(ts int64, n int) int {
	return min(n, x.search(func(k int) bool { return max(x.before(k), x.chunks[k].largest()) < ts },
		func(e extent) bool { return e.latest < ts }))
}

// placed finds the first extent that is durable at or behind a place, or that is not durable. It presumes that they lie in the order
// of their offsets.
func (x *index) placed(at wal.Position) int {
	below := func(place wal.Position) bool { return place != (wal.Position{}) && place.Compare(at) < 0 }
	return x.search(func(k int) bool {
		_, place := x.chunks[k].last()
		return below(place)
	}, func(e extent) bool { return below(e.at) })
}
