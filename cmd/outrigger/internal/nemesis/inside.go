package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"outrigger/broker/topic"
	"outrigger/e2e/history"
)

const topicName = "nemesis"

// scrubPassesMore: the pass that is under way may have begun before the last bit flipped.
const scrubPassesMore = 2

// ErrAnomalies: the run has found something; the report says what.
var ErrAnomalies = errors.New("nemesis found anomalies")

// inside is the half that runs in the clients' namespace.
func inside(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, o.Stdin) // however it ends, nobody is there any more
		cancel()
	}()
	made, err := dataDir(&o.Flags)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(o.Data, "nemesis.log"))
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer func() { _ = log.Close() }() // every line was written by itself
	terminal := term.IsTerminal(int(o.Err.Fd()))
	logger := slog.New(slog.NewJSONHandler(log, nil))
	if !terminal {
		logger = slog.New(slog.NewMultiHandler(logger.Handler(), o.Logger.Handler()))
	}
	c, err := assemble(ctx, o, logger)
	if err != nil {
		return err
	}
	if terminal {
		c.progress.out = o.Err
	}
	err = c.carryOut(ctx)
	c.progress.done()
	return errors.Join(err, c.conclude(o, made && err == nil))
}

// dataDir makes the directory of the run, and reports whether it is ours to remove.
func dataDir(f *Flags) (made bool, err error) {
	if f.Data != "" {
		if f.Data, err = filepath.Abs(f.Data); err != nil {
			return false, err
		}
		if entries, err := os.ReadDir(f.Data); err == nil && len(entries) > 0 {
			return false, fmt.Errorf("%s is not empty: name another --data", f.Data)
		}
		return false, os.MkdirAll(f.Data, 0o700)
	}
	f.Data, err = os.MkdirTemp("", "outrigger-nemesis-")
	return true, err
}

// assemble makes everything and starts nothing, but for the small disk.
func assemble(ctx context.Context, o Options, logger *slog.Logger) (*campaign, error) {
	plan, err := o.plan()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	n := network{prefix: o.Inside, brokers: o.Brokers}
	c := &campaign{
		injector: injector{net: n, brokers: newBrokers(o, n, o.Data, plan.SmallDisk),
			disk: smallDisk{dir: smallDiskDir(o.Data)}, traces: o.Data, logger: logger},
		schedule: NewSchedule(plan), budget: NewBudget(minInSync), length: o.length(), dir: o.Data,
		progress: &progress{}, clock: clock,
		report: &Report{Seed: o.Seed, Brokers: o.Brokers, Faults: map[Kind]int{}, Anomalies: []string{},
			Notices: []string{"clock jumps are not among the faults: the simulator has them"}},
	}
	kept, err := o.kept()
	if err != nil {
		return nil, err
	}
	rules := history.Rules{Retention: kept != nil, Kept: kept}
	c.load = &load{topic: topicName, partitions: o.Partitions, rate: o.Rate, configs: o.configs(), placed: o.placed(),
		history: history.New(history.Config{Rules: rules}), kept: kept,
		availability: newAvailability(o.Partitions), clock: clock}
	if o.Compacted {
		c.load.keys = &compacted{load: c.load}
	}
	for _, b := range c.brokers {
		c.load.seeds = append(c.load.seeds, b.address+":"+portKafka)
	}
	return c, errors.Join(c.findClients(ctx), c.disk.mount(ctx))
}

// findClients takes the second library if it is there.
func (c *campaign) findClients(ctx context.Context) error {
	c.report.Clients = []string{"franz-go"}
	python, err := findPython(ctx)
	if err != nil {
		c.notice("SKIPPED the clients in kafka-python: %v", err)
		return nil
	}
	c.load.python, c.load.script = python, filepath.Join(c.dir, "client.py")
	c.report.Clients = append(c.report.Clients, pythonName)
	return os.WriteFile(c.load.script, []byte(clientScript), 0o600)
}

