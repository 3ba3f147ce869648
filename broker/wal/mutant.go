package wal

// Mutant is a bug that can be put into a log on purpose, so that the simulator can prove that its
// checkers catch it. Production code never sets one.
type Mutant uint8

// The mutants.
const (
	// Sound is no bug.
	Sound Mutant = iota
	// SkipsSync reports groups as durable that were only written.
	SkipsSync
	// SkipsPackSync finishes packs without a sync.
	SkipsPackSync
	// AdoptsUnsynced adopts files of which a loss of power could take something back.
	AdoptsUnsynced
)

// Break puts a bug into the log that cfg will open.
func Break(cfg *Config, bug Mutant) { cfg.mutant = bug }

var mutantNames = [...]string{"sound", "skips-sync", "skips-pack-sync", "adopts-unsynced"}

// String is the mutant's name in reports.
func (m Mutant) String() string { return mutantNames[m] }

// Mutants lists all bugs.
func Mutants() []Mutant { return []Mutant{SkipsSync, SkipsPackSync, AdoptsUnsynced} }
