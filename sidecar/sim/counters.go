package sim

import (
	"fmt"
	"strings"

	"outrigger/sidecar/raft"
)

// counts is what a run counts.
type counts struct {
	messages, replays, crashes, partitions, wipes, massWipes, pauses uint64
	leaders, transfers, changes                                      uint64
	acked, unknown, full, reads                                      uint64
	snapshots, installs, truncations, deepTruncations                uint64
	revertedMemberships, healedTicks                                 uint64
	founded, promoted, joins, refused, transfersLost, duplicates     uint64

	swizzles uint64

	dataCounts
}

// event counts what machines report.
func (c *counts) event(e raft.Event) {
	switch e.Kind {
	case raft.Founded:
		c.founded++
	case raft.MessageRefused:
		c.refused++
	case raft.TransferEnded:
		c.transfersLost++
	case raft.DuplicateNode:
		c.duplicates++
	case raft.MembershipChanged:
		if strings.HasPrefix(e.Detail, raft.Promote.String()) {
			c.promoted++
		}
		if strings.HasPrefix(e.Detail, raft.AddLearner.String()) {
			c.joins++
		}
	}
}

// Counters are the counts of one run or of many.
type Counters struct {
	Crashes, Partitions, Acked uint64
	// Rare are states that a good simulation reaches now and then, by name, in order.
	Rare []Rare
}

// Rare is how often a state was reached.
type Rare struct {
	Name  string
	Count uint64
}

func (c *counts) export() Counters {
	return Counters{Crashes: c.crashes, Partitions: c.partitions, Acked: c.acked, Rare: append([]Rare{
		{"leaders", c.leaders}, {"transfers", c.transfers}, {"transfers_lost", c.transfersLost},
		{"changes", c.changes}, {"founded", c.founded}, {"joins", c.joins}, {"promoted", c.promoted},
		{"duplicate_nodes", c.duplicates}, {"refused", c.refused}, {"replays", c.replays},
		{"wipes", c.wipes}, {"mass_wipes", c.massWipes}, {"pauses", c.pauses}, {"unknown", c.unknown},
		{"full", c.full}, {"reads", c.reads}, {"snapshots", c.snapshots}, {"installs", c.installs},
		{"truncations", c.truncations}, {"deep_truncations", c.deepTruncations},
		{"reverted_memberships", c.revertedMemberships}, {"swizzles", c.swizzles},
	}, c.rare()...)}
}

// Add sums counters up.
func (c *Counters) Add(o Counters) {
	c.Crashes += o.Crashes
	c.Partitions += o.Partitions
	c.Acked += o.Acked
	if c.Rare == nil {
		c.Rare = make([]Rare, len(o.Rare))
	}
	for i, r := range o.Rare {
		c.Rare[i].Name = r.Name
		c.Rare[i].Count += r.Count
	}
}

// String is the rare states as name:count, separated by commas.
func (c Counters) String() string {
	parts := make([]string, len(c.Rare))
	for i, r := range c.Rare {
		parts[i] = fmt.Sprintf("%s:%d", r.Name, r.Count)
	}
	return strings.Join(parts, ",")
}

// portrait describes all hosts, for a report about a cluster that is stuck.
func (w *World) portrait() string {
	var b strings.Builder
	for _, h := range w.hosts {
		if !h.up() {
			fmt.Fprintf(&b, "\n  %s is down", h)
			continue
		}
		s := h.quorum.Status()
		fmt.Fprintf(&b, "\n  %s disk %x %s term %d leader %d commit %d applied %d log %d..%d voter %t; %s",
			h, h.disk.id[:4], s.Role, s.Term, s.Leader, s.Commit, s.Applied, s.FirstIndex, s.LastIndex,
			s.Voter, s.Membership)
		for _, p := range s.Peers {
			fmt.Fprintf(&b, "\n    %s match %d contact %d %s", p.Member, p.Match, p.ContactTicks, p.Mode)
		}
	}
	if w.mix.brokers {
		w.portrayData(&b)
	}
	return b.String()
}
