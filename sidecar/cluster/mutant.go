package cluster

// Mutant is a bug that can be put into the rules on purpose, so that the simulator can prove that its
// checkers catch it. Production code never sets one.
type Mutant uint8

// The mutants.
const (
	// Sound is no bug.
	Sound Mutant = iota
	// KeepsFencedInSync leaves a fenced session in the in-sync sets.
	KeepsFencedInSync
	// TrustsWipedDisks lets a node inherit its places although its disk is another one.
	TrustsWipedDisks
	// AdmitsAnySession lets replicas into in-sync sets that are fenced or in a later session (KIP-903).
	AdmitsAnySession
	// ElectsAnyLive elects a live replica that was neither in sync nor eligible.
	ElectsAnyLive
	// ForgetsEligible drops who leaves an in-sync set that is too small (KIP-966).
	ForgetsEligible
	// KeepsEligible keeps eligible replicas although the high watermark moves without them.
	KeepsEligible
	// KeepsLeadersOfEndedSessions lets a restarted node go on leading in the same epoch.
	KeepsLeadersOfEndedSessions
	// LetsLateRegistrationsReplace lets a late copy of a registration end a later run of its node, which
	// otherwise takes one that is not among the remembered.
	LetsLateRegistrationsReplace
	// ElectsShorterLog elects of all claims the one that holds the least.
	ElectsShorterLog
	// FinishesEarly ends a reassignment before the new replicas are in sync.
	FinishesEarly
	// EvictsHolders takes a reassignment back, or alters it, although those who hold everything go.
	EvictsHolders
	// KeepsEpochOfEvicted lets a leader go on in its epoch although a replica went.
	KeepsEpochOfEvicted
)

// Break returns the image with a bug in the rules that change it.
func Break(im *Image, bug Mutant) *Image {
	if bug == Sound {
		return im
	}
	broken := *im
	broken.mutant = bug
	return &broken
}

var mutantNames = [...]string{"sound", "keeps-fenced-in-sync", "trusts-wiped-disks", "admits-any-session",
	"elects-any-live", "forgets-eligible", "keeps-eligible",
	"keeps-leaders-of-ended-sessions", "lets-late-registrations-replace", "elects-shorter-log",
	"finishes-early", "evicts-holders", "keeps-epoch-of-evicted"}

// String is the mutant's name in reports.
func (m Mutant) String() string { return mutantNames[m] }

// Mutants lists all bugs.
func Mutants() []Mutant {
	var all []Mutant
	for m := Sound + 1; int(m) < len(mutantNames); m++ {
		all = append(all, m)
	}
	return all
}
