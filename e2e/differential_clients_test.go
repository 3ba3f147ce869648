package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/wire"
)

// beginnings: what clients ask when they connect.
func (d *dialogue) beginnings() {
	type asked = kmsg.ApiVersionsRequest
	text := func(s string) *string { return &s }
	q := kmsg.NewPtrApiVersionsRequest()
	q.ClientSoftwareName, q.ClientSoftwareVersion = "differential", "1.0"
	r, err := d.broker.Request(d.ctx, q)
	if err != nil {
		d.Fatal(err)
	}
	served := map[int16]string{}
	for _, k := range r.(*kmsg.ApiVersionsResponse).ApiKeys {
		served[k.ApiKey] = fmt.Sprintf("%d to %d", k.MinVersion, k.MaxVersion)
	}
	for _, api := range wire.Supported() {
		d.said = append(d.said, exchanged{"versions of " + api.Name, served[api.Key]})
		delete(served, api.Key)
	}
	var others []string
	for key := range served {
		others = append(others, kmsg.NameForKey(key))
	}
	slices.Sort(others)
	d.said = append(d.said, exchanged{"other APIs", strings.Join(others, " ")})
	levels := []string{}
	for _, f := range r.(*kmsg.ApiVersionsResponse).FinalizedFeatures {
		if !strings.HasPrefix(f.Name, "outrigger.") {
			levels = append(levels, fmt.Sprintf("%s %d", f.Name, f.MaxVersionLevel))
		}
	}
	slices.Sort(levels)
	d.said = append(d.said, exchanged{"finalized features", strings.Join(levels, ", ")})
	for _, s := range []struct {
		step string
		edit func(*asked)
	}{
		{"versions for nobody", func(q *asked) { q.ClientSoftwareName = "" }},
		{"versions for a name with a blank", func(q *asked) { q.ClientSoftwareName = "a b" }},
		{"versions for a name that ends in a dash", func(q *asked) { q.ClientSoftwareName = "a-" }},
		{"versions for a name with dots", func(q *asked) { q.ClientSoftwareName = "org.example.client-1" }},
		{"versions for no version", func(q *asked) { q.ClientSoftwareVersion = "" }},
		{"versions for a version with a plus", func(q *asked) { q.ClientSoftwareVersion = "1+2" }},
		{"versions of another cluster", func(q *asked) { q.ClusterID, q.NodeID = text("AAAAAAAAAAAAAAAAAAAAAA"), 1 }},
	} {
		q := kmsg.NewPtrApiVersionsRequest()
		q.ClientSoftwareName, q.ClientSoftwareVersion = "differential", "1.0"
		s.edit(q)
		d.ask(s.step, q, func(r kmsg.Response) string { return codeName(r.(*kmsg.ApiVersionsResponse).ErrorCode) })
	}
	d.metadata()
	for _, asks := range []bool{false, true} {
		q := kmsg.NewPtrDescribeClusterRequest()
		q.IncludeClusterAuthorizedOperations = asks
		d.ask(fmt.Sprint("describe cluster, operations ", asks), q, func(r kmsg.Response) string {
			c := r.(*kmsg.DescribeClusterResponse)
			return fmt.Sprint(codeName(c.ErrorCode), " ", c.ControllerID, " ", len(c.ClusterID), " ", len(c.Brokers), " ", c.ClusterAuthorizedOperations)
		})
	}
	d.unsecured()
}

