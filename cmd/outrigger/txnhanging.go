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
	"github.com/twmb/franz-go/pkg/kgo"
)

// hangingFlags say where to search.
type hangingFlags struct {
	topic     string
	partition int32
	broker    int32
	timeout   string
}

// exitHanging: transactions were found that hang.
const exitHanging = 1

func (f *txnFlags) findHanging() *cobra.Command {
	h := hangingFlags{}
	command := &cobra.Command{
		Use:   "find-hanging",
		Short: "Find transactions that are open and that no coordinator will end",
		Long: `Find transactions that are open in a partition for longer than any may be, and of
which no coordinator knows. Consumers that read committed records wait for them.

Exit codes: 0 there is none, 1 there are some, 2 not everybody could be asked.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			longest, err := h.validate(c)
			if err != nil {
				return err
			}
			found := []openTxn{}
			if err := f.within(c.Context(), func(ctx context.Context, client *kgo.Client, admin *kadm.Client) error {
				some, err := h.search(ctx, client, admin, time.Now().Add(-longest))
				found = append(found, some...)
				return err
			}); err != nil {
				return &unreachable{err}
			}
			if f.asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(found)
			} else {
				err = writeHanging(c.OutOrStdout(), found, time.Now())
			}
			if err == nil && len(found) > 0 {
				return &quietExit{exitHanging}
			}
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&h.topic, "topic", "", "search this topic only")
	flags.Int32Var(&h.partition, "partition", 0, "search this partition of the topic only")
	flags.Int32Var(&h.broker, "broker-id", leaders, "search the replicas of this broker, and not the leaders")
	flags.StringVar(&h.timeout, "max-transaction-timeout", "15",
		"transaction.max.timeout.ms of the brokers, as in 15m; a number is minutes")
	return command
}

func (h *hangingFlags) validate(c *cobra.Command) (longest time.Duration, err error) {
	if longest, err = parseDuration(h.timeout, time.Minute); err != nil {
		return 0, &usageError{fmt.Errorf("--max-transaction-timeout %s is refused: %w", h.timeout, err)}
	}
	switch named := c.Flags().Changed("partition"); {
	case named && (h.topic == "" || h.partition < 0):
		return 0, &usageError{errors.New("--partition wants a number from 0 on, and --topic")}
	case !named:
		h.partition = -1
	}
	if h.broker < leaders {
		return 0, &usageError{fmt.Errorf("--broker-id %d is refused: want the id of a broker", h.broker)}
	}
	return longest, nil
}

// search finds transactions that nobody has written to since a time, and that hang.
func (h *hangingFlags) search(
	ctx context.Context, client *kgo.Client, admin *kadm.Client, since time.Time,
) ([]openTxn, error) {
	places, err := h.places(ctx, admin)
	if err != nil {
		return nil, err
	}
	open, err := openTxns(ctx, client, places, h.broker)
	if err != nil {
		return nil, err
	}
	open = slices.DeleteFunc(open, func(one openTxn) bool { return one.Last != nil && one.Last.After(since) })
	left, err := undecided(ctx, client, admin, open)
	if err != nil || len(left) == 0 {
		return nil, err
	}
	// One that has ended between the two questions looks like one that hangs.
	return stillOpen(ctx, client, left, h.broker)
}

// places are the partitions to search.
func (h *hangingFlags) places(ctx context.Context, admin *kadm.Client) (places []txnPartition, err error) {
	var names []string
	if h.topic != "" {
		names = []string{h.topic}
	}
	// Internal topics, too: a transaction that commits offsets is open in those of the groups.
	topics, err := admin.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	for _, t := range topics.Sorted() {
		if t.Err != nil {
			return nil, explain("search topic "+t.Topic, t.Err, "")
		}
		for _, p := range t.Partitions.Sorted() {
			if (h.partition < 0 || p.Partition == h.partition) && (h.broker == leaders || slices.Contains(p.Replicas, h.broker)) {
				places = append(places, txnPartition{t.Topic, p.Partition})
			}
		}
	}
	if len(places) == 0 && (h.topic != "" || h.broker != leaders) {
		return nil, errors.New("there is no such partition")
	}
	return places, nil
}

func writeHanging(out io.Writer, found []openTxn, now time.Time) error {
	if len(found) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TOPIC\tPARTITION\tPRODUCER\tEPOCH\tCOORDINATOR EPOCH\tSTART OFFSET\tSILENT FOR")
	for _, o := range found {
		silent := "-"
		if o.Last != nil {
			silent = now.Sub(*o.Last).Round(time.Second).String()
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", o.Topic, o.Partition, o.Producer, o.Epoch, o.CoordinatorEpoch, o.Start, silent)
	}
	fmt.Fprintln(table, "end one with `outrigger txn abort --topic TOPIC --partition N --start-offset N`")
	return table.Flush()
}
