package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"outrigger/broker/topic"
)

// SectionKind says what a leader tells a follower about a partition.
type SectionKind uint8

// What a data section can be.
const (
	// Data carries one batch.
	Data SectionKind = 1
	// Probe asks for the follower's tail; it is always answered. Base is the leader's log end.
	Probe SectionKind = 2
	// Cut tells the follower to drop every record of an epoch above PrevEpoch, and every offset from
	// Base on (KIP-101, KIP-279: several rounds may be needed). RecordEpoch and HighWatermark repeat
	// the tail epoch and log end that it answers. It is always answered.
	Cut SectionKind = 3
	// Commit moves the high watermark of a follower that is known to match. It is not answered.
	Commit SectionKind = 4
	// Start says that the leader's log starts at Base: a follower that is known to match moves its own
	// start there, as far as what it holds is committed. It is answered once that is durable.
	Start SectionKind = 5
	// Reset says that the follower has nothing that the leader can compare with or send on from: it
	// replaces its log by an empty one that begins at Base, behind a record of PrevEpoch. RecordEpoch and
	// HighWatermark repeat the tail epoch and log end that it answers. It is answered once that is durable.
	Reset SectionKind = 6
)

// Section is one partition's part of a data frame.
type Section struct {
	Kind      SectionKind
	Partition topic.Partition
	// Epoch is the leadership that speaks; the follower drops anything else.
	Epoch topic.Epoch
	Base  topic.Offset
	// Count is the number of offsets in the payload.
	Count int32
	// RecordEpoch is the epoch that the batch was first appended under, at most Epoch.
	RecordEpoch topic.Epoch
	// PrevEpoch is the epoch of the record before Base, topic.NoEpoch at the start of the log. A
	// follower whose tail is (Base, PrevEpoch) holds exactly the leader's log up to Base.
	PrevEpoch topic.Epoch
	// HighWatermark is the leader's, topic.NoOffset when the follower must not use it yet.
	HighWatermark topic.Offset
	// Payload is a RecordBatch, verbatim, base offset and leader epoch already in place. Its checksum is
	// right: whoever parses a frame verifies it, whoever builds one relies on it.
	Payload []byte
}

// Size is the number of bytes that s takes in a frame.
func (s *Section) Size() int { return DataSectionBytes + len(s.Payload) }

// Builder packs sections for one destination into one frame. The zero value is ready for use.
type Builder struct {
	// buf is all but the payloads that stay where they are, large how many bytes those have.
	buf   []byte
	stays []stay
	large int
	// pieces is what Take returns.
	pieces   [][]byte
	sections int
	// sum is the checksum of the sections so far.
	sum uint32
}

// stay is a payload that is not copied, and how much of buf goes before it.
type stay struct {
	behind  int
	payload []byte
}

// stayLeast is from how many bytes on a payload is not copied: a piece more costs whoever sends the frame a few microseconds.
const stayLeast = 32 << 10

// Len is the size in bytes of the frame as it stands, 0 when empty.
func (b *Builder) Len() int {
	if b.sections == 0 {
		return 0
	}
	return len(b.buf) + b.large
}

// Full reports whether the frame holds as many sections as its header can count.
func (b *Builder) Full() bool { return b.sections == SectionsMax }

// Add appends a section. Its payload must stay as it is as long as the frame is in use.
func (b *Builder) Add(h Header, s *Section) {
	if b.sections == 0 {
		h.Kind = KindData
		b.buf, b.sum = appendHeader(b.buf[:0], h), 0
	}
	start := len(b.buf)
	d := appendPartition(b.buf, s.Partition, s.Epoch)
	d = append(d, byte(s.Kind), 0, 0, 0)
	d = binary.BigEndian.AppendUint64(d, uint64(s.Base))
	d = binary.BigEndian.AppendUint32(d, uint32(s.Count))
	d = binary.BigEndian.AppendUint32(d, uint32(s.RecordEpoch))
	d = binary.BigEndian.AppendUint32(d, uint32(s.PrevEpoch))
	d = binary.BigEndian.AppendUint64(d, uint64(s.HighWatermark))
	d = binary.BigEndian.AppendUint32(d, uint32(len(s.Payload)))
	b.sum = crc32.Update(b.sum, castagnoli, d[start:])
	b.sum = crc32.Update(b.sum, castagnoli, s.Payload[:ownSummed(len(s.Payload))])
	if b.sections++; len(s.Payload) < stayLeast {
		b.buf = append(d, s.Payload...)
		return
	}
	b.buf, b.large = d, b.large+len(s.Payload)
	b.stays = append(b.stays, stay{len(d), s.Payload})
}

// ownSummed is how much of a payload of n bytes the frame's own checksum covers: what the batch's does
// not, and that checksum itself.
func ownSummed(n int) int { return min(n, summedElsewhere) }

