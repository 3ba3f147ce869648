package partition

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// press is a driven store of which the log `one` is compacted, as often as it is told to.
type press struct {
	testing.TB
	fs     *waltest.FS
	table  *catalogtest.Catalog
	store  *Store
	driver *Driver
	one    *Log
	filler *Log
	rules  Compaction
	// session is the last one's.
	session topic.Session
}

func newPress(tb testing.TB, adjust ...func(*Config)) *press {
	tb.Helper()
	p := &press{TB: tb, fs: waltest.New(), table: &catalogtest.Catalog{}, rules: Compaction{LagMax: maxAge}}
	p.open(adjust...)
	return p
}

// open starts the node, once more after it was killed.
func (p *press) open(adjust ...func(*Config)) {
	p.Helper()
	p.session++
	p.store = openReal(p, p.fs, p.session, append([]func(*Config){func(c *Config) {
		c.WAL.FileBytes, c.Catalog, c.TailBytesMax = 64<<10, p.table, 1
	}}, adjust...)...)
	p.store.CompactBy(func(q topic.Partition) (Compaction, bool) { return p.rules, q.Index == 0 })
	var err error
	if p.driver, err = p.store.Drive(); err != nil {
		p.Fatal(err)
	}
	p.one = p.store.Create(topic.Partition{Topic: p0.Topic, Index: 0})
	p.filler = leader(p.store, 1, 1)
}

// crashed is the log as a loss of power leaves it.
func (p *press) crashed() *Log {
	p.Helper()
	s := openReal(p, p.fs.Crash(rand.New(rand.NewPCG(1, 2))), 2, func(c *Config) {
		c.WAL.FileBytes, c.Catalog = 64<<10, p.table.Clone()
	})
	return s.Log(p.one.partition)
}

func (p *press) lead() { leader(p.store, 0, 1) }

func (p *press) append(l *Log, specs ...spec) {
	p.Helper()
	for _, s := range specs {
		// A coordinator's word stands for each transaction.
		g, _ := l.GuardTransaction(s.producer, s.epoch)
		if _, err := l.Append(context.Background(), build(s), AppendOptions{Acks: 1, Guard: g}); err != nil {
			p.Fatal(err)
		}
		l.DropGuard(g)
		settle(p, p.driver)
		l.SetHighWatermark(l.State().DurableEnd)
	}
}

// end appends a marker.
func (p *press) end(producer int64, commit bool) {
	p.Helper()
	e := EndTransaction{ProducerID: producer, Marker: batch.Marker{Commit: commit}}
	if _, err := p.one.AppendMarker(context.Background(), e, AppendOptions{Acks: 1}); err != nil {
		p.Fatal(err)
	}
	settle(p, p.driver)
	p.one.SetHighWatermark(p.one.State().DurableEnd)
}

// drain has everything drained that is there now.
func (p *press) drain() {
	p.Helper()
	defer func(was float64) { p.rules.DirtyRatio = was }(p.rules.DirtyRatio)
	p.copies()
	for from := p.store.walLog.End().File; ; {
		drained, err := p.driver.Drain()
		if err != nil {
			p.Fatal(err)
		}
		if sealed, waits := p.store.walLog.Sealed(); !drained && (!waits || sealed.File > from) {
			if p.store.walLog.End().File > from {
				return
			}
			p.append(p.filler, spec{value: make([]byte, 6000)})
		}
	}
}

// compact compacts the log once, and has no pack left that nobody needs.
func (p *press) compact() {
	p.Helper()
	before := p.store.Stats().Compaction.Logs
	p.work()
	if got := p.store.Stats().Compaction.Logs; got == before {
		p.Fatal("nothing was compacted")
	}
	p.sweep()
}

func (p *press) work() {
	p.Helper()
	for more := true; more; {
		var err error
		if more, err = p.driver.Compact(1 << 20); err != nil {
			p.Fatal(err)
		}
	}
}

