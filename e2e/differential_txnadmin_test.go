package e2e

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// shown is what admins and readers see of a transaction.
func (l *life) shown(when string) {
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{l.self.transaction}
	after := strings.HasPrefix(when, "after")
	settled := func(r kmsg.Response) string {
		t := r.(*kmsg.DescribeTransactionsResponse).TransactionStates[0]
		if after && strings.HasPrefix(t.State, "Prepare") {
			return "CONCURRENT_TRANSACTIONS" // its markers are on their way
		}
		said := fmt.Sprintf("%s %s timeout %d started %v id %v epoch %d", codeName(t.ErrorCode), t.State, t.TimeoutMillis,
			t.StartTimestamp > 0, t.ProducerID == l.self.id, t.ProducerEpoch)
		for _, t := range t.Topics {
			slices.Sort(t.Partitions)
			said += fmt.Sprint(" ", t.Topic, len(t.Partitions))
		}
		return said
	}
	l.asks(l.dialogue.broker, l.step("described "+when), describe, settled)
	for _, isolation := range []int8{0, 1} {
		l.ends(l.step(fmt.Sprint("end ", when, ", isolation ", isolation)), "diff-b", 1, -1, isolation)
		l.read(l.step(fmt.Sprint("fetch ", when, ", isolation ", isolation)), reading{topic: "diff-b", partition: 1, isolation: isolation})
	}
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "diff-b", Partitions: []int32{1}}}
	l.ask(l.step("producers "+when), producers, func(r kmsg.Response) string {
		p := r.(*kmsg.DescribeProducersResponse).Topics[0].Partitions[0]
		said := codeName(p.ErrorCode)
		for _, a := range p.ActiveProducers {
			if a.ProducerID == l.self.id {
				said += fmt.Sprintf(" epoch %d sequence %d since %d coordinator %d", a.ProducerEpoch, a.LastSequence, a.CurrentTxnStartOffset, a.CoordinatorEpoch)
			}
		}
		return said
	})
}

// ends asks for one offset.
func (d *dialogue) ends(step, topic string, partition int32, at int64, isolation int8) {
	q := kmsg.NewPtrListOffsetsRequest()
	q.ReplicaID, q.IsolationLevel = -1, isolation
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, at, -1
	q.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	d.ask(step, q, func(r kmsg.Response) string {
		p := r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
		return fmt.Sprint(codeName(p.ErrorCode), " ", p.Offset)
	})
}

// reading is one fetch without a session.
type reading struct {
	topic     string
	partition int32
	offset    int64
	isolation int8
}

func (d *dialogue) read(step string, s reading) {
	q := kmsg.NewPtrFetchRequest()
	q.SessionEpoch, q.MaxWaitMillis, q.MaxBytes, q.IsolationLevel = -1, 100, 1<<20, s.isolation
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = s.topic, d.topicID(s.topic)
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.FetchOffset = s.partition, 1<<20, -1, s.offset
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	d.ask(step, q, func(r kmsg.Response) string {
		f := r.(*kmsg.FetchResponse)
		if f.ErrorCode != 0 || len(f.Topics) == 0 || len(f.Topics[0].Partitions) == 0 {
			return codeName(f.ErrorCode)
		}
		p := f.Topics[0].Partitions[0]
		said := fmt.Sprintf("%s high %d stable %d start %d bytes %d", codeName(p.ErrorCode), p.HighWatermark, p.LastStableOffset,
			p.LogStartOffset, len(p.RecordBatches))
		if p.AbortedTransactions != nil {
			said += " aborted"
		}
		for _, a := range p.AbortedTransactions {
			said += fmt.Sprint(" ", a.FirstOffset)
		}
		return said
	})
}

