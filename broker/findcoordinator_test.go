package broker

import (
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
