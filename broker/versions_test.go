package broker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
	"outrigger/broker/wire"
)

// TestEveryAdvertisedVersionIsAnswered (failure mode 50) asks something that succeeds of every API in every version
// that is advertised, and looks at the answer with another decoder than the broker's encoder.
func TestEveryAdvertisedVersionIsAnswered(t *testing.T) {
	h := startGroups(t)
	h.coordinates("g")
	v := &versions{harness: h, id: h.create("known", 2)}
	c := h.dial()
	onlyCode(t, "seed", onlyProduced(c.ask(produceOf(9, "known", 0, -1, plainBatch("a", "b")))).ErrorCode)
	for _, api := range wire.Supported() {
		for version := api.Advertised; version <= api.Max; version++ {
			t.Run(fmt.Sprintf("%s/%d", api.Name, version), func(t *testing.T) {
				v.serial++
				q := kmsg.RequestForKey(api.Key)
				q.SetVersion(version)
				v.fill(q, version)
				v.check(t, q, c.ask(q))
			})
		}
	}
}

func onlyCode(tb testing.TB, what string, got int16) {
	tb.Helper()
	expectCode(tb, what, got, codeNone)
}

// versions makes requests of which the answers are known.
type versions struct {
	*harness
	id     topic.ID
	serial int
}

// fresh is a topic name that no other request has used.
func (v *versions) fresh() string { return fmt.Sprintf("fresh-%d", v.serial) }

func (v *versions) fill(q kmsg.Request, version int16) {
	known := "known"
	switch q := q.(type) {
	case *kmsg.ProduceRequest:
		*q = *produceOf(version, known, 1, -1, plainBatch("x"))
		q.Topics[0].TopicID = v.id
	case *kmsg.FetchRequest:
		*q = *fetchOf(version, known, 0, 1)
		q.Topics[0].TopicID = v.id
	case *kmsg.ListOffsetsRequest:
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Timestamp = -1
		q.Topics = []kmsg.ListOffsetsRequestTopic{{
			Topic: known, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p},
		}}
	case *kmsg.MetadataRequest:
		q.Topics = []kmsg.MetadataRequestTopic{{Topic: &known}}
	case *kmsg.ApiVersionsRequest:
		q.Default()
		q.ClientSoftwareName, q.ClientSoftwareVersion = "raw", "1.0"
	case *kmsg.CreateTopicsRequest:
		q.TimeoutMillis = 5000
		q.Topics = []kmsg.CreateTopicsRequestTopic{{
			Topic: v.fresh(), NumPartitions: 3, ReplicationFactor: 1,
		}}
	case *kmsg.DeleteTopicsRequest:
		name := v.fresh()
		v.create(name, 1)
		q.TimeoutMillis, q.TopicNames = 5000, []string{name}
		q.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
	case *kmsg.DeleteRecordsRequest:
		q.TimeoutMillis = 5000
		q.Topics = []kmsg.DeleteRecordsRequestTopic{{
			Topic: known, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 0}},
		}}
	case *kmsg.InitProducerIDRequest:
		q.Default()
		q.TransactionTimeoutMillis = 1000
	case *kmsg.OffsetForLeaderEpochRequest:
		q.Default()
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		q.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{
			Topic: known, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p},
		}}
	case *kmsg.DescribeConfigsRequest:
		q.IncludeSynonyms, q.IncludeDocumentation = true, true
		q.Resources = []kmsg.DescribeConfigsRequestResource{
			{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: known},
			{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"},
		}
	case *kmsg.CreatePartitionsRequest:
		name := v.fresh()
		v.create(name, 1)
		q.TimeoutMillis = 5000
		q.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: 2}}
	case *kmsg.DescribeClusterRequest:
		q.Default()
	default:
		v.fillGroup(q, version)
	}
}

