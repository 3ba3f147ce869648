package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// creationOf is a request for one topic.
func creationOf(edit func(*kmsg.CreateTopicsRequestTopic)) *kmsg.CreateTopicsRequest {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version, q.TimeoutMillis = 7, 5000
	asked := kmsg.NewCreateTopicsRequestTopic()
	asked.Topic, asked.NumPartitions, asked.ReplicationFactor = "t", 1, 1
	edit(&asked)
	q.Topics = append(q.Topics, asked)
	return q
}

func config(name, value string) kmsg.CreateTopicsRequestTopicConfig {
	return kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: &value}
}

// TestCreateTopicsJudgesEachTopicByItself, whether it is to be created or only validated.
func TestCreateTopicsJudgesEachTopicByItself(t *testing.T) {
	type edit = func(*kmsg.CreateTopicsRequestTopic)
	configured := func(c ...kmsg.CreateTopicsRequestTopicConfig) edit {
		return func(t *kmsg.CreateTopicsRequestTopic) { t.Configs = c }
	}
	assigned := func(count int32, replicas ...[]int32) edit {
		return func(t *kmsg.CreateTopicsRequestTopic) {
			t.NumPartitions, t.ReplicationFactor = count, int16(count)
			for i, r := range replicas {
				a := kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: r}
				t.ReplicaAssignment = append(t.ReplicaAssignment, a)
			}
		}
	}
	cases := []struct {
		name string
		edit edit
		want code
	}{
		{"defaults", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions, t.ReplicationFactor = -1, -1 }, codeNone},
		{"dots", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "a..b" }, codeNone},
		{"a slash", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "a/b" }, codeInvalidTopic},
		{"no name", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "" }, codeInvalidTopic},
		{"a name of 250", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = strings.Repeat("x", 250) }, codeInvalidTopic},
		{"taken", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "taken" }, codeTopicAlreadyExists},
		{"no partitions", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 0 }, codeInvalidPartitions},
		{"too many partitions", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 1 << 30 }, codePolicyViolation},
		{"no replicas", func(t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = 0 }, codeInvalidReplicationFactor},
		{"more replicas than brokers", func(t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = 2 }, codeInvalidReplicationFactor},
		{"honoured", configured(config(configMinInSync, "2"), config(configUncleanElection, "true")), codeNone},
		{"a no-op", configured(config("remote.storage.enable", "false"), config("local.retention.ms", "-2")), codeNone},
		{"not honoured", configured(config("remote.storage.enable", "true")), codeInvalidConfig},
		{"at odds", configured(config(configMinLag, "6"), config(configMaxLag, "5")), codeInvalidConfig},
		{"unknown key", configured(config("no.such.key", "1")), codeInvalidConfig},
		{"bad number", configured(config(configMinInSync, "many")), codeInvalidConfig},
		{"too small", configured(config(configMinInSync, "0")), codeInvalidConfig},
		{"bad flag", configured(config(configUncleanElection, "yes")), codeInvalidConfig},
		{"null value", configured(kmsg.CreateTopicsRequestTopicConfig{Name: configMinInSync}), codeInvalidConfig},
		{"assigned", assigned(-1, []int32{1}, []int32{1}), codeNone},
		{"assigned and counted", assigned(1, []int32{1}), codeInvalidRequest},
		{"assigned to a stranger", assigned(-1, []int32{9}), codeInvalidReplicaAssignment},
		{"assigned twice", assigned(-1, []int32{1, 1}), codeInvalidReplicaAssignment},
		{"assigned to nobody", assigned(-1, []int32{}), codeInvalidReplicaAssignment},
	}
	h := start(t, func(c *Config) { c.Topics.Partitions = 4 })
	h.create("taken", 1)
	c := h.dial()
	for _, validateOnly := range []bool{true, false} {
		for i, test := range cases {
			q := creationOf(func(t *kmsg.CreateTopicsRequestTopic) {
				t.Topic = fmt.Sprintf("t%d", i)
				test.edit(t)
			})
			q.ValidateOnly = validateOnly
			answer := c.ask(q).(*kmsg.CreateTopicsResponse).Topics[0]
			expectCode(t, test.name, answer.ErrorCode, test.want)
			made, there := h.cluster.View().TopicByName(q.Topics[0].Topic)
			if want := test.want == codeNone && !validateOnly || test.name == "taken"; there != want {
				t.Errorf("%s: topic there: got %v, want %v", test.name, there, want)
			}
			if test.name == "defaults" && answer.NumPartitions != 4 {
				t.Errorf("default partitions: got %d, want 4", answer.NumPartitions)
			}
			if test.name == "a no-op" && there && len(made.Configs) != 0 {
				t.Errorf("stored: got %v, want nothing that is not honoured", made.Configs)
			}
			if answer.ErrorCode != 0 && answer.ErrorMessage == nil {
				t.Errorf("%s: refused without a word", test.name)
			}
		}
	}
}

