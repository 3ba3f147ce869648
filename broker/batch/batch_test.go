package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var codecs = []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLz4, CodecZstd}

func sample(n int) []Record {
	out := make([]Record, n)
	for i := range out {
		out[i] = Record{
			Timestamp: 1_700_000_000_000 + int64(i*i%7)*10,
			Key:       []byte(fmt.Sprintf("key-%d", i%5)),
			Value:     bytes.Repeat([]byte{byte('a' + i%26)}, i%300),
		}
		switch i % 4 {
		case 1:
			out[i].Key = nil
		case 2:
			out[i].Value = nil
		case 3:
			out[i].Headers = []RecordHeader{{Key: "trace", Value: []byte{1, 2}}, {Key: "", Value: nil}}
		}
	}
	return out
}

func build(t testing.TB, b *Builder, records []Record) []byte {
	t.Helper()
	for _, r := range records {
		b.Add(r)
	}
	out, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// everyCodec calls fn with each way to write the same records.
func everyCodec(t *testing.T, n int, fn func(t *testing.T, b []byte, records []Record)) {
	for _, codec := range codecs {
		for _, xerial := range []bool{false, true} {
			if xerial && codec != CodecSnappy {
				continue
			}
			t.Run(fmt.Sprintf("%s/xerial=%v", codec, xerial), func(t *testing.T) {
				builder := NewBuilder(codec)
				builder.Xerial = xerial
				builder.BaseOffset = 1000
				records := sample(n)
				fn(t, build(t, builder, records), records)
			})
		}
	}
}

func TestHeaderAgreesWithKmsg(t *testing.T) {
	b := NewBuilder(CodecZstd)
	b.BaseOffset, b.LeaderEpoch, b.ProducerID, b.ProducerEpoch, b.BaseSequence = 77, 5, 99, 3, 12
	b.Transactional = true
	raw := build(t, b, sample(9))
	var want kmsg.RecordBatch
	if err := want.ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	h, err := ParseHeader(raw)
	if err != nil {
		t.Fatal(err)
	}
	got := kmsg.RecordBatch{
		FirstOffset: h.BaseOffset, Length: h.Length, PartitionLeaderEpoch: h.PartitionLeaderEpoch,
		Magic: h.Magic, CRC: int32(h.CRC), Attributes: h.Attributes, LastOffsetDelta: h.LastOffsetDelta,
		FirstTimestamp: h.BaseTimestamp, MaxTimestamp: h.MaxTimestamp, ProducerID: h.ProducerID,
		ProducerEpoch: h.ProducerEpoch, FirstSequence: h.BaseSequence, NumRecords: h.Records,
		Records: want.Records,
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if h.Codec() != CodecZstd || !h.Transactional() || h.Control() || h.LogAppendTime() {
		t.Errorf("got attributes %x", h.Attributes)
	}
	if h.Size() != len(raw) || h.LastOffset() != 85 {
		t.Errorf("got size %d, last offset %d", h.Size(), h.LastOffset())
	}
}

// A batch that kmsg made, record by record, is one we accept and read alike.
func TestValidateAcceptsWhatKmsgMakes(t *testing.T) {
	var records []byte
	want := sample(50)
	for i, r := range want {
		rec := kmsg.NewRecord()
		rec.TimestampDelta64 = r.Timestamp - want[0].Timestamp
		rec.OffsetDelta = int32(i)
		rec.Key, rec.Value = r.Key, r.Value
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		rec.Length = int32(len(rec.AppendTo(nil)) - 1) // length 0 takes one byte
		records = rec.AppendTo(records)
	}
	made := kmsg.NewRecordBatch()
	made.Magic, made.PartitionLeaderEpoch = 2, -1
	made.ProducerID, made.ProducerEpoch, made.FirstSequence = -1, -1, -1
	made.FirstTimestamp, made.MaxTimestamp = want[0].Timestamp, want[0].Timestamp+60
	made.NumRecords, made.LastOffsetDelta, made.Records = 50, 49, records
	made.Length = int32(len(made.AppendTo(nil)) - 12)
	raw := made.AppendTo(nil)
	made.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	raw = made.AppendTo(nil)
	if _, err := Validate(raw, Limits{}); err != nil {
		t.Fatal(err)
	}
	checkRecords(t, raw, 0, want)
}

func checkRecords(t *testing.T, b []byte, base int64, want []Record) {
	t.Helper()
	i := 0
	for got, err := range Records(b) {
		if err != nil {
			t.Fatal(err)
		}
		want := want[i]
		if got.Offset != base+int64(i) || got.Timestamp != want.Timestamp {
			t.Errorf("record %d: got offset %d, timestamp %d", i, got.Offset, got.Timestamp)
		}
		if !same(got.Key, want.Key) || !same(got.Value, want.Value) ||
			fmt.Sprint(got.Headers) != fmt.Sprint(want.Headers) {
			t.Errorf("record %d: got %q %q %v", i, got.Key, got.Value, got.Headers)
		}
		i++
	}
	if i != len(want) {
		t.Errorf("got %d records, want %d", i, len(want))
	}
}

// same tells null from empty.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func TestEveryCodecRoundTrips(t *testing.T) {
	for _, n := range []int{1, 10, 2000} {
		everyCodec(t, n, func(t *testing.T, b []byte, records []Record) {
			h, err := Validate(b, Limits{Zstd: true})
			if err != nil {
				t.Fatal(err)
			}
			if int(h.Records) != len(records) {
				t.Errorf("got %d records, want %d", h.Records, len(records))
			}
			checkRecords(t, b, 1000, records)
		})
	}
}

func TestLargeRecordRoundTrips(t *testing.T) {
	big := Record{Value: bytes.Repeat([]byte("0123456789abcdef"), 1<<16)}
	for _, codec := range codecs {
		b := build(t, NewBuilder(codec), []Record{{Value: []byte("small")}, big, {Value: []byte("last")}})
		if _, err := Validate(b, Limits{Zstd: true}); err != nil {
			t.Errorf("%s: %v", codec, err)
		}
		checkRecords(t, b, 0, []Record{{Value: []byte("small")}, big, {Value: []byte("last")}})
	}
}

func TestBrokerWritesOutsideTheChecksum(t *testing.T) {
	b := build(t, NewBuilder(CodecNone), sample(3))
	SetBaseOffset(b, 1<<40)
	SetLeaderEpoch(b, 9)
	h, err := Validate(b, Limits{})
	if err != nil || h.BaseOffset != 1<<40 || h.PartitionLeaderEpoch != 9 {
		t.Errorf("got %+v, %v", h, err)
	}
}

// Every byte from the attributes on is covered, no byte before the checksum is.
func TestChecksumCoversByte21ToTheEnd(t *testing.T) {
	b := build(t, NewBuilder(CodecNone), sample(5))
	for i := range b {
		b[i] ^= 0x10
		_, err := Validate(b, Limits{})
		if i < atLength || i >= atLeaderEpoch && i < atMagic {
			if err != nil {
				t.Errorf("byte %d: got %v, want it free", i, err)
			}
		} else if i >= atCRC && !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d: got %v, want ErrCorrupt", i, err)
		} else if err == nil {
			t.Errorf("byte %d: got nil", i)
		}
		b[i] ^= 0x10
	}
}

