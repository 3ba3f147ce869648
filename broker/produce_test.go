package broker

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// TestProduceRefusesWhatIsNoGoodBatch: each flaw has its own code, and nothing is appended.
func TestProduceRefusesWhatIsNoGoodBatch(t *testing.T) {
	h := start(t)
	h.create("judged", 1)
	c := h.dial()
	good := plainBatch("a", "b")
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	miscounted := kmsg.RecordBatch{
		Magic: 2, LastOffsetDelta: 4, NumRecords: 2, ProducerID: -1, ProducerEpoch: -1,
		FirstSequence: -1, Records: good[61:],
	}
	noSequence := batchOf{values: []string{"a"}, producer: 5, sequence: -1}
	zstd := batchOf{values: []string{"a"}, producer: -1, sequence: -1, attribute: 4}
	control := batchOf{values: []string{"a"}, producer: 5, attribute: 0x30}
	txn := batchOf{values: []string{"a"}, producer: 5, attribute: 0x10}
	future := batchOf{values: []string{"a"}, producer: -1, sequence: -1,
		timestamp: time.Now().Add(3 * time.Hour).UnixMilli()}
	cases := []struct {
		name    string
		version int16
		acks    int16
		topic   string
		index   int32
		records []byte
		want    code
	}{
		{"a flipped bit", 9, -1, "judged", 0, flip(len(good) - 1), codeCorruptMessage},
		{"a wrong checksum", 9, -1, "judged", 0, flip(17), codeCorruptMessage},
		{"an old format", 9, -1, "judged", 0, flip(16), codeUnsupportedForFormat},
		{"a wrong count", 9, -1, "judged", 0, seal(miscounted), codeInvalidRecord},
		{"a control batch", 9, -1, "judged", 0, control.bytes(), codeInvalidRecord},
		{"a producer without sequence", 9, -1, "judged", 0, noSequence.bytes(), codeInvalidRecord},
		{"two batches", 9, -1, "judged", 0, append(bytes.Clone(good), good...), codeInvalidRecord},
		{"no batch", 9, -1, "judged", 0, nil, codeInvalidRecord},
		{"zstd before version 7", 6, -1, "judged", 0, zstd.bytes(), codeUnsupportedCompression},
		{"a transactional batch", 9, -1, "judged", 0, txn.bytes(), codeInvalidTxnState},
		{"a record of tomorrow", 9, -1, "judged", 0, future.bytes(), codeInvalidTimestamp},
		{"an over-size batch", 9, -1, "judged", 0, plainBatch(strings.Repeat("x", 2<<20)), codeMessageTooLarge},
		{"acks of 2", 9, 2, "judged", 0, good, codeInvalidRequiredAcks},
		{"an unknown topic", 9, -1, "nobody", 0, good, codeUnknownTopicOrPartition},
		{"an unknown partition", 9, 1, "judged", 7, good, codeUnknownTopicOrPartition},
		{"a negative partition", 9, 1, "judged", -1, good, codeUnknownTopicOrPartition},
		{"an unknown id", 13, -1, "judged", 0, good, codeUnknownTopicID},
		{"version 2", 2, 1, "judged", 0, good, codeUnsupportedVersion},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			q := produceOf(test.version, test.topic, test.index, test.acks, test.records)
			p := onlyProduced(c.ask(q))
			expectCode(t, test.name, p.ErrorCode, test.want)
			if p.BaseOffset != -1 && test.version > 2 {
				t.Errorf("offset of a refused batch: got %d, want none", p.BaseOffset)
			}
		})
	}
	if end := h.cluster.log(t, "judged", 0).State().LogEnd; end != 0 {
		t.Errorf("log end: got %d, want nothing appended", end)
	}
}

