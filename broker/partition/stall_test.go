package partition

import (
	"fmt"
	"testing"
	"time"

	"outrigger/broker/wal/waltest"
)

// probedWithin is how long an append may wait for a job that stands at the disk, on a busy machine.
const probedWithin = 20 * time.Second

// probe appends to all logs and has that acknowledged, while the job stands before an operation of the disk or of the
// catalog: it returns once that is done, or fails the test, since something is held that appends need.
func (s *shift) probe(before string) {
	s.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, l := range []*Log{s.one, s.filler} {
			was := l.State().HighWatermark
			s.append(l, spec{key: []byte("probe"), value: []byte("now")})
			if now := l.State().HighWatermark; now <= was {
				s.Errorf("before %s: the high watermark of %v stays at %d", before, l.partition, now)
			}
		}
	}()
	timer := time.NewTimer(probedWithin)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		panic(fmt.Sprintf("before %s: nothing is acknowledged while the job waits for the disk", before))
	}
}

// However long the disk or the catalog takes for what a job in the background asks of them, records are appended and
// acknowledged meanwhile: before each operation of a job some are.
func TestNothingInTheBackgroundHoldsUpAppends(t *testing.T) {
	all := append(jobs[:len(jobs):len(jobs)], job{"removal", func(s *shift) {
		s.write(8)
		if _, err := s.driver.Adopt(); err != nil {
			s.Fatal(err)
		}
		s.keep(0)
	}, func(s *shift) { s.sort() }, func(s Stats) int64 { return -s.Drain.Packs }})
	for _, job := range all {
		t.Run(job.name, func(t *testing.T) {
			s := newShift(t)
			job.prepare(s)
			s.store.found.Store(int32(quiet))
			before := job.did(s.store.Stats())
			verbs, inside, probes := map[string]int{}, false, 0
			stand := func(at string) {
				if inside {
					return
				}
				inside = true
				if verbs[at]++; verbs[at] <= 8 || verbs[at]%16 == 0 {
					probes++
					s.probe(at)
				}
				inside = false
			}
			s.table.Durable = func(apply func()) error {
				stand("an edit of the catalog")
				apply()
				return nil
			}
			s.fs.Intercept(func(op waltest.Op) error {
				stand(string(op.Verb))
				return nil
			})
			job.work(s)
			s.fs.Intercept(nil)
			s.table.Durable = nil
			t.Logf("%d probes before %v", probes, verbs)
			if job.did(s.store.Stats()) == before || verbs["an edit of the catalog"] == 0 || probes < 4 {
				t.Fatalf("%d probes before %v: the test proves nothing, %+v", probes, verbs, s.store.Stats())
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
