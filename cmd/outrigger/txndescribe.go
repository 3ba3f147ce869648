package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func (f *txnFlags) describe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe [TRANSACTIONAL_ID...]",
		Short: "Describe transactional ids with their open transactions, all of them if none is named",
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				views, err := describeTxns(ctx, admin, args)
				return show(&f.topicFlags, c.OutOrStdout(), views, err, func(out io.Writer, views []txnView) error {
					return writeTxns(out, views, time.Now())
				})
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