// metadata: topics by name, by id, all and none.
func (d *dialogue) metadata() {
	type topic = kmsg.MetadataRequestTopic
	name := func(s string) *string { return &s }
	for _, s := range []struct {
		step   string
		topics []topic
		ops    bool
	}{
		{"metadata of one", []topic{{Topic: name("diff-a")}}, false},
		{"metadata of one, with operations", []topic{{Topic: name("diff-a")}}, true},
		{"metadata of one twice", []topic{{Topic: name("diff-a")}, {Topic: name("diff-a")}}, false},
		{"metadata of a stranger", []topic{{Topic: name("diff-z")}}, false},
		{"metadata of one and a stranger", []topic{{Topic: name("diff-a")}, {Topic: name("diff-z")}}, false},
		{"metadata of a bad name", []topic{{Topic: name("a/b")}}, false},
		{"metadata of no name", []topic{{Topic: name("")}}, false},
		{"metadata of a long name", []topic{{Topic: name(strings.Repeat("n", 250))}}, false},
		{"metadata of dots", []topic{{Topic: name("..")}}, false},
		{"metadata of an unknown id", []topic{{TopicID: [16]byte{1, 2, 3}}}, false},
		{"metadata of one by its id", []topic{{TopicID: d.topicID("diff-a")}}, false},
		{"metadata of nothing", []topic{}, false},
		{"metadata of all", nil, false},
	} {
		for _, from := range []*kgo.Broker{d.broker, d.old, d.older, d.oldest} {
			q := kmsg.NewPtrMetadataRequest()
			q.Topics, q.IncludeTopicAuthorizedOperations, q.IncludeClusterAuthorizedOperations = s.topics, s.ops, s.ops
			byName := len(s.topics) == 0 || s.topics[0].Topic != nil
			if from != d.broker && !byName {
				continue // they cannot
			}
			d.asks(from, s.step+d.named(from), q, func(r kmsg.Response) string { return showMetadata(r.(*kmsg.MetadataResponse)) })
		}
	}
	q := kmsg.NewPtrMetadataRequest()
	q.Topics, q.AllowAutoTopicCreation = []topic{{Topic: name("diff-auto")}, {Topic: name("a/b")}}, true
	eventually(d, coordinatorWithin, "a topic of its own accord", func() error {
		r, err := d.broker.Request(d.ctx, q)
		if err != nil {
			return err
		}
		return codeError(r.(*kmsg.MetadataResponse).Topics[0].ErrorCode)
	})
	d.ask("metadata of one that was made for it", q, func(r kmsg.Response) string { return showMetadata(r.(*kmsg.MetadataResponse)) })
}

func showMetadata(m *kmsg.MetadataResponse) string {
	said := []string{fmt.Sprintf("%s brokers %d cluster %v operations %d", codeName(m.ErrorCode), len(m.Brokers), m.ClusterID != nil, m.AuthorizedOperations)}
	for _, t := range m.Topics {
		name := text(t.Topic)
		if t.IsInternal || t.ErrorCode == 0 && !strings.HasPrefix(name, "diff-") {
			continue // which of them are there is another matter
		}
		one := fmt.Sprintf("%s %s id %v operations %d", name, codeName(t.ErrorCode), t.TopicID != [16]byte{}, t.AuthorizedOperations)
		for _, p := range t.Partitions {
			one += fmt.Sprintf(" %d:%s:%d:%v:%v:%v", p.Partition, codeName(p.ErrorCode), p.Leader, p.Replicas, p.ISR, p.OfflineReplicas)
		}
		said = append(said, one)
	}
	slices.Sort(said[1:])
	return strings.Join(said, "; ")
}

// unsecured: what a cluster without security answers to who asks about it.
func (d *dialogue) unsecured() {
	creation := kmsg.NewCreateACLsRequestCreation()
	creation.ResourceType, creation.ResourceName, creation.ResourcePatternType = kmsg.ACLResourceTypeTopic, "diff-a", kmsg.ACLResourcePatternTypeLiteral
	creation.Principal, creation.Host, creation.Operation, creation.PermissionType = "User:a", "*", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow
	create := kmsg.NewPtrCreateACLsRequest()
	create.Creations = append(create.Creations, creation)
	d.ask("create an ACL", create, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.CreateACLsResponse).Results[0].ErrorCode)
	})
	filter := kmsg.NewDeleteACLsRequestFilter()
	filter.ResourceType, filter.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	filter.Operation, filter.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	remove := kmsg.NewPtrDeleteACLsRequest()
	remove.Filters = append(remove.Filters, filter)
	d.ask("delete ACLs", remove, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.DeleteACLsResponse).Results[0].ErrorCode)
	})
}

