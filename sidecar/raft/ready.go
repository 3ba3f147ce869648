package raft

// Ready is what a machine wants done, in this order:
//
//  1. send Messages,
//  2. make Batch durable (a failure ends the machine: nothing below may happen),
//  3. call Machine.Persisted,
//  4. send AfterPersist, answer ChunkReads,
//  5. apply Committed, complete Reads,
//  6. carry out Install.
//
// A crash between any two steps leaves a state that the protocol allows for: messages may be lost,
// and what was applied is applied again from the snapshot on.
type Ready struct {
	// Messages do not depend on Batch: entries that a leader ships while it syncs them itself (its
	// term and vote have long been durable), and questions that promise nothing.
	Messages []Message
	// Batch must be durable BEFORE Persisted is called, AfterPersist leaves and Committed is
	// applied.
	Batch Batch
	// AfterPersist holds votes, requests for votes and acknowledgements: each is a promise about
	// what Batch holds.
	AfterPersist []Message
	// ChunkReads are requests of followers for pieces of the current snapshot.
	ChunkReads []ChunkRead
	// Committed entries are durable here (once Batch is) and decided; they come once, in order,
	// without gaps. After Install they continue behind the snapshot.
	Committed []Entry
	// Reads are confirmed: complete them once Index has been applied.
	Reads []Read
	// Install, when not nil, says that this staged snapshot is complete: verify its hash, restore
	// the state machine, make it the current snapshot (log and staging area emptied, hard state
	// written, in one durable write), then call Machine.Installed. If the bytes do not match the
	// hash, call Machine.InstallFailed instead.
	Install *Install
	// Events are for logs and counters.
	Events []Event
}

// Empty reports whether nothing is to be done.
func (r Ready) Empty() bool {
	return len(r.Messages) == 0 && r.Batch.Empty() && len(r.AfterPersist) == 0 &&
		len(r.ChunkReads) == 0 && len(r.Committed) == 0 && len(r.Reads) == 0 &&
		r.Install == nil && len(r.Events) == 0
}

// ChunkRead asks the owner to fill Reply.Data with up to Length bytes of the snapshot at Index,
// from Reply.Offset on, and to send it. A snapshot that is gone: set Reply.Reject.
type ChunkRead struct {
	Index  uint64
	Length int
	Reply  Message
}

// Read is a confirmed read: whoever has applied Index sees everything that was committed when the
// read was asked for.
type Read struct {
	ID    uint64
	Index uint64
}

// Install names a staged snapshot that is complete.
type Install struct {
	Snapshot Snapshot
	// Hard is the hard state that goes with it.
	Hard HardState
}
