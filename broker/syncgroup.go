package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

// syncNamesProtocol is the version from which a member must name what it speaks (KIP-559).
const syncNamesProtocol = 5

// syncGroup takes the leader's assignment, and gives each member its own.
func (b *Broker) syncGroup(
	ctx context.Context, r *request, q *kmsg.SyncGroupRequest,
) kmsg.Response {
	response := kmsg.NewPtrSyncGroupResponse()
	if r.Version >= syncNamesProtocol && (q.ProtocolType == nil || q.Protocol == nil) {
		response.ErrorCode = int16(b.groupCode("SyncGroup", group.ErrInconsistentProtocol))
		return response
	}
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
	response.ErrorCode = int16(b.groupCode("SyncGroup", err))
	if synced, ok := result.(*group.Synced); ok && err == nil {
		response.ProtocolType, response.Protocol = &synced.ProtocolType, &synced.Protocol
		response.MemberAssignment = synced.Assignment
	}
	return response
}
