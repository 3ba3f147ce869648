package e2e

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
)

// named says which clients a broker is asked as.
func (d *dialogue) named(b *kgo.Broker) string {
	switch b {
	case d.old:
		return ", as of 3.5"
	case d.older:
		return ", as of 2.4"
	case d.oldest:
		return ", as of 1.1"
	default:
		return ""
	}
}

// ofOld has clients of long ago go through what they did: the versions that nobody would write today.
func (d *dialogue) ofOld() {
	for _, b := range []*kgo.Broker{d.old, d.older, d.oldest} {
		o := &olden{dialogue: d, broker: b, group: "diff-olden" + d.named(b)}
		o.topics()
		o.records()
		o.life()
		o.admin()
	}
}

// olden is a client of one version.
type olden struct {
	*dialogue
	broker *kgo.Broker
	group  string
}

func (o *olden) ask(step string, q kmsg.Request, show func(kmsg.Response) string) {
	o.asks(o.broker, step+o.named(o.broker), q, show)
}

func (o *olden) topics() {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = 10_000
	name, taken, bad := "diff-olden", "diff-a", "a/b"
	for _, n := range []string{name, taken, bad} {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = n, 2, 1
		create.Topics = append(create.Topics, t)
	}
	o.ask("create", create, func(r kmsg.Response) string {
		var said []string
		for _, t := range r.(*kmsg.CreateTopicsResponse).Topics {
			said = append(said, t.Topic+":"+codeName(t.ErrorCode))
		}
		slices.Sort(said)
		return fmt.Sprint(said)
	})
	eventually(o, coordinatorWithin, "a topic", func() error {
		if o.topicID(name) == ([16]byte{}) {
			return fmt.Errorf("%s is unknown", name)
		}
		return nil
	})
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.TimeoutMillis = 10_000
	for _, n := range []string{"diff-olden", "diff-z"} {
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = n, 3
		grow.Topics = append(grow.Topics, t)
	}
	o.ask("grow", grow, func(r kmsg.Response) string {
		var said []string
		for _, t := range r.(*kmsg.CreatePartitionsResponse).Topics {
			said = append(said, t.Topic+":"+codeName(t.ErrorCode))
		}
		slices.Sort(said)
		return fmt.Sprint(said)
	})
}

// records are produced, read, looked for and deleted.
func (o *olden) records() {
	for _, s := range []struct {
		step, topic string
		partition   int32
	}{{"produce", "diff-olden", 0}, {"produce more", "diff-olden", 0}, {"produce to a stranger", "diff-z", 0}, {"produce to an unknown partition", "diff-olden", 9}} {
		o.ask(s.step, o.producing(s.topic, s.partition, plainRecords(2)), showProduced)
	}
	for _, s := range []struct {
		step, topic string
		partition   int32
		offset      int64
	}{{"fetch", "diff-olden", 0, 0}, {"fetch from within a batch", "diff-olden", 0, 1}, {"fetch at the end", "diff-olden", 0, 4},
		{"fetch of a stranger", "diff-z", 0, 0}, {"fetch of an unknown partition", "diff-olden", 9, 0}} {
		for _, isolation := range []int8{0, 1} {
			q := kmsg.NewPtrFetchRequest()
			q.SessionEpoch, q.MaxWaitMillis, q.MaxBytes, q.IsolationLevel = -1, 100, 1<<20, isolation
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = s.topic, o.topicID(s.topic)
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.FetchOffset = s.partition, 1<<20, -1, s.offset
			t.Partitions = append(t.Partitions, p)
			q.Topics = append(q.Topics, t)
			o.ask(fmt.Sprint(s.step, ", isolation ", isolation), q, showFetched)
		}
	}
	for _, at := range []int64{-1, -2, 0, 1, 1 << 50} {
		q := kmsg.NewPtrListOffsetsRequest()
		q.ReplicaID = -1
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Timestamp, p.CurrentLeaderEpoch = at, -1
		q.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "diff-olden", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
		o.ask(fmt.Sprint("offset of time ", at), q, func(r kmsg.Response) string {
			p := r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
			return fmt.Sprint(codeName(p.ErrorCode), " ", p.Offset, " ", p.Timestamp, " ", p.LeaderEpoch)
		})
	}
	q := kmsg.NewPtrDeleteRecordsRequest()
	q.TimeoutMillis = 10_000
	q.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "diff-olden", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 2}, {Partition: 9}}}}
	o.ask("delete records", q, func(r kmsg.Response) string {
		var said []string
		for _, p := range r.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions {
			said = append(said, fmt.Sprint(p.Partition, ":", codeName(p.ErrorCode), ":", p.LowWatermark))
		}
		slices.Sort(said)
		return fmt.Sprint(said)
	})
	init := kmsg.NewPtrInitProducerIDRequest()
	init.TransactionTimeoutMillis = 1000
	o.ask("init a producer", init, func(r kmsg.Response) string {
		i := r.(*kmsg.InitProducerIDResponse)
		return fmt.Sprint(codeName(i.ErrorCode), " ", i.ProducerID >= 0, " ", i.ProducerEpoch)
	})
}

