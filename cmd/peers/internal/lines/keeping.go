package lines

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

// Keeping compares Outrigger with itself, with and without retention and compaction at work. It stands for all of
// KeepingNames, which are lines of Kafka's comparison measured anew:
//
//	            both sides, before a sample        │ while it is measured
//	overwritten keys, of which a tenth stays ──────┼─> kept: one topic after the other is compacted
//	records that expire one after the other ───────┼─> kept: retention deletes them
//	the line's own topic, where the line writes ───┼─> kept: retention deletes what is older than a third of the time
//	                                               └─> kept: a small log, so that full files are drained
const Keeping = "keeping"

// KeepingNames are the lines that Keeping stands for. They are not among Names: they would double the run.
var KeepingNames = keepingLines()

// keptLines are lines in whose time something may have to be drained, deleted and compacted. Clusters that start, and that
// are at rest, have nothing to drain, delete or compact.
var keptLines = append(slices.Clone(warmLines), Partitions, Failover)

func keepingLines() []string {
	var names []string
	for _, line := range keptLines {
		names = append(names, keepingLine(line))
	}
	return names
}

const keepingPrefix = Keeping + "-"

func keepingLine(line string) string { return keepingPrefix + line }

// NeedKafka reports whether a line among these is of Kafka, too.
func NeedKafka(chosen []string) bool {
	return slices.ContainsFunc(chosen, func(name string) bool { return !slices.Contains(KeepingNames, name) })
}

// keepingSystems are what is compared.
var keepingSystems = []system.Name{system.Bare, system.Kept}

// keepingOrder is in which order they are measured: the other one in every second pair, so that a machine that becomes
// faster or slower, or has had to find memory for the first, favours neither.
func keepingOrder(pair int) []system.Name {
	order := slices.Clone(keepingSystems)
	if pair%2 == 0 {
		slices.Reverse(order)
	}
	return order
}

const (
	// keepingGoal: no line may be worse by more than this.
	keepingGoal = 0.95
	without     = "without"
)

// keepingCatalog holds the figures of lines against those without retention and compaction, and tells beside each
// line what was done meanwhile. What brokers spend per byte has no goal: they do more.
func keepingCatalog(of []score.Metric) []score.Metric {
	var all []score.Metric
	for _, line := range keptLines {
		for _, m := range of {
			if m.Line != line || m.Peer != kafka || strings.HasSuffix(m.Ours, ".ceiling") {
				continue
			}
			_, figure, _ := strings.Cut(m.Ours, "/")
			goal := keepingGoal
			if strings.HasSuffix(figure, ".cpu") {
				goal = 0
			}
			all = append(all, keepingMetric(score.Metric{Line: line, Name: m.Name, Unit: m.Unit, Lower: m.Lower, Goal: goal}, figure))
		}
		for _, done := range choreFigures {
			all = append(all, keepingMetric(score.Metric{Line: line, Name: done.name, Unit: done.unit}, line+"."+done.figure))
		}
	}
	return all
}

func keepingMetric(m score.Metric, figure string) score.Metric {
	m.Line, m.Peer = keepingLine(m.Line), without
	m.Ours, m.Theirs = string(system.Kept)+"/"+figure, string(system.Bare)+"/"+figure
	return m
}

// keptFor is after what part of a sample's time retention deletes what the sample has written.
const keptFor = 3

// retentionLooks is how often retention looks in the time for which records are kept. By default that is about once in two
// thousandths of it, and each look moves the log start of each partition.
const retentionLooks = 2

// KeptSets configures the brokers that keep order. All that topics inherit has to come within the window, so
// retention and compaction look often.
func (c Config) KeptSets() []string {
	return []string{
		fmt.Sprintf("log.retention.ms=%d", c.retention().Milliseconds()),
		fmt.Sprintf("log.retention.check.interval.ms=%d", c.retention().Milliseconds()/retentionLooks),
		"log.cleaner.backoff.ms=1000",
		"wal.retained.bytes=1073741824",
	}
}

func (c Config) retention() time.Duration { return max(time.Second, c.sampled().to/keptFor) }

// sampled is the window of a line that writes, from when its bench is started.
func (c Config) sampled() window {
	from := time.Duration(c.Warmup * float64(time.Second))
	return window{from: from, to: from + time.Duration(c.Seconds*float64(time.Second))}
}

