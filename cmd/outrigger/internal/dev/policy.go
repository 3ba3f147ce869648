package dev

import "time"

const (
	backOffMin = 250 * time.Millisecond
	backOffMax = 10 * time.Second
)

// policy decides when a broker that died is started again. One that had served is started at once:
// it was killed, and clients wait for it. One that dies before it is ready would die again, so each
// time in a row waits twice as long.
type policy struct{ earlyDeaths int }

// died returns how long to wait.
func (p *policy) died(wasReady bool) time.Duration {
	if wasReady {
		p.earlyDeaths = 0
		return 0
	}
	p.earlyDeaths++
	delay := backOffMin
	for range p.earlyDeaths - 1 {
		delay = min(2*delay, backOffMax)
	}
	return delay
}

// permanent reports whether a broker that ended with this code would be refused again.
func permanent(code int) bool { return code == ExitConfig || code == ExitDataDir || code == ExitPort }
