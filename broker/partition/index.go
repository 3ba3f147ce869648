package partition

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// extent is one batch in the index, 56 bytes while it is open.
type extent struct {
	base topic.Offset
	// latest is the largest timestamp of this batch and of all before it: a running maximum, so
	// that it can be searched although timestamps themselves may jump.
	latest int64
	// newest is the largest timestamp of this batch alone: when the front is dropped, the running
	// maximum is made anew from it.
	newest int64
	// at is where the record lies in the WAL; it is known only once the record is durable.
	at    wal.Position
	count int32
	epoch topic.Epoch
	bytes int32 // of the batch
	// encoded is the bytes of the whole record in the WAL.
	encoded int32
}

// end is the offset after the last record of the batch.
func (e extent) end() topic.Offset { return e.base + topic.Offset(e.count) }

// chunkLength is how many extents are frozen together, and bounds what one push may have to copy: a log of
// a million batches must not pause for the copy of 48 MB.
const chunkLength = 512

// index is the list of a log's extents in offset order. Every extent is one batch, in a pack or in the
// WAL; what is drained comes first.
//
// Chunks of extents that are all durable are frozen: a batch takes about 12 bytes then instead of 56. To
// look into one thaws it, and it stays so until another is looked into.
type index struct {
	// chunks are all full but the last. gone counts the extents dropped from the front of the first.
	chunks []chunk
	gone   int
	length int
	// frozen counts the chunks at the front that are frozen, thawed is which of them is open now, if it is
	// above zero: its number and one. dirty says that it has changed.
	frozen, thawed int
	dirty          bool
	// packs counts what lies in packs.
	packs tally
	// spill takes frozen chunks that lie in packs; nil if they stay in memory. hasty puts them there as soon as
	// they are frozen, which may wait for the disk: for who holds no lock.
	spill *Spill
	hasty bool
	// spare is the memory of the chunk that was frozen last, for the next one: of who is hasty.
	spare []extent
}

// chunk is up to chunkLength extents: open, or frozen, or both while it is thawed.
type chunk struct {
	open   []extent
	frozen []byte
	// spilled: frozen is a slot of the spill. packed: it wants to be, for all of it lies in packs.
	spilled, packed bool
	// end and latest are those of the last extent of a frozen chunk.
	end    topic.Offset
	latest int64
}

func (x *index) len() int { return x.length }

func (x *index) at(i int) extent {
	i += x.gone
	return x.open(i / chunkLength)[i%chunkLength]
}

// set replaces the extent i by one of the same offsets.
func (x *index) set(i int, e extent) {
	i += x.gone
	old := &x.open(i / chunkLength)[i%chunkLength]
	if old.at != e.at {
		x.packs.add(old.at, -int64(old.encoded))
		x.packs.add(e.at, int64(e.encoded))
	}
	*old = e
	x.dirty = x.dirty || i/chunkLength < x.frozen
}

// open returns the extents of a chunk, which is thawed for that.
func (x *index) open(k int) []extent {
	if x.chunks[k].open != nil {
		return x.chunks[k].open
	}
	buffer := x.close()
	x.chunks[k].open = thaw(buffer[:0], x.chunks[k].frozen)
	x.thawed = k + 1
	return x.chunks[k].open
}

// close ends that a chunk is thawed, and returns its memory.
func (x *index) close() (buffer []extent) {
	if x.thawed == 0 {
		return nil
	}
	c := &x.chunks[x.thawed-1]
	if buffer = c.open; x.dirty {
		x.freezeChunk(c)
	}
	c.open, x.thawed, x.dirty = nil, 0, false
	return buffer
}

func (x *index) push(e extent) {
	if x.length > 0 {
		e.latest = max(e.latest, x.at(x.length-1).latest)
	}
	last := (x.gone + x.length) / chunkLength
	if last == len(x.chunks) {
		x.freeze()
		x.chunks = append(x.chunks, chunk{open: x.spare})
		x.spare = nil
	}
	x.chunks[last].open = append(x.chunks[last].open, e)
	x.packs.add(e.at, int64(e.encoded))
	x.length++
}

// freeze freezes the chunks before the last whose extents are durable: they became so in their order.
func (x *index) freeze() {
	for ; x.frozen < len(x.chunks)-1; x.frozen++ {
		c := &x.chunks[x.frozen]
		if c.open[len(c.open)-1].at == (wal.Position{}) {
			return
		}
		x.freezeChunk(c)
		if x.hasty {
			x.spare = c.open[:0]
		}
		c.open = nil
	}
}

// freezeChunk encodes the open extents of a chunk.
func (x *index) freezeChunk(c *chunk) {
	x.giveBack(c)
	c.freeze()
	if x.hasty && c.packed {
		if slot, ok := x.spill.put(c.frozen); ok {
			c.frozen, c.spilled = slot, true
		}
	}
}

// giveBack lets go of what is frozen.
func (x *index) giveBack(c *chunk) {
	if c.spilled {
		x.spill.give(c.frozen)
	}
	c.frozen, c.spilled = nil, false
}

// reset empties the index, and all copies of it with it.
func (x *index) reset() {
	for k := range x.chunks {
		x.giveBack(&x.chunks[k])
	}
	*x = index{spill: x.spill, hasty: x.hasty}
}

// spillable finds a chunk from k on that can be moved to the spill, and what is to be copied there.
func (x *index) spillable(k int) (at int, frozen []byte) {
	for ; k < x.frozen; k++ {
		if c := &x.chunks[k]; c.packed && !c.spilled && x.thawed != k+1 {
			return k, c.frozen
		}
	}
	return k, nil
}

