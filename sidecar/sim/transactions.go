package sim

import (
	"errors"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
)

// A marker is a value too, which nobody else has: its number is the epoch of the coordinator that it is of.
const (
	markerBit uint64 = 1 << 63
	commitBit uint64 = 1 << 62
)

func isMarker(value uint64) bool { return value&markerBit != 0 }

func markerValue(m batch.Marker) uint64 {
	value := markerBit | uint64(m.CoordinatorEpoch)
	if m.Commit {
		value |= commitBit
	}
	return value
}

// transaction is one of a producer, in one partition. It stays until a marker of it was acknowledged.
type transaction struct {
	partition topic.Partition
	// left is how many batches it is yet to have, commit how it is to end.
	left   int
	commit bool
	// spoilt: nobody knows whether a batch of it is there, so the producer begins anew behind it.
	spoilt bool
}

// actIn begins the next batch of a transaction, or its marker. Only compacted topics have them.
func (p *producer) actIn() {
	w := p.w
	if p.in != nil && w.check.gone(p.in.partition) {
		p.in, p.pid = nil, 0
	}
	if p.in == nil {
		at, ok := w.pick()
		if !ok || !w.compacted(at) {
			return
		}
		if p.pid == 0 {
			w.pids++
			p.pid = int64(w.pids)
			clear(p.next)
		}
		p.in = &transaction{partition: at, left: 1 + w.rng.IntN(3), commit: w.rng.IntN(2) == 0}
	}
	s := &sending{partition: p.in.partition, sequence: p.next[p.in.partition], attempt: 1}
	if p.in.left > 0 {
		p.in.left--
		s.values = w.fresh()
	} else {
		w.markers++
		s.marker = &batch.Marker{Commit: p.in.commit, CoordinatorEpoch: w.markers}
		s.values = []uint64{markerValue(*s.marker)}
	}
	for _, v := range s.values {
		w.check.members[v] = p.pid
	}
	p.sending = s
	p.attempt()
}

// append is a broker's part of an attempt.
func (p *producer) append(log *partition.Log, s *sending) (partition.Appended, error) {
	o := partition.AppendOptions{Acks: p.acks}
	switch {
	case s.marker != nil:
		return log.AppendMarker(noWait, partition.EndTransaction{ProducerID: p.pid, Marker: *s.marker, Timestamp: p.w.millis()}, o)
	case p.transactional:
		o.Guard, _ = log.GuardTransaction(p.pid, 0)
		defer log.DropGuard(o.Guard)
	}
	return log.Append(noWait, p.payload(s), o)
}

// over is what a transaction makes of a batch or marker that was acknowledged or given up. One whose batch may be missing is
// aborted; a marker is sent until one is acknowledged, and says the same each time.
func (p *producer) over(s *sending, acked bool) {
	switch {
	case s.marker == nil && !acked:
		p.in.left, p.in.commit, p.in.spoilt = 0, false, true
	case s.marker != nil && acked:
		if p.in.commit {
			p.w.count.committedTransactions++
		} else {
			p.w.count.abortedTransactions++
		}
		if p.in.spoilt || p.w.rng.IntN(4) == 0 {
			p.pid = 0
		}
		p.in = nil
	}
}

// decided is what the committed records of a partition tell of its transactions.
type decided struct {
	aborted, open map[topic.Offset]bool
	// of are the records that a marker ends, by its offset.
	of map[topic.Offset][]topic.Offset
	// unknown is the last offset of which nobody has seen what was committed there; a marker may have been.
	unknown topic.Offset
}

// decide derives them.
func (c *checker) decide(p topic.Partition) decided {
	d := decided{aborted: map[topic.Offset]bool{}, open: map[topic.Offset]bool{}, of: map[topic.Offset][]topic.Offset{},
		unknown: topic.NoOffset}
	running := map[int64][]topic.Offset{}
	for i, r := range c.canon[p] {
		at := topic.Offset(i)
		pid, member := c.members[r.value]
		switch {
		case r.value == 0:
			d.unknown = at
		case !member:
		case !isMarker(r.value):
			running[pid] = append(running[pid], at)
		default:
			d.of[at] = running[pid]
			for _, one := range running[pid] {
				d.aborted[one] = r.value&commitBit == 0
			}
			delete(running, pid)
		}
	}
	for _, left := range running {
		for _, at := range left {
			d.open[at] = true
		}
	}
	return d
}

// counts reports whether a record may supersede others: what is committed does, and what may be.
func (d decided) counts(at topic.Offset) bool {
	return !d.aborted[at] && (!d.open[at] || d.unknown > at)
}

// leavesOut requires that a reader of committed records, who goes by the aborted transactions that a log names, leaves out
// what was aborted and nothing else.
func (c *checker) leavesOut(h *host, p topic.Partition, log *partition.Log, d decided) {
	aborting := map[int64]bool{}
	for next := log.State().LogStart; ; {
		result, err := log.ReadCommitted(next, 1<<20, true)
		if err != nil && (h.disk.rotten || errors.Is(err, waltest.ErrCrashed)) {
			return
		}
		if err != nil {
			c.fail("%s does not read %v at %d: %v", h, p, next, err)
			return
		}
		if len(result.Batches) == 0 {
			return
		}
		waiting := result.Aborted
		for _, b := range result.Batches {
			header, err := batch.ParseHeader(b)
			if err != nil {
				return // readBatch tells
			}
			for len(waiting) > 0 && int64(waiting[0].First) <= header.LastOffset() {
				aborting[waiting[0].ProducerID] = true
				waiting = waiting[1:]
			}
			next = topic.Offset(header.LastOffset()) + 1
			if header.Control() {
				delete(aborting, header.ProducerID)
				continue
			}
			c.left(h, p, b, d, header.Transactional() && aborting[header.ProducerID])
		}
	}
}

// left looks at one batch, which the reader leaves out or not.
func (c *checker) left(h *host, p topic.Partition, b []byte, d decided, out bool) {
	for r, err := range batch.Records(b) {
		at := topic.Offset(r.Offset)
		if err != nil || d.open[at] {
			return // readBatch tells, and it may be either
		}
		if d.aborted[at] != out {
			c.fail("%s lets readers leave out %v offset %d: %t, and its transaction was aborted: %t", h, p, at, out, d.aborted[at])
			return
		}
		if out {
			c.w.count.leftOut++
		}
	}
}
