package partition

import (
	"fmt"
	"sync/atomic"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// Observer is told what happens to the records in the WAL. Both methods are called from the WAL's
// writer goroutine, in WAL order, with no lock held; they must not block. The slices belong to the
// callee.
type Observer interface {
	// Sealed lists the batches whose write begins now, whoever appended them.
	Sealed(entries []Entry)
	// Durable lists the partitions of which batches have become durable. A group without batches,
	// or whose batches were all cut or removed, is not told, here as in Sealed.
	Durable(ends []DurableEnd)
}

// DurableEnd says how far a partition's log is on stable storage here.
type DurableEnd struct {
	Partition          topic.Partition
	LogEnd, DurableEnd topic.Offset
	// Cuts is State.Cuts at that moment. If the log has another by the time this is acted upon, it
	// was truncated in between, and these ends may count records that are gone: then look at State.
	Cuts uint64
}

// sink is the Store as the WAL sees it.
type sink struct{ *Store }

var _ wal.Sink = sink{}

// A group is passed over twice: when it is sealed and when it is durable.
const (
	sealing = iota
	settling
	passes
)

// Sealed passes the group's batches on to the observer. Those that were cut while they waited are
// left out: nobody may ship them.
func (s sink) Sealed(g *wal.Group) {
	entries := make([]Entry, 0, len(g.Records))
	for i := range g.Records {
		r := &g.Records[i]
		l := s.receiver(r, sealing)
		if l == nil {
			continue
		}
		if e, ok := l.sealed(r); ok {
			entries = append(entries, e)
		}
	}
	if o := s.observer(); o != nil && len(entries) > 0 {
		o.Sealed(entries)
	}
}

// Durable moves the durable ends, and nothing else does (failure mode 30): record by record, in the
// order of the log. The observer hears of it before the waiters do, so that acks leave first.
func (s sink) Durable(g *wal.Group) {
	if s.cfg.Catalog != nil {
		s.digests.add(g.Records...)
	}
	touched := s.tail.touched[:0]
	for i := range g.Records {
		r := &g.Records[i]
		l := s.receiver(r, settling)
		if l == nil {
			continue
		}
		h, moved := l.settled(r)
		if h.payload != nil {
			s.tail.add(l, h)
		}
		if moved && !l.touched {
			l.touched = true
			touched = append(touched, l)
		}
	}
	ends := make([]DurableEnd, 0, len(touched))
	woken := s.tail.woken[:0]
	for _, l := range touched {
		l.touched = false
		ends = append(ends, l.reachDurable(&woken))
	}
	if o := s.observer(); o != nil && len(ends) > 0 {
		o.Durable(ends)
	}
	woken.call()
	s.tail.evict()
	clear(touched)
	clear(woken)
	s.tail.touched, s.tail.woken = touched[:0], woken[:0]
}

func (s *Store) observer() Observer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.observer
}

// receiver finds the log that r belongs to. It is nil for records of a former incarnation: those
// before a Remove record that this pass has not met yet. It counts the Remove records that it meets.
func (s *Store) receiver(r *wal.Placed, pass int) *Log {
	if r.Kind == wal.Remove {
		s.meetRemoval(r.Partition, pass)
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.mu.removing) > 0 && s.mu.removing[r.Partition][pass] > 0 {
		return nil
	}
	return s.mu.logs[r.Partition]
}

func (s *Store) countRemoval(p topic.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := s.mu.removing[p]
	count[sealing]++
	count[settling]++
	s.mu.removing[p] = count
}

func (s *Store) meetRemoval(p topic.Partition, pass int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := s.mu.removing[p]
	count[pass]--
	s.mu.removing[p] = count
	if count == (removals{}) {
		delete(s.mu.removing, p)
	}
}

// sealed makes an Entry of a batch that is still part of the log.
func (l *Log) sealed(r *wal.Placed) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.removedLocked():
		return Entry{}, false
	case r.Kind == wal.Truncate, r.Kind == wal.Reset:
		l.mu.cuts.seal()
		return Entry{}, false
	case r.Kind != wal.Data || l.mu.cuts.overUnsealed(recordEnd(r)):
		return Entry{}, false
	}
	return l.entryLocked(r.Base, r.Count, r.Epoch, r.Payload), true
}

// settled takes in that r is durable, and reports whether an end of the log moved by it. It returns the
// held batch, if it was one, which may be evicted from now on.
func (l *Log) settled(r *wal.Placed) (h held, moved bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.removedLocked():
		return held{}, false
	case r.Kind == wal.Truncate:
		l.mu.cuts.settle()
		return held{}, false
	case r.Kind == wal.LogStart:
		return held{}, l.settleStartLocked(r.Base)
	case r.Kind == wal.Reset:
		l.mu.cuts.settle()
		return held{}, l.settleResetLocked(r.Base)
	case r.Kind != wal.Data || l.mu.cuts.overUndurable(recordEnd(r)):
		return held{}, false
	}
	i := l.mu.settled
	l.settleLocked(r.Base, r.At)
	return *l.mu.tail.at(i - (l.mu.index.len() - l.mu.tail.len())), true
}

// settleLocked makes the first batch that is not durable yet durable, at position at: it has to be the one that begins at base.
func (l *Log) settleLocked(base topic.Offset, at wal.Position) {
	end, ok := l.mu.index.settle(l.mu.settled, base, at)
	if !ok {
		panic(fmt.Sprintf("partition %v: batch %d at %v became durable, %d of %d batches were",
			l.partition, base, at, l.mu.settled, l.mu.index.len()))
	}
	l.mu.settled++
	l.mu.durable = end
}

// reachDurable reports the durable end and takes out who waited for it.
func (l *Log) reachDurable(woken *wakeList) DurableEnd {
	l.mu.Lock()
	defer l.mu.Unlock()
	*woken = l.mu.awaitDurable.reached(l.mu.durable, *woken)
	return DurableEnd{
		Partition:  l.partition,
		LogEnd:     l.mu.end,
		DurableEnd: l.mu.durable,
		Cuts:       l.mu.cuts.count,
	}
}

func recordEnd(r *wal.Placed) topic.Offset { return r.Base + topic.Offset(r.Count) }

// tailQueue decides which durable batches stay in memory: the newest of the node, first in, first
// out, over all partitions. It belongs to the WAL's writer goroutine.
type tailQueue struct {
	bytesMax int64
	// bytes is the sum over queue. What is cut or removed stays counted until its turn comes, so
	// that bytes are added and subtracted in one place each (failure mode 53).
	bytes atomic.Int64
	queue queue[tailItem]
	// touched and woken are scratch space of Durable.
	touched []*Log
	woken   wakeList
}

type tailItem struct {
	log    *Log
	number uint64
	bytes  int64
}

// heldOverhead is what a held batch costs beside its bytes, roughly.
const heldOverhead = 128

func (t *tailQueue) add(l *Log, h held) {
	item := tailItem{log: l, number: h.number, bytes: int64(len(h.payload)) + heldOverhead}
	t.queue.push(item)
	t.bytes.Add(item.bytes)
}

// evict lets the oldest batches go until the bound holds.
func (t *tailQueue) evict() {
	for t.bytes.Load() > t.bytesMax {
		item := t.queue.pop()
		t.bytes.Add(-item.bytes)
		item.log.evict(item.number)
	}
}

// evict lets go of a held batch, unless it was cut. The oldest durable batch of a log is the front
// of its tail.
func (l *Log) evict(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.tail.len() > 0 && l.mu.tail.at(0).number == number {
		l.mu.tail.pop()
	}
}
