package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestValidateAllocatesNothingForPlainBatches(t *testing.T) {
	b := build(t, NewBuilder(CodecNone), sample(200))
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Validate(b, Limits{BytesMax: 1 << 20}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// One record of 20 MiB of zeros is a few KiB compressed. Checking it passes through a window of
// fixed size; over the limit it is refused.
func TestBombsAreReadThroughAWindow(t *testing.T) {
	const size = 20 << 20
	for _, codec := range []Codec{CodecGzip, CodecLz4, CodecZstd} {
		b := build(t, NewBuilder(codec), []Record{{Value: make([]byte, size)}})
		got := allocated(func() {
			if _, err := Validate(b, Limits{Zstd: true}); err != nil {
				t.Errorf("%s: %v", codec, err)
			}
		})
		if got > 12<<20 {
			t.Errorf("%s: got %d MiB allocated for a record of 20", codec, got>>20)
		}
		_, err := Validate(b, Limits{Zstd: true, DecompressedBytesMax: size})
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s over the limit: got %v, want ErrTooLarge", codec, err)
		}
	}
	b := NewBuilder(CodecSnappy)
	b.Xerial = true
	raw := build(t, b, []Record{{Value: make([]byte, size)}})
	if got := allocated(func() {
		if _, err := Validate(raw, Limits{}); err != nil {
			t.Error(err)
		}
	}); got > 1<<20 {
		t.Errorf("xerial: got %d KiB allocated", got>>10)
	}
	if _, err := Validate(raw, Limits{DecompressedBytesMax: 1 << 20}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("xerial over the limit: got %v, want ErrTooLarge", err)
	}
}

// A zstd frame whose window is over what the stream decoder may allocate is decoded all the same.
func TestLargeZstdWindows(t *testing.T) {
	value := make([]byte, 9<<20)
	for i := range value {
		value[i] = byte(i * i >> 7)
	}
	raw := build(t, NewBuilder(CodecNone), []Record{{Value: value}})
	for _, single := range []bool{false, true} {
		var out bytes.Buffer
		enc, err := zstd.NewWriter(&out, zstd.WithWindowSize(32<<20), zstd.WithEncoderConcurrency(1),
			zstd.WithSingleSegment(single))
		if err != nil {
			t.Fatal(err)
		}
		if single {
			out.Write(enc.EncodeAll(raw[HeaderBytes:], nil))
		} else if _, err := enc.Write(raw[HeaderBytes:]); err != nil {
			t.Fatal(err)
		} else if err := enc.Close(); err != nil {
			t.Fatal(err)
		}
		b := append(bytes.Clone(raw[:HeaderBytes]), out.Bytes()...)
		binary.BigEndian.PutUint16(b[atAttributes:], uint16(CodecZstd))
		Seal(b)
		if _, err := Validate(b, Limits{Zstd: true}); err != nil {
			t.Errorf("single segment %v: %v", single, err)
		}
		_, err = Validate(b, Limits{Zstd: true, DecompressedBytesMax: 1 << 19})
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("single segment %v over the limit: got %v", single, err)
		}
	}
}

// Sizes that compressed data declares must not be believed.
func TestDeclaredSizesCostNothing(t *testing.T) {
	body := func(codec Codec, b []byte) []byte {
		out := append(build(t, NewBuilder(CodecNone), sample(1))[:HeaderBytes:HeaderBytes], b...)
		binary.BigEndian.PutUint16(out[atAttributes:], uint16(codec))
		Seal(out)
		return out
	}
	const gibibyte = 1 << 30
	huge := binary.AppendUvarint(nil, gibibyte)
	for name, b := range map[string][]byte{
		"raw snappy of a gibibyte": body(CodecSnappy, append(huge, 1, 2, 3)),
		"raw snappy below the limit": body(CodecSnappy,
			append(binary.AppendUvarint(nil, 100<<20), 1, 2, 3)),
		"xerial block over the body": body(CodecSnappy, append([]byte(xerialMagic),
			0, 0, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff, 0)),
		"zstd window of 128 MiB":  body(CodecZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0, 0}),
		"zstd content of 100 MiB": body(CodecZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x40, 6, 1, 0, 0}),
		"lz4 block of 4 MiB":      body(CodecLz4, []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73}),
	} {
		got := allocated(func() {
			if _, err := Validate(b, Limits{Zstd: true}); err == nil {
				t.Errorf("%s: got nil", name)
			}
		})
		if got > 16<<20 {
			t.Errorf("%s: got %d MiB allocated", name, got>>20)
		}
	}
}

