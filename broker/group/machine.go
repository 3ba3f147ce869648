package group

import (
	"math"
	"slices"
	"strings"
)

// Config is what all groups of a node share.
type Config struct {
	// InitialDelayMillis is how long the first members of an empty group wait for others
	// (`group.initial.rebalance.delay.ms`); each newcomer prolongs it, up to the rebalance timeout.
	InitialDelayMillis int64
	// SessionMinMillis and SessionMaxMillis bound the session timeouts that members may ask for.
	SessionMinMillis, SessionMaxMillis int64
	// MembersMax is `group.max.size`.
	MembersMax int
	// MetadataBytesMax is `offset.metadata.max.bytes`.
	MetadataBytesMax int
	// RetentionMillis is `offsets.retention.minutes`: how long offsets outlive the group's last member.
	RetentionMillis int64
	// RecordBytesMax is the largest record that can be appended.
	RecordBytesMax int
	// Consumers is what groups of the KIP-848 protocol may do, Shares what share groups may.
	Consumers ConsumerConfig
	Shares    ShareConfig
}

// State is what a group is doing.
type State uint8

// The states of a group.
const (
	Empty State = iota
	Preparing
	Completing
	Stable
	// Dead is not a state of a Machine: it is what those hear who ask for a group that does not exist.
	Dead
	// Assigning and Reconciling are states of consumer groups: the partitions are about to be divided, or
	// members are on their way to what they are to have.
	Assigning
	Reconciling
)

// String is Kafka's name of the state.
func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Assigning", "Reconciling"}[s]
}

const (
	// never is a time that does not come.
	never = math.MaxInt64
	// newMemberMillis is how long a new member may wait in its first join. It has no session yet, and
	// its client may have gone and come back under another id: without an end to this, a long
	// rebalance would gather members that nobody is behind.
	newMemberMillis = 5 * 60 * 1000
)

// Machine is one group. It is for one goroutine.
type Machine struct {
	cfg  *Config
	name string

	state State
	// since is when the state began, on the wall clock.
	since      int64
	generation int32
	// protocolType is empty as long as nobody has joined: such a group holds offsets, no more.
	protocolType string
	protocol     string
	leader       string
	members      map[string]*member
	// statics are the members' ids by instance id.
	statics map[string]string
	// supports counts the members that know a protocol.
	supports map[string]int
	// joining counts the members whose join waits.
	joining int
	// numbered gives each member its place in the order of joining.
	numbered uint64
	// pending are ids that were given out and not joined under yet, with the time when they lapse.
	pending map[string]int64
	// subscribed are the topics of the generation's members; nil if they are not known.
	subscribed map[string]bool
	offsets    map[Place]Offset
	// undecided are offsets that open transactions have committed.
	undecided undecided
	// kept: the log holds a record of the group.
	kept bool
	// hollowUntil is 0, or all offsets of a group without anything else were deleted: it is there until the
	// first Sweep from then on, on the monotonic clock, so that who has deleted them can delete it, too.
	hollowUntil int64

	// rebalance is the wait for members to join.
	rebalance struct {
		// at is when it ends, never while there is none.
		at int64
		// first: the group was empty; left is how much longer newcomers may prolong it.
		first bool
		left  int64
		// grown: a newcomer has come since the wait began or was prolonged.
		grown bool
	}
	// syncBy is until when all members must have asked for their assignment.
	syncBy int64
	// rebalances counts those that nobody has asked for yet.
	rebalances int
	// wake is a time before which no timer is due.
	wake int64

	// consumers is set while the group is one of the KIP-848 protocol. All fields above but the offsets
	// and wake are then those of a group without members.
	consumers *consumers
	// shares is set while the group is a share group. All other fields are then those of a group of which
	// nothing is known, but catalog, since and wake.
	shares *shares
	// catalog is what topics there are, nil until that is told.
	catalog *Catalog
	// debris are deletions of records that belong to nothing.
	debris []Record
}

// member is one member of a group.
type member struct {
	id             string
	number         uint64
	instance       *string
	clientID, host string
	session        int64
	rebalance      int64
	protocols      []Protocol
	assignment     []byte
	// expires is when the session ends.
	expires int64
	// fresh: the member has not had an answer to its first join.
	fresh bool
	// joining and syncing are its waiting requests.
	joining, syncing Token
	// synced: it has asked for the assignment of this generation.
	synced bool
}

