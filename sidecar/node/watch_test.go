package node

import (
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
)

const testTick = 150 * time.Millisecond

func watchOfTwo() *Watch {
	b := cluster.Empty().Edit()
	b.Apply(1, cluster.SetDefaults{MinInSync: 2})
	for i := range 2 {
		b.Apply(uint64(i+2), cluster.RegisterBroker{Broker: topic.Broker{
			ID: topic.NodeID(i + 1), Session: topic.Session(11 * (i + 1)), Disk: topic.DiskID{byte(i + 1)},
		}})
	}
	w := NewWatch(WatchConfig{
		Self: topic.Member{Node: 1, Session: 11}, Tick: testTick, LeaderTimeout: 8 * testTick,
		Watcher: election.WatcherConfig{Self: 1, TimeoutTicks: 8},
	}, 0)
	w.Sync(View{Image: b.Image(), Controller: 2})
	return w
}

// 1. Two ticks are passed together, since all is calm. 2. A heartbeat comes shortly before their end:
// two nodes' clocks need not agree. 3. The ticks that had gone by before it are no silence after it.
func TestHeartbeatEndsTheSilenceOfTicksNotYetPassed(t *testing.T) {
	for _, heardAt := range []time.Duration{0, 100, 160, 299} {
		w := watchOfTwo()
		heard := heardAt * time.Millisecond
		w.Take(Beat{From: topic.Member{Node: 2, Session: 22}}, heard)
		for now := 2 * testTick; ; now += testTick {
			w.Tick(now)
			if len(w.Effects().Triggers) == 0 {
				continue
			}
			if silent := now - heard; silent <= 7*testTick || silent > 9*testTick {
				t.Errorf("heard at %v, suspected at %v, after %v; want eight ticks, more or less one", heard, now, silent)
			}
			break
		}
	}
}
