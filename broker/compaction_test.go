package broker

import (
	"testing"
	"time"

	"outrigger/broker/topic"
)

// Rules of compaction are those of the topic as of now; tombstones are held while a replica is out of sync
// or on its way.
func TestCompactionGoesByTheTopicAndItsReplicas(t *testing.T) {
	h := startTuned(t)
	p := topic.Partition{Topic: h.cluster.log(t, "t", 0).Partition().Topic}
	if _, ok := h.compaction(p); ok {
		t.Error("a topic of cleanup.policy=delete is compacted")
	}
	if _, ok := h.compaction(topic.Partition{Topic: topic.ID{9}}); ok {
		t.Error("a topic that is not there is compacted")
	}
	h.set(configCleanupPolicy, "compact,delete")
	h.set(configDirtyRatio, "0.25")
	h.set(configMinLag, "7")
	h.set(configDeleteRetention, "9")
	h.set(configSegmentMillis, "11")
	before := time.Now().UnixMilli()
	c, ok := h.compaction(p)
	if !ok || c.DirtyRatio != 0.25 || c.LagMin != 7*time.Millisecond || c.LagMax != anyTime ||
		c.DeleteRetention != 9*time.Millisecond || c.Roll != 11*time.Millisecond || c.Now < before || c.Hold {
		t.Errorf("got %+v, %v", c, ok)
	}
	h.cluster.publish(func(v *soleView) {
		for i, known := range v.topics {
			changed, placement := *known, *known.Partitions[0]
			placement.Replicas = append(placement.Replicas[:1:1], 2)
			changed.Partitions = []*topic.Placement{&placement}
			v.topics[i] = &changed
		}
	})
	if c, ok := h.compaction(p); !ok || !c.Hold {
		t.Errorf("a replica is not in sync: got %+v, %v, want tombstones to be held", c, ok)
	}
}

// The empty list of policies is one, too (KIP-1161).
func TestRetentionGoesByThePolicy(t *testing.T) {
	for _, policy := range []struct {
		name, value string
		start       topic.Offset
		compacts    bool
	}{
		{"none", "", 0, false},
		{"delete", "delete", 1, false},
		{"compact", "compact", 0, true},
		{"both", "compact,delete", 1, true},
		{"both, the other way round", "delete,compact", 1, true},
	} {
		t.Run(policy.name, func(t *testing.T) {
			h := startTuned(t)
			h.set(configRetentionMillis, "1")
			h.produced("produce", stamped(1), codeNone) // It has no key, so the policy comes after it.
			h.set(configCleanupPolicy, policy.value)
			h.retainOnce(deadline(t), time.Now())
			log := h.cluster.log(t, "t", 0)
			if _, compacts := h.compaction(log.Partition()); compacts != policy.compacts || log.State().LogStart != policy.start {
				t.Errorf("compacted: %v, log start %d, want %v and %d", compacts, log.State().LogStart, policy.compacts, policy.start)
			}
			h.set(configCleanupPolicy, "delete")
			h.retainOnce(deadline(t), time.Now())
			if start := log.State().LogStart; start != 1 {
				t.Errorf("with cleanup.policy=delete after that: got log start %d, want 1", start)
			}
		})
	}
}
