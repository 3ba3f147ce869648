package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// offsetForLeaderEpoch tells where an epoch ended, by which a consumer sees that its log was
// truncated (KIP-320). Only the leader knows; an epoch that it does not know ends at -1, which
// clients take for "no idea", whereas 0 or the log start would make them reset.
func (b *Broker) offsetForLeaderEpoch(
	_ context.Context, _ *request, q *kmsg.OffsetForLeaderEpochRequest,
) kmsg.Response {
	view := b.cluster.View()
	response := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for i := range q.Topics {
		asked := &q.Topics[i]
		answered := kmsg.NewOffsetForLeaderEpochResponseTopic()
		answered.Topic = asked.Topic
		t, unknown := topicOf(view, asked.Topic, topic.ID{}, false)
		for j := range asked.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition, p.LeaderEpoch, p.EndOffset = asked.Partitions[j].Partition, -1, -1
			why := unknown
			if why == codeNone {
				why = b.epochEnd(b.resolve(t, p.Partition), &asked.Partitions[j], &p)
			}
			p.ErrorCode = int16(why)
			b.meters.failure("OffsetForLeaderEpoch", why)
			answered.Partitions = append(answered.Partitions, p)
		}
		response.Topics = append(response.Topics, answered)
	}
	return response
}

func (b *Broker) epochEnd(
	to target, asked *kmsg.OffsetForLeaderEpochRequestTopicPartition,
	p *kmsg.OffsetForLeaderEpochResponseTopicPartition,
) code {
	if to.code != codeNone {
		return to.code
	}
	if why := leads(to.log.State(), asked.CurrentLeaderEpoch); why != codeNone {
		return why
	}
	epoch, end := to.log.EpochEnd(topic.Epoch(asked.LeaderEpoch))
	p.LeaderEpoch, p.EndOffset = int32(epoch), int64(end)
	return codeNone
}
