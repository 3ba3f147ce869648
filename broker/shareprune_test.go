package broker

import (
	"testing"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// stateLog is the log of the partition that keeps the state of a share-partition.
func (h *harness) stateLog(group string, id topic.ID, index int32) *partition.Log {
	h.Helper()
	key := share.Key{Group: group, Topic: id, Partition: index}
	t, ok := h.cluster.View().TopicByName(shareTopic)
	if !ok {
		h.Fatalf("%s does not exist", shareTopic)
	}
	return h.logs.Log(topic.Partition{Topic: t.ID, Index: groupPartition(key.String(), len(t.Partitions))})
}

// startPruned is startShares with one state partition that is cut very often.
func startPruned(tb testing.TB) *harness {
	return startShares(tb, func(c *Config) {
		c.Shares.Partitions, c.Shares.SnapshotUpdates = 1, 4
		c.Shares.PruneInterval, c.Shares.ColdInterval = 5*time.Millisecond, 10*time.Millisecond
	})
}

// TestStateTopicIsCutWhileItIsWrittenTo, and comes down to one record for each state, and less than one more,
// when that ends: those of a partition that was left alone, too. What is left is the state for a later leader.
func TestStateTopicIsCutWhileItIsWrittenTo(t *testing.T) {
	h := startPruned(t)
	id := h.create("work", 2)
	h.produceOne("work", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l")
	s := h.sharer("g", "one", "work", id)
	log := h.stateLog("g", id, 0)
	s.receive()
	for offset := range int64(10) {
		onlyCode(t, "acknowledge", int16(s.acknowledge(ackBatch(offset, offset, share.Accept))))
	}
	onlyCode(t, "release", int16(s.acknowledge(ackBatch(11, 11, share.ReleaseIt))))
	rests := func() bool {
		state := log.State()
		return state.LogStart > 0 && state.LogEnd-state.LogStart <= 3
	}
	eventually(t, "the log is cut", rests)
	before, cold := h.summary("g", id, 0), h.summary("g", id, 1)
	if before.start != 10 {
		t.Errorf("start: got %d, want 10", before.start)
	}

	h.anotherCoordinates("g", id, 1)
	if got := h.summary("g", id, 0); got != before {
		t.Errorf("under the next leader: got %+v, want %+v", got, before)
	}
	h.cluster.move(t, "work", 0, 2, 1)
	h.cluster.move(t, "work", 0, testNode, 2)
	s.session = share.SessionOpens
	expectGot(t, "what is left", s.receive(), "10:k/1 11:l/2 ")
	onlyCode(t, "acknowledge", int16(s.acknowledge(ackBatch(10, 11, share.Accept))))
	if got := h.summary("g", id, 0).start; got != 12 {
		t.Errorf("start: got %d, want 12", got)
	}
	eventually(t, "the log is cut under the next leader", rests)
	eventually(t, "the metric says so", func() bool {
		return h.metric("kafka_server_share_coordinator_metrics_last_pruned_offset", shareTopic, "0") > 0
	})
	before = h.summary("g", id, 0)
	h.anotherCoordinates("g", id, 3)
	if got := h.summary("g", id, 0); got != before {
		t.Errorf("under the last leader: got %+v, want %+v", got, before)
	}
	if got := h.summary("g", id, 1); got != cold {
		t.Errorf("the partition that was left alone: got %+v, want %+v", got, cold)
	}
}

// anotherCoordinates moves the states to another node and back, and waits until they are loaded.
func (h *harness) anotherCoordinates(group string, id topic.ID, epoch topic.Epoch) {
	h.Helper()
	h.moveAll(shareTopic, 2, epoch)
	h.moveAll(shareTopic, testNode, epoch+1)
	slots := slotsOf(id, 0)
	eventually(h, "it is led again", func() bool {
		return h.summarizeShares(deadline(h), group, slots)[slots[0]].err == nil
	})
}

// TestStateTopicWithoutStatesIsCutAtItsEnd.
func TestStateTopicWithoutStatesIsCutAtItsEnd(t *testing.T) {
	h := startPruned(t)
	id := h.create("work", 1)
	s := h.sharer("g", "one", "work", id)
	log := h.stateLog("g", id, 0)
	s.leave()
	slots := slotsOf(id, 0)
	if said := h.deleteShares(deadline(t), "g", slots); said[slots[0]].err != nil {
		t.Fatal(said[slots[0]].err)
	}
	eventually(t, "the log is empty", func() bool {
		state := log.State()
		return state.LogEnd > 0 && state.LogStart == state.LogEnd
	})
}
