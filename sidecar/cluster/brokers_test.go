package cluster

import (
	"reflect"
	"testing"

	"outrigger/broker/topic"
)

func TestFenceMovesLeadershipAndLeavesEverySet(t *testing.T) {
	w := newWorld(t, 3)
	led := w.create("led", 1, nil, 1, 2, 3)
	followed := w.create("followed", 1, nil, 2, 1, 3)
	foreign := w.create("foreign", 1, nil, 2, 3)
	before := w.partition(foreign, 0)
	w.must(fence(1, 1))
	w.wants(led, "leader 2 epoch 1 isr [2.1 3.1] eligible [] last []")
	w.wants(followed, "leader 2 epoch 0 isr [2.1 3.1] eligible [] last []")
	if got := w.partition(followed, 0).PartitionEpoch; got != 1 {
		t.Errorf("partition epoch of the shrunk set: got %d, want 1", got)
	}
	if w.partition(foreign, 0) != before {
		t.Error("a partition without the fenced broker changed")
	}
	if len(w.im.Brokers()) != 2 {
		t.Errorf("live brokers: got %d, want 2", len(w.im.Brokers()))
	}
	hash := w.partition(led, 0)
	w.must(fence(1, 1))
	if w.partition(led, 0) != hash {
		t.Error("fencing again changed a placement")
	}
	w.gets(Stale, fence(1, 2))
	w.gets(Unknown, fence(9, 1))
}

func TestMemberRemovedBelowMinimumStaysEligibleUntilMinimumIsBack(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("2"), 1, 2, 3)
	w.must(fence(3, 1))
	w.wants(id, "leader 1 epoch 0 isr [1.1 2.1] eligible [] last []")
	w.must(fence(2, 1))
	w.wants(id, "leader 1 epoch 0 isr [1.1] eligible [2.1] last []")
	w.must(fence(1, 1))
	w.wants(id, "leader -1 epoch 1 isr [] eligible [1.1 2.1] last []")
	w.must(register(3, 1))
	w.wants(id, "leader -1 epoch 1 isr [] eligible [1.1 2.1] last []")
	w.must(register(2, 1))
	w.wants(id, "leader 2 epoch 2 isr [2.1] eligible [1.1] last []")
	w.must(w.alter(id, member(2, 1), member(3, 1)))
	w.wants(id, "leader 2 epoch 2 isr [2.1 3.1] eligible [] last []")
}

func TestLastInSyncMemberAloneMayLead(t *testing.T) {
	// Failure mode 27: with a minimum of one, the leader committed alone after the others left.
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("1"), 1, 2, 3)
	w.must(fence(2, 1))
	w.must(fence(3, 1))
	w.must(fence(1, 1))
	w.wants(id, "leader -1 epoch 1 isr [] eligible [1.1] last []")
	w.must(register(2, 1))
	w.must(register(3, 2))
	w.wants(id, "leader -1 epoch 1 isr [] eligible [1.1] last []")
	w.must(register(1, 2))
	w.wants(id, "leader 1 epoch 2 isr [1.2] eligible [] last []")
}

func TestNewSessionEndsLeadershipsEvenIfNeverFenced(t *testing.T) {
	// A leader that ships, dies before its own sync and is back within every timeout must not write
	// other records under the same epoch.
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	w.must(register(1, 2))
	w.wants(id, "leader 2 epoch 1 isr [2.1 3.1] eligible [] last []")
	single := w.create("single", 1, nil, 1)
	w.must(register(1, 3))
	w.wants(single, "leader 1 epoch 1 isr [1.3] eligible [] last []")
}

