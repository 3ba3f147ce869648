package raft

import (
	"slices"

	"outrigger/broker/topic"
)

// mode is how a leader sends to one peer.
type mode uint8

const (
	// probe: it is unknown where the logs part; one append at a time, repeated every heartbeat.
	probe mode = iota
	// replicate: appends are sent ahead of their acknowledgements, within a window.
	replicate
	// snapshotting: what the peer needs next was compacted; it pulls a snapshot.
	snapshotting
)

var modeNames = [...]string{"probe", "replicate", "snapshot"}

// peer is what a leader knows of one other member.
type peer struct {
	member Member
	mode   mode
	// match is the last entry known to be durable there, next the one to be sent next.
	match, next uint64
	// probing: the one append of probe mode is under way.
	probing bool
	// due: something must be sent even if there is no entry to send.
	due      bool
	inflight []flight
	bytes    int64 // in flight
	// contact counts ticks since the last answer of this term.
	contact int
	// heard: there was an answer in this term.
	heard bool
	// session is the peer's present one; retired are those before it, whose answers come late.
	session topic.Session
	retired []topic.Session
	// round is the newest read round that the peer has confirmed.
	round uint64
}

// flight is one append under way: its last entry and its size.
type flight struct {
	last  uint64
	bytes int64
}

// probeFrom goes back to finding out.
func (p *peer) probeFrom(next uint64) {
	p.mode, p.next, p.probing = probe, max(next, p.match+1), false
	p.inflight, p.bytes = p.inflight[:0], 0
}

// acknowledge moves the peer forward; it reports whether that told anything new.
func (p *peer) acknowledge(match uint64) bool {
	freed := 0
	for freed < len(p.inflight) && p.inflight[freed].last <= match {
		p.bytes -= p.inflight[freed].bytes
		freed++
	}
	p.inflight = append(p.inflight[:0], p.inflight[freed:]...)
	if match <= p.match {
		return false
	}
	p.match = match
	p.next = max(p.next, match+1)
	return true
}

// retiredMax bounds the sessions of a peer that are remembered as over.
const retiredMax = 8

// sees notes an answer of a session. A new session has lost what was in flight; an answer from a
// session before it is refused. Sessions have no order, so a replayed answer of a session that was
// forgotten can pass for a new one and make the true one look retired: the silence that follows
// (see tickLeader) clears the list.
func (p *peer) sees(session topic.Session) bool {
	if session != p.session {
		if slices.Contains(p.retired, session) {
			return false
		}
		if p.session != 0 {
			p.retired = append(p.retired, p.session)
			p.retired = p.retired[max(0, len(p.retired)-retiredMax):]
			if p.mode != snapshotting {
				p.probeFrom(p.match + 1)
			}
		}
		p.session = session
	}
	p.contact, p.heard = 0, true
	return true
}

// leading is what only a leader has; it is made anew with every term, but for the read round.
type leading struct {
	peers     []*peer // sorted by member
	heartbeat int     // ticks since the last
	// pendingBytes were proposed in this term and are not committed yet.
	pendingBytes int64
	// round numbers the rounds that confirm reads.
	round     uint64
	wantRound bool
	reads     []pendingRead
	transfer  *transfer
	joins     []join
}

// join is a node outside the membership that has asked to be admitted.
type join struct {
	member Member
	// silent counts ticks since the last Hello, age since the first.
	silent, age int
	told        bool // a DuplicateNode event was made
}

// joinsMax bounds the joins that a leader remembers; others ask again.
const joinsMax = 64

func (l *leading) noteJoin(member Member) {
	for i := range l.joins {
		if l.joins[i].member == member {
			l.joins[i].silent = 0
			return
		}
	}
	if len(l.joins) < joinsMax {
		l.joins = append(l.joins, join{member: member})
	}
}

// sync brings the peers in line with the membership. A member that stays keeps its progress; acks of
// one that left are no longer found, and so count for nothing.
func (l *leading) sync(s Membership, self Member, next uint64) {
	var peers []*peer
	for _, list := range [][]Member{s.Voters, s.Learners} {
		for _, member := range list {
			if member == self {
				continue
			}
			p := l.peer(member)
			if p == nil {
				p = &peer{member: member, next: next, due: true}
			}
			peers = append(peers, p)
		}
	}
	l.peers = peers
}

func (l *leading) peer(member Member) *peer {
	for _, p := range l.peers {
		if p.member == member {
			return p
		}
	}
	return nil
}

func (l *leading) allDue() {
	for _, p := range l.peers {
		p.due = true
	}
}
