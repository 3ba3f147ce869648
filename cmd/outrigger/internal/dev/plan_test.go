package dev

import (
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger/cmd/outrigger/internal/config"
)

var defaults = Ports{Kafka: 9092, NATS: 4222, Cluster: 6222, HTTP: 9644}

func threeBrokers() plan {
	f := Flags{Brokers: 3, Data: "/d", Ports: defaults, Sets: []string{"num.partitions=6"}}
	p := newPlan(f, []string{"127.0.0.1", "::1"}, brokerDirs("/d", 3), nil)
	p.cluster = "c"
	return p
}

func TestReadyLineIsWhatTheIssueSays(t *testing.T) {
	got := threeBrokers().readyLine([]int{101, 102, 103})
	want := "ready kafka=127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094 " +
		"nats=nats://ops:ops@127.0.0.1:4222,nats://ops:ops@127.0.0.1:4223,nats://ops:ops@127.0.0.1:4224 " +
		"http=127.0.0.1:9644,127.0.0.1:9645,127.0.0.1:9646 pids=101,102,103"
	if got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestVotersAreThreeAndFiveFromSevenUp(t *testing.T) {
	for brokers, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 6: 3, 7: 5, 9: 5} {
		if got := voters(brokers); got != want {
			t.Errorf("%d brokers: got %d voters, want %d", brokers, got, want)
		}
	}
}

