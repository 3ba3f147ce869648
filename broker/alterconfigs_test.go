package broker

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const (
	opSet      = kmsg.IncrementalAlterConfigOpSet
	opDelete   = kmsg.IncrementalAlterConfigOpDelete
	opAppend   = kmsg.IncrementalAlterConfigOpAppend
	opSubtract = kmsg.IncrementalAlterConfigOpSubtract
)

// edit is one edit of a request; the value "null" is none.
func edit(name string, op kmsg.IncrementalAlterConfigOp, value string) kmsg.IncrementalAlterConfigsRequestResourceConfig {
	e := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Op: op, Value: &value}
	if value == "null" {
		e.Value = nil
	}
	return e
}

func alterationOf(
	kind kmsg.ConfigResourceType, name string, edits ...kmsg.IncrementalAlterConfigsRequestResourceConfig,
) *kmsg.IncrementalAlterConfigsRequest {
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.Version = 1
	q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kind, ResourceName: name, Configs: edits,
	}}
	return q
}

// altered asks for an alteration of one resource.
func (c *rawClient) altered(q *kmsg.IncrementalAlterConfigsRequest) kmsg.IncrementalAlterConfigsResponseResource {
	c.Helper()
	return c.ask(q).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]
}

// described are the configs of one resource.
func (c *rawClient) described(
	kind kmsg.ConfigResourceType, name string,
) map[string]kmsg.DescribeConfigsResponseResourceConfig {
	c.Helper()
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.Version, q.IncludeSynonyms = 4, true
	q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
	return byConfigName(c.ask(q).(*kmsg.DescribeConfigsResponse).Resources[0].Configs)
}

