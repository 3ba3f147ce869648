package replica

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// record is one offset of a model log: who wrote it under which epoch.
type record struct {
	epoch topic.Epoch
	value int
}

// host is one node of the model: a machine, a log that loses what was not synced, and its session.
type host struct {
	id      topic.NodeID
	session topic.Session
	up      bool
	machine *Machine
	log     []record
	durable int
	hw      topic.Offset
	role    Role
	image   *topic.Placement
	window  map[topic.NodeID]*Window
	lag     map[topic.NodeID]bool
}

type envelope struct {
	from, to topic.Member
	section  *frame.Section
	ack      *frame.Ack
}

// world is three or five hosts, one partition, a controller that is always right, and a network that
// loses, duplicates, delays, reorders and replays.
type world struct {
	t         *testing.T
	r         *rand.Rand
	now       int64
	hosts     []*host
	net       []envelope
	sent      []envelope
	placement *topic.Placement
	committed []record
	values    int
	acked     int
	session   topic.Session
	trace     []string
}

const minISR = 2

var thePartition = topic.Partition{Index: 7}

func newWorld(t *testing.T, seed uint64, nodes int) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 99))}
	p := &topic.Placement{Leader: topic.NoNode}
	for i := range nodes {
		h := &host{id: topic.NodeID(i + 1)}
		w.hosts = append(w.hosts, h)
		w.start(h)
		p.Replicas = append(p.Replicas, h.id)
		p.ISR = append(p.ISR, h.member())
	}
	w.placement = p
	w.elect()
	return w
}

func (h *host) member() topic.Member { return topic.Member{Node: h.id, Session: h.session} }

func (h *host) state() LogState {
	s := LogState{End: topic.Offset(len(h.log)), Durable: topic.Offset(h.durable), HighWatermark: h.hw}
	last := topic.NoEpoch
	for i, rec := range h.log {
		if rec.epoch != last {
			s.Epochs = append(s.Epochs, EpochStart{Epoch: rec.epoch, Start: topic.Offset(i)})
			last = rec.epoch
		}
	}
	return s
}

// start gives a host a new session over what survived of its log.
func (w *world) start(h *host) {
	w.session++
	h.session, h.up, h.image, h.role = w.session, true, nil, Role{}
	h.hw = min(h.hw, topic.Offset(len(h.log)))
	h.window, h.lag = map[topic.NodeID]*Window{}, map[topic.NodeID]bool{}
	h.machine = New(Config{
		Self: h.member(), LagTicksMax: 20, RepeatTicks: 1, RepeatTicksMax: 8,
		Now: func() int64 { return w.now },
		Window: func(n topic.NodeID) *Window {
			if h.window[n] == nil {
				h.window[n] = &Window{BytesMax: 400}
			}
			return h.window[n]
		},
	}, thePartition, h.state())
}

func (w *world) host(id topic.NodeID) *host { return w.hosts[id-1] }

// update publishes another placement; hosts see it later, in any order.
func (w *world) update(change func(p *topic.Placement)) {
	p := *w.placement
	p.ISR = slices.Clone(p.ISR)
	p.Eligible = slices.Clone(p.Eligible)
	change(&p)
	p.PartitionEpoch++
	w.placement = &p
}

// elect picks a live in-sync member, else a live eligible one: the controller's rule in small.
func (w *world) elect() {
	live := func(m topic.Member) bool { h := w.host(m.Node); return h.up && h.session == m.Session }
	p := w.placement
	candidates := p.ISR
	if i := slices.IndexFunc(candidates, live); i < 0 {
		candidates = p.Eligible
	}
	i := slices.IndexFunc(candidates, live)
	if i < 0 {
		return
	}
	chosen := candidates[i]
	w.update(func(p *topic.Placement) {
		if !p.InSync(chosen) {
			p.ISR = []topic.Member{chosen}
			p.Eligible = slices.DeleteFunc(p.Eligible, func(m topic.Member) bool { return m == chosen })
		}
		p.Leader, p.LeaderSession = chosen.Node, chosen.Session
		p.LeaderEpoch++
	})
}

