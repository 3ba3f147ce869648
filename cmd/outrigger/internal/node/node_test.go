package node

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/cmd/outrigger/internal/config"
)

func TestProfilesAreServedOnlyWhenAskedFor(t *testing.T) {
	for _, profiles := range []bool{false, true} {
		w := newWeb(1, 1, "0.0.0")
		w.profiles = profiles
		status, _ := ask(t, w.handler(prometheus.NewRegistry()), "/debug/pprof/goroutine?debug=1")
		if got := status == http.StatusOK; got != profiles {
			t.Errorf("profiles %v: got status %d", profiles, status)
		}
	}
}

func ask(t *testing.T, handler http.Handler, path string) (int, string) {
	t.Helper()
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, nil))
	return response.Code, response.Body.String()
}

func TestReadyAnswersForEveryStage(t *testing.T) {
	w := newWeb(7, 0xab, "0.1.0")
	handler := w.handler(prometheus.NewRegistry())
	if status, body := ask(t, handler, "/ready"); status != http.StatusServiceUnavailable ||
		body != `{"ready":false,"node":7,"brokers":0,"controller":-1,"reason":"starting"}`+"\n" {
		t.Errorf("got %d %s", status, body)
	}
	w.answer(func() Readiness { return Readiness{Ready: true, Brokers: 3, Controller: 2} })
	if status, body := ask(t, handler, "/ready"); status != http.StatusOK ||
		body != `{"ready":true,"node":7,"brokers":3,"controller":2}`+"\n" {
		t.Errorf("got %d %s", status, body)
	}
	w.stage("stopping")
	if status, body := ask(t, handler, "/ready"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
		t.Errorf("got %d %s", status, body)
	}
}

func TestHealthNamesProcessAndSession(t *testing.T) {
	status, body := ask(t, newWeb(7, 0xab, "0.1.0").handler(prometheus.NewRegistry()), "/health")
	var h health
	if err := json.Unmarshal([]byte(body), &h); err != nil || status != http.StatusOK {
		t.Fatalf("got %d %s, %v", status, body, err)
	}
	if h.Status != "ok" || h.Node != 7 || h.Session != "00000000000000ab" || h.PID == 0 || h.Version != "0.1.0" {
		t.Errorf("got %+v", h)
	}
}

func TestTaskThatEndsByItselfIsReported(t *testing.T) {
	failed := make(chan failure, 2)
	broken := errors.New("broken")
	bad := launch("bad", failed, func(context.Context) error { return broken })
	good := launch("good", failed, func(ctx context.Context) error { <-ctx.Done(); return nil })
	if f := <-failed; f.task != bad || !errors.Is(f.err, broken) {
		t.Errorf("got %s, %v", f.task.name, f.err)
	}
	if err := good.stop(t.Context()); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if err := bad.stop(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v, want broken", err)
	}
	if len(failed) != 0 {
		t.Error("a task that was told to stop is reported")
	}
	var none *task
	if err := none.stop(t.Context()); err != nil {
		t.Errorf("a task that never was: got %v", err)
	}
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	slow := launch("slow", make(chan failure, 1), func(context.Context) error { <-release; return nil })
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStopTooSlow)
	if err := slow.stop(ctx); !errors.Is(err, errStopTooSlow) || err.Error() != "stop slow: it took too long" {
		t.Errorf("got %v", err)
	}
	if err := within(ctx, "step", func() { <-release }); !errors.Is(err, errStopTooSlow) {
		t.Errorf("got %v", err)
	}
}

