package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"outrigger/broker/topic"
)

// Ack is one partition's part of an acknowledgement frame. It proves itself: a leader that holds a
// record of TailEpoch at LogEnd-1 knows that the follower's whole log is a prefix of its own.
type Ack struct {
	Partition topic.Partition
	// Epoch is the leadership that is answered.
	Epoch topic.Epoch
	// TailEpoch is the epoch of the follower's last record, topic.NoEpoch for an empty log.
	TailEpoch topic.Epoch
	// LogEnd is the offset after the follower's last record, durable or not.
	LogEnd topic.Offset
	// DurableEnd is the offset after its last record on stable storage: the acknowledgement proper.
	DurableEnd topic.Offset
	// HighWatermark is the one that the follower knows.
	HighWatermark topic.Offset
	// LogStart is where the follower's log starts, as of what is on its stable storage.
	LogStart topic.Offset
	// Gap says that something beyond LogEnd came, or did not fit, and is to be sent again from LogEnd.
	Gap bool
}

const flagGap = 1

// AppendAcks appends one acknowledgement frame with all of acks (at most SectionsMax) to dst.
func AppendAcks(dst []byte, h Header, acks []Ack) []byte {
	start := len(dst)
	h.Kind = KindAck
	dst = appendHeader(dst, h)
	for i := range acks {
		a := &acks[i]
		dst = appendPartition(dst, a.Partition, a.Epoch)
		dst = binary.BigEndian.AppendUint32(dst, uint32(a.TailEpoch))
		var flags byte
		if a.Gap {
			flags = flagGap
		}
		dst = append(dst, flags, 0, 0, 0)
		dst = binary.BigEndian.AppendUint64(dst, uint64(a.LogEnd))
		dst = binary.BigEndian.AppendUint64(dst, uint64(a.DurableEnd))
		dst = binary.BigEndian.AppendUint64(dst, uint64(a.HighWatermark))
		dst = binary.BigEndian.AppendUint64(dst, uint64(a.LogStart))
	}
	seal(dst[start:], len(acks), crc32.Checksum(dst[start+HeaderBytes:], castagnoli))
	return dst
}

// ParseAcks calls fn for each section of an acknowledgement frame's body. Nothing is called unless
// the whole body is well formed.
func ParseAcks(body []byte, sections int, fn func(Ack)) error {
	if len(body) != sections*AckSectionBytes {
		return fmt.Errorf("%w: %d bytes for %d acknowledgements", ErrMalformed, len(body), sections)
	}
	for b := body; len(b) > 0; b = b[AckSectionBytes:] {
		if a := parseAck(b); a.LogStart < 0 || a.DurableEnd < 0 || max(a.LogStart, a.DurableEnd) > a.LogEnd {
			return fmt.Errorf("%w: log start %d, durable end %d, log end %d", ErrMalformed, a.LogStart, a.DurableEnd, a.LogEnd)
		}
	}
	for ; len(body) > 0; body = body[AckSectionBytes:] {
		fn(parseAck(body))
	}
	return nil
}

func parseAck(b []byte) Ack {
	a := Ack{
		TailEpoch:     topic.Epoch(binary.BigEndian.Uint32(b[24:])),
		Gap:           b[28]&flagGap != 0,
		LogEnd:        topic.Offset(binary.BigEndian.Uint64(b[32:])),
		DurableEnd:    topic.Offset(binary.BigEndian.Uint64(b[40:])),
		HighWatermark: topic.Offset(binary.BigEndian.Uint64(b[48:])),
		LogStart:      topic.Offset(binary.BigEndian.Uint64(b[56:])),
	}
	a.Partition, a.Epoch = parsePartition(b)
	return a
}