// altered returns a copy of b with a change and, if seal, a checksum that fits.
func altered(b []byte, seal bool, change func([]byte)) []byte {
	b = bytes.Clone(b)
	change(b)
	if seal {
		binary.BigEndian.PutUint32(b[atCRC:], Checksum(b))
	}
	return b
}

func TestValidateRefuses(t *testing.T) {
	good := build(t, NewBuilder(CodecNone), sample(10))
	idempotent := NewBuilder(CodecNone)
	idempotent.ProducerID, idempotent.ProducerEpoch, idempotent.BaseSequence = 5, 0, 0
	withProducer := build(t, idempotent, sample(1))
	zstd := build(t, NewBuilder(CodecZstd), sample(10))
	put16 := func(at int, v uint16) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint16(b[at:], v) }
	}
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
	}
	put64 := func(at int, v uint64) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint64(b[at:], v) }
	}
	cases := []struct {
		name   string
		b      []byte
		limits Limits
		want   error
	}{
		{"nothing", nil, Limits{}, ErrInvalidRecord},
		{"a few bytes", good[:10], Limits{}, ErrCorrupt},
		{"half a header", good[:60], Limits{}, ErrCorrupt},
		{"cut short", good[:len(good)-1], Limits{}, ErrInvalidRecord},
		{"two batches", append(bytes.Clone(good), good...), Limits{}, ErrInvalidRecord},
		{"a byte behind", append(bytes.Clone(good), 0), Limits{}, ErrInvalidRecord},
		{"negative length", altered(good, false, put32(atLength, 1<<31)), Limits{}, ErrCorrupt},
		{"length 0", altered(good, false, put32(atLength, 0)), Limits{}, ErrCorrupt},
		{"magic 0", altered(good, false, func(b []byte) { b[atMagic] = 0 }), Limits{}, ErrUnsupportedMagic},
		{"magic 1, short", altered(good, false, func(b []byte) { b[atMagic] = 1 })[:34], Limits{}, ErrUnsupportedMagic},
		{"wrong checksum", altered(good, false, put32(atCRC, 1)), Limits{}, ErrCorrupt},
		{"over the limit", good, Limits{BytesMax: len(good) - 1}, ErrTooLarge},
		{"control", altered(good, true, put16(atAttributes, bitControl)), Limits{}, ErrInvalidRecord},
		{"delete horizon", altered(good, true, put16(atAttributes, 0x40)), Limits{}, ErrInvalidRecord},
		{"unknown attribute", altered(good, true, put16(atAttributes, 0x8000)), Limits{}, ErrInvalidRecord},
		{"codec 5", altered(good, true, put16(atAttributes, 5)), Limits{}, ErrUnsupportedCodec},
		{"zstd to an old Produce", zstd, Limits{}, ErrUnsupportedCodec},
		{"log append time", altered(good, true, put16(atAttributes, 8)), Limits{}, ErrInvalidTimestamp},
		{"transaction of nobody", altered(good, true, put16(atAttributes, 16)), Limits{}, ErrInvalidRecord},
		{"producer without epoch", altered(withProducer, true, put16(atProducerEpoch, 0xffff)), Limits{}, ErrInvalidRecord},
		{"producer without sequence", altered(withProducer, true, put32(atBaseSequence, 1<<31)), Limits{}, ErrInvalidRecord},
		{"no records", altered(good, true, func(b []byte) {
			put32(atRecordCount, 0)(b)
			put32(atLastOffsetDelta, 1<<32-1)(b)
		}), Limits{}, ErrInvalidRecord},
		{"record too few in the count", altered(good, true, put32(atRecordCount, 9)), Limits{}, ErrInvalidRecord},
		{"gap at the end", altered(good, true, put32(atLastOffsetDelta, 10)), Limits{}, ErrInvalidRecord},
		{"count and delta agree on too few", altered(good, true, func(b []byte) {
			put32(atRecordCount, 9)(b)
			put32(atLastOffsetDelta, 8)(b)
		}), Limits{}, ErrInvalidRecord},
		{"count and delta agree on two billion", altered(good, true, func(b []byte) {
			put32(atRecordCount, 1<<31-1)(b)
			put32(atLastOffsetDelta, 1<<31-2)(b)
		}), Limits{}, ErrInvalidRecord},
		{"plain records called gzip", altered(good, true, put16(atAttributes, uint16(CodecGzip))), Limits{}, ErrInvalidRecord},
		{"plain records called snappy", altered(good, true, put16(atAttributes, uint16(CodecSnappy))), Limits{}, ErrInvalidRecord},
		{"plain records called lz4", altered(good, true, put16(atAttributes, uint16(CodecLz4))), Limits{}, ErrInvalidRecord},
		{"plain records called zstd", altered(good, true, put16(atAttributes, uint16(CodecZstd))), Limits{Zstd: true}, ErrInvalidRecord},
		{"zstd called plain", altered(zstd, true, put16(atAttributes, 0)), Limits{}, ErrInvalidRecord},
		{"a producer id that is no idempotence", altered(good, true, put64(atProducerID, 7)), Limits{}, ErrInvalidRecord},
	}
	for _, c := range cases {
		if _, err := Validate(c.b, c.limits); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := Validate(good, Limits{BytesMax: len(good)}); err != nil {
		t.Errorf("exactly the limit: %v", err)
	}
}

