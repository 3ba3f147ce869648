package storage

import (
	"errors"
	"flag"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("storage.seed", 0, "run this seed only")
	seedsFlag = flag.Uint64("storage.seeds", 40, "how many seeds each test runs")
	timeFlag  = flag.Duration("storage.time", 0, "run seeds for so long, however many")
)

// seeds runs a test for each seed and reports what was met.
func seeds(t *testing.T, run func(n *node), met ...string) {
	first, last, until := uint64(1), *seedsFlag, time.Now().Add(*timeFlag)
	if testing.Short() {
		last = min(last, 15)
	}
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	counts := map[string]int{}
	for seed := first; seed <= last || time.Now().Before(until) && *seedFlag == 0; seed++ {
		counts["seeds"]++
		run(newNode(t, seed, counts))
	}
	t.Logf("%v", counts)
	for _, what := range met {
		if counts[what] == 0 && *seedFlag == 0 {
			t.Errorf("%q was never met", what)
		}
	}
}

// live runs random steps until the power fails.
func (n *node) live(steps int) {
	for range steps {
		if n.dead() {
			break
		}
		if err := n.step(); err != nil && !n.dead() {
			n.fatal("a store has stopped: %v", err)
		}
	}
}

// lights ends the machine, if it has not ended yet, and goes to the next.
func (n *node) lights() {
	next := n.disks.die()
	n.note("crash, kill %t", n.disks.kill)
	n.counts["crashes"]++
	if n.disks.kill {
		n.counts["kills"]++
	}
	if n.meta != nil {
		_ = n.meta.Close()
	}
	n.disks, n.meta, n.store, n.driver = next, nil, nil, nil
}

// failure modes 31, 32, 33, 36: whatever one instant takes from both disks of what was not synced:
// all that was promised is found, and nothing but what was written.
func TestStoresSurviveALossOfPowerAtOneInstant(t *testing.T) {
	seeds(t, func(n *node) {
		for range 6 {
			n.disks.arm(n.random)
			if n.open() {
				n.live(n.random.IntN(500))
			}
			n.lights()
		}
		n.disks.arm(n.random)
		n.disks.mu.walIn, n.disks.mu.metaIn = -1, -1
		if !n.open() {
			n.fatal("the power failed without a reason")
		}
		n.close()
	}, "crashes", "kills", "lost", "appended", "truncated", "removed", "refused")
}

// close stops the node cleanly, and all is promised then.
func (n *node) close() {
	if err := n.driver.Close(); err != nil {
		n.fatal("close: %v", err)
	}
	if err := errors.Join(n.store.Close(), n.meta.Close()); err != nil {
		n.fatal("close: %v", err)
	}
	n.logs.promised = len(n.logs.records)
}
