package partition

import (
	"encoding/binary"
	"slices"
	"sync"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A digest is what a replay needs of the records of one file of the WAL: where they lie, how long they
// are, and the headers of their batches. It is made while the records are in memory anyway, so that the
// file can be adopted without being read.
//
//	record   kind 1, then as varints: partition (a number in this digest), epoch, base, count, bytes since
//	         the record before, payload bytes, head bytes; then the head
//
// The head is the batch's header, or all of a control batch: what it says is in its record.
type digest struct {
	file       uint64
	partitions []topic.Partition
	// known numbers the partitions, as long as records are added.
	known map[topic.Partition]uint64
	bytes []byte
	last  int64
	// lost: it took too much memory, or a record had no place in it.
	lost bool
}

// digestBytes bounds the memory of all digests. A file that finds no room is read when it is drained.
const digestBytes = 32 << 20

// controlBytesMax is the longest control batch that a digest takes in; a marker has 78 bytes.
const controlBytesMax = 512

// digests are those of the files that were not drained yet, oldest first. Records are added by the WAL's
// writer, and taken out by the drainer.
type digests struct {
	bytesMax int
	mu       struct {
		sync.Mutex
		files []*digest
		bytes int
	}
}

// add takes in the next records of the WAL.
func (d *digests) add(records ...wal.Placed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range records {
		d.addLocked(&records[i])
	}
}

func (d *digests) addLocked(r *wal.Placed) {
	n := len(d.mu.files)
	if n == 0 || d.mu.files[n-1].file != r.At.File {
		if n > 0 {
			d.mu.files[n-1].known = nil
		}
		d.mu.files = append(d.mu.files, &digest{file: r.At.File, known: map[topic.Partition]uint64{}})
		n++
	}
	one := d.mu.files[n-1]
	if one.lost {
		return
	}
	before := len(one.bytes)
	one.add(r)
	if d.mu.bytes += len(one.bytes) - before; d.mu.bytes > d.bytesMax || one.lost {
		d.mu.bytes -= len(one.bytes)
		*one = digest{file: one.file, lost: true}
	}
}

// find returns the digest of a file to which nothing is added any more, nil if there is none.
func (d *digests) find(file uint64) *digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.mu.files {
		if one.file == file && !one.lost {
			return one
		}
	}
	return nil
}

// forget drops the digests of the files up to that one.
func (d *digests) forget(file uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.mu.files) > 0 && d.mu.files[0].file <= file {
		d.mu.bytes -= len(d.mu.files[0].bytes)
		d.mu.files = d.mu.files[1:]
	}
}

// few reports whether the files that were not drained hold few records: some fifty thousand at most.
func (d *digests) few() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.bytes <= digestBytesFew && !slices.ContainsFunc(d.mu.files, func(g *digest) bool { return g.lost })
}

const digestBytesFew = 4 << 20

func (g *digest) add(r *wal.Placed) {
	head := r.Payload
	if r.Kind == wal.Data {
		h, err := batch.ParseHeader(r.Payload)
		if g.lost = err != nil || h.Control() && len(r.Payload) > controlBytesMax; g.lost {
			return
		}
		if !h.Control() {
			head = r.Payload[:batch.HeaderBytes]
		}
	}
	number, known := g.known[r.Partition]
	if !known {
		number = uint64(len(g.partitions))
		g.known[r.Partition] = number
		g.partitions = append(g.partitions, r.Partition)
	}
	b := append(g.bytes, byte(r.Kind))
	b = binary.AppendUvarint(b, number)
	b = binary.AppendVarint(b, int64(r.Epoch))
	b = binary.AppendVarint(b, int64(r.Base))
	b = binary.AppendVarint(b, int64(r.Count))
	b = binary.AppendUvarint(b, uint64(r.At.Offset-g.last))
	b = binary.AppendUvarint(b, uint64(len(r.Payload)))
	b = binary.AppendUvarint(b, uint64(len(head)))
	g.bytes, g.last = append(b, head...), r.At.Offset
}

// each calls fn with every record, in order. Payloads have their length, but beyond their heads they say
// nothing, and they hold only during the call.
func (g *digest) each(fn func(wal.Placed) error) error {
	var payload []byte
	d, at := decoder{b: g.bytes}, int64(0)
	for len(d.b) > 0 {
		r := wal.Placed{At: wal.Position{File: g.file}}
		r.Kind = wal.Kind(d.uint8())
		r.Partition = g.partitions[d.uvarint()]
		r.Epoch, r.Base, r.Count = topic.Epoch(d.varint()), topic.Offset(d.varint()), int32(d.varint())
		at += int64(d.uvarint())
		r.At.Offset = at
		length := int(d.uvarint())
		if length > len(payload) {
			payload = make([]byte, length)
		}
		r.Payload = payload[:length]
		copy(r.Payload, d.take(int(d.uvarint())))
		if d.err != nil {
			return d.err
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}
