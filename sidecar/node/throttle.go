package node

import (
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// throttle slows down the filling of replicas that are not in sync, where configs ask for it. Whoever is in
// sync, and what is appended while a replica streams, goes out as ever: nobody who waits for an
// acknowledgement waits for it.
//
// A leader knows the rate of a follower, and how many other leaders fill it; it takes its share.
type throttle struct {
	// listed is for the replicas that topics list, moves for those that reassignments bring. Who is both
	// takes from both.
	listed, moves budget
	// bounds caches cluster.Image.Throttles, feeders cluster.Image.Feeders, for the present image.
	bounds  map[filling]cluster.Throttles
	feeders map[topic.NodeID]int
}

// filling is a replica that this node fills.
type filling struct {
	partition topic.Partition
	node      topic.NodeID
}

// budget is what this node may send: out to all nodes, in to each of them.
type budget struct {
	out bucket
	in  map[topic.NodeID]*bucket
}

func (b *budget) inward(node topic.NodeID) *bucket {
	in := b.in[node]
	if in == nil {
		in = &bucket{}
		if b.in == nil {
			b.in = map[topic.NodeID]*bucket{}
		}
		b.in[node] = in
	}
	return in
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
	bounds := r.bounds(p, s)
	if bounds.Free() {
		return false
	}
	t := &r.throttle
	for _, at := range []struct {
		bucket *bucket
		rate   int64
	}{
		{&t.listed.out, bounds.Out}, {t.listed.inward(p.node), r.share(p.node, bounds.In)},
		{&t.moves.out, bounds.MoveOut}, {t.moves.inward(p.node), r.share(p.node, bounds.MoveIn)},
	} {
		if r.empty(at.bucket, at.rate, held) {
			return true
		}
	}
	return false
}

// bounds are those on the filling of a peer's replica, as the present image has them.
func (r *Replication) bounds(p *peer, s *slot) cluster.Throttles {
	key := filling{s.partition, p.node}
	bounds, known := r.throttle.bounds[key]
	if !known {
		bounds = r.image.Throttles(s.partition, r.cfg.Self.Node, p.node)
		if r.throttle.bounds == nil {
			r.throttle.bounds = map[filling]cluster.Throttles{}
		}
		r.throttle.bounds[key] = bounds
	}
	return bounds
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

// share is this leader's part of what a node may get.
func (r *Replication) share(node topic.NodeID, rate int64) int64 {
	if rate == cluster.Unthrottled {
		return rate
	}
	n, known := r.throttle.feeders[node]
	if !known {
		n = r.image.Feeders(node)
		if r.throttle.feeders == nil {
			r.throttle.feeders = map[topic.NodeID]int{}
		}
		r.throttle.feeders[node] = n
	}
	return rate / int64(max(1, n))
}

// spend takes what was sent to fill a replica from the buckets that bound it, and from no other: one that
// was overdrawn while nothing bounded it would hold everything back for long once something does.
func (r *Replication) spend(p *peer, s *slot, bytes int) {
	bounds, t := r.bounds(p, s), &r.throttle
	for _, at := range []struct {
		budget  *budget
		out, in int64
	}{{&t.listed, bounds.Out, bounds.In}, {&t.moves, bounds.MoveOut, bounds.MoveIn}} {
		if at.out != cluster.Unthrottled {
			at.budget.out.bytes -= int64(bytes)
		}
		if at.in != cluster.Unthrottled {
			at.budget.inward(p.node).bytes -= int64(bytes)
		}
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
