package broker

import (
	"fmt"
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// coordinatorFor asks for the coordinator of one key.
func coordinatorFor(version int16, kind int8, key string) *kmsg.FindCoordinatorRequest {
	q := kmsg.NewPtrFindCoordinatorRequest()
	q.Version, q.CoordinatorType, q.CoordinatorKey, q.CoordinatorKeys = version, kind, key, []string{key}
	return q
}

// TestTopicsOfCoordinatorsDoNotTakeDefaultsThatSuitData: a broker whose own defaults are the unsafest makes
// them as Kafka does.
func TestTopicsOfCoordinatorsDoNotTakeDefaultsThatSuitData(t *testing.T) {
	h := start(t, func(c *Config) {
		c.Topics.UncleanElection = true
		c.Topics.Configs = map[string]string{
			"cleanup.policy": "compact,delete", "compression.type": "gzip", "retention.ms": "1000", "retention.bytes": "1",
		}
		c.Transactions.MinInSync = 3
	})
	c := h.dial()
	for name, made := range map[string]struct {
		kind int8
		key  string
		want map[string]string
	}{
		offsetsTopic: {coordinatorGroup, "g", map[string]string{"cleanup.policy": "compact", "compression.type": "producer"}},
		transactionsTopic: {coordinatorTxn, "tx", map[string]string{
			"cleanup.policy": "compact", "compression.type": "uncompressed", "min.insync.replicas": "3",
			"unclean.leader.election.enable": "false",
		}},
		shareTopic: {coordinatorShare, "g:" + topic.ID{1}.String() + ":0", map[string]string{
			"cleanup.policy": "delete", "compression.type": "producer", "min.insync.replicas": "2",
			"retention.ms": "-1", "retention.bytes": "-1",
		}},
	} {
		at := c.ask(coordinatorFor(6, made.kind, made.key)).(*kmsg.FindCoordinatorResponse).Coordinators[0]
		expectCode(t, name, at.ErrorCode, codeNone)
		is, there := h.cluster.View().TopicByName(name)
		if !there || !is.Internal {
			t.Fatalf("%s: got %+v, want an internal topic", name, is)
		}
		if !maps.Equal(is.Configs, made.want) {
			t.Errorf("%s: got %v, want %v", name, is.Configs, made.want)
		}
	}
}

// TestShareCoordinatorsAreForVersionsThatKnowThem: older ones are refused, and nothing is created for them.
func TestShareCoordinatorsAreForVersionsThatKnowThem(t *testing.T) {
	h := start(t)
	c := h.dial()
	key := "g:" + topic.ID{1}.String() + ":0"
	for version := int16(1); version < 6; version++ {
		r := c.ask(coordinatorFor(version, coordinatorShare, key)).(*kmsg.FindCoordinatorResponse)
		got, node := r.ErrorCode, r.NodeID
		if version >= 4 {
			got, node = r.Coordinators[0].ErrorCode, r.Coordinators[0].NodeID
		}
		if expectCode(t, fmt.Sprint("version ", version), got, codeInvalidRequest); node != -1 {
			t.Errorf("version %d: got coordinator %d, want none", version, node)
		}
	}
	if _, made := h.cluster.View().TopicByName(shareTopic); made {
		t.Errorf("%s was created for a request that was refused", shareTopic)
	}
	r := c.ask(coordinatorFor(6, coordinatorShare, key)).(*kmsg.FindCoordinatorResponse)
	expectCode(t, "version 6", r.Coordinators[0].ErrorCode, codeNone)
}
