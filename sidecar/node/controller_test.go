package node

import (
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/raft"
)

type nowhere struct{}

func (nowhere) Send(topic.NodeID, raft.Message) {}

// soleMetadata is a metadata Raft of one voter on that store.
func soleMetadata(t *testing.T, store Store, session topic.Session, tick time.Duration) *Metadata {
	t.Helper()
	m, err := NewMetadata(MetadataConfig{
		Quorum: QuorumConfig{Raft: raft.Config{
			Node: 1, Disk: topic.DiskID{1}, Session: session, Voters: []topic.NodeID{1}, Seed: 1,
			HeartbeatTicks: 2, ElectionTicks: 6,
		}},
		Tick: tick, Watcher: election.WatcherConfig{Self: 1, TimeoutTicks: 8}, WatchTick: testTick,
		Defaults: cluster.SetDefaults{MinInSync: 1},
	}, store, nowhere{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// pass lets so many ticks pass from a moment on, and returns the moment then.
func pass(t *testing.T, m *Metadata, ticks int, now, tick time.Duration) time.Duration {
	t.Helper()
	for range ticks {
		now += tick
		m.Tick()
		if err := m.Turn(now); err != nil {
			t.Fatal(err)
		}
	}
	return now
}

// controllerOfTwo is a metadata Raft of one voter, which leads two brokers from time begun on.
func controllerOfTwo(t *testing.T, tick time.Duration) (m *Metadata, begun time.Duration) {
	t.Helper()
	m = soleMetadata(t, &memoryStore{}, 11, tick)
	begun = pass(t, m, 20, 0, tick)
	for id := range topic.NodeID(2) {
		m.Propose(cluster.Encode(cluster.RegisterBroker{Broker: topic.Broker{
			ID: id + 1, Session: topic.Session(11 * (id + 1)), Disk: topic.DiskID{byte(id + 1)},
		}}), func([]byte, error) {})
	}
	if err := m.Turn(begun); err != nil {
		t.Fatal(err)
	}
	if live := len(m.View().Image.Brokers()); live != 2 {
		t.Fatalf("got %d live brokers, want 2", live)
	}
	return m, begun
}

// fencedAfter passes ticks, two at a time while all is calm, until broker 2 is fenced.
func fencedAfter(t *testing.T, m *Metadata, begun, tick time.Duration) time.Duration {
	t.Helper()
	for now := begun; now < begun+time.Minute; {
		together := 1
		if m.Calm(2) {
			together = 2
		}
		now += time.Duration(together) * tick
		for range together {
			m.Tick()
		}
		if err := m.Turn(now); err != nil {
			t.Fatal(err)
		}
		if !m.View().Image.Live(topic.Member{Node: 2, Session: 22}) {
			return now - begun
		}
	}
	t.Fatal("a broker that is silent for a minute stays live")
	return 0
}

// As TestHeartbeatEndsTheSilenceOfTicksNotYetPassed, in the controller's own table.
func TestControllerCountsSilenceFromTheHeartbeat(t *testing.T) {
	for _, heardAt := range []time.Duration{0, 160, 299} {
		m, begun := controllerOfTwo(t, testTick)
		heard := heardAt * time.Millisecond
		m.Report(Report{Kind: ReportHeard, Member: topic.Member{Node: 2, Session: 22}, At: begun + heard})
		silent := fencedAfter(t, m, begun, testTick) - heard
		if silent <= 7*testTick || silent > 10*testTick {
			t.Errorf("heard at %v, fenced after %v; want eight ticks, more or less two", heard, silent)
		}
	}
}

// A Raft whose ticks are long does not let the controller take each of them for a pause of its own: it
// would never find anybody silent.
func TestControllerOfALongRaftTickFences(t *testing.T) {
	for _, tick := range []time.Duration{150, 300, 400} {
		tick *= time.Millisecond
		m, begun := controllerOfTwo(t, tick)
		silent := fencedAfter(t, m, begun, tick)
		if silent > 8*testTick+2*tick {
			t.Errorf("ticks of %v: fenced after %v", tick, silent)
		}
	}
}

// The controller founds a cluster as soon as somebody is registered: at the newest level if all speak it, and
// the id is drawn in any case. What runs later on the same log founds nothing again.
func TestControllerFoundsAtTheNewestLevelThatAllSpeak(t *testing.T) {
	for name, test := range map[string]struct {
		older bool
		want  uint16
	}{
		"all of this version": {false, cluster.Level}, "one of an older version": {true, topic.FirstLevel},
	} {
		t.Run(name, func(t *testing.T) {
			store := &memoryStore{}
			m := soleMetadata(t, store, 11, testTick)
			now := pass(t, m, 20, 0, testTick)
			if id := m.View().Image.ClusterID(); id != "" {
				t.Fatalf("got cluster %q while nobody is registered, want none", id)
			}
			levels := []topic.Levels{cluster.Supported(), cluster.Supported()}
			if test.older {
				levels[1] = topic.Levels{}
			}
			for i, l := range levels {
				m.Propose(cluster.Encode(cluster.RegisterBroker{Broker: topic.Broker{ID: topic.NodeID(i + 1),
					Session: topic.Session(11 * (i + 1)), Disk: topic.DiskID{byte(i + 1)}, Levels: l}}), func([]byte, error) {})
			}
			pass(t, m, 2, now, testTick)
			founded := m.View().Image
			if founded.ClusterID() == "" || founded.Level() != test.want {
				t.Errorf("got cluster %q at level %d, want level %d", founded.ClusterID(), founded.Level(), test.want)
			}
			m.Close()
			again := soleMetadata(t, store, 12, testTick)
			pass(t, again, 20, 0, testTick)
			if im := again.View().Image; im.ClusterID() != founded.ClusterID() || im.Level() != test.want {
				t.Errorf("got cluster %q at level %d after a restart, want %q at level %d",
					im.ClusterID(), im.Level(), founded.ClusterID(), test.want)
			}
		})
	}
}
