package broker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group/assign"
	"outrigger/broker/share"
)

// fillShare makes the requests of share groups, each of a group of its own.
func (v *versions) fillShare(q kmsg.Request, version int16) {
	name := fmt.Sprintf("shares-%d", v.serial)
	key := kmsg.StringPtr(name)
	join := func() *sharer {
		v.setGroup(name, configShareReset, "earliest")
		return v.sharer(name, "m", "known", v.id)
	}
	switch q := q.(type) {
	case *kmsg.ShareGroupHeartbeatRequest:
		q.GroupID, q.MemberID, q.SubscribedTopicNames = name, "m", []string{"known"}
	case *kmsg.ShareGroupDescribeRequest:
		join()
		q.GroupIDs, q.IncludeAuthorizedOperations = []string{name}, true
	case *kmsg.ShareFetchRequest:
		*q = *join().request()
		q.Version, q.MaxWaitMillis = version, 10_000
	case *kmsg.ShareAcknowledgeRequest:
		s := join()
		s.receive()
		q.GroupID, q.MemberID, q.ShareSessionEpoch = key, kmsg.StringPtr("m"), share.SessionCloses
		q.Topics = []kmsg.ShareAcknowledgeRequestTopic{{TopicID: v.id}}
		q.Topics[0].Partitions = []kmsg.ShareAcknowledgeRequestTopicPartition{{Partition: 1}}
	case *kmsg.DescribeShareGroupOffsetsRequest:
		join()
		q.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: name}}
	case *kmsg.AlterShareGroupOffsetsRequest:
		join().leave()
		q.GroupID = name
		q.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "known",
			Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: 1}}}}
	case *kmsg.DeleteShareGroupOffsetsRequest:
		join().leave()
		q.GroupID, q.Topics = name, []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "known"}}
	default:
		v.fillShareState(q, name)
	}
}

// fillShareState makes the requests that brokers make of each other.
func (v *versions) fillShareState(q kmsg.Request, name string) {
	switch q := q.(type) {
	case *kmsg.InitializeShareGroupStateRequest:
		q.GroupID = name
		q.Topics = []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: v.id,
			Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{StateEpoch: 1, StartOffset: 5}}}}
	case *kmsg.ReadShareGroupStateRequest:
		v.initialized(name)
		q.GroupID = name
		q.Topics = []kmsg.ReadShareGroupStateRequestTopic{{TopicID: v.id,
			Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{LeaderEpoch: 1}, {Partition: 1}}}}
	case *kmsg.WriteShareGroupStateRequest:
		v.initialized(name)
		q.GroupID = name
		q.Topics = []kmsg.WriteShareGroupStateRequestTopic{{TopicID: v.id,
			Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{{StateEpoch: 1, StartOffset: 6}, {StateEpoch: 2}}}}
	case *kmsg.DeleteShareGroupStateRequest:
		v.initialized(name)
		q.GroupID = name
		q.Topics = []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: v.id,
			Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: 0}}}}
	case *kmsg.ReadShareGroupStateSummaryRequest:
		v.initialized(name)
		q.GroupID = name
		q.Topics = []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: v.id,
			Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{LeaderEpoch: -1}}}}
	default:
		v.fillConfigs(q)
	}
}

// initialized gives partition 0 a state that begins at 5.
func (v *versions) initialized(name string) {
	v.Helper()
	slots := slotsOf(v.id, 0)
	eventually(v, "share groups are coordinated", func() bool {
		return v.initializeShares(deadline(v), name, slots, 1, map[assign.Slot]int64{slots[0]: 5})[slots[0]].err == nil
	})
}

func (v *versions) checkShare(t *testing.T, r kmsg.Response) {
	t.Helper()
	name := fmt.Sprintf("shares-%d", v.serial)
	switch r := r.(type) {
	case *kmsg.ShareGroupHeartbeatResponse:
		onlyCode(t, "share heartbeat", r.ErrorCode)
		if r.MemberEpoch != 1 || r.Assignment == nil || len(r.Assignment.TopicPartitions) != 1 || r.HeartbeatIntervalMillis != 5000 {
			t.Errorf("share heartbeat: got %+v, want a topic in epoch 1", r)
		}
	case *kmsg.ShareGroupDescribeResponse:
		onlyCode(t, "describe shares", r.Groups[0].ErrorCode)
		if g := r.Groups[0]; g.GroupID != name || g.GroupState != "Stable" || g.Assignor != "simple" || len(g.Members) != 1 {
			t.Errorf("describe shares: got %+v, want one member of a stable group", g)
		}
	case *kmsg.ShareFetchResponse:
		onlyCode(t, "share fetch", r.ErrorCode)
		if len(r.Topics) != 1 || len(r.Topics[0].Partitions[0].AcquiredRecords) != 1 || len(r.Topics[0].Partitions[0].Records) == 0 ||
			r.AcquisitionLockTimeoutMillis != 30_000 {
			t.Errorf("share fetch: got %+v, want records, for 30 seconds", r)
		}
	case *kmsg.ShareAcknowledgeResponse:
		onlyCode(t, "share acknowledge", r.ErrorCode)
		onlyCode(t, "share acknowledge partition", r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.DescribeShareGroupOffsetsResponse:
		onlyCode(t, "describe offsets", r.Groups[0].ErrorCode)
		if g := r.Groups[0]; g.GroupID != name || len(g.Topics) != 1 || g.Topics[0].Topic != "known" || len(g.Topics[0].Partitions) != 2 ||
			g.Topics[0].Partitions[0].StartOffset != -1 {
			t.Errorf("describe offsets: got %+v, want two partitions without a start yet", g)
		}
	case *kmsg.AlterShareGroupOffsetsResponse:
		onlyCode(t, "alter offsets", r.ErrorCode)
		onlyCode(t, "alter offset", r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.DeleteShareGroupOffsetsResponse:
		onlyCode(t, "delete offsets", r.ErrorCode)
		onlyCode(t, "delete topic", r.Topics[0].ErrorCode)
	default:
		v.checkShareState(t, r)
	}
}

func (v *versions) checkShareState(t *testing.T, r kmsg.Response) {
	t.Helper()
	switch r := r.(type) {
	case *kmsg.InitializeShareGroupStateResponse:
		onlyCode(t, "initialize", r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.ReadShareGroupStateResponse:
		p := r.Topics[0].Partitions
		onlyCode(t, "read", p[0].ErrorCode)
		expectCode(t, "read what is not there", p[1].ErrorCode, codeUnknownTopicOrPartition)
		if p[0].StartOffset != 5 || p[0].StateEpoch != 1 {
			t.Errorf("read: got %+v, want start 5 in epoch 1", p[0])
		}
	case *kmsg.WriteShareGroupStateResponse:
		onlyCode(t, "write", r.Topics[0].Partitions[0].ErrorCode)
		expectCode(t, "write in another epoch", r.Topics[0].Partitions[1].ErrorCode, codeFencedStateEpoch)
	case *kmsg.DeleteShareGroupStateResponse:
		onlyCode(t, "delete state", r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.ReadShareGroupStateSummaryResponse:
		p := r.Topics[0].Partitions[0]
		onlyCode(t, "summary", p.ErrorCode)
		if p.StartOffset != 5 || p.StateEpoch != 1 || p.DeliveryCompleteCount != -1 {
			t.Errorf("summary: got %+v, want start 5 in epoch 1", p)
		}
	default:
		v.checkConfigs(t, r)
	}
}
