package raft

import (
	"slices"

	"outrigger/broker/topic"
)

// Roster says who the members shall be. It comes from what the log itself says, so that every leader
// learns the same, and it replaces what the configuration says of the voters.
type Roster struct {
	// Voters are the nodes that shall vote, sorted. While there are none, those of the configuration do,
	// and nobody is demoted.
	Voters []topic.NodeID
	// Known reports whether a node belongs to the cluster. A learner that does not, and is silent, is
	// removed. nil: everybody does.
	Known func(topic.NodeID) bool
}

// SetRoster takes a newer roster. A leader brings the membership there, one change at a time: it promotes
// who has caught up, and demotes who shall not vote once all who shall do. It hands over before it is
// demoted itself.
func (m *Machine) SetRoster(r Roster) { m.roster = r }

// MembershipAt is the membership in force at an index that was applied here, and the entry that brought
// it.
func (m *Machine) MembershipAt(index uint64) (at uint64, s Membership) {
	placed := m.members[0]
	for _, later := range m.members[1:] {
		if later.index <= index {
			placed = later
		}
	}
	return placed.index, placed.Membership
}

// MembershipIndex is the entry that brought the newest membership in the log, committed or not.
func (m *Machine) MembershipIndex() uint64 { return m.members.index() }

// shallVote reports whether a node is one of those that shall vote.
func (m *Machine) shallVote(node topic.NodeID) bool {
	if len(m.roster.Voters) == 0 {
		return slices.Contains(m.cfg.Voters, node)
	}
	return slices.Contains(m.roster.Voters, node)
}

// demote makes one step towards the roster among those who vote and shall not, and reports whether it did.
func (m *Machine) demote() bool {
	if len(m.roster.Voters) == 0 {
		return false
	}
	for _, node := range m.roster.Voters {
		if owner, taken := m.membership().ByNode(node); !taken || !m.membership().IsVoter(owner) {
			return false // first who shall vote: fewer voters bear fewer losses
		}
	}
	for _, voter := range m.membership().Voters {
		switch {
		case m.shallVote(voter.Node):
		case voter == m.self:
			return m.handOver()
		case m.spares(voter):
			m.mustChange(Change{Kind: Demote, Member: voter})
			return true
		}
	}
	return false
}

// handOver gives the leadership to the first live node that shall vote.
func (m *Machine) handOver() bool {
	for _, p := range m.leading.peers {
		if m.shallVote(p.member.Node) && p.contact < m.cfg.ElectionTicks && m.Transfer(p.member.Node) == nil {
			return true
		}
	}
	return false
}

// dismiss removes a silent learner that does not belong to the cluster, and reports whether it did. One that
// joins and is not known yet is not silent, or asks again when it is back.
func (m *Machine) dismiss() bool {
	if m.roster.Known == nil {
		return false
	}
	for _, p := range m.leading.peers {
		if m.membership().IsLearner(p.member) && p.contact >= m.cfg.ElectionTicks && !m.roster.Known(p.member.Node) {
			m.mustChange(Change{Kind: Remove, Member: p.member})
			return true
		}
	}
	return false
}
