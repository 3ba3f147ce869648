package raft

import "fmt"

// pull is a snapshot on its way to this follower. The follower asks for one chunk after the other,
// so a slow one is never flooded; what it has survives a restart, and any node that holds the same
// snapshot can serve the rest.
type pull struct {
	// staged describes what the staging area holds, of which have bytes are there.
	staged Snapshot
	have   uint64
	// active: the leader's offer stands, and chunks are asked from it.
	active bool
	from   Member
	// cluster is the leader's cluster id.
	cluster string
	// silent counts ticks since the last question or answer.
	silent int
}

// complete is what is ready to be installed.
func (p *pull) complete(hard HardState) *Install {
	if !p.active || p.have < p.staged.Size || p.staged.Index <= hard.Commit {
		return nil
	}
	hard.Commit = p.staged.Index
	if hard.Cluster == "" {
		hard.Cluster = p.cluster
	}
	return &Install{Snapshot: p.staged, Hard: hard}
}

// stepOffer begins or resumes a pull, unless this node has what the snapshot covers.
func (m *Machine) stepOffer(msg Message) {
	if !m.follow(msg) {
		return
	}
	s := msg.Snapshot
	if m.log.matches(s.Index, s.Term) {
		// The leader has applied what its snapshot covers, so it is committed.
		m.commitTo(s.Index)
	}
	r := m.reply(msg)
	r.Index, r.Round = m.hard.Commit, msg.Round
	m.promise(r)
	if s.Index <= m.hard.Commit {
		m.pull.active = false
		return
	}
	if !s.Same(m.pull.staged) {
		m.pull = pull{staged: s}
	}
	fresh := !m.pull.active || m.pull.from != msg.Sender()
	m.pull.active, m.pull.from, m.pull.cluster = true, msg.Sender(), msg.Cluster
	if fresh {
		m.askForChunk()
	}
}

func (m *Machine) askForChunk() {
	m.pull.silent = 0
	if m.pull.have >= m.pull.staged.Size {
		return
	}
	msg := m.request(ChunkRequest, m.pull.from)
	msg.Cluster = m.pull.cluster // this node may have none of its own yet
	msg.Index, msg.LogTerm = m.pull.staged.Index, m.pull.staged.Term
	msg.Offset, msg.Commit = m.pull.have, m.hard.Commit
	m.send(msg)
}

// tickPull asks again for what was lost on the way.
func (m *Machine) tickPull() {
	if !m.pull.active {
		return
	}
	if m.role != Follower || m.leader != m.pull.from {
		m.pull.active = false // the next leader offers its own, perhaps the same
		return
	}
	if m.pull.silent++; m.pull.silent >= 2*m.cfg.HeartbeatTicks {
		m.askForChunk()
	}
}

// stepChunkRequest serves a chunk, or hears from a follower that it has installed. Whoever holds
// the snapshot serves it: it covers committed entries only.
func (m *Machine) stepChunkRequest(msg Message) {
	if p := m.peerOf(msg.Sender()); m.role == Leader && p != nil && msg.Term == m.hard.Term &&
		p.sees(msg.Session) {
		m.advancePeer(p, msg.Commit)
	}
	r := m.reply(msg)
	r.Index, r.LogTerm, r.Offset = msg.Index, msg.LogTerm, msg.Offset
	if msg.Index != m.snapshot.Index || msg.LogTerm != m.snapshot.Term {
		r.Reject = true
		m.promise(r)
		return
	}
	if msg.Offset < m.snapshot.Size {
		length := min(m.snapshot.Size-msg.Offset, uint64(m.cfg.ChunkBytes))
		m.out.ChunkReads = append(m.out.ChunkReads,
			ChunkRead{Index: msg.Index, Length: int(length), Reply: r})
	}
}

// stepChunkReply takes the next piece; any other is a duplicate or of another pull.
func (m *Machine) stepChunkReply(msg Message) {
	p := &m.pull
	if !p.active || msg.Sender() != p.from || msg.Index != p.staged.Index ||
		msg.LogTerm != p.staged.Term || msg.Offset != p.have {
		return
	}
	if msg.Reject || len(msg.Data) == 0 || p.have+uint64(len(msg.Data)) > p.staged.Size {
		p.active = false // the next offer says what there is now
		return
	}
	m.out.Batch.Chunks = append(m.out.Batch.Chunks,
		Chunk{Snapshot: p.staged, Offset: p.have, Data: msg.Data})
	p.have += uint64(len(msg.Data))
	m.askForChunk()
}

// Installed says that the owner has restored and stored the snapshot of the last Ready.Install.
func (m *Machine) Installed() {
	s := m.pull.staged
	from := m.pull.from
	m.log.reset(s.Index, s.Term)
	m.members = memberships{{index: s.Index, Membership: s.Membership}}
	m.snapshot, m.handed, m.handedBytes = s, s.Index, 0
	m.measureTail()
	m.hard.Commit = s.Index
	if m.hard.Cluster == "" {
		m.hard.Cluster = m.pull.cluster
	}
	m.saved = m.hard
	m.pull = pull{}
	m.note(SnapshotInstalled, from.Node, fmt.Sprintf("snapshot %d, %d bytes", s.Index, s.Size))
	m.membershipChanged("taken from a snapshot")
	// The leader hears at once that it can go on with appends.
	msg := m.request(ChunkRequest, from)
	msg.Index, msg.LogTerm, msg.Offset, msg.Commit = s.Index, s.Term, s.Size, s.Index
	m.send(msg)
}

// InstallFailed says that the staged bytes do not have the offered hash. They are dropped, and the
// next offer starts from the first byte.
func (m *Machine) InstallFailed() {
	m.note(SnapshotDamaged, m.pull.from.Node, fmt.Sprintf("snapshot %d", m.pull.staged.Index))
	m.pull = pull{}
}
