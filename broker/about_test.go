package broker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// TestTopicsAreDescribedPageByPage: every partition once, whatever fits on a page.
func TestTopicsAreDescribedPageByPage(t *testing.T) {
	h := start(t)
	for name, partitions := range map[string]int32{"a": 3, "b": 1, "c": 4} {
		h.create(name, partitions)
	}
	c := h.dial()
	for _, named := range [][]string{nil, {"c", "a", "b", "a"}, {"b", "stranger", "a/b"}} {
		for limit := int32(-1); limit < 10; limit++ {
			q := kmsg.NewPtrDescribeTopicPartitionsRequest()
			q.ResponsePartitionLimit = limit
			for _, name := range named {
				q.Topics = append(q.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
			}
			seen := map[string]int{}
			for pages := 0; ; pages++ {
				r := c.ask(q).(*kmsg.DescribeTopicPartitionsResponse)
				onPage := 0
				for _, answered := range r.Topics {
					seen[fmt.Sprintf("%s:%v", *answered.Topic, code(answered.ErrorCode))]++
					for _, p := range answered.Partitions {
						seen[fmt.Sprintf("%s/%d", *answered.Topic, p.Partition)]++
						onPage++
					}
				}
				if most := max(1, int(limit)); onPage > most || pages > 10 {
					t.Fatalf("page %d: got %d partitions, want at most %d", pages, onPage, most)
				}
				if r.NextCursor == nil {
					break
				}
				q.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: r.NextCursor.Topic, Partition: r.NextCursor.Partition}
			}
			want := []string{"a/0", "a/1", "a/2", "b/0", "c/0", "c/1", "c/2", "c/3"}
			if len(named) == 3 {
				want = []string{"b/0", "stranger:UNKNOWN_TOPIC_OR_PARTITION", "a/b:INVALID_TOPIC_EXCEPTION"}
			}
			for _, partition := range want {
				if seen[partition] != 1 {
					t.Errorf("%v, limit %d: %s: told %d times, want once (%v)", named, limit, partition, seen[partition], seen)
				}
			}
		}
	}
}

// TestForeignCursorIsRefused: one that names a topic which was not asked for, or no partition.
func TestForeignCursorIsRefused(t *testing.T) {
	h := start(t)
	h.create("a", 1)
	c := h.dial()
	for _, cursor := range []kmsg.DescribeTopicPartitionsRequestCursor{{Topic: "b"}, {Topic: "a", Partition: -1}} {
		q := kmsg.NewPtrDescribeTopicPartitionsRequest()
		q.Cursor = &cursor
		q.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "a"}}
		r := c.ask(q).(*kmsg.DescribeTopicPartitionsResponse)
		expectCode(t, "foreign cursor", r.Topics[0].ErrorCode, codeInvalidRequest)
	}
	// The topic of a cursor over all topics may be gone meanwhile.
	q := kmsg.NewPtrDescribeTopicPartitionsRequest()
	q.ResponsePartitionLimit = 10
	q.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "0", Partition: 5}
	if r := c.ask(q).(*kmsg.DescribeTopicPartitionsResponse); len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		t.Errorf("got %+v, want what comes after the topic that is gone", r.Topics)
	}
}

// TestEligibleReplicasAreDescribed (KIP-966).
func TestEligibleReplicasAreDescribed(t *testing.T) {
	h := start(t)
	h.create("a", 1)
	h.cluster.publish(func(v *soleView) {
		altered := *v.topics[0]
		altered.Partitions = []*topic.Placement{{
			Replicas: []topic.NodeID{1, 2, 3}, Leader: topic.NoNode, LeaderEpoch: 4,
			Eligible: []topic.Member{{Node: 2, Session: 9}}, LastKnown: []topic.NodeID{3},
		}}
		v.topics[0] = &altered
	})
	q := kmsg.NewPtrDescribeTopicPartitionsRequest()
	p := h.dial().ask(q).(*kmsg.DescribeTopicPartitionsResponse).Topics[0].Partitions[0]
	if p.LeaderID != -1 || p.LeaderEpoch != 4 || fmt.Sprint(p.EligibleLeaderReplicas, p.LastKnownELR, p.OfflineReplicas) != "[2] [3] [2 3]" {
		t.Errorf("got %+v, want 2 eligible, 3 last known, both down", p)
	}
	expectCode(t, "leaderless", p.ErrorCode, codeLeaderNotAvailable)
}

