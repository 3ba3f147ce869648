package raft

import "slices"

// pendingRead waits for the round that confirms that this node still leads.
type pendingRead struct {
	id    uint64
	round uint64
}

// ReadIndex asks for a confirmed read; Ready.Reads answers it under the same id. If leadership ends
// first it is dropped, and the owner fails it: a read may always be asked again.
//
// The leader may have been deposed without knowing it. So a majority must answer an append that
// leaves after the question came, and an entry of this term must be committed, since before that the
// commit index may lag behind what an earlier leader has told its clients.
func (m *Machine) ReadIndex(id uint64) error {
	switch {
	case m.role != Leader:
		return ErrNotLeader
	case len(m.leading.reads) >= m.cfg.ReadsMax:
		return ErrFull
	}
	if m.cfg.mutant == ReadsUnconfirmed {
		m.out.Reads = append(m.out.Reads, Read{ID: id, Index: m.hard.Commit})
		return nil
	}
	m.leading.reads = append(m.leading.reads, pendingRead{id: id, round: m.leading.round + 1})
	m.leading.wantRound = true
	return nil
}

// releaseReads hands out the reads whose round a majority has confirmed. The commit index of this
// moment is at least that of the question.
func (m *Machine) releaseReads() {
	if len(m.leading.reads) == 0 || !m.committedInTerm() {
		return
	}
	var rounds []uint64
	for _, voter := range m.membership().Voters {
		switch p := m.leading.peer(voter); {
		case voter == m.self:
			rounds = append(rounds, m.leading.round)
		case p != nil:
			rounds = append(rounds, p.round)
		}
	}
	slices.Sort(rounds)
	confirmed := rounds[len(rounds)-m.membership().Quorum()]
	released := 0
	for _, r := range m.leading.reads {
		if r.round > confirmed {
			break
		}
		m.out.Reads = append(m.out.Reads, Read{ID: r.id, Index: m.hard.Commit})
		released++
	}
	m.leading.reads = m.leading.reads[released:]
}
