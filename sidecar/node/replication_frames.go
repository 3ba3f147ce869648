package node

import (
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/replica"
)

// peer is another node as a destination of acknowledgements and a reader of the log.
type peer struct {
	node    topic.NodeID
	window  replica.Window
	acks    []*slot
	ackTo   topic.Session
	ackBuf  []byte
	catchup catchup
}

func (r *Replication) peer(node topic.NodeID) *peer {
	p := r.peers[node]
	if p == nil {
		p = &peer{node: node, window: replica.Window{BytesMax: r.cfg.WindowBytes}}
		r.peers[node] = p
		i, _ := slices.BinarySearchFunc(r.order, node, func(p *peer, n topic.NodeID) int { return int(p.node - n) })
		r.order = slices.Insert(r.order, i, p)
	}
	return p
}

func (r *Replication) header(to topic.NodeID, session topic.Session) frame.Header {
	level := uint16(topic.FirstLevel)
	if r.image != nil {
		level = r.image.Level()
	}
	return frame.Header{
		Level: level, Cluster: r.cfg.Cluster, From: r.cfg.Self.Node, To: to,
		FromSession: r.cfg.Self.Session, ReceiverSession: session,
	}
}

// send packs the sections of one step. Two in a row that say the same to two followers, as those of a
// partition with three replicas do, are packed once, for both.
func (r *Replication) send(s *slot, sections []replica.Outgoing) {
	for i := 0; i < len(sections); i++ {
		o := &sections[i]
		to := receivers{first: o.To}
		r.tapped(s, o)
		if i+1 < len(sections) && same(&o.Section, &sections[i+1].Section) {
			i++
			to = both(o.To, sections[i].To)
			r.tapped(s, &sections[i])
		}
		r.pack(s, to, &o.Section)
	}
}

func (r *Replication) tapped(s *slot, o *replica.Outgoing) {
	if r.Tap != nil && o.Section.Kind == frame.Data {
		r.Tap(s.name, o)
	}
}

// flushAll sends everything that is packed.
func (r *Replication) flushAll() {
	for len(r.loaded) > 0 {
		r.ship(r.loaded[0])
	}
}

// answer notes an acknowledgement for the next Flush; a later one of the same partition replaces it.
func (r *Replication) answer(s *slot, a *frame.Ack, to topic.Member) {
	p := r.peer(to.Node)
	if s.ack != nil && s.ack.Gap && s.ack.LogEnd == a.LogEnd && s.ack.Epoch == a.Epoch {
		a.Gap = true
	}
	if p.ackTo != to.Session {
		r.flushAcks(p)
		p.ackTo = to.Session
	}
	if s.ack == nil {
		p.acks = append(p.acks, s)
	}
	s.ack = a
}

func (r *Replication) flushAcks(p *peer) {
	var acks []frame.Ack
	for _, s := range p.acks {
		// A partition whose leader changed meanwhile may stand in another peer's list, too.
		if s.ack != nil {
			acks = append(acks, *s.ack)
			s.ack = nil
		}
	}
	p.acks = p.acks[:0]
	for part := range slices.Chunk(acks, acksMax) {
		p.ackBuf = frame.AppendAcks(p.ackBuf[:0], r.header(p.node, p.ackTo), part)
		r.wire.SendAcks(p.node, p.ackBuf)
	}
}

// acksMax keeps an acknowledgement frame under 512 KiB.
const acksMax = 9000

// Flush feeds the followers that lag and sends everything that is packed. The owner calls it once
// after all inputs that were waiting.
func (r *Replication) Flush() {
	for _, p := range r.order {
		r.pump(p)
	}
	r.flushAll()
	for _, p := range r.order {
		r.flushAcks(p)
	}
}

// Frame takes bytes from `wal.<self>` or `ack.<self>` and reports from whom they are, in which session,
// and whether they were taken. What is refused changes nothing.
func (r *Replication) Frame(bytes []byte) (topic.Member, bool) {
	h, sections, body, err := frame.ParseHeader(bytes)
	from := topic.Member{Node: h.From, Session: h.FromSession}
	if err == nil && !r.mine(h) {
		r.counters.FramesRefused++
		return from, false
	}
	switch {
	case err != nil:
	case h.Kind == frame.KindData:
		err = frame.ParseData(body, sections, func(s frame.Section) { r.section(from, s) })
	case h.Kind == frame.KindAck:
		err = frame.ParseAcks(body, sections, func(a frame.Ack) { r.acked(from, a) })
	default:
		err = frame.ErrMalformed
	}
	if err != nil {
		r.counters.FramesRefused++
		return topic.Member{Node: topic.NoNode}, false
	}
	return from, true
}

// mine reports whether a frame is from this cluster and for this session.
func (r *Replication) mine(h frame.Header) bool {
	return h.Cluster == r.cfg.Cluster && (h.For(r.cfg.Self) || h.To == r.cfg.Self.Node && r.cfg.mutant == TakesFramesOfAnySession)
}

func (r *Replication) section(from topic.Member, section frame.Section) {
	s := r.slots[section.Partition]
	if s == nil {
		// Metadata is behind the data; the leader repeats its probe until this node answers.
		r.counters.Stale++
		return
	}
	r.step(s, func(fx *replica.Effects) { s.machine.Section(from, section, fx) })
}

func (r *Replication) acked(from topic.Member, a frame.Ack) {
	s := r.slots[a.Partition]
	if s == nil {
		r.counters.Stale++
		return
	}
	r.step(s, func(fx *replica.Effects) { s.machine.Ack(from, a, fx) })
}