func TestConfigurationReachesEveryPart(t *testing.T) {
	cfg, _, err := config.Load(config.Sources{Sets: []string{"node.id=4", "broker.rack=r", "log.dirs=/d",
		"listeners=PLAINTEXT://127.0.0.1:9092,PLAINTEXT://[::1]:9092", "controller.quorum.voters=3@127.0.0.1:7003,4@127.0.0.1:7004",
		"message.max.bytes=20000000", "connections.max.idle.ms=-1", "auto.create.topics.enable=false", "nats.cluster.secret=s",
		"group.coordinator.rebalance.protocols=classic", "transaction.state.log.min.isr=3", "share.coordinator.state.topic.min.isr=4", "nats.debug.tap=payload", "log.flush.policy=interval", "log.flush.interval.ms=50"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	nats := NATSConfig(cfg)
	if nats.NodeID != 4 || nats.ClusterListen != "127.0.0.1:7004" || !slices.Equal(nats.Routes, []string{"127.0.0.1:7003"}) || nats.MaxMessageBytes != 20967424 ||
		nats.DebugTap != "payload" || nats.ClusterSecret != "s" {
		t.Errorf("got NATS %+v", nats)
	}
	n := &node{Options: Options{Config: cfg}}
	broker := n.brokerConfig()
	if broker.Node != 4 || broker.PeerListener != "PLAINTEXT" || !broker.Topics.AutoCreateOff || broker.Topics.ReplicationFactor != 2 ||
		broker.Topics.MessageBytesMax != 20000000 || broker.Topics.BatchBytesMax != 20967424 || broker.Connections.Idle != idleForever ||
		!broker.Groups.ConsumersOff || broker.Transactions.MinInSync != 3 || broker.Shares.MinInSync != 4 {
		t.Errorf("got broker %+v", broker)
	}
	for _, p := range broker.Properties {
		if p.Name == "nats.cluster.secret" && (p.Value != "" || !p.Sensitive) {
			t.Errorf("a secret reaches clients: %+v", p)
		}
	}
	all := listeners(cfg.Kafka.Listeners)
	if len(all) != 1 || len(all[0].Addresses) != 2 || all[0].Addresses[1] != "[::1]:9092" || all[0].AdvertisedHost != "127.0.0.1" {
		t.Errorf("got listeners %+v", all)
	}
	if got := n.voters(); len(got) != 2 || got[0] != 3 {
		t.Errorf("got voters %v", got)
	}
}

// Kafka's own server.properties names a controller listener that is not opened here: somebody else may well
// listen on that port, and would be called for as long as this broker runs.
func TestNobodyConnectsToItself(t *testing.T) {
	cfg, _, err := config.Load(config.Sources{Sets: []string{"node.id=1", "process.roles=broker,controller",
		"controller.quorum.voters=1@localhost:9093", "controller.listener.names=CONTROLLER",
		"listeners=PLAINTEXT://h:9092,CONTROLLER://:9093"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := NATSConfig(cfg).Routes; len(got) != 0 {
		t.Errorf("got routes to %v, want none", got)
	}
}

func TestBrokerWithoutVotersIsItsOwn(t *testing.T) {
	cfg, _, err := config.Load(config.Sources{Sets: []string{"node.id=9", "listeners=PLAINTEXT://h:1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Options: Options{Config: cfg}}
	if got := n.voters(); len(got) != 1 || got[0] != topic.NodeID(9) {
		t.Errorf("got %v, want 9", got)
	}
	if got := NATSConfig(cfg).ClusterListen; got != "127.0.0.1:0" {
		t.Errorf("got %s: a cluster of one must not need a known port", got)
	}
}

func TestSessionsAreNeverZero(t *testing.T) {
	if a, b := newSession(), newSession(); a == 0 || b == 0 || a == b {
		t.Errorf("got %v and %v", a, b)
	}
}

// What a topic may allow itself follows from what the log, a request and a message hold, and is never less than what
// all topics may have.
func TestLargestBatchIsWhatEveryPartHolds(t *testing.T) {
	for _, test := range []struct {
		sets []string
		want int
	}{
		{nil, 16_773_120},
		{[]string{"wal.file.bytes=1048576"}, 2_093_056},
		{[]string{"wal.file.bytes=268435456"}, 60 << 20},
		{[]string{"socket.request.max.bytes=4000000"}, 4_000_000 - 64<<10},
		{[]string{"socket.request.max.bytes=1048588"}, 1_048_588},
		{[]string{"message.max.bytes=62914560"}, 62_914_560},
	} {
		cfg, _, err := config.Load(config.Sources{Sets: append(test.sets, "node.id=1", "log.dirs=/d", "listeners=PLAINTEXT://127.0.0.1:9092")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := batchBytesMax(cfg); got != test.want {
			t.Errorf("%v: got %d, want %d", test.sets, got, test.want)
		}
		if most := wal.EncodedLen(wal.Record{Kind: wal.Data, Payload: make([]byte, test.want)}); most > fileBytes(cfg)/4 {
			t.Errorf("%v: a record of %d bytes is more than a quarter of a file of %d", test.sets, most, fileBytes(cfg))
		}
	}
}
