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
		if led := f.leaderships(); led[1]+led[2] != partitions {
			return fmt.Errorf("leaderships by broker: %v", led)
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
		led := f.leaderships()
		for id := range f.processes {
			if led[id+1] != partitions/3 {
				return fmt.Errorf("leaderships by broker: %v", led)
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

// leaderships counts what each broker leads.
func (f *fleet) leaderships() map[int]int {
	f.t.Helper()
	led := map[int]int{}
	s, _ := f.status(0)
	for _, p := range s.Partitions {
		led[int(p.Leader)]++
	}
	return led
}
