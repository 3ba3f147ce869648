package raft

import (
	"outrigger/broker/topic"
)

// ballot counts the answers to one campaign.
type ballot struct {
	granted []Member
	refused []Member
	// transfer says that the leader asked for this campaign.
	transfer bool
	// founding is the set that a founding election is about; see founding.go.
	founding *Membership
}

func (b *ballot) record(voter Member, granted bool) {
	list, other := &b.granted, &b.refused
	if !granted {
		list, other = other, list
	}
	*other = removeMember(*other, voter)
	*list = append(removeMember(*list, voter), voter)
}

// preCampaign asks whether a campaign would be won, without changing a term anywhere: a node that
// was cut off must not come back with a high term and depose a healthy leader.
func (m *Machine) preCampaign() {
	if m.cfg.mutant == NoStickiness {
		m.campaign(false)
		return
	}
	m.become(PreCandidate, Member{})
	m.ballot.record(m.self, true)
	for _, voter := range m.membership().Voters {
		if voter != m.self {
			msg := m.request(PreVote, voter)
			msg.Index, msg.LogTerm = m.log.last(), m.log.lastTerm()
			msg.Round = m.hard.Term + 1
			m.send(msg)
		}
	}
	m.countBallot()
}

// campaign starts a term and asks for votes. The requests leave after term and own vote are
// durable: a candidate that forgot its vote could give the same term to somebody else.
func (m *Machine) campaign(transfer bool) {
	m.setTerm(m.hard.Term+1, m.self)
	m.become(Candidate, Member{})
	m.counts.campaigns++
	m.ballot.transfer = transfer
	m.askForVotes(m.membership())
}

func (m *Machine) askForVotes(electorate Membership) {
	for _, voter := range electorate.Voters {
		if voter == m.self || containsMember(m.ballot.granted, voter) {
			continue
		}
		msg := m.request(Vote, voter)
		msg.Index, msg.LogTerm = m.log.last(), m.log.lastTerm()
		msg.Transfer = m.ballot.transfer
		if m.ballot.founding != nil {
			msg.Founding, msg.Membership = true, *m.ballot.founding
		}
		m.promise(msg)
	}
}

// sticky reports whether the leader was heard within the minimum election timeout. Requests for
// votes are ignored then: whoever cannot hear a healthy leader must not take it from those who do.
func (m *Machine) sticky() bool {
	if m.cfg.mutant == NoStickiness {
		return false
	}
	return m.role == Leader || !m.leader.IsZero() && m.elapsed < m.cfg.ElectionTicks
}

// mayVote reports whether this node's vote can count for the candidate's log. A store that holds
// nothing at all, not even a term, has taken part in no founding: whoever counts on it is counting
// on a disk that was lost.
func (m *Machine) mayVote(msg Message) bool {
	if m.blank() && (m.hard.Term == 0 || msg.Index == 0) && m.cfg.mutant != WipedVoterVotes {
		return false
	}
	return msg.LogTerm > m.log.lastTerm() ||
		msg.LogTerm == m.log.lastTerm() && msg.Index >= m.log.last()
}

func (m *Machine) stepPreVote(msg Message) {
	if m.sticky() {
		return
	}
	r := m.reply(msg)
	r.Round = msg.Round
	r.Reject = msg.Round <= m.hard.Term || !m.mayVote(msg)
	m.promise(r)
}

func (m *Machine) stepVote(msg Message) {
	if m.sticky() && !msg.Transfer {
		return
	}
	if msg.Founding {
		m.stepFoundingVote(msg)
		return
	}
	// A blank node keeps its term 0 until it has taken part in a founding or follows a leader.
	if msg.Term > m.hard.Term && (!m.blank() || m.mayVote(msg)) {
		m.setTerm(msg.Term, Member{})
		m.become(Follower, Member{})
	}
	granted := msg.Term == m.hard.Term && m.mayVote(msg) &&
		(m.hard.Vote.IsZero() && m.leader.IsZero() || m.hard.Vote == msg.Sender())
	if granted {
		m.setTerm(msg.Term, msg.Sender())
		m.become(Follower, Member{})
	}
	r := m.reply(msg)
	r.Reject = !granted
	m.promise(r)
}

// stepBallot counts an answer to this node's campaign. Only members are heard, disk and all: the
// answers of removed ones count for nothing, not even their terms.
func (m *Machine) stepBallot(msg Message) {
	voter, ok := m.voter(msg.Sender())
	if !ok {
		return
	}
	if msg.Reject && msg.Term > m.hard.Term {
		m.setTerm(msg.Term, Member{})
		m.become(Follower, Member{})
		return
	}
	switch {
	case msg.Type == PreVoteReply && m.role == PreCandidate && msg.Round == m.hard.Term+1:
	case msg.Type == VoteReply && m.role == Candidate && msg.Term == m.hard.Term:
	default:
		return
	}
	m.ballot.record(voter, !msg.Reject)
	m.countBallot()
}

// voter finds the voter that a message comes from.
func (m *Machine) voter(sender Member) (Member, bool) {
	electorate := m.electorate()
	if m.cfg.mutant == WipedVoterVotes {
		return electorate.ByNode(sender.Node)
	}
	return sender, electorate.IsVoter(sender)
}

// electorate is who votes in the present campaign.
func (m *Machine) electorate() Membership {
	if m.ballot.founding != nil {
		return *m.ballot.founding
	}
	return m.membership()
}

// countBallot acts once a campaign is won. A lost one simply times out: its answers may be late.
func (m *Machine) countBallot() {
	granted := 0
	for _, voter := range m.electorate().Voters {
		if containsMember(m.ballot.granted, voter) {
			granted++
		}
	}
	need := m.electorate().Quorum()
	if m.ballot.founding != nil && m.cfg.mutant != FoundsByMajority {
		need = len(m.ballot.founding.Voters)
	}
	switch {
	case granted < need:
	case m.role == PreCandidate:
		m.campaign(false)
	case m.role == Candidate:
		m.lead()
	}
}

// lead begins a term as leader. Entries of earlier terms are committed only behind an entry of this
// one (figure 8 of the Raft paper), so one is written at once.
func (m *Machine) lead() {
	founded := m.ballot.founding
	m.become(Leader, m.self)
	m.counts.elections++
	m.leading = leading{round: m.leading.round}
	if founded != nil {
		m.found(*founded)
	}
	m.leading.sync(m.membership(), m.self, m.log.last()+1)
	m.appendOwn(EntryNoOp, nil)
}

func (m *Machine) stepTimeoutNow(msg Message) {
	if msg.Term != m.hard.Term || msg.Sender() != m.leader || m.role != Follower ||
		!m.membership().IsVoter(m.self) {
		return
	}
	m.campaign(true)
}

func containsMember(list []Member, m Member) bool {
	for _, o := range list {
		if o == m {
			return true
		}
	}
	return false
}

// leaderNode is the leader's node id for messages and status.
func (m *Machine) leaderNode() topic.NodeID {
	if m.leader.IsZero() {
		return topic.NoNode
	}
	return m.leader.Node
}