// TestAlterationsAreJudgedConfigByConfig, and nothing is stored that is not honoured (checklist 52).
func TestAlterationsAreJudgedConfigByConfig(t *testing.T) {
	const ofTopic, ofBroker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	type edits = []kmsg.IncrementalAlterConfigsRequestResourceConfig
	cases := []struct {
		name     string
		kind     kmsg.ConfigResourceType
		resource string
		edits    edits
		want     code
	}{
		{"honoured", ofTopic, "t", edits{edit(configMinInSync, opSet, "2"), edit(configUncleanElection, opSet, "true")}, codeNone},
		{"at what the broker carries", ofTopic, "t", edits{edit(configMessageBytes, opSet, "1048588")}, codeNone},
		{"above what the broker carries", ofTopic, "t", edits{edit(configMessageBytes, opSet, "1048589")}, codeInvalidConfig},
		{"delete what is not set", ofTopic, "t", edits{edit("retention.ms", opDelete, "null")}, codeNone},
		{"what happens anyway", ofTopic, "t", edits{edit("remote.storage.enable", opSet, "false")}, codeNone},
		{"append what is there", ofTopic, "t", edits{edit("cleanup.policy", opAppend, "delete")}, codeNone},
		{"append", ofTopic, "t", edits{edit("cleanup.policy", opAppend, "compact")}, codeNone},
		{"append a stranger", ofTopic, "t", edits{edit("cleanup.policy", opAppend, "forget")}, codeInvalidConfig},
		{"at odds", ofTopic, "t", edits{edit(configMinLag, opSet, "6"), edit(configMaxLag, opSet, "5")}, codeInvalidConfig},
		{"inherited by topics", ofBroker, "", edits{edit("log.retention.ms", opSet, "5")}, codeNone},
		{"inherited, of one broker", ofBroker, "1", edits{edit("log.retention.ms", opSet, "5")}, codeInvalidConfig},
		{"inherited, at odds", ofBroker, "", edits{edit("log.cleaner.max.compaction.lag.ms", opSet, "5"), edit("log.cleaner.min.compaction.lag.ms", opSet, "6")}, codeInvalidConfig},
		{"subtract", ofTopic, "t", edits{edit("cleanup.policy", opSubtract, "delete")}, codeNone},
		{"append to a number", ofTopic, "t", edits{edit(configMinInSync, opAppend, "2")}, codeInvalidConfig},
		{"not honoured", ofTopic, "t", edits{edit("remote.storage.enable", opSet, "true")}, codeInvalidConfig},
		{"unknown key", ofTopic, "t", edits{edit("no.such.key", opSet, "5")}, codeInvalidConfig},
		{"delete an unknown key", ofTopic, "t", edits{edit("no.such.key", opDelete, "null")}, codeNone},
		{"bad number", ofTopic, "t", edits{edit(configMinInSync, opSet, "0")}, codeInvalidConfig},
		{"one good, one bad", ofTopic, "t", edits{edit(configMinInSync, opSet, "3"), edit(configUncleanElection, opSet, "maybe")}, codeInvalidConfig},
		{"null", ofTopic, "t", edits{edit(configMinInSync, opSet, "null")}, codeInvalidRequest},
		{"twice", ofTopic, "t", edits{edit(configMinInSync, opSet, "2"), edit(configMinInSync, opDelete, "null")}, codeInvalidRequest},
		{"unknown operation", ofTopic, "t", edits{edit(configMinInSync, 9, "2")}, codeInvalidRequest},
		{"stranger", ofTopic, "stranger", edits{edit(configMinInSync, opSet, "2")}, codeUnknownTopicOrPartition},
		{"no name", ofTopic, "", edits{edit(configMinInSync, opSet, "2")}, codeInvalidRequest},
		{"bad name", ofTopic, "a/b", edits{edit(configMinInSync, opSet, "2")}, codeInvalidTopic},
		{"all brokers", ofBroker, "", edits{edit(configMinInSync, opSet, "2")}, codeNone},
		{"one broker", ofBroker, "1", edits{edit(configConnections, opSet, "100")}, codeNone},
		{"one broker, shared key", ofBroker, "1", edits{edit(configMinInSync, opSet, "2")}, codeInvalidConfig},
		{"locked out", ofBroker, "", edits{edit(configConnections, opSet, "0")}, codeInvalidConfig},
		{"read only", ofBroker, "", edits{edit("num.partitions", opSet, "2")}, codeInvalidRequest},
		{"unknown to brokers", ofBroker, "", edits{edit("no.such.key", opSet, "2")}, codeInvalidConfig},
		{"unknown broker", ofBroker, "9", edits{edit(configConnections, opSet, "1")}, codeInvalidRequest},
		{"no number", ofBroker, "01", edits{edit(configConnections, opSet, "1")}, codeInvalidRequest},
		{"group", kmsg.ConfigResourceTypeGroupConfig, "g", edits{edit("consumer.session.timeout.ms", opSet, "1")}, codeInvalidConfig},
		{"interval of divisions beyond", kmsg.ConfigResourceTypeGroupConfig, "g",
			edits{edit("consumer.assignment.interval.ms", opSet, "15001")}, codeInvalidConfig},
		{"logger", kmsg.ConfigResourceTypeBrokerLogger, "1", edits{edit("root", opSet, "INFO")}, codeInvalidRequest},
	}
	for _, test := range cases {
		for _, validateOnly := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", test.name, validateOnly), func(t *testing.T) {
				h := start(t)
				h.create("t", 1)
				c := h.dial()
				q := alterationOf(test.kind, test.resource, test.edits...)
				q.ValidateOnly = validateOnly
				answer := c.altered(q)
				expectCode(t, test.name, answer.ErrorCode, test.want)
				if (answer.ErrorMessage != nil) != (test.want != codeNone) {
					t.Errorf("message: got %v, want one with an error only", answer.ErrorMessage)
				}
				set := mustTopic(h, "t").Configs
				stored := len(set) + len(h.cluster.View().Configs(topic.BrokerConfigs, "").Values) +
					len(h.cluster.View().Configs(topic.BrokerConfigs, "1").Values)
				kept := test.want == codeNone && !validateOnly &&
					test.edits[0].Op != opDelete && test.edits[0].Name != "remote.storage.enable"
				if (stored > 0) != kept {
					t.Errorf("stored: got %d configs, want some: %v", stored, kept)
				}
			})
		}
	}
}

