package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
	"outrigger/broker/topic"
)

// txnOffsetCommit keeps how far a group has come, from when the transaction is committed on. The coordinator
// of the transaction is asked first, unless the group's partition of the offsets topic is part of it already.
func (b *Broker) txnOffsetCommit(
	ctx context.Context, r *request, q *kmsg.TxnOffsetCommitRequest,
) kmsg.Response {
	response := kmsg.NewPtrTxnOffsetCommitResponse()
	e, slots := b.planTxnCommit(r, q, response)
	if len(slots) == 0 {
		return response
	}
	committed, why := b.commitInTransaction(ctx, r, q, e)
	for i, slot := range slots {
		if *slot = int16(why); why == codeNone {
			*slot = int16(b.groupCode("TxnOffsetCommit", committed.Errs[i]))
		}
	}
	return response
}

// planTxnCommit lists the offsets of partitions that exist, each with the place of its answer. The others
// are answered already.
func (b *Broker) planTxnCommit(
	r *request, q *kmsg.TxnOffsetCommitRequest, response *kmsg.TxnOffsetCommitResponse,
) (e group.TxnCommit, slots []*int16) {
	view := b.cluster.View()
	e = group.TxnCommit{
		Token: b.groups.token(), ProducerID: q.ProducerID, MemberID: q.MemberID, Instance: q.InstanceID,
		Generation: q.Generation, KnowsEpochs: r.Version >= offsetsByID,
	}
	response.Topics = make([]kmsg.TxnOffsetCommitResponseTopic, len(q.Topics))
	for i := range q.Topics {
		asked, answered := &q.Topics[i], &response.Topics[i]
		answered.Default()
		answered.Topic, answered.TopicID = asked.Topic, asked.TopicID
		answered.Partitions = make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(asked.Partitions))
		t, unknown := topicOf(view, asked.Topic, topic.ID(asked.TopicID), r.Version >= offsetsByID)
		for j := range asked.Partitions {
			p, slot := &asked.Partitions[j], &answered.Partitions[j]
			slot.Default()
			slot.Partition = p.Partition
			if t == nil || p.Partition < 0 || int(p.Partition) >= len(t.Partitions) {
				why := max(unknown, codeUnknownTopicOrPartition)
				slot.ErrorCode = int16(why)
				b.meters.failure("TxnOffsetCommit", why)
				continue
			}
			o := group.Offset{Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, ExpiresAt: -1, TopicID: t.ID}
			if p.Metadata != nil {
				o.Metadata = *p.Metadata
			}
			e.Offsets = append(e.Offsets, group.CommitOffset{
				Place: group.Place{Topic: t.Name, Partition: p.Partition}, Offset: o,
			})
			slots = append(slots, &slot.ErrorCode)
		}
	}
	return e, slots
}

func (b *Broker) commitInTransaction(
	ctx context.Context, r *request, q *kmsg.TxnOffsetCommitRequest, e group.TxnCommit,
) (*group.Committed, code) {
	shard := b.groups.shardOf(q.Group)
	at, ok := b.offsetsPartition(ctx, q.Group)
	if shard == nil || !ok {
		return nil, b.groupCode("TxnOffsetCommit", errNotCoordinator)
	}
	who := member{transactionalID: q.TransactionalID, producerID: q.ProducerID, epoch: q.ProducerEpoch, verify: r.Version < offsetsAdds}
	s := &seat{log: shard.log, partition: at}
	b.joinTransaction(ctx, who, []*seat{s})
	defer leave([]*seat{s})
	if s.code != codeNone {
		why := offsetsCode(s.code, r.Version)
		b.meters.failure("TxnOffsetCommit", why)
		return nil, why
	}
	call := &groupCall{
		group: q.Group, token: e.Token, event: e,
		producer: &transactionOf{id: q.ProducerID, epoch: q.ProducerEpoch, guard: s.guard},
	}
	result, err := b.groups.ask(ctx, shard, call, groupWait)
	if err != nil {
		return nil, b.groupCode("TxnOffsetCommit", err)
	}
	return result.(*group.Committed), codeNone
}

// offsetsCode is what a client hears of the refusal of the transaction's coordinator: it must not look for
// the group's because of it.
func offsetsCode(why code, version int16) code {
	switch why {
	case codeNotCoordinator, codeCoordinatorLoading, codeCoordinatorNotAvailable, codeRequestTimedOut:
		return codeCoordinatorLoading
	case codeTransactionAbortable:
		if version < offsetsAdds {
			return codeInvalidTxnState
		}
	case codeProducerFenced:
		return codeInvalidProducerEpoch
	}
	return why
}
