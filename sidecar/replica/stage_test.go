package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/frame"
)

// stage is the world of sim_test.go without dice: nothing happens that a script does not ask for. After
// everything that happens it proves the invariants, and writes a VIOLATION line for one that broke.
type stage struct {
	*world
	out    strings.Builder
	broken bool
	// names are what the script calls the records, by value.
	names map[int]string
	// lives are the sessions of each node so far, oldest first.
	lives map[topic.NodeID][]topic.Session
	// paused nodes do nothing at all, blind ones hear nothing from the controller, slow ones sync
	// nothing by themselves.
	paused, blind, slow map[topic.NodeID]bool
	cut                 map[[2]topic.NodeID]bool
	held                []filter
	waiting             []produced
	// seen is the highest offset that a consumer was shown, marks what each session knew to be committed.
	seen  topic.Offset
	marks map[topic.Member]topic.Offset
	quiet bool
	// forged: a disk has lied, so that faults are what the script is about.
	forged bool
}

// produced is a batch whose producer waits for its acknowledgement.
type produced struct {
	host  *host
	epoch topic.Epoch
	end   topic.Offset
	names []string
}

// filter picks messages by kind, sender and receiver; the controller is node 0.
type filter struct {
	kind     string
	from, to topic.NodeID
}

const anyNode topic.NodeID = -2

func (f filter) picks(kind string, from, to topic.NodeID) bool {
	return (f.kind == "any" || f.kind == kind) && (f.from == anyNode || f.from == from) && (f.to == anyNode || f.to == to)
}

func kindOf(e envelope) string {
	if e.ack != nil {
		return "ack"
	}
	return map[frame.SectionKind]string{
		frame.Data: "data", frame.Probe: "probe", frame.Cut: "cut", frame.Commit: "commit",
		frame.Start: "start", frame.Reset: "reset",
	}[e.section.Kind]
}

