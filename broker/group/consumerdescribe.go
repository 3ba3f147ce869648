package group

import "outrigger/broker/group/assign"

// ConsumerDescription is a consumer group as tools show it.
type ConsumerDescription struct {
	State              State
	Epoch, TargetEpoch int32
	Assignor           string
	Members            []ConsumerMemberDescription
}

// ConsumerMemberDescription is one member as tools show it.
type ConsumerMemberDescription struct {
	ID               string
	Instance, Rack   *string
	Epoch            int32
	ClientID, Host   string
	Names            []string
	Pattern          string
	Assigned, Target assign.Slots
	// Classic: the member speaks the classic protocol.
	Classic bool
}

// DescribeConsumers tells what a consumer group is at the moment, nil if the group is none.
func (m *Machine) DescribeConsumers() *ConsumerDescription {
	g := m.consumers
	if g == nil {
		return nil
	}
	d := &ConsumerDescription{
		State: m.consumerState(), Epoch: g.epoch, TargetEpoch: g.targetEpoch, Assignor: m.assignorName(),
	}
	for _, one := range g.ordered() {
		d.Members = append(d.Members, ConsumerMemberDescription{
			ID: one.id, Instance: one.instance, Rack: one.rack, Epoch: one.epoch,
			ClientID: one.clientID, Host: one.host, Names: one.names, Pattern: one.pattern,
			Assigned: one.assigned.slots, Target: one.target, Classic: one.classic != nil,
		})
	}
	return d
}

// consumerState is what a consumer group is doing.
func (m *Machine) consumerState() State {
	g := m.consumers
	switch {
	case len(g.members) == 0:
		return Empty
	case g.epoch > g.targetEpoch:
		return Assigning
	}
	for _, one := range g.members {
		if one.state != settled || one.epoch != g.targetEpoch {
			return Reconciling
		}
	}
	return Stable
}
