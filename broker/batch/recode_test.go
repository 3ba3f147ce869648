package batch

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// recodable is a batch of records that compress.
func recodable(t *testing.T, codec Codec, records int) []byte {
	t.Helper()
	b := NewBuilder(codec)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = 7, 1, 40
	for i := range records {
		b.Add(Record{
			Timestamp: int64(1000 + i), Key: []byte(fmt.Sprint("key ", i)), Value: bytes.Repeat([]byte("value "), 30),
			Headers: []RecordHeader{{Key: "h", Value: []byte("x")}},
		})
	}
	made, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// contents is what a batch holds, in words.
func contents(t *testing.T, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	for r, err := range Records(b) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%d %d %q %q %v\n", r.Offset, r.Timestamp, r.Key, r.Value, r.Headers)
	}
	return out.String()
}

func TestRecompressedBatchHoldsTheSameRecords(t *testing.T) {
	for _, from := range codecs {
		for _, to := range codecs {
			for _, levels := range []Levels{{}, {Gzip: 9, Lz4: 17, Zstd: 19}, {Gzip: 1, Lz4: 1, Zstd: -5}} {
				b := recodable(t, from, 400)
				before, want := bytes.Clone(b), contents(t, b)
				got, err := Recompress(b, to, levels)
				if err != nil {
					t.Fatalf("%s to %s: %v", from, to, err)
				}
				h, err := Validate(got, Limits{Zstd: true})
				if err != nil || h.Codec() != to {
					t.Fatalf("%s to %s: got a batch of %s, %v", from, to, h.Codec(), err)
				}
				if h.ProducerID != 7 || h.ProducerEpoch != 1 || h.BaseSequence != 40 || h.MaxTimestamp != 1399 {
					t.Errorf("%s to %s: header became %+v", from, to, h)
				}
				if contents(t, got) != want {
					t.Errorf("%s to %s: other records came out", from, to)
				}
				if !bytes.Equal(b, before) {
					t.Errorf("%s to %s: the batch itself was changed", from, to)
				}
				if to != CodecNone && len(got) > len(before) && from == CodecNone {
					t.Errorf("%s to %s: %d bytes became %d", from, to, len(before), len(got))
				}
			}
		}
	}
}

func TestStampedRecordsBearTheTimeOfTheAppend(t *testing.T) {
	for _, codec := range codecs {
		b := recodable(t, codec, 3)
		Stamp(b, 5000)
		h, err := ParseHeader(b)
		if err != nil || !h.LogAppendTime() || h.MaxTimestamp != 5000 || h.CRC != Checksum(b) {
			t.Errorf("%s: header is %+v, %v", codec, h, err)
		}
		for r, err := range Records(b) {
			if err != nil || r.Timestamp != 5000 {
				t.Errorf("%s: record at %d, %v; want 5000", codec, r.Timestamp, err)
			}
		}
		if _, err := Validate(b, Limits{Zstd: true}); !errors.Is(err, ErrInvalidTimestamp) {
			t.Errorf("%s: a client may claim the broker's time: %v", codec, err)
		}
	}
}

func TestRecordsAreJudgedByKeyAndTime(t *testing.T) {
	build := func(codec Codec, records ...Record) []byte {
		b := NewBuilder(codec)
		for _, r := range records {
			b.Add(r)
		}
		made, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	keyed := func(ts int64) Record { return Record{Timestamp: ts, Key: []byte{}, Value: []byte("v")} }
	for _, codec := range codecs {
		for name, c := range map[string]struct {
			batch  []byte
			limits Limits
			want   error
		}{
			"empty key":     {build(codec, keyed(1), keyed(2)), Limits{Keyed: true}, nil},
			"no key":        {build(codec, keyed(1), Record{Timestamp: 2}), Limits{Keyed: true}, ErrInvalidRecord},
			"no key wanted": {build(codec, Record{Timestamp: 2}), Limits{}, nil},
			"within":        {build(codec, keyed(100), keyed(200)), Limits{TimestampMin: 100, TimestampMax: 200}, nil},
			"too old":       {build(codec, keyed(100), keyed(99)), Limits{TimestampMin: 100}, ErrInvalidTimestamp},
			"too new":       {build(codec, keyed(100), keyed(201)), Limits{TimestampMax: 200}, ErrInvalidTimestamp},
			"without one":   {build(codec, keyed(-1)), Limits{TimestampMin: 100, TimestampMax: 200}, nil},
		} {
			c.limits.Zstd, c.limits.TrustCompressed = true, true
			if _, err := Validate(c.batch, c.limits); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: got %v, want %v", codec, name, err, c.want)
			}
		}
	}
}

