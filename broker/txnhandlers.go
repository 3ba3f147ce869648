package broker

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/txn"
)

// txnHandlers serve transactions.
func (b *Broker) txnHandlers() map[int16]handler {
	return map[int16]handler{
		kmsg.AddPartitionsToTxn.Int16():   {run: plain(b.addPartitionsToTxn), waits: true},
		kmsg.AddOffsetsToTxn.Int16():      {run: plain(b.addOffsetsToTxn), waits: true},
		kmsg.EndTxn.Int16():               {run: plain(b.endTxn), waits: true},
		kmsg.TxnOffsetCommit.Int16():      {run: plain(b.txnOffsetCommit), waits: true},
		kmsg.WriteTxnMarkers.Int16():      {run: plain(b.writeTxnMarkers), waits: true},
		kmsg.DescribeTransactions.Int16(): {run: plain(b.describeTransactions), waits: true},
		kmsg.ListTransactions.Int16():     {run: plain(b.listTransactions), waits: true},
	}
}

const (
	// addPartitionsBatched is the version from which on brokers ask, for many transactions at once.
	addPartitionsBatched = 4
	// abortableSince and fencedSince are the first versions whose clients know TRANSACTION_ABORTABLE and
	// PRODUCER_FENCED; those before hear INVALID_TXN_STATE and INVALID_PRODUCER_EPOCH.
	abortableSince = 5
	fencedSince    = 2
	// endTxnBumps is the version from which on a transaction's end makes a new epoch.
	endTxnBumps = 5
	// offsetsAdds is the version from which on committing offsets makes them part of the transaction.
	offsetsAdds = 5
	// offsetsByID is the version from which on topics are named by id, and members hear of epochs (KIP-1319).
	offsetsByID = 6
)

// txnCode is what a client hears of a refused request, and counts it.
func (b *Broker) txnCode(api string, err error, knowsFenced bool) code {
	why := codeNone
	if err != nil {
		why = b.judge(api, err)
	}
	if why == codeProducerFenced && !knowsFenced {
		why = codeInvalidProducerEpoch
	}
	b.meters.failure(api, why)
	return why
}

