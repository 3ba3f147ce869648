package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"outrigger/cmd/outrigger/internal/dev"
	"outrigger/cmd/outrigger/internal/nemesis"
)

func newNemesis(logs *logFlags) *cobra.Command {
	var f nemesis.Flags
	command := &cobra.Command{
		Use:   "nemesis",
		Short: "Break a cluster of its own for a while, and judge what clients were told",
		Long: `Start brokers in network namespaces of their own, break them on a schedule drawn from
--seed, and judge by what real clients were told: franz-go, and kafka-python if
python3 has it. Wants root, ip, iptables and strace. Linux only.

Faults: kill -9 of one and of all, SIGSTOP, partitions (whole, one-way, partial),
a full disk, failing and slow syncs, flipped bits in the log of a broker that is
down, a wiped directory. A quarter of the periods is calm. Clock jumps are left
to the simulator. Directories are lost only as far as min.insync.replicas permits.

The same seed draws the same schedule. It does not repeat how processes, network
and disk interleave: a seed that failed may pass when it is run again. So when
something is found, directories, logs and the history are kept and named.

Exit codes: 0 nothing found, 1 an anomaly or a cluster that is stuck or anything
that kept the run from its end, 2 flags refused.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runNemesis(c, f, logs) },
	}
	flags := command.Flags()
	flags.Float64Var(&f.Minutes, "minutes", 5, "how long there are faults; starting, healing and judging come on top")
	flags.Uint64Var(&f.Seed, "seed", 0, "seed of the schedule; 0 draws one from the clock")
	flags.IntVar(&f.Brokers, "brokers", 3, "how many brokers, 3 to 5, all of them voters")
	flags.IntVar(&f.Partitions, "partitions", 6, "partitions of the topic, each with three replicas")
	flags.IntVar(&f.Rate, "rate", 400, "records a second, all producers together")
	flags.StringVar(&f.Data, "data", "", "empty directory for data, logs and history, which is kept; else a temporary one, kept on failure")
	flags.StringVar(&f.Kinds, "faults", "", "kinds of faults to draw from, with commas between; all if empty")
	flags.StringArrayVar(&f.Sets, "set", nil, "key=value for all brokers, may be repeated")
	flags.StringArrayVar(&f.TopicConfigs, "topic-config", nil, "key=value for the topic, as retention.ms=60000, may be repeated")
	flags.BoolVar(&f.Compacted, "compacted", false, "a topic beside it that is compacted, and judged by its keys")
	flags.BoolVar(&f.JSON, "json", false, "print the report as one JSON object")
	flags.StringVar(&f.Inside, flagInside, "", "the network that this process runs in")
	if err := flags.MarkHidden(flagInside); err != nil {
		panic(err) // the flag was registered one line above
	}
	return command
}

const flagInside = "inside"

func runNemesis(c *cobra.Command, f nemesis.Flags, logs *logFlags) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this executable: %w", err)
	}
	logger, err := logs.logger(os.Stderr)
	if err != nil {
		return err
	}
	args := os.Args[1:]
	if f.Seed == 0 {
		f.Seed = uint64(time.Now().UnixNano())
		args = append(args, "--seed", fmt.Sprint(f.Seed))
	}
	ctx, stop := stopContext(logger, false)
	defer stop()
	go dev.WatchGoRun(ctx, stop)
	err = nemesis.Run(ctx, nemesis.Options{
		Flags: f, Executable: executable, Args: args,
		Out: c.OutOrStdout(), Err: os.Stderr, Stdin: os.Stdin, Logger: logger,
	})
	var inside *nemesis.InsideError
	if errors.As(err, &inside) {
		return &quietExit{inside.Code}
	}
	return err
}
