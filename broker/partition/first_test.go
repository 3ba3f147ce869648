package partition

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger/broker/topic"
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

// Overwritten values of a log that is due for a compaction are never copied: their file becomes a pack as it is, on a quiet
// disk as under load, and is written anew after the compaction, whatever run of the store adopted it.
func TestOverwrittenValuesAreNotCopied(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*shift)
	}{
		{"the disk is quiet", func(*shift) {}},
		{"files were adopted under load", (*shift).adopt},
		{"files were adopted before a start", func(s *shift) {
			s.adopt()
			s.restart()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShift(t, roomy)
			s.write(3) // Half of each file of 4 MiB is of four keys, the rest has none.
			before := s.one.State()
			c.prepare(s)
			s.store.found.Store(int32(quiet))
			d := &s.store.drainer
			written := s.counts(func() {
				if s.sort(); d.waiting() != 3 || s.store.Stats().Drain.Repacked > 0 {
					t.Errorf("before the compaction: got %+v, want files adopted, and none written anew: %v", d.packs, d.due)
				}
				for range 2 { // It looks again, and finds nothing that is due.
					s.clock.advance(time.Minute)
					s.clean()
				}
				s.sort()
			})
			t.Logf("%d bytes were written", written)
			if got := s.store.Stats(); got.Compaction.Logs == 0 || got.Drain.Repacked == 0 || written < 5<<20 || written > 8<<20 {
				t.Errorf("%d bytes were written, want about 6 MiB, %+v, %+v", written, got.Compaction, got.Drain)
			}
			if len(d.due) > 0 || slices.ContainsFunc(slices.Collect(maps.Keys(d.packs)), wal.Adopted) {
				t.Errorf("packs stay as they were adopted: %v, %v", d.packs, d.due)
			}
			if after := s.one.State(); after.LogEnd != before.LogEnd || after.Size < 4*64<<10 || after.Size > before.Size/2 {
				t.Errorf("got %+v after %+v", after, before)
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// roomy has more spares than the tests adopt files.
func roomy(c *Config) { c.WAL.SparesMax = 8 }

// adopt adopts what is full, as on a busy disk.
func (s *shift) adopt() {
	s.Helper()
	if drained, err := s.driver.Adopt(); err != nil || !drained {
		s.Fatal(drained, err)
	}
}

// Files are copied where no compaction is about to free much of them, or where it would cost more to read them for that.
func TestFilesDoNotWaitForCompactionsInVain(t *testing.T) {
	compacts := func(fn func(*compaction, *Log)) func(*shift) {
		return func(s *shift) {
			s.store.drainer.compaction = &compaction{drainer: &s.store.drainer}
			fn(s.store.drainer.compaction, s.one)
		}
	}
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
		{"small batches of another log", 64 << 10, 3, func(s *shift) {
			s.store.CompactBy(func(topic.Partition) (Compaction, bool) { return s.rules, true })
			small := leader(s.store, 3, 1)
			for range 200 {
				s.append(small, spec{key: []byte("k"), value: make([]byte, 100)})
			}
		}, false},
		{"the file is nearly empty", 64 << 10, 2, func(s *shift) {
			s.fills(5<<19, 64<<10, 2)
			s.restart()
		}, false},
		{"space is scarce", 64 << 10, 2, func(s *shift) { s.low = true }, false},
		{"dead packs crowd the disk", 64 << 10, 2, func(s *shift) { s.store.crowded.Store(true) }, false},
		{"compactions want for space", 64 << 10, 2, func(s *shift) { s.store.drainer.crampedUntil = time.Hour }, false},
		{"compactions have had their rate", 64 << 10, 2, func(s *shift) { s.store.drainer.moving.credit = -time.Second }, false},
		{"the log is compacted now, which does not take more", 64 << 10, 2,
			compacts(func(c *compaction, l *Log) { c.now = &cleaning{log: l} }), false},
		{"a portion of the log was compacted", 64 << 10, 2,
			compacts(func(c *compaction, l *Log) { c.rest = &cleaning{log: l} }), false},
		{"the log was compacted, which is not recorded", 64 << 10, 2,
			compacts(func(c *compaction, l *Log) { c.done = []*cleaning{{log: l}} }), false},
		{"the log will be compacted, which does not take more", 64 << 10, 2,
			compacts(func(c *compaction, l *Log) { c.queue = []dirty{{log: l}} }), false},
		{"compactions are far between", 64 << 10, 2, func(s *shift) { s.store.cfg.CompactBackoff = time.Hour }, false},
		{"nobody may adopt", 64 << 10, 2, func(s *shift) { s.store.cfg.MayAdopt = func() bool { return false } }, false},
		{"there are no spares", 64 << 10, 2, func(s *shift) { s.store.cfg.WAL.SparesMax = 0 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShift(t, roomy)
			c.prepare(s)
			s.fills(9<<20, c.size, c.oneIn)
			s.store.found.Store(int32(quiet))
			before := s.store.Stats().Drain
			if _, err := s.store.drainer.turn(false); err != nil {
				t.Fatal(err)
			}
			s.store.drainer.compaction = nil
			if got := s.store.Stats().Drain; got.Files != before.Files+1 || (got.Adopted == before.Adopted+1) != c.adopted {
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
			s.store.crowded.Store(true) // As repack finds, which looks again then.
			s.store.unsorted.Store(true)
		}},
		{"space is scarce", func(s *shift) { s.low = true }},
		{"it came after the compaction of its log had begun", func(s *shift) {
			d := &s.store.drainer
			d.compaction = &compaction{drainer: d, now: &cleaning{log: s.one}, reads: map[uint64]bool{}}
			d.look(d.nextPack)
			d.compaction = nil
		}},
		{"compactions want for space", func(s *shift) { s.store.drainer.cramp(wal.ErrNoSpace) }},
		{"nothing is due any more", func(s *shift) { s.copies(); s.store.drainer.look(s.store.drainer.nextPack) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShift(t, roomy)
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
			if s.turn(); c.name == "time" && d.due[held] > 0 {
				t.Errorf("the file counts as one that waits: %v", d.due)
			}
			s.keep(0)
			if s.sort(); d.packs[held].Bytes > 0 || len(d.due) > 0 {
				t.Errorf("nobody needs anything: %v, %v", d.packs, d.due)
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
