package sidecar

import (
	"context"
	"log/slog"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// report is one piece of evidence on its way to the controller's judgement.
type report struct {
	kind   reportKind
	member topic.Member
	// request is set for a report of the election worker, here or on another node.
	request election.Request
}

type reportKind uint8

const (
	reportHeard reportKind = iota + 1
	reportHint
	reportRequest
	reportAnswered
)

// controller is what the leader of the Raft does beside leading: it founds the cluster's settings and
// judges who is dead. It lives in the metadata goroutine; evidence is made anew with every term and
// is nil on a node that does not lead.
type controller struct {
	s        *Sidecar
	evidence *election.Evidence
	term     uint64
	image    *cluster.Image
	tickedAt time.Duration
	reports  []report
}

func newController(s *Sidecar) controller { return controller{s: s} }

// turn lets the controller look at what has come, and reports whether it proposed something.
func (c *controller) turn(m *metadata, status node.Status, tick bool) bool {
	c.reports = m.reports.take(c.reports)
	if status.Role != raft.Leader || !status.CommittedInTerm {
		c.evidence = nil
		return false
	}
	im := m.machine.image
	if c.evidence == nil || c.term != status.Term {
		c.begin(im, status.Term)
	} else if im != c.image {
		c.evidence.Sync(im.Brokers(), im)
		for _, node := range elected(c.image, im) {
			c.evidence.Grant(node)
		}
	}
	c.image = im
	proposed := c.judge(m, im, tick)
	return c.settle(m, im, status, tick) || proposed
}

// begin starts with a fresh table: a new controller does not fence everybody for a silence that it
// did not listen to. The reports of others count at once.
func (c *controller) begin(im *cluster.Image, term uint64) {
	c.term = term
	c.tickedAt = c.s.cfg.Now()
	c.evidence = election.NewEvidence(election.EvidenceConfig{Watcher: c.s.watcherConfig()}, im.Brokers())
}

// judge weighs the reports and carries out the verdicts.
func (c *controller) judge(m *metadata, im *cluster.Image, tick bool) bool {
	var verdicts []election.Verdict
	for _, r := range c.reports {
		switch r.kind {
		case reportHeard:
			c.evidence.Heard(r.member)
		case reportHint:
			c.evidence.Hint(r.member.Node)
		case reportAnswered:
			c.evidence.Answered(r.member)
		case reportRequest:
			verdicts = append(verdicts, c.evidence.Report(r.request, im)...)
		}
	}
	if tick {
		if elapsed := int((c.s.cfg.Now() - c.tickedAt) / watchTick); elapsed > 0 {
			c.tickedAt += time.Duration(elapsed) * watchTick
			verdicts = append(verdicts, c.evidence.Tick(elapsed, im)...)
		}
	}
	proposed := false
	for _, v := range verdicts {
		c.s.log.Info("verdict on a silent broker", slog.String("verdict", v.String()))
		if v.Kind == election.Ask {
			c.s.asks.put(v.Suspect)
			continue
		}
		m.propose(cluster.FenceBroker{Node: v.Suspect.Node, Session: v.Suspect.Session, Reason: v.Ground.String()})
		proposed = true
	}
	return proposed
}

// settle founds what the image lacks. It looks on ticks only: what it proposed shows by then.
func (c *controller) settle(m *metadata, im *cluster.Image, status node.Status, tick bool) bool {
	if !tick {
		return false
	}
	proposed := false
	if im.ClusterID() == "" && status.Cluster != "" {
		m.propose(cluster.SetClusterID{ID: status.Cluster})
		proposed = true
	}
	defaults := cluster.SetDefaults{
		MinInSync: int32(c.s.cfg.MinInSyncReplicas), UncleanElection: c.s.cfg.UncleanElection,
	}
	if im.Defaults() != defaults {
		m.propose(defaults)
		proposed = true
	}
	return proposed
}

// reported takes a report that another node's election worker sent here.
func (s *Sidecar) reported(m bus.Message) {
	r, err := election.DecodeRequest(m.Data)
	if err != nil {
		s.metrics.malformed.WithLabelValues("report").Inc()
		return
	}
	taken := s.meta.reports.put(report{kind: reportRequest, request: r})
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
				s.meta.reports.put(report{kind: reportAnswered, member: suspect})
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
