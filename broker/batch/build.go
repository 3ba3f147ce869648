package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// xerialBlockBytes is how much goes into one block of framed snappy.
const xerialBlockBytes = 32 << 10

// Builder makes a batch, for coordinators, tests and tools: the broker never encodes records of clients.
// Fields may be set until Build; NewBuilder sets those whose zero value would be wrong.
type Builder struct {
	Codec         Codec
	Xerial        bool // snappy with the framing of Java clients instead of one raw block
	BaseOffset    int64
	LeaderEpoch   int32
	LogAppendTime int64 // if not 0 the timestamp of all records
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
	Transactional bool
	Control       bool

	records []byte // encoded, not compressed
	scratch []byte
	count   int32
	base    int64 // timestamp of the first record
	max     int64
}

// NewBuilder returns a builder for a batch of a producer without idempotence.
func NewBuilder(codec Codec) *Builder {
	return &Builder{Codec: codec, LeaderEpoch: -1, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
}

// Add appends a record at the next offset: r.Offset is ignored.
func (b *Builder) Add(r Record) {
	if b.count == 0 {
		b.base, b.max = r.Timestamp, r.Timestamp
	}
	b.max = max(b.max, r.Timestamp)
	body := appendRecord(b.scratch[:0], r, r.Timestamp-b.base, int64(b.count))
	b.records = binary.AppendVarint(b.records, int64(len(body)))
	b.records = append(b.records, body...)
	b.scratch = body
	b.count++
}

func appendField(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

// Build returns the batch, sealed.
func (b *Builder) Build() ([]byte, error) {
	records, err := compress(b.Codec, b.Xerial, b.records)
	if err != nil {
		return nil, fmt.Errorf("build batch: %w", err)
	}
	attributes := uint16(b.Codec)
	base, latest := b.base, b.max
	if b.LogAppendTime != 0 {
		attributes |= bitLogAppendTime
		latest = b.LogAppendTime
	}
	if b.Transactional {
		attributes |= bitTransactional
	}
	if b.Control {
		attributes |= bitControl
	}
	out := make([]byte, HeaderBytes, HeaderBytes+len(records))
	put := binary.BigEndian
	put.PutUint64(out[atBaseOffset:], uint64(b.BaseOffset))
	put.PutUint32(out[atLeaderEpoch:], uint32(b.LeaderEpoch))
	out[atMagic] = magic
	put.PutUint16(out[atAttributes:], attributes)
	put.PutUint32(out[atLastOffsetDelta:], uint32(b.count-1))
	put.PutUint64(out[atBaseTimestamp:], uint64(base))
	put.PutUint64(out[atMaxTimestamp:], uint64(latest))
	put.PutUint64(out[atProducerID:], uint64(b.ProducerID))
	put.PutUint16(out[atProducerEpoch:], uint16(b.ProducerEpoch))
	put.PutUint32(out[atBaseSequence:], uint32(b.BaseSequence))
	put.PutUint32(out[atRecordCount:], uint32(b.count))
	out = append(out, records...)
	Seal(out)
	return out, nil
}

func compress(codec Codec, xerial bool, raw []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch codec {
	case CodecNone:
		return raw, nil
	case CodecSnappy:
		if xerial {
			return compressXerial(raw), nil
		}
		return snappy.Encode(nil, raw), nil
	case CodecGzip:
		w = gzip.NewWriter(&out)
	case CodecLz4:
		w = lz4.NewWriter(&out)
	case CodecZstd:
		enc, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("make zstd encoder: %w", err)
		}
		w = enc
	default:
		return nil, fmt.Errorf("%s: %w", codec, ErrUnsupportedCodec)
	}
	if _, err := w.Write(raw); err != nil {
		return nil, fmt.Errorf("compress records: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress records: %w", err)
	}
	return out.Bytes(), nil
}

func compressXerial(raw []byte) []byte {
	out := []byte(xerialMagic + "\x00\x00\x00\x01\x00\x00\x00\x01")
	for len(raw) > 0 {
		n := min(len(raw), xerialBlockBytes)
		block := snappy.Encode(nil, raw[:n])
		out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
		out = append(out, block...)
		raw = raw[n:]
	}
	return out
}
