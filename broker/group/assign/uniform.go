package assign

import (
	"cmp"
	"slices"
)

// Uniform divides evenly, and moves as little as that allows.
func Uniform(members []Member) []Slots {
	u := newUniform(members)
	u.keep()
	if u.alike() {
		u.trim()
	}
	u.fill()
	if !u.alike() {
		u.balance()
	}
	return sets(u.given)
}

// uniform is a division that is being worked out.
type uniform struct {
	members []Member
	sorted  []int
	topics  []Topic
	who     map[TopicID][]int
	given   [][]Slot
	taken   map[Slot]bool
	total   int
}

func newUniform(members []Member) *uniform {
	u := &uniform{
		members: members, sorted: order(members), given: make([][]Slot, len(members)), taken: map[Slot]bool{},
	}
	u.topics, u.who = subscribers(members, u.sorted)
	for _, t := range u.topics {
		u.total += int(t.Partitions)
	}
	return u
}

// alike: everybody subscribes to everything, so that how many one is to have is known beforehand.
func (u *uniform) alike() bool {
	for _, t := range u.topics {
		if len(u.who[t.ID]) != len(u.members) {
			return false
		}
	}
	return true
}

// keep leaves everybody what it had and may still have.
func (u *uniform) keep() {
	for _, i := range u.sorted {
		may := make(map[TopicID]int32, len(u.members[i].Topics))
		for _, t := range u.members[i].Topics {
			may[t.ID] = t.Partitions
		}
		for _, slot := range u.members[i].Target {
			if slot.Partition < may[slot.Topic] && !u.taken[slot] {
				u.give(i, slot)
			}
		}
	}
}

func (u *uniform) give(i int, slot Slot) {
	u.given[i] = append(u.given[i], slot)
	u.taken[slot] = true
}

// trim takes from each what is above its share. Of members that are alike, so many may have one more
// than the rest; those who have it already come first.
func (u *uniform) trim() {
	if len(u.members) == 0 {
		return
	}
	each, more := u.total/len(u.members), u.total%len(u.members)
	for _, i := range u.sorted {
		share := each
		if len(u.given[i]) > each && more > 0 {
			share++
			more--
		}
		for len(u.given[i]) > share {
			last := len(u.given[i]) - 1
			delete(u.taken, u.given[i][last])
			u.given[i] = u.given[i][:last]
		}
	}
}

// fill gives what nobody has to whoever has least. Topics with few subscribers go first, since others
// find takers later.
func (u *uniform) fill() {
	topics := slices.Clone(u.topics)
	slices.SortStableFunc(topics, func(a, b Topic) int {
		return cmp.Compare(len(u.who[a.ID]), len(u.who[b.ID]))
	})
	for _, t := range topics {
		takers := byLoad{given: u.given, who: slices.Clone(u.who[t.ID])}
		takers.sort()
		for p := range t.Partitions {
			if slot := (Slot{t.ID, p}); !u.taken[slot] {
				u.give(takers.who[0], slot)
				takers.sink()
			}
		}
	}
}

// byLoad is a heap of members, the least loaded at the top. Of equals, the one that comes first in the
// order of members is above the others.
type byLoad struct {
	given [][]Slot
	who   []int
	rank  []int
}

func (h *byLoad) sort() {
	h.rank = make([]int, len(h.given))
	for rank, i := range h.who {
		h.rank[i] = rank
	}
	slices.SortFunc(h.who, func(a, b int) int {
		if h.less(a, b) {
			return -1
		}
		return 1
	})
}

func (h *byLoad) less(a, b int) bool {
	if len(h.given[a]) != len(h.given[b]) {
		return len(h.given[a]) < len(h.given[b])
	}
	return h.rank[a] < h.rank[b]
}

// sink lets the top, which has just been given something, find its place.
func (h *byLoad) sink() {
	at := 0
	for {
		child := 2*at + 1
		if child >= len(h.who) {
			return
		}
		if child+1 < len(h.who) && h.less(h.who[child+1], h.who[child]) {
			child++
		}
		if h.less(h.who[at], h.who[child]) {
			return
		}
		h.who[at], h.who[child] = h.who[child], h.who[at]
		at = child
	}
}

// balance moves partitions to subscribers that have at least two less than the owner, until there are
// none: each move makes the sum of squares of the loads smaller, so that it ends.
func (u *uniform) balance() {
	for moved := true; moved; {
		moved = false
		for _, from := range u.sorted {
			for n := 0; n < len(u.given[from]); n++ {
				slot := u.given[from][n]
				to := u.least(slot.Topic)
				if len(u.given[to])+1 >= len(u.given[from]) {
					continue
				}
				u.given[to] = append(u.given[to], slot)
				u.given[from] = slices.Delete(u.given[from], n, n+1)
				n--
				moved = true
			}
		}
	}
}

// least is the subscriber of a topic that has least.
func (u *uniform) least(id TopicID) int {
	best := u.who[id][0]
	for _, i := range u.who[id][1:] {
		if len(u.given[i]) < len(u.given[best]) {
			best = i
		}
	}
	return best
}
