package wire

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestResponseHeaderOfEveryVersion(t *testing.T) {
	for _, api := range Supported() {
		for version := api.Advertised; version <= api.Max; version++ {
			resp := kmsg.RequestForKey(api.Key).ResponseKind()
			resp.SetVersion(version)
			got := AppendResponse([]byte("before"), 42, resp)
			if string(got[:6]) != "before" {
				t.Fatalf("%s v%d: dst was not kept", api.Name, version)
			}
			frame := got[6:]
			if n := int(binary.BigEndian.Uint32(frame)); n != len(frame)-4 {
				t.Errorf("%s v%d: got size %d, want %d", api.Name, version, n, len(frame)-4)
			}
			if id := binary.BigEndian.Uint32(frame[4:]); id != 42 {
				t.Errorf("%s v%d: got correlation id %d", api.Name, version, id)
			}
			body := frame[8:]
			if resp.IsFlexible() && api.Name != "ApiVersions" {
				if body[0] != 0 {
					t.Errorf("%s v%d: got no tag section in the header", api.Name, version)
				}
				body = body[1:]
			}
			if want := resp.AppendTo(nil); !bytes.Equal(body, want) {
				t.Errorf("%s v%d: got body %x, want %x", api.Name, version, body, want)
			}
		}
	}
}

func TestUnsupportedAPIVersionsIsVersion0(t *testing.T) {
	got := AppendUnsupportedAPIVersions(nil, 9)
	want := hostile(int32(4+2+4+6), int32(9), int16(35), int32(1), int16(18), int16(0), int16(5))
	if !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// fillFetch returns a random Fetch response and, for each partition, batches that make up its
// RecordBatches.
func fillFetch(f filler, version int16) (*kmsg.FetchResponse, [][][][]byte) {
	resp := kmsg.NewPtrFetchResponse()
	f.message(resp, version)
	batches := make([][][][]byte, len(resp.Topics))
	for i := range resp.Topics {
		topic := &resp.Topics[i]
		batches[i] = make([][][]byte, len(topic.Partitions))
		for j := range topic.Partitions {
			p := &topic.Partitions[j]
			p.RecordBatches = []byte{}
			for range f.IntN(4) {
				b := f.octets()
				batches[i][j] = append(batches[i][j], b)
				p.RecordBatches = append(p.RecordBatches, b...)
			}
			if f.IntN(2) == 0 { // most partitions have no leader hint, no divergence
				d := kmsg.NewFetchResponseTopicPartition()
				p.CurrentLeader, p.DivergingEpoch, p.SnapshotID = d.CurrentLeader, d.DivergingEpoch, d.SnapshotID
			}
		}
	}
	return resp, batches
}

func TestFetchFrameIsWhatKmsgEncodes(t *testing.T) {
	api, _ := Lookup(keyFetch)
	for version := api.Min; version <= api.Max; version++ {
		for seed := range uint64(300) {
			resp, batches := fillFetch(newFiller(seed), version)
			want := AppendResponse(nil, int32(seed), resp)
			pieces := FetchFrame(int32(seed), resp, func(t, p int) [][]byte { return batches[t][p] })
			if got := bytes.Join(pieces, nil); !bytes.Equal(got, want) {
				t.Fatalf("v%d seed %d:\ngot  %x\nwant %x", version, seed, got, want)
			}
		}
	}
}

func TestFetchFrameHoldsBatchesByReference(t *testing.T) {
	resp, one, two := fetchResponse(1), pattern(100), pattern(50)
	pieces := FetchFrame(1, resp, func(int, int) [][]byte { return [][]byte{one, two} })
	if len(pieces) != 4 || &pieces[1][0] != &one[0] || &pieces[2][0] != &two[0] {
		t.Errorf("got %d pieces, want head, two batches by reference, tail", len(pieces))
	}
	pieces = FetchFrame(1, resp, func(int, int) [][]byte { return nil })
	if len(pieces) != 1 {
		t.Errorf("got %d pieces without batches, want 1", len(pieces))
	}
}

func fetchResponse(partitions int) *kmsg.FetchResponse {
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(16)
	topic := kmsg.NewFetchResponseTopic()
	for i := range partitions {
		p := kmsg.NewFetchResponseTopicPartition()
		p.Partition = int32(i)
		topic.Partitions = append(topic.Partitions, p)
	}
	resp.Topics = append(resp.Topics, topic)
	return resp
}

func BenchmarkFetchFrame(b *testing.B) {
	resp, batches := fetchResponse(10), [][]byte{pattern(16 << 10), pattern(16 << 10)}
	b.SetBytes(10 * 32 << 10)
	b.ReportAllocs()
	for b.Loop() {
		FetchFrame(1, resp, func(int, int) [][]byte { return batches })
	}
}
