package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group/assign"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

func slotsOf(id topic.ID, index int32) assign.Slots {
	return assign.Slots{{Topic: id, Partition: index}}
}

// TestShareGroupsAreSeenByTools: listed, described, and unknown to what is for other groups.
func TestShareGroupsAreSeenByTools(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 2)
	s := h.sharer("g", "one", "work", id)
	list := kmsg.NewPtrListGroupsRequest()
	list.Version, list.TypesFilter = 5, []string{"share"}
	listed := s.c.ask(list).(*kmsg.ListGroupsResponse).Groups
	if len(listed) != 1 || listed[0].GroupType != "share" || listed[0].GroupState != "Stable" || listed[0].ProtocolType != "share" {
		t.Errorf("list: got %+v, want a stable share group", listed)
	}
	q := kmsg.NewPtrShareGroupDescribeRequest()
	q.Version, q.GroupIDs, q.IncludeAuthorizedOperations = 1, []string{"g", "none", ""}, true
	r := s.c.ask(q).(*kmsg.ShareGroupDescribeResponse)
	if g := r.Groups[0]; g.ErrorCode != 0 || g.GroupState != "Stable" || g.GroupEpoch != 1 || len(g.Members) != 1 ||
		g.Members[0].MemberID != "one" || g.Members[0].MemberEpoch != 1 || g.Members[0].ClientHost != "/127.0.0.1" ||
		len(g.Members[0].Assignment.TopicPartitions) != 1 || g.Members[0].Assignment.TopicPartitions[0].Topic != "work" {
		t.Errorf("describe: got %+v, want a member with topic work", g)
	}
	expectCode(t, "describe none", r.Groups[1].ErrorCode, codeGroupIDNotFound)
	expectCode(t, "describe without a name", r.Groups[2].ErrorCode, codeInvalidGroupID)
	consumers := kmsg.NewPtrConsumerGroupDescribeRequest()
	consumers.Groups = []string{"g"}
	expectCode(t, "describe as consumers", s.c.ask(consumers).(*kmsg.ConsumerGroupDescribeResponse).Groups[0].ErrorCode,
		codeGroupIDNotFound)
	expectCode(t, "join as a consumer", s.c.ask(consumerJoin("g", "c")).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode,
		codeGroupIDNotFound)
	expectCode(t, "join as a classic member", s.c.ask(joinOf("g", "")).(*kmsg.JoinGroupResponse).ErrorCode,
		codeInconsistentProtocol)
}

// TestShareGroupThatIsNotThereHasNotBegun: its offsets can be asked for, and said before anybody joins.
func TestShareGroupThatIsNotThereHasNotBegun(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	s := h.sharer("g", "one", "work", id)
	q := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	q.Version, q.Groups = 1, []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: "none",
		Topics: []kmsg.DescribeShareGroupOffsetsRequestGroupTopic{{Topic: "work", Partitions: []int32{0}}}}}
	start := func() int64 {
		g := s.c.ask(q).(*kmsg.DescribeShareGroupOffsetsResponse).Groups[0]
		if g.ErrorCode != 0 || len(g.Topics) != 1 || len(g.Topics[0].Partitions) != 1 || g.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("describe offsets: got %+v, want one partition", g)
		}
		return g.Topics[0].Partitions[0].StartOffset
	}
	if got := start(); got != -1 {
		t.Errorf("start of nobody: got %d, want -1", got)
	}
	alter := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	alter.GroupID = "none"
	alter.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "work",
		Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: 7}}}}
	altered := s.c.ask(alter).(*kmsg.AlterShareGroupOffsetsResponse)
	expectCode(t, "alter", altered.ErrorCode, codeNone)
	expectCode(t, "alter a partition", altered.Topics[0].Partitions[0].ErrorCode, codeNone)
	if got := start(); got != 7 {
		t.Errorf("start after it was altered: got %d, want 7", got)
	}
}

// TestFirstShareGroupCanBeAlteredAtOnce: the topic of the states is only just made by it, and nobody leads that
// yet. The group would take what could not be initialized for what is, and give nobody anything.
func TestFirstShareGroupCanBeAlteredAtOnce(t *testing.T) {
	h := startShares(t)
	h.create("work", 2)
	alter := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	alter.GroupID = "g"
	alter.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "work",
		Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: 7}, {Partition: 1, StartOffset: 8}}}}
	altered := h.dial().ask(alter).(*kmsg.AlterShareGroupOffsetsResponse)
	expectCode(t, "alter", altered.ErrorCode, codeNone)
	for _, p := range altered.Topics[0].Partitions {
		expectCode(t, fmt.Sprint("alter partition ", p.Partition), p.ErrorCode, codeNone)
	}
}

