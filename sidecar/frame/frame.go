package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"outrigger/broker/topic"
)

const (
	// Format is the version of a frame at the first format level; at each later one it is one more, up to
	// formatMax, which is the last that this build reads.
	Format = 3
	// HeaderBytes is the length of the header that every frame has.
	HeaderBytes = 64
	// DataSectionBytes is a data section without its payload.
	DataSectionBytes = 60
	// AckSectionBytes is one acknowledgement section.
	AckSectionBytes = 64
	// SectionsMax is the most sections that fit the header's count.
	SectionsMax = 1<<16 - 1

	crcAt   = 4
	crcFrom = 8
	// summedElsewhere is where in a batch its own checksum, which is at batchCRCAt, begins to count
	// (package batch).
	summedElsewhere = 21
	batchCRCAt      = 17
)

// Kind tells the three frames apart.
type Kind uint8

// The kinds of frames.
const (
	KindData      Kind = 1
	KindAck       Kind = 2
	KindHeartbeat Kind = 3
)

// ErrMalformed: the bytes are not a whole frame of a format that this node reads. The receiver
// counts it and changes nothing.
var ErrMalformed = errors.New("frame is malformed")

// ErrChecksum: the bytes were damaged on the way. The receiver counts it and changes nothing.
var ErrChecksum = errors.New("frame checksum is wrong")

// Cluster is a cluster id as it stands in every frame; zero while the cluster has none.
type Cluster [16]byte

// Header says who speaks to whom. A frame whose cluster or sessions are not the receiver's own is
// dropped: it comes from another life of one of the two.
type Header struct {
	Kind            Kind
	Cluster         Cluster
	From, To        topic.NodeID
	FromSession     topic.Session
	ReceiverSession topic.Session
	// Level is the format level that the cluster has finalized, 0 for the first.
	Level uint16
	// Also is a second receiver of the same frame; its session is 0 when there is none.
	Also topic.Member
}

// For reports whether m is a receiver of the frame.
func (h *Header) For(m topic.Member) bool {
	return m == topic.Member{Node: h.To, Session: h.ReceiverSession} || h.Also.Session != 0 && m == h.Also
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHeader(dst []byte, h Header) []byte {
	dst = append(dst, formatAt(h.Level), byte(h.Kind), 0, 0, 0, 0, 0, 0)
	dst = append(dst, h.Cluster[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.From))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.To))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.FromSession))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.ReceiverSession))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.Also.Node))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Also.Session))
	return append(dst, 0, 0, 0, 0)
}

// formatAt is the version of frames at a level.
func formatAt(level uint16) byte {
	return byte(Format + max(level, topic.FirstLevel) - topic.FirstLevel)
}

// levelOf is the level of a format, 0 for the first.
func levelOf(format byte) uint16 {
	if format == Format {
		return 0
	}
	return uint16(format) - Format + topic.FirstLevel
}

// seal writes the number of sections and the checksum into a frame that is otherwise complete; body is
// the checksum of its sections.
func seal(frame []byte, sections int, body uint32) []byte {
	binary.BigEndian.PutUint16(frame[2:], uint16(sections))
	binary.BigEndian.PutUint32(frame[crcAt:], withHeader(body, frame))
	return frame
}

// withHeader continues the checksum of the sections with the header, which is known last.
func withHeader(body uint32, frame []byte) uint32 {
	return crc32.Update(crc32.Update(body, castagnoli, frame[:crcAt]), castagnoli, frame[crcFrom:HeaderBytes])
}

// bodyChecksum is what the sections add to the frame's checksum.
func bodyChecksum(kind Kind, body []byte, sections int) (uint32, error) {
	if kind == KindData {
		return dataChecksum(body, sections)
	}
	return crc32.Checksum(body, castagnoli), nil
}

// ParseHeader checks format, kind and checksum and returns the header, the number of sections and
// the bytes that hold them.
func ParseHeader(b []byte) (Header, int, []byte, error) {
	if len(b) < HeaderBytes {
		return Header{}, 0, nil, fmt.Errorf("%w: %d bytes, at least %d", ErrMalformed, len(b), HeaderBytes)
	}
	if b[0] < Format || b[0] > formatMax {
		return Header{}, 0, nil, fmt.Errorf("%w: format %d, this node reads %d to %d", ErrMalformed, b[0], Format, formatMax)
	}
	sections := int(binary.BigEndian.Uint16(b[2:]))
	sum, err := bodyChecksum(Kind(b[1]), b[HeaderBytes:], sections)
	if err != nil {
		return Header{}, 0, nil, err
	}
	if got, want := withHeader(sum, b), binary.BigEndian.Uint32(b[crcAt:]); got != want {
		return Header{}, 0, nil, fmt.Errorf("%w: computed %08x, frame says %08x", ErrChecksum, got, want)
	}
	h := Header{
		Kind:            Kind(b[1]),
		Level:           levelOf(b[0]),
		From:            topic.NodeID(binary.BigEndian.Uint32(b[24:])),
		To:              topic.NodeID(binary.BigEndian.Uint32(b[28:])),
		FromSession:     topic.Session(binary.BigEndian.Uint64(b[32:])),
		ReceiverSession: topic.Session(binary.BigEndian.Uint64(b[40:])),
		Also: topic.Member{
			Node:    topic.NodeID(binary.BigEndian.Uint32(b[48:])),
			Session: topic.Session(binary.BigEndian.Uint64(b[52:])),
		},
	}
	copy(h.Cluster[:], b[8:24])
	if h.Kind < KindData || h.Kind > KindHeartbeat {
		return Header{}, 0, nil, fmt.Errorf("%w: kind %d", ErrMalformed, b[1])
	}
	return h, sections, b[HeaderBytes:], nil
}

func appendPartition(dst []byte, p topic.Partition, epoch topic.Epoch) []byte {
	dst = append(dst, p.Topic[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.Index))
	return binary.BigEndian.AppendUint32(dst, uint32(epoch))
}

func parsePartition(b []byte) (topic.Partition, topic.Epoch) {
	var p topic.Partition
	copy(p.Topic[:], b)
	p.Index = int32(binary.BigEndian.Uint32(b[16:]))
	return p, topic.Epoch(binary.BigEndian.Uint32(b[20:]))
}
