package wire

import "math"

// never is the version that no request reaches.
const never int16 = math.MaxInt16

// shape is what one request looks like in all its versions.
type shape struct {
	key      int16
	name     string
	max      int16 // highest version known; the lowest is 0
	flexible int16 // version from which lengths are varints and structures end in tags
	fields   fields
}

// fields are the fields of a structure in the order of the wire. Tagged ones come last.
type fields []field

// field is one field of a structure, or the element of a list.
type field struct {
	name     string
	kind     kind
	bytes    int    // fixed: its size
	elem     fields // array, structure: the fields; list: one field without a name
	from, to int16  // versions that have the field
	nullFrom int16  // version from which null is allowed
	tag      int16  // its number among the tagged fields, or untagged
}

// untagged marks a field that stands in the body, not in the tag section.
const untagged int16 = -1

type kind uint8

const (
	fixed     kind = iota // a number of bytes that never changes
	text                  // length and bytes: 16 bits, flexible a varint of length+1
	blob                  // length and bytes: 32 bits, flexible a varint of length+1
	many                  // count and structures: 32 bits, flexible a varint of count+1
	simple                // count and bare values, counted like many
	structure             // fields; if it may be null, after one byte: -1 null, else present
)

func plain(name string, k kind) field {
	return field{name: name, kind: k, to: never, nullFrom: never, tag: untagged}
}

func sized(name string, bytes int) field {
	f := plain(name, fixed)
	f.bytes = bytes
	return f
}

func boolean(name string) field  { return sized(name, 1) }
func int8s(name string) field    { return sized(name, 1) }
func int16s(name string) field   { return sized(name, 2) }
func int32s(name string) field   { return sized(name, 4) }
func int64s(name string) field   { return sized(name, 8) }
func float64s(name string) field { return sized(name, 8) }
func uuid(name string) field     { return sized(name, 16) }
func str(name string) field      { return plain(name, text) }
func octets(name string) field   { return plain(name, blob) }

// array is an array of structures.
func array(name string, elem ...field) field {
	f := plain(name, many)
	f.elem = elem
	return f
}

// list is an array of bare values.
func list(name string, elem func(string) field) field {
	f := plain(name, simple)
	f.elem = fields{elem("")}
	return f
}

// object is a structure that is no array's element.
func object(name string, elem ...field) field {
	f := plain(name, structure)
	f.elem = elem
	return f
}

// since says that versions below v lack the field.
func (f field) since(v int16) field { f.from = v; return f }

// until says that versions above v lack the field.
func (f field) until(v int16) field { f.to = v; return f }

// orNull says that the field may be null in every version that has it.
func (f field) orNull() field { f.nullFrom = 0; return f }

// nullSince says that the field may be null from version v.
func (f field) nullSince(v int16) field { f.nullFrom = v; return f }

// tagged says that the field stands in the tag section. Versions are not asked: kmsg decodes a
// tagged field that it knows in every flexible version.
func (f field) tagged(number int16) field { f.tag = number; return f }

func (f *field) in(version int16) bool {
	return f.tag == untagged && f.from <= version && version <= f.to
}

// shapes is indexed by key; a key without a shape has nil fields and a maximum of -1.
var shapes = index(dataShapes, groupShapes, transactionShapes, adminShapes, configShapes,
	shareShapes, streamsShapes)

func index(tables ...[]shape) []shape {
	var out []shape
	for _, table := range tables {
		for _, s := range table {
			for int(s.key) >= len(out) {
				out = append(out, shape{max: -1, flexible: never})
			}
			out[s.key] = s
		}
	}
	return out
}

// shapeOf returns the shape of key, or nil.
func shapeOf(key int16) *shape {
	if key < 0 || int(key) >= len(shapes) || shapes[key].max < 0 {
		return nil
	}
	return &shapes[key]
}
