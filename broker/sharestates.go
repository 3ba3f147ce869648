package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/share"
)

// shareStateHandlers serve the coordinators of groups, and the leaders of what these fetch, with the states
// of share-partitions. Clients have no use for them.
func (b *Broker) shareStateHandlers() map[int16]handler {
	return map[int16]handler{
		kmsg.InitializeShareGroupState.Int16():  {run: plain(b.initializeShareGroupState), waits: true},
		kmsg.ReadShareGroupState.Int16():        {run: plain(b.readShareGroupState), waits: true},
		kmsg.WriteShareGroupState.Int16():       {run: plain(b.writeShareGroupState), waits: true},
		kmsg.DeleteShareGroupState.Int16():      {run: plain(b.deleteShareGroupState), waits: true},
		kmsg.ReadShareGroupStateSummary.Int16(): {run: plain(b.readShareGroupStateSummary), waits: true},
	}
}

// shareResults has the events of a request carried out, and tells what became of each as code and message.
func (b *Broker) shareResults(
	ctx context.Context, api string, events []shareEvent, told func(i int, result any, why int16, message *string),
) {
	for i, reply := range b.shareStates.do(ctx, events) {
		why, message := b.outcome(api, reply.Err)
		told(i, reply.Result, why, message)
	}
}

func (b *Broker) initializeShareGroupState(
	ctx context.Context, _ *request, q *kmsg.InitializeShareGroupStateRequest,
) kmsg.Response {
	response := kmsg.NewPtrInitializeShareGroupStateResponse()
	response.Topics = make([]kmsg.InitializeShareGroupStateResponseTopic, len(q.Topics))
	var events []shareEvent
	var slots []*kmsg.InitializeShareGroupStateResponseTopicPartition
	for i := range q.Topics {
		t := &q.Topics[i]
		response.Topics[i].TopicID = t.TopicID
		response.Topics[i].Partitions = make([]kmsg.InitializeShareGroupStateResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p := &t.Partitions[j]
			slot := &response.Topics[i].Partitions[j]
			slot.Partition = p.Partition
			slots = append(slots, slot)
			events = append(events, shareEvent{
				share.Key{Group: q.GroupID, Topic: t.TopicID, Partition: p.Partition},
				share.Initialize{StateEpoch: p.StateEpoch, Start: p.StartOffset},
			})
		}
	}
	b.shareResults(ctx, "InitializeShareGroupState", events, func(i int, _ any, why int16, message *string) {
		slots[i].ErrorCode, slots[i].ErrorMessage = why, message
	})
	return response
}

func (b *Broker) readShareGroupState(
	ctx context.Context, _ *request, q *kmsg.ReadShareGroupStateRequest,
) kmsg.Response {
	response := kmsg.NewPtrReadShareGroupStateResponse()
	response.Topics = make([]kmsg.ReadShareGroupStateResponseTopic, len(q.Topics))
	var events []shareEvent
	var slots []*kmsg.ReadShareGroupStateResponseTopicPartition
	for i := range q.Topics {
		t := &q.Topics[i]
		response.Topics[i].TopicID = t.TopicID
		response.Topics[i].Partitions = make([]kmsg.ReadShareGroupStateResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p := &t.Partitions[j]
			slot := &response.Topics[i].Partitions[j]
			slot.Partition = p.Partition
			slots = append(slots, slot)
			events = append(events, shareEvent{
				share.Key{Group: q.GroupID, Topic: t.TopicID, Partition: p.Partition}, share.Read{LeaderEpoch: p.LeaderEpoch},
			})
		}
	}
	b.shareResults(ctx, "ReadShareGroupState", events, func(i int, result any, why int16, message *string) {
		slot := slots[i]
		slot.ErrorCode, slot.ErrorMessage = why, message
		if s, ok := result.(*share.State); ok {
			slot.StateEpoch, slot.StartOffset = s.StateEpoch, s.Start
			for _, batch := range s.Batches {
				slot.StateBatches = append(slot.StateBatches, kmsg.ReadShareGroupStateResponseTopicPartitionStateBatch{
					FirstOffset: batch.First, LastOffset: batch.Last, DeliveryState: int8(batch.State), DeliveryCount: batch.Count,
				})
			}
		}
	})
	return response
}

