package partition

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A digest is what a replay needs of the records of one file of the WAL: where they lie, how long they
// are, and the headers of their batches. It is made while the records are in memory anyway, so that the
// file can be adopted without being read, and drained although something in it is bad.
//
//	record   kind 1, then as varints: epoch, base, count, bytes since the end of the partition's record before, payload
//	         bytes; then the head
//
// Records stand by partition, so that a replay has one log at hand at a time, and asks the catalog in the order of its
// keys. Epoch and base are told by how they differ from what the partition's record before makes likely. The head is the
// batch's header, as varints: attributes, and timestamps, producer, sequence and records by how they differ. A checksum
// is not in it. Of a batch whose header is not what its record makes of it, and of a control batch, whose record says
// what it does, the bytes are there: head bytes, head; and the kind has a bit for it.
type digest struct {
	file  uint64
	parts []digestPart
	// known is where the part of a partition is, and states are what the next record of each is compared with, as long as
	// records are added.
	known  map[topic.Partition]int
	states []digestState
	// bytes is how many all parts have.
	bytes int
	// lost: it took too much memory, or a record had no place in it.
	lost bool
}

// digestPart is what a digest says of one partition.
type digestPart struct {
	partition topic.Partition
	bytes     []byte
}

// partBytes is what a part takes in memory beside its bytes, about.
const partBytes = 128

// held is how much memory a digest takes, about.
func (g *digest) held() int { return g.bytes + partBytes*len(g.parts) }

// digestState is what a partition's next record is compared with.
type digestState struct {
	// behind is where the record before ended.
	behind        int64
	epoch         topic.Epoch
	end           topic.Offset
	timestamp     int64
	producer      int64
	producerEpoch int16
	sequence      int32
}

// digestHead is the bit of a kind that says that the head is there in bytes.
const digestHead = 0x80

// digestBytes bounds the memory of all digests. A file that finds no room is read when it is drained.
const digestBytes = 32 << 20

// burdenBytes are the digests of some half a million batches, for which a start takes a second.
const burdenBytes = digestBytes / 4

// controlBytesMax is the longest control batch that a digest takes in; a marker has 78 bytes.
const controlBytesMax = 512

// digests are those of the files that were not drained yet, oldest first. Records are added by the WAL's
// writer, and taken out by the drainer.
type digests struct {
	bytesMax int
	// burdenMax is how many bytes of full files are so many batches that a start would take long.
	burdenMax int
	mu        struct {
		sync.Mutex
		files []*digest
		// bytes is how many they have, held how much memory they take.
		bytes, held int
		// forgotten is up to which file nothing is known any more.
		forgotten uint64
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
			d.mu.files[n-1].known, d.mu.files[n-1].states = nil, nil
		}
		d.mu.files = append(d.mu.files, &digest{file: r.At.File, known: map[topic.Partition]int{}})
		n++
	}
	one := d.mu.files[n-1]
	if one.lost {
		return
	}
	bytes, held := one.bytes, one.held()
	one.add(r)
	d.mu.bytes += one.bytes - bytes
	if d.mu.held += one.held() - held; d.mu.held > d.bytesMax || one.lost {
		d.mu.bytes -= one.bytes
		d.mu.held -= one.held()
		*one = digest{file: one.file, lost: true}
	}
}

// find returns the digest of a file to which nothing is added any more, nil if there is none. All records pass by here,
// so that a file that is not known has none.
func (d *digests) find(file uint64) *digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.mu.files {
		if one.file == file && one.lost {
			return nil
		}
		if one.file == file {
			return one
		}
	}
	if file <= d.mu.forgotten {
		return nil
	}
	return &digest{file: file}
}

// forget drops the digests of the files up to that one.
func (d *digests) forget(file uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.mu.files) > 0 && d.mu.files[0].file <= file {
		d.mu.bytes -= d.mu.files[0].bytes
		d.mu.held -= d.mu.files[0].held()
		d.mu.files = d.mu.files[1:]
	}
	d.mu.forgotten = max(d.mu.forgotten, file)
}

// burden is how many times the batches that may wait are in the files that are full and were not drained.
func (d *digests) burden() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.mu.files)
	if n == 0 {
		return 0
	}
	return float64(d.mu.bytes-d.mu.files[n-1].bytes) / float64(d.burdenMax)
}

// burdens reports whether as many batches wait as may.
func (d *digests) burdens() bool { return d.burden() >= 1 }

