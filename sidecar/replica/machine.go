package replica

import (
	"slices"

	"outrigger/broker/topic"
)

// Config is the same for every partition of a node.
type Config struct {
	Self topic.Member
	// LagTicksMax is replica.lag.time.max.ms in ticks: a follower that was not caught up for longer
	// leaves the in-sync set.
	LagTicksMax int64
	// RepeatTicks is how long the leader waits for an acknowledgement before it repeats itself; the
	// wait doubles up to RepeatTicksMax.
	RepeatTicks, RepeatTicksMax int64
	// Now is the node's count of ticks; it never goes back.
	Now func() int64
	// Window returns the window of a follower node, shared by all partitions.
	Window func(topic.NodeID) *Window

	mutant Mutant
}

// LogState is what the machine must know of the partition log when it starts or changes role.
type LogState struct {
	Extent
	End, HighWatermark topic.Offset
	Epochs             []EpochStart
}

// Extent is what of a log moves behind the machine's back: by its own WAL and, of a leader, by whoever
// deletes records.
type Extent struct {
	// Durable is the end on stable storage. It is below Start while a reset is not there yet.
	Durable topic.Offset
	// Start is the log start, First where the first batch begins, which may be below it.
	Start, First topic.Offset
	// StartDurable is the log start that a crash would leave.
	StartDurable topic.Offset
	// Dropped is one past the newest tombstone or marker that compaction has taken out of the log, 0 if none;
	// Dropping what that is about to be while a compaction is being recorded, else 0.
	Dropped, Dropping topic.Offset
}

// View is what the cluster image says about the partition.
type View struct {
	Placement *topic.Placement
	// MinInSync is min(min.insync.replicas, replication factor).
	MinInSync int
	// Live tells the session of a registered, unfenced broker.
	Live func(topic.NodeID) (topic.Session, bool)
}

// Machine is one partition's leader or follower. It has one owner.
type Machine struct {
	cfg       Config
	partition topic.Partition
	placement *topic.Placement
	minInSync int

	// The log as this machine knows it. durable <= end, start <= highWatermark <= end.
	end, durable, highWatermark topic.Offset
	start, first, startDurable  topic.Offset
	dropped, dropping           topic.Offset
	epochs                      epochs
	// low is what a leader knows the log starts of all in-sync members to have reached on their disks.
	low topic.Offset

	role       Role
	epochStart topic.Offset
	followers  []follower
	heard      func(topic.Member) bool
	change     *pendingChange
	// reviewAt keeps a refused change from being proposed again at once.
	reviewAt int64

	// contradicted: the log was found to differ from its leader's where both name the same epoch.
	contradicted bool

	// As a follower: the last gap that was answered, and when.
	gapEnd  topic.Offset
	gapTick int64
}

// New makes a machine that neither leads nor follows until it is configured.
func New(cfg Config, partition topic.Partition, log LogState) *Machine {
	m := &Machine{cfg: cfg, partition: partition, gapEnd: topic.NoOffset}
	m.role.Epoch = topic.NoEpoch
	m.reload(log)
	return m
}

// Role is the role as last told to the log.
func (m *Machine) Role() Role { return m.role }

// Placement is the newest one that the machine was configured with, nil before.
func (m *Machine) Placement() *topic.Placement { return m.placement }

// HighWatermark is the highest offset known to be committed, exclusive.
func (m *Machine) HighWatermark() topic.Offset { return m.highWatermark }

// LogEnd is the log end as far as the machine was told.
func (m *Machine) LogEnd() topic.Offset { return m.end }

// Reload replaces what the machine knows of the log, after the log did otherwise than it was told. Its high
// watermark too is the log's: 1. a log that ends at 12 is to begin anew at 14, 2. it has no room for that, 3. 14
// is not the high watermark of what it still holds, and neither is 12.
func (m *Machine) Reload(log LogState) {
	m.reload(log)
	m.highWatermark = min(log.HighWatermark, m.end)
}

