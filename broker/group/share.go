package group

import (
	"slices"
	"strings"

	"outrigger/broker/group/assign"
)

// shareType is what share groups have for a protocol type.
const shareType = "share"

// ShareConfig is what share groups may do.
type ShareConfig struct {
	// MembersMax is `group.share.max.size`.
	MembersMax int
	// SessionMillis is `group.share.session.timeout.ms`, for members that have just been restored.
	SessionMillis int64
}

// ShareHeartbeat is all that a member of a share group ever sends to its coordinator (KIP-932). The answer
// is *ShareBeat.
type ShareHeartbeat struct {
	Token    Token
	MemberID string
	// Epoch is the member's; 0 joins, -1 leaves.
	Epoch          int32
	Rack           *string
	ClientID, Host string
	// SessionMillis is after how much silence the member is taken out.
	SessionMillis int64
	// AssignMillis is how long after a division of the group's partitions the next one may come.
	AssignMillis int64
	// Names is the subscription, nil if unchanged.
	Names []string
}

// ShareBeat is a member's place in its share group.
type ShareBeat struct {
	MemberID string
	Epoch    int32
	// Assigned is what the member may fetch, nil if it is what it was.
	Assigned *assign.Slots
	// Missing are partitions that the group subscribes to and whose state is not initialized yet;
	// ShareInitialized says that it is. That of Forgetting is to be deleted before; ShareForgotten tells.
	Missing, Forgetting assign.Slots
}

// ShareInitialized tells that partitions have a state. The answer has no result.
type ShareInitialized struct {
	Token Token
	Slots assign.Slots
}

// ShareUninitialized tells that partitions which a reset noted have got no state. The answer has no result.
type ShareUninitialized struct {
	Token Token
	Slots assign.Slots
}

// ShareForget begins to forget what an empty group knows of topics, of all if nil. The answer is *ShareStates,
// of those that are to be deleted.
type ShareForget struct {
	Token  Token
	Topics []assign.TopicID
}

// ShareForgotten tells that the states of partitions are deleted. The answer has no result.
type ShareForgotten struct {
	Token Token
	Slots assign.Slots
}

// ShareReset notes that an empty group, or one that is not there yet, is to begin elsewhere in partitions. The
// answer is *ShareStates, of those that had no state before: who cannot give them one tells by
// ShareUninitialized.
type ShareReset struct {
	Token Token
	Slots assign.Slots
}

// ShareStates are partitions of which a share group has states.
type ShareStates struct{ Slots assign.Slots }

func (e ShareHeartbeat) token() Token     { return e.Token }
func (e ShareInitialized) token() Token   { return e.Token }
func (e ShareUninitialized) token() Token { return e.Token }
func (e ShareForget) token() Token        { return e.Token }
func (e ShareForgotten) token() Token     { return e.Token }
func (e ShareReset) token() Token         { return e.Token }

// shares is a share group.
type shares struct {
	// epoch grows when the subscriptions, or the topics that they mean, change; targetEpoch is that of the
	// last division.
	epoch, targetEpoch int32
	// hash is that of the subscribed topics when epoch began.
	hash    int64
	members map[string]*shareMember
	// initialized are the partitions that have a state, forgetting those whose state is to be deleted.
	initialized, forgetting assign.Slots
	// names are those of the topics in both, which may be gone from the catalog.
	names map[assign.TopicID]string
	// targetKept, statesKept: the log holds a targetEpoch, and what has a state.
	targetKept, statesKept bool
	division               division
}

// shareMember is one member of a share group.
type shareMember struct {
	id             string
	rack           *string
	clientID, host string
	names          []string
	session        int64
	// epoch is that of assigned, previous the one before.
	epoch, previous  int32
	assigned, target assign.Slots
	// expires is when the session ends.
	expires int64
	// targeted: the log holds a target of the member.
	targeted bool
}

func newShares() *shares {
	return &shares{members: map[string]*shareMember{}, names: map[assign.TopicID]string{}}
}

// ordered are the members, sorted by id.
func (g *shares) ordered() []*shareMember {
	all := make([]*shareMember, 0, len(g.members))
	for _, one := range g.members {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *shareMember) int { return strings.Compare(a.id, b.id) })
	return all
}

