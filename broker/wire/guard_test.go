package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// everyShape calls fn for every version of every shape.
func everyShape(t *testing.T, fn func(t *testing.T, s *shape, version int16)) {
	t.Helper()
	n := 0
	for key := range shapes {
		s := shapeOf(int16(key))
		if s == nil {
			continue
		}
		for version := int16(0); version <= s.max; version++ {
			n++
			t.Run(fmt.Sprintf("%s/v%d", s.name, version), func(t *testing.T) { fn(t, s, version) })
		}
	}
	if n < 200 {
		t.Errorf("got %d shapes, want the whole protocol", n)
	}
}

func TestShapesKnowWhatKmsgKnows(t *testing.T) {
	everyShape(t, func(t *testing.T, s *shape, version int16) {
		req := kmsg.RequestForKey(s.key)
		if req == nil {
			t.Fatalf("got no kmsg request for key %d", s.key)
		}
		req.SetVersion(version)
		if got, want := s.max, req.MaxVersion(); got != want {
			t.Errorf("got max version %d, want kmsg's %d", got, want)
		}
		if got, want := version >= s.flexible, req.IsFlexible(); got != want {
			t.Errorf("got flexible %v, want kmsg's %v", got, want)
		}
	})
}

func TestGuardAcceptsWhatKmsgEncodes(t *testing.T) {
	everyShape(t, func(t *testing.T, s *shape, version int16) {
		for seed := range uint64(40) {
			req := kmsg.RequestForKey(s.key)
			newFiller(seed).message(req, version)
			body := req.AppendTo(nil)
			if err := Guard(s.key, version, body); err != nil {
				t.Fatalf("seed %d: got %v for %x", seed, err, body)
			}
			got, err := Decode(Header{Key: s.key, Version: version}, body)
			if err != nil {
				t.Fatalf("seed %d: decode: %v", seed, err)
			}
			if again := got.AppendTo(nil); !bytes.Equal(again, body) {
				t.Fatalf("seed %d: decoded and encoded again\ngot  %x\nwant %x", seed, again, body)
			}
		}
	})
}

// A body that ends early is refused wherever it ends, and a byte too many is seen: that no prefix passes
// shows that the shape has every field, with its size.
func TestGuardRefusesEveryPrefix(t *testing.T) {
	everyShape(t, func(t *testing.T, s *shape, version int16) {
		for seed := range uint64(3) {
			req := kmsg.RequestForKey(s.key)
			newFiller(seed).message(req, version)
			body := req.AppendTo(nil)
			for n := range body {
				if err := Guard(s.key, version, body[:n]); !errors.Is(err, ErrMalformed) {
					t.Fatalf("got %v for %d of %d bytes %x", err, n, len(body), body)
				}
			}
			if left, err := walk(s.key, version, append(body, 0)); left != 1 || err != nil {
				t.Fatalf("got %d trailing bytes and %v, want 1 and no error", left, err)
			}
		}
	})
}

// Bytes changed at random may pass or not, but what passes must decode.
func TestGuardedBytesDecode(t *testing.T) {
	everyShape(t, func(t *testing.T, s *shape, version int16) {
		f := newFiller(uint64(s.key)<<16 | uint64(version))
		for range 60 {
			req := kmsg.RequestForKey(s.key)
			f.message(req, version)
			body := req.AppendTo(nil)
			for range 1 + f.IntN(3) {
				if len(body) > 0 {
					body[f.IntN(len(body))] = []byte{0, 1, 2, 0x7f, 0x80, 0xff}[f.IntN(6)]
				}
			}
			checkGuarded(t, s.key, version, body)
		}
	})
}

// checkGuarded requires that a body which the guard accepts decodes without error, and in memory
// linear in its length.
func checkGuarded(t testing.TB, key, version int16, body []byte) {
	t.Helper()
	if err := Guard(key, version, body); err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
			t.Fatalf("got unclassified error %v", err)
		}
		return
	}
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	if err := req.ReadFrom(body); err != nil {
		t.Fatalf("key %d v%d: guard accepts %x, kmsg says %v", key, version, body, err)
	}
	req.AppendTo(nil)
}

