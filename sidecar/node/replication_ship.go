package node

import (
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// receivers are whom a frame is for: one follower, or two, the lower node first. The second one's session
// is 0 when there is none.
type receivers struct{ first, second topic.Member }

func both(a, b topic.Member) receivers {
	if b.Node < a.Node {
		a, b = b, a
	}
	return receivers{a, b}
}

// shares reports whether somebody receives both.
func (x receivers) shares(y receivers) bool {
	return x.has(y.first) || y.second.Session != 0 && x.has(y.second)
}

func (x receivers) has(m topic.Member) bool {
	return x.first == m || x.second.Session != 0 && x.second == m
}

// shipment is a frame that is being packed.
//
// Partitions have nothing to do with each other, so frames to one follower may overtake each other; but
// what one partition says to one follower must arrive in its order. So before a section is packed, the
// shipments go out that hold earlier ones of its partition for one of the receivers:
//  1. batch 7 of a partition is packed for followers 2 and 3. 2. Follower 2 asks for batch 6 again, which
//     is packed for it alone. 3. If 7 went out after 6, that is the order in which it was sent before.
type shipment struct {
	to receivers
	// builder is nil while nothing is packed.
	builder *frame.Builder
	// slots have sections in it.
	slots []*slot
	nodes []topic.NodeID
}

func (r *Replication) shipment(to receivers) *shipment {
	c := r.shipments[to]
	if c == nil {
		c = &shipment{to: to, nodes: []topic.NodeID{to.first.Node}}
		if to.second.Session != 0 {
			c.nodes = append(c.nodes, to.second.Node)
		}
		r.shipments[to] = c
	}
	return c
}

// sparesMax bounds the memory of frames that nobody packs.
const sparesMax = 8

// pack adds a section to the frame of its receivers. A full frame goes out at once.
func (r *Replication) pack(s *slot, to receivers, section *frame.Section) {
	var c *shipment
	for i := 0; i < len(s.packed); {
		switch earlier := s.packed[i]; {
		case earlier.to == to:
			c = earlier
			i++
		case earlier.to.shares(to):
			r.ship(earlier) // takes it out of s.packed
		default:
			i++
		}
	}
	if c == nil {
		c = r.shipment(to)
	}
	if c.builder != nil && (c.builder.Full() || c.builder.Len()+section.Size() > r.cfg.FrameBytes) {
		r.ship(c)
	}
	if c.builder == nil {
		r.load(c)
	}
	if !slices.Contains(s.packed, c) {
		s.packed = append(s.packed, c)
		c.slots = append(c.slots, s)
	}
	header := r.header(to.first.Node, to.first.Session)
	header.Also = to.second
	c.builder.Add(header, section)
	if c.builder.Len() >= r.cfg.FrameBytes {
		r.ship(c)
	}
}

// load gives a shipment a builder: any one section fits an empty frame, so the largest batch passes.
func (r *Replication) load(c *shipment) {
	if n := len(r.spare); n > 0 {
		c.builder, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		c.builder = &frame.Builder{}
	}
	r.loaded = append(r.loaded, c)
}

// ship sends what is packed.
func (r *Replication) ship(c *shipment) {
	r.wire.SendData(c.nodes, c.builder.Take())
	c.builder.Done()
	if len(r.spare) < sparesMax {
		r.spare = append(r.spare, c.builder)
	}
	c.builder = nil
	for _, s := range c.slots {
		s.packed = remove(s.packed, c)
	}
	clear(c.slots)
	c.slots = c.slots[:0]
	r.loaded = remove(r.loaded, c)
}

// forgetShipments lets go of the destinations in which somebody has ended.
func (r *Replication) forgetShipments() {
	r.flushAll()
	alive := func(m topic.Member) bool { return r.lives[m.Node] == m.Session }
	for to := range r.shipments {
		if !alive(to.first) || to.second.Session != 0 && !alive(to.second) {
			delete(r.shipments, to)
		}
	}
}

// same reports whether two sections are one, payloads included.
func same(a, b *frame.Section) bool {
	return a.Kind == b.Kind && a.Partition == b.Partition && a.Epoch == b.Epoch && a.Base == b.Base &&
		a.Count == b.Count && a.RecordEpoch == b.RecordEpoch && a.PrevEpoch == b.PrevEpoch &&
		a.HighWatermark == b.HighWatermark && len(a.Payload) == len(b.Payload) &&
		(len(a.Payload) == 0 || &a.Payload[0] == &b.Payload[0])
}

// remove takes one element out, in order.
func remove[E comparable](list []E, element E) []E {
	if i := slices.Index(list, element); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
