package cluster

import (
	"math"
	"strconv"
	"strings"

	"outrigger/broker/topic"
)

// Configs by which the filling of replicas that a reassignment brings is slowed down, as Kafka names them.
const (
	// ConfigLeaderThrottle and ConfigFollowerThrottle of a broker are bytes per second.
	ConfigLeaderThrottle   = "leader.replication.throttled.rate"
	ConfigFollowerThrottle = "follower.replication.throttled.rate"
	// ConfigThrottledLeaders and ConfigThrottledFollowers of a topic say for whom these count: "*", or
	// partition:broker pairs with commas between.
	ConfigThrottledLeaders   = "leader.replication.throttled.replicas"
	ConfigThrottledFollowers = "follower.replication.throttled.replicas"
)

// Unthrottled is a rate that bounds nothing.
const Unthrottled = math.MaxInt64

// Throttles tells how many bytes a second may go from a leader, and to a follower, of all that is sent to
// fill replicas which a reassignment brings, as far as this partition's are to be slowed down.
func (im *Image) Throttles(p topic.Partition, leader, follower topic.NodeID) (out, in int64) {
	out, in = Unthrottled, Unthrottled
	t, found := im.TopicByID(p.Topic)
	if !found {
		return out, in
	}
	if names(t.Configs[ConfigThrottledLeaders], p.Index, leader) {
		out = im.rate(leader, ConfigLeaderThrottle)
	}
	if names(t.Configs[ConfigThrottledFollowers], p.Index, follower) {
		in = im.rate(follower, ConfigFollowerThrottle)
	}
	return out, in
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

// Feeders is how many brokers fill new replicas on a node now. It walks all partitions.
func (im *Image) Feeders(node topic.NodeID) int {
	feeders := map[topic.NodeID]bool{}
	for t := range im.byID.all() {
		for _, p := range t.Partitions {
			if p.Leader != topic.NoNode && p.IsAdding(node) {
				feeders[p.Leader] = true
			}
		}
	}
	return len(feeders)
}
