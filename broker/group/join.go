package group

import "bytes"

// join takes a member in, or again. The answer comes when the generation begins.
func (m *Machine) join(e Join, now Time, fx *Effects) {
	session := int64(e.SessionMillis)
	if m.consumers != nil && len(m.consumers.members) == 0 {
		m.dissolve(fx) // nobody is left whose protocol would matter
	}
	switch {
	case session < m.cfg.SessionMinMillis || session > m.cfg.SessionMaxMillis:
		fx.refuse(e.Token, ErrInvalidSessionTimeout)
	case m.consumers != nil:
		m.joinConsumers(e, now, fx)
	case e.MemberID != "" && !m.Exists():
		fx.refuse(e.Token, ErrUnknownMember)
	case m.full(e):
		fx.refuse(e.Token, ErrGroupFull)
	case !m.fits(e):
		fx.refuse(e.Token, ErrInconsistentProtocol)
	case e.MemberID != "":
		m.joinAgain(e, now, fx)
	case e.Instance != nil && m.statics[*e.Instance] != "":
		m.replace(e, now, fx)
	case e.Instance == nil && e.NamesFirst:
		m.pending[e.NewID] = now.Mono + session
		m.wake = min(m.wake, now.Mono+session)
		fx.Replies = append(fx.Replies, Reply{
			Token: e.Token, Err: ErrMemberIDRequired, Result: &Joined{MemberID: e.NewID, Generation: -1},
		})
	default:
		m.admit(e, e.NewID, now, fx)
	}
}

// full says whether the group may not take the member any more. Who is in already may stay in.
func (m *Machine) full(e Join) bool {
	if _, in := m.members[e.MemberID]; in || e.Instance != nil && m.statics[*e.Instance] != "" {
		return false
	}
	if _, promised := m.pending[e.MemberID]; promised {
		return len(m.members) >= m.cfg.MembersMax
	}
	return len(m.members)+len(m.pending) >= m.cfg.MembersMax
}

// fits says whether the protocols that a member knows go with those of the others.
func (m *Machine) fits(e Join) bool {
	if e.ProtocolType == "" || len(e.Protocols) == 0 {
		return false
	}
	if len(m.members) == 0 {
		return true
	}
	if e.ProtocolType != m.protocolType {
		return false
	}
	for _, p := range e.Protocols {
		if m.common(p.Name) {
			return true
		}
	}
	return false
}

// admit makes a new member.
func (m *Machine) admit(e Join, id string, now Time, fx *Effects) {
	delete(m.pending, id)
	if len(m.members) == 0 {
		m.protocolType = e.ProtocolType
	}
	one := &member{id: id, instance: e.Instance, fresh: true}
	one.describe(e)
	m.add(one)
	m.rebalance.grown = true
	m.await(one, e.Token, fx)
	m.alive(one, now)
	m.changed(now, fx)
}

// describe takes over what a join says of its member.
func (one *member) describe(e Join) {
	one.clientID, one.host = e.ClientID, e.Host
	one.session, one.rebalance = int64(e.SessionMillis), int64(e.RebalanceMillis)
	one.protocols = make([]Protocol, 0, len(e.Protocols))
	for _, p := range e.Protocols {
		if one.metadata(p.Name) == nil {
			// Metadata may be a slice of the request, which is not to be kept. It is never nil.
			one.protocols = append(one.protocols, Protocol{p.Name, append([]byte{}, p.Metadata...)})
		}
	}
}

// await notes that a member's join waits. One that waits already has been given up by its client.
func (m *Machine) await(one *member, t Token, fx *Effects) {
	if one.joining != 0 {
		fx.refuse(one.joining, ErrRebalancing)
	} else {
		m.joining++
	}
	if one.syncing != 0 {
		fx.refuse(one.syncing, ErrRebalancing)
		one.syncing = 0
	}
	one.joining = t
}

// joinAgain is a join under an id.
func (m *Machine) joinAgain(e Join, now Time, fx *Effects) {
	if _, promised := m.pending[e.MemberID]; promised && e.Instance == nil {
		m.admit(e, e.MemberID, now, fx)
		return
	}
	one, err := m.validate(e.MemberID, e.Instance)
	if err != nil {
		fx.refuse(e.Token, err)
		return
	}
	if !m.news(one, e) {
		// It has lost the answer to its last join: nobody needs to be disturbed for that.
		one.clientID, one.host = e.ClientID, e.Host
		one.session, one.rebalance = int64(e.SessionMillis), int64(e.RebalanceMillis)
		m.alive(one, now)
		fx.reply(e.Token, m.joined(one))
		return
	}
	m.count(one, -1)
	one.describe(e)
	m.count(one, 1)
	m.await(one, e.Token, fx)
	m.changed(now, fx)
}

// news says whether a member's join asks for a new generation: it brings something new, or it comes
// from the leader of a running one, who joins again to assign anew.
func (m *Machine) news(one *member, e Join) bool {
	switch m.state {
	case Completing:
		return !one.same(e.Protocols)
	case Stable:
		return one.id == m.leader || !one.same(e.Protocols)
	default:
		return true
	}
}

func (one *member) same(protocols []Protocol) bool {
	if len(protocols) != len(one.protocols) {
		return false
	}
	for i, p := range protocols {
		if p.Name != one.protocols[i].Name || !bytes.Equal(p.Metadata, one.protocols[i].Metadata) {
			return false
		}
	}
	return true
}

// replace lets a static member come back under a new id. The old one is fenced.
func (m *Machine) replace(e Join, now Time, fx *Effects) {
	old := m.members[m.statics[*e.Instance]]
	led, before := m.leader == old.id, m.leader
	m.dismiss(old, ErrFencedInstance, fx)
	delete(m.members, old.id)
	m.count(old, -1)
	one := *old
	one.id, one.fresh = e.NewID, false
	one.describe(e)
	m.members[one.id] = &one
	m.count(&one, 1)
	m.statics[*e.Instance] = one.id
	if led {
		m.leader = one.id
	}
	m.alive(&one, now)
	if m.state != Stable || m.choose() != m.protocol {
		// In Completing the leader may have assigned to the old id already.
		m.await(&one, e.Token, fx)
		m.changed(now, fx)
		return
	}
	if !m.keep(fx) {
		m.await(&one, e.Token, fx)
		m.tooLarge(fx)
		return
	}
	answer := m.joined(&one)
	if led {
		// It keeps its assignment and all others theirs. A client that does not know how to be a
		// leader who need not assign is told that somebody else leads.
		answer.Skip = e.Skips
		if !e.Skips {
			answer.Leader, answer.Members = before, nil
		}
	}
	fx.reply(e.Token, answer)
}

// joined is the answer to a member's join in the present generation.
func (m *Machine) joined(one *member) *Joined {
	answer := &Joined{
		MemberID: one.id, Generation: m.generation, Leader: m.leader,
		ProtocolType: m.protocolType, Protocol: m.protocol,
	}
	if one.id != m.leader {
		return answer
	}
	answer.Members = make([]JoinedMember, 0, len(m.members))
	for _, other := range m.ordered() {
		answer.Members = append(answer.Members, JoinedMember{
			ID: other.id, Instance: other.instance, Metadata: other.metadata(m.protocol),
		})
	}
	return answer
}
