package partition

import (
	"errors"
	"strings"
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// strait is a store with a log to compact, on a disk of which the test says how much is free.
type strait struct {
	*press
	clock *clock
	// free is what copies may take, low that the disk has little; grows: what is written is counted.
	free  int64
	low   bool
	grows bool
	// begun counts the packs that were begun.
	begun int
}

// newStrait writes so many batches of 8 KiB, two of each key.
func newStrait(t *testing.T, batches int) *strait {
	t.Helper()
	s := &strait{clock: &clock{}, free: 1 << 40}
	s.press = newPress(t, func(cfg *Config) {
		cfg.Now, cfg.CompactBackoff = s.clock.now, 15*time.Second
		cfg.WAL.Space = func() (int64, bool) { return s.free, s.low }
	})
	s.lead()
	for i := range batches {
		s.append(s.one, spec{key: []byte{byte(i / 2)}, value: make([]byte, 8<<10)})
	}
	s.drain()
	s.fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Create && strings.HasSuffix(op.Name, ".pack") {
			s.begun++
		}
		if op.Verb == waltest.Write && strings.HasSuffix(op.Name, ".pack") && s.grows {
			s.free = max(0, s.free-op.Bytes)
		}
		return nil
	})
	return s
}

// tries compacts each second for so long, and returns how often a pack was begun.
func (s *strait) tries(d time.Duration) int {
	s.Helper()
	s.begun = 0
	for end := s.clock.now() + d; s.clock.now() < end; s.clock.advance(time.Second) {
		for more := true; more; {
			var err error
			if more, err = s.driver.Compact(16 << 10); err != nil && !errors.Is(err, wal.ErrNoSpace) {
				s.Fatal(err)
			}
		}
	}
	return s.begun
}

func (s *strait) wantCompacted(want int64) {
	s.Helper()
	if got := s.store.Stats().Compaction.Logs; got != want {
		s.Fatalf("got %d logs compacted, want %d", got, want)
	}
}

// After a compaction that found no space the next one comes later each time, and within minutes once there is.
func TestCompactionOnAFullDiskIsNotTriedAllTheTime(t *testing.T) {
	s := newStrait(t, 40)
	s.fs.SetCapacity(s.fs.Used() + 40<<10)
	if tries := s.tries(30 * time.Minute); tries < 5 || tries > 12 {
		t.Errorf("got %d tries in half an hour, want them further apart each time, up to %s", tries, crampedMost)
	}
	s.wantCompacted(0)
	s.fs.SetCapacity(0)
	s.tries(crampedMost)
	s.wantCompacted(1)
	if s.store.drainer.cramped || s.store.drainer.crampedFor != 0 {
		t.Error("compactions still want for space")
	}
}

// Where space is scarce no compaction begins for which there would not be enough if all of the log stayed.
func TestCompactionThatMayNotFitLeavesALowDiskAlone(t *testing.T) {
	s := newStrait(t, 40)
	s.low, s.free = true, s.one.portionBelow(1<<60, 1<<60)-1
	if tries := s.tries(10 * time.Minute); tries != 0 {
		t.Errorf("got %d tries with too little space, want none", tries)
	}
	s.wantCompacted(0)
	s.free++
	if tries := s.tries(time.Second); tries != 1 {
		t.Errorf("got %d tries with just enough space, want one", tries)
	}
	s.wantCompacted(1)
}

// Elsewhere one is tried that may come to less, and given up as soon as space is scarce.
func TestCompactionThatMayNotFitStopsBeforeProducersWait(t *testing.T) {
	s := newStrait(t, 240)
	all := s.one.portionBelow(1<<60, 1<<60)
	s.grows, s.free = true, all/8+2*s.store.walLog.FileBytes()
	if tries := s.tries(10 * time.Second); tries != 1 || s.free < s.store.walLog.FileBytes() {
		t.Errorf("got %d tries, %d bytes left, want one try that leaves some", tries, s.free)
	}
	s.wantCompacted(0)
	s.free = all*3/4 + 2*s.store.walLog.FileBytes()
	s.tries(crampedMost)
	s.wantCompacted(1)
}

// Whoever else takes the space: the last of it is not a compaction's.
func TestCompactionStopsShortOfAFullDisk(t *testing.T) {
	s := newStrait(t, 40)
	if more, err := s.driver.Compact(1); err != nil || !more {
		t.Fatalf("got no compaction that is under way, %v", err)
	}
	s.free = 0
	if _, err := s.driver.Compact(1); !errors.Is(err, wal.ErrNoSpace) || s.store.drainer.compaction != nil {
		t.Errorf("got %v, want a compaction that has stopped: %v", err, wal.ErrNoSpace)
	}
	s.free = 1 << 40
	s.tries(time.Minute)
	s.wantCompacted(1)
}
