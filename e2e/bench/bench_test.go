package bench

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A short run of every mode measures something, and verifies all of it.
func TestBenchMeasuresAndVerifiesInEveryMode(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "outrigger")
	if out, err := exec.Command("go", "build", "-o", binary, "outrigger/cmd/outrigger").CombinedOutput(); err != nil {
		t.Fatalf("build outrigger: %v\n%s", err, out)
	}
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
			r, code := Run(t, binary, append(c.args, "--own")...)
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

func benchFailedOver(t *testing.T, r Report) {
	t.Helper()
	g := r.Failover
	if g == nil || g.RecoveredMillis <= 0 || len(g.PartitionMillis) != 6 || slices.Max(g.PartitionMillis) < g.AnyMillis {
		t.Fatalf("got failover %+v, want writes to all partitions again after the kill", g)
	}
	t.Logf("no acknowledgement for %.0f ms, writes everywhere %.0f ms after the kill", g.AnyMillis, g.RecoveredMillis)
}
