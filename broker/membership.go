package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// What a change of the cluster's members refuses.
var (
	errInconsistentCluster = errors.New("request is for another cluster")
	errBrokerUnregistered  = errors.New("broker is not registered")
	errDuplicateVoter      = errors.New("node votes already")
	errVoterUnknown        = errors.New("node does not vote")
)

// unregisterBroker takes a broker out of the cluster for good. Unlike Kafka's, which forgets where replicas
// are, it is refused while the broker lives, votes or holds any: it has to be drained and stopped first.
func (b *Broker) unregisterBroker(
	ctx context.Context, _ *request, q *kmsg.UnregisterBrokerRequest,
) kmsg.Response {
	response := kmsg.NewPtrUnregisterBrokerResponse()
	ctx, cancel := b.within(ctx, 0)
	defer cancel()
	err := b.cluster.Fresh(ctx)
	if err == nil {
		if _, known := b.cluster.View().Broker(topic.NodeID(q.BrokerID)); known {
			err = b.cluster.UnregisterBroker(ctx, topic.NodeID(q.BrokerID))
		} else {
			err = fmt.Errorf("%w: %d", errBrokerUnregistered, q.BrokerID)
		}
	}
	response.ErrorCode, response.ErrorMessage = b.outcome("UnregisterBroker", err)
	return response
}

// addRaftVoter asks that a node vote in the metadata Raft (KIP-853): it does as soon as it has caught up.
func (b *Broker) addRaftVoter(
	ctx context.Context, _ *request, q *kmsg.AddRaftVoterRequest,
) kmsg.Response {
	response := kmsg.NewPtrAddRaftVoterResponse()
	ctx, cancel := b.within(ctx, q.TimeoutMillis)
	defer cancel()
	err := b.changeVoters(ctx, q.ClusterID, topic.NodeID(q.VoterID), true)
	response.ErrorCode, response.ErrorMessage = b.outcome("AddRaftVoter", err)
	return response
}

// removeRaftVoter asks that a node not vote any more. It goes on learning what is committed.
func (b *Broker) removeRaftVoter(
	ctx context.Context, _ *request, q *kmsg.RemoveRaftVoterRequest,
) kmsg.Response {
	response := kmsg.NewPtrRemoveRaftVoterResponse()
	ctx, cancel := b.within(ctx, 0)
	defer cancel()
	err := b.changeVoters(ctx, q.ClusterID, topic.NodeID(q.VoterID), false)
	response.ErrorCode, response.ErrorMessage = b.outcome("RemoveRaftVoter", err)
	return response
}

// changeVoters derives the voters wanted from those wanted now, or from those who vote if nobody has said
// anything yet, and proposes them by compare-and-set.
func (b *Broker) changeVoters(ctx context.Context, clusterID *string, node topic.NodeID, vote bool) error {
	if err := b.cluster.Fresh(ctx); err != nil {
		return err
	}
	view := b.cluster.View()
	if clusterID != nil && *clusterID != "" && *clusterID != view.ClusterID() {
		return fmt.Errorf("%w: %q, this is %q", errInconsistentCluster, *clusterID, view.ClusterID())
	}
	if _, known := view.Broker(node); !known && vote {
		return fmt.Errorf("%w: %d", errBrokerUnregistered, node)
	}
	change := topic.VoterChange{Before: view.Voters(), After: slices.Clone(view.Voters())}
	if len(change.After) == 0 {
		quorum, err := b.cluster.Quorum(ctx)
		if err != nil {
			return err
		}
		for _, voter := range quorum.Voters {
			change.After = append(change.After, voter.Node)
		}
		slices.Sort(change.After)
	}
	at, votes := slices.BinarySearch(change.After, node)
	switch {
	case vote && votes:
		return fmt.Errorf("%w: %d", errDuplicateVoter, node)
	case !vote && !votes:
		return fmt.Errorf("%w: %d", errVoterUnknown, node)
	case vote:
		change.After = slices.Insert(change.After, at, node)
	default:
		change.After = slices.Delete(change.After, at, at+1)
	}
	return b.cluster.SetVoters(ctx, change)
}
