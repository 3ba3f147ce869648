package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"outrigger/cmd/outrigger/internal/dev"
)

func newDev(logs *logFlags) *cobra.Command {
	var f dev.Flags
	command := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster on this machine",
		Long: `Run a cluster on this machine, each broker a process of its own.

When every broker serves, one line is printed to stdout:
  ready kafka=... nats=... http=... pids=...
Logs go to stderr. The cluster's data survives in --data. SIGINT and SIGTERM stop
everything within 8 s; a second one does not wait for it.

Exit codes: 0 stopped when asked to, 2 flags refused, 3 data directory refused,
4 port taken, 1 anything else.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDev(c, f, logs) },
	}
	flags := command.Flags()
	flags.IntVar(&f.Brokers, "brokers", 3, "how many brokers; at most 3 keep the metadata, 5 from seven up")
	flags.StringVar(&f.Data, "data", "./outrigger-data", "directory of the cluster's data")
	flags.IntVar(&f.Ports.Kafka, "kafka-port", 9092, "first Kafka port, broker i takes port+i-1; 0 takes free ones")
	flags.IntVar(&f.Ports.NATS, "nats-port", 4222, "first NATS client port")
	flags.IntVar(&f.Ports.Cluster, "cluster-port", 6222, "first NATS cluster port")
	flags.IntVar(&f.Ports.HTTP, "http-port", 9644, "first port of /health, /ready and /metrics")
	flags.StringArrayVar(&f.Sets, "set", nil, "key=value for all brokers, may be repeated")
	flags.BoolVar(&f.Restart, "restart", false, "start a broker again when it dies")
	return command
}

func runDev(c *cobra.Command, f dev.Flags, logs *logFlags) error {
	format, err := logs.resolve()
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this executable: %w", err)
	}
	output, flush := dev.NewOutput(os.Stderr)
	defer flush()
	logger, err := logs.logger(output)
	if err != nil {
		return err
	}
	ctx, stop := stopContext(logger, false)
	defer stop()
	go dev.WatchGoRun(ctx, stop)
	return dev.Run(ctx, dev.Options{
		Flags:      f,
		Executable: executable,
		Arguments:  []string{"--log-format", format, "--log-level", logs.level},
		Environ:    os.Environ(),
		Ready:      c.OutOrStdout(),
		Logger:     logger,
		Output:     output,
	})
}
