package assign

import (
	"cmp"
	"slices"
)

// Topic is a topic that members may subscribe to.
type Topic struct {
	ID         TopicID
	Name       string
	Partitions int32
}

// Member is a member with what it subscribes to and what it was to have until now.
type Member struct {
	ID string
	// Instance is the id of a static member, empty for others. It outlives ID, so it decides the order.
	Instance string
	// Topics are those that exist, sorted by name. Members with the same subscription may share one slice.
	Topics []Topic
	// Target is the last assignment.
	Target Slots
}

// Assignor divides partitions: the result holds what each member is to have, in the order of members.
// Every partition of a topic that anybody subscribes to goes to exactly one of its subscribers.
type Assignor func(members []Member) []Slots

// Names are the assignors that clients may ask for, the default first.
func Names() []string { return []string{"uniform", "range"} }

// ByName finds an assignor, nil if there is none of that name.
func ByName(name string) Assignor {
	switch name {
	case "uniform":
		return Uniform
	case "range":
		return Range
	default:
		return nil
	}
}

// order gives the members' indexes in an order that does not depend on who joined first.
func order(members []Member) []int {
	sorted := make([]int, len(members))
	for i := range sorted {
		sorted[i] = i
	}
	slices.SortFunc(sorted, func(a, b int) int {
		x, y := &members[a], &members[b]
		// Static members come first: their place should not move when others come and go.
		if (x.Instance == "") != (y.Instance == "") {
			if x.Instance != "" {
				return -1
			}
			return 1
		}
		if c := cmp.Compare(x.Instance, y.Instance); c != 0 {
			return c
		}
		return cmp.Compare(x.ID, y.ID)
	})
	return sorted
}

// subscribers lists, for each topic in the order of names, who subscribes to it, in the order given.
func subscribers(members []Member, sorted []int) (topics []Topic, who map[TopicID][]int) {
	who = map[TopicID][]int{}
	for _, i := range sorted {
		for _, t := range members[i].Topics {
			if who[t.ID] == nil {
				topics = append(topics, t)
			}
			who[t.ID] = append(who[t.ID], i)
		}
	}
	slices.SortFunc(topics, func(a, b Topic) int { return cmp.Compare(a.Name, b.Name) })
	return topics, who
}

// Range gives each subscriber of a topic a run of its partitions, the first ones one more.
func Range(members []Member) []Slots {
	given := make([][]Slot, len(members))
	topics, who := subscribers(members, order(members))
	for _, t := range topics {
		takers := who[t.ID]
		each, more := t.Partitions/int32(len(takers)), t.Partitions%int32(len(takers))
		next := int32(0)
		for n, i := range takers {
			end := next + each
			if int32(n) < more {
				end++
			}
			for ; next < end; next++ {
				given[i] = append(given[i], Slot{t.ID, next})
			}
		}
	}
	return sets(given)
}

func sets(given [][]Slot) []Slots {
	all := make([]Slots, len(given))
	for i, slots := range given {
		all[i] = SlotsOf(slots)
	}
	return all
}