// TestShareGroupOutlivesAFailedAlteration: partitions whose state could not be set are initialized when a
// member comes, as if nobody had asked.
func TestShareGroupOutlivesAFailedAlteration(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.produceOne("work", "a")
	h.sharer("other", "one", "work", id).leave() // which makes the topic of the states
	h.moveAll(shareTopic, topic.NoNode, 1)
	alter := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	alter.GroupID = "g"
	alter.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "work",
		Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: 1}}}}
	altered := h.dial().ask(alter).(*kmsg.AlterShareGroupOffsetsResponse)
	expectCode(t, "alter without a coordinator", altered.Topics[0].Partitions[0].ErrorCode, codeCoordinatorNotAvailable)
	h.anotherCoordinates("other", id, 2)
	s := h.sharer("g", "one", "work", id)
	expectGot(t, "from the beginning", s.receive(), "0:a/1 ")
}

// TestShareMembersWithoutProperNamesAreRefused: what is blank, or longer than a UUID, names nobody.
func TestShareMembersWithoutProperNamesAreRefused(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	s := h.sharer("g", "one", "work", id)
	for _, test := range []struct{ group, member string }{
		{"", "m"}, {" ", "m"}, {"g", ""}, {"g", " "}, {"g", strings.Repeat("m", 37)},
	} {
		q := kmsg.NewPtrShareGroupHeartbeatRequest()
		q.Version, q.GroupID, q.MemberID, q.SubscribedTopicNames = 1, test.group, test.member, []string{"work"}
		why := s.c.ask(q).(*kmsg.ShareGroupHeartbeatResponse).ErrorCode
		expectCode(t, fmt.Sprintf("member %q of group %q", test.member, test.group), why, codeInvalidRequest)
	}
}

// shareOffset is what tools are told of partition 0.
func (s *sharer) shareOffset() (start, lag int64) {
	s.Helper()
	q := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	q.Version, q.Groups = 1, []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: s.group}}
	g := s.c.ask(q).(*kmsg.DescribeShareGroupOffsetsResponse).Groups[0]
	if g.ErrorCode != 0 || len(g.Topics) != 1 || len(g.Topics[0].Partitions) != 1 || g.Topics[0].Partitions[0].ErrorCode != 0 {
		s.Fatalf("describe offsets: got %+v, want one partition", g)
	}
	return g.Topics[0].Partitions[0].StartOffset, g.Topics[0].Partitions[0].Lag
}

// TestShareOffsetsAreDescribedAlteredAndDeleted: only of empty groups, and from then on it goes on there,
// also where a leader has still the old state.
func TestShareOffsetsAreDescribedAlteredAndDeleted(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.produceOne("work", "a", "b", "c")
	s := h.sharer("g", "one", "work", id)
	expectGot(t, "first", s.receive(), "0:a/1 1:b/1 2:c/1 ")
	onlyCode(t, "accept", int16(s.acknowledge(ackBatch(0, 0, share.Accept), ackBatch(2, 2, share.Accept))))
	if start, lag := s.shareOffset(); start != 1 || lag != 1 {
		t.Errorf("offset: got %d, lag %d, want 1 and 1", start, lag)
	}
	alter := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	alter.GroupID = "g"
	alter.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "work",
		Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: 2}, {Partition: 5}}}}
	expectCode(t, "alter under a member", s.c.ask(alter).(*kmsg.AlterShareGroupOffsetsResponse).ErrorCode, codeNonEmptyGroup)
	s.leave()
	altered := s.c.ask(alter).(*kmsg.AlterShareGroupOffsetsResponse)
	onlyCode(t, "alter", altered.ErrorCode)
	onlyCode(t, "alter partition 0", altered.Topics[0].Partitions[0].ErrorCode)
	expectCode(t, "alter partition 5", altered.Topics[0].Partitions[1].ErrorCode, codeUnknownTopicOrPartition)
	if start, lag := s.shareOffset(); start != 2 || lag != 1 {
		t.Errorf("altered: got %d, lag %d, want 2 and 1", start, lag)
	}
	// The leader learns of it when it wants something to be kept.
	expectCode(t, "accept by the old state", int16(s.acknowledge(ackBatch(1, 1, share.Accept))), codeFencedStateEpoch)
	again := h.sharer("g", "two", "work", id)
	expectGot(t, "from there", again.receive(), "2:c/1 ")
	again.leave()
	forget := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
	forget.GroupID = "g"
	forget.Topics = []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "work"}, {Topic: "none"}}
	deleted := s.c.ask(forget).(*kmsg.DeleteShareGroupOffsetsResponse)
	onlyCode(t, "delete", deleted.ErrorCode)
	onlyCode(t, "delete work", deleted.Topics[0].ErrorCode)
	expectCode(t, "delete none", deleted.Topics[1].ErrorCode, codeUnknownTopicOrPartition)
	deleted = s.c.ask(forget).(*kmsg.DeleteShareGroupOffsetsResponse)
	expectCode(t, "delete what is gone", deleted.Topics[0].ErrorCode, codeUnknownTopicOrPartition)
}

