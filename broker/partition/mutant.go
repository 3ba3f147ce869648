package partition

import (
	"outrigger/broker/compact"
	"outrigger/broker/wal"
)

// Mutant is a bug that can be put into the logs on purpose, so that the simulator can prove that its
// checkers catch it. Production code never sets one.
type Mutant uint8

// The mutants.
const (
	// Sound is no bug.
	Sound Mutant = iota
	// FollowersForgetProducers derives nothing about producers from what a leader sends.
	FollowersForgetProducers
	// WaitsOutliveEpochs lets an acknowledgement wait on although another epoch began.
	WaitsOutliveEpochs
	// CountsUnsyncedResets calls a reset log durable before the record of that is.
	CountsUnsyncedResets
	// StartsStayInMemory moves a log start without a record of it.
	StartsStayInMemory
	// RetiresTooEarly gives up a drained file before the catalog says where its batches lie.
	RetiresTooEarly
	// SweepsByMemory removes packs that nobody needs as of now, whatever a crash would bring back.
	SweepsByMemory
	// CompactsUncommitted drops records because of others that may yet be cut.
	CompactsUncommitted
	// RetiresAdopted gives up an adopted file before the WAL knows that it is a pack.
	RetiresAdopted
	// HighWatermarkFalls stores a high watermark as it comes; part of a mutant of several packages.
	HighWatermarkFalls
	// CutsBehindDamage repairs a log by a cut that leaves the damaged batch.
	CutsBehindDamage
	// ForgetsDamage takes all of a log for whole once some of it is cut.
	ForgetsDamage
	// RepairsForgetProducers knows no producers any more after a cut below the high watermark.
	RepairsForgetProducers
	// ResetsKeepProducers remembers producers of whose batches an empty log has none.
	ResetsKeepProducers
	// RemovesStayInMemory removes a log without a record of it.
	RemovesStayInMemory
	// ScansLoseTheLast leaves out the last batch of what a scan has read.
	ScansLoseTheLast
	// TombstonesIgnoreHorizons drops tombstones as soon as a compaction has met them before.
	TombstonesIgnoreHorizons
	// SpillsIntoUsedSlots gives the slots of the spill to several chunks.
	SpillsIntoUsedSlots
	// StartsTrustTheCatalog takes batches for whole that lie in no pack, or out of order.
	StartsTrustTheCatalog
	// AbortedSupersede lets a record of an aborted transaction take the place of the older ones of its key.
	AbortedSupersede
	// TombstonesIgnoreReplicas drops tombstones while a replica is away, and does not tell that it has.
	TombstonesIgnoreReplicas
	// StartsForgetAborted forgets an aborted transaction of which the log start has passed the first record.
	StartsForgetAborted
	// CompactsTheYoung drops records that are not old enough.
	CompactsTheYoung
	// HeadsOutliveRuns keeps what the catalog tells of many batches together when these change.
	HeadsOutliveRuns
)

// Break puts bugs into the Store that cfg will open.
func Break(cfg *Config, bug Mutant, log wal.Mutant) {
	cfg.mutant = bug
	wal.Break(&cfg.WAL, log)
}

var mutantNames = [...]string{"sound", "followers-forget-producers", "waits-outlive-epochs",
	"counts-unsynced-resets", "starts-stay-in-memory", "retires-too-early",
	"sweeps-by-memory", "compacts-uncommitted", "retires-adopted", "high-watermark-falls",
	"cuts-behind-damage", "forgets-damage", "repairs-forget-producers", "resets-keep-producers",
	"removes-stay-in-memory", "scans-lose-the-last", "tombstones-ignore-horizons", "spills-into-used-slots",
	"starts-trust-the-catalog", "aborted-supersede", "tombstones-ignore-replicas", "starts-forget-aborted",
	"compacts-the-young", "heads-outlive-runs"}

// String is the mutant's name in reports.
func (m Mutant) String() string { return mutantNames[m] }

// spoil puts a bug into what a log is compacted by.
func (m Mutant) spoil(c *compact.Config) {
	switch m {
	case TombstonesIgnoreHorizons:
		c.DeleteRetention = 0
	case AbortedSupersede:
		c.Aborted = nil
	case TombstonesIgnoreReplicas:
		c.Hold = false
	}
}

// Mutants lists all bugs that show by themselves, and in a cluster of the simulator. Those of repair, moves, horizons, ages,
// the spill, lost drops and heads are for the metamorphic test of this package.
func Mutants() []Mutant {
	return []Mutant{FollowersForgetProducers, WaitsOutliveEpochs, CountsUnsyncedResets, StartsStayInMemory,
		RetiresTooEarly, SweepsByMemory, CompactsUncommitted, RetiresAdopted, AbortedSupersede,
		TombstonesIgnoreReplicas, StartsForgetAborted}
}
