package broker

import (
	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// Consumers may read from a follower in their rack (KIP-392), if the operator lets them. The leader says
// whom to ask; the follower serves what it knows to be committed. An offset beyond that is waited for
// like new records are, and only then refused: the leader, which has sent the consumer here, knows it to
// be committed, so this follower will hear of it.
const fetchFromFollowers = 11

// serves says whether this node may serve a read, as leader or as follower.
func (f *fetch) serves(s *fetchSlot, state partition.State) code {
	why := leads(state, s.asked.CurrentLeaderEpoch)
	if why != codeNotLeaderOrFollower || f.request.Version < fetchFromFollowers ||
		!f.broker.config.Requests.FollowerReads || !f.follows(s.target.placement, state.Role) {
		return why
	}
	return codeNone
}

// follows reports whether this node is in sync, by an image that is not newer than what its log goes by.
// Others may hold, below their high watermark, what an unclean election has undone.
func (f *fetch) follows(p *topic.Placement, role partition.Role) bool {
	self, ok := f.view.Broker(f.broker.config.Node)
	return ok && p != nil && p.LeaderEpoch == role.Epoch &&
		p.InSync(topic.Member{Node: self.ID, Session: self.Session})
}

// elsewhere reports whether there is nothing to read here: the consumer shall ask a follower nearer to
// it, or this follower does not know of the offset yet.
func (f *fetch) elsewhere(s *fetchSlot, state partition.State) bool {
	offset := topic.Offset(s.asked.FetchOffset)
	if !state.Role.Leading {
		s.ahead = offset > state.HighWatermark
		return s.ahead
	}
	if offset < state.LogStart || offset > state.HighWatermark {
		return false
	}
	s.preferred = f.nearer(s.target.placement)
	return s.preferred != topic.NoNode
}

// nearer is the first in-sync follower in the consumer's rack, if this leader is in another: one that is
// live, and that clients of the listener can reach.
func (f *fetch) nearer(p *topic.Placement) topic.NodeID {
	rack := f.body.Rack
	if !f.broker.config.Requests.FollowerReads || f.request.Version < fetchFromFollowers || rack == "" || p == nil {
		return topic.NoNode
	}
	if self, ok := f.view.Broker(f.broker.config.Node); !ok || self.Rack == rack {
		return topic.NoNode
	}
	for _, m := range p.ISR {
		known, ok := f.view.Broker(m.Node)
		if !ok || known.Fenced || known.Session != m.Session || known.Rack != rack {
			continue
		}
		if _, reachable := endpointOf(known, f.request.listener); reachable {
			f.broker.meters.redirected.Inc()
			return m.Node
		}
	}
	return topic.NoNode
}
