package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"outrigger/cmd/outrigger/internal/bench"
	"outrigger/cmd/outrigger/internal/dev"
)

func newBench(logs *logFlags) *cobra.Command {
	var f bench.Flags
	command := &cobra.Command{
		Use:   "bench MODE",
		Short: "Measure a Kafka-compatible cluster, and verify what was measured",
		Long: `Measure a Kafka-compatible cluster with real clients, and verify what was measured:
every acknowledged record is read back once, at its offset.

Modes, and what their latency is:
  produce      producers; from due to acknowledged
  consume      consumers that read the topic once from start to end, as fast as they
               can; an empty topic is filled first (--fill-bytes); of one poll
  end-to-end   producers and consumers at the tail; also from due to received.
               1000 records/s unless --rate says otherwise
  mixed        the same at full speed, and a consumer that reads from the start again
               and again
  failover     producers at a rate while the leader of partition 0 is killed with
               kill -9 after a third of the time, and stays dead; also how long nothing
               was acknowledged. Starts a cluster of its own, or kills one of --pids
  create       topics instead of records; from due to created. Verified on each broker

With --rate the loop is open: a record is due at its place in the schedule, and latency
counts from there, however late the client or the cluster is (no coordinated omission).
Without, the loop is closed: as many records wait as --buffer-bytes has room for, a
record is due when there is room, and latency is mostly that of the buffer.

Records due within the window after the warm-up are in the latency, also if the answer
comes later; answers within the window are the throughput. MB are 10^6 bytes of payload.

The topic is made for the run and deleted, unless --topic names one that exists: nobody
else may write to that one meanwhile. Payloads are random bytes, the same for the same
--seed. The verification needs about 150 bytes of memory per record.

Exit codes: 0 measured and verified, 1 the verification failed or the run did, 2 flags
refused.`,
		Example: `  outrigger bench produce --own
  outrigger bench end-to-end --bootstrap-server kafka-1:9092 --rate 5000 --plot latency.svg
  outrigger dev > ready &  outrigger bench produce --ready ready --record-bytes 100`,
		Args:      exactlyArguments(1),
		ValidArgs: modeNames(),
		RunE: func(c *cobra.Command, args []string) error {
			f.Mode = bench.Mode(args[0])
			return runBench(c, f, logs)
		},
	}
	targetFlags(command, &f.Target)
	loadFlags(command, &f.Load)
	flags := command.Flags()
	flags.BoolVar(&f.Outputs.JSON, "json", false, "print the report as one JSON object")
	flags.StringVar(&f.Outputs.CSV, "csv", "", "file for the series, one line per second")
	flags.StringVar(&f.Outputs.Plot, "plot", "", "file for a picture (SVG): throughput and latency over time, percentiles")
	flags.BoolVar(&f.Outputs.Quiet, "quiet", false, "no live line, also on a terminal")
	return command
}

func modeNames() []string {
	var names []string
	for _, mode := range bench.Modes {
		names = append(names, string(mode))
	}
	return names
}

func targetFlags(command *cobra.Command, t *bench.Target) {
	flags := command.Flags()
	flags.StringSliceVar(&t.Servers, "bootstrap-server", nil, "host:port of a broker, may be several (default 127.0.0.1:9092)")
	flags.BoolVar(&t.Own, "own", false, "start a cluster of three brokers for the run")
	flags.StringVar(&t.Data, "data", "", "with --own: directory for data and logs, which is kept; else a temporary one")
	flags.StringArrayVar(&t.Sets, "set", nil, "with --own: key=value for all brokers, may be repeated")
	flags.StringVar(&t.Ready, "ready", "", "file with the line that outrigger dev prints, or - for stdin: servers and processes")
	flags.IntSliceVar(&t.PIDs, "pids", nil, "the brokers' processes on this machine, in the order of their node ids")
}

func loadFlags(command *cobra.Command, l *bench.Load) {
	flags := command.Flags()
	flags.StringVar(&l.Topic, "topic", "", "topic, made and deleted unless it exists; prefix of the topics of create")
	flags.IntVar(&l.Partitions, "partitions", 6, "partitions of a topic that is made")
	flags.IntVar(&l.Replication, "replication-factor", 3, "replicas of a topic that is made")
	flags.IntVar(&l.RecordBytes, "record-bytes", 1024, "payload of a record, at least 16")
	flags.IntVar(&l.Producers, "producers", 4, "producers, each a client of its own")
	flags.IntVar(&l.Consumers, "consumers", 1, "consumers, which share the partitions")
	flags.Float64Var(&l.Rate, "rate", 0, "records (or topics) a second, of all producers together; 0 is full speed")
	flags.Float64Var(&l.Seconds, "seconds", 20, "length of the measured window")
	flags.Float64Var(&l.Warmup, "warmup", 3, "seconds before the window")
	flags.StringVar(&l.Acks, "acks", "all", "all, 1 or 0")
	flags.BoolVar(&l.Idempotent, "idempotent", true, "idempotent producers; only with acks=all")
	flags.IntVar(&l.InFlight, "max-in-flight", 5, "requests in flight per broker; idempotent producers have 5")
	flags.StringVar(&l.Compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	flags.DurationVar(&l.Linger, "linger", 5*time.Millisecond, "how long a batch waits for more records")
	flags.IntVar(&l.BatchBytes, "batch-bytes", 1000012, "largest batch")
	flags.IntVar(&l.BufferBytes, "buffer-bytes", 32<<20, "payload of one producer that may wait for answers; as much as buffer.memory of Kafka's client by default")
	flags.StringVar(&l.Partitioner, "partitioner", bench.RoundRobin,
		strings.Join([]string{bench.RoundRobin + " (record by record)", bench.Sticky + " (batch by batch)"}, " or "))
	flags.DurationVar(&l.Delivery, "delivery-timeout", 2*time.Minute, "when a producer gives a record up")
	flags.Uint64Var(&l.Seed, "seed", 1, "seed of the payloads")
	flags.Int64Var(&l.FillBytes, "fill-bytes", 512<<20, "payload that consume writes before it reads")
	flags.IntVar(&l.Topics, "topics", 1000, "most topics that create makes")
	flags.BoolVar(&l.CountRetries, "count-retries", false, "count the codes after which the client tried again; costs processor time; always with failover")
	flags.BoolVar(&l.Verify, "verify", true, "read everything back and judge")
}

func runBench(c *cobra.Command, f bench.Flags, logs *logFlags) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this executable: %w", err)
	}
	logger, err := logs.logger(os.Stderr)
	if err != nil {
		return err
	}
	ctx, stop := stopContext(logger, false)
	defer stop()
	go dev.WatchGoRun(ctx, stop)
	return bench.Run(ctx, bench.Options{
		Flags: f, Executable: executable, Environ: os.Environ(), Version: fullVersion(),
		Out: c.OutOrStdout(), Err: os.Stderr, Stdin: c.InOrStdin(), Logger: logger,
	})
}
