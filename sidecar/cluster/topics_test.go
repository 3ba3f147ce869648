package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

func creation(name string, partitions int32, factor int16) topic.Creation {
	return topic.Creation{ID: idOf(name), Name: name, Partitions: partitions, ReplicationFactor: factor}
}

// assigned is a topic whose replicas the client chose.
func assigned(assignments [][]topic.NodeID) topic.Creation {
	return topic.Creation{ID: idOf("p"), Name: "p", Assignments: assignments}
}

func TestSixPartitionsOnThreeBrokersLeadTwoEach(t *testing.T) {
	w := newWorld(t, 3)
	w.must(CreateTopics{Topics: []topic.Creation{creation("t", 6, 3)}})
	counts := w.im.Counts()
	for _, b := range counts.Brokers {
		if b.Leaders != 2 || b.Replicas != 6 {
			t.Errorf("broker %d: got %d leaders and %d replicas, want 2 and 6", b.Node, b.Leaders, b.Replicas)
		}
	}
	w.must(fence(1, 1))
	for _, b := range w.im.Counts().Brokers[1:] {
		if b.Leaders != 3 {
			t.Errorf("broker %d after a fence: got %d leaders, want 3", b.Node, b.Leaders)
		}
	}
	counts = w.im.Counts()
	if counts.UnderReplicated != 6 || counts.Offline != 0 || counts.Partitions != 6 || counts.UnderMinimum != 0 {
		t.Errorf("counts: got %+v", counts)
	}
}

func TestTopicsOfOnePartitionSpread(t *testing.T) {
	w := newWorld(t, 5)
	for i := range 100 {
		w.must(CreateTopics{Topics: []topic.Creation{creation(fmt.Sprintf("t%d", i), 1, 3)}})
	}
	for _, b := range w.im.Counts().Brokers {
		if b.Leaders != 20 || b.Replicas != 60 {
			t.Errorf("broker %d: got %d leaders and %d replicas, want 20 and 60", b.Node, b.Leaders, b.Replicas)
		}
	}
}

func TestReplicasSpreadOverRacks(t *testing.T) {
	w := newWorld(t, 0)
	racks := map[topic.NodeID]string{1: "a", 2: "a", 3: "a", 4: "b", 5: "b", 6: "c"}
	for node := topic.NodeID(1); node <= 6; node++ {
		r := register(node, 1)
		r.Broker.Rack = racks[node]
		w.must(r)
	}
	w.must(CreateTopics{Topics: []topic.Creation{creation("t", 60, 3)}})
	id := idOf("t")
	for i := range int32(60) {
		seen := map[string]bool{}
		for _, node := range w.partition(id, i).Replicas {
			seen[racks[node]] = true
		}
		if len(seen) != 3 {
			t.Fatalf("partition %d on %v: got %d racks, want 3", i, w.partition(id, i).Replicas, len(seen))
		}
	}
	for _, b := range w.im.Counts().Brokers {
		if b.Leaders != 10 {
			t.Errorf("broker %d: got %d leaders, want 10", b.Node, b.Leaders)
		}
	}
}

func TestCreationAgainIsSuccessAndAnotherIDIsTaken(t *testing.T) {
	w := newWorld(t, 3)
	c := creation("orders", 3, 3)
	w.gets(OK, CreateTopics{Topics: []topic.Creation{c}})
	first, _ := w.im.TopicByName("orders")
	w.gets(OK, CreateTopics{Topics: []topic.Creation{c}})
	if again, _ := w.im.TopicByName("orders"); again != first {
		t.Error("creating again changed the topic")
	}
	c.ID = idOf("another")
	w.gets(NameTaken, CreateTopics{Topics: []topic.Creation{c}})
	c.Name, c.ID = "elsewhere", first.ID
	w.gets(Refused, CreateTopics{Topics: []topic.Creation{c}})
	c.ID = topic.ID{}
	w.gets(Refused, CreateTopics{Topics: []topic.Creation{c}})
}

func TestCreationRefusals(t *testing.T) {
	w := newWorld(t, 3)
	w.must(CreateTopics{Topics: []topic.Creation{creation("a.b_c", 1, 1)}})
	w.must(fence(3, 1))
	cases := []struct {
		creation topic.Creation
		want     Status
		err      error
	}{
		{creation("..", 1, 1), InvalidName, topic.ErrInvalidName},
		{creation("a/b", 1, 1), InvalidName, topic.ErrInvalidName},
		{creation("a_b.c", 1, 1), InvalidName, topic.ErrInvalidName},
		{creation("a.b_c", 1, 1), OK, nil},
		{creation("p", 0, 1), InvalidPartitions, topic.ErrInvalidPartitions},
		{creation("p", PartitionsMax+1, 1), InvalidPartitions, topic.ErrInvalidPartitions},
		{creation("p", 1, 0), InvalidReplicationFactor, topic.ErrInvalidReplicationFactor},
		{creation("p", 1, 4), InvalidReplicationFactor, topic.ErrInvalidReplicationFactor},
		{assigned([][]topic.NodeID{}), InvalidPartitions, topic.ErrInvalidPartitions},
		{topic.Creation{ID: idOf("p"), Name: "p", Partitions: 2,
			Assignments: [][]topic.NodeID{{1}}}, InvalidPartitions, topic.ErrInvalidPartitions},
		{assigned([][]topic.NodeID{{1, 1}}), InvalidAssignment, topic.ErrInvalidAssignment},
		{assigned([][]topic.NodeID{{1, 9}}), InvalidAssignment, topic.ErrInvalidAssignment},
		{assigned([][]topic.NodeID{{1, 2}, {1}}), InvalidAssignment, topic.ErrInvalidAssignment},
		{assigned([][]topic.NodeID{{}}), InvalidAssignment, topic.ErrInvalidAssignment},
		{assigned([][]topic.NodeID{{3}}), InvalidAssignment, topic.ErrInvalidAssignment},
		{topic.Creation{ID: idOf("p"), Name: "p", Partitions: 1, ReplicationFactor: 1,
			Configs: minimum("x")}, InvalidConfig, topic.ErrInvalidConfig},
		{topic.Creation{ID: idOf("p"), Name: "p", Partitions: 1, ReplicationFactor: 1,
			Configs: map[string]string{ConfigUncleanElection: "yes"}}, InvalidConfig, topic.ErrInvalidConfig},
	}
	for i, c := range cases {
		got := w.apply(CreateTopics{Topics: []topic.Creation{c.creation}})
		if got.Items[0] != c.want || !errors.Is(got.ItemErrs()[0], c.err) {
			t.Errorf("case %d: got %v, want %v", i, got.Items[0], c.want)
		}
	}
}

