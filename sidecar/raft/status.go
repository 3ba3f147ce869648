package raft

import "outrigger/broker/topic"

// Role is a machine's part in its term.
type Role uint8

// The roles. A learner is a follower that does not vote; see Status.Voter.
const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
)

var roleNames = [...]string{"follower", "pre-candidate", "candidate", "leader"}

// String is the role's name in status output.
func (r Role) String() string { return roleNames[r] }

// Status is a snapshot of a machine for status pages and metrics.
type Status struct {
	Node    topic.NodeID
	Disk    topic.DiskID
	Session topic.Session
	Cluster string
	Role    Role
	// Voter reports whether this node votes, disk and all.
	Voter bool
	// Founded reports whether this node holds any log.
	Founded bool
	Term    uint64
	// Leader is NoNode while unknown.
	Leader topic.NodeID
	Commit uint64
	// FirstIndex and LastIndex bound the log held; Snapshot is the index of the newest snapshot.
	FirstIndex uint64
	LastIndex  uint64
	Snapshot   uint64
	LogBytes   int64
	// CommittedInTerm says that an entry of the current term is committed: reads and membership
	// changes are possible.
	CommittedInTerm bool
	Membership      Membership
	// Elections counts the elections that this machine has won, Campaigns those it has started.
	Elections uint64
	Campaigns uint64
	// Peers is filled on the leader.
	Peers []PeerStatus
}

// PeerStatus is what a leader knows of one peer.
type PeerStatus struct {
	Member Member
	Voter  bool
	// Match is the last entry known to be durable there.
	Match uint64
	// ContactTicks is the time since the last answer.
	ContactTicks int
	// Mode is probe, replicate or snapshot.
	Mode string
	// InflightBytes were sent and not yet acknowledged.
	InflightBytes int64
}
