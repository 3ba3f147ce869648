// Command peers compares Outrigger with Apache Kafka and with JetStream on this machine, and holds the
// figures against the goals of the project.
//
//	go run ./cmd/peers [--lines LIST] [--pairs N] [--seconds S] [--json]
//
// It fetches and builds what it compares (package fetch), runs clusters of three nodes on loopback
// (package system), measures line by line, Kafka and Outrigger in turn (package lines), and prints a
// table (package score). What was set, and what was not, stands below the table.
//
// Exit codes: 0 everything was measured, whoever is ahead; 1 something was not; 2 flags refused.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"outrigger/cmd/peers/internal/fetch"
	"outrigger/cmd/peers/internal/lines"
	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

const (
	exitFailure = 1
	exitRefused = 2
)

// errRefused is for flags.
var errRefused = errors.New("flags refused")

// flags are the command's.
type flags struct {
	lines           []string
	pairs           int
	seconds, warmup float64
	warmJVM, idle   time.Duration
	coldMB, tailMB  int64
	keepingMB       int64
	kafkaVersions   string
	cache, data     string
	sets            []string
	json            bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "peers:", err)
	if errors.Is(err, errRefused) {
		os.Exit(exitRefused)
	}
	os.Exit(exitFailure)
}

func newCommand() *cobra.Command {
	var f flags
	command := &cobra.Command{
		Use:   "peers",
		Short: "Compare Outrigger with Apache Kafka and JetStream on this machine",
		Long: `Compare Outrigger with Apache Kafka and JetStream on this machine.

Lines: ` + strings.Join(lines.Names, ", ") + `.
A line that is held against another one brings it along.

` + lines.Keeping + `, which is none of them, compares Outrigger with itself, with and without retention and compaction at work:
` + strings.Join(lines.KeepingNames, ", ") + `.
These need no Kafka.

Before the first pair each system is warmed: rounds of load, of each kind that its lines need, until the best of the last
three is ahead of all before by less than 5 % (at most 30 rounds, and --warm-jvm in all). A JVM gets twice as fast in that time.
The output tells how long it took, and whether each load had become level.

It needs java and mvn for Kafka, go, three times 1 GB of memory for Kafka's heaps, and
disk space for 6 times --cold-mb and for what three replicas write in two windows. Run it where nothing else runs.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			return compare(c.Context(), f, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errors.Join(errRefused, err) })
	set := command.Flags()
	set.StringSliceVar(&f.lines, "lines", nil, "lines to measure (default all)")
	set.IntVar(&f.pairs, "pairs", 5, "how often each line is measured, for each system")
	set.Float64Var(&f.seconds, "seconds", 15, "length of a measured window")
	set.Float64Var(&f.warmup, "warmup", 5, "seconds of load before each window")
	set.DurationVar(&f.warmJVM, "warm-jvm", 10*time.Minute, "how long at most each system is loaded before the first pair, until it gets no faster; 0 is not at all")
	set.DurationVar(&f.idle, "idle", time.Minute, "how long a cluster at rest is watched")
	set.Int64Var(&f.coldMB, "cold-mb", 10_000, "how much is read from disk")
	set.Int64Var(&f.tailMB, "tail-mb", 500, "how much is read just after it was written")
	set.Int64Var(&f.keepingMB, "keeping-mb", 128, "how much is written over, and how much expires, beside each sample of "+lines.Keeping)
	set.StringVar(&f.kafkaVersions, "kafka-versions", "[4.0.0,5.0.0)", "range of versions, in Maven's notation; the newest is taken")
	set.StringVar(&f.cache, "cache", "", "directory for downloads and builds (default in the user's cache directory)")
	set.StringVar(&f.data, "data", "", "directory for the clusters' data, on the disk to be measured (default the temporary one)")
	set.StringArrayVar(&f.sets, "set", nil, "key=value for all brokers of Outrigger, may be repeated")
	set.BoolVar(&f.json, "json", false, "print one JSON object")
	return command
}

// report is what --json prints.
type report struct {
	Started time.Time      `json:"started"`
	Facts   []string       `json:"facts"`
	Results []score.Result `json:"results"`
	lines.Findings
}

func compare(ctx context.Context, f flags, out, progress io.Writer) error {
	chosen, err := lines.Select(f.lines)
	if err != nil {
		return errors.Join(errRefused, err)
	}
	cfg := lines.Config{Lines: chosen, Pairs: f.pairs, Seconds: f.seconds, Warmup: f.warmup, WarmJVM: f.warmJVM,
		Idle: f.idle, ColdBytes: f.coldMB * 1e6, TailBytes: f.tailMB * 1e6, KeepingBytes: f.keepingMB * 1e6, Dir: f.data, Progress: progress}
	if err := cfg.Validate(); err != nil {
		return errors.Join(errRefused, err)
	}
	r := report{Started: time.Now()}
	kafka, err := prepare(ctx, f, &cfg)
	if err != nil {
		return err
	}
	r.Findings, err = lines.New(cfg).Run(ctx)
	r.Results = score.Collect(lines.Metrics(chosen), r.Pairs)
	r.Facts = facts(f, kafka, cfg, r)
	if len(r.Pairs) > 0 {
		err = errors.Join(err, r.write(out, f.json))
	}
	switch {
	case ctx.Err() != nil:
		err = errors.New("the run was interrupted")
	case err == nil && len(r.Failures) > 0:
		err = fmt.Errorf("%d samples failed", len(r.Failures))
	}
	return err
}

// prepare gets the programs.
func prepare(ctx context.Context, f flags, cfg *lines.Config) (kafka fetch.Kafka, err error) {
	cache := fetch.Cache{Dir: f.cache}
	if cache.Dir == "" {
		if cache.Dir, err = fetch.DefaultDir(); err != nil {
			return kafka, err
		}
	}
	if cfg.Bench, err = cache.Outrigger(ctx); err != nil {
		return kafka, err
	}
	cfg.Outrigger = system.OutriggerStarter{Executable: cfg.Bench, Parent: f.data, Sets: f.sets}
	if slices.Contains(cfg.Lines, lines.JetStream) {
		if cfg.JetStream.Executable, err = cache.NATSServer(ctx); err != nil {
			return kafka, err
		}
		if cfg.NATS, err = cache.NATSCLI(ctx); err != nil {
			return kafka, err
		}
		cfg.JetStream.Parent = f.data
	}
	if !lines.NeedKafka(cfg.Lines) {
		return kafka, nil
	}
	if kafka, err = cache.Kafka(ctx, f.kafkaVersions); err != nil {
		return kafka, err
	}
	cfg.Kafka = system.KafkaStarter{Libs: kafka.Libs, Parent: f.data}
	return kafka, nil
}

// facts are what a reader must know to judge the table.
func facts(f flags, kafka fetch.Kafka, cfg lines.Config, r report) []string {
	m := r.Machine
	all := []string{
		fmt.Sprintf("machine: %s, %d cores, %s, %.1f GB of memory, load average %s at the first sample; clients and brokers share it",
			m.CPU, m.Cores, m.Kernel, float64(m.MemoryMB)/1e3, m.Load),
		"Outrigger " + r.Version + ": three processes by `outrigger dev`, log.flush.policy=always: synced by every replica in sync before it is acknowledged",
	}
	if kafka.Version != "" {
		all = append(all, againstOthers(f, kafka)...)
	}
	if slices.ContainsFunc(cfg.Lines, func(name string) bool { return slices.Contains(lines.KeepingNames, name) }) {
		all = append(all, againstItself(f, cfg))
	}
	all = append(all,
		fmt.Sprintf("client `outrigger bench` (franz-go), acks=all, idempotent, RF 3; %d pairs in turn, windows of %g s after %g s of load", f.pairs, f.seconds, f.warmup))
	for _, w := range r.Warmings {
		all = append(all, w.String())
	}
	if slices.ContainsFunc(cfg.Lines, func(name string) bool { return strings.HasSuffix(name, lines.Cold) }) {
		cache := "could not be dropped (that takes root)"
		if r.Dropped {
			cache = "dropped before"
		}
		all = append(all, fmt.Sprintf("cold reads are of %d MB with the page cache %s", f.coldMB, cache))
	}
	return append(all,
		"one system runs, the others are stopped (SIGSTOP) until their turn, and wait then until all replicas are in sync; between turns the disks are flushed (sync), so that nobody pays for another's dirty pages",
		fmt.Sprintf("just-written reads are of %d MB", f.tailMB),
		"throughput is not verified in the run (that takes the client's memory and processor), latency and failover are; ratios are within a pair, then their median (least..greatest)",
	)
}

// againstOthers are what only concerns comparisons with others.
func againstOthers(f flags, kafka fetch.Kafka) []string {
	return []string{
		fmt.Sprintf("Apache Kafka %s: three JVMs, broker and controller each, its default settings: no fsync before an acknowledgement, min.insync.replicas=1 (but log.segment.delete.delay.ms=1000, for the disk's sake); kafka-server-start's flags (%s)",
			kafka.Version, strings.Join(system.KafkaJVM, " ")),
		"JetStream: three nats-servers of go.mod's version, sync_interval: always, replicas 3; client: nats bench js pub async, 500 messages in flight per client; 4 clients on one stream, or one on each of 6",
		"latency is at half of Kafka's throughput of the same pair, in an open loop",
		fmt.Sprintf("start, rest and failover: clusters of their own for each pair; at rest: %s, 10 s after the start, memory is PSS; failover: kill -9 of the leader of a partition at 1,000 records/s, verified", f.idle),
		"\"the client alone, on all cores\" is what the client's own processor time per byte, beside Outrigger, would allow if brokers cost nothing: no broker can be further ahead with it on this machine",
	}
}

// againstItself tells what the lines of lines.Keeping compare.
func againstItself(f flags, cfg lines.Config) string {
	return fmt.Sprintf("%s: two clusters of ours, one with %s, one without, in the other order in every second pair; before each sample both are given %d MB of overwritten keys and %d MB that expire one after the other, "+
		"and meanwhile the one with deletes the latter, and what the line has written, and compacts the former, topic by topic; a sample of it in which nothing was deleted, or nothing compacted, or, "+
		"where the line fills files, nothing drained, has failed, as has one without in which something was; latency is at a quarter of the throughput without, in an open loop, and not verified; what is read is read again and again, for the length of a window",
		lines.Keeping, strings.Join(cfg.KeptSets(), ", "), f.keepingMB, f.keepingMB)
}

func (r report) write(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	fmt.Fprintf(out, "%s\n\n", r.Started.Format("2006-01-02 15:04"))
	if err := score.WriteMarkdown(out, r.Results); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	fmt.Fprintln(out)
	for _, fact := range r.Facts {
		fmt.Fprintf(out, "- %s\n", fact)
	}
	for _, failure := range r.Failures {
		fmt.Fprintf(out, "- FAILED: %s\n", failure)
	}
	return nil
}
