package sidecar

import (
	"context"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// electionsMax is how many elections one command holds, far below cluster.CommandBytesMax.
const electionsMax = 50_000

// ElectLeaders gives partitions to their preferred leaders, or (unclean) those that nobody leads to any
// live replica. It returns one error per election; topic.ErrStale says that the cluster has changed.
func (s *Sidecar) ElectLeaders(ctx context.Context, unclean bool, elections []topic.Election) []error {
	var errs []error
	for len(elections) > 0 {
		some := elections[:min(len(elections), electionsMax)]
		errs = append(errs, s.proposeItems(ctx, electionOf(unclean, some), len(some))...)
		elections = elections[len(some):]
	}
	return errs
}

func electionOf(unclean bool, elections []topic.Election) cluster.Command {
	if !unclean {
		var c cluster.ElectPreferred
		for _, e := range elections {
			c.Partitions = append(c.Partitions, e.Partition)
		}
		return c
	}
	var c cluster.ElectUnclean
	for _, e := range elections {
		c.Elections = append(c.Elections, cluster.UncleanElection{
			Partition: e.Partition, PartitionEpoch: e.PartitionEpoch, Node: topic.NoNode,
		})
	}
	return c
}
