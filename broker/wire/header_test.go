package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestHeaderOfEveryAdvertisedVersion(t *testing.T) {
	for _, api := range Supported() {
		for version := api.Advertised; version <= api.Max; version++ {
			req := kmsg.RequestForKey(api.Key)
			req.SetVersion(version)
			want := req.AppendTo(nil)
			frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("kcat")).
				AppendRequest(nil, req, 77)[4:]
			h, body, err := ParseHeader(frame)
			if err != nil {
				t.Fatalf("%s v%d: %v", api.Name, version, err)
			}
			if h.Key != api.Key || h.Version != version || h.CorrelationID != 77 ||
				h.ClientID == nil || *h.ClientID != "kcat" {
				t.Errorf("%s v%d: got %+v", api.Name, version, h)
			}
			if !bytes.Equal(body, want) {
				t.Errorf("%s v%d: got body %x, want %x", api.Name, version, body, want)
			}
			if _, err := Decode(h, body); err != nil {
				t.Errorf("%s v%d: %v", api.Name, version, err)
			}
		}
	}
}

func TestHeaderNullAndEmptyClientID(t *testing.T) {
	h, body, err := ParseHeader(hostile(int16(3), int16(0), int32(5), int16(-1), int32(0)))
	if err != nil || h.ClientID != nil || len(body) != 4 {
		t.Errorf("null: got %+v, %x, %v", h, body, err)
	}
	h, _, err = ParseHeader(hostile(int16(3), int16(0), int32(5), int16(0), int32(0)))
	if err != nil || h.ClientID == nil || *h.ClientID != "" {
		t.Errorf("empty: got %+v, %v", h, err)
	}
}

func TestHeaderSkipsTags(t *testing.T) {
	h, body, err := ParseHeader(hostile(int16(3), int16(9), int32(5), int16(1), "x",
		uint64(2), uint64(0), uint64(3), "abc", uint64(9), uint64(0), "body"))
	if err != nil || string(body) != "body" || *h.ClientID != "x" {
		t.Errorf("got %+v, %q, %v", h, body, err)
	}
}

func TestHeaderKeepsCorrelationOfWhatItDoesNotServe(t *testing.T) {
	for _, c := range [][2]int16{{18, 99}, {18, -1}, {0, 14}, {1, 3}, {11, 10}, {4, 0}, {1000, 0}, {-5, -5}} {
		h, body, err := ParseHeader(hostile(c[0], c[1], int32(-123), int16(4), "java", "whatever"))
		if !errors.Is(err, ErrUnsupported) || errors.Is(err, ErrMalformed) {
			t.Errorf("key %d v%d: got %v, want ErrUnsupported", c[0], c[1], err)
		}
		if h.Key != c[0] || h.Version != c[1] || h.CorrelationID != -123 || body != nil {
			t.Errorf("key %d v%d: got %+v", c[0], c[1], h)
		}
		if h.ClientID == nil || *h.ClientID != "java" {
			t.Errorf("key %d v%d: got client id %v", c[0], c[1], h.ClientID)
		}
		// Without a readable client id the rest is still worth an answer.
		h, _, err = ParseHeader(hostile(c[0], c[1], int32(-123)))
		if !errors.Is(err, ErrUnsupported) || h.CorrelationID != -123 {
			t.Errorf("key %d v%d: got %+v, %v without client id", c[0], c[1], h, err)
		}
	}
}

func TestHeaderRefusesMalformed(t *testing.T) {
	for name, frame := range map[string][]byte{
		"empty":                 nil,
		"seven bytes":           make([]byte, 7),
		"no client id":          hostile(int16(3), int16(0), int32(5)),
		"client id cut":         hostile(int16(3), int16(0), int32(5), int16(9), "short"),
		"client id -2":          hostile(int16(3), int16(0), int32(5), int16(-2)),
		"no tags":               hostile(int16(3), int16(9), int32(5), int16(-1)),
		"tag over the rest":     hostile(int16(3), int16(9), int32(5), int16(-1), uint64(1), uint64(0), uint64(9)),
		"more tags than bytes":  hostile(int16(3), int16(9), int32(5), int16(-1), uint64(200), "ab"),
		"more tags than 32 bit": hostile(int16(3), int16(9), int32(5), int16(-1), uint64(1<<40), "ab"),
	} {
		if _, _, err := ParseHeader(frame); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestTableStaysWithinKmsg(t *testing.T) {
	last := int16(-1)
	for _, api := range Supported() {
		req := kmsg.RequestForKey(api.Key)
		if api.Key <= last {
			t.Errorf("%s: key %d after %d, want ascending keys", api.Name, api.Key, last)
		}
		last = api.Key
		if api.Max > req.MaxVersion() || api.Advertised > api.Min || api.Min > api.Max {
			t.Errorf("got %+v, want versions in order and at most kmsg's %d", api, req.MaxVersion())
		}
		if api.Max > req.ResponseKind().MaxVersion() {
			t.Errorf("%s: got max %d over kmsg's response", api.Name, api.Max)
		}
		if s := shapeOf(api.Key); s == nil || s.name != api.Name || s.max < api.Max {
			t.Errorf("%s: got shape %+v", api.Name, s)
		}
		if api.Serves(api.Min-1) || !api.Serves(api.Min) || api.Serves(api.Max+1) {
			t.Errorf("%s: Serves disagrees with %d to %d", api.Name, api.Min, api.Max)
		}
	}
	if api, _ := Lookup(0); api.Advertised != 0 || api.Min != 3 {
		t.Errorf("got Produce %+v, want v0 advertised and v3 served", api)
	}
	if _, ok := Lookup(4); ok {
		t.Error("got a row for the broker-internal key 4")
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, api := range Supported() {
		req := kmsg.RequestForKey(api.Key)
		req.SetVersion(api.Max)
		f.Add(kmsg.NewRequestFormatter(kmsg.FormatterClientID("fuzz")).AppendRequest(nil, req, 1)[4:])
	}
	f.Add(hostile(int16(18), int16(99), int32(7), int16(-1)))
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseHeader(frame)
		switch {
		case err == nil:
			checkGuarded(t, h.Key, h.Version, body)
		case !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported):
			t.Fatalf("got unclassified error %v", err)
		}
	})
}
