package group

import (
	"encoding/binary"
	"slices"
	"strings"
)

// consumerType is the protocol type of consumers, the one whose metadata this package understands.
const consumerType = "consumer"

// commit keeps offsets for a member of the present generation, or, while the group has no members,
// for anybody.
func (m *Machine) commit(e Commit, now Time, fx *Effects) {
	one, err := m.mayCommit(e)
	if err != nil {
		fx.refuse(e.Token, err)
		return
	}
	if one != nil {
		m.alive(one, now)
	}
	fx.reply(e.Token, m.keepOffsets(e.Offsets, now, fx, func(p Place, o Offset) {
		m.offsets[p] = o
		m.overtake(p)
	}))
}

// keepOffsets records the offsets of a commit, each unless its metadata is too large, and puts them where they
// belong.
func (m *Machine) keepOffsets(
	offsets []CommitOffset, now Time, fx *Effects, put func(Place, Offset),
) *Committed {
	done := &Committed{Errs: make([]error, len(offsets))}
	for i, o := range offsets {
		if len(o.Metadata) > m.cfg.MetadataBytesMax {
			done.Errs[i] = ErrMetadataTooLarge
			continue
		}
		o.CommittedAt = now.Wall
		put(o.Place, o.Offset)
		fx.Records = append(fx.Records, offsetRecord(m.name, o.Place, o.Offset))
	}
	return done
}

// mayCommit judges who commits, and returns the member if it is one.
func (m *Machine) mayCommit(e Commit) (*member, error) {
	if m.consumers != nil {
		return nil, m.mayCommitConsumers(&e)
	}
	if e.Generation < 0 && m.state == Empty {
		return nil, nil
	}
	if !m.Exists() {
		if e.KnowsEpochs {
			return nil, ErrUnknownGroup
		}
		return nil, ErrIllegalGeneration
	}
	if e.Generation < 0 && e.MemberID == "" && e.Instance == nil {
		return nil, ErrUnknownMember
	}
	one, err := m.validate(e.MemberID, e.Instance)
	switch {
	case err != nil:
		return nil, err
	case e.Generation != m.generation:
		return nil, ErrIllegalGeneration
	case m.state == Completing:
		// It knows the new generation but has no assignment in it: what it commits is not its own.
		return nil, ErrRebalancing
	}
	return one, nil
}

// fetch tells what was committed.
func (m *Machine) fetch(e Fetch, fx *Effects) {
	if err := m.mayFetch(&e); err != nil {
		fx.refuse(e.Token, err)
		return
	}
	if e.All {
		fx.reply(e.Token, &Fetched{Offsets: m.Offsets()})
		return
	}
	found := &Fetched{Offsets: make([]CommitOffset, len(e.Places))}
	for i, at := range e.Places {
		o, committed := m.offsets[at]
		if !committed {
			o = Offset{Offset: -1, LeaderEpoch: -1, CommittedAt: -1, ExpiresAt: -1}
		}
		found.Offsets[i] = CommitOffset{at, o}
	}
	fx.reply(e.Token, found)
}

// Offsets are all that were committed, sorted by topic and partition.
func (m *Machine) Offsets() []CommitOffset {
	all := make([]CommitOffset, 0, len(m.offsets))
	for at, o := range m.offsets {
		all = append(all, CommitOffset{at, o})
	}
	slices.SortFunc(all, func(a, b CommitOffset) int { return comparePlaces(a.Place, b.Place) })
	return all
}

func comparePlaces(a, b Place) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

// hollowMillis is how long a group stays at least from which the last offset was deleted.
const hollowMillis = 60_000

// deleteOffsets takes away offsets of topics that no member is subscribed to.
func (m *Machine) deleteOffsets(e DeleteOffsets, now Time, fx *Effects) {
	switch {
	case !m.Exists():
		fx.refuse(e.Token, ErrUnknownGroup)
		return
	case m.consumers == nil && m.state != Empty && m.protocolType != consumerType:
		// What others are subscribed to is not for us to know.
		fx.refuse(e.Token, ErrNotEmpty)
		return
	}
	done := &Committed{Errs: make([]error, len(e.Places))}
	for i, at := range e.Places {
		if m.Subscribed(at.Topic) {
			done.Errs[i] = ErrSubscribed
			continue
		}
		m.forget(at, fx)
	}
	if !m.Exists() {
		m.hollowUntil = now.Mono + hollowMillis
	}
	fx.reply(e.Token, done)
}

