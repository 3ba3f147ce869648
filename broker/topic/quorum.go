package topic

// Quorum is the metadata Raft as its leader sees it.
type Quorum struct {
	// Leader is the controller, Term the term it was elected in.
	Leader NodeID `json:"leader"`
	Term   uint64 `json:"term"`
	// Commit is the index of the last committed entry.
	Commit uint64 `json:"commit"`
	// Voters and Learners include the leader.
	Voters   []QuorumReplica `json:"voters"`
	Learners []QuorumReplica `json:"learners"`
}

// QuorumReplica is one member of the metadata Raft.
type QuorumReplica struct {
	Node NodeID `json:"node"`
	Disk DiskID `json:"disk"`
	// LastIndex is the last entry known to be durable there, 0 while nothing is known.
	LastIndex uint64 `json:"last_index"`
	// SilentMillis is how long ago the leader heard of it; without meaning while nothing is known.
	SilentMillis int64 `json:"silent_ms"`
	// CaughtUp says that it had everything when it was heard last.
	CaughtUp bool `json:"caught_up"`
}
