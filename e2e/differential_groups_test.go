package e2e

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groups: what a coordinator says to members and to strangers.
func (d *dialogue) groups() {
	for _, kind := range []int8{0, 2, 7} {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.CoordinatorType, q.CoordinatorKeys = kind, []string{"diff-group"}
		// the first to ask for a coordinator makes the topic, and is told to ask again
		if kind == 0 {
			eventually(d, coordinatorWithin, "a coordinator", func() error {
				r, err := d.broker.Request(d.ctx, q)
				if err != nil {
					return err
				}
				return codeError(r.(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode)
			})
		}
		d.ask(fmt.Sprint("coordinator of kind ", kind), q, func(r kmsg.Response) string {
			f := r.(*kmsg.FindCoordinatorResponse)
			text := codeName(f.ErrorCode)
			for _, c := range f.Coordinators {
				text += fmt.Sprintf(" %s %v", codeName(c.ErrorCode), c.NodeID >= 0)
			}
			return text
		})
	}
	eventually(d, coordinatorWithin, "a loaded coordinator", func() error {
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Group, beat.MemberID, beat.Generation = "diff-group", "stranger", 1
		r, err := d.broker.Request(d.ctx, beat)
		if err != nil {
			return err
		}
		if err := codeError(r.(*kmsg.HeartbeatResponse).ErrorCode); !errors.Is(err, kerr.UnknownMemberID) {
			// while Kafka loads a group it answers heartbeats without an error
			return fmt.Errorf("a stranger's heartbeat is answered with: %w", errors.Join(err, errors.New("not UNKNOWN_MEMBER_ID")))
		}
		return nil
	})
	d.joins()
	d.strangers()
	d.member()
	d.commits()
	d.groupAdmin()
}

// joining is a request to join, with one thing changed.
func joining(edit func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Group, q.SessionTimeoutMillis, q.RebalanceTimeoutMillis, q.ProtocolType = "diff-group", 10_000, 10_000, "consumer"
	q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 1, 0, 0, 0, 0, 255, 255, 255, 255}}}
	edit(q)
	return q
}

func (d *dialogue) joins() {
	instance := "diff-instance"
	for _, s := range []struct {
		step string
		edit func(*kmsg.JoinGroupRequest)
	}{
		{"join without an id", func(*kmsg.JoinGroupRequest) {}},
		{"join as a stranger", func(q *kmsg.JoinGroupRequest) { q.MemberID = "stranger" }},
		{"join no group", func(q *kmsg.JoinGroupRequest) { q.Group = "" }},
		{"join with a short session", func(q *kmsg.JoinGroupRequest) { q.SessionTimeoutMillis = 5999 }},
		{"join with a long session", func(q *kmsg.JoinGroupRequest) { q.SessionTimeoutMillis = 1_800_001 }},
		{"join without protocols", func(q *kmsg.JoinGroupRequest) { q.Protocols = nil }},
		{"join without a protocol type", func(q *kmsg.JoinGroupRequest) { q.ProtocolType = "" }},
		{"join as an unknown static member", func(q *kmsg.JoinGroupRequest) { q.MemberID, q.InstanceID = "stranger", &instance }},
	} {
		d.ask(s.step, joining(s.edit), func(r kmsg.Response) string {
			j := r.(*kmsg.JoinGroupResponse)
			return fmt.Sprintf("%s generation %d id %v members %d", codeName(j.ErrorCode), j.Generation, j.MemberID != "", len(j.Members))
		})
	}
}

// strangers ask for what only members may.
func (d *dialogue) strangers() {
	for _, group := range []string{"diff-group", "diff-no-group", ""} {
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Group, beat.MemberID, beat.Generation = group, "stranger", 1
		d.ask(fmt.Sprintf("heartbeat of a stranger in %q", group), beat, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.HeartbeatResponse).ErrorCode)
		})
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.MemberID, sync.Generation = group, "stranger", 1
		d.ask(fmt.Sprintf("sync of a stranger in %q", group), sync, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.SyncGroupResponse).ErrorCode)
		})
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group = group
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "stranger"}}
		d.ask(fmt.Sprintf("leaving of a stranger in %q", group), leave, func(r kmsg.Response) string {
			l := r.(*kmsg.LeaveGroupResponse)
			text := codeName(l.ErrorCode)
			for _, m := range l.Members {
				text += " " + codeName(m.ErrorCode)
			}
			return text
		})
	}
}

