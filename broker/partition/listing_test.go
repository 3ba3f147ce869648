package partition

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// However it is asked, a listing tells of a part of an index what a slice of its extents would.
func TestListingIsWhatASliceWouldBe(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 11))
		x := &index{spill: memorySpill(random.IntN(3)), hasty: true, extents: 1 + random.IntN(8)}
		var want []extent
		at := wal.Position{File: wal.PackBit | 1, Offset: 4096}
		for range 1 + random.IntN(60) {
			e := extent{count: 1 + random.Int32N(9), newest: random.Int64N(1 << 41), bytes: 100 + random.Int32N(900), at: at}
			if n := len(want); n > 0 {
				e.base = want[n-1].end()
			}
			e.latest, e.encoded = e.newest, int32(wal.EncodedBytes(int(e.bytes)))
			if at.Offset += int64(e.encoded); random.IntN(9) == 0 {
				at = wal.Position{File: at.File + 1, Offset: 4096}
			}
			x.push(e)
			want = append(want, e)
		}
		withMaxima(want)
		some := newListing(x)
		for range 4 {
			i := random.IntN(len(want))
			j := i + 1 + random.IntN(len(want)-i)
			some, want = some.part(i, j), want[i:j]
			var packs tally
			bytes := int64(0)
			for k, e := range want {
				packs.add(e.at, int64(e.encoded))
				bytes += int64(e.bytes)
				if got := some.at(k); got.base != e.base || got.at != e.at {
					t.Fatalf("seed %d: extent %d is %v, want %v", seed, k, got, e)
				}
				if next := some.next(k); len(next) == 0 || next[0].base != e.base || k+len(next) > len(want) {
					t.Fatalf("seed %d: %d extents come from %d on, of %d", seed, len(next), k, len(want))
				}
				for _, offset := range []topic.Offset{e.base, e.end() - 1, e.end()} {
					n := slices.IndexFunc(want, func(e extent) bool { return e.end() > offset })
					if n < 0 {
						n = len(want)
					}
					if got := some.before(offset); got != n {
						t.Fatalf("seed %d: %d extents end up to %d, want %d", seed, got, offset, n)
					}
				}
			}
			listed := all(some)
			same := func(a, b extent) bool { return a.base == b.base && a.at == b.at && a.newest == b.newest }
			if !slices.EqualFunc(listed, want, same) || some.len() != len(want) {
				t.Fatalf("seed %d: %d extents are listed, want %d", seed, len(listed), len(want))
			}
			if !slices.Equal(some.packs(), packs) || some.bytes() != bytes || some.first() != want[0].base ||
				some.end() != want[len(want)-1].end() {
				t.Fatalf("seed %d: %v and %d bytes from %d to %d, want %v and %d", seed, some.packs(), some.bytes(), some.first(),
					some.end(), packs, bytes)
			}
		}
	}
}

// A compaction of a million batches takes no more of the heap than their chunks do.
func TestCompactionListsBatchesOffTheHeap(t *testing.T) {
	const batches, mostPerBatch = 1 << 20, 2
	spill, err := OpenSpill(t.TempDir(), slog.New(slog.DiscardHandler))
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, _ := vast(t, batches)
	l.store.cfg.Spill = spill
	heap := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := heap()
	c := &cleaning{log: l, rules: Compaction{LagMax: maxAge}}
	begun(t, c.begin(uint64(batches/20_000+2)*wal.PackStep, 1, goOn))
	for i, e := range c.was.all() {
		if i%2 == 0 {
			e.latest = e.newest
			c.out.push(e)
		}
	}
	if got := heap() - before; got > mostPerBatch*batches {
		t.Errorf("%d bytes of the heap are taken for %d batches, want %d at most", got, c.was.len(), mostPerBatch*batches)
	}
	if c.was.len() != batches {
		t.Errorf("%d batches are listed, want %d", c.was.len(), batches)
	}
	c.free()
	if used, _ := spill.Bytes(); used != 0 {
		t.Errorf("%d bytes of the spill are nobody's", used)
	}
	runtime.KeepAlive(l)
}

// A log that is cut while it is listed is listed anew; one that is cut each time is not compacted now.
func TestLogThatIsCutMeanwhileIsListedAnew(t *testing.T) {
	for _, cuts := range []int{0, 1, listsMax - 1, listsMax} {
		l, c := vast(t, 4*chunkLength)
		c.free()
		left := cuts
		l.store.cfg.Spill = newSpill(slog.New(slog.DiscardHandler), func(int) ([]byte, error) { // asked for as a chunk is noted
			l.mu.Lock()
			defer l.mu.Unlock()
			if left--; left >= 0 {
				l.cutLocked(l.mu.end-20, nil)
				l.mu.cuts.add(l.mu.end)
			}
			return nil, syscall.ENOSPC
		})
		again := &cleaning{log: l, rules: c.rules}
		begun(t, again.begin(1<<40, 1, goOn))
		var want []extent
		if cuts < listsMax {
			want = extents(l)
		}
		if got := all(again.was); !slices.Equal(got, want) || l.mu.index.len() != 4*chunkLength-cuts {
			t.Errorf("%d cuts: %d batches are listed, want %d; the log has %d", cuts, len(got), len(want), l.mu.index.len())
		}
	}
}