// A stream that failed must serve the next batch as if new.
func TestStreamsForgetFailures(t *testing.T) {
	everyCodec(t, 300, func(t *testing.T, good []byte, records []Record) {
		for cut := HeaderBytes; cut < len(good); cut += 1 + len(good)/40 {
			bad := bytes.Clone(good[:cut])
			Seal(bad)
			if _, err := Validate(bad, Limits{Zstd: true}); !errors.Is(err, ErrInvalidRecord) {
				t.Errorf("cut at %d: got %v, want ErrInvalidRecord", cut, err)
			}
			if _, err := Validate(good, Limits{Zstd: true}); err != nil {
				t.Fatalf("after a cut at %d: %v", cut, err)
			}
		}
		checkRecords(t, good, 1000, records)
	})
}

// checkBytes feeds b to everything that reads batches. What Validate accepts, the others must read.
func checkBytes(t testing.TB, b []byte) {
	limits := Limits{Zstd: true, DecompressedBytesMax: 1 << 20}
	h, err := Validate(b, limits)
	n, bad := int32(0), error(nil)
	for _, e := range Records(b) {
		if n++; e != nil {
			bad = e
		}
		if n > 1<<16 {
			return
		}
	}
	_, _, _, errFind := FindTimestamp(b, 1000)
	_, _, _, errMax := MaxTimestamp(b)
	if _, e := Split(b); err == nil && e != nil {
		t.Fatalf("valid batch does not split: %v", e)
	}
	if err == nil && (bad != nil || errFind != nil || errMax != nil || n != h.Records) {
		t.Fatalf("valid batch %x: %d records of %d, %v, %v, %v", b, n, h.Records, bad, errFind, errMax)
	}
}

func FuzzValidate(f *testing.F) {
	for _, codec := range codecs {
		f.Add(build(f, NewBuilder(codec), sample(4)), true)
	}
	x := NewBuilder(CodecSnappy)
	x.Xerial = true
	f.Add(build(f, x, sample(4)), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= HeaderBytes { // most mutations would end at the checksum
			b = bytes.Clone(b)
			Seal(b)
		}
		checkBytes(t, b)
	})
}

func FuzzRecords(f *testing.F) {
	for _, codec := range codecs {
		plain := build(f, NewBuilder(CodecNone), sample(4))
		f.Add(uint8(codec), int32(4), plain[HeaderBytes:])
	}
	f.Fuzz(func(t *testing.T, codec uint8, count int32, records []byte) {
		// Compressed here, so that mutations reach the records.
		out, err := compress(Codec(codec%5), codec > 127, records)
		if err != nil {
			t.Fatal(err)
		}
		b := append(make([]byte, HeaderBytes), out...)
		b[atMagic] = magic
		binary.BigEndian.PutUint16(b[atAttributes:], uint16(codec%5))
		binary.BigEndian.PutUint32(b[atRecordCount:], uint32(count))
		binary.BigEndian.PutUint32(b[atLastOffsetDelta:], uint32(count-1))
		binary.BigEndian.PutUint64(b[atProducerID:], 1<<64-1)
		Seal(b)
		checkBytes(t, b)
	})
}

func BenchmarkValidate(b *testing.B) {
	records := make([]Record, 1000)
	for i := range records {
		records[i] = Record{Timestamp: int64(i), Value: bytes.Repeat([]byte("value "), 16)}
	}
	for _, codec := range codecs {
		raw := build(b, NewBuilder(codec), records)
		b.Run(codec.String(), func(b *testing.B) {
			b.SetBytes(1000 * 103)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Validate(raw, Limits{Zstd: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFindTimestamp(b *testing.B) {
	for _, codec := range codecs {
		raw := build(b, NewBuilder(codec), sample(1000))
		b.Run(codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, _, err := FindTimestamp(raw, 1<<60); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The short way through a record says what the long one says, of good bytes and of bad ones.
func TestPlainRecordsAreReadAsAllOthers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	whole := build(t, NewBuilder(CodecNone), append(sample(40), Record{Timestamp: 1 << 40, Value: make([]byte, 9000)}))
	short := 0
	for range 20_000 {
		b := bytes.Clone(whole[HeaderBytes:])
		for range random.IntN(4) {
			b[random.IntN(len(b))] = [...]byte{0, 1, 0x7f, 0x80, 0xff, byte(random.Uint32())}[random.IntN(6)]
		}
		b = b[:len(b)-random.IntN(2)*random.IntN(len(b))]
		one, other := cursor{buf: b}, cursor{buf: b}
		for {
			n, err := one.length()
			if err != nil {
				break
			}
			other.pos = one.pos
			probe := one
			if _, ok := probe.plain(n); ok {
				short++
			}
			m, err := one.record(n, nil)
			want, wanted := other.record(n, &Record{})
			if (err == nil) != (wanted == nil) {
				t.Fatalf("%x: %v, want %v", b, err, wanted)
			}
			if err != nil {
				break
			}
			if m != want || one.pos != other.pos {
				t.Fatalf("%x: %+v up to %d, want %+v up to %d", b, m, one.pos, want, other.pos)
			}
		}
	}
	if short == 0 {
		t.Error("no record went the short way")
	}
}
