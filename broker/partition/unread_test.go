package partition

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// viewed is a catalog that counts the views that are open.
type viewed struct {
	*catalogtest.Catalog
	open atomic.Int32
}

func (v *viewed) View() (catalog.View, error) {
	v.open.Add(1)
	inner, err := v.Catalog.View()
	return &closing{inner, v}, err
}

type closing struct {
	catalog.View
	of *viewed
}

func (c *closing) Close() error {
	c.of.open.Add(-1)
	return c.View.Close()
}

// unreadWorld is a catalog of which every log has several heads, what it holds, and a start from it.
func unreadWorld(t *testing.T) (s *Store, table *viewed, logs map[topic.Partition][]extent) {
	t.Helper()
	w := newHeadsWorld(t, 3, 4)
	w.grow()
	for _, one := range w.store.drainer.heads.of {
		one.loose += 1000
	}
	if err := mendNow(w.store); err != nil {
		t.Fatal(err)
	}
	table = &viewed{Catalog: w.table}
	cfg := testConfig(&clock{})
	cfg.Catalog, cfg.ChunkBatches, cfg.Spill = table, 4, memorySpill(1)
	s = newStore(cfg)
	if _, _, err := s.restore(); err != nil {
		t.Fatal(err)
	}
	for p, l := range s.mu.logs {
		if unread, all := unreadIn(l), len(w.logs[p]); unread*2 < all || all < 20 {
			t.Fatalf("%d batches of %v are unread, of %d: too few", unread, p, all)
		}
	}
	return s, table, w.logs
}

// grow goes on until all logs are of some length.
func (w *headsWorld) grow() {
	for n := 0; n < 30 || slices.ContainsFunc(slices.Collect(maps.Values(w.logs)), func(l []extent) bool { return len(l) < 25 }); n++ {
		w.step()
	}
}

// unreadIn is how many batches of a log nobody has read.
func unreadIn(l *Log) (batches int) {
	for _, c := range l.mu.index.chunks {
		if c.unread != nil {
			batches += int(c.batches)
		}
	}
	return batches
}

