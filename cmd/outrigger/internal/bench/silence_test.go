package bench

import (
	"testing"
	"time"
)

func TestGapsAreTheLongestSilences(t *testing.T) {
	const ms = time.Millisecond
	s := newSilence(2, 100*ms)
	s.acked(0, 0, 50*ms) // before it counts
	for _, at := range []time.Duration{110, 120, 130} {
		s.acked(0, (at-1)*ms, at*ms)
		s.acked(1, (at-1)*ms, at*ms)
	}
	s.kill(135 * ms)
	s.acked(1, 129*ms, 140*ms) // sent before the kill: it tells nothing of recovery
	s.acked(0, 150*ms, 180*ms)
	s.acked(1, 160*ms, 400*ms)
	s.acked(0, 390*ms, 400*ms)
	g := s.gaps(410 * ms)
	if g.AnyMillis != 220 || g.Worst != 1 || g.WorstMillis != 260 || g.PartitionMillis[0] != 220 {
		t.Errorf("got %+v, want 220 ms without any, 260 ms without partition 1, 220 ms without 0", g)
	}
	if g.RecoveredMillis != 265 || g.KilledAtSeconds != 0.135 {
		t.Errorf("got recovered after %g ms from %g s, want 265 from 0.135", g.RecoveredMillis, g.KilledAtSeconds)
	}
}

func TestWhoIsSilentAtTheEndWasSilentUntilThen(t *testing.T) {
	s := newSilence(2, 0)
	s.kill(1)
	s.acked(0, 2, time.Second)
	g := s.gaps(10 * time.Second)
	if g.AnyMillis != 9000 || g.WorstMillis != 10_000 || g.Worst != 1 || g.RecoveredMillis >= 0 {
		t.Errorf("got %+v, want 9 s without any, 10 s without partition 1, never recovered", g)
	}
}
