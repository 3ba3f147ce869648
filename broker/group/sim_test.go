package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// world is one group, the log of its partition, and the clients, all driven by one random source.
// Its shell does what the real one promises: it parks what must wait for records, and throws the
// machine away when the leadership changes.
type world struct {
	*testing.T
	rand *rand.Rand
	cfg  Config
	m    *Machine
	now  Time
	next Token
	fx   Effects

	// committed is the log that every later leader has; flying is what the present one has appended
	// beyond it. ended counts the records of all turns until now.
	committed, flying []Record
	parked            []parked
	asked             map[Token]*asked
	clients           []*client
	// told is the assignment that was handed out per generation.
	told    map[int32]string
	history []porcupine.Operation
	clock   int64
}

type parked struct {
	Reply
	// needs is how many records must be committed.
	needs int
}

// client is a member as its consumer sees it.
type client struct {
	number     int
	instance   *string
	id         string
	generation int32
	leads      bool
	waits      Token
}

// asked is a request without an answer.
type asked struct {
	from  *client
	event Event
	call  int64
	// value is what a commit wrote.
	value int64
}

// register is an operation on the one offset that is checked: a write, or a read.
type register struct {
	write bool
	value int64
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T: t, rand: rand.New(rand.NewPCG(seed, 7)), asked: map[Token]*asked{}, told: map[int32]string{},
		now: Time{Mono: 1, Wall: 1_000_000},
		cfg: Config{
			InitialDelayMillis: 50, SessionMinMillis: 1, SessionMaxMillis: 1 << 30, MembersMax: 100,
			MetadataBytesMax: 100, RetentionMillis: 1 << 40, RecordBytesMax: 1 << 20,
		},
	}
	for i := range 4 {
		c := &client{number: i}
		if i == 3 {
			id := "static"
			c.instance = &id
		}
		w.clients = append(w.clients, c)
	}
	w.m = New(&w.cfg, "g")
	return w
}

// do has the machine take an event, and parks or delivers the replies.
func (w *world) do(c *client, e Event, value int64) {
	w.clock++
	w.asked[e.token()] = &asked{from: c, event: e, call: w.clock, value: value}
	w.m.Step(e, w.now, &w.fx)
	w.turn()
}

func (w *world) turn() {
	w.flying = append(w.flying, w.fx.Records...)
	for _, r := range w.fx.Replies {
		if r.AfterRecords {
			w.parked = append(w.parked, parked{r, len(w.committed) + len(w.flying)})
		} else {
			w.deliver(r)
		}
	}
	w.fx.Reset()
	w.release()
}

// release delivers what has waited for records that are committed.
func (w *world) release() {
	w.parked = slices.DeleteFunc(w.parked, func(p parked) bool {
		if p.needs > len(w.committed) {
			return false
		}
		w.deliver(p.Reply)
		return true
	})
}

// commit lets some of what is on its way arrive.
func (w *world) commit(n int) {
	w.committed = append(w.committed, w.flying[:n]...)
	w.flying = slices.Clone(w.flying[n:])
	w.release()
}

// fail replaces the leader. Some of what was on its way is in the log of the next one all the same.
func (w *world) fail() {
	w.commit(w.rand.IntN(len(w.flying) + 1))
	w.flying, w.parked = nil, nil
	for _, t := range slices.Sorted(maps.Keys(w.asked)) {
		w.lost(t)
	}
	w.m = w.restore()
}

// lost: the client hears nothing but that it must look for the coordinator.
func (w *world) lost(t Token) {
	a := w.asked[t]
	delete(w.asked, t)
	if a.from.waits == t {
		a.from.waits = 0
	}
	if commit, ok := a.event.(Commit); ok && len(commit.Offsets) > 0 {
		// It may have been done, and nobody will ever say.
		w.note(a, register{write: true, value: a.value}, 1<<60)
	}
}

func (w *world) restore() *Machine {
	replay := NewReplay()
	for _, r := range w.committed {
		if err := replay.Apply(r); err != nil {
			w.Fatalf("replay: %v", err)
		}
	}
	m := replay.Machines(&w.cfg, w.now)["g"]
	if m == nil {
		m = New(&w.cfg, "g")
	}
	w.compare(m)
	return m
}

