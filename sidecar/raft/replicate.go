package raft

import (
	"fmt"
	"slices"

	"outrigger/broker/topic"
)

// pumpAll makes the messages that the followers are owed. It runs once per Ready, so that commands
// proposed together travel together.
func (m *Machine) pumpAll() {
	if m.leading.wantRound {
		m.leading.wantRound = false
		m.leading.round++
		m.leading.allDue()
		m.releaseReads() // a lone voter asks nobody
	}
	for _, p := range m.leading.peers {
		m.pump(p)
	}
	m.pumpTransfer()
}

func (m *Machine) pump(p *peer) {
	if p.mode != snapshotting && p.next <= m.log.base {
		p.mode = snapshotting
		p.inflight, p.bytes, p.due = p.inflight[:0], 0, true
		m.note(SnapshotOffered, p.member.Node, fmt.Sprintf("snapshot %d", m.snapshot.Index))
	}
	switch p.mode {
	case snapshotting:
		if p.due {
			m.sendOffer(p)
		}
	case probe:
		if !p.probing || p.due {
			m.sendAppend(p, m.log.slice(p.next, m.log.last(), m.cfg.AppendBytesMax))
			p.probing = true
		}
	case replicate:
		for p.next <= m.log.last() && len(p.inflight) < m.cfg.InflightMessagesMax &&
			p.bytes < m.cfg.InflightBytesMax {
			entries := m.log.slice(p.next, m.log.last(), m.cfg.AppendBytesMax)
			m.sendAppend(p, entries)
			f := flight{last: entries[len(entries)-1].Index}
			for _, e := range entries {
				f.bytes += e.Size()
			}
			p.next = f.last + 1
			p.inflight = append(p.inflight, f)
			p.bytes += f.bytes
		}
		// An empty append checks the entry before next: if what is in flight was lost, the follower
		// says so, and no timer is needed.
		if p.due {
			m.sendAppend(p, nil)
		}
	}
	p.due = false
}

func (m *Machine) sendAppend(p *peer, entries []Entry) {
	prevTerm, ok := m.log.term(p.next - 1)
	if !ok {
		panic(fmt.Sprintf("raft: append to %s behind %d, log %d..%d",
			p.member, p.next-1, m.log.base, m.log.last()))
	}
	msg := m.request(Append, p.member)
	msg.Index, msg.LogTerm, msg.Entries = p.next-1, prevTerm, entries
	msg.Commit, msg.Round = m.hard.Commit, m.leading.round
	m.send(msg)
	p.due = false
}

func (m *Machine) sendOffer(p *peer) {
	msg := m.request(Offer, p.member)
	msg.Snapshot, msg.Round = m.snapshot, m.leading.round
	m.send(msg)
}

// follow accepts the leader of a message's term. It answers no for a term that is over: the sender
// learns that it was deposed.
func (m *Machine) follow(msg Message) bool {
	switch {
	case msg.Term < m.hard.Term:
		r := m.reply(msg)
		r.Reject, r.Index = true, msg.Index
		m.promise(r)
		return false
	case msg.Term > m.hard.Term:
		m.setTerm(msg.Term, Member{})
		m.become(Follower, msg.Sender())
	case m.role == Leader || !m.leader.IsZero() && m.leader != msg.Sender():
		m.refuse(msg, "of a second leader in one term")
		return false
	case m.role != Follower || m.leader.IsZero():
		m.become(Follower, msg.Sender())
	}
	m.elapsed = 0
	return true
}

// stepAppend takes entries from the leader. What is already committed here is equal to the leader's
// by the election rule, so an append that begins below the commit index is cut to what lies behind
// it, and nothing at or below the commit index is ever replaced.
func (m *Machine) stepAppend(msg Message) {
	if !m.follow(msg) {
		return
	}
	r := m.reply(msg)
	r.Round = msg.Round
	prev, prevTerm, entries := msg.Index, msg.LogTerm, msg.Entries
	if skip := m.hard.Commit - min(prev, m.hard.Commit); skip > 0 {
		entries = entries[min(skip, uint64(len(entries))):]
		prev = m.hard.Commit
		prevTerm, _ = m.log.term(prev)
	}
	if !m.log.matches(prev, prevTerm) {
		r.Reject, r.Index = m.cfg.mutant != AcksMismatches, msg.Index
		hint, hintTerm := m.log.lookBack(min(prev-1, m.log.last()), prevTerm)
		if hint < m.hard.Commit {
			hint = m.hard.Commit
			hintTerm, _ = m.log.term(hint)
		}
		r.Hint, r.LogTerm = hint, hintTerm
		m.promise(r)
		return
	}
	m.takeEntries(entries)
	// The id comes with the first entries and not with the first message: the founder may lose its
	// disk before anybody holds an entry, and a blank node that kept its id could not found again.
	if m.hard.Cluster == "" && !m.blank() {
		m.hard.Cluster = msg.Cluster
	}
	last := prev + uint64(len(entries))
	m.commitTo(min(msg.Commit, last))
	r.Index = last
	m.promise(r)
}