// TestLogDirsTellSizesOfAllThatIsHere, and what the disk has left.
func TestLogDirsTellSizesOfAllThatIsHere(t *testing.T) {
	broken := errors.New("no such disk")
	for _, failure := range []error{nil, broken} {
		h := start(t, func(c *Config) {
			c.LogDir = LogDir{Path: "/data", Space: func() (int64, int64, error) { return 100, 40, failure }}
		})
		h.create("a", 2)
		c := h.dial()
		batch := plainBatch("x")
		onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "a", 1, -1, batch))).ErrorCode)
		q := kmsg.NewPtrDescribeLogDirsRequest()
		q.Version = 4
		r := c.ask(q).(*kmsg.DescribeLogDirsResponse)
		dir := r.Dirs[0]
		want := [2]int64{100, 40}
		if failure != nil {
			want = [2]int64{-1, -1}
		}
		if len(r.Dirs) != 1 || dir.Dir != "/data" || [2]int64{dir.TotalBytes, dir.UsableBytes} != want {
			t.Errorf("dirs: got %+v, want one with %v", r.Dirs, want)
		}
		if p := dir.Topics[0].Partitions; len(p) != 2 || p[0].Size != 0 || p[1].Size != int64(len(batch)) {
			t.Errorf("sizes: got %+v, want 0 and %d", p, len(batch))
		}
		q.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "stranger", Partitions: []int32{0}}, {Topic: "a"}}
		if got := c.ask(q).(*kmsg.DescribeLogDirsResponse).Dirs[0].Topics; len(got) != 0 {
			t.Errorf("strangers: got %+v, want nothing", got)
		}
	}
}

// TestProducersAreDescribedFromTheLog.
func TestProducersAreDescribedFromTheLog(t *testing.T) {
	h := start(t)
	h.create("a", 1)
	c := h.dial()
	for sequence := range int32(2) {
		b := batchOf{values: []string{"x"}, producer: 7, epoch: 2, sequence: sequence, timestamp: 1000 + int64(sequence)}
		onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "a", 0, -1, b.bytes()))).ErrorCode)
	}
	onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "a", 0, -1, plainBatch("y")))).ErrorCode)
	producers, err := kadm.NewClient(h.client()).DescribeProducers(deadline(t), kadm.TopicsSet{"a": {0: {}}})
	if err != nil {
		t.Fatal(err)
	}
	all := producers["a"].Partitions[0].ActiveProducers.Sorted()
	if len(all) != 1 || all[0].ProducerID != 7 || all[0].ProducerEpoch != 2 || all[0].LastSequence != 1 || all[0].LastTimestamp != 1001 {
		t.Errorf("got %+v, want the idempotent producer alone", all)
	}
	q := kmsg.NewPtrDescribeProducersRequest()
	q.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "a", Partitions: []int32{5}}, {Topic: "a/b", Partitions: []int32{0}}}
	r := c.ask(q).(*kmsg.DescribeProducersResponse)
	expectCode(t, "no such partition", r.Topics[0].Partitions[0].ErrorCode, codeUnknownTopicOrPartition)
	expectCode(t, "no such name", r.Topics[1].Partitions[0].ErrorCode, codeInvalidTopic)
}

// TestFeaturesHaveOneLevel: what holds anyway may be asked for, and nothing else.
func TestFeaturesHaveOneLevel(t *testing.T) {
	c := start(t).dial()
	for _, test := range []struct {
		updates []kmsg.UpdateFeaturesRequestFeatureUpdate
		want    code
	}{
		{[]kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: featureMetadata, MaxVersionLevel: features[1].level, UpgradeType: 3}}, codeNone},
		{[]kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: featureMetadata, MaxVersionLevel: 25, UpgradeType: 2}}, codeInvalidUpdateVersion},
		{[]kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "no.such.version", MaxVersionLevel: 1, UpgradeType: 1}}, codeInvalidUpdateVersion},
		{nil, codeNone},
	} {
		for version := range int16(3) {
			q := kmsg.NewPtrUpdateFeaturesRequest()
			q.Version, q.FeatureUpdates = version, test.updates
			r := c.ask(q).(*kmsg.UpdateFeaturesResponse)
			got := r.ErrorCode
			if len(r.Results) > 0 {
				got = r.Results[0].ErrorCode
			}
			expectCode(t, fmt.Sprint(test.updates), got, test.want)
		}
	}
}