// TestNamesThatStandTwiceAreRefusedOnce in each of the three requests.
func TestNamesThatStandTwiceAreRefusedOnce(t *testing.T) {
	h := start(t)
	h.create("known", 1)
	c := h.dial()
	create := creationOf(func(*kmsg.CreateTopicsRequestTopic) {})
	create.Topics = append(create.Topics, create.Topics[0])
	created := c.ask(create).(*kmsg.CreateTopicsResponse)
	expectCode(t, "create", created.Topics[0].ErrorCode, codeInvalidRequest)

	name := "known"
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.Version = 6
	remove.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &name}, {TopicID: mustTopic(h, name).ID}}
	removed := c.ask(remove).(*kmsg.DeleteTopicsResponse)
	expectCode(t, "delete", removed.Topics[0].ErrorCode, codeInvalidRequest)

	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: 2}, {Topic: name, Count: 3}}
	grown := c.ask(grow).(*kmsg.CreatePartitionsResponse)
	expectCode(t, "grow", grown.Topics[0].ErrorCode, codeInvalidRequest)
	if len(created.Topics) != 1 || len(removed.Topics) != 1 || len(grown.Topics) != 1 {
		t.Errorf("answers: got %d, %d, %d, want one each",
			len(created.Topics), len(removed.Topics), len(grown.Topics))
	}
	if len(mustTopic(h, name).Partitions) != 1 {
		t.Errorf("topic: want it untouched")
	}
}

// TestDeleteTopicsByNameAndByID.
func TestDeleteTopicsByNameAndByID(t *testing.T) {
	h := start(t)
	byID := h.create("by-id", 1)
	h.create("by-name", 1)
	c := h.dial()
	name, stranger := "by-name", "stranger"
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.Version, q.TimeoutMillis = 6, 5000
	q.Topics = []kmsg.DeleteTopicsRequestTopic{
		{TopicID: byID}, {Topic: &name}, {Topic: &stranger}, {TopicID: [16]byte{9}}, {},
		{Topic: &name, TopicID: byID},
	}
	r := c.ask(q).(*kmsg.DeleteTopicsResponse)
	want := []code{
		codeNone, codeNone, codeUnknownTopicOrPartition, codeUnknownTopicID, codeInvalidRequest,
		codeInvalidRequest,
	}
	for i, answer := range r.Topics {
		expectCode(t, fmt.Sprintf("topic %d", i), answer.ErrorCode, want[i])
	}
	if len(r.Topics) != len(want) || *r.Topics[0].Topic != "by-id" || len(h.cluster.View().Topics()) != 0 {
		t.Errorf("got %d answers and %d topics, want %d and none", len(r.Topics), len(h.cluster.View().Topics()), len(want))
	}
	off := start(t, func(c *Config) { c.Topics.DeleteOff = true })
	off.create("kept", 1)
	q.Version, q.TopicNames = 5, []string{"kept"}
	answer := off.dial().ask(q).(*kmsg.DeleteTopicsResponse).Topics[0]
	expectCode(t, "delete.topic.enable=false", answer.ErrorCode, codeTopicDeletionDisabled)
}

