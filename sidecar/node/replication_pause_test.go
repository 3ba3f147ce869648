package node

import (
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// 1. A leader ships a batch and is stopped, all the cluster with it, for longer than a follower may lag.
// 2. The answers lie in its mailbox when it is woken. 3. The pause is nobody's lag.
func TestLeaderThatWasStoppedBlamesNoFollower(t *testing.T) {
	w := newMemWorld(t, 1, 1)
	w.converge()
	var leader *memHost
	var log *memLog
	for _, h := range w.hosts {
		if l := h.logs[topic.Partition{Topic: topic.ID{1}}]; l.role.Leading {
			leader, log = h, l
		}
	}
	for range 2 { // two, of which one answer comes and one is yet to come
		log.append(partition.Entry{
			Partition: log.part, Epoch: log.role.Epoch, PrevEpoch: log.tailEpoch(), Base: log.end(), Count: 1,
			Payload: []byte("x"),
		})
		w.turn(leader)
	}
	shipped := w.net
	for len(w.net) > 0 {
		net := w.net
		w.net = nil
		for _, m := range net {
			if m.to != leader.self.Node {
				w.hosts[m.to-1].rep.Frame(m.data)
			}
		}
	}
	for _, h := range w.hosts {
		if h != leader {
			w.turn(h)
		}
	}
	var in Arrivals
	for _, m := range w.net {
		in.Frames = append(in.Frames, m.data)
	}
	if len(shipped) == 0 || len(in.Frames) == 0 {
		t.Fatalf("%d frames shipped, %d answers", len(shipped), len(in.Frames))
	}
	leader.rep.Turn(&in, View{Image: w.image}, 5000)
	if changes := leader.rep.Changes(); len(changes) > 0 {
		t.Errorf("the leader asks for %+v", changes)
	}
	// Time goes on: who stays silent leaves.
	log.append(partition.Entry{
		Partition: log.part, Epoch: log.role.Epoch, PrevEpoch: log.tailEpoch(), Base: log.end(), Count: 1,
		Payload: []byte("x"),
	})
	w.turn(leader)
	for range 1000 {
		leader.rep.Turn(&Arrivals{}, View{Image: w.image}, 2)
		if len(leader.rep.Changes()) > 0 {
			return
		}
	}
	t.Error("silent followers stay in sync")
}
