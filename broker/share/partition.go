package share

import (
	"math"
	"slices"
)

// DeliveryState is what has become of a record. The numbers are Kafka's, which records hold.
type DeliveryState int8

// The states of a record. That one is acquired is never kept.
const (
	Available    DeliveryState = 0
	Acquired     DeliveryState = 1
	Acknowledged DeliveryState = 2
	// Archiving: nobody is given the record any more, and its dead letter is to be written.
	Archiving DeliveryState = 3
	Archived  DeliveryState = 4
)

// done: the record is not given to anybody any more.
func (s DeliveryState) done() bool { return s == Acknowledged || s == Archived }

// Batch is a run of records in one state, as it is kept. Last is inclusive.
type Batch struct {
	First, Last int64
	State       DeliveryState
	// Count is how often the records were given to a member.
	Count int16
}

// Limits are what the group's configs allow.
type Limits struct {
	// LocksMax is `share.partition.max.record.locks`: how far above the start offset records are given.
	LocksMax int64
	// DeliveriesMax is `share.delivery.count.limit`: after so many a record is archived.
	DeliveriesMax int16
	// LockMillis is `share.record.lock.duration.ms`: how long a record stays acquired.
	LockMillis int64
	// Letters: the group has a dead-letter queue (KIP-1191).
	Letters bool
}

// never is a time that does not come.
const never = math.MaxInt64

// Partition is what one share group makes of one partition, at its leader. It is for one goroutine at a
// time. Times are milliseconds on a clock that never jumps.
type Partition struct {
	limits                  Limits
	stateEpoch, leaderEpoch int32
	// start is the first offset that is not done, end the first that was never looked at. The runs cover
	// what lies between without holes, and neighbours differ.
	start, end int64
	runs       []run
	// moved: the start is not kept yet.
	moved bool
	// settled: a start is kept. Before, nothing is given: the next leader might choose another start.
	settled bool
	// out is the write under way, number its or the last one's number, kept that of the last one kept.
	out          *Write
	number, kept uint64
}

// run is a run of records in one state.
type run struct {
	Batch
	// member has them until expires; they are acquired.
	member  string
	expires int64
	// dirty: the state is not kept yet.
	dirty bool
	// Of records that are archiving: cause is why, and write the number of the write that keeps it, zero once it
	// is kept.
	cause Cause
	write uint64
}

// like: two neighbouring runs can be one.
func (r *run) like(o *run) bool {
	return r.State == o.State && r.Count == o.Count && r.member == o.member && r.expires == o.expires && r.dirty == o.dirty && r.cause == o.cause &&
		r.write == o.write
}

// Loaded is what a new leader has read.
type Loaded struct {
	StateEpoch, LeaderEpoch int32
	// Start is where the group begins; with Fresh it was chosen by the leader just now, and is not kept.
	Start   int64
	Fresh   bool
	Batches []Batch
	// Limits are those of now.
	Limits Limits
}

// NewPartition goes on from what was kept. Records between kept ones were acquired when the leader before
// was lost, or done without a word of it: they are available.
func NewPartition(l Loaded) *Partition {
	p := &Partition{
		limits: l.Limits, stateEpoch: l.StateEpoch, leaderEpoch: l.LeaderEpoch, start: l.Start, end: l.Start,
		moved: l.Fresh, settled: !l.Fresh,
	}
	for _, b := range overlay(nil, l.Start, l.Batches) {
		p.reach(b.First)
		b.State = max(b.State, Available)
		p.runs = append(p.runs, run{Batch: b, cause: causeOf(b, l.Limits)})
		p.end = b.Last + 1
	}
	p.tidy()
	return p
}

// SetLimits takes effect with the next call.
func (p *Partition) SetLimits(l Limits) { p.limits = l }

// Start is the first offset that is not done.
func (p *Partition) Start() int64 { return p.start }

// LeaderEpoch is the one that the partition was loaded in.
func (p *Partition) LeaderEpoch() int32 { return p.leaderEpoch }

// Next is the first offset that may be given to somebody, if there is one.
func (p *Partition) Next() (int64, bool) {
	if !p.settled {
		return 0, false
	}
	for i := range p.runs {
		if p.runs[i].State == Available {
			return p.runs[i].First, true
		}
	}
	return p.end, p.end-p.start < p.limits.LocksMax
}

// Span is a record batch of the log, or what takes the place of one. Last is inclusive.
type Span struct {
	First, Last int64
	// Gap: there is nothing to give, such as a control batch, or one of an aborted transaction.
	Gap bool
}

// Acquire asks for records that were read.
type Acquire struct {
	Member string
	// From is where the reading began, Spans what was read, in their order. What lies between is not in
	// the log any more.
	From  int64
	Spans []Span
	// Max is how many records to give; Whole batches may make it more.
	Max   int64
	Whole bool
}

// Acquire gives records to a member, and returns which, as runs with the number of deliveries that this is.
func (p *Partition) Acquire(a Acquire, now int64) []Batch {
	var given []Batch
	left, from := a.Max, a.From
	for _, s := range a.Spans {
		if left <= 0 || !p.settled {
			break
		}
		if s.First > from {
			p.archive(from, s.First-1)
		}
		from = max(from, s.Last+1)
		if s.Gap {
			p.archive(s.First, s.Last)
			continue
		}
		most := left
		if a.Whole {
			most = s.Last - s.First + 1
		}
		taken := p.take(s, a.Member, most, now)
		for _, b := range taken {
			left -= b.Last - b.First + 1
		}
		given = append(given, taken...)
	}
	p.tidy()
	return join(given)
}

