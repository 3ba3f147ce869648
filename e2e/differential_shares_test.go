package e2e

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
)

const (
	sharingGroup = "diff-share"
	sharingTopic = "diff-s"
	// The members of share groups name themselves; a name is a UUID as Kafka writes them.
	sharingFirst  = "c2hhcmUtZmlyc3QtLS0tLQ"
	sharingSecond = "c2hhcmUtc2Vjb25kLS0tLQ"
)

// joiningShare is the first heartbeat of a member of a share group, with one thing changed.
func joiningShare(edit func(*kmsg.ShareGroupHeartbeatRequest)) *kmsg.ShareGroupHeartbeatRequest {
	q := kmsg.NewPtrShareGroupHeartbeatRequest()
	q.GroupID, q.MemberID, q.SubscribedTopicNames = sharingGroup, sharingFirst, []string{sharingTopic}
	edit(q)
	return q
}

// beatingShare is a heartbeat that says nothing new.
func beatingShare(member string, epoch int32) *kmsg.ShareGroupHeartbeatRequest {
	return joiningShare(func(q *kmsg.ShareGroupHeartbeatRequest) {
		q.MemberID, q.MemberEpoch, q.SubscribedTopicNames = member, epoch, nil
	})
}

// shareBeat notes how a heartbeat ends. Who has what is divided later by Kafka.
func (d *dialogue) shareBeat(step string, q *kmsg.ShareGroupHeartbeatRequest) (epoch int32) {
	d.Helper()
	d.ask(step, q, func(r kmsg.Response) string {
		b := r.(*kmsg.ShareGroupHeartbeatResponse)
		epoch = b.MemberEpoch
		if b.ErrorCode != 0 {
			return codeName(b.ErrorCode)
		}
		return fmt.Sprint("every ", b.HeartbeatIntervalMillis, " as ", text(b.MemberID), " epoch above 0 ", b.MemberEpoch > 0)
	})
	return epoch
}

// shares is the life of a share group, refusals included.
func (d *dialogue) shares() {
	type beat = *kmsg.ShareGroupHeartbeatRequest
	named := func(s string) *string { return &s }
	d.topics(sharingTopic, "diff-s2")
	d.beginsAt("earliest")
	d.shareRecords()
	eventually(d, coordinatorWithin, "a loaded coordinator of share groups", func() error {
		r, err := d.broker.Request(d.ctx, beatingShare("stranger", -1))
		if err != nil {
			return err
		}
		code := codeError(r.(*kmsg.ShareGroupHeartbeatResponse).ErrorCode)
		if errors.Is(code, kerr.NotCoordinator) || errors.Is(code, kerr.CoordinatorLoadInProgress) {
			return code
		}
		return nil
	})
	d.shareOffsetsOf("before it is there", nil, 0)
	for _, s := range []struct {
		step string
		q    beat
	}{
		{"share without an id", joiningShare(func(q beat) { q.MemberID = "" })},
		{"share without a group", joiningShare(func(q beat) { q.GroupID = "" })},
		{"share with a blank group", joiningShare(func(q beat) { q.GroupID = " " })},
		{"share with a blank id", joiningShare(func(q beat) { q.MemberID = " " })},
		{"share with an id that is too long", joiningShare(func(q beat) { q.MemberID = "1234567890123456789012345678901234567" })},
		{"share with a blank id leaves", beatingShare(" ", -1)},
		{"share with an id that is too long leaves", beatingShare("1234567890123456789012345678901234567", -1)},
		{"share with an empty rack", joiningShare(func(q beat) { q.RackID = named("") })},
		{"share without a subscription", joiningShare(func(q beat) { q.SubscribedTopicNames = nil })},
		{"share with an empty subscription", joiningShare(func(q beat) { q.SubscribedTopicNames = []string{} })},
		{"share below the epochs", joiningShare(func(q beat) { q.MemberEpoch = -2 })},
		{"share leaves an unknown group", beatingShare(sharingFirst, -1)},
		{"share beats in an unknown group", beatingShare(sharingFirst, 3)},
		{"share beats in a modern group", joiningShare(func(q beat) { q.GroupID = "diff-mixed" })},
		{"share joins", joiningShare(func(beat) {})},
		{"share joins again", joiningShare(func(beat) {})},
		{"share of the future", beatingShare(sharingFirst, 99)},
		{"share stranger beats", beatingShare("stranger", 1)},
		{"share stranger leaves", beatingShare("stranger", -1)},
	} {
		d.shareBeat(s.step, s.q)
	}
	d.sharePartitions()
	d.othersInShare()
	d.shareAdminRefused()
	d.shareFetches()
	d.shareAdmin()
}

