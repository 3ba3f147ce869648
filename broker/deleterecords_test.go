package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
)

func deletionOf(name string, index int32, offset int64) *kmsg.DeleteRecordsRequest {
	q := kmsg.NewPtrDeleteRecordsRequest()
	q.Version, q.TimeoutMillis = 2, 10_000
	q.Topics = []kmsg.DeleteRecordsRequestTopic{{
		Topic: name, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: index, Offset: offset}},
	}}
	return q
}

func (c *rawClient) deleted(q *kmsg.DeleteRecordsRequest) kmsg.DeleteRecordsResponseTopicPartition {
	c.Helper()
	return c.ask(q).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
}

// expectDeleted asks and compares code and low watermark.
func (c *rawClient) expectDeleted(what string, q *kmsg.DeleteRecordsRequest, want code, low int64) {
	c.Helper()
	p := c.deleted(q)
	expectCode(c, what, p.ErrorCode, want)
	if p.LowWatermark != low {
		c.Errorf("%s: low watermark is %d, want %d", what, p.LowWatermark, low)
	}
}

// earliest is what ListOffsets says of the start.
func (c *rawClient) earliest(name string) int64 {
	c.Helper()
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version = 7
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -2
	q.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: name, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	return c.ask(q).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
}

func TestDeletedRecordsAreGoneForEverybody(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	c := h.dial()
	for range 3 {
		onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "t", 0, -1, plainBatch("a", "b")))).ErrorCode)
	}
	c.expectDeleted("before 3", deletionOf("t", 0, 3), codeNone, 3)
	if got := c.earliest("t"); got != 3 {
		t.Errorf("earliest offset is %d, want 3", got)
	}
	p := onlyFetched(c.ask(fetchOf(12, "t", 0, 2)))
	expectCode(t, "fetch below the start", p.ErrorCode, codeOffsetOutOfRange)
	p = onlyFetched(c.ask(fetchOf(12, "t", 0, 3)))
	onlyCode(t, "fetch at the start", p.ErrorCode)
	if p.LogStartOffset != 3 {
		t.Errorf("fetch tells of start %d, want 3", p.LogStartOffset)
	}
	c.expectDeleted("what is deleted", deletionOf("t", 0, 1), codeNone, 3)
	c.expectDeleted("all", deletionOf("t", 0, -1), codeNone, 6)
	if produced := onlyProduced(c.ask(produceOf(9, "t", 0, -1, plainBatch("c")))); produced.BaseOffset != 6 || produced.LogStartOffset != 6 {
		t.Errorf("produced at %d with start %d, want 6 and 6", produced.BaseOffset, produced.LogStartOffset)
	}
}

func TestDeletionsAreJudgedAsKafkaDoes(t *testing.T) {
	h := startGroups(t)
	h.coordinates("g") // makes the internal topic
	h.create("t", 1)
	h.create("compacted", 1)
	h.create("both", 1)
	c := h.dial()
	onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "t", 0, -1, plainBatch("a", "b")))).ErrorCode)
	for name, policy := range map[string]string{"compacted": "compact", "both": "compact,delete"} {
		onlyCode(t, name, c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, name, edit(configCleanupPolicy, opSet, policy))).ErrorCode)
	}
	c.expectDeleted("above the high watermark", deletionOf("t", 0, 3), codeOffsetOutOfRange, -1)
	c.expectDeleted("negative", deletionOf("t", 0, -2), codeOffsetOutOfRange, -1)
	c.expectDeleted("unknown partition", deletionOf("t", 1, 0), codeUnknownTopicOrPartition, -1)
	c.expectDeleted("unknown topic", deletionOf("stranger", 0, 0), codeUnknownTopicOrPartition, -1)
	c.expectDeleted("compacted only", deletionOf("compacted", 0, 0), codePolicyViolation, -1)
	c.expectDeleted("compacted and deleted", deletionOf("both", 0, 0), codeNone, 0)
	c.expectDeleted("internal", deletionOf("__consumer_offsets", 0, 0), codeInvalidTopic, -1)
	log := h.store.Log(partitionOf(h, "t"))
	role := log.State().Role
	role.Leading, role.Epoch = false, role.Epoch+1
	log.Assume(role)
	c.expectDeleted("not the leader", deletionOf("t", 0, 1), codeNotLeaderOrFollower, -1)
}