// spilledAs takes in that what was frozen in chunk k was copied to slot. It is not ok if it is not there any more.
func (x *index) spilledAs(k int, frozen, slot []byte) bool {
	if k >= x.frozen || x.thawed == k+1 || len(x.chunks[k].frozen) == 0 || &x.chunks[k].frozen[0] != &frozen[0] {
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
		open := thaw(nil, c.frozen)
		x.giveBack(c)
		*c = chunk{open: open}
	}
}

// cut keeps the first n extents.
func (x *index) cut(n int) {
	if n == 0 {
		x.reset()
		return
	}
	x.uncount(n, x.length)
	last := (x.gone + n - 1) / chunkLength
	x.close()
	for k := last + 1; k < len(x.chunks); k++ {
		x.giveBack(&x.chunks[k])
	}
	x.frozen = min(x.frozen, len(x.chunks), last+1)
	clear(x.chunks[last+1:])
	x.chunks = x.chunks[:last+1]
	x.unfreeze(last)
	x.chunks[last].open = x.chunks[last].open[:(x.gone+n-1)%chunkLength+1]
	x.length = n
}

// uncount takes the extents from i to j out of the count of what lies in packs.
func (x *index) uncount(i, j int) {
	for ; i < j; i++ {
		e := x.at(i)
		x.packs.add(e.at, -int64(e.encoded))
	}
}

// drop removes the first n extents, and with them their part in the running maximum. What it copies is
// bounded by a chunk; it walks as far as a dropped timestamp was the largest, which is nearly always
// nowhere.
func (x *index) drop(n int) {
	if n >= x.length {
		x.reset()
		return
	}
	x.uncount(0, n)
	x.close()
	x.gone += n
	x.length -= n
	for k := range x.gone / chunkLength {
		x.giveBack(&x.chunks[k])
	}
	x.chunks = slices.Delete(x.chunks, 0, x.gone/chunkLength)
	x.frozen = max(0, x.frozen-x.gone/chunkLength)
	x.gone %= chunkLength
	latest := x.at(0).newest
	for i := range x.length {
		e := x.at(i)
		if latest = max(latest, e.newest); latest == e.latest {
			return
		}
		e.latest = latest
		x.set(i, e)
	}
}

// freeze encodes the open extents. Each is told by how it differs from what the one before makes likely:
// the next offset, the next place, the same epoch.
func (c *chunk) freeze() {
	b := make([]byte, 0, 16*len(c.open))
	before := extent{}
	for _, e := range c.open {
		b = binary.AppendVarint(b, int64(e.base-before.end()))
		b = binary.AppendVarint(b, int64(e.at.File-before.at.File))
		b = binary.AppendVarint(b, e.at.Offset-before.at.Offset-int64(before.encoded))
		b = binary.AppendVarint(b, e.newest-before.newest)
		b = binary.AppendUvarint(b, uint64(e.latest-e.newest))
		b = binary.AppendVarint(b, int64(e.epoch)-int64(before.epoch))
		b = binary.AppendUvarint(b, uint64(e.count))
		b = binary.AppendUvarint(b, uint64(e.bytes))
		before = e
	}
	c.frozen, c.end, c.latest = slices.Clip(slices.Clone(b)), before.end(), before.latest
	c.packed = before.at.File&wal.PackBit != 0 // What is drained comes first, so all before it does, too.
}

// thaw decodes what freeze has encoded.
func thaw(into []extent, b []byte) []extent {
	d := decoder{b: b}
	e := extent{}
	for len(d.b) > 0 {
		e.base = e.end() + topic.Offset(d.varint())
		e.at.File += uint64(d.varint())
		e.at.Offset += int64(e.encoded) + d.varint()
		e.newest += d.varint()
		e.latest = e.newest + int64(d.uvarint())
		e.epoch += topic.Epoch(d.varint())
		e.count, e.bytes = int32(d.uvarint()), int32(d.uvarint())
		e.encoded = int32(wal.EncodedBytes(int(e.bytes)))
		if into = append(into, e); d.err != nil {
			panic(fmt.Sprintf("thaw a chunk of the index: %v", d.err)) // It was our own memory.
		}
	}
	return into
}

// search finds the first of the extents that is not below what is looked for, or len(): below tells of an
// extent, and chunkBelow of a frozen chunk whether it is so of all of it.
func (x *index) search(below func(extent) bool, chunkBelow func(*chunk) bool) int {
	k := sort.Search(len(x.chunks), func(k int) bool {
		c := &x.chunks[k]
		if c.open == nil {
			return !chunkBelow(c)
		}
		return !below(c.open[len(c.open)-1])
	})
	if k == len(x.chunks) {
		return x.length
	}
	open, from := x.open(k), 0
	if k == 0 {
		from = x.gone
	}
	in := sort.Search(len(open)-from, func(i int) bool { return !below(open[from+i]) })
	return k*chunkLength + from + in - x.gone
}

// covering finds the extent that holds offset: the first that ends above it. It is len() if offset
// is at or beyond the end of the last.
func (x *index) covering(offset topic.Offset) int {
	return x.search(func(e extent) bool { return e.end() <= offset }, func(c *chunk) bool { return c.end <= offset })
}

// reaching finds the first of the first n extents that holds a timestamp of at least ts, or n.
func (x *index) reaching(ts int64, n int) int {
	return min(n, x.search(func(e extent) bool { return e.latest < ts }, func(c *chunk) bool { return c.latest < ts }))
}
