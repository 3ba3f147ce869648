package group

import (
	"slices"

	"outrigger/broker/group/assign"
)

// What goes into one record has a bound, Config.RecordBytesMax: a record beyond it cannot be appended, and
// its shard would fail with all its groups. So whatever makes a record of a member larger is judged before.

// heldBytes is at least what one held partition, and one topic of them, take in a record: the index and the
// epoch since when it is held; the topic's id, two counts and a tag.
const (
	heldBytes      = 4 + epochBytes
	heldTopicBytes = 16 + 5 + 5 + 2*5 + 2
	placeBytes     = 64 // epochs, state and counts
)

// holds reports whether a member may be given so much. What it had is to fit beside it: both are in one
// record while it gives the one back and waits for the other.
func (m *Machine) holds(id string, slots assign.Slots) bool {
	key := len(consumerKey(consumerPlaceKey, m.name, id))
	held := heldBytes*len(slots) + heldTopicBytes*topicsIn(slots)
	return key+placeBytes+recordOverhead+2*held <= m.cfg.RecordBytesMax
}

func topicsIn(slots assign.Slots) int {
	n := 0
	for i, slot := range slots {
		if i == 0 || slots[i-1].Topic != slot.Topic {
			n++
		}
	}
	return n
}

// describes reports whether what a member says of itself fits a record, beside what it has said before.
func (m *Machine) describes(e *ConsumerHeartbeat) bool {
	said := consumer{}
	known := m.former(e.MemberID, e.Instance)
	if known != nil {
		said = *known
	}
	said.id, said.classic, said.clientID, said.host = e.MemberID, nil, e.ClientID, e.Host
	if e.Instance != nil {
		said.instance = e.Instance
	}
	if e.Rack != nil {
		said.rack = e.Rack
	}
	if e.Assignor != nil {
		said.assignor = *e.Assignor
	}
	if e.Pattern != nil {
		said.pattern = *e.Pattern
	}
	if e.Names != nil {
		said.names = e.Names
	}
	if known != nil && known.id == said.id && said.sameAs(known) && said.pattern == known.pattern &&
		slices.Equal(said.names, known.names) {
		return true // nothing is new, as at most beats
	}
	return m.keeps(&said)
}

// keeps reports whether the records of a member that do not depend on the others fit.
func (m *Machine) keeps(said *consumer) bool {
	return memberRecord(m.name, said).Bytes() <= m.cfg.RecordBytesMax &&
		patternRecord(m.name, said.pattern, nil, 0).Bytes() <= m.cfg.RecordBytesMax &&
		m.holds(said.id, said.assigned.slots)
}

// former is the member of an id, or the static one whose place it would take; nil if there is none.
func (m *Machine) former(id string, instance *string) *consumer {
	g := m.consumers
	if g == nil {
		return nil
	}
	if one := g.members[id]; one != nil || instance == nil {
		return one
	}
	return g.members[g.statics[*instance]]
}

// overfull are the members whose part of a division does not fit a record.
func (m *Machine) overfull(ordered []*consumer, targets []assign.Slots) map[string]bool {
	var over map[string]bool
	for i, one := range ordered {
		if !m.holds(one.id, targets[i]) {
			if over == nil {
				over = map[string]bool{}
			}
			over[one.id] = true
		}
	}
	return over
}

// fittingPattern is the record of a pattern, without the topics if they do not fit: whoever replays it finds
// them again before it divides.
func (m *Machine) fittingPattern(pattern string, topics []string, now Time) Record {
	r := patternRecord(m.name, pattern, topics, now.Wall)
	if r.Bytes() > m.cfg.RecordBytesMax {
		r = patternRecord(m.name, pattern, nil, now.Wall)
	}
	return r
}

// undivided reports whether a member is why the group's partitions are not divided.
func (g *consumers) undivided(id string) bool {
	return g.targetEpoch < g.epoch && g.refused == g.epoch && g.over[id]
}

// mayConvert says whether the members of a classic group fit the records of a consumer group, which tell
// more of them.
func (m *Machine) mayConvert() bool {
	return !slices.ContainsFunc(m.ordered(), func(one *member) bool {
		slots, err := m.catalog.readAssignment(one.assignment)
		return err != nil || !m.holds(one.id, slots)
	})
}
