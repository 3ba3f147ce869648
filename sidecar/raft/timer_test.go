package raft

import "testing"

// Ticks of several processes may come in the same moment; then equal timeouts would be split votes.
func TestVotersNeverDrawTheSameElectionTimeout(t *testing.T) {
	l := newLab(t, 5, 5)
	l.quiet = true
	l.startAll()
	l.tick(l.all(), 30)
	for round := range 500 {
		drawn := map[int]bool{}
		for _, n := range l.nodes {
			// The first round looks at what the followers drew by themselves, when they learned who votes.
			if round > 0 {
				n.m.resetTimer()
			} else if n.m.role == Leader {
				continue
			}
			minimum := n.m.cfg.ElectionTicks
			if n.m.timeout < minimum || n.m.timeout >= 2*minimum {
				t.Fatalf("round %d: node %d drew %d, want [%d, %d)", round, n.id, n.m.timeout, minimum, 2*minimum)
			}
			if drawn[n.m.timeout-1] || drawn[n.m.timeout] || drawn[n.m.timeout+1] {
				t.Fatalf("round %d: %d is within a tick of another node's", round, n.m.timeout)
			}
			drawn[n.m.timeout] = true
		}
	}
}
