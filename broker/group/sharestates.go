package group

import (
	"errors"
	"maps"
	"slices"

	"outrigger/broker/group/assign"
)

// missingShares are the partitions of subscribed topics that have no state.
func (m *Machine) missingShares() assign.Slots {
	if m.catalog == nil {
		return nil
	}
	var missing []assign.Slot
	for _, t := range m.catalog.named(m.shares.subscribed()) {
		for p := range t.Partitions {
			if slot := (assign.Slot{Topic: t.ID, Partition: p}); !m.shares.initialized.Has(slot) {
				missing = append(missing, slot)
			}
		}
	}
	return assign.SlotsOf(missing)
}

// of are those of the partitions whose topics have names.
func (g *shares) of(slots assign.Slots) assign.Slots {
	return slices.DeleteFunc(slices.Clone(slots), func(s assign.Slot) bool { return g.names[s.Topic] == "" })
}

// name notes the names of topics.
func (m *Machine) nameShares(slots assign.Slots) {
	if m.catalog == nil {
		return
	}
	for _, slot := range slots {
		if name := m.catalog.nameOf(slot.Topic); name != "" {
			m.shares.names[slot.Topic] = name
		}
	}
}

// shareStates changes which partitions have a state. A group that is gone meanwhile hears it in vain.
func (m *Machine) shareStates(t Token, fx *Effects, change func(*shares)) {
	if m.shares == nil {
		fx.refuse(t, ErrUnknownGroup)
		return
	}
	m.nameShares(m.missingShares())
	initialized, forgetting := m.shares.initialized, m.shares.forgetting
	change(m.shares)
	if !m.shares.initialized.Equal(initialized) || !m.shares.forgetting.Equal(forgetting) {
		m.keepShareStates(fx)
	}
	fx.reply(t, nil)
}

// keepShareStates writes down which partitions have a state.
func (m *Machine) keepShareStates(fx *Effects) {
	g := m.shares
	used := map[assign.TopicID]bool{}
	for _, slot := range slices.Concat(g.initialized, g.forgetting) {
		used[slot.Topic] = true
	}
	maps.DeleteFunc(g.names, func(id assign.TopicID, _ string) bool { return !used[id] })
	g.statesKept = true
	fx.Records = append(fx.Records, shareStatesRecord(m.name, g))
}

// emptyShares refuses what is for share groups without members.
func (m *Machine) emptyShares() error {
	switch {
	case m.shares == nil && m.Exists():
		return ErrNotThatKind
	case m.shares == nil:
		return ErrUnknownGroup
	case len(m.shares.members) > 0:
		return ErrNotEmpty
	}
	return nil
}

func (m *Machine) shareForget(e ShareForget, fx *Effects) {
	if err := m.emptyShares(); err != nil {
		fx.refuse(e.Token, err)
		return
	}
	g := m.shares
	asked := func(s assign.Slot) bool { return e.Topics == nil || slices.Contains(e.Topics, s.Topic) }
	doomed := slices.DeleteFunc(slices.Clone(g.initialized), func(s assign.Slot) bool { return !asked(s) })
	if len(doomed) > 0 {
		g.initialized, g.forgetting = g.initialized.Without(doomed), g.forgetting.With(doomed)
		m.keepShareStates(fx)
	}
	all := slices.DeleteFunc(slices.Clone(g.forgetting), func(s assign.Slot) bool { return !asked(s) })
	fx.reply(e.Token, &ShareStates{all})
}

// shareReset makes the group if it is not there: one can say where it begins before anybody joins.
func (m *Machine) shareReset(e ShareReset, now Time, fx *Effects) {
	if err := m.emptyShares(); err != nil && !errors.Is(err, ErrUnknownGroup) {
		fx.refuse(e.Token, err)
		return
	}
	m.foundShares(now, fx)
	g := m.shares
	m.nameShares(e.Slots)
	m.bumpShares(fx)
	noted := g.of(e.Slots)
	fresh := noted.Without(g.initialized)
	g.initialized, g.forgetting = g.initialized.With(noted), g.forgetting.Without(e.Slots)
	m.keepShareStates(fx)
	fx.reply(e.Token, &ShareStates{fresh})
}

// dissolveShares takes away all records of the share group.
func (m *Machine) dissolveShares(fx *Effects) {
	g := m.shares
	for _, one := range g.ordered() {
		fx.Records = append(fx.Records, shareDebris(m.name, one.id)...)
	}
	if g.statesKept {
		fx.Records = append(fx.Records, Record{Key: consumerKey(shareStatesKey, m.name)})
	}
	if g.targetKept {
		fx.Records = append(fx.Records, Record{Key: consumerKey(shareTargetKey, m.name)})
	}
	fx.Records = append(fx.Records, Record{Key: consumerKey(shareGroupKey, m.name)})
	m.shares = nil
}

// ShareDescription is a share group as tools show it.
type ShareDescription struct {
	State              State
	Epoch, TargetEpoch int32
	Members            []ShareMemberDescription
	// Initialized are the partitions that have a state.
	Initialized assign.Slots
}

// ShareMemberDescription is one member as tools show it.
type ShareMemberDescription struct {
	ID             string
	Rack           *string
	Epoch          int32
	ClientID, Host string
	Names          []string
	Assigned       assign.Slots
}

// DescribeShares tells what a share group is at the moment, nil if the group is none.
func (m *Machine) DescribeShares() *ShareDescription {
	g := m.shares
	if g == nil {
		return nil
	}
	d := &ShareDescription{
		State: m.shareState(), Epoch: g.epoch, TargetEpoch: g.targetEpoch, Initialized: g.initialized,
	}
	for _, one := range g.ordered() {
		d.Members = append(d.Members, ShareMemberDescription{
			ID: one.id, Rack: one.rack, Epoch: one.epoch, ClientID: one.clientID, Host: one.host,
			Names: one.names, Assigned: one.assigned,
		})
	}
	return d
}
