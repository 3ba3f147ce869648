package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
	"outrigger/broker/group/assign"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// describeShareGroupOffsets tells how far share groups have come. One that is not there has not begun
// anywhere, which is no error.
func (b *Broker) describeShareGroupOffsets(
	ctx context.Context, _ *request, q *kmsg.DescribeShareGroupOffsetsRequest,
) kmsg.Response {
	ctx, cancel := context.WithTimeout(ctx, shareStateWait)
	defer cancel()
	response := kmsg.NewPtrDescribeShareGroupOffsetsResponse()
	response.Groups = make([]kmsg.DescribeShareGroupOffsetsResponseGroup, len(q.Groups))
	for i := range q.Groups {
		shown := &response.Groups[i]
		shown.GroupID = q.Groups[i].GroupID
		d, err := b.describeShares(ctx, shown.GroupID)
		if errors.Is(err, group.ErrUnknownGroup) {
			d, err = &group.ShareDescription{}, nil
		}
		if shown.ErrorCode, shown.ErrorMessage = b.outcome("DescribeShareGroupOffsets", err); err != nil {
			continue
		}
		b.showShareOffsets(ctx, shown, b.shareSlotsAsked(&q.Groups[i], d), d.Initialized)
	}
	return response
}

// shareSlotsAsked are the partitions that are asked for: all that have a state, if none is named. Topics that
// there are not have no id.
func (b *Broker) shareSlotsAsked(
	q *kmsg.DescribeShareGroupOffsetsRequestGroup, d *group.ShareDescription,
) map[string]assign.Slots {
	view := b.cluster.View()
	asked := map[string]assign.Slots{}
	if q.Topics == nil {
		for _, slot := range d.Initialized {
			if t, ok := view.TopicByID(topic.ID(slot.Topic)); ok {
				asked[t.Name] = append(asked[t.Name], slot)
			}
		}
		return asked
	}
	for _, named := range q.Topics {
		var id assign.TopicID
		if t, ok := view.TopicByName(named.Topic); ok {
			id = t.ID
		}
		slots := asked[named.Topic]
		for _, index := range named.Partitions {
			slots = append(slots, assign.Slot{Topic: id, Partition: index})
		}
		asked[named.Topic] = assign.SlotsOf(slots)
	}
	return asked
}

// showShareOffsets asks for the states of those partitions that have one; the others have no start.
func (b *Broker) showShareOffsets(
	ctx context.Context, shown *kmsg.DescribeShareGroupOffsetsResponseGroup, asked map[string]assign.Slots,
	initialized assign.Slots,
) {
	var known assign.Slots
	for _, slots := range asked {
		for _, slot := range slots {
			if initialized.Has(slot) {
				known = append(known, slot)
			}
		}
	}
	known = assign.SlotsOf(known)
	said := b.summarizeShares(ctx, shown.GroupID, known)
	ends := b.logEnds(ctx, known, b.shareSettings(shown.GroupID).committed)
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		t := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopic()
		t.Topic = name
		for _, slot := range asked[name] {
			t.TopicID = slot.Topic
			p := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopicPartition()
			p.Partition, p.StartOffset = slot.Partition, int64(topic.NoOffset)
			s, is := said[slot]
			switch {
			case is && s.err != nil:
				p.ErrorCode, p.ErrorMessage = b.outcome("DescribeShareGroupOffsets", s.err)
			case is:
				p.StartOffset, p.LeaderEpoch = s.start, s.leaderEpoch
				if end, ok := ends[slot]; ok && s.start >= 0 {
					// Of a state that no leader has written to since its start was set nothing is done.
					p.Lag = max(0, end-s.start-int64(max(s.complete, 0)))
				}
			}
			t.Partitions = append(t.Partitions, p)
		}
		shown.Topics = append(shown.Topics, t)
	}
}

// listOffsetsAsked is the version in which brokers ask each other for log ends.
const listOffsetsAsked = 5

