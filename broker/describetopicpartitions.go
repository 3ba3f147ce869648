package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// describedPartitionsMax is Kafka's `max.request.partition.size.limit`.
const describedPartitionsMax = 2000

// describeTopicPartitions tells of topics page by page (KIP-966): in the order of their names, a bounded
// number of partitions at a time, with a cursor for the next request.
func (b *Broker) describeTopicPartitions(
	_ context.Context, r *request, q *kmsg.DescribeTopicPartitionsRequest,
) kmsg.Response {
	view := b.cluster.View()
	d := &topicPages{
		metadata: newMetadata(b, view, r, kmsg.NewPtrMetadataRequest()),
		response: kmsg.NewPtrDescribeTopicPartitionsResponse(),
		room:     min(max(int(q.ResponsePartitionLimit), 1), describedPartitionsMax),
	}
	names := namesToDescribe(view, q)
	start := 0
	if q.Cursor != nil {
		at, found := slices.BinarySearch(names, q.Cursor.Topic)
		if q.Cursor.Partition < 0 || len(q.Topics) > 0 && !found {
			return b.refuseCursor(q)
		}
		if names = names[at:]; found {
			start = int(q.Cursor.Partition)
		}
	}
	for _, name := range names {
		if !d.add(name, start) {
			break
		}
		start = 0
	}
	for i := range d.response.Topics {
		b.meters.failure("DescribeTopicPartitions", code(d.response.Topics[i].ErrorCode))
	}
	return d.response
}

// namesToDescribe are sorted, each once.
func namesToDescribe(view View, q *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	if len(q.Topics) == 0 {
		for _, t := range view.Topics() {
			names = append(names, t.Name)
		}
		return names
	}
	for i := range q.Topics {
		names = append(names, q.Topics[i].Topic)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// refuseCursor answers a cursor that we never gave out. The response has room for errors of topics
// only.
func (b *Broker) refuseCursor(q *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	response := kmsg.NewPtrDescribeTopicPartitionsResponse()
	for i := range q.Topics {
		t := kmsg.NewDescribeTopicPartitionsResponseTopic()
		t.Topic, t.ErrorCode = &q.Topics[i].Topic, int16(codeInvalidRequest)
		response.Topics = append(response.Topics, t)
	}
	b.meters.failure("DescribeTopicPartitions", codeInvalidRequest)
	return response
}

// topicPages is one page in the making.
type topicPages struct {
	*metadata
	response *kmsg.DescribeTopicPartitionsResponse
	// room is how many partitions fit yet.
	room int
}

// add describes a topic from a partition on, and reports whether the page goes on after it.
func (d *topicPages) add(name string, start int) bool {
	answer := kmsg.NewDescribeTopicPartitionsResponseTopic()
	answer.Topic = &name
	t, known := d.view.TopicByName(name)
	switch {
	case topic.ValidateName(name) != nil:
		answer.ErrorCode = int16(codeInvalidTopic)
	case !known:
		answer.ErrorCode = int16(codeUnknownTopicOrPartition)
	default:
		if d.room == 0 {
			d.next(name, start)
			return false
		}
		answer.TopicID, answer.IsInternal = t.ID, t.Internal
		answer.AuthorizedOperations = operationsTopic
		end := min(len(t.Partitions), start+d.room)
		for i := start; i < end; i++ {
			answer.Partitions = append(answer.Partitions, d.partition(int32(i), t.Partitions[i]))
			d.room--
		}
		if end < len(t.Partitions) && start < end {
			d.response.Topics = append(d.response.Topics, answer)
			d.next(name, end)
			return false
		}
	}
	d.response.Topics = append(d.response.Topics, answer)
	return true
}

func (d *topicPages) next(name string, index int) {
	cursor := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	cursor.Topic, cursor.Partition = name, int32(index)
	d.response.NextCursor = &cursor
}

func (d *topicPages) partition(
	index int32, from *topic.Placement,
) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	var placed kmsg.MetadataResponseTopicPartition
	d.place(&placed, index, from)
	p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	p.ErrorCode, p.Partition = placed.ErrorCode, index
	p.LeaderID, p.LeaderEpoch = placed.Leader, placed.LeaderEpoch
	p.Replicas, p.ISR, p.OfflineReplicas = placed.Replicas, placed.ISR, placed.OfflineReplicas
	p.EligibleLeaderReplicas, p.LastKnownELR = []int32{}, []int32{}
	for _, m := range from.Eligible {
		p.EligibleLeaderReplicas = append(p.EligibleLeaderReplicas, int32(m.Node))
	}
	for _, node := range from.LastKnown {
		p.LastKnownELR = append(p.LastKnownELR, int32(node))
	}
	return p
}
