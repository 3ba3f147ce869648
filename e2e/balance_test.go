package e2e

import (
	"fmt"
	"testing"
	"time"
)

// All brokers die, and the first two that are back lead everything, also what prefers the third one. Soon after that is
// in sync it leads its share again: nobody waits for leader.imbalance.check.interval.seconds, and nothing that is
// produced meanwhile is lost or refused.
func TestLeadershipsAreSpreadSoonAfterAllRestarted(t *testing.T) {
	t.Parallel() // it mostly waits
	const partitions, last = 12, 2
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, "spread", partitions, 3)
	for i := range f.processes {
		f.kill(i)
	}
	for i := range last {
		f.start(i)
	}
	for i := range last {
		f.serves(i)
	}
	f.eventually(30*time.Second, "the first two lead everything", func() error {
		if members := f.members(0); members[1].Leaders+members[2].Leaders != partitions {
			return fmt.Errorf("%+v", members)
		}
		return nil
	})
	ledger := newLedger()
	load := startLoad(t, f.kafka[:last], "spread", partitions, ledger)
	resumed(t, ledger, partitions)
	f.start(last)
	f.serves(last)
	f.healthy(30 * time.Second)
	began := time.Now()
	f.eventually(40*time.Second, "everybody leads a third", func() error {
		for id, b := range f.members(0) {
			if b.Leaders != partitions/3 {
				return fmt.Errorf("broker %d leads %d of %d", id, b.Leaders, partitions)
			}
		}
		return nil
	})
	t.Logf("everybody leads a third %s after all were in sync", time.Since(began).Round(time.Millisecond))
	resumed(t, ledger, partitions)
	load.stop()
	if len(ledger.errors) > 0 {
		t.Errorf("produce failed: %v", ledger.errors)
	}
	ledger.check(t, f.kafka, "spread", partitions)
}
