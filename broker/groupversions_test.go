package broker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fillGroup makes the requests that go to groups: each to a group of its own, with a member if it
// needs one.
func (v *versions) fillGroup(q kmsg.Request, version int16) {
	name := fmt.Sprintf("group-%d", v.serial)
	switch q := q.(type) {
	case *kmsg.FindCoordinatorRequest:
		q.CoordinatorKey, q.CoordinatorKeys = "g", []string{"g", "h"}
	case *kmsg.JoinGroupRequest:
		*q = *joinOf(name, "")
		q.Version = version
	case *kmsg.SyncGroupRequest:
		q.Default()
		q.Group, q.MemberID, q.Generation = name, v.join(name).MemberID, 1
		q.ProtocolType, q.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		q.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{
			{MemberID: q.MemberID, MemberAssignment: []byte("mine")},
		}
	case *kmsg.HeartbeatRequest:
		q.Default()
		q.Group, q.MemberID, q.Generation = name, v.join(name).MemberID, 1
	case *kmsg.LeaveGroupRequest:
		q.Group, q.MemberID = name, v.join(name).MemberID
		q.Members = []kmsg.LeaveGroupRequestMember{{MemberID: q.MemberID}}
	case *kmsg.OffsetCommitRequest:
		*q = *v.commitOf(name, version, 5)
	case *kmsg.OffsetFetchRequest:
		v.commitOK(name)
		q.Group = name
		q.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "known", Partitions: []int32{0, 1}}}
		group := kmsg.NewOffsetFetchRequestGroup()
		group.Group = name
		group.Topics = []kmsg.OffsetFetchRequestGroupTopic{
			{Topic: "known", TopicID: v.id, Partitions: []int32{0, 1}},
		}
		q.Groups, q.RequireStable = []kmsg.OffsetFetchRequestGroup{group}, true
	case *kmsg.OffsetDeleteRequest:
		v.commitOK(name)
		q.Group = name
		q.Topics = []kmsg.OffsetDeleteRequestTopic{{
			Topic: "known", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}},
		}}
	case *kmsg.DescribeGroupsRequest:
		v.join(name)
		q.Groups, q.IncludeAuthorizedOperations = []string{name}, true
	case *kmsg.ListGroupsRequest:
		v.join(name)
		q.StatesFilter, q.TypesFilter = []string{"completingrebalance"}, []string{"Classic"}
	case *kmsg.DeleteGroupsRequest:
		v.commitOK(name)
		q.Groups = []string{name}
	case *kmsg.ConsumerGroupHeartbeatRequest:
		*q = *consumerJoin(name, "member")
		q.Version = version
	case *kmsg.ConsumerGroupDescribeRequest:
		joined := v.dial().ask(consumerJoin(name, "member")).(*kmsg.ConsumerGroupHeartbeatResponse)
		if joined.ErrorCode != 0 {
			v.Fatalf("consumer joins: %v", code(joined.ErrorCode))
		}
		q.Groups, q.IncludeAuthorizedOperations = []string{name}, true
	default:
		v.fillShare(q, version)
	}
}

// consumerJoin is the first heartbeat of a consumer of the known topic.
func consumerJoin(name, member string) *kmsg.ConsumerGroupHeartbeatRequest {
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.Version, q.Group, q.MemberID, q.RebalanceTimeoutMillis = 1, name, member, 10_000
	q.SubscribedTopicNames, q.Topics = []string{"known"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return q
}

// joinOf is a join of version 3, which lets new members in at once.
func joinOf(name, member string) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Version, q.Group, q.MemberID, q.ProtocolType = 3, name, member, "consumer"
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = 10_000, 10_000
	q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0}}}
	return q
}

// join makes the first member of a group.
func (h *harness) join(name string) *kmsg.JoinGroupResponse {
	h.Helper()
	r := h.dial().ask(joinOf(name, "")).(*kmsg.JoinGroupResponse)
	if r.ErrorCode != 0 {
		h.Fatalf("join %s: %v", name, code(r.ErrorCode))
	}
	return r
}

func (v *versions) commitOf(name string, version int16, offset int64) *kmsg.OffsetCommitRequest {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version, q.Group, q.Generation = version, name, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.LeaderEpoch, p.Metadata = offset, 0, kmsg.StringPtr("note")
	q.Topics = []kmsg.OffsetCommitRequestTopic{{
		Topic: "known", TopicID: v.id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p},
	}}
	return q
}

// commitOK commits offset 5 of partition 0 of the known topic.
func (v *versions) commitOK(name string) {
	v.Helper()
	r := v.dial().ask(v.commitOf(name, 9, 5)).(*kmsg.OffsetCommitResponse)
	if got := r.Topics[0].Partitions[0].ErrorCode; got != 0 {
		v.Fatalf("commit: %v", code(got))
	}
}

