package node

import (
	"errors"

	"outrigger/broker/topic"
	"outrigger/sidecar/raft"
)

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
