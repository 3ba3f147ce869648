package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"outrigger/broker/topic"
)

// Machine is one node's part in the group. It is not safe for concurrent use: one owner feeds it.
type Machine struct {
	cfg  Config
	self Member
	rng  *rand.Rand

	hard     HardState
	saved    HardState // hard as it is stored
	log      memoryLog
	members  memberships
	roster   Roster
	snapshot Snapshot
	// tailBytes is the size of the held entries that the snapshot covers.
	tailBytes int64
	// handed is the last entry that a Ready gave out as committed.
	handed uint64
	// handedBytes is the size of the handed entries behind the newest snapshot.
	handedBytes int64

	role   Role
	leader Member
	// elapsed counts ticks since the leader was heard, a vote was granted or a campaign began.
	elapsed int
	timeout int

	ballot   ballot
	founding founding
	pull     pull
	leading  leading

	out     Ready
	refused refusal
	counts  struct{ elections, campaigns uint64 }
}

// New builds a machine from what the store gave back. A contradiction there is ErrDamaged: a node
// that may have forgotten what it promised must not take part.
func New(cfg Config, state State) (*Machine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	hard := state.Hard
	if hard.Cluster == "" {
		hard.Cluster = cfg.Cluster
	}
	if cfg.Cluster != "" && cfg.Cluster != hard.Cluster {
		return nil, fmt.Errorf("check cluster id: the store belongs to cluster %q, configured is %q",
			hard.Cluster, cfg.Cluster)
	}
	log, err := newMemoryLog(state.Snapshot, state.Entries)
	if err != nil {
		return nil, err
	}
	hard.Commit = max(hard.Commit, state.Snapshot.Index)
	if hard.Commit > log.last() || log.lastTerm() > hard.Term {
		return nil, fmt.Errorf("%w: commit %d, term %d, but the log ends at %d with term %d",
			ErrDamaged, hard.Commit, hard.Term, log.last(), log.lastTerm())
	}
	m := &Machine{
		cfg:      cfg,
		self:     Member{Node: cfg.Node, Disk: cfg.Disk},
		rng:      rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Session))),
		hard:     hard,
		saved:    state.Hard,
		log:      log,
		members:  memberships{{index: state.Snapshot.Index, Membership: state.Snapshot.Membership}},
		snapshot: state.Snapshot,
		handed:   state.Snapshot.Index,
		pull:     pull{staged: state.Staged, have: state.StagedBytes},
	}
	if err := m.adoptMemberships(log.entries); err != nil {
		return nil, err
	}
	m.measureTail()
	m.resetTimer()
	return m, nil
}

// blank reports whether this node holds no log: it is new, or it has lost its disk.
func (m *Machine) blank() bool { return m.log.last() == 0 }

func (m *Machine) membership() Membership { return m.members.current() }

// Step feeds one message. Messages that are not for this node, disk, session or cluster change
// nothing.
func (m *Machine) Step(msg Message) {
	if reason := m.refuses(msg); reason != "" {
		m.refuse(msg, reason)
		m.noteCluster(msg)
		return
	}
	switch msg.Type {
	case Hello:
		m.stepHello(msg)
	case HelloReply:
		m.stepHelloReply(msg)
	case PreVote:
		m.stepPreVote(msg)
	case Vote:
		m.stepVote(msg)
	case PreVoteReply, VoteReply:
		m.stepBallot(msg)
	case Append:
		m.stepAppend(msg)
	case AppendReply, OfferReply:
		m.stepProgress(msg)
	case Offer:
		m.stepOffer(msg)
	case ChunkRequest:
		m.stepChunkRequest(msg)
	case ChunkReply:
		m.stepChunkReply(msg)
	case TimeoutNow:
		m.stepTimeoutNow(msg)
	}
}

// Tick passes one unit of time.
//
// The owner owes this: whatever had arrived before the tick is stepped before it. After a pause (a
// stopped process, a long garbage collection, a sync that took seconds) the queue holds what the
// peers said meanwhile, and a tick that overtook it would let things expire that were answered in
// time. Ticks missed in a pause are not made up for: one late tick is one tick.
func (m *Machine) Tick() {
	m.refused.tick(m.cfg.ElectionTicks)
	m.elapsed++
	switch {
	case m.role == Leader:
		m.tickLeader()
	case m.blank():
		m.tickBlank()
	default:
		m.tickFollower()
	}
	m.tickPull()
}

// tickFollower campaigns when the leader has been silent for the drawn timeout.
func (m *Machine) tickFollower() {
	voter := m.membership().IsVoter(m.self)
	switch {
	case voter && len(m.membership().Voters) == 1 && m.role == Follower:
		m.campaign(false)
	case m.elapsed < m.timeout:
	case voter:
		m.preCampaign()
		m.sayHello()
	default:
		m.forgetLeader()
		if m.elapsed%m.cfg.HeartbeatTicks == 0 {
			m.sayHello()
		}
	}
}