func TestBrokersAcceptTheirSettings(t *testing.T) {
	p := threeBrokers()
	// An environment made for another broker must not leak into any of these.
	environ := []string{"KAFKA_LOG_DIRS=/a,/b", "KAFKA_BROKER_ID=9", "KAFKA_PROCESS_ROLES=controller",
		"KAFKA_ADVERTISED_LISTENERS=SSL://x:1", "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:SSL",
		"KAFKA_CONTROLLER_LISTENER_NAMES=PLAINTEXT", "CLUSTER_ID=other"}
	cfg, notes, err := config.Load(config.Sources{Environ: environ, Sets: p.settings(p.brokers[1])}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != 0 {
		t.Errorf("got notes %v, want none", notes)
	}
	if cfg.Node.ID != 2 || cfg.Node.ClusterID != "c" || cfg.Node.DataDir != "/d/broker-2" || len(cfg.Node.Voters) != 3 {
		t.Errorf("got node %+v", cfg.Node)
	}
	l := cfg.Kafka.Listeners
	if len(l) != 1 || len(l[0].Addresses) != 2 || l[0].Addresses[1].String() != "[::1]:9093" || l[0].Advertised.String() != "127.0.0.1:9093" {
		t.Errorf("got listeners %+v", l)
	}
	if cfg.NATS.Cluster.String() != "127.0.0.1:6223" || cfg.NATS.Client.String() != "127.0.0.1:4223" || len(cfg.HTTP) != 2 {
		t.Errorf("got NATS %+v, HTTP %v", cfg.NATS, cfg.HTTP)
	}
	if cfg.Kafka.Topics.Partitions != 6 || cfg.Kafka.Topics.ReplicationFactor != 3 || cfg.Kafka.Topics.MinInSyncReplicas != 2 {
		t.Errorf("got topic defaults %+v", cfg.Kafka.Topics)
	}
}

func TestOneBrokerIsAClusterOfItsOwn(t *testing.T) {
	p := newPlan(Flags{Brokers: 1, Ports: defaults}, []string{"127.0.0.1"}, brokerDirs("/d", 1), nil)
	cfg, _, err := config.Load(config.Sources{Sets: p.settings(p.brokers[0])}, nil)
	if err != nil || cfg.Kafka.Topics.ReplicationFactor != 1 || cfg.Kafka.Topics.MinInSyncReplicas != 1 {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

func TestFreePortsAreHandedOut(t *testing.T) {
	f := Flags{Brokers: 2, Ports: Ports{Kafka: 9092}}
	if got := f.unchosen(); got != 6 {
		t.Fatalf("got %d, want 6", got)
	}
	p := newPlan(f, []string{"127.0.0.1"}, brokerDirs("/d", 2), []int{1, 2, 3, 4, 5, 6})
	got := append(p.brokers[0].ports[:], p.brokers[1].ports[:]...)
	if want := []int{9092, 1, 2, 3, 9093, 4, 5, 6}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFlagsThatCannotBeMeantAreRefused(t *testing.T) {
	with := func(change func(*Flags)) Flags {
		f := Flags{Brokers: 3, Data: "d", Ports: defaults}
		change(&f)
		return f
	}
	for _, c := range []struct {
		flags Flags
		want  string
	}{
		{with(func(*Flags) {}), ""},
		{with(func(f *Flags) { f.Ports = Ports{} }), ""},
		{with(func(f *Flags) { f.Brokers = 0 }), "--brokers=0 is refused: want 1 to 99"},
		{with(func(f *Flags) { f.Brokers = 100 }), "--brokers=100 is refused: want 1 to 99"},
		{with(func(f *Flags) { f.Data = "" }), "--data is refused: want a directory"},
		{with(func(f *Flags) { f.Ports.HTTP = -1 }), "--http-port=-1 is refused: port -1 for HTTP of broker 1 is not between 1 and 65535"},
		{with(func(f *Flags) { f.Ports.Kafka = 65534 }), "--kafka-port=65534 is refused: port 65536 for Kafka clients of broker 3 is not between 1 and 65535"},
		{with(func(f *Flags) { f.Ports.HTTP = 9094 }), "--http-port=9094 is refused: port 9094 is wanted for Kafka clients of broker 3 and for HTTP of broker 1"},
		{with(func(f *Flags) { f.Sets = []string{"node.id=7"} }), "--set node.id=7 is refused: dev chooses this key for each of its brokers"},
	} {
		err := c.flags.Validate()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.flags, got, c.want)
		}
	}
}

func TestTakenPortNamesBrokerAndFlag(t *testing.T) {
	use := threeBrokers().uses()[0]
	if use.Address != "127.0.0.1:9092" || use.Purpose != "Kafka clients of broker 1" || !strings.Contains(use.Remedy, "--kafka-port") {
		t.Errorf("got %+v", use)
	}
	// Kafka and HTTP on both loopbacks, the two NATS ports on one.
	if got := len(threeBrokers().uses()); got != 3*(2+1+1+2) {
		t.Errorf("got %d addresses, want 18", got)
	}
}

func TestOnlyEarlyDeathsBackOff(t *testing.T) {
	var p policy
	var got []time.Duration
	for _, wasReady := range []bool{true, true, false, false, false, true, false} {
		got = append(got, p.died(wasReady))
	}
	const unit = backOffMin
	if want := []time.Duration{0, 0, unit, 2 * unit, 4 * unit, 0, unit}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for range 20 {
		p.died(false)
	}
	if got := p.died(false); got != backOffMax {
		t.Errorf("got %v, want at most %v", got, backOffMax)
	}
}

func TestLastWordsAndLabels(t *testing.T) {
	var out strings.Builder
	said := "{\"level\":\"INFO\"}\npanic: x\noutrigger: the reason\nno newline"
	words := copyLines(strings.NewReader(said), &out, "broker 2")
	want := "{\"level\":\"INFO\"}\nbroker 2 | panic: x\nbroker 2 | outrigger: the reason\nbroker 2 | no newline\n"
	if out.String() != want || words != "the reason" {
		t.Errorf("got %q and %q, want %q", out.String(), words, want)
	}
}

func TestRelayNeverMakesABrokerWait(t *testing.T) {
	gate := make(chan struct{})
	out := &blocked{gate: gate}
	r := newRelay(out)
	for range relayLines + 100 {
		if _, err := r.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	if _, err := r.Write([]byte("after\n")); err != nil {
		t.Fatal(err)
	}
	r.close()
	if text := out.String(); !strings.Contains(text, "log lines were dropped") {
		t.Error("nobody was told of dropped lines")
	}
	if _, err := r.Write([]byte("late\n")); err != nil {
		t.Errorf("after close: %v", err)
	}
}

// blocked is an output that nobody reads until gate closes.
type blocked struct {
	gate chan struct{}
	strings.Builder
}

func (b *blocked) Write(line []byte) (int, error) {
	<-b.gate
	return b.Builder.Write(line)
}