// stepShares takes an event for a share group, or refuses one of another kind. It reports whether there is
// nothing left to do.
func (m *Machine) stepShares(e Event, now Time, fx *Effects) bool {
	switch e := e.(type) {
	case ShareHeartbeat:
		m.shareHeartbeat(e, now, fx)
	case ShareInitialized:
		m.shareStates(e.Token, fx, func(g *shares) { g.initialized = g.initialized.With(g.of(e.Slots).Without(g.forgetting)) })
	case ShareUninitialized:
		m.shareStates(e.Token, fx, func(g *shares) { g.initialized = g.initialized.Without(e.Slots) })
	case ShareForgotten:
		m.shareStates(e.Token, fx, func(g *shares) { g.forgetting = g.forgetting.Without(e.Slots) })
	case ShareForget:
		m.shareForget(e, fx)
	case ShareReset:
		m.shareReset(e, now, fx)
	case Delete:
		return false
	default:
		fetch, fetches := e.(Fetch)
		if m.shares == nil || fetches && fetch.MemberID == nil {
			return false // who asks as no member is told that nothing was committed
		}
		fx.refuse(e.token(), refuseShared(e))
	}
	return true
}

// refuseShared is what members of other groups hear of a share group.
func refuseShared(e Event) error {
	switch e.(type) {
	case Join:
		return ErrInconsistentProtocol
	case Sync, Heartbeat, Leave:
		return ErrUnknownMember
	default:
		return ErrNotThatKind
	}
}

// mayShare judges a heartbeat. It changes nothing.
func (m *Machine) mayShare(e *ShareHeartbeat) error {
	if m.shares == nil {
		switch {
		case m.Exists():
			return ErrNotThatKind
		case e.Epoch < joinEpoch:
			return ErrUnknownGroup
		case e.Epoch != joinEpoch:
			return ErrUnknownMember // it joins anew
		}
		return nil
	}
	one := m.shares.members[e.MemberID]
	switch {
	case one == nil && e.Epoch != joinEpoch:
		return ErrUnknownMember
	case one == nil && len(m.shares.members) >= m.cfg.Shares.MembersMax:
		return ErrGroupFull
	case one == nil || e.Epoch <= joinEpoch:
		return nil
	case e.Epoch > one.epoch, e.Epoch < one.epoch && e.Epoch != one.previous:
		return ErrFencedEpoch
	}
	return nil
}

// shareHeartbeat serves a member of a share group. Nothing is ever revoked from it: it may fetch what it
// likes, and its assignment only spreads the members over the partitions.
func (m *Machine) shareHeartbeat(e ShareHeartbeat, now Time, fx *Effects) {
	if err := m.mayShare(&e); err != nil {
		fx.refuse(e.Token, err)
		return
	}
	if e.Epoch < joinEpoch {
		m.expelShares([]*shareMember{m.shares.members[e.MemberID]}, now, fx)
		fx.reply(e.Token, &ShareBeat{MemberID: e.MemberID, Epoch: e.Epoch})
		return
	}
	one := m.enlistShare(&e, now, fx)
	one.session = e.SessionMillis
	one.expires = now.Mono + one.session
	m.wake = min(m.wake, one.expires)
	m.shares.division.every = e.AssignMillis
	m.divideShares(now, fx)
	beat := &ShareBeat{MemberID: one.id, Forgetting: m.shares.forgetting, Missing: m.missingShares()}
	if e.Epoch != m.shares.targetEpoch || one.epoch != m.shares.targetEpoch {
		if one.epoch != m.shares.targetEpoch {
			one.previous, one.epoch, one.assigned = one.epoch, m.shares.targetEpoch, one.target
			fx.Records = append(fx.Records, sharePlaceRecord(m.name, one))
		}
		beat.Assigned = &one.assigned
	}
	beat.Epoch = one.epoch
	fx.reply(e.Token, beat)
}

// foundShares makes the group, unless it is there.
func (m *Machine) foundShares(now Time, fx *Effects) {
	if m.shares == nil {
		m.clear(fx)
		m.shares = newShares()
		m.since = now.Wall
	}
}

// enlistShare finds or makes the member of a heartbeat, and takes over what it says of itself. The group's
// epoch is written before what it began for.
func (m *Machine) enlistShare(e *ShareHeartbeat, now Time, fx *Effects) *shareMember {
	m.foundShares(now, fx)
	one := m.shares.members[e.MemberID]
	fresh := one == nil
	if fresh {
		one = &shareMember{id: e.MemberID, expires: never}
		m.shares.members[one.id] = one
	}
	before := *one
	one.clientID, one.host = e.ClientID, e.Host
	if e.Rack != nil {
		one.rack = e.Rack
	}
	if e.Names != nil {
		one.names = sorted(e.Names)
	}
	subscribes := fresh || !slices.Equal(one.names, before.names)
	if subscribes {
		m.bumpShares(fx)
	}
	if subscribes || one.clientID != before.clientID || one.host != before.host || !equalText(one.rack, before.rack) {
		fx.Records = append(fx.Records, shareMemberRecord(m.name, one))
	}
	return one
}

