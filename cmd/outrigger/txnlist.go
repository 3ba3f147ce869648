package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// txnStates are what the answers to --state may be; a broker wants them to the letter.
var txnStates = []string{
	"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "PrepareEpochFence", "Dead",
}

// The versions of ListTransactions that select by duration (KIP-994) and by pattern (KIP-1152).
const (
	listsByDuration = 1
	listsByPattern  = 2
)

// txnFilter says which transactional ids to list; those that meet all of it.
type txnFilter struct {
	states    []string
	producers []int64
	duration  string
	pattern   string
	// open is the duration in milliseconds, -1 for none.
	open int64
}

func (f *txnFlags) list() *cobra.Command {
	filter := txnFilter{}
	command := &cobra.Command{
		Use:   "list",
		Short: "List transactional ids",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := filter.validate(); err != nil {
				return err
			}
			return f.within(c.Context(), func(ctx context.Context, client *kgo.Client, _ *kadm.Client) error {
				views, err := listTxns(ctx, client, filter)
				return show(&f.topicFlags, c.OutOrStdout(), views, err, writeTxnList)
			})
		},
	}
	flags := command.Flags()
	flags.StringSliceVar(&filter.states, "state", nil, "only those in one of these states: "+strings.Join(txnStates, ", "))
	flags.Int64SliceVar(&filter.producers, "producer-id", nil, "only those of one of these producers")
	flags.StringVar(&filter.duration, "duration", "", "only those whose transaction is open for longer, as in 90s or PT5M; a number is milliseconds")
	flags.StringVar(&filter.duration, "duration-filter", "", "what Kafka's tools call --duration")
	flags.StringVar(&filter.pattern, "transactional-id-pattern", "", "only those that this regular expression (RE2) matches as a whole")
	_ = flags.MarkHidden("duration-filter") // it was made two lines above
	return command
}

// validate wants states that there are, a duration and a pattern.
func (f *txnFilter) validate() error {
	if err := canonical("state", f.states, txnStates); err != nil {
		return err
	}
	f.open = -1
	if f.duration != "" {
		open, err := parseDuration(f.duration, time.Millisecond)
		if err != nil {
			return &usageError{fmt.Errorf("--duration %s is refused: %w", f.duration, err)}
		}
		f.open = open.Milliseconds()
	}
	if _, err := regexp.Compile(f.pattern); err != nil {
		return &usageError{fmt.Errorf("--transactional-id-pattern %s is refused: %w", f.pattern, err)}
	}
	return nil
}

// listTxns asks all brokers which transactional ids they coordinate.
func listTxns(ctx context.Context, client *kgo.Client, filter txnFilter) ([]txnView, error) {
	q := kmsg.NewPtrListTransactionsRequest()
	q.StateFilters, q.ProducerIDFilters, q.DurationFilterMillis = filter.states, filter.producers, filter.open
	if filter.pattern != "" {
		q.TransactionalIDPattern = &filter.pattern
	}
	views := []txnView{}
	for _, shard := range client.RequestSharded(ctx, q) {
		doing := fmt.Sprintf("list transactions of broker %d", shard.Meta.NodeID)
		if shard.Err != nil {
			return nil, fmt.Errorf("%s: %w", doing, shard.Err)
		}
		response := shard.Resp.(*kmsg.ListTransactionsResponse)
		if err := explain(doing, kerr.ErrorForCode(response.ErrorCode), ""); err != nil {
			return nil, err
		}
		switch {
		case filter.open >= 0 && response.Version < listsByDuration:
			return nil, fmt.Errorf("%s: it is too old for --duration; leave that away", doing)
		case filter.pattern != "" && response.Version < listsByPattern:
			return nil, fmt.Errorf("%s: it is too old for --transactional-id-pattern; leave that away", doing)
		}
		for _, t := range response.TransactionStates {
			views = append(views, txnView{
				ID: t.TransactionalID, State: t.TransactionState, Producer: t.ProducerID, Coordinator: shard.Meta.NodeID,
			})
		}
	}
	slices.SortFunc(views, func(a, b txnView) int { return strings.Compare(a.ID, b.ID) })
	return views, nil
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