// refusals: which records of a batch are refused (KIP-467).
func (d *dialogue) refusals() {
	now := time.Now().UnixMilli()
	keyed, keyless := batch.Record{Timestamp: now, Key: []byte("k")}, batch.Record{Timestamp: now, Value: []byte("v")}
	ahead := batch.Record{Timestamp: now + 3*time.Hour.Milliseconds(), Key: []byte("k")}
	plain := func(*batch.Builder) {}
	for _, s := range []struct {
		step, topic string
		raw         []byte
	}{
		{"produce some without keys", "diff-k", built(plain, keyed, keyless, keyed, keyless)},
		{"produce one of tomorrow", "diff-a", built(plain, keyed, ahead)},
		{"produce some without keys and one of tomorrow", "diff-k", built(plain, keyless, ahead, keyed)},
	} {
		d.ask(s.step, d.producing(s.topic, 0, s.raw), func(r kmsg.Response) string {
			p := r.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			said := fmt.Sprintf("%s message %v records", codeName(p.ErrorCode), p.ErrorMessage != nil)
			for _, one := range p.ErrorRecords {
				said += fmt.Sprintf(" %d:%v", one.RelativeOffset, one.ErrorMessage != nil)
			}
			return said
		})
	}
}

// statics: the life of static members of a classic group.
func (d *dialogue) statics() {
	const group = "diff-static"
	one, two, nobody := "one", "two", "nobody"
	var id, former string
	join := func(step, member string, instance *string) string {
		got := ""
		d.ask(step, joining(func(q *kmsg.JoinGroupRequest) { q.Group, q.MemberID, q.InstanceID = group, member, instance }), func(r kmsg.Response) string {
			j := r.(*kmsg.JoinGroupResponse)
			got = j.MemberID
			said := fmt.Sprintf("%s generation %d another id %v leads %v skips %v members", codeName(j.ErrorCode), j.Generation,
				j.MemberID != member, j.LeaderID == j.MemberID && j.LeaderID != "", j.SkipAssignment)
			for _, m := range j.Members {
				said += fmt.Sprintf(" %s:%d", text(m.InstanceID), len(m.ProtocolMetadata))
			}
			return said
		})
		return got
	}
	sync := func(step, member string, instance *string, generation int32) {
		q := kmsg.NewPtrSyncGroupRequest()
		kind, protocol := "consumer", "range"
		q.Group, q.MemberID, q.InstanceID, q.Generation, q.ProtocolType, q.Protocol = group, member, instance, generation, &kind, &protocol
		q.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: member, MemberAssignment: []byte{1, 2}}}
		d.ask(step, q, func(r kmsg.Response) string {
			a := r.(*kmsg.SyncGroupResponse)
			return fmt.Sprintf("%s %x", codeName(a.ErrorCode), a.MemberAssignment)
		})
	}
	beat := func(step, member string, instance *string, generation int32) {
		q := kmsg.NewPtrHeartbeatRequest()
		q.Group, q.MemberID, q.InstanceID, q.Generation = group, member, instance, generation
		d.ask(step, q, func(r kmsg.Response) string { return codeName(r.(*kmsg.HeartbeatResponse).ErrorCode) })
	}
	id = join("static joins", "", &one)
	d.shownGroup("static before the assignment", group)
	sync("static syncs", id, &one, 1)
	d.shownGroup("static after the assignment", group)
	former, id = id, join("static joins anew", "", &one)
	d.shownGroup("static after it came back", group)
	beat("static of old beats", former, &one, 1)
	beat("static beats", id, &one, 1)
	beat("static of another name beats", id, &nobody, 1)
	sync("static of old syncs", former, &one, 1)
	sync("static syncs again", id, &one, 1)
	join("static of old joins", former, &one)
	join("static joins with another's id", id, &two)
	d.commitStatic("static of old commits", group, former, &one)
	d.commitStatic("static commits", group, id, &one)
	type leaver = kmsg.LeaveGroupRequestMember
	for _, s := range []struct {
		step string
		who  []leaver
	}{
		{"static of old leaves", []leaver{{MemberID: former, InstanceID: &one}}},
		{"static of nobody leaves", []leaver{{InstanceID: &nobody}}},
		{"static leaves by its name", []leaver{{InstanceID: &one}}},
		{"static leaves again", []leaver{{InstanceID: &one}, {MemberID: id}}},
		{"none leaves", nil},
	} {
		q := kmsg.NewPtrLeaveGroupRequest()
		q.Group, q.Members = group, s.who
		d.ask(s.step, q, func(r kmsg.Response) string {
			l := r.(*kmsg.LeaveGroupResponse)
			said := codeName(l.ErrorCode)
			for _, m := range l.Members {
				said += fmt.Sprintf(" %s:%s", text(m.InstanceID), codeName(m.ErrorCode))
			}
			return said
		})
	}
	d.shownGroup("static when all have left", group)
	d.listings(group)
}

