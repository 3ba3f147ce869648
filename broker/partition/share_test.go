package partition

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

func TestShareGrowsWithWhatCouldGo(t *testing.T) {
	for _, c := range []struct {
		asked        demand
		freed, stays int64
		want         float64
	}{
		{asked: idle, want: 1},
		{asked: quiet, want: shareLeast},
		{want: shareLeast},
		{freed: 40, stays: 0, want: shareLeast}, // what is slack does not count
		{freed: 140, stays: 100, want: shareLeast},
		{freed: 240, stays: 100, want: (1 + shareLeast) / 2},
		{freed: 340, stays: 100, want: 1},
		{freed: 1 << 40, stays: 100, want: 1},
		{freed: 1 << 40, stays: 0, want: 1},
	} {
		if got := shareOf(c.asked, crowding(c.freed, c.stays, 40), shareLeast); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("demand %v, %d of %d could go: got a share of %v, want %v", c.asked, c.freed, c.freed+c.stays, got, c.want)
		}
	}
}

// Beside others a job has little of a machine with few processors.
func TestFewProcessorsAreLeftToTheLoad(t *testing.T) {
	store := newShift(t).store
	store.cfg.MayAdopt = func() bool { return false }
	for _, c := range []struct {
		asked      demand
		processors int
		spares     bool
		want       float64
	}{
		{busy, 2, false, 1.0 / 64}, {loaded, 2, false, 1.0 / 64}, {busy, 1, false, 1.0 / 128}, {busy, 8, false, shareLeast},
		{loaded, 64, false, shareLeast}, {quiet, 2, false, 1.0 / 64}, {busy, 2, true, shareLeast}, {idle, 2, false, 1},
	} {
		store.cfg.Processors = c.processors
		store.found.Store(int32(c.asked))
		if got := store.drainer.shareOf(&allowance{spares: c.spares}); got != c.want {
			t.Errorf("demand %v, %d processors, spared %v: got a share of %v, want %v", c.asked, c.processors, c.spares, got, c.want)
		}
	}
}

// Where others want the disk a job reads little at once, unless they wait for it.
func TestPiecesAreSmallWhileOthersWantTheDisk(t *testing.T) {
	s := newShift(t) // 64 files of 4 MiB
	s.copies()
	for _, c := range []struct {
		files int // since the one before
		share float64
		want  int64
	}{{1, 1, pieceBytes}, {0, shareLeast, pieceLeast}, {0, 0.9, pieceLeast}, {32, shareLeast, pieceBytes}} {
		s.write(c.files)
		if got := s.store.drainer.piece(&allowance{share: c.share}); got != c.want {
			t.Errorf("%d more files, %.3f of the time: got %d bytes at once, want %d", c.files, c.share, got, c.want)
		}
	}
}

// A copy that a compacted log is owed is not left until later.
func TestOwedCopyHasMoreOfTheTime(t *testing.T) {
	for _, owed := range []bool{false, true} {
		s := newShift(t, func(cfg *Config) { cfg.Processors = 1 })
		s.copies()
		s.write(4)
		s.store.found.Store(int32(quiet))
		want := 1.0 / 128
		if owed {
			s.store.owed.Store(math.MaxInt64)
			want = shareLeast
		}
		s.works(func() { s.turn() })
		share := float64(s.worked) / float64(s.worked+s.paused)
		if got := s.store.Stats().Drain; got.Files != 1 || got.Adopted > 0 || math.Abs(share-want) > want/4 {
			t.Errorf("owed %t: got %.4f of the time, %+v, want a file copied in %.4f", owed, share, got, want)
		}
	}
}

