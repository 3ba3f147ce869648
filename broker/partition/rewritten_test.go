package partition

import (
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// Whatever runs the catalog has of a log, and wherever in them a portion lies: after its edits the catalog has what was
// compacted in its place, and all else as before. If it has other batches there it is left alone, and the runs of another
// log are in any case.
func TestPortionTakesItsPlaceInTheCatalog(t *testing.T) {
	refused := 0
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 31))
		table := &catalogtest.Catalog{}
		cfg := testConfig(&clock{})
		cfg.Catalog = table
		s := newStore(cfg)
		l := s.openLog(p0)
		var has []extent
		at := wal.Position{File: wal.PackBit | 1, Offset: 4096}
		var edits []catalog.Edit
		other := topic.Partition{Topic: p0.Topic, Index: p0.Index + 1}
		for base := topic.Offset(random.IntN(9)); len(has) < 2+random.IntN(40); {
			var run runs
			for range 1 + random.IntN(6) {
				e := extent{base: base, count: 1 + random.Int32N(5), bytes: 100 + random.Int32N(99), at: at, epoch: 7}
				e.encoded = int32(wal.EncodedBytes(int(e.bytes)))
				at.Offset += int64(e.encoded)
				run.add(p0, e)
				has, base = append(has, e), e.end()
			}
			at = wal.Position{File: at.File + 1, Offset: 4096}
			edits = append(edits, run.done(p0)...)
		}
		edits = append(edits, catalog.Edit{Key: runKey(other, 2), Value: encodeRun(has[:1])})
		if err := table.Apply(edits); err != nil {
			t.Fatal(err)
		}
		i := random.IntN(len(has))
		j := i + 1 + random.IntN(len(has)-i)
		was, out := s.newIndex(), s.newIndex()
		for _, e := range has[i:j] {
			was.push(e)
		}
		whole := has[i]
		whole.count = int32(has[j-1].end() - whole.base)
		whole.at = wal.Position{File: wal.PackBit | 1<<30, Offset: 4096}
		out.push(whole)
		one := &cleaning{log: l, was: newListing(was), out: out}
		// The runs of those below the log start may be gone.
		gone := 0
		if random.IntN(3) == 0 {
			gone = random.IntN(j)
			putRuns(t, table, p0, has[gone:])
		}
		wantOK := true
		if random.IntN(4) == 0 { // Another batch than was thought.
			k := random.IntN(len(has))
			moved := has[k]
			moved.at.File += 1 << 20
			has[k] = moved
			wantOK = k < i || k >= j || k < gone
			putRuns(t, table, p0, has[gone:])
		}
		before := table.Clone()
		edits, ok, err := s.rewritten(one)
		if err == nil {
			err = table.Apply(edits)
		}
		if err != nil || ok != wantOK {
			t.Fatalf("seed %d: rewritten %t, %v; want %t", seed, ok, err, wantOK)
		}
		want := slices.Concat(has[min(gone, i):i], []extent{whole}, has[j:])
		if !ok {
			refused++
			want = has[gone:]
		}
		if got := batchesIn(t, table, p0); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d to %d of %d, %d gone: the catalog has\n%v, want\n%v", seed, i, j, len(has), gone, got, want)
		}
		if !slices.Equal(batchesIn(t, table, other), batchesIn(t, before, other)) {
			t.Fatalf("seed %d: another log has other runs", seed)
		}
	}
	if refused < 50 {
		t.Errorf("%d portions were refused", refused)
	}
}

// putRuns has a log have these batches and no others.
func putRuns(t *testing.T, table *catalogtest.Catalog, p topic.Partition, all []extent) {
	t.Helper()
	var run runs
	for _, e := range all {
		run.add(p, e)
	}
	if err := table.Apply(append([]catalog.Edit{{Key: runKey(p, 0), Until: runsEnd(p)}}, run.done(p)...)); err != nil {
		t.Fatal(err)
	}
}

// batchesIn is what a catalog has of a log.
func batchesIn(t *testing.T, table *catalogtest.Catalog, p topic.Partition) (all []extent) {
	t.Helper()
	err := table.Range(runKey(p, 0), runsEnd(p), func(key, value []byte) error {
		_, base, err := parseRunKey(key)
		if err == nil {
			err = decodeRun(base, value, func(e extent) {
				e.latest = 0
				all = append(all, e)
			})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(all); i++ {
		if all[i].base != all[i-1].end() {
			t.Fatalf("batch %d begins at %d, the one before ends at %d", i, all[i].base, all[i-1].end())
		}
	}
	return all
}
