package cluster

import (
	"reflect"
	"testing"

	"outrigger/broker/topic"
)

func (w *world) quarantine(id topic.ID, m topic.Member) QuarantineReplicas {
	return QuarantineReplicas{Member: m, Items: []ReplicaQuarantine{{
		Partition: topic.Partition{Topic: id}, LeaderEpoch: w.partition(id, 0).LeaderEpoch,
	}}}
}

// The sets and the epochs of every case in the short form of show.
func TestQuarantinedReplicaCountsForNothing(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("2"), 1, 2, 3)
	before := w.partition(id, 0)
	w.must(w.quarantine(id, member(2, 1)))
	p := w.partition(id, 0)
	if p.Leader != 1 || p.InSync(member(2, 1)) || len(p.ISR) != 2 || p.LeaderEpoch != before.LeaderEpoch+1 {
		t.Fatalf("a follower: %s after %s", show(p), show(before))
	}
	// What the leader of the old epoch wished is void: it has proof of a log that is no more.
	stale := AlterISR{Changes: []ISRChange{{Partition: topic.Partition{Topic: id}, LeaderEpoch: before.LeaderEpoch,
		PartitionEpoch: p.PartitionEpoch, Leader: member(1, 1), ISR: []topic.Member{member(1, 1), member(2, 1), member(3, 1)}}}}
	w.gets(Stale, stale)

	// A replica outside of every set: the leader's proof is void, too.
	w.must(w.quarantine(id, member(2, 1)))
	if again := w.partition(id, 0); again.LeaderEpoch != p.LeaderEpoch+1 || len(again.ISR) != 2 {
		t.Fatalf("outside: %s after %s", show(again), show(p))
	}
	// The leader: another in-sync replica leads.
	w.must(w.quarantine(id, member(1, 1)))
	p = w.partition(id, 0)
	if p.Leader != 3 || len(p.ISR) != 1 || len(p.Eligible) != 0 || p.Unclean ||
		!reflect.DeepEqual(p.LastKnown, []topic.NodeID{1}) {
		t.Fatalf("the leader: %s", show(p))
	}
	// The last one goes on.
	w.gets(Refused, w.quarantine(id, member(3, 1)))
	if again := w.partition(id, 0); again != p {
		t.Fatalf("the last one: %s after %s", show(again), show(p))
	}
	// A repetition that lost its epoch, a wrong session, a partition of others.
	w.gets(Stale, QuarantineReplicas{Member: member(1, 1), Items: []ReplicaQuarantine{{
		Partition: topic.Partition{Topic: id}, LeaderEpoch: p.LeaderEpoch - 1}}})
	w.gets(Stale, w.quarantine(id, member(1, 2)))
	w.gets(Unknown, w.quarantine(id, member(4, 1)))
	w.gets(Unknown, QuarantineReplicas{Member: member(1, 1), Items: []ReplicaQuarantine{{
		Partition: topic.Partition{Topic: idOf("none")}}}})
}

// An eligible replica that is live holds everything committed, so it may take over; a dead one may not,
// and a topic that allows unclean elections is no reason for one.
func TestQuarantineOfTheLastInSyncReplicaNeedsALiveCleanOne(t *testing.T) {
	for _, unclean := range []string{"false", "true"} {
		w := newWorld(t, 2)
		id := w.create("t", 1, map[string]string{ConfigMinInSync: "2", ConfigUncleanElection: unclean}, 1, 2)
		w.must(fence(2, 1))
		w.gets(Refused, w.quarantine(id, member(1, 1)))
		w.must(register(2, 1))
		w.must(w.quarantine(id, member(1, 1)))
		if p := w.partition(id, 0); p.Leader != 2 || p.Unclean || len(p.ISR) != 1 || len(p.Eligible) != 0 {
			t.Fatalf("got %s", show(p))
		}
		// Now 2 dies: the damaged one may lead only where the topic says that anybody may.
		w.must(fence(2, 1))
		if p := w.partition(id, 0); (p.Leader == 1) != (unclean == "true") {
			t.Fatalf("unclean %s: got %s", unclean, show(p))
		}
	}
}

func TestQuarantinesAreAskedForOncePerPlacement(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("1"), 1)
	other := w.create("u", 1, minimum("1"), 2, 3)
	p := topic.Partition{Topic: id}
	damaged := []topic.Partition{p, {Topic: other}, {Topic: idOf("gone")}}
	refused := map[topic.Partition]int32{}
	got := w.im.Quarantines(member(1, 1), damaged, refused)
	if want := w.quarantine(id, member(1, 1)); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	w.gets(Refused, got)
	refused[p] = w.partition(id, 0).PartitionEpoch
	if got := w.im.Quarantines(member(1, 1), damaged, refused); len(got.Items) > 0 {
		t.Errorf("asks again for %+v", got)
	}
	w.must(SetDefaults{MinInSync: 3})
	w.must(fence(1, 1))
	w.must(register(1, 1))
	if got := w.im.Quarantines(member(1, 1), damaged, refused); len(got.Items) != 1 {
		t.Errorf("got %+v after the placement changed", got)
	}
	if got := w.im.Quarantines(member(1, 2), damaged, nil); len(got.Items) > 0 {
		t.Errorf("a session that is not live asks for %+v", got)
	}
}