// beginsAt says where the group begins.
func (d *dialogue) beginsAt(where string) {
	d.Helper()
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: ofGroup, ResourceName: sharingGroup,
		Configs: []configEdit{{Name: "share.auto.offset.reset", Value: &where}}}}
	d.ask("share begins at the "+where, q, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
	})
}

// shareRecords writes 12 records, one batch each, to the first partition.
func (d *dialogue) shareRecords() {
	one := built(func(*batch.Builder) {}, batch.Record{Timestamp: time.Now().UnixMilli(), Value: []byte("v")})
	for i := range 12 {
		d.asks(d.broker, fmt.Sprint("share record ", i), d.producing(sharingTopic, 0, one), showProduced)
	}
}

// sharePartitions has the member beat until it has all partitions.
func (d *dialogue) sharePartitions() {
	d.Helper()
	epoch, has := int32(0), 0
	eventually(d, coordinatorWithin, "partitions of a share group's member", func() error {
		q := beatingShare(sharingFirst, epoch)
		if epoch == 0 {
			q = joiningShare(func(*kmsg.ShareGroupHeartbeatRequest) {})
		}
		r, err := d.broker.Request(d.ctx, q)
		if err != nil {
			return err
		}
		b := r.(*kmsg.ShareGroupHeartbeatResponse)
		if err := codeError(b.ErrorCode); err != nil {
			return err
		}
		epoch = b.MemberEpoch
		if b.Assignment != nil {
			has = 0
			for _, t := range b.Assignment.TopicPartitions {
				has += len(t.Partitions)
			}
		}
		if has != 3 {
			return fmt.Errorf("it has %d", has)
		}
		return nil
	})
	d.said = append(d.said, exchanged{"share partitions", fmt.Sprint(has)})
	d.describeShare("with a member", sharingGroup)
	d.describeShare("of nobody", "diff-nothing")
	d.describeShare("without a name", "")
	d.describeShare("of the modern protocol", "diff-mixed")
	d.shareBeat("share beats", beatingShare(sharingFirst, epoch))
}

func (d *dialogue) describeShare(what, group string) {
	q := kmsg.NewPtrShareGroupDescribeRequest()
	q.GroupIDs = []string{group}
	d.ask("describe a share group "+what, q, func(r kmsg.Response) string {
		g := r.(*kmsg.ShareGroupDescribeResponse).Groups[0]
		said := fmt.Sprint(g.GroupID, " ", codeName(g.ErrorCode), " ", g.GroupState, " ", g.Assignor)
		for _, m := range g.Members {
			said += fmt.Sprint(" ", m.MemberID, " ", m.SubscribedTopicNames, " rack ", text(m.RackID))
			for _, t := range m.Assignment.TopicPartitions {
				said += fmt.Sprint(" ", t.Topic, len(t.Partitions))
			}
		}
		return said
	})
}

