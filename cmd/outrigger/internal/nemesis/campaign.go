package nemesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"outrigger/broker/wal"
	"outrigger/cmd/outrigger/internal/dev"
)

// The deadlines. A cluster that misses one is stuck, which is an anomaly.
const (
	startWithin  = 60 * time.Second
	writesWithin = 60 * time.Second
	wholeWithin  = 3 * time.Minute
	// diskLeftMin ends the faults early: nothing is retained or recycled yet, and a disk that is full
	// for good proves nothing.
	diskLeftMin = 4 << 30
)

// The attributes of log lines.
const (
	attrNode  = "node"
	attrFault = "fault"
	attrError = "error"
	attrTook  = "took_ms"
)

// campaign carries out a schedule. One goroutine owns it.
type campaign struct {
	injector
	load     *load
	schedule *Schedule
	budget   *Budget
	length   time.Duration
	dir      string
	progress *progress
	clock    func() time.Duration

	// active are the faults that lie on the cluster, excused those of the period.
	active  []*active
	excused []Fault
	report  *Report
	writes  []time.Duration
	whole   []time.Duration
}

// run carries out periods until the time is over, ctx ends or something is wrong, and leaves the
// cluster healed.
func (c *campaign) run(ctx context.Context) {
	began := c.clock()
	for c.clock()-began < c.length && ctx.Err() == nil && !c.report.failed() {
		if left, err := freeBytes(c.dir); err != nil || left < diskLeftMin {
			c.notice("the faults ended early: %d MiB are left on the disk (%v)", left>>20, err)
			break
		}
		c.period(ctx, c.schedule.Next())
	}
	// Whatever was wrong, the cluster gets its chance to show what it still has.
	if err := c.awaitWhole(context.WithoutCancel(ctx)); err != nil {
		c.wrong("cluster is stuck: %v", err)
	}
}

// period is one stretch of the schedule.
func (c *campaign) period(ctx context.Context, p Period) {
	c.report.Periods++
	c.excused = nil
	switch {
	case p.Calm > 0:
		c.report.CalmPeriods++
		c.say("calm")
		c.wait(ctx, p.Calm)
	default:
		c.strike(ctx, p)
	}
	if err := c.awaitWrites(ctx); err != nil {
		c.wrong("cluster is stuck: %v", err)
		return
	}
	if p.Settle || c.smallDiskFull() {
		if err := c.awaitWhole(ctx); err != nil {
			c.wrong("cluster is stuck: %v", err)
		}
	}
	if c.smallDiskFull() {
		c.wipeSmallDisk(ctx)
	}
}

// strike begins the faults of a period and heals them, each in its time.
func (c *campaign) strike(ctx context.Context, p Period) {
	began := c.clock()
	for n, f := range p.Faults {
		if n > 0 {
			c.waitUntil(ctx, began+p.Overlap)
		}
		c.begin(ctx, f)
	}
	for len(c.active) > 0 {
		next := slices.MinFunc(c.active, func(a, b *active) int { return cmp.Compare(a.until, b.until) })
		c.waitUntil(ctx, next.until)
		c.end(ctx, next)
	}
}

// begin injects a fault. One that the guarantees do not permit now has to wait until they do.
func (c *campaign) begin(ctx context.Context, f Fault) {
	if f.Kind.Lossy() {
		if !c.budget.Permits(f.Node) {
			if err := c.awaitWhole(ctx); err != nil {
				c.wrong("cluster is stuck: %v", err)
				return
			}
		}
		c.budget.Spend(f.Node)
	}
	c.say(f.String())
	c.logger.Info("fault begins", attrFault, f.String())
	c.load.history.Fault(string(f.Kind), f.String())
	c.report.Faults[f.Kind]++
	c.excused = append(c.excused, f)
	a, err := c.inject(ctx, f)
	if err != nil {
		c.wrong("nemesis: %v", err)
		return
	}
	a.until = c.clock() + f.Hold
	c.active = append(c.active, a)
}

// end heals a fault, also after ctx has ended.
func (c *campaign) end(ctx context.Context, a *active) {
	c.active = slices.DeleteFunc(c.active, func(other *active) bool { return other == a })
	err := a.heal(context.WithoutCancel(ctx))
	var bad *misbehaviour
	switch {
	case errors.As(err, &bad):
		c.wrong("%v", err)
	case err != nil:
		c.wrong("nemesis: heal %v: %v", a.fault, err)
	}
	c.logger.Info("fault ends", attrFault, a.fault.String())
	c.load.history.Fault("heal", a.fault.String())
}

// wait lets time pass, and sees to brokers that end meanwhile.
func (c *campaign) wait(ctx context.Context, d time.Duration) { c.waitUntil(ctx, c.clock()+d) }

