package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	coordinatorTypeMax = 2 // group, transaction, share
	coordinatorBatched = 4
)

// findCoordinator answers COORDINATOR_NOT_AVAILABLE: there are no coordinators yet. The code is
// retriable, and every key that was asked for is answered.
func (b *Broker) findCoordinator(
	_ context.Context, r *request, q *kmsg.FindCoordinatorRequest,
) kmsg.Response {
	response := kmsg.NewPtrFindCoordinatorResponse()
	why, message := codeCoordinatorNotAvailable, "this broker has no coordinators yet"
	if q.CoordinatorType < 0 || q.CoordinatorType > coordinatorTypeMax {
		why, message = codeInvalidRequest, "unknown coordinator type"
	}
	b.meters.failure("FindCoordinator", why)
	if r.Version < coordinatorBatched {
		response.ErrorCode, response.ErrorMessage = int16(why), kmsg.StringPtr(message)
		response.NodeID, response.Port = -1, -1
		return response
	}
	for _, key := range q.CoordinatorKeys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Port = key, -1, -1
		c.ErrorCode, c.ErrorMessage = int16(why), kmsg.StringPtr(message)
		response.Coordinators = append(response.Coordinators, c)
	}
	return response
}