// markers: a client may write them, as tools do that end a transaction that hangs.
func (d *dialogue) markers() {
	for _, s := range []struct {
		step, topic string
		partition   int32
		epoch       int16
		coordinator int32
		version     int8
	}{
		{"marker of a strange topic", "diff-z", 0, 0, 0, 0},
		{"marker of an unknown partition", "diff-c", 99, 0, 0, 0},
		{"marker of a negative partition", "diff-c", -1, 0, 0, 0},
		{"marker of nobody's", "diff-c", 0, 4, 5, 0},
		{"marker of a coordinator of old", "diff-c", 0, 4, 2, 0},
		{"marker of an old epoch", "diff-c", 0, 3, 6, 0},
		{"marker of the same epoch", "diff-c", 0, 4, 6, 0},
		{"marker of the same epoch, version 2", "diff-c", 0, 4, 6, 2},
		{"marker of the next epoch, version 2", "diff-c", 0, 5, 6, 2},
		{"marker of an unknown version", "diff-c", 0, 6, 6, 9},
	} {
		q := kmsg.NewPtrWriteTxnMarkersRequest()
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch, m.Committed, m.CoordinatorEpoch, m.TransactionVersion = 1_000_000, s.epoch, true, s.coordinator, s.version
		m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: s.topic, Partitions: []int32{s.partition}}}
		q.Markers = append(q.Markers, m)
		d.ask(s.step, q, func(r kmsg.Response) string {
			said := ""
			for _, t := range r.(*kmsg.WriteTxnMarkersResponse).Markers[0].Topics {
				for _, p := range t.Partitions {
					said += codeName(p.ErrorCode)
				}
			}
			return said
		})
	}
	d.ends("end after markers", "diff-c", 0, -1, 0)
}

// txnAdmin is what is refused of the APIs that look into transactions, and how lists are cut down.
func (d *dialogue) txnAdmin() {
	for _, id := range []string{"diff-tx-none", ""} {
		q := kmsg.NewPtrDescribeTransactionsRequest()
		q.TransactionalIDs = []string{id}
		d.ask(fmt.Sprintf("describe transaction %q", id), q, func(r kmsg.Response) string {
			t := r.(*kmsg.DescribeTransactionsResponse).TransactionStates[0]
			return fmt.Sprint(codeName(t.ErrorCode), t.State)
		})
	}
	pattern := func(s string) *string { return &s }
	for _, s := range []struct {
		step     string
		states   []string
		producer []int64
		duration int64
		pattern  *string
	}{
		{"list transactions", nil, nil, -1, nil},
		{"list transactions of a state", []string{"CompleteAbort"}, nil, -1, nil},
		{"list transactions of an unknown state", []string{"Best", "Empty"}, nil, -1, nil},
		{"list transactions of a producer", nil, []int64{1 << 40}, -1, nil},
		{"list transactions of a duration", nil, nil, 1 << 30, nil},
		{"list transactions of a pattern", nil, nil, -1, pattern("diff-tx-o.*")},
		{"list transactions of half a name", nil, nil, -1, pattern("diff-tx")},
		{"list transactions of the empty pattern", nil, nil, -1, pattern("")},
		{"list transactions of a bad pattern", nil, nil, -1, pattern("(")},
	} {
		q := kmsg.NewPtrListTransactionsRequest()
		q.StateFilters, q.ProducerIDFilters, q.DurationFilterMillis, q.TransactionalIDPattern = s.states, s.producer, s.duration, s.pattern
		d.ask(s.step, q, func(r kmsg.Response) string {
			l := r.(*kmsg.ListTransactionsResponse)
			var names []string
			for _, t := range l.TransactionStates {
				names = append(names, t.TransactionalID+":"+t.TransactionState)
			}
			slices.Sort(names)
			return fmt.Sprint(codeName(l.ErrorCode), l.UnknownStateFilters, ownOf(names))
		})
	}
	for _, s := range []struct {
		step, topic string
		partition   int32
	}{{"producers of a strange topic", "diff-z", 0}, {"producers of an unknown partition", "diff-a", 99}, {"producers of a bad name", "a/b", 0}} {
		q := kmsg.NewPtrDescribeProducersRequest()
		q.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: s.topic, Partitions: []int32{s.partition}}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.DescribeProducersResponse).Topics[0].Partitions[0].ErrorCode)
		})
	}
}
