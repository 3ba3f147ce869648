package sidecar

import "time"

// pace is a ticker in step with the clock: it ticks when the time of day is a multiple of its period.
// A node's tickers, and those of nodes whose clocks agree, so fire in the same moment. An idle process
// is woken once for all of them, and what the others send arrives while it is awake: measured, half
// the processor time of an idle cluster. Only the phase comes from the clock. A clock that jumps makes
// one tick early or late by less than a period.
type pace struct {
	C      <-chan time.Time
	timer  *time.Timer
	period time.Duration
}

func newPace(period time.Duration) *pace {
	timer := time.NewTimer(untilMultiple(period))
	return &pace{C: timer.C, timer: timer, period: period}
}

// next arms the pace for the next multiple. The owner calls it after each tick: a tick that it was
// too busy for is skipped, as a ticker would.
func (p *pace) next() { p.timer.Reset(untilMultiple(p.period)) }

func (p *pace) stop() { p.timer.Stop() }

// untilMultiple aims at least half a period ahead: a clock that runs slower than the timers would
// else make two ticks of one.
func untilMultiple(period time.Duration) time.Duration {
	now := time.Now()
	return now.Add(period / 2).Truncate(period).Add(period).Sub(now)
}