// It is answered once all in-sync replicas have it, and not before.
func TestDeletionWaitsForTheReplicas(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	c := h.dial()
	onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "t", 0, -1, plainBatch("a", "b")))).ErrorCode)
	h.cluster.hold()
	q := deletionOf("t", 0, 2)
	q.TimeoutMillis = 50
	c.expectDeleted("no replica follows", q, codeRequestTimedOut, -1)
	q = deletionOf("t", 0, 2)
	c.send(9, q)
	log := h.store.Log(partitionOf(h, "t"))
	eventually(t, "the start is durable here", func() bool { return log.State().StartDurable == 2 })
	if log.State().LowWatermark != 0 {
		t.Error("the low watermark moved although nobody followed")
	}
	h.cluster.release()
	p := c.receive(9, q).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
	onlyCode(t, "replicas follow", p.ErrorCode)
	if p.LowWatermark != 2 {
		t.Errorf("low watermark is %d, want 2", p.LowWatermark)
	}
}

func TestDeletionWaitsForAReadyLeader(t *testing.T) {
	h := start(t)
	h.create("t", 1)
	c := h.dial()
	onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "t", 0, -1, plainBatch("a")))).ErrorCode)
	log := h.store.Log(partitionOf(h, "t"))
	role := log.State().Role
	log.Assume(partition.Role{Leading: true, Epoch: role.Epoch + 1, AcceptAll: true, AcceptOne: true})
	c.expectDeleted("not ready", deletionOf("t", 0, -1), codeOffsetNotAvailable, -1)
}

func TestClientsDeleteRecords(t *testing.T) {
	h := start(t)
	h.create("t", 2)
	c := h.dial()
	onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "t", 1, -1, plainBatch("a", "b", "c")))).ErrorCode)
	admin := kadm.NewClient(h.client())
	var offsets kadm.Offsets
	offsets.AddOffset("t", 1, 2, -1)
	answers, err := admin.DeleteRecords(deadline(t), offsets)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := answers["t"][1], answers.Error(); err != nil || got.LowWatermark != 2 {
		t.Errorf("got %+v, %v, want low watermark 2", got, err)
	}
	starts, err := admin.ListStartOffsets(deadline(t), "t")
	if o, _ := starts.Lookup("t", 1); err != nil || o.Offset != 2 {
		t.Errorf("start offsets are %v, %v, want 2", starts, err)
	}
}

// Retention runs beside the clients, and goes by the topic's configs of the moment.
func TestRetentionDeletesWhatTheTopicDoesNotKeep(t *testing.T) {
	h := start(t, func(c *Config) { c.Topics.RetentionCheck = 5 * time.Millisecond })
	h.create("t", 1)
	h.create("compacted", 1)
	c := h.dial()
	onlyCode(t, "policy", c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, "compacted",
		edit(configCleanupPolicy, opSet, "compact"), edit(configRetentionMillis, opSet, "0"))).ErrorCode)
	now := time.Now().UnixMilli()
	for _, age := range []int64{3_600_000, 1_800_000, 0} {
		b := batchOf{values: []string{"x"}, producer: -1, epoch: -1, sequence: -1, timestamp: now - age}.bytes()
		onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "t", 0, -1, b))).ErrorCode)
	}
	keyed := keyedBatch(now - 3_600_000)
	onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "compacted", 0, -1, keyed))).ErrorCode)
	set := func(name, value string) {
		t.Helper()
		onlyCode(t, name, c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(name, opSet, value))).ErrorCode)
	}
	begins := func(want int64) {
		t.Helper()
		eventually(t, "the log starts where retention says", func() bool { return c.earliest("t") == want })
	}
	begins(0)
	set(configRetentionMillis, "2700000")
	begins(1)
	set(configRetentionMillis, "-1")
	set(configRetentionBytes, "1")
	begins(2)
	set(configRetentionBytes, "0")
	begins(3)
	if got := c.earliest("compacted"); got != 0 {
		t.Errorf("a topic that is only compacted starts at %d, want 0", got)
	}
	if h.metric("outrigger_broker_retention_deleted_bytes_total") == 0 {
		t.Error("no deleted bytes were counted")
	}
}