// TestAlterConfigsDeletesWhatItDoesNotName, and IncrementalAlterConfigs does not.
func TestAlterConfigsDeletesWhatItDoesNotName(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	c := h.dial()
	ofTopic := kmsg.ConfigResourceTypeTopic
	onlyCode(t, "set", c.altered(alterationOf(ofTopic, "t", edit(configMinInSync, opSet, "2"))).ErrorCode)
	onlyCode(t, "set", c.altered(alterationOf(ofTopic, "t", edit(configMessageBytes, opSet, "5000"))).ErrorCode)
	if got := mustTopic(h, "t").Configs; len(got) != 2 {
		t.Errorf("got %v, want both", got)
	}
	onlyCode(t, "delete", c.altered(alterationOf(ofTopic, "t", edit(configMinInSync, opDelete, "null"))).ErrorCode)
	q := kmsg.NewPtrAlterConfigsRequest()
	q.Version = 2
	value := "true"
	q.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: ofTopic, ResourceName: "t",
		Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: configUncleanElection, Value: &value}}}}
	onlyCode(t, "replace", c.ask(q).(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode)
	if got := mustTopic(h, "t").Configs; len(got) != 1 || got[configUncleanElection] != "true" {
		t.Errorf("got %v, want what was named alone", got)
	}
	q.Resources[0].Configs = nil
	onlyCode(t, "clear", c.ask(q).(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode)
	if got := mustTopic(h, "t").Configs; len(got) != 0 {
		t.Errorf("got %v, want nothing", got)
	}
	q.Resources = append(q.Resources, q.Resources[0])
	for _, answer := range c.ask(q).(*kmsg.AlterConfigsResponse).Resources {
		expectCode(t, "named twice", answer.ErrorCode, codeInvalidRequest)
	}
}

// TestAlterationKeepsWhatARivalSet: two admins change one key each of the same topic.
func TestAlterationKeepsWhatARivalSet(t *testing.T) {
	h := start(t)
	id := h.create("t", 1)
	h.cluster.rival.Store(&topic.ConfigChange{
		Kind: topic.TopicConfigs, ID: id, Values: map[string]string{configMinInSync: "2"},
	})
	q := alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(configMessageBytes, opSet, "5000"))
	onlyCode(t, "alter", h.dial().altered(q).ErrorCode)
	if got := mustTopic(h, "t").Configs; len(got) != 2 {
		t.Errorf("got %v, want the rival's config beside ours", got)
	}
}

// TestAlterationsWithoutAControllerAreRetriable.
func TestAlterationsWithoutAControllerAreRetriable(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	c := h.dial()
	for cause, want := range map[error]code{
		topic.ErrNoController: codeNotController, topic.ErrOutcomeUnknown: codeRequestTimedOut,
		context.DeadlineExceeded: codeRequestTimedOut,
	} {
		h.cluster.broken.Store(&cause)
		q := alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(configMessageBytes, opSet, "5000"))
		expectCode(t, "alter", c.altered(q).ErrorCode, want)
	}
}

// TestConfigsTakeEffectWhileRunning: the bound on batches, the bound on connections, and what topics
// inherit, each with the source that it comes from.
func TestConfigsTakeEffectWhileRunning(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	c := h.dial()
	onlyCode(t, "before", onlyProduced(c.ask(produceOf(9, "t", 0, -1, plainBatch("a")))).ErrorCode)
	onlyCode(t, "alter", c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(configMessageBytes, opSet, "10"))).ErrorCode)
	expectCode(t, "after", onlyProduced(c.ask(produceOf(9, "t", 0, -1, plainBatch("a")))).ErrorCode, codeMessageTooLarge)

	onlyCode(t, "all", c.altered(alterationOf(kmsg.ConfigResourceTypeBroker, "",
		edit(configMinInSync, opSet, "3"), edit(configConnections, opSet, "50"))).ErrorCode)
	onlyCode(t, "own", c.altered(alterationOf(kmsg.ConfigResourceTypeBroker, "1", edit(configConnections, opSet, "1"))).ErrorCode)
	if got := c.described(kmsg.ConfigResourceTypeTopic, "t")[configMinInSync]; *got.Value != "3" || got.Source != 3 || len(got.ConfigSynonyms) != 2 {
		t.Errorf("topic: got %+v, want 3, inherited", got)
	}
	own := c.described(kmsg.ConfigResourceTypeBroker, "1")[configConnections]
	if *own.Value != "1" || own.Source != 2 || len(own.ConfigSynonyms) != 3 || own.ReadOnly {
		t.Errorf("broker: got %+v, want its own 1, before 50 and the default", own)
	}
	all := c.described(kmsg.ConfigResourceTypeBroker, "")
	if len(all) != 2 || *all[configConnections].Value != "50" || all[configConnections].Source != 3 {
		t.Errorf("all brokers: got %+v, want the two that were set", all)
	}
	second, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	(&rawClient{t, second}).ended()
}

// TestKadmAltersAndDescribes with the admin client that people use.
func TestKadmAltersAndDescribes(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	admin := kadm.NewClient(h.client())
	value := "2"
	altered, err := admin.AlterTopicConfigs(deadline(t), []kadm.AlterConfig{{Name: configMinInSync, Value: &value}}, "t")
	if err != nil || altered[0].Err != nil {
		t.Fatalf("alter: got %v, %v", altered, err)
	}
	described, err := admin.DescribeTopicConfigs(deadline(t), "t")
	if err != nil || described[0].Err != nil {
		t.Fatalf("describe: got %v, %v", described, err)
	}
	for _, c := range described[0].Configs {
		if c.Key == configMinInSync && c.MaybeValue() != "2" {
			t.Errorf("got %+v, want 2", c)
		}
	}
}

