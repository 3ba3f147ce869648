package raft

import (
	"testing"

	"outrigger/broker/topic"
)

// TestEveryGraphOfFiveNodes (failure mode 13) cuts a healthy cluster down to each of the 1,024 graphs of five nodes. As
// long as some node reaches a majority directly there must be a leader that commits, and then there
// must be no more elections; when the links heal there must be one soon, in any case.
func TestEveryGraphOfFiveNodes(t *testing.T) {
	const links = 10
	step := 1
	if testing.Short() {
		step = 16
	}
	for graph := 0; graph < 1<<links; graph += step {
		l := newLab(t, 5, 5)
		l.quiet = true
		l.startAll()
		l.tick(l.all(), 8)
		degree := make([]int, 6)
		bit := 0
		for a := 1; a <= 5; a++ {
			for b := a + 1; b <= 5; b++ {
				joined := graph>>bit&1 == 1
				bit++
				if joined {
					degree[a]++
					degree[b]++
				}
				l.cut[[2]topic.NodeID{topic.NodeID(a), topic.NodeID(b)}] = !joined
				l.cut[[2]topic.NodeID{topic.NodeID(b), topic.NodeID(a)}] = !joined
			}
		}
		central := false
		for _, d := range degree {
			central = central || d >= 2
		}
		l.tick(l.all(), 200)
		campaigns := l.campaigns()
		if got := l.commits("in the graph"); got != central {
			t.Fatalf("graph %010b: commits is %t, a node with a majority exists is %t", graph, got, central)
		}
		l.tick(l.all(), 100)
		if again := l.campaigns(); central && again != campaigns {
			t.Fatalf("graph %010b: %d campaigns after the leader was found", graph, again-campaigns)
		}
		clear(l.cut)
		l.tick(l.all(), 60)
		if !l.commits("healed") {
			t.Fatalf("graph %010b: no leader after healing", graph)
		}
	}
}

func (l *lab) campaigns() uint64 {
	var sum uint64
	for _, n := range l.nodes {
		sum += n.m.Status().Campaigns
	}
	return sum
}

// commits reports whether some leader commits a proposal within a few ticks.
func (l *lab) commits(word string) bool {
	for _, n := range l.nodes {
		if index, term, err := n.m.Propose([]byte(word)); err == nil {
			n.turn()
			l.tick(l.all(), 3)
			if n.m.hard.Term == term && n.m.hard.Commit >= index {
				return true
			}
		}
	}
	return false
}
