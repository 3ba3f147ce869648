package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"outrigger/cmd/outrigger/internal/verify"
)

// exitUnverified: the directory could not be looked into. As with `status`, 1 is an answer and 2 is none.
const exitUnverified = 2

// unverified means that the directory could not be looked into.
type unverified struct{ error }

// Unwrap returns why.
func (u *unverified) Unwrap() error { return u.error }

// ExitCode tells scripts apart "damaged" and "not known".
func (u *unverified) ExitCode() int { return exitUnverified }

func newVerify() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check all files of a broker that is stopped",
		Long: `Check all files in the data directory of a broker that is stopped: every checksum,
the order of every partition's log, that what the catalog names exists, and that
the cluster image can be read. Nothing is changed. A torn end of the write-ahead
log, as a crash leaves it, is no damage.

Exit codes: 0 nothing is damaged, 1 something is, 2 the directory could not be
looked into (a broker runs on it, it is none, it may not be read).`,
		Args: exactlyArguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			bar := newProgress(c.ErrOrStderr())
			report, err := verify.Dir(args[0], func(what string, done, all int64) {
				const megabyte = 1 << 20
				bar.show(int(done/megabyte), int(max(all/megabyte, 1)), "MiB, "+what)
			})
			bar.end()
			if err != nil {
				return &unverified{err}
			}
			if err := writeReport(c.OutOrStdout(), report, asJSON); err != nil {
				return err
			}
			if n := len(report.Damage); n > 0 {
				return fmt.Errorf("%d damaged places in %s, the first: %s", n, report.Directory, report.Damage[0].Sentence())
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func writeReport(out io.Writer, r *verify.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	stop := "in good order"
	if !r.CleanStop {
		stop = "by a crash, or never started"
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "broker\t%d of cluster %s, stopped %s\n", r.Node, orDash(r.Cluster), stop)
	fmt.Fprintf(table, "metadata\t%d topics, %d log entries\n", r.Checked.Topics, r.Checked.Entries)
	fmt.Fprintf(table, "logs\t%d partitions, %d batches in %d WAL files and %d packs, %.1f MB\n", r.Checked.Partitions,
		r.Checked.Batches, r.Checked.Files, r.Checked.Packs, float64(r.Checked.Bytes)/1e6)
	for _, name := range r.Unneeded {
		fmt.Fprintf(table, "not needed\t%s\n", name)
	}
	for _, d := range r.Damage {
		fmt.Fprintf(table, "damage\t%s\n", d.Sentence())
		fmt.Fprintf(table, "  offsets\t%s\n", d.Offsets())
		fmt.Fprintf(table, "  remedy\t%s\n", d.Remedy)
	}
	if len(r.Damage) == 0 {
		fmt.Fprintf(table, "damage\tnone\n")
	}
	return table.Flush()
}
