package broker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// reassigned asks for replicas of partition 0 of a topic (nil takes a reassignment back) and returns the code.
func reassigned(c *rawClient, name string, replicas []int32, factorMayChange bool) int16 {
	q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	q.Version = 1
	q.AllowReplicationFactorChange = factorMayChange
	q.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: name,
		Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 0, Replicas: replicas}}}}
	return c.ask(q).(*kmsg.AlterPartitionAssignmentsResponse).Topics[0].Partitions[0].ErrorCode
}

// listedMoves are the reassignments under way as a client sees them.
func listedMoves(c *rawClient, topics ...kmsg.ListPartitionReassignmentsRequestTopic) string {
	q := kmsg.NewPtrListPartitionReassignmentsRequest()
	q.Topics = topics
	listed := ""
	for _, t := range c.ask(q).(*kmsg.ListPartitionReassignmentsResponse).Topics {
		for _, p := range t.Partitions {
			listed += fmt.Sprintf("%s-%d %v +%v -%v;", t.Topic, p.Partition, p.Replicas, p.AddingReplicas, p.RemovingReplicas)
		}
	}
	return listed
}

func TestReassignmentsAreJudgedAndListed(t *testing.T) {
	h := start(t)
	h.create("moved", 1)
	h.create("still", 1)
	for _, id := range []topic.NodeID{2, 3} {
		h.cluster.addBroker(topic.Broker{ID: id, Session: 5})
	}
	c := h.dial()
	for name, is := range map[string]struct {
		topic    string
		replicas []int32
		fixed    bool
		want     code
	}{
		"unknown topic":     {"none", []int32{2}, false, codeUnknownTopicOrPartition},
		"unknown broker":    {"moved", []int32{9}, false, codeInvalidReplicaAssignment},
		"twice":             {"moved", []int32{2, 2}, false, codeInvalidReplicaAssignment},
		"nobody":            {"moved", []int32{}, false, codeInvalidReplicaAssignment},
		"another factor":    {"moved", []int32{2, 3}, true, codeInvalidReplicationFactor},
		"nothing to cancel": {"moved", nil, false, codeNoReassignment},
	} {
		expectCode(t, name, reassigned(c, is.topic, is.replicas, !is.fixed), is.want)
	}
	h.cluster.moves.Store(2) // other changes come first, twice
	onlyCode(t, "reassign", reassigned(c, "moved", []int32{2}, true))
	const want = "moved-0 [1] +[2] -[1];"
	if got := listedMoves(c); got != want {
		t.Errorf("all: got %q, want %q", got, want)
	}
	asked := func(name string, indexes ...int32) kmsg.ListPartitionReassignmentsRequestTopic {
		return kmsg.ListPartitionReassignmentsRequestTopic{Topic: name, Partitions: indexes}
	}
	if got := listedMoves(c, asked("moved", 0, 7), asked("still", 0), asked("none", 0)); got != want {
		t.Errorf("some: got %q, want %q", got, want)
	}
	onlyCode(t, "cancel", reassigned(c, "moved", nil, true))
	if got := listedMoves(c); got != "" {
		t.Errorf("after it was taken back: got %q, want nothing", got)
	}
}

func TestMembersAreChangedByCompareAndSet(t *testing.T) {
	h := start(t)
	h.cluster.addBroker(topic.Broker{ID: 2, Session: 5})
	h.cluster.addBroker(topic.Broker{ID: 3, Session: 6, Fenced: true})
	c := h.dial()
	vote := func(id int32, cluster string) int16 {
		q := kmsg.NewPtrAddRaftVoterRequest()
		q.VoterID, q.ClusterID = id, kmsg.StringPtr(cluster)
		return c.ask(q).(*kmsg.AddRaftVoterResponse).ErrorCode
	}
	unregister := func(id int32) int16 {
		q := kmsg.NewPtrUnregisterBrokerRequest()
		q.BrokerID = id
		return c.ask(q).(*kmsg.UnregisterBrokerResponse).ErrorCode
	}
	expectCode(t, "another cluster", vote(2, "elsewhere"), codeInconsistentClusterID)
	expectCode(t, "a stranger", vote(9, ""), codeBrokerIDNotRegistered)
	onlyCode(t, "vote", vote(2, h.cluster.View().ClusterID()))
	if got := h.cluster.View().Voters(); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("voters: got %v, want who voted and node 2", got)
	}
	remove := kmsg.NewPtrRemoveRaftVoterRequest()
	remove.VoterID = 1
	onlyCode(t, "vote no more", c.ask(remove).(*kmsg.RemoveRaftVoterResponse).ErrorCode)
	if got := h.cluster.View().Voters(); fmt.Sprint(got) != "[2]" {
		t.Errorf("voters: got %v, want node 2", got)
	}
	expectCode(t, "unregister a live broker", unregister(2), codeInvalidRequest)
	onlyCode(t, "unregister", unregister(3))
	expectCode(t, "unregister it again", unregister(3), codeBrokerIDNotRegistered)
}

func TestThrottlesAreChecked(t *testing.T) {
	for value, valid := range map[string]bool{
		"": true, "*": true, "none": true, "0:1,12:3": true, "0:1, 2:2": true, "0": false, "a:1": false, "0:-1": false, "0:1,": false,
	} {
		if got := throttledReplicas(value) == nil; got != valid {
			t.Errorf("%q: valid %v, want %v", value, got, valid)
		}
	}
}
