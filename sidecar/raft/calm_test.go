package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

const (
	calmStride        = 2
	calmElectionTicks = 6
)

// strides passes ticks to a lab as the sidecar does: two together while a node is calm.
type strides struct {
	*lab
	now int
	// fine passes every tick by itself.
	fine     bool
	striding map[topic.NodeID]bool
	owed     map[topic.NodeID]int
	skipped  int
}

func newStrides(t testing.TB, nodes int, fine bool) *strides {
	s := &strides{lab: newLab(t, nodes, nodes), fine: fine,
		striding: map[topic.NodeID]bool{}, owed: map[topic.NodeID]int{}}
	s.quiet = true
	for _, n := range s.nodes {
		s.start(n)
	}
	return s
}

func (s *strides) start(n *labNode) {
	n.start()
	n.m.cfg.HeartbeatTicks, n.m.cfg.ElectionTicks = calmStride, calmElectionTicks
	n.m.resetTimer()
	s.striding[n.id], s.owed[n.id] = false, 0
}

// tick passes one unit of time.
func (s *strides) tick() {
	s.now++
	even := s.now%calmStride == 0
	for _, n := range s.nodes {
		switch {
		case n.m == nil:
		case s.striding[n.id] && !even:
			s.owed[n.id]++
			s.skipped++
		default:
			n.m.Tick()
			s.catchUp(n)
			if even {
				n.m.Beat()
			}
			n.turn()
			s.striding[n.id] = !s.fine && even && n.m.Calm(calmStride)
		}
	}
	for len(s.wire) > 0 {
		m := s.wire[0]
		s.wire = slices.Delete(s.wire, 0, 1)
		s.meet(s.node(int(m.To)), func(*labNode) { s.arrive(m) })
	}
}

// meet lets something happen to a node: what time has gone by comes first.
func (s *strides) meet(n *labNode, event func(*labNode)) {
	if n.m == nil {
		return
	}
	s.catchUp(n)
	n.turn()
	event(n)
	s.striding[n.id] = s.striding[n.id] && n.m.Calm(calmStride)
}

func (s *strides) catchUp(n *labNode) {
	for ; s.owed[n.id] > 0; s.owed[n.id]-- {
		n.m.Tick()
	}
}

// shows is what others can see of the group.
func (s *strides) shows() string {
	out := ""
	for _, n := range s.nodes {
		if n.m == nil {
			out += fmt.Sprintf("%d down\n", n.id)
			continue
		}
		st := n.m.Status()
		out += fmt.Sprintf("%d %s term %d leader %d commit %d campaigns %d\n",
			n.id, st.Role, st.Term, st.Leader, st.Commit, st.Campaigns)
	}
	return out
}

// disturb does one thing to the group, the same for the same draw.
func (s *strides) disturb(rng *rand.Rand) {
	n := s.nodes[rng.IntN(len(s.nodes))]
	other := s.nodes[rng.IntN(len(s.nodes))]
	switch rng.IntN(6) {
	case 0:
		n.m = nil
	case 1, 2:
		if n.m == nil {
			s.start(n)
		}
	case 3:
		s.cut[[2]topic.NodeID{n.id, other.id}] = true
	case 4:
		clear(s.cut)
	default:
		s.meet(n, func(n *labNode) {
			_, _, _ = n.m.Propose([]byte("x"))
			n.turn()
		})
	}
}

// A node that sleeps through ticks while it is calm does at each tick what it would have done awake:
// above all it misses no beat later, and campaigns in the same tick.
func TestTicksThatPassTogetherWhileCalmChangeNothing(t *testing.T) {
	for seed := range uint64(150) {
		fine, coarse := newStrides(t, 3, true), newStrides(t, 3, false)
		a, b := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 1))
		for tick := range 600 {
			if a.IntN(25) == 0 {
				fine.disturb(a)
			}
			if b.IntN(25) == 0 {
				coarse.disturb(b)
			}
			fine.tick()
			coarse.tick()
			if got, want := coarse.shows(), fine.shows(); got != want {
				t.Fatalf("seed %d tick %d: got\n%swant\n%s", seed, tick, got, want)
			}
		}
	}
}

func TestCalmFollowerCampaignsInTheSameTickAfterItsLeaderDies(t *testing.T) {
	for dies := range 2 * calmStride {
		var at [2]int
		for i, fine := range []bool{true, false} {
			s := newStrides(t, 3, fine)
			for range 60 + dies {
				s.tick()
			}
			if !fine && s.skipped < 60 {
				t.Fatalf("a calm group slept through %d ticks of %d, want most odd ones", s.skipped, 3*s.now)
			}
			before := s.shows()
			for _, n := range s.nodes {
				if n.m.role == Leader {
					n.m = nil
				}
			}
			campaigns := s.campaigning()
			for died := s.now; s.campaigning() == campaigns && s.now < died+50; at[i] = s.now - died {
				s.tick()
			}
			if at[i] > 2*calmElectionTicks+calmStride {
				t.Fatalf("no campaign %d ticks after the leader's death; before it:\n%s", at[i], before)
			}
		}
		if at[0] != at[1] {
			t.Errorf("leader dies at tick %d: campaign after %d ticks, want %d as without sleep", dies, at[1], at[0])
		}
	}
}

// campaigning counts the nodes that are up and no longer followers.
func (s *strides) campaigning() int {
	count := 0
	for _, n := range s.nodes {
		if n.m != nil && n.m.role != Follower {
			count++
		}
	}
	return count
}

func TestWhoHasSomethingToDoIsNotCalm(t *testing.T) {
	s := newStrides(t, 3, true)
	for range 60 {
		s.tick()
	}
	var leader *labNode
	for _, n := range s.nodes {
		if !n.m.Calm(calmStride) {
			t.Errorf("node %d, %s in an idle group: got not calm, want calm", n.id, n.m.role)
		}
		if n.m.role == Leader {
			leader = n
		}
	}
	if _, _, err := leader.m.Propose([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if leader.m.Calm(calmStride) {
		t.Error("leader with a proposal under way: got calm, want not")
	}
	leader.turn()
	s.tick()
	s.tick()
	if !leader.m.Calm(calmStride) {
		t.Error("leader after the commit: got not calm, want calm")
	}
	leader.m.Tick()
	if leader.m.Calm(calmStride) || !leader.m.Calm(calmStride-1) {
		t.Error("leader in the middle between two beats: want calm until the second, and no longer")
	}
	for range 2 * calmStride { // Nobody hears anybody.
		for _, n := range s.nodes {
			n.m.Tick()
		}
	}
	for _, n := range s.nodes {
		if n.m.Calm(calmStride) {
			t.Errorf("node %d, %s after two missing beats: got calm, want not", n.id, n.m.role)
		}
	}
}
