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

// Status describes the machine now.
func (m *Machine) Status() Status {
	s := Status{
		Node: m.cfg.Node, Disk: m.cfg.Disk, Session: m.cfg.Session, Cluster: m.hard.Cluster,
		Role: m.role, Voter: m.membership().IsVoter(m.self), Founded: !m.blank(),
		Term: m.hard.Term, Leader: m.leaderNode(), Commit: m.hard.Commit,
		FirstIndex: m.log.base + 1, LastIndex: m.log.last(), Snapshot: m.snapshot.Index,
		LogBytes: m.LogBytes(), CommittedInTerm: m.committedInTerm(), Membership: m.membership(),
		Elections: m.counts.elections, Campaigns: m.counts.campaigns,
	}
	for _, p := range m.leading.peers {
		s.Peers = append(s.Peers, PeerStatus{Member: p.member, Voter: s.Membership.IsVoter(p.member),
			Match: p.match, ContactTicks: p.contact, Mode: modeNames[p.mode], InflightBytes: p.bytes})
	}
	return s
}

// Brief is the part of Status that an owner asks for after every input.
type Brief struct {
	Role         Role
	Term, Commit uint64
	Leader       topic.NodeID
	Vote         Member
}

// Brief describes the machine in a few words, without allocating.
func (m *Machine) Brief() Brief {
	return Brief{Role: m.role, Term: m.hard.Term, Commit: m.hard.Commit, Leader: m.leaderNode(),
		Vote: m.hard.Vote}
}

// SnapshotInDemand reports whether a live follower is pulling the current snapshot, so that the
// owner may put off replacing it.
func (m *Machine) SnapshotInDemand() bool {
	for _, p := range m.leading.peers {
		if p.mode == snapshotting && p.heard && p.contact < m.cfg.ElectionTicks {
			return true
		}
	}
	return false
}

// EntryAt is a held entry, for checkers; not ok if the log does not hold it.
func (m *Machine) EntryAt(index uint64) (Entry, bool) {
	if index <= m.log.base || index > m.log.last() {
		return Entry{}, false
	}
	return m.log.at(index), true
}
