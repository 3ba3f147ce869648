package broker

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

const (
	joinRebalanceTimeout = 1
	joinNamesFirst       = 4
	joinSkips            = 9
)

// joinGroup makes the client a member of a group. The answer comes with the next generation.
func (b *Broker) joinGroup(
	ctx context.Context, r *request, q *kmsg.JoinGroupRequest,
) kmsg.Response {
	t := b.groups.token()
	e := group.Join{
		Token: t, MemberID: q.MemberID, NewID: memberID(r.clientID(), q.InstanceID), Instance: q.InstanceID,
		ClientID: r.clientID(), Host: "/" + r.client, ProtocolType: q.ProtocolType,
		Protocols:     make([]group.Protocol, len(q.Protocols)),
		SessionMillis: q.SessionTimeoutMillis, RebalanceMillis: q.RebalanceTimeoutMillis,
		NamesFirst: r.Version >= joinNamesFirst, Skips: r.Version >= joinSkips,
	}
	if r.Version < joinRebalanceTimeout {
		e.RebalanceMillis = q.SessionTimeoutMillis
	}
	for i, p := range q.Protocols {
		e.Protocols[i] = group.Protocol{Name: p.Name, Metadata: p.Metadata}
	}
	result, err := b.groups.do(ctx, q.Group, t, e, b.rebalanceWait())
	response := kmsg.NewPtrJoinGroupResponse()
	response.ErrorCode, response.MemberID = int16(b.groupCode("JoinGroup", err)), q.MemberID
	joined, _ := result.(*group.Joined)
	switch {
	case errors.Is(err, group.ErrMemberIDRequired):
		response.MemberID = joined.MemberID
	case err == nil:
		fillJoined(response, joined)
	}
	return response
}

func fillJoined(response *kmsg.JoinGroupResponse, joined *group.Joined) {
	response.MemberID, response.Generation = joined.MemberID, joined.Generation
	response.ProtocolType, response.Protocol = &joined.ProtocolType, &joined.Protocol
	response.LeaderID, response.SkipAssignment = joined.Leader, joined.Skip
	response.Members = make([]kmsg.JoinGroupResponseMember, len(joined.Members))
	for i, m := range joined.Members {
		told := &response.Members[i]
		told.Default()
		told.MemberID, told.InstanceID, told.ProtocolMetadata = m.ID, m.Instance, m.Metadata
	}
}
