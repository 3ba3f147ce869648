package partition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// openCompacting opens a hand whose logs are compacted.
func openCompacting(
	t *testing.T, fs *waltest.FS, seed uint64, table Catalog, ratio float64, keys int64, adjust ...func(*Config),
) (*hand, error) {
	t.Helper()
	h, err := openDraining(t, fs, seed, table,
		append(adjust, func(c *Config) { c.CompactBytesMax, c.RollBackoff = keys*56, Forever })...)
	h.compacting = true
	if err == nil {
		h.keep(keyedLogs)
		h.store.CompactBy(func(topic.Partition) (Compaction, bool) { return h.rules(seed, ratio), true })
	}
	return h, err
}

// rules are those of a seed: some logs are compacted by their age as well, and some spare what is young. Files are
// sealed by step alone, since a twin that is not compacted does the same.
func (h *hand) rules(seed uint64, ratio float64) Compaction {
	r := Compaction{DirtyRatio: ratio, LagMax: maxAge, DeleteRetention: 300 * time.Millisecond,
		Now: h.clock.now().Milliseconds()}
	if seed%2 == 1 {
		r.LagMax = 5 * time.Second
	}
	if seed%3 == 1 {
		r.LagMin = 2 * time.Second
	}
	return r
}

// keyedLogs is how many logs a hand of these tests has: few, so that each is compacted often.
const keyedLogs = 3

// keep makes h one of keyed logs.
func (h *hand) keep(logs int) { h.keyed, h.logs = true, h.logs[:logs] }

// newest is what a log says of a key.
type newest struct {
	offset int64
	value  uint32 // checksum
}

// latest is what somebody who reads all batches of a log comes to know of each key; of a key that was
// deleted, and of records of transactions that were aborted, nothing.
func (h *hand) latest(l *Log) map[string]newest {
	h.t.Helper()
	state := l.State()
	pieces := l.pieces(state.LogStart, state.LogEnd, 1<<30)
	if _, err := l.load(pieces); err != nil && !errors.Is(err, waltest.ErrCrashed) {
		h.t.Fatalf("load %v: %v", l.partition, err)
	}
	aborted := map[int]bool{}
	running := map[int64][]int{} // of each producer the batches of its open transaction
	next := topic.NoOffset
	for i, p := range pieces {
		hd, err := batch.ParseHeader(p.payload)
		if err != nil {
			return nil // the file system has crashed
		}
		if base := topic.Offset(hd.BaseOffset); base != p.base || next != topic.NoOffset && base != next ||
			topic.Offset(hd.LastOffset())+1 != p.end() {
			h.t.Fatalf("%v: batch from %d to %d, want one at %d", l.partition, base, hd.LastOffset(), next)
		}
		next = p.end()
		if m, ok, err := batch.ParseMarker(p.payload); ok && err == nil {
			for _, j := range running[hd.ProducerID] {
				aborted[j] = !m.Commit
			}
			delete(running, hd.ProducerID)
		} else if hd.Transactional() && !hd.Control() {
			running[hd.ProducerID] = append(running[hd.ProducerID], i)
		}
	}
	known := map[string]newest{}
	for i, p := range pieces {
		h.learn(known, p.payload, state.LogStart, aborted[i])
	}
	return known
}

// learn takes in the records of a batch.
func (h *hand) learn(known map[string]newest, b []byte, from topic.Offset, skip bool) {
	if hd, err := batch.ParseHeader(b); err != nil || skip || hd.Control() {
		return
	}
	for r, err := range batch.Records(b) {
		switch {
		case err != nil:
			h.t.Fatalf("records: %v", err)
		case r.Offset < int64(from):
		case r.Value == nil:
			delete(known, string(r.Key))
		default:
			known[string(r.Key)] = newest{r.Offset, crc32.ChecksumIEEE(r.Value)}
		}
	}
}

