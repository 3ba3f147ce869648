package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
	"outrigger/broker/group/assign"
)

// shareStateWait is how long the coordinator of a group waits for those of states while a member waits for it.
const shareStateWait = 3 * time.Second

// shareMemberBytes is how long the id that a member of a share group gives itself may be: that of a UUID.
const shareMemberBytes = 36

// shareHandlers serve share groups.
func (b *Broker) shareHandlers() map[int16]handler {
	return map[int16]handler{
		kmsg.ShareGroupHeartbeat.Int16():       {run: plain(b.shareGroupHeartbeat), waits: true},
		kmsg.ShareGroupDescribe.Int16():        {run: plain(b.shareGroupDescribe), waits: true},
		kmsg.ShareFetch.Int16():                {run: plain(b.shareFetch), waits: true},
		kmsg.ShareAcknowledge.Int16():          {run: plain(b.shareAcknowledge), waits: true},
		kmsg.DescribeShareGroupOffsets.Int16(): {run: plain(b.describeShareGroupOffsets), waits: true},
		kmsg.AlterShareGroupOffsets.Int16():    {run: plain(b.alterShareGroupOffsets), waits: true},
		kmsg.DeleteShareGroupOffsets.Int16():   {run: plain(b.deleteShareGroupOffsets), waits: true},
	}
}

// shareGroupHeartbeat is all of a share group for its members: joining, leaving, and what to fetch.
func (b *Broker) shareGroupHeartbeat(
	ctx context.Context, r *request, q *kmsg.ShareGroupHeartbeatRequest,
) kmsg.Response {
	response := kmsg.NewPtrShareGroupHeartbeatResponse()
	beat, interval, err := b.beatShare(ctx, r, q)
	if response.ErrorCode, response.ErrorMessage = b.outcome("ShareGroupHeartbeat", err); err != nil {
		return response
	}
	response.MemberID, response.MemberEpoch = &beat.MemberID, beat.Epoch
	if beat.Epoch >= memberEpochJoins {
		response.HeartbeatIntervalMillis = int32(interval.Milliseconds())
	}
	if beat.Assigned != nil {
		response.Assignment = &kmsg.ShareGroupHeartbeatResponseAssignment{}
		for _, t := range assignedTopics(*beat.Assigned) {
			response.Assignment.TopicPartitions = append(response.Assignment.TopicPartitions,
				kmsg.ShareGroupHeartbeatResponseAssignmentTopicPartition{TopicID: t.TopicID, Partitions: t.Partitions})
		}
	}
	return response
}

// beatShare has the group take a heartbeat, and sees to it that what it subscribes to has a state.
func (b *Broker) beatShare(
	ctx context.Context, r *request, q *kmsg.ShareGroupHeartbeatRequest,
) (*group.ShareBeat, time.Duration, error) {
	if err := b.finalized(featureShare); err != nil {
		return nil, 0, err
	}
	if err := judgeShareHeartbeat(q); err != nil {
		return nil, 0, err
	}
	settings := b.shareSettings(q.GroupID)
	e := group.ShareHeartbeat{
		Token: b.groups.token(), MemberID: q.MemberID, Epoch: q.MemberEpoch, Rack: q.RackID, ClientID: r.clientID(),
		Host: "/" + r.client, SessionMillis: settings.session.Milliseconds(), Names: q.SubscribedTopicNames,
		AssignMillis: settings.assign.Milliseconds(),
	}
	result, err := b.groups.do(ctx, q.GroupID, e.Token, e, groupWait)
	if err != nil {
		return nil, 0, err
	}
	beat := result.(*group.ShareBeat)
	if len(beat.Missing)+len(beat.Forgetting) > 0 {
		if err := b.prepareShares(ctx, q.GroupID, beat); err != nil {
			// The member has its place all the same, and its next heartbeat tries again.
			b.troubles.report("ShareGroupHeartbeat", codeCoordinatorNotAvailable, err)
		}
	}
	return beat, settings.interval, nil
}

// judgeShareHeartbeat refuses what makes no sense, whatever the group is.
func judgeShareHeartbeat(q *kmsg.ShareGroupHeartbeatRequest) error {
	for _, check := range []struct {
		bad bool
		why string
	}{
		{blank(q.MemberID), "the member id is empty"},
		{len(q.MemberID) > shareMemberBytes, "the member id is longer than a UUID"},
		{blank(q.GroupID), "the group id is empty"},
		{q.RackID != nil && blank(*q.RackID), "the rack id is empty"},
		{q.MemberEpoch < -1, "the member epoch is below -1"},
		{q.MemberEpoch == memberEpochJoins && len(q.SubscribedTopicNames) == 0, "a member that joins must subscribe to topics"},
	} {
		if check.bad {
			return fmt.Errorf("%w: %s", errInvalidRequest, check.why)
		}
	}
	return nil
}

