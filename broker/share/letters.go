package share

// Cause is why nobody is given a record any more.
type Cause int8

// The causes of dead letters.
const (
	NoCause Cause = iota
	// Rejected: a member has said that it cannot be used.
	Rejected
	// TooOften: it was given to members as often as it may be.
	TooOften
)

// Letter is a run of records whose dead letters are to be written. Last is inclusive.
type Letter struct {
	First, Last int64
	// Count is how often the records were given to a member.
	Count int16
	Cause Cause
}

// giveUp archives records; where there is a dead-letter queue, once their letters are written.
func (p *Partition) giveUp(r *run, why Cause) {
	r.State, r.member, r.expires, r.dirty = Archived, "", 0, true
	if p.limits.Letters {
		r.State, r.cause = Archiving, why
	}
}

// causeOf is why a record that was kept as archiving is no longer given: as far as can be told, since only its
// deliveries are kept.
func causeOf(b Batch, l Limits) Cause {
	switch {
	case b.State != Archiving:
		return NoCause
	case b.Count >= l.DeliveriesMax:
		return TooOften
	default:
		return Rejected
	}
}

// Letters are the first dead letters to write, of at most so many records. That the records are given up is kept
// by then: no later leader gives them to anybody. A letter is written again if Wrote does not tell of it, by
// this leader or the next.
func (p *Partition) Letters(most int64) []Letter {
	var due []Letter
	for i := range p.runs {
		r := &p.runs[i]
		if most <= 0 {
			break
		}
		if r.State != Archiving || r.dirty || r.write != 0 {
			continue
		}
		last := min(r.Last, r.First+most-1)
		due = append(due, Letter{First: r.First, Last: last, Count: r.Count, Cause: r.cause})
		most -= last - r.First + 1
	}
	return due
}

// Wrote tells that the letters of some records are written, or never will be.
func (p *Partition) Wrote(first, last int64) {
	p.alter(first, last, func(r *run) {
		if r.State == Archiving {
			r.State, r.cause, r.write, r.dirty = Archived, NoCause, 0, true
		}
	})
	p.tidy()
}