// forget takes one offset away.
func (m *Machine) forget(at Place, fx *Effects) {
	overtakes := m.overtake(at)
	if _, committed := m.offsets[at]; committed || overtakes {
		delete(m.offsets, at)
		fx.Records = append(fx.Records, Record{Key: keyOfOffset(m.name, at)})
	}
}

// Subscribed reports whether members are, or may be, subscribed to the topic.
func (m *Machine) Subscribed(topic string) bool {
	if m.consumers != nil {
		return m.named()[topic]
	}
	if m.state == Empty {
		return false
	}
	return m.subscribed == nil || m.subscribed[topic]
}

// Populated reports whether the group has members.
func (m *Machine) Populated() bool {
	return len(m.members) > 0 || m.state != Empty || m.consumers != nil && len(m.consumers.members) > 0 ||
		m.shares != nil && len(m.shares.members) > 0
}

// delete takes the group away, with all its offsets.
func (m *Machine) delete(e Delete, now Time, fx *Effects) {
	switch {
	case !m.Exists():
		fx.refuse(e.Token, ErrUnknownGroup)
	case m.Populated(), m.shares != nil && len(m.shares.initialized)+len(m.shares.forgetting) > 0:
		fx.refuse(e.Token, ErrNotEmpty) // of a share group, the states must be gone first
	default:
		m.vanish(now, fx)
		fx.reply(e.Token, nil)
	}
}

// vanish takes away everything that is known of an empty group.
func (m *Machine) vanish(now Time, fx *Effects) {
	for _, o := range m.Offsets() {
		m.forget(o.Place, fx)
	}
	m.forgetUndecided(fx)
	if m.kept {
		fx.Records = append(fx.Records, Record{Key: keyOfGroup(m.name)})
	}
	m.clear(fx)
	if m.consumers != nil {
		m.dissolve(fx)
	}
	if m.shares != nil {
		m.dissolveShares(fx)
	}
	m.kept, m.hollowUntil, m.generation, m.protocolType = false, 0, 0, ""
	clear(m.pending)
	m.enter(Empty, now)
}

// Sweep takes away the offsets that have expired, and the group when it is empty and nothing is left
// of it. gone tells of topics that were deleted, whose offsets go at once.
func (m *Machine) Sweep(now Time, gone func(topic string, id [16]byte) bool, fx *Effects) {
	if m.hollowUntil <= now.Mono {
		m.hollowUntil = 0
	}
	var doomed []Place
	for at, o := range m.offsets {
		if gone(at.Topic, o.TopicID) || m.outdated(at.Topic, o, now) && !m.undecided.has(at) {
			doomed = append(doomed, at)
		}
	}
	slices.SortFunc(doomed, comparePlaces)
	for _, at := range doomed {
		m.forget(at, fx)
	}
	if (m.kept || m.consumers != nil) && !m.Populated() && len(m.offsets) == 0 && len(m.pending) == 0 &&
		len(m.undecided.byProducer) == 0 &&
		now.Wall-m.since >= m.cfg.RetentionMillis {
		m.vanish(now, fx)
	}
}

// outdated says whether an offset has expired. Those of a group with members never do while a member
// may be subscribed to the topic; afterwards they are kept for the retention time.
func (m *Machine) outdated(topic string, o Offset, now Time) bool {
	if m.Subscribed(topic) {
		return false
	}
	if o.ExpiresAt >= 0 {
		return now.Wall >= o.ExpiresAt
	}
	last := o.CommittedAt
	if m.protocolType != "" && m.state == Empty {
		last = max(last, m.since)
	}
	return now.Wall-last >= m.cfg.RetentionMillis
}

// subscriptions are the topics that the members name, nil if they cannot be known.
func (m *Machine) subscriptions() map[string]bool {
	if m.protocolType != consumerType {
		return nil
	}
	topics := map[string]bool{}
	for _, one := range m.members {
		if !namedTopics(one.metadata(m.protocol), topics) {
			return nil
		}
	}
	return topics
}

// namedTopics reads the front of a consumer's metadata, the same in all versions, and reports
// whether it could:
//
//	version (int16) | number of topics (int32) | topics | what only consumers understand
func namedTopics(metadata []byte, into map[string]bool) bool {
	if len(metadata) < 6 {
		return false
	}
	count := int32(binary.BigEndian.Uint32(metadata[2:]))
	rest := metadata[6:]
	for ; count > 0; count-- {
		if len(rest) < 2 {
			return false
		}
		length := int(binary.BigEndian.Uint16(rest))
		if len(rest) < 2+length {
			return false
		}
		into[string(rest[2:2+length])] = true
		rest = rest[2+length:]
	}
	return true
}
