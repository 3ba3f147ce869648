package e2e

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type configEdit = kmsg.IncrementalAlterConfigsRequestResourceConfig

const (
	ofTopic  = kmsg.ConfigResourceTypeTopic
	ofBroker = kmsg.ConfigResourceTypeBroker
	ofLogger = kmsg.ConfigResourceTypeBrokerLogger
	ofClient = kmsg.ConfigResourceTypeClientMetrics
	ofGroup  = kmsg.ConfigResourceTypeGroupConfig

	opSet, opDelete, opAppend, opSubtract = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete,
		kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
)

func (d *dialogue) configs() {
	minimum := "min.insync.replicas"
	set := func(name, value string) configEdit { return configEdit{Name: name, Value: &value} }
	with := func(op kmsg.IncrementalAlterConfigOp, e configEdit) configEdit { e.Op = op; return e }
	for _, s := range []struct {
		step  string
		kind  kmsg.ConfigResourceType
		name  string
		edits []configEdit
	}{
		{"alter t", ofTopic, "diff-a", []configEdit{set(minimum, "1")}},
		{"alter t to null", ofTopic, "diff-a", []configEdit{{Name: minimum}}},
		{"alter t append to a number", ofTopic, "diff-a", []configEdit{with(opAppend, set(minimum, "1"))}},
		{"alter t append to a list", ofTopic, "diff-a", []configEdit{with(opAppend, set("cleanup.policy", "delete"))}},
		{"alter t cleanup.policy subtract delete", ofTopic, "diff-a", []configEdit{with(opSubtract, set("cleanup.policy", "delete"))}},
		{"alter t unknown operation", ofTopic, "diff-a", []configEdit{with(9, set(minimum, "1"))}},
		{"alter t one key twice", ofTopic, "diff-a", []configEdit{set(minimum, "1"), {Name: minimum, Op: opDelete}}},
		{"alter t unknown key", ofTopic, "diff-a", []configEdit{set("no.such", "1")}},
		{"alter t delete unknown key", ofTopic, "diff-a", []configEdit{{Name: "no.such", Op: opDelete}}},
		{"alter t bad value", ofTopic, "diff-a", []configEdit{set(minimum, "x")}},
		{"alter t nothing", ofTopic, "diff-a", nil},
		{"alter stranger", ofTopic, "diff-z", []configEdit{set(minimum, "1")}},
		{"alter bad name", ofTopic, "a/b", []configEdit{set(minimum, "1")}},
		{"alter no name", ofTopic, "", []configEdit{set(minimum, "1")}},
		{"alter all brokers", ofBroker, "", []configEdit{set(minimum, "1")}},
		{"alter one broker", ofBroker, "1", []configEdit{set("max.connections", "500")}},
		{"alter one broker, shared key", ofBroker, "1", []configEdit{set(minimum, "1")}},
		{"alter read only", ofBroker, "1", []configEdit{set("num.partitions", "5")}},
		{"alter unknown broker", ofBroker, "9", []configEdit{set("max.connections", "5")}},
		{"alter no broker", ofBroker, "x", []configEdit{set("max.connections", "5")}},
		{"alter group", ofGroup, "g", []configEdit{set("consumer.session.timeout.ms", "45000")}},
		{"alter unknown kind", 99, "g", []configEdit{set("x", "1")}},
	} {
		q := kmsg.NewPtrIncrementalAlterConfigsRequest()
		q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: s.kind, ResourceName: s.name, Configs: s.edits}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
		})
	}
	for _, s := range []struct {
		step string
		kind kmsg.ConfigResourceType
		name string
	}{
		{"describe t", ofTopic, "diff-a"}, {"describe stranger", ofTopic, "diff-z"}, {"describe bad name", ofTopic, "a/b"},
		{"describe broker", ofBroker, "1"}, {"describe all brokers", ofBroker, ""}, {"describe unknown broker", ofBroker, "9"},
		{"describe no broker", ofBroker, "x"}, {"describe group", ofGroup, "g"}, {"describe no group", ofGroup, ""},
		{"describe client metrics", ofClient, "m"}, {"describe no client metrics", ofClient, ""},
		{"describe logger", ofLogger, "1"}, {"describe unknown kind", 0, "x"},
	} {
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: s.kind, ResourceName: s.name}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.DescribeConfigsResponse).Resources[0].ErrorCode)
		})
	}
	d.resources("list resources of topics", []int8{2})
	d.resources("list resources of no type", []int8{0})
	d.resources("list resources of all types", nil)
}