// compare holds a restored machine against a dumber reading of the log: the last value of each key.
func (w *world) compare(m *Machine) {
	last := map[string][]byte{}
	for _, r := range w.committed {
		if last[string(r.Key)] = r.Value; r.Value == nil {
			delete(last, string(r.Key))
		}
	}
	want := 0
	for key, value := range last {
		if key == string(keyOfGroup("g")) {
			var v kmsg.GroupMetadataValue
			if err := v.ReadFrom(value); err != nil {
				w.Fatal(err)
			}
			if m.generation != v.Generation || len(m.members) != len(v.Members) || len(v.Members) > 0 && m.state != Stable {
				w.Fatalf("restored: generation %d, %d members, %v; the log says %d, %d",
					m.generation, len(m.members), m.state, v.Generation, len(v.Members))
			}
			for _, member := range v.Members {
				if one := m.members[member.MemberID]; one == nil || string(one.assignment) != string(member.Assignment) {
					w.Fatalf("member %s is restored as %+v", member.MemberID, one)
				}
			}
			continue
		}
		want++
		var v kmsg.OffsetCommitValue
		if err := v.ReadFrom(value); err != nil {
			w.Fatal(err)
		}
		if got := m.offsets[Place{"t", 0}].Offset; got != v.Offset {
			w.Fatalf("restored offset: got %d, the log says %d", got, v.Offset)
		}
	}
	if len(m.offsets) != want {
		w.Fatalf("restored offsets: got %d, the log says %d", len(m.offsets), want)
	}
}

// deliver is the client's side of an answer.
func (w *world) deliver(r Reply) {
	w.clock++
	a := w.asked[r.Token]
	if a == nil {
		w.Fatalf("request %d is answered twice", r.Token)
	}
	delete(w.asked, r.Token)
	if a.from.waits == r.Token {
		a.from.waits = 0
	}
	switch result := r.Result.(type) {
	case *Joined:
		a.from.id = result.MemberID
		if r.Err == nil {
			a.from.generation, a.from.leads = result.Generation, result.Leader == result.MemberID && !result.Skip
		}
	case *Synced:
		w.assigned(a, result)
	case *Committed:
		w.note(a, register{write: true, value: a.value}, w.clock)
	case *Fetched:
		w.note(a, register{value: result.Offsets[0].Offset.Offset}, w.clock)
	}
	if r.Err == ErrUnknownMember || r.Err == ErrFencedInstance {
		a.from.id = ""
	}
}

// assigned: whoever hears of an assignment in a generation hears of the same one, whichever
// coordinators have been in between.
func (w *world) assigned(a *asked, result *Synced) {
	generation, got := a.event.(Sync).Generation, string(result.Assignment)
	if got == "" {
		return // not known to the leader
	}
	if told, ok := w.told[generation]; ok && told != got {
		w.Fatalf("generation %d: assignments %q and %q were both handed out", generation, told, got)
	}
	w.told[generation] = got
}

func (w *world) note(a *asked, r register, end int64) {
	w.history = append(w.history, porcupine.Operation{
		ClientId: a.from.number, Input: r, Output: r.value, Call: a.call, Return: end,
	})
}

func (w *world) token() Token {
	w.next++
	return w.next
}

// act has one client do something that a client may do, or lets time pass, or the leader fail.
func (w *world) act(step int) {
	c := w.clients[w.rand.IntN(len(w.clients))]
	switch w.rand.IntN(12) {
	case 0, 1, 2:
		w.join(c)
	case 3, 4:
		w.sync(c, step)
	case 5:
		w.do(c, Heartbeat{Token: w.token(), MemberID: c.id, Instance: c.instance, Generation: c.generation}, 0)
	case 6, 7:
		o := CommitOffset{Place{"t", 0}, Offset{Offset: int64(step), ExpiresAt: -1}}
		e := Commit{Token: w.token(), MemberID: c.id, Instance: c.instance, Generation: c.generation}
		if c.id == "" {
			e.Generation, e.Instance = -1, nil
		}
		e.Offsets = []CommitOffset{o}
		w.do(c, e, int64(step))
	case 8:
		w.do(c, Fetch{Token: w.token(), Places: []Place{{"t", 0}}}, 0)
	case 9:
		w.now.Mono += w.rand.Int64N(200)
		w.m.Tick(w.now, &w.fx)
		w.turn()
	case 10:
		w.commit(w.rand.IntN(len(w.flying) + 1))
	case 11:
		if w.rand.IntN(3) == 0 && c.id != "" {
			w.do(c, Leave{Token: w.token(), Members: []Leaver{{ID: c.id, Instance: c.instance}}}, 0)
			c.id = ""
		}
	}
	w.check()
}

