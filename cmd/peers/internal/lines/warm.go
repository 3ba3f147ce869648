package lines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"outrigger/cmd/peers/internal/plain"
	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

// warmLoad warms what some lines run. A round of it is short, so that loads take turns: what a JVM compiled for one of
// them it may have to compile anew for the next.
type warmLoad struct {
	name  string
	lines []string
	// result is what of its report is its rate.
	result string
	args   []string
}

// warmLoads are the lines' own, but for those that run what another one does: brokers read tail and cold
// by the same code, and end-to-end, whose rate is given, is level by itself after its rounds.
var warmLoads = []warmLoad{
	{"1 KiB", []string{Throughput, Single, Latency}, produced, []string{"produce"}},
	{"100 B", []string{Small}, produced, []string{"produce", "--record-bytes", "100"}},
	{"1 KiB, 100 partitions", []string{Partitions, Sticky}, produced, []string{"produce", "--partitions", "100"}},
	{"fetch", []string{Tail, Cold}, consumed, []string{"consume"}},
	{"end-to-end", []string{EndToEnd}, consumed, []string{"end-to-end", "--rate", "1000"}},
}

// loadsFor are those that warm the chosen lines.
func loadsFor(chosen []string) []warmLoad {
	return slices.DeleteFunc(slices.Clone(warmLoads), func(l warmLoad) bool {
		return !slices.ContainsFunc(l.lines, func(line string) bool {
			return slices.Contains(chosen, line) || slices.Contains(chosen, keepingLine(line))
		})
	})
}

// warmUp starts the clusters of the run, once, and loads each of them until it gets no faster: a JVM compiles what
// it runs often, and a cluster of Kafka in production has done that.
func (r *Runner) warmUp(ctx context.Context, names []system.Name) error {
	for _, name := range names {
		if r.warm[name] != nil {
			continue
		}
		c, err := r.start(ctx, name)
		if err != nil {
			return err
		}
		r.warm[name] = c
		if err := r.awaitHealthy(ctx, c); err != nil {
			return err
		}
		round := func(l warmLoad) (float64, error) { return r.warmRound(ctx, c, l) }
		if err := r.warmUntilLevel(ctx, name, round); err != nil {
			return fmt.Errorf("warm %s: %w", name, err)
		}
		if err := c.Pause(); err != nil {
			return err
		}
		system.FlushDisks()
	}
	return nil
}

// warmUntilLevel takes rounds of all loads in turn. One that is level gets no more of them; the time bounds all.
func (r *Runner) warmUntilLevel(ctx context.Context, name system.Name, round func(warmLoad) (float64, error)) error {
	loads := loadsFor(r.cfg.Lines)
	w := Warming{System: name, Loads: make([]Warmed, len(loads))}
	for i, l := range loads {
		w.Loads[i].Load = l.name
	}
	began := time.Now()
	inTime := func() bool { return time.Since(began) < r.cfg.WarmJVM }
	for inTime() && slices.ContainsFunc(w.Loads, func(of Warmed) bool { return of.due() }) {
		for i, l := range loads {
			if !w.Loads[i].due() || !inTime() {
				continue
			}
			rate, err := round(l)
			if ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			if err != nil { // It warms all the same, and may well work once it is warm.
				r.say("warming %s, %s: %s", name, l.name, strings.ReplaceAll(err.Error(), "\n", "; "))
				rate = 0
			}
			w.Loads[i].take(rate)
			r.say("warming %s, %s: %.4g MB/s", name, l.name, rate)
		}
	}
	if r.cfg.WarmJVM > 0 {
		w.Seconds = time.Since(began).Seconds()
	}
	r.found.Warmings = append(r.found.Warmings, w)
	return nil
}

// warmSeconds is the length of a round.
const warmSeconds = 5

func (r *Runner) warmRound(ctx context.Context, c *system.Cluster, l warmLoad) (float64, error) {
	args := append(slices.Clone(l.args), "--verify=false", "--warmup", "0", "--seconds", number(warmSeconds))
	if l.result == consumed {
		args = append(args, "--fill-bytes", number(float64(r.cfg.TailBytes)))
	}
	free := func() (int64, error) { return system.FreeBytes(r.cfg.Dir) }
	if err := r.awaitRoom(ctx, warmSeconds*roomRate*1e6*replicas, free); err != nil {
		return 0, err
	}
	report, err := r.bench(ctx, c, warmSeconds, args...)
	if err != nil {
		return 0, err
	}
	return report.Results[l.result].MBPerSecond, nil
}