// TestRecreatedTopicHasAnotherID: the old id is unknown from then on (checklist 25).
func TestRecreatedTopicHasAnotherID(t *testing.T) {
	h := start(t)
	old := h.create("again", 1)
	h.cluster.DeleteTopics(deadline(t), []topic.ID{old})
	if renewed := h.create("again", 1); renewed == old {
		t.Errorf("id: got %v twice", old)
	}
	q := fetchOf(13, "", 0, 0)
	q.Topics[0].TopicID = old
	expectCode(t, "fetch", onlyFetched(h.dial().ask(q)).ErrorCode, codeUnknownTopicID)
}

// TestCreatePartitionsAnswersForEveryTopic.
func TestCreatePartitionsAnswersForEveryTopic(t *testing.T) {
	h := start(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		h.create(name, 2)
	}
	assigned := func(replicas ...[]int32) []kmsg.CreatePartitionsRequestTopicAssignment {
		var all []kmsg.CreatePartitionsRequestTopicAssignment
		for _, r := range replicas {
			all = append(all, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: r})
		}
		return all
	}
	q := kmsg.NewPtrCreatePartitionsRequest()
	q.Version, q.TimeoutMillis = 3, 5000
	q.Topics = []kmsg.CreatePartitionsRequestTopic{
		{Topic: "a", Count: 5}, {Topic: "b", Count: 2}, {Topic: "stranger", Count: 2},
		{Topic: "c", Count: 3, Assignment: assigned([]int32{1})},
		{Topic: "d", Count: 4, Assignment: assigned([]int32{1})},
		{Topic: "e", Count: 3, Assignment: assigned([]int32{7})},
	}
	want := []code{
		codeNone, codeInvalidPartitions, codeUnknownTopicOrPartition, codeNone,
		codeInvalidReplicaAssignment, codeInvalidReplicaAssignment,
	}
	c := h.dial()
	for _, validateOnly := range []bool{true, false} {
		q.ValidateOnly = validateOnly
		r := c.ask(q).(*kmsg.CreatePartitionsResponse)
		if len(r.Topics) != len(want) {
			t.Fatalf("answers: got %d, want %d", len(r.Topics), len(want))
		}
		for i, answer := range r.Topics {
			expectCode(t, answer.Topic, answer.ErrorCode, want[i])
		}
		partitions := map[bool]int{true: 2, false: 5}[validateOnly]
		if got := len(mustTopic(h, "a").Partitions); got != partitions {
			t.Errorf("partitions of a: got %d, want %d", got, partitions)
		}
	}
}

// TestChangesWithoutAControllerAreRetriable: never success, never a final refusal.
func TestChangesWithoutAControllerAreRetriable(t *testing.T) {
	h := start(t)
	h.create("known", 1)
	c := h.dial()
	name := "known"
	for cause, want := range map[error]code{
		topic.ErrNoController: codeNotController, topic.ErrOutcomeUnknown: codeRequestTimedOut,
		context.DeadlineExceeded: codeRequestTimedOut, fmt.Errorf("what?"): codeRequestTimedOut,
	} {
		h.cluster.broken.Store(&cause)
		created := c.ask(creationOf(func(*kmsg.CreateTopicsRequestTopic) {})).(*kmsg.CreateTopicsResponse)
		expectCode(t, "create", created.Topics[0].ErrorCode, want)
		q := kmsg.NewPtrDeleteTopicsRequest()
		q.Version, q.Topics = 6, []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
		expectCode(t, "delete", c.ask(q).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, want)
		id := kmsg.NewPtrInitProducerIDRequest()
		expectCode(t, "producer id", c.ask(id).(*kmsg.InitProducerIDResponse).ErrorCode, codeCoordinatorLoading)
	}
}

