package lines

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"outrigger/cmd/peers/internal/system"
)

// benchReport is what we read of the report of `outrigger bench --json`.
type benchReport struct {
	Version string                 `json:"version"`
	Machine Machine                `json:"machine"`
	Results map[string]benchResult `json:"results"`
	Behind  int64                  `json:"behind"`
	Errors  map[string]int64       `json:"errors"`

	Processors struct {
		Brokers int     `json:"brokers"`
		PerGB   float64 `json:"broker_seconds_per_gb"`
		Client  float64 `json:"client_seconds"`
		Seconds float64 `json:"seconds"`
	} `json:"processors"`
	Failover     *benchGaps `json:"failover"`
	Verification struct {
		OK   bool   `json:"ok"`
		Text string `json:"text"`
	} `json:"verification"`
}

type benchGaps struct {
	WorstMillis float64 `json:"worst_ms"`
	AnyMillis   float64 `json:"any_ms"`
}

type benchResult struct {
	Records          int64              `json:"records"`
	RecordsPerSecond float64            `json:"records_per_second"`
	MBPerSecond      float64            `json:"mb_per_second"`
	Latency          map[string]float64 `json:"latency_ms"`
}

// Machine is that on which everything ran, as the bench tells it.
type Machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryMB   int64  `json:"memory_mb"`
	Kernel     string `json:"kernel"`
	Load       string `json:"load_average"`
	FileSystem string `json:"file_system"`
}

// The results of a report.
const (
	produced = "produced"
	consumed = "consumed"
)

// benchSlack is what a run may take beyond its window: topic, verification, and a busy machine.
const benchSlack = 5 * time.Minute

// bench runs the bench against a cluster. An error is also what was measured and does not stand.
func (r *Runner) bench(ctx context.Context, c *system.Cluster, seconds float64, args ...string) (*benchReport, error) {
	ctx, cancel := context.WithTimeout(ctx, benchSlack+time.Duration(seconds*float64(time.Second)))
	defer cancel()
	var pids []string
	for _, pid := range c.PIDs {
		pids = append(pids, strconv.Itoa(pid))
	}
	args = append(append([]string{"bench"}, args...), "--json", "--quiet", "--log-level", "error",
		"--bootstrap-server", strings.Join(c.Servers, ","), "--pids", strings.Join(pids, ","))
	var out, says bytes.Buffer
	cmd := exec.CommandContext(ctx, r.cfg.Bench, args...)
	cmd.Stdout, cmd.Stderr = &out, &says
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = benchGrace
	err := cmd.Run()
	report := &benchReport{}
	if decoding := json.Unmarshal(out.Bytes(), report); decoding != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(args[:2], " "), errors.Join(err, ctx.Err(), decoding), tail(says.Bytes()))
	}
	r.noteMachine(report)
	return report, errors.Join(err, report.doubts())
}

const (
	benchGrace   = 20 * time.Second
	tailBytesMax = 500
)

func tail(text []byte) []byte { return bytes.TrimSpace(text[max(0, len(text)-tailBytesMax):]) }

// doubts is why the figures of a report cannot be relied upon.
func (b *benchReport) doubts() error {
	var errs []error
	for code, n := range b.Errors {
		errs = append(errs, fmt.Errorf("%d times %s", n, code))
	}
	if !b.Verification.OK {
		errs = append(errs, errors.New(b.Verification.Text))
	}
	for name, of := range b.Results {
		if !(of.MBPerSecond > 0) {
			errs = append(errs, fmt.Errorf("nothing was %s in the window", name))
		}
	}
	if b.Behind > 0 {
		errs = append(errs, fmt.Errorf("%d records behind the rate", b.Behind))
	}
	return errors.Join(errs...)
}

// ceiling is the rate at which the client alone would keep the whole machine busy, in MB/s: what brokers that
// cost nothing could reach here. 0 is unknown.
func (b *benchReport) ceiling(rate float64) float64 {
	if !(b.Processors.Client > 0) {
		return 0
	}
	return rate * float64(b.Machine.Cores) * b.Processors.Seconds / b.Processors.Client
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
