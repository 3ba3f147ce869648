package sidecar

import (
	"log/slog"
	"strconv"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/raft"
)

// Subjects; design.md section 4 has their list. Identifiers come last.
func heartbeatSubject(node topic.NodeID) string  { return "hb." + number(node) }
func pingSubject(node topic.NodeID) string       { return "hb.ping." + number(node) }
func electionSubject(node topic.NodeID) string   { return "local." + number(node) + ".election" }
func ackSubject(node topic.NodeID) string        { return "ack." + number(node) }
func proposeSubject(node topic.NodeID) string    { return "raft.propose." + number(node) }
func quorumSubject(node topic.NodeID) string     { return "raft.quorum." + number(node) }
func reportSubject(node topic.NodeID) string     { return "raft.report." + number(node) }
func raftReplySubject(node topic.NodeID) string  { return "raft.reply." + number(node) }
func chunkSubject(node topic.NodeID) string      { return "catchup." + number(node) }
func chunkReplySubject(node topic.NodeID) string { return "catchup.reply." + number(node) }

// walSubject is where data frames for these followers go. One that is for two goes over NATS once: each
// follower subscribes to all pairs that it may be in, so subscriptions do not come and go with partitions.
func walSubject(followers []topic.NodeID) string {
	subject := "wal"
	for _, node := range followers {
		subject += "." + number(node)
	}
	return subject
}

// feedSubject is walSubject for followers that take our frames by feeds. It has one part more than those, so
// that their wildcards do not match it.
func feedSubject(self topic.NodeID, followers []topic.NodeID) string {
	subject := "wal.from." + number(self)
	for _, node := range followers {
		subject += "." + number(node)
	}
	return subject
}

// feedSubjects are what a follower listens to by its feed from a leader.
func feedSubjects(leader, self topic.NodeID) []string {
	alone := feedSubject(leader, []topic.NodeID{self})
	return []string{alone, alone + ".*", feedSubject(leader, nil) + ".*." + number(self)}
}

// presenceSubjects show a leader that this run of a follower takes its frames by a feed. It listens to the first at the
// leader's server and to the second at its own. A connection that is dead and not yet found to be leaves the first
// there, whoever else has a feed's login can fake it, and nobody but the follower has the second. Operators who tap
// `wal.>` listen to neither.
func presenceSubjects(leader topic.NodeID, follower topic.Member) (there, here string) {
	of := "." + number(leader) + "." + number(follower.Node) + "." + follower.Session.String()
	return "feed" + of, "feed.wish" + of
}

func offerSubject(node topic.NodeID) string { return "catchup.feed." + number(node) }

// walSubjects are all that a follower listens to: `wal.2`, `wal.2.*` and `wal.*.2`.
func walSubjects(self topic.NodeID) []string {
	alone := walSubject([]topic.NodeID{self})
	return []string{alone, alone + ".*", "wal.*." + number(self)}
}

func raftSubject(t raft.Type, node topic.NodeID) string {
	return "raft." + t.String() + "." + number(node)
}

func number(node topic.NodeID) string { return strconv.Itoa(int(node)) }

// raftSender puts the Raft's messages on NATS as requests whose replies come to one subject of ours.
// It never waits for an answer: a reply is a message like any other, and the machine repeats what it
// misses. Per peer the order is that of one connection, and what is under way is bounded by the
// machine's own windows.
type raftSender struct{ s *Sidecar }

// Send implements node.Sender.
func (r raftSender) Send(to topic.NodeID, m raft.Message) {
	data := raft.Encode(m)
	lane, request, reply := bus.Raft, raftSubject(m.Type, to), raftReplySubject(r.s.cfg.Node)
	answer := raftReplySubject(to)
	if m.Type == raft.ChunkRequest || m.Type == raft.ChunkReply {
		lane, request, reply = bus.Catchup, chunkSubject(to), chunkReplySubject(r.s.cfg.Node)
		answer = chunkReplySubject(to)
	}
	var err error
	if m.Type.IsReply() {
		err = r.s.bus.Publish(lane, answer, data)
	} else {
		err = r.s.bus.PublishRequest(lane, request, reply, data)
	}
	if err != nil {
		r.s.metrics.raftSendFailures.Inc()
	}
}

// subscribeRaft takes everything of the Raft account off the wire, in the order in which it comes.
func (s *Sidecar) subscribeRaft() error {
	self := s.cfg.Node
	propose, reported, quorum := proposeSubject(self), reportSubject(self), quorumSubject(self)
	err := s.bus.Subscribe(bus.Raft, "raft.*."+number(self), func(m bus.Message) {
		switch m.Subject {
		case propose:
			s.proposed(m)
		case reported:
			s.reported(m)
		case quorum:
			s.quorumAsked(m)
		default:
			s.raftMessage(m)
		}
	})
	if err != nil {
		return err
	}
	if err := s.bus.Subscribe(bus.Catchup, chunkSubject(self), s.raftMessage); err != nil {
		return err
	}
	return s.bus.Subscribe(bus.Catchup, chunkReplySubject(self), s.raftMessage)
}

func (s *Sidecar) raftMessage(m bus.Message) {
	if len(m.Data) == 0 {
		return // the server's own "no responders": a peer that is not there yet
	}
	msg, err := raft.Decode(m.Data)
	if err != nil {
		s.metrics.malformed.WithLabelValues("raft").Inc()
		s.log.Debug("raft message refused", slog.String("subject", m.Subject), slog.String("error", err.Error()))
		return
	}
	s.meta.messages.put(msg)
}
