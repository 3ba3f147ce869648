package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// abortFlags name a transaction by where it begins in a partition.
type abortFlags struct {
	topic     string
	partition int32
	start     int64
	force     bool
}

func (f *txnFlags) abort() *cobra.Command {
	a := abortFlags{}
	command := &cobra.Command{
		Use:   "abort {TRANSACTIONAL_ID | --topic TOPIC --partition N --start-offset N}",
		Short: "Abort an open transaction",
		Long: `Abort an open transaction: by its id, which fences its producer, or, where its
coordinator knows nothing of it, in one partition by the offset where it begins
there, as find-hanging shows it.`,
		Args: func(c *cobra.Command, args []string) error { return asUsage(cobra.MaximumNArgs(1)(c, args)) },
		RunE: func(c *cobra.Command, args []string) error {
			byPlace, err := a.given(c, args)
			if err != nil {
				return err
			}
			return f.within(c.Context(), func(ctx context.Context, client *kgo.Client, admin *kadm.Client) error {
				if byPlace {
					found, err := a.run(ctx, client, admin)
					if err != nil {
						return err
					}
					return f.print(c.OutOrStdout(), fmt.Sprintf("transaction of producer %d at offset %d of %s-%d aborted",
						found.Producer, found.Start, found.Topic, found.Partition), found)
				}
				if err := abortTxn(ctx, client, admin, args[0]); err != nil {
					return err
				}
				return f.print(c.OutOrStdout(), args[0]+" aborted", map[string]string{"aborted": args[0]})
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&a.topic, "topic", "", "topic in which the transaction is open")
	flags.Int32Var(&a.partition, "partition", 0, "its partition")
	flags.Int64Var(&a.start, "start-offset", 0, "where the transaction begins in it")
	flags.BoolVar(&a.force, "force", false, "also if its coordinator is to decide it, which tears it apart if that commits")
	return command
}

// given says which way the transaction was named.
func (a *abortFlags) given(c *cobra.Command, args []string) (byPlace bool, err error) {
	named := 0
	for _, flag := range []string{"topic", "partition", "start-offset"} {
		if c.Flags().Changed(flag) {
			named++
		}
	}
	switch {
	case len(args) == 1 && named == 0 && !a.force:
		return false, nil
	case len(args) == 0 && named == 3 && a.topic != "" && a.partition >= 0:
		return true, nil
	}
	return false, &usageError{errors.New("name a transactional id, or --topic, --partition and --start-offset")}
}

// run writes an abort marker for the transaction that begins at an offset of a partition.
func (a *abortFlags) run(ctx context.Context, client *kgo.Client, admin *kadm.Client) (openTxn, error) {
	doing := fmt.Sprintf("abort transaction at offset %d of %s-%d", a.start, a.topic, a.partition)
	found, err := a.find(ctx, client, admin, doing)
	if err != nil {
		return openTxn{}, err
	}
	set := kadm.TopicsSet{}
	set.Add(a.topic, a.partition)
	written, err := admin.WriteTxnMarkers(ctx, kadm.TxnMarkers{
		ProducerID: found.Producer, ProducerEpoch: found.Epoch,
		CoordinatorEpoch: max(found.CoordinatorEpoch, 0), // of one that has not written any marker: below every other
		Topics:           set,
	})
	if err != nil {
		return openTxn{}, explainTxn(doing, err)
	}
	told, is := written[found.Producer].Topics[a.topic].Partitions[a.partition]
	if err := orUntold(told.Err, is); err != nil {
		return openTxn{}, explainTxn(doing, err)
	}
	return found, nil
}

// find finds the transaction. One that its coordinator is to decide is refused.
func (a *abortFlags) find(
	ctx context.Context, client *kgo.Client, admin *kadm.Client, doing string,
) (found openTxn, err error) {
	open, err := openTxns(ctx, client, []txnPartition{{a.topic, a.partition}}, leaders)
	if err != nil {
		return found, err
	}
	var starts []string
	for _, one := range open {
		if one.Start == a.start {
			found = one
		}
		starts = append(starts, fmt.Sprint(one.Start))
	}
	switch {
	case len(starts) == 0:
		return found, fmt.Errorf("%s: none is open there", doing)
	case found.Topic == "":
		return found, fmt.Errorf("%s: none begins there; those that are open begin at %s", doing, strings.Join(starts, ", "))
	}
	hanging, err := undecided(ctx, client, admin, []openTxn{found})
	if err != nil {
		return found, err
	}
	if len(hanging) == 0 && !a.force {
		ids, err := idsOf(ctx, client, []openTxn{found})
		if err != nil {
			return found, err
		}
		return found, fmt.Errorf("%s: its coordinator is to decide it; abort it with `outrigger txn abort %s`", doing, ids[found.Producer])
	}
	return found, nil
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
