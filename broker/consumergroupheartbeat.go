package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
	"outrigger/broker/group/assign"
	"outrigger/broker/topic"
)

const (
	consumerHeartbeatNames = 1 // members choose their ids themselves from here on
	// What a member says for an epoch, and is none.
	memberEpochJoins = 0
	memberEpochAway  = -2 // a static member that is about to come back
)

// errConsumersOff: the operator does not want groups of KIP-848; what is left of them can be listed, read and
// deleted.
var errConsumersOff = errors.New("the consumer protocol is off: group.coordinator.rebalance.protocols does not name it")

// consumerGroupHeartbeat is all of a KIP-848 group for its members: joining, leaving, and the way to what
// they are to have.
func (b *Broker) consumerGroupHeartbeat(
	ctx context.Context, r *request, q *kmsg.ConsumerGroupHeartbeatRequest,
) kmsg.Response {
	response := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	beat, err := b.beatConsumer(ctx, r, q)
	if response.ErrorCode, response.ErrorMessage = b.outcome("ConsumerGroupHeartbeat", err); err != nil {
		return response
	}
	response.MemberID, response.MemberEpoch = &beat.MemberID, beat.Epoch
	if beat.Epoch >= memberEpochJoins { // who has left beats no more
		_, interval := b.consumerTimes(b.cluster.View(), q.Group)
		response.HeartbeatIntervalMillis = int32(interval.Milliseconds())
	}
	if beat.Assigned != nil {
		response.Assignment = &kmsg.ConsumerGroupHeartbeatResponseAssignment{Topics: assignedTopics(*beat.Assigned)}
	}
	return response
}

// assignedTopics lists partitions by topic.
func assignedTopics(slots assign.Slots) []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic {
	topics := []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{}
	for _, slot := range slots {
		if n := len(topics); n == 0 || topics[n-1].TopicID != slot.Topic {
			topics = append(topics, kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{TopicID: slot.Topic})
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, slot.Partition)
	}
	return topics
}

func (b *Broker) beatConsumer(
	ctx context.Context, r *request, q *kmsg.ConsumerGroupHeartbeatRequest,
) (*group.ConsumerBeat, error) {
	if b.config.Groups.ConsumersOff {
		return nil, errConsumersOff
	}
	if err := judgeConsumerHeartbeat(r.Version, q); err != nil {
		return nil, err
	}
	set := b.cluster.View().Configs(topic.GroupConfigs, q.Group).Values
	session, _ := b.consumerTimesOf(set)
	e := group.ConsumerHeartbeat{
		Token: b.groups.token(), MemberID: q.MemberID, Epoch: q.MemberEpoch, Instance: q.InstanceID, Rack: q.RackID,
		ClientID: r.clientID(), Host: "/" + r.client, RebalanceMillis: q.RebalanceTimeoutMillis,
		SessionMillis: session.Milliseconds(), Names: q.SubscribedTopicNames,
		AssignMillis: millisIn(set, configConsumerAssign, b.config.Groups.ConsumerAssign).Milliseconds(),
		Pattern:      q.SubscribedTopicRegex, Assignor: q.ServerAssignor,
	}
	if e.MemberID == "" {
		id := newTopicID()
		e.MemberID = base64.RawURLEncoding.EncodeToString(id[:])
	}
	if q.Topics != nil {
		owned := []assign.Slot{}
		for _, t := range q.Topics {
			for _, p := range t.Partitions {
				owned = append(owned, assign.Slot{Topic: t.TopicID, Partition: p})
			}
		}
		slots := assign.SlotsOf(owned)
		e.Owned = &slots
	}
	result, err := b.groups.do(ctx, q.Group, e.Token, e, groupWait)
	if err != nil {
		return nil, err
	}
	return result.(*group.ConsumerBeat), nil
}

// judgeConsumerHeartbeat refuses what makes no sense, whatever the group is.
func judgeConsumerHeartbeat(version int16, q *kmsg.ConsumerGroupHeartbeatRequest) error {
	joins := q.MemberEpoch == memberEpochJoins
	for _, check := range []struct {
		bad bool
		why string
	}{
		{blank(q.MemberID) && (version >= consumerHeartbeatNames || !joins), "the member id is empty"},
		{blank(q.Group), "the group id is empty"},
		{q.InstanceID != nil && blank(*q.InstanceID), "the instance id is empty"},
		{q.RackID != nil && blank(*q.RackID), "the rack id is empty"},
		{q.MemberEpoch < memberEpochAway, "the member epoch is below -2"},
		{q.MemberEpoch == memberEpochAway && q.InstanceID == nil, "epoch -2 is for members with an instance id"},
		{joins && q.RebalanceTimeoutMillis == -1, "a member that joins must tell its rebalance timeout"},
		{joins && (q.Topics == nil || len(q.Topics) > 0), "a member that joins owns no partitions, and must say so"},
		{joins && q.SubscribedTopicNames == nil && q.SubscribedTopicRegex == nil,
			"a member that joins must subscribe to names or to a regular expression"},
	} {
		if check.bad {
			return fmt.Errorf("%w: %s", errInvalidRequest, check.why)
		}
	}
	return nil
}

// blank names nobody.
func blank(s string) bool { return strings.TrimSpace(s) == "" }
