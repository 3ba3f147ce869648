package history

// claimReads notes what was read where, and holds each value against its send.
func (c *checker) claimReads() {
	for n, r := range c.history.mu.consumers {
		value := 0
		for i := range r.mu.runs.len() {
			run := r.mu.runs.at(i)
			if run.kind != moveRead {
				continue
			}
			read := reading{
				consumer: r, partition: run.partition, poll: uint32(c.firstPoll[n]) + run.poll,
				op: r.mu.polls.at(int(run.poll)),
			}
			for j := range run.count {
				read.offset, read.value = run.offset+int64(j), *r.mu.values.at(value)
				value++
				c.claimRead(&read)
			}
		}
	}
}

// reading is one record that one poll returned.
type reading struct {
	consumer  *Consumer
	op        *poll
	poll      uint32
	partition uint32
	offset    int64
	value     Value
}

func (c *checker) claimRead(r *reading) {
	log := c.logs[r.partition]
	p, bit := log.at(r.offset)
	mask := uint64(1) << uint(bit)
	claimed := (p.acked|p.read)&mask != 0
	if claimed && p.values[bit] != r.value && p.disputed&mask == 0 {
		p.disputed |= mask
		c.reportDispute(r, p, bit)
	}
	if !claimed {
		p.values[bit] = r.value
	}
	if p.read&mask == 0 {
		p.readBy[bit] = r.poll
	}
	p.read |= mask
	log.highest = max(log.highest, r.offset)
	i, ok := c.sendAt(r, p, bit)
	if !ok || !c.settle(i, r) {
		p.sure |= mask
		c.once(Garbage, r.partition, r.value, func(a *Anomaly) {
			a.Offsets, a.Values, a.Ops = []int64{r.offset}, []Value{r.value}, []string{c.pollOp(r.poll)}
			if ok {
				a.Ops = append(a.Ops, c.sendOp(i)+", to "+c.partitionName(c.fates[i].partition))
			}
		})
		return
	}
	if c.fates[i].committed || r.consumer.config.ReadCommitted {
		p.sure |= mask
	}
	c.judgeRead(i, r)
}

// sendAt is the send of the value that was read: the page knows it, or will the next time.
func (c *checker) sendAt(r *reading, p *page, bit int) (uint32, bool) {
	if p.values[bit] != r.value {
		i, ok := c.sent[r.value]
		return i, ok
	}
	if p.sends[bit] == 0 {
		i, ok := c.sent[r.value]
		if !ok {
			return 0, false
		}
		p.sends[bit] = i + 1
	}
	return p.sends[bit] - 1, true
}

func (c *checker) reportDispute(r *reading, p *page, bit int) {
	c.report(InconsistentOffset, r.partition, func(a *Anomaly) {
		a.Offsets, a.Values = []int64{r.offset}, []Value{p.values[bit], r.value}
		if p.acked>>uint(bit)&1 == 1 {
			a.Ops = append(a.Ops, c.sendOp(c.sent[p.values[bit]]))
		} else {
			a.Ops = append(a.Ops, c.pollOp(p.readBy[bit]))
		}
		a.Ops = append(a.Ops, c.pollOp(r.poll))
	})
}

// settle notes where a send was read; it refuses a partition that the send did not go to.
func (c *checker) settle(i uint32, r *reading) bool {
	f := &c.fates[i]
	if f.partition != r.partition {
		chosen := !f.any || f.at != NoOffset
		if chosen || c.partitions[f.partition].Topic != c.partitions[r.partition].Topic {
			return false
		}
		f.partition = r.partition
	}
	switch {
	case f.at == NoOffset:
		f.at = r.offset
	case f.at == r.offset:
	case c.ackedAt(i) && c.sends[i].offset == r.offset:
		c.alsoAt(i, f.at)
		f.at = r.offset
	default:
		c.alsoAt(i, r.offset)
	}
	return true
}

// alsoAt notes a further offset of a value; a few are enough for a report.
func (c *checker) alsoAt(i uint32, offset int64) {
	const most = 4
	others := c.elsewhere[i]
	for _, known := range others {
		if known == offset {
			return
		}
	}
	if len(others) < most {
		c.elsewhere[i] = append(others, offset)
	}
}

// judgeRead says whether a record of this send may be read at all, and by this consumer now.
func (c *checker) judgeRead(i uint32, r *reading) {
	spell := func(a *Anomaly) {
		a.Offsets, a.Values = []int64{r.offset}, []Value{r.value}
		a.Ops = []string{c.sendOp(i), c.pollOp(r.poll)}
	}
	if c.sends[i].outcome == failed {
		c.once(FailedRead, r.partition, r.value, spell)
	}
	if !r.consumer.config.ReadCommitted {
		return
	}
	// committed sends too: they may have been read before they were
	if len(c.producerOf(i).mu.transactions) == 0 {
		return
	}
	if t, ok := c.transactionOf(i); ok && r.op.ended < t.commitAsked() ||
		ok && t.outcome == failed {
		c.once(UncommittedRead, r.partition, r.value, spell)
	}
}

