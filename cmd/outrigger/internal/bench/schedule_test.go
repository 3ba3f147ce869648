package bench

import (
	"testing"
	"time"
)

func TestProducersTogetherAreEvenlySpaced(t *testing.T) {
	const producers, rate = 3, 300.0
	due := map[time.Duration]int{}
	for p := range producers {
		s := newSchedule(rate, p, producers)
		for i := range int64(100) {
			due[s.due(i).Round(time.Microsecond)]++
		}
	}
	for i := range 300 {
		at := (time.Duration(i) * time.Second / rate).Round(time.Microsecond)
		if due[at] != 1 {
			t.Fatalf("got %d records due at %v, want 1", due[at], at)
		}
	}
}

func TestScheduleDoesNotDriftInADay(t *testing.T) {
	const rate = 70_001.0 // no whole number of nanoseconds apart
	s := newSchedule(rate, 0, 1)
	got := s.due(int64(rate) * 24 * 3600)
	if off := (got - 24*time.Hour).Abs(); off > time.Microsecond {
		t.Errorf("got a day's last record at %v, want 24h", got)
	}
}

func TestDueBeforeCountsWhatIsDue(t *testing.T) {
	for _, rate := range []float64{0.5, 3, 7, 1000, 33_333} {
		for p := range 3 {
			s := newSchedule(rate, p, 3)
			for _, end := range []time.Duration{0, 1, time.Second, 3 * time.Second, s.due(17), s.due(17) + 1} {
				want := int64(0)
				for s.due(want) < end {
					want++
				}
				if got := s.dueBefore(end); got != want {
					t.Errorf("rate %g producer %d: got %d due before %v, want %d", rate, p, got, end, want)
				}
			}
		}
	}
}

func TestPhasesFollowEachOther(t *testing.T) {
	w := window{from: 2, to: 5}
	got := ""
	for at := range time.Duration(7) {
		got += w.phase(at)[:1]
	}
	if got != "wwmmmdd" {
		t.Errorf("got phases %q, want wwmmmdd", got)
	}
}
