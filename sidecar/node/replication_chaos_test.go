package node

import (
	"bytes"
	"fmt"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// ledger holds what was ever below a high watermark, by partition and base offset.
type ledger map[topic.Partition]map[topic.Offset][]byte

// note fails when a committed batch has changed.
func (l ledger) note(t testing.TB, w *memWorld) {
	for _, h := range w.hosts {
		for p, log := range h.logs {
			if l[p] == nil {
				l[p] = map[topic.Offset][]byte{}
			}
			for i, e := range log.entries {
				if log.endOf(i+1) > log.hw {
					break
				}
				if was, ok := l[p][e.Base]; ok && !bytes.Equal(was, e.Payload) {
					t.Fatalf("node %d partition %d offset %d: committed %q became %q", h.self.Node, p.Index, e.Base, was, e.Payload)
				}
				l[p][e.Base] = e.Payload
			}
		}
	}
}

// kept fails when something that was committed is in nobody's log any more.
func (l ledger) kept(t testing.TB, h *memHost) {
	t.Helper()
	for p, batches := range l {
		for base, payload := range batches {
			if i := h.logs[p].find(base); i < 0 || !bytes.Equal(h.logs[p].entries[i].Payload, payload) {
				t.Errorf("partition %d offset %d: committed %q is lost", p.Index, base, payload)
			}
		}
	}
}

// disturb does one thing that happens to clusters.
func (w *memWorld) disturb() {
	h := w.hosts[w.r.IntN(len(w.hosts))]
	switch w.r.IntN(14) {
	case 0: // a crash and a restart
		if !h.down {
			w.start(h)
		}
	case 1: // a pause, noticed
		h.down = true
		w.apply(cluster.FenceBroker{Node: h.self.Node, Session: h.self.Session})
	case 2: // a pause, not noticed
		h.down = true
	case 3, 4, 5: // the same process goes on
		h.down = false
		w.wake(h)
	case 6:
		h.full = !h.full
	case 7, 8: // the memory does not reach back
		for _, l := range h.order {
			l.warm = w.r.IntN(l.durable + 1)
		}
	case 12, 13: // a disk spoils an entry, or what it spoilt is reported
		if len(h.order) > 0 {
			w.spoil(h.order[w.r.IntN(len(h.order))])
		}
		if !h.down {
			w.quarantine(h)
		}
	case 9:
		w.loss, w.slow = w.r.IntN(40), w.r.IntN(80)
	default:
		w.loss, w.slow = 0, 0
	}
}

func (w *memWorld) wake(h *memHost) {
	if !w.image.Live(h.self) {
		before, _ := w.image.Broker(h.self.Node)
		w.apply(cluster.RegisterBroker{
			Replaces:    before.Session,
			Broker:      topic.Broker{ID: h.self.Node, Session: h.self.Session, Disk: topic.DiskID{byte(h.self.Node), h.disk}},
			FlushAlways: true,
		})
	}
}

// failure modes 22 to 28, over frames, windows, catch-up and the controller's rules together: whatever
// is lost, paused, restarted, cold or full, nothing that was committed changes, and all logs become
// equal in the end.
func TestLogsBecomeEqualAfterEverySchedule(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 10
	}
	spoilt, mended := 0, uint64(0)
	defer func() {
		t.Logf("%d entries were spoilt, %d logs mended while they ran", spoilt, mended)
		if spoilt == 0 || mended == 0 {
			t.Error("no disk spoils anything that is mended: the schedules prove less than they say")
		}
	}()
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			w := newMemWorld(t, uint64(seed), 6)
			committed := ledger{}
			for range 150 {
				w.disturb()
				w.produce(1 + w.r.IntN(3))
				committed.note(t, w)
			}
			w.loss, w.slow = 0, 0
			for _, h := range w.hosts {
				h.full, h.down = false, false
				w.wake(h)
			}
			for range 3 { // What is refused today may be granted once others are back.
				for range 50 {
					w.round()
				}
				for _, h := range w.hosts {
					w.quarantine(h)
				}
			}
			w.converge()
			committed.note(t, w)
			committed.kept(t, w.hosts[0])
			spoilt += w.spoilt
			for _, h := range w.hosts {
				mended += h.rep.Counters().Mended
				if c := h.rep.Counters(); c.Faults != 0 {
					t.Errorf("node %d: %+v", h.self.Node, c)
				}
				for _, p := range h.rep.order {
					if p.window.InFlight() != 0 {
						t.Errorf("window of node %d to %d leaks %d bytes", h.self.Node, p.node, p.window.InFlight())
					}
				}
			}
		})
	}
}