// TestListConfigResourcesListsByType.
func TestListConfigResourcesListsByType(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	c := h.dial()
	for _, test := range []struct {
		version int16
		types   []int8
		want    string
		code    code
	}{
		{1, nil, "[{t 2 {}} {1 4 {}}]", codeNone}, {1, []int8{2}, "[{t 2 {}}]", codeNone},
		{1, []int8{16, 32}, "[]", codeNone}, {0, nil, "[]", codeNone}, {1, []int8{2, 64}, "[]", codeUnsupportedVersion},
	} {
		q := kmsg.NewPtrListConfigResourcesRequest()
		q.Version, q.ResourceTypes = test.version, test.types
		r := c.ask(q).(*kmsg.ListConfigResourcesResponse)
		expectCode(t, "list", r.ErrorCode, test.code)
		var got []string
		for _, resource := range r.ConfigResources {
			got = append(got, fmt.Sprintf("{%s %d {}}", resource.Name, resource.Type))
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("types %v: got %v, want %s", test.types, got, test.want)
		}
	}
}

// TestBatchThatSomeBrokerCannotCarryIsRefused, be it fenced or of a version that says nothing of it, with what helps.
func TestBatchThatSomeBrokerCannotCarryIsRefused(t *testing.T) {
	h := startOver(t, 16<<20, func(c *Config) { c.Topics.BatchBytesMax = 9_000_000 })
	h.create("t", 1)
	c := h.dial()
	asked := func(bytes string) kmsg.IncrementalAlterConfigsResponseResource {
		return c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(configMessageBytes, opSet, bytes)))
	}
	onlyCode(t, "carried by all", asked("9000000").ErrorCode)
	for _, test := range []struct {
		other topic.Broker
		asked string
		want  string
	}{
		{topic.Broker{}, "9000001", "above 9000000, the largest batch that broker 1 carries: start all brokers with wal.file.bytes=37748736"},
		{topic.Broker{ID: 7, BatchBytesMax: 10_000_000}, "9000001", "broker 1"},
		{topic.Broker{ID: 8, BatchBytesMax: 5_000_000, Fenced: true}, "5000001", "above 5000000, the largest batch that broker 8 carries"},
		{topic.Broker{ID: 9, MessageBytesMax: 1_048_588}, "1048589", "above 1048588, the largest batch that broker 9 carries"},
		{topic.Broker{}, "62914561", "above 62914560, the most that one message between brokers carries"},
	} {
		if test.other.ID != 0 {
			h.cluster.addBroker(test.other)
		}
		got := asked(test.asked)
		expectCode(t, test.asked, got.ErrorCode, codeInvalidConfig)
		if got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, configMessageBytes+"="+test.asked) || !strings.Contains(*got.ErrorMessage, test.want) {
			t.Errorf("%s: got %v, want %q", test.asked, got.ErrorMessage, test.want)
		}
	}
}

// A fenced broker cannot be asked, so any other tells what it was told while the cluster ran, such as that it drains; a
// live one answers for itself, as in Kafka.
func TestOthersTellWhatAFencedBrokerWasTold(t *testing.T) {
	h := start(t)
	h.cluster.addBroker(topic.Broker{ID: 7, Fenced: true})
	h.cluster.addBroker(topic.Broker{ID: 8})
	c := h.dial()
	onlyCode(t, "alter", c.altered(alterationOf(kmsg.ConfigResourceTypeBroker, "7", edit(configDraining, opSet, "true"))).ErrorCode)
	got := c.described(kmsg.ConfigResourceTypeBroker, "7")
	if told := got[configDraining]; len(got) != 1 || told.Value == nil || *told.Value != "true" || told.Source != kmsg.ConfigSourceDynamicBrokerConfig {
		t.Errorf("got %+v, want that it drains and nothing else", got)
	}
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.Version = 4
	for _, name := range []string{"8", "9"} {
		q.Resources = append(q.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: name})
	}
	for _, r := range c.ask(q).(*kmsg.DescribeConfigsResponse).Resources {
		expectCode(t, "broker "+r.ResourceName, r.ErrorCode, codeInvalidRequest)
	}
}
