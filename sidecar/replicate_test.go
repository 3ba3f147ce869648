package sidecar

import (
	"testing"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/node"
)

// 1. A batch is sealed, 2. its topic is deleted, 3. its group is synced, and nobody is told, since no
// log is left that it touched. The data path does not hang for that.
func TestGroupOfADeletedTopicIsNotWaitedForForEver(t *testing.T) {
	st := newStage(t, 3)
	st.replication.Sealed([]partition.Entry{{Partition: topic.Partition{Topic: topic.ID{1}}}})
	st.now += time.Minute
	if st.disclaims() {
		t.Error("the node disclaims, although everything in its WAL is synced")
	}
}

// The image that a node starts with is empty: the tombstones come later, and with them the end of the
// logs that were left from before the restart.
func TestLogsOfTopicsDeletedWhileTheNodeWasDownGo(t *testing.T) {
	st := newStage(t, 3)
	gone, kept := topic.Partition{Topic: topic.ID{1}}, topic.Partition{Topic: topic.ID{2}}
	st.cfg.Logs.Create(gone)
	st.cfg.Logs.Create(kept)
	st.replication.machine.Turn(&node.Arrivals{}, node.View{Image: cluster.Empty()}, 0)

	b := st.current().Image.Edit()
	index := st.current().Image.AppliedIndex()
	b.Apply(index+1, cluster.CreateTopics{Topics: []topic.Creation{
		{ID: gone.Topic, Name: "gone", Partitions: 1, ReplicationFactor: 3},
		{ID: kept.Topic, Name: "kept", Partitions: 1, ReplicationFactor: 3},
	}})
	b.Apply(index+2, cluster.DeleteTopics{IDs: []topic.ID{gone.Topic}})
	st.replication.machine.Turn(&node.Arrivals{}, node.View{Image: b.Image()}, 0)
	if got := st.cfg.Logs.Partitions(); len(got) != 1 || got[0] != kept {
		t.Errorf("got logs %v, want only %v", got, kept)
	}
	if got := st.replication.machine.Strays(); got != 0 {
		t.Errorf("got %d strays, want none", got)
	}
}

// A log is kept whose topic the cluster does not know, nor that it was deleted, and somebody hears of it. It is none any
// more once the cluster knows it.
func TestLogsOfUnknownTopicsAreKeptAndTold(t *testing.T) {
	st := newStage(t, 3)
	stray := topic.Partition{Topic: topic.ID{9}}
	st.cfg.Logs.Create(stray)
	st.replication.machine.Turn(&node.Arrivals{}, node.View{Image: cluster.Empty()}, 0)
	if got := st.replication.machine.Strays(); got != 0 {
		t.Fatalf("got %d strays by an image that does not know this session, want none yet", got)
	}
	st.replication.machine.Turn(&node.Arrivals{}, st.current().View, 0)
	if got := st.replication.machine.Strays(); got != 1 || len(st.cfg.Logs.Partitions()) != 1 {
		t.Errorf("got %d strays of logs %v, want one that is kept", got, st.cfg.Logs.Partitions())
	}
	st.replication.handOut()
	if got := st.metrics.strays.Load(); got != 1 {
		t.Errorf("the metric tells %d strays, want 1", got)
	}
	b := st.current().Image.Edit()
	b.Apply(st.current().Image.AppliedIndex()+1, cluster.CreateTopics{Topics: []topic.Creation{
		{ID: stray.Topic, Name: "known", Assignments: [][]topic.NodeID{{2, 3, 1}}},
	}})
	st.replication.machine.Turn(&node.Arrivals{}, node.View{Image: b.Image()}, 0)
	st.replication.handOut()
	if got := st.metrics.strays.Load(); got != 0 {
		t.Errorf("the metric tells %d strays once the topic is known, want none", got)
	}
}
