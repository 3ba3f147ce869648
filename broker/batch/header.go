package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Where the fields of a batch lie.
const (
	atBaseOffset      = 0
	atLength          = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21 // the checksum covers from here to the end
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atRecordCount     = 57

	// Transactional is the attribute of batches that belong to a transaction.
	Transactional = bitTransactional

	// SummedFrom is where the bytes begin that the checksum covers, to the end. What lies before may be
	// rewritten by brokers.
	SummedFrom = atAttributes
	// HeaderBytes is the size of the fixed part; the records follow.
	HeaderBytes = 61
	// LengthEnd is where what Header.Length counts begins.
	LengthEnd = 12
	magic     = 2
)

// Bits of the attributes.
const (
	bitsCodec         = 0x07
	bitLogAppendTime  = 0x08
	bitTransactional  = 0x10
	bitControl        = 0x20
	bitsNotForClients = ^(bitsCodec | bitLogAppendTime | bitTransactional | bitControl)
)

// castagnoli is the polynomial of CRC-32C, which the processor computes.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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

// String is the name that compression.type uses.
func (c Codec) String() string {
	names := [...]string{"none", "gzip", "snappy", "lz4", "zstd"}
	if int(c) >= len(names) {
		return fmt.Sprintf("codec %d", uint8(c))
	}
	return names[c]
}

// Header is the fixed part of a batch.
type Header struct {
	BaseOffset           int64 // offset of the first record
	Length               int32 // bytes after the length field
	PartitionLeaderEpoch int32 // epoch of the leader that appended it
	Magic                int8  // always 2
	CRC                  uint32
	Attributes           int16
	LastOffsetDelta      int32 // offset of the last record less the base; it survives compaction
	BaseTimestamp        int64 // milliseconds; record timestamps are relative to it
	MaxTimestamp         int64 // as the producer says: a hint, not checked against the records
	ProducerID           int64 // -1 without idempotence
	ProducerEpoch        int16
	BaseSequence         int32
	Records              int32 // count
}

// ParseHeader reads the header of the batch at the front of b. The rest of the batch need not be
// there; Size says how long it is.
func ParseHeader(b []byte) (Header, error) {
	if len(b) <= atMagic {
		return Header{}, corrupt("batch of %d bytes", len(b))
	}
	if b[atMagic] != magic {
		return Header{}, fmt.Errorf("magic %d: %w", int8(b[atMagic]), ErrUnsupportedMagic)
	}
	if len(b) < HeaderBytes {
		return Header{}, corrupt("batch of %d bytes", len(b))
	}
	h := Header{
		BaseOffset:           int64(binary.BigEndian.Uint64(b[atBaseOffset:])),
		Length:               int32(binary.BigEndian.Uint32(b[atLength:])),
		PartitionLeaderEpoch: int32(binary.BigEndian.Uint32(b[atLeaderEpoch:])),
		Magic:                int8(b[atMagic]),
		CRC:                  binary.BigEndian.Uint32(b[atCRC:]),
		Attributes:           int16(binary.BigEndian.Uint16(b[atAttributes:])),
		LastOffsetDelta:      int32(binary.BigEndian.Uint32(b[atLastOffsetDelta:])),
		BaseTimestamp:        int64(binary.BigEndian.Uint64(b[atBaseTimestamp:])),
		MaxTimestamp:         int64(binary.BigEndian.Uint64(b[atMaxTimestamp:])),
		ProducerID:           int64(binary.BigEndian.Uint64(b[atProducerID:])),
		ProducerEpoch:        int16(binary.BigEndian.Uint16(b[atProducerEpoch:])),
		BaseSequence:         int32(binary.BigEndian.Uint32(b[atBaseSequence:])),
		Records:              int32(binary.BigEndian.Uint32(b[atRecordCount:])),
	}
	if h.Length < HeaderBytes-LengthEnd {
		return Header{}, corrupt("length %d", h.Length)
	}
	return h, nil
}

// Put writes the header to the front of b: what ParseHeader reads.
func (h Header) Put(b []byte) {
	put := binary.BigEndian
	put.PutUint64(b[atBaseOffset:], uint64(h.BaseOffset))
	put.PutUint32(b[atLength:], uint32(h.Length))
	put.PutUint32(b[atLeaderEpoch:], uint32(h.PartitionLeaderEpoch))
	b[atMagic] = byte(h.Magic)
	put.PutUint32(b[atCRC:], h.CRC)
	put.PutUint16(b[atAttributes:], uint16(h.Attributes))
	put.PutUint32(b[atLastOffsetDelta:], uint32(h.LastOffsetDelta))
	put.PutUint64(b[atBaseTimestamp:], uint64(h.BaseTimestamp))
	put.PutUint64(b[atMaxTimestamp:], uint64(h.MaxTimestamp))
	put.PutUint64(b[atProducerID:], uint64(h.ProducerID))
	put.PutUint16(b[atProducerEpoch:], uint16(h.ProducerEpoch))
	put.PutUint32(b[atBaseSequence:], uint32(h.BaseSequence))
	put.PutUint32(b[atRecordCount:], uint32(h.Records))
}

// Size is the length of the whole batch in bytes.
func (h Header) Size() int { return LengthEnd + int(h.Length) }

// LastOffset is the offset of the last record, also if compaction has removed it.
func (h Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// Codec returns the compression of the records, which may be one that does not exist.
func (h Header) Codec() Codec { return Codec(h.Attributes & bitsCodec) }

// Transactional reports whether the batch belongs to a transaction.
func (h Header) Transactional() bool { return h.Attributes&bitTransactional != 0 }

// Control reports whether the batch holds a control record.
func (h Header) Control() bool { return h.Attributes&bitControl != 0 }

// LogAppendTime reports whether all records bear MaxTimestamp, set by the broker.
func (h Header) LogAppendTime() bool { return h.Attributes&bitLogAppendTime != 0 }

// SetBaseOffset writes the base offset in place. The checksum does not cover it.
func SetBaseOffset(b []byte, offset int64) {
	binary.BigEndian.PutUint64(b[atBaseOffset:], uint64(offset))
}

// SetLeaderEpoch writes the partition leader epoch in place. The checksum does not cover it.
func SetLeaderEpoch(b []byte, epoch int32) {
	binary.BigEndian.PutUint32(b[atLeaderEpoch:], uint32(epoch))
}

// Checksum computes the CRC-32C of the whole batch b: from the attributes to the end.
func Checksum(b []byte) uint32 { return crc32.Checksum(b[atAttributes:], castagnoli) }

// Seal writes length and checksum of the whole batch b.
func Seal(b []byte) {
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-LengthEnd))
	binary.BigEndian.PutUint32(b[atCRC:], Checksum(b))
}

// Split cuts b into its batches, which alias b. With an error it returns those before the damage.
func Split(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		h, err := ParseHeader(b)
		if err != nil {
			return out, fmt.Errorf("split batches: %w", err)
		}
		if h.Size() > len(b) {
			return out, fmt.Errorf("split batches: %w",
				corrupt("batch of %d bytes, %d left", h.Size(), len(b)))
		}
		out = append(out, b[:h.Size():h.Size()])
		b = b[h.Size():]
	}
	return out, nil
}
