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

// A portion is left alone if the catalog does not go on where it ends.
func TestPortionIsLeftAloneWhereTheCatalogGoesOnElsewhere(t *testing.T) {
	batch := func(base topic.Offset, count int32, place int64) extent {
		return extent{base: base, count: count, bytes: 100, epoch: 7, encoded: int32(wal.EncodedBytes(100)),
			at: wal.Position{File: wal.PackBit | 1, Offset: 4096 + place*wal.EncodedBytes(100)}}
	}
	was := []extent{batch(4, 2, 1), batch(6, 2, 2)}
	for _, at := range []struct {
		name string
		has  []extent
		want bool
	}{
		{"it does", []extent{batch(0, 4, 0), was[0], was[1], batch(8, 2, 3)}, true},
		{"nothing is behind", []extent{batch(0, 4, 0), was[0], was[1]}, true},
		{"a hole", []extent{batch(0, 4, 0), was[0], was[1], batch(9, 1, 3)}, false},
		{"the last one is longer", []extent{batch(0, 4, 0), was[0], batch(6, 3, 2), batch(9, 1, 3)}, false},
		{"the last one is not there", []extent{batch(0, 4, 0), was[0]}, false},
	} {
		table := &catalogtest.Catalog{}
		cfg := testConfig(&clock{})
		cfg.Catalog = table
		s := newStore(cfg)
		putRuns(t, table, p0, at.has)
		x, out := s.newIndex(), s.newIndex()
		for _, e := range was {
			x.push(e)
			e.at.File += 1 << 30
			out.push(e)
		}
		edits, ok, err := s.rewritten(&cleaning{log: s.openLog(p0), was: newListing(x), out: out})
		if err != nil || ok != at.want || (len(edits) > 0) != ok {
			t.Errorf("%s: rewritten %t by %d edits, %v; want %t", at.name, ok, len(edits), err, at.want)
		}
	}
}

// However many runs lie before a portion, the catalog is asked for those alone that it changes: each portion of a long log
// comes behind all that the ones before it have written.
func TestPortionLooksAtItsOwnRuns(t *testing.T) {
	const packs, each = 200, 3
	table := &counted{Catalog: &catalogtest.Catalog{}}
	cfg := testConfig(&clock{})
	cfg.Catalog = table
	s := newStore(cfg)
	var all []extent
	for i := range packs * each {
		e := extent{base: topic.Offset(i), count: 1, bytes: 100, epoch: 7, encoded: int32(wal.EncodedBytes(100))}
		e.at = wal.Position{File: wal.PackBit | uint64(1+i/each), Offset: 4096 + int64(i%each)*int64(e.encoded)}
		all = append(all, e)
	}
	putRuns(t, table.Catalog, p0, all)
	for i := 0; i < packs; i += 2 {
		was, out := s.newIndex(), s.newIndex()
		for _, e := range all[i*each : (i+2)*each] {
			was.push(e)
			e.at.File += 1 << 30
			out.push(e)
		}
		table.runs = 0
		edits, ok, err := s.rewritten(&cleaning{log: s.openLog(p0), was: newListing(was), out: out})
		if err != nil || !ok {
			t.Fatalf("rewritten %t, %v", ok, err)
		}
		if err := table.Apply(edits); err != nil {
			t.Fatal(err)
		}
		if most := 4; table.runs > most { // The first of its two runs is looked for, and what follows is seen.
			t.Fatalf("behind %d runs, %d were looked at, want %d at most", i, table.runs, most)
		}
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
