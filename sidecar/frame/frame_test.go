package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

var header = Header{
	Kind: KindData, Cluster: Cluster{1, 2, 3}, From: 1, To: 2, FromSession: 11, ReceiverSession: 22,
	Also: topic.Member{Node: 3, Session: 33},
}

func randomSection(r *rand.Rand) Section {
	s := Section{
		Kind:          SectionKind(1 + r.IntN(6)),
		Partition:     topic.Partition{Topic: topic.ID{byte(r.IntN(256))}, Index: r.Int32N(100)},
		Epoch:         topic.Epoch(5 + r.IntN(5)),
		Base:          topic.Offset(r.Int64N(1 << 40)),
		Count:         1 + r.Int32N(100),
		RecordEpoch:   topic.Epoch(r.IntN(5)),
		PrevEpoch:     topic.NoEpoch,
		HighWatermark: topic.Offset(r.Int64N(1<<40)) - 1,
	}
	if s.Kind == Data {
		size := 1 + r.IntN(500)
		if r.IntN(10) == 0 {
			size += stayLeast - 250 // Some are not copied.
		}
		s.Payload = bytes.Repeat([]byte{byte(r.IntN(256))}, size)
		sealBatch(s.Payload)
	}
	return s
}

// sealBatch makes the checksum right that a batch carries; shorter bytes have none.
func sealBatch(b []byte) {
	if len(b) >= summedElsewhere {
		binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[summedElsewhere:], castagnoli))
	}
}

func TestDataFrameReadsBackAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var b Builder
	for range 200 {
		var want []Section
		for range 1 + r.IntN(20) {
			s := randomSection(r)
			b.Add(header, &s)
			want = append(want, s)
		}
		h, n, body, err := ParseHeader(slices.Concat(b.Take()...))
		b.Done()
		if err != nil || h != header {
			t.Fatalf("got header %+v, %v, want %+v", h, err, header)
		}
		var got []Section
		if err := ParseData(body, n, func(s Section) { got = append(got, s) }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

// A large payload is not copied, and not held once the frame is sent.
func TestLargePayloadStaysWhereItIs(t *testing.T) {
	var b Builder
	large, small := make([]byte, stayLeast), make([]byte, stayLeast-1)
	for i, payload := range [][]byte{small, large, large, small, large} {
		b.Add(header, &Section{Kind: Data, Count: 1, PrevEpoch: -1, Base: topic.Offset(i), Payload: payload})
	}
	pieces, stay, size := b.Take(), 0, 0
	for _, piece := range pieces {
		if size += len(piece); len(piece) == len(large) && &piece[0] == &large[0] {
			stay++
		}
	}
	if stay != 3 || len(pieces) != 6 || size != b.Len() {
		t.Errorf("%d of 3 payloads are not copied, %d pieces of %d bytes, want 6 of %d", stay, len(pieces), size, b.Len())
	}
	if b.Done(); b.Len() != 0 || slices.ContainsFunc(pieces, func(piece []byte) bool { return piece != nil }) {
		t.Errorf("%d bytes are held of a frame that was sent", b.Len())
	}
}

// failure mode 22: a damaged frame is refused whole.
func TestAnyFlippedBitIsRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var b Builder
	s := randomSection(r)
	s.Kind, s.Payload = Data, bytes.Repeat([]byte{7}, 90)
	sealBatch(s.Payload)
	b.Add(header, &s)
	frame := slices.Concat(b.Take()...)
	for i := range len(frame) * 8 {
		damaged := bytes.Clone(frame)
		damaged[i/8] ^= 1 << (i % 8)
		if _, _, _, err := ParseHeader(damaged); err == nil {
			t.Fatalf("bit %d flipped: frame accepted", i)
		}
	}
}

func TestAckFrameReadsBackAsWritten(t *testing.T) {
	want := []Ack{
		{Partition: topic.Partition{Index: 1}, Epoch: 3, TailEpoch: topic.NoEpoch},
		{Partition: topic.Partition{Index: 2}, Epoch: 3, TailEpoch: 2, LogEnd: 9, DurableEnd: 7, HighWatermark: 5, Gap: true},
	}
	h, n, body, err := ParseHeader(AppendAcks(nil, header, want))
	if err != nil || h.Kind != KindAck {
		t.Fatalf("got %+v, %v", h, err)
	}
	var got []Ack
	if err := ParseAcks(body, n, func(a Ack) { got = append(got, a) }); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if err := ParseAcks(body[1:], n, func(Ack) { t.Fatal("called for a malformed body") }); !errors.Is(err, ErrMalformed) {
		t.Fatalf("got %v, want ErrMalformed", err)
	}
}

func TestHeartbeatReadsBackAsWritten(t *testing.T) {
	want := Heartbeat{Applied: 9, SentMicros: 8, UnsyncedAgeMillis: 7, Disclaims: true, Peers: []PeerEcho{{Node: 2, Session: 5, SentMicros: 4}}}
	_, n, body, err := ParseHeader(AppendHeartbeat(nil, header, want))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseHeartbeat(body, n)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
}

func FuzzParse(f *testing.F) {
	var b Builder
	s := Section{Kind: Data, Epoch: 1, Count: 1, PrevEpoch: -1, Payload: []byte("x")}
	b.Add(header, &s)
	f.Add(slices.Concat(b.Take()...))
	f.Add(AppendAcks(nil, header, []Ack{{Epoch: 1}}))
	f.Add(AppendHeartbeat(nil, header, Heartbeat{Peers: []PeerEcho{{}}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// The checksum would keep the fuzzer out: it is put right first.
		if len(raw) >= HeaderBytes {
			n := int(raw[2])<<8 | int(raw[3])
			if sum, err := bodyChecksum(Kind(raw[1]), raw[HeaderBytes:], n); err == nil {
				seal(raw, n, sum)
			}
		}
		h, n, body, err := ParseHeader(raw)
		if err != nil {
			return
		}
		switch h.Kind {
		case KindData:
			_ = ParseData(body, n, func(s Section) {
				if len(s.Payload) > len(raw) {
					t.Fatal("payload longer than the frame")
				}
			})
		case KindAck:
			_ = ParseAcks(body, n, func(Ack) {})
		case KindHeartbeat:
			_, _ = ParseHeartbeat(body, n)
		}
	})
}

func BenchmarkBuilder64KiB(b *testing.B) {
	var builder Builder
	s := Section{Kind: Data, Epoch: 1, Count: 1, PrevEpoch: -1, Payload: make([]byte, 64<<10)}
	b.SetBytes(int64(8 * s.Size()))
	b.ReportAllocs()
	for b.Loop() {
		for range 8 {
			builder.Add(header, &s)
		}
		builder.Take()
		builder.Done()
	}
}