// carryOut starts the cluster and the load, breaks them, and gathers what became of them. An error is
// one of ours; what the cluster did wrong is in the report.
func (c *campaign) carryOut(ctx context.Context) error {
	defer c.killAllLeft()
	if err := c.startAll(ctx); err != nil {
		return err
	}
	c.load.begin(context.WithoutCancel(ctx))
	if err := c.awaitWrites(ctx); err != nil {
		c.wrong("before any fault: %v", err)
	}
	c.load.availability.begin(c.clock())
	c.run(ctx)
	c.load.availability.end(c.clock())
	c.finish(context.WithoutCancel(ctx))
	c.report.Seconds = c.clock().Seconds()
	return nil
}

// finish asks everybody for what they have to say, one after the other.
func (c *campaign) finish(ctx context.Context) {
	var bounds map[int32]history.Range
	var keyed topic.ID
	steps := []struct {
		name string
		do   func() error
	}{
		{"last answers", c.load.end},
		{"end of retention", func() error { return c.load.retainAll(ctx) }},
		{"final polls", func() error { return c.load.finalPolls(ctx) }},
		{"ends", func() (err error) {
			bounds, err = c.load.bounds(ctx)
			return err
		}},
		{"compacted topic", func() (err error) {
			keyed, err = c.readKeys(ctx)
			return err
		}},
		{"scrub", func() error { return c.scrubAll(ctx) }},
		{"stop", c.stopAll},
		{"comparison of logs", func() error { return c.compare(ctx, bounds, keyed) }},
		{"scan of logs", c.scanLogs},
		{"verdict", c.judge},
	}
	for _, step := range steps {
		began := c.clock()
		c.progress.doing = step.name
		c.progress.show(c)
		if err := step.do(); err != nil {
			c.wrong("%s: %v", step.name, err)
		}
		c.logger.Info("step done", "step", step.name, attrTook, (c.clock() - began).Milliseconds())
	}
}

func (c *campaign) startAll(ctx context.Context) error {
	for _, b := range c.brokers {
		if err := b.start(); err != nil {
			return err
		}
	}
	for _, b := range c.brokers {
		err := eventually(ctx, startWithin, "broker "+strconv.Itoa(b.node)+" serves", func() error {
			if code, words, ended := b.ended(); ended {
				return fmt.Errorf("it ended with code %d: %s", code, words)
			}
			return b.ready(ctx)
		})
		if err != nil {
			return err
		}
	}
	if err := c.load.createTopics(ctx); err != nil {
		return err
	}
	return c.awaitWhole(ctx)
}

func (c *campaign) killAllLeft() {
	for _, b := range c.brokers {
		b.kill()
	}
}

// stopAll wants every broker to be there, and to stop cleanly.
func (c *campaign) stopAll() error {
	c.reap()
	var errs []error
	for _, b := range c.brokers {
		errs = append(errs, b.stop())
	}
	return errors.Join(errs...)
}

