package group

import (
	"maps"
	"slices"

	"outrigger/broker/group/assign"
)

// replayedShares is what the log says of a share group.
type replayedShares struct {
	// epoch, target and states are nil where the log has none.
	epoch   *shareDecoded
	target  *int32
	states  *shares
	members map[string]*shareMember
	places  map[string]*shareDecoded
	targets map[string]assign.Slots
}

func newReplayedShares() *replayedShares {
	return &replayedShares{
		members: map[string]*shareMember{}, places: map[string]*shareDecoded{}, targets: map[string]assign.Slots{},
	}
}

func (c *replayedShares) nothing() bool {
	return c.epoch == nil && c.target == nil && c.states == nil && len(c.members)+len(c.places)+len(c.targets) == 0
}

// applyShare takes one record of a share group.
func (r *Replay) applyShare(record Record) error {
	d, err := decodeShare(record)
	if err != nil {
		return err
	}
	c := r.group(d.group).shares
	switch d.kind {
	case shareGroupKey:
		if c.epoch = d; d.gone {
			c.epoch = nil
		}
	case shareTargetKey:
		if c.target = &d.epoch; d.gone {
			c.target = nil
		}
	case shareStatesKey:
		c.states = d.states // nil if it is gone
	case shareMemberKey:
		put(c.members, d.part, d.gone, d.member)
	case sharePlaceKey:
		put(c.places, d.part, d.gone, d)
	case shareTargetMemberKey:
		put(c.targets, d.part, d.gone, d.slots)
	}
	r.drop(d.group)
	return nil
}

// restoreShares makes the machine what the log says. The group's epoch is the first record of a share group
// and the last one that is taken away, so what is there without it is debris.
func (m *Machine) restoreShares(c *replayedShares, now Time) {
	if c.nothing() {
		return
	}
	if c.epoch == nil || m.kept || m.consumers != nil {
		m.debris = append(m.debris, c.all(m.name)...)
		return
	}
	g := newShares()
	if c.states != nil {
		g = c.states
		g.statesKept = true
	}
	g.epoch, g.hash = c.epoch.epoch, c.epoch.hash
	if c.target != nil {
		g.targetEpoch, g.targetKept = *c.target, true
	}
	m.shares = g
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		one := c.members[id]
		one.target, one.targeted = c.targets[id], has(c.targets, id)
		if p := c.places[id]; p != nil {
			one.epoch, one.previous, one.assigned = p.epoch, p.previous, p.slots
		}
		one.session = m.cfg.Shares.SessionMillis
		g.members[id] = one
	}
	for _, id := range slices.Sorted(maps.Keys(c.places)) {
		if c.members[id] == nil {
			m.debris = append(m.debris, shareDebris(m.name, id)...)
		}
	}
	m.since = now.Wall
	m.rearmShares(now)
}

// all are the deletions of everything.
func (c *replayedShares) all(group string) []Record {
	ids := map[string]bool{}
	for id := range c.members {
		ids[id] = true
	}
	for id := range c.places {
		ids[id] = true
	}
	for id := range c.targets {
		ids[id] = true
	}
	var gone []Record
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		gone = append(gone, shareDebris(group, id)...)
	}
	for _, kind := range []int16{shareStatesKey, shareTargetKey, shareGroupKey} {
		gone = append(gone, Record{Key: consumerKey(kind, group)})
	}
	return gone
}
