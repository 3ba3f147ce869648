package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/raft"
)

// memoryStore is a Store whose writes are all durable, unless told to fail.
type memoryStore struct {
	state  raft.State
	data   []byte
	pieces []byte
	saves  int
	synced int
	fail   error
}

func (s *memoryStore) Load() (raft.State, error) {
	state := s.state
	state.Entries = slices.Clone(state.Entries)
	return state, nil
}

func (s *memoryStore) Save(b raft.Batch) error {
	if s.fail != nil {
		return s.fail
	}
	s.saves++
	if b.Sync {
		s.synced++
	}
	if b.HardState != nil {
		s.state.Hard = *b.HardState
	}
	if b.TruncateFrom != 0 {
		s.state.Entries = slices.DeleteFunc(s.state.Entries,
			func(e raft.Entry) bool { return e.Index >= b.TruncateFrom })
	}
	s.state.Entries = append(s.state.Entries, b.Entries...)
	for _, c := range b.Chunks {
		if c.Offset == 0 {
			s.state.Staged, s.pieces = c.Snapshot, nil
		}
		s.pieces = append(s.pieces, c.Data...)
		s.state.StagedBytes = uint64(len(s.pieces))
	}
	return nil
}

func (s *memoryStore) SaveSnapshot(snapshot raft.Snapshot, data []byte, compactTo uint64) error {
	s.state.Snapshot, s.data = snapshot, data
	s.state.Entries = slices.DeleteFunc(s.state.Entries,
		func(e raft.Entry) bool { return e.Index <= compactTo })
	return s.fail
}

func (s *memoryStore) InstallSnapshot(snapshot raft.Snapshot, hard raft.HardState) error {
	s.state, s.data = raft.State{Hard: hard, Snapshot: snapshot}, s.pieces
	return s.fail
}

func (s *memoryStore) ReadSnapshot(index uint64, staged bool, offset uint64, length int) ([]byte, error) {
	data := s.data
	if staged {
		data = s.pieces
	}
	return data[offset:min(offset+uint64(length), uint64(len(data)))], nil
}

// words is a StateMachine: the words applied, in order.
type words struct{ list []string }

func (w *words) Apply(index uint64, command []byte) []byte {
	w.list = append(w.list, string(command))
	return fmt.Appendf(nil, "%d:%s", index, command)
}

func (w *words) Snapshot() []byte { return []byte(strings.Join(w.list, " ")) }

func (w *words) Restore(_ uint64, data []byte) error {
	w.list = strings.Fields(string(data))
	return nil
}

// group is a few Quorums whose messages arrive when the test lets them.
type group struct {
	t      testing.TB
	nodes  map[topic.NodeID]*groupNode
	wire   []raft.Message
	broken map[topic.NodeID]bool
}

type groupNode struct {
	g     *group
	q     *Quorum
	store *memoryStore
	state *words
}

func (n *groupNode) Send(_ topic.NodeID, m raft.Message) { n.g.wire = append(n.g.wire, m) }

func newGroup(t testing.TB, voters ...topic.NodeID) *group {
	g := &group{t: t, nodes: make(map[topic.NodeID]*groupNode), broken: make(map[topic.NodeID]bool)}
	for _, id := range voters {
		g.nodes[id] = &groupNode{g: g, store: &memoryStore{}}
		g.start(id, 1, QuorumConfig{}, voters)
	}
	return g
}

func (g *group) start(id topic.NodeID, session topic.Session, cfg QuorumConfig, voters []topic.NodeID) {
	g.t.Helper()
	n := g.nodes[id]
	n.state = &words{}
	cfg.Raft = raft.Config{Node: id, Disk: topic.DiskID{byte(id)}, Session: session<<8 | topic.Session(id),
		Voters: voters, Seed: uint64(id)}
	q, err := NewQuorum(cfg, n.store, n.state, n)
	if err != nil {
		g.t.Fatalf("start node %d: %v", id, err)
	}
	n.q = q
}

// run passes ticks and delivers everything in between.
func (g *group) run(ticks int) {
	g.t.Helper()
	for range ticks {
		for id := topic.NodeID(1); int(id) <= len(g.nodes); id++ {
			g.nodes[id].q.Tick()
			g.turn(id)
		}
		g.settle()
	}
}

func (g *group) settle() {
	g.t.Helper()
	for len(g.wire) > 0 {
		m := g.wire[0]
		g.wire = g.wire[1:]
		if !g.broken[m.To] && !g.broken[m.From] {
			g.nodes[m.To].q.StepMessage(m)
			g.turn(m.To)
		}
	}
}

