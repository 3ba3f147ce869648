package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// benchReport is the part of `outrigger bench --json` that the tests look at.
type benchReport struct {
	Cluster struct {
		Brokers     int    `json:"brokers"`
		FlushPolicy string `json:"flush_policy"`
	} `json:"cluster"`
	Results map[string]struct {
		Records          int64              `json:"records"`
		RecordsPerSecond float64            `json:"records_per_second"`
		Latency          map[string]float64 `json:"latency_ms"`
	} `json:"results"`
	Processors struct {
		Brokers       int     `json:"brokers"`
		BrokerSeconds float64 `json:"broker_seconds"`
	} `json:"processors"`
	Failover *struct {
		AnyMillis       float64   `json:"any_ms"`
		PartitionMillis []float64 `json:"partition_ms"`
		RecoveredMillis float64   `json:"recovered_ms"`
	} `json:"failover"`
	Verification struct {
		OK    bool     `json:"ok"`
		Acked int      `json:"acked"`
		Seen  int      `json:"seen"`
		Wrong []string `json:"wrong"`
	} `json:"verification"`
	Series []struct{} `json:"series"`
}

// bench runs `outrigger bench` for a moment, and returns its report and exit code.
func bench(t *testing.T, args ...string) (benchReport, int) {
	t.Helper()
	bin, err := binaries.plain()
	if err != nil {
		t.Fatal(err)
	}
	const benchWithin = 2 * time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), benchWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"bench", "--json", "--seconds", "2", "--warmup", "1"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // a history that is not valid is kept
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var r benchReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("bench %v ended with %v and printed %q\n%s", args, cmd.ProcessState, out, said.String())
	}
	return r, cmd.ProcessState.ExitCode()
}

// A short run of every mode measures something, and verifies all of it.
func TestBenchMeasuresAndVerifiesInEveryMode(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		// results are those that must count something.
		results []string
	}{
		{"produce at full speed", []string{"produce", "--compression", "lz4"}, []string{"produced"}},
		// what one broker acknowledged is read once the others have it, too
		{"produce with acks=1", []string{"produce", "--acks", "1"}, []string{"produced"}},
		{"produce at a rate", []string{"produce", "--rate", "500", "--partitioner", "sticky", "--record-bytes", "16"}, []string{"produced"}},
		{"consume", []string{"consume", "--fill-bytes", "4000000", "--consumers", "2"}, []string{"consumed"}},
		{"end-to-end", []string{"end-to-end", "--rate", "200"}, []string{"produced", "consumed"}},
		{"mixed", []string{"mixed", "--record-bytes", "100", "--producers", "1", "--buffer-bytes", "100000"},
			[]string{"produced", "consumed", "reread"}},
		{"failover", []string{"failover", "--rate", "300", "--seconds", "6"}, []string{"produced"}},
		{"create", []string{"create", "--topics", "20"}, []string{"created"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, code := bench(t, append(c.args, "--own")...)
			if code != 0 || !r.Verification.OK || r.Verification.Acked == 0 || r.Verification.Seen != r.Verification.Acked {
				t.Errorf("got exit code %d and %+v, want a run that verifies", code, r.Verification)
			}
			for _, name := range c.results {
				got := r.Results[name]
				if got.Records == 0 || got.RecordsPerSecond <= 0 || got.Latency["max"] <= 0 || got.Latency["p50"] > got.Latency["p99"] {
					t.Errorf("got %s %+v, want records with latencies", name, got)
				}
			}
			if r.Cluster.Brokers != 3 || !strings.HasPrefix(r.Cluster.FlushPolicy, "always") || r.Processors.Brokers != 3 {
				t.Errorf("got %+v and processors %+v, want three brokers that always sync", r.Cluster, r.Processors)
			}
			if c.name == "failover" {
				benchFailedOver(t, r)
			}
		})
	}
}

func benchFailedOver(t *testing.T, r benchReport) {
	t.Helper()
	g := r.Failover
	if g == nil || g.RecoveredMillis <= 0 || len(g.PartitionMillis) != 6 || slices.Max(g.PartitionMillis) < g.AnyMillis {
		t.Fatalf("got failover %+v, want writes to all partitions again after the kill", g)
	}
	t.Logf("no acknowledgement for %.0f ms, writes everywhere %.0f ms after the kill", g.AnyMillis, g.RecoveredMillis)
}

