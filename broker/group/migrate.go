package group

import "outrigger/broker/group/assign"

// mayBecome says whether a group that is none of the KIP-848 protocol may become one for a member that
// joins: it has no members, or the policy lets it change and its members are consumers. It changes
// nothing.
func (m *Machine) mayBecome(e *ConsumerHeartbeat) error {
	if e.Epoch != joinEpoch {
		return ErrUnknownMember
	}
	if len(m.members) == 0 {
		return nil
	}
	if !m.cfg.Consumers.Upgrades || m.protocolType != consumerType || m.catalog == nil {
		return ErrNotConsumers
	}
	if len(m.members) >= m.cfg.Consumers.MembersMax {
		return ErrGroupFull
	}
	for _, one := range m.members {
		if len(one.protocols) == 0 {
			return ErrNotConsumers
		}
		if _, understood := readSubscription(one.metadata(m.understood(one))); !understood {
			return ErrNotConsumers
		}
		// A topic that is not known here yet would be forgotten, and given to two members.
		if _, err := m.catalog.readAssignment(one.assignment); err != nil {
			return err
		}
	}
	if !m.mayConvert() {
		return ErrRecordTooLarge
	}
	return nil
}

// understood is the protocol whose metadata of a member counts: the present one, or the first it names.
func (m *Machine) understood(one *member) string {
	if one.metadata(m.protocol) != nil {
		return m.protocol
	}
	return one.protocols[0].Name
}

// becomeConsumers makes the group one of the KIP-848 protocol. Its members of the classic protocol stay,
// with what they have. The record of the classic group is taken away last: a log that ends before that
// leaves the group as it was, and what was written of the new one is swept away.
func (m *Machine) becomeConsumers(now Time, fx *Effects) error {
	if m.consumers != nil {
		return nil
	}
	m.clear(fx)
	g := newConsumers()
	g.epoch, g.targetEpoch = m.generation, m.generation
	old, kept := m.ordered(), m.kept
	m.consumers = g
	for _, one := range old {
		m.dismiss(one, ErrRebalancing, fx)
		if !one.fresh { // who has never had an answer has nothing, and joins again
			m.convert(one, now)
		}
	}
	for _, one := range old {
		if c := g.members[one.id]; c != nil {
			m.remember(c, one)
			fx.Records = append(fx.Records, memberRecord(m.name, c), targetRecord(m.name, c.id, c.target),
				placeRecord(m.name, c.id, &c.place))
		}
	}
	fx.Records = append(fx.Records, epochRecord(m.name, g.epoch, g.hash))
	if len(g.members) > 0 {
		g.targetKept = true
		fx.Records = append(fx.Records, targetEpochRecord(m.name, g.targetEpoch))
	}
	if kept {
		fx.Records = append(fx.Records, Record{Key: keyOfGroup(m.name)})
	}
	m.forgetClassic(now)
	return nil
}

// convert makes a member of a classic group one of the consumer group. What two of them were assigned,
// because their leader was wrong, stays with the first.
func (m *Machine) convert(one *member, now Time) {
	g := m.consumers
	said, _ := readSubscription(one.metadata(m.understood(one)))
	slots, _ := m.catalog.readAssignment(one.assignment)
	c := &consumer{
		id: one.id, instance: one.instance, rack: said.rack, clientID: one.clientID, host: one.host,
		names: said.names, rebalance: one.rebalance, session: one.session, revokeBy: never,
		classic: &classicMember{session: one.session, protocols: one.protocols, by: never},
		place:   place{epoch: m.generation, previous: m.generation, assigned: m.unheld(slots)},
		placed:  true, targeted: true,
	}
	c.target = c.assigned.slots
	g.members[c.id] = c
	if c.instance != nil {
		g.statics[*c.instance] = c.id
	}
	m.hold(c)
	m.renew(c, now)
}

// unheld are those of some slots that nobody holds, held since the classic group's generation.
func (m *Machine) unheld(slots assign.Slots) holdings {
	held := map[assign.Slot]int32{}
	for _, slot := range slots {
		if m.consumers.holders[slot] == nil {
			held[slot] = m.generation
		}
	}
	return holdingsOf(held)
}

// remember adds what a member had when it joined and was not assigned again: a cooperative consumer may
// not have given it up yet, and will say so when it joins the next time.
func (m *Machine) remember(c *consumer, one *member) {
	said, _ := readSubscription(one.metadata(m.understood(one)))
	if had := m.unheld(m.catalog.owned(said)); len(had.slots) > 0 {
		c.state, c.revoking = unrevoked, had
		m.hold(c)
	}
}

// forgetClassic leaves nothing of a classic group but its offsets.
func (m *Machine) forgetClassic(now Time) {
	m.kept, m.generation, m.joining, m.subscribed = false, 0, 0, nil
	m.protocolType, m.protocol, m.leader = "", "", ""
	m.members, m.statics = map[string]*member{}, map[string]string{}
	clear(m.supports)
	clear(m.pending)
	m.rebalance.at, m.syncBy = never, never
	m.rebalance.first = false
	m.enter(Empty, now)
}

// mayDowngrade says whether all members speak the classic protocol, and may have their own group again.
func (m *Machine) mayDowngrade() bool {
	g := m.consumers
	if !m.cfg.Consumers.Downgrades || len(g.members) == 0 || len(g.members) > m.cfg.MembersMax {
		return false
	}
	for _, one := range g.members {
		if one.classic == nil {
			return false
		}
	}
	return true
}

// downgrade makes the group a classic one again, in a new rebalance. The record of the classic group
// comes first: a log that ends after it leaves the classic group, and the rest is swept away.
func (m *Machine) downgrade(now Time, fx *Effects) {
	g := m.consumers
	m.protocolType, m.generation = consumerType, g.epoch
	for _, c := range g.ordered() {
		m.add(&member{
			id: c.id, instance: c.instance, clientID: c.clientID, host: c.host, session: c.session,
			rebalance: c.rebalance, protocols: c.classic.protocols, expires: now.Mono + c.session, synced: true,
			assignment: m.catalog.assignmentOf(c.assigned.slots),
		})
	}
	m.protocol = m.choose()
	m.subscribed = m.subscriptions()
	m.enter(Stable, now)
	if m.protocol == "" || !m.keep(fx) {
		// They have no protocol in common, or do not fit a record: they stay what they are.
		m.forgetClassic(now)
		m.bump(fx)
		m.divide(now, fx)
		return
	}
	m.dissolve(fx)
	m.changed(now, fx)
	m.rewind()
}

// dissolve takes away all records of the consumer group.
func (m *Machine) dissolve(fx *Effects) {
	for _, one := range m.consumers.ordered() {
		m.strike(one, fx)
	}
	fx.Records = append(fx.Records, m.consumers.rest(m.name)...)
	m.consumers = nil
}

// rest are the deletions of what is kept of a group without members.
func (g *consumers) rest(name string) []Record {
	var records []Record
	for pattern := range g.patterns {
		records = append(records, Record{Key: consumerKey(consumerRegexKey, name, pattern)})
	}
	if g.targetKept {
		records = append(records, Record{Key: consumerKey(targetGroupKey, name)})
	}
	return append(records, Record{Key: consumerKey(consumerGroupKey, name)})
}

// clear sweeps away what a change of protocol that did not come to its end has left in the log.
func (m *Machine) clear(fx *Effects) {
	fx.Records = append(fx.Records, m.debris...)
	m.debris = nil
}
