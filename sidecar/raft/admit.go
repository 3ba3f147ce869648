package raft

import (
	"fmt"

	"outrigger/broker/topic"
)

// refuses says why a message must not be read at all, or "".
//
// The disk id in a request is what keeps a wiped node from answering for its former self: B is
// asked for a vote, B loses its disk and returns empty, and only then the question arrives. The
// session in a reply keeps a process from counting an answer to the process before it.
func (m *Machine) refuses(msg Message) string {
	switch {
	case msg.To != m.cfg.Node:
		return fmt.Sprintf("meant for node %d", msg.To)
	case msg.From == m.cfg.Node:
		return "sent under this node's own id"
	case msg.Disk.IsZero() || msg.Session == 0:
		return "without a disk id or session"
	case !m.knowsCluster(msg):
		return fmt.Sprintf("of cluster %q, this is %q", msg.Cluster, m.hard.Cluster)
	case msg.Type.IsReply() && msg.ToSession != m.cfg.Session:
		return "an answer to session " + msg.ToSession.String()
	case m.cfg.mutant == WipedVoterVotes:
		return ""
	case !msg.Type.IsReply() && msg.Type != Hello && msg.ToDisk != m.cfg.Disk:
		return "meant for disk " + msg.ToDisk.String()
	}
	return ""
}

// knowsCluster compares cluster ids. A node that has none reads everybody and takes over the id of
// the first leader that it takes entries from; a node that has one reads nobody without, except a Hello.
func (m *Machine) knowsCluster(msg Message) bool {
	return msg.Cluster == m.hard.Cluster || m.hard.Cluster == "" ||
		msg.Cluster == "" && msg.Type == Hello
}

// refusal remembers the last refused message, so that a peer that repeats itself with every
// heartbeat makes one event per election timeout.
type refusal struct {
	from   topic.NodeID
	reason string
	ticks  int
}

func (r *refusal) tick(forgetTicks int) {
	if r.ticks++; r.ticks >= forgetTicks {
		*r = refusal{}
	}
}

func (m *Machine) refuse(msg Message, reason string) {
	if m.refused.from == msg.From && m.refused.reason == reason {
		return
	}
	m.refused = refusal{from: msg.From, reason: reason}
	m.note(MessageRefused, msg.From, msg.Type.String()+" "+reason)
}

// request makes a message to a member.
func (m *Machine) request(t Type, to Member) Message {
	return Message{Envelope: Envelope{Type: t, Cluster: m.hard.Cluster, From: m.cfg.Node,
		Disk: m.cfg.Disk, Session: m.cfg.Session, To: to.Node, ToDisk: to.Disk, Term: m.hard.Term}}
}

// reply makes the answer to a request. A node without a cluster id repeats the asker's: its answer
// would be refused otherwise, and its vote can be what the first leader needs after a restart.
func (m *Machine) reply(request Message) Message {
	r := m.request(request.Type+1, request.Sender())
	r.ID, r.ToSession = request.ID, request.Session
	if r.Cluster == "" {
		r.Cluster = request.Cluster
	}
	return r
}

// send lets a message leave at once.
func (m *Machine) send(msg Message) { m.out.Messages = append(m.out.Messages, msg) }

// promise lets a message leave once everything before it is durable.
func (m *Machine) promise(msg Message) {
	switch {
	case m.cfg.mutant == VotesBeforePersist && msg.Type == VoteReply,
		m.cfg.mutant == AcksBeforePersist && msg.Type == AppendReply:
		m.send(msg)
	default:
		m.out.AfterPersist = append(m.out.AfterPersist, msg)
	}
}
