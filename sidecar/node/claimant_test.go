package node

import (
	"fmt"
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// leaderless is a cluster of two whose only partition waits: both crashed under the interval policy, and 1
// is back.
func leaderless(t *testing.T) (*cluster.Image, topic.Partition) {
	t.Helper()
	b := cluster.Empty().Edit()
	index := uint64(0)
	apply := func(c cluster.Command) {
		index++
		if r := b.Apply(index, c); r.Err() != nil {
			t.Fatalf("%+v: %v", c, r.Err())
		}
	}
	register := func(id topic.NodeID, session, before topic.Session) {
		apply(cluster.RegisterBroker{Replaces: before, Broker: topic.Broker{ID: id, Session: session, Disk: topic.DiskID{byte(id)}}})
	}
	register(1, 11, 0)
	register(2, 21, 0)
	at := topic.Partition{Topic: topic.ID{1}}
	apply(cluster.CreateTopics{Topics: []topic.Creation{{ID: at.Topic, Name: "t",
		Assignments: [][]topic.NodeID{{1, 2}}, Configs: map[string]string{cluster.ConfigMinInSync: "2"}}}})
	register(2, 22, 21)
	register(1, 12, 11)
	return b.Image(), at
}

func TestLogIsClaimedOnceItFollowsTheLeaderlessEpoch(t *testing.T) {
	im, at := leaderless(t)
	p, _ := im.Partition(at)
	c := Claimant{Self: topic.Member{Node: 1, Session: 12}}
	if !c.Sync(im) {
		t.Fatal("nobody leads: got nothing to wait for, want the partition")
	}
	state := partition.State{TailEpoch: 0, LogEnd: 5, Role: partition.Role{Epoch: p.LeaderEpoch}}
	due := func(s partition.State, known bool) string {
		return fmt.Sprint(c.Due(func(topic.Partition) (partition.State, bool) { return s, known }).Items)
	}
	want := fmt.Sprint([]cluster.LogClaim{{Partition: at, LeaderEpoch: p.LeaderEpoch, TailEpoch: 0, End: 5}})
	if got := due(state, true); got != want {
		t.Errorf("a log in the leaderless epoch: got %s, want %s", got, want)
	}
	older, damaged := state, state
	older.Role.Epoch--
	damaged.Damaged = true
	for name, got := range map[string]string{
		"a log in the epoch before": due(older, true), "a damaged log": due(damaged, true), "no log": due(state, false),
	} {
		if got != "[]" {
			t.Errorf("%s: got %s, want no claim", name, got)
		}
	}
}

func TestNothingIsClaimedTwiceOrForALedPartition(t *testing.T) {
	im, at := leaderless(t)
	p, _ := im.Partition(at)
	c := Claimant{Self: topic.Member{Node: 1, Session: 12}}
	state := func(topic.Partition) (partition.State, bool) {
		return partition.State{TailEpoch: topic.NoEpoch, Role: partition.Role{Epoch: p.LeaderEpoch}}, true
	}
	c.Sync(im)
	b := im.Edit()
	b.Apply(im.AppliedIndex()+1, c.Due(state))
	if c.Sync(b.Image()); len(c.Due(state).Items) != 0 {
		t.Errorf("claimed already: got %v, want nothing", c.Due(state).Items)
	}
	b = b.Image().Edit()
	b.Apply(im.AppliedIndex()+2, cluster.ClaimLogs{Member: topic.Member{Node: 2, Session: 22},
		Items: []cluster.LogClaim{{Partition: at, LeaderEpoch: p.LeaderEpoch, TailEpoch: 0, End: 1}}})
	led := b.Image()
	if now, _ := led.Partition(at); now.Leader != 2 {
		t.Fatalf("both have claimed: got leader %d, want 2", now.Leader)
	}
	if c.Sync(led) {
		t.Error("2 leads: got something to wait for, want nothing")
	}
}