func (g *group) turn(id topic.NodeID) {
	g.t.Helper()
	if err := g.nodes[id].q.Turn(); err != nil && !g.broken[id] {
		g.t.Fatalf("turn node %d: %v", id, err)
	}
}

// answer is what a proposal ended with.
type answer struct {
	calls  int
	result string
	err    error
}

func (a *answer) done(result []byte, err error) {
	a.calls, a.result, a.err = a.calls+1, string(result), err
}

func TestLoneVoterFoundsAtOnceAndApplies(t *testing.T) {
	g := newGroup(t, 1)
	n := g.nodes[1]
	g.run(1)
	if s := n.q.Status(); s.Role != raft.Leader || s.Cluster == "" {
		t.Fatalf("after one tick: got %s of cluster %q, want leader of a cluster", s.Role, s.Cluster)
	}
	before := n.store.synced
	answers := make([]answer, 50)
	for i := range answers {
		n.q.Propose(fmt.Appendf(nil, "w%d", i), answers[i].done)
	}
	var read answer
	n.q.ReadIndex(func(index uint64, err error) { read.done(fmt.Append(nil, index), err) })
	g.turn(1)
	for i, a := range answers {
		if want := fmt.Sprintf("%d:w%d", i+3, i); a.calls != 1 || a.err != nil || a.result != want {
			t.Fatalf("proposal %d: got %+v, want %s", i, a, want)
		}
	}
	if got := n.store.synced - before; got != 1 {
		t.Errorf("50 proposals took %d synced writes, want 1", got)
	}
	if read.calls != 1 || read.err != nil {
		t.Errorf("read: got %+v, want an answer", read)
	}
}

func TestFollowerNamesTheLeader(t *testing.T) {
	g := newGroup(t, 1, 2, 3)
	g.run(10)
	var a answer
	g.nodes[2].q.Propose([]byte("x"), a.done)
	var elsewhere ErrNotLeader
	if !errors.As(a.err, &elsewhere) || elsewhere.Leader != 1 || !errors.Is(a.err, raft.ErrNotLeader) {
		t.Errorf("got %v, want ErrNotLeader naming node 1", a.err)
	}
	g.nodes[1].q.Propose(make([]byte, 1<<20), a.done)
	if !errors.Is(a.err, raft.ErrTooLarge) {
		t.Errorf("oversize: got %v, want ErrTooLarge", a.err)
	}
	var full answer
	for range 1000 {
		g.nodes[1].q.Propose(make([]byte, 100<<10), full.done)
	}
	if !errors.Is(full.err, raft.ErrFull) {
		t.Errorf("flood: got %v, want ErrFull", full.err)
	}
}

func TestLostLeadershipLeavesTheOutcomeUnknown(t *testing.T) {
	g := newGroup(t, 1, 2, 3)
	g.run(10)
	g.broken[1] = true
	var proposal, read answer
	g.nodes[1].q.Propose([]byte("x"), proposal.done)
	g.nodes[1].q.ReadIndex(func(_ uint64, err error) { read.done(nil, err) })
	g.run(12)
	if proposal.calls != 1 || !errors.Is(proposal.err, ErrOutcomeUnknown) {
		t.Errorf("proposal: got %+v, want ErrOutcomeUnknown", proposal)
	}
	if read.calls != 1 || !errors.Is(read.err, raft.ErrNotLeader) {
		t.Errorf("read: got %+v, want ErrNotLeader", read)
	}
	var closed answer
	g.run(30)
	leader := g.nodes[2].q.Brief().Leader
	g.nodes[leader].q.Propose([]byte("y"), closed.done)
	g.nodes[leader].q.Close()
	if closed.calls != 1 || !errors.Is(closed.err, ErrOutcomeUnknown) {
		t.Errorf("closed: got %+v, want ErrOutcomeUnknown", closed)
	}
}

// A failed write answers nobody: no vote, no acknowledgement, and nothing after it.
func TestFailedPersistIsSilence(t *testing.T) {
	g := newGroup(t, 1, 2, 3)
	g.run(10)
	n := g.nodes[2]
	n.store.fail = errors.New("input/output error")
	g.nodes[1].q.Propose([]byte("x"), func([]byte, error) {})
	g.turn(1)
	var sent int
	for _, m := range g.wire {
		if m.To == 2 {
			n.q.StepMessage(m)
		}
	}
	g.wire = nil
	if err := n.q.Turn(); !errors.Is(err, n.store.fail) {
		t.Fatalf("turn: got %v, want the store's error", err)
	}
	sent = len(g.wire)
	n.store.fail = nil
	n.q.Tick()
	if err := n.q.Turn(); err == nil {
		t.Errorf("a failed quorum turned again")
	}
	var a answer
	n.q.Propose([]byte("y"), a.done)
	if sent != 0 || len(g.wire) != 0 || !errors.Is(a.err, ErrStopped) {
		t.Errorf("after the failure: %d and %d messages, proposal %v; want silence", sent, len(g.wire), a.err)
	}
}

