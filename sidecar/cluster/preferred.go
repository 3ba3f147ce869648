package cluster

import (
	"maps"
	"slices"

	"outrigger/broker/topic"
)

// Imbalanced lists the partitions that are to be given back to their preferred leaders: those of every
// broker of some that does not lead more than percent of the partitions whose first replica it is, as far as it is
// in sync there. lacking are those brokers, as far as they live. Partitions that move and brokers that are draining are
// left alone. At most some partitions are listed; it walks all.
func (im *Image) Imbalanced(percent, some int, of func(topic.NodeID) bool) (due ElectPreferred, lacking []topic.NodeID) {
	preferred, missing := map[topic.NodeID]int{}, map[topic.NodeID]int{}
	for t := range im.byID.all() {
		for _, p := range t.Partitions {
			preferred[p.Replicas[0]]++
			if p.Leader != p.Replicas[0] {
				missing[p.Replicas[0]]++
			}
		}
	}
	lacks := map[topic.NodeID]topic.Member{}
	for id := range missing {
		if m, live := im.member(id); live && of(id) && !im.Draining(id) && missing[id]*100 > preferred[id]*percent {
			lacks[id] = m
		}
	}
	for t := range im.byID.all() {
		for i, p := range t.Partitions {
			first := p.Replicas[0]
			m, is := lacks[first]
			if is && p.Leader != first && !p.Moving() && p.InSync(m) && len(due.Partitions) < some {
				due.Partitions = append(due.Partitions, topic.Partition{Topic: t.ID, Index: int32(i)})
			}
		}
	}
	return due, slices.Sorted(maps.Keys(lacks))
}