// TestTopicOverridesTheBoundOnBatches in both directions, but takes none that is larger than all brokers carry: no
// log or no message between them would hold it, and the partition, with all that is caught up behind it, would stand
// still for ever.
func TestTopicOverridesTheBoundOnBatches(t *testing.T) {
	h := startOver(t, 16<<20, func(c *Config) {
		c.Topics.MessageBytesMax, c.Topics.BatchBytesMax = 1<<20, 2<<20
	})
	c := h.dial()
	for _, made := range []struct {
		name, limit string
		want        code
	}{
		{"small", "200", codeNone},
		{"equal", "2097152", codeNone},
		{"large", "2097153", codeInvalidConfig},
	} {
		q := kmsg.NewPtrCreateTopicsRequest()
		q.Version, q.TimeoutMillis = 7, 5000
		q.Topics = []kmsg.CreateTopicsRequestTopic{{
			Topic: made.name, NumPartitions: 1, ReplicationFactor: 1,
			Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: configMessageBytes, Value: &made.limit}},
		}}
		answered := c.ask(q).(*kmsg.CreateTopicsResponse).Topics[0]
		expectCode(t, "create "+made.name, answered.ErrorCode, made.want)
	}
	small := onlyProduced(c.ask(produceOf(9, "small", 0, -1, plainBatch(strings.Repeat("x", 200)))))
	expectCode(t, "small", small.ErrorCode, codeMessageTooLarge)
	h.create("silent", 1)
	silent := onlyProduced(c.ask(produceOf(9, "silent", 0, -1, plainBatch(strings.Repeat("x", 2_000_000)))))
	expectCode(t, "a topic that says nothing", silent.ErrorCode, codeMessageTooLarge)
	equal := onlyProduced(c.ask(produceOf(9, "equal", 0, -1, plainBatch(strings.Repeat("x", 2_000_000)))))
	expectCode(t, "equal", equal.ErrorCode, codeNone)

	// a topic from the time of a larger bound
	if err := h.cluster.CreateTopics(t.Context(), []topic.Creation{{
		Name: "old", ID: topic.ID{9}, Partitions: 1, ReplicationFactor: 1,
		Configs: map[string]string{configMessageBytes: "9000000"},
	}})[0]; err != nil {
		t.Fatal(err)
	}
	old := onlyProduced(c.ask(produceOf(9, "old", 0, -1, plainBatch(strings.Repeat("x", 3<<20)))))
	expectCode(t, "old", old.ErrorCode, codeMessageTooLarge)
}

// TestRecordBytesAreKeptVerbatim: only base offset and leader epoch may differ (failure mode 51).
func TestRecordBytesAreKeptVerbatim(t *testing.T) {
	h := start(t)
	h.create("verbatim", 1)
	h.cluster.move(t, "verbatim", 0, testNode, 3)
	c := h.dial()
	sent := plainBatch("one", "two")
	for range 2 {
		onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "verbatim", 0, -1, sent))).ErrorCode)
	}
	got := onlyFetched(c.ask(fetchOf(12, "verbatim", 0, 2))).RecordBatches
	if base := binary.BigEndian.Uint64(got); base != 2 {
		t.Errorf("base offset: got %d, want 2", base)
	}
	if epoch := binary.BigEndian.Uint32(got[12:]); epoch != 3 {
		t.Errorf("leader epoch: got %d, want 3", epoch)
	}
	if !bytes.Equal(got[8:12], sent[8:12]) || !bytes.Equal(got[16:], sent[16:]) {
		t.Errorf("batch: got %x, want %x but for offset and epoch", got, sent)
	}
}

// TestDuplicateGetsItsOriginalOffset (failure mode 49), five batches back, and not the sixth.
func TestDuplicateGetsItsOriginalOffset(t *testing.T) {
	h := start(t)
	h.create("dup", 1)
	c := h.dial()
	batch := func(sequence int32) []byte {
		return batchOf{values: []string{"v"}, producer: 9, sequence: sequence}.bytes()
	}
	for i := range int32(6) {
		p := onlyProduced(c.ask(produceOf(9, "dup", 0, -1, batch(i))))
		onlyCode(t, "produce", p.ErrorCode)
	}
	for i := int32(1); i < 6; i++ {
		p := onlyProduced(c.ask(produceOf(9, "dup", 0, -1, batch(i))))
		onlyCode(t, "duplicate", p.ErrorCode)
		if p.BaseOffset != int64(i) {
			t.Errorf("duplicate of sequence %d: got offset %d, want %d", i, p.BaseOffset, i)
		}
	}
	p := onlyProduced(c.ask(produceOf(9, "dup", 0, -1, batch(9))))
	expectCode(t, "a gap", p.ErrorCode, codeOutOfOrderSequence)
	old := batchOf{values: []string{"v"}, producer: 9, epoch: 2, sequence: 0}
	onlyCode(t, "new epoch", onlyProduced(c.ask(produceOf(9, "dup", 0, -1, old.bytes()))).ErrorCode)
	p = onlyProduced(c.ask(produceOf(9, "dup", 0, -1, batch(6))))
	expectCode(t, "old epoch", p.ErrorCode, codeInvalidProducerEpoch)
}

