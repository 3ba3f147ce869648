package node

import (
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// mover is a controller of two brokers, and a topic whose one partition broker 1 leads.
type mover struct {
	*testing.T
	m   *Metadata
	now time.Duration
	p   topic.Partition
}

func newMover(t *testing.T, replicas ...topic.NodeID) *mover {
	m, begun := controllerOfTwo(t, testTick)
	v := &mover{T: t, m: m, now: begun, p: topic.Partition{Topic: topic.ID{7}}}
	v.propose(cluster.CreateTopics{Topics: []topic.Creation{{ID: v.p.Topic, Name: "t", Assignments: [][]topic.NodeID{replicas}}}})
	return v
}

func (v *mover) propose(c cluster.Command) {
	v.Helper()
	v.m.Propose(cluster.Encode(c), func([]byte, error) {})
	v.turn()
}

func (v *mover) turn() {
	v.Helper()
	if err := v.m.Turn(v.now); err != nil {
		v.Fatal(err)
	}
}

// tick passes time in which both brokers are heard.
func (v *mover) tick(n int) {
	v.Helper()
	for range n {
		v.now += testTick
		v.m.Report(Report{Kind: ReportHeard, Member: topic.Member{Node: 2, Session: 22}, At: v.now})
		v.m.Tick()
		v.turn()
	}
}

func (v *mover) placement() *topic.Placement {
	v.Helper()
	p, found := v.m.View().Image.Partition(v.p)
	if !found {
		v.Fatal("the partition is gone")
	}
	return p
}

// join is what the leader asks for once broker 2 has caught up.
func (v *mover) join() {
	p := v.placement()
	leader := topic.Member{Node: p.Leader, Session: p.LeaderSession}
	v.propose(cluster.AlterISR{Changes: []cluster.ISRChange{{
		Partition: v.p, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Leader: leader,
		ISR: []topic.Member{{Node: 1, Session: 11}, {Node: 2, Session: 22}},
	}}})
}

func TestControllerEndsReassignmentsAndNotBeforeTheyAreReady(t *testing.T) {
	v := newMover(t, 1)
	v.propose(cluster.Reassign{Items: []topic.Reassignment{{
		Partition: v.p, PartitionEpoch: v.placement().PartitionEpoch, Target: []topic.NodeID{2},
	}}})
	v.tick(5)
	if p := v.placement(); !p.Moving() || p.Leader != 1 {
		t.Fatalf("got %+v, want it to move still", p)
	}
	if v.m.Calm(2) {
		t.Error("the controller is calm while a partition moves")
	}
	v.join()
	v.tick(1)
	if p := v.placement(); p.Moving() || p.Leader != 2 || len(p.Replicas) != 1 {
		t.Fatalf("got %+v, want it on broker 2", p)
	}
}

// A controller that has just been elected finds the reassignments of the one before in the image.
func TestNextControllerGoesOnWithReassignments(t *testing.T) {
	v := newMover(t, 1)
	v.propose(cluster.Reassign{Items: []topic.Reassignment{{
		Partition: v.p, PartitionEpoch: v.placement().PartitionEpoch, Target: []topic.NodeID{2},
	}}})
	v.join()
	v.m.control = controller{cfg: v.m.control.cfg}
	v.tick(2)
	if p := v.placement(); p.Moving() {
		t.Fatalf("got %+v, want it moved", p)
	}
}

func TestLeadershipsGoBackToPreferredLeadersNowAndThen(t *testing.T) {
	for _, every := range []time.Duration{0, 10 * testTick} {
		v := newMover(t, 2, 1)
		v.m.control.cfg.Balance, v.m.control.balancedAt = Balance{Every: every, Percent: 10}, v.now
		v.propose(cluster.FenceBroker{Node: 2, Session: 22})
		v.propose(cluster.RegisterBroker{Replaces: 22, Broker: topic.Broker{ID: 2, Session: 22, Disk: topic.DiskID{2}}})
		v.join()
		if p := v.placement(); p.Leader != 1 || len(p.ISR) != 2 {
			t.Fatalf("got %+v, want broker 1 to lead both", p)
		}
		v.tick(9)
		if p := v.placement(); p.Leader != 1 {
			t.Fatalf("got %+v, want no election before its time", p)
		}
		v.tick(2)
		want := topic.NodeID(2)
		if every == 0 {
			want = 1
		}
		if p := v.placement(); p.Leader != want {
			t.Errorf("every %v: broker %d leads, want %d", every, p.Leader, want)
		}
	}
}