// A cluster that runs already is measured by its addresses, its processes are known by its ready line,
// and nothing stays behind in it.
func TestBenchMeasuresARunningClusterAndLeavesNothing(t *testing.T) {
	c := start(t, options{})
	dir := t.TempDir()
	ready, csv, plot := filepath.Join(dir, "ready"), filepath.Join(dir, "out.csv"), filepath.Join(dir, "out.svg")
	if err := os.WriteFile(ready, []byte(strings.Join(c.stdout.lines(), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, code := bench(t, "produce", "--ready", ready, "--rate", "300", "--csv", csv, "--plot", plot)
	if code != 0 || !r.Verification.OK || r.Processors.Brokers != 3 || r.Processors.BrokerSeconds <= 0 || len(r.Series) < 2 {
		t.Errorf("got exit code %d, %+v, processors %+v, %d rows", code, r.Verification, r.Processors, len(r.Series))
	}
	for path, want := range map[string]string{csv: "measured,produced", plot: "<svg"} {
		if text, err := os.ReadFile(path); err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("got %v and %q, want %s", err, text, want)
		}
	}
	if r, code := bench(t, "create", "--bootstrap-server", strings.Join(c.kafka, ","), "--topics", "5"); code != 0 || r.Verification.Seen != 5 {
		t.Errorf("got exit code %d and %+v, want five topics", code, r.Verification)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(t.Context())
	if err != nil || len(topics) != 0 {
		t.Errorf("got topics %v and %v, want none to be left", topics.Names(), err)
	}
}

// The broker stands still for a second of five, and the producer has room for four records. A clock that
// begins when a record is sent would call four records slow; from when they were due it is a thousand.
func TestBenchCountsAStallForEverythingItDelayed(t *testing.T) {
	const stall = time.Second
	c := start(t, options{brokers: 1})
	c.createTopic(0, "stalled", 1, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	stalled := make(chan error, 1)
	go func() {
		admin := kadm.NewClient(client)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for ends := int64(0); ends < 2000; <-ticker.C { // the window begins at 1000
			listed, err := admin.ListEndOffsets(t.Context(), "stalled")
			if err != nil {
				stalled <- err
				return
			}
			end, _ := listed.Lookup("stalled", 0)
			ends = end.Offset
		}
		err := syscall.Kill(c.pids[0], syscall.SIGSTOP)
		<-time.After(stall)
		stalled <- errors.Join(err, syscall.Kill(c.pids[0], syscall.SIGCONT))
	}()
	r, code := bench(t, "produce", "--bootstrap-server", c.kafka[0], "--topic", "stalled", "--rate", "1000", "--producers", "1",
		"--buffer-bytes", "4096", "--linger", "0", "--seconds", "5")
	if err := <-stalled; err != nil {
		t.Fatal(err)
	}
	latency := r.Results["produced"].Latency
	if code != 0 || latency["p90"] < 300 {
		t.Errorf("got exit code %d and latencies %v, want a fifth of the records to wait for up to a second", code, latency)
	}
}

// A record at an offset of the run that the run did not send is found, and the exit code says so.
func TestBenchFailsIfTheTopicHoldsWhatItDidNotSend(t *testing.T) {
	c := start(t, options{})
	c.createTopic(0, "shared", 3, 3)
	client, err := kgo.NewClient(clientOptions(c.kafka, kgo.DefaultProduceTopic("shared"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, stop := context.WithCancel(t.Context())
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		for ctx.Err() == nil {
			_ = client.ProduceSync(ctx, kgo.StringRecord("of somebody else")).FirstErr()
		}
	}()
	r, code := bench(t, "produce", "--bootstrap-server", c.kafka[0], "--topic", "shared", "--rate", "200")
	stop()
	<-sending
	if code != 1 || r.Verification.OK || !slices.ContainsFunc(r.Verification.Wrong, func(s string) bool { return strings.HasPrefix(s, "garbage") }) {
		t.Errorf("got exit code %d and %+v, want garbage to be found", code, r.Verification)
	}
}