func (m *Machine) reload(log LogState) {
	m.end, m.durable = log.End, log.Durable
	m.start, m.first, m.startDurable = log.Start, log.First, log.StartDurable
	m.dropped, m.dropping = log.Dropped, log.Dropping
	m.highWatermark = max(m.highWatermark, log.HighWatermark)
	m.epochs = append(m.epochs[:0], log.Epochs...)
}

// Contradicted ends the part that this log takes as a follower, for as long as the process lives: it holds
// other bytes than its leader under the same epoch and offset, and its tail proves nothing. The leader
// misses its answers and takes it out of the in-sync set. (Not to answer the batch was not enough: the
// next probe was answered, and the batch counted.)
func (m *Machine) Contradicted() { m.contradicted = true }

// Leads reports whether the image gives the leadership to this node in this very session.
func (m *Machine) Leads() bool {
	p := m.placement
	return p != nil && p.Leader == m.cfg.Self.Node && p.LeaderSession == m.cfg.Self.Session
}

// NeedsLog reports whether Configure with this view starts another epoch, and so needs the state of
// the log.
func (m *Machine) NeedsLog(v View) bool {
	return m.placement == nil || v.Placement.LeaderEpoch != m.placement.LeaderEpoch
}

// Configure takes a newer view. Of log only what compaction has dropped is read unless NeedsLog said so; the
// caller reads it when it has the view, after everything that it appended or cut on behalf of this machine.
func (m *Machine) Configure(v View, log LogState, out *Effects) {
	newEpoch := m.NeedsLog(v)
	if m.placement != nil && v.Placement.PartitionEpoch < m.placement.PartitionEpoch {
		return
	}
	m.placement, m.minInSync = v.Placement, v.MinInSync
	m.dropped, m.dropping = log.Dropped, log.Dropping
	if m.change != nil && v.Placement.PartitionEpoch > m.change.PartitionEpoch {
		m.change = nil
	}
	if newEpoch {
		m.reload(log)
		// A damaged log was cut below what was committed, see cluster.QuarantineReplicas.
		m.highWatermark = min(m.highWatermark, m.end)
		m.gapEnd, m.low = topic.NoOffset, topic.NoOffset
		m.change = nil
		m.dropFollowers()
	}
	if !m.Leads() {
		if newEpoch && m.broken(CutsToHighWatermark) && m.highWatermark < m.end {
			out.Cut = m.highWatermark
			m.end, m.durable = out.Cut, min(m.durable, out.Cut)
			m.epochs = m.epochs.cut(out.Cut)
		}
		m.dropFollowers()
		m.assume(Role{Epoch: v.Placement.LeaderEpoch}, out)
		return
	}
	if newEpoch {
		m.epochStart = m.end
	}
	// The role comes first: everything that is sent speaks in its epoch.
	m.gate(out)
	m.syncFollowers(v, out)
	m.advance(out)
	m.gate(out)
	m.review(out)
}

// SetHeard tells a leader which members were heard within the leader timeout. Until it is called nobody
// was: a node that has just started may lead before the first heartbeat comes.
func (m *Machine) SetHeard(heard func(topic.Member) bool, out *Effects) {
	m.heard = heard
	if m.role.Leading {
		m.gate(out)
	}
}

// Appended notes a batch that this node appended as leader. Anything else that the log's writer
// reports, records of earlier roles among it, changes nothing.
func (m *Machine) Appended(e Entry, out *Effects) {
	if !m.role.Leading || e.Epoch != m.role.Epoch || e.Base != m.end {
		return
	}
	m.noteAppend()
	prev := m.epochs.tail()
	m.epochs = m.epochs.append(e.Epoch, e.Base)
	m.end = e.Base + topic.Offset(e.Count)
	for i := range m.followers {
		f := &m.followers[i]
		if !f.known {
			continue
		}
		if f.sent == e.Base && f.window.Open() {
			e.PrevEpoch = prev
			m.send(f, e, out)
		} else {
			out.Lagging = append(out.Lagging, f.member.Node)
		}
	}
}

