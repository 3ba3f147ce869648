package partition

import (
	"encoding/binary"
	"fmt"
	"math"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A start would have to read every batch that a node has, if it restored the logs from their runs alone. So the catalog
// keeps beside them what is known of many batches together: a head, of runs that follow each other. A start reads the heads, and those
// runs that have none; a chunk of an index is made of each head, and its batches are read from the runs when somebody
// looks into it, or afterwards (unread.go):
//
//	heads   |------ 600 batches ------|------ 512 batches -----|
//	runs    | 200 | 4 | 396           | 512                    | 40 | 7 | 12
//	index   | a chunk, unread         | a chunk, unread        | a chunk, open
//
// Heads say nothing that runs do not say: an edit of runs takes those heads away that are about them, and they are made
// anew once there are enough runs without one (heads.go).
//
//	"h" topic 16, partition 4, base 8   a head: as varints, offsets that it covers, batches, bytes of them, largest
//	                                    timestamp, smallest one and one, 0 if there is none; then where the first record
//	                                    lies and where the last one, each a file and an offset; then how many packs there
//	                                    are, and of each its number, by how much it is more than the one before, and how
//	                                    many bytes of records lie there

// head is what is known of some batches together, which lie in packs in the order of their offsets.
type head struct {
	base    topic.Offset
	batches int32
	// first is where the first record lies, packs what they have in each pack.
	first wal.Position
	packs tally
	summary
}

// headOf is the head of batches. It is not ok if there can be none: one lies nowhere, since a record of the WAL is about to drop it,
// or before the one before it.
func headOf(of []extent) (h head, ok bool) {
	own := int64(math.MinInt64)
	for i, e := range of {
		if e.at == nowhere || i > 0 && (e.at.Compare(of[i-1].at) <= 0 || e.base != of[i-1].end()) {
			return head{}, false
		}
		h.packs.add(e.at, int64(e.encoded))
		own = max(own, e.newest)
	}
	h.base, h.batches, h.first, h.summary = of[0].base, int32(len(of)), of[0].at, summaryOf(of)
	h.own = own
	return h, h.packed
}

func headKey(p topic.Partition, base topic.Offset) []byte {
	return binary.BigEndian.AppendUint64(partitionKey(keyHead, p), uint64(base))
}

func encodeHead(h *head) []byte {
	oldest := uint64(0)
	if h.oldest != math.MaxInt64 {
		oldest = uint64(h.oldest) + 1
	}
	b := binary.AppendUvarint(nil, uint64(h.end-h.base))
	b = binary.AppendUvarint(b, uint64(h.batches))
	b = binary.AppendUvarint(b, uint64(h.bytes))
	b = binary.AppendVarint(b, h.own)
	b = binary.AppendUvarint(b, oldest)
	for _, at := range []wal.Position{h.first, h.at} {
		b = binary.AppendUvarint(b, at.File&^wal.PackBit)
		b = binary.AppendUvarint(b, uint64(at.Offset))
	}
	b = binary.AppendUvarint(b, uint64(len(h.packs)))
	number := uint64(0)
	for _, p := range h.packs {
		b = binary.AppendUvarint(b, p.number-number)
		b = binary.AppendUvarint(b, uint64(p.bytes))
		number = p.number
	}
	return b
}

func decodeHead(key, value []byte) (p topic.Partition, h head, err error) {
	if p, h.base, err = parseRunKey(key); err != nil {
		return p, head{}, err
	}
	d := decoder{b: value}
	place := func() wal.Position {
		return wal.Position{File: d.uvarint() | wal.PackBit, Offset: int64(d.uvarint())}
	}
	h.end = h.base + topic.Offset(d.uvarint())
	h.batches, h.bytes = int32(d.uvarint()), int64(d.uvarint())
	h.own, h.oldest = d.varint(), int64(d.uvarint()-1)
	if h.oldest < 0 {
		h.oldest = math.MaxInt64
	}
	h.first, h.at = place(), place()
	packs, number := d.uvarint(), uint64(0)
	if packs > uint64(len(d.b)) { // Each takes two bytes.
		return p, head{}, fmt.Errorf("%w: head at %d of %v names %d packs", errCatalog, h.base, p, packs)
	}
	h.packs = make(tally, 0, packs)
	for range packs {
		number += d.uvarint()
		in := packed{number: number, bytes: int64(d.uvarint())}
		h.packs, h.encoded = append(h.packs, in), h.encoded+in.bytes
	}
	h.packed, h.alike = true, packs == 1
	if d.err != nil || len(d.b) > 0 || h.batches <= 0 || int64(h.end-h.base) < int64(h.batches) || packs == 0 {
		return p, head{}, fmt.Errorf("%w: head at %d of %v", errCatalog, h.base, p)
	}
	return p, h, nil
}
