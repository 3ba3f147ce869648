package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

const leaveBatched = 3

// leaveGroup takes members out of a group, each by its id or its instance id.
func (b *Broker) leaveGroup(
	ctx context.Context, r *request, q *kmsg.LeaveGroupRequest,
) kmsg.Response {
	members := q.Members
	if r.Version < leaveBatched {
		members = []kmsg.LeaveGroupRequestMember{{MemberID: q.MemberID}}
	}
	t := b.groups.token()
	e := group.Leave{Token: t, Members: make([]group.Leaver, len(members))}
	for i, m := range members {
		e.Members[i] = group.Leaver{ID: m.MemberID, Instance: m.InstanceID}
	}
	result, err := b.groups.do(ctx, q.Group, t, e, groupWait)
	response := kmsg.NewPtrLeaveGroupResponse()
	if err != nil {
		response.ErrorCode = int16(b.groupCode("LeaveGroup", err))
		return response
	}
	for i, err := range result.(*group.Left).Errs {
		why := int16(b.groupCode("LeaveGroup", err))
		if r.Version < leaveBatched {
			response.ErrorCode = why
			continue
		}
		m := kmsg.NewLeaveGroupResponseMember()
		m.MemberID, m.InstanceID, m.ErrorCode = members[i].MemberID, members[i].InstanceID, why
		response.Members = append(response.Members, m)
	}
	return response
}
