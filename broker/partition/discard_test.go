package partition

import (
	"math"
	"testing"
	"time"

	"outrigger/broker/wal/waltest"
)

// removalTakes is how long the disk needs to hear that the blocks of one file are free.
const removalTakes = 20 * time.Millisecond

// shedding is a store with files in which nothing is needed any more, and counts those that go.
type shedding struct {
	*shift
	gone int
}

func givingUp(t *testing.T, files int, adjust ...func(*Config)) *shedding {
	t.Helper()
	r := &shedding{shift: newShift(t, append([]func(*Config){func(cfg *Config) { cfg.WAL.FileBytes = 1 << 20 }}, adjust...)...)}
	r.store.drainer.hoardMost = 0
	r.adopt(files)
	r.keep(0)
	return r
}

// adopt fills files of 1 MiB and adopts them.
func (r *shedding) adopt(files int) {
	r.Helper()
	r.write((files + 3) / 4)
	if adopted, err := r.driver.Adopt(); err != nil || !adopted {
		r.Fatalf("nothing was adopted: %v", err)
	}
}

// during lets removals take their time while work goes on.
func (r *shedding) during(work func()) {
	r.takes(func(op waltest.Op) time.Duration {
		if op.Verb != waltest.Remove {
			return 0
		}
		r.gone++
		return removalTakes
	}, work)
}

// wake is what the drain does when it is woken, beside copies.
func (r *shedding) wake() {
	r.Helper()
	r.store.drainer.removeTurn = removeTurn
	if _, err := r.store.drainer.turn(false); err != nil {
		r.Fatal(err)
	}
}

func (r *shedding) end() {
	r.Helper()
	if err := r.driver.Close(); err != nil {
		r.Fatal(err)
	}
}

// While anything is appended, files that nobody needs are removed one by one, for a share of the time, and no longer than a
// second until something else has its turn: many at once made everybody wait who wrote.
func TestRemovalsLeaveTheDiskToAppends(t *testing.T) {
	for _, asked := range []demand{loaded, busy, quiet} {
		r := givingUp(t, 32)
		r.store.found.Store(int32(asked))
		r.during(func() {
			for wakes := 0; wakes == 0 || r.store.walLog.Waste() > 0; wakes++ {
				if wakes == 1000 {
					t.Fatalf("demand %v: %d bytes are not removed", asked, r.store.walLog.Waste())
				}
				r.store.tickDrain(r.clock.now())
				r.store.found.Store(int32(asked))
				if !r.store.drainDue.Load() {
					t.Fatalf("demand %v: nobody wakes the drain for %d bytes that are to be removed", asked, r.store.walLog.Waste())
				}
				from := r.clock.now()
				if r.wake(); r.clock.now()-from > removeTurn+shareless*removalTakes {
					t.Fatalf("demand %v: %v had to pass until something else had its turn", asked, r.clock.now()-from)
				}
			}
		})
		share := float64(r.worked) / float64(r.worked+r.paused)
		if r.gone < 30 || r.most > removalTakes || math.Abs(share-shareLeast) > shareLeast/6 {
			t.Errorf("demand %v: %d files were removed, for %v at once, for %.3f of the time, want 30 or more, at most %v and about %.3f",
				asked, r.gone, r.most, share, removalTakes, shareLeast)
		}
		r.end()
	}
}

// A busy disk is told of no more files than the WAL may not hold anyhow, until it is not busy any more.
func TestBusyDiskHoardsFilesThatNobodyNeeds(t *testing.T) {
	r := givingUp(t, 32)
	r.store.found.Store(int32(busy))
	wakes := func() {
		for range 100 {
			r.wake()
			r.clock.advance(time.Second)
		}
	}
	const hoard = 20 << 20
	r.during(func() {
		r.store.drainer.hoardMost = hoardMax
		if wakes(); r.gone > 0 {
			t.Errorf("%d files were removed of %d bytes, of which the log may hold %d", r.gone, r.store.walLog.Waste(), r.store.walLog.BytesMax())
		}
		r.store.drainer.hoardMost = hoard
		if wakes(); r.store.walLog.Waste() != hoard {
			t.Errorf("%d bytes wait to be removed, of which %d may", r.store.walLog.Waste(), hoard)
		}
		r.store.found.Store(int32(loaded))
		if wakes(); r.store.walLog.Waste() > 0 {
			t.Errorf("%d bytes are not removed on a disk that is not busy", r.store.walLog.Waste())
		}
	})
	r.end()
}

