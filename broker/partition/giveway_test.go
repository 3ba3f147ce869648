package partition

import (
	"errors"
	"testing"
	"time"

	"outrigger/broker/wal/waltest"
)

// While a pack is written anew or a log is compacted, in small shares of the time, files that have filled up are adopted: else
// they would pile up until everything has to hurry.
func TestFilesAreAdoptedWhileOtherJobsTakeTheirTime(t *testing.T) {
	for _, job := range []job{jobs[3], jobs[5]} {
		t.Run(job.name, func(t *testing.T) {
			s := newShift(t)
			job.prepare(s)
			s.store.found.Store(int32(loaded))
			did, adopted := job.did(s.store.Stats()), s.store.Stats().Drain.Adopted
			written, then := false, int64(-1) // what the job had done when files were adopted
			long := func(op waltest.Op) time.Duration { return time.Duration(op.Bytes) * time.Second / shiftBytes }
			s.takes(long, func() {
				passes := s.store.drainer.pause
				s.store.drainer.pause = func(d time.Duration) bool {
					if !written { // Others append meanwhile.
						written = true
						s.write(2)
						s.store.digests.burdenMax = int(s.store.digests.burden() * float64(s.store.digests.burdenMax) / 0.3)
					}
					s.store.found.Store(int32(busy))
					if now := s.store.Stats(); then < 0 && now.Drain.Adopted > adopted {
						then = job.did(now)
					}
					return passes(d)
				}
				job.work(s)
			})
			if !written || job.did(s.store.Stats()) == did {
				t.Fatalf("written %t, %+v: the test proves nothing", written, s.store.Stats())
			}
			if done := job.did(s.store.Stats()); then < 0 || then == done {
				t.Errorf("files were adopted once %d of %d was done", then, done)
			}
			want := s.one.State()
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
			if got := s.one.State(); got.LogEnd != want.LogEnd || got.LogStart != want.LogStart {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// That the catalog could not be written in such an adoption ends the node, also if it is about to end anyhow.
func TestFailureOfAnAdoptionInBetweenIsNotHiddenByTheEnd(t *testing.T) {
	s := newShift(t)
	jobs[3].prepare(s)
	s.store.found.Store(int32(loaded))
	lost, ended, written := errors.New("lost"), false, false
	s.store.drainer.ending = func() bool { return ended }
	var err error
	s.takes(func(op waltest.Op) time.Duration { return time.Duration(op.Bytes) * time.Second / shiftBytes }, func() {
		passes := s.store.drainer.pause
		s.store.drainer.pause = func(d time.Duration) bool {
			if !written {
				written = true
				s.write(2)
				s.store.found.Store(int32(busy))
				s.store.digests.burdenMax = int(s.store.digests.burden() * float64(s.store.digests.burdenMax) / 0.3)
				s.table.Durable = func(func()) error { ended = true; return lost }
				s.store.drainer.pause = nil // So that they are adopted in between two pieces.
			}
			return passes(d)
		}
		_, err = s.driver.Drain()
	})
	if !errors.Is(err, lost) || errors.Is(err, errEnding) || !ended || !written {
		t.Errorf("got %v, ended %t, written %t, want %v", err, ended, written, lost)
	}
}