// TestRefusedRecordsAreNamed: all that break a limit, in every codec, and no more than a bounded number of them.
func TestRefusedRecordsAreNamed(t *testing.T) {
	for _, codec := range codecs {
		b := NewBuilder(codec)
		for i := range 6 {
			r := Record{Timestamp: 100, Key: []byte("k"), Value: []byte("v")}
			switch i {
			case 1, 4:
				r.Key = nil
			case 3:
				r.Timestamp = 50
			case 5:
				r.Timestamp = 300
			}
			b.Add(r)
		}
		made, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			limits Limits
			want   []int32
			kind   error
		}{
			"keys":           {Limits{Keyed: true}, []int32{1, 4}, ErrInvalidRecord},
			"times":          {Limits{TimestampMin: 60, TimestampMax: 200}, []int32{3, 5}, ErrInvalidTimestamp},
			"keys and times": {Limits{Keyed: true, TimestampMin: 60}, []int32{1, 3, 4}, ErrInvalidTimestamp},
		} {
			c.limits.Zstd = true
			_, err := Validate(made, c.limits)
			var refused *RefusedRecords
			if !errors.As(err, &refused) || !errors.Is(err, c.kind) {
				t.Errorf("%s, %s: got %v, want the refused records and %v", codec, name, err, c.kind)
				continue
			}
			var got []int32
			for _, r := range refused.Records {
				got = append(got, r.Index)
			}
			if !slices.Equal(got, c.want) || refused.Total != len(c.want) {
				t.Errorf("%s, %s: got records %v of %d, want %v", codec, name, got, refused.Total, c.want)
			}
		}
	}
	b := NewBuilder(CodecNone)
	for range refusedMax + 5 {
		b.Add(Record{Value: []byte("v")})
	}
	made, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Validate(made, Limits{Keyed: true})
	var refused *RefusedRecords
	if !errors.As(err, &refused) || len(refused.Records) != refusedMax || refused.Total != refusedMax+5 {
		t.Errorf("many: got %v, want %d of %d named", err, refusedMax, refusedMax+5)
	}
}

func TestFilterKeepsWhatItIsTold(t *testing.T) {
	for _, codec := range codecs {
		b := recodable(t, codec, 4)
		got, err := Filter(b, 9000, []bool{false, true, false, true})
		if err != nil {
			t.Fatal(err)
		}
		h, err := ParseHeader(got)
		at, ok := h.DeleteHorizon()
		if err != nil || !ok || at != 9000 || h.Records != 2 || h.LastOffsetDelta != 3 || h.MaxTimestamp != 1003 ||
			h.CRC != Checksum(got) || h.Codec() != codec || h.BaseSequence != 40 {
			t.Errorf("%s: header is %+v, %v", codec, h, err)
		}
		var offsets []int64
		for r, err := range Records(got) {
			if err != nil || r.Timestamp != 1000+r.Offset {
				t.Errorf("%s: record %d bears %d, %v", codec, r.Offset, r.Timestamp, err)
			}
			offsets = append(offsets, r.Offset)
		}
		if fmt.Sprint(offsets) != "[1 3]" {
			t.Errorf("%s: got records %v, want 1 and 3", codec, offsets)
		}
		if got, err = Filter(b, 0, make([]bool, 4)); err != nil || len(got) != HeaderBytes {
			t.Errorf("%s: nothing kept gives %d bytes, %v", codec, len(got), err)
		}
		if _, err := Filter(b, 0, make([]bool, 3)); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: a decision too few gave %v", codec, err)
		}
	}
}

func TestSpanStandsForItsOffsets(t *testing.T) {
	b := Span(5, 9, 3)
	h, err := ParseHeader(b)
	if err != nil || !h.Spans() || h.BaseOffset != 5 || h.LastOffset() != 9 || h.PartitionLeaderEpoch != 3 ||
		h.ProducerID != -1 || h.MaxTimestamp != -1 || h.Size() != len(b) || h.CRC != Checksum(b) {
		t.Errorf("header is %+v, %v", h, err)
	}
	for r, err := range Records(b) {
		t.Errorf("it holds %+v, %v", r, err)
	}
}