func newStage(t *testing.T, nodes int, defaults cluster.SetDefaults) *stage {
	s := &stage{
		world: &world{t: t, image: cluster.Empty()}, names: map[int]string{}, lives: map[topic.NodeID][]topic.Session{},
		paused: map[topic.NodeID]bool{}, blind: map[topic.NodeID]bool{}, slow: map[topic.NodeID]bool{},
		cut: map[[2]topic.NodeID]bool{}, marks: map[topic.Member]topic.Offset{}, seen: topic.NoOffset,
	}
	s.stage = s
	s.populate(nodes, defaults)
	for _, h := range s.hosts {
		s.lives[h.id] = []topic.Session{h.session}
	}
	s.settle()
	return s
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

// violation is how an invariant that broke shows in the script, once per command.
func (s *stage) violation(text string) {
	s.broken = true
	line := "VIOLATION: " + strings.ReplaceAll(text, "\n", "; ") + "\n"
	if !strings.Contains(s.out.String(), line) {
		s.out.WriteString(line)
	}
}

// event is the line that an operator would read; a fault is one that somebody must act on.
func (s *stage) event(h *host, e Event) {
	text := strings.Replace(e.String(), "partition "+e.Partition.String()+" ", "", 1)
	switch {
	case e.Kind == EventFault && s.forged:
		s.say("%d: FAULT: %s", h.id, text)
	case e.Kind == EventFault:
		s.violation(fmt.Sprintf("node %d: %s", h.id, text))
	case !s.quiet:
		s.say("%d: %s", h.id, text)
	}
}

// committed hears of a high watermark that moved, on how many disks everything below it is, and whether
// it is the first to say so.
func (s *stage) committed(h *host, holders int, first bool) {
	t, _ := s.image.TopicByID(thePartition.Topic)
	if want := s.image.MinInSync(t, t.Partitions[0]); first && holders < want {
		s.violation(fmt.Sprintf("node %d: high watermark %d is on %d disks, want %d", h.id, h.hw, holders, want))
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(p produced) bool {
		done := p.host == h && h.role.Leading && h.role.Epoch == p.epoch && p.end <= h.hw
		if done {
			s.say("producer: %s acknowledged by %d", strings.Join(p.names, " "), h.id)
		}
		return done
	})
}

// unanswered tells producers that the leader they wrote to is none any more: the outcome is unknown.
func (s *stage) unanswered(h *host) {
	s.waiting = slices.DeleteFunc(s.waiting, func(p produced) bool {
		over := p.host == h && (!h.up || !h.role.Leading || h.role.Epoch != p.epoch)
		if over {
			s.say("producer: %s not acknowledged, outcome unknown", strings.Join(p.names, " "))
		}
		return over
	})
}

// inspect proves what must hold after every command.
func (s *stage) inspect() {
	s.check()
	for _, h := range s.hosts {
		if s.outlived(h) {
			continue
		}
		end := min(int(h.hw), len(h.log))
		if s.acked < end || !h.holds(s.world.committed[:end]) {
			s.violation(fmt.Sprintf("node %d has %s below its high watermark %d, committed is %s", h.id,
				s.records(h.log[:end]), h.hw, s.records(s.world.committed)))
		}
		if was := s.marks[h.member()]; h.hw < was {
			s.violation(fmt.Sprintf("node %d: high watermark went back from %d to %d", h.id, was, h.hw))
		}
		s.marks[h.member()] = h.hw
	}
	p := s.placement()
	if p.Leader == topic.NoNode {
		return
	}
	h := s.host(p.Leader)
	if h.session == p.LeaderSession && h.up && h.role.Leading && h.role.Epoch == p.LeaderEpoch && h.role.Ready {
		if h.hw < s.seen {
			s.violation(fmt.Sprintf("consumers saw offset %d, and the leader %d shows %d", s.seen, h.id, h.hw))
		}
		s.seen = max(s.seen, h.hw)
	}
}

// outlived reports whether the log of h is from before an unclean election, which h has yet to hear of.
func (s *stage) outlived(h *host) bool {
	last := topic.NoEpoch
	if len(h.log) > 0 {
		last = h.log[len(h.log)-1].epoch
	}
	p := s.placement()
	return last < p.UncleanEpoch && h.id != p.Leader
}

func (s *stage) awake(h *host) bool { return h.up && !s.paused[h.id] }

func (s *stage) holds(kind string, from, to topic.NodeID) bool {
	return slices.ContainsFunc(s.held, func(f filter) bool { return f.picks(kind, from, to) })
}

// movesMax is far beyond what any script needs between two commands.
const movesMax = 5000

// settle lets everything happen that nothing prevents, in the same order every time.
func (s *stage) settle() {
	moves := 0
	for moved := true; moved; moves++ {
		moved = false
		for moves < movesMax && s.arriveNext() {
			moved = true
			moves++
		}
		if moves >= movesMax {
			s.t.Fatalf("%s\nthe stage never settles", s.out.String())
		}
		for _, h := range s.hosts {
			if s.awake(h) {
				moved = s.turn(h) || moved
			}
		}
		moved = s.judgeNext() || moved
	}
}

// turn is what a node does by itself: it takes the newest image, syncs, and feeds who lags.
func (s *stage) turn(h *host) bool {
	moved, sent := false, len(s.sent)
	if !s.blind[h.id] && h.image != s.image {
		s.refresh(h)
		moved = true
	}
	if !s.slow[h.id] && (h.durable < len(h.log) || h.startDurable != h.start || h.before != nil) {
		s.sync(h)
		moved = true
	}
	s.feed(h)
	return moved || len(s.sent) > sent
}

// arriveNext delivers the first message that nothing holds.
func (s *stage) arriveNext() bool {
	for i, e := range s.net {
		if !s.holds(kindOf(e), e.from.Node, e.to.Node) && !s.paused[e.to.Node] {
			s.net = slices.Delete(s.net, i, i+1)
			s.arriveAt(e)
			return true
		}
	}
	return false
}

func (s *stage) arriveAt(e envelope) {
	if s.host(e.to.Node).up && !s.cut[[2]topic.NodeID{e.from.Node, e.to.Node}] {
		s.receive(e)
	}
}

// take removes and returns what a filter picks of the messages on the way.
func (s *stage) take(f filter) []envelope {
	var taken []envelope
	s.net = slices.DeleteFunc(s.net, func(e envelope) bool {
		picked := f.picks(kindOf(e), e.from.Node, e.to.Node)
		if picked {
			taken = append(taken, e)
		}
		return picked
	})
	return taken
}

// propose puts a change on its way to the controller.
func (s *stage) propose(p proposal) {
	p.answered = true
	s.late = append(s.late, p)
	s.say("%d: proposes in sync %s, on partition epoch %d", p.host.id, s.members(p.change().ISR), p.change().PartitionEpoch)
}

func (p proposal) change() cluster.ISRChange { return p.command.Changes[0] }

func (s *stage) judgeNext() bool {
	for i, p := range s.late {
		if !s.holds("alter", p.host.id, topic.NoNode) && !s.paused[p.host.id] {
			s.late = slices.Delete(s.late, i, i+1)
			s.decide(p)
			return true
		}
	}
	return false
}

// decide has the controller judge a proposal; its answer may be lost.
func (s *stage) decide(p proposal) {
	answered := p.answered
	p.answered = false
	verdict := s.judge(p)
	s.say("controller: in sync %s on partition epoch %d is %s", s.members(p.change().ISR), p.change().PartitionEpoch,
		map[Verdict]string{Accepted: "accepted", Stale: "stale", Refused: "refused"}[verdict])
	switch {
	case !answered || !s.awake(p.host):
	case s.holds("verdict", topic.NoNode, p.host.id):
		s.say("%d: outcome unknown", p.host.id)
		p.decided(s.world, Unknown)
	default:
		p.decided(s.world, verdict)
	}
}

// timeout tells a node that nobody answered its proposals; they are still on their way.
func (s *stage) timeout(h *host) {
	for i := range s.late {
		if p := &s.late[i]; p.host == h && p.answered {
			p.answered = false
			s.say("%d: outcome unknown", h.id)
			p.decided(s.world, Unknown)
		}
	}
}

// passTime lets awake nodes count ticks, and everything happen in between.
func (s *stage) passTime(ticks int) {
	for range ticks {
		s.now++
		for _, h := range s.hosts {
			if s.awake(h) {
				s.step(h, h.machine.Tick)
			}
		}
		s.settle()
	}
}

// crash stops a node; of what it had not synced it keeps some records.
func (s *stage) crash(h *host, keep int) {
	h.up = false
	s.unanswered(h)
	h.fallBack()
	delete(s.marks, h.member()) // its session is over
	h.log = h.log[:min(len(h.log), h.durable+keep)]
	h.durable = len(h.log) // the recovered tail is synced before anything leaves the node
	h.role = Role{}
}

// restart begins a new session on whatever the disk holds.
func (s *stage) restart(h *host) {
	s.start(h)
	s.lives[h.id] = append(s.lives[h.id], h.session)
	s.paused[h.id] = false
}

// member shows a member with a prime for every session that its node had before.
func (s *stage) memberText(m topic.Member) string {
	return fmt.Sprintf("%d%s", m.Node, strings.Repeat("'", max(0, slices.Index(s.lives[m.Node], m.Session))))
}

func (s *stage) members(members []topic.Member) string {
	if len(members) == 0 {
		return "nobody"
	}
	var out []string
	for _, m := range members {
		out = append(out, s.memberText(m))
	}
	return strings.Join(out, " ")
}

// records shows a log by epochs: where each begins, and what it holds.
func (s *stage) records(log []record) string { return s.recordsFrom(log, 0) }

// recordsFrom leaves out what lies below the start of the log.
func (s *stage) recordsFrom(log []record, start int) string {
	if start == len(log) {
		log = nil
	}
	if len(log) == 0 {
		return "empty"
	}
	var out strings.Builder
	last := topic.NoEpoch
	for i, rec := range log {
		if i < start {
			continue
		}
		if rec.epoch != last {
			if i > start {
				out.WriteString(" |")
			}
			fmt.Fprintf(&out, " epoch %d from %d:", rec.epoch, i)
			last = rec.epoch
		}
		out.WriteString(" " + s.names[rec.value])
	}
	return out.String()[1:]
}

// envelopeText shows a message in words.
func (s *stage) envelopeText(e envelope) string {
	text := fmt.Sprintf("%s %d>%d", kindOf(e), e.from.Node, e.to.Node)
	if a := e.ack; a != nil {
		text += fmt.Sprintf(" in epoch %d: tail of epoch %d, end %d, durable %d", a.Epoch, a.TailEpoch, a.LogEnd, a.DurableEnd)
		if a.LogStart > 0 {
			text += fmt.Sprintf(", start %d", a.LogStart)
		}
		if a.Gap {
			text += ", gap"
		}
		return text
	}
	m := e.section
	text += fmt.Sprintf(" in epoch %d:", m.Epoch)
	switch m.Kind {
	case frame.Data:
		text += fmt.Sprintf(" at %d, after epoch %d, epoch %d:", m.Base, m.PrevEpoch, m.RecordEpoch)
		for _, rec := range recordsOf(m) {
			text += " " + s.names[rec.value]
		}
		return text
	case frame.Cut:
		return text + fmt.Sprintf(" you end at %d with epoch %d, cut to %d and epoch %d", m.HighWatermark, m.RecordEpoch, m.Base, m.PrevEpoch)
	case frame.Start:
		return text + fmt.Sprintf(" the log starts at %d, high watermark %d", m.Base, m.HighWatermark)
	case frame.Reset:
		return text + fmt.Sprintf(" you end at %d with epoch %d, begin anew at %d after epoch %d", m.HighWatermark, m.RecordEpoch, m.Base, m.PrevEpoch)
	case frame.Probe:
		if m.HighWatermark == topic.NoOffset {
			return text + " what is your tail?"
		}
	}
	return text + fmt.Sprintf(" sent up to %d, high watermark %d", m.Base, m.HighWatermark)
}
