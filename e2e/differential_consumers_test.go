package e2e

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// consuming is the first heartbeat of a consumer of the KIP-848 protocol, with one thing changed.
func consuming(edit func(*kmsg.ConsumerGroupHeartbeatRequest)) *kmsg.ConsumerGroupHeartbeatRequest {
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.Group, q.MemberID, q.RebalanceTimeoutMillis = "diff-modern", "first", 30_000
	q.SubscribedTopicNames, q.Topics = []string{"diff-a"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	edit(q)
	return q
}

// beating is a heartbeat that says nothing new.
func beating(member string, epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	return consuming(func(q *kmsg.ConsumerGroupHeartbeatRequest) {
		q.MemberID, q.MemberEpoch, q.RebalanceTimeoutMillis = member, epoch, -1
		q.SubscribedTopicNames, q.Topics = nil, nil
	})
}

func (d *dialogue) beat(step string, q *kmsg.ConsumerGroupHeartbeatRequest) {
	d.ask(step, q, func(r kmsg.Response) string {
		b := r.(*kmsg.ConsumerGroupHeartbeatResponse)
		text := codeName(b.ErrorCode)
		if b.ErrorCode != 0 {
			return text
		}
		text += fmt.Sprint(" every ", b.HeartbeatIntervalMillis, " as ", *b.MemberID)
		if b.Assignment == nil {
			return text
		}
		n := 0
		for _, t := range b.Assignment.Topics {
			n += len(t.Partitions)
		}
		return text + fmt.Sprint(" has ", n)
	})
}

// consumers is the life of a group of the KIP-848 protocol, refusals included.
func (d *dialogue) consumers() {
	type beat = *kmsg.ConsumerGroupHeartbeatRequest
	text := func(s string) *string { return &s }
	eventually(d, coordinatorWithin, "a loaded coordinator", func() error {
		r, err := d.broker.Request(d.ctx, beating("stranger", -1))
		if err != nil {
			return err
		}
		code := codeError(r.(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode)
		if errors.Is(code, kerr.NotCoordinator) || errors.Is(code, kerr.CoordinatorLoadInProgress) {
			return code
		}
		return nil
	})
	for _, s := range []struct {
		step string
		q    beat
	}{
		{"modern without an id", consuming(func(q beat) { q.MemberID = "" })},
		{"modern without a group", consuming(func(q beat) { q.Group = "" })},
		{"modern without a timeout", consuming(func(q beat) { q.RebalanceTimeoutMillis = -1 })},
		{"modern without a subscription", consuming(func(q beat) { q.SubscribedTopicNames = nil })},
		{"modern without partitions", consuming(func(q beat) { q.Topics = nil })},
		{"modern with an assignor of its own", consuming(func(q beat) { q.ServerAssignor = text("best") })},
		{"modern with a bad pattern", consuming(func(q beat) { q.SubscribedTopicRegex = text("(") })},
		{"modern below the epochs", consuming(func(q beat) { q.MemberEpoch = -3 })},
		{"modern away without an instance", consuming(func(q beat) { q.MemberEpoch = -2 })},
		{"modern leaves an unknown group", beating("first", -1)},
		{"modern beats in an unknown group", beating("first", 3)},
		{"modern joins", consuming(func(beat) {})},
		{"modern joins again", consuming(func(beat) {})},
		{"modern of the future", beating("first", 99)},
		{"modern stranger beats", beating("stranger", 1)},
		{"modern stranger leaves", beating("stranger", -1)},
		{"modern static joins", consuming(func(q beat) { q.MemberID, q.InstanceID = "second", text("i") })},
		{"modern thief joins", consuming(func(q beat) { q.MemberID, q.InstanceID = "third", text("i") })},
		{"modern static goes away", consuming(func(q beat) { q.MemberID, q.InstanceID, q.MemberEpoch = "second", text("i"), -2 })},
		{"modern static comes back", consuming(func(q beat) { q.MemberID, q.InstanceID = "third", text("i") })},
		{"modern static of old beats", beating("second", 1)},
	} {
		d.beat(s.step, s.q)
	}
	d.modernOffsets()
	d.modernAdmin()
}

// modernOffsets commits and fetches as members, strangers, and nobody.
func (d *dialogue) modernOffsets() {
	for _, s := range []struct {
		step, member string
		epoch        int32
	}{{"stranger", "stranger", 1}, {"the future", "first", 99}, {"nobody", "", -1}} {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Group, q.MemberID, q.Generation = "diff-modern", s.member, s.epoch
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Offset = 1
		q.Topics = []kmsg.OffsetCommitRequestTopic{{
			Topic: "diff-a", TopicID: d.topicID("diff-a"), Partitions: []kmsg.OffsetCommitRequestTopicPartition{p},
		}}
		d.ask("modern commit of "+s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
		})
		f := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.MemberEpoch = "diff-modern", s.epoch
		if s.member != "" {
			g.MemberID = &s.member
		}
		f.Groups = append(f.Groups, g)
		d.ask("modern fetch of "+s.step, f, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode)
		})
	}
}

// modernAdmin shows and deletes the group, through the APIs of either protocol.
func (d *dialogue) modernAdmin() {
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Groups = []string{"diff-modern", "diff-nothing"}
	d.ask("describe modern groups", describe, func(r kmsg.Response) string {
		text := ""
		for _, g := range r.(*kmsg.ConsumerGroupDescribeResponse).Groups {
			text += fmt.Sprint(g.Group, " ", codeName(g.ErrorCode), " ", g.State, " ", g.AssignorName, " ", len(g.Members), ";")
		}
		return text
	})
	classic := kmsg.NewPtrDescribeGroupsRequest()
	classic.Groups = []string{"diff-modern"}
	d.ask("describe a modern group as classic", classic, func(r kmsg.Response) string {
		g := r.(*kmsg.DescribeGroupsResponse).Groups[0]
		return codeName(g.ErrorCode) + " " + g.State
	})
	list := kmsg.NewPtrListGroupsRequest()
	list.TypesFilter = []string{"consumer"}
	d.ask("list modern groups", list, func(r kmsg.Response) string {
		text := ""
		for _, g := range r.(*kmsg.ListGroupsResponse).Groups {
			if g.Group == "diff-modern" {
				text += g.GroupType + " " + g.GroupState + " " + g.ProtocolType
			}
		}
		return text
	})
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{"diff-modern"}
	removed := func(r kmsg.Response) string { return codeName(r.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode) }
	d.ask("delete a modern group with members", remove, removed)
	d.beat("modern leaves", beating("first", -1))
	d.beat("modern static leaves", consuming(func(q *kmsg.ConsumerGroupHeartbeatRequest) {
		i := "i"
		q.MemberID, q.InstanceID, q.MemberEpoch = "third", &i, -1
	}))
	d.ask("delete a modern group", remove, removed)
}