// othersInShare: what is refused of members of other protocols, and what their APIs tell of a share group.
func (d *dialogue) othersInShare() {
	d.ask("classic joins a share group", joining(func(q *kmsg.JoinGroupRequest) { q.Group = sharingGroup }), func(r kmsg.Response) string {
		return codeName(r.(*kmsg.JoinGroupResponse).ErrorCode)
	})
	d.outcomeOf("modern joins a share group", consuming(func(q *kmsg.ConsumerGroupHeartbeatRequest) { q.Group = sharingGroup }))
	d.commitOf("commit to a share group", sharingGroup, "diff-a", "", -1, 0, 1, "")
	offsets := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = sharingGroup, -1
	offsets.Groups = append(offsets.Groups, g)
	d.ask("fetch offsets of a share group", offsets, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode)
	})
	d.deleteOffset("delete an offset of a share group", sharingGroup, "diff-a", 0)
	classic := kmsg.NewPtrDescribeGroupsRequest()
	classic.Groups = []string{sharingGroup}
	d.ask("describe a share group as classic", classic, func(r kmsg.Response) string {
		g := r.(*kmsg.DescribeGroupsResponse).Groups[0]
		return codeName(g.ErrorCode) + " " + g.State
	})
	modern := kmsg.NewPtrConsumerGroupDescribeRequest()
	modern.Groups = []string{sharingGroup}
	d.ask("describe a share group as modern", modern, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.ConsumerGroupDescribeResponse).Groups[0].ErrorCode)
	})
	list := kmsg.NewPtrListGroupsRequest()
	list.TypesFilter = []string{"share"}
	d.ask("list share groups", list, func(r kmsg.Response) string {
		said := codeName(r.(*kmsg.ListGroupsResponse).ErrorCode)
		for _, g := range r.(*kmsg.ListGroupsResponse).Groups {
			said += fmt.Sprint(" ", g.Group, " ", g.GroupType, " ", g.GroupState, " ", g.ProtocolType)
		}
		return said
	})
}

// shareOffsetsOf shows where a group is: in all its topics, or in some partitions of those that are named.
func (d *dialogue) shareOffsetsOf(when string, topics []string, partitions ...int32) {
	q := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	g := kmsg.NewDescribeShareGroupOffsetsRequestGroup()
	g.GroupID = sharingGroup
	for _, name := range topics {
		t := kmsg.NewDescribeShareGroupOffsetsRequestGroupTopic()
		t.Topic, t.Partitions = name, partitions
		g.Topics = append(g.Topics, t)
	}
	q.Groups = append(q.Groups, g)
	d.askShareOffsets("share offsets "+when, q)
}

func (d *dialogue) askShareOffsets(step string, q *kmsg.DescribeShareGroupOffsetsRequest) {
	d.ask(step, q, func(r kmsg.Response) string {
		g := r.(*kmsg.DescribeShareGroupOffsetsResponse).Groups[0]
		said := codeName(g.ErrorCode)
		for _, t := range sortedBy(g.Topics, func(t kmsg.DescribeShareGroupOffsetsResponseGroupTopic) string { return t.Topic }) {
			said += fmt.Sprint(" ", t.Topic, " ", t.TopicID == d.topicID(t.Topic))
			for _, p := range sortedBy(t.Partitions, func(p kmsg.DescribeShareGroupOffsetsResponseGroupTopicPartition) int32 { return p.Partition }) {
				said += fmt.Sprintf(" %d:%s:%d lag %d", p.Partition, codeName(p.ErrorCode), p.StartOffset, p.Lag)
			}
		}
		return said
	})
}

// shareAlter moves a group to an offset in a partition.
func (d *dialogue) shareAlter(step, group, topic string, partition int32, offset int64) {
	q := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	q.GroupID = group
	if topic != "" {
		t := kmsg.NewAlterShareGroupOffsetsRequestTopic()
		t.Topic = topic
		p := kmsg.NewAlterShareGroupOffsetsRequestTopicPartition()
		p.Partition, p.StartOffset = partition, offset
		t.Partitions = append(t.Partitions, p)
		q.Topics = append(q.Topics, t)
	}
	d.ask("alter share offsets "+step, q, func(r kmsg.Response) string {
		a := r.(*kmsg.AlterShareGroupOffsetsResponse)
		said := codeName(a.ErrorCode)
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				said += fmt.Sprintf(" %s/%d:%s", t.Topic, p.Partition, codeName(p.ErrorCode))
			}
		}
		return said
	})
}

