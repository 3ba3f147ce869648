package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// target is one partition that a request names, as far as this node can resolve it.
type target struct {
	topic     *topic.Topic
	placement *topic.Placement
	log       *partition.Log
	// code is what to answer if there is no log to ask.
	code code
}

// topicOf finds the topic of a request: by id from the version on that has ids, by name before.
func topicOf(view View, name string, id topic.ID, byID bool) (*topic.Topic, code) {
	if byID {
		if t, ok := view.TopicByID(id); ok {
			return t, codeNone
		}
		return nil, codeUnknownTopicID
	}
	if t, ok := view.TopicByName(name); ok {
		return t, codeNone
	}
	return nil, codeUnknownTopicOrPartition
}

// resolve finds a partition's log. That a log exists does not mean that this node leads it: the log
// itself is asked for that, in the same breath as for the data.
//
// A partition without a log here is either somebody else's, or so new that it is not open yet. Both
// times the client is to look again, which NOT_LEADER_OR_FOLLOWER says.
func (b *Broker) resolve(t *topic.Topic, index int32) target {
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return target{topic: t, code: codeUnknownTopicOrPartition}
	}
	found := target{topic: t, placement: t.Partitions[index]}
	found.log = b.logs.Log(topic.Partition{Topic: t.ID, Index: index})
	if found.log == nil {
		found.code = codeNotLeaderOrFollower
	}
	return found
}

// fence compares the leader epoch that a client goes by with ours; -1 stands for none.
func fence(asked int32, role partition.Role) code {
	switch {
	case asked < 0 || topic.Epoch(asked) == role.Epoch:
		return codeNone
	case topic.Epoch(asked) < role.Epoch:
		return codeFencedLeaderEpoch
	default:
		return codeUnknownLeaderEpoch
	}
}

// leads says whether this node may serve reads of the partition to a client that goes by an epoch.
func leads(state partition.State, asked int32) code {
	if fenced := fence(asked, state.Role); fenced != codeNone {
		return fenced
	}
	if !state.Role.Leading {
		return codeNotLeaderOrFollower
	}
	return codeNone
}

// speaksFor says whether this node may say, as leader in an epoch, what a partition does not hold, or
// what it means: neither data that is committed for ever nor an append, which replicas confirm.
//
// The lease is not enough: a deposed leader may have it together with a few others, while the rest has
// elected another. The mandate wants a majority, or the controller. And it must be looked at before the
// image, for that comes first when a node hears again:
//  1. A is paused, B is elected. A goes on and applies the image that names B.
//  2. The others no longer know better than A: its mandate is renewed, and says nothing of A's old role.
//  3. A's log hears last that it leads no more.
func (b *Broker) speaksFor(p topic.Partition, epoch topic.Epoch) bool {
	if !b.logs.Leased() || !b.logs.Mandated() {
		return false
	}
	t, found := b.cluster.View().TopicByID(p.Topic)
	if !found || int(p.Index) >= len(t.Partitions) {
		return false
	}
	named := t.Partitions[p.Index]
	return named.Leader == b.config.Node && named.LeaderEpoch == epoch
}

// leaderHint is the leader that the image names, for a client that asked the wrong node (KIP-951).
type leaderHint struct {
	node  topic.NodeID
	epoch topic.Epoch
}

// hints collects the leaders of one answer, and their endpoints.
type hints struct {
	broker   *Broker
	view     View
	listener string
	brokers  []topic.Broker
}

// leader names the leader of p if it is another, live broker that clients of this listener can
// reach. If the image names nobody, or us, whom the client has just asked in vain, there is nothing
// to tell.
func (h *hints) leader(p *topic.Placement) (leaderHint, bool) {
	if p == nil || p.Leader == topic.NoNode || p.Leader == h.broker.config.Node {
		return leaderHint{}, false
	}
	leader, ok := h.view.Broker(p.Leader)
	if !ok || leader.Fenced {
		return leaderHint{}, false
	}
	if _, ok := endpointOf(leader, h.listener); !ok {
		return leaderHint{}, false
	}
	for _, known := range h.brokers {
		if known.ID == leader.ID {
			return leaderHint{p.Leader, p.LeaderEpoch}, true
		}
	}
	h.brokers = append(h.brokers, leader)
	return leaderHint{p.Leader, p.LeaderEpoch}, true
}

// each calls add for every leader that was named, with its endpoint.
func (h *hints) each(add func(id int32, host string, port int32, rack *string)) {
	for _, named := range h.brokers {
		if e, ok := endpointOf(named, h.listener); ok {
			add(int32(named.ID), e.Host, e.Port, rackOf(named))
		}
	}
}

// endpointOf is the address that clients of a listener are told.
func endpointOf(b topic.Broker, listener string) (topic.Endpoint, bool) {
	for _, e := range b.Endpoints {
		if e.Listener == listener {
			return e, true
		}
	}
	return topic.Endpoint{}, false
}

func rackOf(b topic.Broker) *string {
	if b.Rack == "" {
		return nil
	}
	return kmsg.StringPtr(b.Rack)
}
