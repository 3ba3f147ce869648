package sidecar

import "time"

// pace is a ticker in step with the clock: it ticks when the time of day is a multiple of its period.
// A node's tickers, and those of nodes whose clocks agree, so fire in the same moment. An idle process
// is woken once for all of them, and what the others send arrives while it is awake: measured, half
// the processor time of an idle cluster. Only the phase comes from the clock. A clock that jumps makes
// one tick early or late by less than a period.
//
// While nothing can happen that its owner must see at once, a pace strides: it fires once for several
// ticks. How many a firing stands for is what was planned, never what the clock says afterwards: a
// process that was stopped for a minute does not believe that a minute's ticks have passed.
type pace struct {
	C      <-chan time.Time
	timer  *time.Timer
	period time.Duration
	// last is the multiple of the period that was ticked last, due the one that the timer is set to.
	last, due time.Time
	// planned is how many ticks are not yet passed of those up to due.
	planned int
}

func newPace(period time.Duration) *pace {
	p := &pace{period: period}
	p.last = time.Now().Truncate(period)
	p.due, p.planned = p.after(time.Now(), 1), 1
	p.timer = time.NewTimer(time.Until(p.due))
	p.C = p.timer.C
	return p
}

// fired takes the tick that has come out of C and returns for how many it stands.
func (p *pace) fired() int {
	ticks := p.planned
	p.last, p.planned = p.due, 0
	return ticks
}

// gone returns how many ticks of a stride have gone by before its end. What woke the owner came after
// them.
func (p *pace) gone() int {
	ticks := min(int(time.Until(p.last)/-p.period), p.planned-1)
	if ticks <= 0 {
		return 0
	}
	p.last = p.last.Add(time.Duration(ticks) * p.period)
	p.planned -= ticks
	return ticks
}

// next sets the pace to the next multiple of so many periods. The owner calls it after each firing: a
// tick that it was too busy for is skipped, as a ticker would.
func (p *pace) next(stride int) {
	now := time.Now()
	p.due = p.after(now, stride)
	between := int((p.due.Sub(p.last) + p.period/2) / p.period)
	p.planned = min(max(between, 1), stride)
	p.timer.Reset(p.due.Sub(now))
}

// plan sets the pace after a turn of its owner: after a firing to the next stride while the owner is
// calm, else to the next tick; and it ends a stride in which the owner is calm no more.
func (p *pace) plan(fired, calm bool, stride int) {
	switch {
	case fired && calm:
		p.next(stride)
	case fired:
		p.next(1)
	case !calm:
		p.hurry()
	}
}

// hurry ends a stride at its next tick.
func (p *pace) hurry() {
	if p.planned > 1 {
		p.next(1)
	}
}

// onBeat reports whether the last tick fell on a multiple of so many periods.
func (p *pace) onBeat(stride int) bool {
	return p.last.Equal(p.last.Truncate(time.Duration(stride) * p.period))
}

func (p *pace) stop() { p.timer.Stop() }

// after is the next multiple. It lies at least half a period ahead: a clock that runs slower than the
// timers would else make two ticks of one.
func (p *pace) after(now time.Time, stride int) time.Time {
	together := time.Duration(stride) * p.period
	return now.Add(p.period / 2).Truncate(together).Add(together)
}
