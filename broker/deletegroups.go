package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

// deleteGroups takes empty groups away, with the offsets that they committed, or the states of a share group.
func (b *Broker) deleteGroups(
	ctx context.Context, _ *request, q *kmsg.DeleteGroupsRequest,
) kmsg.Response {
	response := kmsg.NewPtrDeleteGroupsResponse()
	for _, name := range q.Groups {
		err := b.forgetShareGroup(ctx, name)
		if err == nil {
			t := b.groups.token()
			_, err = b.groups.do(ctx, name, t, group.Delete{Token: t}, groupWait)
		}
		answer := kmsg.NewDeleteGroupsResponseGroup()
		answer.Group = name
		answer.ErrorCode, answer.ErrorMessage = b.outcome("DeleteGroups", err)
		response.Groups = append(response.Groups, answer)
	}
	return response
}