// committed is what a reader of committed records comes to know, by the list of aborted transactions that
// it is given, as clients use it.
func (h *hand) committed(l *Log) map[string]newest {
	h.t.Helper()
	known := map[string]newest{}
	start := l.State().LogStart
	for from := start; ; {
		got, err := l.ReadCommitted(from, 3<<10, true)
		if err != nil {
			h.t.Fatalf("read %v at %d: %v", l.partition, from, err)
		}
		if len(got.Batches) == 0 {
			return known
		}
		aborting, waiting := map[int64]bool{}, got.Aborted
		for _, b := range got.Batches {
			hd, err := batch.ParseHeader(b)
			if err != nil {
				h.t.Fatal(err)
			}
			for len(waiting) > 0 && int64(waiting[0].First) <= hd.LastOffset() {
				aborting[waiting[0].ProducerID] = true
				waiting = waiting[1:]
			}
			if m, ok, err := batch.ParseMarker(b); ok && err == nil && !m.Commit {
				delete(aborting, hd.ProducerID)
			}
			h.learn(known, b, start, hd.Transactional() && aborting[hd.ProducerID])
			from = topic.Offset(hd.LastOffset()) + 1
		}
	}
}

// wantSame compares what two hands have, one of which was compacted.
func wantSame(t *testing.T, when string, got, want *hand) {
	t.Helper()
	for i := range got.logs {
		g, w := got.logs[i], want.logs[i]
		gs, ws := g.State(), w.State()
		gs.Size, ws.Size, gs.First, ws.First = 0, 0, 0, 0
		gs.Unacked, ws.Unacked, gs.Dropped, ws.Dropped = 0, 0, 0, 0
		if gs != ws {
			t.Fatalf("%s: log %d is %+v\nwant %+v", when, i, gs, ws)
		}
		// A span that compaction has made of several batches may reach further below the log start than each.
		ge, we := epochCache(g.Epochs()), epochCache(w.Epochs())
		ge.drop(gs.LogStart)
		we.drop(ws.LogStart)
		if !slices.Equal(ge, we) {
			t.Fatalf("%s: log %d has epochs %v, want %v", when, i, g.Epochs(), w.Epochs())
		}
		if !bytes.Equal(g.mu.producers.encode(nil, fixedProducers{}), w.mu.producers.encode(nil, fixedProducers{})) ||
			!bytes.Equal(g.mu.producers.transactions.encode(nil), w.mu.producers.transactions.encode(nil)) {
			t.Fatalf("%s: log %d is %s\nwant %s", when, i, show(g), show(w))
		}
		if a, b := got.latest(g), want.latest(w); !maps.Equal(a, b) {
			t.Fatalf("%s: log %d tells\n%v\nwant\n%v\n%s", when, i, a, b, show(g))
		}
		if a, b := got.committed(g), want.committed(w); !maps.Equal(a, b) {
			t.Fatalf("%s: log %d tells readers of committed records\n%v\nwant\n%v\n%s", when, i, a, b, show(g))
		}
		got.wantCounted(g)
	}
}

// wantCounted derives from the index what is counted in passing.
func (h *hand) wantCounted(l *Log) {
	h.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes, committed, latest := int64(0), 0, int64(-1<<62)
	last := l.firstLocked()
	for i := range l.mu.index.len() {
		e := l.mu.index.at(i)
		bytes += int64(e.bytes)
		if latest = max(latest, e.newest); e.latest != latest || e.base != last {
			h.t.Fatalf("%v: batch %d is %+v, want it at %d, latest %d", l.partition, i, e, last, latest)
		}
		if last = e.end(); last <= l.mu.highWatermark {
			committed++
		}
		if i > 0 && i < l.mu.settled && l.mu.index.at(i-1).at.Compare(e.at) >= 0 {
			h.t.Fatalf("%v: batch %d lies at %v, behind %v", l.partition, i, l.mu.index.at(i-1).at, e.at)
		}
	}
	if bytes != l.mu.bytes || committed != l.mu.committed || last != l.mu.end {
		h.t.Fatalf("%v: %d bytes, %d committed, end %d; counted %d, %d, %d", l.partition,
			l.mu.bytes, l.mu.committed, l.mu.end, bytes, committed, last)
	}
}

