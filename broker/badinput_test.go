package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/wal"
)

// framed puts a size in front.
func framed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// headed is a frame with a request header of version 1 and a client id.
func headed(key, version int16, body ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, 4711)
	b = append(b, 0, 3, 'b', 'a', 'd')
	return framed(append(b, body...))
}

// TestBadInputEndsTheConnectionAndNothingElse: a counter, one warning, and the next client is served.
func TestBadInputEndsTheConnectionAndNothingElse(t *testing.T) {
	cases := []struct {
		name, reason string
		bytes        []byte
	}{
		{"a negative length", reasonFrame, []byte{0xff, 0xff, 0xff, 0xff}},
		{"two gibibytes", reasonFrame, []byte{0x7f, 0xff, 0xff, 0xff}},
		{"an HTTP request", reasonFrame, []byte("GET / HTTP/1.1\r\n\r\n")},
		{"a TLS hello", reasonFrame, []byte{0x16, 0x03, 0x01, 0x02, 0, 1, 0, 1, 0xfc, 3, 3}},
		{"an empty frame", reasonHeader, framed(nil)},
		{"half a header", reasonHeader, framed([]byte{0, 3, 0})},
		{"a client id longer than the frame", reasonHeader, framed([]byte{0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff})},
		{"a body cut short", reasonRequest, headed(19, 2, 0, 0)},
		{"two billion topics", reasonRequest, headed(3, 1, 0x7f, 0xff, 0xff, 0xff)},
		{"minus two topics", reasonRequest, headed(19, 2, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1, 0)},
		{"two billion tags", reasonRequest, headed(18, 3, 0, 2, 'a', 2, 'b', 0xff, 0xff, 0xff, 0xff, 7)},
	}
	h := start(t)
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			before := h.metric("outrigger_broker_bad_input_total", test.reason)
			c := h.dial()
			c.write(test.bytes)
			c.ended()
			if got := h.metric("outrigger_broker_bad_input_total", test.reason); got != before+1 {
				t.Errorf("count of %q: got %v, want %v", test.reason, got, before+1)
			}
		})
	}
	if got := h.logged.count("bad input"); got != 3 {
		t.Errorf("warnings: got %d, want one for each of three reasons", got)
	}
	h.dial().ask(kmsg.NewPtrMetadataRequest())
}

// TestNullArraysAreNoBadInput: -1 stands for null, which some requests mean (failure mode 50).
func TestNullArraysAreNoBadInput(t *testing.T) {
	c := start(t).dial()
	c.write(headed(3, 1, 0xff, 0xff, 0xff, 0xff))
	if correlation, _, err := c.frame(); err != nil || correlation != 4711 {
		t.Errorf("metadata of null: got %d, %v, want an answer", correlation, err)
	}
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version, q.TimeoutMillis = 7, 1000
	q.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "n", NumPartitions: 1, ReplicationFactor: 1}}
	onlyCode(t, "create without arrays", c.ask(q).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
}

// TestUnknownAPIKeepsItsCorrelationID: UNSUPPORTED_VERSION, then the end; what was asked before is
// answered before.
func TestUnknownAPIKeepsItsCorrelationID(t *testing.T) {
	h := start(t)
	for _, test := range []struct {
		key, version int16
		reason       string
	}{{999, 0, reasonAPI}, {-5, 3, reasonAPI}, {3, 99, reasonVersion}, {1, 0, reasonVersion}, {0, -1, reasonVersion}} {
		c := h.dial()
		metadata := kmsg.NewPtrMetadataRequest()
		c.write(append(formatter.AppendRequest(nil, metadata, 1), headed(test.key, test.version)...))
		c.receive(1, metadata)
		correlation, body, err := c.frame()
		if err != nil || correlation != 4711 || !bytes.Equal(body, []byte{0, 35}) {
			t.Errorf("key %d version %d: got %d, %x, %v, want 4711 and error 35",
				test.key, test.version, correlation, body, err)
		}
		c.ended()
	}
	if got := h.metric("outrigger_broker_bad_input_total"); got != 5 {
		t.Errorf("bad input: got %v, want 5", got)
	}
}

// TestStalledFrameIsClosed: half a frame, then silence.
func TestStalledFrameIsClosed(t *testing.T) {
	h := start(t, func(c *Config) { c.Connections.Idle = 50 * time.Millisecond })
	c := h.dial()
	c.write([]byte{0, 0, 0, 100, 0, 3})
	c.ended()
	if got := h.metric("outrigger_broker_bad_input_total", reasonStalled); got != 1 {
		t.Errorf("stalled frames: got %v, want 1", got)
	}
	c = h.dial()
	c.ended()
	if got := h.metric("outrigger_broker_connections_idle_closed_total"); got != 1 {
		t.Errorf("idle connections: got %v, want 1", got)
	}
}

