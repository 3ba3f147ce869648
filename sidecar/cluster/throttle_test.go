package cluster

import (
	"testing"

	"outrigger/broker/topic"
)

// TestFeedersAreThoseThatABoundIsSharedBy: a leader that fills a replica without a bound takes nothing of
// the rate of those that have one.
func TestFeedersAreThoseThatABoundIsSharedBy(t *testing.T) {
	w := newWorld(t, 4)
	listed := map[string]string{ConfigThrottledFollowers: "0:4"}
	w.create("a", 1, listed, 1, 4)
	w.create("b", 1, listed, 2, 4)
	unlisted := w.create("c", 1, nil, 3, 4)
	w.must(configureBrokers("4", topic.AnyEpoch, map[string]string{ConfigFollowerThrottle: "1000"}))
	if got := w.im.Feeders(4); got != 0 {
		t.Errorf("all in sync: got %d feeders, want 0", got)
	}
	session, _ := w.im.Broker(4)
	w.must(FenceBroker{Node: 4, Session: session.Session})
	if got := w.im.Feeders(4); got != 2 {
		t.Errorf("two listed replicas and one that is not lag: got %d feeders, want 2", got)
	}
	free := Throttles{Out: Unthrottled, In: Unthrottled, MoveOut: Unthrottled, MoveIn: Unthrottled}
	if got := w.im.Throttles(topic.Partition{Topic: unlisted}, 3, 4); got != free || !got.Free() {
		t.Errorf("not listed: got %+v, want no bound", got)
	}
	if got := w.im.Throttles(topic.Partition{Topic: unlisted, Index: 7}, 3, 4); got != free {
		t.Errorf("no such partition: got %+v, want no bound", got)
	}
}
