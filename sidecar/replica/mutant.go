package replica

// Mutant is a bug that can be put into a machine on purpose, so that the simulator can prove that its
// checkers catch it. Production code never sets one.
type Mutant uint8

// The mutants.
const (
	// Sound is no bug.
	Sound Mutant = iota
	// CommitsByCurrentISR leaves the members of a proposed in-sync set out of the high watermark.
	CommitsByCurrentISR
	// CutsToHighWatermark truncates to the high watermark when an epoch begins (KIP-101).
	CutsToHighWatermark
	// AcksBeforeSync acknowledges the log end of a follower, synced or not.
	AcksBeforeSync
	// CommitsBeforeSync counts a leader's own records before they are synced.
	CommitsBeforeSync
	// AcksBaseOffset acknowledges the last offset in place of the end behind it.
	AcksBaseOffset
	// ExpandsAtOnce lets a follower into the in-sync set before it holds what is committed.
	ExpandsAtOnce
	// ForgetsUnknownChange takes a proposal without an answer for one that did not happen.
	ForgetsUnknownChange
	// CommitsBelowMinimum moves the high watermark while too few are in sync.
	CommitsBelowMinimum
	// ReadyAtOnce calls a new leader ready before it knows what is committed.
	ReadyAtOnce
	// ObeysLateCuts truncates although the cut answers another tail.
	ObeysLateCuts
	// BelievesAnyTail takes a follower's log for a prefix without comparing epochs.
	BelievesAnyTail
	// CommitsUnprovenTail tells a follower the high watermark before its log was compared.
	CommitsUnprovenTail
	// NeverRepeats sends everything once.
	NeverRepeats
	// AdmitsOldStarts lets a follower into the in-sync set that still holds what was deleted.
	AdmitsOldStarts
	// DeletesAlone calls records deleted once the leader has deleted them.
	DeletesAlone
	// AcksStartBeforeSync acknowledges a log start before it is synced.
	AcksStartBeforeSync
	// NeverResets leaves a follower that ends below its leader's log start where it is.
	NeverResets
	// ObeysLateResets empties a log although the reset answers another tail.
	ObeysLateResets
	// HighWatermarkFalls takes a high watermark as it comes; part of a mutant of several packages.
	HighWatermarkFalls
	// MixesLogs goes on behind the records of another log although what ends them was compacted away here. It
	// takes long to show in the whole: this package's own tests look for it.
	MixesLogs
)

// Break puts a bug into the machine that cfg will make.
func Break(cfg *Config, bug Mutant) { cfg.mutant = bug }

var mutantNames = [...]string{"sound", "commits-by-current-isr", "cuts-to-high-watermark", "acks-before-sync",
	"commits-before-sync", "acks-base-offset", "expands-at-once", "forgets-unknown-change",
	"commits-below-minimum", "ready-at-once", "obeys-late-cuts", "believes-any-tail", "commits-unproven-tail",
	"never-repeats", "admits-old-starts", "deletes-alone", "acks-start-before-sync", "never-resets",
	"obeys-late-resets", "high-watermark-falls", "mixes-logs"}

// String is the mutant's name in reports.
func (m Mutant) String() string { return mutantNames[m] }

// Mutants lists all bugs that show by themselves.
func Mutants() []Mutant {
	var all []Mutant
	for m := Sound + 1; m < HighWatermarkFalls; m++ {
		all = append(all, m)
	}
	return all
}

func (m *Machine) broken(bug Mutant) bool { return m.cfg.mutant == bug }
