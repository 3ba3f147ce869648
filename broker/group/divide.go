package group

import (
	"maps"
	"slices"
	"strings"

	"outrigger/broker/group/assign"
)

// Refresh tells what topics there are now. When that changes what the members of a consumer group
// subscribe to, the partitions are divided anew.
func (m *Machine) Refresh(c *Catalog, now Time, fx *Effects) {
	if m.catalog == c {
		return
	}
	m.catalog = c
	m.refreshShares(now, fx)
	if m.consumers == nil {
		return
	}
	m.matchAll(now, fx)
	if len(m.consumers.members) > 0 && c.hash(m.named()) != m.consumers.hash {
		m.bump(fx)
	}
	m.divide(now, fx)
}

// matchPatterns finds the topics of patterns that are new, and forgets those that nobody has any more.
func (m *Machine) matchPatterns(now Time, fx *Effects) {
	g := m.consumers
	used := map[string]bool{}
	for _, one := range g.members {
		if one.pattern != "" {
			used[one.pattern] = true
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(g.patterns)) {
		if !used[pattern] {
			delete(g.patterns, pattern)
			fx.Records = append(fx.Records, Record{Key: consumerKey(consumerRegexKey, m.name, pattern)})
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(used)) {
		if _, known := g.patterns[pattern]; !known {
			m.match(pattern, now, fx)
		}
	}
}

// matchAll finds the topics of all patterns again.
func (m *Machine) matchAll(now Time, fx *Effects) {
	for _, pattern := range slices.Sorted(maps.Keys(m.consumers.patterns)) {
		m.match(pattern, now, fx)
	}
	m.matchPatterns(now, fx)
}

// match finds the topics of one pattern. Before it is known what topics there are, what the log says
// of it holds.
func (m *Machine) match(pattern string, now Time, fx *Effects) {
	if m.catalog == nil {
		return
	}
	// A pattern that does not compile is refused before it gets here; one out of a foreign log that
	// does not matches nothing.
	var topics []string
	if compiled, err := compile(pattern); err == nil {
		topics = m.catalog.matching(compiled)
	}
	if known, ok := m.consumers.patterns[pattern]; ok && slices.Equal(known, topics) {
		return
	}
	m.consumers.patterns[pattern] = topics
	fx.Records = append(fx.Records, m.fittingPattern(pattern, topics, now))
}

// named are the topics that members subscribe to, by name or pattern, whether they exist or not.
func (m *Machine) named() map[string]bool {
	names := map[string]bool{}
	for _, one := range m.consumers.members {
		m.consumers.namesOf(one, names)
	}
	return names
}

func (g *consumers) namesOf(one *consumer, into map[string]bool) {
	for _, name := range one.names {
		into[name] = true
	}
	for _, name := range g.patterns[one.pattern] {
		into[name] = true
	}
}

// bump begins another epoch of the group, because its subscriptions or topics have changed.
func (m *Machine) bump(fx *Effects) {
	g := m.consumers
	g.epoch++
	m.rebalances++
	g.hash = 0
	if m.catalog != nil {
		g.hash = m.catalog.hash(m.named())
	}
	fx.Records = append(fx.Records, epochRecord(m.name, g.epoch, g.hash))
}

// divide brings the members' targets up to the group's epoch. The epoch of the targets is written last: a
// log that ends before it makes the next coordinator divide again.
//
// It comes at the earliest `consumer.assignment.interval.ms` after the last one (KIP-1263); until then all go
// on with what they have, and who joins gets nothing.
func (m *Machine) divide(now Time, fx *Effects) {
	g := m.consumers
	if !m.undividedConsumers() {
		return
	}
	if due := g.division.due(); due > now.Mono {
		m.wake = min(m.wake, due)
		return
	}
	g.division.divided(now)
	ordered := g.ordered()
	targets := m.assignor()(m.assignable(ordered))
	if g.over = m.overfull(ordered, targets); g.over != nil {
		g.refused = g.epoch
		return
	}
	for i, one := range ordered {
		if one.targeted && one.target.Equal(targets[i]) {
			continue
		}
		one.target, one.targeted = targets[i], true
		fx.Records = append(fx.Records, targetRecord(m.name, one.id, one.target))
	}
	g.targetEpoch, g.targetKept = g.epoch, true
	fx.Records = append(fx.Records, targetEpochRecord(m.name, g.targetEpoch))
}

// undividedConsumers reports whether the targets are those of an older epoch, and something can be done about it.
func (m *Machine) undividedConsumers() bool {
	g := m.consumers
	return m.catalog != nil && g.targetEpoch < g.epoch && g.refused != g.epoch
}

// division is when the partitions of a group were divided, and how soon they may be again.
type division struct {
	// every is the group's interval in milliseconds, as its last member to beat was told. A group that was just
	// restored knows none, and divides at once.
	every int64
	// last is the time of the last division, on the monotonic clock; none, if there was none here.
	last int64
	some bool
}

// due is the time before which there is no further division.
func (d *division) due() int64 {
	if !d.some {
		return 0
	}
	return d.last + d.every
}

func (d *division) divided(now Time) { d.last, d.some = now.Mono, true }

// assignable tells the assignor of the members. Those with the same subscription share one list.
func (m *Machine) assignable(ordered []*consumer) []assign.Member {
	lists := map[string][]assign.Topic{}
	members := make([]assign.Member, len(ordered))
	for i, one := range ordered {
		key := one.pattern + "\x00" + strings.Join(one.names, "\x00")
		topics, known := lists[key]
		if !known {
			names := map[string]bool{}
			m.consumers.namesOf(one, names)
			topics = m.catalog.named(names)
			lists[key] = topics
		}
		members[i] = assign.Member{ID: one.id, Topics: topics, Target: one.target}
		if one.instance != nil {
			members[i].Instance = *one.instance
		}
	}
	return members
}

// assignor is the one that most members ask for; of equals, the one that is configured first.
func (m *Machine) assignor() assign.Assignor { return assign.ByName(m.assignorName()) }

func (m *Machine) assignorName() string {
	votes := map[string]int{}
	for _, one := range m.consumers.members {
		votes[one.assignor]++
	}
	chosen := m.cfg.Consumers.Assignors[0]
	for _, name := range m.cfg.Consumers.Assignors {
		if votes[name] > votes[chosen] {
			chosen = name
		}
	}
	return chosen
}
