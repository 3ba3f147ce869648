package raft

import (
	"strings"
	"testing"

	"outrigger/broker/topic"
)

func TestFoundingWaitsForTheSameListOfVoters(t *testing.T) {
	l := newLab(t, 3, 3)
	l.voters = []topic.NodeID{1, 2}
	l.node(2).start()
	l.voters = []topic.NodeID{1, 2, 3}
	l.node(1).start()
	l.node(3).start()
	l.tick(l.all(), 60)
	for _, n := range l.nodes {
		if n.m.Status().Founded {
			t.Errorf("node %d founded a cluster with voters that disagree", n.id)
		}
	}
	if want := "node 2 has other voters configured"; !strings.Contains(l.out.String(), want) {
		t.Errorf("got events %s, want one that says %q", l.out.String(), want)
	}
}

// A crash or a lost disk may come between the vote and the first entry: what a voter has
// promised must not keep the cluster from being founded later.
func TestFoundingSurvivesTheFounder(t *testing.T) {
	for _, wiped := range []bool{false, true} {
		l := newLab(t, 3, 3)
		l.quiet = true
		l.held[Append] = true
		l.startAll()
		l.tick(l.all(), 6)
		founder := l.node(1)
		if !founder.m.Status().Founded || l.node(2).m.Status().Founded {
			t.Fatalf("wiped %t: node 1 should be alone in having a log", wiped)
		}
		founder.m = nil
		l.wire = nil
		if wiped {
			founder.disk, founder.state = 9, State{}
		}
		l.held[Append] = false
		l.tick(l.all(), 20)
		if l.node(2).m.Status().Founded {
			t.Fatalf("wiped %t: two of three founded a cluster", wiped)
		}
		founder.start()
		l.tick(l.all(), 60)
		if !l.commits("x") || l.node(2).m.Status().Cluster != founder.m.Status().Cluster {
			t.Errorf("wiped %t: no cluster after the founder came back", wiped)
		}
	}
}

func TestWrongClusterIsRefusedOnce(t *testing.T) {
	l := newLab(t, 3, 3)
	l.startAll()
	l.tick(l.all(), 8)
	n := l.node(2)
	l.out.Reset()
	stray := l.node(1).m.request(Append, n.m.self)
	stray.Cluster, stray.Term = "another", 99
	before := n.m.Brief()
	for range 5 {
		n.m.Step(stray)
		n.turn()
	}
	if n.m.Brief() != before {
		t.Errorf("got %+v, want %+v", n.m.Brief(), before)
	}
	if got := strings.Count(l.out.String(), "message refused"); got != 1 {
		t.Errorf("got %d events, want 1: %s", got, l.out.String())
	}
}