// TestRefusalsDoNotFollowFromAnOldView: another broker has told its clients of a change that this one
// has not heard of.
func TestRefusalsDoNotFollowFromAnOldView(t *testing.T) {
	h := start(t)
	c := h.dial()
	remove := func(v *soleView) { v.topics = nil }
	successor := &topic.Topic{ID: topic.ID{1, 2, 3}, Name: "n", Partitions: []*topic.Placement{{}}}
	replace := func(v *soleView) { v.topics = []*topic.Topic{successor} }
	h.create("n", 1)

	h.cluster.late.Store(&remove)
	created := c.ask(creationOf(func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "n" })).(*kmsg.CreateTopicsResponse)
	expectCode(t, "create what was deleted elsewhere", created.Topics[0].ErrorCode, codeNone)

	h.cluster.late.Store(&replace)
	name := "n"
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.Version, q.Topics = 6, []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
	deleted := c.ask(q).(*kmsg.DeleteTopicsResponse).Topics[0]
	expectCode(t, "delete", deleted.ErrorCode, codeNone)
	if deleted.TopicID != successor.ID {
		t.Errorf("deleted %x, want its successor of that name", deleted.TopicID)
	}

	h.cluster.late.Store(&replace)
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "n", Count: 2}}
	grown := c.ask(grow).(*kmsg.CreatePartitionsResponse)
	expectCode(t, "grow what was created elsewhere", grown.Topics[0].ErrorCode, codeNone)

	for id, edit := range map[topic.NodeID]func(*kmsg.CreateTopicsRequestTopic){
		2: func(t *kmsg.CreateTopicsRequestTopic) { t.Topic, t.ReplicationFactor = "counted", 2 },
		3: func(t *kmsg.CreateTopicsRequestTopic) {
			t.Topic, t.NumPartitions, t.ReplicationFactor = "assigned", -1, -1
			t.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: []int32{1, 3}}}
		},
	} {
		register := func(v *soleView) { v.brokers = append(v.brokers[:1:1], topic.Broker{ID: id}) }
		h.cluster.publish(func(v *soleView) { v.brokers = v.brokers[:1] })
		h.cluster.late.Store(&register)
		created := c.ask(creationOf(edit)).(*kmsg.CreateTopicsResponse).Topics[0]
		expectCode(t, created.Topic+" on a broker that has registered elsewhere", created.ErrorCode, codeNone)
	}
}

// TestMetadataNamesWhoIsReachable through the listener of the question, and no other.
func TestMetadataNamesWhoIsReachable(t *testing.T) {
	h := start(t, func(c *Config) { c.Topics.AutoCreateOff = true })
	h.create("m", 3)
	h.cluster.addBroker(topic.Broker{ID: 2, Endpoints: []topic.Endpoint{{Listener: "OTHER", Host: "x", Port: 1}}})
	h.cluster.addBroker(topic.Broker{ID: 3, Fenced: true, Endpoints: []topic.Endpoint{{Listener: "PLAINTEXT", Host: "y", Port: 1}}})
	h.cluster.move(t, "m", 0, 2, 1)
	h.cluster.move(t, "m", 1, 3, 1)
	c := h.dial()
	q := kmsg.NewPtrMetadataRequest()
	q.Version = 12
	r := c.ask(q).(*kmsg.MetadataResponse)
	if len(r.Brokers) != 1 || r.Brokers[0].NodeID != 1 || *r.Brokers[0].Rack != "r1" || r.ControllerID != 1 {
		t.Errorf("brokers: got %+v, want this one alone", r.Brokers)
	}
	expectCode(t, "leader on another listener", r.Topics[0].Partitions[0].ErrorCode, codeListenerNotFound)
	fenced := r.Topics[0].Partitions[1]
	expectCode(t, "fenced leader", fenced.ErrorCode, codeLeaderNotAvailable)
	if fenced.Leader != -1 || !slices.Equal(fenced.Replicas, []int32{1, 3}) || !slices.Equal(fenced.OfflineReplicas, []int32{3}) {
		t.Errorf("fenced leader: got %+v, want no leader, all replicas, 3 offline", fenced)
	}
	onlyCode(t, "led here", r.Topics[0].Partitions[2].ErrorCode)

	cluster := kmsg.NewPtrDescribeClusterRequest()
	cluster.Version, cluster.IncludeFencedBrokers = 2, true
	described := c.ask(cluster).(*kmsg.DescribeClusterResponse)
	if len(described.Brokers) != 2 || !described.Brokers[1].IsFenced || described.Brokers[1].NodeID != 3 {
		t.Errorf("cluster: got %+v, want the fenced broker too", described.Brokers)
	}
	cluster.EndpointType = 2
	expectCode(t, "controllers", c.ask(cluster).(*kmsg.DescribeClusterResponse).ErrorCode, codeMismatchedEndpointType)
	cluster.EndpointType = 9
	expectCode(t, "endpoints of type 9", c.ask(cluster).(*kmsg.DescribeClusterResponse).ErrorCode, codeUnsupportedEndpointType)
}

