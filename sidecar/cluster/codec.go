package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
)

// ErrFormat: bytes are not what this version writes. A proposal in them is dropped; in a committed
// entry or a snapshot they stop the node, which can no longer know the image.
var ErrFormat = errors.New("bytes are malformed")

// writer appends the primitives that commands, results and images are made of. Integers of unknown
// size are LEB128 varints (zig-zag when signed), strings and lists carry their length in front.
type writer struct{ bytes []byte }

func (w *writer) u8(v uint8)       { w.bytes = append(w.bytes, v) }
func (w *writer) u16(v uint16)     { w.bytes = binary.BigEndian.AppendUint16(w.bytes, v) }
func (w *writer) u64(v uint64)     { w.bytes = binary.BigEndian.AppendUint64(w.bytes, v) }
func (w *writer) uvarint(v uint64) { w.bytes = binary.AppendUvarint(w.bytes, v) }
func (w *writer) varint(v int64)   { w.bytes = binary.AppendVarint(w.bytes, v) }
func (w *writer) raw(v []byte)     { w.bytes = append(w.bytes, v...) }

func (w *writer) bool(v bool) {
	if v {
		w.u8(1)
		return
	}
	w.u8(0)
}

func (w *writer) string(v string) {
	w.uvarint(uint64(len(v)))
	w.bytes = append(w.bytes, v...)
}

// strings writes a map in the order of its keys.
func (w *writer) strings(m map[string]string) {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	w.uvarint(uint64(len(keys)))
	for _, key := range keys {
		w.string(key)
		w.string(m[key])
	}
}

// reader takes the same primitives apart. The first thing wrong sticks in err, after which every
// read answers zero; a count is never believed beyond the bytes that are there to fill it.
type reader struct {
	bytes []byte
	err   error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
	r.bytes = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.bytes) {
		r.fail("%d bytes wanted, %d left", n, len(r.bytes))
		return nil
	}
	taken := r.bytes[:n:n]
	r.bytes = r.bytes[n:]
	return taken
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.bytes)
	if n <= 0 {
		r.fail("varint cut or too long")
		return 0
	}
	r.bytes = r.bytes[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.bytes)
	if n <= 0 {
		r.fail("varint cut or too long")
		return 0
	}
	r.bytes = r.bytes[n:]
	return v
}

func (r *reader) i32() int32 {
	v := r.varint()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.fail("%d does not fit 32 bits", v)
		return 0
	}
	return int32(v)
}

func (r *reader) bool() bool {
	v := r.u8()
	if v > 1 {
		r.fail("boolean %d", v)
	}
	return v == 1
}

// count reads the length of a list whose elements take at least elementBytesMin each.
func (r *reader) count(elementBytesMin int) int {
	n := r.uvarint()
	if n > uint64(len(r.bytes)/elementBytesMin) {
		r.fail("%d elements in %d bytes", n, len(r.bytes))
		return 0
	}
	return int(n)
}

func (r *reader) string() string { return string(r.take(r.count(1))) }

// strings reads a map; its keys must come sorted and once each.
func (r *reader) strings() map[string]string {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	last := ""
	for i := range n {
		key := r.string()
		if i > 0 && key <= last {
			r.fail("key %q after %q", key, last)
			return nil
		}
		m[key], last = r.string(), key
	}
	return m
}

// finish reports what went wrong, bytes left over included.
func (r *reader) finish() error {
	if r.err == nil && len(r.bytes) > 0 {
		r.fail("%d bytes left over", len(r.bytes))
	}
	return r.err
}
