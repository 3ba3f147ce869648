package lines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"outrigger/cmd/peers/internal/plain"
	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

// fresh measures clusters that are started for it and ended after it.
func (r *Runner) fresh(ctx context.Context) error {
	if !r.wants(Start, Rest, Failover) {
		return nil
	}
	for _, name := range []system.Name{system.Kafka, system.Outrigger} {
		c, took, err := r.timedStart(ctx, name)
		if err != nil {
			return err
		}
		r.sample(ctx, Start, string(name), func() (score.Values, error) {
			return score.Values{string(name) + "/" + Start + ".seconds": took.Seconds()}, nil
		})
		if r.wants(Rest) {
			r.sample(ctx, Rest, string(name), func() (score.Values, error) { return r.rest(ctx, c) })
		}
		if r.wants(Failover) {
			r.sample(ctx, Failover, string(name), func() (score.Values, error) { return r.failover(ctx, c) })
		}
		if err := c.Stop(); err != nil {
			return err
		}
		system.FlushDisks()
	}
	return ctx.Err()
}

// timedStart counts from the first process to the first acknowledged write.
func (r *Runner) timedStart(ctx context.Context, name system.Name) (*system.Cluster, time.Duration, error) {
	type write struct {
		at  time.Time
		err error
	}
	writes := make(chan write, 1)
	watch := func(_ time.Time, servers []string) {
		go func() {
			err := firstWrite(ctx, servers)
			writes <- write{at: time.Now(), err: err}
		}()
	}
	var c *system.Cluster
	var err error
	if name == system.Outrigger {
		c, err = r.cfg.Outrigger.Start(ctx, watch)
	} else if c, err = r.start(ctx, name); err == nil {
		watch(c.Began, c.Servers)
	}
	if err != nil {
		return nil, 0, err
	}
	w := <-writes
	if w.err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%s: %w", name, w.err), c.Stop())
	}
	return c, w.at.Sub(c.Began), nil
}

// restAfter lets what a start has begun come to its end.
const restAfter = 10 * time.Second

// rest watches a cluster to which nobody talks.
func (r *Runner) rest(ctx context.Context, c *system.Cluster) (score.Values, error) {
	if !system.Pause(ctx, restAfter) {
		return nil, ctx.Err()
	}
	before, err := c.ProcessorTime()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if !system.Pause(ctx, r.cfg.Idle) {
		return nil, ctx.Err()
	}
	after, err := c.ProcessorTime()
	if err != nil {
		return nil, err
	}
	memory, err := c.Memory()
	if err != nil {
		return nil, err
	}
	prefix := string(c.Name) + "/" + Rest + "."
	return score.Values{prefix + "memory": float64(memory) / 1e6, prefix + "cpu": 100 * float64(after-before) / float64(time.Since(began))}, nil
}

// The window of a failover: a broker dies after a third of it, and Kafka needs 9 s to believe it.
const (
	failoverSeconds = 30
	failoverWarmup  = 5
)

func (r *Runner) failover(ctx context.Context, c *system.Cluster, args ...string) (score.Values, error) {
	report, err := r.bench(ctx, c, failoverSeconds+failoverWarmup, append([]string{"failover",
		"--seconds", number(failoverSeconds), "--warmup", number(failoverWarmup), "--rate", "1000"}, args...)...)
	if err != nil {
		return nil, err
	}
	if report.Failover == nil {
		return nil, errors.New("nobody was killed")
	}
	return failoverValues(c.Name, report), nil
}

func failoverValues(name system.Name, report *benchReport) score.Values {
	prefix := string(name) + "/" + Failover + "."
	return score.Values{prefix + "gap": report.Failover.WorstMillis, prefix + "any": report.Failover.AnyMillis}
}

// walAlone measures our log, and the plain program with the groups that it wrote.
func (r *Runner) walAlone(ctx context.Context) (values score.Values, err error) {
	dir, err := os.MkdirTemp(r.cfg.Dir, "outrigger-peers-wal-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	window := time.Duration(r.cfg.Seconds * float64(time.Second))
	ours, groups, err := plain.WAL(ctx, dir, window)
	if err != nil {
		return nil, err
	}
	theirs, err := plain.Groups(ctx, dir, groups, window)
	if err != nil {
		return nil, err
	}
	return score.Values{"outrigger/wal.mbps": ours.MBPerSecond(), "plain/wal.mbps": theirs.MBPerSecond(),
		"outrigger/wal.group_kb": float64(ours.Bytes) / 1e3 / float64(len(groups))}, nil
}
