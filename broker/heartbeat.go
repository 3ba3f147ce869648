package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

// heartbeat keeps a member's session alive, and tells it to join again when it must.
func (b *Broker) heartbeat(
	ctx context.Context, _ *request, q *kmsg.HeartbeatRequest,
) kmsg.Response {
	t := b.groups.token()
	_, err := b.groups.do(ctx, q.Group, t, group.Heartbeat{
		Token: t, MemberID: q.MemberID, Instance: q.InstanceID, Generation: q.Generation,
	}, groupWait)
	response := kmsg.NewPtrHeartbeatResponse()
	response.ErrorCode = int16(b.groupCode("Heartbeat", err))
	return response
}