func showFetched(r kmsg.Response) string {
	f := r.(*kmsg.FetchResponse)
	if f.ErrorCode != 0 || len(f.Topics) == 0 || len(f.Topics[0].Partitions) == 0 {
		return codeName(f.ErrorCode)
	}
	p := f.Topics[0].Partitions[0]
	return fmt.Sprintf("%s high %d stable %d start %d bytes %d aborted null %v", codeName(p.ErrorCode), p.HighWatermark, p.LastStableOffset,
		p.LogStartOffset, len(p.RecordBatches), p.AbortedTransactions == nil)
}

// life is that of a classic group.
func (o *olden) life() {
	for _, kind := range []int8{0, 1} {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.CoordinatorType, q.CoordinatorKey, q.CoordinatorKeys = kind, o.group, []string{o.group}
		o.ask(fmt.Sprint("coordinator of kind ", kind), q, func(r kmsg.Response) string {
			f := r.(*kmsg.FindCoordinatorResponse)
			said := fmt.Sprint(codeName(f.ErrorCode), " ", f.NodeID)
			for _, c := range f.Coordinators {
				said += fmt.Sprint(" ", codeName(c.ErrorCode), " ", c.NodeID)
			}
			return said
		})
	}
	id := ""
	join := func(step string) {
		o.ask(step, joining(func(q *kmsg.JoinGroupRequest) { q.Group, q.MemberID = o.group, id }), func(r kmsg.Response) string {
			j := r.(*kmsg.JoinGroupResponse)
			id = j.MemberID
			return fmt.Sprintf("%s generation %d leads %v members %d protocol %s type %s", codeName(j.ErrorCode), j.Generation,
				j.LeaderID == j.MemberID, len(j.Members), text(j.Protocol), text(j.ProtocolType))
		})
	}
	join("join")
	join("join again")
	beat := func(step string, generation int32) {
		q := kmsg.NewPtrHeartbeatRequest()
		q.Group, q.MemberID, q.Generation = o.group, id, generation
		o.ask(step, q, func(r kmsg.Response) string { return codeName(r.(*kmsg.HeartbeatResponse).ErrorCode) })
	}
	beat("heartbeat before the assignment", 1)
	beat("heartbeat of a later generation", 2)
	sync := kmsg.NewPtrSyncGroupRequest()
	kind, protocol := "consumer", "range"
	sync.Group, sync.MemberID, sync.Generation, sync.ProtocolType, sync.Protocol = o.group, id, 1, &kind, &protocol
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: id, MemberAssignment: []byte{1, 2}}}
	o.ask("sync", sync, func(r kmsg.Response) string {
		a := r.(*kmsg.SyncGroupResponse)
		return fmt.Sprintf("%s %x", codeName(a.ErrorCode), a.MemberAssignment)
	})
	beat("heartbeat", 1)
	for _, s := range []struct {
		step, member, topic string
		generation          int32
	}{{"commit", id, "diff-a", 1}, {"commit of another generation", id, "diff-a", 7}, {"commit of a stranger", "stranger", "diff-a", 1}, {"commit of a strange topic", id, "diff-z", 1}} {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Group, q.MemberID, q.Generation = o.group, s.member, s.generation
		note := "note"
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Offset, p.Metadata, p.LeaderEpoch = 5, &note, 0
		q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: s.topic, TopicID: o.topicID(s.topic), Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
		o.ask(s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
		})
	}
	o.fetched("offsets", "diff-a", "diff-z")
	o.fetched("all offsets")
	o.shown("describe with a member")
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{o.group}
	removed := func(r kmsg.Response) string { return codeName(r.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode) }
	o.ask("delete with a member", remove, removed)
	for _, step := range []string{"leave", "leave again"} {
		q := kmsg.NewPtrLeaveGroupRequest()
		q.Group, q.MemberID, q.Members = o.group, id, []kmsg.LeaveGroupRequestMember{{MemberID: id}}
		o.ask(step, q, func(r kmsg.Response) string {
			l := r.(*kmsg.LeaveGroupResponse)
			said := codeName(l.ErrorCode)
			for _, m := range l.Members {
				said += " " + codeName(m.ErrorCode)
			}
			return said
		})
	}
	o.shown("describe without members")
	o.ask("delete", remove, removed)
	o.shown("describe what was deleted")
	o.fetched("offsets of what was deleted", "diff-a")
}