// Durable notes what this node has on stable storage, read from the log now: a report that was made
// before a cut may speak of records that are gone.
func (m *Machine) Durable(log Extent, out *Effects) {
	m.durable = min(log.Durable, m.end)
	m.startDurable = log.StartDurable
	if m.role.Leading {
		m.start, m.first = log.Start, log.First
		m.dropped, m.dropping = log.Dropped, log.Dropping
		m.tellStart(out)
		m.advance(out)
		return
	}
	if m.placement != nil {
		m.ack(false, out)
	}
}

// Compacting reports whether what the log has dropped is about to move. The owner has to call Durable until it
// has: nothing else tells.
func (m *Machine) Compacting() bool { return m.role.Leading && m.dropping > m.dropped }

// Busy reports whether time matters to this machine: somebody is behind, or a change is undecided.
func (m *Machine) Busy() bool {
	if !m.role.Leading {
		return false
	}
	if m.change != nil {
		return true
	}
	return slices.ContainsFunc(m.followers, func(f follower) bool { return f.behind(m) || !m.inSync(f.member) })
}

// Tick lets a leader repeat what was not answered and review the in-sync set.
func (m *Machine) Tick(out *Effects) {
	if !m.role.Leading {
		return
	}
	for i := range m.followers {
		m.repeat(&m.followers[i], out)
	}
	m.review(out)
}

// assume tells the log about another role.
func (m *Machine) assume(r Role, out *Effects) {
	if r == m.role {
		return
	}
	m.role = r
	out.Role = &r
}

// gate recomputes what a leader may accept.
func (m *Machine) gate(out *Effects) {
	heard := 0
	for _, member := range m.placement.ISR {
		if member == m.cfg.Self || m.heard != nil && m.heard(member) {
			heard++
		}
	}
	m.assume(Role{
		Leading:   true,
		Epoch:     m.placement.LeaderEpoch,
		AcceptAll: heard >= m.minInSync,
		AcceptOne: true,
		Ready:     m.highWatermark >= m.epochStart || m.broken(ReadyAtOnce),
	}, out)
}

func (m *Machine) now() int64 { return m.cfg.Now() }

func (m *Machine) inSync(member topic.Member) bool { return m.placement.InSync(member) }

// advance moves the high watermark to what every member of the maximal in-sync set has synced, while
// the committed set is large enough (KIP-966).
func (m *Machine) advance(out *Effects) {
	if len(m.placement.ISR) < m.minInSync && !m.broken(CommitsBelowMinimum) {
		return
	}
	m.settleStart(out)
	hw := m.durable
	if m.broken(CommitsBeforeSync) {
		hw = m.end
	}
	for _, member := range m.placement.ISR {
		hw = min(hw, m.provenEnd(member))
	}
	if m.change != nil && !m.broken(CommitsByCurrentISR) {
		for _, member := range m.change.maximal {
			hw = min(hw, m.provenEnd(member))
		}
	}
	if hw <= m.highWatermark {
		return
	}
	m.highWatermark = hw
	out.HighWatermark = hw
	for i := range m.followers {
		// What starts above the high watermark of before could not be followed there.
		if f := &m.followers[i]; f.known && f.start > m.start {
			m.compareStarts(f, out)
		}
	}
	if !m.role.Ready && hw >= m.epochStart {
		m.gate(out)
	}
	if hw == m.end {
		// Nothing follows that could carry it: followers learn the final high watermark at once.
		m.tellCommit(out)
	}
}

// provenEnd is how far member is known to hold this log on stable storage.
func (m *Machine) provenEnd(member topic.Member) topic.Offset {
	if member == m.cfg.Self {
		if m.broken(CommitsBeforeSync) {
			return m.end
		}
		return m.durable
	}
	if f := m.follower(member.Node); f != nil && f.member == member && f.known {
		return f.match
	}
	return topic.NoOffset
}

func (m *Machine) event(out *Effects, kind EventKind, peer topic.NodeID, offset topic.Offset, detail string) {
	out.Events = append(out.Events, Event{
		Kind: kind, Partition: m.partition, Epoch: m.role.Epoch, Peer: peer, Offset: offset, Detail: detail,
	})
}

// Close releases what is in flight; the machine takes no more input.
func (m *Machine) Close() { m.dropFollowers() }