// archive marks what nobody can be given, as far as it is available or new.
func (p *Partition) archive(first, last int64) {
	p.tidy()
	if p.start == p.end && first <= p.start && last >= p.start {
		p.start, p.end, p.moved = last+1, last+1, true
		return
	}
	if first > p.end {
		return
	}
	p.reach(min(last+1, p.start+p.limits.LocksMax))
	p.alter(first, last, func(r *run) {
		if r.State == Available {
			r.State, r.dirty = Archived, true
		}
	})
}

// take acquires at most so many available records of a batch.
func (p *Partition) take(s Span, member string, most, now int64) (given []Batch) {
	p.tidy()
	if s.First <= p.end {
		known := min(s.Last+1, p.end)
		available := int64(0)
		for _, r := range p.runs {
			if r.State == Available {
				available += max(0, min(r.Last+1, known)-max(r.First, s.First))
			}
		}
		p.reach(min(s.Last+1, p.start+p.limits.LocksMax, p.end+max(0, most-available)))
	}
	for first := max(s.First, p.start); first <= min(s.Last, p.end-1) && most > 0; {
		i := p.at(first)
		last := min(p.runs[i].Last, s.Last)
		if p.runs[i].State == Available && p.runs[i].Count >= p.limits.DeliveriesMax {
			p.alter(first, last, func(r *run) { p.giveUp(r, TooOften) })
		} else if p.runs[i].State == Available {
			last = min(last, first+most-1)
			p.alter(first, last, func(r *run) {
				r.State, r.member, r.expires, r.Count = Acquired, member, now+p.limits.LockMillis, r.Count+1
				given = append(given, Batch{First: r.First, Last: r.Last, State: Acquired, Count: r.Count})
			})
			most -= last - first + 1
		}
		first = last + 1
	}
	return given
}

// join makes one batch of adjoining ones with the same number of deliveries.
func join(all []Batch) []Batch {
	var joined []Batch
	for _, b := range all {
		if n := len(joined); n > 0 && joined[n-1].Last+1 == b.First && joined[n-1].Count == b.Count {
			joined[n-1].Last = b.Last
			continue
		}
		joined = append(joined, b)
	}
	return joined
}

// Release gives back all that a member has: its session has ended.
func (p *Partition) Release(member string) {
	for i := range p.runs {
		if r := &p.runs[i]; r.State == Acquired && r.member == member {
			p.release(r)
		}
	}
	p.tidy()
}

// Tick gives back what was acquired for too long.
func (p *Partition) Tick(now int64) {
	for i := range p.runs {
		if r := &p.runs[i]; r.State == Acquired && r.expires <= now {
			p.release(r)
		}
	}
	p.tidy()
}

// release makes records available again, unless they were given to somebody too often.
func (p *Partition) release(r *run) {
	if r.Count >= p.limits.DeliveriesMax {
		p.giveUp(r, TooOften)
		return
	}
	r.State, r.member, r.expires, r.dirty = Available, "", 0, true
}

// Trim forgets what the log has deleted.
func (p *Partition) Trim(logStart int64) {
	if logStart <= p.start {
		return
	}
	p.split(logStart)
	p.runs = slices.DeleteFunc(p.runs, func(r run) bool { return r.First < logStart })
	p.start, p.end, p.moved = logStart, max(p.end, logStart), true
	p.tidy()
}

// Wake is when Tick has something to do.
func (p *Partition) Wake() int64 {
	wake := int64(never)
	for i := range p.runs {
		if p.runs[i].State == Acquired {
			wake = min(wake, p.runs[i].expires)
		}
	}
	return wake
}

// Idle reports whether nobody has a record, no dead letter is to be written and everything is kept, so that
// nothing is lost with the Partition.
func (p *Partition) Idle() bool {
	return p.out == nil && !p.moved && !slices.ContainsFunc(p.runs, func(r run) bool {
		return r.dirty || r.State == Acquired || r.State == Archiving
	})
}

// reach makes what lies below an offset known, as available.
func (p *Partition) reach(end int64) {
	if end > p.end {
		p.runs = append(p.runs, run{Batch: Batch{First: p.end, Last: end - 1}})
		p.end = end
	}
}

// at is the index of the run that holds an offset between start and end.
func (p *Partition) at(offset int64) int {
	i, found := slices.BinarySearchFunc(p.runs, offset, func(r run, offset int64) int {
		switch {
		case r.Last < offset:
			return -1
		case r.First > offset:
			return 1
		default:
			return 0
		}
	})
	if !found {
		panic("an offset without a run")
	}
	return i
}

// split makes an offset the first of its run.
func (p *Partition) split(offset int64) {
	if offset <= p.start || offset >= p.end {
		return
	}
	i := p.at(offset)
	if p.runs[i].First == offset {
		return
	}
	p.runs = slices.Insert(p.runs, i+1, p.runs[i])
	p.runs[i].Last, p.runs[i+1].First = offset-1, offset
}

// alter changes the runs of the known offsets from first to last.
func (p *Partition) alter(first, last int64, change func(*run)) {
	first, last = max(first, p.start), min(last, p.end-1)
	if first > last {
		return
	}
	p.split(first)
	p.split(last + 1)
	for i := p.at(first); i < len(p.runs) && p.runs[i].First <= last; i++ {
		change(&p.runs[i])
	}
}

// tidy moves the start over what is done, and makes one run of neighbours that are alike.
func (p *Partition) tidy() {
	done := 0
	for done < len(p.runs) && p.runs[done].State.done() {
		p.start, p.moved = p.runs[done].Last+1, true
		done++
	}
	kept := p.runs[:0]
	for _, r := range p.runs[done:] {
		if n := len(kept); n > 0 && kept[n-1].like(&r) {
			kept[n-1].Last = r.Last
			continue
		}
		kept = append(kept, r)
	}
	clear(p.runs[len(kept):])
	p.runs = kept
}