func (p *press) sweep() {
	p.Helper()
	for range 3 {
		if _, err := p.driver.Drain(); err != nil {
			p.Fatal(err)
		}
	}
}

// follow appends what a leader sends.
func (p *press) follow(batches ...[]byte) {
	p.Helper()
	for _, b := range batches {
		h, err := batch.ParseHeader(b)
		if err != nil {
			p.Fatal(err)
		}
		err = p.one.AppendReplica(Entry{Partition: p.one.partition, Epoch: topic.Epoch(h.PartitionLeaderEpoch),
			PrevEpoch: p.one.State().TailEpoch, Base: topic.Offset(h.BaseOffset), Count: h.LastOffsetDelta + 1, Payload: b})
		if err != nil {
			p.Fatal(err)
		}
		settle(p, p.driver)
	}
}

// interrupted is a reader before whose next read something happens.
type interrupted struct {
	reader
	before func()
}

func (r *interrupted) happen() {
	if fn := r.before; fn != nil {
		r.before = nil
		fn()
	}
}

func (r *interrupted) ReadRecord(at wal.Position, encoded int64) (wal.Record, error) {
	r.happen()
	return r.reader.ReadRecord(at, encoded)
}

func (r *interrupted) Scan(from wal.Position, bytesMax int) ([]wal.Placed, wal.Position, error) {
	r.happen()
	return r.reader.Scan(from, bytesMax)
}

func at(key byte) spec { return spec{key: []byte{key}} }

// Whoever looks sees which log is compacted, and how far it is, until it is done or given up.
func TestCompactionTellsItsLogAndItsProgress(t *testing.T) {
	p := newPress(t)
	p.lead()
	fill := func() {
		for i := range 240 { // a few times what is read at once
			p.append(p.one, spec{key: []byte{byte(i % 4)}, value: make([]byte, 15_000)})
		}
		p.drain()
	}
	fill()
	if now := p.store.Stats().Compaction.Now; now != nil {
		t.Errorf("before: got %+v, want none", now)
	}
	var seen []float64
	for more := true; more; {
		var err error
		if more, err = p.driver.Compact(1); err != nil {
			t.Fatal(err)
		}
		now := p.store.Stats().Compaction.Now
		if now == nil {
			break
		}
		if now.Partition != p.one.partition || now.Bytes < 3_600_000 || now.Waiting != 0 {
			t.Fatalf("got %+v, want the log %v and all its bytes", now, p.one.partition)
		}
		seen = append(seen, now.Progress)
	}
	if len(seen) < 4 || !slices.IsSorted(seen) || seen[0] >= 0.5 || seen[len(seen)-1] < 0.5 || seen[len(seen)-1] > 1 {
		t.Errorf("progress: got %v, want it to grow over a half, to at most 1", seen)
	}
	p.work()
	fill()
	if _, err := p.driver.Compact(1); err != nil || p.store.Stats().Compaction.Now == nil {
		t.Fatalf("got %+v, %v, want another compaction under way", p.store.Stats().Compaction, err)
	}
	if err := p.store.drainer.stop(); err != nil || p.store.Stats().Compaction.Now != nil {
		t.Errorf("given up: got %+v, %v, want none", p.store.Stats().Compaction.Now, err)
	}
}

