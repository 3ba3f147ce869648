package sidecar

import (
	"context"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/election"
	"outrigger/sidecar/node"
)

// reported takes a report that another node's election worker sent here.
func (s *Sidecar) reported(m bus.Message) {
	r, err := election.DecodeRequest(m.Data)
	if err != nil {
		s.metrics.malformed.WithLabelValues("report").Inc()
		return
	}
	taken := s.meta.reports.put(node.Report{Kind: node.ReportRequest, Request: r})
	if m.Reply == "" {
		return
	}
	answer := []byte{1}
	if !taken {
		answer[0] = 0
	}
	if err := s.bus.Respond(bus.Raft, m, answer); err != nil {
		s.metrics.raftSendFailures.Inc()
	}
}

// askSuspects asks the sessions that only one peer reports whether they are there: between two nodes,
// either may be the one that is cut off.
func (s *Sidecar) askSuspects(ctx context.Context) error {
	var suspects []topic.Member
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.asks.signal:
		}
		suspects = s.asks.take(suspects)
		for _, suspect := range suspects {
			if s.answers(ctx, suspect) {
				s.meta.reports.put(node.Report{Kind: node.ReportAnswered, Member: suspect})
			}
		}
	}
}

// answers asks one suspect and waits for a fraction of the leader timeout.
func (s *Sidecar) answers(ctx context.Context, suspect topic.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.LeaderTimeout/4)
	defer cancel()
	answer, err := s.bus.Request(ctx, bus.Heartbeat, pingSubject(suspect.Node), nil)
	return err == nil && string(answer) == suspect.Session.String()
}
