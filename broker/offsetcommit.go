package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

const (
	offsetCommitEpochs = 9 // the generation may be a member epoch (KIP-848)
	offsetCommitByID   = 10
)

// offsetCommit keeps how far a group has come. Each partition stands or falls by itself, but all of
// them with the member that commits.
func (b *Broker) offsetCommit(
	ctx context.Context, r *request, q *kmsg.OffsetCommitRequest,
) kmsg.Response {
	response := kmsg.NewPtrOffsetCommitResponse()
	e, slots := b.planCommit(r, q, response)
	if len(slots) == 0 {
		return response
	}
	result, err := b.groups.do(ctx, q.Group, e.Token, e, groupWait)
	committed, _ := result.(*group.Committed)
	for i, slot := range slots {
		one := err
		if err == nil {
			one = committed.Errs[i]
		}
		*slot = int16(b.groupCode("OffsetCommit", one))
		if one == nil {
			b.meters.commits.Inc()
		}
	}
	return response
}

// planCommit lists the offsets of partitions that exist, each with the place of its answer. The others
// are answered already.
func (b *Broker) planCommit(
	r *request, q *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse,
) (e group.Commit, slots []*int16) {
	view, now := b.cluster.View(), b.groups.now()
	e = group.Commit{
		Token: b.groups.token(), MemberID: q.MemberID, Instance: q.InstanceID, Generation: q.Generation,
		KnowsEpochs: r.Version >= offsetCommitEpochs,
	}
	response.Topics = make([]kmsg.OffsetCommitResponseTopic, len(q.Topics))
	for i := range q.Topics {
		asked, answered := &q.Topics[i], &response.Topics[i]
		answered.Default()
		answered.Topic, answered.TopicID = asked.Topic, asked.TopicID
		answered.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(asked.Partitions))
		t, unknown := topicOf(view, asked.Topic, asked.TopicID, r.Version >= offsetCommitByID)
		for j := range asked.Partitions {
			p, slot := &asked.Partitions[j], &answered.Partitions[j]
			slot.Default()
			slot.Partition = p.Partition
			why := unknown
			if t != nil && (p.Partition < 0 || int(p.Partition) >= len(t.Partitions)) {
				why = codeUnknownTopicOrPartition
			}
			if why != codeNone {
				slot.ErrorCode = int16(why)
				b.meters.failure("OffsetCommit", why)
				continue
			}
			o := group.Offset{
				Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, ExpiresAt: -1, TopicID: t.ID,
			}
			if p.Metadata != nil {
				o.Metadata = *p.Metadata
			}
			if q.RetentionTimeMillis >= 0 {
				o.ExpiresAt = now.Wall + q.RetentionTimeMillis
			}
			e.Offsets = append(e.Offsets, group.CommitOffset{
				Place: group.Place{Topic: t.Name, Partition: p.Partition}, Offset: o,
			})
			slots = append(slots, &slot.ErrorCode)
		}
	}
	return e, slots
}