// What a start leaves unread is read afterwards, goes to where it takes no memory, and the catalog of then is let go of.
func TestWhatAStartLeavesUnreadIsReadAfterwards(t *testing.T) {
	s, table, logs := unreadWorld(t)
	if n := table.open.Load(); n != 1 {
		t.Fatalf("%d views are open, want the one that is read from", n)
	}
	cut := s.mu.logs[topic.Partition{Topic: p0.Topic, Index: 1}]
	cut.mu.index.drop(7) // Chunks move to the front.
	if err := s.readIndexes(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := table.open.Load(); n != 0 {
		t.Errorf("%d views are open, want none", n)
	}
	if used, _ := s.cfg.Spill.Bytes(); used == 0 {
		t.Error("nothing was spilled")
	}
	for p, want := range logs {
		l := s.mu.logs[p]
		if l == cut {
			want = want[7:]
		}
		if n := unreadIn(l); n > 0 || l.mu.index.len() != len(want) {
			t.Fatalf("%v: %d batches are unread, %d there, want none and %d", p, n, l.mu.index.len(), len(want))
		}
		for i, e := range want {
			if got := l.mu.index.at(i); got.base != e.base || got.at != e.at || got.epoch != e.epoch {
				t.Fatalf("%v: batch %d is %+v, want %+v", p, i, got, e)
			}
		}
	}
	if err := s.readIndexes(context.Background()); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// A head may be about more batches than a chunk takes. What comes behind it does not join them: else that chunk would grow for ever.
func TestWhatIsAppendedDoesNotJoinALargeHead(t *testing.T) {
	const large, heads = 200 + 500, 3 // each of two runs
	table := &catalogtest.Catalog{}
	cfg := testConfig(&clock{})
	cfg.Catalog = table
	s := newStore(cfg)
	batch := func(i int, pack uint64) extent {
		return extent{base: topic.Offset(i), count: 1, bytes: 100, encoded: int32(wal.EncodedBytes(100)),
			at: wal.Position{File: wal.PackBit | pack, Offset: 4096 + int64(i)*wal.EncodedBytes(100)}}
	}
	l := newLog(s, p0)
	l.mu.end, l.mu.highWatermark = heads*large, heads*large
	edits := []catalog.Edit{{Key: partitionKey(keyLog, p0), Value: l.encodeLog()}}
	var run runs
	for i := range heads * large {
		pack := uint64(1 + 2*(i/large))
		if i%large >= 200 {
			pack++
		}
		run.add(p0, batch(i, pack))
	}
	if err := s.drainer.apply(append(edits, run.done(p0)...)); err != nil {
		t.Fatal(err)
	}
	if err := mendNow(s); err != nil {
		t.Fatal(err)
	}
	again, err := restored(table)
	if err != nil {
		t.Fatal(err)
	}
	x := &again.mu.logs[p0].mu.index
	if n := x.len() - x.chunks[len(x.chunks)-1].from; n != large {
		t.Fatalf("the last chunk has %d batches, want %d", n, large)
	}
	for i := range 3 * chunkLength {
		x.push(batch(heads*large+i, 100))
	}
	if err := again.readIndexes(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantSound(t, x)
}

// Chunks move to the front while others are read, and none is passed over for that: once the catalog is let go of nobody can read it.
func TestChunksThatMoveAreReadAfterwards(t *testing.T) {
	const batches, read = 3 * spillLooks, 2 * spillLooks
	cfg := testConfig(&clock{})
	cfg.Catalog, cfg.ChunkBatches = &catalogtest.Catalog{}, 1
	s := newStore(cfg)
	l := newLog(s, p0)
	all := batchesOf(rand.New(rand.NewPCG(1, 6)), 0, batches, 1)
	l.mu.end, l.mu.highWatermark = all[batches-1].end(), all[batches-1].end()
	var run runs
	for _, e := range all {
		run.add(p0, e)
	}
	if err := s.drainer.apply(append(run.done(p0), catalog.Edit{Key: partitionKey(keyLog, p0), Value: l.encodeLog()})); err != nil {
		t.Fatal(err)
	}
	if err := mendNow(s); err != nil {
		t.Fatal(err)
	}
	looks := 0
	cfg.Now = func() time.Duration { // Between two looks retention takes some.
		if looks++; l != nil && looks == 2 {
			l.mu.index.drop(read - 10)
		}
		return 0
	}
	l = nil
	s = newStore(cfg)
	if _, _, err := s.restore(); err != nil {
		t.Fatal(err)
	}
	l, looks = s.mu.logs[p0], 0
	for i := range batches {
		if i < read || i >= read+10 {
			l.mu.index.at(i)
		}
	}
	if err := s.readIndexes(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := unreadIn(l); n > 0 || looks < 2 || l.mu.index.len() != batches-read+10 {
		t.Errorf("%d batches are unread, of %d, after %d looks", n, l.mu.index.len(), looks)
	}
}

// Batches that nobody has read go without being read: a log that has many of them waits for retention otherwise.
func TestWhatIsUnreadIsDroppedUnread(t *testing.T) {
	s, _, logs := unreadWorld(t)
	for p, all := range logs {
		x := &s.mu.logs[p].mu.index
		before := unreadIn(s.mu.logs[p])
		last := x.chunks[len(x.chunks)-1].from // Only what is looked into is read: the first that stays.
		gone := x.chunks[len(x.chunks)-2].from
		left := index{extents: x.extents}
		for _, e := range all[gone:] {
			left.push(e)
		}
		bytes, _ := x.sum(0, last)
		var want int64
		for _, e := range all[:last] {
			want += int64(e.bytes)
		}
		if n := unreadIn(s.mu.logs[p]); n != before || bytes != want {
			t.Errorf("%v: %d batches are unread of %d after a sum of %d, want %d", p, n, before, bytes, want)
		}
		if packs := x.packed(0, last); unreadIn(s.mu.logs[p]) != before {
			t.Errorf("%v: %d batches are unread, %d were, before it was counted that they lie in %v", p, unreadIn(s.mu.logs[p]), before, packs)
		}
		if x.drop(gone); !slices.Equal(x.packs, left.packs) {
			t.Errorf("%v: packs %v, want %v", p, x.packs, left.packs)
		}
	}
}

// A chunk that somebody has looked into, or that was dropped, while it was read, is not replaced by what was read.
func TestWhatIsReadLateDoesNotReplaceWhatChanged(t *testing.T) {
	for name, change := range map[string]func(x *index, k int){
		"looked into": func(x *index, k int) { x.open(k) },
		"dropped":     func(x *index, k int) { x.drop(x.chunks[k+1].from - x.gone) },
		"cut":         func(x *index, k int) { x.cut(x.chunks[k].from + 1 - x.gone) },
		"emptied":     func(x *index, _ int) { x.cut(0) },
	} {
		s, _, _ := unreadWorld(t)
		x := &s.mu.logs[p0].mu.index
		c, _, _ := x.unreadChunk(0)
		k := x.above(c.base)
		open, err := c.unread.load(&c, nil)
		if err != nil {
			t.Fatal(err)
		}
		change(x, k)
		n := x.len()
		if x.readAs(&c, freeze(open), false) {
			t.Errorf("%s: the chunk was replaced", name)
		}
		for i := range n {
			if e := x.at(i); i > 0 && e.base != x.at(i-1).end() {
				t.Fatalf("%s: batch %d is at %d, want it behind the one before it", name, i, e.base)
			}
		}
	}
}

// What is read takes the slots that its chunks have, and no others, also if somebody else reads a chunk meanwhile.
func TestWhatIsReadAfterwardsKeepsNoSlot(t *testing.T) {
	_, table, _ := unreadWorld(t)
	var s *Store
	looked := 0
	cfg := testConfig(&clock{})
	cfg.Catalog, cfg.ChunkBatches = table, 4
	cfg.Spill = newSpill(cfg.Logger, func(bytes int) ([]byte, error) {
		if s == nil { // The start.
			return nil, syscall.ENOSPC
		}
		for _, l := range s.mu.logs {
			if c, _, _ := l.mu.index.unreadChunk(0); c.unread != nil {
				l.mu.index.at(c.from - l.mu.index.gone)
				looked++
			}
		}
		return make([]byte, bytes), nil
	})
	starting := newStore(cfg)
	if _, _, err := starting.restore(); err != nil {
		t.Fatal(err)
	}
	s = starting
	if err := s.readIndexes(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.spillIndexes()
	want := int64(0)
	for _, l := range s.mu.logs {
		for _, c := range l.mu.index.chunks {
			if c.spilled {
				want += int64(cap(c.frozen))
			}
		}
	}
	if used, _ := s.cfg.Spill.Bytes(); used != want || want == 0 || looked == 0 {
		t.Errorf("%d bytes are in use, want %d; %d chunks were looked into", used, want, looked)
	}
}

// A store that has ended with batches unread is looked into by who has come too late, and ends nobody's process.
func TestLookIntoAStoreThatHasEnded(t *testing.T) {
	s, table, logs := unreadWorld(t)
	s.fail(ErrStopped)
	if err := errors.Join(s.bodies.close(), s.bodies.close()); err != nil || table.open.Load() != 0 {
		t.Fatalf("%v, %d views are open", err, table.open.Load())
	}
	for p, want := range logs {
		x := &s.mu.logs[p].mu.index
		for i := range want {
			if e := x.at(i); i > 0 && e.base != x.at(i-1).end() {
				t.Fatalf("batch %d of %v is at %d, want it behind the one before it", i, p, e.base)
			}
		}
		if x.len() != len(want) || x.at(x.len()-1).end() != want[len(want)-1].end() {
			t.Errorf("%v: %d batches up to %d", p, x.len(), x.at(x.len()-1).end())
		}
		if s.mu.logs[p].noteDamage(x.at(0)); len(s.mu.logs[p].mu.damaged) > 0 {
			t.Errorf("%v: a batch that was looked for in the wrong place counts as damaged", p)
		}
	}
}

// However a store ends, and also if it does not begin, it lets go of the catalog of its start: else that could not be closed.
func TestEveryEndLetsGoOfTheCatalog(t *testing.T) {
	for name, end := range map[string]func(s *Store) error{
		"close": (*Store).Close,
		"run": func(s *Store) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return s.Run(ctx)
		},
		"driver": func(s *Store) error {
			d, err := s.Drive()
			if err != nil {
				return err
			}
			return d.Close()
		},
	} {
		_, table, _ := unreadWorld(t)
		table.open.Store(0)
		cfg := testConfig(&clock{})
		cfg.Catalog, cfg.ChunkBatches = table, 4
		cfg.WAL = wal.Config{FS: waltest.New(), Dir: "wal", Session: 1, FileBytes: 64 << 10, GroupBytesMax: 8 << 10}
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if n := table.open.Load(); n != 1 {
			t.Fatalf("%s: %d views are open after a start, want one", name, n)
		}
		if _, err := Open(cfg); err == nil || table.open.Load() != 1 { // The directory is in use.
			t.Errorf("%s: a start that has failed, by %v, leaves %d views open", name, err, table.open.Load()-1)
		}
		if err := end(s); err != nil || table.open.Load() != 0 {
			t.Errorf("%s: %v, %d views are open", name, err, table.open.Load())
		}
	}
}

// A catalog that does not give back what a start has left unread ends the store, and says why.
func TestUnreadBatchesThatAreGoneEndTheStore(t *testing.T) {
	s, table, _ := unreadWorld(t)
	gone := errors.New("gone")
	s.bodies.mu.view = failing{gone}
	if err := s.readIndexes(context.Background()); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
	if table.open.Load() == 0 {
		t.Error("the catalog was let go of, although batches are unread")
	}
}

type failing struct{ err error }

func (f failing) Range(_, _ []byte, _ func(_, _ []byte) error) error { return f.err }
func (failing) Close() error                                         { return nil }

// With a catalog on a disk: a start leaves batches unread, a drain goes on beside that, and the next start, after an end in
// its midst, has all of it.
func TestStartsWithHeadsOnADisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "catalog")
	open := func() *catalog.Catalog {
		table, err := catalog.Open(dir, testConfig(&clock{}).Logger, func(err error) { panic(err) })
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	w := newHeadsWorld(t, 5, 4)
	w.grow()
	var edits []catalog.Edit
	if err := w.table.Range(nil, []byte{keyEnd}, func(key, value []byte) error {
		edits = append(edits, catalog.Edit{Key: slices.Clone(key), Value: slices.Clone(value)})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	table := open()
	if err := table.Apply(edits); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		cfg := testConfig(&clock{})
		cfg.Catalog, cfg.ChunkBatches = table, 4
		s := newStore(cfg)
		if _, _, err := s.restore(); err != nil {
			t.Fatal(err)
		}
		for p, want := range w.logs {
			l := s.mu.logs[p]
			if _, _, _, err := l.readNext(0); err != nil {
				t.Fatal(err)
			}
			if l.mu.index.len() != len(want) || l.mu.index.at(len(want)/2).at != want[len(want)/2].at {
				t.Fatalf("%v has %d batches, want %d", p, l.mu.index.len(), len(want))
			}
		}
		if err := errors.Join(s.bodies.close(), table.Close()); err != nil {
			t.Fatal(err)
		}
		table = open()
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
}