// Propose appends a command on the leader and returns its place. It is committed when an entry of
// this very index and term comes out of Ready.Committed; if leadership ends first, it may or may not
// be. Appends to followers leave with the next Ready, so commands proposed together travel together.
// The command is kept, and must not be changed by the caller.
func (m *Machine) Propose(command []byte) (index, term uint64, err error) {
	switch {
	case m.role != Leader:
		return 0, 0, ErrNotLeader
	case len(command) > m.cfg.CommandBytesMax:
		return 0, 0, fmt.Errorf("%w: %d bytes, at most %d",
			ErrTooLarge, len(command), m.cfg.CommandBytesMax)
	case m.leading.transfer != nil:
		return 0, 0, ErrTransferring
	case m.leading.pendingBytes+int64(len(command)) > m.cfg.PendingBytesMax:
		return 0, 0, ErrFull
	}
	return m.appendOwn(EntryCommand, command), m.hard.Term, nil
}

// Change proposes one change of the membership; see ErrChangePending.
func (m *Machine) Change(c Change) (index uint64, err error) {
	switch {
	case m.role != Leader:
		return 0, ErrNotLeader
	case m.leading.transfer != nil:
		return 0, ErrTransferring
	case !m.committedInTerm() || m.members.index() > m.hard.Commit:
		return 0, ErrChangePending
	case c.Member == m.self:
		return 0, fmt.Errorf("%w: the leader hands over before it goes", ErrBadChange)
	case (c.Kind == Remove || c.Kind == Demote) && m.membership().IsVoter(c.Member) && !m.spares(c.Member):
		return 0, fmt.Errorf("%w: without %s no majority is alive", ErrBadChange, c.Member)
	}
	next, err := m.membership().Apply(c)
	if err != nil {
		return 0, err
	}
	index = m.appendOwn(EntryMembership, encodeMembership(nil, next))
	m.membershipChanged(c.Kind.String() + " " + c.Member.String())
	return index, nil
}

// Ready drains the effects of all inputs so far. The owner carries it out and calls Persisted before
// it feeds anything else.
func (m *Machine) Ready() Ready {
	if m.role == Leader {
		m.pumpAll()
	}
	r := m.out
	m.out = Ready{}
	r.Batch.TruncateFrom = m.log.truncated
	r.Batch.Entries = m.log.unstable()
	if m.hard != m.saved {
		hard := m.hard
		r.Batch.HardState = &hard
		lazy := m.saved
		lazy.Commit = hard.Commit
		r.Batch.Sync = lazy != hard
	}
	r.Batch.Sync = r.Batch.Sync || r.Batch.TruncateFrom != 0 || len(r.Batch.Entries) > 0
	if m.handed < m.hard.Commit {
		r.Committed = m.log.slice(m.handed+1, m.hard.Commit, committedBytesMax)
		m.handed += uint64(len(r.Committed))
		for _, e := range r.Committed {
			m.handedBytes += e.Size()
		}
	}
	r.Install = m.pull.complete(m.hard)
	return r
}

// committedBytesMax bounds the commands of one Ready, so that applying a long log at start goes in
// steps.
const committedBytesMax = 1 << 20

// Persisted says that the last Ready's batch is durable.
func (m *Machine) Persisted() {
	m.log.stable = m.log.last()
	m.log.truncated = 0
	m.saved = m.hard
	switch m.role {
	case Candidate:
		// A candidate's own vote counts from here on: it is a promise like any other.
		m.ballot.record(m.self, true)
		m.countBallot()
	case Leader:
		m.advanceCommit()
		m.releaseReads()
	}
}

// Compact says that the owner has stored s as the current snapshot and removed the entries up to
// compactTo.
func (m *Machine) Compact(s Snapshot, compactTo uint64) {
	if s.Index > m.handed || compactTo > s.Index {
		panic(fmt.Sprintf("raft: compact to %d behind snapshot %d, applied %d",
			compactTo, s.Index, m.handed))
	}
	m.log.compact(compactTo)
	m.members = m.members.compact(s.Index)
	m.snapshot = s
	m.measureTail()
	m.handedBytes = 0
	for _, e := range m.log.slice(s.Index+1, m.handed, 1<<62) {
		m.handedBytes += e.Size()
	}
}

// SnapshotAt describes the snapshot that the owner is about to take at an applied index.
func (m *Machine) SnapshotAt(index uint64, data []byte) Snapshot {
	term, ok := m.log.term(index)
	if !ok || index > m.handed {
		panic(fmt.Sprintf("raft: snapshot at %d, log %d..%d, applied %d",
			index, m.log.base, m.log.last(), m.handed))
	}
	return Snapshot{Index: index, Term: term, Membership: m.members.at(index),
		Size: uint64(len(data)), Hash: HashOf(data)}
}

// CompactionPoint is the entry up to which the log may go while tailBytes of it stay, given a
// snapshot at index.
func (m *Machine) CompactionPoint(index uint64, tailBytes int64) uint64 {
	for to := index; to > m.log.base; to-- {
		tailBytes -= m.log.at(to).Size()
		if tailBytes < 0 {
			return to
		}
	}
	return m.log.base
}

