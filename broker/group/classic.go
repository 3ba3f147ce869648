package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group/assign"
)

// classicMember is what a member of a consumer group has more when it speaks the classic protocol: it
// joins and syncs as it always did, is answered by the coordinator alone, and takes its epoch for a
// generation.
type classicMember struct {
	session   int64
	protocols []Protocol
	// by is until when it must join or sync, never while it need not.
	by int64
}

// late reports whether the member has missed its time.
func (c *classicMember) late(now Time) bool { return c != nil && c.by <= now.Mono }

// subscription is what a classic consumer says of itself, as the coordinator understands it.
type subscription struct {
	names []string
	rack  *string
	owned []kmsg.ConsumerMemberMetadataOwnedPartition
}

func readSubscription(metadata []byte) (subscription, bool) {
	var v kmsg.ConsumerMemberMetadata
	if err := v.ReadFrom(metadata); err != nil {
		return subscription{}, false
	}
	return subscription{names: sorted(v.Topics), rack: v.Rack, owned: v.OwnedPartitions}, true
}

// slotsOf finds partitions by the names of their topics. Those of topics that are gone are left out.
func (c *Catalog) slotsOf(topic string, partitions []int32, into []assign.Slot) []assign.Slot {
	if c == nil {
		return into
	}
	if i, found := c.byName[topic]; found {
		for _, p := range partitions {
			into = append(into, assign.Slot{Topic: c.topics[i].ID, Partition: p})
		}
	}
	return into
}

func (c *Catalog) owned(s subscription) assign.Slots {
	var slots []assign.Slot
	for _, o := range s.owned {
		slots = c.slotsOf(o.Topic, o.Partitions, slots)
	}
	return assign.SlotsOf(slots)
}

// readAssignment finds what a leader of the classic protocol has assigned to a member. An error is
// ErrNotConsumers if it cannot be read, ErrUnknownTopics if it names topics that are not known here.
func (c *Catalog) readAssignment(assignment []byte) (assign.Slots, error) {
	if len(assignment) == 0 {
		return nil, nil
	}
	var v kmsg.ConsumerMemberAssignment
	if err := v.ReadFrom(assignment); err != nil {
		return nil, ErrNotConsumers
	}
	var slots []assign.Slot
	var err error
	for _, t := range v.Topics {
		if _, known := c.byName[t.Topic]; !known {
			err = ErrUnknownTopics
		}
		slots = c.slotsOf(t.Topic, t.Partitions, slots)
	}
	return assign.SlotsOf(slots), err
}

// assignmentOf writes partitions as a consumer of the classic protocol reads them.
func (c *Catalog) assignmentOf(slots assign.Slots) []byte {
	v := kmsg.NewConsumerMemberAssignment()
	for _, run := range byTopic(slots) {
		name := ""
		if c != nil {
			name = c.nameOf(run[0].Topic)
		}
		if name == "" {
			continue // deleted meanwhile; nobody can read it
		}
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic = name
		for _, slot := range run {
			t.Partitions = append(t.Partitions, slot.Partition)
		}
		v.Topics = append(v.Topics, t)
	}
	return v.AppendTo(nil)
}

// joinConsumers is a join of the classic protocol in a consumer group. It is answered at once.
func (m *Machine) joinConsumers(e Join, now Time, fx *Effects) {
	g := m.consumers
	var said subscription
	known := e.ProtocolType == consumerType && len(e.Protocols) > 0
	understood := known
	if known {
		said, understood = readSubscription(e.Protocols[0].Metadata)
	}
	id := e.MemberID
	if id == "" {
		id = e.NewID
	}
	var fixed *consumer
	if e.Instance != nil {
		fixed = g.members[g.statics[*e.Instance]]
	}
	switch {
	case !known:
		fx.refuse(e.Token, ErrInconsistentProtocol)
	case fixed == nil && g.members[id] == nil && len(g.members) >= m.cfg.Consumers.MembersMax:
		fx.refuse(e.Token, ErrGroupFull)
	case e.MemberID == "" && e.Instance == nil && e.NamesFirst:
		fx.Replies = append(fx.Replies, Reply{
			Token: e.Token, Err: ErrMemberIDRequired, Result: &Joined{MemberID: e.NewID, Generation: -1},
		})
	case e.MemberID != "" && fixed != nil && fixed.id != id:
		fx.refuse(e.Token, ErrFencedInstance)
	case e.MemberID != "" && e.Instance != nil && fixed == nil:
		fx.refuse(e.Token, ErrUnknownMember)
	case !understood:
		fx.refuse(e.Token, ErrInconsistentProtocol)
	case !m.describesClassic(id, &e, said):
		fx.refuse(e.Token, ErrRecordTooLarge)
	default:
		m.admitClassic(id, &e, said, now, fx)
	}
}

// describesClassic reports whether what a member of the classic protocol says of itself fits a record.
func (m *Machine) describesClassic(id string, e *Join, said subscription) bool {
	one := consumer{
		id: id, instance: e.Instance, rack: said.rack, clientID: e.ClientID, host: e.Host, names: said.names,
		classic: &classicMember{protocols: e.Protocols},
	}
	if known := m.former(id, e.Instance); known != nil {
		one.place = known.place
	}
	return m.keeps(&one)
}

