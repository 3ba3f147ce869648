package raft

// Mutant is a bug that can be put into a machine on purpose, so that the simulator can prove that
// its checkers catch it. Production code never sets one.
type Mutant uint8

// The mutants.
const (
	// Sound is no bug.
	Sound Mutant = iota
	// CommitsOldTerms commits entries of earlier terms by counting acknowledgements (figure 8).
	CommitsOldTerms
	// VotesBeforePersist sends votes before they are durable.
	VotesBeforePersist
	// AcksBeforePersist acknowledges entries before they are durable.
	AcksBeforePersist
	// NoStickiness answers requests for votes although the leader was heard just now, and skips the
	// pre-vote.
	NoStickiness
	// WipedVoterVotes ignores disk ids: whoever has the node id is the voter.
	WipedVoterVotes
	// FoundsByMajority lets a majority of blank voters found a cluster.
	FoundsByMajority
	// AcksMismatches acknowledges an append that does not fit the log.
	AcksMismatches
	// StaleAppendsCut lets an append whose entries are all here shorten the log.
	StaleAppendsCut
	// LearnersCount counts acknowledgements of learners.
	LearnersCount
	// ReadsUnconfirmed answers reads without asking whether this is the leader still.
	ReadsUnconfirmed
)

// Break puts a bug into the machine that cfg will make.
func Break(cfg *Config, bug Mutant) { cfg.mutant = bug }

var mutantNames = [...]string{"sound", "commits-old-terms", "votes-before-persist",
	"acks-before-persist", "no-stickiness", "wiped-voter-votes", "founds-by-majority",
	"acks-mismatches", "stale-appends-cut",
	"learners-count", "reads-unconfirmed"}

// String is the mutant's name in reports.
func (m Mutant) String() string {
	if int(m) < len(mutantNames) {
		return mutantNames[m]
	}
	return "?"
}

// Mutants lists all bugs.
func Mutants() []Mutant {
	all := make([]Mutant, 0, len(mutantNames)-1)
	for m := Sound + 1; int(m) < len(mutantNames); m++ {
		all = append(all, m)
	}
	return all
}
