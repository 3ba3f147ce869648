package batch

import "testing"

func TestMarkerIsReadAsItWasBuilt(t *testing.T) {
	for _, want := range []Marker{{Commit: true, CoordinatorEpoch: 7}, {CoordinatorEpoch: 1<<31 - 1}, {CoordinatorEpoch: -1}} {
		b, err := want.Build(1<<40, 3, 1234)
		if err != nil {
			t.Fatalf("build: %v", err)
		}
		h, err := ParseHeader(b)
		if err != nil || !h.Control() || !h.Transactional() || h.ProducerID != 1<<40 || h.ProducerEpoch != 3 ||
			h.BaseSequence != -1 || h.Records != 1 || h.MaxTimestamp != 1234 {
			t.Fatalf("header: got %+v, %v", h, err)
		}
		if got, ok, err := ParseMarker(b); got != want || !ok || err != nil {
			t.Errorf("marker: got %+v, %v, %v, want %+v", got, ok, err, want)
		}
	}
}

func TestOtherControlRecordsAreNoMarkers(t *testing.T) {
	for name, r := range map[string]Record{
		"leader change":  {Key: []byte{0, 0, 0, 2}, Value: []byte{0, 0, 0, 0, 0, 0}},
		"short key":      {Key: []byte{0, 0}, Value: []byte{0, 0, 0, 0, 0, 0}},
		"short value":    {Key: []byte{0, 0, 0, 1}, Value: []byte{0, 0}},
		"neither of two": {},
	} {
		b := NewBuilder(CodecNone)
		b.Control = true
		b.Add(r)
		raw, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if m, ok, err := ParseMarker(raw); ok || err != nil {
			t.Errorf("%s: got %+v, %v, want none", name, m, err)
		}
	}
}