// TestFormatLevelIsRaisedByRequest, never lowered, and not beyond what this broker and all others speak.
func TestFormatLevelIsRaisedByRequest(t *testing.T) {
	h := start(t, func(c *Config) { c.Levels = topic.Levels{Min: 1, Max: 3} })
	h.cluster.publish(func(v *soleView) { v.level = topic.FirstLevel })
	c := h.dial()
	lacking := fmt.Errorf("finalize: %w: brokers [2]", topic.ErrLevelLacking)
	for _, step := range []struct {
		level    int16
		validate bool
		lacks    bool
		want     code
		after    uint16
	}{
		{level: 1, want: codeNone, after: 1},
		{level: 2, validate: true, want: codeNone, after: 1},
		{level: 2, lacks: true, want: codeInvalidUpdateVersion, after: 1},
		{level: 2, want: codeNone, after: 2},
		{level: 1, want: codeInvalidUpdateVersion, after: 2},
		{level: 4, want: codeInvalidUpdateVersion, after: 2},
		{level: 3, want: codeNone, after: 3},
	} {
		h.cluster.broken.Store(nil)
		if step.lacks {
			h.cluster.broken.Store(&lacking)
		}
		q := kmsg.NewPtrUpdateFeaturesRequest()
		q.Version, q.ValidateOnly = 2, step.validate
		q.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: featureFormat, MaxVersionLevel: step.level, UpgradeType: 1}}
		expectCode(t, fmt.Sprintf("%+v", step), c.ask(q).(*kmsg.UpdateFeaturesResponse).ErrorCode, step.want)
		if got := h.cluster.View().Level(); got != step.after {
			t.Errorf("%+v: got level %d", step, got)
		}
	}
	q := kmsg.NewPtrApiVersionsRequest()
	q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion = 4, "test", "1"
	r := c.ask(q).(*kmsg.ApiVersionsResponse)
	if r.FinalizedFeatures[2].Name != featureFormat || r.FinalizedFeatures[2].MaxVersionLevel != 3 ||
		r.SupportedFeatures[2].MinVersion != 1 || r.SupportedFeatures[2].MaxVersion != 3 || r.FinalizedFeaturesEpoch != featuresEpoch+3 {
		t.Errorf("got %+v, %+v, epoch %d", r.FinalizedFeatures, r.SupportedFeatures, r.FinalizedFeaturesEpoch)
	}
}

// TestShareGroupsWaitForTheirLevel: they are not announced, and nothing of them is served, before every broker reads what they
// write.
func TestShareGroupsWaitForTheirLevel(t *testing.T) {
	h := start(t)
	c := h.dial()
	announced := func() int16 {
		q := kmsg.NewPtrApiVersionsRequest()
		q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion = 4, "test", "1"
		for _, f := range c.ask(q).(*kmsg.ApiVersionsResponse).FinalizedFeatures {
			if f.Name == featureShare {
				return f.MaxVersionLevel
			}
		}
		return 0
	}
	beat := kmsg.NewPtrShareGroupHeartbeatRequest()
	beat.Version, beat.GroupID, beat.MemberID, beat.SubscribedTopicNames = 1, "g", "AAAAAAAAAAAAAAAAAAAAAA", []string{"t"}
	fetch := kmsg.NewPtrShareFetchRequest()
	fetch.Version, fetch.GroupID, fetch.MemberID = 1, &beat.GroupID, &beat.MemberID
	alter := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	alter.GroupID = "g"
	forget := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
	forget.GroupID = "g"
	for _, step := range []struct {
		level     uint16
		share     int16
		unsettled bool
	}{{topic.FirstLevel, 0, true}, {topic.AdoptionLevel, 2, false}, {topic.TerseLevel, 2, false}} {
		h.cluster.publish(func(v *soleView) { v.level = step.level })
		if got := announced(); got != step.share {
			t.Errorf("level %d: share.version is %d, want %d", step.level, got, step.share)
		}
		for name, got := range map[string]int16{
			"heartbeat": c.ask(beat).(*kmsg.ShareGroupHeartbeatResponse).ErrorCode,
			"fetch":     c.ask(fetch).(*kmsg.ShareFetchResponse).ErrorCode,
			"alter":     c.ask(alter).(*kmsg.AlterShareGroupOffsetsResponse).ErrorCode,
			"forget":    c.ask(forget).(*kmsg.DeleteShareGroupOffsetsResponse).ErrorCode,
		} {
			if refused := code(got) == codeUnsupportedVersion; refused != step.unsettled {
				t.Errorf("level %d: %s: got %v", step.level, name, code(got))
			}
		}
	}
}

