package wal_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// scrubbed is a log that runs over an older history, and everything that its scrub has told.
type scrubbed struct {
	*node
	fs    *waltest.FS
	all   []wal.Placed
	found []wal.Damage
}

func startScrubbed(t *testing.T) *scrubbed {
	t.Helper()
	s := &scrubbed{}
	s.fs, s.all = history(t)
	cfg := small(s.fs)
	cfg.Scrub.Found = func(d wal.Damage) { s.found = append(s.found, d) }
	s.node = start(t, cfg)
	for i := range uint64(9) {
		s.putDurable(data(900+i, 5000))
	}
	s.all = append(s.all, s.sink.durables()...)
	return s
}

// pass reads everything once.
func (s *scrubbed) pass(scrubber *wal.Scrubber) {
	s.t.Helper()
	for range 10_000 {
		if err := scrubber.Turn(); errors.Is(err, io.EOF) {
			return
		}
	}
	s.t.Fatal("the pass does not end")
}

func TestScrubOfAWholeLogFindsNothing(t *testing.T) {
	s := startScrubbed(t)
	scrubber := s.Scrubber()
	for range 2 {
		s.pass(scrubber)
		s.putDurable(series(2000, 4, 20)...)
	}
	stats := s.ScrubStats()
	if len(s.found) > 0 || stats.Damage > 0 || stats.Passes != 2 || stats.Bytes < 2*int64(len(s.all))*5000 {
		t.Errorf("got %+v, %+v", stats, s.found)
	}
}

// block is where the blocks of a record's group begin, and how many there are.
func block(p wal.Placed) (at, n int64) {
	at = groupOf(p).Offset
	return at, (p.At.Offset + wal.EncodedLen(p.Record) - at + 4095) &^ 4095
}

// failure mode 35: every kind of damage is found while the log runs, in the file in use too, and named
// with its place. What is told covers the damaged records and no others.
func TestScrubFindsEveryKindOfDamage(t *testing.T) {
	const target, donor = 17, 18
	overwrite := func(fs *waltest.FS, to wal.Placed, content []byte) {
		at, n := block(to)
		fs.Damage(wal.FileName(dir, to.At.File), func(b []byte) []byte {
			copy(b[at:at+n], content)
			return b
		})
	}
	group := func(fs *waltest.FS, of wal.Placed) []byte {
		at, n := block(of)
		return fs.Content(wal.FileName(dir, of.At.File))[at : at+n]
	}
	kinds := []struct {
		name  string
		spoil func(s *scrubbed, hit wal.Placed)
	}{
		{"a flipped bit", func(s *scrubbed, hit wal.Placed) { flip(s.fs, hit.At.File, hit.At.Offset+99) }},
		{"a flipped bit in the group header", func(s *scrubbed, hit wal.Placed) {
			flip(s.fs, hit.At.File, groupOf(hit).Offset+9)
		}},
		{"a zeroed block", func(s *scrubbed, hit wal.Placed) {
			at, _ := block(hit)
			zero(s.fs, hit.At.File, at+4096, 4096)
		}},
		{"zeroed, all of it", func(s *scrubbed, hit wal.Placed) {
			at, n := block(hit)
			zero(s.fs, hit.At.File, at, n)
		}},
		// A write that got lost: the blocks show what an earlier life of the file had there.
		{"a stale group", func(s *scrubbed, hit wal.Placed) {
			old := wal.PutGroup(wal.GroupHeader{Sequence: 3, Generation: hit.At.File + 50, Session: 77},
				[]wal.Record{data(5, 5000)})
			overwrite(s.fs, hit, old)
		}},
		// A write that went to the wrong place: whole, of this file, and not what belongs there.
		{"a misdirected group", func(s *scrubbed, hit wal.Placed) { overwrite(s.fs, hit, group(s.fs, s.all[donor])) }},
		{"a misdirected earlier group", func(s *scrubbed, hit wal.Placed) {
			overwrite(s.fs, hit, group(s.fs, s.all[target-1]))
		}},
		{"a block that the device does not give back", func(s *scrubbed, hit wal.Placed) {
			at, _ := block(hit)
			s.fs.Intercept(func(op waltest.Op) error {
				if op.Verb == waltest.Read && op.Name == wal.FileName(dir, hit.At.File) &&
					op.Offset < at+8192 && op.Offset+op.Bytes > at+4096 {
					return fmt.Errorf("read: %w", syscall.EIO)
				}
				return nil
			})
		}},
	}
	for _, kind := range kinds {
		for _, i := range []int{target, -2} {
			t.Run(fmt.Sprintf("%s, record %d", kind.name, i), func(t *testing.T) {
				s := startScrubbed(t)
				if i < 0 {
					if i += len(s.all); s.all[i].At.File != s.End().File {
						t.Skip("the last records lie in two files")
					}
				}
				hit := s.all[i]
				if kind.name[:4] == "a mi" && s.all[donor].At.File != hit.At.File {
					t.Skip("the groups lie in two files")
				}
				kind.spoil(s, hit)
				scrubber := s.Scrubber()
				s.pass(scrubber)
				s.pass(scrubber)
				if len(s.found) != 1 || s.ScrubStats().Damage != 1 {
					t.Fatalf("found %+v, want one place", s.found)
				}
				d := s.found[0]
				if at, n := block(hit); d.At != groupOf(hit) || d.Bytes != n || d.File != wal.FileName(dir, d.At.File) {
					t.Errorf("found %+v, want %d bytes at byte %d of file %d", d, n, at, hit.At.File)
				}
			})
		}
	}
}

