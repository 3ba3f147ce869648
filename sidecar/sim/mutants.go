package sim

import (
	"context"
	"fmt"

	"outrigger/broker/partition"
	"outrigger/broker/wal"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
	"outrigger/sidecar/replica"
)

// Mutant is one known bug, put into every host of a run. The zero value is none.
type Mutant struct {
	name    string
	raft    raft.Mutant
	rules   cluster.Mutant
	machine replica.Mutant
	node    node.Mutant
	watcher election.Mutant
	logs    partition.Mutant
	wal     wal.Mutant
}

// String is the bug's name.
func (m Mutant) String() string { return m.name }

// Mutants lists every bug that the packages know how to put in.
func Mutants() []Mutant {
	var all []Mutant
	for _, bug := range raft.Mutants() {
		all = append(all, Mutant{name: bug.String(), raft: bug})
	}
	for _, bug := range cluster.Mutants() {
		all = append(all, Mutant{name: bug.String(), rules: bug})
	}
	for _, bug := range replica.Mutants() {
		all = append(all, Mutant{name: bug.String(), machine: bug})
	}
	for _, bug := range node.Mutants() {
		all = append(all, Mutant{name: bug.String(), node: bug})
	}
	for _, bug := range election.Mutants() {
		all = append(all, Mutant{name: bug.String(), watcher: bug})
	}
	for _, bug := range partition.Mutants() {
		all = append(all, Mutant{name: bug.String(), logs: bug})
	}
	for _, bug := range wal.Mutants() {
		all = append(all, Mutant{name: bug.String(), wal: bug})
	}
	// The machine and the log each keep the high watermark from falling.
	all = append(all, Mutant{
		name: "high-watermark-falls", machine: replica.HighWatermarkFalls, logs: partition.HighWatermarkFalls,
	})
	return append(all, Mutant{name: keepsDamagedName}, Mutant{name: neverMendsName})
}

// neverMendsName lets a replica whose log is known to be damaged stay as it is.
const neverMendsName = "never-mends-damage"

// keepsDamagedName lets a log that was set aside in part pass for the one that it was.
const keepsDamagedName = "keeps-the-name-of-a-damaged-log"

// plays reports whether a run could show the bug: those of the metadata Raft are looked for where
// there is nothing else, which reaches deeper states sooner.
func (m Mutant) plays(seed uint64) bool {
	return draw(randOf(seed)).brokers == (m.raft == raft.Sound)
}

// Catch looks for a seed at which the checker catches a bug that was put in on purpose. It gives up
// after the given number of seeds, or when the context ends.
func Catch(ctx context.Context, mutant Mutant, first, seeds uint64) (seed uint64, caught bool) {
	for seed = first; seeds > 0 && ctx.Err() == nil; seed++ {
		if !mutant.plays(seed) {
			continue
		}
		seeds--
		if Caught(seed, mutant) != "" {
			return seed, true
		}
	}
	return 0, false
}

// Caught plays one seed with a bug and says how it was caught, or nothing. A panic of a broken
// invariant is a catch: production would have stopped.
func Caught(seed uint64, mutant Mutant) (how string) {
	defer func() {
		if p := recover(); p != nil {
			how = fmt.Sprintf("panic: %v", p)
		}
	}()
	if v := Run(seed, Options{Mutant: mutant}).Violation; v != nil {
		return v.Text
	}
	return ""
}
