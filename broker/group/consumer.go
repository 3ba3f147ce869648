package group

import (
	"slices"
	"strings"

	"outrigger/broker/group/assign"
)

// Epochs that a member of a consumer group says and that are none.
const (
	joinEpoch        = 0
	leaveEpoch       = -1
	leaveStaticEpoch = -2
)

// ConsumerConfig is what consumer groups of the KIP-848 protocol may do.
type ConsumerConfig struct {
	// MembersMax is `group.consumer.max.size`.
	MembersMax int
	// SessionMillis is `group.consumer.session.timeout.ms`, for members that have just been restored.
	SessionMillis int64
	// Assignors are `group.consumer.assignors`, the default first.
	Assignors []string
	// Upgrades and Downgrades are `group.consumer.migration.policy`: whether a group with members
	// changes its protocol when one of the other kind joins, or the last of the new kind leaves.
	Upgrades, Downgrades bool
}

// ConsumerHeartbeat is all that a member of a consumer group ever sends (KIP-848): it joins, leaves,
// says what it wants and has, and hears what it may have. The answer is *ConsumerBeat.
type ConsumerHeartbeat struct {
	Token    Token
	MemberID string
	// Epoch is the member's; 0 joins, -1 leaves, -2 leaves and is about to come back (static members).
	Epoch          int32
	Instance, Rack *string
	ClientID, Host string
	// RebalanceMillis is how long the member may take to give partitions back, -1 if unchanged.
	RebalanceMillis int32
	// SessionMillis is after how much silence the member is taken out.
	SessionMillis int64
	// AssignMillis is how long after a division of the group's partitions the next one may come.
	AssignMillis int64
	// Names and Pattern are the subscription, Assignor who is to divide; nil is unchanged.
	Names    []string
	Pattern  *string
	Assignor *string
	// Owned is what the member has, nil if unchanged.
	Owned *assign.Slots
}

func (e ConsumerHeartbeat) token() Token { return e.Token }

// whole: the member has said everything, so it hears everything.
func (e *ConsumerHeartbeat) whole() bool {
	return e.Epoch == joinEpoch ||
		e.RebalanceMillis >= 0 && (e.Names != nil || e.Pattern != nil) && e.Owned != nil
}

// ConsumerBeat is a member's place in its group.
type ConsumerBeat struct {
	MemberID string
	Epoch    int32
	// Assigned is what the member may use, nil if it is what it was.
	Assigned *assign.Slots
}

// consumers is a group of the KIP-848 protocol.
type consumers struct {
	// epoch grows when the subscriptions, or the topics that they mean, change. targetEpoch is that of
	// the last division; the members' targets belong to it.
	epoch, targetEpoch int32
	// hash is that of the subscribed topics when epoch began.
	hash    int64
	members map[string]*consumer
	statics map[string]string
	// holders are who holds what, or is about to give it back.
	holders map[assign.Slot]*consumer
	// patterns are what the members' patterns match.
	patterns map[string][]string
	// targetKept: the log holds a targetEpoch.
	targetKept bool
	// refused is the epoch that could not be divided, since the members in over would have got more than
	// fits a record. The others go on with what they had.
	refused  int32
	over     map[string]bool
	division division
}

// consumer is one member of such a group.
type consumer struct {
	id             string
	instance, rack *string
	clientID, host string
	names          []string
	pattern        string
	assignor       string
	// rebalance and session are the member's timeouts in milliseconds.
	rebalance, session int64
	// classic is set for a member that still speaks the classic protocol.
	classic *classicMember
	place
	target assign.Slots
	// expires is when the session ends, revokeBy until when partitions must be given back.
	expires, revokeBy int64
	// placed and targeted: the log holds a place and a target of the member.
	placed, targeted bool
}

func newConsumers() *consumers {
	return &consumers{
		members: map[string]*consumer{}, statics: map[string]string{},
		holders: map[assign.Slot]*consumer{}, patterns: map[string][]string{},
	}
}

// ordered are the members, sorted by id.
func (g *consumers) ordered() []*consumer {
	all := make([]*consumer, 0, len(g.members))
	for _, one := range g.members {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *consumer) int { return strings.Compare(a.id, b.id) })
	return all
}