// TestMemoryGrowsWithWhatArrivesNotWithWhatIsDeclared: five hundred clients declare
// 100 MiB each.
func TestMemoryGrowsWithWhatArrivesNotWithWhatIsDeclared(t *testing.T) {
	h := start(t)
	h.dial().ask(kmsg.NewPtrMetadataRequest())
	before := heap()
	for range 500 {
		c := h.dial()
		c.write([]byte{6, 0, 0, 0, 0, 3, 0, 1})
	}
	eventually(t, "all are served", func() bool {
		return h.metric("kafka_server_socketservermetrics_connection_count") == 501
	})
	if grown := int64(heap()) - int64(before); grown > 100<<20 {
		t.Errorf("memory: grew by %d bytes, want far less than 50 GiB", grown)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestSmallBatchDoesNotKeepItsLargeFrame: memory that the log keeps grows with the batches that it
// took, not with what a client sent beside them.
func TestSmallBatchDoesNotKeepItsLargeFrame(t *testing.T) {
	h := start(t)
	h.create("kept", 1)
	c := h.dial()
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	const frames, ballast = 24, 4 << 20
	for range frames {
		q := produceOf(9, "kept", 0, -1, plainBatch("small"))
		q.Topics = append(q.Topics, produceOf(9, "unknown", 0, -1, make([]byte, ballast)).Topics...)
		p := onlyProduced(c.ask(q))
		expectCode(t, "the small batch", p.ErrorCode, codeNone)
	}
	if grown := heap() - before; grown > frames*ballast/4 {
		t.Errorf("heap grew by %d bytes over %d small batches in frames of %d", grown, frames, ballast)
	}
}

// TestRandomBytesNeverHurt: noise of all kinds, and the broker goes on.
func TestRandomBytesNeverHurt(t *testing.T) {
	h := start(t)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		noise := make([]byte, random.IntN(200))
		for at := range noise {
			noise[at] = byte(random.Uint32())
		}
		if i%2 == 0 { // a good header, so that the noise reaches the decoders
			noise = headed(int16(random.IntN(70)), int16(random.IntN(15)), noise...)
		}
		c := h.dial()
		c.write(noise)
		_ = c.Close()
	}
	h.dial().ask(kmsg.NewPtrMetadataRequest())
}

// TestOffendersAreLoggedOncePerMinute, by address and reason, and what was kept quiet is counted.
func TestOffendersAreLoggedOncePerMinute(t *testing.T) {
	var out bytes.Buffer
	count := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bad"}, []string{"reason"})
	o := newOffenders(slog.New(slog.NewJSONHandler(&out, nil)), count)
	now := time.Unix(0, 0)
	o.quiet.now = func() time.Time { return now }
	report := func(address, reason string) {
		o.report(offence{Address: address, Reason: reason, ClientID: string(make([]byte, 1000)), API: "Produce"})
	}
	for range 10 {
		report("1.2.3.4", reasonBatch)
	}
	report("1.2.3.4", reasonFrame)
	report("5.6.7.8", reasonBatch)
	if got := bytes.Count(out.Bytes(), []byte("\n")); got != 3 {
		t.Errorf("lines: got %d, want 3", got)
	}
	now = now.Add(quietTime)
	report("1.2.3.4", reasonBatch)
	if !bytes.Contains(out.Bytes(), []byte(`"repeated":9`)) {
		t.Errorf("log: got %s, want the nine that were kept quiet", out.Bytes())
	}
	var counted dto.Metric
	if err := count.WithLabelValues(reasonBatch).Write(&counted); err != nil {
		t.Fatal(err)
	}
	if got := counted.GetCounter().GetValue(); got != 12 {
		t.Errorf("counted: got %v, want 12", got)
	}
}

// TestOffendersAreRememberedInBoundedMemory: a flood from many addresses is counted, not logged.
func TestOffendersAreRememberedInBoundedMemory(t *testing.T) {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bad"}, []string{"reason"})
	o := newOffenders(slog.New(slog.NewJSONHandler(io.Discard, nil)), count)
	now := time.Unix(0, 0)
	o.quiet.now = func() time.Time { return now }
	for i := range 3 * quietMax {
		o.report(offence{Address: fmt.Sprint(i), Reason: reasonFrame})
	}
	if len(o.quiet.seen) != quietMax {
		t.Errorf("remembered: got %d, want %d", len(o.quiet.seen), quietMax)
	}
	now = now.Add(2 * quietTime)
	o.report(offence{Address: "later", Reason: reasonFrame})
	if len(o.quiet.seen) != 1 {
		t.Errorf("remembered a minute later: got %d, want 1", len(o.quiet.seen))
	}
}

// TestInternalErrorsAreLoggedAndToldAsRetriable: the operator hears what the client cannot use.
func TestInternalErrorsAreLoggedAndToldAsRetriable(t *testing.T) {
	h := start(t)
	for range 3 {
		for err, want := range map[error]code{
			wal.ErrDamaged: codeStorageError, errors.New("what is this"): codeRequestTimedOut,
			partition.ErrNotLeader: codeNotLeaderOrFollower,
		} {
			if got := h.judge("Fetch", err); got != want {
				t.Errorf("%v: got %v, want %v", err, got, want)
			}
		}
	}
	if got := h.logged.count("internal error"); got != 2 {
		t.Errorf("logged: got %d lines, want one for each of two errors", got)
	}
	for _, err := range []error{errPeer, errShareNowhere, errShareState(int16(codeNotCoordinator), nil), errCoordinatorLoading} {
		h.troubles.report(err.Error(), codeCoordinatorNotAvailable, err)
	}
	if again, got := h.logged.count("tried again"), h.logged.count("internal error"); again != 4 || got != 2 {
		t.Errorf("of four that will be tried again %d are logged as such, and %d as internal", again, got-2)
	}
}
