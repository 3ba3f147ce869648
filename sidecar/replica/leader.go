package replica

import (
	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// Entry is a batch of the local log.
type Entry struct {
	Epoch, PrevEpoch topic.Epoch
	Base             topic.Offset
	Count            int32
	Payload          []byte
}

// span is a sent, unacknowledged batch.
type span struct {
	end   topic.Offset
	bytes int64
}

// follower is the leader's view of one live replica, in one session and one epoch.
type follower struct {
	member topic.Member
	window *Window
	// known: its tail was proven to be a prefix of ours; contradicts: it was proven not to be one.
	known, contradicts bool
	// sent is the next offset to send, match the proven durable end.
	sent, match   topic.Offset
	highWatermark topic.Offset
	// start is its durable log start, startTold what it was last told of the leader's.
	start, startTold topic.Offset
	// anew is what the leader had dropped when this follower was seen to hold nothing: up to there, all that
	// it holds is of this very log.
	anew topic.Offset
	// spans[head:] were sent and not acknowledged.
	spans []span
	head  int
	// A follower is caught up at the time when it had what the leader had at its last answer.
	caughtUpAt, answeredAt int64
	endAtAnswer            topic.Offset
	repeatAt, repeatWait   int64
}

// behind reports whether f owes an answer or the leader owes f data.
func (f *follower) behind(m *Machine) bool {
	return !f.known || f.match < m.end || f.highWatermark < m.highWatermark || f.start < m.start
}

// forget releases what is in flight: it is lost or will be sent again.
func (f *follower) forget() {
	for _, s := range f.spans[f.head:] {
		f.window.inFlight -= s.bytes
	}
	f.spans, f.head = f.spans[:0], 0
}

// release gives back the window of everything that f has synced.
func (f *follower) release(end topic.Offset) {
	for f.head < len(f.spans) && f.spans[f.head].end <= end {
		f.window.inFlight -= f.spans[f.head].bytes
		f.head++
	}
	if 2*f.head >= len(f.spans) {
		f.spans = f.spans[:copy(f.spans, f.spans[f.head:])]
		f.head = 0
	}
}

// noteAppend is called before the log end moves: who has everything is caught up until now.
func (m *Machine) noteAppend() {
	for i := range m.followers {
		if f := &m.followers[i]; f.match >= m.end {
			f.caughtUpAt = m.now()
		}
	}
}

func (m *Machine) follower(node topic.NodeID) *follower {
	for i := range m.followers {
		if m.followers[i].member.Node == node {
			return &m.followers[i]
		}
	}
	return nil
}

func (m *Machine) dropFollowers() {
	for i := range m.followers {
		m.followers[i].forget()
	}
	m.followers = nil
}

// syncFollowers keeps the progress of replicas that live on in their session; every other one starts
// from the unknown.
func (m *Machine) syncFollowers(v View, out *Effects) {
	old := m.followers
	m.followers = nil
	for _, node := range v.Placement.Replicas {
		session, live := v.Live(node)
		if node == m.cfg.Self.Node || !live {
			continue
		}
		member := topic.Member{Node: node, Session: session}
		if i := indexOf(old, member); i >= 0 {
			m.followers = append(m.followers, old[i])
			old = append(old[:i:i], old[i+1:]...)
			continue
		}
		m.followers = append(m.followers, follower{
			member: member, window: m.cfg.Window(node), match: topic.NoOffset, sent: topic.NoOffset,
			highWatermark: topic.NoOffset, start: topic.NoOffset, startTold: topic.NoOffset, caughtUpAt: m.now(), answeredAt: m.now(), endAtAnswer: m.end,
			repeatWait: m.cfg.RepeatTicks, repeatAt: m.now() + m.cfg.RepeatTicks,
		})
		m.probe(&m.followers[len(m.followers)-1], out)
	}
	for i := range old {
		old[i].forget()
	}
}

func indexOf(followers []follower, member topic.Member) int {
	for i := range followers {
		if followers[i].member == member {
			return i
		}
	}
	return -1
}

// Ack takes a follower's answer.
func (m *Machine) Ack(from topic.Member, a frame.Ack, out *Effects) {
	f := m.follower(from.Node)
	if !m.role.Leading || a.Epoch != m.role.Epoch || f == nil || f.member != from {
		m.event(out, EventStale, from.Node, a.LogEnd, "acknowledgement")
		return
	}
	epoch, end := m.epochs.floor(a.TailEpoch, m.first, m.end)
	if m.broken(BelievesAnyTail) {
		epoch, end = a.TailEpoch, m.end
	}
	switch {
	case f.contradicts:
		return
	case a.TailEpoch > m.role.Epoch, a.TailEpoch == m.role.Epoch && a.LogEnd > m.end:
		// Nobody but this machine appends under this epoch, and it did not send that.
		// Nothing that it says is believed any more in this epoch. (When this log has grown past it, its tail
		// would look like a prefix; and a high watermark would stand over its own records.)
		f.forget()
		f.known, f.contradicts = false, true
		m.event(out, EventFault, from.Node, a.LogEnd, "follower is ahead of its leader in the leader's epoch")
		return
	case m.unsettled(f, a):
		return // asked again by the probes
	case m.apart(f, a, epoch), m.mixed(f, a):
		m.reset(f, a, out)
		return
	case epoch != a.TailEpoch || a.LogEnd > end:
		if end < a.LogStart { // it cannot cut so deep
			m.reset(f, a, out)
			return
		}
		m.cut(f, a, epoch, end, out)
		return
	}
	m.accept(f, a, out)
}

// accept takes a proven answer: the follower's log is a prefix of ours.
func (m *Machine) accept(f *follower, a frame.Ack, out *Effects) {
	if !f.known && a.LogEnd <= m.first {
		f.anew = m.dropped
	}
	progress := !f.known || a.DurableEnd > f.match || a.HighWatermark > f.highWatermark
	f.match = max(f.match, a.DurableEnd)
	f.highWatermark = max(f.highWatermark, a.HighWatermark)
	progress = progress || a.LogStart > f.start
	f.start = max(f.start, a.LogStart)
	f.release(a.DurableEnd)
	if !f.known || (a.Gap && a.LogEnd < f.sent) {
		if f.known {
			m.event(out, EventGap, f.member.Node, a.LogEnd, "")
		}
		f.known = true
		f.forget()
		f.sent = a.LogEnd
	}
	f.sent = max(f.sent, a.LogEnd)
	m.noteCaughtUp(f)
	m.compareStarts(f, out)
	if f.sent < m.end {
		out.Lagging = append(out.Lagging, f.member.Node)
	}
	if progress {
		f.repeatWait = m.cfg.RepeatTicks
		f.repeatAt = m.now() + f.repeatWait
	}
	m.advance(out)
	m.review(out)
	if out.HighWatermark == topic.NoOffset && f.match == m.end && f.highWatermark < m.highWatermark && a.HighWatermark < m.highWatermark {
		m.commitTo(f, out)
	}
}

// noteCaughtUp: caught up is who has acknowledged the end that the leader had at the last answer.
func (m *Machine) noteCaughtUp(f *follower) {
	switch {
	case f.match >= m.end:
		f.caughtUpAt = m.now()
	case f.match >= f.endAtAnswer:
		f.caughtUpAt = max(f.caughtUpAt, f.answeredAt)
	default:
		return
	}
	f.answeredAt, f.endAtAnswer = m.now(), m.end
}

// cut tells f to drop what this log does not have. It is repeated by the probes until f matches, and
// names the very tail that it answers: a cut that comes late, when the follower has long taken good
// records instead, must change nothing.
func (m *Machine) cut(f *follower, a frame.Ack, epoch topic.Epoch, end topic.Offset, out *Effects) {
	f.forget()
	f.known = false
	out.Sections = append(out.Sections, Outgoing{To: f.member, Section: frame.Section{
		Kind: frame.Cut, Partition: m.partition, Epoch: m.role.Epoch,
		Base: end, PrevEpoch: epoch, RecordEpoch: a.TailEpoch, HighWatermark: a.LogEnd,
	}})
}

// Lag tells from where a follower must be fed, and whether at all.
func (m *Machine) Lag(node topic.NodeID) (topic.Offset, bool) {
	f := m.follower(node)
	if f == nil || !m.role.Leading || !f.known || f.sent >= m.end {
		return 0, false
	}
	return f.sent, true
}

// Feed sends an entry of the local log to a lagging follower, and reports whether it fitted: an entry
// that is not the next one is passed over.
func (m *Machine) Feed(node topic.NodeID, e Entry, out *Effects) bool {
	f := m.follower(node)
	if f == nil || !m.role.Leading || !f.known || f.sent != e.Base || e.Base >= m.end {
		return false
	}
	e.PrevEpoch = m.epochs.at(e.Base - 1)
	m.send(f, e, out)
	return true
}

func (m *Machine) send(f *follower, e Entry, out *Effects) {
	out.Sections = append(out.Sections, Outgoing{To: f.member, Section: frame.Section{
		Kind: frame.Data, Partition: m.partition, Epoch: m.role.Epoch,
		Base: e.Base, Count: e.Count, RecordEpoch: e.Epoch, PrevEpoch: e.PrevEpoch,
		HighWatermark: m.highWatermark, Payload: e.Payload,
	}})
	if f.head == len(f.spans) {
		f.repeatWait = m.cfg.RepeatTicks
		f.repeatAt = m.now() + f.repeatWait
	}
	bytes := int64(frame.DataSectionBytes + len(e.Payload))
	f.sent = e.Base + topic.Offset(e.Count)
	f.spans = append(f.spans, span{end: f.sent, bytes: bytes})
	f.window.inFlight += bytes
}

// repeat asks again whoever owes an answer: a lost last frame or a lost acknowledgement must not wait
// for the next record.
func (m *Machine) repeat(f *follower, out *Effects) {
	if !f.behind(m) || m.now() < f.repeatAt || m.broken(NeverRepeats) {
		return
	}
	m.probe(f, out)
	if f.known && f.start < m.start {
		m.startTo(f, out)
	}
	f.repeatWait = min(2*f.repeatWait, m.cfg.RepeatTicksMax)
	f.repeatAt = m.now() + f.repeatWait
}

// probe asks for the tail. A known follower is told how far it was sent, so that it can see a gap.
func (m *Machine) probe(f *follower, out *Effects) {
	s := frame.Section{
		Kind: frame.Probe, Partition: m.partition, Epoch: m.role.Epoch,
		PrevEpoch: topic.NoEpoch, HighWatermark: topic.NoOffset,
	}
	if f.known {
		s.Base, s.HighWatermark = f.sent, m.highWatermark
	}
	if m.broken(CommitsUnprovenTail) {
		s.HighWatermark = m.highWatermark
	}
	out.Sections = append(out.Sections, Outgoing{To: f.member, Section: s})
}

func (m *Machine) tellCommit(out *Effects) {
	for i := range m.followers {
		if f := &m.followers[i]; f.known && f.sent == m.end {
			m.commitTo(f, out)
		}
	}
}

func (m *Machine) commitTo(f *follower, out *Effects) {
	out.Sections = append(out.Sections, Outgoing{To: f.member, Section: frame.Section{
		Kind: frame.Commit, Partition: m.partition, Epoch: m.role.Epoch,
		Base: f.sent, PrevEpoch: topic.NoEpoch, HighWatermark: m.highWatermark,
	}})
}

// Progress is a follower as status shows it.
type Progress struct {
	Member topic.Member
	Known  bool
	// Match is the proven durable end, topic.NoOffset while unknown.
	Match topic.Offset
	// Mode is "probe", "catch-up" or "stream".
	Mode string
}

// Followers reports the leader's view of its followers.
func (m *Machine) Followers() []Progress {
	var out []Progress
	for i := range m.followers {
		f := &m.followers[i]
		mode := "probe"
		if f.known {
			mode = "catch-up"
			if f.sent == m.end {
				mode = "stream"
			}
		}
		out = append(out, Progress{Member: f.member, Known: f.known, Match: f.match, Mode: mode})
	}
	return out
}
