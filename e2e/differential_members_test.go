package e2e

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// moreConsumers: what is refused of members of the KIP-848 protocol, and of those of the classic protocol in
// their group, and the other way round.
func (d *dialogue) moreConsumers() {
	type beat = *kmsg.ConsumerGroupHeartbeatRequest
	text := func(s string) *string { return &s }
	in := func(edit func(beat)) beat {
		return consuming(func(q beat) { q.Group = "diff-mixed"; edit(q) })
	}
	for _, s := range []struct {
		step string
		q    beat
	}{
		{"mixed with an empty instance", in(func(q beat) { q.InstanceID = text("") })},
		{"mixed with an empty rack", in(func(q beat) { q.RackID = text("") })},
		{"mixed with an empty subscription", in(func(q beat) { q.SubscribedTopicNames = []string{} })},
		{"mixed with partitions at once", in(func(q beat) { q.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{Partitions: []int32{1}}} })},
		{"mixed with a blank group", in(func(q beat) { q.Group = " " })},
		{"mixed with the assignor range", in(func(q beat) { q.MemberID, q.ServerAssignor = "ranger", text("range") })},
		{"mixed with a strange topic", in(func(q beat) { q.MemberID, q.SubscribedTopicNames = "dreamer", []string{"diff-z"} })},
		{"mixed with a pattern", in(func(q beat) {
			q.MemberID, q.SubscribedTopicNames, q.SubscribedTopicRegex = "matcher", []string{}, text("diff-a")
		})},
		{"mixed of epoch 0 again", in(func(q beat) { q.MemberID = "ranger" })},
		{"mixed static of nobody beats", in(func(q beat) { q.MemberID, q.MemberEpoch, q.InstanceID = "ranger", 1, text("nobody") })},
		{"mixed static of nobody leaves", in(func(q beat) { q.MemberID, q.MemberEpoch, q.InstanceID = "ranger", -1, text("nobody") })},
		{"mixed static of nobody goes away", in(func(q beat) { q.MemberID, q.MemberEpoch, q.InstanceID = "ranger", -2, text("nobody") })},
	} {
		d.outcomeOf(s.step, s.q)
	}
	d.strangersInModern()
	for _, name := range []string{"diff-simple2", "", "diff-nothing"} {
		q := kmsg.NewPtrConsumerGroupDescribeRequest()
		q.Groups = []string{name}
		d.ask(fmt.Sprintf("describe %q as modern", name), q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.ConsumerGroupDescribeResponse).Groups[0].ErrorCode)
		})
	}
}

// outcomeOf notes only how a heartbeat ends: who has what is divided later by Kafka.
func (d *dialogue) outcomeOf(step string, q *kmsg.ConsumerGroupHeartbeatRequest) {
	d.ask(step, q, func(r kmsg.Response) string { return codeName(r.(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode) })
}

// strangersInModern speak the classic protocol to a group of the other.
func (d *dialogue) strangersInModern() {
	in := func(group string, edit func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupRequest {
		return joining(func(q *kmsg.JoinGroupRequest) { q.Group = group; edit(q) })
	}
	joined := func(r kmsg.Response) string { return codeName(r.(*kmsg.JoinGroupResponse).ErrorCode) }
	d.ask("classic joins a modern group as another type", in("diff-mixed", func(q *kmsg.JoinGroupRequest) { q.ProtocolType = "connect" }), joined)
	d.ask("classic joins a modern group with bad metadata", in("diff-mixed", func(q *kmsg.JoinGroupRequest) {
		q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{1}}}
	}), joined)
	d.ask("classic joins a modern group as a stranger", in("diff-mixed", func(q *kmsg.JoinGroupRequest) { q.MemberID = "stranger" }), joined)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = "diff-mixed", "ranger", 1
	d.ask("classic syncs as a modern member", sync, func(r kmsg.Response) string { return codeName(r.(*kmsg.SyncGroupResponse).ErrorCode) })
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.MemberID, beat.Generation = "diff-mixed", "ranger", 1
	d.ask("classic beats as a modern member", beat, func(r kmsg.Response) string { return codeName(r.(*kmsg.HeartbeatResponse).ErrorCode) })
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group, leave.Members = "diff-mixed", []kmsg.LeaveGroupRequestMember{{MemberID: "stranger"}, {MemberID: "dreamer"}}
	d.ask("classic takes a modern member away", leave, func(r kmsg.Response) string {
		l := r.(*kmsg.LeaveGroupResponse)
		said := codeName(l.ErrorCode)
		for _, m := range l.Members {
			said += " " + codeName(m.ErrorCode)
		}
		return said
	})
	var id string
	d.ask("classic joins for an id", in("diff-connect", func(q *kmsg.JoinGroupRequest) { q.ProtocolType = "connect" }), func(r kmsg.Response) string {
		id = r.(*kmsg.JoinGroupResponse).MemberID
		return joined(r)
	})
	d.ask("classic joins as connect", in("diff-connect", func(q *kmsg.JoinGroupRequest) { q.ProtocolType, q.MemberID = "connect", id }), joined)
	d.outcomeOf("modern joins a group of connect", consuming(func(q *kmsg.ConsumerGroupHeartbeatRequest) { q.Group = "diff-connect" }))
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Groups = []string{"diff-connect"}
	d.ask("describe a classic group as modern", describe, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.ConsumerGroupDescribeResponse).Groups[0].ErrorCode)
	})
}

// offsetDeletions: offsets of groups with members, of either protocol.
func (d *dialogue) offsetDeletions() {
	for _, s := range []struct {
		step, group, topic string
		partition          int32
	}{
		{"delete an offset of the empty name", "", "diff-a", 0},
		{"delete an offset of a modern group", "diff-mixed", "diff-b", 0},
		{"delete an offset of a subscribed topic", "diff-mixed", "diff-a", 0},
		{"delete an offset of a strange partition", "diff-mixed", "diff-b", 99},
		{"delete an offset of a group of connect", "diff-connect", "diff-a", 0},
	} {
		d.deleteOffset(s.step, s.group, s.topic, s.partition)
	}
}