// admitClassic takes a member of the classic protocol in, or takes over what it says now.
func (m *Machine) admitClassic(id string, e *Join, said subscription, now Time, fx *Effects) {
	one := m.member(id, e.Instance, fx)
	before, was := *one, update{place: one.place}
	if one.epoch == leaveStaticEpoch {
		one.epoch, one.previous = joinEpoch, joinEpoch
	}
	one.clientID, one.host, one.rack = e.ClientID, e.Host, said.rack
	one.rebalance, one.session = int64(e.RebalanceMillis), int64(e.SessionMillis)
	one.names, one.pattern, one.assignor = said.names, "", ""
	was.subscribes = before.classic == nil
	described := member{}
	described.describe(*e)
	one.classic = &classicMember{session: one.session, protocols: described.protocols, by: now.Mono + one.rebalance}
	m.wake = min(m.wake, one.classic.by)
	m.describeConsumer(one, &before, &was, now, fx)
	if m.mayDowngrade() {
		// The last member of the new kind has been replaced: they are all among themselves again.
		m.downgrade(now, fx)
		m.join(*e, now, fx)
		return
	}
	m.renew(one, now)
	owned := m.catalog.owned(said)
	m.advance(one, was, &owned, now, fx)
	if m.consumers.undivided(one.id) {
		fx.refuse(e.Token, ErrRecordTooLarge)
		return
	}
	fx.reply(e.Token, &Joined{
		MemberID: one.id, Generation: one.epoch, ProtocolType: consumerType, Protocol: e.Protocols[0].Name,
	})
}

// classicOf says whether a request of the classic protocol comes from a present member in its epoch.
func (m *Machine) classicOf(id string, instance *string, generation int32) (*consumer, error) {
	g := m.consumers
	if instance != nil {
		switch known, found := g.statics[*instance]; {
		case !found:
			return nil, ErrUnknownMember
		case known != id:
			return nil, ErrFencedInstance
		}
	}
	one := g.members[id]
	switch {
	case one == nil || one.classic == nil:
		return nil, ErrUnknownMember
	case generation != one.epoch:
		return nil, ErrIllegalGeneration
	}
	return one, nil
}

// mustJoin says whether a member has to join again before it can have what it is to have.
func (m *Machine) mustJoin(one *consumer) bool {
	if one.epoch < m.consumers.targetEpoch || one.state == unrevoked {
		return true
	}
	if one.state != unreleased {
		return false
	}
	for _, slot := range one.target {
		if holder := m.consumers.holders[slot]; holder != nil && holder != one {
			return false // joining would bring nothing yet
		}
	}
	return true
}

// heartbeatConsumers is a heartbeat of the classic protocol in a consumer group.
func (m *Machine) heartbeatConsumers(e Heartbeat, now Time, fx *Effects) {
	one, err := m.classicOf(e.MemberID, e.Instance, e.Generation)
	if err != nil {
		fx.refuse(e.Token, err)
		return
	}
	m.renew(one, now)
	if !m.mustJoin(one) {
		fx.Replies = append(fx.Replies, Reply{Token: e.Token})
		return
	}
	if one.classic.by == never {
		one.classic.by = now.Mono + one.rebalance
		m.wake = min(m.wake, one.classic.by)
	}
	fx.refuse(e.Token, ErrRebalancing)
}

// syncConsumers gives a member of the classic protocol what it may have.
func (m *Machine) syncConsumers(e Sync, now Time, fx *Effects) {
	one, err := m.classicOf(e.MemberID, e.Instance, e.Generation)
	switch {
	case err != nil:
		fx.refuse(e.Token, err)
		return
	case e.ProtocolType != nil && *e.ProtocolType != consumerType,
		e.Protocol != nil && *e.Protocol != one.classic.protocols[0].Name:
		fx.refuse(e.Token, ErrInconsistentProtocol)
		return
	case one.epoch < m.consumers.targetEpoch && one.state != unrevoked:
		// One that must give something back hears here what it may keep, and joins again for the rest.
		fx.refuse(e.Token, ErrRebalancing)
		return
	}
	m.renew(one, now)
	one.classic.by = never
	fx.reply(e.Token, &Synced{
		ProtocolType: consumerType, Protocol: one.classic.protocols[0].Name,
		Assignment: m.catalog.assignmentOf(one.assigned.slots),
	})
}

// leaveConsumers takes members out of a consumer group, as tools and the classic protocol ask for it.
func (m *Machine) leaveConsumers(e Leave, now Time, fx *Effects) {
	left := &Left{Errs: make([]error, len(e.Members))}
	var gone []*consumer
	for i, who := range e.Members {
		id := who.ID
		if id == "" && who.Instance != nil {
			id = m.consumers.statics[*who.Instance]
		}
		one, err := m.leaver(&ConsumerHeartbeat{MemberID: id, Instance: who.Instance})
		if err != nil {
			left.Errs[i] = err
			continue
		}
		gone = append(gone, one)
	}
	m.expel(gone, now, fx)
	fx.reply(e.Token, left)
}