func (v *versions) checkGroup(t *testing.T, r kmsg.Response) {
	t.Helper()
	name := fmt.Sprintf("group-%d", v.serial)
	switch r := r.(type) {
	case *kmsg.ConsumerGroupHeartbeatResponse:
		onlyCode(t, "consumer heartbeat", r.ErrorCode)
		if r.MemberEpoch != 1 || r.Assignment == nil || len(r.Assignment.Topics) != 1 ||
			r.HeartbeatIntervalMillis != 5000 || len(r.Assignment.Topics[0].Partitions) != 2 {
			t.Errorf("consumer heartbeat: got %+v, want both partitions in epoch 1", r)
		}
	case *kmsg.ConsumerGroupDescribeResponse:
		onlyCode(t, "describe consumers", r.Groups[0].ErrorCode)
		if g := r.Groups[0]; g.Group != name || g.State != "Stable" || g.Epoch != 1 || g.AssignmentEpoch != 1 ||
			g.AssignorName != "uniform" || len(g.Members) != 1 || len(g.Members[0].Assignment.TopicPartitions) != 1 {
			t.Errorf("describe consumers: got %+v, want one member of a stable group", g)
		}
	case *kmsg.FindCoordinatorResponse:
		checkCoordinator(t, r)
	case *kmsg.JoinGroupResponse:
		if r.Version >= joinNamesFirst {
			expectCode(t, "join", r.ErrorCode, codeMemberIDRequired)
		} else if onlyCode(t, "join", r.ErrorCode); r.Generation != 1 || r.LeaderID != r.MemberID || len(r.Members) != 1 {
			t.Errorf("join: got %+v, want to lead generation 1", r)
		}
		if r.MemberID == "" {
			t.Errorf("join: got no member id")
		}
	case *kmsg.SyncGroupResponse:
		onlyCode(t, "sync", r.ErrorCode)
		if string(r.MemberAssignment) != "mine" || r.Version >= 5 && *r.Protocol != "range" {
			t.Errorf("sync: got %+v, want its assignment", r)
		}
	case *kmsg.HeartbeatResponse:
		onlyCode(t, "heartbeat", r.ErrorCode)
	case *kmsg.LeaveGroupResponse:
		onlyCode(t, "leave", r.ErrorCode)
		if r.Version >= leaveBatched && (len(r.Members) != 1 || r.Members[0].ErrorCode != 0) {
			t.Errorf("leave: got %+v, want one member without error", r.Members)
		}
	case *kmsg.OffsetCommitResponse:
		onlyCode(t, "commit", r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.OffsetFetchResponse:
		v.checkFetched(t, r)
	case *kmsg.OffsetDeleteResponse:
		onlyCode(t, "delete offsets", r.ErrorCode)
		onlyCode(t, "delete offset", r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.DescribeGroupsResponse:
		g := r.Groups[0]
		onlyCode(t, "describe", g.ErrorCode)
		if g.Group != name || g.State != "CompletingRebalance" || len(g.Members) != 1 || g.Members[0].ClientHost != "/127.0.0.1" ||
			r.Version >= 3 && g.AuthorizedOperations != operationsGroup {
			t.Errorf("describe: got %+v", g)
		}
	case *kmsg.ListGroupsResponse:
		onlyCode(t, "list", r.ErrorCode)
		found := false
		for _, g := range r.Groups {
			found = found || g.Group == name
			if r.Version >= 5 && g.GroupType != classicType || r.Version >= 4 && g.GroupState != "CompletingRebalance" {
				t.Errorf("list: got %+v, want what was asked for", g)
			}
		}
		if !found {
			t.Errorf("list: got %+v, want %s in it", r.Groups, name)
		}
	case *kmsg.DeleteGroupsResponse:
		onlyCode(t, "delete", r.Groups[0].ErrorCode)
	default:
		v.checkShare(t, r)
	}
}

func checkCoordinator(t *testing.T, r *kmsg.FindCoordinatorResponse) {
	t.Helper()
	if r.Version < coordinatorBatched {
		onlyCode(t, "find coordinator", r.ErrorCode)
		if r.NodeID != int32(testNode) || r.Host != "127.0.0.1" || r.Port == 0 {
			t.Errorf("coordinator: got %+v, want this broker", r)
		}
		return
	}
	if len(r.Coordinators) != 2 || r.Coordinators[1].Key != "h" {
		t.Fatalf("coordinators: got %+v, want both keys", r.Coordinators)
	}
	for _, c := range r.Coordinators {
		onlyCode(t, "find coordinator", c.ErrorCode)
		if c.NodeID != int32(testNode) || c.Port == 0 {
			t.Errorf("coordinator: got %+v, want this broker", c)
		}
	}
}

// checkFetched wants offset 5 of partition 0, and that nothing was committed for partition 1.
func (v *versions) checkFetched(t *testing.T, r *kmsg.OffsetFetchResponse) {
	t.Helper()
	onlyCode(t, "fetch offsets", r.ErrorCode)
	var got []kmsg.OffsetFetchResponseGroupTopicPartition
	if r.Version >= offsetFetchBatched {
		onlyCode(t, "fetch offsets of the group", r.Groups[0].ErrorCode)
		got = r.Groups[0].Topics[0].Partitions
	} else {
		for _, p := range r.Topics[0].Partitions {
			got = append(got, kmsg.OffsetFetchResponseGroupTopicPartition(p))
		}
	}
	if len(got) != 2 || got[0].Offset != 5 || *got[0].Metadata != "note" || got[1].Offset != -1 ||
		r.Version >= 5 && (got[0].LeaderEpoch != 0 || got[1].LeaderEpoch != -1) {
		t.Errorf("fetch offsets: got %+v, want 5 with its note, and none", got)
	}
	for _, p := range got {
		onlyCode(t, "fetch offset", p.ErrorCode)
	}
}
