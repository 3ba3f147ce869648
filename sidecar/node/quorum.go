package node

import (
	"errors"
	"fmt"
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/raft"
)

// QuorumConfig is what a Quorum is made of.
type QuorumConfig struct {
	Raft raft.Config
	// SnapshotLogBytes is the size of the log behind the newest snapshot at which a new one is
	// taken. The log is held in memory, so this bounds memory too. Default 4 MiB.
	SnapshotLogBytes int64
	// TailBytes of the log stay behind a snapshot, for followers that lag a little. Default 1 MiB,
	// never more than SnapshotLogBytes.
	TailBytes int64
}

// Defaults of QuorumConfig.
const (
	defaultSnapshotLogBytes = 4 << 20
	defaultTailBytes        = 1 << 20
	// eventsMax bounds the events kept for an owner that does not fetch them; the oldest go.
	eventsMax = 1024
	// snapshotPatience is how many times SnapshotLogBytes the log may grow while a follower pulls
	// the current snapshot.
	snapshotPatience = 4
)

// Quorum is one node's part in the metadata Raft: the pure machine, its store, its state machine
// and its way out. It has no goroutine, clock or lock: one owner calls it.
//
// The owner feeds what has arrived (StepMessage, Tick, Propose, ReadIndex, Transfer, Change), as
// much as there is, and then calls Turn once: everything fed is made durable in one synced write,
// and only then answered. After a pause it steps every message that has arrived before it ticks
// (see raft.Machine.Tick). An error of Turn is final: the Quorum must be closed and dropped.
type Quorum struct {
	machine *raft.Machine
	store   Store
	state   StateMachine
	sender  Sender
	cfg     QuorumConfig

	applied   uint64
	proposals []proposal
	reads     []read
	readID    uint64
	events    []raft.Event
	failed    error
}

// proposal waits for its entry to be applied.
type proposal struct {
	index, term uint64
	done        func(result []byte, err error)
}

// read waits for its confirmation and then for its index.
type read struct {
	id        uint64
	term      uint64
	confirmed bool
	index     uint64
	done      func(index uint64, err error)
}

// Status is a snapshot of a Quorum for status pages and metrics.
type Status struct {
	raft.Status
	// Applied is the last index that the state machine has seen.
	Applied uint64
	// Proposals and Reads are waiting here.
	Proposals int
	Reads     int
}

// NewQuorum loads the store, restores the state machine and builds the machine. It sends nothing
// and applies nothing before the first Turn.
func NewQuorum(cfg QuorumConfig, store Store, state StateMachine, sender Sender) (*Quorum, error) {
	if cfg.SnapshotLogBytes == 0 {
		cfg.SnapshotLogBytes = defaultSnapshotLogBytes
	}
	if cfg.TailBytes == 0 {
		cfg.TailBytes = defaultTailBytes
	}
	cfg.TailBytes = min(cfg.TailBytes, cfg.SnapshotLogBytes)
	stored, err := store.Load()
	if err != nil {
		return nil, fmt.Errorf("load raft state: %w", err)
	}
	machine, err := raft.New(cfg.Raft, stored)
	if err != nil {
		return nil, err
	}
	q := &Quorum{machine: machine, store: store, state: state, sender: sender, cfg: cfg}
	if s := stored.Snapshot; !s.IsZero() {
		data, err := q.readSnapshot(s, false)
		if err != nil {
			return nil, err
		}
		if raft.HashOf(data) != s.Hash {
			return nil, fmt.Errorf("%w: snapshot %d does not have its hash", raft.ErrDamaged, s.Index)
		}
		if err := state.Restore(s.Index, data); err != nil {
			return nil, fmt.Errorf("restore snapshot %d: %w", s.Index, err)
		}
		q.applied = s.Index
	}
	return q, nil
}

// StepMessage feeds one message from the network.
func (q *Quorum) StepMessage(m raft.Message) {
	if q.failed == nil {
		q.machine.Step(m)
	}
}

// Tick feeds one unit of time. The owner steps every message that has already arrived before it
// ticks: after a pause, what peers said meanwhile counts before anything expires.
func (q *Quorum) Tick() {
	if q.failed == nil {
		q.machine.Tick()
	}
}

// Propose feeds one command, which the caller must not change any more. done is called exactly once, from a later Turn, from Close or from
// Propose itself, and must only enqueue. It gets the state machine's result; or ErrNotLeader,
// raft.ErrFull, raft.ErrTransferring, raft.ErrTooLarge or ErrStopped, and nothing has happened; or
// ErrOutcomeUnknown.
func (q *Quorum) Propose(command []byte, done func(result []byte, err error)) {
	if q.failed != nil {
		done(nil, ErrStopped)
		return
	}
	index, term, err := q.machine.Propose(command)
	if err != nil {
		done(nil, q.refusal(err))
		return
	}
	q.proposals = append(q.proposals, proposal{index: index, term: term, done: done})
}

// ReadIndex calls done once this node has been confirmed as the leader and has applied everything
// that was committed before the call. done must only enqueue; its errors are those of Propose, but
// for ErrOutcomeUnknown: a read may always be asked again.
func (q *Quorum) ReadIndex(done func(index uint64, err error)) {
	if q.failed != nil {
		done(0, ErrStopped)
		return
	}
	q.readID++
	if err := q.machine.ReadIndex(q.readID); err != nil {
		done(0, q.refusal(err))
		return
	}
	q.reads = append(q.reads, read{id: q.readID, term: q.machine.Brief().Term, done: done})
}

// Transfer hands leadership to a voter, or with topic.NoNode to the live one that is furthest. It
// has happened when Status says so, and is given up after an election timeout.
func (q *Quorum) Transfer(to topic.NodeID) error {
	if q.failed != nil {
		return ErrStopped
	}
	return q.refusal(q.machine.Transfer(to))
}

// Change proposes one change of the membership; Status tells what became of it. A node that is
// removed while it runs asks to join again: stop it first.
func (q *Quorum) Change(c raft.Change) error {
	if q.failed != nil {
		return ErrStopped
	}
	_, err := q.machine.Change(c)
	return q.refusal(err)
}

// Close fails everything that waits; the Quorum takes no more calls.
func (q *Quorum) Close() {
	if q.failed == nil {
		q.failed = ErrStopped
	}
	q.failWaiting(func(uint64) bool { return true })
}

// Brief is the cheap part of Status.
func (q *Quorum) Brief() raft.Brief { return q.machine.Brief() }

// Applied is the last index that the state machine has seen.
func (q *Quorum) Applied() uint64 { return q.applied }

// Status tells role, term, indices, members and peers.
func (q *Quorum) Status() Status {
	return Status{Status: q.machine.Status(), Applied: q.applied,
		Proposals: len(q.proposals), Reads: len(q.reads)}
}

// Events returns what happened since the last call, the newest 1024 of it.
func (q *Quorum) Events() []raft.Event {
	events := q.events
	q.events = nil
	return events
}

// EntryAt is a held log entry, for checkers.
func (q *Quorum) EntryAt(index uint64) (raft.Entry, bool) { return q.machine.EntryAt(index) }

func (q *Quorum) refusal(err error) error {
	if errors.Is(err, raft.ErrNotLeader) {
		return ErrNotLeader{Leader: q.machine.Brief().Leader}
	}
	return err
}

func (q *Quorum) keepEvents(events []raft.Event) {
	q.events = append(q.events, events...)
	if excess := len(q.events) - eventsMax; excess > 0 {
		q.events = slices.Delete(q.events, 0, excess)
	}
}