func (d *dialogue) commitStatic(step, group, member string, instance *string) {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.MemberID, q.InstanceID, q.Generation = group, member, instance, 1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID = "diff-a", d.topicID("diff-a")
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = 3
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	d.ask(step, q, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
	})
}

// shownGroup is a classic group as admins see it.
func (d *dialogue) shownGroup(step, group string) {
	q := kmsg.NewPtrDescribeGroupsRequest()
	q.Groups, q.IncludeAuthorizedOperations = []string{group}, true
	d.ask(step, q, func(r kmsg.Response) string {
		g := r.(*kmsg.DescribeGroupsResponse).Groups[0]
		said := fmt.Sprintf("%s %s %q %q operations %d", codeName(g.ErrorCode), g.State, g.ProtocolType, g.Protocol, g.AuthorizedOperations)
		for _, m := range g.Members {
			said += fmt.Sprintf(" %s %s %s metadata %x assignment %x", text(m.InstanceID), m.ClientID, m.ClientHost, m.ProtocolMetadata, m.MemberAssignment)
		}
		return said
	})
}

// listings: groups by their states and types.
func (d *dialogue) listings(group string) {
	for _, s := range []struct {
		step          string
		states, types []string
	}{
		{"list groups of a state", []string{"Empty"}, nil}, {"list groups of a state in small letters", []string{"empty"}, nil},
		{"list groups of another state", []string{"Stable"}, nil}, {"list groups of an unknown state", []string{"Best"}, nil},
		{"list groups of a type", nil, []string{"classic"}}, {"list groups of a type in capitals", nil, []string{"Classic"}},
		{"list groups of another type", nil, []string{"share"}}, {"list groups of an unknown type", nil, []string{"best"}},
		{"list groups of a state and a type", []string{"Empty", "Stable"}, []string{"classic", "consumer"}},
	} {
		q := kmsg.NewPtrListGroupsRequest()
		q.StatesFilter, q.TypesFilter = s.states, s.types
		d.ask(s.step, q, func(r kmsg.Response) string {
			l := r.(*kmsg.ListGroupsResponse)
			said := codeName(l.ErrorCode)
			for _, g := range l.Groups {
				if g.Group == group {
					said += " " + g.ProtocolType + " " + g.GroupState + " " + g.GroupType
				}
			}
			return said
		})
	}
}

