package group

import "github.com/twmb/franz-go/pkg/kmsg"

// Description is a group as tools show it.
type Description struct {
	State        State
	ProtocolType string
	// Protocol, and what members say and were assigned in it, is known of a stable group only.
	Protocol string
	Members  []MemberDescription
}

// MemberDescription is one member as tools show it.
type MemberDescription struct {
	ID                   string
	Instance             *string
	ClientID, Host       string
	Metadata, Assignment []byte
}

// Describe tells what the group is at the moment.
func (m *Machine) Describe() Description {
	if !m.Exists() || m.consumers != nil || m.shares != nil {
		return Description{State: Dead}
	}
	d := Description{State: m.state, ProtocolType: m.protocolType}
	if m.state == Stable {
		d.Protocol = m.protocol
	}
	for _, one := range m.ordered() {
		shown := MemberDescription{
			ID: one.id, Instance: one.instance, ClientID: one.clientID, Host: one.host,
		}
		if m.state == Stable {
			shown.Metadata, shown.Assignment = one.metadata(m.protocol), one.assignment
		}
		d.Members = append(d.Members, shown)
	}
	return d
}

// Summary is a group's line in a list.
type Summary struct {
	State        State
	ProtocolType string
	// Consumers: the group is of the KIP-848 protocol. Shares: it is a share group.
	Consumers, Shares bool
}

// Summary tells the least of a group.
func (m *Machine) Summary() Summary {
	switch {
	case m.consumers != nil:
		return Summary{State: m.consumerState(), ProtocolType: consumerType, Consumers: true}
	case m.shares != nil:
		return Summary{State: m.shareState(), ProtocolType: shareType, Shares: true}
	default:
		return Summary{State: m.state, ProtocolType: m.protocolType}
	}
}

// Members is how many members the group has, of whatever protocol.
func (m *Machine) Members() int {
	switch {
	case m.consumers != nil:
		return len(m.consumers.members)
	case m.shares != nil:
		return len(m.shares.members)
	default:
		return len(m.members)
	}
}

// TakeRebalances is how many rebalances there were since it was called last: generations of the classic
// protocol, and epochs of the other.
func (m *Machine) TakeRebalances() (n int) {
	n, m.rebalances = m.rebalances, 0
	return n
}

// record is the group as it is written down.
func (m *Machine) record() Record {
	v := kmsg.NewGroupMetadataValue()
	v.Version = groupValue
	v.ProtocolType, v.Generation, v.CurrentStateTimestamp = m.protocolType, m.generation, m.since
	if len(m.members) > 0 {
		v.Protocol, v.Leader = &m.protocol, &m.leader
	}
	for _, one := range m.ordered() {
		kept := kmsg.NewGroupMetadataValueMember()
		kept.MemberID, kept.InstanceID = one.id, one.instance
		kept.ClientID, kept.ClientHost = one.clientID, one.host
		kept.RebalanceTimeoutMillis = int32(one.rebalance)
		kept.SessionTimeoutMillis = int32(one.session)
		kept.Subscription, kept.Assignment = one.metadata(m.protocol), one.assignment
		v.Members = append(v.Members, kept)
	}
	return Record{Key: keyOfGroup(m.name), Value: v.AppendTo(nil)}
}

// restore takes over what a record says of the group, nil that there is none. Waiting requests, and
// members that were not written down, are lost: they come again.
func (m *Machine) restore(v *kmsg.GroupMetadataValue, now Time) {
	if v == nil {
		return
	}
	m.kept = true
	m.generation, m.protocolType, m.since = v.Generation, v.ProtocolType, v.CurrentStateTimestamp
	if m.since < 0 {
		m.since = now.Wall
	}
	if v.Protocol != nil {
		m.protocol = *v.Protocol
	}
	for i := range v.Members {
		kept := &v.Members[i]
		one := &member{
			id: kept.MemberID, instance: kept.InstanceID, clientID: kept.ClientID, host: kept.ClientHost,
			session: int64(kept.SessionTimeoutMillis), rebalance: int64(kept.RebalanceTimeoutMillis),
			assignment: kept.Assignment, synced: true,
			protocols: []Protocol{{m.protocol, append([]byte{}, kept.Subscription...)}},
		}
		if one.rebalance < 0 {
			one.rebalance = one.session
		}
		m.add(one)
		m.alive(one, now)
	}
	if v.Leader != nil {
		m.leader = *v.Leader
	}
	if len(m.members) > 0 {
		m.state = Stable
		m.subscribed = m.subscriptions()
	}
}
