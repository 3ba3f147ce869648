package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// txnFlags are common to the `txn` commands.
type txnFlags struct {
	topicFlags
	states []string
}

func newTxn() *cobra.Command {
	f := &txnFlags{}
	command := asGroup(&cobra.Command{Use: "txn", Short: "List, describe and abort transactions"})
	f.register(command)
	command.AddCommand(f.list(), f.describe(), f.abort())
	return command
}

// txnView is a transactional id as it is shown.
type txnView struct {
	ID          string         `json:"transactional_id"`
	State       string         `json:"state"`
	Producer    int64          `json:"producer_id"`
	Epoch       *int16         `json:"producer_epoch,omitempty"`
	Coordinator int32          `json:"coordinator"`
	TimeoutMS   int32          `json:"timeout_ms,omitempty"`
	Started     *time.Time     `json:"started,omitempty"`
	Partitions  []txnPartition `json:"partitions,omitempty"`
}

type txnPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

func (f *txnFlags) list() *cobra.Command {
	command := &cobra.Command{
		Use:   "list",
		Short: "List transactional ids",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				listed, err := admin.ListTransactions(ctx, nil, f.states)
				if err != nil {
					return fmt.Errorf("list transactions: %w", err)
				}
				views := []txnView{}
				for _, t := range listed.Sorted() {
					views = append(views, txnView{
						ID: t.TxnID, State: t.State, Producer: t.ProducerID, Coordinator: t.Coordinator,
					})
				}
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(views)
				}
				return writeTxnList(c.OutOrStdout(), views)
			})
		},
	}
	command.Flags().StringSliceVar(&f.states, "state", nil,
		"only those in a state: Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort")
	return command
}

func writeTxnList(out io.Writer, views []txnView) error {
	if len(views) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TRANSACTIONAL ID\tSTATE\tPRODUCER\tCOORDINATOR")
	for _, v := range views {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\n", v.ID, v.State, v.Producer, v.Coordinator)
	}
	return table.Flush()
}

func (f *txnFlags) describe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe [TRANSACTIONAL_ID...]",
		Short: "Describe transactional ids with their open transactions, all of them if none is named",
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				views, err := describeTxns(ctx, admin, args)
				if err != nil {
					return err
				}
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(views)
				}
				return writeTxns(c.OutOrStdout(), views, time.Now())
			})
		},
	}
}

// describeTxns describes the transactional ids that are named, or all.
func describeTxns(ctx context.Context, admin *kadm.Client, ids []string) ([]txnView, error) {
	if len(ids) > 0 {
		return describeIDs(ctx, admin, ids, false)
	}
	listed, err := admin.ListTransactions(ctx, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("list transactions: %w", err)
	}
	return describeIDs(ctx, admin, listed.TransactionalIDs(), true)
}

// describeIDs describes transactional ids. One that is gone is left out if the ids come from a list, since it
// may have expired meanwhile, and else refused.
func describeIDs(ctx context.Context, admin *kadm.Client, ids []string, listed bool) ([]txnView, error) {
	views := []txnView{}
	if len(ids) == 0 {
		return views, nil // none would be taken for all
	}
	described, err := admin.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("describe transactions: %w", err)
	}
	for _, d := range described.Sorted() {
		if listed && errors.Is(d.Err, kerr.TransactionalIDNotFound) {
			continue
		}
		if err := explainTxn("describe transaction "+d.TxnID, d.Err); err != nil {
			return nil, err
		}
		views = append(views, viewTxn(d))
	}
	return views, nil
}

func viewTxn(d kadm.DescribedTransaction) txnView {
	view := txnView{
		ID: d.TxnID, State: d.State, Producer: d.ProducerID, Epoch: &d.ProducerEpoch, Coordinator: d.Coordinator,
		TimeoutMS: d.TimeoutMillis,
	}
	if d.StartTimestamp >= 0 {
		started := time.UnixMilli(d.StartTimestamp).UTC()
		view.Started = &started
	}
	for _, t := range d.Topics.Sorted() {
		slices.Sort(t.Partitions)
		for _, p := range t.Partitions {
			view.Partitions = append(view.Partitions, txnPartition{t.Topic, p})
		}
	}
	return view
}

func writeTxns(out io.Writer, views []txnView, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, v := range views {
		if i > 0 {
			fmt.Fprintln(table)
		}
		open := ""
		if v.Started != nil {
			open = ", open for " + now.Sub(*v.Started).Round(time.Millisecond).String()
		}
		fmt.Fprintf(table, "%s\n  %s%s, producer %d epoch %d, timeout %v, coordinator %d\n", v.ID, v.State, open,
			v.Producer, *v.Epoch, time.Duration(v.TimeoutMS)*time.Millisecond, v.Coordinator)
		if len(v.Partitions) > 0 {
			fmt.Fprintln(table, "  TOPIC\tPARTITION")
		}
		for _, p := range v.Partitions {
			fmt.Fprintf(table, "  %s\t%d\n", p.Topic, p.Partition)
		}
	}
	return table.Flush()
}

func (f *txnFlags) abort() *cobra.Command {
	return &cobra.Command{
		Use:   "abort TRANSACTIONAL_ID",
		Short: "Abort an open transaction and fence its producer",
		Args:  func(c *cobra.Command, args []string) error { return asUsage(cobra.ExactArgs(1)(c, args)) },
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
			defer cancel()
			return f.dial(ctx, func(ctx context.Context, client *kgo.Client, admin *kadm.Client) error {
				if err := abortTxn(ctx, client, admin, args[0]); err != nil {
					return err
				}
				return f.print(c.OutOrStdout(), args[0]+" aborted", map[string]string{"aborted": args[0]})
			})
		},
	}
}

// abortPause is how long to wait before the state of a transaction that is being aborted is asked for again.
const abortPause = 50 * time.Millisecond

// abortTxn begins a producer under the id, which aborts the open transaction of the one before, and waits
// until that is done. It is the one way to abort that leaves the decision with the coordinator.
func abortTxn(ctx context.Context, client *kgo.Client, admin *kadm.Client, id string) error {
	doing := "abort transaction " + id
	found, err := describeTxns(ctx, admin, []string{id})
	if err != nil {
		return err
	}
	if found[0].State != "Ongoing" {
		return fmt.Errorf("%s: it is %s, and only an Ongoing one can be aborted", doing, found[0].State)
	}
	q := kmsg.NewPtrInitProducerIDRequest()
	q.TransactionalID, q.TransactionTimeoutMillis = &id, found[0].TimeoutMS
	q.ProducerID, q.ProducerEpoch = -1, -1
	response, err := q.RequestWith(ctx, client)
	if err != nil {
		return explain(doing, err, "")
	}
	if err := kerr.ErrorForCode(response.ErrorCode); !errors.Is(err, kerr.ConcurrentTransactions) {
		return explainTxn(doing, err)
	}
	for {
		now, err := describeTxns(ctx, admin, []string{id})
		if err != nil {
			return err
		}
		if state := now[0].State; state != "PrepareAbort" && state != "PrepareCommit" {
			return nil
		}
		select {
		case <-time.After(abortPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// explainTxn adds what to do about the refusals that people meet.
func explainTxn(doing string, err error) error {
	if errors.Is(err, kerr.TransactionalIDNotFound) {
		return fmt.Errorf("%s: there is no such id; `outrigger txn list` names those that there are (%s)",
			doing, kerr.TransactionalIDNotFound.Message)
	}
	return explain(doing, err, "")
}