// TestLaterProduceDoesNotWaitForReplication: both are in the log before either is acknowledged, and
// the answers keep their order (failure mode 48).
func TestLaterProduceDoesNotWaitForReplication(t *testing.T) {
	h := start(t)
	h.create("piped", 2)
	h.cluster.hold()
	c := h.dial()
	first, second := produceOf(9, "piped", 0, -1, plainBatch("a")), produceOf(9, "piped", 0, -1, plainBatch("b"))
	third := produceOf(9, "piped", 1, 1, plainBatch("c"))
	metadata := kmsg.NewPtrMetadataRequest()
	c.send(100, first, second, third, metadata)
	eventually(t, "all three are appended", func() bool {
		return h.cluster.log(t, "piped", 0).State().LogEnd == 2 &&
			h.cluster.log(t, "piped", 1).State().DurableEnd == 1
	})
	h.cluster.release()
	for i, q := range []kmsg.Request{first, second, third} {
		p := onlyProduced(c.receive(100+int32(i), q))
		onlyCode(t, "produce", p.ErrorCode)
		if want := int64(i % 2); p.BaseOffset != want {
			t.Errorf("produce %d: got offset %d, want %d", i, p.BaseOffset, want)
		}
	}
	c.receive(103, metadata)
}

// TestAnswersKeepTheirOrderUnderAMixOfRequests: a thousand of all kinds on one connection.
func TestAnswersKeepTheirOrderUnderAMixOfRequests(t *testing.T) {
	h := start(t)
	h.create("mix", 3)
	c := h.dial()
	var sent []kmsg.Request
	for i := range int32(1000) {
		switch i % 5 {
		case 0:
			sent = append(sent, produceOf(9, "mix", i%3, -1, plainBatch("v")))
		case 1:
			sent = append(sent, produceOf(9, "mix", i%3, 1, plainBatch("v")))
		case 2:
			q := fetchOf(12, "mix", i%3, 0)
			q.MaxWaitMillis, q.MinBytes = 1, 1
			sent = append(sent, q)
		case 3:
			sent = append(sent, kmsg.NewPtrMetadataRequest())
		default:
			sent = append(sent, kmsg.NewPtrApiVersionsRequest())
		}
	}
	go c.send(0, sent...)
	for i, q := range sent {
		c.receive(int32(i), q)
	}
}

// TestUnacknowledgedProduceTimesOut: what was appended and not replicated has an unknown outcome,
// and is told neither as success nor as failure.
func TestUnacknowledgedProduceTimesOut(t *testing.T) {
	h := start(t)
	h.create("slow", 1)
	h.cluster.hold()
	q := produceOf(9, "slow", 0, -1, plainBatch("a"))
	q.TimeoutMillis = 30
	p := onlyProduced(h.dial().ask(q))
	expectCode(t, "produce", p.ErrorCode, codeRequestTimedOut)
	if p.BaseOffset != -1 {
		t.Errorf("offset: got %d, want none", p.BaseOffset)
	}
	if end := h.cluster.log(t, "slow", 0).State().LogEnd; end != 1 {
		t.Errorf("log end: got %d, want the batch appended", end)
	}
}

// TestLosingTheLeadershipAfterTheAppendIsNoFailure: the next leader may hold the batch.
func TestLosingTheLeadershipAfterTheAppendIsNoFailure(t *testing.T) {
	h := start(t)
	h.create("lost", 1)
	h.cluster.hold()
	c := h.dial()
	q := produceOf(9, "lost", 0, -1, plainBatch("a"))
	c.send(1, q)
	eventually(t, "the batch is appended", func() bool {
		return h.cluster.log(t, "lost", 0).State().LogEnd == 1
	})
	h.cluster.move(t, "lost", 0, topic.NoNode, 1)
	expectCode(t, "produce", onlyProduced(c.receive(1, q)).ErrorCode, codeRequestTimedOut)
}