// consumerHeartbeat serves a member of a consumer group.
func (m *Machine) consumerHeartbeat(e ConsumerHeartbeat, now Time, fx *Effects) {
	if e.Epoch < joinEpoch {
		m.consumerLeave(&e, now, fx)
		return
	}
	if err := m.mayBeat(&e); err != nil {
		fx.refuse(e.Token, err)
		return
	}
	if err := m.becomeConsumers(now, fx); err != nil {
		fx.refuse(e.Token, err)
		return
	}
	m.consumers.division.every = e.AssignMillis
	one, news := m.enlist(&e, now, fx)
	one.session = e.SessionMillis
	m.renew(one, now)
	m.advance(one, news, e.Owned, now, fx)
	if m.consumers.undivided(one.id) {
		fx.refuse(e.Token, ErrRecordTooLarge)
		return
	}
	beat := &ConsumerBeat{MemberID: one.id, Epoch: one.epoch}
	if e.whole() || !news.assigned.slots.Equal(one.assigned.slots) {
		// A copy: the answer may wait for its record while the member's place moves on.
		slots := one.assigned.slots
		beat.Assigned = &slots
	}
	fx.reply(e.Token, beat)
}

// mayBeat judges a heartbeat that does not leave. It changes nothing.
func (m *Machine) mayBeat(e *ConsumerHeartbeat) error {
	if e.Assignor != nil && !slices.Contains(m.cfg.Consumers.Assignors, *e.Assignor) {
		return ErrUnsupportedAssignor
	}
	if e.Pattern != nil && *e.Pattern != "" {
		if _, err := compile(*e.Pattern); err != nil {
			return ErrInvalidPattern
		}
	}
	if !m.describes(e) {
		return ErrRecordTooLarge
	}
	g := m.consumers
	if g == nil {
		return m.mayBecome(e)
	}
	one := g.members[e.MemberID]
	var fixed *consumer
	if e.Instance != nil {
		fixed = g.members[g.statics[*e.Instance]]
	}
	switch {
	case one == nil && e.Epoch != joinEpoch:
		return ErrUnknownMember
	case one == nil && fixed == nil && len(g.members) >= m.cfg.Consumers.MembersMax:
		return ErrGroupFull
	case fixed != nil && fixed.id != e.MemberID && e.Epoch == joinEpoch && fixed.epoch != leaveStaticEpoch &&
		fixed.classic == nil:
		return ErrUnreleasedInstance
	case fixed != nil && fixed.id != e.MemberID && e.Epoch != joinEpoch:
		return ErrFencedInstance
	case fixed == nil && e.Instance != nil && e.Epoch != joinEpoch:
		return ErrUnknownMember
	case one == nil || e.Epoch == joinEpoch:
		return nil
	case e.Epoch > one.epoch,
		e.Epoch < one.epoch && (e.Epoch != one.previous || e.Owned == nil || !e.Owned.Within(one.assigned.slots)):
		// The one before is good as long as the member has not missed anything but the answer.
		return ErrFencedEpoch
	}
	return nil
}

// update is what an event changes in a member, with what it was.
type update struct {
	place
	// subscribes: the subscription is another one.
	subscribes bool
}

// enlist finds or makes the member of a heartbeat, and takes over what it says of itself.
func (m *Machine) enlist(e *ConsumerHeartbeat, now Time, fx *Effects) (*consumer, update) {
	one := m.member(e.MemberID, e.Instance, fx)
	before, was := *one, update{place: one.place}
	if one.epoch == leaveStaticEpoch {
		one.epoch, one.previous = joinEpoch, joinEpoch
	}
	one.classic = nil
	one.clientID, one.host = e.ClientID, e.Host
	if e.Instance != nil {
		one.instance = e.Instance
	}
	if e.Rack != nil {
		one.rack = e.Rack
	}
	if e.RebalanceMillis >= 0 {
		one.rebalance = int64(e.RebalanceMillis)
	}
	if e.Assignor != nil {
		one.assignor = *e.Assignor
	}
	if e.Pattern != nil {
		one.pattern = *e.Pattern
	}
	if e.Names != nil {
		one.names = sorted(e.Names)
	}
	m.describeConsumer(one, &before, &was, now, fx)
	return one, was
}