func TestLogIsCompactedAndSurvivesARestart(t *testing.T) {
	g := newGroup(t, 1)
	voters := []topic.NodeID{1}
	small := QuorumConfig{SnapshotLogBytes: 2_000, TailBytes: 500}
	g.start(1, 2, small, voters)
	g.run(1)
	n := g.nodes[1]
	for i := range 300 {
		n.q.Propose(fmt.Appendf(nil, "word%d", i), func([]byte, error) {})
		g.turn(1)
	}
	s := n.q.Status()
	if s.Snapshot == 0 || s.LogBytes > 2_100 || s.FirstIndex > s.Snapshot || len(n.store.state.Entries) > 80 {
		t.Errorf("log %d..%d of %d bytes behind snapshot %d, %d stored: want it compacted with a tail",
			s.FirstIndex, s.LastIndex, s.LogBytes, s.Snapshot, len(n.store.state.Entries))
	}
	want := n.state.list
	g.start(1, 3, small, voters)
	g.run(2)
	if n = g.nodes[1]; !slices.Equal(n.state.list, want) {
		t.Errorf("after a restart: got %d words, want the same %d", len(n.state.list), len(want))
	}

	n.store.data = append([]byte("bitrot"), n.store.data[6:]...)
	_, err := NewQuorum(n.q.cfg, n.store, &words{}, n)
	if !errors.Is(err, raft.ErrDamaged) {
		t.Errorf("damaged snapshot: got %v, want ErrDamaged", err)
	}
}

func TestDamagedLogIsRefused(t *testing.T) {
	entry := func(index, term uint64) raft.Entry {
		return raft.Entry{Index: index, Term: term, Kind: raft.EntryNoOp}
	}
	hard := raft.HardState{Term: 2, Commit: 1}
	for name, state := range map[string]raft.State{
		"gap":            {Hard: hard, Entries: []raft.Entry{entry(1, 1), entry(3, 1)}},
		"terms fall":     {Hard: hard, Entries: []raft.Entry{entry(1, 2), entry(2, 1)}},
		"future term":    {Hard: hard, Entries: []raft.Entry{entry(1, 3)}},
		"commit missing": {Hard: raft.HardState{Term: 2, Commit: 5}, Entries: []raft.Entry{entry(1, 1)}},
		"head missing":   {Hard: hard, Entries: []raft.Entry{entry(4, 1)}},
		"bad membership": {Hard: hard, Entries: []raft.Entry{{Index: 1, Term: 1, Kind: raft.EntryMembership}}},
		"short of snapshot": {Hard: hard, Entries: []raft.Entry{entry(1, 1)},
			Snapshot: raft.Snapshot{Index: 3, Term: 1}},
	} {
		cfg := QuorumConfig{Raft: raft.Config{Node: 1, Disk: topic.DiskID{1}, Session: 1, Voters: []topic.NodeID{1}}}
		if _, err := NewQuorum(cfg, &memoryStore{state: state}, &words{}, nil); !errors.Is(err, raft.ErrDamaged) {
			t.Errorf("%s: got %v, want ErrDamaged", name, err)
		}
	}
	cfg := QuorumConfig{Raft: raft.Config{Node: 1, Disk: topic.DiskID{1}, Session: 1, Cluster: "a",
		Voters: []topic.NodeID{1}}}
	store := &memoryStore{state: raft.State{Hard: raft.HardState{Cluster: "b"}}}
	if _, err := NewQuorum(cfg, store, &words{}, nil); err == nil {
		t.Errorf("store of another cluster: got no error")
	}
}

func TestTransferBeforeAStop(t *testing.T) {
	g := newGroup(t, 1, 2, 3)
	g.run(10)
	if err := g.nodes[1].q.Transfer(topic.NoNode); err != nil {
		t.Fatalf("transfer: %v", err)
	}
	g.turn(1)
	g.settle()
	if b := g.nodes[1].q.Brief(); b.Role != raft.Follower || b.Leader == topic.NoNode || b.Leader == 1 {
		t.Errorf("without a tick: got %+v, want a follower of another leader", b)
	}
	if err := g.nodes[1].q.Transfer(2); !errors.Is(err, raft.ErrNotLeader) {
		t.Errorf("transfer by a follower: got %v, want ErrNotLeader", err)
	}
}