func (o *olden) fetched(step string, topics ...string) {
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Group = o.group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = o.group, -1
	for _, name := range topics {
		q.Topics = append(q.Topics, kmsg.OffsetFetchRequestTopic{Topic: name, Partitions: []int32{0, 1}})
		g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: name, TopicID: o.topicID(name), Partitions: []int32{0, 1}})
	}
	q.Groups = append(q.Groups, g)
	o.ask(step, q, func(r kmsg.Response) string {
		f := r.(*kmsg.OffsetFetchResponse)
		said := codeName(f.ErrorCode)
		for _, t := range f.Topics {
			for _, p := range t.Partitions {
				said += fmt.Sprintf(" %s/%d:%s:%d:%s", t.Topic, p.Partition, codeName(p.ErrorCode), p.Offset, text(p.Metadata))
			}
		}
		for _, g := range f.Groups {
			said += " " + codeName(g.ErrorCode)
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					said += fmt.Sprintf(" %s/%d:%s:%d:%s", t.Topic, p.Partition, codeName(p.ErrorCode), p.Offset, text(p.Metadata))
				}
			}
		}
		return said
	})
}

func (o *olden) shown(step string) {
	q := kmsg.NewPtrDescribeGroupsRequest()
	q.Groups = []string{o.group}
	o.ask(step, q, func(r kmsg.Response) string {
		g := r.(*kmsg.DescribeGroupsResponse).Groups[0]
		said := fmt.Sprintf("%s %s %q %q", codeName(g.ErrorCode), g.State, g.ProtocolType, g.Protocol)
		for _, m := range g.Members {
			said += fmt.Sprintf(" metadata %x assignment %x", m.ProtocolMetadata, m.MemberAssignment)
		}
		return said
	})
	list := kmsg.NewPtrListGroupsRequest()
	o.ask(step+", listed", list, func(r kmsg.Response) string {
		said := codeName(r.(*kmsg.ListGroupsResponse).ErrorCode)
		for _, g := range r.(*kmsg.ListGroupsResponse).Groups {
			if g.Group == o.group {
				said += " " + g.ProtocolType + " " + g.GroupState
			}
		}
		return said
	})
}

// admin asks for configs and directories, and deletes the topic.
func (o *olden) admin() {
	describe := kmsg.NewPtrDescribeConfigsRequest()
	describe.Resources = []kmsg.DescribeConfigsRequestResource{
		{ResourceType: ofTopic, ResourceName: "diff-olden", ConfigNames: []string{"retention.bytes"}}, {ResourceType: ofTopic, ResourceName: "diff-z"},
	}
	o.ask("describe configs", describe, func(r kmsg.Response) string {
		said := ""
		for _, one := range r.(*kmsg.DescribeConfigsResponse).Resources {
			said += codeName(one.ErrorCode)
			for _, c := range one.Configs {
				said += fmt.Sprint(" ", c.Name, "=", text(c.Value), " ", c.Source, " ", c.IsDefault, ";")
			}
		}
		return said
	})
	value, wrong := "4096", "x"
	for _, s := range []struct {
		step  string
		value *string
	}{{"alter configs", &value}, {"alter configs to a bad value", &wrong}} {
		q := kmsg.NewPtrAlterConfigsRequest()
		q.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: ofTopic, ResourceName: "diff-olden", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.bytes", Value: s.value}}}}
		o.ask(s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode)
		})
	}
	remove := kmsg.NewPtrDeleteTopicsRequest()
	name, strange := "diff-olden", "diff-z"
	remove.TimeoutMillis, remove.TopicNames = 10_000, []string{name, strange}
	remove.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &name}, {Topic: &strange}}
	o.ask("delete topics", remove, func(r kmsg.Response) string {
		var said []string
		for _, t := range r.(*kmsg.DeleteTopicsResponse).Topics {
			said = append(said, text(t.Topic)+":"+codeName(t.ErrorCode))
		}
		slices.Sort(said)
		return fmt.Sprint(said)
	})
}

// plainRecords is a batch of so many records.
func plainRecords(records int) []byte {
	all := make([]batch.Record, records)
	for i := range all {
		all[i] = batch.Record{Timestamp: int64(i + 1), Value: []byte("v")}
	}
	return built(func(*batch.Builder) {}, all...)
}
