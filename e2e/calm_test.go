package e2e

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// failure mode 54: nothing is done to the cluster, and nothing may be wrong. What the checker finds
// under faults means something only if it finds nothing here.
func TestCheckerFindsNothingWithZeroFaults(t *testing.T) {
	const partitions, period = 6, 5 * time.Second
	c := start(t, options{})
	c.createTopic(0, "calm", partitions, 3)
	ledger := newLedger()
	startTail(t, c.kafka, "calm", partitions, ledger)
	first, second := startLoad(t, c.kafka, "calm", partitions, ledger), startLoad(t, c.kafka[1:2], "calm", partitions, ledger)
	resumed(t, ledger, partitions)
	careless := newRawProducer(t, ledger, c.kafka[leaderOf(t, c.kafka, "calm", 0)], "calm", kgo.LeaderAck())
	for began := time.Now(); time.Since(began) < period; {
		if err := careless.produce(0, time.Second); err != nil {
			t.Errorf("produce with acks=1: %v", err)
		}
	}
	first.stop()
	second.stop()
	verdict := ledger.check(t, c.kafka, "calm", partitions)
	if verdict.Failed != 0 || verdict.Unknown != 0 || verdict.Seen != verdict.Sends {
		t.Errorf("without a fault %s; %s", verdict, ledger.summary())
	}
	if verdict.Reads != 2*verdict.Sends {
		t.Errorf("%d records were read, want each of %d by the tail and by the final polls", verdict.Reads, verdict.Sends)
	}
}
