package group

import "outrigger/broker/group/assign"

// mayCommitConsumers judges who commits in a consumer group: a member in its epoch, a member in an older
// epoch for what it has held since (KIP-1251), or, while there are no members, anybody.
func (m *Machine) mayCommitConsumers(e *Commit) error {
	if e.Generation < 0 && len(m.consumers.members) == 0 {
		return nil
	}
	one := m.consumers.members[e.MemberID]
	switch {
	case one == nil:
		return ErrUnknownMember
	case one.classic != nil && e.Generation != one.epoch:
		return ErrIllegalGeneration
	case one.classic != nil:
		return nil
	case !e.KnowsEpochs:
		return ErrOldCommit
	case e.Generation == one.epoch:
		return nil
	case e.Generation < 0 || e.Generation > one.epoch:
		return ErrStaleEpoch
	}
	for i := range e.Offsets {
		o := &e.Offsets[i]
		slot := assign.Slot{Topic: o.TopicID, Partition: o.Partition}
		since, held := one.assigned.sinceOf(slot)
		if !held {
			since, held = one.revoking.sinceOf(slot)
		}
		if !held || since > e.Generation {
			return ErrStaleEpoch
		}
	}
	return nil
}

// mayFetch judges who asks for offsets. Only members of consumer groups say who they are.
func (m *Machine) mayFetch(e *Fetch) error {
	if m.consumers == nil || e.MemberID == nil && e.Epoch < 0 {
		return nil
	}
	var one *consumer
	if e.MemberID != nil {
		one = m.consumers.members[*e.MemberID]
	}
	switch {
	case one == nil:
		return ErrUnknownMember
	case one.epoch != e.Epoch && one.classic != nil:
		return ErrIllegalGeneration
	case one.epoch != e.Epoch:
		return ErrStaleEpoch
	default:
		return nil
	}
}
