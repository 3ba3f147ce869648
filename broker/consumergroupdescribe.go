package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
	"outrigger/broker/group/assign"
	"outrigger/broker/topic"
)

// How ConsumerGroupDescribe names what a member speaks.
const (
	memberTypeClassic  = 0
	memberTypeConsumer = 1
)

// consumerGroupDescribe shows KIP-848 groups with their members. Other groups are unknown to it, as those
// are to DescribeGroups.
func (b *Broker) consumerGroupDescribe(
	ctx context.Context, _ *request, q *kmsg.ConsumerGroupDescribeRequest,
) kmsg.Response {
	response := kmsg.NewPtrConsumerGroupDescribeResponse()
	response.Groups = make([]kmsg.ConsumerGroupDescribeResponseGroup, len(q.Groups))
	for i, name := range q.Groups {
		shown := &response.Groups[i]
		shown.Default()
		shown.Group = name
		if q.IncludeAuthorizedOperations {
			shown.AuthorizedOperations = operationsGroup
		}
		d, err := b.describeConsumers(ctx, name)
		if name == "" {
			d, err = nil, group.ErrInvalidGroupID
		}
		if err == nil && d == nil {
			err = group.ErrUnknownGroup
			shown.ErrorMessage = kmsg.StringPtr("Group " + name + " is not a consumer group.")
		}
		shown.ErrorCode = int16(b.groupCode("ConsumerGroupDescribe", err))
		if err == nil {
			showConsumers(b.cluster.View(), shown, d)
		}
	}
	return response
}

// describeConsumers asks the shard of a group; nil is none of a KIP-848 group.
func (b *Broker) describeConsumers(ctx context.Context, name string) (*group.ConsumerDescription, error) {
	if b.config.Groups.ConsumersOff {
		return nil, errConsumersOff
	}
	result, err := b.groups.view(ctx, b.groups.shardOf(name), func(groups shownGroups) any {
		if g := groups[name]; g != nil {
			return g.DescribeConsumers()
		}
		return (*group.ConsumerDescription)(nil)
	})
	if err != nil {
		return nil, err
	}
	return result.(*group.ConsumerDescription), nil
}

func showConsumers(view View, shown *kmsg.ConsumerGroupDescribeResponseGroup, d *group.ConsumerDescription) {
	shown.State, shown.AssignorName = d.State.String(), d.Assignor
	shown.Epoch, shown.AssignmentEpoch = d.Epoch, d.TargetEpoch
	shown.Members = make([]kmsg.ConsumerGroupDescribeResponseGroupMember, len(d.Members))
	for i, m := range d.Members {
		told := &shown.Members[i]
		told.Default()
		told.MemberID, told.InstanceID, told.RackID, told.MemberEpoch = m.ID, m.Instance, m.Rack, m.Epoch
		told.ClientID, told.ClientHost, told.SubscribedTopics = m.ClientID, m.Host, m.Names
		if m.Pattern != "" {
			told.SubscribedTopicRegex = &m.Pattern
		}
		told.Assignment, told.TargetAssignment = namedSlots(view, m.Assigned), namedSlots(view, m.Target)
		told.MemberType = memberTypeConsumer
		if m.Classic {
			told.MemberType = memberTypeClassic
		}
	}
}

// namedSlots lists partitions by topic, of topics that there are.
func namedSlots(view View, slots assign.Slots) kmsg.Assignment {
	var a kmsg.Assignment
	for _, slot := range slots {
		t, found := view.TopicByID(topic.ID(slot.Topic))
		if !found {
			continue
		}
		if n := len(a.TopicPartitions); n == 0 || a.TopicPartitions[n-1].TopicID != slot.Topic {
			a.TopicPartitions = append(a.TopicPartitions, kmsg.AssignmentTopicPartition{TopicID: slot.Topic, Topic: t.Name})
		}
		last := &a.TopicPartitions[len(a.TopicPartitions)-1]
		last.Partitions = append(last.Partitions, slot.Partition)
	}
	return a
}
