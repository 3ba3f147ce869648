package history

import (
	"cmp"
	"slices"
	"time"
)

// claimAcks notes every send, and what was acknowledged where.
func (c *checker) claimAcks() {
	for _, p := range c.history.mu.producers {
		transactions := p.mu.transactions
		for i := range p.mu.sends.len() {
			s := p.mu.sends.at(i)
			for len(transactions) > 0 && transactions[0].end >= 0 && transactions[0].end <= i {
				transactions = transactions[1:]
			}
			committed := len(transactions) == 0 || i < transactions[0].first ||
				transactions[0].outcome == acked
			c.claimSend(s, committed)
		}
	}
}

func (c *checker) claimSend(s *send, committed bool) {
	number := uint32(len(c.sends))
	c.sends = append(c.sends, s)
	c.fates = append(c.fates, fate{
		at: NoOffset, partition: s.partition, committed: committed,
		any: c.partitions[s.partition].ID == AnyPartition,
	})
	if twin, ok := c.sent[s.value]; ok {
		c.report(RepeatedValue, s.partition, func(a *Anomaly) {
			a.Values, a.Ops = []Value{s.value}, []string{c.sendOp(twin), c.sendOp(number)}
		})
	} else {
		c.sent[s.value] = number
	}
	if !c.ackedAt(number) {
		return
	}
	p, bit := c.logs[s.partition].at(s.offset)
	if p.acked>>uint(bit)&1 == 1 {
		p.disputed |= 1 << uint(bit)
		c.report(InconsistentOffset, s.partition, func(a *Anomaly) {
			a.Offsets, a.Values = []int64{s.offset}, []Value{p.values[bit], s.value}
			a.Ops = []string{c.sendOp(c.sent[p.values[bit]]), c.sendOp(number)}
		})
		return
	}
	p.values[bit], p.sends[bit] = s.value, number+1
	p.acked |= 1 << uint(bit)
	if committed {
		p.sure |= 1 << uint(bit)
	}
}

// ackedAt reports whether a send was acknowledged at a place.
func (c *checker) ackedAt(i uint32) bool {
	return c.sends[i].outcome == acked && c.sends[i].offset >= 0 && !c.fates[i].any
}

// judgeSends holds each send against where it was read.
func (c *checker) judgeSends() {
	producer := -1
	for i := range c.sends {
		for producer+1 < len(c.firstSend) && c.firstSend[producer+1] <= i {
			producer++
		}
		c.judgeSend(uint32(i), c.history.mu.producers[producer].config.Idempotent)
	}
}

func (c *checker) judgeSend(i uint32, idempotent bool) {
	s, f := c.sends[i], &c.fates[i]
	log := c.logs[f.partition]
	log.mayHold = log.mayHold || s.outcome != failed
	if s.outcome == acked {
		log.lastAck = max(log.lastAck, s.ended)
	}
	others := c.elsewhere[i]
	misplaced := c.ackedAt(i) && f.at != NoOffset && f.at != s.offset
	switch {
	case misplaced && (idempotent || log.covers(s.offset, c.history.rules)):
		c.report(AckMismatch, f.partition, func(a *Anomaly) {
			a.Offsets, a.Values = []int64{s.offset, f.at}, []Value{s.value}
			a.Ops = []string{c.sendOp(i), c.readOp(f.partition, f.at)}
		})
	case idempotent && len(others) > 0:
		c.report(Duplicate, f.partition, func(a *Anomaly) {
			a.Offsets, a.Values = append([]int64{f.at}, others...), []Value{s.value}
			a.Ops = []string{
				c.sendOp(i), c.readOp(f.partition, f.at), c.readOp(f.partition, others[0]),
			}
		})
	case s.outcome == acked && f.committed && f.at == NoOffset:
		c.judgeUnread(i, log)
	}
}

// judgeUnread says of an acknowledged record that nobody read whether somebody should have.
func (c *checker) judgeUnread(i uint32, log *log) {
	s, f := c.sends[i], &c.fates[i]
	kind := Unseen
	switch {
	case f.any, s.offset < 0:
		if log.final == nil {
			return // that polls are lacking is said of the partition
		}
	case !log.covers(s.offset, c.history.rules):
		return
	case s.offset < log.highest:
		kind = LostWrite
	}
	if log.final != nil && s.ended > log.final.Asked {
		return // said of the partition too
	}
	c.report(kind, f.partition, func(a *Anomaly) {
		a.Values, a.Ops = []Value{s.value}, []string{c.sendOp(i)}
		if s.offset >= 0 {
			a.Offsets = []int64{s.offset}
		}
		if log.highest >= 0 {
			a.Ops = append(a.Ops, "the highest offset read: "+c.readOp(f.partition, log.highest))
		}
	})
}

// judgeOrder looks for later sends of one producer at lower offsets.
func (c *checker) judgeOrder(producer int, p *Producer) {
	first := uint32(c.firstSend[producer])
	var told []uint32
	for i := range p.mu.sends.len() {
		if at := first + uint32(i); c.sends[at].outcome == acked && c.place(at) != NoOffset {
			told = append(told, at)
		}
	}
	// earlier are those that count as before the one that is looked at, in the order in which they
	// begin to count: that of the invocations, or that of the returns.
	earlier := told
	ordered := p.config.Ordered || p.config.Idempotent
	if !ordered {
		earlier = slices.Clone(told)
		slices.SortStableFunc(earlier, func(a, b uint32) int {
			return cmp.Compare(c.sends[a].ended, c.sends[b].ended)
		})
	}
	highest := map[uint32]uint32{}
	for _, later := range told {
		for len(earlier) > 0 && (ordered && earlier[0] < later ||
			!ordered && c.sends[earlier[0]].ended < c.sends[later].invoked) {
			before := earlier[0]
			partition := c.fates[before].partition
			if top, ok := highest[partition]; !ok || c.place(before) > c.place(top) {
				highest[partition] = before
			}
			earlier = earlier[1:]
		}
		before, ok := highest[c.fates[later].partition]
		if !ok || c.place(before) < c.place(later) {
			continue
		}
		c.report(NonmonotonicSend, c.fates[later].partition, func(a *Anomaly) {
			a.Offsets = []int64{c.place(before), c.place(later)}
			a.Values = []Value{c.sends[before].value, c.sends[later].value}
			a.Ops = []string{c.sendOp(before), c.sendOp(later)}
		})
	}
}

// place is the offset of an acknowledged send: as acknowledged, or else as read.
func (c *checker) place(i uint32) int64 {
	if c.ackedAt(i) {
		return c.sends[i].offset
	}
	return c.fates[i].at
}

// transactionOf is the transaction of a send, if it has one.
func (c *checker) transactionOf(i uint32) (transaction, bool) {
	producer := c.owner(c.firstSend, int(i))
	own := int(i) - c.firstSend[producer]
	transactions := c.history.mu.producers[producer].mu.transactions
	at, found := slices.BinarySearchFunc(transactions, own, func(t transaction, own int) int {
		switch {
		case t.end >= 0 && t.end <= own:
			return -1
		case t.first > own:
			return 1
		default:
			return 0
		}
	})
	if !found {
		return transaction{}, false
	}
	return transactions[at], true
}

// commitAsked is when a record may first be read by who reads what is committed.
func (t transaction) commitAsked() time.Duration {
	if t.outcome == failed || t.committing < 0 {
		return never
	}
	return t.committing
}
