package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// listPartitionReassignments lists the reassignments under way, of all topics or of those asked for
// (KIP-455). What is not there, or is not moving, is left out.
func (b *Broker) listPartitionReassignments(
	ctx context.Context, _ *request, q *kmsg.ListPartitionReassignmentsRequest,
) kmsg.Response {
	response := kmsg.NewPtrListPartitionReassignmentsResponse()
	ctx, cancel := b.within(ctx, q.TimeoutMillis)
	defer cancel()
	// Whoever began one must see it, whichever broker is asked.
	if err := b.cluster.Fresh(ctx); err != nil {
		response.ErrorCode, response.ErrorMessage = b.outcome("ListPartitionReassignments", err)
		return response
	}
	view := b.cluster.View()
	if q.Topics == nil {
		for _, t := range view.Topics() {
			addReassignments(response, t, allPartitions(t))
		}
		return response
	}
	for i := range q.Topics {
		if t, ok := view.TopicByName(q.Topics[i].Topic); ok {
			addReassignments(response, t, q.Topics[i].Partitions)
		}
	}
	return response
}

func allPartitions(t *topic.Topic) []int32 {
	all := make([]int32, len(t.Partitions))
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

func addReassignments(response *kmsg.ListPartitionReassignmentsResponse, t *topic.Topic, indexes []int32) {
	listed := kmsg.NewListPartitionReassignmentsResponseTopic()
	listed.Topic = t.Name
	for _, index := range indexes {
		if index < 0 || int(index) >= len(t.Partitions) || !t.Partitions[index].Moving() {
			continue
		}
		p := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		p.Partition = index
		p.Replicas = kafkaIDs(t.Partitions[index].Replicas)
		p.AddingReplicas = kafkaIDs(t.Partitions[index].Adding())
		p.RemovingReplicas = kafkaIDs(t.Partitions[index].Removing())
		listed.Partitions = append(listed.Partitions, p)
	}
	if len(listed.Partitions) > 0 {
		response.Topics = append(response.Topics, listed)
	}
}

func kafkaIDs(nodes []topic.NodeID) []int32 {
	ids := make([]int32, 0, len(nodes))
	for _, node := range nodes {
		ids = append(ids, int32(node))
	}
	return ids
}
