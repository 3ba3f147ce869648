package system

import (
	"net"
	"strings"
	"testing"
	"time"
)

func TestStatSumsUserAndSystem(t *testing.T) {
	line := "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 100 1 2"
	if got, err := parseStat([]byte(line)); err != nil || got != 2*time.Second {
		t.Errorf("got %v %v, want 2s", got, err)
	}
	if got, err := parseStat([]byte("12 (a) S 1")); err == nil {
		t.Errorf("a short line: got %v, want an error", got)
	}
}

func TestRollupReadsProportionalMemory(t *testing.T) {
	text := "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss:   900 kB\nPss:   12 kB\nPss_Dirty:  3 kB\n"
	if got, err := parseRollup([]byte(text)); err != nil || got != 12<<10 {
		t.Errorf("got %d %v, want 12288", got, err)
	}
	if got, err := parseRollup([]byte("Rss: 1 kB\n")); err == nil {
		t.Errorf("without the line: got %d, want an error", got)
	}
}

func TestReadyLineNamesThreeProcesses(t *testing.T) {
	if pids, ok := pidsIn("ready kafka=127.0.0.1:1 nats=x pids=4,5,6"); !ok || len(pids) != 3 || pids[2] != 6 {
		t.Errorf("got %v %v, want [4 5 6]", pids, ok)
	}
	for _, line := range []string{"", "ready kafka=x", "ready pids=4,5", "ready pids=4,5,x", "not ready pids=4,5,6"} {
		if pids, ok := pidsIn(line); ok {
			t.Errorf("%q: got %v, want nothing", line, pids)
		}
	}
}

func TestFreePortsAreARunThatCanBeListenedOn(t *testing.T) {
	first, err := freePorts(2 * nodes)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range append(addresses(first), addresses(first+nodes)...) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("listen on %s: %v", address, err)
			continue
		}
		l.Close()
	}
}

// What is compared is Kafka as it comes: whoever adds a setting here has to say so in the output.
func TestKafkaIsLeftAsItComes(t *testing.T) {
	text := kafkaProperties(1, []string{"a:1", "a:2", "a:3"}, []string{"a:4", "a:5", "a:6"}, "/data")
	want := []string{"process.roles", "node.id", "controller.quorum.voters", "listeners", "advertised.listeners",
		"controller.listener.names", "listener.security.protocol.map", "log.dirs", "log.segment.delete.delay.ms"}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		if key, _, _ := strings.Cut(line, "="); i >= len(want) || key != want[i] {
			t.Errorf("line %d: got %q, want %v", i, line, want)
		}
	}
	if !strings.Contains(text, "voters=1@a:4,2@a:5,3@a:6\n") || !strings.Contains(text, "listeners=PLAINTEXT://a:2,CONTROLLER://a:5\n") {
		t.Errorf("got %s", text)
	}
}

func TestJetStreamSyncsAlways(t *testing.T) {
	text := jetStreamConfig(0, []string{"a:1"}, []string{"a:4", "a:5"}, "/data")
	for _, want := range []string{"sync_interval: always", `routes: ["nats://a:4", "nats://a:5"]`, `store_dir: "/data"`} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s, want %s in it", text, want)
		}
	}
}
