package sidecar

import (
	"context"
	"errors"
	"fmt"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// reassignmentsMax is how many reassignments one command holds, far below cluster.CommandBytesMax.
const reassignmentsMax = 10_000

// Reassign has reassignments begun, altered or taken back, with one error per item: topic.ErrUnsafe where
// something committed could be lost, topic.ErrStale where the partition has changed.
func (s *Sidecar) Reassign(ctx context.Context, items []topic.Reassignment) []error {
	var errs []error
	for len(items) > 0 {
		some := items[:min(len(items), reassignmentsMax)]
		for _, err := range s.proposeItems(ctx, cluster.Reassign{Items: some}, len(some)) {
			errs = append(errs, refusedAs(err, topic.ErrUnsafe))
		}
		items = items[len(some):]
	}
	return errs
}

// UnregisterBroker takes a broker out of the image. One that is not there any more was taken out: the
// caller has seen it, and an answer may be lost.
func (s *Sidecar) UnregisterBroker(ctx context.Context, node topic.NodeID) error {
	result, err := s.propose(ctx, cluster.UnregisterBroker{Node: node})
	if err == nil && result.Status != cluster.Unknown {
		err = refusedAs(result.Err(), topic.ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("unregister broker %d: %w", node, err)
	}
	return nil
}

// SetVoters says who shall vote in the metadata Raft.
func (s *Sidecar) SetVoters(ctx context.Context, c topic.VoterChange) error {
	result, err := s.propose(ctx, cluster.SetVoters{Before: c.Before, After: c.After})
	if err == nil {
		err = refusedAs(result.Err(), topic.ErrInvalidVoters)
	}
	if err != nil {
		return fmt.Errorf("set voters %v: %w", c.After, err)
	}
	return nil
}

// refusedAs puts what a refusal means for this command in the place of "refused".
func refusedAs(err, meaning error) error {
	if errors.Is(err, cluster.ErrRefused) {
		return meaning
	}
	return err
}