func (v *versions) check(t *testing.T, q kmsg.Request, r kmsg.Response) {
	t.Helper()
	switch r := r.(type) {
	case *kmsg.ProduceResponse:
		want := codeNone
		if r.Version < 3 {
			want = codeUnsupportedVersion
		}
		expectCode(t, "produce", r.Topics[0].Partitions[0].ErrorCode, want)
	case *kmsg.FetchResponse:
		p := onlyFetched(r)
		onlyCode(t, "fetch", p.ErrorCode)
		if p.HighWatermark != 2 || string(p.RecordBatches[:8]) != "\x00\x00\x00\x00\x00\x00\x00\x00" {
			t.Errorf("fetch: got high watermark %d and %d bytes, want 2 and the batch at 0",
				p.HighWatermark, len(p.RecordBatches))
		}
	case *kmsg.ListOffsetsResponse:
		p := r.Topics[0].Partitions[0]
		onlyCode(t, "list offsets", p.ErrorCode)
		if p.Offset != 2 {
			t.Errorf("latest offset: got %d, want 2", p.Offset)
		}
	case *kmsg.MetadataResponse:
		onlyCode(t, "metadata", r.Topics[0].ErrorCode)
		if len(r.Brokers) != 1 || len(r.Topics[0].Partitions) != 2 {
			t.Errorf("metadata: got %+v, want a broker and two partitions", r)
		}
	case *kmsg.ApiVersionsResponse:
		onlyCode(t, "api versions", r.ErrorCode)
		if len(r.ApiKeys) != len(wire.Supported()) {
			t.Errorf("api keys: got %d, want %d", len(r.ApiKeys), len(wire.Supported()))
		}
		if r.Version >= apiVersionsSoftware && (len(r.FinalizedFeatures) != len(features) ||
			len(r.SupportedFeatures) != len(features) || r.FinalizedFeaturesEpoch != featuresEpoch+topic.TerseLevel) {
			t.Errorf("features: got %+v, want those of the table", r.FinalizedFeatures)
		}
	default:
		v.checkAdmin(t, r)
	}
}

func (v *versions) checkAdmin(t *testing.T, r kmsg.Response) {
	t.Helper()
	switch r := r.(type) {
	case *kmsg.DeleteRecordsResponse:
		p := r.Topics[0].Partitions[0]
		onlyCode(t, "delete records", p.ErrorCode)
		if p.LowWatermark != 0 {
			t.Errorf("low watermark: got %d, want 0", p.LowWatermark)
		}
	case *kmsg.CreateTopicsResponse:
		onlyCode(t, "create topics", r.Topics[0].ErrorCode)
		made, ok := v.cluster.View().TopicByName(v.fresh())
		if !ok || r.Version >= 7 && topic.ID(r.Topics[0].TopicID) != made.ID {
			t.Errorf("created: got %+v, want %+v", r.Topics[0], made)
		}
		if r.Version >= 5 && (r.Topics[0].NumPartitions != 3 || len(r.Topics[0].Configs) == 0) {
			t.Errorf("created: got %+v, want 3 partitions and the configs", r.Topics[0])
		}
	case *kmsg.DeleteTopicsResponse:
		onlyCode(t, "delete topics", r.Topics[0].ErrorCode)
	case *kmsg.InitProducerIDResponse:
		onlyCode(t, "init producer id", r.ErrorCode)
		if r.ProducerID < 0 || r.ProducerEpoch != 0 {
			t.Errorf("producer: got %d epoch %d, want a new one", r.ProducerID, r.ProducerEpoch)
		}
	case *kmsg.OffsetForLeaderEpochResponse:
		p := r.Topics[0].Partitions[0]
		onlyCode(t, "offset for leader epoch", p.ErrorCode)
		if p.LeaderEpoch != 0 || p.EndOffset != 2 {
			t.Errorf("epoch end: got %d at %d, want 0 at 2", p.LeaderEpoch, p.EndOffset)
		}
	case *kmsg.DescribeConfigsResponse:
		for _, resource := range r.Resources {
			onlyCode(t, "describe configs", resource.ErrorCode)
			if len(resource.Configs) < 10 {
				t.Errorf("configs of %s: got %d, want all", resource.ResourceName, len(resource.Configs))
			}
		}
	case *kmsg.CreatePartitionsResponse:
		onlyCode(t, "create partitions", r.Topics[0].ErrorCode)
	case *kmsg.DescribeClusterResponse:
		onlyCode(t, "describe cluster", r.ErrorCode)
		if len(r.Brokers) != 1 || r.ControllerID != int32(testNode) || r.Brokers[0].Host != "127.0.0.1" {
			t.Errorf("cluster: got %+v, want this broker", r)
		}
	default:
		v.checkGroup(t, r)
	}
}

