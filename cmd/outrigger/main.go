// Command outrigger is a Kafka-compatible broker that replicates itself over NATS.
//
//	outrigger dev            brokers on this machine, each a process of its own
//	outrigger start          one broker
//	outrigger status         what the cluster says of itself, over NATS
//	outrigger topic          create, list, describe and delete topics, over Kafka's protocol
//	outrigger group          list, describe, change and delete groups, over Kafka's protocol
//	outrigger txn            list, describe and abort transactions, over Kafka's protocol
//	outrigger wal dump DIR   what lies in a node's write-ahead log
//	outrigger verify DIR     check all files of a broker that is stopped
//	outrigger frame          what a replication frame on stdin says
//	outrigger bench          measure a Kafka-compatible cluster, and verify what was measured
//	outrigger nemesis        break a cluster of its own, and judge what clients were told
//	outrigger version
//
// Commands print what was asked for to stdout and everything else to stderr. One that fails says why
// in one sentence, its last line on stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"outrigger/broker/wal"
	"outrigger/cmd/outrigger/internal/config"
	"outrigger/cmd/outrigger/internal/datadir"
	"outrigger/cmd/outrigger/internal/dev"
	"outrigger/cmd/outrigger/internal/port"
	"outrigger/sidecar"
	"outrigger/sidecar/raftstore"
)

// Exit codes of `start`, `dev` and everything without codes of its own (`status`). `dev` reads those
// of the brokers that it starts.
const (
	exitFailure = 1
	exitConfig  = dev.ExitConfig
	exitDataDir = dev.ExitDataDir
	exitPort    = dev.ExitPort
	exitStorage = dev.ExitStorage
)

func main() {
	err := newRoot().Execute()
	if err != nil {
		var quiet *quietExit
		if errors.As(err, &quiet) {
			os.Exit(quiet.code)
		}
		die(err)
	}
}

// die ends the process with its last words: a line for each thing that is wrong.
func die(err error) {
	fmt.Fprintln(os.Stderr, dev.LastWords+strings.ReplaceAll(err.Error(), "\n", "\n"+dev.LastWords))
	os.Exit(exitCode(err))
}

func newRoot() *cobra.Command {
	root := asGroup(&cobra.Command{
		Use:           "outrigger",
		Short:         "A Kafka-compatible broker that replicates itself over NATS",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       fullVersion(),
	})
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	logs := logFlags{}
	logs.register(root)
	root.AddCommand(newDev(&logs), newStart(&logs), newStatus(), newCluster(), newTopic(), newGroup(), newTxn(), newWAL(), newVerify(), newFrame(),
		newBench(&logs), newNemesis(&logs), newVersion())
	return root
}

// usageError is a command line that cannot be meant.
type usageError struct{ error }

// Unwrap returns what is wrong with it.
func (e *usageError) Unwrap() error { return e.error }

// quietExit ends the process with a code that is the answer, everything having been said on stdout.
type quietExit struct{ code int }

// Error is never shown.
func (e *quietExit) Error() string { return fmt.Sprintf("exit %d", e.code) }

// exitCode tells the kinds of failure apart for whoever started this process.
func exitCode(err error) int {
	var (
		quiet   *quietExit
		coded   interface{ ExitCode() int }
		usage   *usageError
		config  *config.Refusal
		dataDir *datadir.Refusal
		taken   *port.TakenError
	)
	switch {
	case errors.As(err, &quiet):
		return quiet.code
	case errors.As(err, &coded):
		return coded.ExitCode()
	case errors.As(err, &usage), errors.As(err, &config), errors.Is(err, sidecar.ErrRefused):
		return exitConfig
	case errors.As(err, &dataDir):
		return exitDataDir
	case errors.As(err, &taken), isAddressInUse(err):
		return exitPort
	case errors.Is(err, wal.ErrFailed), errors.Is(err, raftstore.ErrFailed):
		return exitStorage
	}
	return exitFailure
}

// signalsApart is how long after the first signal a second one counts as impatience. Before that it
// is the same one, come by two ways: to the process and to its group.
const signalsApart = 500 * time.Millisecond

// stopContext ends on the first SIGINT or SIGTERM, and on the end of stdin if somebody else's hand is
// on the other end of it. A second signal ends the process at once.
func stopContext(logger *slog.Logger, onEOF bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		received := <-signals
		first := time.Now()
		logger.Info("signal received", "signal", received.String())
		cancel()
		for received = <-signals; time.Since(first) < signalsApart; {
			received = <-signals
		}
		logger.Error("second signal received, stopping at once", "signal", received.String())
		os.Exit(exitFailure)
	}()
	if onEOF {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, nobody is there any more
			cancel()
		}()
	}
	return ctx, cancel
}