// Where nobody else wants the disk, or space is scarce, all goes at once.
func TestRemovalsDoNotPauseForNobody(t *testing.T) {
	for _, scarce := range []bool{false, true} {
		low := false
		r := givingUp(t, 32, func(cfg *Config) { cfg.WAL.Space = func() (int64, bool) { return math.MaxInt64, low } })
		if r.store.found.Store(int32(idle)); scarce {
			for r.store.found.Store(int32(busy)); !r.store.adopts(); { // They do not wait for files to drain either.
				r.write(1)
			}
		}
		low = scarce
		r.store.drainer.removing = allowance{share: shareLeast, credit: -debtMax, at: r.clock.now()} // of what was removed before
		r.during(r.wake)
		if r.gone < 30 || r.paused > 0 || r.store.walLog.Waste() > 0 {
			t.Errorf("scarce %t: %d files were removed, %v of pauses, want all without any", scarce, r.gone, r.paused)
		}
		r.end()
	}
}

// Files of the WAL that are to be drained do not wait for removals, which have their share of the time all the same.
func TestDrainDoesNotWaitForRemovals(t *testing.T) {
	r := givingUp(t, 32)
	d := &r.store.drainer
	for r.store.found.Store(int32(busy)); !r.store.adopts(); {
		r.write(1)
	}
	r.during(func() {
		for range 2 {
			if err := d.sweep(); err != nil {
				t.Fatal(err)
			}
		}
		const steps, step = 20, 100 * time.Millisecond
		for range steps {
			if err := d.discard(); err != nil {
				t.Fatal(err)
			}
			r.clock.advance(step)
		}
		if want := int(steps * step / (shareless * removalTakes)); r.paused > 0 || r.gone < want-2 || r.gone > want+2 {
			t.Errorf("got %v of pauses while files wait to be drained, and %d files removed, want none and about %d", r.paused, r.gone, want)
		}
	})
	r.end()
}

// A wake that begins with a copy, for which it needs longer than removals have at once, removes something nevertheless.
func TestRemovalsHaveTheirTurnBesideCopies(t *testing.T) {
	r := givingUp(t, 32)
	d := &r.store.drainer
	if err := d.sweep(); err != nil {
		t.Fatal(err)
	}
	before := r.store.walLog.Waste()
	r.copies()
	r.write(2) // So few wait that a copy has its least share.
	r.takes(func(op waltest.Op) time.Duration {
		switch op.Verb {
		case waltest.Remove:
			return time.Millisecond
		case waltest.Read, waltest.Write:
			return time.Duration(op.Bytes) * time.Second / (20 << 20)
		}
		return 0
	}, func() {
		copies := 0
		for range 5 {
			from := r.clock.now()
			r.store.found.Store(int32(loaded))
			if r.wake(); r.clock.now()-from > removeTurn {
				copies++
			}
		}
		if after := r.store.walLog.Waste(); copies == 0 || before == 0 || after > 0 {
			t.Errorf("beside %d copies that took long %d of %d bytes were not removed", copies, after, before)
		}
	})
	r.end()
}

// What waits to be removed is written again as soon as the WAL wants files.
func TestFilesThatWaitForRemovalAreWrittenAgain(t *testing.T) {
	r := givingUp(t, 32, func(cfg *Config) { cfg.WAL.SparesMax = 2 })
	r.store.found.Store(int32(busy))
	r.during(func() {
		d := &r.store.drainer
		d.removeTurn = 0 // It is always the turn of something else.
		turn := func() int64 {
			if _, err := d.turn(true); err != nil {
				t.Fatal(err)
			}
			_, spares := r.store.walLog.ChainBytes()
			return (r.store.walLog.Waste() + spares) >> 20
		}
		before := turn()
		const written = 12
		for range written / 4 {
			r.write(1)
			turn()
			turn()
		}
		if after := turn(); before < 30 || r.gone > 0 || before-after < written/4 {
			t.Errorf("%d files were there to be written again, %d after %d were written, %d removed", before, after, written, r.gone)
		}
	})
	r.end()
}
