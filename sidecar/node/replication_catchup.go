package node

import (
	"slices"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/sidecar/replica"
)

// catchup feeds the partitions on which one peer lags: from the tail memory as far as it reaches,
// else by one scan of the WAL for all of them together, in WAL order.
type catchup struct {
	// lagging are the partitions to feed from memory next.
	lagging []*slot
	// cold are those whose next batch is not in memory any more; isCold is only looked up.
	cold   []*slot
	isCold map[*slot]bool
	// held are those that a throttle keeps back.
	held []*slot
	// scanning: a ScanRequest is out. cursor is where the running scan goes on, valid while swept.
	scanning bool
	swept    bool
	cursor   wal.Position
}

// readBytes is how much is read from memory for one partition before the next has its turn.
const readBytes = 256 << 10

// queue notes that s has something for the peer.
func (p *peer) queue(s *slot) {
	if !slices.Contains(s.lagging, p.node) {
		s.lagging = append(s.lagging, p.node)
		p.catchup.lagging = append(p.catchup.lagging, s)
	}
}

func (c *catchup) chill(s *slot) {
	if c.isCold == nil {
		c.isCold = map[*slot]bool{}
	}
	c.isCold[s] = true
	c.cold = append(c.cold, s)
}

func (p *peer) done(s *slot) {
	s.lagging = slices.DeleteFunc(s.lagging, func(n topic.NodeID) bool { return n == p.node })
}

// forget drops a partition that is gone.
func (p *peer) forget(s *slot) {
	gone := func(x *slot) bool { return x == s }
	p.catchup.lagging = slices.DeleteFunc(p.catchup.lagging, gone)
	p.catchup.cold = slices.DeleteFunc(p.catchup.cold, gone)
	p.catchup.held = slices.DeleteFunc(p.catchup.held, gone)
	delete(p.catchup.isCold, s)
	p.acks = slices.DeleteFunc(p.acks, gone)
}

// pump sends to a lagging peer while its window has room: each partition in turn, memory first.
func (r *Replication) pump(p *peer) {
	c := &p.catchup
	for len(c.lagging) > 0 && p.window.Open() {
		s := c.lagging[0]
		c.lagging = c.lagging[1:]
		if r.throttled(p, s, false) {
			c.hold(s)
			continue
		}
		switch more, cold := r.feedFromMemory(p, s); {
		case cold:
			c.chill(s)
		case more:
			c.lagging = append(c.lagging, s)
		default:
			p.done(s)
		}
	}
	if len(c.lagging) == 0 {
		c.lagging = nil
	}
	if len(c.cold) > 0 && !c.scanning && p.window.Room() > 0 {
		r.scan(p)
	}
}

// feedFromMemory sends the next batches of one partition. more: it still lags; cold: what comes next
// is not in memory.
func (r *Replication) feedFromMemory(p *peer, s *slot) (more, cold bool) {
	from, lags := s.machine.Lag(p.node)
	if !lags {
		return false, false
	}
	entries, ok := s.log.ReadTail(from, readBytes)
	if !ok {
		return true, true
	}
	sent := false
	for i := range entries {
		if !p.window.Open() || r.throttled(p, s, false) {
			return true, false
		}
		if r.feed(p, s, &entries[i]) {
			sent = true
		}
	}
	_, lags = s.machine.Lag(p.node)
	// Nothing sent although it lags: the log holds what the machine has not been told of yet. It is
	// queued again when it is.
	return lags && sent, false
}

func (r *Replication) feed(p *peer, s *slot, from *partition.Entry) bool {
	fed, next := false, *from
	if at, lags := s.machine.Lag(p.node); lags {
		if next = from.From(at); next.Base != from.Base {
			r.counters.SpansCut++
		}
	}
	e := entry(&next)
	r.step(s, func(fx *replica.Effects) { fed = s.machine.Feed(p.node, e, fx) })
	if fed {
		r.spend(p, s, len(e.Payload))
	}
	return fed
}

// scan asks for the next stretch of the WAL. A sweep begins at the oldest batch that any cold
// partition needs and goes on to the end; partitions that turned cold behind the cursor are found by
// the next sweep.
func (r *Replication) scan(p *peer) {
	c := &p.catchup
	c.cold = slices.DeleteFunc(c.cold, func(s *slot) bool {
		_, lags := s.machine.Lag(p.node)
		if lags && !r.throttled(p, s, false) {
			return false
		}
		if lags {
			c.hold(s)
		} else {
			p.done(s)
		}
		delete(c.isCold, s)
		return true
	})
	if len(c.cold) == 0 {
		c.swept = false
		return
	}
	if !c.swept {
		first, ok := r.oldest(p)
		if !ok {
			r.warm(p)
			return
		}
		c.cursor, c.swept = first, true
	}
	c.scanning = true
	bytes := min(int64(r.cfg.ScanBytes), max(p.window.Room(), 64<<10))
	r.scans = append(r.scans, ScanRequest{To: p.node, From: c.cursor, BytesMax: int(bytes)})
}

// oldest is the position of the first batch that a cold partition needs.
func (r *Replication) oldest(p *peer) (wal.Position, bool) {
	var first wal.Position
	found := false
	for _, s := range p.catchup.cold {
		from, _ := s.machine.Lag(p.node)
		at, ok := s.log.Position(from)
		if ok && (!found || at.Compare(first) < 0) {
			first, found = at, true
		}
	}
	return first, found
}

// warm gives every cold partition another look at the tail memory.
func (r *Replication) warm(p *peer) {
	p.catchup.lagging = append(p.catchup.lagging, p.catchup.cold...)
	p.catchup.cold, p.catchup.isCold, p.catchup.swept = nil, nil, false
}

// Scanned takes what a ScanRequest read: entries of all partitions in WAL order, where the scan goes
// on, and whether that is the durable end. err leaves the peer to be fed again at its next probe.
func (r *Replication) Scanned(to topic.NodeID, entries []partition.Entry, next wal.Position, end bool, err error) {
	p := r.peer(to)
	c := &p.catchup
	c.scanning = false
	if err != nil {
		r.note(replica.Event{Kind: replica.EventFault, Peer: to, Detail: "catch-up read: " + err.Error()})
		for _, s := range c.cold {
			p.done(s)
		}
		c.cold, c.isCold, c.swept = nil, nil, false
		return
	}
	for i := range entries {
		s := r.slots[entries[i].Partition]
		if s != nil && c.isCold[s] && !r.throttled(p, s, false) {
			r.feed(p, s, &entries[i])
		}
	}
	c.cursor = next
	if end {
		r.warm(p)
	}
}