func (r *Runner) start(ctx context.Context, name system.Name) (*system.Cluster, error) {
	switch name {
	case system.Kafka:
		return r.cfg.Kafka.Start(ctx)
	case system.JetStream:
		return r.cfg.JetStream.Start(ctx)
	default:
		return r.ours(name).Start(ctx, nil)
	}
}

// awake lets one cluster of the run go on for as long as work takes.
func (r *Runner) awake(ctx context.Context, name system.Name, work func(*system.Cluster)) error {
	c := r.warm[name]
	if err := c.Resume(); err != nil {
		return err
	}
	if err := r.awaitHealthy(ctx, c); err != nil {
		return fmt.Errorf("wait for %s to be whole again: %w", name, err)
	}
	work(c)
	err := c.Pause()
	system.FlushDisks()
	return err
}

// measure takes a line of a warm cluster.
func (r *Runner) measure(ctx context.Context, line string, c *system.Cluster) (score.Values, error) {
	t := r.cfg.timing()
	switch line {
	case Throughput:
		return r.producing(ctx, line, c, t, "--verify=false")
	case Small:
		return r.producing(ctx, line, c, t, "--verify=false", "--record-bytes", "100")
	case Single:
		return r.producing(ctx, line, c, t, "--verify=false", "--producers", "1", "--partitions", "1",
			"--linger", "0s", "--max-in-flight", "5")
	case Partitions:
		return r.many(ctx, line, c)
	case Sticky:
		return r.many(ctx, line, c, "--partitioner", "sticky")
	case Latency:
		rate, err := r.halfLoad(c.Name)
		if err != nil {
			return nil, err
		}
		return r.producing(ctx, line, c, t, "--rate", number(float64(int64(rate))), verifying(c.Name))
	case EndToEnd:
		report, err := r.bench(ctx, c, r.cfg.Seconds, append([]string{"end-to-end", "--rate", "1000", verifying(c.Name)}, t.args()...)...)
		if err != nil {
			return nil, err
		}
		return valuesOf(c, line, report, consumed), nil
	case Tail:
		return r.consuming(ctx, line, c, "--fill-bytes", number(float64(r.cfg.TailBytes)))
	case Cold:
		return r.cold(ctx, c)
	}
	return nil, fmt.Errorf("nobody knows how to measure %s", line)
}

// timing is how long a bench runs, in seconds: before its window, and in it.
type timing struct{ warmup, window float64 }

func (c Config) timing() timing { return timing{warmup: c.Warmup, window: c.Seconds} }

func (t timing) args() []string {
	return []string{"--seconds", number(t.window), "--warmup", number(t.warmup)}
}

func (t timing) whole() float64 { return t.warmup + t.window }

// verifying says whether a bench reads back what it has written: what is deleted meanwhile it cannot.
func verifying(name system.Name) string {
	return fmt.Sprintf("--verify=%t", !slices.Contains(keepingSystems, name))
}

// halfLoad is about half of what the slower one of the two can take, in records a second. Where both are ours, it is
// a quarter of what the one without retention and compaction takes, which is about the same load: Kafka's maximum is
// near half of it.
func (r *Runner) halfLoad(name system.Name) (rate float64, err error) {
	slower, part := system.Kafka, 0.5
	if slices.Contains(keepingSystems, name) {
		slower, part = system.Bare, 0.25
	}
	if rate = part * r.values[string(slower)+"/"+Throughput+".records"]; rate < 1 {
		return 0, fmt.Errorf("the maximum of %s is not known", slower)
	}
	return rate, nil
}

func (r *Runner) producing(ctx context.Context, line string, c *system.Cluster, t timing, args ...string) (score.Values, error) {
	free := func() (int64, error) { return system.FreeBytes(r.cfg.Dir) }
	if err := r.awaitRoom(ctx, r.room(line, c.Name, t), free); err != nil {
		return nil, err
	}
	report, err := r.bench(ctx, c, t.whole(), slices.Concat([]string{"produce"}, t.args(), args)...)
	if err != nil {
		return nil, err
	}
	values := valuesOf(c, line, report, produced)
	maps.Copy(r.rates, values)
	return values, nil
}