// Take returns the finished frame, in pieces, until Done empties the builder.
func (b *Builder) Take() [][]byte {
	if b.sections == 0 {
		return nil
	}
	rest, from := seal(b.buf, b.sections, b.sum), 0
	for _, s := range b.stays {
		b.pieces = append(b.pieces, rest[from:s.behind], s.payload)
		from = s.behind
	}
	if from < len(rest) {
		b.pieces = append(b.pieces, rest[from:])
	}
	return b.pieces
}

// Done says that the frame that Take has returned is not in use any more.
func (b *Builder) Done() {
	clear(b.stays)
	clear(b.pieces)
	b.stays, b.large, b.pieces, b.sections = b.stays[:0], 0, b.pieces[:0], 0
}

// dataChecksum is the checksum of the sections of a data frame, of whose payloads it verifies that they
// match their own. Lengths are not trusted yet.
func dataChecksum(body []byte, sections int) (sum uint32, err error) {
	for i := range sections {
		length, err := payloadLength(body, i, sections)
		if err != nil {
			return 0, err
		}
		payload := body[DataSectionBytes : DataSectionBytes+length]
		own := ownSummed(length)
		sum = crc32.Update(sum, castagnoli, body[:DataSectionBytes+own])
		if length >= summedElsewhere {
			got, want := crc32.Checksum(payload[own:], castagnoli), binary.BigEndian.Uint32(payload[batchCRCAt:])
			if got != want {
				return 0, fmt.Errorf("%w: batch of section %d: computed %08x, batch says %08x", ErrChecksum, i, got, want)
			}
		}
		body = body[DataSectionBytes+length:]
	}
	return crc32.Update(sum, castagnoli, body), nil
}

// payloadLength is what section i, which body begins with, says of its payload, if all of that is there.
func payloadLength(body []byte, i, sections int) (int, error) {
	if len(body) < DataSectionBytes {
		return 0, fmt.Errorf("%w: section %d of %d is cut", ErrMalformed, i, sections)
	}
	length := int(binary.BigEndian.Uint32(body[56:]))
	if length > len(body)-DataSectionBytes {
		return 0, fmt.Errorf("%w: section %d says %d bytes, %d are left", ErrMalformed, i, length,
			len(body)-DataSectionBytes)
	}
	return length, nil
}

// ParseData calls fn for each section of a data frame's body. Nothing is called unless the whole body
// is well formed. Payloads alias body.
func ParseData(body []byte, sections int, fn func(Section)) error {
	if err := walkData(body, sections, nil); err != nil {
		return err
	}
	return walkData(body, sections, fn)
}

func walkData(body []byte, sections int, fn func(Section)) error {
	for i := range sections {
		length, err := payloadLength(body, i, sections)
		if err != nil {
			return err
		}
		s := parseSection(body, length)
		if err := s.validate(); err != nil {
			return err
		}
		if fn != nil {
			fn(s)
		}
		body = body[DataSectionBytes+length:]
	}
	if len(body) != 0 {
		return fmt.Errorf("%w: %d bytes after the last section", ErrMalformed, len(body))
	}
	return nil
}

func parseSection(b []byte, length int) Section {
	s := Section{
		Kind:          SectionKind(b[24]),
		Base:          topic.Offset(binary.BigEndian.Uint64(b[28:])),
		Count:         int32(binary.BigEndian.Uint32(b[36:])),
		RecordEpoch:   topic.Epoch(binary.BigEndian.Uint32(b[40:])),
		PrevEpoch:     topic.Epoch(binary.BigEndian.Uint32(b[44:])),
		HighWatermark: topic.Offset(binary.BigEndian.Uint64(b[48:])),
	}
	s.Partition, s.Epoch = parsePartition(b)
	if length > 0 {
		s.Payload = b[DataSectionBytes : DataSectionBytes+length : DataSectionBytes+length]
	}
	return s
}

// validate refuses values that no leader sends, so that the replica machine need not.
func (s *Section) validate() error {
	switch {
	case s.Kind < Data || s.Kind > Reset:
		return fmt.Errorf("%w: section kind %d", ErrMalformed, s.Kind)
	case s.Base < 0 || s.HighWatermark < topic.NoOffset || s.Epoch < 0 || s.PrevEpoch < topic.NoEpoch:
		return fmt.Errorf("%w: negative base, high watermark or epoch", ErrMalformed)
	case s.Kind == Data && (s.Count <= 0 || len(s.Payload) == 0):
		return fmt.Errorf("%w: data section with %d offsets in %d bytes", ErrMalformed, s.Count, len(s.Payload))
	case s.Kind == Data && (s.RecordEpoch < 0 || s.RecordEpoch > s.Epoch || s.PrevEpoch > s.RecordEpoch):
		return fmt.Errorf("%w: record epoch %d after %d under leader epoch %d", ErrMalformed,
			s.RecordEpoch, s.PrevEpoch, s.Epoch)
	case s.Kind != Data && len(s.Payload) != 0:
		return fmt.Errorf("%w: section kind %d with a payload", ErrMalformed, s.Kind)
	}
	return nil
}
