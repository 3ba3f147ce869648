package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// What Kafka 4.4 allows of an array and of a tag section. We count over the whole request, not per
// array: kmsg spends up to 64 bytes for an element that takes three on the wire, so arrays within
// arrays would otherwise turn one allowed frame of 100 MiB into two gigabytes. No client that works
// comes near either number.
const (
	elementsMax  = 1_000_000
	tagFieldsMax = 10_000
)

// textBytesMax is the longest string, also where a varint could say more.
const textBytesMax = math.MaxInt16

// Guard checks that body has the shape of the request (key, version): that every count and length
// fits into the bytes that remain, and null stands only where it may. It allocates nothing unless it
// refuses. What trails is passed over, as Kafka does: librdkafka 2.16 leaves three bytes behind when it
// asks for the metadata of all topics. Everything it refuses is ErrMalformed, except a key or version without
// a shape, which is ErrUnsupported.
func Guard(key, version int16, body []byte) error {
	_, err := walk(key, version, body)
	return err
}

// walk is Guard, and returns how many bytes trail.
func walk(key, version int16, body []byte) (int, error) {
	s := shapeOf(key)
	if s == nil || version < 0 || version > s.max {
		return 0, fmt.Errorf("guard key %d version %d: %w", key, version, ErrUnsupported)
	}
	w := walker{
		rest:     body,
		version:  version,
		flexible: version >= s.flexible,
		elements: elementsMax,
	}
	if err := w.fields(s.fields); err != nil {
		return 0, fmt.Errorf("guard %s v%d: %w", s.name, version, err)
	}
	return len(w.rest), nil
}

// walker goes through a body field by field. It never looks back and never looks at a value: only
// at counts, lengths and null markers.
type walker struct {
	rest     []byte // not yet walked
	version  int16
	flexible bool
	elements int // array elements and known tags that the request may still declare
	unknown  int // unknown tag fields seen
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrMalformed)
}

