package cluster

import (
	"slices"
	"testing"

	"outrigger/broker/topic"
)

func TestPreferredLeaderComesBackOnlyInSync(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("2"), 1, 2, 3)
	back := ElectPreferred{Partitions: []topic.Partition{{Topic: id}}}
	w.must(back)
	w.wants(id, "leader 1 epoch 0 isr [1.1 2.1 3.1] eligible [] last []")
	w.must(fence(1, 1))
	w.wants(id, "leader 2 epoch 1 isr [2.1 3.1] eligible [] last []")
	w.gets(Stale, back)
	w.must(register(1, 2))
	w.gets(Stale, back)
	w.must(w.alter(id, member(1, 2), member(2, 1), member(3, 1)))
	w.wants(id, "leader 2 epoch 1 isr [1.2 2.1 3.1] eligible [] last []")
	before := w.alter(id, member(2, 1), member(3, 1))
	w.must(back)
	w.must(back)
	w.wants(id, "leader 1 epoch 2 isr [1.2 2.1 3.1] eligible [] last []")
	w.gets(Stale, before) // what the leader before asked for
	w.gets(Unknown, ElectPreferred{Partitions: []topic.Partition{{Topic: id, Index: 7}}})
	w.gets(Unknown, ElectPreferred{Partitions: []topic.Partition{{Topic: idOf("none")}}})
}

// Who is given leaderships back lacks more than it may, lives, is in sync and is not draining.
func TestImbalanceIsWhatLiveBrokersLack(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 4, minimum("2"), 1, 2, 3)
	w.create("other", 6, minimum("2"), 2, 1, 3)
	everybody := func(topic.NodeID) bool { return true }
	wants := func(when string, percent int, of func(topic.NodeID) bool, due int, lacking ...topic.NodeID) {
		t.Helper()
		got, lack := w.im.Imbalanced(percent, 1000, of)
		if len(got.Partitions) != due || !slices.Equal(lack, lacking) {
			t.Errorf("%s: got %v and %v, want %d partitions and %v", when, got, lack, due, lacking)
		}
	}
	wants("balanced", 0, everybody, 0)
	w.must(fence(1, 1))
	wants("away", 0, everybody, 0)
	w.must(register(1, 2))
	wants("out of sync", 0, everybody, 0, 1)
	w.must(w.alter(id, member(1, 2), member(2, 1), member(3, 1))) // of partition 0
	wants("in sync", 10, everybody, 1, 1)
	wants("in sync, of others", 10, func(node topic.NodeID) bool { return node != 1 }, 0)
	wants("in sync, all may be missing", 100, everybody, 0)
	w.must(AlterConfigs{Changes: []topic.ConfigChange{{Kind: topic.BrokerConfigs, Name: "1", Values: map[string]string{ConfigDraining: "true"}}}})
	wants("draining", 10, everybody, 0)
}
