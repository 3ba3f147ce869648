package node

import (
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/replica"
)

// Mutant is a bug that can be put into the parts of this package on purpose, so that the simulator can
// prove that its checkers catch it. Production code never sets one.
type Mutant uint8

// The mutants.
const (
	// Sound is no bug.
	Sound Mutant = iota
	// TakesFramesOfAnySession takes what was sent to an earlier run of this node.
	TakesFramesOfAnySession
	// HeartbeatsRefreshNothing consumes heartbeats without refreshing anything (failure mode 8).
	HeartbeatsRefreshNothing
	// MandateNeverEnds lets a leader that was deposed say what does not exist.
	MandateNeverEnds
)

// BreakReplication puts bugs into the Replication that cfg will make.
func BreakReplication(cfg *ReplicationConfig, bug Mutant, machines replica.Mutant) {
	cfg.mutant, cfg.replicaMutant = bug, machines
}

// BreakWatch puts a bug into the Watch that cfg will make.
func BreakWatch(cfg *WatchConfig, bug Mutant) { cfg.mutant = bug }

// BreakMetadata puts a bug into the rules of the image that cfg will keep.
func BreakMetadata(cfg *MetadataConfig, rules cluster.Mutant) { cfg.mutant = rules }

var mutantNames = [...]string{"sound", "takes-frames-of-any-session", "heartbeats-refresh-nothing", "mandate-never-ends"}

// String is the mutant's name in reports.
func (m Mutant) String() string { return mutantNames[m] }

// Mutants lists all bugs.
func Mutants() []Mutant {
	return []Mutant{TakesFramesOfAnySession, HeartbeatsRefreshNothing, MandateNeverEnds}
}
