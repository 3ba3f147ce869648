package partition

import (
	"errors"
	"maps"

	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// sized are packs of which so many bytes are needed: none of those that are zero may be merged.
func sized(bytes ...int64) (packs []neighbour) {
	for i, n := range bytes {
		packs = append(packs, neighbour{number: uint64(i), needed: n, stays: n == 0, leads: true})
	}
	return packs
}

func TestNeighboursAreMergedOnceTheyComeToFourTimesTheLargest(t *testing.T) {
	for _, test := range []struct {
		packs       []int64
		from, until int
	}{
		{nil, 0, 0},
		{[]int64{1}, 0, 0},
		{[]int64{1, 1, 1}, 0, 0},
		{[]int64{1, 1, 1, 1}, 0, 4},
		{[]int64{9, 1, 1, 1, 1, 60}, 1, 5},
		{[]int64{4, 4, 4, 1, 1, 1, 1}, 0, 7},
		{[]int64{4, 4, 4, 1, 1}, 0, 0},
		{[]int64{30, 30, 30, 30}, 0, 0},
		{[]int64{1, 1, 0, 1, 1}, 0, 0},
		{[]int64{1, 1, 1, 1, 2, 2, 2, 2, 2}, 0, 9},
		{[]int64{1, 1, 1, 1, 97}, 0, 4},
	} {
		if from, until := mergeable(sized(test.packs...), 100); from != test.from || until != test.until {
			t.Errorf("%v: got %d to %d, want %d to %d", test.packs, from, until, test.from, test.until)
		}
	}
}

func TestNothingIsMergedAcrossWhatACompactionWrites(t *testing.T) {
	packs := sized(1, 1, 1, 1, 1, 1)
	packs[3].apart = true
	if from, until := mergeable(packs, 100); until != 0 {
		t.Errorf("got %d to %d, want nothing", from, until)
	}
	packs = sized(1, 1, 1, 1, 1)
	packs[4].leads = false
	if from, until := mergeable(packs, 100); from != 0 || until != 4 {
		t.Errorf("got %d to %d, want those before the one that has no successor", from, until)
	}
}

// mergeAll merges packs as long as there are some to merge, and tells how many bytes were copied for that, and how often.
func mergeAll(packs []neighbour, most int64) (left []neighbour, copied int64, merges int) {
	for {
		from, until := mergeable(packs, most)
		if until == 0 {
			return packs, copied, merges
		}
		sum := int64(0)
		for _, p := range packs[from:until] {
			sum += p.needed
		}
		copied += sum
		merges++
		packs[until-1].needed = sum
		packs = slices.Delete(packs, from, until-1)
	}
}

// Whatever the order of sizes: what is left is two packs for each that is full, and a few. And a byte is not copied often.
func TestMergesLeaveFewPacks(t *testing.T) {
	const most = 1 << 20
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		var packs []neighbour
		var all, copied int64
		for range 3000 {
			n := 64 + random.Int64N(4<<10)
			switch {
			case seed%3 == 1: // as a ruler has its lines: nothing comes to four times the largest
				n = 1
				for k := random.Uint64(); k&1 == 1 && n < most/2; k >>= 1 {
					n *= 5
				}
			case seed%3 == 2 && random.IntN(50) == 0:
				n = random.Int64N(4 * most)
			}
			all += n
			packs = append(packs, neighbour{number: uint64(len(packs)), needed: n, leads: true})
			left, bytes, _ := mergeAll(packs, most)
			packs, copied = left, copied+bytes
			if bound := 2*int(all/most) + 2 + 2*mergeSlack; len(packs) > bound {
				t.Fatalf("seed %d: got %d packs of %d bytes, want at most %d", seed, len(packs), all, bound)
			}
		}
		if times := float64(copied) / float64(all); times > 8 {
			t.Errorf("seed %d: each byte was copied %.1f times", seed, times)
		}
	}
}

