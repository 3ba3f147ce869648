package group

import (
	"maps"
	"slices"

	"outrigger/broker/group/assign"
)

// replayedConsumers is what the log says of a consumer group.
type replayedConsumers struct {
	// epoch and target are nil where the log has none.
	epoch    *consumerDecoded
	target   *int32
	members  map[string]*consumer
	places   map[string]*place
	targets  map[string]assign.Slots
	patterns map[string][]string
}

func newReplayedConsumers() *replayedConsumers {
	return &replayedConsumers{
		members: map[string]*consumer{}, places: map[string]*place{},
		targets: map[string]assign.Slots{}, patterns: map[string][]string{},
	}
}

// applyConsumer takes one record of a consumer group.
func (r *Replay) applyConsumer(record Record) error {
	d, err := decodeConsumer(record)
	if err != nil {
		return err
	}
	c := r.group(d.group).consumers
	switch d.kind {
	case consumerGroupKey:
		if c.epoch = d; d.gone {
			c.epoch = nil
		}
	case targetGroupKey:
		if c.target = &d.epoch; d.gone {
			c.target = nil
		}
	case consumerMemberKey:
		put(c.members, d.part, d.gone, d.member)
	case consumerPlaceKey:
		put(c.places, d.part, d.gone, d.place)
	case targetMemberKey:
		put(c.targets, d.part, d.gone, d.target)
	case consumerRegexKey:
		put(c.patterns, d.part, d.gone, d.topics)
	}
	r.drop(d.group)
	return nil
}

// put takes in a record about one part of a group, such as a member.
func put[V any](into map[string]V, part string, gone bool, v V) {
	if gone {
		delete(into, part)
	} else {
		into[part] = v
	}
}

func (c *replayedConsumers) nothing() bool {
	return c.epoch == nil && c.target == nil && len(c.members)+len(c.places)+len(c.targets)+len(c.patterns) == 0
}

// restoreConsumers makes the machine what the log says. A record of a classic group outweighs those of a
// consumer group: a change from one to the other has not come to its end (see becomeConsumers and
// downgrade), or the group's epoch was never written.
func (m *Machine) restoreConsumers(c *replayedConsumers, now Time) {
	if c.nothing() {
		return
	}
	if m.kept || c.epoch == nil {
		m.debris = c.all(m.name)
		return
	}
	g := newConsumers()
	g.epoch, g.hash, g.patterns = c.epoch.epoch, c.epoch.hash, c.patterns
	if c.target != nil {
		g.targetEpoch, g.targetKept = *c.target, true
	}
	m.consumers = g
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		one := c.members[id]
		one.target, one.targeted = c.targets[id], has(c.targets, id)
		if p := c.places[id]; p != nil {
			one.place, one.placed = *p, true
		}
		one.session, one.revokeBy = m.cfg.Consumers.SessionMillis, never
		if one.classic != nil {
			one.session, one.classic.by = one.classic.session, never
		}
		g.members[id] = one
		if one.instance != nil {
			g.statics[*one.instance] = id
		}
		m.hold(one)
	}
	m.debris = c.orphans(m.name)
	m.since = now.Wall
	m.rearmConsumers(now)
}

func has[V any](in map[string]V, key string) bool {
	_, found := in[key]
	return found
}

// all are the deletions of everything.
func (c *replayedConsumers) all(group string) []Record {
	var gone []Record
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		gone = append(gone, Record{Key: consumerKey(consumerMemberKey, group, id)})
	}
	clear(c.members)
	gone = append(gone, c.orphans(group)...)
	for _, pattern := range slices.Sorted(maps.Keys(c.patterns)) {
		gone = append(gone, Record{Key: consumerKey(consumerRegexKey, group, pattern)})
	}
	if c.target != nil {
		gone = append(gone, Record{Key: consumerKey(targetGroupKey, group)})
	}
	if c.epoch != nil {
		gone = append(gone, Record{Key: consumerKey(consumerGroupKey, group)})
	}
	return gone
}

// orphans are the deletions of places and targets that no member has.
func (c *replayedConsumers) orphans(group string) []Record {
	var gone []Record
	for _, id := range slices.Sorted(maps.Keys(c.places)) {
		if c.members[id] == nil {
			gone = append(gone, Record{Key: consumerKey(consumerPlaceKey, group, id)})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.targets)) {
		if c.members[id] == nil {
			gone = append(gone, Record{Key: consumerKey(targetMemberKey, group, id)})
		}
	}
	return gone
}