// member joins as the only one, and goes through what a member does.
func (d *dialogue) member() {
	id := ""
	d.ask("join for an id", joining(func(*kmsg.JoinGroupRequest) {}), func(r kmsg.Response) string {
		id = r.(*kmsg.JoinGroupResponse).MemberID
		return codeName(r.(*kmsg.JoinGroupResponse).ErrorCode)
	})
	own := func(q *kmsg.JoinGroupRequest) { q.MemberID = id }
	d.ask("join with the id", joining(own), func(r kmsg.Response) string {
		j := r.(*kmsg.JoinGroupResponse)
		return fmt.Sprintf("%s generation %d leads %v members %d protocol %v type %v", codeName(j.ErrorCode), j.Generation,
			j.LeaderID == id, len(j.Members), text(j.Protocol), text(j.ProtocolType))
	})
	beat := func(step string, generation int32) {
		q := kmsg.NewPtrHeartbeatRequest()
		q.Group, q.MemberID, q.Generation = "diff-group", id, generation
		d.ask(step, q, func(r kmsg.Response) string { return codeName(r.(*kmsg.HeartbeatResponse).ErrorCode) })
	}
	d.commit("commit before the assignment", id, 1, 0, 5)
	beat("heartbeat before the assignment", 1)
	for _, s := range []struct {
		step       string
		generation int32
		protocol   string
	}{{"sync of an old generation", 0, "range"}, {"sync of another protocol", 1, "other"}, {"sync", 1, "range"}} {
		q := kmsg.NewPtrSyncGroupRequest()
		kind := "consumer"
		q.Group, q.MemberID, q.Generation, q.ProtocolType, q.Protocol = "diff-group", id, s.generation, &kind, &s.protocol
		q.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: id, MemberAssignment: []byte{1, 2}}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			a := r.(*kmsg.SyncGroupResponse)
			return fmt.Sprintf("%s %x %v", codeName(a.ErrorCode), a.MemberAssignment, text(a.Protocol))
		})
	}
	beat("heartbeat", 1)
	beat("heartbeat of a later generation", 2)
	d.commit("commit", id, 1, 0, 5)
	d.commit("commit of a later generation", id, 2, 0, 5)
	d.commit("commit of a stranger", "stranger", 1, 0, 5)
	d.commit("commit of nobody to a group with members", "", -1, 0, 5)
	d.commit("commit of an unknown partition", id, 1, 9, 5)
	d.commit("commit of a negative offset", id, 1, 0, -5)
	d.ask("join of a member that knows all", joining(own), func(r kmsg.Response) string {
		j := r.(*kmsg.JoinGroupResponse)
		return fmt.Sprintf("%s generation %d members %d", codeName(j.ErrorCode), j.Generation, len(j.Members))
	})
	d.ask("join with another protocol type", joining(func(q *kmsg.JoinGroupRequest) { own(q); q.ProtocolType = "connect" }), func(r kmsg.Response) string {
		return codeName(r.(*kmsg.JoinGroupResponse).ErrorCode)
	})
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{"diff-group"}
	d.ask("delete a group with members", remove, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode)
	})
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group, leave.Members = "diff-group", []kmsg.LeaveGroupRequestMember{{MemberID: id}}
	d.ask("leave", leave, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.LeaveGroupResponse).ErrorCode) + " " + codeName(r.(*kmsg.LeaveGroupResponse).Members[0].ErrorCode)
	})
}

