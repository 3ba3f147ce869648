package node

import (
	"testing"

	"outrigger/broker/topic"
)

// While all were in sync, the leader's log has dropped a tombstone. Nothing is written, and nothing becomes
// durable. A follower comes back on a disk that holds less: it waits until the compaction is recorded, and begins
// anew then, once.
func TestFollowerThatComesBackBehindWhatWasDroppedBeginsAnew(t *testing.T) {
	w := newMemWorld(t, 1, 1)
	w.compacts = true
	p := topic.Partition{Topic: topic.ID{1}}
	w.produce(20)
	w.converge()
	placement, _ := w.image.Partition(p)
	leader, follower := w.hosts[placement.Leader-1], w.hosts[placement.Leader%3]
	log, back := leader.logs[p], follower.logs[p]
	end := log.end()
	log.dropping = end - 1
	back.durable = 3
	follower.disk++
	w.start(follower)
	for range 20 {
		w.round()
	}
	if got := back.end(); got != back.endOf(3) || back.resets > 0 {
		t.Fatalf("while the compaction is recorded: the log ends at %d after %d resets, want %d, 0", got, back.resets, back.endOf(3))
	}
	log.dropped, log.dropping = log.dropping, 0
	w.converge()
	if got := back.end(); got != end || back.resets != 1 {
		t.Errorf("the log ends at %d after %d resets, want %d, 1", got, back.resets, end)
	}
}
