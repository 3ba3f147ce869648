package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// describeProducers tells which idempotent producers a replica here remembers, and where their open
// transactions began.
func (b *Broker) describeProducers(
	_ context.Context, _ *request, q *kmsg.DescribeProducersRequest,
) kmsg.Response {
	view := b.cluster.View()
	response := kmsg.NewPtrDescribeProducersResponse()
	for i := range q.Topics {
		asked := &q.Topics[i]
		answered := kmsg.NewDescribeProducersResponseTopic()
		answered.Topic = asked.Topic
		t, _ := topicOf(view, asked.Topic, topic.ID{}, false)
		for _, index := range asked.Partitions {
			p := kmsg.NewDescribeProducersResponseTopicPartition()
			p.Partition, p.ActiveProducers = index, []kmsg.DescribeProducersResponseTopicPartitionActiveProducer{}
			at := b.resolve(t, index)
			if topic.ValidateName(asked.Topic) != nil {
				at.code = codeInvalidTopic
			}
			if p.ErrorCode = int16(at.code); at.code != codeNone {
				b.meters.failure("DescribeProducers", at.code)
			} else {
				for _, known := range at.log.ActiveProducers() {
					a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
					a.ProducerID, a.ProducerEpoch = known.ID, int32(known.Epoch)
					a.LastSequence, a.LastTimestamp = known.LastSequence, known.LastTimestamp
					a.CoordinatorEpoch, a.CurrentTxnStartOffset = known.CoordinatorEpoch, int64(known.TransactionStart)
					p.ActiveProducers = append(p.ActiveProducers, a)
				}
			}
			answered.Partitions = append(answered.Partitions, p)
		}
		response.Topics = append(response.Topics, answered)
	}
	return response
}