func (d *dialogue) resources(step string, types []int8) {
	q := kmsg.NewPtrListConfigResourcesRequest()
	q.ResourceTypes = types
	d.ask(step, q, func(r kmsg.Response) string {
		listed := r.(*kmsg.ListConfigResourcesResponse)
		words := []string{}
		for _, kind := range []int8{2, 4, 8} {
			for _, c := range listed.ConfigResources {
				if c.Type == kind {
					words = append(words, fmt.Sprintf("%d:%s", c.Type, c.Name))
				}
			}
		}
		slices.Sort(words)
		return codeName(listed.ErrorCode) + " " + ownOf(words)
	})
}

func (d *dialogue) pages() {
	type cursor = kmsg.DescribeTopicPartitionsRequestCursor
	for _, s := range []struct {
		step   string
		limit  int32
		from   *cursor
		topics []string
	}{
		{"page of all", 2000, nil, []string{"diff-b", "diff-a"}},
		{"page of four", 4, nil, []string{"diff-b", "diff-a"}},
		{"page that ends with a topic", 3, nil, []string{"diff-b", "diff-a"}},
		{"page of nothing", 0, nil, []string{"diff-b", "diff-a"}},
		{"page from a cursor", 4, &cursor{Topic: "diff-b", Partition: 1}, []string{"diff-b", "diff-a", "diff-c"}},
		{"page beyond the end", 4, &cursor{Topic: "diff-b", Partition: 9}, []string{"diff-b", "diff-c"}},
		{"page before the start", 4, &cursor{Topic: "diff-b", Partition: -1}, []string{"diff-b", "diff-c"}},
		{"page of a foreign cursor", 4, &cursor{Topic: "diff-aa"}, []string{"diff-b", "diff-c"}},
		{"page of a stranger", 4, nil, []string{"diff-z", "diff-a"}},
		{"page of a bad name", 4, nil, []string{"a/b", "diff-a"}},
	} {
		q := kmsg.NewPtrDescribeTopicPartitionsRequest()
		q.ResponsePartitionLimit, q.Cursor = s.limit, s.from
		for _, name := range s.topics {
			q.Topics = append(q.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
		d.ask(s.step, q, func(r kmsg.Response) string {
			page, text := r.(*kmsg.DescribeTopicPartitionsResponse), ""
			for _, t := range page.Topics {
				text += fmt.Sprintf("%s:%s:%d ", *t.Topic, codeName(t.ErrorCode), len(t.Partitions))
			}
			if page.NextCursor != nil {
				text += fmt.Sprintf("then %s/%d", page.NextCursor.Topic, page.NextCursor.Partition)
			}
			return text
		})
	}
}

func (d *dialogue) features() {
	type update = kmsg.UpdateFeaturesRequestFeatureUpdate
	for _, s := range []struct {
		step    string
		updates []update
	}{
		{"update no feature", nil},
		{"update an unknown feature", []update{{Feature: "foo.version", MaxVersionLevel: 1, UpgradeType: 1}}},
		{"update to a level of old", []update{{Feature: "metadata.version", MaxVersionLevel: 1, UpgradeType: 2}}},
	} {
		q := kmsg.NewPtrUpdateFeaturesRequest()
		q.TimeoutMillis, q.FeatureUpdates = 5000, s.updates
		d.ask(s.step, q, func(r kmsg.Response) string { return codeName(r.(*kmsg.UpdateFeaturesResponse).ErrorCode) })
	}
	users := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	for _, name := range []string{"u", "twice", "twice"} {
		users.Users = append(users.Users, kmsg.DescribeUserSCRAMCredentialsRequestUser{Name: name})
	}
	d.ask("describe scram users", users, func(r kmsg.Response) string {
		described := r.(*kmsg.DescribeUserSCRAMCredentialsResponse)
		var users []string
		for _, u := range described.Results {
			users = append(users, u.User+":"+codeName(u.ErrorCode))
		}
		slices.Sort(users) // Kafka answers in no order
		return codeName(described.ErrorCode) + " " + strings.Join(users, " ")
	})
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	quorum.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "diff-a", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	d.ask("quorum of a topic", quorum, func(r kmsg.Response) string {
		q := r.(*kmsg.DescribeQuorumResponse)
		return codeName(q.ErrorCode) + " " + codeName(q.Topics[0].Partitions[0].ErrorCode)
	})
	acls := kmsg.NewPtrDescribeACLsRequest()
	acls.ResourceType, acls.ResourcePatternType, acls.Operation, acls.PermissionType = 1, 1, 1, 1
	d.ask("describe acls", acls, func(r kmsg.Response) string { return codeName(r.(*kmsg.DescribeACLsResponse).ErrorCode) })
	d.ask("describe quotas", kmsg.NewPtrDescribeClientQuotasRequest(), func(r kmsg.Response) string {
		q := r.(*kmsg.DescribeClientQuotasResponse)
		return fmt.Sprint(codeName(q.ErrorCode), len(q.Entries), q.Entries == nil)
	})
}

func (d *dialogue) elections() {
	type asked = kmsg.ElectLeadersRequestTopic
	for _, s := range []struct {
		step   string
		kind   int8
		topics []asked
	}{
		{"elect everywhere", 0, nil},
		{"elect by name", 0, []asked{{Topic: "diff-a", Partitions: []int32{0, 9}}, {Topic: "diff-z", Partitions: []int32{0}}}},
		{"elect uncleanly", 1, []asked{{Topic: "diff-a", Partitions: []int32{0}}}},
		{"elect in an unknown way", 7, nil},
	} {
		q := kmsg.NewPtrElectLeadersRequest()
		q.ElectionType, q.Topics, q.TimeoutMillis = s.kind, s.topics, 5000
		d.ask(s.step, q, func(r kmsg.Response) string {
			elected := r.(*kmsg.ElectLeadersResponse)
			text := codeName(elected.ErrorCode)
			for _, t := range elected.Topics {
				for _, p := range t.Partitions {
					text += fmt.Sprintf(" %s/%d:%s", t.Topic, p.Partition, codeName(p.ErrorCode))
				}
			}
			return text
		})
	}
}

// sessionFetch is one fetch in a session; partitions are asked for, or forgotten.
type sessionFetch struct {
	step      string
	id, epoch int32
	asked     []int32
	forgotten []int32
}

func (d *dialogue) sessions() {
	id := d.fetch(sessionFetch{step: "fetch opens a session", asked: []int32{0, 1, 9}})
	for _, s := range []sessionFetch{
		{step: "fetch in a session, 1", epoch: 1},
		{step: "fetch an epoch again", epoch: 1},
		{step: "fetch in a session, 2", epoch: 2, asked: []int32{2}},
		{step: "fetch forgets", epoch: 3, forgotten: []int32{9}},
		{step: "fetch in a session, 4", epoch: 4},
		{step: "fetch a negative epoch", epoch: -5},
		{step: "fetch forgets all", epoch: 5, forgotten: []int32{0, 1, 2}},
		{step: "fetch after the end", epoch: 6},
	} {
		s.id = id
		d.fetch(s)
	}
	d.fetch(sessionFetch{step: "fetch in an unknown session", id: 77, epoch: 1, asked: []int32{0}})
	d.fetch(sessionFetch{step: "fetch ends an unknown session", id: 77, epoch: -1, asked: []int32{0}})
	d.fetch(sessionFetch{step: "fetch nothing in a session"})
}

func (d *dialogue) fetch(s sessionFetch) (id int32) {
	q := kmsg.NewPtrFetchRequest()
	q.SessionID, q.SessionEpoch, q.MaxWaitMillis, q.MaxBytes = s.id, s.epoch, 100, 1<<20
	topic := d.topicID("diff-a")
	if len(s.asked) > 0 {
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = "diff-a", topic
		for _, index := range s.asked {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.PartitionMaxBytes, p.CurrentLeaderEpoch = index, 1<<20, -1
			t.Partitions = append(t.Partitions, p)
		}
		q.Topics = append(q.Topics, t)
	}
	if len(s.forgotten) > 0 {
		q.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "diff-a", TopicID: topic, Partitions: s.forgotten}}
	}
	d.ask(s.step, q, func(r kmsg.Response) string {
		fetched := r.(*kmsg.FetchResponse)
		id = fetched.SessionID
		var told []string
		for _, t := range fetched.Topics {
			for _, p := range t.Partitions {
				told = append(told, fmt.Sprintf("%d:%s:%d", p.Partition, codeName(p.ErrorCode), p.HighWatermark))
			}
		}
		slices.Sort(told) // Kafka puts those that it knows nothing of last
		return strings.TrimSpace(fmt.Sprintf("%s session %v %s", codeName(fetched.ErrorCode), id != 0, strings.Join(told, " ")))
	})
	return id
}
