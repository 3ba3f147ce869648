package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const (
	coordinatorGroup   = 0
	coordinatorTypeMax = 2 // group, transaction, share
	coordinatorBatched = 4
)

// found is where a coordinator is, or why that cannot be told.
type found struct {
	node    topic.NodeID
	host    string
	port    int32
	code    code
	message string
}

// findCoordinator tells who coordinates each group that is asked for: whoever leads its partition of
// the offsets topic, which is created when the first one asks. Every key is answered, and all
// brokers answer the same once they have the same image.
func (b *Broker) findCoordinator(
	ctx context.Context, r *request, q *kmsg.FindCoordinatorRequest,
) kmsg.Response {
	response := kmsg.NewPtrFindCoordinatorResponse()
	keys := q.CoordinatorKeys
	if r.Version < coordinatorBatched {
		keys = []string{q.CoordinatorKey}
	}
	view, refused := b.coordinatorView(ctx, q.CoordinatorType, len(keys))
	for _, key := range keys {
		at := refused
		if at.code == codeNone {
			at = b.coordinatorOf(view, r.listener, key)
		}
		b.meters.failure("FindCoordinator", at.code)
		var message *string
		if at.code != codeNone {
			at.node, at.port, message = topic.NoNode, -1, &at.message
		}
		if r.Version < coordinatorBatched {
			response.NodeID, response.Host, response.Port = int32(at.node), at.host, at.port
			response.ErrorCode, response.ErrorMessage = int16(at.code), message
			return response
		}
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Host, c.Port = key, int32(at.node), at.host, at.port
		c.ErrorCode, c.ErrorMessage = int16(at.code), message
		response.Coordinators = append(response.Coordinators, c)
	}
	return response
}

// coordinatorView is a view that holds the topic of the coordinators that are asked for, or says why
// there is none.
func (b *Broker) coordinatorView(ctx context.Context, kind int8, keys int) (View, found) {
	view := b.cluster.View()
	switch {
	case kind < 0 || kind > coordinatorTypeMax:
		return view, found{code: codeInvalidRequest, message: "unknown coordinator type"}
	case kind != coordinatorGroup:
		return view, found{code: codeCoordinatorNotAvailable, message: "this broker has no such coordinators yet"}
	case keys == 0:
		return view, found{}
	}
	if _, ok := view.TopicByName(offsetsTopic); ok {
		return view, found{}
	}
	view, err := b.createOffsetsTopic(ctx)
	if _, ok := view.TopicByName(offsetsTopic); !ok {
		why := "its creation takes longer"
		if err != nil {
			why = err.Error()
		}
		return view, found{code: codeCoordinatorNotAvailable, message: offsetsTopic + " does not exist yet: " + why}
	}
	return view, found{}
}

// createOffsetsTopic creates the topic that keeps groups, once for all who ask meanwhile.
func (b *Broker) createOffsetsTopic(ctx context.Context) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, b.config.Requests.AutoCreateWait)
	defer cancel()
	under, owned := b.creations.join(offsetsTopic)
	if owned {
		b.propose(ctx, []topic.Creation{{
			ID: newTopicID(), Name: offsetsTopic, Internal: true,
			Partitions: b.config.Groups.Partitions, ReplicationFactor: b.config.Groups.ReplicationFactor,
			// What is compacted is not deleted by age: a committed offset has no age.
			Configs: map[string]string{"cleanup.policy": "compact"},
		}})
	}
	select {
	case <-under.done:
	case <-ctx.Done():
		return b.cluster.View(), ctx.Err()
	}
	if !mayExist(under.err) {
		return b.cluster.View(), under.err
	}
	return b.awaitTopics(ctx, []string{offsetsTopic}), under.err
}

// coordinatorOf finds the coordinator of a group.
func (b *Broker) coordinatorOf(view View, listener, key string) found {
	t, _ := view.TopicByName(offsetsTopic)
	leader := t.Partitions[groupPartition(key, len(t.Partitions))].Leader
	node, known := view.Broker(leader)
	if !known || node.Fenced {
		return found{code: codeCoordinatorNotAvailable, message: "nobody leads the group's partition at the moment"}
	}
	e, reachable := endpointOf(node, listener)
	if !reachable {
		return found{code: codeCoordinatorNotAvailable, message: "the coordinator is not on this listener"}
	}
	return found{node: leader, host: e.Host, port: e.Port}
}
