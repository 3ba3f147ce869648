package node

import (
	"slices"
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/frame"
)

// 1. A follower holds a batch from 5 to 7 of another history, 2. its leader, whose records of that
// epoch end at 6, tells it to cut there, 3. the log drops the whole batch. To acknowledge 6 would be to
// acknowledge a record that nobody has. (Found by the simulator.)
func TestCutInsideABatchIsAnsweredWithWhereTheLogEnds(t *testing.T) {
	w := newMemWorld(t, 1, 1)
	p := topic.Partition{Topic: topic.ID{1}}
	placement, _ := w.image.Partition(p)
	leader := topic.Member{Node: placement.Leader, Session: placement.LeaderSession}
	follower := w.hosts[placement.Leader%3] // node ids begin at 1: any other than the leader
	log := follower.Create(p).(*memLog)
	log.entries = []partition.Entry{
		{Partition: p, Base: 0, Count: 5, PrevEpoch: topic.NoEpoch, Payload: []byte("a")},
		{Partition: p, Base: 5, Count: 2, Payload: []byte("b")},
	}
	log.at, log.durable = []int{0, 1}, 2
	follower.rep.SetImage(w.image)
	follower.rep.Flush()
	w.net = nil

	var b frame.Builder
	b.Add(frame.Header{
		Cluster: frame.Cluster{1}, From: leader.Node, FromSession: leader.Session,
		To: follower.self.Node, ReceiverSession: follower.self.Session,
	}, &frame.Section{
		Kind: frame.Cut, Partition: p, Epoch: placement.LeaderEpoch,
		Base: 6, PrevEpoch: 0, RecordEpoch: 0, HighWatermark: 7,
	})
	follower.rep.Frame(slices.Concat(b.Take()...))
	follower.rep.Flush()
	if log.end() != 5 {
		t.Fatalf("log ends at %d, want 5", log.end())
	}
	acks := 0
	for _, m := range w.net {
		_, sections, body, err := frame.ParseHeader(m.data)
		if err != nil {
			t.Fatal(err)
		}
		err = frame.ParseAcks(body, sections, func(a frame.Ack) {
			acks++
			if a.LogEnd != 5 || a.DurableEnd != 5 {
				t.Errorf("got an acknowledgement of log end %d, durable %d, want 5 and 5", a.LogEnd, a.DurableEnd)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if acks == 0 {
		t.Error("the cut was not answered")
	}
}

// A follower restarts with a damaged log. Until an image has shown its session, one before it may still be
// taken into the in-sync set by a proposal that is on its way, and this one would inherit that.
func TestDamageIsNotCutBeforeTheSessionIsRegistered(t *testing.T) {
	w := newMemWorld(t, 1, 1)
	p := topic.Partition{Topic: topic.ID{1}}
	placement, _ := w.image.Partition(p)
	follower := w.hosts[placement.Leader%3]
	leader := topic.Member{Node: placement.Leader, Session: placement.LeaderSession}
	w.apply(cluster.AlterISR{Changes: []cluster.ISRChange{{
		Partition: p, LeaderEpoch: placement.LeaderEpoch, PartitionEpoch: placement.PartitionEpoch,
		Leader: leader, ISR: []topic.Member{leader, w.hosts[(placement.Leader+1)%3].self},
	}}})
	before := w.image
	w.start(follower)
	log := follower.Create(p).(*memLog)
	log.entries = []partition.Entry{{Partition: p, Base: 0, Count: 5, PrevEpoch: topic.NoEpoch, Payload: []byte("a")}}
	log.at, log.durable, log.damaged = []int{0}, 1, true
	follower.rep.SetImage(before)
	follower.rep.Tick(1)
	if log.end() != 5 {
		t.Fatalf("log ends at %d, want 5: it was cut by an image that does not know this session", log.end())
	}
	follower.rep.SetImage(w.image)
	follower.rep.Tick(1)
	if log.end() != 0 {
		t.Fatalf("log ends at %d, want 0", log.end())
	}
}

// A log that was filled again after an eviction is not dropped by an image of between.
func TestEvictedLogsAreNotDroppedByAnOldImage(t *testing.T) {
	w := newMemWorld(t, 1, 1)
	p := topic.Partition{Topic: topic.ID{1}}
	reassign := func(target ...topic.NodeID) {
		placement, _ := w.image.Partition(p)
		w.apply(cluster.Reassign{Items: []topic.Reassignment{{Partition: p, PartitionEpoch: placement.PartitionEpoch, Target: target}}})
		placement, _ = w.image.Partition(p)
		w.apply(cluster.FinishReassignments{Items: []cluster.ReassignmentEnd{{Partition: p, PartitionEpoch: placement.PartitionEpoch}}})
	}
	host := w.hosts[2]
	reassign(1, 2)
	between := w.image
	if !between.Evicts(3, p) {
		t.Fatal("node 3 is not evicted")
	}
	reassign(1, 2, 3)
	w.start(host)
	host.Create(p)
	host.rep.SetImage(between)
	host.rep.follow(between)
	if host.logs[p] == nil {
		t.Fatal("the log was dropped by an image that does not know this session")
	}
	host.rep.follow(w.image)
	if host.logs[p] == nil {
		t.Fatal("the log was dropped although the replica came back")
	}
	reassign(1, 2)
	host.rep.follow(w.image)
	if host.logs[p] == nil {
		return
	}
	t.Fatal("the log was not dropped although the replica is gone for good")
}