func hostile(parts ...any) []byte {
	var b []byte
	for _, part := range parts {
		switch p := part.(type) {
		case int8:
			b = append(b, byte(p))
		case int16:
			b = binary.BigEndian.AppendUint16(b, uint16(p))
		case int32:
			b = binary.BigEndian.AppendUint32(b, uint32(p))
		case uint64:
			b = binary.AppendUvarint(b, p)
		case string:
			b = append(b, p...)
		}
	}
	return b
}

func TestGuardRefusesHostileBodies(t *testing.T) {
	zeros := strings.Repeat("\x00", 64)
	cases := []struct {
		name         string
		key, version int16
		body         []byte
		want         string
	}{
		{"array count over the rest", 3, 1, hostile(int32(5), int16(0)), "Topics: 5 elements"},
		{"two gibibyte array", 3, 1, hostile(int32(1<<31-1), zeros), "2147483647 elements"},
		{"count -2", 3, 1, hostile(int32(-2)), "length -2"},
		{"null where v0 has none", 3, 0, hostile(int32(-1)), "length -1"},
		{"null topics in CreateTopics", 19, 2, hostile(int32(-1), int32(0), int8(0)), "length -1"},
		{"compact null topics in CreateTopics", 19, 5, hostile(uint64(0), int32(0), int8(0), uint64(0)),
			"length -1"},
		{"null string", 12, 0, hostile(int16(-1)), "Group: length -1"},
		{"string over the rest", 12, 0, hostile(int16(9), "group"), "Group: 9 bytes, 5 left"},
		{"compact string of 32 KiB", 12, 4, hostile(uint64(32769), strings.Repeat("g", 40_000)),
			"Group: string of 32768 bytes"},
		{"compact count of 2^32-1", 3, 9, hostile(uint64(1<<32-1), zeros), "4294967294 elements"},
		{"varint of 33 bits", 3, 9, []byte{0xff, 0xff, 0xff, 0xff, 0x10, 0}, "varint over 32 bits"},
		{"varint without end", 3, 9, []byte{0x80, 0x80}, "varint cut short"},
		{"twenty million tags", 18, 3, hostile(uint64(2), "a", uint64(2), "b", uint64(20_000_000)),
			"20000000 tags"},
		{"tag over the rest", 18, 3, hostile(uint64(1), uint64(1), uint64(1), uint64(0), uint64(50)),
			"50 bytes, 0 left"},
		{"known tag with bytes behind", 1, 12, hostile(int32(-1), int32(0), int32(0), int32(0), int8(0),
			int32(0), int32(0), uint64(1), uint64(1), uint64(1), uint64(1), uint64(0), uint64(3), uint64(0),
			"xx"), "ClusterID: 2 bytes trail"},
		{"null marker 7", 75, 0, hostile(uint64(1), int32(0), int8(7)), "null marker 7"},
		{"empty Produce", 0, 9, nil, "TransactionID: varint cut short"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := Guard(c.key, c.version, c.body)
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestGuardKnowsWhichKeysItKnows(t *testing.T) {
	for _, c := range [][2]int16{{-1, 0}, {4, 0}, {999, 0}, {0, -1}, {0, 14}, {32767, 32767}} {
		if err := Guard(c[0], c[1], nil); !errors.Is(err, ErrUnsupported) {
			t.Errorf("key %d v%d: got %v, want ErrUnsupported", c[0], c[1], err)
		}
	}
}

// The caps hold for the whole request, so arrays in arrays cannot multiply them.
func TestGuardCountsOverTheWholeRequest(t *testing.T) {
	topic := hostile(uint64(1), uint64(1), uint64(0)) // empty name, no partitions, no tags
	group := func(topics int) []byte {
		b := hostile(uint64(1), uint64(uint(topics)+1))
		b = append(b, bytes.Repeat(topic, topics)...)
		return append(b, 0)
	}
	body := func(groups, topics int) []byte {
		b := hostile(uint64(uint(groups) + 1))
		b = append(b, bytes.Repeat(group(topics), groups)...)
		return append(b, 0, 0) // RequireStable, tags
	}
	if err := Guard(9, 8, body(10, 99_999)); err != nil {
		t.Errorf("a million elements: got %v, want nil", err)
	}
	if err := Guard(9, 8, body(10, 100_000)); !errors.Is(err, ErrMalformed) {
		t.Errorf("over a million elements: got %v, want ErrMalformed", err)
	}
}

func TestGuardAllocatesNothing(t *testing.T) {
	body := produceBody(9, 10, 1000)
	if n := testing.AllocsPerRun(100, func() {
		if err := Guard(0, 9, body); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// The densest bodies the guard lets through cost kmsg a fixed multiple of their length.
func TestGuardedBytesDecodeInLinearMemory(t *testing.T) {
	const n = 100_000
	dense := []struct {
		name         string
		key, version int16
		body         []byte
	}{
		{"groups of OffsetFetch", 9, 8,
			append(append(hostile(uint64(n+1)), bytes.Repeat([]byte{1, 1, 0}, n)...), 0, 0)},
		{"names of DescribeGroups", 15, 5,
			append(append(hostile(uint64(n+1)), bytes.Repeat([]byte{1}, n)...), 0, 0)},
		{"unknown tags of ApiVersions", 18, 3,
			append(hostile(uint64(1), uint64(1), uint64(9000)), manyTags(9000)...)},
		{"null topics of Metadata", 3, 1, hostile(int32(-1))},
	}
	for _, c := range dense {
		t.Run(c.name, func(t *testing.T) {
			if err := Guard(c.key, c.version, c.body); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := Decode(Header{Key: c.key, Version: c.version}, c.body); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			got, want := after.TotalAlloc-before.TotalAlloc, uint64(100*len(c.body)+16<<10)
			if got > want {
				t.Errorf("got %d bytes allocated for %d, want at most %d", got, len(c.body), want)
			}
		})
	}
}

func manyTags(n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, hostile(uint64(100+i), uint64(0))...)
	}
	return b
}

func TestDecodeAliasesRecords(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		body := produceBody(version, 1, 100)
		req, err := Decode(Header{Key: 0, Version: version}, body)
		if err != nil {
			t.Fatal(err)
		}
		records := req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records
		at := bytes.Index(body, records)
		if at < 0 || &records[0] != &body[at] {
			t.Errorf("v%d: records are a copy, want them in the frame", version)
		}
		if cap(records) != len(records) {
			t.Errorf("v%d: got capacity %d over length %d: an append would write into the frame",
				version, cap(records), len(records))
		}
	}
}

// produceBody is a Produce body with the given number of partitions and bytes in each.
func produceBody(version int16, partitions, bytesEach int) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "orders"
	for i := range partitions {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition = int32(i)
		p.Records = bytes.Repeat([]byte{byte(i) + 1}, bytesEach)
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	return req.AppendTo(nil)
}

// TestMetadataOfLibrdkafkaIsUnderstood: the bytes of confluent-kafka 2.16.1 that ask for all topics, of which
// the last three are left over.
func TestMetadataOfLibrdkafkaIsUnderstood(t *testing.T) {
	req, err := Decode(Header{Key: 3, Version: 13}, []byte{0, 0, 0, 0, 1, 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	if m := req.(*kmsg.MetadataRequest); m.Topics != nil || m.AllowAutoTopicCreation || m.IncludeTopicAuthorizedOperations {
		t.Errorf("got %+v, want all topics and nothing else", m)
	}
}

func FuzzGuard(f *testing.F) {
	for key := range shapes {
		s := shapeOf(int16(key))
		if s == nil {
			continue
		}
		for _, version := range []int16{0, s.max} {
			req := kmsg.RequestForKey(s.key)
			newFiller(7).message(req, version)
			f.Add(s.key, version, req.AppendTo(nil))
		}
	}
	for _, frame := range javaRequests(f, recorded) {
		h, body := headerOf(f, frame)
		f.Add(h.Key, h.Version, body)
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) { checkGuarded(t, key, version, body) })
}

func BenchmarkDecodeProduce(b *testing.B) {
	body := produceBody(9, 10, 16<<10)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(Header{Key: 0, Version: 9}, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGuardProduce(b *testing.B) {
	body := produceBody(9, 10, 16<<10)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Guard(0, 9, body); err != nil {
			b.Fatal(err)
		}
	}
}
