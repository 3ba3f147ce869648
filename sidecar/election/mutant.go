package election

// Mutant is a bug that can be put into a watcher on purpose, so that the simulator can prove that its
// checkers catch it. Production code never sets one.
type Mutant uint8

// The mutants.
const (
	// Sound is no bug.
	Sound Mutant = iota
	// WatcherFiresOnce forgets whom it has told of (failure mode 10).
	WatcherFiresOnce
)

// Break puts a bug into the watcher that cfg will make.
func Break(cfg *WatcherConfig, bug Mutant) { cfg.mutant = bug }

// String is the mutant's name in reports.
func (m Mutant) String() string { return [...]string{"sound", "watcher-fires-once"}[m] }

// Mutants lists all bugs.
func Mutants() []Mutant { return []Mutant{WatcherFiresOnce} }
