package lines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

// Runner measures. It is for one goroutine.
type Runner struct {
	cfg Config
	// warm are the clusters that live as long as the run.
	warm map[system.Name]*system.Cluster
	// filled are the systems whose topic for cold reads is there.
	filled map[system.Name]bool
	probes int
	// rates are the latest figures of lines that write, of any pair.
	rates score.Values
	// roomWithin bounds the wait for room on the disk.
	roomWithin time.Duration

	pair int
	// values are those of the pair.
	values score.Values

	found Findings
}

// Findings are what a run found.
type Findings struct {
	// Version is that of the bench, which is ours.
	Version string         `json:"version"`
	Machine Machine        `json:"machine"`
	Pairs   []score.Values `json:"pairs"`
	// Warmings are what each system got before the first pair.
	Warmings []Warming `json:"warmings"`
	// Dropped says that the page cache was dropped before cold reads.
	Dropped bool `json:"cache_dropped"`
	// Failures are samples that are missing, or of which something is wrong.
	Failures []string `json:"failures"`
}

// New returns a runner.
func New(cfg Config) *Runner {
	return &Runner{cfg: cfg, warm: map[system.Name]*system.Cluster{}, filled: map[system.Name]bool{},
		rates: score.Values{}, roomWithin: roomWithin}
}

func (r *Runner) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(r.cfg.Lines, name) })
}

// warmLines need a cluster that has run for a while. Partitions and Sticky are apart: what a system does when a
// thousand partitions are deleted, minutes later, must not be in the figures of other lines.
var warmLines = []string{Throughput, Small, Single, Latency, Tail, Cold, EndToEnd}

// Run measures all pairs: first of the lines with clusters of their own, then of those with warm ones,
// then of those with many partitions, then of ours against ours. What it found so far comes with an error, too.
func (r *Runner) Run(ctx context.Context) (found Findings, err error) {
	defer func() {
		for _, c := range r.warm {
			err = errors.Join(err, c.Stop())
		}
		found = r.found
	}()
	for range r.cfg.Pairs {
		r.found.Pairs = append(r.found.Pairs, score.Values{"spike/mbps": spikeRate})
	}
	for _, phase := range []func(context.Context) error{r.fresh, r.warmPair, r.manyPartitions, r.keepingPair} {
		for r.pair = 1; r.pair <= r.cfg.Pairs; r.pair++ {
			r.values = r.found.Pairs[r.pair-1]
			if err := errors.Join(phase(ctx), ctx.Err()); err != nil {
				return r.found, err
			}
		}
	}
	return r.found, nil
}

// warmPair goes through the lines of a pair. Samples that fail are noted; only the end of ctx, and
// clusters that do not start, end the run.
func (r *Runner) warmPair(ctx context.Context) error {
	if r.wants(WAL) {
		r.sample(ctx, WAL, "outrigger and plain", func() (score.Values, error) { return r.walAlone(ctx) })
	}
	for _, line := range warmLines {
		if err := r.inTurn(ctx, line); err != nil {
			return err
		}
		if line == Cold && r.wants(line) {
			r.sample(ctx, line, "plain", func() (score.Values, error) { return r.plainCopy(ctx) })
		}
	}
	if r.wants(JetStream) {
		return r.jetStream(ctx)
	}
	return nil
}

func (r *Runner) manyPartitions(ctx context.Context) error {
	for _, line := range []string{Partitions, Sticky} {
		if err := r.inTurn(ctx, line); err != nil {
			return err
		}
	}
	return nil
}

// measurement takes a line of a warm cluster.
type measurement func(ctx context.Context, line string, c *system.Cluster) (score.Values, error)

// inTurn measures a line of Kafka, then of ours.
func (r *Runner) inTurn(ctx context.Context, line string) error {
	if !r.wants(line) {
		return nil
	}
	return r.eachInTurn(ctx, line, []system.Name{system.Kafka, system.Outrigger}, r.measure)
}

func (r *Runner) eachInTurn(ctx context.Context, line string, names []system.Name, measure measurement) error {
	if err := r.warmUp(ctx, names); err != nil {
		return err
	}
	for _, name := range names {
		err := r.awake(ctx, name, func(c *system.Cluster) {
			r.sample(ctx, line, string(name), func() (score.Values, error) { return measure(ctx, line, c) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sample takes figures, and keeps them with the name of whose they are. Figures that come with an
// error are not kept: the pair then has none, and says why.
func (r *Runner) sample(ctx context.Context, line, who string, take func() (score.Values, error)) {
	if ctx.Err() != nil {
		return
	}
	values, err := take()
	if err != nil {
		if ctx.Err() == nil {
			r.fail(line, who, err)
		}
		return
	}
	maps.Copy(r.values, values)
	var shown []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		shown = append(shown, fmt.Sprintf("%s %.4g", key, values[key]))
	}
	r.say("%s", strings.Join(shown, ", "))
}

func (r *Runner) fail(line, who string, err error) {
	text := fmt.Sprintf("pair %d, %s, %s: %s", r.pair, line, who, strings.ReplaceAll(err.Error(), "\n", "; "))
	r.found.Failures = append(r.found.Failures, text)
	r.say("failed: %s", text)
}

func (r *Runner) say(format string, args ...any) {
	fmt.Fprintf(r.cfg.Progress, "pair %d of %d: %s\n", r.pair, r.cfg.Pairs, fmt.Sprintf(format, args...))
}

func (r *Runner) noteMachine(report *benchReport) {
	if r.found.Version == "" {
		r.found.Version, r.found.Machine = report.Version, report.Machine
	}
}
