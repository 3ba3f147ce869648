package e2e

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// creations: what is refused of topics, and how.
func (d *dialogue) creations() {
	type wanted = kmsg.CreateTopicsRequestTopic
	config := func(name, value string) []kmsg.CreateTopicsRequestTopicConfig {
		return []kmsg.CreateTopicsRequestTopicConfig{{Name: name, Value: &value}}
	}
	assigned := func(brokers ...[]int32) (all []kmsg.CreateTopicsRequestTopicReplicaAssignment) {
		for i, to := range brokers {
			all = append(all, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: to})
		}
		return all
	}
	for _, s := range []struct {
		step string
		t    []wanted
	}{
		{"create one that exists", []wanted{{Topic: "diff-a", NumPartitions: 1, ReplicationFactor: 1}}},
		{"create a bad name", []wanted{{Topic: "a/b", NumPartitions: 1, ReplicationFactor: 1}}},
		{"create no name", []wanted{{Topic: "", NumPartitions: 1, ReplicationFactor: 1}}},
		{"create dots", []wanted{{Topic: "..", NumPartitions: 1, ReplicationFactor: 1}}},
		{"create a long name", []wanted{{Topic: strings.Repeat("n", 250), NumPartitions: 1, ReplicationFactor: 1}}},
		{"create no partitions", []wanted{{Topic: "diff-d", NumPartitions: 0, ReplicationFactor: 1}}},
		{"create fewer than no partitions", []wanted{{Topic: "diff-d", NumPartitions: -2, ReplicationFactor: 1}}},
		{"create too many partitions", []wanted{{Topic: "diff-d", NumPartitions: 10_001, ReplicationFactor: 1}}},
		{"create no replicas", []wanted{{Topic: "diff-d", NumPartitions: 1, ReplicationFactor: 0}}},
		{"create more replicas than brokers", []wanted{{Topic: "diff-d", NumPartitions: 1, ReplicationFactor: 2}}},
		{"create twice in one request", []wanted{{Topic: "diff-d", NumPartitions: 1, ReplicationFactor: 1}, {Topic: "diff-d", NumPartitions: 1, ReplicationFactor: 1}}},
		{"create with an unknown config", []wanted{{Topic: "diff-d", NumPartitions: 1, ReplicationFactor: 1, Configs: config("no.such", "1")}}},
		{"create with a bad value", []wanted{{Topic: "diff-d", NumPartitions: 1, ReplicationFactor: 1, Configs: config("min.insync.replicas", "x")}}},
		{"create assigned", []wanted{{Topic: "diff-d", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: assigned([]int32{1}, []int32{1})}}},
		{"create assigned and counted", []wanted{{Topic: "diff-e", NumPartitions: 2, ReplicationFactor: 1, ReplicaAssignment: assigned([]int32{1}, []int32{1})}}},
		{"create assigned to a stranger", []wanted{{Topic: "diff-e", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: assigned([]int32{9})}}},
		{"create assigned to one twice", []wanted{{Topic: "diff-e", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: assigned([]int32{1, 1})}}},
		{"create assigned to nobody", []wanted{{Topic: "diff-e", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: assigned([]int32{})}}},
		{"create with the defaults", []wanted{{Topic: "diff-f", NumPartitions: -1, ReplicationFactor: -1}}},
	} {
		q := kmsg.NewPtrCreateTopicsRequest()
		q.TimeoutMillis, q.Topics = 10_000, s.t
		d.ask(s.step, q, func(r kmsg.Response) (text string) {
			for _, t := range r.(*kmsg.CreateTopicsResponse).Topics {
				text += fmt.Sprintf("%s %d %d ", codeName(t.ErrorCode), t.NumPartitions, t.ReplicationFactor)
			}
			return text
		})
	}
	only := kmsg.NewPtrCreateTopicsRequest()
	only.TimeoutMillis, only.ValidateOnly = 10_000, true
	only.Topics = []wanted{{Topic: "diff-g", NumPartitions: 2, ReplicationFactor: 1}}
	d.ask("create, only to validate", only, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	})
}

func (d *dialogue) growths() {
	type wanted = kmsg.CreatePartitionsRequestTopic
	type to = kmsg.CreatePartitionsRequestTopicAssignment
	for _, s := range []struct {
		step string
		t    wanted
	}{
		{"grow a stranger", wanted{Topic: "diff-z", Count: 5}},
		{"grow to fewer", wanted{Topic: "diff-c", Count: 2}},
		{"grow to as many", wanted{Topic: "diff-c", Count: 3}},
		{"grow to too many", wanted{Topic: "diff-c", Count: 20_000}},
		{"grow with too few assignments", wanted{Topic: "diff-c", Count: 5, Assignment: []to{{Replicas: []int32{1}}}}},
		{"grow to a stranger", wanted{Topic: "diff-c", Count: 4, Assignment: []to{{Replicas: []int32{9}}}}},
		{"grow to two replicas", wanted{Topic: "diff-c", Count: 4, Assignment: []to{{Replicas: []int32{1, 1}}}}},
		{"grow", wanted{Topic: "diff-c", Count: 4}},
	} {
		q := kmsg.NewPtrCreatePartitionsRequest()
		q.TimeoutMillis, q.Topics = 10_000, []wanted{s.t}
		d.ask(s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode)
		})
	}
}

