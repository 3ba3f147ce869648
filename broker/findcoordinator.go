package broker

import (
	"context"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const (
	coordinatorUnknown = -1
	coordinatorGroup   = 0
	coordinatorTxn     = 1
	coordinatorShare   = 2
	coordinatorTypeMax = 2
	coordinatorBatched = 4
	// coordinatorShares: from this version on share-partitions are asked for (KIP-932).
	coordinatorShares = 6
)

// found is where a coordinator is, or why that cannot be told.
type found struct {
	node    topic.NodeID
	host    string
	port    int32
	code    code
	message string
}

// findCoordinator tells who coordinates each group, transactional id or share-partition that is asked for: whoever leads
// its partition of the topic that keeps them, which is created when the first one asks. Every key is answered, and all
// brokers answer the same once they have the same image.
func (b *Broker) findCoordinator(
	ctx context.Context, r *request, q *kmsg.FindCoordinatorRequest,
) kmsg.Response {
	response := kmsg.NewPtrFindCoordinatorResponse()
	keys := q.CoordinatorKeys
	if r.Version < coordinatorBatched {
		keys = []string{q.CoordinatorKey}
	}
	kind := q.CoordinatorType
	if kind == coordinatorShare && r.Version < coordinatorShares {
		kind = coordinatorUnknown
	}
	view, name, refused := b.coordinatorView(ctx, kind, len(keys))
	for _, key := range keys {
		at := refused
		if at.code == codeNone && kind == coordinatorShare && !isShareKey(key) {
			at = found{code: codeInvalidRequest, message: "want group:topic id:partition"}
		}
		if at.code == codeNone {
			at = b.coordinatorOf(view, name, r.listener, key)
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

// isShareKey reports whether a key is that of a share-partition: group, topic id and partition, with colons
// between. A group's name may have colons, too.
func isShareKey(key string) bool {
	parts := strings.Split(key, ":")
	if len(parts) < 3 || len(key) == len(parts[len(parts)-1])+len(parts[len(parts)-2])+2 {
		return false
	}
	_, idErr := topic.ParseID(parts[len(parts)-2])
	index, indexErr := strconv.ParseInt(parts[len(parts)-1], 10, 32)
	return idErr == nil && indexErr == nil && index >= 0
}

// coordinatorView is a view that holds the topic of the coordinators that are asked for, or says why
// there is none.
func (b *Broker) coordinatorView(ctx context.Context, kind int8, keys int) (View, string, found) {
	view := b.cluster.View()
	if kind < 0 || kind > coordinatorTypeMax {
		return view, "", found{code: codeInvalidRequest, message: "unknown coordinator type"}
	}
	wanted := b.internalTopic(kind)
	if _, ok := view.TopicByName(wanted.Name); ok || keys == 0 {
		return view, wanted.Name, found{}
	}
	view, err := b.createInternalTopic(ctx, wanted)
	if _, ok := view.TopicByName(wanted.Name); !ok {
		why := "its creation takes longer"
		if err != nil {
			why = err.Error()
		}
		return view, "", found{code: codeCoordinatorNotAvailable, message: wanted.Name + " does not exist yet: " + why}
	}
	return view, wanted.Name, found{}
}

// internalTopic is the topic of a kind of coordinator as it is created. It has the configs that Kafka gives
// it, so that defaults which suit data do not apply: a batch that is compressed anew, a record that goes by
// age, or, for transactions, a leader that lacks what was decided.
func (b *Broker) internalTopic(kind int8) topic.Creation {
	switch kind {
	case coordinatorGroup:
		c := b.config.Groups
		return topic.Creation{
			Name: offsetsTopic, Internal: true, Partitions: c.Partitions, ReplicationFactor: c.ReplicationFactor,
			// What is compacted is not deleted by age: a committed offset has no age.
			Configs: map[string]string{configCleanupPolicy: "compact", configCompression: "producer"},
		}
	case coordinatorTxn:
		c := b.config.Transactions
		return topic.Creation{
			Name: transactionsTopic, Internal: true, Partitions: c.Partitions, ReplicationFactor: c.ReplicationFactor,
			Configs: map[string]string{
				configCleanupPolicy: "compact", configCompression: "uncompressed", configUncleanElection: "false",
				configMinInSync: strconv.Itoa(int(c.MinInSync)),
			},
		}
	default:
		c := b.config.Shares
		return topic.Creation{
			Name: shareTopic, Internal: true, Partitions: c.Partitions, ReplicationFactor: c.ReplicationFactor,
			// Its records build on each other, so it can neither be compacted nor lose its oldest by age.
			Configs: map[string]string{
				configCleanupPolicy: "delete", configRetentionMillis: "-1", configRetentionBytes: "-1",
				configCompression: "producer", configMinInSync: strconv.Itoa(int(c.MinInSync)),
			},
		}
	}
}

// createInternalTopic creates the topic of a coordinator, once for all who ask meanwhile.
func (b *Broker) createInternalTopic(ctx context.Context, wanted topic.Creation) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, b.config.Requests.AutoCreateWait)
	defer cancel()
	under, owned := b.creations.join(wanted.Name)
	if owned {
		wanted.ID = newTopicID()
		b.propose(ctx, []topic.Creation{wanted})
	}
	select {
	case <-under.done:
	case <-ctx.Done():
		return b.cluster.View(), ctx.Err()
	}
	if !mayExist(under.err) {
		return b.cluster.View(), under.err
	}
	return b.awaitTopics(ctx, []string{wanted.Name}), under.err
}

// coordinatorOf finds the coordinator of a group or transactional id, which the named topic keeps.
func (b *Broker) coordinatorOf(view View, name, listener, key string) found {
	t, _ := view.TopicByName(name)
	leader := t.Partitions[groupPartition(key, len(t.Partitions))].Leader
	node, known := view.Broker(leader)
	if !known || node.Fenced {
		return found{code: codeCoordinatorNotAvailable, message: "nobody leads its partition at the moment"}
	}
	e, reachable := endpointOf(node, listener)
	if !reachable {
		return found{code: codeCoordinatorNotAvailable, message: "the coordinator is not on this listener"}
	}
	return found{node: leader, host: e.Host, port: e.Port}
}
