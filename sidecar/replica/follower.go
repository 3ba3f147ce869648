package replica

import (
	"fmt"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// Section takes what the leader says. Anything that is not from the leader, session and epoch of the
// newest placement changes nothing.
func (m *Machine) Section(from topic.Member, s frame.Section, out *Effects) {
	p := m.placement
	if p == nil || m.role.Leading || s.Epoch != p.LeaderEpoch || from.Node != p.Leader || from.Session != p.LeaderSession {
		m.event(out, EventStale, from.Node, s.Base, "section")
		return
	}
	if m.contradicted {
		return
	}
	switch s.Kind {
	case frame.Data:
		m.take(s, out)
	case frame.Probe:
		m.commit(s.HighWatermark, out)
		m.ack(s.Base > m.end, out)
	case frame.Cut:
		m.cutSelf(s, out)
	case frame.Commit:
		m.commit(s.HighWatermark, out)
		if s.Base > m.end {
			m.gap(out)
		}
	case frame.Start:
		m.commit(s.HighWatermark, out)
		m.followStart(s.Base, out)
	case frame.Reset:
		m.resetSelf(s, out)
	}
}

// take appends the batch that follows the tail, and answers everything else: an old batch with the
// tail as it is, a later one with a gap.
func (m *Machine) take(s frame.Section, out *Effects) {
	switch {
	case s.Base < m.end:
		out.Duplicate = &s
		m.ack(false, out)
	case s.Base > m.end, s.PrevEpoch != m.epochs.tail():
		m.gap(out)
	default:
		m.end += topic.Offset(s.Count)
		m.epochs = m.epochs.append(s.RecordEpoch, s.Base)
		out.Append = &s
		m.commit(s.HighWatermark, out)
	}
}

// Refused reports that the log had no room for the batch of the last Section; state is the log now.
// The leader is asked to send it again. The high watermark that came with the batch may lie in it: if
// it stayed, 1. the leader would be told that it is known here, and not tell it again, 2. the batch
// would come again and move nothing, 3. the log would never hear of it, not even as a leader's.
func (m *Machine) Refused(log LogState, out *Effects) {
	m.reload(log)
	m.highWatermark = min(m.highWatermark, m.end)
	m.gap(out)
}

// commit takes the leader's high watermark. The leader gives it only to a follower whose log it has
// proven, so min with the own end is committed data.
func (m *Machine) commit(hw topic.Offset, out *Effects) {
	if hw = min(hw, m.end); hw > m.highWatermark || m.broken(HighWatermarkFalls) && hw >= 0 {
		m.highWatermark = hw
		out.HighWatermark = hw
	}
}

// cutSelf truncates by epoch (KIP-101, KIP-279): everything of an epoch above s.PrevEpoch goes, and
// everything from s.Base on. Never by high watermark, and never below it unless this log ends before an
// unclean election, however many clean ones came since. A cut that answers another tail than this one is late and only answered.
func (m *Machine) cutSelf(s frame.Section, out *Effects) {
	if (s.HighWatermark != m.end || s.RecordEpoch != m.epochs.tail()) && !m.broken(ObeysLateCuts) {
		m.ack(false, out)
		return
	}
	cut := min(s.Base, m.end)
	for _, e := range m.epochs {
		if e.Epoch > s.PrevEpoch {
			cut = min(cut, e.Start)
			break
		}
	}
	cut = max(cut, m.start)
	if cut < m.highWatermark && m.epochs.tail() >= m.placement.UncleanEpoch {
		m.event(out, EventFault, m.placement.Leader, cut,
			fmt.Sprintf("told to cut below the high watermark %d", m.highWatermark))
		return
	}
	if cut < m.end {
		out.Cut = cut
		m.end = cut
		m.durable = min(m.durable, cut)
		m.highWatermark = min(m.highWatermark, cut)
		m.epochs = m.epochs.cut(cut)
		m.event(out, EventCut, m.placement.Leader, cut, "")
	}
	m.ack(false, out)
}

// gap asks for everything from the log end on, once per tick and end: a lost frame is followed by many
// that do not fit.
func (m *Machine) gap(out *Effects) {
	if m.gapEnd == m.end && m.gapTick == m.now() {
		return
	}
	m.gapEnd, m.gapTick = m.end, m.now()
	m.event(out, EventGap, m.placement.Leader, m.end, "")
	m.ack(true, out)
}

// ack answers with the tail and the durable end.
func (m *Machine) ack(gap bool, out *Effects) {
	if m.contradicted || m.placement.Leader == topic.NoNode || m.placement.Leader == m.cfg.Self.Node {
		return
	}
	if m.durable < m.start {
		return // A crash would bring back the log that was reset; the leader must not count on this one.
	}
	out.AckTo = topic.Member{Node: m.placement.Leader, Session: m.placement.LeaderSession}
	out.Ack = &frame.Ack{
		Partition: m.partition, Epoch: m.placement.LeaderEpoch, TailEpoch: m.epochs.tail(),
		LogEnd: m.end, DurableEnd: m.durable, HighWatermark: m.highWatermark, LogStart: m.startDurable, Gap: gap,
	}
	switch {
	case m.broken(AcksStartBeforeSync):
		out.Ack.LogStart = m.start
	case m.broken(AcksBeforeSync):
		out.Ack.DurableEnd = m.end
	case m.broken(AcksBaseOffset):
		out.Ack.DurableEnd = max(0, m.durable-1)
	}
}