// fence is one record: the member leaves the in-sync set, stays eligible while the set is too small,
// and somebody else leads.
func (w *world) fence(m topic.Member, comesBackAs topic.Session) {
	wasLeader := w.placement.Leader == m.Node
	w.update(func(p *topic.Placement) {
		in := p.InSync(m)
		p.ISR = slices.DeleteFunc(p.ISR, func(x topic.Member) bool { return x == m })
		was := slices.Contains(p.Eligible, m)
		p.Eligible = slices.DeleteFunc(p.Eligible, func(x topic.Member) bool { return x == m })
		if (in && len(p.ISR) < minISR) || was {
			p.Eligible = append(p.Eligible, topic.Member{Node: m.Node, Session: comesBackAs})
		}
		if wasLeader {
			p.Leader, p.LeaderSession = topic.NoNode, 0
			p.LeaderEpoch++
		}
	})
	if w.placement.Leader == topic.NoNode {
		w.elect()
	}
}

// crash loses a random part of what was not synced and restarts the host at once.
func (w *world) crash(h *host) {
	old := h.member()
	keep := h.durable
	if len(h.log) > h.durable {
		keep += w.r.IntN(len(h.log) - h.durable + 1)
	}
	h.log = h.log[:keep]
	h.durable = keep // the recovered tail is synced before anything leaves the node
	w.start(h)
	w.fence(old, h.session)
	if w.placement.Leader == topic.NoNode {
		w.elect()
	}
}

func (w *world) refresh(h *host) {
	if h.image == w.placement {
		return
	}
	h.image = w.placement
	v := View{Placement: h.image, MinInSync: minISR, Live: func(n topic.NodeID) (topic.Session, bool) {
		return w.host(n).session, w.host(n).up
	}}
	var state LogState
	if h.machine.NeedsLog(v) {
		h.role = Role{Epoch: h.image.LeaderEpoch}
		state = h.state()
	}
	w.step(h, func(out *Effects) { h.machine.Configure(v, state, out) })
}

// step carries out what one input asks for.
func (w *world) step(h *host, fn func(out *Effects)) {
	var out Effects
	out.Reset()
	fn(&out)
	for _, e := range out.Events {
		if e.Kind == EventFault {
			w.fail("fault at node %d: %s", h.id, e)
		}
	}
	if out.Role != nil {
		h.role = *out.Role
	}
	if out.Cut != topic.NoOffset {
		if out.Cut < topic.Offset(len(h.log)) && int(out.Cut) < w.acked && h.durable >= w.acked {
			w.checkCut(h, int(out.Cut))
		}
		h.log = h.log[:out.Cut]
		h.durable = min(h.durable, int(out.Cut))
	}
	if s := out.Append; s != nil {
		for i := range s.Count {
			h.log = append(h.log, record{epoch: s.RecordEpoch, value: int(s.Payload[i*4])<<16 | int(s.Payload[i*4+1])<<8 | int(s.Payload[i*4+2])})
		}
	}
	if out.HighWatermark != topic.NoOffset {
		w.commit(h, out.HighWatermark)
	}
	for _, o := range out.Sections {
		s := o.Section
		w.post(envelope{from: h.member(), to: o.To, section: &s})
	}
	if out.Ack != nil {
		w.post(envelope{from: h.member(), to: out.AckTo, ack: out.Ack})
	}
	for _, n := range out.Lagging {
		h.lag[n] = true
	}
	if out.Change != nil {
		w.propose(h, *out.Change)
	}
}

func (w *world) checkCut(h *host, cut int) {
	for i := cut; i < min(len(h.log), w.acked); i++ {
		if h.log[i] == w.committed[i] {
			w.fail("node %d cuts committed offset %d", h.id, i)
		}
	}
}

