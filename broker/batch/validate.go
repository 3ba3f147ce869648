package batch

import "fmt"

// DecompressedBytesMax bounds what may come out of one batch unless a caller says otherwise. Kafka
// has no such bound; producers that meet it get ErrTooLarge and split.
const DecompressedBytesMax = 128 << 20

// Limits are what a produced batch is judged by. The zero value judges strictly, without a bound on
// size.
type Limits struct {
	// BytesMax is max.message.bytes, which Kafka compares with the batch as sent, header included;
	// 0 means no bound.
	BytesMax int
	// Zstd allows zstd: true from Produce v7 on.
	Zstd bool
	// TrustCompressed accepts compressed records without looking at them. It saves the processor
	// most of what a produce request costs, and lets a batch in that no consumer can read.
	TrustCompressed bool
	// DecompressedBytesMax bounds the records of a compressed batch; 0 means the constant.
	DecompressedBytesMax int
	// RecordBytesMax bounds one record of a compressed batch; 0 means no bound.
	RecordBytesMax int64
	// Keyed refuses records without a key: compaction could not tell what they replace.
	Keyed bool
	// TimestampMin and TimestampMax bound the timestamps of records, in milliseconds; 0 means no bound.
	// A record without a timestamp (-1) passes.
	TimestampMin, TimestampMax int64
}

// judges reports whether records are judged for more than their form.
func (l *Limits) judges() bool { return l.Keyed || l.TimestampMin != 0 || l.TimestampMax != 0 }

// judge applies the bounds to one record, and adds it to those that are refused if it breaks one.
func (l *Limits) judge(h *Header, index int32, m mark, refused *RefusedRecords) *RefusedRecords {
	if l.Keyed && m.keyless {
		return refused.note(index, "a record of a compacted topic must have a key", ErrInvalidRecord)
	}
	ts := h.BaseTimestamp + m.timeDelta
	if ts == noTimestamp {
		return refused
	}
	if l.TimestampMin != 0 && ts < l.TimestampMin {
		return refused.note(index, fmt.Sprintf("timestamp %d is before %d", ts, l.TimestampMin), ErrInvalidTimestamp)
	}
	if l.TimestampMax != 0 && ts > l.TimestampMax {
		return refused.note(index, fmt.Sprintf("timestamp %d is after %d", ts, l.TimestampMax), ErrInvalidTimestamp)
	}
	return refused
}

// noTimestamp is the timestamp of a record that has none.
const noTimestamp = -1

// Validate judges the bytes that a producer sent for one partition: exactly one batch, intact, of
// this format, from a client, with dense offsets and as many records as it says. Accepting an
// uncompressed batch allocates nothing. If only some records break the limits, the error is or wraps a
// *RefusedRecords.
func Validate(b []byte, l Limits) (Header, error) {
	if len(b) == 0 {
		return Header{}, fmt.Errorf("validate batch: %w", invalid("no batch"))
	}
	h, err := ParseHeader(b)
	if err == nil {
		err = validate(b, h, l)
	}
	if err != nil {
		return h, fmt.Errorf("validate batch: %w", err)
	}
	return h, nil
}

func validate(b []byte, h Header, l Limits) error {
	if h.Size() > len(b) {
		// Whoever wrote the length of the bytes has cut them, too: no part of them was lost on the way.
		return invalid("batch of %d bytes, %d there", h.Size(), len(b))
	}
	if h.Size() < len(b) {
		return invalid("%d bytes follow the batch: one batch a partition", len(b)-h.Size())
	}
	if l.BytesMax > 0 && len(b) > l.BytesMax {
		return fmt.Errorf("%d bytes, %d allowed: %w", len(b), l.BytesMax, ErrTooLarge)
	}
	if sum := Checksum(b); sum != h.CRC {
		return corrupt("checksum %08x, computed %08x", h.CRC, sum)
	}
	if err := validateAttributes(h, l); err != nil {
		return err
	}
	if err := validateProducer(h); err != nil {
		return err
	}
	if h.Records < 1 || h.LastOffsetDelta != h.Records-1 {
		return invalid("%d records, last offset delta %d", h.Records, h.LastOffsetDelta)
	}
	if h.Codec() != CodecNone && l.TrustCompressed && !l.judges() && l.RecordBytesMax == 0 {
		return nil
	}
	if l.DecompressedBytesMax == 0 {
		l.DecompressedBytesMax = DecompressedBytesMax
	}
	return validateRecords(b, h, l)
}

func validateAttributes(h Header, l Limits) error {
	if h.Control() {
		return invalid("control batch from a client")
	}
	if h.Attributes&bitsNotForClients != 0 {
		return invalid("attributes %04x", uint16(h.Attributes))
	}
	if c := h.Codec(); c > CodecZstd || c == CodecZstd && !l.Zstd {
		return fmt.Errorf("%s: %w", c, ErrUnsupportedCodec)
	}
	if h.LogAppendTime() {
		return fmt.Errorf("log append time from a client: %w", ErrInvalidTimestamp)
	}
	return nil
}

// validateProducer checks that the three fields of an idempotent producer are there together.
func validateProducer(h Header) error {
	if h.ProducerID < 0 {
		if h.Transactional() {
			return invalid("transaction without a producer id")
		}
		return nil
	}
	if h.ProducerEpoch < 0 || h.BaseSequence < 0 {
		return invalid("producer %d with epoch %d, sequence %d", h.ProducerID, h.ProducerEpoch,
			h.BaseSequence)
	}
	return nil
}

// validateRecords walks all records: they parse, their offsets are dense, they keep to the limits, and
// nothing follows.
func validateRecords(b []byte, h Header, l Limits) error {
	var c cursor
	if h.Codec() == CodecNone {
		c.buf = b[HeaderBytes:]
	} else {
		s := openStream()
		defer s.close()
		if err := s.start(&c, h.Codec(), b[HeaderBytes:], l.DecompressedBytesMax); err != nil {
			return err
		}
		defer s.keep(&c)
	}
	judges := l.judges()
	var refused *RefusedRecords
	for i := range h.Records {
		n, err := c.length()
		if err == nil && l.RecordBytesMax > 0 && h.Codec() != CodecNone && n > l.RecordBytesMax {
			err = invalid("%d bytes, %d allowed once decompressed", n, l.RecordBytesMax)
		}
		if err == nil {
			var m mark
			if m, err = c.record(n, nil); err == nil && m.offsetDelta != i {
				err = invalid("offset delta %d", m.offsetDelta)
			}
			if err == nil && judges {
				refused = l.judge(&h, i, m, refused)
			}
		}
		if err != nil {
			return fmt.Errorf("record %d of %d: %w", i, h.Records, err)
		}
	}
	if err := c.finish(); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	return nil
}
