package partition

import (
	"context"
	"math"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
)

// shift is a driven store whose disk takes its time, on a clock of the test, and that lets time pass in between.
type shift struct {
	*press
	clock *clock
	// worked is how long the disk was used, at once since the last pause and at most; paused how long it was not.
	worked, once, most, paused time.Duration
}

// shiftBytes is what the disk moves in a second.
const shiftBytes = 64 << 20

func newShift(t *testing.T) *shift {
	t.Helper()
	clock := &clock{}
	s := &shift{clock: clock, press: newPress(t, func(cfg *Config) {
		cfg.Now, cfg.CompactBackoff = clock.now, time.Second
		cfg.WAL.FileBytes, cfg.WAL.GroupBytesMax, cfg.WAL.FilesMax = 4<<20, 256<<10, 64
		cfg.WAL.QueueBytesMax = [2]int64{4 << 20, 4 << 20}
	})}
	s.rules.DirtyRatio = 0.1
	s.lead()
	return s
}

// write fills so many files, each with batches of 64 KiB of both logs, the newest of four keys.
func (s *shift) write(files int) {
	s.Helper()
	for i := range files * 4 << 20 / (128 << 10) {
		s.append(s.one, spec{key: []byte{byte(i % 4)}, value: make([]byte, 64<<10)})
		s.append(s.filler, spec{value: make([]byte, 64<<10)})
	}
}

// works counts what work does to the disk.
func (s *shift) works(work func()) {
	s.fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Read || op.Verb == waltest.Write {
			took := time.Duration(op.Bytes) * time.Second / shiftBytes
			s.clock.advance(took)
			s.worked, s.once = s.worked+took, s.once+took
			s.most = max(s.most, s.once)
		}
		return nil
	})
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

// jobs are what uses the disk beside those who append.
var jobs = []struct {
	name    string
	prepare func(*shift)
	work    func(*shift)
	did     func(Stats) int64
}{
	{"drain", func(s *shift) { s.write(4) },
		func(s *shift) { s.turn(); s.turn() }, func(s Stats) int64 { return s.Drain.Bytes }},
	{"drain of what nobody needs", func(s *shift) { s.write(4); s.keep(0) },
		func(s *shift) { s.turn(); s.turn() }, func(s Stats) int64 { return s.Drain.Files }},
	{"sorting of what was adopted", func(s *shift) {
		s.write(4)
		if _, err := s.driver.Adopt(); err != nil {
			s.Fatal(err)
		}
	}, func(s *shift) { s.sort() }, func(s Stats) int64 { return s.Drain.Repacked }},
	{"writing packs anew", func(s *shift) { s.write(16); s.drain(); s.keep(12) },
		func(s *shift) { s.sort() }, func(s Stats) int64 { return s.Drain.Repacked }},
	{"compaction", func(s *shift) { s.write(4); s.drain() }, func(s *shift) { s.clean() },
		func(s Stats) int64 { return s.Compaction.Logs }},
}

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
		more, err = s.store.drainer.compactTurn(s.store.demand(), compactSliceBytes, func() bool { return false })
		if err != nil {
			s.Fatal(err)
		}
	}
}

// While anything is appended, whoever copies uses the disk for a short while at once, and for an eighth of the time:
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
			if s.most > 4*piece || math.Abs(share-shareLeast) > 0.02 {
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

// What was urgent is not made up for afterwards, and a clock that stands still keeps nobody for ever.
func TestUrgentCopiesOweNothing(t *testing.T) {
	s := newShift(t)
	d := &s.store.drainer
	var paused time.Duration
	d.pause = func(d time.Duration) bool { paused += d; return true }
	owe := func() { d.repacking = allowance{share: shareLeast, credit: -time.Second, at: s.clock.now()} }
	owe()
	s.store.found.Store(int32(idle))
	if d.breathe(&d.repacking); paused > 0 || d.repacking.credit < 0 {
		t.Errorf("got %v of pauses, a credit of %v, want neither pauses nor debts", paused, d.repacking.credit)
	}
	owe()
	s.store.found.Store(int32(quiet))
	if d.breathe(&d.repacking); paused != 8*time.Second {
		t.Errorf("got %v of pauses for a second of work, want 8s", paused)
	}
	paused = 0
	d.pause = func(d time.Duration) bool { paused += d; return false }
	owe()
	if d.breathe(&d.repacking); paused > stopMax {
		t.Errorf("got %v of pauses after the end, want one of at most %v", paused, stopMax)
	}
}
