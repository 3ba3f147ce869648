package broker

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group/assign"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// shareCoordinatorOf is who keeps the state of a share-partition, topic.NoNode while nobody does.
func shareCoordinatorOf(view View, key share.Key) topic.NodeID {
	t, ok := view.TopicByName(shareTopic)
	if !ok {
		return topic.NoNode
	}
	leader := t.Partitions[groupPartition(key.String(), len(t.Partitions))].Leader
	if known, ok := view.Broker(leader); !ok || known.Fenced {
		return topic.NoNode
	}
	return leader
}

// shareStateOf is what a coordinator says of the state of one partition.
type shareStateOf struct {
	err                     error
	stateEpoch, leaderEpoch int32
	start                   int64
	complete                int32
}

// errShareState: a coordinator has refused something.
func errShareState(why int16, message *string) error {
	switch code(why) {
	case codeNone:
		return nil
	case codeFencedStateEpoch:
		return share.ErrFencedState
	case codeFencedLeaderEpoch:
		return share.ErrFencedLeader
	case codeUnknownTopicOrPartition:
		return share.ErrUninitialized
	case codeMessageTooLarge:
		return share.ErrTooLarge
	}
	text := ""
	if message != nil {
		text = ": " + *message
	}
	return fmt.Errorf("%w: share coordinator: %v%s", errCoordinatorShut, code(why), text)
}

// shareAsk is a request to the coordinators of share-partitions.
type shareAsk struct {
	// request makes one for some of the partitions of one coordinator, by topic.
	request func([]assign.Slots) kmsg.Request
	// answers reads the answer: what is said of each partition.
	answers func(kmsg.Response, func(assign.Slot, shareStateOf))
}

// askShareCoordinators asks the coordinators of a group's partitions, all at the same time, and returns what
// they say of each. ctx must have a deadline.
func (b *Broker) askShareCoordinators(
	ctx context.Context, name string, slots assign.Slots, ask shareAsk,
) map[assign.Slot]shareStateOf {
	said := map[assign.Slot]shareStateOf{}
	if len(slots) == 0 {
		return said
	}
	view, _, refused := b.coordinatorView(ctx, coordinatorShare, 1)
	nodes := map[topic.NodeID]assign.Slots{}
	for _, slot := range slots {
		said[slot] = shareStateOf{err: fmt.Errorf("%w: %s", errCoordinatorShut, "nobody leads its partition at the moment")}
		node := shareCoordinatorOf(view, share.Key{Group: name, Topic: slot.Topic, Partition: slot.Partition})
		if refused.code == codeNone && node != topic.NoNode {
			nodes[node] = append(nodes[node], slot)
		}
	}
	var mu sync.Mutex
	var waits sync.WaitGroup
	for node, of := range nodes {
		waits.Go(func() {
			response, err := b.askNode(ctx, node, ask.request(runsOf(of)))
			mu.Lock()
			defer mu.Unlock()
			for _, slot := range of {
				said[slot] = shareStateOf{err: err}
			}
			if err == nil {
				ask.answers(response, func(slot assign.Slot, s shareStateOf) { said[slot] = s })
			}
		})
	}
	waits.Wait()
	return said
}

// runsOf splits partitions by topic.
func runsOf(slots assign.Slots) []assign.Slots {
	var runs []assign.Slots
	for _, slot := range slots {
		if n := len(runs); n == 0 || runs[n-1][0].Topic != slot.Topic {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], slot)
	}
	return runs
}

// initializeShares gives partitions a state, or resets it: starts has the offsets to begin at, nil for none.
func (b *Broker) initializeShares(
	ctx context.Context, name string, slots assign.Slots, epoch int32, starts map[assign.Slot]int64,
) map[assign.Slot]shareStateOf {
	return b.askShareCoordinators(ctx, name, slots, shareAsk{
		request: func(runs []assign.Slots) kmsg.Request {
			q := kmsg.NewPtrInitializeShareGroupStateRequest()
			q.GroupID = name
			for _, run := range runs {
				t := kmsg.InitializeShareGroupStateRequestTopic{TopicID: run[0].Topic}
				for _, slot := range run {
					p := kmsg.InitializeShareGroupStateRequestTopicPartition{
						Partition: slot.Partition, StateEpoch: epoch, StartOffset: int64(topic.NoOffset),
					}
					if start, ok := starts[slot]; ok {
						p.StartOffset = start
					}
					t.Partitions = append(t.Partitions, p)
				}
				q.Topics = append(q.Topics, t)
			}
			return q
		},
		answers: func(r kmsg.Response, tell func(assign.Slot, shareStateOf)) {
			for _, t := range r.(*kmsg.InitializeShareGroupStateResponse).Topics {
				for _, p := range t.Partitions {
					tell(assign.Slot{Topic: t.TopicID, Partition: p.Partition},
						shareStateOf{err: errShareState(p.ErrorCode, p.ErrorMessage)})
				}
			}
		},
	})
}

// deleteShares takes the states of partitions away.
func (b *Broker) deleteShares(ctx context.Context, name string, slots assign.Slots) map[assign.Slot]shareStateOf {
	return b.askShareCoordinators(ctx, name, slots, shareAsk{
		request: func(runs []assign.Slots) kmsg.Request {
			q := kmsg.NewPtrDeleteShareGroupStateRequest()
			q.GroupID = name
			for _, run := range runs {
				t := kmsg.DeleteShareGroupStateRequestTopic{TopicID: run[0].Topic}
				for _, slot := range run {
					t.Partitions = append(t.Partitions, kmsg.DeleteShareGroupStateRequestTopicPartition{Partition: slot.Partition})
				}
				q.Topics = append(q.Topics, t)
			}
			return q
		},
		answers: func(r kmsg.Response, tell func(assign.Slot, shareStateOf)) {
			for _, t := range r.(*kmsg.DeleteShareGroupStateResponse).Topics {
				for _, p := range t.Partitions {
					tell(assign.Slot{Topic: t.TopicID, Partition: p.Partition},
						shareStateOf{err: errShareState(p.ErrorCode, p.ErrorMessage)})
				}
			}
		},
	})
}

// summarizeShares asks how far a group has come in partitions.
func (b *Broker) summarizeShares(ctx context.Context, name string, slots assign.Slots) map[assign.Slot]shareStateOf {
	return b.askShareCoordinators(ctx, name, slots, shareAsk{
		request: func(runs []assign.Slots) kmsg.Request {
			q := kmsg.NewPtrReadShareGroupStateSummaryRequest()
			q.Version, q.GroupID = 1, name
			for _, run := range runs {
				t := kmsg.ReadShareGroupStateSummaryRequestTopic{TopicID: run[0].Topic}
				for _, slot := range run {
					t.Partitions = append(t.Partitions, kmsg.ReadShareGroupStateSummaryRequestTopicPartition{
						Partition: slot.Partition, LeaderEpoch: int32(topic.NoEpoch),
					})
				}
				q.Topics = append(q.Topics, t)
			}
			return q
		},
		answers: func(r kmsg.Response, tell func(assign.Slot, shareStateOf)) {
			for _, t := range r.(*kmsg.ReadShareGroupStateSummaryResponse).Topics {
				for _, p := range t.Partitions {
					tell(assign.Slot{Topic: t.TopicID, Partition: p.Partition}, shareStateOf{
						err: errShareState(p.ErrorCode, p.ErrorMessage), stateEpoch: p.StateEpoch,
						leaderEpoch: p.LeaderEpoch, start: p.StartOffset, complete: p.DeliveryCompleteCount,
					})
				}
			}
		},
	})
}
