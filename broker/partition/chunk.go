package partition

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

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

// age is the timestamp of a batch, math.MaxInt64 if it has none.
func (e extent) age() int64 {
	if e.newest < 0 {
		return math.MaxInt64
	}
	return e.newest
}

// chunkLength is how many extents that were pushed are frozen together, and bounds what one push may have to copy: a log
// of a million batches must not pause for the copy of 48 MB.
const chunkLength = 512

// chunk is some hundred extents: open, or frozen, or both while it is thawed, or unread. What they say is the largest
// timestamp up to them is so within the chunk: else the index would have to change them all for a record from the
// future that is dropped.
type chunk struct {
	open   []extent
	frozen []byte
	// from is the number of the first extent. latest is the largest timestamp in this chunk and all before it,
	// unless it is the last.
	from   int
	latest int64
	// spilled: frozen is a slot of the spill.
	spilled bool
	// unread is where the extents are told that nobody has read since the start, so many from base on; nil if they are here.
	batches int32
	unread  *unread
	base    topic.Offset
	summary
}

// summary is what is known of the extents of a frozen chunk together.
type summary struct {
	// packed: all of it lies in packs. alike: all of it lies in the same file.
	packed, alike bool
	// end and at are those of the last extent, own is the largest timestamp, oldest the smallest that there is.
	end         topic.Offset
	at          wal.Position
	own, oldest int64
	// bytes and encoded are the sums.
	bytes, encoded int64
}

// rerun makes the running maximum of extents anew, and reports whether it is another.
func rerun(open []extent) (changed bool) {
	latest := int64(math.MinInt64)
	for i := range open {
		if latest = max(latest, open[i].newest); latest == open[i].latest {
			break // From here on it is what it was.
		}
		open[i].latest, changed = latest, true
	}
	return changed
}

// largest is the largest timestamp in a chunk.
func (c *chunk) largest() int64 {
	if c.open != nil {
		return c.open[len(c.open)-1].latest
	}
	return c.own
}

// last is where the last extent of a chunk ends, and where it lies.
func (c *chunk) last() (topic.Offset, wal.Position) {
	if c.open != nil {
		e := c.open[len(c.open)-1]
		return e.end(), e.at
	}
	return c.end, c.at
}

// freeze encodes the open extents.
func (c *chunk) freeze() { c.frozen, c.summary = freeze(c.open), summaryOf(c.open) }

// freeze encodes extents. Each is told by how it differs from what the one before makes likely: the next offset, the next
// place, the same epoch.
func freeze(open []extent) []byte {
	b := make([]byte, 0, 16*len(open))
	before := extent{}
	for _, e := range open {
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
	return slices.Clip(slices.Clone(b))
}

func summaryOf(open []extent) summary {
	last := open[len(open)-1]
	// What is drained comes first, so if the last is, all are.
	s := summary{packed: last.at.File&wal.PackBit != 0, alike: true, end: last.end(), at: last.at, own: last.latest,
		oldest: math.MaxInt64}
	for _, e := range open {
		s.alike = s.alike && e.at.File == last.at.File
		s.bytes += int64(e.bytes)
		s.encoded += int64(e.encoded)
		s.oldest = min(s.oldest, e.age())
	}
	return s
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
