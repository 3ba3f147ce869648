package broker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fillTxn makes the requests of transactions: each of a transactional id of its own.
func (v *versions) fillTxn(q kmsg.Request) {
	id, version := fmt.Sprintf("tx-%d", v.serial), q.GetVersion()
	c := v.dial()
	v.coordinatesTransactions(id)
	who := c.ask(initOf(id)).(*kmsg.InitProducerIDResponse)
	onlyCode(v.TB, "init", who.ErrorCode)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.Version, add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = 3, id, who.ProducerID, who.ProducerEpoch, "g"
	switch q := q.(type) {
	case *kmsg.AddPartitionsToTxnRequest:
		q.TransactionalID, q.ProducerID, q.ProducerEpoch = id, who.ProducerID, who.ProducerEpoch
		q.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "known", Partitions: []int32{0}}}
		q.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{
			TransactionalID: id, ProducerID: who.ProducerID, ProducerEpoch: who.ProducerEpoch,
			Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "known", Partitions: []int32{0}}},
		}}
	case *kmsg.AddOffsetsToTxnRequest:
		*q = *add
		q.Version = version
	case *kmsg.EndTxnRequest:
		c.ask(add)
		*q = *endTxnOf(version, id, who.ProducerID, who.ProducerEpoch, true)
	case *kmsg.TxnOffsetCommitRequest:
		c.ask(add)
		*q = kmsg.NewTxnOffsetCommitRequest()
		q.Version, q.TransactionalID, q.Group = version, id, "g"
		q.ProducerID, q.ProducerEpoch = who.ProducerID, who.ProducerEpoch
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{
			Topic: "known", TopicID: v.id, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p},
		}}
	case *kmsg.WriteTxnMarkersRequest:
		q.Markers = []kmsg.WriteTxnMarkersRequestMarker{{
			ProducerID: who.ProducerID, ProducerEpoch: 1, CoordinatorEpoch: 1,
			Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "known", Partitions: []int32{1, 9}}},
		}}
	case *kmsg.DescribeTransactionsRequest:
		c.ask(add)
		q.TransactionalIDs = []string{id, "nobody's"}
	case *kmsg.ListTransactionsRequest:
		c.ask(add)
		q.Default()
		q.StateFilters, q.ProducerIDFilters = []string{"Ongoing", "Sleeping"}, []int64{who.ProducerID}
		q.TransactionalIDPattern = kmsg.StringPtr("t.-[0-9]+")
	default:
		v.Fatalf("%T: no test knows it", q)
	}
}

func (v *versions) checkTxn(t *testing.T, r kmsg.Response) {
	t.Helper()
	switch r := r.(type) {
	case *kmsg.AddPartitionsToTxnResponse:
		if r.Version < addPartitionsBatched {
			onlyCode(t, "add partitions", r.Topics[0].Partitions[0].ErrorCode)
		} else {
			onlyCode(t, "add partitions", r.Transactions[0].Topics[0].Partitions[0].ErrorCode)
		}
	case *kmsg.AddOffsetsToTxnResponse:
		onlyCode(t, "add offsets", r.ErrorCode)
	case *kmsg.EndTxnResponse:
		onlyCode(t, "end", r.ErrorCode)
		if r.Version >= endTxnBumps && r.ProducerEpoch != 1 {
			t.Errorf("epoch: got %d, want 1", r.ProducerEpoch)
		}
	case *kmsg.TxnOffsetCommitResponse:
		onlyCode(t, "commit offsets", r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.WriteTxnMarkersResponse:
		p := r.Markers[0].Topics[0].Partitions
		onlyCode(t, "marker", p[0].ErrorCode)
		expectCode(t, "marker of no partition", p[1].ErrorCode, codeUnknownTopicOrPartition)
	case *kmsg.DescribeTransactionsResponse:
		onlyCode(t, "describe", r.TransactionStates[0].ErrorCode)
		if s := r.TransactionStates[0]; s.State != "Ongoing" || len(s.Topics) != 1 || s.StartTimestamp < 0 || s.TimeoutMillis != 60_000 {
			t.Errorf("transaction: got %+v, want an ongoing one with one topic", s)
		}
		expectCode(t, "describe nobody's", r.TransactionStates[1].ErrorCode, codeTransactionalIDNotFound)
	case *kmsg.ListTransactionsResponse:
		onlyCode(t, "list", r.ErrorCode)
		if len(r.TransactionStates) != 1 || r.TransactionStates[0].TransactionState != "Ongoing" || len(r.UnknownStateFilters) != 1 {
			t.Errorf("transactions: got %+v, want one ongoing", r)
		}
	default:
		t.Fatalf("%T: no test knows it", r)
	}
}
