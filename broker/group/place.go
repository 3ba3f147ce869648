package group

import (
	"maps"
	"slices"

	"outrigger/broker/group/assign"
)

// memberState is where a member of a consumer group is on its way to its target. The numbers are in
// Kafka's records.
type memberState int8

const (
	// settled: it has what it can have in its epoch.
	settled memberState = 0
	// unrevoked: it must give something back before anything else.
	unrevoked memberState = 1
	// unreleased: it waits for what others have not given back yet.
	unreleased memberState = 2
)

// holdings are partitions with the member epochs since when they are held: whoever commits in an older
// epoch, but not older than that, commits what is its own (KIP-1251).
type holdings struct {
	slots assign.Slots
	// since has an epoch for each of slots.
	since []int32
}

func holdingsOf(held map[assign.Slot]int32) holdings {
	h := holdings{slots: assign.SlotsOf(slices.Collect(maps.Keys(held)))}
	h.since = make([]int32, len(h.slots))
	for i, slot := range h.slots {
		h.since[i] = held[slot]
	}
	return h
}

// split divides holdings into what is in the set and what is not.
func (h holdings) split(by assign.Slots) (in, out holdings) {
	for i, slot := range h.slots {
		into := &out
		if by.Has(slot) {
			into = &in
		}
		into.slots, into.since = append(into.slots, slot), append(into.since, h.since[i])
	}
	return in, out
}

// with adds slots that are held since an epoch.
func (h holdings) with(more assign.Slots, since int32) holdings {
	if len(more) == 0 {
		return h
	}
	held := make(map[assign.Slot]int32, len(h.slots)+len(more))
	for i, slot := range h.slots {
		held[slot] = h.since[i]
	}
	for _, slot := range more {
		held[slot] = since
	}
	return holdingsOf(held)
}

func (h holdings) equal(o holdings) bool {
	return h.slots.Equal(o.slots) && slices.Equal(h.since, o.since)
}

// sinceOf is the epoch since when a slot is held.
func (h holdings) sinceOf(slot assign.Slot) (int32, bool) {
	i, found := slices.BinarySearchFunc(h.slots, slot, assign.Slot.Compare)
	if !found {
		return 0, false
	}
	return h.since[i], true
}

// place is where a member is: its epoch, and what it holds. Holdings are replaced, never changed.
type place struct {
	epoch, previous int32
	state           memberState
	// assigned is what the member may use; revoking is what it was told to give back and has not said
	// yet that it has. Nobody else gets either.
	assigned, revoking holdings
}

func (p *place) equal(o *place) bool {
	return p.epoch == o.epoch && p.previous == o.previous && p.state == o.state &&
		p.assigned.equal(o.assigned) && p.revoking.equal(o.revoking)
}

// enter changes the epoch. The one before stays good for a member that has lost the answer.
func (p *place) enter(epoch int32) {
	if p.epoch != epoch {
		p.previous, p.epoch = p.epoch, epoch
	}
}

// next takes one step towards the target of an epoch: what is to go is given back first, and what is to
// come is taken when nobody else holds it. owned is what the member says it has, nil if it says
// nothing; free tells which slots it may take.
func (p place) next(epoch int32, target assign.Slots, owned *assign.Slots, free func(assign.Slot) bool) place {
	switch {
	case p.state == settled && p.epoch == epoch:
		return p
	case p.state == unrevoked && (owned == nil || owned.Meets(p.revoking.slots)):
		return p
	}
	keeps, goes := p.assigned.split(target)
	if len(goes.slots) > 0 && (owned == nil || owned.Meets(goes.slots)) {
		p.state, p.assigned, p.revoking = unrevoked, keeps, goes
		return p
	}
	p.state, p.revoking = settled, holdings{}
	var comes assign.Slots
	for _, slot := range target {
		switch {
		case keeps.slots.Has(slot):
		case free(slot):
			comes = append(comes, slot)
		default:
			p.state = unreleased
		}
	}
	p.assigned = keeps.with(comes, epoch)
	p.enter(epoch)
	return p
}