// A reader is told which transactions were aborted, and their markers are gone when it reads: the records
// that the producer has committed since would be left out.
func TestReaderIsNotToldOfAnAbortedTransactionWhoseMarkerIsGone(t *testing.T) {
	p := newPress(t)
	p.lead()
	txn := func(key byte, sequence int32) spec {
		return spec{key: []byte{key}, idempotent: true, producer: 7, sequence: sequence, transactional: true}
	}
	p.append(p.one, at(1), txn(2, 0), at(6)) // which stays between the two
	p.end(7, false)
	p.append(p.one, at(3), txn(4, 1))
	p.end(7, true)
	p.append(p.one, at(1), at(5))
	p.drain()
	p.compact() // the aborted records go
	p.append(p.one, at(5))
	p.drain()
	p.compact() // the marker has a horizon
	if got := len(p.one.mu.producers.transactions.aborted); got != 1 {
		t.Fatalf("%d aborted transactions are known, want 1", got)
	}
	p.append(p.one, at(5))
	p.drain()
	p.rules.Now += time.Hour.Milliseconds()
	p.store.reader = &interrupted{reader: p.store.reader, before: p.compact}
	got, err := p.one.ReadCommitted(0, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	if known := len(p.one.mu.producers.transactions.aborted); known != 0 {
		t.Fatalf("%d aborted transactions are known, want none: the marker has not gone", known)
	}
	if found := p.crashed().mu.producers.transactions.aborted; len(found) != 0 {
		t.Errorf("after a loss of power %+v are known, whose markers are gone", found)
	}
	for _, a := range got.Aborted {
		marked := false
		for _, b := range got.Batches {
			h, err := batch.ParseHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			_, marker, err := batch.ParseMarker(b)
			marked = marked || err == nil && marker && topic.Offset(h.BaseOffset) == a.Last
			if !marked && h.ProducerID == a.ProducerID && h.Records > 0 && topic.Offset(h.BaseOffset) > a.Last {
				t.Errorf("the batch at %d is left out by a reader that was told of %+v", h.BaseOffset, a)
			}
		}
	}
}

// A follower has spans above the high watermark that it knows of, as after a restart. They stay apart from
// what is committed, or a cut at the high watermark would go below it.
func TestCompactionLeavesSpansAboveTheHighWatermarkApart(t *testing.T) {
	p := newPress(t)
	p.follow(placed(at(1), 0, 1), placed(at(1), 1, 1), batch.Span(2, 9, 1), batch.Span(10, 19, 1),
		batch.Span(20, 29, 1), batch.Span(30, 39, 1))
	p.one.SetHighWatermark(10)
	p.drain()
	p.compact()
	p.one.mu.Lock()
	committed, n := p.one.mu.committed, p.one.mu.index.len()
	var last topic.Offset
	for i := range committed {
		last = p.one.mu.index.at(i).end()
	}
	p.one.mu.Unlock()
	if last != 10 {
		t.Errorf("%d of %d batches are committed, up to %d, want 10", committed, n, last)
	}
	if err := p.one.Truncate(20); err != nil {
		t.Fatal(err)
	}
	if s := p.one.State(); s.LogEnd != 20 || s.HighWatermark != 10 {
		t.Errorf("after a cut to 20 the log is %+v", s)
	}
	p.one.SetHighWatermark(20)
	if got, err := p.one.Read(10, 1<<20, true); err != nil || len(got.Batches) != 1 {
		t.Errorf("read at 10: %d batches, %v", len(got.Batches), err)
	}
}

// Under an interval something is always appended that is not synced yet.
func TestCompactionEndsWhileGroupsAreAlwaysUnsynced(t *testing.T) {
	p := newPress(t, func(c *Config) { c.WAL.Sync.Interval = time.Second })
	p.lead()
	for i := range byte(20) {
		p.append(p.one, at(i%3))
	}
	tick := func() {
		if err := p.driver.Tick(); err != nil {
			t.Fatal(err)
		}
		settle(t, p.driver)
	}
	for sealed := false; !sealed; { // a file is drained once all of it is synced
		p.append(p.filler, spec{value: make([]byte, 6000)})
		tick()
		_, sealed = p.store.walLog.Sealed()
	}
	p.drain()
	for range 10 {
		tick()
		p.append(p.filler, spec{})
		if reported, synced := p.store.walLog.Sequences(); synced >= reported {
			t.Fatalf("group %d is synced of %d: nothing to wait for", synced, reported)
		}
		if _, err := p.driver.Compact(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.store.Stats().Compaction.Logs; got == 0 {
		t.Error("nothing was compacted")
	}
}

// A producer's last batch stays although nothing is left in it; its time is nobody's.
func TestTimeLookupPassesOverBatchesThatCompactionHasEmptied(t *testing.T) {
	p := newPress(t)
	p.lead()
	p.append(p.one, spec{key: []byte{1}, timestamp: 10}, spec{key: []byte{2}, timestamp: 90, idempotent: true},
		spec{key: []byte{2}, timestamp: 20}, spec{key: []byte{3}, timestamp: 80})
	p.drain()
	p.compact()
	if got, err := p.one.Read(1, 1, true); err != nil || len(got.Batches) != 1 {
		t.Fatalf("read at 1: %d batches, %v", len(got.Batches), err)
	} else if h, err := batch.ParseHeader(got.Batches[0]); err != nil || h.Records != 0 || h.ProducerID != 0 {
		t.Fatalf("the batch at 1 is %+v, %v, want an empty one", h, err)
	}
	if offset, found, _, err := p.one.OffsetForTime(70); offset != 3 || found != 80 || err != nil {
		t.Errorf("the first record at 70 is at %d, of %d, %v; want 3, 80", offset, found, err)
	}
	if offset, found, _, err := p.one.MaxTimestamp(); offset != 3 || found != 80 || err != nil {
		t.Errorf("the newest record is at %d, of %d, %v; want 3, 80", offset, found, err)
	}
}

// Whoever reads knows a place in a pack. When that is gone no other pack has its name, also if a start has found it.
func TestCompactionsNeverUseANumberTwice(t *testing.T) {
	p := newPress(t)
	p.lead()
	two := leader(p.store, 2, 1)
	p.append(p.one, at(1), at(1))
	p.append(two, at(1), at(1))
	p.drain()
	p.compact()
	first, _ := p.one.Position(1)
	again := openReal(t, p.fs.Clone(), 2, func(c *Config) { c.WAL.FileBytes, c.Catalog = 64<<10, p.table.Clone() })
	if got := again.drainer.compacted; got < first.File&^wal.PackBit {
		t.Errorf("a start would use numbers above %d, of which %v is one", got, first)
	}
	if _, _, err := p.one.DeleteRecords(context.Background(), topic.NoOffset); err != nil {
		t.Fatal(err)
	}
	settle(t, p.driver)
	p.sweep()
	if _, there := p.store.drainer.packs[first.File&^wal.PackBit]; there {
		t.Fatalf("the pack of %v is still there", first)
	}
	p.store.CompactBy(func(q topic.Partition) (Compaction, bool) { return p.rules, q.Index == 2 })
	p.compact()
	if second, ok := two.Position(1); !ok || second.File <= first.File {
		t.Errorf("the second compaction wrote to %v, the first to %v", second, first)
	}
}

// slowCatalog is one beside whose next edit something happens.
type slowCatalog struct {
	Catalog
	before func()
}

func (c *slowCatalog) Apply(edits []catalog.Edit) error {
	if fn := c.before; fn != nil {
		c.before = nil
		fn()
	}
	return c.Catalog.Apply(edits)
}

// A batch that is found damaged while its successor is being recorded is not damaged any more.
func TestCompactionHealsDamageOfWhatItHasRead(t *testing.T) {
	p := newPress(t)
	p.lead()
	p.append(p.one, at(1), at(2), at(1))
	p.drain()
	p.one.mu.Lock()
	old := p.one.mu.index.at(1)
	p.one.mu.Unlock()
	table := p.store.cfg.Catalog
	p.store.cfg.Catalog = &slowCatalog{Catalog: table, before: func() { p.one.noteDamage(old) }}
	p.compact()
	if s := p.one.State(); s.Damaged {
		t.Errorf("the batch at %d is still taken for damaged", s.DamagedAt)
	}
}

// What superseded the records that are gone is committed for whoever reads after a loss of power, which
// takes back what else was known of the high watermark.
func TestPowerLossLeavesWhatSupersededTheRestCommitted(t *testing.T) {
	p := newPress(t)
	p.lead()
	p.append(p.one, at(1), at(2), at(1), at(2))
	p.drain()
	p.compact()
	l := p.crashed()
	if got := l.State().HighWatermark; got != 4 || l.mu.compacted != 4 {
		t.Errorf("the high watermark is %d, compacted up to %d, want 4, 4", got, l.mu.compacted)
	}
}

// A file is drained between two slices of a compaction, which knows nothing of its batches.
func TestCompactionKeepsWhatWasDrainedMeanwhile(t *testing.T) {
	p := newPress(t)
	p.lead()
	p.append(p.one, at(1), at(2), at(1))
	p.drain()
	if more, err := p.driver.Compact(1); err != nil || !more {
		t.Fatalf("the first slice: %v, %v, want more", more, err)
	}
	p.append(p.one, at(2), at(3))
	p.drain()
	p.compact()
	for name, l := range map[string]*Log{"": p.one, " after a loss of power": p.crashed()} {
		next := topic.Offset(0)
		for _, b := range l.pieces(0, 5, 1<<20) {
			if b.base != next {
				t.Errorf("a batch at %d%s, want one at %d", b.base, name, next)
			}
			next = b.end()
		}
		if next != 5 {
			t.Errorf("the batches end at %d%s, want 5", next, name)
		}
	}
}

// While a compaction is being recorded nothing is cut that it is about: the catalog would have batches
// across the cut.
func TestNothingIsCutIntoACompactionThatIsBeingRecorded(t *testing.T) {
	for name, cut := range map[string]func(l *Log) error{
		"truncate": func(l *Log) error { return l.Truncate(2) },
		"reset":    func(l *Log) error { return l.Reset(2, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPress(t)
			p.follow(placed(at(1), 0, 1), placed(at(1), 1, 1), placed(at(1), 2, 1), placed(at(1), 3, 1))
			p.one.SetHighWatermark(3)
			p.drain()
			var refused error
			p.store.cfg.Catalog = &slowCatalog{Catalog: p.table, before: func() { refused = cut(p.one) }}
			p.compact()
			if !errors.Is(refused, wal.ErrFull) {
				t.Errorf("cut while a compaction is recorded: %v, want wal.ErrFull", refused)
			}
			if err := cut(p.one); err != nil {
				t.Errorf("cut afterwards: %v", err)
			}
		})
	}
}

// Batches are compacted of which memory has the bytes still.
func TestTailOfACompactedLogHoldsItsOwnBatches(t *testing.T) {
	p := newPress(t, func(c *Config) { c.TailBytesMax = 1 << 20 })
	p.lead()
	p.append(p.one, at(1), at(2), at(1), at(2))
	p.drain()
	p.append(p.one, at(1))
	p.compact()
	got, err := p.one.Read(0, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	next := int64(0)
	for _, b := range got.Batches {
		h, err := batch.ParseHeader(b)
		if err != nil || h.BaseOffset != next {
			t.Errorf("a batch from %d to %d, %v; want one from %d on", h.BaseOffset, h.LastOffset(), err, next)
		}
		next = h.LastOffset() + 1
	}
	if next != 5 {
		t.Errorf("the batches end at %d, want 5", next)
	}
}

// A read that meets a rewrite every time says nothing of offsets: a consumer that is told that its offset is
// out of range begins elsewhere.
func TestLogRewrittenAgainAndAgainHasNoOffsetOutOfRange(t *testing.T) {
	calls := 0
	err := untilStill(func() error {
		calls++
		return errRewritten
	})
	if !errors.Is(err, wal.ErrMoved) || errors.Is(err, ErrOffsetOutOfRange) || calls != rereadsMax {
		t.Errorf("got %v after %d calls, want ErrMoved after %d", err, calls, rereadsMax)
	}
	calls = 0
	err = untilStill(func() error {
		if calls++; calls < 3 {
			return errRewritten
		}
		return ErrNotReady
	})
	if !errors.Is(err, ErrNotReady) || calls != 3 {
		t.Errorf("got %v after %d calls, want ErrNotReady after 3", err, calls)
	}
}
