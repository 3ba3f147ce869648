package batch

import "errors"

// Codec says how a batch's records are compressed.
type Codec uint8

// The codecs of the batch format.
const (
	CodecNone Codec = iota
	CodecGzip
	CodecSnappy
	CodecLz4
	CodecZstd
)

// Header is the fixed 61 byte front of a batch.
type Header struct {
	BaseOffset           int64
	Length               int32
	PartitionLeaderEpoch int32
	Magic                int8
	CRC                  uint32
	Attributes           int16
	LastOffsetDelta      int32
	BaseTimestamp        int64
	MaxTimestamp         int64
	ProducerID           int64
	ProducerEpoch        int16
	BaseSequence         int32
	Records              int32
}

var errSkeleton = errors.New("not written yet")

// ParseHeader reads the header of the batch at the front of b.
func ParseHeader(b []byte) (Header, error) { return Header{}, errSkeleton }

// Codec returns the compression of the records.
func (h Header) Codec() Codec { return Codec(h.Attributes & 7) }

// Transactional reports whether the batch belongs to a transaction.
func (h Header) Transactional() bool { return h.Attributes&0x10 != 0 }

// Control reports whether the batch holds a control record.
func (h Header) Control() bool { return h.Attributes&0x20 != 0 }

// LogAppendTime reports whether timestamps are the broker's.
func (h Header) LogAppendTime() bool { return h.Attributes&0x08 != 0 }

// SetBaseOffset writes the base offset in place.
func SetBaseOffset(b []byte, offset int64) {}

// SetLeaderEpoch writes the partition leader epoch in place.
func SetLeaderEpoch(b []byte, epoch int32) {}
