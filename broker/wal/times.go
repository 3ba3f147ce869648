package wal

import "time"

// WriteTimes count writes by how long the device took for each, flush included.
type WriteTimes struct {
	// Counts are of those that took as long as their bound of WriteBounds at most, and longer than the bound before; the last
	// one is of those that took longer than all bounds.
	Counts [writeBounds + 1]int64
	Sum    time.Duration
}

const writeBounds = 14

// WriteBounds are the bounds of WriteTimes, ascending.
func WriteBounds() [writeBounds]time.Duration {
	const us = time.Microsecond
	return [...]time.Duration{100 * us, 250 * us, 500 * us, 1000 * us, 2500 * us, 5000 * us, 10_000 * us, 25_000 * us, 50_000 * us,
		100_000 * us, 250_000 * us, 500_000 * us, 1_000_000 * us, 5_000_000 * us}
}

func (t *WriteTimes) add(took time.Duration) {
	bounds, i := WriteBounds(), 0
	for i < writeBounds && took > bounds[i] {
		i++
	}
	t.Counts[i]++
	t.Sum += took
}