// shareDelete has a group forget topics.
func (d *dialogue) shareDelete(step, group string, topics ...string) {
	q := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
	q.GroupID = group
	for _, name := range topics {
		t := kmsg.NewDeleteShareGroupOffsetsRequestTopic()
		t.Topic = name
		q.Topics = append(q.Topics, t)
	}
	d.ask("delete share offsets "+step, q, func(r kmsg.Response) string {
		a := r.(*kmsg.DeleteShareGroupOffsetsResponse)
		said := codeName(a.ErrorCode)
		for _, t := range a.Topics {
			said += fmt.Sprintf(" %s:%s", t.Topic, codeName(t.ErrorCode))
		}
		return said
	})
}

func (d *dialogue) deleteShareGroup(step string) {
	q := kmsg.NewPtrDeleteGroupsRequest()
	q.Groups = []string{sharingGroup}
	d.ask("delete a share group "+step, q, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode)
	})
}

// shareAdminRefused: a group with members is not to be changed, nor is one that is not there.
func (d *dialogue) shareAdminRefused() {
	d.shareOffsetsOf("before the first fetch, of all", nil)
	d.shareOffsetsOf("before the first fetch", []string{sharingTopic}, 0, 1) // of an unknown one Kafka says nothing, ever
	d.shareOffsetsOf("of other topics", []string{"diff-s2", "diff-z"}, 0)
	d.shareAlter("with members", sharingGroup, sharingTopic, 0, 1)
	d.shareAlter("of nobody", "diff-nothing", sharingTopic, 0, 1)
	d.shareAlter("without a group", "", sharingTopic, 0, 1)
	d.shareAlter("of a modern group", "diff-mixed", sharingTopic, 0, 1)
	d.shareDelete("with members", sharingGroup, sharingTopic)
	d.shareDelete("of nobody", "diff-nobody", sharingTopic)
	d.shareDelete("without a group", "", sharingTopic)
	d.shareDelete("of a modern group", "diff-mixed", sharingTopic)
	d.deleteShareGroup("with members")
	other := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	for _, name := range []string{"", "diff-nothing", "diff-mixed"} {
		other.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: name}}
		d.askShareOffsets(fmt.Sprintf("share offsets of %q", name), other)
	}
}

// shareAdmin changes the group once its members are gone, and deletes it.
func (d *dialogue) shareAdmin() {
	d.shareBeat("share leaves", beatingShare(sharingFirst, -1))
	d.shareBeat("share leaves again", beatingShare(sharingFirst, -1))
	d.describeShare("without members", sharingGroup)
	d.shareAlter("", sharingGroup, sharingTopic, 0, 2)
	d.shareAlter("of an unknown partition", sharingGroup, sharingTopic, 9, 2)
	d.shareAlter("of an unknown topic", sharingGroup, "diff-z", 0, 2)
	d.shareAlter("of a topic that it has not read", sharingGroup, "diff-s2", 0, 0)
	d.shareAlter("to below zero", sharingGroup, sharingTopic, 0, -1)
	d.shareAlter("to behind the end", sharingGroup, sharingTopic, 1, 100)
	d.shareAlter("of nothing", sharingGroup, "", 0, 0)
	d.shareOffsetsOf("after they were altered", []string{sharingTopic, "diff-s2"}, 0, 1)
	d.shareDelete("of a topic", sharingGroup, "diff-s2")
	d.shareDelete("of that topic again", sharingGroup, "diff-s2")
	d.shareDelete("of an unknown topic", sharingGroup, "diff-z")
	d.shareDelete("of nothing", sharingGroup)
	d.shareOffsetsOf("after a topic was deleted, of all", nil)
	d.deleteShareGroup("")
	d.deleteShareGroup("again")
	d.describeShare("that was deleted", sharingGroup)
	d.shareOffsetsOf("after it was deleted", nil)
}
