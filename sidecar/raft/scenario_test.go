package raft

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"outrigger/broker/topic"
)

// lab is a few machines with their stores and the messages between them. Nothing moves unless a
// scenario says so.
type lab struct {
	t      testing.TB
	nodes  []*labNode
	voters []topic.NodeID
	cut    map[[2]topic.NodeID]bool
	held   map[Type]bool // types that stay on the way
	wire   []Message
	mutant Mutant
	small  bool
	out    strings.Builder
	quiet  bool
}

// labNode is one machine over a store that is always synced.
type labNode struct {
	lab     *lab
	id      topic.NodeID
	disk    byte
	session topic.Session
	m       *Machine // nil while down
	state   State
	data    []byte // of the snapshot
	pieces  []byte // of the staged one
	applied []string
	reads   []Read
}

func (l *lab) node(id int) *labNode { return l.nodes[id-1] }

func (n *labNode) start() {
	n.session++
	cfg := Config{Node: n.id, Disk: topic.DiskID{byte(n.id), n.disk}, Session: n.session<<8 | topic.Session(n.id),
		Voters: n.lab.voters, Seed: uint64(n.id)}
	if n.lab.small {
		cfg.AppendBytesMax, cfg.ChunkBytes, cfg.InflightMessagesMax, cfg.InflightBytesMax = 40, 8, 2, 80
	}
	Break(&cfg, n.lab.mutant)
	m, err := New(cfg, n.state)
	if err != nil {
		n.lab.t.Fatalf("start node %d: %v", n.id, err)
	}
	n.m, n.applied = m, nil
	if !n.state.Snapshot.IsZero() {
		n.applied = strings.Fields(string(n.data))
	}
	n.turn()
}

// turn carries out what the machine wants.
func (n *labNode) turn() {
	for r := n.m.Ready(); !r.Empty(); r = n.m.Ready() {
		for _, e := range r.Events {
			if !n.lab.quiet {
				fmt.Fprintf(&n.lab.out, "%d: %s\n", n.id, e)
			}
		}
		n.lab.wire = append(n.lab.wire, r.Messages...)
		n.save(r.Batch)
		n.m.Persisted()
		n.lab.wire = append(n.lab.wire, r.AfterPersist...)
		for _, c := range r.ChunkReads {
			c.Reply.Data = n.data[c.Reply.Offset : c.Reply.Offset+uint64(c.Length)]
			n.lab.wire = append(n.lab.wire, c.Reply)
		}
		for _, e := range r.Committed {
			if e.Kind == EntryCommand {
				n.applied = append(n.applied, string(e.Data))
			}
		}
		n.reads = append(n.reads, r.Reads...)
		if r.Install != nil {
			n.install(*r.Install)
		}
	}
}

func (n *labNode) save(b Batch) {
	s := &n.state
	if b.HardState != nil {
		s.Hard = *b.HardState
	}
	if b.TruncateFrom != 0 {
		s.Entries = slices.DeleteFunc(slices.Clone(s.Entries), func(e Entry) bool { return e.Index >= b.TruncateFrom })
	}
	s.Entries = append(s.Entries, b.Entries...)
	for _, c := range b.Chunks {
		if c.Offset == 0 {
			s.Staged, n.pieces = c.Snapshot, nil
		}
		n.pieces = append(n.pieces, c.Data...)
		s.StagedBytes = uint64(len(n.pieces))
	}
}

func (n *labNode) install(i Install) {
	if HashOf(n.pieces) != i.Snapshot.Hash {
		n.m.InstallFailed()
		return
	}
	n.data, n.pieces = n.pieces, nil
	n.state = State{Hard: i.Hard, Snapshot: i.Snapshot}
	n.applied = strings.Fields(string(n.data))
	n.m.Installed()
}

// compact takes a snapshot and drops the whole log behind it.
func (n *labNode) compact() {
	n.data = []byte(strings.Join(n.applied, " "))
	s := n.m.SnapshotAt(n.m.handed, n.data)
	n.m.Compact(s, s.Index)
	n.state.Snapshot = s
	n.state.Entries = slices.DeleteFunc(slices.Clone(n.state.Entries), func(e Entry) bool { return e.Index <= s.Index })
}

// settle delivers messages, in order, until none is left that may arrive.
func (l *lab) settle() {
	for {
		at := slices.IndexFunc(l.wire, func(m Message) bool { return !l.held[m.Type] })
		if at < 0 {
			return
		}
		m := l.wire[at]
		l.wire = slices.Delete(l.wire, at, at+1)
		l.arrive(m)
	}
}