// Two stores do the same, and one of them drains and compacts meanwhile: nobody who reads to the end can
// tell, nor after a restart.
func TestCompactedStoreTellsReadersTheSame(t *testing.T) {
	var total CompactionStats
	aborted, portions, merged := 0, 0, int64(0)
	seeds := uint64(12)
	if testing.Short() {
		seeds = 4
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		plain, compacted := waltest.New(), waltest.New()
		table := &catalogtest.Catalog{}
		ratio, keys := float64(seed%3)*0.25, int64(2+seed%9)
		for session := range uint64(4) {
			when := fmt.Sprintf("seed %d, session %d", seed, session)
			want, err := openHand(t, plain, seed*10+session)
			if err != nil {
				t.Fatal(err)
			}
			want.keep(keyedLogs)
			got, err := openCompacting(t, compacted, seed*10+session, table, ratio, keys, func(c *Config) {
				c.portionBytes = [...]int64{1, 6 << 10, 1 << 30}[seed%3]
			})
			if err != nil {
				t.Fatalf("%s: open: %v", when, err)
			}
			got.draining = rand.New(rand.NewPCG(seed, session))
			want.clock.advance(time.Duration(session) * 20 * time.Second)
			got.clock.advance(time.Duration(session) * 20 * time.Second)
			want.epoch, got.epoch = topic.Epoch(1+1000*session), topic.Epoch(1+1000*session)
			for i, l := range want.logs { // A compaction remembers what was committed, and is sooner than a checkpoint.
				l.SetHighWatermark(got.logs[i].State().HighWatermark)
			}
			wantSame(t, when+", opened", got, want)
			want.run(1500)
			got.run(1500)
			wantSame(t, when, got, want)
			for _, l := range want.logs {
				aborted += len(l.mu.producers.transactions.aborted)
			}
			for _, l := range got.logs {
				aborted -= len(l.mu.producers.transactions.aborted)
			}
			want.close()
			got.close()
			now := got.store.Stats().Compaction
			total.Logs, total.SavedBytes = total.Logs+now.Logs, total.SavedBytes+now.SavedBytes
			total.Uncleanable += now.Uncleanable
			portions += len(got.store.drainer.spent)
			merged += got.store.Stats().Drain.Merged
		}
	}
	if total.Logs < 30*int64(seeds) || portions < 100*int(seeds) || total.SavedBytes < int64(seeds)<<18 || total.Uncleanable != 0 || aborted < int(seeds) || merged < 4*int64(seeds) {
		t.Fatalf("too little was compacted: %+v, %d aborted transactions were forgotten, %d packs merged", total, aborted, merged)
	}
	t.Logf("%+v in %d portions and more, %d aborted transactions were forgotten, %d packs merged", total, portions, aborted, merged)
}

// views are what all logs tell.
func (h *hand) views() []map[string]newest {
	views := make([]map[string]newest, len(h.logs))
	for i, l := range h.logs {
		views[i] = h.latest(l)
	}
	return views
}

func sameViews(a, b []map[string]newest) bool {
	return slices.EqualFunc(a, b, maps.Equal[map[string]newest, map[string]newest])
}

// Power is lost at changes of the disk while logs are drained and compacted. What is found tells readers
// what the logs told them at some moment at or after the last one that was durable.
func TestPowerLossWhileCompactingLosesNothing(t *testing.T) {
	for name, bytes := range map[string]int64{"at once": 1 << 30, "in portions": 2 << 10} {
		t.Run(name, func(t *testing.T) { losePowerCompacting(t, bytes) })
	}
}