// bumpShares begins another epoch of the group.
func (m *Machine) bumpShares(fx *Effects) {
	g := m.shares
	g.epoch++
	g.hash = 0
	if m.catalog != nil {
		g.hash = m.catalog.hash(g.subscribed())
	}
	fx.Records = append(fx.Records, shareEpochRecord(m.name, g.epoch, g.hash))
}

// subscribed are the topics that members name, whether they exist or not.
func (g *shares) subscribed() map[string]bool {
	names := map[string]bool{}
	for _, one := range g.members {
		for _, name := range one.names {
			names[name] = true
		}
	}
	return names
}

// divideShares brings the members' targets up to the group's epoch, whose record is written last. As divide, it
// waits for `share.assignment.interval.ms`.
func (m *Machine) divideShares(now Time, fx *Effects) {
	g := m.shares
	if m.catalog == nil || g.targetEpoch >= g.epoch {
		return
	}
	if due := g.division.due(); due > now.Mono {
		m.wake = min(m.wake, due)
		return
	}
	g.division.divided(now)
	ordered := g.ordered()
	lists := map[string][]assign.Topic{}
	members := make([]assign.Member, len(ordered))
	for i, one := range ordered {
		key := strings.Join(one.names, "\x00")
		if _, known := lists[key]; !known {
			names := map[string]bool{}
			for _, name := range one.names {
				names[name] = true
			}
			lists[key] = m.catalog.named(names)
		}
		members[i] = assign.Member{ID: one.id, Topics: lists[key], Target: one.target}
	}
	for i, target := range assign.Simple(members) {
		if one := ordered[i]; !one.targeted || !one.target.Equal(target) {
			one.target, one.targeted = target, true
			fx.Records = append(fx.Records, shareTargetRecord(m.name, one))
		}
	}
	g.targetEpoch, g.targetKept = g.epoch, true
	fx.Records = append(fx.Records, shareTargetEpochRecord(m.name, g.targetEpoch, now.Wall))
}

// refreshShares takes in that topics have come, gone or grown.
func (m *Machine) refreshShares(now Time, fx *Effects) {
	g := m.shares
	if g == nil {
		return
	}
	gone := func(slot assign.Slot) bool { return m.catalog.nameOf(slot.Topic) == "" }
	if slices.ContainsFunc(g.initialized, gone) || slices.ContainsFunc(g.forgetting, gone) {
		// Their states go with the topics.
		g.initialized = slices.DeleteFunc(slices.Clone(g.initialized), gone)
		g.forgetting = slices.DeleteFunc(slices.Clone(g.forgetting), gone)
		m.keepShareStates(fx)
	}
	if len(g.members) > 0 && m.catalog.hash(g.subscribed()) != g.hash {
		m.bumpShares(fx)
	}
	m.divideShares(now, fx)
}

// expelShares takes members out, and divides anew among the others.
func (m *Machine) expelShares(gone []*shareMember, now Time, fx *Effects) {
	if len(gone) == 0 {
		return
	}
	for _, one := range gone {
		delete(m.shares.members, one.id)
	}
	m.bumpShares(fx)
	for _, one := range gone {
		fx.Records = append(fx.Records, shareDebris(m.name, one.id)...)
	}
	m.divideShares(now, fx)
	if len(m.shares.members) == 0 {
		m.since = now.Wall
	}
}

// tickShares takes out who has been silent for too long.
func (m *Machine) tickShares(now Time, fx *Effects) {
	if m.shares == nil {
		return
	}
	var gone []*shareMember
	for _, one := range m.shares.ordered() {
		if one.expires <= now.Mono {
			gone = append(gone, one)
		}
	}
	m.expelShares(gone, now, fx)
	m.divideShares(now, fx)
}

// rewindShares finds the next time at which a session may end, rearmShares gives every member another one.
func (m *Machine) rewindShares() {
	if m.shares == nil {
		return
	}
	if m.catalog != nil && m.shares.targetEpoch < m.shares.epoch {
		m.wake = min(m.wake, m.shares.division.due())
	}
	for _, one := range m.shares.members {
		m.wake = min(m.wake, one.expires)
	}
}

func (m *Machine) rearmShares(now Time) {
	if m.shares == nil {
		return
	}
	for _, one := range m.shares.members {
		one.expires = now.Mono + one.session
	}
}

// shareState is what a share group is doing.
func (m *Machine) shareState() State {
	if len(m.shares.members) == 0 {
		return Empty
	}
	return Stable
}