func (d *dialogue) removals() {
	name := func(n string) *string { return &n }
	for _, s := range []struct {
		step string
		t    []kmsg.DeleteTopicsRequestTopic
	}{
		{"delete a stranger", []kmsg.DeleteTopicsRequestTopic{{Topic: name("diff-z")}}},
		{"delete an unknown id", []kmsg.DeleteTopicsRequestTopic{{TopicID: [16]byte{1, 2, 3}}}},
		{"delete a bad name", []kmsg.DeleteTopicsRequestTopic{{Topic: name("a/b")}}},
		{"delete one twice", []kmsg.DeleteTopicsRequestTopic{{Topic: name("diff-f")}, {Topic: name("diff-f")}}},
		{"delete", []kmsg.DeleteTopicsRequestTopic{{Topic: name("diff-f")}}},
	} {
		q := kmsg.NewPtrDeleteTopicsRequest()
		q.TimeoutMillis, q.Topics = 10_000, s.t
		d.ask(s.step, q, func(r kmsg.Response) (text string) {
			for _, t := range r.(*kmsg.DeleteTopicsResponse).Topics {
				text += codeName(t.ErrorCode) + " "
			}
			return text
		})
	}
}

// offsets: where logs begin and end, and how epochs are asked for.
func (d *dialogue) offsets() {
	type at = kmsg.ListOffsetsRequestTopicPartition
	for _, s := range []struct {
		step, topic string
		p           at
	}{
		{"offset at the start", "diff-a", at{Timestamp: -2, CurrentLeaderEpoch: -1}},
		{"offset at the end", "diff-a", at{Timestamp: -1, CurrentLeaderEpoch: -1}},
		{"offset of the greatest time", "diff-a", at{Timestamp: -3, CurrentLeaderEpoch: -1}},
		{"offset of the local start", "diff-a", at{Timestamp: -4, CurrentLeaderEpoch: -1}},
		{"offset of the last tiered", "diff-a", at{Timestamp: -5, CurrentLeaderEpoch: -1}},
		{"offset of a time", "diff-a", at{Timestamp: 1000, CurrentLeaderEpoch: -1}},
		{"offset of an unknown time", "diff-a", at{Timestamp: -9, CurrentLeaderEpoch: -1}},
		{"offset under a later epoch", "diff-a", at{Timestamp: -1, CurrentLeaderEpoch: 99}},
		{"offset of an unknown partition", "diff-a", at{Partition: 9, Timestamp: -1, CurrentLeaderEpoch: -1}},
		{"offset of a stranger", "diff-z", at{Timestamp: -1, CurrentLeaderEpoch: -1}},
	} {
		q := kmsg.NewPtrListOffsetsRequest()
		q.ReplicaID = -1
		q.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: s.topic, Partitions: []at{s.p}}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			p := r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
			return fmt.Sprint(codeName(p.ErrorCode), " ", p.Offset, " ", p.Timestamp)
		})
	}
	for _, s := range []struct {
		step           string
		topic          string
		partition      int32
		current, epoch int32
	}{
		{"end of a later epoch", "diff-a", 0, -1, 99}, {"end of an epoch under a later one", "diff-a", 0, 99, 0},
		{"end of an epoch of an unknown partition", "diff-a", 9, -1, 0}, {"end of an epoch of a stranger", "diff-z", 0, -1, 0},
	} {
		q := kmsg.NewPtrOffsetForLeaderEpochRequest()
		q.ReplicaID = -1
		q.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: s.topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{
			{Partition: s.partition, CurrentLeaderEpoch: s.current, LeaderEpoch: s.epoch},
		}}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			p := r.(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
			return fmt.Sprint(codeName(p.ErrorCode), " ", p.LeaderEpoch, " ", p.EndOffset)
		})
	}
}

// moves: what is refused of reassignments, and the deletion of records.
func (d *dialogue) moves() {
	for _, s := range []struct {
		step, topic string
		partition   int32
		to          []int32
	}{
		{"reassign to where it is", "diff-a", 0, []int32{1}},
		{"reassign to a stranger", "diff-a", 0, []int32{9}},
		{"reassign to one twice", "diff-a", 0, []int32{1, 1}},
		{"reassign to nobody", "diff-a", 0, []int32{}},
		{"reassign to a negative broker", "diff-a", 0, []int32{-1}},
		{"take back what is not moving", "diff-a", 0, nil},
		{"reassign an unknown partition", "diff-a", 9, []int32{1}},
		{"reassign a strange topic", "diff-z", 0, []int32{1}},
	} {
		q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		q.TimeoutMillis = 10_000
		q.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: s.topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{
			{Partition: s.partition, Replicas: s.to},
		}}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			a := r.(*kmsg.AlterPartitionAssignmentsResponse)
			text := codeName(a.ErrorCode)
			for _, t := range a.Topics {
				text += " " + codeName(t.Partitions[0].ErrorCode)
			}
			return text
		})
	}
}