// scrubAll waits until every broker has read all it has in search of damage, since now, and what was found is
// mended: what nobody has read yet may be damaged, and that is no anomaly.
func (c *campaign) scrubAll(ctx context.Context) error {
	for _, b := range c.brokers {
		before := int64(-1)
		err := eventually(ctx, wholeWithin, fmt.Sprintf("scrub of broker %d", b.node), func() error {
			passes, err := b.scrubs(ctx)
			if before < 0 && err == nil {
				before = passes
			}
			if err == nil && passes < before+scrubPassesMore {
				err = fmt.Errorf("%d of %d passes", passes-before, scrubPassesMore)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return c.awaitWhole(ctx)
}

// readKeys judges the compacted topic as clients see it, and returns its id.
func (c *campaign) readKeys(ctx context.Context) (topic.ID, error) {
	if c.load.keys == nil {
		return topic.ID{}, nil
	}
	wrong, err := c.load.keys.final(ctx)
	for _, w := range wrong {
		c.wrong("compacted topic: %s", w)
	}
	if err != nil {
		return topic.ID{}, err
	}
	return c.load.id(ctx, compactedName)
}

// compare looks into the directories of the stopped brokers.
func (c *campaign) compare(ctx context.Context, bounds map[int32]history.Range, keyed topic.ID) error {
	var replicas []map[topic.Partition][]storedBatch
	for _, b := range c.brokers {
		logs, err := storedLogs(ctx, b.dir, keyed)
		if err != nil {
			return fmt.Errorf("broker %d: %w", b.node, err)
		}
		replicas = append(replicas, logs)
		if c.load.keys == nil {
			continue
		}
		wrong, records, err := c.load.keys.stored(logs, keyed)
		if err != nil {
			return fmt.Errorf("broker %d: %w", b.node, err)
		}
		c.report.KeysSent, c.report.KeysKept = c.load.keys.total(), max(c.report.KeysKept, records)
		for _, w := range wrong {
			c.wrong("compacted topic on broker %d: %s", b.node, w)
		}
	}
	for _, b := range bounds {
		c.report.Retained += b.Start
	}
	same, wrong := compareLogs(replicas, bounds, keyed)
	c.report.LogBatches = same
	for _, w := range wrong {
		c.wrong("%s", w)
	}
	return nil
}

func (c *campaign) scanLogs() error {
	for _, b := range c.brokers {
		found, err := scanFile(b.logPath)
		if err != nil {
			return err
		}
		c.report.LogErrors += found.errors
		c.report.DamageRepaired += found.damaged
		for _, alarm := range found.alarms {
			c.wrong("log of broker %d: %s", b.node, alarm)
		}
	}
	return nil
}

// judge asks the history, and fills in what the report says of clients.
func (c *campaign) judge() error {
	verdict := history.Check(c.load.history)
	for _, a := range verdict.Anomalies {
		c.wrong("%s", a)
	}
	if more := verdict.Total() - len(verdict.Anomalies); more > 0 {
		c.wrong("history: %d more anomalies, %v in all", more, verdict.Counts)
	}
	for _, why := range verdict.Incomplete {
		c.wrong("history is incomplete: %s", why)
	}
	c.load.mu.Lock()
	for _, text := range slices.Compact(slices.Sorted(slices.Values(c.load.mu.dataLoss))) {
		c.wrong("a producer was told of lost data: %s", text)
	}
	c.load.mu.Unlock()
	r := c.report
	r.Sent, r.Acked, r.Failed, r.Unknown = verdict.Sends, verdict.Acked, verdict.Failed, verdict.Unknown
	r.Taken = verdict.Taken
	r.Seen, r.Reads, r.ClientErrors = verdict.Seen, verdict.Reads, c.load.errors()
	r.Unavailability = c.load.availability.summary()
	r.Recovery = Recovery{Writes: timesOf(c.writes), Whole: timesOf(c.whole)}
	if r.Acked == 0 {
		return errors.New("nothing was acknowledged, so nothing is proved")
	}
	if r.Retained > 0 && verdict.Taken.All() == 0 && !r.failed() {
		return errors.New("no record that retention took was judged, so nothing is proved of it")
	}
	return nil
}

// conclude prints the report, and keeps everything that a failure is looked into with.
func (c *campaign) conclude(o Options, removable bool) error {
	failed := c.report.failed()
	if failed || !removable {
		c.report.Data = c.dir
		if err := c.keep(); err != nil {
			c.notice("could not keep everything: %v", err)
		}
	}
	write := c.report.WriteTable
	if o.JSON {
		write = c.report.WriteJSON
	}
	err := write(o.Out)
	if failed {
		return errors.Join(err, fmt.Errorf("%w: %d, kept in %s; seed %d", ErrAnomalies, len(c.report.Anomalies),
			c.dir, c.report.Seed))
	}
	if removable {
		_, unmountErr := command(context.Background(), "umount", "-l", c.disk.dir)
		err = errors.Join(err, unmountErr, os.RemoveAll(c.dir))
	}
	return err
}

// keep writes the history beside the logs, and copies the directory on the small disk, which ends
// with this process.
func (c *campaign) keep() error {
	file, err := os.Create(filepath.Join(c.dir, "history.jsonl"))
	if err != nil {
		return err
	}
	_, writeErr := c.load.history.WriteTo(file)
	small := c.brokers[c.schedule.plan.SmallDisk-1].dir
	_, copyErr := command(context.Background(), "cp", "-a", small, c.dir)
	text := &strings.Builder{}
	_ = c.report.WriteTable(text) // a Builder never fails
	return errors.Join(writeErr, file.Close(), copyErr,
		os.WriteFile(filepath.Join(c.dir, "report.txt"), []byte(text.String()), 0o600))
}
