package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// listPartitionReassignments lists what is under way, which is nothing: replicas stay where they were
// placed in this version.
func (b *Broker) listPartitionReassignments(
	context.Context, *request, *kmsg.ListPartitionReassignmentsRequest,
) kmsg.Response {
	return kmsg.NewPtrListPartitionReassignmentsResponse()
}
