package cluster

import "outrigger/broker/topic"

// Imbalanced lists the partitions that are to be given back to their preferred leaders: those of every
// broker that does not lead more than percent of the partitions whose first replica it is, as far as it is
// in sync there. Partitions that move and brokers that are draining are left alone. At most some are
// listed; it walks all partitions.
func (im *Image) Imbalanced(percent, some int) ElectPreferred {
	preferred, missing := map[topic.NodeID]int{}, map[topic.NodeID]int{}
	for t := range im.byID.all() {
		for _, p := range t.Partitions {
			preferred[p.Replicas[0]]++
			if p.Leader != p.Replicas[0] {
				missing[p.Replicas[0]]++
			}
		}
	}
	var c ElectPreferred
	for t := range im.byID.all() {
		for i, p := range t.Partitions {
			first := p.Replicas[0]
			if len(c.Partitions) == some || p.Leader == first || p.Moving() ||
				missing[first]*100 <= preferred[first]*percent || im.Draining(first) {
				continue
			}
			if m, live := im.member(first); live && p.InSync(m) {
				c.Partitions = append(c.Partitions, topic.Partition{Topic: t.ID, Index: int32(i)})
			}
		}
	}
	return c
}
