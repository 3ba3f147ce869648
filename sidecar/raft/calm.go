package raft

// Calm reports whether the next n ticks may pass together, at the end of their time, without anybody
// outside noticing: nothing expires in them, and no beat falls due before the last of them. The owner
// then need not wake for each. Whatever it feeds meanwhile may change the answer, and the ticks that
// have gone by by then go first.
func (m *Machine) Calm(n int) bool {
	if m.blank() || m.pull.active {
		return false
	}
	switch m.role {
	case Leader:
		return m.calmLeader(n)
	case Follower:
		// A beat that is missing leaves less than n ticks sooner than the timeout: three beats fit it.
		return !m.leader.IsZero() && m.elapsed+n < m.cfg.ElectionTicks
	default:
		return false
	}
}

func (m *Machine) calmLeader(n int) bool {
	l := &m.leading
	if l.heartbeat+n > m.cfg.HeartbeatTicks || l.transfer != nil || len(l.joins) > 0 || len(l.reads) > 0 || l.pendingBytes > 0 {
		return false
	}
	for _, p := range l.peers {
		if p.mode != replicate || p.contact+n >= m.cfg.ElectionTicks {
			return false
		}
	}
	return true
}

// Beat makes a leader's next beat due now, and the one after it a whole interval later: so an owner
// lets them fall on its own moments. A beat too many harms nobody.
func (m *Machine) Beat() {
	if m.role == Leader && m.leading.heartbeat > 0 {
		m.leading.heartbeat = 0
		m.leading.allDue()
	}
}