func (r *Runner) consuming(ctx context.Context, line string, c *system.Cluster, args ...string) (score.Values, error) {
	report, err := r.bench(ctx, c, 0, append([]string{"consume", "--verify=false"}, args...)...)
	if err != nil {
		return nil, err
	}
	values := valuesOf(c, line, report, consumed)
	maps.Copy(r.rates, values)
	return values, nil
}

// valuesOf names the figures of a report.
func valuesOf(c *system.Cluster, line string, report *benchReport, result string) score.Values {
	of := report.Results[result]
	prefix := string(c.Name) + "/" + line + "."
	return score.Values{
		prefix + "mbps": of.MBPerSecond, prefix + "records": of.RecordsPerSecond, prefix + "cpu": report.Processors.PerGB,
		prefix + "ceiling": report.ceiling(of.MBPerSecond),
		prefix + "p50":     of.Latency["p50"], prefix + "p99": of.Latency["p99"], prefix + "p99.9": of.Latency["p99.9"],
	}
}

const (
	manyPartitions = 1000
	primedWithin   = 5 * time.Minute
	// manyWarmup is the least time between the first records into many partitions and the window. By then
	// Kafka has acknowledged what its first half minute let time out.
	manyWarmup = 30
)

// many measures a topic of many partitions, each of which has acknowledged a record before: what making them
// costs is not in the window. Neither is the time until a system answers within request.timeout.ms: loaded from the
// first moment on, every produce request to Kafka timed out (REQUEST_TIMED_OUT) and was made again.
func (r *Runner) many(ctx context.Context, line string, c *system.Cluster, args ...string) (score.Values, error) {
	r.probes++
	topic := fmt.Sprintf("peers-many-%d", r.probes)
	if err := primeMany(ctx, c, topic); err != nil {
		return nil, err
	}
	t := r.cfg.timing()
	t.warmup = max(t.warmup, manyWarmup)
	values, err := r.producing(ctx, line, c, t, slices.Concat(intoMany(topic), args)...)
	return values, errors.Join(err, deleteTopic(ctx, c.Servers, topic))
}

func intoMany(topic string) []string { return []string{"--verify=false", "--topic", topic} }

func primeMany(ctx context.Context, c *system.Cluster, topic string) error {
	client, err := impatient(c.Servers)
	if err != nil {
		return err
	}
	defer client.Close()
	return prime(ctx, client, topic, manyPartitions)
}

// coldTopic stays for the whole run.
const coldTopic = "peers-cold"

// cold reads from the disk what is no longer in any memory. The topic is written once.
func (r *Runner) cold(ctx context.Context, c *system.Cluster) (score.Values, error) {
	if err := r.fillCold(ctx, c); err != nil {
		return nil, err
	}
	system.FlushDisks()
	dropped, err := plain.DropCaches()
	if err != nil {
		return nil, err
	}
	r.found.Dropped = dropped
	return r.consuming(ctx, Cold, c, "--topic", coldTopic)
}

func (r *Runner) fillCold(ctx context.Context, c *system.Cluster) error {
	if r.filled[c.Name] {
		return nil
	}
	err := r.fill(ctx, Cold, c, filling{topic: coldTopic, bytes: r.cfg.ColdBytes})
	r.filled[c.Name] = err == nil
	return err
}

// filling is what is written to be read more than once.
type filling struct {
	topic string
	bytes int64
}

// fill makes a topic of which nothing is deleted, fills it, and reads it once.
func (r *Runner) fill(ctx context.Context, line string, c *system.Cluster, f filling) error {
	if err := createTopic(ctx, c.Servers, f.topic, filledPartitions, unlimited()); err != nil {
		return err
	}
	if _, err := r.consuming(ctx, line, c, "--topic", f.topic, "--fill-bytes", number(float64(f.bytes))); err != nil {
		return fmt.Errorf("fill the topic: %w", err)
	}
	return nil
}

const filledPartitions = 6

// unlimited are the configs of a topic that stays whole, whatever topics of its cluster inherit.
func unlimited() map[string]*string {
	none := "-1"
	return map[string]*string{"retention.ms": &none, "retention.bytes": &none}
}

func (r *Runner) plainCopy(ctx context.Context) (score.Values, error) {
	rate, err := plain.Copy(ctx, r.cfg.Dir, r.cfg.ColdBytes)
	if err != nil {
		return nil, err
	}
	return score.Values{"plain/copy.mbps": rate.MBPerSecond()}, nil
}
