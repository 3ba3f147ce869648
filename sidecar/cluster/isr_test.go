package cluster

import (
	"testing"

	"outrigger/broker/topic"
)

func TestAlterISRComparesBothEpochsAndTheLeadersSession(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	base := w.alter(id, member(1, 1), member(2, 1))
	for name, spoil := range map[string]func(*ISRChange){
		"leader epoch":    func(c *ISRChange) { c.LeaderEpoch++ },
		"partition epoch": func(c *ISRChange) { c.PartitionEpoch++ },
		"leader":          func(c *ISRChange) { c.Leader = member(2, 1) },
		"leader session":  func(c *ISRChange) { c.Leader = member(1, 2) },
	} {
		spoiled := AlterISR{Changes: append([]ISRChange(nil), base.Changes...)}
		spoil(&spoiled.Changes[0])
		if got := w.apply(spoiled).Items[0]; got != Stale {
			t.Errorf("other %s: got %v, want stale", name, got)
		}
	}
	w.gets(Unknown, AlterISR{Changes: []ISRChange{{Partition: topic.Partition{Topic: id, Index: 7}}}})
	w.gets(OK, base)
	w.wants(id, "leader 1 epoch 0 isr [1.1 2.1] eligible [] last []")
	w.gets(OK, base) // The same again, its outcome having been unknown.
	w.gets(Stale, AlterISR{Changes: []ISRChange{{Partition: topic.Partition{Topic: id},
		PartitionEpoch: base.Changes[0].PartitionEpoch, Leader: member(1, 1),
		ISR: []topic.Member{member(1, 1), member(3, 1)}}}})
}

func TestAlterISRAdmitsOnlyLiveMembersInTheirSession(t *testing.T) {
	w := newWorld(t, 4)
	id := w.create("t", 1, nil, 1, 2, 3)
	w.must(fence(3, 1))
	w.gets(Refused, w.alter(id, member(1, 1), member(2, 1), member(3, 1)))
	w.must(register(3, 2))
	w.gets(Refused, w.alter(id, member(1, 1), member(2, 1), member(3, 1)))
	w.gets(Refused, w.alter(id, member(2, 1)))
	w.gets(Refused, w.alter(id))
	w.gets(Refused, w.alter(id, member(1, 1), member(1, 1)))
	w.gets(Refused, w.alter(id, member(1, 1), member(4, 1)))
	w.gets(OK, w.alter(id, member(3, 2), member(1, 1), member(2, 1)))
	w.wants(id, "leader 1 epoch 0 isr [1.1 2.1 3.2] eligible [] last []")
}

// A leader that must be sure that an earlier wish of its cannot happen any more asks for the set as it
// is: that moves the partition epoch. Without it the leader would wait for the earlier wish for ever.
func TestAlterISRToTheSameSetEndsEarlierWishes(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	w.must(w.alter(id, member(1, 1), member(2, 1)))
	wish := w.alter(id, member(1, 1), member(2, 1), member(3, 1))
	w.must(fence(3, 1))
	w.gets(Refused, wish)
	same := w.alter(id, member(2, 1), member(1, 1))
	w.must(same)
	if got, want := w.partition(id, 0).PartitionEpoch, same.Changes[0].PartitionEpoch+1; got != want {
		t.Errorf("partition epoch: got %d, want %d", got, want)
	}
	w.must(same) // Its outcome having been unknown.
	w.must(register(3, 1))
	w.gets(Stale, wish)
	w.wants(id, "leader 1 epoch 0 isr [1.1 2.1] eligible [] last []")
}

func TestAlterISRGivesEachItemItsOwnStatus(t *testing.T) {
	w := newWorld(t, 3)
	a := w.create("a", 1, nil, 1, 2, 3)
	b := w.create("b", 1, nil, 1, 2, 3)
	both := AlterISR{Changes: append(w.alter(a, member(1, 1)).Changes, w.alter(b, member(1, 1), member(3, 1)).Changes...)}
	both.Changes[0].PartitionEpoch = 5
	got := w.apply(both)
	if got.Items[0] != Stale || got.Items[1] != OK {
		t.Errorf("got %v, want stale and ok", got.Items)
	}
	if errs := got.ItemErrs(); errs[0] == nil || errs[1] != nil {
		t.Errorf("errors: got %v", errs)
	}
	w.wants(b, "leader 1 epoch 0 isr [1.1 3.1] eligible [] last []")
}

func TestShrinkBelowMinimumKeepsTheRemovedEligible(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, nil, 1, 2, 3)
	w.must(w.alter(id, member(1, 1)))
	w.wants(id, "leader 1 epoch 0 isr [1.1] eligible [2.1 3.1] last []")
	w.must(fence(1, 1))
	w.wants(id, "leader 2 epoch 1 isr [2.1] eligible [1.1 3.1] last []")
}

func TestLowerMinimumForgetsTheEligible(t *testing.T) {
	// From the record on that lowers the minimum, the leader may commit alone.
	w := newWorld(t, 3)
	own := w.create("own", 1, minimum("2"), 1, 2, 3)
	inherits := w.create("inherits", 1, nil, 1, 2, 3)
	w.must(w.alter(own, member(1, 1)))
	w.must(w.alter(inherits, member(1, 1)))
	w.must(SetDefaults{MinInSync: 1})
	w.wants(own, "leader 1 epoch 0 isr [1.1] eligible [2.1 3.1] last []")
	w.wants(inherits, "leader 1 epoch 0 isr [1.1] eligible [] last []")
	w.must(configure(own, nil))
	w.wants(own, "leader 1 epoch 0 isr [1.1] eligible [] last []")
	w.gets(InvalidConfig, configure(own, minimum("0")))
	w.gets(Unknown, configure(idOf("none"), nil))
	w.gets(Refused, SetDefaults{})
}

func TestMinimumIsNeverMoreThanTheReplicas(t *testing.T) {
	w := newWorld(t, 3)
	for _, c := range []struct {
		configs  map[string]string
		replicas []topic.NodeID
		want     int
	}{
		{nil, []topic.NodeID{1}, 1},
		{nil, []topic.NodeID{1, 2, 3}, 2},
		{minimum("5"), []topic.NodeID{1, 2, 3}, 3},
		{minimum("1"), []topic.NodeID{1, 2, 3}, 1},
	} {
		id := w.create("t", 1, c.configs, c.replicas...)
		topicNow, _ := w.im.TopicByID(id)
		if got := w.im.MinInSync(topicNow, topicNow.Partitions[0]); got != c.want {
			t.Errorf("%v on %v: got %d, want %d", c.configs, c.replicas, got, c.want)
		}
		w.must(DeleteTopics{IDs: []topic.ID{id}})
		w = newWorld(t, 3)
	}
}
