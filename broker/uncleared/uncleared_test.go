package uncleared_test

import (
	"bytes"
	"runtime"
	"testing"

	"outrigger/broker/uncleared"
)

// No two of them share a byte, all are writable to their end, and none is freed while it is in use.
func TestBytesAreTheCallersAlone(t *testing.T) {
	sizes := []int{0, 1, 4095, 4096, 4097, 8191, 32 << 10, 32<<10 + 1, 300_001, 1 << 20, 5<<20 + 3}
	var all [][]byte
	for round := range 4 {
		for i, n := range sizes {
			b := uncleared.Bytes(n)
			if len(b) != n || cap(b) != n {
				t.Fatalf("got %d bytes of %d, want %d", len(b), cap(b), n)
			}
			for k := range b {
				b[k] = byte(round*len(sizes) + i)
			}
			all = append(all, b)
		}
		runtime.GC()
	}
	for i, b := range all {
		if want := bytes.Repeat([]byte{byte(i)}, len(b)); !bytes.Equal(b, want) {
			t.Fatalf("%d bytes of %d were changed by somebody else", len(b), i)
		}
	}
}

func BenchmarkBytes(b *testing.B) {
	b.Run("uncleared", func(b *testing.B) {
		for b.Loop() {
			sink = uncleared.Bytes(300 << 10)
		}
	})
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			sink = make([]byte, 300<<10)
		}
	})
}

var sink []byte
