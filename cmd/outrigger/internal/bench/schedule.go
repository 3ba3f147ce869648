package bench

import (
	"math"
	"time"
)

// schedule says when the records of one of several producers are due in an open loop. All of them
// together are evenly spaced.
type schedule struct {
	first time.Duration
	// everyNanos is between two records of this producer.
	everyNanos float64
}

// newSchedule is the index-th of so many producers, which send rate records a second together.
func newSchedule(rate float64, index, producers int) schedule {
	apart := float64(time.Second) / rate
	return schedule{first: time.Duration(apart * float64(index)), everyNanos: apart * float64(producers)}
}

// due is when record i is meant to be sent, since the load began. It is computed from the start, so
// that no error adds up.
func (s schedule) due(i int64) time.Duration {
	return s.first + time.Duration(float64(i)*s.everyNanos)
}

// dueBefore is how many records are due before t.
func (s schedule) dueBefore(t time.Duration) int64 {
	if t <= s.first {
		return 0
	}
	n := int64(math.Ceil(float64(t-s.first) / s.everyNanos))
	for n > 0 && s.due(n-1) >= t { // rounding, in either direction
		n--
	}
	for s.due(n) < t {
		n++
	}
	return n
}

// window is the measured time of a load.
type window struct{ from, to time.Duration }

func (w window) holds(t time.Duration) bool { return t >= w.from && t < w.to }

// phase names the part of the load at t.
func (w window) phase(t time.Duration) string {
	switch {
	case t < w.from:
		return "warm-up"
	case t < w.to:
		return "measured"
	}
	return "drain"
}

func scaled(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }
