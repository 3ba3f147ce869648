package group

// changed is called when a member has come, joined again or gone: a rebalance begins, or the one
// that is on may be complete.
func (m *Machine) changed(now Time, fx *Effects) {
	if m.state == Preparing {
		m.completeIfAllJoined(now, fx)
		return
	}
	if m.state == Empty && len(m.members) == 0 {
		return
	}
	first := m.state == Empty
	for _, one := range m.members {
		if one.syncing != 0 {
			fx.refuse(one.syncing, ErrRebalancing)
			one.syncing = 0
			m.alive(one, now)
		}
	}
	m.syncBy = never
	m.enter(Preparing, now)
	m.rebalance.first = first
	if !first {
		m.rebalance.at = now.Mono + m.longestRebalance()
		m.wake = min(m.wake, m.rebalance.at)
		m.completeIfAllJoined(now, fx)
		return
	}
	delay := m.cfg.InitialDelayMillis
	m.rebalance.grown = false
	m.rebalance.at = now.Mono + delay
	m.rebalance.left = max(m.longestRebalance()-delay, 0)
	m.wake = min(m.wake, m.rebalance.at)
	if delay <= 0 {
		m.complete(now, fx)
	}
}

// longestRebalance is the longest of the members' rebalance timeouts.
func (m *Machine) longestRebalance() (longest int64) {
	for _, one := range m.members {
		longest = max(longest, one.rebalance)
	}
	return longest
}

// completeIfAllJoined ends the wait for members when there is nobody left to wait for. The first
// members of a group wait for others all the same.
func (m *Machine) completeIfAllJoined(now Time, fx *Effects) {
	if m.state == Preparing && !m.rebalance.first && m.joining == len(m.members) && len(m.pending) == 0 {
		m.complete(now, fx)
	}
}

// joinTimeIsUp ends the wait for members, unless a group that was empty has just got another.
func (m *Machine) joinTimeIsUp(now Time, fx *Effects) {
	if m.rebalance.first && m.rebalance.grown && m.rebalance.left > 0 {
		more := min(m.cfg.InitialDelayMillis, m.rebalance.left)
		m.rebalance.left -= more
		m.rebalance.grown = false
		m.rebalance.at = now.Mono + more
		return
	}
	m.complete(now, fx)
}

// complete begins the next generation with those who have joined.
func (m *Machine) complete(now Time, fx *Effects) {
	m.rebalance.at = never
	for _, one := range m.ordered() {
		// A static member may come back within its session: its partitions wait for it.
		if one.joining == 0 && one.instance == nil {
			m.remove(one, ErrUnknownMember, fx)
		}
	}
	if len(m.members) > 0 && !m.electJoined() {
		// Only static members are left, and none of them has joined: until one does, or all sessions
		// have ended, there is nobody to assign.
		m.rebalance.first = false
		m.rebalance.at = now.Mono + m.longestRebalance()
		m.wake = min(m.wake, m.rebalance.at)
		return
	}
	m.rebalance.first = false
	m.generation++
	m.rebalances++
	if len(m.members) == 0 {
		m.becomeEmpty(now, fx)
		return
	}
	m.protocol = m.choose()
	m.subscribed = m.subscriptions()
	m.enter(Completing, now)
	m.syncBy = now.Mono + m.longestRebalance()
	m.wake = min(m.wake, m.syncBy)
	for _, one := range m.ordered() {
		one.synced = false
		if one.joining == 0 {
			continue
		}
		t := one.joining
		one.joining, one.fresh = 0, false
		m.joining--
		m.alive(one, now)
		fx.reply(t, m.joined(one))
	}
}

// electJoined makes a member that has joined the leader, and reports whether there is one.
func (m *Machine) electJoined() bool {
	if leader := m.members[m.leader]; leader != nil && leader.joining != 0 {
		return true
	}
	for _, one := range m.ordered() {
		if one.joining != 0 {
			m.leader = one.id
			return true
		}
	}
	return false
}

// becomeEmpty ends a group's last generation. What it has committed stays.
func (m *Machine) becomeEmpty(now Time, fx *Effects) {
	m.protocol, m.leader, m.subscribed = "", "", nil
	m.syncBy = never
	m.enter(Empty, now)
	m.keep(fx)
}

