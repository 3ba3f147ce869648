package partition

import (
	"strings"
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// fills appends so many bytes to both logs in batches of a size, of which one in so many are of the compacted one.
func (s *shift) fills(bytes, size, oneIn int) {
	s.Helper()
	for i := range bytes / size {
		if i%oneIn == 0 {
			s.append(s.one, spec{key: []byte{byte(i / oneIn % 4)}, value: make([]byte, size)})
		} else {
			s.append(s.filler, spec{value: make([]byte, size)})
		}
	}
}

// counts is how many bytes of packs are written by work that takes no time.
func (s *shift) counts(work func()) (written int64) {
	s.takes(func(op waltest.Op) time.Duration {
		if op.Verb == waltest.Write && strings.HasSuffix(op.Name, ".pack") {
			written += op.Bytes
		}
		return 0
	}, work)
	return written
}

// Overwritten values of a log that is due for a compaction are never copied: their file becomes a pack as it is, and is
// written anew after the compaction.
func TestOverwrittenValuesAreNotCopied(t *testing.T) {
	s := newShift(t)
	s.write(3) // Half of each file of 4 MiB is of four keys, the rest has none.
	s.store.found.Store(int32(quiet))
	before := s.one.State()
	written := s.counts(func() {
		if s.sort(); s.store.Stats().Drain.Adopted != 3 || s.store.Stats().Drain.Repacked > 0 {
			t.Errorf("before the compaction: got %+v, want files adopted and none written anew", s.store.Stats().Drain)
		}
		for range 2 { // It looks again, and finds nothing that is due.
			s.clock.advance(time.Minute)
			s.clean()
		}
		s.sort()
	})
	t.Logf("%d bytes were written", written)
	if got := s.store.Stats(); got.Compaction.Logs == 0 || got.Drain.Repacked == 0 || written < 5<<20 || written > 7<<20 {
		t.Errorf("%d bytes were written, want about 6 MiB, %+v, %+v", written, got.Compaction, got.Drain)
	}
	if after := s.one.State(); after.LogEnd != before.LogEnd || after.Size < 4*64<<10 || after.Size > before.Size/2 {
		t.Errorf("got %+v after %+v", after, before)
	}
	if err := s.driver.Close(); err != nil {
		t.Fatal(err)
	}
}

// Files are copied where no compaction is about to free much of them, or where it would cost more to read them for that.
func TestFilesDoNotWaitForCompactionsInVain(t *testing.T) {
	for _, c := range []struct {
		name        string
		size, oneIn int
		prepare     func(*shift)
		adopted     bool
	}{
		{"due", 64 << 10, 2, func(*shift) {}, true},
		{"nothing is due", 64 << 10, 2, func(s *shift) { s.rules.DirtyRatio = 1 }, false},
		{"little is due", 64 << 10, 8, func(*shift) {}, false},
		{"small batches", 4 << 10, 2, func(*shift) {}, false},
		{"dead packs crowd the disk", 64 << 10, 2, func(s *shift) { s.store.crowded.Store(true) }, false},
		{"compactions want for space", 64 << 10, 2, func(s *shift) { s.store.drainer.crampedUntil = time.Hour }, false},
		{"the log is compacted now, which does not take more", 64 << 10, 2, func(s *shift) {
			s.store.drainer.compaction = &compaction{drainer: &s.store.drainer, now: &cleaning{log: s.one}}
		}, false},
		{"compactions are far between", 64 << 10, 2, func(s *shift) { s.store.cfg.CompactBackoff = time.Hour }, false},
		{"nobody may adopt", 64 << 10, 2, func(s *shift) { s.store.cfg.MayAdopt = func() bool { return false } }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShift(t)
			s.fills(9<<20, c.size, c.oneIn)
			c.prepare(s)
			s.store.found.Store(int32(quiet))
			if _, err := s.store.drainer.turn(false); err != nil {
				t.Fatal(err)
			}
			s.store.drainer.compaction = nil
			if got := s.store.Stats().Drain; got.Files != 1 || (got.Adopted == 1) != c.adopted {
				t.Errorf("got %+v, want a file drained, adopted %t", got, c.adopted)
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A file waits for its compaction for a while, and not while space is wanted.
func TestAdoptedFilesDoNotWaitForEver(t *testing.T) {
	for _, c := range []struct {
		name string
		pass func(*shift)
	}{
		{"time", func(s *shift) { s.clock.advance(dueMost + time.Minute) }},
		{"dead packs crowd the disk", func(s *shift) {
			d := &s.store.drainer
			dead := map[uint64]int64{} // Nothing is needed of them.
			for number := range uint64(20) {
				d.packs[number*wal.PackStep+7*wal.PackStep] = wal.Pack{Bytes: 4 << 20}
			}
			s.store.unsorted.Store(true)
			s.store.crowded.Store(d.crowd(dead) > crowdedLeast)
			for number := range uint64(20) {
				delete(d.packs, number*wal.PackStep+7*wal.PackStep)
			}
		}},
		{"compactions want for space", func(s *shift) { s.store.drainer.cramp(wal.ErrNoSpace) }},
		{"nothing is due any more", func(s *shift) { s.copies(); s.store.drainer.look(s.store.drainer.nextPack) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShift(t)
			s.write(2)
			s.store.found.Store(int32(quiet))
			s.turn()
			d := &s.store.drainer
			var held uint64
			for number := range d.packs {
				held = number
			}
			if s.store.Stats().Drain.Adopted != 1 || !d.holds(held) {
				t.Fatalf("got %+v, want an adopted file that waits", s.store.Stats().Drain)
			}
			c.pass(s)
			if d.holds(held) {
				t.Error("the file waits for a compaction that does not come")
			}
			s.store.tickDrain(s.clock.now())
			if !s.store.unsorted.Load() {
				t.Error("nobody looks at the pack again")
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
