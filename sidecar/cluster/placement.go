package cluster

import (
	"strconv"
	"strings"

	"outrigger/broker/topic"
)

// fate says what a member that was in sync or eligible is now: itself, or the same node in a later
// session, and what its log is worth. Of a node that is last known its session is unknown, 0.
type fate func(topic.Member) (topic.Member, worth)

// worth is what is known of a log that held everything committed.
type worth uint8

const (
	// whole: it does so still.
	whole worth = iota
	// doubtful: its end may have been lost.
	doubtful
	// lost: it is on another disk.
	lost
)

// unchanged is the fate of members whom nothing happened to.
func unchanged(m topic.Member) (topic.Member, worth) { return m, whole }

// succeed returns the placement that follows old when isr is the wanted in-sync set, or nil when
// nothing changes. It is the only place that makes a new state of an existing placement.
//
// All members of isr must be live. What is elected when the leader is not among them is described in
// the package comment.
func (b *Batch) succeed(
	t *topic.Topic, old *topic.Placement, isr []topic.Member, f fate,
) *topic.Placement {
	minimum := minInSync(b.im.inherited, t.Configs, old.Factor())
	next := *old
	settle(&next, old, isr, f, minimum)
	switch b.im.mutant {
	case ForgetsEligible:
		next.Eligible = nil
	case KeepsEligible:
		next.Eligible = old.Eligible
	}
	b.elect(t, &next, minimum)
	return sealed(old, &next)
}

// sealed bumps the epochs of next as far as it differs from old; nil means that it does not.
func sealed(old, next *topic.Placement) *topic.Placement {
	moved := next.Leader != old.Leader || next.LeaderSession != old.LeaderSession
	if next.Leader != topic.NoNode {
		next.Claims = nil
	}
	if moved {
		next.LeaderEpoch = old.LeaderEpoch + 1
	}
	if moved && next.Unclean {
		next.UncleanEpoch = next.LeaderEpoch
	}
	same := !moved && next.Unclean == old.Unclean && equalMembers(next.ISR, old.ISR) &&
		equalMembers(next.Eligible, old.Eligible) && equalNodes(next.LastKnown, old.LastKnown)
	if same {
		return nil
	}
	next.PartitionEpoch = old.PartitionEpoch + 1
	return next
}

// settle computes the three sets of next from those of old. Each comes out in replica order and in
// memory of its own.
func settle(next, old *topic.Placement, isr []topic.Member, f fate, minimum int) {
	next.ISR, next.Eligible, next.LastKnown = nil, nil, nil
	for _, node := range old.Replicas {
		if m, found := memberOf(isr, node); found {
			next.ISR = append(next.ISR, m)
		}
	}
	if len(next.ISR) >= minimum {
		return // The high watermark may move without anybody else from here on.
	}
	for _, node := range old.Replicas {
		if _, found := memberOf(next.ISR, node); found {
			continue
		}
		was, clean := memberOf(old.ISR, node)
		if !clean {
			was, clean = memberOf(old.Eligible, node)
		}
		known := clean || containsNode(old.LastKnown, node)
		if !clean {
			was = topic.Member{Node: node}
		}
		now, is := f(was)
		switch {
		case clean && is == whole:
			next.Eligible = append(next.Eligible, now)
		case known && is != lost:
			next.LastKnown = append(next.LastKnown, node)
		}
	}
}

// elect gives next a leader if the one it has is not in its in-sync set, from the cleanest candidate
// down, and nobody if there is none.
func (b *Batch) elect(t *topic.Topic, next *topic.Placement, minimum int) {
	if next.Leader != topic.NoNode &&
		next.InSync(topic.Member{Node: next.Leader, Session: next.LeaderSession}) {
		return
	}
	if len(next.ISR) > 0 {
		lead(next, next.ISR[0]) // In replica order, and all are live.
		return
	}
	for _, m := range next.Eligible {
		if b.im.Live(m) {
			// It holds everything below the high watermark. The other eligible ones do so too, and
			// stay, unless the watermark may now move without them.
			settle(next, clone(next), []topic.Member{m}, unchanged, minimum)
			lead(next, m)
			return
		}
	}
	if uncleanAllowed(b.im.inherited, t.Configs) || b.im.mutant == ElectsAnyLive {
		for _, node := range next.Replicas {
			if m, live := b.im.member(node); live && trusted(next, node) {
				leadUnclean(next, m)
				next.Unclean = b.im.mutant != ElectsAnyLive
				return
			}
		}
	}
	next.Leader, next.LeaderSession, next.Unclean = topic.NoNode, 0, false
}

// trusted reports whether a replica may be elected uncleanly without being named: one that a reassignment
// brings has an empty log, unless it was in sync once.
func trusted(p *topic.Placement, node topic.NodeID) bool {
	return !p.IsAdding(node) || containsNode(p.LastKnown, node)
}

// lead makes m the leader by a clean election.
func lead(next *topic.Placement, m topic.Member) {
	next.Leader, next.LeaderSession, next.Unclean = m.Node, m.Session, false
}

// leadUnclean makes m the leader and its log the truth: nobody else is eligible any more, whatever
// they hold.
func leadUnclean(next *topic.Placement, m topic.Member) {
	next.ISR, next.Eligible, next.LastKnown = []topic.Member{m}, nil, nil
	next.Leader, next.LeaderSession, next.Unclean = m.Node, m.Session, true
}

// member is the node in its present session, if it is live.
func (im *Image) member(node topic.NodeID) (topic.Member, bool) {
	i, found := im.broker(node)
	if !found || im.brokers[i].broker.Fenced {
		return topic.Member{}, false
	}
	return topic.Member{Node: node, Session: im.brokers[i].broker.Session}, true
}

// minInSync is min(what is configured, replicas), and at least one.
func minInSync(defaults SetDefaults, configs map[string]string, replicas int) int {
	configured := int(defaults.MinInSync)
	if text, set := configs[ConfigMinInSync]; set {
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			configured = int(n)
		}
	}
	return max(1, min(configured, replicas))
}

// uncleanAllowed reports whether the topic asks for unclean election.
func uncleanAllowed(defaults SetDefaults, configs map[string]string) bool {
	if text, set := configs[ConfigUncleanElection]; set {
		return strings.EqualFold(text, "true")
	}
	return defaults.UncleanElection
}

// clone copies a placement; the sets are shared, since sets are replaced and never changed.
func clone(p *topic.Placement) *topic.Placement {
	fresh := *p
	return &fresh
}

func memberOf(members []topic.Member, node topic.NodeID) (topic.Member, bool) {
	for _, m := range members {
		if m.Node == node {
			return m, true
		}
	}
	return topic.Member{}, false
}

// without returns the members less one, in fresh memory.
func without(members []topic.Member, gone topic.Member) []topic.Member {
	rest := make([]topic.Member, 0, len(members))
	for _, m := range members {
		if m != gone {
			rest = append(rest, m)
		}
	}
	return rest
}

func containsNode(nodes []topic.NodeID, node topic.NodeID) bool {
	for _, n := range nodes {
		if n == node {
			return true
		}
	}
	return false
}

func equalMembers(a, b []topic.Member) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func equalNodes(a, b []topic.NodeID) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
