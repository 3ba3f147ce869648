package partition

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// A head is read as it was written, and one that cannot be so is refused.
func TestHeadIsReadAsWritten(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		all := batchesOf(random, topic.Offset(random.IntN(1000)), 1+random.IntN(20), 1+random.Uint64N(3))
		h, ok := headOf(all)
		if !ok {
			t.Fatalf("%+v have no head", all)
		}
		key, value := headKey(p0, h.base), encodeHead(&h)
		p, got, err := decodeHead(key, value)
		if err != nil || p != p0 || !reflect.DeepEqual(got, h) {
			t.Fatalf("got %+v of %v, %v, want %+v", got, p, err, h)
		}
		for n := range value {
			if _, _, err := decodeHead(key, value[:n]); !errors.Is(err, errCatalog) {
				t.Fatalf("%d bytes of %d: got %v", n, len(value), err)
			}
		}
		if _, _, err := decodeHead(key, append(value, 0)); !errors.Is(err, errCatalog) {
			t.Fatalf("a byte too many: got %v", err)
		}
		if _, _, err := decodeHead(key[:len(key)-1], value); !errors.Is(err, errCatalog) {
			t.Fatalf("a short key: got %v", err)
		}
	}
	h := head{base: 7, batches: 3, packs: tally{{number: 1, bytes: 300}}, summary: summary{end: 9}}
	if _, _, err := decodeHead(headKey(p0, 7), encodeHead(&h)); !errors.Is(err, errCatalog) {
		t.Errorf("more batches than offsets: got %v", err)
	}
	if _, _, err := decodeHead(headKey(p0, 0), []byte{5, 5, 1, 1, 1, 1, 1, 1, 1, 0xff, 0xff, 3}); !errors.Is(err, errCatalog) {
		t.Errorf("more packs than bytes: got %v", err)
	}
}

// What lies nowhere, or before what comes before it, has no head: a record of the WAL is about to drop it.
func TestWhatIsOutOfOrderHasNoHead(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 3))
	for name, spoil := range map[string]func([]extent){
		"nowhere":     func(all []extent) { all[4].at = nowhere },
		"before":      func(all []extent) { all[5].at, all[4].at = all[4].at, all[5].at },
		"twice":       func(all []extent) { all[5].at = all[4].at },
		"a gap":       func(all []extent) { all[5].base++ },
		"in no pack":  func(all []extent) { all[9].at.File = 77 },
		"nowhere all": func(all []extent) { all[0].at, all[1].at = nowhere, nowhere },
	} {
		all := batchesOf(random, 0, 10, 1)
		spoil(all)
		if h, ok := headOf(all); ok {
			t.Errorf("%s: got %+v", name, h)
		}
	}
}

// batchesOf are batches in packs from some number on.
func batchesOf(random *rand.Rand, base topic.Offset, n int, pack uint64) (all []extent) {
	at := wal.Position{File: wal.PackBit | pack, Offset: 4096}
	for range n {
		if random.IntN(4) == 0 {
			at = wal.Position{File: at.File + 1 + random.Uint64N(3), Offset: 4096}
		}
		e := extent{base: base, count: 1 + random.Int32N(5), bytes: 61 + random.Int32N(3000), at: at, epoch: topic.Epoch(base / 50),
			newest: random.Int64N(5000) - 1}
		e.encoded = int32(wal.EncodedBytes(int(e.bytes)))
		at.Offset += int64(e.encoded)
		all, base = append(all, e), e.end()
	}
	return all
}

// headsWorld is a catalog that is edited as a drainer does it, and what it should hold.
type headsWorld struct {
	t      *testing.T
	random *rand.Rand
	table  *catalogtest.Catalog
	store  *Store
	chunk  int
	logs   map[topic.Partition][]extent
	pack   uint64
}

func newHeadsWorld(t *testing.T, seed uint64, chunk int) *headsWorld {
	w := &headsWorld{t: t, random: rand.New(rand.NewPCG(seed, 77)), table: &catalogtest.Catalog{}, chunk: chunk,
		logs: map[topic.Partition][]extent{}, pack: 1}
	for i := range int32(3) {
		w.logs[topic.Partition{Topic: p0.Topic, Index: i}] = nil
	}
	w.store = w.open()
	return w
}