func (l *lab) arrive(m Message) {
	decoded, err := Decode(Encode(m))
	if err != nil {
		l.t.Fatalf("decode %s: %v", m, err)
	}
	to := l.node(int(m.To))
	if to.m != nil && !l.cut[[2]topic.NodeID{m.From, m.To}] {
		to.m.Step(decoded)
		to.turn()
	}
}

// tick passes time on some nodes and lets the messages arrive in between.
func (l *lab) tick(ids []int, ticks int) {
	for range ticks {
		for _, id := range ids {
			if n := l.node(id); n.m != nil {
				n.m.Tick()
				n.turn()
			}
		}
		l.settle()
	}
}

func (l *lab) all() []int {
	var ids []int
	for _, n := range l.nodes {
		ids = append(ids, int(n.id))
	}
	return ids
}

func newLab(t testing.TB, nodes, voters int) *lab {
	l := &lab{t: t, cut: make(map[[2]topic.NodeID]bool), held: make(map[Type]bool)}
	for i := range nodes {
		l.nodes = append(l.nodes, &labNode{lab: l, id: topic.NodeID(i + 1), disk: 1})
		if i < voters {
			l.voters = append(l.voters, topic.NodeID(i+1))
		}
	}
	return l
}

func (l *lab) startAll() {
	for _, n := range l.nodes {
		n.start()
	}
}

// TestScenarios plays testdata: one file per behaviour. Commands:
//
//	cluster nodes=N voters=V [small] [mutant=name]   makes the nodes, down
//	start|stop|wipe N...       wipe stops a node and gives it an empty disk
//	tick [N...] ticks=T        time passes (on all nodes that are up, or on some), messages arrive
//	settle                     messages arrive
//	cut|join A-B...            both ways; A>B one way; join alone: all
//	hold|release TYPE...       messages of a type stay on the way; release lets them go
//	deliver TYPE...            lets the held messages of a type arrive, but not those that follow
//	drop                       loses everything on the way
//	roster N... [without=M]    who shall vote, and who does not belong to the cluster, told to all that are up
//	propose N word...          on node N
//	campaign N | transfer N to=M | read N | compact N
//	change N KIND member=N/D   KIND: add, promote or remove
//	status [N...]              one line per node
//	quiet | loud               hides events, or shows them
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		var l *lab
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "cluster" {
				l = scenarioCluster(t, d)
				return "ok"
			}
			l.t = t
			l.out.Reset()
			l.command(d)
			if l.out.Len() == 0 {
				return "ok"
			}
			return l.out.String()
		})
	})
}

func scenarioCluster(t *testing.T, d *datadriven.TestData) *lab {
	var nodes, voters int
	d.ScanArgs(t, "nodes", &nodes)
	d.ScanArgs(t, "voters", &voters)
	l := newLab(t, nodes, voters)
	l.small = d.HasArg("small")
	if d.HasArg("mutant") {
		var name string
		d.ScanArgs(t, "mutant", &name)
		for _, m := range Mutants() {
			if m.String() == name {
				l.mutant = m
			}
		}
	}
	return l
}

// words are a command's arguments without a value.
func words(d *datadriven.TestData) []string {
	var keys []string
	for _, arg := range d.CmdArgs {
		if len(arg.Vals) == 0 {
			keys = append(keys, arg.Key)
		}
	}
	return keys
}

