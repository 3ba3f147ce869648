package batch

import (
	"fmt"
	"iter"
)

// Record is one record of a batch.
type Record struct {
	Offset     int64
	Timestamp  int64 // milliseconds
	Key, Value []byte
	Headers    []RecordHeader
}

// RecordHeader is one header of a record.
type RecordHeader struct {
	Key   string
	Value []byte
}

// Records iterates over the records of the one batch at the front of b, control batches too. A
// record's slices are valid until the next one: key and value lie in a window that moves. An error
// comes last, with the zero Record. Compaction may have left fewer records than offsets; gaps are
// no error here, and neither is a batch without records.
func Records(b []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var rec Record
		err := scan(b, func(h Header, c *cursor, n int64) (bool, error) {
			body, err := c.take(n)
			if err != nil {
				return false, err
			}
			rec.Headers = rec.Headers[:0]
			inner := cursor{buf: body}
			m, err := inner.record(n, &rec)
			if err != nil {
				return false, err
			}
			rec.Offset, rec.Timestamp = h.place(m)
			return yield(rec, nil), nil
		})
		if err != nil {
			yield(Record{}, fmt.Errorf("read records: %w", err))
		}
	}
}

// FindTimestamp finds the first record of the batch b that is at or after ts, by offset. ok is
// false when there is none, which the header's MaxTimestamp does not rule out: producers may be
// wrong about it.
func FindTimestamp(b []byte, ts int64) (offset, timestamp int64, ok bool, err error) {
	err = scan(b, func(h Header, c *cursor, n int64) (bool, error) {
		o, t, err := h.peek(c, n)
		if err == nil && t >= ts {
			offset, timestamp, ok = o, t, true
		}
		return !ok, err
	})
	if err != nil {
		return 0, 0, false, fmt.Errorf("find timestamp %d: %w", ts, err)
	}
	return offset, timestamp, ok, nil
}

// MaxTimestamp finds the first record of the batch b that bears its largest timestamp. ok is false
// for a batch without records.
func MaxTimestamp(b []byte) (offset, timestamp int64, ok bool, err error) {
	err = scan(b, func(h Header, c *cursor, n int64) (bool, error) {
		o, t, err := h.peek(c, n)
		if err == nil && (!ok || t > timestamp) {
			offset, timestamp, ok = o, t, true
		}
		return !ok || !h.LogAppendTime(), err
	})
	if err != nil {
		return 0, 0, false, fmt.Errorf("find largest timestamp: %w", err)
	}
	return offset, timestamp, ok, nil
}

// scan calls visit at the front of each record's n bytes, which visit reads, until it returns false.
func scan(b []byte, visit func(h Header, c *cursor, n int64) (bool, error)) error {
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	if h.Size() > len(b) {
		return corrupt("batch of %d bytes, %d there", h.Size(), len(b))
	}
	c := cursor{buf: b[HeaderBytes:h.Size()]}
	if h.Codec() != CodecNone && h.Records > 0 {
		s := openStream()
		defer s.close()
		if err := s.start(&c, h.Codec(), c.buf, DecompressedBytesMax); err != nil {
			return err
		}
		defer s.keep(&c)
	}
	for i := range h.Records {
		n, err := c.length()
		more := false
		if err == nil {
			more, err = visit(h, &c, n)
		}
		if err != nil {
			return fmt.Errorf("record %d of %d: %w", i, h.Records, err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// peek reads where and when a record is, and passes over the rest of it.
func (h Header) peek(c *cursor, n int64) (offset, timestamp int64, err error) {
	end := c.at() + n
	m, err := c.mark()
	if err == nil && c.at() > end {
		err = invalid("record ends at %d, not at %d", c.at(), end)
	}
	if err == nil {
		err = c.skip(end - c.at())
	}
	offset, timestamp = h.place(m)
	return offset, timestamp, err
}

// place turns deltas into offset and timestamp.
func (h Header) place(m mark) (offset, timestamp int64) {
	offset = h.BaseOffset + int64(m.offsetDelta)
	if h.LogAppendTime() {
		return offset, h.MaxTimestamp
	}
	return offset, h.BaseTimestamp + m.timeDelta
}