// takeEntries appends what the log lacks. Only a real conflict cuts: a stale append whose entries are
// all here must not shorten the log, since what follows may have been acknowledged.
func (m *Machine) takeEntries(entries []Entry) {
	for len(entries) > 0 && m.log.matches(entries[0].Index, entries[0].Term) &&
		(m.cfg.mutant != StaleAppendsCut || entries[0].Index <= m.hard.Commit) {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return
	}
	first := entries[0].Index
	before := m.members.index()
	if first <= m.hard.Commit {
		panic(fmt.Sprintf("raft: entry %d of term %d contradicts a committed one (commit %d)",
			first, entries[0].Term, m.hard.Commit))
	}
	if first <= m.log.last() {
		m.log.truncateFrom(first)
		m.members = m.members.truncateFrom(first)
	}
	m.log.append(entries...)
	if err := m.adoptMemberships(entries); err != nil {
		panic(err)
	}
	if m.members.index() != before {
		m.membershipChanged("taken from the leader")
	}
}

// stepProgress reads an answer to an Append or Offer.
func (m *Machine) stepProgress(msg Message) {
	if m.role != Leader || msg.Term < m.hard.Term {
		return
	}
	p := m.peerOf(msg.Sender())
	if p == nil {
		return
	}
	if msg.Term > m.hard.Term {
		// The peer has been in a campaign meanwhile. Its term must be passed, or it never follows.
		m.setTerm(msg.Term, Member{})
		m.become(Follower, Member{})
		return
	}
	if !p.sees(msg.Session) {
		m.refuse(msg, "of a session that is over")
		return
	}
	p.round = max(p.round, msg.Round)
	switch {
	case msg.Type == OfferReply:
		m.advancePeer(p, msg.Index)
	case msg.Reject:
		m.lookBackFor(p, msg)
	default:
		m.advancePeer(p, msg.Index)
	}
	m.releaseReads()
}

func (m *Machine) peerOf(member Member) *peer {
	if m.cfg.mutant == WipedVoterVotes {
		for _, p := range m.leading.peers {
			if p.member.Node == member.Node {
				return p
			}
		}
	}
	return m.leading.peer(member)
}

// advancePeer notes what is durable at the peer.
func (m *Machine) advancePeer(p *peer, match uint64) {
	if match > m.log.last() {
		m.note(MessageRefused, p.member.Node,
			fmt.Sprintf("acknowledgement of %d beyond the log's end %d", match, m.log.last()))
		return
	}
	news := p.acknowledge(match)
	switch {
	case p.mode == probe && match+1 >= p.next:
		p.mode, p.probing = replicate, false
	case p.mode == probe && news:
		p.probing = false
	case p.mode == snapshotting && p.match >= m.log.base:
		p.probeFrom(p.match + 1)
	}
	if news {
		m.advanceCommit()
	}
}

// lookBackFor steps back to where the peer's log may still agree. A refusal of something already
// acknowledged is an old one.
func (m *Machine) lookBackFor(p *peer, msg Message) {
	if p.mode == snapshotting || msg.Index <= p.match || msg.Index >= p.next {
		return
	}
	if p.mode == probe && msg.Index != p.next-1 {
		return
	}
	next, _ := m.log.lookBack(min(msg.Hint, m.log.last()), msg.LogTerm)
	p.probeFrom(min(next+1, msg.Index))
}

// advanceCommit counts acknowledgements. Only entries of the current term are counted: an older one
// on a majority can still be replaced by a leader that never saw it (figure 8).
func (m *Machine) advanceCommit() {
	voters := m.membership().Voters
	matches := make([]uint64, 0, 8)
	for _, voter := range voters {
		switch p := m.leading.peer(voter); {
		case voter == m.self:
			matches = append(matches, m.log.stable)
		case p != nil:
			matches = append(matches, p.match)
		}
	}
	if m.cfg.mutant == LearnersCount {
		for _, p := range m.leading.peers {
			if m.membership().IsLearner(p.member) {
				matches = append(matches, p.match)
			}
		}
	}
	slices.Sort(matches)
	index := matches[len(matches)-m.membership().Quorum()]
	term, _ := m.log.term(index)
	if index <= m.hard.Commit || term != m.hard.Term && m.cfg.mutant != CommitsOldTerms {
		return
	}
	for i := m.hard.Commit + 1; i <= index; i++ {
		if e := m.log.at(i); e.Term == m.hard.Term {
			m.leading.pendingBytes -= e.Size()
		}
	}
	m.commitTo(index)
	// Followers apply as soon as they know, not a heartbeat later.
	m.leading.allDue()
}

// committedInTerm reports whether an entry of the current term is committed: from then on the commit
// index covers everything that any earlier leader committed.
func (m *Machine) committedInTerm() bool {
	term, ok := m.log.term(m.hard.Commit)
	return ok && term == m.hard.Term
}

// tickLeader keeps the term alive, or gives it up when a majority has been silent for an election
// timeout: a leader that is cut off must not go on believing.
func (m *Machine) tickLeader() {
	active := 1
	for _, p := range m.leading.peers {
		if p.contact++; p.contact == m.cfg.ElectionTicks {
			p.retired = nil
		}
		if p.contact < m.cfg.ElectionTicks && m.membership().IsVoter(p.member) {
			active++
		}
	}
	if active < m.membership().Quorum() {
		m.become(Follower, Member{})
		m.note(LeaderChanged, topic.NoNode, "given up, a majority is silent")
		return
	}
	if m.leading.heartbeat++; m.leading.heartbeat >= m.cfg.HeartbeatTicks {
		m.leading.heartbeat = 0
		m.leading.allDue()
	}
	m.tickTransfer()
	m.tickJoins()
}
