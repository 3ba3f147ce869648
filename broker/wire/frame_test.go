package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"
)

func framed(bodies ...[]byte) []byte {
	var b []byte
	for _, body := range bodies {
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
	}
	return b
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func TestFrameReaderCutsFrames(t *testing.T) {
	sizes := []int{0, 1, 10, firstBytes - 1, firstBytes, firstBytes + 1, 2 * firstBytes,
		firstBytes*growth + 1, 1<<20 + 17, 5}
	var bodies [][]byte
	for _, n := range sizes {
		bodies = append(bodies, pattern(n))
	}
	stream := framed(bodies...)
	for name, r := range map[string]io.Reader{
		"whole":    bytes.NewReader(stream),
		"by bytes": iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":   iotest.HalfReader(bytes.NewReader(stream)),
		"data+err": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		f := NewFrameReader(r, 4<<20)
		var got [][]byte
		for range bodies {
			frame, err := f.Next()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got = append(got, frame)
		}
		for i := range bodies { // compared at the end: no frame may share memory with a later one
			if !bytes.Equal(got[i], bodies[i]) {
				t.Errorf("%s: frame %d of %d bytes differs", name, i, len(bodies[i]))
			}
		}
		if _, err := f.Next(); err != io.EOF {
			t.Errorf("%s: got %v at the end, want io.EOF", name, err)
		}
	}
}

func TestFrameReaderRefusesSizes(t *testing.T) {
	for _, size := range []int32{-1, -1 << 31, 101, 1<<31 - 1} {
		f := NewFrameReader(bytes.NewReader(hostile(size, "rest")), 100)
		_, err := f.Next()
		var typed *FrameSizeError
		if !errors.As(err, &typed) || typed.Size != size || typed.Limit != 100 {
			t.Errorf("size %d: got %v, want a FrameSizeError", size, err)
		}
	}
}

func TestFrameReaderTellsHalfFramesFromTheEnd(t *testing.T) {
	for _, stream := range [][]byte{{0}, {0, 0, 0}, framed([]byte("half"))[:4], framed([]byte("half"))[:6],
		framed(pattern(100_000))[:50_000], framed(pattern(100_000))[:4+firstBytes]} {
		_, err := NewFrameReader(bytes.NewReader(stream), 1<<20).Next()
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: got %v, want io.ErrUnexpectedEOF", len(stream), err)
		}
	}
	broken := errors.New("broken")
	_, err := NewFrameReader(iotest.ErrReader(broken), 10).Next()
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func TestFrameReaderMemoryFollowsWhatArrives(t *testing.T) {
	const limit = 100 << 20
	for _, sent := range []int{0, 100, 40_000, 300_000} {
		stream := append(hostile(int32(limit)), make([]byte, sent)...)
		f := NewFrameReader(bytes.NewReader(stream), limit)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := f.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("got %v", err)
		}
		runtime.ReadMemStats(&after)
		got, want := after.TotalAlloc-before.TotalAlloc, uint64(2*growth*sent+firstBytes+16<<10)
		if got > want {
			t.Errorf("%d bytes sent: got %d allocated, want at most %d", sent, got, want)
		}
	}
}

// Whoever has sent a frame whole is trusted with its size once more, and with nothing beyond.
func TestFrameReaderTrustsWhatCameWhole(t *testing.T) {
	const proven = 300_000
	stream := append(framed(pattern(proven), pattern(proven)), hostile(int32(100<<20))...)
	f := NewFrameReader(bytes.NewReader(stream), 100<<20)
	var before, after runtime.MemStats
	for i, most := range []uint64{2 * proven, proven + proven/4, proven + proven/4} {
		runtime.ReadMemStats(&before)
		_, err := f.Next()
		runtime.ReadMemStats(&after)
		if last := i == 2; last != errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("frame %d: got %v", i, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > most {
			t.Errorf("frame %d: got %d bytes allocated, want at most %d", i, got, most)
		}
	}
}

func FuzzFrameReader(f *testing.F) {
	f.Add(framed([]byte("one"), nil, []byte("two")))
	f.Add(hostile(int32(-1)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewFrameReader(bytes.NewReader(stream), 1000)
		at := 0
		for {
			frame, err := r.Next()
			if err != nil {
				return
			}
			if !bytes.Equal(frame, stream[at+4:at+4+len(frame)]) {
				t.Fatalf("frame at %d differs", at)
			}
			at += 4 + len(frame)
		}
	})
}

func BenchmarkFrameReader(b *testing.B) {
	for name, n := range map[string]int{"200B": 200, "64KiB": 64 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			stream := framed(pattern(n))
			src := bytes.NewReader(nil)
			f := NewFrameReader(src, 1<<30)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(stream)
				if _, err := f.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