func TestScrubFindsDamageThatIsNoRecords(t *testing.T) {
	s := startScrubbed(t)
	flip(s.fs, 2, 20)
	cut(s.fs, 3, int64(len(s.fs.Content(wal.FileName(dir, 3))))/2)
	s.pass(s.Scrubber())
	if len(s.found) != 2 || s.found[0].At != (wal.Position{File: 2}) || s.found[1].At.File != 3 {
		t.Errorf("found %+v, want the header of file 2 and the rest of file 3", s.found)
	}
	for _, p := range s.all {
		_, err := s.ReadRecord(p.At, wal.EncodedLen(p.Record))
		lost := p.At.File == 3 && p.At.Offset+wal.EncodedLen(p.Record) > int64(len(s.fs.Content(wal.FileName(dir, 3))))
		if lost != errors.Is(err, wal.ErrDamaged) {
			t.Errorf("record at %s: %v", p.At, err)
		}
		end := s.found[1].At.Offset + s.found[1].Bytes
		if lost && (p.At.Offset < s.found[1].At.Offset || p.At.Offset >= end) {
			t.Errorf("the lost record at %s is not among what was found", p.At)
		}
	}
}

// Whatever is spoilt, the scrub finds at least what the next recovery would stumble on.
func TestScrubFindsWhatRecoveryWouldFind(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 8))
		s := startScrubbed(t)
		what := vandalise(s.fs, s.all[:len(s.all)-9], random)
		s.pass(s.Scrubber())
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		n, err := open(t, small(s.fs))
		var damage *wal.Damage
		switch {
		case errors.As(err, &damage) && len(s.found) == 0:
			t.Fatalf("seed %d, %s: recovery finds %v, the scrub found nothing", seed, what, damage)
		case err == nil && len(s.found) > 0:
			t.Fatalf("seed %d, %s: the scrub found %+v, recovery nothing", seed, what, s.found)
		case err == nil:
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// An error that is not the disk's is no damage.
func TestScrubGivesUpAPassOnOtherErrors(t *testing.T) {
	s := startScrubbed(t)
	refused := 0
	s.fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Read || op.Verb == waltest.Open {
			refused++
			return syscall.EMFILE
		}
		return nil
	})
	s.pass(s.Scrubber())
	if len(s.found) > 0 || refused == 0 || s.ScrubStats().Passes != 0 {
		t.Errorf("found %+v after %d errors", s.found, refused)
	}
}

// The goroutine scrubs by itself, beside the writer.
func TestScrubRunsBesideTheWriter(t *testing.T) {
	fs, all := history(t)
	cfg := small(fs)
	found := make(chan wal.Damage, 10)
	cfg.Scrub = wal.Scrub{Interval: time.Millisecond, BytesPerSecond: 1 << 30, Found: func(d wal.Damage) { found <- d }}
	n := start(t, cfg)
	n.putDurable(series(1000, 20, 3000)...)
	hit := all[20]
	flip(fs, hit.At.File, hit.At.Offset+50)
	select {
	case d := <-found:
		if d.At != groupOf(hit) {
			t.Errorf("found %+v, want %s", d, groupOf(hit))
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was found")
	}
	n.putDurable(series(2000, 20, 3000)...)
}

// A group of which something is damaged is told again once more of it is, and not for being read again.
func TestScrubTellsOfLaterDamageInADamagedGroup(t *testing.T) {
	s := &scrubbed{fs: waltest.New()}
	cfg := small(s.fs)
	cfg.Scrub.Found = func(d wal.Damage) { s.found = append(s.found, d) }
	d := drive(t, cfg)
	s.node = d.node
	d.groups(data(3000, 5000))
	d.must(data(3001, 3000), data(3002, 3000), data(3003, 3000))
	d.settle()
	d.groups(data(3004, 5000))
	group := d.sink.durables()[1:4]
	if n := d.sink.groups; n != 3 {
		t.Fatalf("got %d groups, want one of the three records", n)
	}
	scrubber := s.Scrubber()
	for i, hit := range group {
		flip(s.fs, hit.At.File, hit.At.Offset+2000)
		for range 2 {
			s.pass(scrubber)
			if len(s.found) != i+1 || s.ScrubStats().Damage != int64(i+1) || s.found[i].At != groupOf(group[0]) {
				t.Fatalf("with %d of its records damaged: found %+v, want the group %d times", i+1, s.found, i+1)
			}
		}
	}
	end := group[2].At.Offset + wal.EncodedLen(group[2].Record)
	s.fs.Intercept(func(op waltest.Op) error { // A block of the last one is not given back any more.
		if op.Verb == waltest.Read && op.Offset < end && op.Offset+op.Bytes > end-4096 && op.Name == wal.FileName(dir, group[2].At.File) {
			return fmt.Errorf("read: %w", syscall.EIO)
		}
		return nil
	})
	for range 2 {
		s.pass(scrubber)
	}
	if len(s.found) != 4 {
		t.Errorf("with a block that is refused: found %+v, want the group once more", s.found)
	}
}