func losePowerCompacting(t *testing.T, portionBytes int64) {
	t.Helper()
	const steps, seed = 1200, 6
	portioned := func(c *Config) { c.portionBytes = portionBytes }
	open := func(fs *waltest.FS) (*hand, *catalogtest.Catalog, error) {
		table := dyingCatalog(fs)
		h, err := openCompacting(t, fs, seed, table, 0, 100, portioned)
		h.draining = rand.New(rand.NewPCG(seed, 9))
		return h, table, err
	}
	type told struct {
		records, durable int
		views            []map[string]newest
	}
	twin, err := openHand(t, waltest.New(), seed)
	if err != nil {
		t.Fatal(err)
	}
	twin.keep(keyedLogs)
	history := []told{{0, 0, twin.views()}}
	for range steps {
		twin.step()
		history = append(history, told{twin.counter.records, twin.durable, twin.views()})
	}
	h, _, err := open(waltest.New())
	if err != nil {
		t.Fatal(err)
	}
	h.run(steps)
	changes := h.fs.Changes()
	if done := h.store.Stats().Compaction; done.Logs < 6 || h.drained < 5 {
		t.Fatalf("only %d files were drained: %+v", h.drained, done)
	}
	if h.store.Stats().Drain.Merged == 0 && portionBytes < 1<<30 {
		t.Fatalf("no packs were merged: %+v", h.store.Stats().Drain)
	}
	if many := len(h.store.drainer.spent) > 10; many != (portionBytes < 1<<30) {
		t.Fatalf("got %d portions", len(h.store.drainer.spent))
	}
	step := 11
	if testing.Short() {
		step = 50
	}
	for at := 1; at <= changes; at += step {
		fs := waltest.New()
		fs.CrashAfter(at)
		h, table, err := open(fs)
		done := 0
		for err == nil && done < steps && h.store.mu.failed == nil {
			h.step()
			done++
		}
		found, err := openCompacting(t, fs.Crash(rand.New(rand.NewPCG(uint64(at), 5))), 2, table.Clone(), 0, 100, portioned)
		if err != nil {
			t.Fatalf("change %d: open: %v", at, err)
		}
		got, durable := found.views(), history[max(0, done-1)].durable
		if !slices.ContainsFunc(history[:done+1], func(m told) bool { return m.records >= durable && sameViews(m.views, got) }) {
			t.Fatalf("change %d: the logs tell what they never told, after %d steps", at, done)
		}
		for more := true; more; {
			if more, err = found.driver.Compact(1 << 20); err != nil {
				t.Fatalf("change %d: compact: %v", at, err)
			}
		}
		if found.wantTallied(); !sameViews(found.views(), got) {
			t.Fatalf("change %d: compacting what was found changed what it tells", at)
		}
	}
}

// Everything at once, for the race detector: writers of keys, readers from the start, drains and
// compactions. Every reader comes to know the newest value of each key at the end that it was told of.
func TestReadersNeverMissTheNewestWhileLogsAreCompacted(t *testing.T) {
	const writers, writes, keys = 3, 300, 7
	ticks := &clock{}
	s := openReal(t, waltest.New(), 1, func(c *Config) {
		c.WAL.FileBytes, c.Catalog, c.CompactBackoff, c.Now = 64<<10, &catalogtest.Catalog{}, time.Millisecond, ticks.now
		c.WAL.Cache, c.portionBytes = wal.Cache{BytesMax: 64 << 10, ChunkBytes: 4 << 10}, 16<<10
	})
	s.CompactBy(func(topic.Partition) (Compaction, bool) { return Compaction{LagMax: 30 * time.Second}, true })
	l := leader(s, 0, 1)
	stop := start(s)
	done := make(chan struct{})
	var work, background sync.WaitGroup
	for writer := range writers {
		work.Go(func() {
			for i := range writes {
				b := build(spec{key: []byte{byte((i + writer) % keys)}, value: make([]byte, 700), idempotent: true,
					producer: int64(writer), sequence: int32(i)})
				if _, err := appendDurable(l, b); err != nil {
					t.Errorf("append: %v", err)
					return
				}
				l.SetHighWatermark(l.State().DurableEnd)
			}
		})
	}
	background.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				ticks.advance(time.Second)
				s.Tick()
			}
		}
	})
	for range 2 {
		background.Go(func() {
			for last := map[byte]int64{}; ; {
				select {
				case <-done:
					return
				default:
					last = readKeys(t, l, last)
				}
			}
		})
	}
	work.Wait()
	for s.Stats().Compaction.Logs < 3 || s.Stats().Drain.WaitingBytes > 0 {
		ticks.advance(time.Second)
	}
	close(done)
	background.Wait()
	if err := stop(); err != nil {
		t.Fatalf("run: %v", err)
	}
	if got := len(readKeys(t, l, nil)); got != keys {
		t.Errorf("got %d keys, want %d", got, keys)
	}
	t.Logf("%+v, %d batches are left of %d", s.Stats().Compaction, l.mu.index.len(), writers*writes)
}