func (w *headsWorld) open() *Store {
	cfg := testConfig(&clock{})
	cfg.Catalog, cfg.ChunkBatches, cfg.Spill = w.table, w.chunk, memorySpill(w.random.IntN(3))
	s := newStore(cfg)
	if _, _, err := s.restore(); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// step changes the runs of a log in some way.
func (w *headsWorld) step() {
	p := topic.Partition{Topic: p0.Topic, Index: w.random.Int32N(3)}
	all := w.logs[p]
	end, start := topic.Offset(0), topic.Offset(0)
	if len(all) > 0 {
		start, end = all[0].base, all[len(all)-1].end()
	}
	var edits []catalog.Edit
	put := func(some []extent) {
		var run runs
		for _, e := range some {
			run.add(p, e)
		}
		edits = append(edits, run.done(p)...)
	}
	w.pack += 1000
	switch i := w.random.IntN(20); {
	case i < 12 || len(all) < 3: // a drain
		more := batchesOf(w.random, end, 1+w.random.IntN(3*w.chunk), w.pack)
		put(more)
		all = append(all, more...)
	case i < 14: // the front goes
		n := 1 + w.random.IntN(len(all)-1)
		from := n
		for from > 0 && !w.begins(p, all[from].base) {
			from--
		}
		if w.begins(p, all[from].base) {
			edits = append(edits, catalog.Edit{Key: runKey(p, 0), Until: runKey(p, all[from].base)})
		}
		start, all = all[n].base, all[from:]
	case i < 16: // a part is written anew, in runs of its own
		from := w.random.IntN(len(all))
		for from > 0 && !w.begins(p, all[from].base) {
			from--
		}
		if !w.begins(p, all[from].base) {
			return
		}
		until := from + 1 + w.random.IntN(len(all)-from)
		for until < len(all) && !w.begins(p, all[until].base) {
			until++
		}
		edits = append(edits, catalog.Edit{Key: runKey(p, all[from].base), Until: runKey(p, max(all[until-1].end(), all[from].base+1))})
		all = slices.Clone(all)
		for k := from; k < until; k++ {
			all[k].at.Offset += 17
			if until == len(all) { // Else they would lie behind others.
				all[k].at.File++
			}
		}
		put(all[from:until])
	case i == 16: // the log is cut
		all = all[:1+w.random.IntN(len(all)-1)]
		edits = append(edits, catalog.Edit{Key: runKey(p, 0), Until: runsEnd(p)})
		put(all)
	case i == 17: // and removed
		all = nil
		edits = append(edits, catalog.Edit{Key: runKey(p, 0), Until: runsEnd(p)}, catalog.Deletion(partitionKey(keyLog, p)))
	default:
		if err := mendNow(w.store); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.logs[p] = all; len(all) > 0 {
		l := newLog(w.store, p)
		l.mu.start, l.mu.end = max(start, all[0].base), all[len(all)-1].end()
		l.mu.highWatermark = l.mu.end
		if l.mu.start > all[0].base { // No run begins there.
			for len(all) > 0 && all[0].end() <= l.mu.start {
				all = all[1:]
			}
		}
		w.logs[p] = all
		edits = append(edits, catalog.Edit{Key: partitionKey(keyLog, p), Value: l.encodeLog()})
	}
	if err := w.store.drainer.apply(edits); err != nil {
		w.t.Fatal(err)
	}
}

// mendNow makes heads as the drainer of an idle store does.
func mendNow(s *Store) error {
	if !s.mayHead() {
		return nil
	}
	return s.drainer.mendLogs(func() bool { return false })
}

// begins reports whether a run begins at an offset.
func (w *headsWorld) begins(p topic.Partition, base topic.Offset) (found bool) {
	key := runKey(p, base)
	if err := w.table.Range(key, append(slices.Clone(key), 0), func(_, _ []byte) error { found = true; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return found
}

// check wants the heads to say what the runs say, the drainer to know them, and a start to come to the same with and without
// them. It returns how many batches have a head.
func (w *headsWorld) check() (batches int32) {
	known := map[topic.Partition][]span{}
	bare := w.table.Clone()
	err := w.table.Range([]byte{keyHead}, []byte{keyHead + 1}, func(key, value []byte) error {
		p, h, err := decodeHead(key, value)
		if err != nil {
			return err
		}
		if err := bare.Apply([]catalog.Edit{catalog.Deletion(key)}); err != nil {
			return err
		}
		var of []extent
		for _, e := range batchesIn(w.t, w.table, p) {
			if h.base <= e.base && e.base < h.end {
				of = append(of, e)
			}
		}
		if want, ok := headOf(of); !ok || !w.begins(p, h.base) || !reflect.DeepEqual(h, want) {
			w.t.Fatalf("head %+v of %v, want %+v", h, p, want)
		}
		if most := max(w.chunk, w.chunk*3/2-1); int(h.batches) > most {
			w.t.Fatalf("a head of %v is about %d batches, want %d at most", p, h.batches, most)
		}
		known[p] = append(known[p], span{h.base, h.end, h.batches})
		batches += h.batches
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for p := range w.logs {
		spans := []span(nil)
		if one := w.store.drainer.heads.of[p]; one != nil {
			spans = one.spans
		}
		if !slices.Equal(spans, known[p]) {
			w.t.Fatalf("%v: the drainer knows of %v, the catalog has %v", p, spans, known[p])
		}
	}
	plain := testConfig(&clock{})
	plain.Catalog = bare
	without := newStore(plain)
	if _, _, err := without.restore(); err != nil {
		w.t.Fatal(err)
	}
	with, want := w.open(), maps.Clone(w.logs)
	for range w.random.IntN(4) { // What is read later is what there was at the start.
		w.step()
	}
	w.compare(with, without, want)
	return batches
}

// compare looks into the logs of two starts in a random order, and wants them to say the same.
func (w *headsWorld) compare(with, without *Store, logs map[topic.Partition][]extent) {
	for p, want := range logs {
		a, b := with.mu.logs[p], without.mu.logs[p]
		if a == nil || b == nil {
			if a != b || len(want) > 0 {
				w.t.Fatalf("%v: %v with heads, %v without, want %d batches", p, a, b, len(want))
			}
			continue
		}
		x, y := &a.mu.index, &b.mu.index
		if x.len() != len(want) || y.len() != len(want) || a.mu.bytes != b.mu.bytes || a.mu.settled != b.mu.settled ||
			a.mu.committed != b.mu.committed || !slices.Equal(x.packs, y.packs) || x.unordered != y.unordered {
			w.t.Fatalf("%v: %d batches, %d bytes, packs %v with heads; %d, %d, %v without; want %d batches", p,
				x.len(), a.mu.bytes, x.packs, y.len(), b.mu.bytes, y.packs, len(want))
		}
		same := func(what string, got, want any) {
			if !reflect.DeepEqual(got, want) {
				w.t.Fatalf("%v: %s is %v with heads, %v without", p, what, got, want)
			}
		}
		for range 20 {
			if x.len() == 0 {
				break
			}
			i := w.random.IntN(x.len())
			j := i + w.random.IntN(x.len()-i+1)
			switch w.random.IntN(8) {
			case 0:
				same("first", x.first(), y.first())
			case 1:
				same(fmt.Sprint("extent ", i), x.at(i), y.at(i))
			case 2:
				same("offset", x.covering(want[i].base), y.covering(want[i].base))
			case 3:
				ts := w.random.Int64N(5000)
				same("timestamp", x.reaching(ts, j), y.reaching(ts, j))
			case 4:
				same("place", x.placed(want[i].at), y.placed(want[i].at))
			case 5:
				xb, xo := x.sum(i, j)
				yb, yo := y.sum(i, j)
				same("sum", []int64{xb, xo}, []int64{yb, yo})
			case 6:
				same("packs", x.packed(i, j), y.packed(i, j))
			case 7:
				if _, _, _, err := a.readNext(want[i].base); err != nil {
					w.t.Fatal(err)
				}
			}
		}
		// And what changes both.
		switch n := w.random.IntN(len(want) + 1); w.random.IntN(4) {
		case 0:
			x.cut(n)
			y.cut(n)
		case 1:
			x.drop(n)
			y.drop(n)
		case 2:
			e := extent{base: b.mu.end, count: 3, bytes: 100, encoded: int32(wal.EncodedBytes(100)), newest: 9000}
			x.push(e)
			y.push(e)
		}
		same("length", x.len(), y.len())
		for i := range x.len() {
			same(fmt.Sprint("extent ", i), x.at(i), y.at(i))
		}
		same("packs", x.packs, y.packs)
	}
}

// Whatever is drained, written anew, cut and dropped: heads say what the runs say, and a start comes to the same with them.
func TestStartWithHeadsComesToTheSame(t *testing.T) {
	headed := 0
	for seed := range uint64(60) {
		w := newHeadsWorld(t, seed, []int{1, 2, 5, 16}[seed%4])
		for n := range 40 {
			if w.step(); n%5 == 4 {
				headed += int(w.check())
			}
			if w.random.IntN(25) == 0 {
				w.store = w.open()
			}
		}
	}
	if headed < 10_000 {
		t.Errorf("%d batches had a head: too few", headed)
	}
}

// A start looks at the runs that have no head, and at no others, however many batches there are.
func TestStartReadsWhatHasNoHead(t *testing.T) {
	const packs, each = 3000, 100
	table := &counted{Catalog: &catalogtest.Catalog{}}
	cfg := testConfig(&clock{})
	cfg.Catalog = table
	s := newStore(cfg)
	s.drainer.store = s
	l := newLog(s, p0)
	l.mu.end, l.mu.highWatermark = packs*each, packs*each
	edits := []catalog.Edit{{Key: partitionKey(keyLog, p0), Value: l.encodeLog()}}
	var run runs
	for i := range packs * each {
		e := extent{base: topic.Offset(i), count: 1, bytes: 100, epoch: 7, encoded: int32(wal.EncodedBytes(100))}
		e.at = wal.Position{File: wal.PackBit | uint64(1+i/each), Offset: 4096 + int64(i%each)*int64(e.encoded)}
		run.add(p0, e)
	}
	if err := s.drainer.apply(append(edits, run.done(p0)...)); err != nil {
		t.Fatal(err)
	}
	start := func() (*Log, int) {
		table.runs = 0
		again, err := restored(table)
		if err != nil {
			t.Fatal(err)
		}
		if one := again.drainer.heads.of[p0]; again.drainer.heads.due != s.drainer.heads.due || !s.drainer.heads.due && one.loose != s.drainer.heads.of[p0].loose {
			t.Errorf("heads are due after a start: %v, want %v, for %d batches", again.drainer.heads.due, s.drainer.heads.due, one.loose)
		}
		return again.mu.logs[p0], table.runs
	}
	if _, runs := start(); runs != packs {
		t.Fatalf("without heads %d runs were read, want all %d", runs, packs)
	}
	turns := 0
	for s.drainer.heads.due { // A turn that is over after each edit goes on where the last one has stopped.
		if err := s.drainer.mendLogs(func() bool { return true }); err != nil {
			t.Fatal(err)
		}
		if turns++; turns > packs*each/headsMost+1 {
			t.Fatalf("there are heads to be made after %d turns", turns)
		}
	}
	if one := s.drainer.heads.of[p0]; one.loose != packs*each-int(one.spans[len(one.spans)-1].end) || one.loose == 0 {
		t.Errorf("%d batches are said to have no head, the last head ends at %d", one.loose, one.spans[len(one.spans)-1].end)
	}
	if turns < packs*each/headsMost {
		t.Errorf("%d batches got their heads in %d turns", packs*each, turns)
	}
	log, runs := start()
	if most := chunkLength/each + 1; runs > most {
		t.Errorf("%d runs were read, want %d at most", runs, most)
	}
	if first := log.mu.index.first(); first != 0 || table.runs != runs {
		t.Errorf("%d runs were read to find that the log begins at %d", table.runs-runs, first)
	}
	if x := &log.mu.index; x.len() != packs*each || x.first() != 0 || x.at(x.len()-1).base != packs*each-1 {
		t.Errorf("%d batches from %d on, want %d", x.len(), x.first(), packs*each)
	}
	table.runs = 0
	if got := log.mu.index.at(123_456); got.base != 123_456 || table.runs > 2*chunkLength/each {
		t.Errorf("batch 123456 is %+v, found by %d runs", got, table.runs)
	}
}

// An edit takes away the heads about the runs that it changes, and no others.
func TestEditTakesAwayTheHeadsOfItsRuns(t *testing.T) {
	other := topic.Partition{Topic: p0.Topic, Index: p0.Index + 1}
	put := func(base topic.Offset) catalog.Edit {
		return catalog.Edit{Key: runKey(p0, base), Value: make([]byte, 60)}
	}
	between := func(from, until topic.Offset) catalog.Edit {
		return catalog.Edit{Key: runKey(p0, from), Until: runKey(p0, until)}
	}
	for name, one := range map[string]struct {
		edit catalog.Edit
		gone []topic.Offset
	}{
		"a run where one begins":       {put(10), []topic.Offset{10}},
		"a run within":                 {put(19), []topic.Offset{10}},
		"a run between":                {put(20), nil},
		"a run behind":                 {put(50), nil},
		"one run goes":                 {catalog.Deletion(runKey(p0, 30)), []topic.Offset{30}},
		"the last of a head goes":      {catalog.Deletion(runKey(p0, 39)), []topic.Offset{30}},
		"runs go up to one":            {between(20, 30), nil},
		"runs go from one on":          {between(10, 11), []topic.Offset{10}},
		"runs go up to behind the key": {catalog.Edit{Key: runKey(p0, 20), Until: append(runKey(p0, 30), 0)}, []topic.Offset{30}},
		"those of two go":              {between(19, 41), []topic.Offset{10, 30, 40}},
		"all but the first":            {catalog.Edit{Key: runKey(p0, 20), Until: runsEnd(p0)}, []topic.Offset{30, 40}},
		"all":                          {catalog.Edit{Key: runKey(p0, 0), Until: runsEnd(p0)}, []topic.Offset{10, 30, 40}},
		"something else":               {catalog.Edit{Key: partitionKey(keyLog, p0)}, nil},
		"those of another log":         {catalog.Edit{Key: runKey(other, 0), Until: runsEnd(other)}, nil},
	} {
		h := heads{of: map[topic.Partition]*headed{p0: {spans: []span{{10, 20, 5}, {30, 40, 6}, {40, 50, 7}}}}}
		got, err := h.follow([]catalog.Edit{one.edit}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		want := []catalog.Edit{one.edit}
		loose, left := 0, []topic.Offset{10, 30, 40}
		if one.edit.Until == nil && one.edit.Key[0] == keyRun {
			loose = 60 / batchInRun
		}
		for _, base := range one.gone {
			want = append(want, catalog.Deletion(headKey(p0, base)))
			loose += map[topic.Offset]int{10: 5, 30: 6, 40: 7}[base]
			left = slices.DeleteFunc(left, func(b topic.Offset) bool { return b == base })
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		log, known := h.of[p0]
		if known == (name == "all") || len(h.of) > 1 {
			t.Fatalf("%s: %d logs are known", name, len(h.of))
		}
		if known && (log.loose != loose || !slices.EqualFunc(log.spans, left, func(s span, b topic.Offset) bool { return s.base == b })) {
			t.Errorf("%s: %d batches have no head, want %d; heads are %v, want those at %v", name, log.loose, loose, log.spans, left)
		}
	}
}

// Nobody waits for the heads of all logs: one that has few goes on with the next turn, too.
func TestHeadsOfManyLogsAreMadeInManyTurns(t *testing.T) {
	const logs = 20
	cfg := testConfig(&clock{})
	cfg.Catalog, cfg.ChunkBatches = &catalogtest.Catalog{}, 4
	s := newStore(cfg)
	random := rand.New(rand.NewPCG(1, 4))
	for i := range int32(logs) {
		var run runs
		p := topic.Partition{Topic: p0.Topic, Index: i}
		for _, e := range batchesOf(random, 0, 60, 1) {
			run.add(p, e)
		}
		if err := s.drainer.apply(run.done(p)); err != nil {
			t.Fatal(err)
		}
	}
	turns := 0
	for made := int64(0); s.drainer.heads.due; turns++ {
		if err := s.drainer.mendLogs(func() bool { return true }); err != nil {
			t.Fatal(err)
		}
		now := s.drained.heads.Load()
		if now-made > 60 || now == made {
			t.Fatalf("turn %d has made %d heads", turns, now-made)
		}
		made = now
	}
	if turns != logs {
		t.Errorf("%d logs have their heads after %d turns", logs, turns)
	}
}

// Heads are made of one log yet, and not of the next, when the store ends or files wait to be adopted.
func TestHeadsWaitForWhatIsDue(t *testing.T) {
	for name, due := range map[string]func(s *Store){
		"the end": func(s *Store) { s.drainer.ending = func() bool { return true } },
		"files": func(s *Store) {
			s.found.Store(int32(busy))
			s.owed.Store(math.MaxUint64)
		},
		"nothing": func(*Store) {},
	} {
		h, err := openDraining(t, waltest.New(), 1, &catalogtest.Catalog{}, func(cfg *Config) { cfg.ChunkBatches = 4 })
		if err != nil {
			t.Fatal(err)
		}
		h.fill(2)
		s := h.store
		for i := range int32(2) {
			var run runs
			p := topic.Partition{Topic: p0.Topic, Index: 10 + i}
			for _, e := range batchesOf(h.random, 0, 60, 1) {
				run.add(p, e)
			}
			if err := s.drainer.apply(run.done(p)); err != nil {
				t.Fatal(err)
			}
		}
		due(s)
		if err := s.drainer.mend(); err != nil {
			t.Fatal(err)
		}
		if left := s.drainer.heads.due; left != (name != "nothing") {
			t.Errorf("%s: heads are left to be made: %v", name, left)
		}
	}
}

// slow is a catalog of which each edit takes some time.
type slow struct {
	*catalogtest.Catalog
	clock *clock
	takes time.Duration
}

func (s *slow) Apply(edits []catalog.Edit) error {
	s.clock.advance(s.takes)
	return s.Catalog.Apply(edits)
}

// Heads wait for space, and have their share of the time: what was made last counts, too.
func TestHeadsHaveTheirShareAndWaitForSpace(t *testing.T) {
	free, may := int64(0), false
	table := &slow{Catalog: &catalogtest.Catalog{}}
	h, err := openDraining(t, waltest.New(), 1, table, func(cfg *Config) {
		cfg.ChunkBatches, cfg.MayHead = 4, func() bool { return may }
		cfg.WAL.Space = func() (int64, bool) { return free, false }
	})
	if err != nil {
		t.Fatal(err)
	}
	table.clock = h.clock
	h.store.found.Store(int32(loaded))
	d := &h.store.drainer
	made := func(takes time.Duration) int64 {
		var run runs
		for _, e := range batchesOf(rand.New(rand.NewPCG(1, 5)), 0, 60, 1) {
			run.add(p0, e)
		}
		table.takes = 0
		if err := d.apply(append([]catalog.Edit{{Key: runKey(p0, 0), Until: runsEnd(p0)}}, run.done(p0)...)); err != nil {
			t.Fatal(err)
		}
		table.takes = takes
		before := h.store.drained.heads.Load()
		if err := d.mend(); err != nil {
			t.Fatal(err)
		}
		n := h.store.drained.heads.Load() - before
		if due := h.store.headless.Load(); due != (n == 0) {
			t.Errorf("%d heads were made, and that batches wait for some is %v", n, due)
		}
		return n
	}
	for may, free = range map[bool]int64{false: math.MaxInt64, true: 0} {
		if n := made(time.Second); n > 0 {
			t.Errorf("%d heads were made: allowed %v, %d bytes free", n, may, free)
		}
	}
	may, free = true, math.MaxInt64
	if n := made(time.Second); n == 0 {
		t.Error("no heads were made, and there is space")
	}
	if n := made(0); n > 0 {
		t.Errorf("%d heads were made at once after some that took a second", n)
	}
	h.clock.advance(time.Hour)
	if n := made(0); n == 0 {
		t.Error("no heads were made after an hour")
	}
}

// No heads are made before every version that may open the directory knows them; then they are, also of runs that are longer than a
// chunk, as they were before.
func TestHeadsWaitForTheirLevel(t *testing.T) {
	table := &catalogtest.Catalog{}
	may := false
	cfg := testConfig(&clock{})
	cfg.Catalog, cfg.MayHead = table, func() bool { return may }
	s := newStore(cfg)
	l := newLog(s, p0)
	l.mu.end, l.mu.highWatermark = 3*runBatches, 3*runBatches
	var run runs
	for i := range 3 * runBatches {
		e := extent{base: topic.Offset(i), count: 1, bytes: 100, encoded: int32(wal.EncodedBytes(100))}
		e.at = wal.Position{File: wal.PackBit | 1, Offset: 4096 + int64(i)*int64(e.encoded)}
		run.add(p0, e)
	}
	edits := append(run.done(p0), catalog.Edit{Key: partitionKey(keyLog, p0), Value: l.encodeLog()})
	if err := s.drainer.apply(edits); err != nil {
		t.Fatal(err)
	}
	before := batchesIn(t, table, p0)
	heads := func() (all []head) {
		err := table.Range([]byte{keyHead}, []byte{keyHead + 1}, func(key, value []byte) error {
			_, h, err := decodeHead(key, value)
			all = append(all, h)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for _, want := range []int{0, 3 * runBatches} {
		if err := mendNow(s); err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, h := range heads() {
			if got += int(h.batches); h.batches > 2*chunkLength {
				t.Errorf("a head is about %d batches", h.batches)
			}
		}
		if got > want || got < want-2*chunkLength {
			t.Errorf("allowed %v: %d batches have a head, want about %d", may, got, want)
		}
		may = true
	}
	if after := batchesIn(t, table, p0); !slices.Equal(before, after) {
		t.Error("the batches are others than before there were heads")
	}
}

// A head that says what is not so is found: by who looks into it, by who reads all afterwards, and by a look at a stopped broker.
func TestHeadThatIsWrongIsFound(t *testing.T) {
	w := newHeadsWorld(t, 1, 4)
	w.grow()
	for _, one := range w.store.drainer.heads.of {
		one.loose = math.MaxInt32
	}
	w.store.drainer.heads.due = true
	if err := mendNow(w.store); err != nil {
		t.Fatal(err)
	}
	spans := w.store.drainer.heads.of[p0].spans
	if len(spans) < 3 {
		t.Fatalf("%d heads are too few", len(spans))
	}
	key := headKey(p0, spans[1].base)
	var h head
	if err := w.table.Range(key, append(slices.Clone(key), 0), func(key, value []byte) (err error) {
		_, h, err = decodeHead(key, value)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*head){
		"bytes":        func(h *head) { h.bytes++ },
		"timestamp":    func(h *head) { h.own++ },
		"oldest":       func(h *head) { h.oldest = 4999 },
		"last place":   func(h *head) { h.at.Offset++ },
		"too many":     func(h *head) { h.batches-- },
		"record bytes": func(h *head) { h.packs[0].bytes++ },
		"other packs":  func(h *head) { h.packs[len(h.packs)-1].number++ },
	} {
		wrong := h
		wrong.packs = slices.Clone(h.packs)
		spoil(&wrong)
		if err := w.table.Apply([]catalog.Edit{{Key: key, Value: encodeHead(&wrong)}}); err != nil {
			t.Fatal(err)
		}
		found, err := Verify(Verification{FS: wal.OS(), Dir: t.TempDir(), Catalog: w.table})
		if err != nil || len(found.Damage) != 1 || found.Damage[0].Place != InCatalog {
			t.Errorf("%s: verify found %+v, %v", name, found.Damage, err)
		}
	}
	wrong := h // Nothing is known of the offset before it.
	wrong.base--
	moved := w.table.Clone()
	if err := moved.Apply([]catalog.Edit{catalog.Deletion(key), catalog.Deletion(headKey(p0, spans[0].base)),
		{Key: headKey(p0, wrong.base), Value: encodeHead(&wrong)}}); err != nil {
		t.Fatal(err)
	}
	found, err := Verify(Verification{FS: wal.OS(), Dir: t.TempDir(), Catalog: moved})
	if err != nil || len(found.Damage) != 1 || found.Damage[0].Place != InCatalog {
		t.Errorf("first offset: verify found %+v, %v", found.Damage, err)
	}
	wrong = h
	wrong.bytes++
	l := newLog(w.store, p0) // Of batches that are not known to be committed a start wants to know more than that.
	all := w.logs[p0]
	l.mu.start, l.mu.highWatermark, l.mu.end = all[0].base, all[0].base, all[len(all)-1].end()
	if err := w.table.Apply([]catalog.Edit{{Key: key, Value: encodeHead(&wrong)}, {Key: partitionKey(keyLog, p0), Value: l.encodeLog()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := restored(w.table); !errors.Is(err, errCatalog) {
		t.Errorf("a head about what is not committed: got %v", err)
	}
	overlap := h
	overlap.base++
	if err := w.table.Apply([]catalog.Edit{{Key: key, Value: encodeHead(&h)}, {Key: headKey(p0, overlap.base), Value: encodeHead(&overlap)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := restored(w.table); !errors.Is(err, errCatalog) {
		t.Errorf("overlapping heads: got %v", err)
	}
}

// A head of a log that is not there is found.
func TestHeadOfNoLogIsFound(t *testing.T) {
	table := restorable(t, 3)
	h, _ := headOf(batchesOf(rand.New(rand.NewPCG(1, 1)), 0, 5, 1))
	if err := table.Apply([]catalog.Edit{{Key: headKey(topic.Partition{Topic: p0.Topic, Index: 9}, 0), Value: encodeHead(&h)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := restored(table); !errors.Is(err, errCatalog) {
		t.Errorf("got %v", err)
	}
}