func (c *checker) producerOf(i uint32) *Producer {
	return c.history.mu.producers[c.owner(c.firstSend, int(i))]
}

// position is where a consumer stands in a partition.
type position struct {
	// next is the offset that comes next, if known.
	next  int64
	known bool
	// poll is the operation that brought it there, of the consumer's own; read: by reading.
	poll uint32
	read bool
	// final is the range that the consumer is about to read to its end, if any.
	final *Range
}

// followStreams looks at each consumer's way through each partition.
func (c *checker) followStreams() {
	for n, r := range c.history.mu.consumers {
		positions := map[uint32]*position{}
		finals := r.mu.finals
		for i := range r.mu.runs.len() {
			run := r.mu.runs.at(i)
			at := positions[run.partition]
			if at == nil {
				at = &position{}
				positions[run.partition] = at
			}
			switch run.kind {
			case moveRead:
				c.step(n, r, at, run)
			case moveSeek, moveReset:
				*at = position{next: run.offset, known: run.kind == moveSeek, poll: run.poll}
			case moveFinal:
				*at = position{next: run.offset, known: true, poll: run.poll, final: &finals[0]}
				finals = finals[1:]
				c.reached(at, run.partition, false)
			case moveFinished:
				c.reached(at, run.partition, true)
			}
		}
	}
}

// reached ends the final polls of a partition when all is read, or is said to be where no record need
// show it.
func (c *checker) reached(at *position, partition uint32, said bool) {
	shown := at.final != nil && at.next >= at.final.End
	if at.final == nil || !shown && (!said || !c.history.rules.Holes) {
		return
	}
	log := c.logs[partition]
	if log.final == nil || log.final.Asked < at.final.Asked {
		log.final = at.final
	}
	at.final = nil
}

// step is one run of consecutive offsets.
func (c *checker) step(consumer int, r *Consumer, at *position, run *run) {
	same := at.read && at.poll == run.poll
	bound := same || at.final != nil || !r.config.Subscribed
	if at.known && bound && run.offset != at.next {
		c.judgeStep(consumer, at, run, same)
	}
	at.next, at.known, at.poll, at.read = run.offset+int64(run.count), true, run.poll, true
	c.reached(at, run.partition, false)
}

// passage is a step over offsets that retention may have removed.
type passage struct {
	consumer int
	at       position
	run      *run
	same     bool
}

// judgePassages reports those that went further than the start of the final polls: what was there then
// was there before. What lies below had been removed when the reader came, which judgeRetention weighs.
func (c *checker) judgePassages() {
	c.retold = true
	for _, p := range c.retained {
		if final := c.logs[p.run.partition].final; final == nil || p.run.offset > final.Start {
			c.judgeStep(p.consumer, &p.at, p.run, p.same)
			continue
		}
		if !c.history.rules.Holes { // else it need not have begun there
			if poll := c.pollOf(uint32(c.firstPoll[p.consumer]) + p.run.poll); poll.ended != never {
				c.passedOver = append(c.passedOver, sighting{p.run.partition, p.run.offset, poll.ended, poll.wall})
			}
		}
	}
}

// judgeStep reports a run that does not begin where the consumer stood.
func (c *checker) judgeStep(consumer int, at *position, run *run, same bool) {
	kind, offsets := PollNonmonotonic, []int64{at.next, run.offset}
	if run.offset > at.next {
		passed := span{at.next, run.offset}
		log := c.logs[run.partition]
		if c.history.rules.Retention && at.final == nil && !c.retold {
			c.retained = append(c.retained, passage{consumer, *at, run, same})
			return
		}
		log.gaps = append(log.gaps, passed)
		if c.history.rules.Holes {
			missed, ok := log.sureWithin(passed)
			if !ok {
				return
			}
			offsets = append(offsets, missed)
		}
		kind = PollSkip
	}
	if same {
		kind = map[Kind]Kind{PollSkip: InternalSkip, PollNonmonotonic: InternalNonmonotonic}[kind]
	}
	first := uint32(c.firstPoll[consumer])
	c.report(kind, run.partition, func(a *Anomaly) {
		a.Offsets = offsets
		a.Ops = []string{c.pollOp(first + at.poll), c.pollOp(first + run.poll)}
	})
}
