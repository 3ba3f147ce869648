package raft

import (
	"crypto/sha256"
	"fmt"

	"outrigger/broker/topic"
)

// EntryKind says what an entry's data means.
type EntryKind uint8

// The kinds of entries.
const (
	// EntryCommand is a command of the state machine.
	EntryCommand EntryKind = iota + 1
	// EntryNoOp opens a leader's term: commits count only from the current term, so a leader needs
	// an entry of its own.
	EntryNoOp
	// EntryMembership holds an encoded Membership, in force as soon as it is appended.
	EntryMembership
)

// Entry is one position of the replicated log. Data is never changed after it was handed over.
type Entry struct {
	Index uint64
	Term  uint64
	Kind  EntryKind
	Data  []byte
}

// entryOverhead is what an entry costs beside its data, in every byte budget.
const entryOverhead = 32

// Size is what the entry costs in byte budgets.
func (e Entry) Size() int64 { return int64(len(e.Data)) + entryOverhead }

// HardState is what a node must remember besides its log.
type HardState struct {
	// Term and Vote must be durable before any message of that term or any vote leaves.
	Term uint64
	// Vote is whom this node voted for in Term; the zero Member is nobody.
	Vote Member
	// Commit may be stale: it is made durable with the next synced batch.
	Commit uint64
	// Cluster is empty until the node belongs to a cluster; then it never changes.
	Cluster string
}

// Hash is the SHA-256 of a snapshot's data.
type Hash [sha256.Size]byte

// HashOf hashes a snapshot's data.
func HashOf(data []byte) Hash { return sha256.Sum256(data) }

// Snapshot describes a snapshot of the state machine; its data lives in the store.
type Snapshot struct {
	// Index and Term are those of the last entry that the snapshot covers.
	Index uint64
	Term  uint64
	// Membership is the one in force at Index.
	Membership Membership
	// Size is the length of the data in bytes, Hash its SHA-256.
	Size uint64
	Hash Hash
}

// IsZero reports whether there is no snapshot.
func (s Snapshot) IsZero() bool { return s.Index == 0 }

// Same reports whether both describe the same bytes, so that a transfer of one resumes the other.
func (s Snapshot) Same(o Snapshot) bool {
	return s.Index == o.Index && s.Term == o.Term && s.Size == o.Size && s.Hash == o.Hash
}

// State is what a store gives back after a start.
type State struct {
	Hard HardState
	// Snapshot is the newest installed or taken one.
	Snapshot Snapshot
	// Entries may begin at or below Snapshot.Index (the kept tail) and have no gaps.
	Entries []Entry
	// Staged is a snapshot whose transfer has begun; StagedBytes of it are there, from its start.
	Staged      Snapshot
	StagedBytes uint64
}

// Batch is what must become durable, as one atomic write.
type Batch struct {
	// HardState, when not nil, replaces the stored one.
	HardState *HardState
	// TruncateFrom, when not 0, removes the entries at and after it before Entries are written.
	TruncateFrom uint64
	// Entries follow what is left of the log without a gap.
	Entries []Entry
	// Chunks are appended to the staged snapshot.
	Chunks []Chunk
	// Sync says that the batch must be on stable storage when the write returns. Without it a crash
	// may lose the batch (never a part of it, never an earlier synced one).
	Sync bool
}

// Empty reports whether there is nothing to write.
func (b Batch) Empty() bool {
	return b.HardState == nil && b.TruncateFrom == 0 && len(b.Entries) == 0 && len(b.Chunks) == 0
}

// Chunk is a piece of a snapshot that is being pulled. A chunk at offset 0 starts the staging area
// anew.
type Chunk struct {
	Snapshot Snapshot
	Offset   uint64
	Data     []byte
}

// Member is a node with its disk: what votes, and what is replicated to.
type Member struct {
	Node topic.NodeID
	Disk topic.DiskID
}

// IsZero reports whether no member is named.
func (m Member) IsZero() bool { return m.Disk.IsZero() }

// String is "<node>@<first digits of the disk id>".
func (m Member) String() string {
	if m.IsZero() {
		return "nobody"
	}
	return fmt.Sprintf("%d@%x", m.Node, m.Disk[:4])
}
