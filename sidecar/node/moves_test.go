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
	// two is broker 2's session.
	two topic.Session
}

func newMover(t *testing.T, replicas ...topic.NodeID) *mover {
	m, begun := controllerOfTwo(t, testTick)
	v := &mover{T: t, m: m, now: begun, p: topic.Partition{Topic: topic.ID{7}}, two: 22}
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
		v.m.Report(Report{Kind: ReportHeard, Member: topic.Member{Node: 2, Session: v.two}, At: v.now})
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
		ISR: []topic.Member{{Node: 1, Session: 11}, {Node: 2, Session: v.two}},
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
	v.m.control = newController(v.m.control.cfg)
	v.tick(2)
	if p := v.placement(); p.Moving() {
		t.Fatalf("got %+v, want it moved", p)
	}
}

func TestLeadershipsGoBackToPreferredLeadersNowAndThen(t *testing.T) {
	for _, every := range []time.Duration{0, 10 * testTick} {
		v := newMover(t, 2, 1)
		v.balances(Balance{Every: every, Percent: 10})
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

// balances has the controller begin with another Balance.
func (v *mover) balances(b Balance) {
	v.m.control.balancer = balancer{cfg: b}
	v.m.control.balancer.begin(v.m.machine.image, v.now)
}

// back has broker 2 fenced, and come back in sync: broker 1 leads then.
func (v *mover) back(session topic.Session) {
	v.Helper()
	before := v.two
	v.two = session
	v.propose(cluster.FenceBroker{Node: 2, Session: before})
	v.tick(1)
	v.propose(cluster.RegisterBroker{Replaces: before, Broker: topic.Broker{ID: 2, Session: session, Disk: topic.DiskID{2}}})
	if p := v.placement(); p.Leader != 1 {
		v.Fatalf("got %+v, want broker 1 to lead", p)
	}
}

// A broker that comes back is given its leaderships soon after it is in sync, not before, by the same controller or the
// next one; one that comes again within Every waits for that.
func TestBrokerThatComesBackSoonLeadsAgain(t *testing.T) {
	const every, soon = 300 * testTick, 10 * testTick
	for name, session := range map[string]topic.Session{"another session": 23, "the same": 22} {
		t.Run(name, func(t *testing.T) {
			v := newMover(t, 2, 1)
			v.balances(Balance{Every: every, Soon: soon, Percent: 10})
			v.tick(15) // nobody is expected any more
			v.back(session)
			v.tick(25)
			v.leads(1, "before it is in sync")
			v.join()
			v.tick(10)
			v.leads(2, "soon after it is in sync")
			v.back(session + 1)
			v.join()
			v.tick(30)
			v.leads(1, "again within the interval")
			v.tick(300)
			v.leads(2, "after the interval")
			v.back(session + 2)
			v.join()
			v.tick(3)
			v.balances(Balance{Every: every, Soon: soon, Percent: 10})
			v.tick(9)
			v.leads(1, "nine ticks of the next controller")
			v.tick(2)
			v.leads(2, "soon after the next controller began")
		})
	}
}

// Without auto.leader.rebalance.enable nobody is given anything back.
func TestNobodyIsGivenLeadershipsBackWhereThatIsOff(t *testing.T) {
	v := newMover(t, 2, 1)
	v.balances(Balance{Soon: 10 * testTick, Percent: 10})
	v.back(23)
	v.join()
	v.tick(400)
	v.leads(1, "where it is off")
}

func (v *mover) leads(want topic.NodeID, when string) {
	v.Helper()
	if p := v.placement(); p.Leader != want {
		v.Errorf("%s: broker %d leads, want %d", when, p.Leader, want)
	}
}