// New returns a group of which nothing is known.
func New(cfg *Config, name string) *Machine {
	m := &Machine{
		cfg: cfg, name: name, members: map[string]*member{}, statics: map[string]string{},
		pending: map[string]int64{}, offsets: map[Place]Offset{}, supports: map[string]int{},
		syncBy: never, wake: never,
	}
	m.rebalance.at = never
	return m
}

// Name is the group's id.
func (m *Machine) Name() string { return m.name }

// Exists reports whether there is anything to know of the group.
func (m *Machine) Exists() bool {
	return m.kept || m.generation > 0 || len(m.members) > 0 || len(m.pending) > 0 || len(m.offsets) > 0 ||
		m.consumers != nil || m.shares != nil || len(m.debris) > 0 || len(m.undecided.byProducer) > 0 || m.hollowUntil > 0
}

// Wake is the time, on the monotonic clock, before which Tick does nothing.
func (m *Machine) Wake() int64 { return m.wake }

// Step takes one request.
func (m *Machine) Step(e Event, now Time, fx *Effects) {
	if m.name == "" && refusesNameless(e) {
		fx.refuse(e.token(), ErrInvalidGroupID)
		return
	}
	if m.stepShares(e, now, fx) {
		return
	}
	switch e := e.(type) {
	case ConsumerHeartbeat:
		m.consumerHeartbeat(e, now, fx)
	case Join:
		m.join(e, now, fx)
	case Sync:
		m.sync(e, now, fx)
	case Heartbeat:
		m.heartbeat(e, now, fx)
	case Leave:
		m.leave(e, now, fx)
	case Commit:
		m.commit(e, now, fx)
	case TxnCommit:
		m.txnCommit(e, now, fx)
	case Decide:
		m.decide(e)
	case Fetch:
		m.fetch(e, fx)
		m.unstable(e, fx)
	case DeleteOffsets:
		m.deleteOffsets(e, now, fx)
	case Delete:
		m.delete(e, now, fx)
	}
}

// refusesNameless: offsets may be kept under the empty name, as very old consumers do.
func refusesNameless(e Event) bool {
	switch e.(type) {
	case Commit, TxnCommit, Decide, Fetch, DeleteOffsets, Delete:
		return false
	default:
		return true
	}
}

// Tick acts on the timers that are due.
func (m *Machine) Tick(now Time, fx *Effects) {
	if now.Mono < m.wake {
		return
	}
	m.clear(fx)
	m.tickConsumers(now, fx)
	m.tickShares(now, fx)
	for id, lapses := range m.pending {
		if lapses <= now.Mono {
			delete(m.pending, id)
		}
	}
	if m.rebalance.at <= now.Mono {
		m.joinTimeIsUp(now, fx)
	}
	if m.syncBy <= now.Mono {
		m.syncTimeIsUp(now, fx)
	}
	for _, silent := range m.expired(now) {
		if m.members[silent.id] != silent {
			continue // it went with the generation that ended just now
		}
		m.remove(silent, ErrUnknownMember, fx)
		m.changed(now, fx)
	}
	m.completeIfAllJoined(now, fx)
	m.rewind()
}

// expired are the members whose session has ended, in the order of joining. Who waits for an answer
// of ours has nothing to prove, except a newcomer, whose client may be gone.
func (m *Machine) expired(now Time) []*member {
	var silent []*member
	for _, one := range m.members {
		if one.expires <= now.Mono && (one.fresh || !one.waits()) {
			silent = append(silent, one)
		}
	}
	slices.SortFunc(silent, byNumber)
	return silent
}

func (one *member) waits() bool { return one.joining != 0 || one.syncing != 0 }

// rewind finds the next time at which a timer may be due.
func (m *Machine) rewind() {
	m.wake = min(m.rebalance.at, m.syncBy)
	for _, lapses := range m.pending {
		m.wake = min(m.wake, lapses)
	}
	for _, one := range m.members {
		if one.fresh || !one.waits() {
			m.wake = min(m.wake, one.expires)
		}
	}
	m.rewindConsumers()
	m.rewindShares()
	if len(m.debris) > 0 {
		m.wake = 0
	}
}

// Rearm gives every member a whole session from now on: for a coordinator that was not there to hear
// the heartbeats, because it was paused or has only just taken over.
func (m *Machine) Rearm(now Time) {
	for _, one := range m.members {
		m.alive(one, now)
	}
	for id := range m.pending {
		m.pending[id] = max(m.pending[id], now.Mono+m.cfg.SessionMinMillis)
	}
	m.rearmConsumers(now)
	m.rearmShares(now)
	m.rewind()
}