// commit is the invariant: what is under any high watermark is one sequence, for ever.
func (w *world) commit(h *host, hw topic.Offset) {
	if int(hw) > len(h.log) {
		w.fail("node %d: high watermark %d beyond the log end %d", h.id, hw, len(h.log))
	}
	h.hw = hw
	for i := range int(hw) {
		switch {
		case i < len(w.committed) && w.committed[i] != h.log[i]:
			w.fail("node %d: offset %d is %v, committed was %v", h.id, i, h.log[i], w.committed[i])
		case i == len(w.committed):
			w.committed = append(w.committed, h.log[i])
		}
	}
	w.acked = len(w.committed)
	holders := 0
	for _, x := range w.hosts {
		if x.durable >= int(hw) && slices.Equal(x.log[:hw], w.committed[:hw]) {
			holders++
		}
	}
	if holders < minISR {
		w.fail("high watermark %d is on the disks of %d nodes only", hw, holders)
	}
}

// propose reaches the controller now, later, twice or never; the answer too may be lost.
func (w *world) propose(h *host, c Change) {
	apply := func() Verdict {
		p := w.placement
		if p.LeaderEpoch != c.LeaderEpoch || p.PartitionEpoch != c.PartitionEpoch || p.Leader != h.id {
			return Stale
		}
		for _, m := range c.ISR {
			if w.host(m.Node).session != m.Session {
				return Refused
			}
		}
		w.update(func(p *topic.Placement) {
			gone := slices.DeleteFunc(slices.Clone(p.ISR), func(m topic.Member) bool { return slices.Contains(c.ISR, m) })
			p.ISR = slices.Clone(c.ISR)
			switch {
			case len(p.ISR) >= minISR:
				p.Eligible = nil
			default:
				p.Eligible = append(p.Eligible, gone...)
			}
		})
		return Accepted
	}
	machine := h.machine
	verdict := Unknown
	if w.r.IntN(4) > 0 {
		verdict = apply()
		if w.r.IntN(4) == 0 {
			verdict = Unknown
		}
	} else if w.r.IntN(2) == 0 {
		w.net = append(w.net, envelope{to: topic.Member{Node: topic.NoNode}})
		late = append(late, apply)
	}
	w.step(h, func(out *Effects) { machine.Decided(c.PartitionEpoch, verdict, out) })
}

var late []func() Verdict

func (w *world) post(e envelope) {
	w.net = append(w.net, e)
	w.sent = append(w.sent, e)
	if len(w.sent) > 200 {
		w.sent = w.sent[1:]
	}
}

// deliver takes a random message: lost, duplicated, reordered or replayed from long ago.
func (w *world) deliver(lossy bool) {
	if len(w.net) == 0 {
		return
	}
	i := 0
	if lossy {
		i = w.r.IntN(min(len(w.net), 4))
	}
	e := w.net[i]
	w.net = slices.Delete(w.net, i, i+1)
	if e.to.Node == topic.NoNode {
		if len(late) > 0 {
			late[0]()
			late = late[1:]
		}
		return
	}
	switch {
	case lossy && w.r.IntN(10) == 0:
		return
	case lossy && w.r.IntN(10) == 0:
		w.net = append(w.net, e)
	case lossy && w.r.IntN(20) == 0 && len(w.sent) > 0:
		w.net = append(w.net, w.sent[w.r.IntN(len(w.sent))])
	}
	h := w.host(e.to.Node)
	if h.session != e.to.Session {
		return
	}
	w.step(h, func(out *Effects) {
		if e.ack != nil {
			h.machine.Ack(e.from, *e.ack, out)
		} else {
			h.machine.Section(e.from, *e.section, out)
		}
	})
}

func (w *world) sync(h *host) {
	if h.durable == len(h.log) {
		return
	}
	h.durable = len(h.log)
	w.step(h, func(out *Effects) { h.machine.Durable(topic.Offset(h.durable), out) })
}

func (w *world) produce(h *host) {
	if !h.role.Leading || !h.role.AcceptAll {
		return
	}
	base, count := len(h.log), 1+w.r.IntN(3)
	prev := topic.NoEpoch
	if base > 0 {
		prev = h.log[base-1].epoch
	}
	var payload []byte
	for range count {
		w.values++
		h.log = append(h.log, record{epoch: h.role.Epoch, value: w.values})
		payload = append(payload, byte(w.values>>16), byte(w.values>>8), byte(w.values), 0)
	}
	e := Entry{Epoch: h.role.Epoch, PrevEpoch: prev, Base: topic.Offset(base), Count: int32(count), Payload: payload}
	w.step(h, func(out *Effects) { h.machine.Appended(e, out) })
}

