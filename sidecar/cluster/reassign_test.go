package cluster

import (
	"fmt"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

// reassign asks for other replicas of partition 0 as it is now; none takes a reassignment back.
func (w *world) reassign(id topic.ID, target ...topic.NodeID) Reassign {
	w.t.Helper()
	p := w.partition(id, 0)
	return Reassign{Items: []topic.Reassignment{{
		Partition: topic.Partition{Topic: id}, PartitionEpoch: p.PartitionEpoch, Target: target,
	}}}
}

func (w *world) finish(id topic.ID) FinishReassignments {
	w.t.Helper()
	return FinishReassignments{Items: []ReassignmentEnd{{
		Partition: topic.Partition{Topic: id}, PartitionEpoch: w.partition(id, 0).PartitionEpoch,
	}}}
}

// placed compares the lists of replicas of partition 0.
func (w *world) placed(id topic.ID, want string) {
	w.t.Helper()
	p := w.partition(id, 0)
	got := fmt.Sprintf("replicas %v adding %v removing %v evicted %v", p.Replicas, p.Adding(), p.Removing(), p.Evicted)
	if got != want {
		w.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestReassignmentIsFinishedInOneRecordOnceTheNewReplicasAreInSync(t *testing.T) {
	w := newWorld(t, 5)
	id := w.create("t", 1, nil, 1, 2, 3)
	begin := w.reassign(id, 4, 2, 5)
	w.must(begin)
	w.placed(id, "replicas [4 2 5 1 3] adding [4 5] removing [1 3] evicted []")
	w.wants(id, "leader 1 epoch 0 isr [2.1 1.1 3.1] eligible [] last []")
	w.must(begin) // A copy changes nothing.
	w.gets(Refused, w.finish(id))
	w.must(w.alter(id, member(1, 1), member(2, 1), member(3, 1), member(4, 1)))
	w.gets(Refused, w.finish(id))
	if got := w.im.Finishes(9); len(got.Items) != 0 {
		t.Errorf("got %+v, want nothing to finish", got)
	}
	w.must(w.alter(id, member(1, 1), member(2, 1), member(3, 1), member(4, 1), member(5, 1)))
	stale := w.finish(id)
	if got := w.im.Finishes(9); !slices.Equal(got.Items, stale.Items) {
		t.Errorf("got %+v, want %+v", got, stale)
	}
	w.must(stale)
	w.placed(id, "replicas [4 2 5] adding [] removing [] evicted [1 3]")
	w.wants(id, "leader 4 epoch 1 isr [4.1 2.1 5.1] eligible [] last []")
	w.gets(Stale, stale)
	for node, want := range map[topic.NodeID]bool{1: true, 2: false, 3: true, 4: false} {
		if got := w.im.Evicts(node, topic.Partition{Topic: id}); got != want {
			t.Errorf("evicts %d: got %v, want %v", node, got, want)
		}
	}
}

// The leader stays, and begins another epoch all the same: what an evicted replica acknowledged in this
// one counts for nothing if it comes back empty.
func TestEvictionBeginsAnotherEpoch(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2)
	w.must(w.reassign(id, 1, 3))
	w.must(w.alter(id, member(1, 1), member(2, 1), member(3, 1)))
	w.must(w.finish(id))
	w.wants(id, "leader 1 epoch 1 isr [1.1 3.1] eligible [] last []")
	w.must(w.reassign(id, 1, 3, 2))
	w.placed(id, "replicas [1 3 2] adding [2] removing [] evicted []")
	w.wants(id, "leader 1 epoch 1 isr [1.1 3.1] eligible [] last []")
}

func TestCancelRevertsToTheOriginInItsOrder(t *testing.T) {
	w := newWorld(t, 4)
	id := w.create("t", 1, nil, 1, 2, 3)
	w.must(w.reassign(id, 4, 3))
	w.must(w.alter(id, member(1, 1), member(4, 1), member(2, 1)))
	w.must(w.reassign(id))
	w.placed(id, "replicas [1 2 3] adding [] removing [] evicted [4]")
	w.wants(id, "leader 1 epoch 1 isr [1.1 2.1] eligible [] last []")
	w.must(w.reassign(id)) // Nothing is under way: what was wanted is so.
}

func TestAnotherTargetEvictsWhatTheFirstOneBrought(t *testing.T) {
	w := newWorld(t, 5)
	id := w.create("t", 1, nil, 1, 2)
	w.must(w.reassign(id, 3, 4))
	w.must(w.reassign(id, 5, 4))
	w.placed(id, "replicas [5 4 1 2] adding [5 4] removing [1 2] evicted [3]")
}

// Nodes 1 and 2 go away one by one while 4 and 5 are in sync: with them everything goes that was
// acknowledged since.
func TestCancelThatWouldLoseWhatIsCommittedIsRefused(t *testing.T) {
	w := newWorld(t, 5)
	id := w.create("t", 1, nil, 1, 2)
	w.must(w.reassign(id, 4, 5))
	w.must(w.alter(id, member(1, 1), member(2, 1), member(4, 1), member(5, 1)))
	w.must(fence(1, 1))
	w.gets(Refused, w.reassign(id))
	w.must(fence(2, 1))
	w.gets(Refused, w.reassign(id))
	w.gets(Refused, w.reassign(id, 3, 2))
	w.must(w.finish(id))
	w.wants(id, "leader 4 epoch 2 isr [4.1 5.1] eligible [] last []")
}

// Where nobody who goes is in sync, the origin is as good as it was.
func TestCancelIsAcceptedBelowTheMinimumIfNobodyWhoHoldsAnythingGoes(t *testing.T) {
	w := newWorld(t, 4)
	id := w.create("t", 1, nil, 1, 2)
	w.must(w.reassign(id, 3, 4))
	w.must(fence(2, 1))
	w.wants(id, "leader 1 epoch 0 isr [1.1] eligible [2.1] last []")
	w.must(w.reassign(id))
	w.wants(id, "leader 1 epoch 1 isr [1.1] eligible [2.1] last []")
}

// From one replica to three with a minimum of two: acknowledgements go on, and the higher minimum counts
// once it can be met.
func TestMinimumIsThatOfTheSmallerFactorWhileReplicasMove(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1)
	least := func() int {
		topicNow, _ := w.im.TopicByID(id)
		return w.im.MinInSync(topicNow, topicNow.Partitions[0])
	}
	w.must(w.reassign(id, 1, 2, 3))
	if got := least(); got != 1 {
		t.Errorf("while it moves: got %d, want 1", got)
	}
	w.must(w.alter(id, member(1, 1), member(2, 1)))
	w.gets(Refused, w.finish(id))
	w.must(w.alter(id, member(1, 1), member(2, 1), member(3, 1)))
	w.must(w.finish(id))
	if got := least(); got != 2 {
		t.Errorf("afterwards: got %d, want 2", got)
	}
}

func TestImpossibleTargetsAreRefused(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2)
	w.gets(InvalidAssignment, w.reassign(id, 1, 9))
	w.gets(InvalidAssignment, w.reassign(id, 1, 1))
	empty := w.reassign(id)
	empty.Items[0].Target = []topic.NodeID{}
	w.gets(InvalidAssignment, empty)
	late := w.reassign(id, 1, 3)
	late.Items[0].PartitionEpoch--
	w.gets(Stale, late)
	late.Items[0].Partition.Index = 7
	w.gets(Unknown, late)
}