func (b *Broker) writeShareGroupState(
	ctx context.Context, r *request, q *kmsg.WriteShareGroupStateRequest,
) kmsg.Response {
	response := kmsg.NewPtrWriteShareGroupStateResponse()
	response.Topics = make([]kmsg.WriteShareGroupStateResponseTopic, len(q.Topics))
	var events []shareEvent
	var slots []*kmsg.WriteShareGroupStateResponseTopicPartition
	for i := range q.Topics {
		t := &q.Topics[i]
		response.Topics[i].TopicID = t.TopicID
		response.Topics[i].Partitions = make([]kmsg.WriteShareGroupStateResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p := &t.Partitions[j]
			slot := &response.Topics[i].Partitions[j]
			slot.Partition = p.Partition
			slots = append(slots, slot)
			events = append(events, shareEvent{
				share.Key{Group: q.GroupID, Topic: t.TopicID, Partition: p.Partition}, share.Keep{State: stateOf(p)},
			})
		}
	}
	b.shareResults(ctx, "WriteShareGroupState", events, func(i int, _ any, why int16, message *string) {
		slots[i].ErrorCode, slots[i].ErrorMessage = why, message
	})
	return response
}

// stateOf is the change that a leader wants to be kept.
func stateOf(p *kmsg.WriteShareGroupStateRequestTopicPartition) share.State {
	s := share.State{
		StateEpoch: p.StateEpoch, LeaderEpoch: p.LeaderEpoch, Start: p.StartOffset, Complete: p.DeliveryCompleteCount,
	}
	for _, batch := range p.StateBatches {
		s.Batches = append(s.Batches, share.Batch{
			First: batch.FirstOffset, Last: batch.LastOffset, State: share.DeliveryState(batch.DeliveryState),
			Count: batch.DeliveryCount,
		})
	}
	return s
}

func (b *Broker) deleteShareGroupState(
	ctx context.Context, _ *request, q *kmsg.DeleteShareGroupStateRequest,
) kmsg.Response {
	response := kmsg.NewPtrDeleteShareGroupStateResponse()
	response.Topics = make([]kmsg.DeleteShareGroupStateResponseTopic, len(q.Topics))
	var events []shareEvent
	var slots []*kmsg.DeleteShareGroupStateResponseTopicPartition
	for i := range q.Topics {
		t := &q.Topics[i]
		response.Topics[i].TopicID = t.TopicID
		response.Topics[i].Partitions = make([]kmsg.DeleteShareGroupStateResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			slot := &response.Topics[i].Partitions[j]
			slot.Partition = t.Partitions[j].Partition
			slots = append(slots, slot)
			events = append(events, shareEvent{
				share.Key{Group: q.GroupID, Topic: t.TopicID, Partition: slot.Partition}, share.Delete{},
			})
		}
	}
	b.shareResults(ctx, "DeleteShareGroupState", events, func(i int, _ any, why int16, message *string) {
		slots[i].ErrorCode, slots[i].ErrorMessage = why, message
	})
	return response
}

func (b *Broker) readShareGroupStateSummary(
	ctx context.Context, _ *request, q *kmsg.ReadShareGroupStateSummaryRequest,
) kmsg.Response {
	response := kmsg.NewPtrReadShareGroupStateSummaryResponse()
	response.Topics = make([]kmsg.ReadShareGroupStateSummaryResponseTopic, len(q.Topics))
	var events []shareEvent
	var slots []*kmsg.ReadShareGroupStateSummaryResponseTopicPartition
	for i := range q.Topics {
		t := &q.Topics[i]
		response.Topics[i].TopicID = t.TopicID
		response.Topics[i].Partitions = make([]kmsg.ReadShareGroupStateSummaryResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			slot := &response.Topics[i].Partitions[j]
			slot.Default()
			slot.Partition = t.Partitions[j].Partition
			slots = append(slots, slot)
			events = append(events, shareEvent{
				share.Key{Group: q.GroupID, Topic: t.TopicID, Partition: slot.Partition}, share.Summarize{},
			})
		}
	}
	b.shareResults(ctx, "ReadShareGroupStateSummary", events, func(i int, result any, why int16, message *string) {
		slot := slots[i]
		slot.ErrorCode, slot.ErrorMessage = why, message
		if s, ok := result.(*share.State); ok {
			slot.StateEpoch, slot.LeaderEpoch, slot.StartOffset = s.StateEpoch, s.LeaderEpoch, s.Start
			slot.DeliveryCompleteCount = s.Complete
		}
	})
	return response
}