// LogBytes is the size of the entries behind the newest snapshot.
func (m *Machine) LogBytes() int64 { return m.log.bytes - m.tailBytes }

// AppliedBytes is the size of the entries that a snapshot taken now would cover.
func (m *Machine) AppliedBytes() int64 { return m.handedBytes }

// measureTail measures the kept entries that the newest snapshot covers.
func (m *Machine) measureTail() {
	m.tailBytes = 0
	for _, e := range m.log.slice(m.log.base+1, m.snapshot.Index, 1<<62) {
		m.tailBytes += e.Size()
	}
}

// setTerm changes what must be remembered. Neither term nor commit ever moves backwards, and a vote
// changes only with the term.
func (m *Machine) setTerm(term uint64, vote Member) {
	if term < m.hard.Term || term == m.hard.Term && !m.hard.Vote.IsZero() && vote != m.hard.Vote {
		panic(fmt.Sprintf("raft: term %d vote %s after term %d vote %s",
			term, vote, m.hard.Term, m.hard.Vote))
	}
	m.hard.Term, m.hard.Vote = term, vote
}

// commitTo moves the commit index forward.
func (m *Machine) commitTo(index uint64) {
	if index > m.log.last() {
		panic(fmt.Sprintf("raft: commit %d beyond the log's end %d", index, m.log.last()))
	}
	m.hard.Commit = max(m.hard.Commit, index)
}

// become changes the role. The leader is the zero Member while unknown.
func (m *Machine) become(role Role, leader Member) {
	if m.role == Leader && role != Leader {
		m.leading = leading{round: m.leading.round}
	}
	if role != m.role {
		m.role = role
		m.note(RoleChanged, topic.NoNode, "")
	}
	if leader != m.leader {
		m.leader = leader
		if !leader.IsZero() {
			m.note(LeaderChanged, leader.Node, "")
		}
	}
	m.ballot = ballot{}
	m.elapsed = 0
	m.resetTimer()
}

// forgetLeader is for nodes that do not campaign.
func (m *Machine) forgetLeader() { m.leader = Member{} }

// resetTimer draws the next election timeout, in [1, 2) times the minimum. Nodes whose ticks come in
// the same moment, and who heard the leader last in the same moment, campaign in the same moment if
// they draw the same number, and split the vote. So each voter draws from numbers of its own, which lie
// two ticks from the next voter's: the leader's beat comes as the ticks do, and counts before one here
// and after it there.
func (m *Machine) resetTimer() {
	minimum := m.cfg.ElectionTicks
	m.timeout = minimum + m.rng.IntN(minimum)
	voters := m.membership().Voters
	cycle := 2 * len(voters)
	if len(voters) < 2 || cycle > minimum {
		return
	}
	rank := 0
	for _, v := range voters {
		if v.Node < m.self.Node {
			rank++
		}
	}
	if m.timeout += (2*rank - m.timeout%cycle + cycle) % cycle; m.timeout >= 2*minimum {
		m.timeout -= cycle
	}
}

// appendOwn appends an entry of the leader's term.
func (m *Machine) appendOwn(kind EntryKind, data []byte) uint64 {
	e := Entry{Index: m.log.last() + 1, Term: m.hard.Term, Kind: kind, Data: data}
	m.log.append(e)
	m.leading.pendingBytes += e.Size()
	if kind == EntryMembership {
		if err := m.adoptMemberships([]Entry{e}); err != nil {
			panic(err)
		}
	}
	return e.Index
}

// adoptMemberships puts the memberships among appended entries in force.
func (m *Machine) adoptMemberships(entries []Entry) error {
	for _, e := range entries {
		if e.Kind != EntryMembership || e.Index <= m.members.index() {
			continue
		}
		next, err := DecodeMembership(e.Data)
		if err != nil {
			return fmt.Errorf("%w: membership in entry %d: %w", ErrDamaged, e.Index, err)
		}
		m.members = append(slices.Clip(m.members), placedMembership{e.Index, next})
	}
	return nil
}

// membershipChanged follows up on another membership in force.
func (m *Machine) membershipChanged(why string) {
	m.note(MembershipChanged, topic.NoNode, why+": "+m.membership().String())
	m.resetTimer() // What a voter may draw depends on who else votes.
	switch m.role {
	case Leader:
		m.leading.sync(m.membership(), m.self, m.log.last()+1)
	case Candidate, PreCandidate:
		if !m.membership().IsVoter(m.self) {
			m.become(Follower, Member{})
		}
	}
}

// note adds an event about another node, or about none (topic.NoNode).
func (m *Machine) note(kind EventKind, node topic.NodeID, detail string) {
	m.out.Events = append(m.out.Events, Event{Kind: kind, Term: m.hard.Term, Node: node,
		Role: m.role, Detail: detail})
}
