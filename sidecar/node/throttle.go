package node

import (
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// throttle slows down the filling of replicas that a reassignment brings. Whoever is in sync, and what is
// appended while a replica streams, goes out as ever: nobody who waits for an acknowledgement waits for it.
//
// A leader knows the rate of a follower, and how many other leaders fill it; it takes its share.
type throttle struct {
	// out is what this node may send to all new replicas, in what it may send to those of one node.
	out bucket
	in  map[topic.NodeID]*bucket
	// feeders caches cluster.Image.Feeders for the present image.
	feeders map[topic.NodeID]int
}

// bucket holds the bytes that may be sent. It fills with time, up to a second's worth, and what is sent may
// overdraw it by one batch.
type bucket struct {
	bytes, at int64
}

// refill passes the time until now, at a rate of bytes per second.
func (b *bucket) refill(now, ticksPerSecond, rate int64) {
	elapsed := min(now-b.at, ticksPerSecond)
	b.at = now
	b.bytes = min(rate, b.bytes+rate/ticksPerSecond*elapsed+rate%ticksPerSecond*elapsed/ticksPerSecond)
}

// throttled reports whether the next batch of a slot for a peer must wait. held says that it has waited
// before: then it waits until a quarter of a second's worth has gathered, since it may cost a read of the log.
func (r *Replication) throttled(p *peer, s *slot, held bool) bool {
	placement := s.machine.Placement()
	if placement == nil || !placement.Moving() || !placement.IsAdding(p.node) ||
		slices.ContainsFunc(placement.ISR, func(m topic.Member) bool { return m.Node == p.node }) {
		return false
	}
	out, in := r.image.Throttles(s.partition, r.cfg.Self.Node, p.node)
	if in != cluster.Unthrottled {
		in /= int64(max(1, r.feeders(p.node)))
	}
	return r.empty(&r.throttle.out, out, held) || r.empty(r.inward(p.node), in, held)
}

func (r *Replication) empty(b *bucket, rate int64, held bool) bool {
	if rate == cluster.Unthrottled {
		return false
	}
	b.refill(r.now, r.cfg.TicksPerSecond, rate)
	if held {
		return b.bytes < rate/4
	}
	return b.bytes <= 0
}

func (r *Replication) inward(node topic.NodeID) *bucket {
	b := r.throttle.in[node]
	if b == nil {
		b = &bucket{at: r.now}
		if r.throttle.in == nil {
			r.throttle.in = map[topic.NodeID]*bucket{}
		}
		r.throttle.in[node] = b
	}
	return b
}

func (r *Replication) feeders(node topic.NodeID) int {
	n, known := r.throttle.feeders[node]
	if !known {
		n = r.image.Feeders(node)
		if r.throttle.feeders == nil {
			r.throttle.feeders = map[topic.NodeID]int{}
		}
		r.throttle.feeders[node] = n
	}
	return n
}

// spend takes from the buckets what was sent to fill a replica that a reassignment brings.
func (r *Replication) spend(p *peer, s *slot, bytes int) {
	if placement := s.machine.Placement(); placement != nil && placement.IsAdding(p.node) {
		r.throttle.out.bytes -= int64(bytes)
		r.inward(p.node).bytes -= int64(bytes)
	}
}

// hold puts a slot aside until its throttle lets it go on.
func (c *catchup) hold(s *slot) { c.held = append(c.held, s) }

// release lets those go on whose throttle does.
func (r *Replication) release() {
	for _, p := range r.order {
		c := &p.catchup
		if len(c.held) == 0 {
			continue
		}
		c.held = slices.DeleteFunc(c.held, func(s *slot) bool {
			if r.throttled(p, s, true) {
				return false
			}
			c.lagging = append(c.lagging, s)
			return true
		})
	}
}
