package replica

import (
	"slices"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// compactor is a leader of ten committed records over a follower that is in sync, and one that comes and goes.
type compactor struct {
	*testing.T
	machine   *Machine
	placement topic.Placement
	log       LogState
	session   topic.Session
	window    Window
}

func newCompactor(t *testing.T) *compactor {
	c := &compactor{T: t, session: 3, window: Window{BytesMax: 1 << 20}}
	c.machine = New(Config{
		Self: at(1), LagTicksMax: 20, RepeatTicks: 1, RepeatTicksMax: 8, Now: func() int64 { return 0 },
		Window: func(topic.NodeID) *Window { return &c.window },
	}, thePartition, LogState{})
	c.placement = topic.Placement{Replicas: []topic.NodeID{1, 2, 3}, ISR: []topic.Member{at(1), at(2), at(3)},
		Leader: 1, LeaderSession: 1}
	c.log = LogState{Extent: Extent{Durable: 10}, End: 10, HighWatermark: 10, Epochs: []EpochStart{{Epoch: 0, Start: 0}}}
	c.configure()
	return c
}

// configure shows the leader a newer image.
func (c *compactor) configure() {
	placement := c.placement
	placement.PartitionEpoch++
	c.placement = placement
	live := func(n topic.NodeID) (topic.Session, bool) {
		if n == 3 {
			return c.session, true
		}
		return topic.Session(n), true
	}
	var out Effects
	out.Reset()
	c.machine.Configure(View{Placement: &placement, MinInSync: 1, Live: live}, c.log, &out)
}

// restart gives the third node another session, out of sync.
func (c *compactor) restart() {
	c.session += 100
	c.placement.ISR = []topic.Member{at(1), at(2)}
	c.configure()
}

// ack has the third node answer that its log ends somewhere, and returns what it is told.
func (c *compactor) ack(end topic.Offset) []frame.SectionKind {
	tail := topic.Epoch(0)
	if end == 0 {
		tail = topic.NoEpoch
	}
	var out Effects
	out.Reset()
	c.machine.Ack(topic.Member{Node: 3, Session: c.session}, frame.Ack{
		Partition: thePartition, TailEpoch: tail, LogEnd: end, DurableEnd: end, HighWatermark: end,
	}, &out)
	var kinds []frame.SectionKind
	for _, s := range out.Sections {
		kinds = append(kinds, s.Section.Kind)
	}
	return kinds
}

func (c *compactor) wantAck(end topic.Offset, kinds []frame.SectionKind, lags bool) {
	c.Helper()
	if got := c.ack(end); !slices.Equal(got, kinds) {
		c.Errorf("whose log ends at %d is told %v, want %v", end, got, kinds)
	}
	if _, got := c.machine.Lag(3); got != lags {
		c.Errorf("whose log ends at %d is fed: %v, want %v", end, got, lags)
	}
}

// 1. All are in sync, and the tombstone at 5 goes. 2. Nothing is written. 3. A replica comes back with less than
// that, since its disk was damaged.
func TestLeaderWhereNothingIsWrittenKnowsWhatItsLogHasDropped(t *testing.T) {
	c := newCompactor(t)
	c.log.Dropped = 6
	c.restart()
	c.wantAck(3, []frame.SectionKind{frame.Reset}, false)
	c.wantAck(0, nil, true)
	c.wantAck(3, nil, true) // of this very log
}

// What a replica is sent while a compaction is being recorded may be of before and of after it.
func TestFollowerWaitsWhileACompactionIsRecorded(t *testing.T) {
	c := newCompactor(t)
	c.log.Dropping = 6
	c.restart()
	c.wantAck(0, nil, false)
	c.wantAck(3, nil, false)
	if !c.machine.Compacting() {
		t.Fatal("nobody would ask when it is over")
	}
	c.log.Dropping, c.log.Dropped = 0, 6
	var out Effects
	out.Reset()
	c.machine.Durable(c.log.Extent, &out)
	if c.machine.Compacting() {
		t.Error("it is over, and asked for again")
	}
	c.wantAck(3, []frame.SectionKind{frame.Reset}, false)
	c.wantAck(0, nil, true)
}

// A reset that the log had no room for changes nothing: what it was to begin behind is not committed here.
func TestRefusedResetCommitsNothing(t *testing.T) {
	m := New(Config{
		Self: at(2), RepeatTicks: 1, RepeatTicksMax: 8, Now: func() int64 { return 0 },
		Window: func(topic.NodeID) *Window { return &Window{BytesMax: 1} },
	}, thePartition, LogState{})
	log := LogState{Extent: Extent{Durable: 12}, End: 12, HighWatermark: 9, Epochs: []EpochStart{{Epoch: 0, Start: 0}}}
	live := func(n topic.NodeID) (topic.Session, bool) { return topic.Session(n), true }
	var out Effects
	out.Reset()
	m.Configure(View{Placement: &topic.Placement{
		Replicas: []topic.NodeID{1, 2}, ISR: []topic.Member{at(1)}, Leader: 1, LeaderSession: 1, LeaderEpoch: 1,
	}, MinInSync: 1, Live: live}, log, &out)
	out.Reset()
	m.Section(at(1), frame.Section{Kind: frame.Reset, Epoch: 1, Base: 14, PrevEpoch: 1, RecordEpoch: 0, HighWatermark: 12}, &out)
	if out.Replace == nil {
		t.Fatal("the log is not replaced")
	}
	m.Reload(log)
	if got := m.HighWatermark(); got != 9 {
		t.Errorf("high watermark %d, want 9", got)
	}
}

// 1. A leader of before has deleted what lies below 1. 2. The one of now has not, and hears of it when it knows
// nothing yet to be committed. 3. What is committed reaches 1, and nobody says anything any more.
func TestLeaderFollowsALaterLogStartOnceThatIsCommitted(t *testing.T) {
	c := newCompactor(t)
	c.log = LogState{Extent: Extent{Durable: 0}, End: 1, Epochs: []EpochStart{{Epoch: 0, Start: 0}}}
	c.placement.ISR, c.placement.LeaderEpoch = []topic.Member{at(1), at(3)}, 1
	c.configure()
	var out Effects
	out.Reset()
	c.machine.Ack(at(3), frame.Ack{Partition: thePartition, Epoch: 1, LogEnd: 1, DurableEnd: 1, LogStart: 1}, &out)
	if out.Start != topic.NoOffset {
		t.Fatalf("the log starts at %d before that is committed", out.Start)
	}
	out.Reset()
	c.machine.Durable(Extent{Durable: 1}, &out)
	if out.Start != 1 {
		t.Errorf("the log starts at %d, want 1", out.Start)
	}
}