func TestKillOfAllThreeCostsNothing(t *testing.T) {
	for _, order := range [][3]topic.NodeID{{1, 2, 3}, {3, 2, 1}, {2, 3, 1}} {
		for _, fenced := range []bool{false, true} {
			w := newWorld(t, 3)
			id := w.create("t", 1, nil, 1, 2, 3)
			for _, node := range order {
				if fenced {
					w.must(fence(node, 1))
				}
			}
			for _, node := range order {
				w.must(register(node, 2))
			}
			p := w.partition(id, 0)
			if p.Leader == topic.NoNode || p.Unclean {
				t.Errorf("order %v, fenced %v: got %s, want a clean leader", order, fenced, show(p))
			}
		}
	}
}

func TestWipedDiskLeavesBothSets(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	w.must(fence(3, 1))
	w.must(fence(2, 1))
	wiped := register(2, 2)
	wiped.Broker.Disk = diskOf(2, 2)
	w.must(wiped)
	w.wants(id, "leader 1 epoch 0 isr [1.1] eligible [] last []")
	w.must(fence(1, 1))
	w.wants(id, "leader -1 epoch 1 isr [] eligible [1.1] last []")
	other := register(1, 2)
	other.Broker.Disk = diskOf(1, 2)
	w.must(other)
	w.wants(id, "leader -1 epoch 1 isr [] eligible [] last []")
	waiting := w.im.Undecided()
	if len(waiting) != 1 || waiting[0].Gathered {
		t.Errorf("undecided: got %+v, want one that nobody can be gathered for", waiting)
	}
}

func TestIntervalPolicyKeepsEligibilityOnlyAfterCleanStop(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("3"), 1, 2, 3)
	clean := register(2, 2)
	clean.FlushAlways, clean.CleanStop = false, true
	w.must(clean)
	w.wants(id, "leader 1 epoch 0 isr [1.1 3.1] eligible [2.2] last []")
	crashed := register(3, 2)
	crashed.FlushAlways = false
	w.must(crashed)
	w.wants(id, "leader 1 epoch 0 isr [1.1] eligible [2.2] last [3]")
	again := register(2, 3)
	again.FlushAlways = false
	w.must(again)
	w.wants(id, "leader 1 epoch 0 isr [1.1] eligible [] last [2 3]")
}

// register2 is register on another disk.
func register2(node topic.NodeID, session, disk int) RegisterBroker {
	r := register(node, session)
	r.Broker.Disk = diskOf(node, disk)
	return r
}

func TestPausedBrokerThatWakesFollows(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	w.must(fence(1, 1))
	w.must(register(1, 1))
	w.wants(id, "leader 2 epoch 1 isr [2.1 3.1] eligible [] last []")
	if !w.im.Live(member(1, 1)) {
		t.Error("the woken broker is not live")
	}
}

func TestResignedSessionNeverComesBack(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	alone := w.create("alone", 1, nil, 1)
	w.must(ResignBroker{Node: 1, Session: sessionOf(1, 1)})
	w.wants(id, "leader 2 epoch 1 isr [2.1 3.1] eligible [] last []")
	w.wants(alone, "leader -1 epoch 1 isr [] eligible [1.1] last []")
	w.must(ResignBroker{Node: 1, Session: sessionOf(1, 1)})
	w.gets(Stale, register(1, 1))
	w.must(register(1, 2))
	w.wants(alone, "leader 1 epoch 2 isr [1.2] eligible [] last []")
	w.gets(Stale, ResignBroker{Node: 1, Session: sessionOf(1, 1)})
}

func TestLateCopyOfARegistrationIsStale(t *testing.T) {
	// Failure mode 44: a reconnect delivers the registration of the process before this one.
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	for n := 2; n <= retiredMax+1; n++ {
		w.must(register(1, n))
	}
	before := w.partition(id, 0)
	for n := 1; n <= retiredMax; n++ {
		w.gets(Stale, register(1, n))
	}
	w.must(register(1, retiredMax+1))
	if w.partition(id, 0) != before || !w.im.Live(member(1, retiredMax+1)) {
		t.Error("a late registration changed something")
	}
}