func text(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// commit commits an offset of diff-a.
func (d *dialogue) commit(step, member string, generation, partition int32, offset int64) {
	d.commitOf(step, "diff-group", "diff-a", member, generation, partition, offset, "note")
}

func (d *dialogue) commitOf(step, group, topic, member string, generation, partition int32, offset int64, note string) {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.MemberID, q.Generation = group, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	t.TopicID = d.topicID(topic)
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata = partition, offset, &note
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	d.ask(step, q, func(r kmsg.Response) string {
		said := ""
		for _, t := range r.(*kmsg.OffsetCommitResponse).Topics {
			for _, p := range t.Partitions {
				said += codeName(p.ErrorCode)
			}
		}
		return said
	})
}

func (d *dialogue) commits() {
	d.commitOf("commit of nobody", "diff-simple", "diff-a", "", -1, 0, 7, "simple")
	d.commitOf("commit of nobody with a generation", "diff-simple", "diff-a", "", 3, 0, 7, "simple")
	d.commitOf("commit with long metadata", "diff-simple", "diff-a", "", -1, 0, 7, string(make([]byte, 5000)))
	d.commitOf("commit to no group", "", "diff-a", "", -1, 0, 7, "")
	d.commitOf("commit of an unknown topic", "diff-simple", "diff-z", "", -1, 0, 7, "")
	for _, s := range []struct {
		step, group string
		member      string
		epoch       int32
	}{
		{"offsets of a group", "diff-simple", "", -1}, {"offsets of no group", "diff-no-group", "", -1},
		{"offsets of the empty name", "", "", -1}, {"offsets for a stranger", "diff-simple", "stranger", 3},
	} {
		q := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.MemberEpoch = s.group, s.epoch
		if s.member != "" {
			g.MemberID = &s.member
		}
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.TopicID, t.Partitions = "diff-a", d.topicID("diff-a"), []int32{0, 1, 9}
		g.Topics = append(g.Topics, t)
		q.Groups = append(q.Groups, g)
		d.ask(s.step, q, func(r kmsg.Response) string {
			answer := r.(*kmsg.OffsetFetchResponse).Groups[0]
			said := codeName(answer.ErrorCode)
			for _, t := range answer.Topics {
				for _, p := range t.Partitions {
					said += fmt.Sprintf(" %d:%s:%d:%s", p.Partition, codeName(p.ErrorCode), p.Offset, text(p.Metadata))
				}
			}
			return said
		})
	}
}

func (d *dialogue) groupAdmin() {
	for _, group := range []string{"diff-group", "diff-simple", "diff-no-group", ""} {
		q := kmsg.NewPtrDescribeGroupsRequest()
		q.Groups = []string{group}
		d.ask(fmt.Sprintf("describe group %q", group), q, func(r kmsg.Response) string {
			g := r.(*kmsg.DescribeGroupsResponse).Groups[0]
			return fmt.Sprintf("%s %s %q %q members %d", codeName(g.ErrorCode), g.State, g.ProtocolType, g.Protocol, len(g.Members))
		})
	}
	list := kmsg.NewPtrListGroupsRequest()
	d.ask("list groups", list, func(r kmsg.Response) string {
		found := r.(*kmsg.ListGroupsResponse)
		said := map[string]string{}
		for _, g := range found.Groups {
			said[g.Group] = g.ProtocolType + " " + g.GroupState + " " + g.GroupType
		}
		return codeName(found.ErrorCode) + " " + said["diff-group"] + ", " + said["diff-simple"]
	})
	for _, s := range []struct {
		step, group, topic string
		partition          int32
	}{
		{"delete an offset", "diff-simple", "diff-a", 0}, {"delete an offset that is not there", "diff-simple", "diff-a", 2},
		{"delete an offset of an unknown topic", "diff-simple", "diff-z", 0}, {"delete an offset of no group", "diff-no-group", "diff-a", 0},
	} {
		d.deleteOffset(s.step, s.group, s.topic, s.partition)
	}
	for _, group := range []string{"diff-group", "diff-simple", "diff-no-group", ""} {
		q := kmsg.NewPtrDeleteGroupsRequest()
		q.Groups = []string{group}
		d.ask(fmt.Sprintf("delete group %q", group), q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode)
		})
	}
}

// deleteOffset has a committed offset deleted.
func (d *dialogue) deleteOffset(step, group, topic string, partition int32) {
	q := kmsg.NewPtrOffsetDeleteRequest()
	q.Group = group
	q.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: partition}}}}
	d.ask(step, q, func(r kmsg.Response) string {
		o := r.(*kmsg.OffsetDeleteResponse)
		said := codeName(o.ErrorCode)
		for _, t := range o.Topics {
			said += " " + codeName(t.Partitions[0].ErrorCode)
		}
		return said
	})
}
