package assign

// Simple divides for share groups, where a partition may be used by several members: evenly, as Uniform
// does, and, where there are more members than partitions, so that everybody has one.
func Simple(members []Member) []Slots {
	given := Uniform(members)
	sharing := map[Slot]int{}
	for _, slots := range given {
		for _, slot := range slots {
			sharing[slot]++
		}
	}
	for _, i := range order(members) {
		if len(given[i]) > 0 {
			continue
		}
		if slot, ok := leastShared(&members[i], sharing); ok {
			sharing[slot]++
			given[i] = Slots{slot}
		}
	}
	return given
}

// leastShared is the partition that the fewest have; of equals, one that the member had before.
func leastShared(m *Member, sharing map[Slot]int) (best Slot, found bool) {
	for _, t := range m.Topics {
		for p := range t.Partitions {
			slot := Slot{t.ID, p}
			if !found || sharing[slot] < sharing[best] || sharing[slot] == sharing[best] && m.Target.Has(slot) && !m.Target.Has(best) {
				best, found = slot, true
			}
		}
	}
	return best, found
}