// keep writes the group down as it is, and reports whether that can be done.
func (m *Machine) keep(fx *Effects) bool {
	r := m.record()
	if r.Bytes() > m.cfg.RecordBytesMax {
		return false
	}
	m.kept = true
	fx.Records = append(fx.Records, r)
	return true
}

// sync takes the leader's assignment, or gives a member its own. Before the leader's has come,
// members wait for it.
func (m *Machine) sync(e Sync, now Time, fx *Effects) {
	if m.consumers != nil {
		m.syncConsumers(e, now, fx)
		return
	}
	one, err := m.validate(e.MemberID, e.Instance)
	switch {
	case err != nil:
		fx.refuse(e.Token, err)
	case e.Generation != m.generation:
		fx.refuse(e.Token, ErrIllegalGeneration)
	case e.ProtocolType != nil && *e.ProtocolType != m.protocolType,
		e.Protocol != nil && *e.Protocol != m.protocol:
		fx.refuse(e.Token, ErrInconsistentProtocol)
	case m.state == Preparing:
		fx.refuse(e.Token, ErrRebalancing)
	case m.state == Stable:
		one.synced = true
		m.alive(one, now)
		fx.reply(e.Token, m.synced(one))
	default:
		if one.syncing != 0 {
			fx.refuse(one.syncing, ErrRebalancing)
		}
		one.syncing, one.synced = e.Token, true
		if one.id == m.leader {
			m.assign(e.Assignments, now, fx)
		}
	}
}

func (m *Machine) synced(one *member) *Synced {
	return &Synced{ProtocolType: m.protocolType, Protocol: m.protocol, Assignment: one.assignment}
}

// assign makes the generation stable. Members that the leader has forgotten get nothing.
func (m *Machine) assign(assignments map[string][]byte, now Time, fx *Effects) {
	for id, one := range m.members {
		one.assignment = append([]byte{}, assignments[id]...)
	}
	m.enter(Stable, now)
	if !m.keep(fx) {
		m.enter(Completing, now)
		m.tooLarge(fx)
		return
	}
	for _, one := range m.ordered() {
		if one.syncing != 0 {
			fx.reply(one.syncing, m.synced(one))
			one.syncing = 0
			m.alive(one, now)
		}
	}
}

// tooLarge refuses everybody who waits: the group does not fit a record. They hear it for good, since
// another try would end the same.
func (m *Machine) tooLarge(fx *Effects) {
	for _, one := range m.ordered() {
		m.dismiss(one, ErrRecordTooLarge, fx)
		one.assignment, one.synced = nil, false
	}
}

// syncTimeIsUp takes out the members that have joined and never asked for their assignment.
func (m *Machine) syncTimeIsUp(now Time, fx *Effects) {
	m.syncBy = never
	gone := false
	for _, one := range m.ordered() {
		if !one.synced {
			m.remove(one, ErrUnknownMember, fx)
			gone = true
		}
	}
	if gone {
		m.changed(now, fx)
	}
}

// leave takes members out, each by itself, and then looks what that means for the others.
func (m *Machine) leave(e Leave, now Time, fx *Effects) {
	if m.consumers != nil {
		m.leaveConsumers(e, now, fx)
		return
	}
	left := &Left{Errs: make([]error, len(e.Members))}
	gone := false
	for i, who := range e.Members {
		id := who.ID
		if id == "" && who.Instance != nil {
			id = m.statics[*who.Instance]
		}
		if _, promised := m.pending[id]; promised && who.Instance == nil {
			delete(m.pending, id)
			continue
		}
		one, err := m.validate(id, who.Instance)
		if err != nil {
			left.Errs[i] = err
			continue
		}
		m.remove(one, ErrUnknownMember, fx)
		gone = true
	}
	if gone {
		m.changed(now, fx)
	} else {
		// An id that nobody joins under any more may have been all that a rebalance waited for.
		m.completeIfAllJoined(now, fx)
	}
	fx.reply(e.Token, left)
}