func (l *lab) ids(d *datadriven.TestData) []int {
	var ids []int
	for _, word := range words(d) {
		id, err := strconv.Atoi(word)
		if err != nil {
			l.t.Fatalf("%s: %v", d.Pos, err)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return l.all()
	}
	return ids
}

func (l *lab) command(d *datadriven.TestData) {
	switch d.Cmd {
	case "start":
		for _, id := range l.ids(d) {
			l.node(id).start()
		}
	case "stop", "wipe":
		for _, id := range l.ids(d) {
			n := l.node(id)
			n.m = nil
			if d.Cmd == "wipe" {
				n.disk, n.state, n.data, n.pieces = n.disk+1, State{}, nil, nil
			}
		}
	case "tick":
		var ticks int
		d.ScanArgs(l.t.(*testing.T), "ticks", &ticks)
		l.tick(l.ids(d), ticks)
	case "settle":
		l.settle()
	case "cut", "join":
		l.links(d)
	case "hold", "release":
		l.hold(d)
	case "deliver":
		l.deliver(d)
	case "drop":
		fmt.Fprintf(&l.out, "%d messages lost\n", len(l.wire))
		l.wire = nil
	case "status":
		for _, id := range l.ids(d) {
			l.status(l.node(id))
		}
	case "roster":
		l.roster(d)
	case "quiet", "loud":
		l.quiet = d.Cmd == "quiet"
	default:
		l.ask(d)
	}
}

func (l *lab) roster(d *datadriven.TestData) {
	var roster Roster
	for _, id := range l.ids(d) {
		roster.Voters = append(roster.Voters, topic.NodeID(id))
	}
	if d.HasArg("without") {
		var gone int
		d.ScanArgs(l.t.(*testing.T), "without", &gone)
		roster.Known = func(node topic.NodeID) bool { return node != topic.NodeID(gone) }
	}
	for _, n := range l.nodes {
		if n.m != nil {
			n.m.SetRoster(roster)
		}
	}
}

func (l *lab) links(d *datadriven.TestData) {
	if len(words(d)) == 0 {
		clear(l.cut)
	}
	for _, word := range words(d) {
		var a, b topic.NodeID
		oneWay := strings.Contains(word, ">")
		if _, err := fmt.Sscanf(strings.Replace(word, ">", "-", 1), "%d-%d", &a, &b); err != nil {
			l.t.Fatalf("%s: %v", d.Pos, err)
		}
		l.cut[[2]topic.NodeID{a, b}] = d.Cmd == "cut"
		if !oneWay {
			l.cut[[2]topic.NodeID{b, a}] = d.Cmd == "cut"
		}
	}
}

func (l *lab) hold(d *datadriven.TestData) {
	for _, word := range words(d) {
		at := slices.Index(typeNames[:], word)
		if at < 0 {
			l.t.Fatalf("%s: unknown type %s", d.Pos, word)
		}
		l.held[Type(at)] = d.Cmd == "hold"
	}
	l.settle()
}

// deliver lets what is held now arrive, and then everything that is not held.
func (l *lab) deliver(d *datadriven.TestData) {
	var now []Message
	l.wire = slices.DeleteFunc(l.wire, func(m Message) bool {
		if slices.Contains(words(d), m.Type.String()) {
			now = append(now, m)
			return true
		}
		return false
	})
	for _, m := range now {
		l.arrive(m)
	}
	l.settle()
}

// ask feeds one node one input.
func (l *lab) ask(d *datadriven.TestData) {
	args := words(d)
	id, err := strconv.Atoi(args[0])
	if err != nil {
		l.t.Fatalf("%s: %v", d.Pos, err)
	}
	n := l.node(id)
	switch d.Cmd {
	case "propose":
		for _, word := range args[1:] {
			if _, _, err = n.m.Propose([]byte(word)); err != nil {
				break
			}
		}
	case "campaign":
		n.m.preCampaign()
	case "transfer":
		to := int(topic.NoNode)
		if d.HasArg("to") {
			d.ScanArgs(l.t.(*testing.T), "to", &to)
		}
		err = n.m.Transfer(topic.NodeID(to))
	case "read":
		n.reads = nil
		err = n.m.ReadIndex(uint64(len(n.reads) + 1))
	case "compact":
		n.compact()
	case "change":
		err = l.change(n, d, args[1])
	default:
		l.t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	}
	if err != nil {
		fmt.Fprintf(&l.out, "refused: %v\n", err)
	}
	n.turn()
}

func (l *lab) change(n *labNode, d *datadriven.TestData, kind string) error {
	var text string
	d.ScanArgs(l.t.(*testing.T), "member", &text)
	var node, disk byte
	if _, err := fmt.Sscanf(text, "%d/%d", &node, &disk); err != nil {
		l.t.Fatalf("%s: %v", d.Pos, err)
	}
	kinds := map[string]ChangeKind{"add": AddLearner, "promote": Promote, "remove": Remove}
	_, err := n.m.Change(Change{Kind: kinds[kind],
		Member: Member{Node: topic.NodeID(node), Disk: topic.DiskID{node, disk}}})
	return err
}

func (l *lab) status(n *labNode) {
	if n.m == nil {
		fmt.Fprintf(&l.out, "%d: down\n", n.id)
		return
	}
	s := n.m.Status()
	var log []string
	for _, e := range n.m.log.entries {
		text := fmt.Sprintf("%d/%d ", e.Index, e.Term)
		switch e.Kind {
		case EntryNoOp:
			text += "no-op"
		case EntryMembership:
			text += "members"
		default:
			text += string(e.Data)
		}
		log = append(log, text)
	}
	fmt.Fprintf(&l.out, "%d: %s term %d commit %d log [%s] applied [%s]", n.id, s.Role, s.Term, s.Commit,
		strings.Join(log, ", "), strings.Join(n.applied, " "))
	if len(n.reads) > 0 {
		fmt.Fprintf(&l.out, " reads %v", n.reads)
	}
	fmt.Fprintf(&l.out, "\n   %s\n", s.Membership)
}
