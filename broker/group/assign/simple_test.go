package assign

import (
	"fmt"
	"testing"
)

// TestSimpleGivesEverybodySomething: each partition has a member; more members than partitions share them,
// and none is shared by two more than another.
func TestSimpleGivesEverybodySomething(t *testing.T) {
	for partitions := range int32(6) {
		for count := 1; count < 12; count++ {
			topics := []Topic{topicOf("a", partitions), topicOf("b", 2)}
			members := make([]Member, count)
			for i := range members {
				members[i] = Member{ID: fmt.Sprint("m", i), Topics: topics}
			}
			sharing := map[Slot]int{}
			given := Simple(members)
			for i, slots := range given {
				if len(slots) == 0 {
					t.Errorf("%d partitions, %d members: %d has nothing", partitions+2, count, i)
				}
				for _, slot := range slots {
					sharing[slot]++
				}
				members[i].Target = slots
			}
			least, most := count, 0
			for _, topic := range topics {
				for p := range topic.Partitions {
					n := sharing[Slot{topic.ID, p}]
					least, most = min(least, n), max(most, n)
				}
			}
			if least == 0 || most > least+1 {
				t.Errorf("%d partitions, %d members: shared by %d to %d", partitions+2, count, least, most)
			}
			for i, slots := range Simple(members) {
				if !slots.Equal(given[i]) {
					t.Errorf("%d partitions, %d members: %d had %v, gets %v", partitions+2, count, i, given[i], slots)
				}
			}
		}
	}
}
