package node

import (
	"maps"
	"slices"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/raft"
)

// Report is one piece of evidence on its way to the controller's judgement.
type Report struct {
	Kind ReportKind
	// Member is whom it is about; of a hint only the node.
	Member topic.Member
	// At is when the heartbeat was heard, on this node's clock.
	At time.Duration
	// Request is set for a report of the election worker, here or on another node.
	Request election.Request
}

// ReportKind tells reports apart.
type ReportKind uint8

// The kinds of reports.
const (
	// ReportHeard: the controller's own node heard a heartbeat.
	ReportHeard ReportKind = iota + 1
	// ReportHint: the controller's own node lost a route.
	ReportHint
	// ReportRequest: an election worker found a session silent.
	ReportRequest
	// ReportAnswered: a suspect that was asked is there.
	ReportAnswered
)

// reportsMax bounds the evidence between two turns; what does not fit is lost and repeats.
const reportsMax = 4096

// controller is what the leader of the Raft does beside leading: it founds the cluster's settings and
// judges who is dead. Evidence is made anew with every term and is nil on a node that does not lead.
type controller struct {
	cfg      MetadataConfig
	evidence *election.Evidence
	term     uint64
	image    *cluster.Image
	tickedAt time.Duration
	reports  []Report
	verdicts []election.Verdict
	moves    moves
	balancer balancer
}

func newController(cfg MetadataConfig) controller {
	return controller{cfg: cfg, balancer: balancer{cfg: cfg.Balance}}
}

// turn lets the controller look at what has come, and reports whether it proposed something.
func (c *controller) turn(m *Metadata, now time.Duration) bool {
	reports := c.reports
	c.reports = c.reports[:0]
	if m.status.Role != raft.Leader || !m.status.CommittedInTerm {
		c.evidence = nil
		return false
	}
	im := m.machine.image
	if c.evidence == nil || c.term != m.status.Term {
		c.begin(im, m.status.Term, now)
	} else if im != c.image {
		c.evidence.Sync(im.Brokers(), im)
		for _, node := range elected(c.image, im) {
			c.evidence.Grant(node)
		}
		c.balancer.follow(im, now)
	}
	c.image = im
	c.moves.follow(im)
	proposed := c.judge(m, reports, now)
	proposed = c.settle(m) || proposed
	proposed = c.finish(m) || proposed
	return c.balance(m, now) || proposed
}

// begin starts with a fresh table: a new controller does not fence everybody for a silence that it
// did not listen to. The reports of others count at once.
func (c *controller) begin(im *cluster.Image, term uint64, now time.Duration) {
	c.term = term
	c.tickedAt = now
	c.balancer.begin(im, now)
	c.evidence = election.NewEvidence(election.EvidenceConfig{Watcher: c.cfg.Watcher}, im.Brokers())
}

// judge weighs the reports and carries out the verdicts.
func (c *controller) judge(m *Metadata, reports []Report, now time.Duration) bool {
	im := m.machine.image
	var verdicts []election.Verdict
	for _, r := range reports {
		switch r.Kind {
		case ReportHeard:
			c.evidence.Heard(r.Member, max(0, int((r.At-c.tickedAt)/c.cfg.WatchTick)))
		case ReportHint:
			c.evidence.Hint(r.Member.Node)
		case ReportAnswered:
			c.evidence.Answered(r.Member)
		case ReportRequest:
			verdicts = append(verdicts, c.evidence.Report(r.Request, im)...)
		}
	}
	if m.ticked {
		if elapsed := int((now - c.tickedAt) / c.cfg.WatchTick); elapsed > 0 {
			c.tickedAt += time.Duration(elapsed) * c.cfg.WatchTick
			verdicts = append(verdicts, c.evidence.Tick(elapsed, im)...)
		}
	}
	proposed := false
	for _, v := range verdicts {
		if v.Kind == election.Fence {
			m.propose(cluster.FenceBroker{
				Node: v.Suspect.Node, Session: v.Suspect.Session, Reason: v.Ground.String(),
			})
			proposed = true
		}
	}
	c.verdicts = append(c.verdicts, verdicts...)
	return proposed
}

// settle founds what the image lacks. It looks on ticks only: what it proposed shows by then.
func (c *controller) settle(m *Metadata) bool {
	if !m.ticked {
		return false
	}
	proposed := false
	im := m.machine.image
	for _, c := range im.Found(m.status.Cluster) {
		m.propose(c)
		proposed = true
	}
	if im.Defaults() != c.cfg.Defaults {
		m.propose(c.cfg.Defaults)
		proposed = true
	}
	return proposed
}

// finish ends the reassignments that have reached their end. It looks on ticks only, as settle does.
func (c *controller) finish(m *Metadata) bool {
	if !m.ticked || len(c.moves.moving) == 0 {
		return false
	}
	ends := c.moves.finish()
	if len(ends.Items) == 0 {
		return false
	}
	m.propose(ends)
	return true
}

// balance gives leaderships back to the preferred leaders. It looks on ticks only, as settle does.
func (c *controller) balance(m *Metadata, now time.Duration) bool {
	if !m.ticked {
		return false
	}
	due := c.balancer.due(c.image, now)
	if len(due.Partitions) == 0 {
		return false
	}
	m.propose(due)
	return true
}

// calm reports whether n ticks of the Raft may pass together: nobody is suspected, nobody's wait ends in
// them, and there is nothing left to found.
func (c *controller) calm(n int) bool {
	if c.evidence == nil {
		return true
	}
	ticks := int((time.Duration(n)*c.cfg.Tick + c.cfg.WatchTick - 1) / c.cfg.WatchTick)
	return c.evidence.Calm(ticks) && len(c.moves.moving) == 0 && c.image.ClusterID() != "" && c.image.Defaults() == c.cfg.Defaults
}

// elected lists who was made a leader between two images.
func elected(before, after *cluster.Image) []topic.NodeID {
	granted := map[topic.NodeID]bool{}
	for c := range cluster.Changes(before, after) {
		if c.After != nil && (c.Before == nil || c.Before.LeaderEpoch != c.After.LeaderEpoch) {
			granted[c.After.Leader] = true
		}
	}
	return slices.Sorted(maps.Keys(granted))
}