// feed gives lagging followers the next batch, one record each as a log of that shape would.
func (w *world) feed(h *host) {
	for n := topic.NodeID(1); int(n) <= len(w.hosts); n++ {
		from, ok := h.machine.Lag(n)
		if !ok || !h.lag[n] {
			delete(h.lag, n)
			continue
		}
		if !h.window[n].Open() {
			continue
		}
		rec := h.log[from]
		e := Entry{Epoch: rec.epoch, Base: from, Count: 1, Payload: []byte{byte(rec.value >> 16), byte(rec.value >> 8), byte(rec.value), 0}}
		w.step(h, func(out *Effects) { h.machine.Feed(n, e, out) })
	}
}

func (w *world) tick() {
	w.now++
	for _, h := range w.hosts {
		w.step(h, func(out *Effects) { h.machine.Tick(out) })
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf(format+"\nplacement %+v, %d messages on the way", append(args, w.placement, len(w.net))...)
}

func (w *world) chaos(steps int) {
	for range steps {
		h := w.hosts[w.r.IntN(len(w.hosts))]
		switch w.r.IntN(100) {
		case 0:
			w.crash(h)
		case 1:
			w.fence(h.member(), h.session)
			w.elect()
		case 2, 3, 4, 5, 6, 7, 8, 9, 10, 11:
			w.produce(h)
		case 12, 13, 14, 15, 16, 17, 18, 19, 20:
			w.sync(h)
		case 21, 22, 23, 24, 25, 26:
			w.tick()
		case 27, 28, 29, 30, 31, 32, 33, 34, 35, 36:
			w.refresh(h)
		case 37, 38, 39, 40, 41, 42, 43, 44:
			w.feed(h)
		default:
			w.deliver(true)
		}
	}
}

// heal lets everything arrive and requires that all logs become equal and everything is committed.
func (w *world) heal() {
	for range 400 {
		if w.placement.Leader == topic.NoNode {
			w.elect()
		}
		w.tick()
		for range 50 {
			for _, h := range w.hosts {
				w.refresh(h)
				w.feed(h)
				w.sync(h)
			}
			w.deliver(false)
			if len(w.net) == 0 {
				break
			}
		}
	}
	leader := w.host(w.placement.Leader)
	for _, h := range w.hosts {
		if !slices.Equal(h.log, leader.log) || int(h.hw) != len(leader.log) {
			w.fail("after healing node %d has %d records, high watermark %d; the leader %d has %d, %d (followers %+v)",
				h.id, len(h.log), h.hw, leader.id, len(leader.log), leader.hw, leader.machine.Followers())
		}
	}
	if len(w.placement.ISR) != len(w.hosts) {
		w.fail("after healing the in-sync set is %v", w.placement.ISR)
	}
	for _, h := range w.hosts {
		for n, win := range h.window {
			if win.InFlight() != 0 {
				w.fail("window of node %d to %d leaks %d bytes", h.id, n, win.InFlight())
			}
		}
	}
}

// failure modes 18, 20, 22, 23, 25, 26, 27, 28: whatever the network, the disks and the controller do,
// what was under a high watermark once is there for ever, and all logs become equal in the end.
func TestCommittedRecordsSurviveEverySchedule(t *testing.T) {
	seeds := 1500
	if testing.Short() {
		seeds = 200
	}
	committed := 0
	for seed := range seeds {
		late = nil
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			w := newWorld(t, uint64(seed), 3+2*(seed%2))
			w.chaos(1500)
			w.heal()
			committed += w.acked
		})
		if t.Failed() {
			return
		}
	}
	if committed < seeds*10 {
		t.Fatalf("only %d records were committed over %d seeds: the schedules prove nothing", committed, seeds)
	}
}
