package sidecar

import (
	"testing"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// 1. A damaged replica leaves its sets. 2. Its disk is full, so that its log is not cut. 3. Every other
// request would end another epoch of a partition whose other replicas are well.
func TestReplicaThatCannotBeCutDoesNotEndEpochAfterEpoch(t *testing.T) {
	st := newStage(t, 3)
	q := quarantining{s: st.Sidecar, refused: map[topic.Partition]int32{}, granted: map[topic.Partition]grant{}}
	p := topic.Partition{Topic: topic.ID{1}}
	requests := 0
	for range 3600 {
		st.now += time.Second
		q.forget([]partition.DamagedLog{{Partition: p}})
		if !q.waits(p) {
			requests++
			q.decided(st.current().Image, p, cluster.OK)
		}
	}
	if requests < 6 || requests > 20 {
		t.Errorf("got %d requests in an hour, want few", requests)
	}
	q.forget(nil)
	if q.waits(p) {
		t.Error("a log that was whole meanwhile still waits")
	}
}
