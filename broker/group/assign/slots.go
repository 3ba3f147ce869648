package assign

import (
	"bytes"
	"cmp"
	"slices"
)

// TopicID is a topic's id, which no other topic of that name will ever have.
type TopicID = [16]byte

// Slot is one partition.
type Slot struct {
	Topic     TopicID
	Partition int32
}

// Compare orders slots by topic, then by partition.
func (s Slot) Compare(o Slot) int {
	if c := bytes.Compare(s.Topic[:], o.Topic[:]); c != 0 {
		return c
	}
	return cmp.Compare(s.Partition, o.Partition)
}

// Slots is a set of partitions, sorted and without repetitions.
type Slots []Slot

// SlotsOf makes a set of what may be unsorted and repeated. It takes s over.
func SlotsOf(s []Slot) Slots {
	slices.SortFunc(s, Slot.Compare)
	return slices.Compact(s)
}

// Has reports whether the set holds a slot.
func (s Slots) Has(one Slot) bool {
	_, found := slices.BinarySearchFunc(s, one, Slot.Compare)
	return found
}

// Meets reports whether two sets have a slot in common.
func (s Slots) Meets(o Slots) bool { return slices.ContainsFunc(s, o.Has) }

// Within reports whether every slot of s is in o.
func (s Slots) Within(o Slots) bool {
	return !slices.ContainsFunc(s, func(one Slot) bool { return !o.Has(one) })
}

// With is the set of what is in either.
func (s Slots) With(o Slots) Slots { return SlotsOf(slices.Concat(s, o)) }

// Without is the set of what is in s and not in o.
func (s Slots) Without(o Slots) Slots {
	return slices.DeleteFunc(slices.Clone(s), o.Has)
}

// Equal reports whether two sets are the same.
func (s Slots) Equal(o Slots) bool { return slices.Equal(s, o) }
