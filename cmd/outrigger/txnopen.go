package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// leaders has the leader of each partition asked, and not one broker for all.
	leaders = -1
	// producersAsked is how many partitions are asked for at once, which bounds the answers.
	producersAsked = 500
)

// openTxn is a transaction that is open in a partition, as the partition has it.
type openTxn struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Producer  int64  `json:"producer_id"`
	Epoch     int16  `json:"producer_epoch"`
	// CoordinatorEpoch is that of the last marker, -1 if there was none.
	CoordinatorEpoch int32 `json:"coordinator_epoch"`
	// Start is the offset of the transaction's first record in the partition.
	Start int64 `json:"start_offset"`
	// Last is when the producer last wrote; nil if the partition does not know.
	Last *time.Time `json:"last_written,omitempty"`
}

func (o openTxn) place() txnPartition { return txnPartition{o.Topic, o.Partition} }

// openTxns asks which transactions are open in partitions: their leaders, or one broker that has replicas.
func openTxns(ctx context.Context, client *kgo.Client, partitions []txnPartition, broker int32) ([]openTxn, error) {
	var open []openTxn
	for some := range slices.Chunk(partitions, producersAsked) {
		q := kmsg.NewPtrDescribeProducersRequest()
		byTopic := map[string][]int32{}
		for _, p := range some {
			byTopic[p.Topic] = append(byTopic[p.Topic], p.Partition)
		}
		for topic, numbers := range byTopic {
			q.Topics = append(q.Topics, kmsg.DescribeProducersRequestTopic{Topic: topic, Partitions: numbers})
		}
		responses, err := askProducers(ctx, client, q, broker)
		if err != nil {
			return nil, err
		}
		for _, response := range responses {
			told, err := openIn(response)
			if err != nil {
				return nil, err
			}
			open = append(open, told...)
		}
	}
	slices.SortFunc(open, func(a, b openTxn) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Start, b.Start))
	})
	return open, nil
}

func askProducers(
	ctx context.Context, client *kgo.Client, q *kmsg.DescribeProducersRequest, broker int32,
) (responses []*kmsg.DescribeProducersResponse, err error) {
	shards := []kgo.ResponseShard{{Meta: kgo.BrokerMetadata{NodeID: broker}}}
	if broker == leaders {
		shards = client.RequestSharded(ctx, q)
	} else {
		shards[0].Resp, shards[0].Err = client.Broker(int(broker)).RetriableRequest(ctx, q)
	}
	for _, shard := range shards {
		switch {
		case shard.Err != nil && shard.Meta.NodeID < 0: // no leader is known
			return nil, explain("describe producers", shard.Err, "")
		case shard.Err != nil:
			return nil, fmt.Errorf("describe producers of broker %d: %w", shard.Meta.NodeID, shard.Err)
		}
		responses = append(responses, shard.Resp.(*kmsg.DescribeProducersResponse))
	}
	return responses, nil
}

func openIn(response *kmsg.DescribeProducersResponse) (open []openTxn, err error) {
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			doing := fmt.Sprintf("describe producers of %s-%d", t.Topic, p.Partition)
			message := ""
			if p.ErrorMessage != nil {
				message = *p.ErrorMessage
			}
			if err := explain(doing, kerr.ErrorForCode(p.ErrorCode), message); err != nil {
				return nil, err
			}
			for _, a := range p.ActiveProducers {
				if a.CurrentTxnStartOffset < 0 {
					continue
				}
				one := openTxn{
					Topic: t.Topic, Partition: p.Partition, Producer: a.ProducerID, Epoch: int16(a.ProducerEpoch),
					CoordinatorEpoch: a.CoordinatorEpoch, Start: a.CurrentTxnStartOffset,
				}
				if a.LastTimestamp >= 0 {
					last := time.UnixMilli(a.LastTimestamp).UTC()
					one.Last = &last
				}
				open = append(open, one)
			}
		}
	}
	return open, nil
}

// undecided are those of open transactions that no coordinator is to decide.
func undecided(ctx context.Context, client *kgo.Client, admin *kadm.Client, open []openTxn) ([]openTxn, error) {
	if len(open) == 0 {
		return nil, nil // no producer would be taken for all
	}
	ids, err := idsOf(ctx, client, open)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, id := range ids {
		names = append(names, id)
	}
	views, err := describeIDs(ctx, admin, names, true)
	if err != nil {
		return nil, err
	}
	return hanging(open, ids, views), nil
}

// idsOf are the transactional ids of producers.
func idsOf(ctx context.Context, client *kgo.Client, open []openTxn) (map[int64]string, error) {
	var producers []int64
	for _, one := range open {
		producers = append(producers, one.Producer)
	}
	slices.Sort(producers)
	listed, err := listTxns(ctx, client, txnFilter{producers: slices.Compact(producers), open: -1})
	if err != nil {
		return nil, err
	}
	ids := map[int64]string{}
	for _, t := range listed {
		ids[t.Producer] = t.ID
	}
	return ids, nil
}

// hanging are the open transactions that will stay open: no transactional id has their producer, or its
// coordinator does not count their partition among those that are still to be told how it ends.
func hanging(open []openTxn, ids map[int64]string, views []txnView) (left []openTxn) {
	waiting := map[string][]txnPartition{}
	for _, v := range views {
		waiting[v.ID] = v.Partitions
	}
	for _, one := range open {
		if id, is := ids[one.Producer]; !is || !slices.Contains(waiting[id], one.place()) {
			left = append(left, one)
		}
	}
	return left
}

// stillOpen are those of transactions that are open when they are looked at once more.
func stillOpen(ctx context.Context, client *kgo.Client, before []openTxn, broker int32) ([]openTxn, error) {
	var places []txnPartition
	for _, one := range before {
		places = append(places, one.place())
	}
	slices.SortFunc(places, func(a, b txnPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	now, err := openTxns(ctx, client, slices.Compact(places), broker)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(now, func(one openTxn) bool {
		return !slices.ContainsFunc(before, func(o openTxn) bool {
			return o.place() == one.place() && o.Producer == one.Producer && o.Start == one.Start
		})
	}), nil
}