// TestLevelIsWaitedForAsLongAsTheClientSays, and its outcome is unknown then.
func TestLevelIsWaitedForAsLongAsTheClientSays(t *testing.T) {
	h := start(t, func(c *Config) { c.Levels = topic.Levels{Min: 1, Max: 2} })
	h.cluster.publish(func(v *soleView) { v.level = topic.FirstLevel })
	h.cluster.stuck.Store(true)
	q := kmsg.NewPtrUpdateFeaturesRequest()
	q.Version, q.TimeoutMillis = 2, 20
	q.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: featureFormat, MaxVersionLevel: 2, UpgradeType: 1}}
	expectCode(t, "update", h.dial().ask(q).(*kmsg.UpdateFeaturesResponse).ErrorCode, codeRequestTimedOut)
}

// TestRequestsWithATimeoutHoldNoAnswersUp: what may wait as long as its client says lets the answers before it out.
func TestRequestsWithATimeoutHoldNoAnswersUp(t *testing.T) {
	found := 0
	for key, handler := range start(t).handlers {
		if _, is := kmsg.RequestForKey(key).(kmsg.TimeoutRequest); is {
			found++
			if !handler.waits {
				t.Errorf("%s: its handler is not known to wait", kmsg.NameForKey(key))
			}
		}
	}
	if found < 5 {
		t.Errorf("got %d requests with a timeout, want more", found)
	}
}

// TestQuorumWithoutAControllerIsRetriable.
func TestQuorumWithoutAControllerIsRetriable(t *testing.T) {
	h := start(t)
	broken := fmt.Errorf("ask: %w", topic.ErrNoController)
	h.cluster.broken.Store(&broken)
	q := kmsg.NewPtrDescribeQuorumRequest()
	expectCode(t, "describe quorum", h.dial().ask(q).(*kmsg.DescribeQuorumResponse).ErrorCode, codeNotController)
}

// TestFeaturesAreNotChangedInUnknownWays: a level that holds anyway is refused if the way to it is unknown.
func TestFeaturesAreNotChangedInUnknownWays(t *testing.T) {
	c := start(t).dial()
	for _, way := range []int8{0, 4, -1} {
		q := kmsg.NewPtrUpdateFeaturesRequest()
		q.Version = 2
		q.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: featureMetadata, MaxVersionLevel: features[1].level, UpgradeType: way}}
		expectCode(t, fmt.Sprint("way ", way), c.ask(q).(*kmsg.UpdateFeaturesResponse).ErrorCode, codeInvalidUpdateVersion)
	}
}

// TestRefusedDescribeClusterNamesTheBrokersEndpoint, as Kafka does: a refusal does not repeat what was asked.
func TestRefusedDescribeClusterNamesTheBrokersEndpoint(t *testing.T) {
	q := kmsg.NewPtrDescribeClusterRequest()
	q.Version, q.EndpointType = 2, endpointControllers
	r := start(t).dial().ask(q).(*kmsg.DescribeClusterResponse)
	expectCode(t, "describe controllers", r.ErrorCode, codeMismatchedEndpointType)
	if r.EndpointType != endpointBrokers {
		t.Errorf("endpoint type: got %d, want %d", r.EndpointType, endpointBrokers)
	}
}
