package replica

import (
	"slices"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// bench is one leader, node 1 of three, whose peers and controller the test plays.
type bench struct {
	t         *testing.T
	now       int64
	machine   *Machine
	placement topic.Placement
	end       topic.Offset
}

func at(node topic.NodeID) topic.Member {
	return topic.Member{Node: node, Session: topic.Session(node)}
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, placement: topic.Placement{
		Replicas: []topic.NodeID{1, 2, 3}, ISR: []topic.Member{at(1), at(2)}, Leader: 1, LeaderSession: 1,
	}}
	window := Window{BytesMax: 1 << 20}
	b.machine = New(Config{
		Self: at(1), LagTicksMax: 20, RepeatTicks: 1, RepeatTicksMax: 8,
		Now: func() int64 { return b.now }, Window: func(topic.NodeID) *Window { return &window },
	}, thePartition, LogState{})
	b.machine.SetHeard(everybody, &Effects{})
	b.configure()
	return b
}

// everybody says that each member was heard just now.
func everybody(topic.Member) bool { return true }

func (b *bench) step(fn func(*Effects)) Effects {
	var out Effects
	out.Reset()
	fn(&out)
	return out
}

func (b *bench) configure() Effects {
	p := b.placement
	v := View{Placement: &p, MinInSync: 2, Live: func(n topic.NodeID) (topic.Session, bool) { return topic.Session(n), true }}
	return b.step(func(out *Effects) { b.machine.Configure(v, LogState{}, out) })
}

// append has one record on the leader's disk.
func (b *bench) append() {
	e := Entry{Base: b.end, Count: 1, PrevEpoch: topic.NoEpoch, Payload: []byte("x")}
	if b.end > 0 {
		e.PrevEpoch = 0
	}
	b.end++
	b.step(func(out *Effects) { b.machine.Appended(e, out) })
	b.step(func(out *Effects) { b.machine.Durable(Extent{Durable: b.end}, out) })
}

// ack has node say that it has everything on its disk.
func (b *bench) ack(node topic.NodeID) Effects {
	a := frame.Ack{Partition: thePartition, TailEpoch: topic.NoEpoch, LogEnd: b.end, DurableEnd: b.end}
	if b.end > 0 {
		a.TailEpoch = 0
	}
	return b.step(func(out *Effects) { b.machine.Ack(at(node), a, out) })
}

func (b *bench) decided(v Verdict) {
	b.step(func(out *Effects) { b.machine.Decided(b.placement.PartitionEpoch, v, out) })
}

// tick passes time until the machine proposes something.
func (b *bench) tick() *Change {
	for range 500 {
		b.now++
		if out := b.step(b.machine.Tick); out.Change != nil {
			return out.Change
		}
	}
	return nil
}

// 1. Node 3 shall enter the in-sync set; the proposal, or a copy of it, is delayed. 2. Node 3 is fenced,
// the proposal is refused. 3. The leader commits without node 3. 4. Node 3 is live again, what was
// delayed is committed: node 3 is in sync without the records of 3. So 3 waits until the partition epoch
// has moved.
func TestRefusedChangeIsWaitedForUntilNoCopyCanBeCommitted(t *testing.T) {
	for name, first := range map[string][]Verdict{
		"refused at once":          {Refused},
		"refused when asked again": {Unknown, Refused},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.ack(2)
			change := b.ack(3).Change
			for i, v := range first {
				if i > 0 {
					change = b.tick()
				}
				if change == nil || len(change.ISR) != 3 {
					t.Fatalf("got proposal %+v, want all three in sync", change)
				}
				b.decided(v)
			}
			b.append()
			if out := b.ack(2); out.HighWatermark != topic.NoOffset {
				t.Fatalf("high watermark moved to %d while node 3 may yet be in sync", out.HighWatermark)
			}
			change = b.tick()
			if change == nil || !slices.Equal(change.ISR, b.placement.ISR) {
				t.Fatalf("got proposal %+v, want the committed set", change)
			}
			b.decided(Accepted)
			if b.machine.HighWatermark() != 0 {
				t.Fatal("high watermark moved before the image showed it")
			}
			b.placement.PartitionEpoch++
			if out := b.configure(); out.HighWatermark != 1 {
				t.Fatalf("high watermark: got %d, want 1 once nothing else can be committed", out.HighWatermark)
			}
		})
	}
}

