package partition

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
)

// shift is a driven store whose disk takes its time, on a clock of the test, and that lets time pass in between.
type shift struct {
	*press
	clock  *clock
	adjust []func(*Config)
	// low: space is scarce.
	low bool
	// worked is how long the disk was used, at once since the last pause and at most; paused how long it was not.
	worked, once, most, paused time.Duration
}

// shiftBytes is what the disk moves in a second.
const shiftBytes = 64 << 20

func newShift(t *testing.T, adjust ...func(*Config)) *shift {
	t.Helper()
	s := &shift{clock: &clock{}}
	s.adjust = append([]func(*Config){func(cfg *Config) {
		cfg.Now, cfg.CompactBackoff, cfg.Processors = s.clock.now, time.Second, 8
		cfg.WAL.FileBytes, cfg.WAL.GroupBytesMax, cfg.WAL.FilesMax = 4<<20, 256<<10, 64
		cfg.WAL.QueueBytesMax = [2]int64{4 << 20, 4 << 20}
		cfg.WAL.Space = func() (int64, bool) { return math.MaxInt64, s.low }
	}}, adjust...)
	s.press = newPress(t, s.adjust...)
	s.rules.DirtyRatio = 0.1
	s.lead()
	return s
}

// restart kills the node and starts it again.
func (s *shift) restart() {
	s.Helper()
	s.fs, s.table = s.fs.Restart(), s.table.Clone()
	s.open(s.adjust...)
	s.lead()
	s.one.SetHighWatermark(s.one.State().DurableEnd)
}

// write fills so many files of 4 MiB, each with batches of 64 KiB of both logs, the newest of four keys.
func (s *shift) write(files int) {
	s.Helper()
	for i := range files * 4 << 20 / (128 << 10) {
		s.append(s.one, spec{key: []byte{byte(i % 4)}, value: make([]byte, 64<<10)})
		s.append(s.filler, spec{value: make([]byte, 64<<10)})
	}
}

// works counts what work does to the disk.
func (s *shift) works(work func()) {
	s.takes(func(op waltest.Op) time.Duration {
		switch op.Verb {
		case waltest.Read, waltest.Write:
			return time.Duration(op.Bytes) * time.Second / shiftBytes
		case waltest.Remove:
			return charged(4 << 20)
		}
		return 0
	}, work)
}

// takes does work on a disk that takes so long for each operation.
func (s *shift) takes(long func(waltest.Op) time.Duration, work func()) {
	s.fs.Intercept(func(op waltest.Op) error {
		took := long(op)
		s.clock.advance(took)
		s.worked, s.once = s.worked+took, s.once+took
		s.most = max(s.most, s.once)
		return nil
	})
	s.store.drainer.removeTurn = time.Hour
	s.store.drainer.pause = func(d time.Duration) bool {
		s.clock.advance(d)
		s.paused, s.once = s.paused+d, 0
		return true
	}
	work()
	s.fs.Intercept(nil)
	s.store.drainer.pause = nil
}

// turn drains, or writes packs anew.
func (s *shift) turn() {
	s.Helper()
	if _, err := s.driver.Drain(); err != nil {
		s.Fatal(err)
	}
}

// job is something that uses the disk beside those who append.
type job struct {
	name    string
	prepare func(*shift)
	work    func(*shift)
	did     func(Stats) int64
}

var jobs = []job{
	{"drain", func(s *shift) { s.write(4); s.copies() },
		func(s *shift) { s.turn(); s.turn() }, func(s Stats) int64 { return s.Drain.Bytes }},
	{"drain of what is owed", func(s *shift) { s.write(4); s.copies(); s.store.owed.Store(math.MaxInt64) },
		func(s *shift) { s.turn(); s.turn() }, func(s Stats) int64 { return s.Drain.Bytes }},
	{"drain of what nobody needs", func(s *shift) { s.write(4); s.keep(0) },
		func(s *shift) { s.turn(); s.turn() }, func(s Stats) int64 { return s.Drain.Files }},
	{"sorting of what was adopted", func(s *shift) {
		s.write(4)
		s.copies()
		if _, err := s.driver.Adopt(); err != nil {
			s.Fatal(err)
		}
	}, func(s *shift) { s.sort() }, func(s Stats) int64 { return s.Drain.Repacked }},
	{"writing packs anew", func(s *shift) { s.write(16); s.drain(); s.keep(12) },
		func(s *shift) { s.sort() }, func(s Stats) int64 { return s.Drain.Repacked }},
	{"compaction", func(s *shift) { s.write(4); s.drain() }, func(s *shift) { s.clean() },
		func(s Stats) int64 { return s.Compaction.Logs }},
}