// prepareShares deletes the states that a group wants to forget, and initializes those that it lacks.
func (b *Broker) prepareShares(ctx context.Context, name string, beat *group.ShareBeat) error {
	ctx, cancel := context.WithTimeout(ctx, shareStateWait)
	defer cancel()
	deleteErr := b.forgetShares(ctx, name, beat.Forgetting)
	// An epoch that no state of this group had before: what an earlier one of that name has left to a leader
	// is fenced by it.
	done, initErr := sharesDone(b.initializePatiently(ctx, name, beat.Missing, stateEpoch(0), nil))
	t := b.groups.token()
	_, err := b.groups.do(context.WithoutCancel(ctx), name, t, group.ShareInitialized{Token: t, Slots: done}, shareStateWait)
	return errors.Join(deleteErr, initErr, err)
}

// initializePatiently gives partitions a state. It tries again for as long as ctx lets it: when the first
// member of the first share group joins, the topic of the states has only just been made, and nobody leads it.
func (b *Broker) initializePatiently(
	ctx context.Context, name string, slots assign.Slots, epoch int32, starts map[assign.Slot]int64,
) map[assign.Slot]shareStateOf {
	said := map[assign.Slot]shareStateOf{}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for left := slots; len(left) > 0; {
		select {
		case <-retry.C:
		case <-ctx.Done():
			for _, slot := range left {
				said[slot] = shareStateOf{err: errors.Join(said[slot].err, ctx.Err())}
			}
			return said
		}
		some := b.initializeShares(ctx, name, left, epoch, starts)
		maps.Copy(said, some)
		done, _ := sharesDone(some) // the others are tried again
		left = left.Without(done)
		retry.Reset(shareRetry)
	}
	return said
}

// stateEpochSince is when state epochs are counted from, in seconds since 1970.
const stateEpochSince = 1_700_000_000

// stateEpoch is above another one, and grows with time.
func stateEpoch(above int32) int32 { return max(above+1, int32(time.Now().Unix()-stateEpochSince)) }

// sharesDone are the partitions of which a coordinator has said yes, and why it did not of another one.
func sharesDone(said map[assign.Slot]shareStateOf) (done assign.Slots, err error) {
	for slot, s := range said {
		if s.err != nil {
			err = s.err
		} else {
			done = append(done, slot)
		}
	}
	return assign.SlotsOf(done), err
}

// forgetShares deletes states, and tells the group.
func (b *Broker) forgetShares(ctx context.Context, name string, slots assign.Slots) error {
	if len(slots) == 0 {
		return nil
	}
	done, deleteErr := sharesDone(b.deleteShares(ctx, name, slots))
	t := b.groups.token()
	_, err := b.groups.do(ctx, name, t, group.ShareForgotten{Token: t, Slots: done}, shareStateWait)
	return errors.Join(deleteErr, err)
}

// shareGroupDescribe shows share groups with their members. Other groups are unknown to it.
func (b *Broker) shareGroupDescribe(
	ctx context.Context, _ *request, q *kmsg.ShareGroupDescribeRequest,
) kmsg.Response {
	response := kmsg.NewPtrShareGroupDescribeResponse()
	response.Groups = make([]kmsg.ShareGroupDescribeResponseGroup, len(q.GroupIDs))
	for i, name := range q.GroupIDs {
		shown := &response.Groups[i]
		shown.Default()
		shown.GroupID = name
		if q.IncludeAuthorizedOperations {
			shown.AuthorizedOperations = operationsGroup
		}
		d, err := b.describeShares(ctx, name)
		if name == "" {
			err = group.ErrInvalidGroupID
		}
		if shown.ErrorCode, shown.ErrorMessage = b.outcome("ShareGroupDescribe", err); err != nil {
			continue
		}
		showShares(b.cluster.View(), shown, d)
	}
	return response
}

// describeShares asks the shard of a share group.
func (b *Broker) describeShares(ctx context.Context, name string) (*group.ShareDescription, error) {
	result, err := b.groups.view(ctx, b.groups.shardOf(name), func(groups shownGroups) any {
		if g := groups[name]; g != nil {
			return g.DescribeShares()
		}
		return (*group.ShareDescription)(nil)
	})
	if err != nil {
		return nil, err
	}
	if d := result.(*group.ShareDescription); d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("%w: %s is not a share group", group.ErrUnknownGroup, name)
}

func showShares(view View, shown *kmsg.ShareGroupDescribeResponseGroup, d *group.ShareDescription) {
	shown.GroupState, shown.Assignor = d.State.String(), "simple"
	shown.GroupEpoch, shown.AssignmentEpoch = d.Epoch, d.TargetEpoch
	shown.Members = make([]kmsg.ShareGroupDescribeResponseGroupMember, len(d.Members))
	for i, m := range d.Members {
		told := &shown.Members[i]
		told.MemberID, told.RackID, told.MemberEpoch = m.ID, m.Rack, m.Epoch
		told.ClientID, told.ClientHost, told.SubscribedTopicNames = m.ClientID, m.Host, m.Names
		for _, t := range namedSlots(view, m.Assigned).TopicPartitions {
			told.Assignment.TopicPartitions = append(told.Assignment.TopicPartitions,
				kmsg.ShareGroupDescribeResponseGroupMemberAssignmentTopicPartition{
					TopicID: t.TopicID, Topic: t.Topic, Partitions: t.Partitions,
				})
		}
	}
}
