package cluster

import "outrigger/broker/topic"

// placeable reports whether factor replicas find a broker each, one of them live.
func (b *Batch) placeable(factor int) bool {
	return len(b.im.Brokers()) > 0 && factor <= len(b.im.brokers)
}

// assign places count partitions of factor replicas, on live brokers first that are not draining. Where
// these are too few, fenced ones make up the number, then draining ones: a topic can be created while a
// broker is down, and the broker joins when it is back, as any follower does. The slot counter of the image goes on from topic to topic, so
// that topics of one partition spread as well as the partitions of one topic: n slots give each of n
// brokers one leadership.
func (b *Batch) assign(count, factor int) [][]topic.NodeID {
	ring := b.ring()
	placements := make([][]topic.NodeID, count)
	for i := range placements {
		placements[i] = b.fill(pick(ring, b.im.placed, min(factor, len(ring))), factor)
		b.im.placed++
	}
	return placements
}

// fill adds the other brokers, by id from a place that moves on, until there are factor replicas.
func (b *Batch) fill(replicas []topic.NodeID, factor int) []topic.NodeID {
	n := len(b.im.brokers)
	for _, draining := range []bool{false, true} {
		for step := 0; step < n && len(replicas) < factor; step++ {
			r := &b.im.brokers[(int(b.im.placed%int64(n))+step)%n]
			id := r.broker.ID
			if (r.broker.Fenced || draining) && draining == b.im.Draining(id) && !containsNode(replicas, id) {
				replicas = append(replicas, id)
			}
		}
	}
	return replicas
}

// willing are the live brokers that are not draining, or all live ones if every one is.
func (b *Batch) willing() []topic.Broker {
	live := b.im.Brokers()
	some := make([]topic.Broker, 0, len(live))
	for i := range live {
		if !b.im.Draining(live[i].ID) {
			some = append(some, live[i])
		}
	}
	if len(some) == 0 {
		return live
	}
	return some
}

// ring is the order in which live brokers take turns: by id, or, when every broker names its rack
// and there are several, one of each rack in turn.
func (b *Batch) ring() []topic.Broker {
	live := b.willing()
	racks := racksOf(live)
	if len(racks) < 2 {
		return live
	}
	ring := make([]topic.Broker, 0, len(live))
	for round := 0; len(ring) < len(live); round++ {
		for _, rack := range racks {
			if broker, found := nth(live, rack, round); found {
				ring = append(ring, broker)
			}
		}
	}
	return ring
}

// pick chooses the replicas of one slot. The leader is the slot's turn in the ring. The followers
// start further on with each whole turn, so that the partitions of a dead leader do not all fall to
// its neighbour. Racks that have no replica yet come first.
func pick(ring []topic.Broker, slot int64, factor int) []topic.NodeID {
	n := int64(len(ring))
	leader := slot % n
	replicas := []topic.NodeID{ring[leader].ID}
	racks := []string{ring[leader].Rack}
	for _, fresh := range []bool{true, false} {
		for step := int64(0); step < n-1 && len(replicas) < factor; step++ {
			broker := ring[(leader+1+(slot/n+step)%(n-1))%n]
			if containsNode(replicas, broker.ID) || fresh && containsString(racks, broker.Rack) {
				continue
			}
			replicas = append(replicas, broker.ID)
			racks = append(racks, broker.Rack)
		}
	}
	return replicas
}

// racksOf returns the racks in order of their first broker, or none if a broker names no rack.
func racksOf(brokers []topic.Broker) []string {
	var racks []string
	for i := range brokers {
		rack := brokers[i].Rack
		if rack == "" {
			return nil
		}
		if !containsString(racks, rack) {
			racks = append(racks, rack)
		}
	}
	return racks
}

// nth is the n-th broker of a rack, counted from zero.
func nth(brokers []topic.Broker, rack string, n int) (topic.Broker, bool) {
	for i := range brokers {
		if brokers[i].Rack != rack {
			continue
		}
		if n == 0 {
			return brokers[i], true
		}
		n--
	}
	return topic.Broker{}, false
}

func containsString(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}
