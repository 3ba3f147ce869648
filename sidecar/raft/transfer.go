package raft

import (
	"fmt"

	"outrigger/broker/topic"
)

// transfer is leadership on its way to another voter. Proposals are refused meanwhile, so that the
// target can catch up; after an election timeout it is given up.
type transfer struct {
	to    Member
	ticks int
	due   bool // TimeoutNow is to be sent once the target has everything
}

// Transfer hands leadership to a voter, or with topic.NoNode to the live one that is furthest.
func (m *Machine) Transfer(to topic.NodeID) error {
	switch {
	case m.role != Leader:
		return ErrNotLeader
	case m.leading.transfer != nil:
		return ErrTransferring
	}
	var best *peer
	for _, p := range m.leading.peers {
		if !m.membership().IsVoter(p.member) || to != topic.NoNode && p.member.Node != to ||
			to == topic.NoNode && p.contact >= m.cfg.ElectionTicks {
			continue
		}
		if best == nil || p.match > best.match {
			best = p
		}
	}
	if best == nil {
		return fmt.Errorf("%w: node %d", ErrBadTarget, to)
	}
	m.leading.transfer = &transfer{to: best.member, due: true}
	return nil
}

// pumpTransfer tells the target to campaign once it holds everything.
func (m *Machine) pumpTransfer() {
	t := m.leading.transfer
	if t == nil || !t.due {
		return
	}
	p := m.leading.peer(t.to)
	if p == nil || p.match != m.log.last() {
		return
	}
	t.due = false
	m.send(m.request(TimeoutNow, t.to))
}

func (m *Machine) tickTransfer() {
	t := m.leading.transfer
	if t == nil {
		return
	}
	t.ticks++
	t.due = t.ticks%m.cfg.HeartbeatTicks == 0
	if t.ticks >= m.cfg.ElectionTicks || !m.membership().IsVoter(t.to) {
		m.leading.transfer = nil
		m.note(TransferEnded, t.to.Node, "it did not take over in time")
	}
}