// described: which configs there are, with their values and where they come from.
func (d *dialogue) described() {
	text := func(s string) *string { return &s }
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{
		{ResourceType: ofTopic, ResourceName: "diff-b", Configs: []configEdit{{Name: "retention.ms", Value: text("123456")}, {Name: "cleanup.policy", Value: text("compact")}}},
	}
	if _, err := d.broker.Request(d.ctx, q); err != nil {
		d.Fatal(err)
	}
	for _, s := range []struct {
		step string
		kind kmsg.ConfigResourceType
		name string
		only []string
	}{
		{"config of a topic", ofTopic, "diff-a", nil},
		{"config of a topic with two set", ofTopic, "diff-b", []string{"retention.ms", "cleanup.policy", "min.insync.replicas"}},
		{"config of a group", ofGroup, "diff-static", nil},
		{"config of a broker", ofBroker, "1", brokerKeys},
	} {
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.IncludeSynonyms = true
		q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: s.kind, ResourceName: s.name, ConfigNames: s.only}}
		r, err := d.broker.Request(d.ctx, q)
		if err != nil {
			d.Fatal(err)
		}
		found := map[string]string{}
		for _, c := range r.(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
			said := fmt.Sprintf("%s source %d kind %d read only %v sensitive %v", textOf(c.Value), c.Source, c.ConfigType, c.ReadOnly, c.IsSensitive)
			for _, synonym := range c.ConfigSynonyms {
				said += fmt.Sprintf(" %s=%s:%d", synonym.Name, textOf(synonym.Value), synonym.Source)
			}
			found[c.Name] = said
		}
		names := s.only
		if names == nil {
			for name := range found {
				names = append(names, name)
			}
			slices.Sort(names)
			d.said = append(d.said, exchanged{s.step + ": all keys", strings.Join(names, " ")})
			names = d.shared(s.kind)
		}
		for _, name := range names {
			d.said = append(d.said, exchanged{s.step + ": " + name, found[name]})
		}
	}
}

func textOf(s *string) string { return text(s) }

// brokerKeys are configs of brokers that tools read.
var brokerKeys = []string{
	"auto.create.topics.enable", "compression.type", "default.replication.factor", "delete.topic.enable", "log.cleanup.policy",
	"log.retention.bytes", "log.retention.check.interval.ms", "log.segment.bytes", "max.connections", "max.connections.per.ip", "message.max.bytes",
	"min.insync.replicas", "node.id", "num.partitions", "offset.metadata.max.bytes", "offsets.retention.minutes",
	"offsets.topic.num.partitions", "offsets.topic.replication.factor", "group.initial.rebalance.delay.ms",
	"group.max.session.timeout.ms", "group.min.session.timeout.ms", "transaction.max.timeout.ms",
	"transactional.id.expiration.ms", "unclean.leader.election.enable", "log.message.timestamp.type", "socket.request.max.bytes",
}

// shared are the keys of which each is compared by itself.
func (d *dialogue) shared(kind kmsg.ConfigResourceType) []string {
	if kind == ofGroup {
		return []string{"consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "consumer.assignment.interval.ms",
			"share.auto.offset.reset", "share.delivery.count.limit", "share.heartbeat.interval.ms", "share.isolation.level",
			"share.partition.max.record.locks", "share.record.lock.duration.ms", "share.renew.acknowledge.enable", "share.session.timeout.ms"}
	}
	return []string{"cleanup.policy", "compression.gzip.level", "compression.lz4.level", "compression.type", "compression.zstd.level",
		"delete.retention.ms", "file.delete.delay.ms", "flush.messages", "flush.ms", "follower.replication.throttled.replicas",
		"index.interval.bytes", "leader.replication.throttled.replicas", "local.retention.bytes", "local.retention.ms",
		"max.compaction.lag.ms", "max.decompressed.message.bytes", "max.message.bytes", "message.timestamp.after.max.ms", "message.timestamp.before.max.ms",
		"message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas", "preallocate",
		"remote.copy.lag.bytes", "remote.copy.lag.ms", "remote.log.copy.disable", "remote.log.delete.on.disable", "remote.storage.enable", "retention.bytes", "retention.ms",
		"segment.bytes", "segment.index.bytes", "segment.jitter.ms", "segment.ms", "unclean.leader.election.enable"}
}