// rawBatch wraps hand-made record bytes.
func rawBatch(t testing.TB, codec Codec, count int32, records []byte) []byte {
	t.Helper()
	b := NewBuilder(codec)
	b.records, b.count = records, count
	out, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestValidateRefusesRecords(t *testing.T) {
	record := func(body ...byte) []byte { return append([]byte{byte(len(body) * 2)}, body...) }
	fine := record(0, 0, 0, 1, 1, 0) // null key, null value, no headers
	cases := []struct {
		name    string
		count   int32
		records []byte
		fine    bool
	}{
		{"fine", 1, fine, true},
		{"negative length", 1, []byte{1}, false},
		{"length over the batch", 1, []byte{100, 0, 0, 0}, false},
		{"offset delta 1 first", 1, record(0, 0, 2, 1, 1, 0), false},
		{"same offset twice", 2, append(bytes.Clone(fine), fine...), false},
		{"bytes behind", 1, append(bytes.Clone(fine), 0), false},
		{"key over the record", 1, record(0, 0, 0, 20, 1, 0), false},
		{"key -2", 1, record(0, 0, 0, 3, 1, 0), false},
		{"value over the record", 1, append(record(0, 0, 0, 1, 20, 0), make([]byte, 20)...), false},
		{"no header count", 1, record(0, 0, 0, 1, 1), false},
		{"header count over the record", 1, record(0, 0, 0, 1, 1, 8, 0, 0), false},
		{"header count -1", 1, record(0, 0, 0, 1, 1, 1), false},
		{"header without key", 1, record(0, 0, 0, 1, 1, 2, 1, 0), false},
		{"header with empty key, null value", 1, record(0, 0, 0, 1, 1, 2, 0, 1), true},
		{"record with room left", 1, record(0, 0, 0, 1, 1, 0, 7), false},
		{"time delta over 64 bits", 1, append([]byte{40, 0},
			append(bytes.Repeat([]byte{0xff}, 10), make([]byte, 9)...)...), false},
		{"offset delta over 32 bits", 1, record(0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 1, 0), false},
		{"empty", 1, nil, false},
	}
	for _, c := range cases {
		for _, codec := range codecs {
			_, err := Validate(rawBatch(t, codec, c.count, c.records), Limits{Zstd: true})
			if c.fine && err != nil || !c.fine && !errors.Is(err, ErrInvalidRecord) {
				t.Errorf("%s, %s: got %v", c.name, codec, err)
			}
		}
	}
}

func TestTrustedCompressionIsNotLookedAt(t *testing.T) {
	b := altered(build(t, NewBuilder(CodecNone), sample(3)), true, func(b []byte) {
		binary.BigEndian.PutUint16(b[atAttributes:], uint16(CodecZstd))
	})
	if _, err := Validate(b, Limits{Zstd: true, TrustCompressed: true}); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestSplit(t *testing.T) {
	one, two := build(t, NewBuilder(CodecNone), sample(1)), build(t, NewBuilder(CodecGzip), sample(4))
	all := append(bytes.Clone(one), two...)
	got, err := Split(all)
	if err != nil || len(got) != 2 || !bytes.Equal(got[0], one) || !bytes.Equal(got[1], two) {
		t.Errorf("got %d batches, %v", len(got), err)
	}
	got, err = Split(all[:len(all)-1])
	if !errors.Is(err, ErrCorrupt) || len(got) != 1 {
		t.Errorf("got %d batches, %v, want the first and ErrCorrupt", len(got), err)
	}
	if got, err := Split(nil); err != nil || got != nil {
		t.Errorf("got %v, %v for nothing", got, err)
	}
}

func TestFindTimestamp(t *testing.T) {
	times := []int64{100, 90, 120, 120, 80, 150}
	var records []Record
	for _, ts := range times {
		records = append(records, Record{Timestamp: ts, Value: make([]byte, 50)})
	}
	for _, codec := range codecs {
		b := NewBuilder(codec)
		b.BaseOffset = 40
		raw := build(t, b, records)
		for _, c := range []struct{ ts, offset, found int64 }{
			{0, 40, 100}, {100, 40, 100}, {101, 42, 120}, {120, 42, 120}, {121, 45, 150}, {150, 45, 150},
		} {
			offset, found, ok, err := FindTimestamp(raw, c.ts)
			if err != nil || !ok || offset != c.offset || found != c.found {
				t.Errorf("%s %d: got %d, %d, %v, %v", codec, c.ts, offset, found, ok, err)
			}
		}
		if _, _, ok, err := FindTimestamp(raw, 151); ok || err != nil {
			t.Errorf("%s: got %v, %v after the last", codec, ok, err)
		}
		offset, ts, ok, err := MaxTimestamp(raw)
		if offset != 45 || ts != 150 || !ok || err != nil {
			t.Errorf("%s: got largest %d at %d, %v, %v", codec, ts, offset, ok, err)
		}
	}
}

func TestTimestampsOfLogAppendTime(t *testing.T) {
	b := NewBuilder(CodecLz4)
	b.LogAppendTime = 5000
	raw := build(t, b, sample(3))
	offset, ts, ok, err := FindTimestamp(raw, 4000)
	if offset != 0 || ts != 5000 || !ok || err != nil {
		t.Errorf("got %d, %d, %v, %v", offset, ts, ok, err)
	}
	if _, _, ok, _ := FindTimestamp(raw, 5001); ok {
		t.Error("found a record after the append time")
	}
	offset, ts, _, err = MaxTimestamp(raw)
	if offset != 0 || ts != 5000 || err != nil {
		t.Errorf("got %d, %d, %v", offset, ts, err)
	}
}

// Compaction keeps the batch of a producer's last sequence even when all its records are gone.
func TestBatchWithoutRecordsIsReadable(t *testing.T) {
	b := rawBatch(t, CodecNone, 0, nil)
	for range Records(b) {
		t.Error("got a record")
	}
	if _, _, ok, err := FindTimestamp(b, 0); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if _, _, ok, err := MaxTimestamp(b); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestRecordsStopWhenAsked(t *testing.T) {
	everyCodec(t, 100, func(t *testing.T, b []byte, _ []Record) {
		n := 0
		for range Records(b) {
			if n++; n == 3 {
				break
			}
		}
		if n != 3 {
			t.Errorf("got %d records", n)
		}
	})
}

func TestCodecNames(t *testing.T) {
	var names []string
	for c := CodecNone; c <= CodecZstd+1; c++ {
		names = append(names, c.String())
	}
	if got, want := strings.Join(names, " "), "none gzip snappy lz4 zstd codec 5"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