// logEnds asks the leaders of partitions where they end; those that do not say are left out.
func (b *Broker) logEnds(ctx context.Context, slots assign.Slots, committed bool) map[assign.Slot]int64 {
	view := b.cluster.View()
	nodes := map[topic.NodeID]*kmsg.ListOffsetsRequest{}
	ids := map[string]assign.TopicID{}
	for _, slot := range slots {
		t, ok := view.TopicByID(topic.ID(slot.Topic))
		if !ok || int(slot.Partition) >= len(t.Partitions) {
			continue
		}
		ids[t.Name] = slot.Topic
		node := t.Partitions[slot.Partition].Leader
		q := nodes[node]
		if q == nil {
			q = kmsg.NewPtrListOffsetsRequest()
			q.Version, q.ReplicaID = listOffsetsAsked, -1
			if committed {
				q.IsolationLevel = readCommitted
			}
			nodes[node] = q
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = slot.Partition, offsetLatest
		q.Topics = append(q.Topics, kmsg.ListOffsetsRequestTopic{
			Topic: t.Name, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p},
		})
	}
	ends := map[assign.Slot]int64{}
	for node, q := range nodes {
		response, err := b.askNode(ctx, node, q)
		if err != nil {
			continue // no lag is told of its partitions
		}
		for _, t := range response.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if code(p.ErrorCode) == codeNone {
					ends[assign.Slot{Topic: ids[t.Topic], Partition: p.Partition}] = p.Offset
				}
			}
		}
	}
	return ends
}

// alterShareGroupOffsets has an empty share group begin elsewhere.
func (b *Broker) alterShareGroupOffsets(
	ctx context.Context, _ *request, q *kmsg.AlterShareGroupOffsetsRequest,
) kmsg.Response {
	ctx, cancel := context.WithTimeout(ctx, shareStateWait)
	defer cancel()
	response := kmsg.NewPtrAlterShareGroupOffsetsResponse()
	view := b.cluster.View()
	starts := map[assign.Slot]int64{}
	var slots assign.Slots
	for i := range q.Topics {
		t, ok := view.TopicByName(q.Topics[i].Topic)
		for _, p := range q.Topics[i].Partitions {
			if ok && p.Partition >= 0 && int(p.Partition) < len(t.Partitions) && p.StartOffset >= 0 {
				slot := assign.Slot{Topic: t.ID, Partition: p.Partition}
				starts[slot] = p.StartOffset
				slots = append(slots, slot)
			}
		}
	}
	said, err := b.resetShares(ctx, q.GroupID, assign.SlotsOf(slots), starts)
	if response.ErrorCode, response.ErrorMessage = b.outcome("AlterShareGroupOffsets", err); err != nil {
		return response
	}
	for i := range q.Topics {
		answered := kmsg.NewAlterShareGroupOffsetsResponseTopic()
		answered.Topic = q.Topics[i].Topic
		if t, ok := view.TopicByName(answered.Topic); ok {
			answered.TopicID = t.ID
		}
		for _, asked := range q.Topics[i].Partitions {
			p := kmsg.NewAlterShareGroupOffsetsResponseTopicPartition()
			p.Partition = asked.Partition
			s, is := said[assign.Slot{Topic: answered.TopicID, Partition: asked.Partition}]
			switch {
			case asked.StartOffset < 0:
				s.err = fmt.Errorf("%w: start offset %d", errInvalidRequest, asked.StartOffset)
			case !is:
				s.err = topic.ErrUnknown
			}
			p.ErrorCode, p.ErrorMessage = b.outcome("AlterShareGroupOffsets", s.err)
			answered.Partitions = append(answered.Partitions, p)
		}
		response.Topics = append(response.Topics, answered)
	}
	return response
}

