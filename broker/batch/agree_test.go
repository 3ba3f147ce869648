package batch

import (
	"testing"
)

func TestBatchesAgreeUnlessARecordDiffers(t *testing.T) {
	built := func(base int64, codec Codec, values ...string) []byte {
		t.Helper()
		b := NewBuilder(codec)
		for i, v := range values {
			b.Add(Record{Timestamp: int64(i), Key: []byte{byte(i)}, Value: []byte(v)})
		}
		bytes, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		SetBaseOffset(bytes, base)
		SetLeaderEpoch(bytes, 0)
		return bytes
	}
	filtered := func(b []byte, horizon int64, keep ...bool) []byte {
		t.Helper()
		out, err := Filter(b, horizon, keep)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, codec := range []Codec{CodecNone, CodecZstd} {
		whole := built(7, codec, "a", "b", "c")
		for name, c := range map[string]struct {
			a, b []byte
			want bool
		}{
			"the same":             {whole, built(7, codec, "a", "b", "c"), true},
			"one record less":      {whole, filtered(whole, 0, true, false, true), true},
			"a horizon":            {whole, filtered(whole, 99, true, true, true), true},
			"different ones left":  {filtered(whole, 0, true, false, false), filtered(whole, 0, false, true, true), true},
			"none left":            {filtered(whole, 0, false, false, false), whole, true},
			"a span":               {Span(7, 20, 0), whole, true},
			"another value":        {whole, built(7, codec, "a", "x", "c"), false},
			"another value, fewer": {filtered(whole, 0, false, true, false), built(7, codec, "a", "x", "c"), false},
			"another offset":       {whole, built(8, codec, "a", "b", "c"), false},
			"another length":       {whole, built(7, codec, "a", "b"), false},
			"not a batch":          {whole, []byte("batch"), false},
		} {
			if got := Agree(c.a, c.b); got != c.want {
				t.Errorf("%s, codec %v: got %v, want %v", name, codec, got, c.want)
			}
			if got := Agree(c.b, c.a); got != c.want {
				t.Errorf("%s, swapped, codec %v: got %v, want %v", name, codec, got, c.want)
			}
		}
	}
}