// The process before this one died before its registration arrived: nobody has heard of its session, so
// none that is remembered tells that the copy is late.
func TestLateRegistrationOfASessionThatNeverWasEndsNobody(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	late := register(1, 2)
	present := register(1, 3)
	present.Replaces = sessionOf(1, 1)
	w.must(present)
	w.must(w.alter(id, member(2, 1), member(3, 1), member(1, 3)))
	before := w.partition(id, 0)
	w.gets(Refused, late)
	if w.partition(id, 0) != before || !w.im.Live(member(1, 3)) {
		t.Errorf("a late registration changed something: got %s", show(w.partition(id, 0)))
	}
	w.must(present)
	first := register(4, 1)
	first.Replaces = 7
	w.gets(Refused, first)
}

// Entries that the Raft's log holds since before registrations named what they replace mean what they
// meant: nodes that replay them must agree with those that applied them then.
func TestUnconditionalRegistrationOfAnOldLogReplacesAnySession(t *testing.T) {
	old := append([]byte{1, 0, 1, 4, 2}, make([]byte, 7)...)                    // version, level, kind, node 1
	old = append(append(append(old, 9), make([]byte, 15)...), 1, 0, 0, 0, 0, 1) // session 9, a disk, flags
	want := RegisterBroker{Unconditional: true, FlushAlways: true, Broker: topic.Broker{ID: 1, Session: 9, Disk: topic.DiskID{15: 1}}}
	got, err := Decode(old)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v, %v\nwant %+v", got, err, want)
	}
	w := newWorld(t, 3)
	w.must(got)
	if !w.im.Live(topic.Member{Node: 1, Session: 9}) {
		t.Error("the session of an old registration is not live")
	}
}

// A batch that one broker takes has to fit the messages and the log of every other.
func TestBrokerWithAnotherLargestBatchIsRefused(t *testing.T) {
	sized := func(node topic.NodeID, n int, bytes int32) RegisterBroker {
		r := register(node, n)
		r.Broker.MessageBytesMax = bytes
		return r
	}
	w := newWorld(t, 0)
	w.must(sized(1, 1, 1000))
	w.must(sized(2, 1, 1000))
	w.must(sized(3, 1, 0)) // registered by an entry of an old log
	w.gets(Refused, sized(4, 1, 2000))
	w.gets(Refused, sized(2, 2, 2000))
	if other := w.im.Contradicted(sized(4, 1, 2000).Broker); other == nil || other.ID != 1 {
		t.Errorf("contradicted by %+v, want broker 1", other)
	}
	// All others are stopped, and come back with the new size.
	w.must(fence(1, 1))
	w.must(sized(2, 2, 2000))
	w.gets(Refused, sized(1, 1, 1000)) // it was only paused
	w.must(sized(1, 2, 2000))
	if b, _ := w.im.Broker(1); b.MessageBytesMax != 2000 {
		t.Errorf("got %d, want 2000", b.MessageBytesMax)
	}
}

func TestRegistrationIsRefusedWithoutIdentity(t *testing.T) {
	w := newWorld(t, 1)
	w.gets(Refused, RegisterBroker{Broker: topic.Broker{ID: 2, Session: 1}})
	w.gets(Refused, RegisterBroker{Broker: topic.Broker{ID: 2, Disk: diskOf(2, 1)}})
	w.gets(Refused, RegisterBroker{Broker: topic.Broker{ID: -1, Session: 1, Disk: diskOf(2, 1)}})
	w.gets(Refused, register2(1, 1, 2))
}

func TestRegistrationAgainTakesNewAddresses(t *testing.T) {
	w := newWorld(t, 1)
	moved := register(1, 1)
	moved.Broker.Endpoints = []topic.Endpoint{{Listener: "PLAINTEXT", Host: "::1", Port: 1}}
	w.must(moved)
	if b, _ := w.im.Broker(1); b.Endpoints[0].Host != "::1" {
		t.Errorf("host: got %q, want ::1", b.Endpoints[0].Host)
	}
}

