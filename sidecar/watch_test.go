package sidecar

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/node"
)

// stage is a Sidecar of which nothing runs: whoever is called must not need anybody else.
type stage struct {
	*Sidecar
	now time.Duration
}

func newStage(t *testing.T, brokers int) *stage {
	t.Helper()
	st := &stage{}
	now := func() time.Duration { return st.now }
	logs, err := partition.Open(partition.Config{
		WAL: wal.Config{FS: wal.OS(), Dir: filepath.Join(t.TempDir(), "wal"), Session: 1},
		Now: now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &Sidecar{
		cfg: Config{Node: 1, Session: 11, Now: now, Logs: logs}.withDefaults(),
		log: slog.New(slog.DiscardHandler),
		// Full after one item: whoever waited for room would wait for ever.
		beats: newMailbox[node.Beat](beatsMax), events: newMailbox[event](1),
	}
	s.triggers = newMailbox[election.Request](1)
	s.metrics = newMetrics(s, nil)
	s.meta = &metadata{s: s, reports: newMailbox[node.Report](1)}
	s.replication = newReplication(s)
	s.status.Store(&node.Status{})
	st.Sidecar = s
	st.publishImage(brokers)
	return st
}

func (st *stage) publishImage(brokers int) {
	b := cluster.Empty().Edit()
	b.Apply(1, cluster.SetDefaults{MinInSync: 2})
	for i := range brokers {
		b.Apply(uint64(i+2), cluster.RegisterBroker{Broker: topic.Broker{
			ID: topic.NodeID(i + 1), Session: topic.Session(11 * (i + 1)), Disk: topic.DiskID{byte(i + 1)},
		}})
	}
	st.view.Store(&published{View: node.View{Image: b.Image(), Controller: 2}, changed: make(chan struct{})})
}

func (st *stage) pass(w *watch, d time.Duration) {
	for end := st.now + d; st.now < end; {
		st.now += watchTick
		w.sync()
		w.tick()
		w.act()
	}
}

// take feeds one heartbeat and carries out what follows.
func (w *watch) take(b node.Beat) {
	w.core.Take(b, w.s.cfg.Now())
	w.act()
}

// failure modes 1 and 3: nobody takes anything out of any mailbox, and the watcher goes on.
func TestWatcherWaitsForNobody(t *testing.T) {
	st := newStage(t, 3)
	w := newWatch(st.Sidecar)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		st.pass(w, 10*time.Minute)
	}()
	select {
	case <-finished:
	case <-time.After(30 * time.Second):
		t.Fatal("the watcher hangs while nobody consumes what it says")
	}
	if got := st.metrics.triggers.Load(); got < 100 {
		t.Errorf("got %d triggers in ten silent minutes, want them repeated (failure mode 10)", got)
	}
}

// failure mode 8: heartbeats refresh everything, so an idle cluster triggers nothing.
func TestHeartbeatsKeepTheWatcherQuiet(t *testing.T) {
	st := newStage(t, 3)
	w := newWatch(st.Sidecar)
	w.sync()
	for range 1000 {
		for _, id := range []topic.NodeID{2, 3} {
			w.take(node.Beat{From: topic.Member{Node: id, Session: topic.Session(11 * int(id))}, Heartbeat: frame.Heartbeat{Applied: 1}})
		}
		st.pass(w, 200*time.Millisecond)
	}
	if got := st.metrics.triggers.Load(); got != 0 {
		t.Errorf("got %d triggers, want 0", got)
	}
}

// A broker whose data path hangs is silent although its heart beats.
func TestDisclaimingHeartbeatRefreshesNothing(t *testing.T) {
	st := newStage(t, 3)
	w := newWatch(st.Sidecar)
	w.sync()
	for range 20 {
		w.take(node.Beat{From: topic.Member{Node: 2, Session: 22}, Heartbeat: frame.Heartbeat{Disclaims: true}})
		w.take(node.Beat{From: topic.Member{Node: 3, Session: 33}})
		st.pass(w, 200*time.Millisecond)
	}
	if !st.table.Load().Suspects(topic.Member{Node: 2, Session: 22}) {
		t.Error("broker 2 disclaims for four seconds and is not suspected")
	}
	if st.table.Load().Suspects(topic.Member{Node: 3, Session: 33}) {
		t.Error("broker 3 beats and is suspected")
	}
}

func TestLeaseEndsOneTimeoutAfterTheLastVoucher(t *testing.T) {
	st := newStage(t, 3)
	w := newWatch(st.Sidecar)
	w.sync()
	st.pass(w, time.Minute)
	if st.leaseHeld() {
		t.Fatal("a node that heard nobody holds a lease")
	}
	from := topic.Member{Node: 3, Session: 33}
	w.take(node.Beat{From: from, Heartbeat: frame.Heartbeat{Applied: 1 << 40, Peers: st.echo()}})
	if st.leaseHeld() {
		t.Error("a peer that is ahead of this node's image vouched for it")
	}
	w.take(node.Beat{From: from, Heartbeat: frame.Heartbeat{Applied: 1}})
	if st.leaseHeld() {
		t.Error("a peer that has not heard this node vouched for it")
	}
	late := node.Beat{From: from, Heartbeat: frame.Heartbeat{Applied: 1, Peers: st.echo()}}
	st.now += st.cfg.LeaderTimeout
	w.take(late)
	if st.leaseHeld() {
		t.Error("a heartbeat that waited for the whole timeout vouches for the present")
	}
	w.take(node.Beat{From: from, Heartbeat: frame.Heartbeat{Applied: 1, Peers: st.echo()}})
	if !st.leaseHeld() {
		t.Error("no lease although a peer vouched just now")
	}
	st.now += st.cfg.LeaderTimeout
	if st.leaseHeld() {
		t.Error("the lease outlives the leader timeout")
	}
}

// A few deposed members that vouch for each other in a corner may go on appending, which acks=all
// survives, but not tell readers what does not exist.
func TestMandateNeedsMostVoters(t *testing.T) {
	st := newStage(t, 7)
	w := newWatch(st.Sidecar)
	st.view.Store(&published{View: node.View{Image: st.current().Image, Controller: topic.NoNode,
		Voters: &node.Voters{Index: 1, Nodes: []topic.NodeID{2, 3, 4, 5, 6}}}, changed: make(chan struct{})})
	w.sync()
	vouch := func(id topic.NodeID) {
		from := topic.Member{Node: id, Session: topic.Session(11 * int(id))}
		w.take(node.Beat{From: from, Heartbeat: frame.Heartbeat{Applied: 1, Peers: st.echo()}})
	}
	st.now = time.Minute
	vouch(7)
	vouch(2)
	vouch(3)
	if !st.leaseHeld() || st.cfg.Logs.Mandated() {
		t.Errorf("two of five voters: lease %t, mandate %t, want true and false", st.leaseHeld(), st.cfg.Logs.Mandated())
	}
	vouch(4)
	if !st.cfg.Logs.Mandated() {
		t.Error("three of five voters vouched, and there is no mandate")
	}
	st.now += st.cfg.LeaderTimeout
	if st.cfg.Logs.Mandated() {
		t.Error("the mandate outlives the leader timeout")
	}
}

// Who votes is what the image's index says, and a change of it that is in a peer's log counts although it
// may never be known to be committed there.
func TestMandateFollowsTheVoters(t *testing.T) {
	st := newStage(t, 5)
	w := newWatch(st.Sidecar)
	show := func(index uint64, voters ...topic.NodeID) {
		st.view.Store(&published{View: node.View{Image: st.current().Image, Controller: topic.NoNode,
			Voters: &node.Voters{Index: index, Nodes: voters}, MembershipIndex: index}, changed: make(chan struct{})})
		w.sync()
	}
	vouch := func(id topic.NodeID, told uint64) {
		from := topic.Member{Node: id, Session: topic.Session(11 * int(id))}
		w.take(node.Beat{From: from, Heartbeat: frame.Heartbeat{Applied: told, Peers: st.echo()}})
	}
	st.now = time.Minute
	show(1, 1, 2, 3, 4, 5)
	vouch(4, 1)
	vouch(5, 900) // its log holds a later change
	if st.cfg.Logs.Mandated() {
		t.Error("a voter that knows of a later change of the voters vouches")
	}
	show(900, 2, 4, 5)
	w.act()
	if !st.cfg.Logs.Mandated() {
		t.Error("no mandate although two of three voters vouched, and this node has caught up with them")
	}
	show(901, 1, 2, 3)
	vouch(4, 901)
	if st.cfg.Logs.Mandated() {
		t.Error("nodes vouch that do not vote any more")
	}
	vouch(2, 901)
	if !st.cfg.Logs.Mandated() {
		t.Error("no mandate although this node and another one vote")
	}
}

// While topics are created one after the other, the others are ahead of this node at nearly every
// heartbeat. As soon as its image is where theirs was, and it still leads, they did vouch for it then.
func TestPeersThatAreAlwaysALittleAheadStillVouch(t *testing.T) {
	st := newStage(t, 3)
	w := newWatch(st.Sidecar)
	w.sync()
	from := topic.Member{Node: 3, Session: 33}
	for range 20 {
		index := st.current().Image.AppliedIndex()
		w.take(node.Beat{From: from, Heartbeat: frame.Heartbeat{Applied: index + 1, Peers: st.echo()}})
		st.now += st.cfg.HeartbeatInterval
		b := st.current().Image.Edit()
		b.Advance(index + 1)
		st.view.Store(&published{View: node.View{Image: b.Image(), Controller: 2}, changed: make(chan struct{})})
		w.sync()
		w.tick()
		w.act()
	}
	if !st.leaseHeld() {
		t.Error("no lease although a peer has vouched at every heartbeat")
	}
	w.take(node.Beat{From: from, Heartbeat: frame.Heartbeat{Applied: st.current().Image.AppliedIndex() + 1, Peers: st.echo()}})
	st.now += st.cfg.LeaderTimeout
	w.tick()
	w.act()
	if st.leaseHeld() {
		t.Error("a peer vouches for an image that this node does not have")
	}
}

// echo is what a peer says that heard this node just now.
func (st *stage) echo() []frame.PeerEcho {
	return []frame.PeerEcho{{Node: 1, Session: 11, SentMicros: uint64(st.now / time.Microsecond)}}
}

func (st *stage) leaseHeld() bool { return st.cfg.Logs.Leased() }

func TestSingleBrokerHasALeaseForEver(t *testing.T) {
	st := newStage(t, 1)
	w := newWatch(st.Sidecar)
	st.pass(w, time.Hour)
	if !st.leaseHeld() {
		t.Error("a one-node cluster has no lease")
	}
}

func TestMailboxRefusesWhatDoesNotFit(t *testing.T) {
	m := newMailbox[int](2)
	for i, want := range []bool{true, true, false} {
		if got := m.put(i); got != want {
			t.Errorf("put %d: got %t, want %t", i, got, want)
		}
	}
	if got := m.take(nil); len(got) != 2 {
		t.Errorf("got %d items, want 2", len(got))
	}
	if !m.put(3) {
		t.Error("an emptied mailbox refuses")
	}
}

func TestClusterKeyKnowsKafkaIDsAndOthers(t *testing.T) {
	if frame.ClusterOf("") != (frame.Cluster{}) {
		t.Error("no id must be the nil key")
	}
	a, b := frame.ClusterOf("XTwYBtpQ0MOX7EXxmsL24A"), frame.ClusterOf("my cluster")
	if a == b || a == (frame.Cluster{}) || b == (frame.Cluster{}) {
		t.Errorf("got keys %x and %x", a, b)
	}
}
