package partition

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
)

// A store that ends does not wait for a copy, be it of a file of 4 GiB that is drained or of a pack that is written anew,
// with pauses or without: after a piece it is given up, nothing of it is left, and the next run begins it again.
func TestCopyIsGivenUpWhenTheStoreEnds(t *testing.T) {
	const piece = pieceBytes * time.Second / shiftBytes
	for _, job := range jobs[:len(jobs)-1] { // a compaction stops between two slices anyway
		for _, asked := range []demand{idle, quiet} {
			t.Run(job.name, func(t *testing.T) {
				s := newShift(t)
				job.prepare(s)
				s.store.found.Store(int32(asked))
				before := job.did(s.store.Stats())
				from := time.Duration(0)
				s.store.drainer.ending = func() bool {
					if s.worked < 2*piece {
						from = s.worked
						return false
					}
					return true
				}
				var err error
				s.works(func() {
					for range 4 {
						if _, err = s.store.drainer.turn(false); err != nil {
							break
						}
						s.clock.advance(time.Second)
					}
				})
				if !errors.Is(err, errEnding) {
					t.Fatalf("got %v after %v of work, want %v", err, s.worked, errEnding)
				}
				if s.worked-from > 4*piece {
					t.Errorf("the disk was used for %v after the end, want at most %v", s.worked-from, 4*piece)
				}
				if got := job.did(s.store.Stats()); got != before {
					t.Errorf("got %d done, want %d as before", got, before)
				}
				s.wantKnownPacks()
				s.store.drainer.ending = nil
				s.works(func() { job.work(s) })
				if job.did(s.store.Stats()) == before {
					t.Errorf("what was given up is not done later: %+v", s.store.Stats())
				}
				if err := s.driver.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// wantKnownPacks wants no pack on the disk that nobody knows.
func (s *shift) wantKnownPacks() {
	s.Helper()
	names, err := s.fs.List("wal")
	if err != nil {
		s.Fatal(err)
	}
	for _, name := range names {
		text, is := strings.CutSuffix(name, ".pack")
		if !is {
			continue
		}
		number, err := strconv.ParseUint(text, 10, 64)
		if _, known := s.store.drainer.packs[number]; err != nil || !known {
			s.Errorf("%s is left, and nobody knows it: %v", name, err)
		}
	}
}

// A store whose context ends while it drains a file, with pauses that would take a minute, returns soon and without an
// error, and the next one drains the file.
func TestRunningStoreEndsInTheMidstOfADrain(t *testing.T) {
	p := newPress(t, func(cfg *Config) {
		cfg.WAL.FileBytes, cfg.WAL.GroupBytesMax, cfg.WAL.FilesMax = 4<<20, 256<<10, 64
		cfg.WAL.QueueBytesMax = [2]int64{4 << 20, 4 << 20}
	})
	p.lead()
	for p.store.walLog.End().File < 3 {
		p.append(p.one, spec{value: make([]byte, 64<<10)})
	}
	end := p.one.State().LogEnd
	if err := p.driver.Close(); err != nil {
		t.Fatal(err)
	}
	reopened := func(session topic.Session, fs *waltest.FS) (*Store, *clock) {
		ticks := &clock{}
		s := openReal(t, fs, session, func(c *Config) {
			c.WAL.FileBytes, c.WAL.GroupBytesMax, c.WAL.FilesMax = 4<<20, 256<<10, 64
			c.WAL.QueueBytesMax = [2]int64{4 << 20, 4 << 20}
			c.Catalog, c.TailBytesMax, c.Now = p.table, 1, ticks.now
		})
		return s, ticks
	}
	s, ticks := reopened(2, p.fs)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	written := int64(0)
	p.fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Write && strings.HasSuffix(op.Name, ".pack") {
			written += op.Bytes
			cancel()
		}
		return nil
	})
	result := make(chan error, 1)
	go func() { result <- s.Run(ctx) }()
	for waiting := true; waiting; {
		select {
		case err := <-result:
			if err != nil || !errors.Is(ctx.Err(), context.Canceled) {
				t.Fatalf("run: got %v, %v, want it cancelled and no error", err, ctx.Err())
			}
			waiting = false
		default:
			ticks.advance(time.Second)
			s.Tick()
		}
	}
	p.fs.Intercept(nil)
	if files := s.Stats().Drain.Files; written == 0 || written > 2<<20 || files != 0 {
		t.Errorf("got %d bytes written after the end and %d files drained, want little and none", written, files)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, _ := reopened(3, p.fs.Crash(rand.New(rand.NewPCG(1, 2))))
	driver, err := again.Drive()
	if err != nil {
		t.Fatal(err)
	}
	if drained, err := driver.Drain(); err != nil || !drained {
		t.Errorf("drain after the restart: got %t, %v", drained, err)
	}
	if got := again.Log(p.one.partition).State().LogEnd; got != end {
		t.Errorf("the log ends at %d, want %d", got, end)
	}
	if err := driver.Close(); err != nil {
		t.Fatal(err)
	}
}