// Looks at packs, as there is one each second under retention, take longer than their job's share: packs are written anew
// nevertheless.
func TestLooksDoNotUseUpTheTimeOfRewrites(t *testing.T) {
	s := newShift(t, func(cfg *Config) { cfg.Processors = 1 })
	s.write(2)
	s.copies()
	if adopted, err := s.driver.Adopt(); err != nil || !adopted {
		t.Fatalf("nothing was adopted: %v", err)
	}
	d := &s.store.drainer
	d.repacking = allowance{share: 1.0 / 128, credit: -20 * time.Millisecond, at: s.clock.now()}
	for range 10 {
		s.clock.advance(time.Second)
		s.store.found.Store(int32(quiet))
		from := s.clock.now()
		used, _ := s.store.packsInUse()
		s.clock.advance(100 * time.Millisecond)
		if err := d.repack(used, from); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.store.Stats().Drain; got.Repacked == 0 {
		t.Errorf("got %+v after ten looks, want a pack written anew", got)
	}
	if err := s.driver.Close(); err != nil {
		t.Fatal(err)
	}
}

// Where more is appended than a copy should stand beside, and less than makes adoption worth it, full files wait for a
// while. Then they are copied, in more of the time the more wait: all of it would only be needed at half of the bound.
func TestCopiesBeginBeforeTheLogIsHalfFull(t *testing.T) {
	s := newShift(t) // 64 files of 4 MiB
	s.copies()
	s.store.found.Store(int32(loaded))
	for _, c := range []struct {
		files  int // since the one before
		drains bool
		share  float64
	}{{7, false, shareLeast}, {3, true, shareLeast}, {14, true, (1 + shareLeast) / 2}, {8, true, 1}} {
		s.write(c.files)
		share := s.store.drainer.shareOf(&allowance{})
		if got := s.store.drains(); got != c.drains || math.Abs(share-c.share) > 0.1 {
			sealed, _ := s.store.walLog.Sealed()
			t.Errorf("%d bytes wait: got drains %t, %.3f of the time, want %t, %.3f", sealed.Waiting, got, share, c.drains, c.share)
		}
	}
	s.works(func() {
		if _, err := s.store.drainer.turn(s.store.adopts()); err != nil {
			t.Fatal(err)
		}
	})
	if got := s.store.Stats().Drain; got.Files != 1 || got.Adopted > 0 {
		t.Errorf("got %+v, want a file copied", got)
	}
	if err := s.driver.Close(); err != nil {
		t.Fatal(err)
	}
}

// Whatever a piece of work takes, a job that always has work gets its share of the time, and one that had none does
// not save it up.
func TestJobGetsItsShareOfTheTime(t *testing.T) {
	for _, share := range []float64{shareLeast, 1.0 / 2, 1} {
		for _, piece := range []time.Duration{time.Millisecond, 60 * time.Millisecond, 3 * time.Second} {
			var a allowance
			var now, spent time.Duration
			const all = 1000 * time.Second
			for tick := time.Duration(0); now < all; now = max(now, tick) {
				tick += time.Second
				for a.pass(now, share); a.may() && now < tick; a.pass(now, share) {
					now += piece
					spent += piece
					a.spend(now)
				}
				if early := a.due() - time.Millisecond; !a.may() && early > now {
					later := a
					if later.pass(early, share); later.may() {
						t.Fatalf("share %v, pieces of %v: the job may go on before it is due", share, piece)
					}
				}
			}
			if got := float64(spent) / float64(now); math.Abs(got-share) > 0.01 {
				t.Errorf("pieces of %v: got %.3f of the time, want %.3f", piece, got, share)
			}
			if a.pass(now+time.Hour, share); a.credit > creditMax {
				t.Errorf("an idle hour saved up %v, want at most %v", a.credit, creditMax)
			}
		}
	}
}

// slowly is a reader that takes its time, on a clock of the test.
type slowly struct {
	reader
	clock *clock
	taken time.Duration
}

// slowBytes is what it reads in a second.
const slowBytes = 2 << 20

func (s *slowly) take(bytes int64) {
	took := time.Duration(bytes) * time.Second / slowBytes
	s.taken += took
	s.clock.advance(took)
}

func (s *slowly) ReadRecord(at wal.Position, encodedLen int64) (wal.Record, error) {
	s.take(encodedLen)
	return s.reader.ReadRecord(at, encodedLen)
}

func (s *slowly) Scan(from wal.Position, bytesMax int) ([]wal.Placed, wal.Position, error) {
	records, next, err := s.reader.Scan(from, bytesMax)
	for _, r := range records {
		s.take(wal.EncodedLen(r.Record))
	}
	return records, next, err
}

// A compacted log that takes in more than its least share of the time can compact, on a disk that is never quiet, stays
// within a bound; one that takes in little costs little.
func TestCompactionKeepsUpWithLastingLoad(t *testing.T) {
	for _, c := range []struct {
		name    string
		batches int // of 32 KiB, a second
		share   [2]float64
	}{{"little", 1, [2]float64{0, shareLeast + 0.01}}, {"much", 16, [2]float64{0.4, 0.75}}} {
		t.Run(c.name, func(t *testing.T) {
			clock := &clock{}
			p := newPress(t, func(cfg *Config) {
				cfg.Now, cfg.CompactBackoff, cfg.Processors, cfg.WAL.FileBytes = clock.now, time.Second, 8, 256<<10
			})
			slow := &slowly{reader: p.store.reader, clock: clock}
			p.store.reader = slow
			p.rules.DirtyRatio = 0.5
			p.lead()
			var took time.Duration
			var most int64
			const seconds = 100
			for second := time.Duration(1); second <= seconds; second++ {
				for i := range c.batches {
					p.append(p.one, spec{key: []byte{byte(i % 4)}, value: make([]byte, 32<<10)})
				}
				p.drain()
				tick, before := second*time.Second, slow.taken
				if _, err := p.store.drainer.compactTurn(func() bool { return clock.now() >= tick }); err != nil {
					t.Fatal(err)
				}
				took += slow.taken - before
				clock.advance(max(0, tick-clock.now()))
				most = max(most, p.one.State().Size)
			}
			bound := 4*int64(4*32<<10) + (shareSlackFiles+4)*p.store.walLog.FileBytes()
			t.Logf("got %.3f of the time, %d bytes at most of %d", float64(took)/float64(clock.now()), most, bound)
			if share := float64(took) / float64(clock.now()); share < c.share[0] || share > c.share[1] {
				t.Errorf("compaction took %.3f of the time, want %v", share, c.share)
			}
			if most > bound {
				t.Errorf("the log grew to %d bytes, want at most %d; %+v", most, bound, p.store.Stats().Compaction)
			}
		})
	}
}

// compacting is a store in the midst of a compaction, and the value of each of its records.
func compacting(t *testing.T) (p *press, value []byte) {
	t.Helper()
	p = newPress(t)
	p.lead()
	value = make([]byte, 4<<10)
	for i := range 6 {
		p.append(p.one, spec{key: []byte{byte(i % 2)}, value: value})
		p.append(p.filler, spec{value: value})
	}
	p.drain()
	for range 30 {
		p.append(p.filler, spec{value: value})
	}
	p.drain()
	if _, err := p.driver.Compact(1); err != nil || p.store.drainer.compaction == nil {
		t.Fatalf("got no compaction that is under way, %v", err)
	}
	return p, value
}

// While a compaction is under way, packs in which none of its batches lies are written anew; the others stay where it
// knows them.
func TestPacksAreWrittenAnewBesideACompaction(t *testing.T) {
	p, value := compacting(t)
	reads := maps.Clone(p.store.drainer.compaction.reads)
	if _, _, err := p.filler.DeleteRecords(context.Background(), 26); err != nil {
		t.Fatal(err)
	}
	settle(t, p.driver)
	for range 4 {
		if _, err := p.driver.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.store.Stats().Drain.Repacked; got == 0 {
		t.Errorf("no pack was written anew beside a compaction of those in %v", reads)
	}
	for number := range reads {
		if _, there := p.store.drainer.packs[number]; !there {
			t.Errorf("pack %d is gone, and a compaction reads it", number)
		}
	}
	p.work()
	if got := p.store.Stats().Compaction; got.Logs != 1 || got.SavedBytes < 4*int64(len(value)) {
		t.Errorf("got %+v, want the log compacted", got)
	}
	if err := p.driver.Close(); err != nil {
		t.Fatal(err)
	}
}

// A look at the packs costs what there is of packs, however many batches lie in them.
func BenchmarkLookAtPacks(b *testing.B) {
	for _, batches := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint("batches=", batches), func(b *testing.B) {
			s := newStore(Config{Now: (&clock{}).now, Logger: slog.New(slog.DiscardHandler)}.withDefaults())
			l := s.Create(p0)
			for i := range batches {
				l.mu.index.push(extent{base: topic.Offset(i), count: 1, bytes: 100, encoded: int32(wal.EncodedBytes(100)),
					at: wal.Position{File: wal.PackBit | uint64(1+i*20/batches), Offset: int64(4096 + i)}})
			}
			for b.Loop() {
				if used, settled := s.packsInUse(); len(used) != 20 || !settled {
					b.Fatalf("got %d packs, settled %v", len(used), settled)
				}
			}
		})
	}
}