// An empty log must not become the truth because the others are away for a moment.
func TestReplicaThatIsBroughtIsNotElectedUncleanly(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, map[string]string{ConfigUncleanElection: "true"}, 1)
	w.must(w.reassign(id, 2))
	w.must(fence(1, 1))
	if got := w.partition(id, 0); got.Leader != topic.NoNode {
		t.Fatalf("got %s, want nobody to lead", show(got))
	}
	w.must(register(1, 2))
	if got := w.partition(id, 0); got.Leader != 1 {
		t.Fatalf("got %s, want node 1 to lead", show(got))
	}
}

func TestBrokerIsUnregisteredOnceItIsGoneAndEmpty(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 3)
	w.must(configureBrokers("3", 0, map[string]string{ConfigDraining: "true"}))
	w.must(SetVoters{After: []topic.NodeID{1, 3}})
	gone := UnregisterBroker{Node: 3}
	w.gets(Refused, gone)
	w.must(w.reassign(id, 1))
	w.must(w.alter(id, member(1, 1), member(3, 1)))
	w.must(w.finish(id))
	w.gets(Refused, gone)
	w.must(fence(3, 1))
	w.gets(Refused, gone)
	w.gets(Stale, SetVoters{After: []topic.NodeID{1}})
	w.gets(Refused, SetVoters{Before: []topic.NodeID{1, 3}})
	w.must(SetVoters{Before: []topic.NodeID{1, 3}, After: []topic.NodeID{1}})
	w.must(gone)
	w.gets(Unknown, gone)
	w.must(register(3, 1))
	if w.im.Draining(3) {
		t.Error("a broker that came anew is draining")
	}
}

func TestDrainingBrokersGetNoNewReplicas(t *testing.T) {
	w := newWorld(t, 4)
	w.must(configureBrokers("2", 0, map[string]string{ConfigDraining: "true"}))
	w.must(CreateTopics{Topics: []topic.Creation{creation("t", 12, 3)}})
	for _, p := range w.im.Topics()[0].Partitions {
		if p.Hosts(2) {
			t.Fatalf("got replicas %v on a draining broker", p.Replicas)
		}
	}
	w.must(CreateTopics{Topics: []topic.Creation{creation("u", 1, 4)}}) // where there is no other way
}
