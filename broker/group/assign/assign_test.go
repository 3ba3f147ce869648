package assign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func topicOf(name string, partitions int32) Topic {
	t := Topic{Name: name, Partitions: partitions}
	copy(t.ID[:], name)
	return t
}

// counts are how many slots each member has.
func counts(slots []Slots) []int {
	var n []int
	for _, s := range slots {
		n = append(n, len(s))
	}
	return n
}

func TestRangeGivesAdjoiningPartitionsOfEachTopic(t *testing.T) {
	topics := []Topic{topicOf("a", 5), topicOf("b", 2)}
	got := Range([]Member{{ID: "m2", Topics: topics}, {ID: "m1", Topics: topics}, {ID: "m0", Topics: topics[1:]}})
	a, b := topics[0].ID, topics[1].ID
	want := []Slots{{{a, 3}, {a, 4}}, {{a, 0}, {a, 1}, {a, 2}, {b, 1}}, {{b, 0}}}
	for i := range want {
		if !got[i].Equal(want[i]) {
			t.Errorf("member %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

func TestUniformMovesOnlyWhatItMust(t *testing.T) {
	topics := []Topic{topicOf("a", 10)}
	two := []Member{{ID: "m1", Topics: topics}, {ID: "m2", Topics: topics}}
	before := Uniform(two)
	if got := counts(before); !slices.Equal(got, []int{5, 5}) {
		t.Fatalf("two members: got %v, want 5 and 5", got)
	}
	two[0].Target, two[1].Target = before[0], before[1]
	three := append(two, Member{ID: "m0", Topics: topics})
	after := Uniform(three)
	if got := counts(after); !slices.Equal(got, []int{4, 3, 3}) && !slices.Equal(got, []int{3, 4, 3}) {
		t.Fatalf("three members: got %v, want 4, 3 and 3", got)
	}
	for i := range two {
		if !after[i].Within(before[i]) {
			t.Errorf("member %d had %v and got others: %v", i, before[i], after[i])
		}
	}
}

// TestEveryPartitionGoesToOneSubscriber: whatever the subscriptions are, nothing is left over or given
// twice, nobody gets what it does not subscribe to, and no partition could be moved for more balance.
func TestEveryPartitionGoesToOneSubscriber(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		var topics []Topic
		for i := range 1 + random.IntN(5) {
			topics = append(topics, topicOf(fmt.Sprint("t", i), int32(random.IntN(9))))
		}
		members := make([]Member, 1+random.IntN(6))
		alike := random.IntN(2) == 0
		var last []Slots
		for range 4 {
			for i := range members {
				members[i].ID = fmt.Sprint("m", i)
				members[i].Topics = nil
				for _, topic := range topics {
					if alike || random.IntN(2) == 0 {
						members[i].Topics = append(members[i].Topics, topic)
					}
				}
				if last != nil && random.IntN(3) > 0 {
					members[i].Target = last[i]
				}
			}
			check(t, seed, "range", members, Range(members), false)
			last = Uniform(members)
			check(t, seed, "uniform", members, last, true)
			again := slices.Clone(members)
			for i := range again {
				again[i].Target = last[i]
			}
			for i, slots := range Uniform(again) {
				if !slots.Equal(last[i]) {
					t.Fatalf("seed %d: uniform moves again: member %d had %v, got %v", seed, i, last[i], slots)
				}
			}
		}
	}
}

func check(t *testing.T, seed uint64, name string, members []Member, got []Slots, even bool) {
	t.Helper()
	owner := map[Slot]int{}
	for i, slots := range got {
		for _, slot := range slots {
			if other, twice := owner[slot]; twice {
				t.Fatalf("seed %d: %s: %v is given to %d and %d", seed, name, slot, other, i)
			}
			owner[slot] = i
			if !subscribes(&members[i], slot) {
				t.Fatalf("seed %d: %s: %d gets %v without a subscription", seed, name, i, slot)
			}
		}
	}
	for i := range members {
		for _, topic := range members[i].Topics {
			for p := range topic.Partitions {
				slot := Slot{topic.ID, p}
				from, given := owner[slot]
				if !given {
					t.Fatalf("seed %d: %s: nobody gets %v", seed, name, slot)
				}
				if even && len(got[from]) > len(got[i])+1 {
					t.Fatalf("seed %d: %s: %d has %d, %d has %d, and %v could move", seed, name,
						from, len(got[from]), i, len(got[i]), slot)
				}
			}
		}
	}
}

func subscribes(m *Member, slot Slot) bool {
	return slices.ContainsFunc(m.Topics, func(t Topic) bool {
		return t.ID == slot.Topic && slot.Partition < t.Partitions
	})
}

// BenchmarkUniform is one more member in a group of a thousand with ten thousand partitions.
func BenchmarkUniform(b *testing.B) {
	topics := []Topic{topicOf("a", 10_000)}
	members := make([]Member, 1000)
	for i := range members {
		members[i] = Member{ID: fmt.Sprint("m", i), Topics: topics}
	}
	for i, slots := range Uniform(members) {
		members[i].Target = slots
	}
	members = append(members, Member{ID: "new", Topics: topics})
	b.ReportAllocs()
	for b.Loop() {
		Uniform(members)
	}
}