// TestAPIVersionsListsWhatIsServedSorted: librdkafka compresses only if Produce v0 is named.
func TestAPIVersionsListsWhatIsServedSorted(t *testing.T) {
	c := start(t).dial()
	q := kmsg.NewPtrApiVersionsRequest()
	r := c.ask(q).(*kmsg.ApiVersionsResponse)
	last := int16(-1)
	for _, row := range r.ApiKeys {
		if row.ApiKey <= last {
			t.Errorf("key %d after %d, want them sorted", row.ApiKey, last)
		}
		last = row.ApiKey
	}
	if r.ApiKeys[0].ApiKey != 0 || r.ApiKeys[0].MinVersion != 0 || r.ApiKeys[0].MaxVersion != 13 {
		t.Errorf("Produce: got %+v, want 0 to 13", r.ApiKeys[0])
	}
}

// TestAPIVersionsOfTheFutureGetsVersionZero: error 35, in the one shape that every client reads, and
// the connection goes on.
func TestAPIVersionsOfTheFutureGetsVersionZero(t *testing.T) {
	c := start(t).dial()
	//            size        key    version correlation  client id   tags, then what v99 may hold
	c.write([]byte{0, 0, 0, 13, 0, 18, 0, 99, 0, 0, 0, 42, 0, 0, 0, 1, 2})
	correlation, body, err := c.frame()
	if err != nil || correlation != 42 {
		t.Fatalf("answer: got correlation %d, %v, want 42", correlation, err)
	}
	r := kmsg.NewPtrApiVersionsResponse()
	if err := r.ReadFrom(body); err != nil {
		t.Fatalf("decode version 0: %v", err)
	}
	expectCode(t, "api versions", r.ErrorCode, codeUnsupportedVersion)
	if len(r.ApiKeys) != 1 || r.ApiKeys[0].ApiKey != 18 || r.ApiKeys[0].MaxVersion < 3 {
		t.Errorf("api keys: got %+v, want the range of 18 alone", r.ApiKeys)
	}
	q := kmsg.NewPtrApiVersionsRequest()
	q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion = 3, "raw", "1"
	onlyCode(t, "second try", c.ask(q).(*kmsg.ApiVersionsResponse).ErrorCode)
}

// TestAPIVersionsJudgesWhatClientsSayOfThemselves and of whom they believe to talk to.
func TestAPIVersionsJudgesWhatClientsSayOfThemselves(t *testing.T) {
	h := start(t)
	own, foreign := h.cluster.View().ClusterID(), "BBBBBBBBBBBBBBBBBBBBBB"
	cases := []struct {
		name, software string
		version        int16
		cluster        *string
		node           int32
		want           code
	}{
		{"good name", "apache-kafka-java", 3, nil, -1, codeNone},
		{"one letter", "a", 3, nil, -1, codeNone},
		{"empty name", "", 3, nil, -1, codeInvalidRequest},
		{"ends in a dash", "kafka-", 4, nil, -1, codeInvalidRequest},
		{"has a space", "my client", 3, nil, -1, codeInvalidRequest},
		{"nobody asked in version 2", "", 2, nil, -1, codeNone},
		{"right broker", "raw", 5, &own, 1, codeNone},
		{"wrong broker", "raw", 5, &own, 2, codeRebootstrapRequired},
		{"wrong cluster", "raw", 5, &foreign, 1, codeRebootstrapRequired},
		{"half a target", "raw", 5, nil, 1, codeInvalidRequest},
	}
	c := h.dial()
	for _, test := range cases {
		q := kmsg.NewPtrApiVersionsRequest()
		q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion = test.version, test.software, "1.0"
		q.ClusterID, q.NodeID = test.cluster, test.node
		expectCode(t, test.name, c.ask(q).(*kmsg.ApiVersionsResponse).ErrorCode, test.want)
	}
}
