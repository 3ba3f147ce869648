package sim

import (
	"context"

	"outrigger/sidecar/raft"
)

// Catch looks for a seed at which the checker catches a bug that was put in on purpose. It gives up
// after the given number of seeds, or when the context ends.
func Catch(ctx context.Context, mutant raft.Mutant, first, seeds uint64) (seed uint64, caught bool) {
	for seed = first; seed < first+seeds && ctx.Err() == nil; seed++ {
		if Run(seed, Options{Mutant: mutant}).Violation != nil {
			return seed, true
		}
	}
	return 0, false
}
