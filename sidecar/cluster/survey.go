package cluster

import (
	"sort"

	"outrigger/broker/topic"
)

// Counts is what an operator wants to see move.
type Counts struct {
	Topics     int
	Partitions int
	// Offline partitions have no leader.
	Offline int
	// UnderReplicated partitions have replicas outside the in-sync set; offline ones are among them.
	UnderReplicated int
	// UnderMinimum partitions refuse acks=all.
	UnderMinimum int
	// Brokers holds every registered broker, by id.
	Brokers []BrokerCounts
}

// BrokerCounts is the part of one broker.
type BrokerCounts struct {
	Node     topic.NodeID
	Leaders  int
	Replicas int
}

// Counts walks all partitions.
func (im *Image) Counts() Counts {
	c := Counts{Topics: im.TopicCount(), Brokers: make([]BrokerCounts, len(im.brokers))}
	for i := range im.brokers {
		c.Brokers[i].Node = im.brokers[i].broker.ID
	}
	for t := range im.All() {
		for _, p := range t.Partitions {
			c.Partitions++
			c.add(im, p, im.MinInSync(t, p))
		}
	}
	return c
}

func (c *Counts) add(im *Image, p *topic.Placement, minimum int) {
	if p.UnderReplicated() {
		c.UnderReplicated++
	}
	if len(p.ISR) < minimum {
		c.UnderMinimum++
	}
	for _, node := range p.Replicas {
		if i, found := im.broker(node); found {
			c.Brokers[i].Replicas++
		}
	}
	if p.Leader == topic.NoNode {
		c.Offline++
		return
	}
	if i, found := im.broker(p.Leader); found {
		c.Brokers[i].Leaders++
	}
}

// Peers returns the live brokers that host a replica together with node, without node itself, by id:
// those whose word counts when node is suspected. It walks all partitions.
func (im *Image) Peers(node topic.NodeID) []topic.NodeID {
	seen := make(map[topic.NodeID]bool)
	var peers []topic.NodeID
	for t := range im.All() {
		for _, p := range t.Partitions {
			if !p.Hosts(node) {
				continue
			}
			for _, other := range p.Replicas {
				if other == node || seen[other] {
					continue
				}
				seen[other] = true
				if _, live := im.member(other); live {
					peers = append(peers, other)
				}
			}
		}
	}
	sort.Slice(peers, func(i, j int) bool { return peers[i] < peers[j] })
	return peers
}

// Undecided is a leaderless partition without any clean candidate, live or dead.
type Undecided struct {
	Partition topic.Partition
	Placement *topic.Placement
	// Gathered says that all last-known members are live: the replica with the largest (epoch, end) will
	// lead once all live ones have claimed theirs. Otherwise they, or the operator, are waited for.
	Gathered bool
}

// Undecided lists the partitions that wait for a decision, by topic name and index. It walks all
// partitions.
func (im *Image) Undecided() []Undecided {
	var waiting []Undecided
	for t := range im.All() {
		for i, p := range t.Partitions {
			if !IsUndecided(p) {
				continue
			}
			u := Undecided{Partition: topic.Partition{Topic: t.ID, Index: int32(i)}, Placement: p,
				Gathered: len(p.LastKnown) > 0}
			for _, node := range p.LastKnown {
				if _, live := im.member(node); !live {
					u.Gathered = false
				}
			}
			waiting = append(waiting, u)
		}
	}
	return waiting
}
