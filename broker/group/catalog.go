package group

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"

	"outrigger/broker/group/assign"
)

// Catalog is what topics there are. It is immutable, so that machines may share one; a machine takes a
// different pointer for a change.
type Catalog struct {
	// sorted by name
	topics []assign.Topic
	byName map[string]int
	byID   map[assign.TopicID]int
}

// NewCatalog makes a catalog of topics in any order. It takes them over.
func NewCatalog(topics []assign.Topic) *Catalog {
	slices.SortFunc(topics, func(a, b assign.Topic) int { return cmp.Compare(a.Name, b.Name) })
	c := &Catalog{topics: topics, byName: map[string]int{}, byID: map[assign.TopicID]int{}}
	for i, t := range topics {
		c.byName[t.Name], c.byID[t.ID] = i, i
	}
	return c
}

// Same reports whether two catalogs list the same topics with the same partitions.
func (c *Catalog) Same(o *Catalog) bool { return o != nil && slices.Equal(c.topics, o.topics) }

// named finds topics by name, sorted; those that do not exist are left out.
func (c *Catalog) named(names map[string]bool) []assign.Topic {
	found := make([]assign.Topic, 0, len(names))
	for name := range names {
		if i, ok := c.byName[name]; ok {
			found = append(found, c.topics[i])
		}
	}
	slices.SortFunc(found, func(a, b assign.Topic) int { return cmp.Compare(a.Name, b.Name) })
	return found
}

// matching are the names that a pattern matches as a whole, sorted.
func (c *Catalog) matching(pattern *regexp.Regexp) []string {
	var names []string
	for i := range c.topics {
		if pattern.MatchString(c.topics[i].Name) {
			names = append(names, c.topics[i].Name)
		}
	}
	return names
}

// nameOf is a topic's name, empty if there is no such topic.
func (c *Catalog) nameOf(id assign.TopicID) string {
	if i, ok := c.byID[id]; ok {
		return c.topics[i].Name
	}
	return ""
}

// hash tells whether the topics of a subscription are still the same, with the same partitions. It is
// kept in the log, and compared by later coordinators.
func (c *Catalog) hash(subscribed map[string]bool) int64 {
	sum := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(subscribed)) {
		if i, ok := c.byName[name]; ok {
			t := &c.topics[i]
			sum.Write([]byte(name))
			sum.Write(t.ID[:])
			sum.Write(binary.BigEndian.AppendUint32(nil, uint32(t.Partitions)))
		}
	}
	return int64(sum.Sum64())
}

// compile reads a subscription's pattern, in RE2's syntax, which matches names as a whole.
func compile(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile("^(?:" + pattern + ")$")
}
