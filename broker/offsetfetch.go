package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
	"outrigger/broker/topic"
)

const (
	offsetFetchTopLevel = 2 // errors of the whole group, and null topics
	offsetFetchBatched  = 8
	offsetFetchEpochs   = 9 // members say who they are (KIP-848)
	offsetFetchByID     = 10
)

// offsetFetch tells what groups have committed. Every version is answered by way of the newest form.
// RequireStable asks not to be told of offsets that an open transaction may replace.
func (b *Broker) offsetFetch(
	ctx context.Context, r *request, q *kmsg.OffsetFetchRequest,
) kmsg.Response {
	response := kmsg.NewPtrOffsetFetchResponse()
	if r.Version < offsetFetchBatched {
		b.fetchSingle(ctx, r, q, response)
		return response
	}
	response.Groups = make([]kmsg.OffsetFetchResponseGroup, len(q.Groups))
	for i := range q.Groups {
		b.fetchGroup(ctx, r.Version, q.RequireStable, &q.Groups[i], &response.Groups[i])
	}
	return response
}

// fetchSingle serves the versions that ask for one group.
func (b *Broker) fetchSingle(
	ctx context.Context, r *request, q *kmsg.OffsetFetchRequest, response *kmsg.OffsetFetchResponse,
) {
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group = q.Group
	if q.Topics != nil || r.Version < offsetFetchTopLevel {
		asked.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(q.Topics))
		for i, t := range q.Topics {
			asked.Topics[i].Topic, asked.Topics[i].Partitions = t.Topic, t.Partitions
		}
	}
	var answered kmsg.OffsetFetchResponseGroup
	b.fetchGroup(ctx, r.Version, q.RequireStable, &asked, &answered)
	response.ErrorCode = answered.ErrorCode
	if answered.ErrorCode != 0 && r.Version < offsetFetchTopLevel {
		// There is no other place for it than every partition.
		answered.Topics = refusedOffsets(&asked, answered.ErrorCode)
	}
	for _, t := range answered.Topics {
		single := kmsg.NewOffsetFetchResponseTopic()
		single.Topic = t.Topic
		for _, p := range t.Partitions {
			single.Partitions = append(single.Partitions, kmsg.OffsetFetchResponseTopicPartition(p))
		}
		response.Topics = append(response.Topics, single)
	}
}

func refusedOffsets(
	asked *kmsg.OffsetFetchRequestGroup, why int16,
) []kmsg.OffsetFetchResponseGroupTopic {
	topics := make([]kmsg.OffsetFetchResponseGroupTopic, len(asked.Topics))
	for i, t := range asked.Topics {
		topics[i].Topic = t.Topic
		for _, index := range t.Partitions {
			topics[i].Partitions = append(topics[i].Partitions, noOffset(index, why))
		}
	}
	return topics
}

// noOffset says that nothing was committed, or why that cannot be said.
func noOffset(index int32, why int16) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.ErrorCode = index, -1, -1, why
	p.Metadata = kmsg.StringPtr("")
	return p
}

// fetchGroup answers for one group.
func (b *Broker) fetchGroup(
	ctx context.Context, version int16, stable bool, q *kmsg.OffsetFetchRequestGroup,
	answered *kmsg.OffsetFetchResponseGroup,
) {
	answered.Default()
	answered.Group = q.Group
	view := b.cluster.View()
	t := b.groups.token()
	e := group.Fetch{Token: t, All: q.Topics == nil, Stable: stable, Epoch: -1}
	if version >= offsetFetchEpochs {
		e.MemberID, e.Epoch = q.MemberID, q.MemberEpoch
	}
	if !e.All {
		answered.Topics = make([]kmsg.OffsetFetchResponseGroupTopic, len(q.Topics))
	}
	var slots []*kmsg.OffsetFetchResponseGroupTopicPartition
	for i := range q.Topics {
		slots = planFetch(view, version, &q.Topics[i], &answered.Topics[i], &e, slots)
	}
	result, err := b.groups.do(ctx, q.Group, t, e, groupWait)
	if why := b.groupCode("OffsetFetch", err); why != codeNone {
		answered.ErrorCode, answered.Topics = int16(why), nil
		return
	}
	fetched := result.(*group.Fetched)
	if e.All {
		answered.Topics = allOffsets(view, fetched)
		return
	}
	for i, slot := range slots {
		fillOffset(view, slot, fetched, i)
	}
}

// planFetch adds the partitions of one topic to what the group is asked for, each with the place of
// its answer. Only an id can be unknown: of a name, nothing was committed.
func planFetch(
	view View, version int16, q *kmsg.OffsetFetchRequestGroupTopic,
	answered *kmsg.OffsetFetchResponseGroupTopic, e *group.Fetch,
	slots []*kmsg.OffsetFetchResponseGroupTopicPartition,
) []*kmsg.OffsetFetchResponseGroupTopicPartition {
	answered.Default()
	answered.Topic, answered.TopicID = q.Topic, q.TopicID
	answered.Partitions = make([]kmsg.OffsetFetchResponseGroupTopicPartition, len(q.Partitions))
	name, why := q.Topic, codeNone
	if version >= offsetFetchByID {
		var t *topic.Topic
		if t, why = topicOf(view, "", q.TopicID, true); t != nil {
			name = t.Name
		}
	}
	for i, index := range q.Partitions {
		answered.Partitions[i] = noOffset(index, int16(why))
		if why == codeNone {
			e.Places = append(e.Places, group.Place{Topic: name, Partition: index})
			slots = append(slots, &answered.Partitions[i])
		}
	}
	return slots
}

// fillOffset answers for one partition. An offset of a topic that was deleted says nothing of its
// successor, and one that an open transaction may replace is not told.
func fillOffset(
	view View, slot *kmsg.OffsetFetchResponseGroupTopicPartition, fetched *group.Fetched, i int,
) {
	o := &fetched.Offsets[i]
	if fetched.Unstable != nil && fetched.Unstable[i] {
		slot.ErrorCode = int16(codeUnstableOffsetCommit)
		return
	}
	if o.Offset.Offset < 0 || outlived(view, o) {
		return
	}
	slot.Offset, slot.LeaderEpoch = o.Offset.Offset, o.LeaderEpoch
	slot.Metadata = kmsg.StringPtr(o.Metadata)
}

// outlived says whether the topic of an offset is gone, whether or not another bears its name.
func outlived(view View, o *group.CommitOffset) bool {
	t, found := view.TopicByName(o.Topic)
	return found && o.TopicID != [16]byte{} && t.ID != topic.ID(o.TopicID)
}

// allOffsets lists the offsets of a group by topic, of topics that there are.
func allOffsets(view View, fetched *group.Fetched) []kmsg.OffsetFetchResponseGroupTopic {
	var topics []kmsg.OffsetFetchResponseGroupTopic
	for i := range fetched.Offsets {
		o := &fetched.Offsets[i]
		t, found := view.TopicByName(o.Topic)
		if !found || outlived(view, o) {
			continue
		}
		if n := len(topics); n == 0 || topics[n-1].Topic != o.Topic {
			next := kmsg.NewOffsetFetchResponseGroupTopic()
			next.Topic, next.TopicID = o.Topic, t.ID
			topics = append(topics, next)
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, noOffset(o.Partition, 0))
		fillOffset(view, &last.Partitions[len(last.Partitions)-1], fetched, i)
	}
	return topics
}