// TestNotTheLeaderNamesTheLeader (KIP-951), with the endpoint of the listener that was asked on.
func TestNotTheLeaderNamesTheLeader(t *testing.T) {
	h := start(t)
	h.create("elsewhere", 1)
	h.cluster.addBroker(topic.Broker{ID: 2, Rack: "r2", Endpoints: []topic.Endpoint{
		{Listener: "OTHER", Host: "hidden", Port: 1}, {Listener: "PLAINTEXT", Host: "two", Port: 9093},
	}})
	h.cluster.move(t, "elsewhere", 0, 2, 5)
	c := h.dial()
	for version := int16(9); version <= 12; version++ {
		r := c.ask(produceOf(version, "elsewhere", 0, -1, plainBatch("a"))).(*kmsg.ProduceResponse)
		p := onlyProduced(r)
		expectCode(t, "produce", p.ErrorCode, codeNotLeaderOrFollower)
		if version < produceHints {
			continue
		}
		if p.CurrentLeader.LeaderID != 2 || p.CurrentLeader.LeaderEpoch != 5 {
			t.Errorf("leader: got %+v, want 2 in epoch 5", p.CurrentLeader)
		}
		if len(r.Brokers) != 1 || r.Brokers[0].Host != "two" || r.Brokers[0].Port != 9093 || *r.Brokers[0].Rack != "r2" {
			t.Errorf("endpoints: got %+v, want two:9093", r.Brokers)
		}
	}
	q := fetchOf(16, "elsewhere", 0, 0)
	q.Topics[0].TopicID = mustTopic(h, "elsewhere").ID
	r := c.ask(q).(*kmsg.FetchResponse)
	expectCode(t, "fetch", onlyFetched(r).ErrorCode, codeNotLeaderOrFollower)
	if onlyFetched(r).CurrentLeader.LeaderID != 2 || len(r.Brokers) != 1 {
		t.Errorf("fetch: got %+v and %+v, want a hint at 2", onlyFetched(r).CurrentLeader, r.Brokers)
	}
}

func mustTopic(h *harness, name string) *topic.Topic {
	h.Helper()
	found, ok := h.cluster.View().TopicByName(name)
	if !ok {
		h.Fatalf("topic %s: unknown", name)
	}
	return found
}

// TestTooFewReplicasRefuseBeforeTheAppend.
func TestTooFewReplicasRefuseBeforeTheAppend(t *testing.T) {
	h := start(t)
	h.create("few", 1)
	log := h.cluster.log(t, "few", 0)
	log.Assume(partition.Role{Leading: true, AcceptOne: true, Ready: true})
	c := h.dial()
	p := onlyProduced(c.ask(produceOf(9, "few", 0, -1, plainBatch("a"))))
	expectCode(t, "acks=all", p.ErrorCode, codeNotEnoughReplicas)
	onlyCode(t, "acks=1", onlyProduced(c.ask(produceOf(9, "few", 0, 1, plainBatch("a")))).ErrorCode)
	log.Assume(partition.Role{Leading: true, Ready: true})
	p = onlyProduced(c.ask(produceOf(9, "few", 0, 1, plainBatch("a"))))
	expectCode(t, "acks=1 without a lease", p.ErrorCode, codeNotLeaderOrFollower)
}

