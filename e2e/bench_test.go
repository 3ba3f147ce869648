package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/bench"
)

// runBench runs `outrigger bench` for a moment, and returns its report and exit code.
func runBench(t *testing.T, args ...string) (bench.Report, int) {
	t.Helper()
	binary, err := binaries.plain()
	if err != nil {
		t.Fatal(err)
	}
	return bench.Run(t, binary, args...)
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
	r, code := runBench(t, "produce", "--ready", ready, "--rate", "300", "--csv", csv, "--plot", plot)
	if code != 0 || !r.Verification.OK || r.Processors.Brokers != 3 || r.Processors.BrokerSeconds <= 0 || len(r.Series) < 2 {
		t.Errorf("got exit code %d, %+v, processors %+v, %d rows", code, r.Verification, r.Processors, len(r.Series))
	}
	for path, want := range map[string]string{csv: "measured,produced", plot: "<svg"} {
		if text, err := os.ReadFile(path); err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("got %v and %q, want %s", err, text, want)
		}
	}
	if r, code := runBench(t, "create", "--bootstrap-server", strings.Join(c.kafka, ","), "--topics", "5"); code != 0 || r.Verification.Seen != 5 {
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
	stalled, over := make(chan error, 1), make(chan struct{})
	go func() {
		admin := kadm.NewClient(client)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for ends := int64(0); ends == 0; {
			select {
			case <-ticker.C:
			case <-over:
				stalled <- errors.New("the bench is over, and has written nothing")
				return
			}
			listed, err := admin.ListEndOffsets(t.Context(), "stalled")
			if err != nil {
				stalled <- err
				return
			}
			end, _ := listed.Lookup("stalled", 0)
			ends = end.Offset
		}
		<-time.After(2 * time.Second) // The window begins after one.
		err := syscall.Kill(c.pids[0], syscall.SIGSTOP)
		<-time.After(stall)
		stalled <- errors.Join(err, syscall.Kill(c.pids[0], syscall.SIGCONT))
	}()
	r, code := runBench(t, "produce", "--bootstrap-server", c.kafka[0], "--topic", "stalled", "--rate", "1000", "--producers", "1",
		"--buffer-bytes", "4096", "--linger", "0", "--seconds", "5")
	close(over)
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
	r, code := runBench(t, "produce", "--bootstrap-server", c.kafka[0], "--topic", "shared", "--rate", "200")
	stop()
	<-sending
	if code != 1 || r.Verification.OK || !slices.ContainsFunc(r.Verification.Wrong, func(s string) bool { return strings.HasPrefix(s, "garbage") }) {
		t.Errorf("got exit code %d and %+v, want garbage to be found", code, r.Verification)
	}
}