// TestMetadataAsksForAllForNoneByNameAndByID.
func TestMetadataAsksForAllForNoneByNameAndByID(t *testing.T) {
	h := start(t)
	id := h.create("one", 1)
	h.create("two", 1)
	c := h.dial()
	ask := func(version int16, topics []kmsg.MetadataRequestTopic) []kmsg.MetadataResponseTopic {
		q := kmsg.NewPtrMetadataRequest()
		q.Version, q.Topics = version, topics
		return c.ask(q).(*kmsg.MetadataResponse).Topics
	}
	none := []kmsg.MetadataRequestTopic{}
	for _, test := range []struct {
		version int16
		topics  []kmsg.MetadataRequestTopic
		want    int
	}{{0, none, 2}, {1, none, 0}, {1, nil, 2}, {9, none, 0}, {12, nil, 2}} {
		if got := len(ask(test.version, test.topics)); got != test.want {
			t.Errorf("version %d, %v: got %d topics, want %d", test.version, test.topics, got, test.want)
		}
	}
	found := ask(12, []kmsg.MetadataRequestTopic{{TopicID: id}, {TopicID: [16]byte{7}}, {}})
	onlyCode(t, "by id", found[0].ErrorCode)
	if *found[0].Topic != "one" {
		t.Errorf("by id: got %s, want one", *found[0].Topic)
	}
	expectCode(t, "unknown id", found[1].ErrorCode, codeUnknownTopicID)
	expectCode(t, "neither", found[2].ErrorCode, codeInvalidRequest)
	expectCode(t, "by id in version 10", ask(10, []kmsg.MetadataRequestTopic{{TopicID: id}})[0].ErrorCode, codeInvalidRequest)
	strange := "no/such"
	one := "one"
	if got := ask(9, []kmsg.MetadataRequestTopic{{Topic: &one}, {Topic: &strange}, {Topic: &one}}); len(got) != 2 {
		t.Errorf("one twice: got %d topics, want each once", len(got))
	}
	expectCode(t, "bad name", ask(9, []kmsg.MetadataRequestTopic{{Topic: &strange}})[0].ErrorCode, codeInvalidTopic)
}

