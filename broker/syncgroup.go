package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

// syncGroup takes the leader's assignment, and gives each member its own.
func (b *Broker) syncGroup(
	ctx context.Context, _ *request, q *kmsg.SyncGroupRequest,
) kmsg.Response {
	t := b.groups.token()
	e := group.Sync{
		Token: t, MemberID: q.MemberID, Instance: q.InstanceID, Generation: q.Generation,
		ProtocolType: q.ProtocolType, Protocol: q.Protocol,
	}
	if len(q.GroupAssignment) > 0 {
		e.Assignments = make(map[string][]byte, len(q.GroupAssignment))
		for _, a := range q.GroupAssignment {
			e.Assignments[a.MemberID] = a.MemberAssignment
		}
	}
	result, err := b.groups.do(ctx, q.Group, t, e, b.rebalanceWait())
	response := kmsg.NewPtrSyncGroupResponse()
	response.ErrorCode = int16(b.groupCode("SyncGroup", err))
	if synced, ok := result.(*group.Synced); ok && err == nil {
		response.ProtocolType, response.Protocol = &synced.ProtocolType, &synced.Protocol
		response.MemberAssignment = synced.Assignment
	}
	return response
}