func (c *campaign) waitUntil(ctx context.Context, when time.Duration) {
	for {
		c.reap()
		c.progress.show(c)
		left := when - c.clock()
		if left <= 0 || !pause(ctx, min(left, pollEvery)) {
			return
		}
	}
}

// awaitWrites waits until every partition has acknowledged something since now.
func (c *campaign) awaitWrites(ctx context.Context) error {
	since := c.clock()
	err := eventually(ctx, writesWithin, "writes on every partition", func() error {
		c.reap()
		c.progress.show(c)
		if silent := c.load.availability.silent(since); len(silent) > 0 {
			return fmt.Errorf("partitions %v acknowledge nothing", silent)
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		err = nil // whoever ended it does not want to know
	case err == nil && len(c.excused) > 0:
		c.writes = append(c.writes, c.clock()-since)
		c.logger.Info("writes resumed", attrTook, (c.clock() - since).Milliseconds())
	}
	return err
}

// awaitWhole waits until nothing is missing any more.
func (c *campaign) awaitWhole(ctx context.Context) error {
	since := c.clock()
	err := eventually(ctx, wholeWithin, "a whole cluster", func() error {
		c.reap()
		c.progress.show(c)
		return whole(ctx, c.brokers, c.load.placed)
	})
	switch {
	case ctx.Err() != nil:
		err = nil
	case err == nil:
		c.budget.Restored()
		if len(c.excused) > 0 {
			c.whole = append(c.whole, c.clock()-since)
			c.logger.Info("cluster is whole", attrTook, (c.clock() - since).Milliseconds())
		}
	}
	return err
}

// reap sees to brokers that ended by themselves.
func (c *campaign) reap() {
	for _, b := range c.brokers {
		code, words, ended := b.ended()
		if !ended {
			continue
		}
		c.logger.Warn("broker ended", attrNode, b.node, "code", code, "words", words)
		switch judgeEnd(b.node, code, words, c.excused) {
		case endOfStorage:
			c.report.FailStops++
		case endOfDamage:
			c.report.DamageRefused++
			if err := os.RemoveAll(b.dir); err != nil {
				c.wrong("nemesis: wipe broker %d: %v", b.node, err)
			}
		case endUnexcused:
			c.wrong("broker %d ended by itself with code %d: %s", b.node, code, words)
		}
		if c.lies(b.node) {
			continue // the end of the fault starts it
		}
		if err := b.start(); err != nil {
			c.wrong("nemesis: %v", err)
		}
	}
}

// end is why a broker ended by itself.
type end int

const (
	// endUnexcused is an anomaly.
	endUnexcused end = iota
	// endOfStorage is what is asked of a broker whose disk fails or has no room at all.
	endOfStorage
	// endOfDamage is a refusal of a damaged log, that names it.
	endOfDamage
)

// judgeEnd decides whether the faults of a period excuse the end of a broker.
func judgeEnd(node, code int, words string, faults []Fault) end {
	for _, f := range faults {
		switch {
		case f.Node != node:
		case f.Kind.mayEnd() && code == dev.ExitStorage:
			return endOfStorage
		case f.Kind == BitFlip && code > 0 && strings.Contains(words, wal.ErrDamaged.Error()):
			return endOfDamage
		}
	}
	return endUnexcused
}

// lies reports whether a fault that will start the broker still lies on it.
func (c *campaign) lies(node int) bool {
	for _, a := range c.active {
		if a.fault.Node == node && !a.fault.Kind.ofNetwork() {
			return true
		}
	}
	return false
}

// smallDiskFull reports whether the directory on the small disk has grown too large for it.
func (c *campaign) smallDiskFull() bool {
	used, err := c.disk.used()
	return err == nil && used > diskFullBytes
}

// wipeSmallDisk makes room in the only way there is yet.
func (c *campaign) wipeSmallDisk(ctx context.Context) {
	c.excused = nil
	c.notice("broker %d was wiped since its small disk was nearly full", c.schedule.plan.SmallDisk)
	c.strike(ctx, Period{Faults: []Fault{{Kind: Wipe, Node: c.schedule.plan.SmallDisk, Hold: holdMin}}})
	if err := c.awaitWhole(ctx); err != nil {
		c.wrong("cluster is stuck: %v", err)
	}
}

// wrong notes an anomaly.
func (c *campaign) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.logger.Error("anomaly", "what", text)
	c.report.Anomalies = append(c.report.Anomalies, fmt.Sprintf("at %v: %s", c.clock().Round(time.Millisecond), text))
}

func (c *campaign) notice(format string, args ...any) {
	c.report.Notices = append(c.report.Notices, fmt.Sprintf(format, args...))
}

func (c *campaign) say(what string) { c.progress.doing = what }