func TestFencedReplicaStartsOutOfSync(t *testing.T) {
	w := newWorld(t, 3)
	w.must(fence(1, 1))
	id := w.create("t", 1, nil, 1, 2, 3)
	w.wants(id, "leader 2 epoch 0 isr [2.1 3.1] eligible [] last []")
}

func TestDeletedTopicLeavesATombstoneAndStaysDeleted(t *testing.T) {
	w := newWorld(t, 3)
	c := creation("a.b", 1, 3)
	w.must(CreateTopics{Topics: []topic.Creation{c}})
	w.gets(OK, DeleteTopics{IDs: []topic.ID{c.ID}})
	w.gets(OK, DeleteTopics{IDs: []topic.ID{c.ID}})
	w.gets(Unknown, DeleteTopics{IDs: []topic.ID{idOf("never")}})
	if !w.im.Deleted(c.ID) || w.im.Deleted(idOf("never")) {
		t.Error("tombstones: want one for the deleted topic only")
	}
	w.gets(Stale, CreateTopics{Topics: []topic.Creation{c}})
	again := creation("a_b", 1, 3)
	w.gets(OK, CreateTopics{Topics: []topic.Creation{again}})
}

func TestTombstonesAreBounded(t *testing.T) {
	b := Empty().Edit()
	id := func(i int) topic.ID {
		var id topic.ID
		binary.BigEndian.PutUint64(id[:], uint64(i*2654435761+1))
		return id
	}
	for i := range TombstonesMax + 100 {
		b.bury(id(i))
	}
	im := b.Image()
	if err := im.Check(); err != nil {
		t.Fatal(err)
	}
	if im.Deleted(id(99)) || !im.Deleted(id(100)) || im.burials.count != TombstonesMax {
		t.Errorf("got %d tombstones, want the latest %d", im.burials.count, TombstonesMax)
	}
}

func TestCreatePartitionsGrowsOnly(t *testing.T) {
	w := newWorld(t, 3)
	w.must(CreateTopics{Topics: []topic.Creation{creation("t", 2, 2)}})
	id := idOf("t")
	grow := func(total int32, assignments ...[]topic.NodeID) CreatePartitions {
		return CreatePartitions{Growths: []topic.Growth{{ID: id, Total: total, Assignments: assignments}}}
	}
	first := w.partition(id, 0)
	w.gets(OK, grow(5))
	w.gets(OK, grow(5))
	w.gets(InvalidPartitions, grow(4))
	w.gets(InvalidPartitions, grow(PartitionsMax+1))
	w.gets(InvalidAssignment, grow(6, []topic.NodeID{1}))
	w.gets(InvalidAssignment, grow(6, []topic.NodeID{1, 2}, []topic.NodeID{1, 3}))
	w.gets(OK, grow(6, []topic.NodeID{3, 1}))
	w.gets(Unknown, CreatePartitions{Growths: []topic.Growth{{ID: idOf("none"), Total: 3}}})
	if w.partition(id, 0) != first {
		t.Error("growing touched an old partition")
	}
	if got := w.partition(id, 5).Replicas; !slices.Equal(got, []topic.NodeID{3, 1}) {
		t.Errorf("assigned replicas: got %v", got)
	}
	w.must(fence(1, 1))
	w.must(fence(2, 1))
	w.gets(OK, grow(7))
	w.must(fence(3, 1))
	w.gets(InvalidReplicationFactor, grow(8))
}

// A topic can be created while a broker is down: the replica that it will hold is out of the in-sync
// set until it is back.
func TestCreationCountsBrokersThatAreDown(t *testing.T) {
	w := newWorld(t, 3)
	w.must(fence(2, 1))
	w.gets(OK, CreateTopics{Topics: []topic.Creation{creation("t", 6, 3)}})
	created, _ := w.im.TopicByName("t")
	for i, p := range created.Partitions {
		if len(p.Replicas) != 3 || !p.Hosts(2) || len(p.ISR) != 2 || p.Leader == 2 || p.Replicas[0] == 2 {
			t.Errorf("partition %d: %+v, want broker 2 as a replica out of sync", i, p)
		}
	}
}

func TestViewIsSorted(t *testing.T) {
	w := newWorld(t, 3)
	for _, name := range []string{"m", "b", "z", "a"} {
		w.create(name, 1, nil, 1)
	}
	var names []string
	for _, topicNow := range w.im.Topics() {
		names = append(names, topicNow.Name)
	}
	if !slices.Equal(names, []string{"a", "b", "m", "z"}) {
		t.Errorf("topics: got %v", names)
	}
	w.must(fence(2, 1))
	live, all := w.im.Brokers(), w.im.Registered()
	if len(live) != 2 || live[0].ID != 1 || live[1].ID != 3 || len(all) != 3 || !all[1].Fenced {
		t.Errorf("brokers: got %v of %v", live, all)
	}
}