// TestShareGroupThatHasReadAllBeginsWhereItIsTold: its leader has nothing to be kept, and so is not fenced.
func TestShareGroupThatHasReadAllBeginsWhereItIsTold(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.produceOne("work", "a", "b", "c")
	s := h.sharer("g", "one", "work", id)
	expectGot(t, "first", s.receive(), "0:a/1 1:b/1 2:c/1 ")
	onlyCode(t, "accept", int16(s.acknowledge(ackBatch(0, 2, share.Accept))))
	s.leave()
	alter := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	alter.GroupID = "g"
	alter.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "work",
		Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: 1}}}}
	onlyCode(t, "alter", s.c.ask(alter).(*kmsg.AlterShareGroupOffsetsResponse).ErrorCode)
	again := h.sharer("g", "two", "work", id)
	expectGot(t, "from there", again.receive(), "1:b/1 2:c/1 ")
	onlyCode(t, "accept again", int16(again.acknowledge(ackBatch(1, 2, share.Accept))))
	again.leave()
	forget := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
	forget.GroupID = "g"
	forget.Topics = []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "work"}}
	onlyCode(t, "delete", s.c.ask(forget).(*kmsg.DeleteShareGroupOffsetsResponse).ErrorCode)
	expectGot(t, "afresh", h.sharer("g", "three", "work", id).receive(), "0:a/1 1:b/1 2:c/1 ")
}

// TestDeletedShareGroupBeginsAfresh, whatever leaders remember of the one before.
func TestDeletedShareGroupBeginsAfresh(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.produceOne("work", "a", "b")
	s := h.sharer("g", "one", "work", id)
	expectGot(t, "first", s.receive(), "0:a/1 1:b/1 ")
	onlyCode(t, "accept", int16(s.acknowledge(ackBatch(0, 0, share.Accept))))
	q := kmsg.NewPtrDeleteGroupsRequest()
	q.Version, q.Groups = 2, []string{"g"}
	expectCode(t, "delete with a member", s.c.ask(q).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, codeNonEmptyGroup)
	s.leave()
	onlyCode(t, "delete", s.c.ask(q).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode)
	expectCode(t, "delete again", s.c.ask(q).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, codeGroupIDNotFound)
	expectCode(t, "accept after that", int16(s.acknowledge(ackBatch(1, 1, share.Accept))), codeUnknownTopicOrPartition)
	next := h.sharer("g", "two", "work", id)
	expectGot(t, "afresh", next.receive(), "0:a/1 1:b/1 ")
}

// TestStatesOfDeletedTopicsAreForgotten by the group as by the coordinator of the states.
func TestStatesOfDeletedTopicsAreForgotten(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.sharer("g", "one", "work", id)
	d := kmsg.NewPtrDeleteTopicsRequest()
	d.Version, d.TimeoutMillis, d.TopicNames = 3, 5000, []string{"work"}
	onlyCode(t, "delete", h.dial().ask(d).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode)
	eventually(t, "the group forgets", func() bool {
		g, err := h.describeShares(deadline(t), "g")
		return err == nil && len(g.Initialized) == 0
	})
}

func TestOffsetResetsAreRead(t *testing.T) {
	for _, test := range []struct {
		value string
		good  bool
		hours float64
	}{
		{"latest", true, 0}, {"earliest", true, 0}, {"by_duration:PT1H", true, 1}, {"by_duration:P1DT30M", true, 24.5},
		{"by_duration:PT36S", true, 0.01}, {"by_duration:pt1.5s", true, 1.5 / 3600},
		{"", false, 0}, {"none", false, 0}, {"by_duration:", false, 0}, {"by_duration:P", false, 0},
		{"by_duration:PT", false, 0}, {"by_duration:-PT1H", false, 0}, {"by_duration:P99999999999D", false, 0},
		{"by_duration:1h", false, 0}, {"by_duration:P1DT", false, 0},
	} {
		got, err := parseReset(test.value)
		if (err == nil) != test.good || err == nil && got.back.Hours() != test.hours || got.earliest != (test.value == "earliest") {
			t.Errorf("%q: got %+v, %v, want success %v and %v hours", test.value, got, err, test.good, test.hours)
		}
	}
}
