package share

import (
	"fmt"
	"slices"
)

// AckType is what a member says of a record. The numbers are Kafka's.
type AckType int8

// What members say. A gap is a record that is not there.
const (
	Gap AckType = iota
	Accept
	ReleaseIt
	Reject
	Renew
)

// Ack is what a member says of a run of records: one type for all, or one for each. Last is inclusive.
type Ack struct {
	First, Last int64
	Types       []AckType
}

func (a *Ack) at(offset int64) AckType {
	if len(a.Types) == 1 {
		return a.Types[0]
	}
	return a.Types[offset-a.First]
}

// Judge says whether acknowledgements make sense, whatever the state is. Each stands behind the one before.
func Judge(acks []Ack, renews bool) error {
	last := int64(-1)
	for i := range acks {
		a := &acks[i]
		count := a.Last - a.First + 1
		switch {
		case a.First == last && i > 0 && count > 0:
			// The first of the two has left nothing to say of the record.
			return fmt.Errorf("%w: %d is acknowledged twice", ErrRecordState, a.First)
		case a.First <= last || count <= 0:
			return fmt.Errorf("%w: %d to %d behind %d", ErrInvalidAcknowledgement, a.First, a.Last, last)
		case len(a.Types) != 1 && int64(len(a.Types)) != count:
			return fmt.Errorf("%w: %d types for %d records", ErrInvalidAcknowledgement, len(a.Types), count)
		}
		for _, t := range a.Types {
			if t < Gap || t > Renew || t == Renew && !renews {
				return fmt.Errorf("%w: type %d", ErrInvalidAcknowledgement, t)
			}
		}
		last = a.Last
	}
	return nil
}

// Acknowledge takes what a member says of its records, all of it or, with an error, nothing. What is below
// the start is done already and passed over. The answer is to wait until Kept is at least the number that
// is returned.
func (p *Partition) Acknowledge(member string, acks []Ack, now int64) (wait uint64, err error) {
	for i := range acks {
		if err := p.judge(member, &acks[i]); err != nil {
			return 0, err
		}
	}
	for i := range acks {
		p.acknowledge(&acks[i], now)
	}
	p.tidy()
	if !p.unkept() {
		return p.number, nil // of a write under way, perhaps: what was acknowledged again waits for it, too
	}
	return p.number + 1, nil
}

// judge says whether a member may acknowledge so.
func (p *Partition) judge(member string, a *Ack) error {
	if a.Last < p.start {
		return nil
	}
	if p.start == p.end {
		return fmt.Errorf("%w: nobody has any records", ErrRecordState)
	}
	if a.Last >= p.end {
		return fmt.Errorf("%w: %d was not given to anybody", ErrInvalidAcknowledgement, a.Last)
	}
	for i := p.at(max(a.First, p.start)); i < len(p.runs) && p.runs[i].First <= a.Last; i++ {
		if r := &p.runs[i]; r.State != Acquired || r.member != member {
			return fmt.Errorf("%w: %d to %d", ErrRecordState, r.First, r.Last)
		}
	}
	return nil
}

// acknowledge carries out what was judged. Records that are spoken of alike are altered together.
func (p *Partition) acknowledge(a *Ack, now int64) {
	for first := max(a.First, p.start); first <= a.Last; {
		t := a.at(first)
		last := a.Last
		if len(a.Types) > 1 {
			for last = first; last < a.Last && a.at(last+1) == t; {
				last++
			}
		}
		p.alter(first, last, func(r *run) { p.apply(r, t, now) })
		first = last + 1
	}
}

func (p *Partition) apply(r *run, t AckType, now int64) {
	switch t {
	case Renew:
		r.expires = now + p.limits.LockMillis
	case ReleaseIt:
		p.release(r)
	case Accept:
		r.State, r.member, r.expires, r.dirty = Acknowledged, "", 0, true
	case Reject:
		p.giveUp(r, Rejected)
	default:
		r.State, r.member, r.expires, r.dirty = Archived, "", 0, true // there is no record
	}
}

// Write is what is to be kept next.
type Write struct {
	// Number grows with each write.
	Number                  uint64
	StateEpoch, LeaderEpoch int32
	Start                   int64
	// Complete is how many records at or above the start are done.
	Complete int32
	// Batches are those that have changed.
	Batches []Batch
}

// unkept: something is not in any write.
func (p *Partition) unkept() bool {
	return p.moved || slices.ContainsFunc(p.runs, func(r run) bool { return r.dirty && r.State != Acquired })
}

// Write is the write that is under way or to be made, nil if everything is kept. It is to be made until
// Written says that it was, or the Partition is given up; then the next one comes.
func (p *Partition) Write() *Write {
	if p.out != nil || !p.unkept() {
		return p.out
	}
	p.number++
	w := &Write{Number: p.number, StateEpoch: p.stateEpoch, LeaderEpoch: p.leaderEpoch, Start: p.start}
	for i := range p.runs {
		r := &p.runs[i]
		if r.State.done() {
			w.Complete += int32(r.Last - r.First + 1)
		}
		if r.State == Acquired {
			continue // what is kept of it is older, and good enough: see the package's comment
		}
		if r.dirty {
			w.Batches = append(w.Batches, r.Batch)
			r.dirty = false
			if r.State == Archiving {
				r.write = w.Number
			}
		}
	}
	p.moved = false
	p.out = w
	p.tidy()
	return w
}

// Written tells that a write is kept.
func (p *Partition) Written(number uint64) {
	if p.out != nil && p.out.Number == number {
		p.out, p.kept, p.settled = nil, number, true
		for i := range p.runs {
			if p.runs[i].write <= number {
				p.runs[i].write = 0
			}
		}
		p.tidy()
	}
}

// Kept is the number of the last write that is kept.
func (p *Partition) Kept() uint64 { return p.kept }
