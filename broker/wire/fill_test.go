package wire

import (
	"math/rand/v2"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// filler sets every field of a kmsg message to something random, null included.
type filler struct{ *rand.Rand }

func newFiller(seed uint64) filler { return filler{rand.New(rand.NewPCG(seed, 1))} }

// message fills m, a pointer to a kmsg struct, and keeps its version.
func (f filler) message(m any, version int16) {
	v := reflect.ValueOf(m).Elem()
	f.value(v)
	v.FieldByName("Version").SetInt(int64(version))
}

func (f filler) value(v reflect.Value) {
	if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		*tags = kmsg.Tags{}
		for range f.IntN(3) {
			tags.Set(uint32(1000+f.IntN(1000)), f.octets())
		}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.Uint64()) >> (64 - v.Type().Bits()))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(f.Uint64() >> (64 - v.Type().Bits()))
	case reflect.Float64:
		v.SetFloat(f.NormFloat64())
	case reflect.String:
		v.SetString(string(f.octets()))
	case reflect.Pointer:
		v.SetZero()
		if f.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.value(v.Elem())
		}
	case reflect.Array:
		for i := range v.Len() {
			f.value(v.Index(i))
		}
	case reflect.Slice:
		f.slice(v)
	case reflect.Struct:
		for i := range v.NumField() {
			f.value(v.Field(i))
		}
	default:
		panic("cannot fill a " + v.Kind().String())
	}
}

func (f filler) slice(v reflect.Value) {
	v.SetZero()
	if f.IntN(4) == 0 {
		return
	}
	n := f.IntN(4)
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes(append([]byte{}, f.octets()...))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		f.value(v.Index(i))
	}
}

// octets returns bytes whose length now and then needs two bytes of varint.
func (f filler) octets() []byte {
	n := f.IntN(12)
	if f.IntN(8) == 0 {
		n = 120 + f.IntN(40)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(f.Uint32())
	}
	return b
}
