package node

import (
	"errors"

	"outrigger/broker/topic"
	"outrigger/sidecar/raft"
)

// QuorumConfig is what a Quorum is made of.
type QuorumConfig struct {
	Raft raft.Config
	// SnapshotLogBytes is the size of the log behind the newest snapshot at which a new one is
	// taken. The log is held in memory, so this bounds memory too. Default 4 MiB.
	SnapshotLogBytes int64
	// TailBytes of the log stay behind a snapshot, for followers that lag a little. Default 1 MiB.
	TailBytes int64
}

// Quorum is one node's part in the metadata Raft: the pure machine, its store, its state machine
// and its way out. It has no goroutine, clock or lock: one owner calls it.
//
// The owner feeds what has arrived (StepMessage, Tick, Propose, ReadIndex, Transfer, Change), as
// much as there is, and then calls Turn once: everything fed is made durable in one synced write,
// and only then answered. An error of Turn is final.
type Quorum struct {
	machine *raft.Machine
	store   Store
	state   StateMachine
	sender  Sender
	cfg     QuorumConfig

	applied   uint64
	proposals []proposal
	reads     []read
	events    []raft.Event
	failed    error
}

// Store keeps what the Raft must not forget. A Quorum calls it from its owner's goroutine only, one
// call at a time. An error is final: the Quorum is dropped with it, since nobody knows what a failed
// write left behind.
type Store interface {
	// Load reads everything back after a start.
	Load() (raft.State, error)
	// Save writes the batch atomically; with Batch.Sync it is on stable storage on return.
	Save(b raft.Batch) error
	// SaveSnapshot makes data the current snapshot and removes the entries up to compactTo, durable
	// on return.
	SaveSnapshot(s raft.Snapshot, data []byte, compactTo uint64) error
	// InstallSnapshot makes the staged snapshot the current one, empties log and staging area and
	// writes the hard state, in one durable write.
	InstallSnapshot(s raft.Snapshot, hard raft.HardState) error
	// ReadSnapshot reads up to length bytes of the current snapshot, or of the staged one, and
	// fails if that is not the one of this index.
	ReadSnapshot(index uint64, staged bool, offset uint64, length int) ([]byte, error)
}

// StateMachine is what the log is for. It is called from the owner's goroutine only.
type StateMachine interface {
	// Apply carries out one committed command. Every node gets the same commands at the same
	// indices, so the result must depend on nothing else.
	Apply(index uint64, command []byte) (result []byte)
	// Snapshot encodes the state after the last Apply. Equal states must encode equally.
	Snapshot() []byte
	// Restore replaces the state by one that Snapshot encoded after index.
	Restore(index uint64, data []byte) error
}

// Sender hands messages to the network. Send must not block and may drop; it may keep m.
type Sender interface {
	Send(to topic.NodeID, m raft.Message)
}

// Errors that a proposal or a read ends with, beside those of package raft.
var (
	// ErrOutcomeUnknown: leadership was lost first; the proposal may yet happen, so the caller
	// proposes it again in a form that can stand being applied twice.
	ErrOutcomeUnknown = errors.New("outcome of the proposal is unknown")
	// ErrStopped: the Quorum has failed or was closed.
	ErrStopped = errors.New("quorum has stopped")
)

// ErrNotLeader tells where the leader is; errors.Is(err, raft.ErrNotLeader) holds. Nothing has
// happened.
type ErrNotLeader struct {
	// Leader is NoNode while unknown.
	Leader topic.NodeID
}

// Error implements error.
func (e ErrNotLeader) Error() string { return raft.ErrNotLeader.Error() }

// Unwrap makes errors.Is(err, raft.ErrNotLeader) hold.
func (e ErrNotLeader) Unwrap() error { return raft.ErrNotLeader }

// proposal waits for its entry to be applied.
type proposal struct {
	index, term uint64
	done        func(result []byte, err error)
}

// read waits for its confirmation and then for its index.
type read struct {
	id    uint64
	index uint64 // 0 until confirmed
	done  func(index uint64, err error)
}

// Status is a snapshot of a Quorum for status pages and metrics.
type Status struct {
	raft.Status
	Applied uint64
}

// NewQuorum loads the store, restores the state machine and builds the machine. Nothing is sent
// before the first Turn.
func NewQuorum(cfg QuorumConfig, store Store, state StateMachine, sender Sender) (*Quorum, error) {
	return nil, errors.New("not built yet")
}

// StepMessage feeds one message from the network.
func (q *Quorum) StepMessage(m raft.Message) { q.machine.Step(m) }

// Tick feeds one unit of time. The owner steps every message that has already arrived before it
// ticks: after a pause, what peers said meanwhile counts before anything expires.
func (q *Quorum) Tick() { q.machine.Tick() }

// Propose feeds one command. done is called exactly once, from Turn or from Propose itself, and
// must only enqueue: with the state machine's result, with ErrNotLeader, raft.ErrFull,
// raft.ErrTransferring or raft.ErrTooLarge (nothing happened), or with ErrOutcomeUnknown.
func (q *Quorum) Propose(command []byte, done func(result []byte, err error)) {}

// ReadIndex calls done (which must only enqueue) once this node has been confirmed as the leader
// and has applied everything that was committed before the call.
func (q *Quorum) ReadIndex(done func(index uint64, err error)) {}

// Transfer hands leadership to a voter, or with topic.NoNode to the one that is furthest.
func (q *Quorum) Transfer(to topic.NodeID) error { return nil }

// Change proposes one change of the membership.
func (q *Quorum) Change(c raft.Change) error { return nil }

// Turn carries out the effects of everything fed since the last Turn.
func (q *Quorum) Turn() error { return nil }

// Close fails all waiting proposals and reads; the Quorum takes no more calls.
func (q *Quorum) Close() {}

// Status tells role, term, indices, members and peers.
func (q *Quorum) Status() Status { return Status{} }

// Events returns what happened since the last call.
func (q *Quorum) Events() []raft.Event { return nil }
