package sidecar

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// TestQuorumTellsWhoIsBehind: who has what is committed is caught up, and nothing is said of a peer
// that was never heard. It survives its bytes.
func TestQuorumTellsWhoIsBehind(t *testing.T) {
	status := &node.Status{}
	status.Node, status.Disk, status.Voter = 1, topic.DiskID{1}, true
	status.Term, status.Commit, status.LastIndex = 7, 90, 95
	status.Peers = []raft.PeerStatus{
		{Member: raft.Member{Node: 2, Disk: topic.DiskID{2}}, Voter: true, Match: 92, ContactTicks: 2},
		{Member: raft.Member{Node: 3, Disk: topic.DiskID{3}}, Voter: true, Match: 50, ContactTicks: 40},
		{Member: raft.Member{Node: 4, Disk: topic.DiskID{4}}},
	}
	want := topic.Quorum{
		Leader: 1, Term: 7, Commit: 90,
		Voters: []topic.QuorumReplica{
			{Node: 1, Disk: topic.DiskID{1}, LastIndex: 95, CaughtUp: true},
			{Node: 2, Disk: topic.DiskID{2}, LastIndex: 92, SilentMillis: 300, CaughtUp: true},
			{Node: 3, Disk: topic.DiskID{3}, LastIndex: 50, SilentMillis: 6000},
		},
		Learners: []topic.QuorumReplica{{Node: 4, Disk: topic.DiskID{4}}},
	}
	got := quorumOf(status, 150*time.Millisecond)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again topic.Quorum
	if err := json.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("after its bytes: got %+v, %v", again, err)
	}
}
