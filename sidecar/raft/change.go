package raft

import "fmt"

// Admission: the leader brings in whoever says Hello and is not a member, one change at a time and
// only after an entry of its own term is committed.
//
//	(node 2, old disk) is a voter, (node 2, new disk) says Hello:
//	  remove (2, old)  ->  add (2, new) as learner  ->  it catches up  ->  promote (2, new)
//
// A node that shall not vote (see Roster) stays a learner. The old disk is removed only after it has
// been silent for an election timeout under this leader: if it still answers, somebody has given two
// processes the same node id, and the one that is a member stays.

// tickJoins makes at most one step of admission.
func (m *Machine) tickJoins() {
	joins := m.leading.joins[:0]
	for _, j := range m.leading.joins {
		j.silent++
		j.age++
		if j.silent <= 2*m.cfg.ElectionTicks && !m.membership().Contains(j.member) {
			joins = append(joins, j)
		}
	}
	m.leading.joins = joins
	if !m.committedInTerm() || m.members.index() > m.hard.Commit || m.leading.transfer != nil {
		return
	}
	for i := range joins {
		if m.admit(&joins[i]) {
			return
		}
	}
	for _, p := range m.leading.peers {
		if m.promotable(p) {
			m.mustChange(Change{Kind: Promote, Member: p.member})
			return
		}
	}
	if !m.demote() {
		m.dismiss()
	}
}

// admit makes one step for a joining node, if one can be made.
func (m *Machine) admit(j *join) bool {
	owner, taken := m.membership().ByNode(j.member.Node)
	if !taken {
		m.mustChange(Change{Kind: AddLearner, Member: j.member})
		return true
	}
	p := m.leading.peer(owner)
	alive := owner == m.self || p.contact < m.cfg.ElectionTicks
	// Answers of a disk that was lost just now may still arrive; after a timeout they cannot.
	if alive && j.age > m.cfg.ElectionTicks && !j.told {
		j.told = true
		m.note(DuplicateNode, j.member.Node, fmt.Sprintf("%s asks to join while %s is alive",
			j.member, owner))
	}
	if alive || m.membership().IsVoter(owner) && !m.spares(owner) {
		return false
	}
	m.mustChange(Change{Kind: Remove, Member: owner})
	return true
}

// spares reports whether the others are enough to commit without this member.
func (m *Machine) spares(gone Member) bool {
	next, err := m.membership().Apply(Change{Kind: Remove, Member: gone})
	if err != nil {
		return false
	}
	active := 1
	for _, p := range m.leading.peers {
		if p.contact < m.cfg.ElectionTicks && next.IsVoter(p.member) {
			active++
		}
	}
	return active >= next.Quorum()
}

// promotable reports whether a learner shall vote and has caught up.
func (m *Machine) promotable(p *peer) bool {
	return m.shallVote(p.member.Node) && m.membership().IsLearner(p.member) && p.mode == replicate &&
		p.match >= m.hard.Commit && p.contact < m.cfg.ElectionTicks
}

func (m *Machine) mustChange(c Change) {
	if _, err := m.Change(c); err != nil {
		panic(fmt.Sprintf("raft: %s %s: %v", c.Kind, c.Member, err))
	}
}
