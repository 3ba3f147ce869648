package cluster

import (
	"math"
	"strconv"
	"strings"

	"outrigger/broker/topic"
)

// Configs by which the filling of replicas is slowed down. All but the last are Kafka's.
const (
	// ConfigLeaderThrottle and ConfigFollowerThrottle of a broker are bytes per second.
	ConfigLeaderThrottle   = "leader.replication.throttled.rate"
	ConfigFollowerThrottle = "follower.replication.throttled.rate"
	// ConfigThrottledLeaders and ConfigThrottledFollowers of a topic say for whom these count: "*", or
	// partition:broker pairs with commas between.
	ConfigThrottledLeaders   = "leader.replication.throttled.replicas"
	ConfigThrottledFollowers = "follower.replication.throttled.replicas"
	// ConfigMoveThrottle of brokers is in bytes per second, too. It counts for the replicas that
	// reassignments bring, out of a broker and into it, whichever topics they are of, and for nothing else.
	ConfigMoveThrottle = "reassignment.throttled.rate"
)

// Unthrottled is a rate that bounds nothing.
const Unthrottled = math.MaxInt64

// Throttles are the rates that bound the filling of one replica, in bytes per second, Unthrottled where
// nothing does. Each is of a broker and shared by all that it bounds there.
type Throttles struct {
	// Out is what the leader's broker may send to all replicas that are listed, In what the follower's may get.
	Out, In int64
	// MoveOut and MoveIn are the same for replicas that reassignments bring.
	MoveOut, MoveIn int64
}

// Free reports whether nothing is bounded.
func (t Throttles) Free() bool {
	return t == Throttles{Unthrottled, Unthrottled, Unthrottled, Unthrottled}
}

// Throttles tells what bounds the filling of a follower's replica by a leader: nothing once it is in sync.
func (im *Image) Throttles(p topic.Partition, leader, follower topic.NodeID) Throttles {
	t, found := im.TopicByID(p.Topic)
	if !found || p.Index < 0 || int(p.Index) >= len(t.Partitions) {
		return Throttles{Unthrottled, Unthrottled, Unthrottled, Unthrottled}
	}
	return im.throttles(t, p.Index, leader, follower)
}

func (im *Image) throttles(t *topic.Topic, index int32, leader, follower topic.NodeID) Throttles {
	bounds := Throttles{Unthrottled, Unthrottled, Unthrottled, Unthrottled}
	placement := t.Partitions[index]
	if !lags(placement, follower) {
		return bounds
	}
	if names(t.Configs[ConfigThrottledLeaders], index, leader) {
		bounds.Out = im.rate(leader, ConfigLeaderThrottle)
	}
	if names(t.Configs[ConfigThrottledFollowers], index, follower) {
		bounds.In = im.rate(follower, ConfigFollowerThrottle)
	}
	if placement.IsAdding(follower) {
		bounds.MoveOut, bounds.MoveIn = im.rate(leader, ConfigMoveThrottle), im.rate(follower, ConfigMoveThrottle)
	}
	return bounds
}

// lags reports whether a node has a replica that is not in sync.
func lags(p *topic.Placement, node topic.NodeID) bool {
	for _, m := range p.ISR {
		if m.Node == node {
			return false
		}
	}
	return p.Hosts(node)
}

// rate is what was set for a broker, or for all of them.
func (im *Image) rate(node topic.NodeID, config string) int64 {
	text, set := im.Configs(topic.BrokerConfigs, strconv.FormatInt(int64(node), 10)).Values[config]
	if !set {
		text = im.Configs(topic.BrokerConfigs, "").Values[config]
	}
	if rate, err := strconv.ParseInt(text, 10, 64); err == nil && rate >= 0 {
		return rate
	}
	return Unthrottled
}

// names reports whether a list of throttled replicas names one.
func names(list string, partition int32, node topic.NodeID) bool {
	if list == "*" {
		return true
	}
	for pair := range strings.SplitSeq(list, ",") {
		index, broker, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if ok && index == strconv.Itoa(int(partition)) && broker == strconv.Itoa(int(node)) {
			return true
		}
	}
	return false
}

// Feeders is how many brokers fill replicas on a node now with a bound on what it may get. It walks all
// partitions.
func (im *Image) Feeders(node topic.NodeID) int {
	feeders := map[topic.NodeID]bool{}
	for t := range im.byID.all() {
		for i, p := range t.Partitions {
			if p.Leader == topic.NoNode || feeders[p.Leader] || !lags(p, node) {
				continue
			}
			if bounds := im.throttles(t, int32(i), p.Leader, node); bounds.In != Unthrottled || bounds.MoveIn != Unthrottled {
				feeders[p.Leader] = true
			}
		}
	}
	return len(feeders)
}