func TestUncleanElectionOnlyIfTheTopicAsks(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, map[string]string{ConfigUncleanElection: "TRUE", ConfigMinInSync: "1"}, 1, 2)
	w.must(fence(2, 1))
	w.must(fence(1, 1))
	w.wants(id, "leader -1 epoch 1 isr [] eligible [1.1] last []")
	w.must(register(2, 1))
	w.wants(id, "leader 2 epoch 2 isr [2.1] eligible [] last [] unclean")
	w.must(register(1, 2))
	w.must(w.alter(id, member(1, 2), member(2, 1)))
	w.must(fence(2, 1))
	w.wants(id, "leader 1 epoch 3 isr [1.2] eligible [] last []")
	if got := w.partition(id, 0).UncleanEpoch; got != 2 {
		t.Errorf("after a clean election: got unclean epoch %d, want 2 remembered", got)
	}
}

func TestElectUncleanNeedsALeaderlessPlacementAsSeen(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("1"), 1, 2, 3)
	elect := func(node topic.NodeID, epoch int32) ElectUnclean {
		return ElectUnclean{Elections: []UncleanElection{
			{Partition: topic.Partition{Topic: id}, PartitionEpoch: epoch, Node: node}}}
	}
	w.gets(Stale, elect(2, 0))
	w.must(fence(2, 1))
	w.must(fence(3, 1))
	w.must(fence(1, 1))
	epoch := w.partition(id, 0).PartitionEpoch
	w.gets(Refused, elect(topic.NoNode, epoch))
	w.must(register(3, 2))
	w.gets(Stale, elect(3, epoch-1))
	w.gets(Refused, elect(2, epoch))
	w.gets(OK, elect(topic.NoNode, epoch))
	w.wants(id, "leader 3 epoch 2 isr [3.2] eligible [] last [] unclean")
	w.gets(Unknown, ElectUnclean{Elections: []UncleanElection{{Partition: topic.Partition{Topic: id, Index: 1}}}})
}

func TestPeersAreThoseWhoShareAPartition(t *testing.T) {
	w := newWorld(t, 5)
	w.create("a", 1, nil, 1, 2)
	w.create("b", 2, nil, 3, 1)
	w.create("c", 1, nil, 4, 5)
	w.must(fence(2, 1))
	if got := w.im.Peers(1); len(got) != 1 || got[0] != 3 {
		t.Errorf("peers of 1: got %v, want [3]", got)
	}
	if got := w.im.Peers(2); len(got) != 1 || got[0] != 1 {
		t.Errorf("peers of 2: got %v, want [1]", got)
	}
}

func TestProducerIDBlocksNeverOverlap(t *testing.T) {
	w := newWorld(t, 2)
	next := int64(0)
	for i := range 10 {
		node := topic.NodeID(i%2 + 1)
		r := w.must(AllocateProducerIDs{Node: node, Session: sessionOf(node, 1)})
		if r.FirstID != next || r.IDCount != ProducerIDBlock {
			t.Fatalf("block: got %d and %d, want %d and %d", r.FirstID, r.IDCount, next, ProducerIDBlock)
		}
		next += ProducerIDBlock
	}
	w.gets(Stale, AllocateProducerIDs{Node: 1, Session: 99})
	w.gets(Unknown, AllocateProducerIDs{Node: 9, Session: 99})
}

func TestClusterIDAndLevelAreSetOnce(t *testing.T) {
	w := newWorld(t, 0)
	w.gets(Refused, SetClusterID{})
	w.gets(OK, SetClusterID{ID: "one"})
	w.gets(OK, SetClusterID{ID: "one"})
	w.gets(Stale, SetClusterID{ID: "two"})
	w.gets(Refused, SetLevel{Level: topic.FirstLevel + 1}) // nobody is registered
	w.gets(OK, SetLevel{Level: topic.FirstLevel})
	if w.im.ClusterID() != "one" || w.im.Level() != topic.FirstLevel {
		t.Errorf("got %q at level %d", w.im.ClusterID(), w.im.Level())
	}
}
