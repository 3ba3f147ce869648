package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// cursor reads records from memory or, if it has a reader, from a stream through the window buf.
// The window grows only for take, and only as bytes arrive.
type cursor struct {
	buf    []byte // what is at hand; buf[pos:] is unread
	pos    int
	before int64     // bytes that have left the window
	r      io.Reader // nil: buf is everything
	left   int64     // bytes that r may still yield
}

// mark is the part of a record that says where and when it is.
type mark struct {
	timeDelta   int64
	offsetDelta int32
	keyless     bool // only after record
}

// at is the number of bytes read so far.
func (c *cursor) at() int64 { return c.before + int64(c.pos) }

// fill reads more into the window, which it first moves to the front and, when it is full, grows.
// At the end of the stream it returns io.EOF.
func (c *cursor) fill() error {
	if c.r == nil {
		return io.EOF
	}
	n := copy(c.buf, c.buf[c.pos:])
	c.before += int64(c.pos)
	c.buf, c.pos = c.buf[:n], 0
	if n == cap(c.buf) {
		grown := make([]byte, n, 2*n)
		copy(grown, c.buf)
		c.buf = grown
	}
	for range 100 {
		got, err := c.r.Read(c.buf[n:cap(c.buf)])
		c.buf = c.buf[:n+got]
		if c.left -= int64(got); c.left < 0 {
			return fmt.Errorf("more decompressed bytes than allowed: %w", ErrTooLarge)
		}
		if got > 0 {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		if errors.Is(err, ErrTooLarge) {
			return err
		}
		if err != nil {
			return fmt.Errorf("decompress records: %w: %w", ErrInvalidRecord, err)
		}
	}
	return fmt.Errorf("decompress records: %w: %w", ErrInvalidRecord, io.ErrNoProgress)
}

// need is fill for a reader in the middle of something.
func (c *cursor) need() error {
	err := c.fill()
	if err == io.EOF { //nolint:errorlint // fill returns it bare
		return invalid("records end early")
	}
	return err
}

func (c *cursor) byte() (byte, error) {
	for c.pos >= len(c.buf) {
		if err := c.need(); err != nil {
			return 0, err
		}
	}
	b := c.buf[c.pos]
	c.pos++
	return b, nil
}

// varlong reads a zigzag varint of 64 bits.
func (c *cursor) varlong() (int64, error) {
	if c.pos < len(c.buf) && c.buf[c.pos] < 0x80 { // nearly always
		u := int64(c.buf[c.pos])
		c.pos++
		return u>>1 ^ -(u & 1), nil
	}
	var u uint64
	for shift := 0; shift < 70; shift += 7 {
		b, err := c.byte()
		if err != nil {
			return 0, err
		}
		if shift == 63 && b > 1 {
			break
		}
		u |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int64(u>>1) ^ -int64(u&1), nil
		}
	}
	return 0, invalid("varint over 64 bits")
}

// varint reads a zigzag varint of 32 bits.
func (c *cursor) varint() (int32, error) {
	v, err := c.varlong()
	if err == nil && int64(int32(v)) != v {
		return 0, invalid("varint %d over 32 bits", v)
	}
	return int32(v), err
}

// length reads the length of the next record.
func (c *cursor) length() (int64, error) {
	n, err := c.varint()
	if err == nil && n < 0 {
		return 0, invalid("record of %d bytes", n)
	}
	return int64(n), err
}

// skip passes over n bytes.
func (c *cursor) skip(n int64) error {
	for {
		have := int64(len(c.buf) - c.pos)
		if n <= have {
			c.pos += int(n)
			return nil
		}
		c.pos = len(c.buf)
		n -= have
		if err := c.need(); err != nil {
			return err
		}
	}
}

// take returns the next n bytes, which stay valid until the window moves.
func (c *cursor) take(n int64) ([]byte, error) {
	for int64(len(c.buf)-c.pos) < n {
		if err := c.need(); err != nil {
			return nil, err
		}
	}
	b := c.buf[c.pos : c.pos+int(n) : c.pos+int(n)]
	c.pos += int(n)
	return b, nil
}

// mark reads the front of a record: attributes, which mean nothing, and the deltas.
func (c *cursor) mark() (mark, error) {
	var m mark
	_, err := c.byte()
	if err == nil {
		m.timeDelta, err = c.varlong()
	}
	if err == nil {
		m.offsetDelta, err = c.varint()
	}
	return m, err
}