// What a compaction has read is told while it is under way: it may go on for minutes.
func TestCompactionTellsWhatItHasReadBeforeItEnds(t *testing.T) {
	p, value := compacting(t)
	under := p.store.Stats().Compaction
	if under.ReadBytes < int64(len(value)) || under.Logs != 0 {
		t.Errorf("under way: got %+v, want a batch read and no log done", under)
	}
	p.work()
	if got, least := p.store.Stats().Compaction, int64(2*6*len(value)); got.Logs != 1 || got.ReadBytes < least || got.ReadBytes > 2*least {
		t.Errorf("at the end: got %+v, want each batch read twice, %d bytes of values", got, least)
	}
	if err := p.driver.Close(); err != nil {
		t.Fatal(err)
	}
}

// What piles up behind a damaged file is not drained before the next start: no job hurries for that.
func TestNobodyHurriesForWhatCannotBeDrained(t *testing.T) {
	s := newShift(t)
	s.write(24)
	s.store.found.Store(int32(loaded))
	d := &s.store.drainer
	d.grant(&d.compacting, s.clock.now(), 0)
	if piles, share := s.store.piles(), d.compacting.share; piles <= crowdedLeast || share <= leastOf(d.store.cfg.Processors) {
		t.Fatalf("got %v piled up and a share of %v", piles, share)
	}
	d.stay()
	d.grant(&d.compacting, s.clock.now(), 0)
	if piles, share := s.store.piles(), d.compacting.share; piles != 0 || share != leastOf(d.store.cfg.Processors) {
		t.Errorf("behind a damaged file: got %v piled up and a share of %v", piles, share)
	}
	if err := s.driver.Close(); err != nil {
		t.Fatal(err)
	}
}