// TestAutoCreationTakesTwoToAgree: the broker allows it and the client asks for it.
func TestAutoCreationTakesTwoToAgree(t *testing.T) {
	ask := func(h *harness, name string, version int16, allow bool) code {
		q := kmsg.NewPtrMetadataRequest()
		q.Version, q.AllowAutoTopicCreation = version, allow
		q.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
		return code(h.dial().ask(q).(*kmsg.MetadataResponse).Topics[0].ErrorCode)
	}
	on := start(t)
	off := start(t, func(c *Config) { c.Topics.AutoCreateOff = true })
	for _, test := range []struct {
		h       *harness
		name    string
		version int16
		allow   bool
		want    code
	}{
		{on, "a", 9, true, codeNone}, {on, "b", 9, false, codeUnknownTopicOrPartition},
		{on, "c", 3, false, codeNone}, {off, "d", 9, true, codeUnknownTopicOrPartition},
		{on, "bad/name", 9, true, codeInvalidTopic},
		{on, "__consumer_offsets", 9, true, codeUnknownTopicOrPartition},
	} {
		if got := ask(test.h, test.name, test.version, test.allow); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
	for cause, want := range map[error]code{
		topic.ErrNoController: codeLeaderNotAvailable, topic.ErrInvalidReplicationFactor: codeInvalidReplicationFactor,
	} {
		on.cluster.broken.Store(&cause)
		if got := ask(on, "later", 9, true); got != want {
			t.Errorf("%v: got %v, want %v", cause, got, want)
		}
	}
	on.creations.mu.Lock()
	defer on.creations.mu.Unlock()
	if len(on.creations.inFlight) != 0 {
		t.Errorf("creations under way: got %v, want none", on.creations.inFlight)
	}
}

// TestDescribeConfigsTellsWhereValuesComeFrom.
func TestDescribeConfigsTellsWhereValuesComeFrom(t *testing.T) {
	h := start(t, func(c *Config) {
		c.Topics.MinInSyncReplicas = 2
		c.Properties = []Property{
			{Name: "min.insync.replicas", Value: "2", Set: true}, {Name: "log.dirs", Value: "/d", Set: true},
			{Name: "offsets.retention.minutes", Value: "5", Default: "10080", Set: true, Kind: PropertyInt},
			{Name: "offsets.topic.replication.factor", Value: "3", Kind: PropertyShort, Default: "3"},
			{Name: "nats.cluster.secret", Value: "hush", Set: true, Sensitive: true},
		}
	})
	c := h.dial()
	onlyCode(t, "create", c.ask(creationOf(func(t *kmsg.CreateTopicsRequestTopic) {
		t.Configs = append(t.Configs, config(configMessageBytes, "5000"))
	})).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.Version, q.IncludeSynonyms, q.IncludeDocumentation = 4, true, true
	for kind, name := range map[kmsg.ConfigResourceType]string{2: "t", 4: "1"} {
		q.Resources = append(q.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kind, ResourceName: name})
	}
	slices.SortFunc(q.Resources, func(a, b kmsg.DescribeConfigsRequestResource) int {
		return int(a.ResourceType) - int(b.ResourceType)
	})
	r := c.ask(q).(*kmsg.DescribeConfigsResponse)
	own := byConfigName(r.Resources[0].Configs)
	if got := own[configMessageBytes]; *got.Value != "5000" || got.Source != 1 || len(got.ConfigSynonyms) != 2 || got.ConfigType != 3 {
		t.Errorf("%s: got %+v, want 5000, the topic's own", configMessageBytes, got)
	}
	if got := own[configMinInSync]; *got.Value != "2" || got.Source != 4 || len(got.ConfigSynonyms) != 2 {
		t.Errorf("%s: got %+v, want 2, from the broker's file", configMinInSync, got)
	}
	if got := own["cleanup.policy"]; *got.Value != "delete" || got.Source != 5 || got.ReadOnly {
		t.Errorf("cleanup.policy: got %+v, want the default", got)
	}
	node := byConfigName(r.Resources[1].Configs)
	if got := node["nats.cluster.secret"]; got.Value != nil || !got.IsSensitive || got.ConfigSynonyms[0].Value != nil {
		t.Errorf("secret: got %+v, want it hidden", got)
	}
	if got := node["log.dirs"]; *got.Value != "/d" || got.Source != 4 || !got.ReadOnly {
		t.Errorf("log.dirs: got %+v, want /d from the file", got)
	}
	if got := node["offsets.retention.minutes"]; got.ConfigType != kmsg.ConfigTypeInt || len(got.ConfigSynonyms) != 2 ||
		*got.ConfigSynonyms[1].Value != "10080" || got.ConfigSynonyms[1].Source != kmsg.ConfigSourceDefaultConfig {
		t.Errorf("offsets.retention.minutes: got %+v, want what it would be by default, too", got)
	}
	if got := node["offsets.topic.replication.factor"]; got.ConfigType != kmsg.ConfigTypeShort || len(got.ConfigSynonyms) != 1 {
		t.Errorf("offsets.topic.replication.factor: got %+v, want a short that nobody set", got)
	}
	if got := node["num.partitions"]; *got.Value != "1" || got.Source != 5 {
		t.Errorf("num.partitions: got %+v, want the default", got)
	}
}

func byConfigName(
	configs []kmsg.DescribeConfigsResponseResourceConfig,
) map[string]kmsg.DescribeConfigsResponseResourceConfig {
	named := map[string]kmsg.DescribeConfigsResponseResourceConfig{}
	for _, c := range configs {
		named[c.Name] = c
	}
	return named
}

// TestDescribeConfigsRefusesWhatItDoesNotKnow, and filters by key.
func TestDescribeConfigsRefusesWhatItDoesNotKnow(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	c := h.dial()
	for _, test := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want code
	}{
		{kmsg.ConfigResourceTypeTopic, "stranger", codeUnknownTopicOrPartition},
		{kmsg.ConfigResourceTypeTopic, "a/b", codeInvalidTopic},
		{kmsg.ConfigResourceTypeTopic, "t", codeNone},
		{kmsg.ConfigResourceTypeBroker, "1", codeNone},
		{kmsg.ConfigResourceTypeBroker, "2", codeInvalidRequest},
		{kmsg.ConfigResourceTypeGroupConfig, "", codeInvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "1", codeInvalidRequest},
	} {
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.Version = 4
		q.Resources = []kmsg.DescribeConfigsRequestResource{{
			ResourceType: test.kind, ResourceName: test.name,
			ConfigNames: []string{"message.max.bytes", "max.message.bytes", "nonsense"},
		}}
		resource := c.ask(q).(*kmsg.DescribeConfigsResponse).Resources[0]
		expectCode(t, test.name, resource.ErrorCode, test.want)
		if want := 1; test.want == codeNone && len(resource.Configs) != want {
			t.Errorf("%s: got %d configs, want the one that was asked for", test.name, len(resource.Configs))
		}
	}
}

// TestProducerIDsAreNeverGivenTwice, across blocks and connections.
func TestProducerIDsAreNeverGivenTwice(t *testing.T) {
	h := start(t)
	seen := map[int64]bool{}
	for range 5 {
		c := h.dial()
		for range 5 {
			r := c.ask(kmsg.NewPtrInitProducerIDRequest()).(*kmsg.InitProducerIDResponse)
			onlyCode(t, "init", r.ErrorCode)
			if seen[r.ProducerID] {
				t.Errorf("producer id %d: given twice", r.ProducerID)
			}
			seen[r.ProducerID] = true
		}
	}
	c := h.dial()
	tx, none := "tx", ""
	for _, test := range []struct {
		id    *string
		pid   int64
		epoch int16
		want  code
	}{{&tx, -1, -1, codeNotCoordinator}, {&none, -1, -1, codeInvalidRequest}, {nil, 4, 2, codeNone}, {nil, 4, -1, codeInvalidRequest}} {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.Version, q.TransactionalID, q.ProducerID, q.ProducerEpoch = 4, test.id, test.pid, test.epoch
		expectCode(t, "init", c.ask(q).(*kmsg.InitProducerIDResponse).ErrorCode, test.want)
	}
}