// record reads the n bytes of a record, all of them and no more. With into it keeps key, value and
// headers there, by reference; then all n bytes must be in the window.
func (c *cursor) record(n int64, into *Record) (mark, error) {
	if into == nil {
		if m, ok := c.plain(n); ok {
			return m, nil
		}
	}
	end := c.at() + n
	m, err := c.mark()
	if err != nil {
		return m, err
	}
	key, null, err := c.field(end, -1, into != nil)
	if err != nil {
		return m, fmt.Errorf("key: %w", err)
	}
	m.keyless = null
	value, _, err := c.field(end, -1, into != nil)
	if err != nil {
		return m, fmt.Errorf("value: %w", err)
	}
	if into != nil {
		into.Key, into.Value = key, value
	}
	if err := c.headers(end, into); err != nil {
		return m, fmt.Errorf("headers: %w", err)
	}
	if c.at() != end {
		return m, invalid("record ends at %d, not at %d", c.at(), end)
	}
	return m, nil
}

// plain reads the n bytes of a record of which all lies in the window, and that has no headers: nearly every one, and
// of small records this is most of what a produce costs. It reads nothing, and says so, where anything else is found.
func (c *cursor) plain(n int64) (m mark, ok bool) {
	if n < 1 || n > int64(len(c.buf)-c.pos) {
		return m, false
	}
	b, at := c.buf[c.pos:c.pos+int(n)], 1 // attributes mean nothing
	m.timeDelta, at = zigzag(b, at)
	offsetDelta, at := zigzag(b, at)
	m.offsetDelta = int32(offsetDelta)
	for i := range 2 { // key and value
		var length int64
		length, at = zigzag(b, at)
		if length < -1 || length > int64(len(b)-at) {
			return m, false
		}
		if i == 0 {
			m.keyless = length < 0
		}
		at += int(max(0, length))
	}
	if at != len(b)-1 || b[at] != 0 || int64(m.offsetDelta) != offsetDelta {
		return m, false
	}
	c.pos += int(n)
	return m, true
}

// zigzag is the zigzag varint at a place, and what is behind it: that is behind all of b if there is none.
func zigzag(b []byte, at int) (v int64, next int) {
	if at < len(b) && b[at] < 0x80 {
		u := int64(b[at])
		return u>>1 ^ -(u & 1), at + 1
	}
	return longZigzag(b, at)
}

func longZigzag(b []byte, at int) (v int64, next int) {
	if at < len(b) {
		if u, n := binary.Uvarint(b[at:]); n > 0 {
			return int64(u>>1) ^ -int64(u&1), at + n
		}
	}
	return 0, len(b) + 1
}

// field reads a length, at least the one given (-1 is null), and that many bytes, up to end. It
// returns them if keep; null is nil.
func (c *cursor) field(end int64, least int32, keep bool) (b []byte, null bool, err error) {
	n, err := c.varint()
	if err != nil {
		return nil, false, err
	}
	if n < least || int64(n) > end-c.at() {
		return nil, false, invalid("%d bytes, %d left", n, end-c.at())
	}
	switch {
	case n < 0:
		return nil, true, nil
	case keep:
		b, err = c.take(int64(n))
		return b, false, err
	}
	return nil, false, c.skip(int64(n))
}

func (c *cursor) headers(end int64, into *Record) error {
	n, err := c.varint()
	if err != nil {
		return err
	}
	// A header takes at least two bytes.
	if n < 0 || int64(n) > (end-c.at())/2 {
		return invalid("%d headers, %d bytes left", n, end-c.at())
	}
	keep := into != nil
	for range n {
		key, _, err := c.field(end, 0, keep)
		if err != nil {
			return err
		}
		value, _, err := c.field(end, -1, keep)
		if err != nil {
			return err
		}
		if keep {
			into.Headers = append(into.Headers, RecordHeader{Key: string(key), Value: value})
		}
	}
	return nil
}

// finish requires that the records were all there is.
func (c *cursor) finish() error {
	if c.pos < len(c.buf) {
		return invalid("%d bytes follow the records", len(c.buf)-c.pos)
	}
	err := c.fill()
	if err == nil {
		return invalid("bytes follow the records")
	}
	if err == io.EOF { //nolint:errorlint // fill returns it bare
		return nil
	}
	return err
}
