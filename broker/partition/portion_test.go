package partition

import (
	"errors"
	"testing"
	"time"

	"outrigger/broker/compact"
	"outrigger/broker/wal"
)

// newPortioned is a strait whose log is compacted 128 KiB at once, on a disk that has so much free.
func newPortioned(t *testing.T, free int64) (s *strait, used func() int64) {
	t.Helper()
	s = newStrait(t, 240)
	s.store.cfg.portionBytes = 128 << 10
	capacity := s.fs.Used() + free
	s.store.reader = freeing{s.store.reader, func() { s.free = max(0, capacity-s.fs.Used()) }}
	s.free = free
	return s, s.fs.Used
}

// freeing looks at the disk as often as something is read.
type freeing struct {
	reader
	look func()
}

func (f freeing) ReadRecord(at wal.Position, encodedLen int64) (wal.Record, error) {
	f.look()
	return f.reader.ReadRecord(at, encodedLen)
}

func (f freeing) Scan(from wal.Position, bytesMax int) ([]wal.Placed, wal.Position, error) {
	f.look()
	return f.reader.Scan(from, bytesMax)
}

// A low disk with space for a tenth of a log is enough to compact it, if what was compacted goes meanwhile.
func TestLargeLogIsCompactedWithLittleSpace(t *testing.T) {
	s, used := newPortioned(t, 400<<10)
	s.low = true
	all := s.one.portionBelow(1<<60, 1<<60)
	if all < 4*400<<10 {
		t.Fatalf("the log has %d bytes: the test proves nothing", all)
	}
	want, before, most := s.one.State().HighWatermark, used(), int64(0)
	for more := true; more || s.store.drainer.compaction != nil; s.clock.advance(time.Second) {
		var err error
		if more, err = s.driver.Compact(16 << 10); err != nil {
			t.Fatalf("after %d bytes more: %v", most, err)
		}
		most = max(most, used()-before)
		if _, err := s.driver.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	s.wantCompacted(1)
	if got := s.one.State(); got.HighWatermark != want || s.one.mu.compacted == 0 || most > 400<<10 || used() > before-all/3 {
		t.Errorf("got %+v, compacted up to %d, %d bytes more at most, %d in the end", got, s.one.mu.compacted, most, used()-before)
	}
	t.Logf("%d of %d bytes at once, %d portions", most, all, 1+len(s.store.drainer.spent))
}

// Where nothing goes meanwhile, since others need what lies beside it, a compaction waits for a while and stops
// then. What was recorded counts, and the next one goes on behind it.
func TestPortionWaitsForSpaceAndNotForEver(t *testing.T) {
	s := newStrait(t, 240)
	s.store.cfg.portionBytes = 128 << 10
	s.low, s.free = true, 200<<10
	for len(s.store.drainer.spent) == 0 || s.store.drainer.compaction.hopesUntil == 0 {
		if more, err := s.driver.Compact(16 << 10); err != nil || !more {
			t.Fatalf("got more %t, %v before a portion was recorded", more, err)
		}
	}
	s.free = 100 << 10
	began := s.clock.now()
	for s.store.drainer.compaction != nil {
		if more, err := s.driver.Compact(16 << 10); more || err != nil && !errors.Is(err, wal.ErrNoSpace) {
			t.Fatalf("got more %t, %v without space", more, err)
		}
		s.clock.advance(time.Second)
	}
	if took := s.clock.now() - began; took < hopeMost || took > hopeMost+2*time.Second {
		t.Errorf("it waited for %s, want %s", took, hopeMost)
	}
	if s.wantCompacted(0); s.store.Stats().Compaction.SavedBytes == 0 {
		t.Error("nothing of what was recorded counts")
	}
	s.free = 1 << 40
	s.tries(crampedMost)
	s.wantCompacted(1)
}

// The pack of a portion has a number between those of what is before and behind, in a span where no other is or was, and
// leaves room on both sides: as many portions can be put between two again and again.
func TestPortionsHaveNumbersBetweenThoseOfThePacksAround(t *testing.T) {
	const step = wal.PackStep
	c := &compaction{drainer: &drainer{packs: map[uint64]wal.Pack{}, spent: map[uint64]bool{}}}
	c.used(3*step + 129) // A start has found what was written anew from it.
	taken := map[uint64]bool{}
	for _, number := range []uint64{step, 2 * step, 2*step + 129, 2*step + 256, 3 * step, 3*step + 256, 4*step + 255, 5*step + 255} {
		taken[number/portionSpan] = true
	}
	for _, at := range []struct {
		behind, before uint64
		ok             bool
	}{
		{step, 2 * step, true}, {step + 7, 2 * step, true}, {step + 128, 2 * step, true},
		{2 * step, 2*step + 256, false}, {2 * step, 2*step + 512, true}, {2*step + 256, 3 * step, true},
		{3 * step, 3*step + 256, false}, {3 * step, 4*step + 255, true},
		{4 * step, 4*step + 255, false}, {4*step - 128, 4*step + 255, false}, {4*step + 255, 5*step + 255, true},
		{0, 0, false}, {step, step, false}, {0, 2 * portionSpan, true},
	} {
		got, ok := c.unused(taken, at.behind, at.before)
		if ok != at.ok || ok && (got <= at.behind || got >= at.before || got%(2*portionSpan) != portionSpan || taken[got/portionSpan] || c.spent[got]) {
			t.Errorf("between %d and %d: got %d, %t, want one: %t", at.behind, at.before, got, ok, at.ok)
		}
	}
	behind, before := uint64(step), uint64(2*step)
	for range 7 { // of 256 spans that are odd, half are left on either side
		number, ok := c.unused(taken, behind, before)
		if !ok {
			t.Fatalf("no number is left between %d and %d", behind, before)
		}
		taken[number/portionSpan] = true
		if behind, before = number, 2*step; number%(4*portionSpan) == portionSpan {
			behind, before = step, number
		}
	}
}

// A compaction remembers as many keys at once as its memory has room for, and comes again for the others.
func TestCompactionComesAgainForKeysThatFoundNoRoom(t *testing.T) {
	const keys, room = 20, 4
	p := newPress(t, func(c *Config) { c.CompactBytesMax = room * compact.KeyBytes })
	p.lead()
	for i := range 3 * keys {
		p.append(p.one, spec{key: []byte{byte(i % keys)}})
	}
	p.drain()
	p.work()
	if got := p.store.Stats().Compaction.Logs; got < keys/room {
		t.Errorf("%d keys were compacted in %d passes, want %d at least: %d keys find room", keys, got, keys/room, room)
	}
	if got := readKeys(t, p.one, nil); len(got) != keys {
		t.Errorf("%d keys are left, want %d", len(got), keys)
	}
}