func (g *digest) add(r *wal.Placed) {
	h, head, err := digestHeadOf(r)
	if g.lost = err != nil; g.lost {
		return
	}
	number, known := g.known[r.Partition]
	if !known {
		number = len(g.parts)
		g.known[r.Partition] = number
		g.parts = append(g.parts, digestPart{partition: r.Partition})
		g.states = append(g.states, digestState{})
	}
	part, was := &g.parts[number], &g.states[number]
	kind := byte(r.Kind)
	if len(head) > 0 {
		kind |= digestHead
	}
	b := append(part.bytes, kind)
	b = binary.AppendVarint(b, int64(r.Epoch)-int64(was.epoch))
	b = binary.AppendVarint(b, int64(r.Base-was.end))
	b = binary.AppendVarint(b, int64(r.Count))
	b = binary.AppendUvarint(b, uint64(r.At.Offset-was.behind))
	b = binary.AppendUvarint(b, uint64(len(r.Payload)))
	switch {
	case len(head) > 0:
		b = append(binary.AppendUvarint(b, uint64(len(head))), head...)
	case len(r.Payload) > 0:
		b = binary.AppendVarint(b, int64(h.Attributes))
		b = binary.AppendVarint(b, h.BaseTimestamp-was.timestamp)
		b = binary.AppendVarint(b, h.MaxTimestamp-h.BaseTimestamp)
		b = binary.AppendVarint(b, h.ProducerID-was.producer)
		b = binary.AppendVarint(b, int64(h.ProducerEpoch)-int64(was.producerEpoch))
		b = binary.AppendVarint(b, int64(h.BaseSequence)-int64(was.sequence))
		b = binary.AppendVarint(b, int64(h.Records)-int64(r.Count))
	}
	g.bytes += len(b) - len(part.bytes)
	part.bytes = b
	was.follow(r, h)
}

var errNoDigest = errors.New("record does not fit a digest")

// digestHeadOf is the header of a record's batch, and the bytes to keep of the payload if that is not enough.
func digestHeadOf(r *wal.Placed) (h batch.Header, head []byte, err error) {
	if r.Kind != wal.Data {
		return h, r.Payload, nil
	}
	if h, err = batch.ParseHeader(r.Payload); err != nil {
		return h, nil, err
	}
	switch {
	case h.Control() && len(r.Payload) > controlBytesMax:
		return h, nil, errNoDigest
	case h.Control():
		return h, r.Payload, nil
	case h != headerOf(r, h):
		return h, r.Payload[:batch.HeaderBytes], nil
	}
	return h, nil, nil
}

// headerOf is h with those fields as they are in the batch of a record like r.
func headerOf(r *wal.Placed, h batch.Header) batch.Header {
	h.BaseOffset, h.PartitionLeaderEpoch, h.Magic = int64(r.Base), int32(r.Epoch), 2
	h.Length, h.LastOffsetDelta = int32(len(r.Payload)-batch.LengthEnd), r.Count-1
	return h
}

// follow takes in a record and the header of its batch, if it has one.
func (s *digestState) follow(r *wal.Placed, h batch.Header) {
	s.behind = r.At.Offset + wal.EncodedLen(r.Record)
	if r.Kind != wal.Data {
		return
	}
	s.epoch, s.end = r.Epoch, recordEnd(r)
	s.timestamp, s.producer, s.producerEpoch, s.sequence = h.MaxTimestamp, h.ProducerID, h.ProducerEpoch, h.BaseSequence
	if h.ProducerID >= 0 {
		s.sequence += r.Count
	}
}

// each calls fn with every record: those of a partition in order, one partition after the other. Payloads have their length,
// but beyond their heads they say nothing, and they hold only during the call. Nothing is added any more.
func (g *digest) each(fn func(wal.Placed) error) error {
	slices.SortFunc(g.parts, func(a, b digestPart) int { return comparePartitions(a.partition, b.partition) })
	var payload []byte
	for i := range g.parts {
		var err error
		if payload, err = g.parts[i].each(g.file, payload, fn); err != nil {
			return err
		}
	}
	return nil
}

// each has the records of a partition lie in a file. It takes, and returns, the memory for their payloads.
func (p *digestPart) each(file uint64, payload []byte, fn func(wal.Placed) error) ([]byte, error) {
	d, was := decoder{b: p.bytes}, digestState{}
	for len(d.b) > 0 {
		r := wal.Placed{At: wal.Position{File: file}}
		kind := d.uint8()
		r.Kind, r.Partition = wal.Kind(kind&^digestHead), p.partition
		r.Epoch, r.Base, r.Count = was.epoch+topic.Epoch(d.varint()), was.end+topic.Offset(d.varint()), int32(d.varint())
		r.At.Offset = was.behind + int64(d.uvarint())
		length := int(d.uvarint())
		if length > len(payload) {
			payload = make([]byte, length)
		}
		r.Payload = payload[:length]
		var h batch.Header
		if kind&digestHead != 0 {
			copy(r.Payload, d.take(int(d.uvarint())))
			if r.Kind == wal.Data && d.err == nil {
				h, d.err = batch.ParseHeader(r.Payload)
			}
		} else if length > 0 {
			h = was.header(&d, &r)
			h.Put(r.Payload)
		}
		if d.err != nil {
			return payload, d.err
		}
		was.follow(&r, h)
		if err := fn(r); err != nil {
			return payload, err
		}
	}
	return payload, nil
}

// header decodes the header of the batch of r.
func (s *digestState) header(d *decoder, r *wal.Placed) (h batch.Header) {
	h.Attributes = int16(d.varint())
	h.BaseTimestamp = s.timestamp + d.varint()
	h.MaxTimestamp = h.BaseTimestamp + d.varint()
	h.ProducerID = s.producer + d.varint()
	h.ProducerEpoch = int16(int64(s.producerEpoch) + d.varint())
	h.BaseSequence = int32(int64(s.sequence) + d.varint())
	h.Records = r.Count + int32(d.varint())
	return headerOf(r, h)
}