// alive gives a member another session.
func (m *Machine) alive(one *member, now Time) {
	if one.fresh {
		one.expires = max(one.expires, now.Mono+newMemberMillis)
	} else {
		one.expires = now.Mono + one.session
	}
	m.wake = min(m.wake, one.expires)
}

// enter begins a state.
func (m *Machine) enter(s State, now Time) { m.state, m.since = s, now.Wall }

// validate says whether a request comes from a present member: under its id, and under its instance
// id if it has one.
func (m *Machine) validate(id string, instance *string) (*member, error) {
	if instance != nil {
		switch known, found := m.statics[*instance]; {
		case !found:
			return nil, ErrUnknownMember
		case known != id:
			return nil, ErrFencedInstance
		}
	}
	one := m.members[id]
	if one == nil {
		return nil, ErrUnknownMember
	}
	return one, nil
}

// ordered are the members in the order of joining.
func (m *Machine) ordered() []*member {
	all := make([]*member, 0, len(m.members))
	for _, one := range m.members {
		all = append(all, one)
	}
	slices.SortFunc(all, byNumber)
	return all
}

func byNumber(a, b *member) int {
	switch {
	case a.number < b.number:
		return -1
	case a.number > b.number:
		return 1
	default:
		return 0
	}
}

// heartbeat notes that a member lives, and tells it to join if it must.
func (m *Machine) heartbeat(e Heartbeat, now Time, fx *Effects) {
	if m.consumers != nil {
		m.heartbeatConsumers(e, now, fx)
		return
	}
	one, err := m.validate(e.MemberID, e.Instance)
	switch {
	case err != nil:
		fx.refuse(e.Token, err)
	case e.Generation != m.generation:
		fx.refuse(e.Token, ErrIllegalGeneration)
	case m.state == Preparing:
		m.alive(one, now)
		fx.refuse(e.Token, ErrRebalancing)
	default:
		m.alive(one, now)
		fx.Replies = append(fx.Replies, Reply{Token: e.Token})
	}
}

// add makes a member, without a request of its own yet. The first of all leads.
func (m *Machine) add(one *member) {
	if len(m.members) == 0 {
		m.leader = one.id
	}
	m.numbered++
	one.number = m.numbered
	m.members[one.id] = one
	if one.instance != nil {
		m.statics[*one.instance] = one.id
	}
	m.count(one, 1)
}

// count adds a member's protocols to those that are known, or takes them away.
func (m *Machine) count(one *member, by int) {
	for _, p := range one.protocols {
		if m.supports[p.Name] += by; m.supports[p.Name] == 0 {
			delete(m.supports, p.Name)
		}
	}
}

// remove takes a member out; its waiting requests hear why.
func (m *Machine) remove(one *member, why error, fx *Effects) {
	m.dismiss(one, why, fx)
	m.count(one, -1)
	delete(m.members, one.id)
	if one.instance != nil && m.statics[*one.instance] == one.id {
		delete(m.statics, *one.instance)
	}
	if m.leader == one.id {
		m.leader = "" // the next generation finds another
	}
}

// dismiss answers a member's waiting requests with a refusal.
func (m *Machine) dismiss(one *member, why error, fx *Effects) {
	if one.joining != 0 {
		fx.refuse(one.joining, why)
		one.joining = 0
		m.joining--
	}
	if one.syncing != 0 {
		fx.refuse(one.syncing, why)
		one.syncing = 0
	}
}

// common reports whether every member knows the protocol.
func (m *Machine) common(name string) bool {
	return m.supports[name] == len(m.members)
}

// metadata is what a member says of itself in a protocol, nil if it does not know it.
func (one *member) metadata(name string) []byte {
	for _, p := range one.protocols {
		if p.Name == name {
			return p.Metadata
		}
	}
	return nil
}

// choose has each member vote for the protocol that it names first among those that all know. The
// most votes win; of equals, the name that sorts first.
func (m *Machine) choose() string {
	votes := map[string]int{}
	for _, one := range m.members {
		for _, p := range one.protocols {
			if m.common(p.Name) {
				votes[p.Name]++
				break
			}
		}
	}
	chosen, most := "", 0
	for name, count := range votes {
		if count > most || count == most && strings.Compare(name, chosen) < 0 {
			chosen, most = name, count
		}
	}
	return chosen
}
