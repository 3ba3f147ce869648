package cluster

import (
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
