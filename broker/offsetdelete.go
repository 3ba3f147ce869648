package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

// offsetDelete takes committed offsets away, of topics that nobody in the group is subscribed to.
func (b *Broker) offsetDelete(
	ctx context.Context, _ *request, q *kmsg.OffsetDeleteRequest,
) kmsg.Response {
	response := kmsg.NewPtrOffsetDeleteResponse()
	if q.Group == "" {
		response.ErrorCode = int16(b.groupCode("OffsetDelete", group.ErrInvalidGroupID))
		return response
	}
	e, slots := b.planOffsetDelete(q, response)
	result, err := b.groups.do(ctx, q.Group, e.Token, e, groupWait)
	if why := b.groupCode("OffsetDelete", err); why != codeNone {
		response.ErrorCode, response.Topics = int16(why), nil
		return response
	}
	for i, slot := range slots {
		*slot = int16(b.groupCode("OffsetDelete", result.(*group.Committed).Errs[i]))
	}
	return response
}

func (b *Broker) planOffsetDelete(
	q *kmsg.OffsetDeleteRequest, response *kmsg.OffsetDeleteResponse,
) (e group.DeleteOffsets, slots []*int16) {
	view := b.cluster.View()
	e.Token = b.groups.token()
	response.Topics = make([]kmsg.OffsetDeleteResponseTopic, len(q.Topics))
	for i := range q.Topics {
		asked, answered := &q.Topics[i], &response.Topics[i]
		answered.Default()
		answered.Topic = asked.Topic
		answered.Partitions = make([]kmsg.OffsetDeleteResponseTopicPartition, len(asked.Partitions))
		t, known := view.TopicByName(asked.Topic)
		for j, p := range asked.Partitions {
			slot := &answered.Partitions[j]
			slot.Default()
			slot.Partition = p.Partition
			if !known || p.Partition < 0 || int(p.Partition) >= len(t.Partitions) {
				slot.ErrorCode = int16(codeUnknownTopicOrPartition)
				b.meters.failure("OffsetDelete", codeUnknownTopicOrPartition)
				continue
			}
			e.Places = append(e.Places, group.Place{Topic: asked.Topic, Partition: p.Partition})
			slots = append(slots, &slot.ErrorCode)
		}
	}
	return e, slots
}