// A follower that went silent with everything committed on its disk leaves, and stays out while it is
// silent: with too few members in sync the high watermark stands, so holding everything below it says
// nothing. (It went in and out as fast as the controller could decide.)
func TestSilentFollowerStaysOutOfTheInSyncSet(t *testing.T) {
	b := newBench(t)
	b.ack(2)
	b.append()
	change := b.tick()
	if change == nil || len(change.ISR) != 1 {
		t.Fatalf("got proposal %+v, want the leader alone", change)
	}
	b.decided(Accepted)
	b.placement.ISR = []topic.Member{at(1)}
	b.placement.PartitionEpoch++
	if out := b.configure(); out.Change != nil {
		t.Fatalf("got proposal %+v of a follower that is silent", out.Change)
	}
	if change := b.tick(); change != nil {
		t.Fatalf("got proposal %+v of a follower that is silent", change)
	}
	if out := b.ack(2); out.Change == nil || len(out.Change.ISR) != 2 {
		t.Fatalf("got proposal %+v when it was caught up again, want 1 and 2", out.Change)
	}
}

// An unclean election is followed by a clean one before a replica that was away returns: it must still
// be able to give up what the unclean leader never had.
func TestCutBelowHighWatermarkNeedsAnUncleanEpochAfterTheTail(t *testing.T) {
	for _, c := range []struct {
		uncleanEpoch topic.Epoch
		want         topic.Offset
	}{{uncleanEpoch: 0, want: topic.NoOffset}, {uncleanEpoch: 1, want: topic.NoOffset}, {uncleanEpoch: 2, want: 5}} {
		self, leader := topic.Member{Node: 2, Session: 22}, topic.Member{Node: 1, Session: 11}
		m := New(Config{
			Self: self, RepeatTicks: 1, RepeatTicksMax: 8, Now: func() int64 { return 0 },
			Window: func(topic.NodeID) *Window { return &Window{BytesMax: 1} },
		}, topic.Partition{}, LogState{})
		var out Effects
		out.Reset()
		m.Configure(View{Placement: &topic.Placement{
			Replicas: []topic.NodeID{1, 2}, Leader: 1, LeaderSession: 11, LeaderEpoch: 3, UncleanEpoch: c.uncleanEpoch,
		}, MinInSync: 1, Live: func(topic.NodeID) (topic.Session, bool) { return 11, true }}, LogState{
			End: 10, Extent: Extent{Durable: 10}, HighWatermark: 8, Epochs: []EpochStart{{Epoch: 1, Start: 0}},
		}, &out)
		out.Reset()
		m.Section(leader, frame.Section{Kind: frame.Cut, Epoch: 3, Base: 5, PrevEpoch: 1, RecordEpoch: 1, HighWatermark: 10}, &out)
		if out.Cut != c.want {
			t.Errorf("unclean epoch %d: got cut %d, want %d", c.uncleanEpoch, out.Cut, c.want)
		}
	}
}

// Failure mode 27: a node that leads as soon as it has started, such as the controller, has heard nobody yet.
// What it appended then could not be committed.
func TestLeaderThatHasHeardNobodyRefusesAcksAll(t *testing.T) {
	window := Window{BytesMax: 1}
	m := New(Config{
		Self: at(1), RepeatTicks: 1, RepeatTicksMax: 8, Now: func() int64 { return 0 },
		Window: func(topic.NodeID) *Window { return &window },
	}, thePartition, LogState{})
	placement := topic.Placement{
		Replicas: []topic.NodeID{1, 2, 3}, ISR: []topic.Member{at(1), at(2)}, Leader: 1, LeaderSession: 1,
	}
	live := func(n topic.NodeID) (topic.Session, bool) { return topic.Session(n), true }
	var out Effects
	out.Reset()
	m.Configure(View{Placement: &placement, MinInSync: 2, Live: live}, LogState{}, &out)
	if out.Role == nil || !out.Role.Leading || out.Role.AcceptAll {
		t.Fatalf("before the first heartbeat: got %+v, want a leader that refuses acks=all", out.Role)
	}
	out.Reset()
	m.SetHeard(func(m topic.Member) bool { return m == at(2) }, &out)
	if out.Role == nil || !out.Role.AcceptAll {
		t.Errorf("after it: got %+v, want acks=all accepted", out.Role)
	}
}