// resetShares notes in the group that partitions have a state, and resets that. The new state's epoch is
// above the old one's, so that a leader which still has that is fenced. That of a partition which had none and
// gets none is taken back, or else nobody would initialize it for the group's next member.
func (b *Broker) resetShares(
	ctx context.Context, name string, slots assign.Slots, starts map[assign.Slot]int64,
) (map[assign.Slot]shareStateOf, error) {
	if err := b.finalized(featureShare); err != nil {
		return nil, err
	}
	t := b.groups.token()
	result, err := b.groups.do(ctx, name, t, group.ShareReset{Token: t, Slots: slots}, shareStateWait)
	if err != nil {
		return nil, err
	}
	before := int32(0)
	for _, s := range b.summarizeShares(ctx, name, slots) {
		before = max(before, s.stateEpoch)
	}
	said := b.initializePatiently(ctx, name, slots, stateEpoch(before), starts)
	done, _ := sharesDone(said) // each is told of by itself
	if failed := result.(*group.ShareStates).Slots.Without(done); len(failed) > 0 {
		t := b.groups.token()
		e := group.ShareUninitialized{Token: t, Slots: failed}
		_, err = b.groups.do(context.WithoutCancel(ctx), name, t, e, shareStateWait)
	}
	return said, err
}

// deleteShareGroupOffsets has an empty share group forget topics: it begins afresh in them.
func (b *Broker) deleteShareGroupOffsets(
	ctx context.Context, _ *request, q *kmsg.DeleteShareGroupOffsetsRequest,
) kmsg.Response {
	ctx, cancel := context.WithTimeout(ctx, shareStateWait)
	defer cancel()
	response := kmsg.NewPtrDeleteShareGroupOffsetsResponse()
	view := b.cluster.View()
	ids := []assign.TopicID{}
	for _, named := range q.Topics {
		if t, ok := view.TopicByName(named.Topic); ok {
			ids = append(ids, t.ID)
		}
	}
	said, err := b.forgetTopics(ctx, q.GroupID, ids)
	if response.ErrorCode, response.ErrorMessage = b.outcome("DeleteShareGroupOffsets", err); err != nil {
		return response
	}
	for _, named := range q.Topics {
		answered := kmsg.NewDeleteShareGroupOffsetsResponseTopic()
		answered.Topic = named.Topic
		err := topic.ErrUnknown // also of a topic that the group has nothing of
		if t, ok := view.TopicByName(named.Topic); ok {
			answered.TopicID = t.ID
			err = saidOfTopic(said, t.ID, err)
		}
		answered.ErrorCode, answered.ErrorMessage = b.outcome("DeleteShareGroupOffsets", err)
		response.Topics = append(response.Topics, answered)
	}
	return response
}

// saidOfTopic is the first error of what was said of a topic's partitions, and none if there is nothing of it.
func saidOfTopic(said map[assign.Slot]shareStateOf, id assign.TopicID, none error) error {
	err := none
	for slot, s := range said {
		if slot.Topic != id {
			continue
		}
		if s.err != nil {
			return s.err
		}
		err = nil
	}
	return err
}

// forgetTopics has a group forget topics, all of them if nil, and deletes the states. The group remembers
// which until they are gone.
func (b *Broker) forgetTopics(
	ctx context.Context, name string, topics []assign.TopicID,
) (map[assign.Slot]shareStateOf, error) {
	if err := b.finalized(featureShare); err != nil {
		return nil, err
	}
	t := b.groups.token()
	result, err := b.groups.do(ctx, name, t, group.ShareForget{Token: t, Topics: topics}, shareStateWait)
	if err != nil {
		return nil, err
	}
	said := b.deleteShares(ctx, name, result.(*group.ShareStates).Slots)
	done, _ := sharesDone(said) // each is told of by itself
	t = b.groups.token()
	_, err = b.groups.do(ctx, name, t, group.ShareForgotten{Token: t, Slots: done}, shareStateWait)
	return said, err
}

// forgetShareGroup deletes the states of a share group that is to be deleted. Other groups have none.
func (b *Broker) forgetShareGroup(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, shareStateWait)
	defer cancel()
	if d, err := b.describeShares(ctx, name); err != nil || d == nil {
		return nil // what is wrong with the group the deletion says
	}
	said, err := b.forgetTopics(ctx, name, nil)
	for _, s := range said {
		if err == nil && s.err != nil && !errors.Is(s.err, share.ErrUninitialized) {
			err = s.err
		}
	}
	return err
}