// readKeys reads a log from its start, and wants no key to be older than it was before.
func readKeys(t *testing.T, l *Log, before map[byte]int64) map[byte]int64 {
	t.Helper()
	found := map[byte]int64{}
	var reader Reader
	for from := topic.Offset(0); ; {
		got, err := reader.Read(l, Query{From: from, BytesMax: 8 << 10, MinOne: true})
		batches := whole(got.Batches)
		if reader.Release(); err != nil {
			t.Errorf("read at %d: %v", from, err)
			return before
		}
		if len(batches) == 0 {
			break
		}
		for _, b := range batches {
			h, err := batch.ParseHeader(b)
			if err != nil || topic.Offset(h.BaseOffset) > from || topic.Offset(h.LastOffset()) < from {
				t.Errorf("read at %d: got a batch from %d to %d, %v", from, h.BaseOffset, h.LastOffset(), err)
				return before
			}
			for r, err := range batch.Records(b) {
				if err != nil {
					t.Error(err)
					return before
				}
				found[r.Key[0]] = r.Offset
			}
			from = topic.Offset(h.LastOffset()) + 1
		}
	}
	for key, offset := range before {
		if now, ok := found[key]; !ok || now < offset {
			t.Errorf("key %d was at %d and is at %d", key, offset, now)
		}
	}
	return found
}

// A follower whose log ends within what stands for dropped records is given the rest of it, and of nothing
// else.
func TestEntryOfASpanBeginsWhereAFollowerEnds(t *testing.T) {
	span := Entry{Epoch: 4, PrevEpoch: 3, Base: 10, Count: 20, Payload: batch.Span(10, 29, 4)}
	whole := Entry{Epoch: 4, PrevEpoch: 3, Base: 10, Count: 3, Payload: placed(spec{count: 3}, 10, 4)}
	for name, c := range map[string]struct {
		entry Entry
		from  topic.Offset
		want  topic.Offset
	}{
		"before it":     {span, 5, 10},
		"at its start":  {span, 10, 10},
		"within":        {span, 17, 17},
		"the last one":  {span, 29, 29},
		"behind it":     {span, 30, 10},
		"of records":    {whole, 11, 10},
		"not a payload": {Entry{Base: 10, Count: 20}, 17, 10},
	} {
		got := c.entry.From(c.from)
		if got.Base != c.want || got.Base+topic.Offset(got.Count) != c.entry.Base+topic.Offset(c.entry.Count) {
			t.Errorf("%s: got %d and %d more, want from %d on", name, got.Base, got.Count, c.want)
		}
		if c.want == c.entry.Base {
			continue
		}
		h, err := batch.ParseHeader(got.Payload)
		if err != nil || topic.Offset(h.BaseOffset) != c.want || h.LastOffset() != 29 || h.PartitionLeaderEpoch != 4 || !h.Spans() {
			t.Errorf("%s: got the batch %+v, %v", name, h, err)
		}
		if got.PrevEpoch != 4 {
			t.Errorf("%s: got epoch %d before it, want its own", name, got.PrevEpoch)
		}
	}
}
