package wal

import (
	"time"

	"outrigger/broker/topic"
)

// openGroup is a group on its way: filled, sealed, written, durable, and then used again.
type openGroup struct {
	group Group
	// buffer is aligned; length of it is in use, the first groupHeaderBytes are left for the header. It grows up to
	// limit, into memory that is of use to later groups, too.
	buffer []byte
	memory *groupMemory
	length int64
	// limit is how long it may get: the group bound, or what the file has left.
	limit   int64
	bodyCRC uint32
	segment *segment
	offset  int64
	// born is when its first record was appended.
	born time.Duration
	// bytes and records per budget, for the ledger.
	bytes   [budgets]int64
	records [budgets]int64
}

// begin makes g an empty group that will lie at offset of s.
func (g *openGroup) begin(s *segment, offset, limit int64) {
	clear(g.group.Records)
	*g = openGroup{
		group:   Group{Records: g.group.Records[:0]},
		buffer:  g.buffer,
		memory:  g.memory,
		length:  groupHeaderBytes,
		limit:   limit,
		segment: s,
		offset:  offset,
	}
}

// reach makes the buffer that long at least.
func (g *openGroup) reach(bytes int64) {
	if int64(len(g.buffer)) >= bytes {
		return
	}
	larger := g.memory.take(bytes, g.limit)
	if g.buffer != nil {
		copy(larger, g.buffer[:g.length])
	}
	g.buffer = larger
}

// add encodes the record straight into the buffer; false means that the group is full.
func (g *openGroup) add(q *queued) bool {
	if g.length+q.bytes > g.limit {
		return false
	}
	g.reach(g.length + q.bytes)
	at := Position{File: g.segment.number, Offset: g.offset + g.length}
	g.bodyCRC = putRecord(g.buffer[g.length:g.length+q.bytes], &q.record, g.segment.seed, g.bodyCRC)
	g.length += q.bytes
	if len(g.group.Records) == 0 {
		g.born = q.at
	}
	g.group.Records = append(g.group.Records, Placed{Record: q.record, At: at})
	g.bytes[q.budget] += q.bytes
	g.records[q.budget]++
	return true
}

// seal fixes what the group holds, pads it to a block and numbers it. Only its header is missing.
func (g *openGroup) seal(sequence uint64) {
	padded := alignUp(g.length)
	g.reach(padded)
	clear(g.buffer[g.length:padded])
	g.group.Sequence = sequence
	g.group.Bytes = padded
}

// finish writes the header, behind the group that was written last, and returns the chain with g at
// its end.
func (g *openGroup) finish(last chain, session topic.Session, synced uint64) chain {
	h := GroupHeader{
		Sequence:   g.group.Sequence,
		Generation: g.segment.number,
		Session:    session,
		Synced:     synced,
		Length:     uint32(g.length),
		Records:    uint32(len(g.group.Records)),
		Previous:   last.crc,
	}
	putGroupHeader(g.buffer[:g.length], &h, g.bodyCRC)
	g.group.CRC = h.CRC
	return chain{sequence: h.Sequence, crc: h.CRC}
}

// chain is the end of the chain of groups: the next one must name this CRC and carry the sequence
// after this.
type chain struct {
	sequence uint64
	crc      uint32
}
