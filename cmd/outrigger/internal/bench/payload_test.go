package bench

import (
	"bytes"
	"compress/gzip"
	"testing"
	"time"

	"outrigger/e2e/history"
)

func TestPayloadTellsItsValueAndTime(t *testing.T) {
	for _, size := range []int{headerBytes, headerBytes + 1, 1024, 3 << 20} {
		p := newPayloads(7, size)
		payload := make([]byte, size)
		for _, v := range []history.Value{valueAt(0, 0), valueAt(3, 12345), valueAt(1000, 1<<39)} {
			p.fill(payload, v, 42*time.Second)
			value, due, ok := p.read(payload)
			if value != v || due != 42*time.Second || !ok {
				t.Errorf("%d bytes: got value %x due %v %t, want %x due 42s", size, value, due, ok, v)
			}
		}
	}
}

func TestChangedBitIsNoRecordOfOurs(t *testing.T) {
	const size = 64
	p := newPayloads(7, size)
	payload, v := make([]byte, size), valueAt(1, 99)
	p.fill(payload, v, 0)
	for at := range payload {
		if at >= 8 && at < headerBytes {
			continue // the time, which decides nothing
		}
		payload[at] ^= 4
		if value, _, ok := p.read(payload); value == v || ok && at >= headerBytes {
			t.Errorf("byte %d changed: got value %x, want another than %x", at, value, v)
		}
		payload[at] ^= 4
	}
	if value, _, ok := p.read(payload[:size-1]); ok || value == v {
		t.Error("a payload that was cut is taken for a whole one")
	}
}

func TestPayloadsDependOnTheSeedAlone(t *testing.T) {
	of := func(seed uint64) []byte {
		payload := make([]byte, 256)
		newPayloads(seed, 256).fill(payload, valueAt(2, 3), 0)
		return payload
	}
	if !bytes.Equal(of(1), of(1)) {
		t.Error("the same seed gives other payloads")
	}
	if bytes.Equal(of(1), of(2)) {
		t.Error("another seed gives the same payloads")
	}
}

func TestCodecsFindNothingInABatch(t *testing.T) {
	const size, records = 128, 8000
	p := newPayloads(1, size)
	filled := make([]byte, size)
	for name, payload := range map[string]func(i uint64) []byte{
		"filled": func(i uint64) []byte {
			p.fill(filled, valueAt(0, i), time.Duration(i))
			return filled
		},
		"unread": func(i uint64) []byte { return p.unread(valueAt(0, i)) },
	} {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		for i := range uint64(records) {
			w.Write(payload(i))
		}
		w.Close()
		if share := float64(packed.Len()) / (size * records); share < 0.9 {
			t.Errorf("%s: compressed to %.2f, want random payloads to stay what they are", name, share)
		}
	}
}
