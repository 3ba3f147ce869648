package replica

import (
	"slices"

	"outrigger/broker/topic"
)

// Verdict is what became of a proposed change.
type Verdict uint8

// The verdicts. Only the image decides; a verdict says whether to wait, to ask again or to roll back.
const (
	// Accepted: committed; the image will show it.
	Accepted Verdict = iota + 1
	// Stale: the epochs have moved; the image will show to what.
	Stale
	// Refused: the epochs were right and the change was not, such as for a member that is fenced.
	Refused
	// Unknown: handed on, and no answer.
	Unknown
)

// pendingChange is a proposal that the image has not decided yet. While it stands, the high watermark
// waits for the members of both sets.
type pendingChange struct {
	Change
	// maximal is the largest set that was ever proposed on this partition epoch.
	maximal  []topic.Member
	inFlight bool
	settled  bool
	retryAt  int64
	wait     int64
}

// Decided takes the outcome of the proposal that was made on partitionEpoch.
func (m *Machine) Decided(partitionEpoch int32, v Verdict, out *Effects) {
	c := m.change
	if c == nil || c.PartitionEpoch != partitionEpoch || !c.inFlight {
		return
	}
	c.inFlight = false
	c.wait = min(max(2*c.wait, m.cfg.RepeatTicks), m.cfg.RepeatTicksMax)
	c.retryAt = m.now() + c.wait
	switch v {
	case Accepted, Stale:
		c.settled = true
	case Unknown:
		if m.broken(ForgetsUnknownChange) {
			m.change = nil
		}
		// It may have happened and may yet happen: proposed again as it was until the image decides.
	case Refused:
		m.refused(c)
	}
}

// refused gives a change up, but not at once: an earlier attempt, or a copy of this one, may still be
// on its way. 1. Expand with X is delayed, 2. its repetition is refused since X is fenced, 3. the high
// watermark moves on without X, 4. X returns and the first attempt is committed: X is in the in-sync
// set without the records of 3. So the committed set is proposed instead, which moves the partition
// epoch and so kills all copies, and until then the high watermark still waits for X.
func (m *Machine) refused(c *pendingChange) {
	c.ISR = slices.Clone(m.placement.ISR)
	m.reviewAt = m.now() + m.cfg.RepeatTicksMax
}

// review proposes another in-sync set when it must change, one change at a time.
func (m *Machine) review(out *Effects) {
	if m.change != nil {
		m.repropose(out)
		return
	}
	kind, peer := m.due()
	if kind == 0 || m.now() < m.reviewAt {
		return
	}
	m.event(out, kind, peer, m.highWatermark, "")
	isr := m.wanted()
	m.change = &pendingChange{
		Change: Change{
			Partition: m.partition, LeaderEpoch: m.role.Epoch,
			PartitionEpoch: m.placement.PartitionEpoch, ISR: isr,
		},
		maximal: isr, inFlight: true, wait: m.cfg.RepeatTicks,
	}
	change := m.change.Change
	out.Change = &change
}

// due finds one reason to change the in-sync set; it is asked on every acknowledgement.
func (m *Machine) due() (EventKind, topic.NodeID) {
	for _, member := range m.placement.ISR {
		if member != m.cfg.Self && m.lost(member) {
			return EventShrink, member.Node
		}
	}
	for i := range m.followers {
		if f := &m.followers[i]; !m.inSync(f.member) && m.qualifies(f) {
			return EventExpand, f.member.Node
		}
	}
	return 0, topic.NoNode
}

// wanted is the in-sync set as it should be.
func (m *Machine) wanted() []topic.Member {
	isr := make([]topic.Member, 0, len(m.placement.Replicas))
	for _, member := range m.placement.ISR {
		if member == m.cfg.Self || !m.lost(member) {
			isr = append(isr, member)
		}
	}
	for i := range m.followers {
		if f := &m.followers[i]; !m.inSync(f.member) && m.qualifies(f) {
			isr = append(isr, f.member)
		}
	}
	return isr
}

func (m *Machine) repropose(out *Effects) {
	c := m.change
	if c.inFlight || m.now() < c.retryAt {
		return
	}
	// A settled change is asked for again too, seldom: the image that shows it should long be here.
	if c.settled && m.now() < c.retryAt+10*m.cfg.RepeatTicksMax {
		return
	}
	c.inFlight, c.settled = true, false
	change := c.Change
	out.Change = &change
}

// lost reports whether a member has not been caught up for too long, or is not even live.
func (m *Machine) lost(member topic.Member) bool {
	f := m.follower(member.Node)
	if f == nil || f.member != member {
		return true
	}
	return m.lags(f)
}

func (m *Machine) lags(f *follower) bool {
	return f.match < m.end && m.now()-f.caughtUpAt > m.cfg.LagTicksMax
}

// qualifies reports whether a follower may enter the in-sync set: it holds everything committed and
// everything that came before this epoch. (The leader need not be ready for this: with too few members
// in sync it could not become so.) It holds nothing any more that was deleted: should it lead, consumers
// would see it again. And it would not have to leave at once: with too few in sync the high
// watermark stands, so a follower that went silent holds everything below it for ever.
func (m *Machine) qualifies(f *follower) bool {
	if m.broken(ExpandsAtOnce) {
		return f.known
	}
	return f.known && f.match >= m.highWatermark && f.match >= m.epochStart && !m.lags(f) &&
		(f.start >= m.start || m.broken(AdmitsOldStarts))
}