func (w *world) join(c *client) {
	if c.waits != 0 && w.rand.IntN(4) > 0 {
		return
	}
	t := w.token()
	c.waits = t
	e := Join{
		Token: t, MemberID: c.id, NewID: fmt.Sprintf("c%d-%d", c.number, t), Instance: c.instance,
		ProtocolType: "consumer", NamesFirst: w.rand.IntN(2) == 0, Skips: w.rand.IntN(2) == 0,
		SessionMillis: 400, RebalanceMillis: 300,
		Protocols: []Protocol{{"range", consumes("t", fmt.Sprint(w.rand.IntN(3)))}},
	}
	w.do(c, e, 0)
}

func (w *world) sync(c *client, step int) {
	if c.id == "" {
		return
	}
	e := Sync{Token: w.token(), MemberID: c.id, Instance: c.instance, Generation: c.generation}
	if c.leads {
		e.Assignments = map[string][]byte{}
		for id := range w.m.members {
			e.Assignments[id] = fmt.Appendf(nil, "step %d", step)
		}
	}
	c.waits = e.Token
	w.do(c, e, 0)
}

// check holds the machine's own bookkeeping against what it counts.
func (w *world) check() {
	joining, supports := 0, map[string]int{}
	for id, one := range w.m.members {
		if one.joining != 0 {
			joining++
		}
		for _, p := range one.protocols {
			supports[p.Name]++
		}
		if one.id != id || one.instance != nil && w.m.statics[*one.instance] != id {
			w.Fatalf("member %s is filed wrongly", id)
		}
	}
	if joining != w.m.joining || !maps.Equal(supports, w.m.supports) {
		w.Fatalf("counts: got %d, %v, want %d, %v", w.m.joining, w.m.supports, joining, supports)
	}
	if w.m.state == Stable && w.m.members[w.m.leader] == nil || w.m.state == Empty && len(w.m.members) > 0 {
		w.Fatalf("%v with leader %q and %d members", w.m.state, w.m.leader, len(w.m.members))
	}
}

// settle lets everything arrive and all timers run out: nobody is left without an answer.
func (w *world) settle() {
	for range 20 {
		w.commit(len(w.flying))
		w.now.Mono += newMemberMillis
		w.m.Tick(w.now, &w.fx)
		w.turn()
	}
	w.commit(len(w.flying))
	if len(w.asked) > 0 {
		w.Fatalf("%d requests are never answered, the group is %v", len(w.asked), w.m.state)
	}
}

// offsets is a register: what a read tells is what was written last, in some order of those that
// overlap. Nothing written is -1.
var offsets = porcupine.Model{
	Init: func() any { return int64(-1) },
	Step: func(state, input, output any) (bool, any) {
		if r := input.(register); r.write {
			return true, r.value
		}
		return state == output, state
	},
}

// TestGroupsSurviveChangesOfLeadershipAtEveryStep: with a leader that fails often, a restored machine
// is what the log says, all members of a generation hear of one assignment, commits are linearizable,
// and in the end everybody has an answer.
func TestGroupsSurviveChangesOfLeadershipAtEveryStep(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			every := 2 + w.rand.IntN(60)
			for step := range 250 {
				w.act(step)
				if w.rand.IntN(every) == 0 {
					w.fail()
				}
			}
			w.settle()
			if !porcupine.CheckOperations(offsets, w.history) {
				t.Fatal("commits are not linearizable")
			}
		})
	}
}