// fields walks one structure: the fields of this version, then the tags.
func (w *walker) fields(fs fields) error {
	for i := range fs {
		if f := &fs[i]; f.in(w.version) {
			if err := w.field(f); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	if w.flexible {
		return w.tags(fs)
	}
	return nil
}

func (w *walker) field(f *field) error {
	switch f.kind {
	case fixed:
		return w.skip(int64(f.bytes))
	case text, blob:
		return w.block(f)
	case many:
		return w.array(f)
	case simple:
		return w.list(f)
	case structure:
		return w.object(f)
	}
	panic(fmt.Sprintf("field %s has kind %d", f.name, f.kind))
}

func (w *walker) skip(n int64) error {
	if n > int64(len(w.rest)) {
		return malformed("%d bytes, %d left", n, len(w.rest))
	}
	w.rest = w.rest[n:]
	return nil
}

// block walks a string or bytes.
func (w *walker) block(f *field) error {
	n, err := w.length(f)
	if err != nil || n <= 0 {
		return err
	}
	if f.kind == text && n > textBytesMax {
		return malformed("string of %d bytes", n)
	}
	return w.skip(n)
}

// array walks an array of structures.
func (w *walker) array(f *field) error {
	n, err := w.count(f)
	if err != nil {
		return err
	}
	for range n {
		if err := w.fields(f.elem); err != nil {
			return err
		}
	}
	return nil
}

// list walks an array of bare values.
func (w *walker) list(f *field) error {
	n, err := w.count(f)
	if err != nil {
		return err
	}
	elem := &f.elem[0]
	if elem.kind == fixed {
		return w.skip(n * int64(elem.bytes))
	}
	for range n {
		if err := w.field(elem); err != nil {
			return err
		}
	}
	return nil
}

// object walks a structure that is no element. Only one that may be null has a byte that says
// whether it is there.
func (w *walker) object(f *field) error {
	if f.nullFrom <= w.version {
		if len(w.rest) == 0 {
			return malformed("null marker missing")
		}
		marker := int8(w.rest[0])
		w.rest = w.rest[1:]
		switch marker {
		case -1:
			return nil
		case 1:
		default:
			return malformed("null marker %d", marker)
		}
	}
	return w.fields(f.elem)
}

// count reads the count of an array, bounds it by the elements that the request may still hold and
// by the bytes that remain, and spends it. Null counts as 0.
func (w *walker) count(f *field) (int64, error) {
	n, err := w.length(f)
	if err != nil || n <= 0 {
		return 0, err
	}
	if n > int64(w.elements) {
		return 0, malformed("%d elements, %d allowed", n, w.elements)
	}
	if least := w.least(f.elem, f.kind == many); n > int64(len(w.rest)/least) {
		return 0, malformed("%d elements of at least %d bytes, %d left", n, least, len(w.rest))
	}
	w.elements -= int(n)
	return n, nil
}

// least is the smallest number of bytes that an element takes in this version; at least one, as
// kmsg expects.
func (w *walker) least(fs fields, tags bool) int {
	n := 0
	if tags && w.flexible {
		n = 1
	}
	for i := range fs {
		f := &fs[i]
		switch {
		case !f.in(w.version):
		case f.kind == fixed:
			n += f.bytes
		case f.kind == structure && f.nullFrom <= w.version:
			n++
		case f.kind == structure:
			n += w.least(f.elem, true)
		case w.flexible:
			n++
		case f.kind == text:
			n += 2
		default:
			n += 4
		}
	}
	return max(n, 1)
}

// length reads what stands before a string, bytes or an array: -1 for null, which only a field that
// may be null can have.
func (w *walker) length(f *field) (int64, error) {
	var n int64
	switch {
	case w.flexible:
		u, err := w.uvarint()
		if err != nil {
			return 0, err
		}
		n = int64(u) - 1
	case f.kind == text:
		if len(w.rest) < 2 {
			return 0, malformed("length missing")
		}
		n = int64(int16(binary.BigEndian.Uint16(w.rest)))
		w.rest = w.rest[2:]
	default:
		if len(w.rest) < 4 {
			return 0, malformed("length missing")
		}
		n = int64(int32(binary.BigEndian.Uint32(w.rest)))
		w.rest = w.rest[4:]
	}
	if n < -1 || n == -1 && f.nullFrom > w.version {
		return 0, malformed("length %d", n)
	}
	return n, nil
}

// tags walks a tag section: a count, then number, size and bytes of each field. A known field must
// fill its size exactly.
func (w *walker) tags(known fields) error {
	n, err := w.uvarint()
	if err != nil {
		return fmt.Errorf("tags: %w", err)
	}
	if n > tagFieldsMax || int64(n)*2 > int64(len(w.rest)) {
		return malformed("%d tags, %d bytes left", n, len(w.rest))
	}
	for range n {
		if err := w.tag(known); err != nil {
			return fmt.Errorf("tags: %w", err)
		}
	}
	return nil
}

func (w *walker) tag(known fields) error {
	number, err := w.uvarint()
	if err != nil {
		return err
	}
	size, err := w.uvarint()
	if err != nil {
		return err
	}
	value := w.rest
	if err := w.skip(int64(size)); err != nil {
		return err
	}
	after := w.rest
	for i := range known {
		f := &known[i]
		if f.tag == untagged || uint32(f.tag) != number {
			continue
		}
		if w.elements--; w.elements < 0 {
			return malformed("more elements than allowed")
		}
		w.rest = value[:size]
		if err := w.field(f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if len(w.rest) > 0 {
			return malformed("%s: %d bytes trail", f.name, len(w.rest))
		}
		w.rest = after
		return nil
	}
	if w.unknown++; w.unknown > tagFieldsMax {
		return malformed("more than %d unknown tags", tagFieldsMax)
	}
	return nil
}

// uvarint reads an unsigned 32 bit varint: at most five bytes, the fifth at most 0x0f.
func (w *walker) uvarint() (uint32, error) {
	var u uint32
	for i, b := range w.rest {
		if i == 4 && b > 0x0f {
			return 0, malformed("varint over 32 bits")
		}
		u |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			w.rest = w.rest[i+1:]
			return u, nil
		}
	}
	return 0, malformed("varint cut short")
}
