// Package bench runs `outrigger bench` for tests and reads its report. Its own tests play every mode, in
// clusters that the bench starts; those that need one of the tests' own are in package e2e.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Report is the part of `outrigger bench --json` that the tests look at.
type Report struct {
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

// within bounds one run.
const within = 2 * time.Minute

// Run runs `outrigger bench` of a binary for a moment, and returns its report and exit code.
func Run(t testing.TB, binary string, args ...string) (Report, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"bench", "--json", "--seconds", "2", "--warmup", "1"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // a history that is not valid is kept
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("bench %v ended with %v and printed %q\n%s", args, cmd.ProcessState, out, said.String())
	}
	return r, cmd.ProcessState.ExitCode()
}
