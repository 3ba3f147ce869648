package replica

import (
	"fmt"
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// The log start moves up when its leader deletes records, by retention or because somebody asked. It is
// replicated beside the data:
//
//	leader                                              follower
//	Durable (start) ── Start (start, high watermark) ──>  moves its own, as far as it holds committed records
//	                                                      ... sync ... Durable
//	Ack  <────────────── (durable log start) ─────────
//	low watermark = min(durable log start over the maximal in-sync set): the deletion is done
//
// Whoever enters the in-sync set has deleted what the leader has. So once a deletion is done, every leader
// that is elected from the in-sync set starts at or above it.
//
// A follower that ends below the leader's first batch can be sent nothing, and one whose records are all of
// epochs that the leader has deleted cannot be compared. Either replaces its log by an empty one at the
// leader's first batch (Reset), which loses nothing: all that is committed at or above the leader's start
// is in the leader's log. So does one that holds records of another leader behind which this one has dropped
// what ends them (mixed). A reset, like a cut, names the tail that it answers.

// tellStart tells followers where the log starts now. One that was to be sent what is gone starts from the
// unknown: its answer shows what it has.
func (m *Machine) tellStart(out *Effects) {
	for i := range m.followers {
		f := &m.followers[i]
		switch {
		case !f.known:
		case f.sent < m.first:
			f.forget()
			f.known = false
			m.probe(f, out)
		default:
			m.compareStarts(f, out)
		}
	}
}

// compareStarts tells a follower that is known to match where the log starts, once; repeat tells it again.
// One that starts later followed a leader of before, which had deleted more than came here: this log
// follows, so that all replicas agree.
func (m *Machine) compareStarts(f *follower, out *Effects) {
	if f.start > m.start && f.start <= min(m.highWatermark, m.durable) {
		m.start = f.start
		out.Start = f.start
	}
	if f.start < m.start && f.startTold < m.start {
		m.startTo(f, out)
	}
}

func (m *Machine) startTo(f *follower, out *Effects) {
	f.startTold = m.start
	out.Sections = append(out.Sections, Outgoing{To: f.member, Section: frame.Section{
		Kind: frame.Start, Partition: m.partition, Epoch: m.role.Epoch,
		Base: m.start, PrevEpoch: topic.NoEpoch, HighWatermark: m.highWatermark,
	}})
}

// apart reports whether a follower's log ends before this one begins, or cannot be compared with it.
func (m *Machine) apart(f *follower, a frame.Ack, epoch topic.Epoch) bool {
	switch {
	case m.broken(NeverResets):
		return false
	case a.LogEnd < m.first:
		return !f.known || a.Gap || f.sent < m.first // else what it lacks is on its way
	case m.first == 0:
		return false
	case a.LogEnd == m.first:
		return a.TailEpoch != m.epochs.at(m.first-1)
	}
	return epoch == topic.NoEpoch && a.TailEpoch != topic.NoEpoch
}

// mixed reports whether a follower would hold records of another log behind which this one lacks what ends
// them. Each replica compacts by itself:
//
//  1. All replicas have a key and its tombstone. This log drops both, the leader of then does not yet.
//  2. A replica is added, or its disk replaced. It is sent the key.
//  3. That leader dies, and this log leads. It goes on behind the key, with no tombstone: the key would stay. So
//     would a transaction be open for ever whose marker was dropped.
//
// Who counts never ends below what was dropped: that was committed. One that has left the in-sync set does so
// hardly ever, since tombstones and markers are kept while a replica is not in it.
func (m *Machine) mixed(f *follower, a frame.Ack) bool {
	if a.LogEnd <= m.first || m.broken(MixesLogs) || max(a.LogEnd, f.match, f.anew) >= m.dropped {
		return false
	}
	return !m.counts(f.member) && (m.change == nil || !slices.Contains(m.change.maximal, f.member))
}

// unsettled reports whether a follower has to wait until a compaction is over. 1. The compaction is recorded.
// 2. A follower that holds nothing is sent a key from the log of before. 3. The tombstone of the key goes. 4. The
// follower is sent the rest.
func (m *Machine) unsettled(f *follower, a frame.Ack) bool {
	return m.Compacting() && !f.known && a.LogEnd < m.dropping && !m.counts(f.member) && !m.broken(MixesLogs)
}

// counts reports whether a member may lead by what it holds: it has all that is committed.
func (m *Machine) counts(member topic.Member) bool {
	return m.inSync(member) || slices.Contains(m.placement.Eligible, member)
}

// reset tells f to begin anew where this log does. Nothing that was known of its old log holds of the new one.
func (m *Machine) reset(f *follower, a frame.Ack, out *Effects) {
	f.forget()
	f.known = false
	f.match, f.highWatermark, f.start, f.startTold = topic.NoOffset, topic.NoOffset, topic.NoOffset, topic.NoOffset
	out.Sections = append(out.Sections, Outgoing{To: f.member, Section: frame.Section{
		Kind: frame.Reset, Partition: m.partition, Epoch: m.role.Epoch,
		Base: m.first, PrevEpoch: m.epochs.at(m.first - 1), RecordEpoch: a.TailEpoch, HighWatermark: a.LogEnd,
	}})
}

// settleStart moves the low watermark to what every member of the maximal in-sync set has deleted.
func (m *Machine) settleStart(out *Effects) {
	low := m.startDurable
	if !m.broken(DeletesAlone) {
		for _, member := range m.placement.ISR {
			low = min(low, m.provenStart(member))
		}
		if m.change != nil {
			for _, member := range m.change.maximal {
				low = min(low, m.provenStart(member))
			}
		}
	}
	if low > m.low {
		m.low = low
		out.LowWatermark = low
	}
}

// provenStart is where member's log is known to start, on stable storage.
func (m *Machine) provenStart(member topic.Member) topic.Offset {
	if member == m.cfg.Self {
		return m.startDurable
	}
	if f := m.follower(member.Node); f != nil && f.member == member && f.known {
		return f.start
	}
	return topic.NoOffset
}

// followStart moves a follower's log start to the leader's, as far as what lies below is committed and
// durable here: whatever may yet be cut is not deleted. It is answered when it is durable, and at once if
// there is nothing to move.
func (m *Machine) followStart(to topic.Offset, out *Effects) {
	if to = min(to, m.highWatermark, m.durable); to <= m.start {
		m.ack(false, out)
		return
	}
	m.start = to
	out.Start = to
	if m.broken(AcksStartBeforeSync) {
		m.ack(false, out)
	}
}

// StartStays reports that the log could not move its start, which is still at `at`. It will be asked again.
func (m *Machine) StartStays(at topic.Offset) { m.start = at }

// resetSelf begins anew where the leader's log does. Whoever counts drops nothing committed by that, unless its
// log ends before an unclean election: what lies below the leader's start was deleted. On any other replica
// nobody relies, and the leader, which was elected, has all of it.
func (m *Machine) resetSelf(s frame.Section, out *Effects) {
	if (s.HighWatermark != m.end || s.RecordEpoch != m.epochs.tail()) && !m.broken(ObeysLateResets) {
		m.ack(false, out)
		return
	}
	if s.Base < m.highWatermark && m.counts(m.cfg.Self) && m.epochs.tail() >= m.placement.UncleanEpoch &&
		!m.broken(ObeysLateResets) {
		m.event(out, EventFault, m.placement.Leader, s.Base,
			fmt.Sprintf("told to begin anew below the high watermark %d", m.highWatermark))
		return
	}
	out.Replace = &Replacement{Base: s.Base, Epoch: s.PrevEpoch}
	m.start, m.first, m.end, m.highWatermark = s.Base, s.Base, s.Base, s.Base
	m.durable, m.startDurable = min(m.durable, s.Base-1), min(m.startDurable, s.Base)
	m.epochs = m.epochs[:0]
	if s.Base > 0 && s.PrevEpoch != topic.NoEpoch {
		m.epochs = m.epochs.append(s.PrevEpoch, s.Base-1)
	}
	m.event(out, EventReset, m.placement.Leader, s.Base, "")
}
