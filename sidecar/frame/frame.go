package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"outrigger/broker/topic"
)

const (
	// Format is the version that this code writes and the only one it reads.
	Format = 1
	// HeaderBytes is the length of the header that every frame has.
	HeaderBytes = 48
	// DataSectionBytes is a data section without its payload.
	DataSectionBytes = 60
	// AckSectionBytes is one acknowledgement section.
	AckSectionBytes = 56
	// SectionsMax is the most sections that fit the header's count.
	SectionsMax = 1<<16 - 1

	crcAt   = 4
	crcFrom = 8
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
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHeader(dst []byte, h Header) []byte {
	dst = append(dst, Format, byte(h.Kind), 0, 0, 0, 0, 0, 0)
	dst = append(dst, h.Cluster[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.From))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.To))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.FromSession))
	return binary.BigEndian.AppendUint64(dst, uint64(h.ReceiverSession))
}

// seal writes the number of sections and the checksum into a frame that is otherwise complete.
func seal(frame []byte, sections int) []byte {
	binary.BigEndian.PutUint16(frame[2:], uint16(sections))
	binary.BigEndian.PutUint32(frame[crcAt:], checksum(frame))
	return frame
}

// checksum covers everything but itself.
func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:crcAt], castagnoli), castagnoli, frame[crcFrom:])
}

// ParseHeader checks format, kind and checksum and returns the header, the number of sections and
// the bytes that hold them.
func ParseHeader(b []byte) (Header, int, []byte, error) {
	if len(b) < HeaderBytes {
		return Header{}, 0, nil, fmt.Errorf("%w: %d bytes, at least %d", ErrMalformed, len(b), HeaderBytes)
	}
	if b[0] != Format {
		return Header{}, 0, nil, fmt.Errorf("%w: format %d, this node reads %d", ErrMalformed, b[0], Format)
	}
	if got, want := checksum(b), binary.BigEndian.Uint32(b[crcAt:]); got != want {
		return Header{}, 0, nil, fmt.Errorf("%w: computed %08x, frame says %08x", ErrChecksum, got, want)
	}
	h := Header{
		Kind:            Kind(b[1]),
		From:            topic.NodeID(binary.BigEndian.Uint32(b[24:])),
		To:              topic.NodeID(binary.BigEndian.Uint32(b[28:])),
		FromSession:     topic.Session(binary.BigEndian.Uint64(b[32:])),
		ReceiverSession: topic.Session(binary.BigEndian.Uint64(b[40:])),
	}
	copy(h.Cluster[:], b[8:24])
	if h.Kind < KindData || h.Kind > KindHeartbeat {
		return Header{}, 0, nil, fmt.Errorf("%w: kind %d", ErrMalformed, b[1])
	}
	return h, int(binary.BigEndian.Uint16(b[2:])), b[HeaderBytes:], nil
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
