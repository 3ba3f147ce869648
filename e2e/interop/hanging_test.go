package interop

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// hangingAge is older than what tools call suspicious: the longest timeout there is, and a little more.
const hangingAge = 2 * time.Hour

// hanging looks for transactions that hang while an old one is open that does not: its coordinator knows it. Then
// it is aborted in its partition, by the offset at which it begins there, as one that hangs is.
func hanging(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		topic, id := fresh("hanging."+cl.name), fresh("hanging."+cl.name)
		if err := c.topic(ctx, topic, 1, 3); err != nil {
			return err
		}
		written, err := c.write(ctx, topic, "none", numbered(0, 5, 1))
		if err != nil {
			return err
		}
		writer, err := begun(ctx, franz(), id, topic, c.broker(0))
		if err != nil {
			return err
		}
		defer func() { _ = writer.stop() }() // only a tool of this test
		at := strconv.FormatInt(time.Now().Add(-hangingAge).UnixMilli(), 10)
		if _, err := writer.ask(ctx, "send", "0", encode([]byte("undecided")), at); err != nil {
			return err
		}
		if err := stands(ctx, adm, topic, 5, 6); err != nil {
			return fmt.Errorf("before the abort: %w", err)
		}
		if err := expect(ctx, with, "false", "hanging", topic, "0"); err != nil {
			return err
		}
		if _, err := with.ask(ctx, "abort-at", topic, "0", "4"); err == nil {
			return errors.New("a transaction was aborted where none begins")
		}
		if err := stands(ctx, adm, topic, 5, 6); err != nil {
			return fmt.Errorf("after an abort of nothing: %w", err)
		}
		if _, err := with.ask(ctx, "abort-at", topic, "0", "5"); err != nil {
			return err
		}
		// The record, and its marker.
		if err := stands(ctx, adm, topic, 7, 7); err != nil {
			return fmt.Errorf("after the abort: %w", err)
		}
		read, err := c.read(ctx, topic, true)
		if err != nil {
			return err
		}
		if err := sameRecords(read, written); err != nil {
			return fmt.Errorf("after the abort: %w", err)
		}
		_, err = writer.ask(ctx, "abort")
		return err
	})
}

// stands requires that the last stable offset of partition 0 is one, and its end another.
func stands(ctx context.Context, adm *kadm.Client, topic string, stable, end int64) error {
	return eventually(ctx, func() error {
		decided, err1 := adm.ListCommittedOffsets(ctx, topic)
		all, err2 := adm.ListEndOffsets(ctx, topic)
		if err := errorOf(err1, err2, decided.Error(), all.Error()); err != nil {
			return err
		}
		if s, e := decided[topic][0].Offset, all[topic][0].Offset; s != stable || e != end {
			return fmt.Errorf("the last stable offset is %d and the end %d, want %d and %d", s, e, stable, end)
		}
		return nil
	})
}

// franzHanging is what a tool does that looks for transactions that hang, of the requests that there are for it.
func franzHanging(ctx context.Context, adm *kadm.Client, word string, args []string) ([]any, error) {
	set := kadm.TopicsSet{}
	set.Add(args[0], number(args[1]))
	described, err := adm.DescribeProducers(ctx, set)
	if err != nil {
		return nil, err
	}
	p := described[args[0]].Partitions[number(args[1])]
	if p.Err != nil {
		return nil, p.Err
	}
	for _, producer := range p.ActiveProducers {
		switch open := producer.CurrentTxnStartOffset >= 0; {
		case word == "abort-at" && open && producer.CurrentTxnStartOffset == int64(number(args[2])):
			said, err := adm.WriteTxnMarkers(ctx, kadm.TxnMarkers{
				ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch,
				CoordinatorEpoch: max(producer.CoordinatorEpoch, 0), Topics: set,
			})
			said.EachPartition(func(r kadm.TxnMarkersPartitionResponse) { err = errors.Join(err, r.Err) })
			return nil, err
		case word == "hanging" && open && time.Since(time.UnixMilli(producer.LastTimestamp)) > hangingAge/2:
			known, err := adm.ListTransactions(ctx, []int64{producer.ProducerID}, nil)
			if err != nil || len(known.TransactionalIDs()) == 0 {
				return []any{true}, err
			}
			said, err := adm.DescribeTransactions(ctx, known.TransactionalIDs()...)
			for _, t := range said {
				if _, holds := t.Topics[args[0]][number(args[1])]; holds {
					return []any{false}, errors.Join(err, t.Err)
				}
			}
			return []any{true}, err
		}
	}
	if word == "abort-at" {
		return nil, errors.New("no transaction begins there")
	}
	return []any{false}, errors.New("no old transaction is open, so nothing was shown")
}

// hanging has kafka-transactions look for transactions that hang, and abort one.
func (j *javaTools) hanging(ctx context.Context, word string, args []string) ([]string, error) {
	if word == "hanging" {
		return j.holds(ctx, args[0], "TransactionsCommand", "find-hanging", "--topic", args[0], "--partition", args[1])
	}
	return j.nothing(ctx, "TransactionsCommand", "abort", "--topic", args[0], "--partition", args[1], "--start-offset", args[2])
}