// ours starts clusters of Outrigger, by whatever name.
func (r *Runner) ours(name system.Name) system.OutriggerStarter {
	o := r.cfg.Outrigger
	o.Name = name
	if name == system.Kept {
		o.Sets = slices.Concat(r.cfg.KeptSets(), o.Sets)
	}
	return o
}

func (r *Runner) keepingPair(ctx context.Context) error {
	for _, name := range KeepingNames {
		if !r.wants(name) {
			continue
		}
		take := func() error { return r.eachInTurn(ctx, name, keepingOrder(r.pair), r.keeping) }
		if name == keepingLine(Failover) {
			take = func() error { return r.keepingFailovers(ctx) }
		}
		if err := take(); err != nil {
			return err
		}
	}
	return nil
}

// keepingFailovers has clusters of their own, of which a broker dies.
func (r *Runner) keepingFailovers(ctx context.Context) error {
	for _, name := range keepingOrder(r.pair) {
		c, err := r.start(ctx, name)
		if err != nil {
			return err
		}
		r.sample(ctx, keepingLine(Failover), string(name), func() (score.Values, error) {
			if err := r.awaitHealthy(ctx, c); err != nil {
				return nil, err
			}
			return r.keeping(ctx, keepingLine(Failover), c)
		})
		if err := c.Stop(); err != nil {
			return err
		}
		system.FlushDisks()
	}
	return ctx.Err()
}

// beforeFailover is a window that ends while all brokers tell what they do. What is compacted by then goes on.
var beforeFailover = window{from: failoverWarmup * time.Second, to: (failoverWarmup + failoverSeconds/3 - 1) * time.Second}

// keeping takes a line while one of the systems keeps order. Both hold the same beside it.
func (r *Runner) keeping(ctx context.Context, name string, c *system.Cluster) (values score.Values, err error) {
	line := strings.TrimPrefix(name, keepingPrefix)
	if line == Cold { // It may take minutes, in which all would expire.
		if err := r.fillCold(ctx, c); err != nil {
			return nil, err
		}
	}
	w := r.window(line, c.Name)
	u, err := r.newUpkeep(c, w)
	if err != nil {
		return nil, err
	}
	defer func() { err = u.end(ctx, err) }()
	if err := u.fill(ctx); err != nil {
		return nil, err
	}
	take := func() (score.Values, error) { return r.measure(ctx, line, c) }
	switch line {
	case Tail:
		f := filling{topic: u.topic("tail"), bytes: r.cfg.TailBytes}
		if err := r.fill(ctx, line, c, f); err != nil {
			return nil, err
		}
		take = r.again(func() (score.Values, error) { return r.consuming(ctx, line, c, "--topic", f.topic) })
	case Cold:
		take = r.again(take)
	case Failover:
		take = func() (score.Values, error) { return r.failover(ctx, c, "--verify=false") }
	case Partitions:
		topic := u.topic("many")
		if err := primeMany(ctx, c, topic); err != nil {
			return nil, err
		}
		take = func() (score.Values, error) { return r.producing(ctx, line, c, r.cfg.timing(), intoMany(topic)...) }
	}
	return u.beside(ctx, line, w, take)
}

// again takes a sample anew for as long as a window lasts, and returns the means: to read once may take less time than
// it takes until a compaction begins.
func (r *Runner) again(take func() (score.Values, error)) func() (score.Values, error) {
	return func() (score.Values, error) {
		var all []score.Values
		for began := time.Now(); time.Since(began).Seconds() < r.cfg.Seconds; {
			one, err := take()
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		return score.Means(all), nil
	}
}

// window is that of a line. What reads is over when all is read, some time after the length of a window: how long one
// reading takes is guessed by the last one.
func (r *Runner) window(line string, name system.Name) window {
	w := r.cfg.sampled()
	if line == Failover {
		return beforeFailover
	}
	bytes, reads := map[string]int64{Tail: r.cfg.TailBytes, Cold: r.cfg.ColdBytes}[line]
	if !reads {
		return w
	}
	w = window{to: w.to - w.from, open: true}
	if mbps := r.rates[string(name)+"/"+line+".mbps"]; mbps > 0 {
		w.to = max(w.to, time.Duration(float64(bytes)/1e6/mbps*float64(time.Second)))
	}
	return w
}
