package sim

import (
	"context"

	"outrigger/broker/partition"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// mutation puts one known bug into every host of a run; the zero value none.
type mutation struct {
	raftBug raft.Mutant
}

func (m mutation) raft(cfg *raft.Config)               { raft.Break(cfg, m.raftBug) }
func (m mutation) partition(*partition.Config)         {}
func (m mutation) watch(*node.WatchConfig)             {}
func (m mutation) replication(*node.ReplicationConfig) {}
func (m mutation) metadata(*node.MetadataConfig)       {}

// Catch looks for a seed at which the checker catches a bug that was put in on purpose. It gives up
// after the given number of seeds, or when the context ends.
func Catch(ctx context.Context, mutant raft.Mutant, first, seeds uint64) (seed uint64, caught bool) {
	for seed = first; seed < first+seeds && ctx.Err() == nil; seed++ {
		if Run(seed, Options{Mutant: mutation{raftBug: mutant}}).Violation != nil {
			return seed, true
		}
	}
	return 0, false
}