// copies has files copied at once that would wait, since a compaction would come first: none is due any more.
func (p *press) copies() { p.rules.DirtyRatio = 1 }

// keep deletes all but one in so many records of both logs, or all.
func (s *shift) keep(oneIn topic.Offset) {
	s.Helper()
	for _, l := range []*Log{s.one, s.filler} {
		to := l.State().HighWatermark
		if oneIn > 0 {
			to -= to / oneIn
		}
		if _, _, err := l.DeleteRecords(context.Background(), to); err != nil {
			s.Fatal(err)
		}
		settle(s, s.driver)
	}
}

func (s *shift) sort() {
	for range 4 {
		s.turn()
		s.clock.advance(time.Second)
	}
}

func (s *shift) clean() {
	s.Helper()
	for more := true; more; {
		var err error
		more, err = s.store.drainer.compactTurn(func() bool { return false })
		if err != nil {
			s.Fatal(err)
		}
	}
}

// While anything is appended, whoever copies uses the disk for a short while at once, and for its share of the time:
// an append that comes in meanwhile waits for no more than that.
func TestCopiesLeaveTheDiskToAppends(t *testing.T) {
	const piece = pieceBytes * time.Second / shiftBytes
	for _, job := range jobs {
		t.Run(job.name, func(t *testing.T) {
			s := newShift(t)
			job.prepare(s)
			s.store.found.Store(int32(quiet))
			before := job.did(s.store.Stats())
			s.works(func() { job.work(s) })
			if job.did(s.store.Stats()) == before || s.worked < 8*piece {
				t.Fatalf("got %v of work, %+v: the test proves nothing", s.worked, s.store.Stats())
			}
			share := float64(s.worked) / float64(s.worked+s.paused)
			t.Logf("worked %v, %v at once at most, paused %v: %.3f of the time", s.worked, s.most, s.paused, share)
			if s.most > 4*piece || math.Abs(share-shareLeast) > shareLeast/6 {
				t.Errorf("the disk was used for %v at once, for %.3f of the time, want at most %v and about %.3f",
					s.most, share, 4*piece, shareLeast)
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Where nobody else wants the disk, or so much waits that producers would, nothing is lost to pauses.
func TestCopiesDoNotPauseForNobody(t *testing.T) {
	for _, job := range jobs {
		t.Run(job.name, func(t *testing.T) {
			s := newShift(t)
			job.prepare(s)
			s.store.found.Store(int32(idle))
			before := job.did(s.store.Stats())
			s.works(func() { job.work(s) })
			if s.paused > 0 || job.did(s.store.Stats()) == before {
				t.Errorf("got %v of pauses, want none, %+v", s.paused, s.store.Stats())
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// log.cleaner.io.max.bytes.per.second: a compaction reads and writes no more than that, although the disk is idle, and
// looks after something else meanwhile.
func TestCompactionKeepsItsRate(t *testing.T) {
	const rate = 1 << 20
	for _, bound := range []float64{0, rate} {
		s := newShift(t)
		s.store.cfg.CompactBytesPerSecond = bound
		s.write(4)
		s.drain()
		s.store.found.Store(int32(idle))
		began := s.clock.now()
		s.works(func() { s.clean() })
		moved := s.worked.Seconds() * shiftBytes
		got := moved / (s.clock.now() - began).Seconds()
		if moved < 8<<20 {
			t.Fatalf("only %.0f bytes were moved: the test proves nothing", moved)
		}
		if bound > 0 && (got > 1.1*bound || got < 0.8*bound) || bound == 0 && s.paused > 0 {
			t.Errorf("got %.0f bytes per second, %v of pauses, want %.0f", got, s.paused, bound)
		}
		if err := s.driver.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := newShift(t)
	s.store.cfg.CompactBytesPerSecond = rate
	s.write(4)
	s.drain()
	s.store.found.Store(int32(idle))
	s.works(func() {
		more, err := s.store.drainer.compactTurn(func() bool { return s.once > 0 })
		if err != nil || !more || s.paused > 0 {
			t.Errorf("got more %t, %v, %v of pauses while something else waits, want to go on later", more, err, s.paused)
		}
	})
}

// owing is a store whose packs have been written anew for so long, and what it pauses for at the next breath.
func owing(t *testing.T, d time.Duration) (s *shift, breathe func() (paused time.Duration)) {
	t.Helper()
	s = newShift(t)
	jobs := &s.store.drainer
	return s, func() (paused time.Duration) {
		jobs.pause = func(d time.Duration) bool { paused += d; return true }
		jobs.repacking = allowance{share: shareLeast, credit: -d, at: s.clock.now()}
		if err := jobs.breathe(&jobs.repacking); err != nil {
			t.Fatal(err)
		}
		return paused
	}
}

// shareless is how many times longer than its work a job pauses that has the least share.
const shareless = 1 / shareLeast

// A pause makes up for the work before it, on a clock that stands still as well, but not for a disk or a process that
// stood still for a minute, and never for longer than a few seconds. Nobody's time is not made up for.
func TestPausesAreAsLongAsWhatTheyMakeUpFor(t *testing.T) {
	const many, few = 64, 2 // processors
	for _, c := range []struct {
		asked      demand
		processors int
		owed       time.Duration
		pause      time.Duration
		leftOwing  bool
	}{
		{quiet, many, 50 * time.Millisecond, shareless * 50 * time.Millisecond, true}, // the clock stood still
		{quiet, many, time.Minute, shareless * debtMax, true},
		{busy, few, 5 * time.Millisecond, 64 * 5 * time.Millisecond, true},
		{busy, few, debtMax, owesMax, true},
		{idle, many, time.Minute, 0, false},
		{quiet, many, debtMin / 2, 0, true},
	} {
		s, breathe := owing(t, c.owed)
		s.store.cfg.Processors = c.processors
		s.store.found.Store(int32(c.asked))
		if got := breathe(); got != c.pause {
			t.Errorf("demand %v, %d processors, %v of work: got pauses of %v, want %v", c.asked, c.processors, c.owed, got, c.pause)
		}
		if owes := s.store.drainer.repacking.credit < 0; owes != c.leftOwing {
			t.Errorf("demand %v, %d processors, %v of work: got %v left", c.asked, c.processors, c.owed, s.store.drainer.repacking.credit)
		}
	}
}

// A job that began while nobody wanted the disk stops for those who want it then.
func TestJobThatBeganIdleStopsForWhoComes(t *testing.T) {
	s := newShift(t)
	s.write(4)
	s.drain()
	s.store.found.Store(int32(idle))
	slices := 0
	s.works(func() {
		_, err := s.store.drainer.compactTurn(func() bool {
			if slices++; slices == 4 {
				s.store.found.Store(int32(quiet))
			}
			return slices == 12
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if share := float64(s.worked) / float64(s.worked+s.paused); s.paused == 0 || share > 0.3 {
		t.Errorf("worked %v, paused %v, want pauses once the disk was wanted", s.worked, s.paused)
	}
}

// While producers wait for the drain, packs are not written anew beside it more than they may.
func TestUrgentWorkIsOwed(t *testing.T) {
	s, breathe := owing(t, time.Second)
	s.store.found.Store(int32(quiet))
	for !s.store.pressed() {
		s.write(4)
	}
	if got := breathe(); got != 0 {
		t.Errorf("got pauses of %v while producers wait", got)
	}
	if s.store.drainer.repacking.may() {
		t.Error("what was urgent is not owed")
	}
}

// After the end nothing pauses.
func TestNothingPausesAfterTheEnd(t *testing.T) {
	s, _ := owing(t, 0)
	d := &s.store.drainer
	s.store.found.Store(int32(quiet))
	pauses := 0
	d.pause = func(time.Duration) bool { pauses++; return false }
	d.repacking = allowance{share: shareLeast, credit: -time.Second, at: s.clock.now()}
	d.ending = func() bool { return pauses > 0 }
	if err := d.breathe(&d.repacking); pauses > 1 || !errors.Is(err, errEnding) {
		t.Errorf("got %d pauses after the end, %v, want at most the one that hears of it, and %v", pauses, err, errEnding)
	}
}

// While packs are written anew one after the other, compactions have as much time as that, unless producers wait.
func TestCompactionsAndCopiesTakeTurns(t *testing.T) {
	s := newShift(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, c := range []struct{ had, want time.Duration }{{0, 0}, {3 * time.Second, 3 * time.Second}, {time.Hour, compactTurnMax}} {
		over := s.store.compactUntil(ctx, c.had)
		if s.clock.advance(c.want + time.Hour); over() {
			t.Error("a compaction is stopped for nobody")
		}
		over = s.store.compactUntil(ctx, c.had)
		s.store.drainNow <- struct{}{}
		if s.clock.advance(c.want - 1); c.want > 0 && over() {
			t.Errorf("after %v of copies: stopped before it had %v", c.had, c.want)
		}
		if s.clock.advance(1); !over() {
			t.Errorf("after %v of copies: not stopped after %v", c.had, c.want)
		}
		<-s.store.drainNow
	}
	over := s.store.compactUntil(ctx, time.Hour)
	s.store.drainNow <- struct{}{}
	for s.store.found.Store(int32(quiet)); !s.store.pressed(); {
		s.write(4)
	}
	if !over() {
		t.Error("a compaction goes on while producers wait")
	}
	<-s.store.drainNow
	if cancel(); !over() {
		t.Error("a compaction goes on after the end")
	}
}

// While files are filled faster than they are adopted, compactions have their turns, unless producers wait.
func TestCompactionsHaveTurnsBetweenAdoptions(t *testing.T) {
	s := newShift(t)
	s.store.found.Store(int32(busy))
	for !s.store.adopts() {
		s.write(4)
	}
	s.clock.advance(2 * time.Hour)
	for _, c := range []struct {
		due      bool
		had      time.Duration
		pressed  bool
		drainsOn bool
	}{
		{false, 0, false, true}, {false, time.Hour, false, true}, {true, drainTurn - 1, false, true},
		{true, drainTurn, false, false}, {true, time.Hour, false, false}, {true, time.Hour, true, true},
	} {
		s.store.compactDue.Store(c.due)
		for c.pressed && !s.store.pressed() {
			s.write(4)
		}
		if got := s.store.drainsOn(s.clock.now() - c.had); got != c.drainsOn {
			t.Errorf("a compaction is due: %t, %v after the first file, producers wait: %t: the next file is drained at once: %t", c.due, c.had, c.pressed, got)
		}
	}
	if err := s.driver.Close(); err != nil {
		t.Fatal(err)
	}
}

// An adoption costs no I/O, but the processors: it has them for a short while at once, and for its share of the time, the
// more the more waits.
func TestAdoptionLeavesTheProcessorsToOthers(t *testing.T) {
	const step = 20 * time.Microsecond // for each look at the clock, of which a batch has one at least
	for _, c := range []struct {
		name string
		// burden is how many times the batches wait that may.
		burden float64
		share  float64
	}{
		{"little waits", 0.01, shareLeast},
		{"what may, twice", 0.5, shareLeast},
		{"half as much again", 0.625, shareLeast + (1-shareLeast)/4},
		{"too much", 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s *shift
			s = newShift(t, func(cfg *Config) {
				now := cfg.Now
				cfg.Now = func() time.Duration {
					if s == nil || s.store.drainer.pause == nil {
						return now()
					}
					s.clock.advance(step)
					s.worked, s.once = s.worked+step, s.once+step
					s.most = max(s.most, s.once)
					return now()
				}
			})
			for range 8 << 10 {
				s.append(s.one, spec{value: make([]byte, 1<<10)})
			}
			s.store.digests.burdenMax = int(s.store.digests.burden() * float64(s.store.digests.burdenMax) / c.burden)
			s.store.found.Store(int32(busy))
			if got := s.store.drainer.shareOf(&allowance{}); math.Abs(got-c.share) > c.share/8 {
				t.Errorf("another job, which it waits for, has %.3f of the time, want about %.3f", got, c.share)
			}
			var drained bool
			var err error
			s.takes(func(waltest.Op) time.Duration { return 0 }, func() { drained, err = s.store.drainer.turn(true) })
			if got := s.store.Stats().Drain.Adopted; err != nil || !drained || got == 0 || s.worked < 100*time.Millisecond {
				t.Fatalf("got %v, %v, %d files adopted, %v of work: the test proves nothing", drained, err, got, s.worked)
			}
			share := float64(s.worked) / float64(s.worked+s.paused)
			t.Logf("worked %v, %v at once at most, paused %v: %.3f of the time", s.worked, s.most, s.paused, share)
			if math.Abs(share-c.share) > c.share/8 || c.share < 1 && s.most > 8*debtMin {
				t.Errorf("it had the processor for %v at once, for %.3f of the time, want at most %v and about %.3f", s.most, share, 8*debtMin, c.share)
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