// A compaction that is stopped, in the midst of a portion, keeps nothing of what it has noted.
func TestCompactionThatIsStoppedKeepsNothingInTheSpill(t *testing.T) {
	s, _ := newPortioned(t, 1<<40)
	to := memorySpill(1)
	s.store.cfg.Spill, s.store.cfg.ChunkBatches, s.one.mu.index.spill = to, 8, to
	within := func() bool {
		c := s.store.drainer.compaction
		return c != nil && c.now != nil && c.now.first > 0 && c.now.next > c.now.first
	}
	for !within() {
		if more, err := s.driver.Compact(16 << 10); err != nil || !more {
			t.Fatalf("got more %t, %v before the second portion", more, err)
		}
	}
	before, _ := to.Bytes()
	if err := s.store.drainer.stop(); err != nil {
		t.Fatal(err)
	}
	used, _ := to.Bytes()
	if used == before {
		t.Fatalf("%d bytes are in use with the compaction and without", used)
	}
	for _, c := range s.one.mu.index.chunks {
		if c.spilled {
			used -= int64(cap(c.frozen))
		}
	}
	if used != 0 {
		t.Errorf("%d bytes of the spill are nobody's", used)
	}
}

// A log of many small batches is divided by their number: once there are enough, and where a pack ends if there is no room for
// all of one that is divided. (The first pack is not: no number lies before it.)
func TestPortionHasSoManyBatchesAtMost(t *testing.T) {
	const inPack, most = 20_000, 15_000
	l, c := vast(t, 3*inPack)
	l.store.cfg.portionBytes, l.store.cfg.portionBatches = 1<<40, most
	d := &compaction{drainer: &drainer{store: l.store, packs: map[uint64]wal.Pack{}, spent: map[uint64]bool{}}, number: c.number()}
	for room, want := range map[int64][]int{1 << 50: {inPack, inPack + most, inPack + 2*most, 3 * inPack}, 1: {inPack, 2 * inPack, 3 * inPack}} {
		d.room = room
		var got []int
		for _, p := range divided(t, d, c.was) {
			got = append(got, p.until)
		}
		if !slices.Equal(got, want) {
			t.Errorf("with room for %d bytes the portions end at batches %v, want %v", room, got, want)
		}
	}
}

// goOn is what is done between pieces of work where nothing else is.
func goOn() error { return nil }

func begun(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func divided(t testing.TB, c *compaction, was listing) []portion {
	t.Helper()
	portions, err := c.divide(was, goOn)
	begun(t, err)
	return portions
}

// To note what a long log has, and to divide it, lets others go on in between, and ends if the store does: nothing is kept of it then.
func TestToListALongLogGivesWay(t *testing.T) {
	const chunks = 40
	l, c := vast(t, chunks*chunkLength)
	before, _ := l.store.cfg.Spill.Bytes()
	times := 0
	between := func() error {
		times++
		return nil
	}
	again := &cleaning{log: l, rules: c.rules}
	begun(t, again.begin(c.number(), 1, between))
	if times < chunks {
		t.Errorf("others could go on %d times while %d chunks were listed", times, chunks)
	}
	d := &compaction{drainer: &drainer{store: l.store, packs: map[uint64]wal.Pack{}, spent: map[uint64]bool{}}, number: c.number()}
	times = 0
	if _, err := d.divide(again.was, between); err != nil || times < chunks {
		t.Errorf("others could go on %d times while %d chunks were divided, %v", times, chunks, err)
	}
	again.free()
	times = 0
	ends := func() error {
		if times++; times == chunks/2 {
			return errEnding
		}
		return nil
	}
	if err := again.begin(c.number(), 1, ends); !errors.Is(err, errEnding) {
		t.Errorf("got %v, want %v", err, errEnding)
	}
	again.free()
	if after, _ := l.store.cfg.Spill.Bytes(); after != before {
		t.Errorf("%d bytes are spilled after all was given up, %d before", after, before)
	}
}

// A store that ends while a log is listed gives the compaction up, and that is no failure.
func TestEndWhileALogIsListedIsNoFailure(t *testing.T) {
	p := newPress(t, func(c *Config) { c.ChunkBatches = 2 })
	p.lead()
	for range 3 {
		p.append(p.one, at(1), at(1), at(3), at(9), at(1), at(3))
		p.drain()
	}
	listed := false
	p.store.drainer.ending = func() bool { listed = true; return true }
	more, err := p.driver.Compact(1)
	if more || err != nil || !listed || p.store.drainer.compaction != nil {
		t.Fatalf("more %t, %v, listed %t, compaction %v", more, err, listed, p.store.drainer.compaction)
	}
	p.store.drainer.ending = nil
	p.compact()
	if got := p.store.Stats().Compaction.Logs; got == 0 {
		t.Error("the log was not compacted later")
	}
}
