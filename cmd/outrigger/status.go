package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"outrigger/cmd/outrigger/internal/status"
	"outrigger/sidecar/bus"
)

const (
	statusSubject = "sidecar.status"
	// statusWait is how long an answer may take; nobody is waited for once all have answered.
	statusWait = 2 * time.Second

	exitUnhealthy   = 1
	exitUnreachable = 2
)

// unreachable means that nobody could be asked.
type unreachable struct{ error }

// Unwrap returns why.
func (u *unreachable) Unwrap() error { return u.error }

// ExitCode tells scripts apart "not healthy" and "not known".
func (u *unreachable) ExitCode() int { return exitUnreachable }

func newStatus() *cobra.Command {
	var address string
	var asJSON bool
	command := &cobra.Command{
		Use:   "status",
		Short: "Show brokers, partitions and counters of the cluster",
		Long: `Show brokers, partitions and counters of the cluster, asked over NATS.

Exit codes: 0 healthy, 1 a partition is under-replicated or has no leader, 2 no
broker could be reached.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			answers, err := askStatus(c.Context(), address)
			if err != nil {
				return &unreachable{err}
			}
			report, err := status.Join(answers)
			if err != nil {
				return &unreachable{err}
			}
			write := report.WriteTable
			if asJSON {
				write = report.WriteJSON
			}
			if err := write(c.OutOrStdout()); err != nil {
				return err
			}
			if !report.Healthy() {
				return &quietExit{exitUnhealthy}
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&address, "nats", "nats://127.0.0.1:4222",
		"NATS URL of a broker, or of several with commas between; user ops with password ops if it names none")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

// askStatus asks one broker who else there is, and then all of them.
func askStatus(ctx context.Context, address string) ([][]byte, error) {
	client, err := bus.Dial(address, "", "")
	if err != nil {
		return nil, err
	}
	defer client.Close()
	first, err := client.RequestMany(ctx, statusSubject, statusWait, 1)
	if err != nil {
		return nil, err
	}
	if len(first) == 0 {
		return nil, noAnswer()
	}
	answers, err := client.RequestMany(ctx, statusSubject, statusWait, status.Expected(first[0]))
	if err != nil {
		return nil, err
	}
	if len(answers) == 0 {
		return nil, noAnswer()
	}
	return answers, nil
}

func noAnswer() error {
	return fmt.Errorf("no broker answered within %v", statusWait)
}