func sorted(names []string) []string {
	own := slices.Clone(names)
	slices.Sort(own)
	return slices.Compact(own)
}

// describeConsumer keeps what has changed in what a member says of itself. The group's epoch is written
// before what it began for: a log that ends in between makes the next coordinator divide again.
func (m *Machine) describeConsumer(one, before *consumer, was *update, now Time, fx *Effects) {
	was.subscribes = was.subscribes || !slices.Equal(one.names, before.names) || one.pattern != before.pattern ||
		!before.placed
	if before.pattern != one.pattern {
		m.matchPatterns(now, fx)
	}
	if was.subscribes {
		m.bump(fx)
	}
	if was.subscribes || !one.sameAs(before) {
		fx.Records = append(fx.Records, memberRecord(m.name, one))
	}
}

// sameAs reports whether a member says the same of itself as another one.
func (one *consumer) sameAs(o *consumer) bool {
	return one.clientID == o.clientID && one.host == o.host && one.rebalance == o.rebalance &&
		one.assignor == o.assignor && equalText(one.instance, o.instance) && equalText(one.rack, o.rack) &&
		one.classic == o.classic
}

func equalText(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// member finds the member of an id or makes one. One with the instance id of another takes its place.
func (m *Machine) member(id string, instance *string, fx *Effects) *consumer {
	g := m.consumers
	if one := g.members[id]; one != nil {
		return one
	}
	one := &consumer{id: id, instance: instance, expires: never, revokeBy: never, rebalance: -1}
	if instance != nil {
		if old := g.members[g.statics[*instance]]; old != nil {
			copied := *old
			one = &copied
			one.id, one.revokeBy = id, never
			// It has told nobody what it has, so it starts with what its predecessor left.
			one.place = place{assigned: old.assigned}
			m.bump(fx) // should the log end before all that follows
			m.strike(old, fx)
			one.targeted = len(one.target) > 0
			if one.targeted {
				fx.Records = append(fx.Records, targetRecord(m.name, id, one.target))
			}
			fx.Records = append(fx.Records, memberRecord(m.name, one), placeRecord(m.name, id, &one.place))
			m.hold(one)
		}
		g.statics[*instance] = id
	}
	g.members[id] = one
	return one
}

// hold notes what a member holds.
func (m *Machine) hold(one *consumer) {
	for _, h := range []holdings{one.assigned, one.revoking} {
		for _, slot := range h.slots {
			m.consumers.holders[slot] = one
		}
	}
}

// release forgets what a member holds.
func (m *Machine) release(one *consumer) {
	for _, h := range []holdings{one.assigned, one.revoking} {
		for _, slot := range h.slots {
			if m.consumers.holders[slot] == one {
				delete(m.consumers.holders, slot)
			}
		}
	}
}

// strike takes a member and all that is kept of it away.
func (m *Machine) strike(one *consumer, fx *Effects) {
	g := m.consumers
	m.release(one)
	delete(g.members, one.id)
	if one.instance != nil && g.statics[*one.instance] == one.id {
		delete(g.statics, *one.instance)
	}
	if one.placed {
		fx.Records = append(fx.Records, Record{Key: consumerKey(consumerPlaceKey, m.name, one.id)})
	}
	if one.targeted {
		fx.Records = append(fx.Records, Record{Key: consumerKey(targetMemberKey, m.name, one.id)})
	}
	fx.Records = append(fx.Records, Record{Key: consumerKey(consumerMemberKey, m.name, one.id)})
}

// renew gives a member another session.
func (m *Machine) renew(one *consumer, now Time) {
	one.expires = now.Mono + one.session
	m.wake = min(m.wake, one.expires)
}

// advance brings the group's division up to date, and the member one step towards its part of it.
func (m *Machine) advance(one *consumer, was update, owned *assign.Slots, now Time, fx *Effects) {
	m.divide(now, fx)
	next := one.next(m.consumers.targetEpoch, one.target, owned, func(slot assign.Slot) bool {
		holder := m.consumers.holders[slot]
		return holder == nil || holder == one
	})
	if !one.placed || !next.equal(&was.place) {
		m.release(one)
		one.place, one.placed = next, true
		m.hold(one)
		fx.Records = append(fx.Records, placeRecord(m.name, one.id, &one.place))
	}
	switch {
	case one.state != unrevoked:
		one.revokeBy = never
	case was.state != unrevoked || one.revokeBy == never || !was.revoking.equal(one.revoking):
		one.revokeBy = now.Mono + max(one.rebalance, 0)
		m.wake = min(m.wake, one.revokeBy)
	}
}

// consumerLeave takes a member out. One that is about to come back keeps its partitions for a session.
func (m *Machine) consumerLeave(e *ConsumerHeartbeat, now Time, fx *Effects) {
	one, err := m.leaver(e)
	if err != nil {
		fx.refuse(e.Token, err)
		return
	}
	if e.Epoch == leaveStaticEpoch {
		left := place{epoch: leaveStaticEpoch, previous: one.epoch, assigned: one.assigned}
		m.release(one)
		one.place, one.revokeBy = left, never
		m.hold(one)
		fx.Records = append(fx.Records, placeRecord(m.name, one.id, &one.place))
		m.renew(one, now)
	} else {
		m.expel([]*consumer{one}, now, fx)
	}
	fx.reply(e.Token, &ConsumerBeat{MemberID: one.id, Epoch: e.Epoch})
}

// leaver is the member that a heartbeat takes out.
func (m *Machine) leaver(e *ConsumerHeartbeat) (*consumer, error) {
	g := m.consumers
	if g == nil {
		return nil, ErrUnknownGroup
	}
	one := g.members[e.MemberID]
	if e.Instance != nil {
		switch known, found := g.statics[*e.Instance]; {
		case !found:
			return nil, ErrUnknownMember
		case known != e.MemberID:
			return nil, ErrFencedInstance
		}
	}
	if one == nil {
		return nil, ErrUnknownMember
	}
	return one, nil
}

// expel takes members out, and divides among the others what they had.
func (m *Machine) expel(gone []*consumer, now Time, fx *Effects) {
	if len(gone) == 0 {
		return
	}
	var struck Effects
	for _, one := range gone {
		m.strike(one, &struck)
	}
	if m.mayDowngrade() {
		m.downgrade(now, fx)
		fx.Records = append(fx.Records, struck.Records...)
		return
	}
	// The epoch is written before what it began for, as in describeConsumer.
	m.bump(fx)
	fx.Records = append(fx.Records, struck.Records...)
	m.matchPatterns(now, fx)
	m.divide(now, fx)
	if len(m.consumers.members) == 0 {
		m.since = now.Wall
	}
}

// tickConsumers takes out who has been silent for too long, or has not given back what it must.
func (m *Machine) tickConsumers(now Time, fx *Effects) {
	if m.consumers == nil {
		return
	}
	var gone []*consumer
	for _, one := range m.consumers.ordered() {
		if one.expires <= now.Mono || one.revokeBy <= now.Mono || one.classic.late(now) {
			gone = append(gone, one)
		}
	}
	m.expel(gone, now, fx)
	if m.consumers != nil {
		m.divide(now, fx)
	}
}

// rewindConsumers finds the next time at which a timer may be due.
func (m *Machine) rewindConsumers() {
	if m.consumers == nil {
		return
	}
	if m.undividedConsumers() {
		m.wake = min(m.wake, m.consumers.division.due())
	}
	for _, one := range m.consumers.members {
		m.wake = min(m.wake, one.expires, one.revokeBy)
		if one.classic != nil {
			m.wake = min(m.wake, one.classic.by)
		}
	}
}

// rearmConsumers gives every member another session, and as long as it may take to give things back.
func (m *Machine) rearmConsumers(now Time) {
	if m.consumers == nil {
		return
	}
	for _, one := range m.consumers.members {
		m.renew(one, now)
		if one.state == unrevoked {
			one.revokeBy = now.Mono + max(one.rebalance, 0)
		}
		if one.classic != nil && one.classic.by != never {
			one.classic.by = now.Mono + max(one.rebalance, 0)
		}
	}
}