// rolling appends a record to a compacted log and one to another each second, and has what is owed drained.
func rolling(t *testing.T, d time.Duration) *wait {
	t.Helper()
	w := newWait(t, Compaction{LagMax: time.Millisecond})
	for range d / time.Second {
		w.put(1, 1)
		w.append(w.filler, spec{value: []byte{w.value}, timestamp: w.clock.now().Milliseconds()})
		w.pass(time.Second)
		if w.store.sorts() {
			if _, err := w.store.drainer.turn(false); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

// An hour in which a topic wants to be compacted at once makes hundreds of packs of another's few records. A few are left.
func TestHourOfRollsLeavesFewPacks(t *testing.T) {
	w := rolling(t, time.Hour)
	stats := w.store.Stats().Drain
	needed := w.one.State().Size + w.filler.State().Size
	bound := 2*needed/(w.store.walLog.FileBytes()/mergeShare) + 2 + mergeSlack
	t.Logf("%d files rolled, %d packs for %d bytes, %d merged, want at most %d packs", stats.Rolled, stats.Packs, needed, stats.Merged, bound)
	if stats.Rolled < 300 || stats.Packs > bound || stats.Merged < 300 {
		t.Errorf("got %+v, want at most %d packs", stats, bound)
	}
	if got := w.filler.State(); got.LogEnd != 3600 || got.LogStart != 0 {
		t.Errorf("got %+v, want 3600 records", got)
	}
	w.want("in the end", 3599)
	for from := topic.Offset(0); from < 3600; {
		got, err := w.filler.Read(from, 1<<20, true)
		if err != nil || len(got.Batches) == 0 {
			t.Fatalf("read at %d: got %d batches, %v", from, len(got.Batches), err)
		}
		from += topic.Offset(len(got.Batches))
	}
}

// smallLogs is how many logs openSmall writes to, smallPacks how many packs it makes.
const smallLogs, smallPacks = 2, 10

// openSmall is a store with packs of which little is needed each, one after the other.
func openSmall(t *testing.T, fs *waltest.FS, table *catalogtest.Catalog) (*hand, error) {
	t.Helper()
	h, err := openDraining(t, fs, 1, table, func(cfg *Config) { cfg.TailBytesMax = 1 })
	if err != nil {
		return h, err
	}
	h.asked(quiet) // and no share of the time: nothing is merged before the test says so
	h.store.drainer.repacking = allowance{credit: -time.Hour}
	for range smallPacks {
		for _, l := range h.logs[:smallLogs] {
			h.append(l)
			if h.store.mu.failed != nil {
				return h, h.store.mu.failed
			}
		}
		settleOr(h)
		h.store.walLog.Seal(h.store.walLog.End().File)
	}
	h.append(h.logs[0])
	settleOr(h)
	for {
		drained, err := h.driver.Drain()
		if err != nil || !drained {
			return h, err
		}
	}
}

// settleOr makes durable what is queued, unless that fails.
func settleOr(h *hand) {
	for range 3 {
		h.settle()
	}
}

// merge gives packs the time to be merged.
func (h *hand) merge() error {
	h.store.drainer.repacking = allowance{}
	h.store.unsorted.Store(true)
	h.clock.advance(time.Minute)
	h.asked(idle)
	_, err := h.driver.Drain()
	return err
}

func TestMergeTakesThePlaceOfItsPacks(t *testing.T) {
	fs, table := waltest.New(), &catalogtest.Catalog{}
	h, err := openSmall(t, fs, table)
	if err != nil {
		t.Fatal(err)
	}
	before, want := slices.Sorted(maps.Keys(h.store.drainer.packs)), h.digest()
	if err := h.merge(); err != nil {
		t.Fatal(err)
	}
	stats := h.store.Stats().Drain
	if len(before) != smallPacks || stats.Packs != 1 || stats.Merged != smallPacks || h.digest() != want {
		t.Fatalf("got %+v of the packs %v, want one with the same batches", stats, before)
	}
	h.wantTallied()
	for number := range h.store.drainer.packs {
		if number != before[smallPacks-1]+1 {
			t.Errorf("got pack %d, want the one behind %d", number, before[smallPacks-1])
		}
	}
	if runs := runsOf(t, table); runs != smallLogs {
		t.Errorf("got %d runs of %d logs, want one each", runs, smallLogs)
	}
	h.close()
	again, err := openDraining(t, fs, 2, table)
	if err != nil {
		t.Fatal(err)
	}
	if again.digest() != want {
		t.Error("a start finds other batches")
	}
}

func runsOf(t *testing.T, table *catalogtest.Catalog) (runs int) {
	t.Helper()
	err := table.Range([]byte{keyRun}, []byte{keyRun + 1}, func(_, _ []byte) error {
		runs++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// A merge is cut short at each change of the disk, and of the catalog, in turn: by a loss of power, by an error of the
// disk, and by a disk that has no more space. No batch is lost, and no pack left that nobody knows.
func TestMergeThatIsCutShortLosesNothing(t *testing.T) {
	for _, how := range []string{"power", "error", "space"} {
		t.Run(how, func(t *testing.T) {
			cut := 0
			for at := 1; ; at++ {
				fs := waltest.New()
				table := dyingCatalog(fs)
				h, err := openSmall(t, fs, table)
				if err != nil {
					t.Fatal(err)
				}
				want := h.digest()
				done := cutShort(fs, table, how, at)
				err = h.merge()
				finished := done() && err == nil
				if how == "space" && !finished && h.store.mu.failed == nil {
					if err != nil && !errors.Is(err, wal.ErrNoSpace) {
						t.Fatalf("change %d: got %v", at, err)
					}
					fs.Intercept(nil)
					if got := h.digest(); got != want {
						t.Fatalf("change %d: the logs hold other batches", at)
					}
					h.store.drainer.hasSpace()
					if err := h.merge(); err != nil || h.store.Stats().Drain.Merged != smallPacks {
						t.Fatalf("change %d: got %v, %+v once there is space", at, err, h.store.Stats().Drain)
					}
					if got := h.digest(); got != want {
						t.Fatalf("change %d: the merge changed a log", at)
					}
				}
				fs.Intercept(nil)
				found, err := openDraining(t, fs.Crash(rand.New(rand.NewPCG(uint64(at), 5))), 2, table.Clone())
				if err != nil {
					t.Fatalf("change %d: open: %v", at, err)
				}
				if found.digest() != want {
					t.Fatalf("change %d: a start finds other batches", at)
				}
				found.wantTallied()
				if packs := packFiles(t, found.fs); packs != len(found.store.drainer.packs) {
					t.Fatalf("change %d: got %d files of packs, want %d", at, packs, len(found.store.drainer.packs))
				}
				if finished {
					break
				}
				cut++
			}
			if least := map[string]int{"power": 10, "error": 10, "space": 3}[how]; cut < least {
				t.Errorf("a merge was cut short %d times: the test proves nothing", cut)
			}
		})
	}
}

func packFiles(t *testing.T, fs *waltest.FS) (packs int) {
	t.Helper()
	names, err := fs.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.Contains(name, ".pack") {
			packs++
		}
	}
	return packs
}

// cutShort has the at-th change of the disk or the catalog from now on go wrong. It tells whether there were fewer.
func cutShort(fs *waltest.FS, table *catalogtest.Catalog, how string, at int) (fewer func() bool) {
	steps, dead := 0, false
	step := func(fault error) error {
		if steps++; steps == at {
			dead = how == "power"
			return fault
		}
		if dead {
			return waltest.ErrCrashed
		}
		return nil
	}
	fault := map[string]error{"power": waltest.ErrCrashed, "error": errors.New("the disk says no"), "space": wal.ErrNoSpace}[how]
	fs.Intercept(func(op waltest.Op) error {
		if how == "space" && op.Verb != waltest.Create && op.Verb != waltest.Write {
			return nil
		}
		return step(fault)
	})
	if how != "space" {
		table.Durable = func(apply func()) error {
			if err := step(fault); err != nil {
				return err
			}
			apply()
			return step(fault) // It happened, and nobody is told.
		}
	}
	return func() bool { return steps < at }
}

// Once more than mergeSlack pairs of larger neighbours are left, a small pack that comes must not be
// merged with all small ones before it, one by one: a byte was copied 1,780 times so.
func TestMergesBesideLargePacksCopyAByteSeldom(t *testing.T) {
	const most = 16 << 20 // wal.file.bytes 64 MiB
	var packs []neighbour
	for i := range 34 { // 170 MiB in packs of 5 MiB: three come to 15 MiB < 4*5, four are too many
		packs = append(packs, neighbour{number: uint64(i + 1), needed: 5 << 20, leads: true})
	}
	var copied, came int64
	merges := 0
	packs, _, _ = mergeAll(packs, most)
	for i := range 1000 {
		packs = append(packs, neighbour{number: uint64(i + 1000), needed: 4 << 10, leads: true})
		came += 4 << 10
		left, bytes, n := mergeAll(packs, most)
		packs, copied, merges = left, copied+bytes, merges+n
	}
	t.Logf("1000 packs of 4 KiB: %d merges, %d bytes came, %d copied, %d packs", merges, came, copied, len(packs))
	if copied > 20*came {
		t.Errorf("each byte was copied %.0f times", float64(copied)/float64(came))
	}
}