// addPartitionsToTxn makes partitions part of a transaction, before its producer writes to them.
func (b *Broker) addPartitionsToTxn(
	ctx context.Context, r *request, q *kmsg.AddPartitionsToTxnRequest,
) kmsg.Response {
	if r.Version >= addPartitionsBatched {
		return b.addPartitionsToTxns(ctx, q)
	}
	response := kmsg.NewPtrAddPartitionsToTxnResponse()
	one := kmsg.NewAddPartitionsToTxnRequestTransaction()
	one.TransactionalID, one.ProducerID, one.ProducerEpoch = q.TransactionalID, q.ProducerID, q.ProducerEpoch
	for _, t := range q.Topics {
		one.Topics = append(one.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	for _, t := range b.addToTxn(ctx, r.Version, &one) {
		answered := kmsg.AddPartitionsToTxnResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			answered.Partitions = append(answered.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{
				Partition: p.Partition, ErrorCode: p.ErrorCode,
			})
		}
		response.Topics = append(response.Topics, answered)
	}
	return response
}

// addPartitionsToTxns serves the versions that brokers use. Their clients know transaction version 2.
func (b *Broker) addPartitionsToTxns(ctx context.Context, q *kmsg.AddPartitionsToTxnRequest) kmsg.Response {
	response := kmsg.NewPtrAddPartitionsToTxnResponse()
	for i := range q.Transactions {
		answered := kmsg.NewAddPartitionsToTxnResponseTransaction()
		answered.TransactionalID = q.Transactions[i].TransactionalID
		answered.Topics = b.addToTxn(ctx, q.Version, &q.Transactions[i])
		response.Transactions = append(response.Transactions, answered)
	}
	return response
}

// addToTxn serves one transaction. Partitions that do not exist refuse all: none of them is added then.
func (b *Broker) addToTxn(
	ctx context.Context, version int16, q *kmsg.AddPartitionsToTxnRequestTransaction,
) []kmsg.AddPartitionsToTxnResponseTransactionTopic {
	view := b.cluster.View()
	var partitions []txn.Partition
	var slots []*int16
	unknown := false
	answered := make([]kmsg.AddPartitionsToTxnResponseTransactionTopic, len(q.Topics))
	for i, t := range q.Topics {
		known, _ := view.TopicByName(t.Topic)
		answered[i].Topic = t.Topic
		answered[i].Partitions = make([]kmsg.AddPartitionsToTxnResponseTransactionTopicPartition, len(t.Partitions))
		for j, index := range t.Partitions {
			p := &answered[i].Partitions[j]
			p.Partition = index
			if !q.VerifyOnly && (known == nil || index < 0 || int(index) >= len(known.Partitions)) {
				p.ErrorCode, unknown = int16(codeUnknownTopicOrPartition), true
				continue
			}
			partitions = append(partitions, txn.Partition{Topic: t.Topic, Index: index})
			slots = append(slots, &p.ErrorCode)
		}
	}
	var errs []error
	if !unknown {
		errs = b.addOrVerify(ctx, version, q, partitions)
	}
	for i, slot := range slots {
		if unknown {
			*slot = int16(codeOperationNotAttempted)
			continue
		}
		why := b.txnCode("AddPartitionsToTxn", errs[i], version >= fencedSince)
		if why == codeTransactionAbortable && version < abortableSince {
			why = codeInvalidTxnState
		}
		*slot = int16(why)
	}
	return answered
}

// addOrVerify returns one error for each partition.
func (b *Broker) addOrVerify(
	ctx context.Context, version int16, q *kmsg.AddPartitionsToTxnRequestTransaction, partitions []txn.Partition,
) []error {
	t := b.txns.token()
	var e txn.Event
	if q.VerifyOnly {
		e = txn.Verify{Token: t, ID: q.ProducerID, Epoch: q.ProducerEpoch, Partitions: partitions}
	} else {
		add := txn.Add{Token: t, ID: q.ProducerID, Epoch: q.ProducerEpoch, Partitions: partitions}
		if version >= addPartitionsBatched {
			add.Version = txn.BumpsEpochs
		}
		e = add
	}
	result, err := b.txns.do(ctx, q.TransactionalID, t, e)
	if verified, ok := result.(*txn.Verified); ok && err == nil {
		return verified.Errs
	}
	errs := make([]error, len(partitions))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// addOffsetsToTxn makes the offsets of a group part of a transaction: their partition of the offsets topic.
func (b *Broker) addOffsetsToTxn(
	ctx context.Context, r *request, q *kmsg.AddOffsetsToTxnRequest,
) kmsg.Response {
	response := kmsg.NewPtrAddOffsetsToTxnResponse()
	p, ok := b.offsetsPartition(ctx, q.Group)
	if !ok {
		response.ErrorCode = int16(codeCoordinatorNotAvailable)
		b.meters.failure("AddOffsetsToTxn", codeCoordinatorNotAvailable)
		return response
	}
	t := b.txns.token()
	_, err := b.txns.do(ctx, q.TransactionalID, t, txn.Add{
		Token: t, ID: q.ProducerID, Epoch: q.ProducerEpoch, Partitions: []txn.Partition{p},
	})
	response.ErrorCode = int16(b.txnCode("AddOffsetsToTxn", err, r.Version >= fencedSince))
	return response
}

// offsetsPartition is the partition that keeps a group's offsets. A client may ask for it before it has
// asked for the group's coordinator, so the topic may have to be created.
func (b *Broker) offsetsPartition(ctx context.Context, group string) (txn.Partition, bool) {
	view, _, _ := b.coordinatorView(ctx, coordinatorGroup, 1)
	t, ok := view.TopicByName(offsetsTopic)
	if !ok {
		return txn.Partition{}, false
	}
	return txn.Partition{Topic: offsetsTopic, Index: groupPartition(group, len(t.Partitions))}, true
}

// endTxn commits or aborts a transaction. It is answered when the decision is durable; the markers follow.
func (b *Broker) endTxn(ctx context.Context, r *request, q *kmsg.EndTxnRequest) kmsg.Response {
	response := kmsg.NewPtrEndTxnResponse()
	response.ProducerID, response.ProducerEpoch = txn.NoProducer, txn.NoEpoch
	var version int16
	if r.Version >= endTxnBumps {
		version = txn.BumpsEpochs
	}
	identity, err := b.txns.identify(ctx, q.TransactionalID, func(t txn.Token, newID int64) txn.Event {
		return txn.End{
			Token: t, ID: q.ProducerID, Epoch: q.ProducerEpoch, Commit: q.Commit, Version: version, NewID: newID,
		}
	})
	response.ErrorCode = int16(b.txnCode("EndTxn", err, r.Version >= fencedSince))
	if err == nil {
		b.meters.ended(q.Commit)
	}
	if err == nil && version >= txn.BumpsEpochs {
		response.ProducerID, response.ProducerEpoch = identity.ID, identity.Epoch
	}
	return response
}

// describeTransactions shows what transactional ids are doing, to those who ask their coordinator.
func (b *Broker) describeTransactions(
	ctx context.Context, _ *request, q *kmsg.DescribeTransactionsRequest,
) kmsg.Response {
	response := kmsg.NewPtrDescribeTransactionsResponse()
	for _, id := range q.TransactionalIDs {
		shown := kmsg.NewDescribeTransactionsResponseTransactionState()
		shown.TransactionalID, shown.ProducerID, shown.ProducerEpoch, shown.StartTimestamp = id, -1, -1, -1
		result, err := b.txns.view(ctx, b.txns.shardOf(id), func(all shownTxns) any {
			if t := all[id]; t != nil {
				return t.Describe()
			}
			return txn.Description{State: txn.Dead}
		})
		d, _ := result.(txn.Description)
		if id == "" {
			err = fmt.Errorf("%w: the transactional id is empty", errInvalidRequest)
		}
		if err == nil && d.State == txn.Dead {
			err = txn.ErrUnknownID
		}
		if shown.ErrorCode = int16(b.txnCode("DescribeTransactions", err, true)); err == nil {
			showTransaction(&shown, d)
		}
		response.TransactionStates = append(response.TransactionStates, shown)
	}
	return response
}

func showTransaction(shown *kmsg.DescribeTransactionsResponseTransactionState, d txn.Description) {
	shown.State, shown.TimeoutMillis, shown.StartTimestamp = d.State.String(), d.TimeoutMillis, d.Started
	shown.ProducerID, shown.ProducerEpoch = d.ID, d.Epoch
	for i, p := range d.Partitions {
		if i == 0 || d.Partitions[i-1].Topic != p.Topic {
			shown.Topics = append(shown.Topics, kmsg.DescribeTransactionsResponseTransactionStateTopic{Topic: p.Topic})
		}
		last := &shown.Topics[len(shown.Topics)-1]
		last.Partitions = append(last.Partitions, p.Index)
	}
}

// listTransactions lists the transactional ids that this broker coordinates. Clients ask all brokers.
func (b *Broker) listTransactions(
	ctx context.Context, _ *request, q *kmsg.ListTransactionsRequest,
) kmsg.Response {
	response := kmsg.NewPtrListTransactionsResponse()
	wanted, why := newTxnFilter(q, time.Now().UnixMilli())
	if why != codeNone {
		response.ErrorCode = int16(why)
		b.meters.failure("ListTransactions", why)
		return response
	}
	response.UnknownStateFilters = wanted.unknown
	for _, shard := range b.txns.table.Load().shards {
		if shard == nil || shard.over() {
			continue
		}
		listed, err := b.txns.view(ctx, shard, func(all shownTxns) any { return wanted.list(all) })
		if err != nil {
			// A list that lacks some would be taken for all there are.
			response.ErrorCode, response.TransactionStates = int16(b.txnCode("ListTransactions", err, true)), nil
			return response
		}
		response.TransactionStates = append(response.TransactionStates, listed.([]kmsg.ListTransactionsResponseTransactionState)...)
	}
	slices.SortFunc(response.TransactionStates, func(a, b kmsg.ListTransactionsResponseTransactionState) int {
		return strings.Compare(a.TransactionalID, b.TransactionalID)
	})
	return response
}

// txnFilter says which transactional ids are asked for.
type txnFilter struct {
	states    map[txn.State]bool
	unknown   []string
	producers []int64
	// since is the latest start of a transaction, -1 for any id.
	since   int64
	pattern *regexp.Regexp
}

func newTxnFilter(q *kmsg.ListTransactionsRequest, now int64) (*txnFilter, code) {
	f := &txnFilter{producers: q.ProducerIDFilters, since: -1}
	if len(q.StateFilters) > 0 {
		f.states = map[txn.State]bool{}
	}
	for _, name := range q.StateFilters {
		known := false
		for s := txn.Empty; s <= txn.Dead; s++ {
			if s.String() == name {
				f.states[s], known = true, true
			}
		}
		if !known {
			f.unknown = append(f.unknown, name)
		}
	}
	if q.DurationFilterMillis >= 0 {
		f.since = max(0, now-q.DurationFilterMillis)
	}
	if q.TransactionalIDPattern != nil && *q.TransactionalIDPattern != "" {
		var err error
		if f.pattern, err = regexp.Compile("^(?:" + *q.TransactionalIDPattern + ")$"); err != nil {
			return nil, codeInvalidRegularExpression
		}
	}
	return f, codeNone
}

// list lists the ids of a shard that are asked for.
func (f *txnFilter) list(all shownTxns) []kmsg.ListTransactionsResponseTransactionState {
	var listed []kmsg.ListTransactionsResponseTransactionState
	for id, t := range all {
		d := t.Describe()
		switch {
		case d.State == txn.Dead, f.states != nil && !f.states[d.State],
			len(f.producers) > 0 && !slices.Contains(f.producers, d.ID),
			f.since >= 0 && (d.Started < 0 || d.Started > f.since),
			f.pattern != nil && !f.pattern.MatchString(id):
			continue
		}
		line := kmsg.NewListTransactionsResponseTransactionState()
		line.TransactionalID, line.ProducerID, line.TransactionState = id, d.ID, d.State.String()
		listed = append(listed, line)
	}
	return listed
}
