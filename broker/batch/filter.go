package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// bitHorizon says that the base timestamp is the time until which the tombstones of the batch stay
// (KIP-534). Record timestamps are relative to it all the same.
const bitHorizon = 0x40

// DeleteHorizon is the time, in milliseconds, from which on compaction may drop the batch's tombstones, or
// the marker in it. ok is false while none was set.
func (h Header) DeleteHorizon() (at int64, ok bool) {
	return h.BaseTimestamp, h.Attributes&bitHorizon != 0
}

// Span returns a batch without records and producer that stands for the offsets from base to last, both
// inclusive and at most 2^31 apart, of which compaction has left nothing: so a log has no gaps.
func Span(base, last int64, leaderEpoch int32) []byte {
	out := make([]byte, HeaderBytes)
	put := binary.BigEndian
	put.PutUint64(out[atBaseOffset:], uint64(base))
	put.PutUint32(out[atLeaderEpoch:], uint32(leaderEpoch))
	out[atMagic] = magic
	put.PutUint32(out[atLastOffsetDelta:], uint32(last-base))
	for _, at := range []int{atBaseTimestamp, atMaxTimestamp, atProducerID} {
		put.PutUint64(out[at:], math.MaxUint64) // -1: none
	}
	put.PutUint16(out[atProducerEpoch:], math.MaxUint16)
	put.PutUint32(out[atBaseSequence:], math.MaxUint32)
	Seal(out)
	return out
}

// Spans reports whether the batch is one that Span made: all that it tells is which offsets it stands for.
func (h Header) Spans() bool { return h.Records == 0 && h.ProducerID < 0 && !h.Control() }

// Filter returns the batch b without the records that are not kept: keep has one entry for each record, in
// order. Offsets and codec stay. With horizon above 0 that becomes the batch's delete horizon. Nothing else
// about the batch changes, but for what follows from its records: count, largest timestamp, length and
// checksum. A batch of which no record is kept is returned empty: it still tells what its producer wrote
// last. What is held is the compressed result and one record.
func Filter(b []byte, horizon int64, keep []bool) ([]byte, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, fmt.Errorf("filter batch: %w", err)
	}
	if len(keep) != int(h.Records) {
		return nil, fmt.Errorf("filter batch: %w", invalid("%d records, %d were judged", h.Records, len(keep)))
	}
	out := bytes.NewBuffer(make([]byte, 0, min(len(b), windowKeepBytes)))
	out.Write(b[:HeaderBytes])
	attributes, base := uint16(h.Attributes), h.BaseTimestamp
	if horizon > 0 {
		attributes, base = attributes|bitHorizon, horizon
	}
	kept, latest := int32(0), h.MaxTimestamp
	if slices.Contains(keep, true) {
		if kept, latest, err = encodeKept(out, b, base, keep); err != nil {
			return nil, fmt.Errorf("filter batch: %w", err)
		}
	} else {
		attributes &^= bitsCodec
	}
	if h.LogAppendTime() {
		latest = h.MaxTimestamp
	}
	made := out.Bytes()
	put := binary.BigEndian
	put.PutUint16(made[atAttributes:], attributes)
	put.PutUint64(made[atBaseTimestamp:], uint64(base))
	put.PutUint64(made[atMaxTimestamp:], uint64(latest))
	put.PutUint32(made[atRecordCount:], uint32(kept))
	Seal(made)
	return made, nil
}

// encodeKept writes the kept records through the batch's codec, and returns how many they are and their
// largest timestamp.
func encodeKept(out *bytes.Buffer, b []byte, base int64, keep []bool) (kept int32, latest int64, err error) {
	h, err := ParseHeader(b)
	if err != nil {
		return 0, 0, err
	}
	w, err := compressor(out, h.Codec(), Levels{})
	if err != nil {
		return 0, 0, err
	}
	latest = noTimestamp
	var body, encoded []byte
	i := 0
	for r, err := range Records(b) {
		if err != nil {
			return 0, 0, err
		}
		if i++; !keep[i-1] {
			continue
		}
		kept++
		latest = max(latest, r.Timestamp)
		body = appendRecord(body[:0], r, r.Timestamp-base, r.Offset-h.BaseOffset)
		encoded = append(binary.AppendVarint(encoded[:0], int64(len(body))), body...)
		if _, err := w.Write(encoded); err != nil {
			return 0, 0, fmt.Errorf("compress records: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return 0, 0, fmt.Errorf("compress records: %w", err)
	}
	return kept, latest, nil
}

// appendRecord encodes a record without its length.
func appendRecord(body []byte, r Record, timeDelta, offsetDelta int64) []byte {
	body = append(body, 0) // attributes
	body = binary.AppendVarint(body, timeDelta)
	body = binary.AppendVarint(body, offsetDelta)
	body = appendField(body, r.Key)
	body = appendField(body, r.Value)
	body = binary.AppendVarint(body, int64(len(r.Headers)))
	for _, h := range r.Headers {
		body = binary.AppendVarint(body, int64(len(h.Key)))
		body = append(body, h.Key...)
		body = appendField(body, h.Value)
	}
	return body
}
