package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// quorumVersion is the version of quorumReply.
const quorumVersion = 1

// quorumPause is how long to wait before the controller is asked again.
const quorumPause = 50 * time.Millisecond

// quorumReply is what a node answers to whoever asks for the state of the Raft, in JSON: people may
// ask as well.
type quorumReply struct {
	Version int `json:"version"`
	// Leads is false on a node that is not the controller; then there is no quorum.
	Leads  bool         `json:"leads"`
	Quorum topic.Quorum `json:"quorum"`
}

// Quorum asks the controller for the state of the metadata Raft. It asks again while there is no
// controller, until the context ends; then the error wraps topic.ErrNoController.
func (s *Sidecar) Quorum(ctx context.Context) (topic.Quorum, error) {
	for {
		if controller := s.current().Controller; controller != topic.NoNode {
			quorum, err := s.askQuorum(ctx, controller)
			if err == nil {
				return quorum, nil
			}
			s.log.Debug("quorum not told", slog.Int("controller", int(controller)), slog.String("error", err.Error()))
		}
		timer := time.NewTimer(quorumPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return topic.Quorum{}, fmt.Errorf("ask the controller for the quorum: %w", topic.ErrNoController)
		case <-timer.C:
		}
	}
}

func (s *Sidecar) askQuorum(ctx context.Context, controller topic.NodeID) (topic.Quorum, error) {
	reply := s.quorumReply()
	if controller != s.cfg.Node {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.LeaderTimeout)
		defer cancel()
		data, err := s.bus.Request(ctx, bus.Raft, quorumSubject(controller), nil)
		if err != nil {
			return topic.Quorum{}, err
		}
		reply = quorumReply{}
		if err := json.Unmarshal(data, &reply); err != nil {
			return topic.Quorum{}, fmt.Errorf("decode quorum: %w", err)
		}
		if reply.Version != quorumVersion {
			return topic.Quorum{}, fmt.Errorf("decode quorum: version %d, this build speaks %d", reply.Version, quorumVersion)
		}
	}
	if !reply.Leads {
		return topic.Quorum{}, topic.ErrNoController
	}
	return reply.Quorum, nil
}

// quorumAsked answers another node.
func (s *Sidecar) quorumAsked(m bus.Message) {
	data, err := json.Marshal(s.quorumReply())
	if err == nil {
		err = s.bus.Respond(bus.Raft, m, data)
	}
	if err != nil {
		s.log.Debug("quorum not told", slog.String("error", err.Error()))
	}
}

func (s *Sidecar) quorumReply() quorumReply {
	status := s.status.Load()
	if status.Role != raft.Leader {
		return quorumReply{Version: quorumVersion}
	}
	return quorumReply{Version: quorumVersion, Leads: true, Quorum: quorumOf(status, s.cfg.RaftTick)}
}

// quorumOf is the leader's status in the words of a quorum.
func quorumOf(status *node.Status, tick time.Duration) topic.Quorum {
	q := topic.Quorum{Leader: status.Node, Term: status.Term, Commit: status.Commit}
	self := topic.QuorumReplica{Node: status.Node, Disk: status.Disk, LastIndex: status.LastIndex, CaughtUp: true}
	add := func(r topic.QuorumReplica, voter bool) {
		if voter {
			q.Voters = append(q.Voters, r)
			return
		}
		q.Learners = append(q.Learners, r)
	}
	add(self, status.Voter)
	for _, p := range status.Peers {
		add(topic.QuorumReplica{
			Node: p.Member.Node, Disk: p.Member.Disk, LastIndex: p.Match,
			SilentMillis: (time.Duration(p.ContactTicks) * tick).Milliseconds(),
			CaughtUp:     p.Match >= status.Commit && p.Match > 0,
		}, p.Voter)
	}
	return q
}