// TestLowDiskRefusesProducersAlone: nothing is appended, they hear why, and fetches are served.
func TestLowDiskRefusesProducersAlone(t *testing.T) {
	low := atomic.Bool{}
	h := start(t, func(c *Config) {
		c.LogDir.Low = func() string {
			if low.Load() {
				return "disk is low"
			}
			return ""
		}
	})
	h.create("low", 1)
	c := h.dial()
	produce := func() kmsg.ProduceResponseTopicPartition {
		return onlyProduced(c.ask(produceOf(9, "low", 0, -1, plainBatch("a"))))
	}
	onlyCode(t, "with space", produce().ErrorCode)
	low.Store(true)
	p := produce()
	expectCode(t, "without space", p.ErrorCode, codeNotEnoughReplicas)
	if p.ErrorMessage == nil || *p.ErrorMessage != "disk is low" {
		t.Errorf("got message %v, want why", p.ErrorMessage)
	}
	if end := h.cluster.log(t, "low", 0).State().LogEnd; end != 1 {
		t.Errorf("log ends at %d, want 1", end)
	}
	if got := onlyFetched(c.ask(fetchOf(12, "low", 0, 0))); got.ErrorCode != 0 || len(got.RecordBatches) == 0 {
		t.Errorf("fetch: got code %d and %d bytes, want the record", got.ErrorCode, len(got.RecordBatches))
	}
	low.Store(false)
	onlyCode(t, "with space again", produce().ErrorCode)
}

// TestPartitionThatIsNotOpenYetIsRetried: the image names it, its log does not exist.
func TestPartitionThatIsNotOpenYetIsRetried(t *testing.T) {
	h := start(t)
	id := h.create("early", 1)
	if err := h.store.Remove(topic.Partition{Topic: id}); err != nil {
		t.Fatal(err)
	}
	c := h.dial()
	p := onlyProduced(c.ask(produceOf(9, "early", 0, -1, plainBatch("a"))))
	expectCode(t, "produce", p.ErrorCode, codeNotLeaderOrFollower)
	expectCode(t, "fetch", onlyFetched(c.ask(fetchOf(12, "early", 0, 0))).ErrorCode, codeNotLeaderOrFollower)
}

// TestAcksZeroHasNoAnswer, and a failure ends the connection.
func TestAcksZeroHasNoAnswer(t *testing.T) {
	h := start(t)
	h.create("blind", 1)
	c := h.dial()
	metadata := kmsg.NewPtrMetadataRequest()
	c.send(1, produceOf(9, "blind", 0, 0, plainBatch("a")), metadata)
	c.receive(2, metadata)
	eventually(t, "the batch is appended", func() bool {
		return h.cluster.log(t, "blind", 0).State().LogEnd == 1
	})
	c.send(3, produceOf(9, "nobody", 0, 0, plainBatch("a")))
	c.ended()
}

// TestProduceCountsRecordsAndBytes per topic, and drops the series with the topic.
func TestProduceCountsRecordsAndBytes(t *testing.T) {
	h := start(t)
	h.create("counted", 1)
	c := h.dial()
	sent := plainBatch("a", "b", "c")
	onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "counted", 0, -1, sent))).ErrorCode)
	c.ask(fetchOf(12, "counted", 0, 0))
	if got := h.metric("kafka_server_brokertopicmetrics_messagesin_total", "counted"); got != 3 {
		t.Errorf("messages in: got %v, want 3", got)
	}
	for _, name := range []string{"bytesin", "bytesout"} {
		full := "kafka_server_brokertopicmetrics_" + name + "_total"
		if got := h.metric(full, "counted"); got != float64(len(sent)) {
			t.Errorf("%s: got %v, want %d", name, got, len(sent))
		}
	}
	if got := h.metric("kafka_topic_partition_current_offset", "counted"); got != 3 {
		t.Errorf("high watermark: got %v, want 3", got)
	}
	h.cluster.DeleteTopics(deadline(t), []topic.ID{mustTopic(h, "counted").ID})
	eventually(t, "the series of a deleted topic are gone", func() bool {
		return h.metric("kafka_server_brokertopicmetrics_bytesin_total", "counted") == 0
	})
}

// TestTopicsBeyondTheBoundAreCountedTogether.
func TestTopicsBeyondTheBoundAreCountedTogether(t *testing.T) {
	m := newMeters(MetricLimits{Topics: 2})
	for _, name := range []string{"a", "b", "c", "d", "a"} {
		m.topic(name).appended(1, 10)
	}
	if m.topic("c") != m.topics.other || m.topic("a") == m.topics.other {
		t.Errorf("meters: want a of its own, c with the others")
	}
	m.topics.sweep(&soleView{})
	if m.topic("c") == m.topics.other {
		t.Errorf("meters: want room after the others are gone")
	}
}
