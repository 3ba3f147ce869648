package partition

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// counter counts the records that a store hands to its WAL.
type counter struct {
	appender
	records int
}

func (c *counter) Append(b wal.Budget, r wal.Record) {
	c.records++
	c.appender.Append(b, r)
}

// moment is what a store held after so many records.
type moment struct {
	records int
	digest  string
}

type logDigest struct {
	end, start topic.Offset
	cuts       uint64
	sum        [sha256.Size]byte
}

// hand drives a store from one goroutine, by random steps of one seed, and notes all that it hears.
type hand struct {
	t       testing.TB
	random  *rand.Rand
	fs      *waltest.FS
	store   *Store
	driver  *Driver
	counter *counter
	clock   *clock
	logs    []*Log
	epoch   topic.Epoch
	trace   []string
	history []moment
	// digests of the logs, at these ends and cuts.
	digests [handPartitions]logDigest
	// durable counts the records that are durable, scanned is where they end.
	durable int
	scanned wal.Position
	// draining, if set, says when a file is drained; drained counts them.
	draining *rand.Rand
	drained  int
	// sealing, if set, says when a file is sealed before it is full.
	sealing *rand.Rand
	// keyed: records have keys and nothing committed is cut; compacting: logs are compacted as well.
	keyed, compacting bool
}

func (h *hand) Sealed(entries []Entry) {
	for _, e := range entries {
		h.note("sealed %d at %d, epoch %d after %d", e.Partition.Index, e.Base, e.Epoch, e.PrevEpoch)
	}
}

func (h *hand) Durable(ends []DurableEnd) {
	for _, e := range ends {
		h.note("durable %d: %d of %d, cut %d", e.Partition.Index, e.DurableEnd, e.LogEnd, e.Cuts)
	}
}

func (h *hand) note(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf(format, args...))
}

const handPartitions = 12

func openHand(t *testing.T, fs *waltest.FS, seed uint64) (*hand, error) {
	t.Helper()
	return openDraining(t, fs, seed, nil)
}

// openDraining opens a hand whose store has a catalog, unless that is nil.
func openDraining(
	t *testing.T, fs *waltest.FS, seed uint64, catalog Catalog, adjust ...func(*Config),
) (*hand, error) {
	t.Helper()
	h := &hand{t: t, random: rand.New(rand.NewPCG(seed, 3)), sealing: rand.New(rand.NewPCG(seed, 6)), fs: fs, clock: &clock{}, epoch: 1}
	cfg := Config{
		WAL: wal.Config{FS: fs, Dir: "wal", Session: topic.Session(seed), FileBytes: 64 << 10,
			GroupBytesMax: 8 << 10, SparesMax: 2, DiscardBytes: 16 << 10, Cache: wal.Cache{BytesMax: 64 << 10, ChunkBytes: 4 << 10}},
		TailBytesMax:            2 << 10,
		HighWatermarkCheckpoint: time.Second,
		Catalog:                 catalog,
		Observer:                h,
		Now:                     h.clock.now,
	}
	for _, fn := range adjust {
		fn(&cfg)
	}
	store, err := Open(cfg)
	if err != nil {
		return h, err
	}
	h.store, h.counter = store, &counter{appender: store.appender}
	store.appender = h.counter
	store.SetLease(Forever)
	if h.driver, err = store.Drive(); err != nil {
		t.Fatal(err)
	}
	for i := range int32(handPartitions) {
		h.logs = append(h.logs, store.Create(topic.Partition{Topic: p0.Topic, Index: i}))
	}
	h.history = []moment{{0, h.digest()}}
	return h, nil
}

// digest is all batches of all logs.
func (h *hand) digest() string {
	var all strings.Builder
	for i, l := range h.logs {
		d := &h.digests[i]
		if state := l.State(); state.LogEnd != d.end || state.Cuts != d.cuts || state.LogStart != d.start {
			*d = logDigest{end: state.LogEnd, start: state.LogStart, cuts: state.Cuts, sum: h.digestLog(l, state)}
		}
		all.Write(d.sum[:])
	}
	return all.String()
}

func (h *hand) digestLog(l *Log, state State) (digest [sha256.Size]byte) {
	sum := sha256.New()
	pieces := l.pieces(state.LogStart, state.LogEnd, 1<<30)
	if _, err := l.load(pieces); err != nil && !errors.Is(err, waltest.ErrCrashed) {
		h.t.Fatalf("load: %v", err)
	}
	for _, p := range pieces {
		fmt.Fprintf(sum, "\n%d %d ", p.base, p.epoch)
		sum.Write(p.payload)
	}
	if len(pieces) > 0 {
		sum.Sum(digest[:0])
	}
	return digest
}

// tolerate passes over the ends that a test brings about.
func (h *hand) tolerate(what string, err error) {
	if err != nil {
		h.note("%s: %v", what, err)
		if !errors.Is(err, wal.ErrFailed) && !errors.Is(err, wal.ErrFull) &&
			!errors.Is(err, ErrNotEnoughReplicas) && !errors.Is(err, waltest.ErrCrashed) {
			h.t.Fatalf("%s: %v", what, err)
		}
	}
}

func (h *hand) append(l *Log) {
	value := make([]byte, h.random.IntN(1500))
	for i := range value {
		value[i] = byte(h.random.Uint32())
	}
	s := spec{value: value, idempotent: true, producer: h.random.Int64N(1 << 40), timestamp: int64(h.clock.now() / time.Millisecond)}
	if h.keyed {
		s.key, s.tombstone = []byte{byte(h.random.IntN(6))}, h.random.IntN(8) == 0
		s.count = 1 + h.random.Int32N(3)
	}
	state := l.State()
	if !state.Role.Leading {
		epoch := max(h.epoch, state.TailEpoch)
		if kind := h.random.IntN(6); kind < 3 {
			s.transactional, s.producer = true, h.random.Int64N(4)
			if kind == 0 || h.keyed && kind == 1 {
				s.count = 1
				s.marker = &batch.Marker{Commit: h.random.IntN(2) == 0, CoordinatorEpoch: 1}
			}
		}
		h.tolerate("replicate", l.AppendReplica(Entry{Partition: l.partition, Epoch: epoch,
			PrevEpoch: state.TailEpoch, Base: state.LogEnd, Count: s.length(),
			Payload: placed(s, state.LogEnd, epoch)}))
		return
	}
	a, err := l.Append(expired(), build(s), AppendOptions{Acks: 1})
	h.tolerate("append", err)
	if err == nil {
		await := func(kind string) func(error) {
			return func(err error) { h.note("%s %d to %d: %v", kind, l.partition.Index, a.End, err) }
		}
		l.AwaitDurable(a.Epoch, a.End, await("durable wait"))
		l.AwaitCommit(a.Epoch, a.End, await("commit wait"))
	}
}

// step does one thing.
func (h *hand) step() {
	used := h.store.walLog.End().File
	if _, ok := h.store.walLog.Born(used); ok && h.sealing != nil && h.sealing.IntN(100) == 0 { // as in a twin that is not drained
		h.store.walLog.Seal(used)
	}
	if h.draining != nil && h.draining.IntN(20) == 0 {
		drain := h.driver.Drain
		if h.draining.IntN(2) == 0 {
			drain = h.driver.Adopt
			h.store.digests.mu.Lock()
			h.store.digests.bytesMax = h.draining.IntN(16 << 10) // Some files have no digest.
			h.store.digests.mu.Unlock()
		}
		drained, err := drain()
		h.tolerate("drain", err)
		if drained {
			h.drained++
		}
	}
	if h.compacting && h.draining.IntN(10) == 0 {
		_, err := h.driver.Compact(h.draining.Int64N(20 << 10))
		h.tolerate("compact", err)
	}
	i := h.random.IntN(len(h.logs))
	l := h.logs[i]
	state := l.State()
	if h.random.IntN(100) == 0 && (!h.keyed || h.random.IntN(10) == 0) {
		h.tolerate("remove", h.store.Remove(l.partition))
		h.logs[i], h.digests[i] = h.store.Create(l.partition), logDigest{}
		l, state = h.logs[i], h.logs[i].State()
	}
	switch h.random.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		h.append(l)
	case 6:
		h.shorten(l, state)
	case 7, 8:
		l.SetHighWatermark(topic.Offset(h.random.IntN(int(state.LogEnd) + 1)))
	case 9:
		h.epoch++
		l.Assume(Role{Leading: h.random.IntN(2) == 0, Epoch: h.epoch, AcceptOne: true, Ready: true})
	case 10:
		h.clock.advance(400 * time.Millisecond)
		h.store.Tick()
	case 11, 12:
		h.tolerate("prepare", h.driver.Prepare())
	case 13, 14, 15:
		h.tolerate("turn", h.driver.Turn())
	case 16, 17:
		h.driver.Disk()
	default:
		h.tolerate("complete", h.driver.Complete())
	}
	if !h.keyed {
		h.history = append(h.history, moment{h.counter.records, h.digest()})
	}
	h.count()
}

// shorten cuts a log, or moves its start.
func (h *hand) shorten(l *Log, state State) {
	to := topic.Offset(h.random.IntN(int(state.LogEnd) + 1))
	kind := h.random.IntN(8)
	switch { // a compacted log is not cut below what is committed, and starts seldom move
	case h.keyed && kind >= 4:
		l.mu.Lock()
		to, _ = l.boundaryLocked(max(to, state.HighWatermark))
		l.mu.Unlock()
		if to < state.HighWatermark {
			return // it lies within a batch
		}
	case h.keyed:
		to /= 4
		if h.random.IntN(6) > 0 {
			return
		}
	}
	switch {
	case kind == 0 && state.Role.Leading:
		_, _, err := l.DeleteRecords(expired(), min(to, state.HighWatermark))
		if !errors.Is(err, ErrNotReady) {
			h.tolerate("delete records", err)
		}
	case state.Role.Leading:
	case kind == 0:
		h.tolerate("reset", l.Reset(to, state.TailEpoch))
	case kind < 4:
		h.tolerate("move the start", l.MoveStart(to))
	default:
		h.tolerate("truncate", l.Truncate(to))
	}
}

// count follows the durable end of the WAL.
func (h *hand) count() {
	for {
		records, next, err := h.store.reader.Scan(h.scanned, 1<<20)
		h.durable, h.scanned = h.durable+len(records), next
		if err != nil {
			if !isEnd(err) && !errors.Is(err, waltest.ErrCrashed) {
				h.t.Fatalf("scan: %v", err)
			}
			return
		}
	}
}

// run goes on until so many steps are done or the file system dies.
func (h *hand) run(steps int) {
	for i := range steps {
		if h.store.mu.failed != nil {
			return
		}
		h.step()
		if i%32 == 0 {
			h.wantTallied()
		}
	}
}

// wantTallied walks the batches of all logs for what is counted of packs as it changes, and wants each pack there.
func (h *hand) wantTallied() {
	h.t.Helper()
	for _, l := range h.store.snapshot() {
		l.mu.Lock()
		var walked tally
		for i := range l.mu.index.len() {
			e := l.mu.index.at(i)
			if i > 0 && i < l.mu.settled && l.mu.index.at(i-1).at.Compare(e.at) >= 0 {
				h.t.Fatalf("%v: the batch at %d lies at %v, behind the next one at %v", l.partition,
					l.mu.index.at(i-1).base, l.mu.index.at(i-1).at, e.at)
			}
			walked.add(e.at, int64(e.encoded))
		}
		if counted := l.mu.index.packs; !slices.Equal(walked, counted) {
			h.t.Fatalf("%v: got %v counted in packs, want %v", l.partition, counted, walked)
		}
		l.mu.Unlock()
		for _, p := range walked {
			if _, there := h.store.drainer.packs[p.number]; !there && h.store.mu.failed == nil {
				h.t.Fatalf("%v: pack %d is gone, and %d bytes in it are needed", l.partition, p.number, p.bytes)
			}
		}
	}
}

func contents(fs *waltest.FS) string {
	names, err := fs.List("wal")
	if err != nil {
		return err.Error()
	}
	var all strings.Builder
	for _, name := range names {
		fmt.Fprintf(&all, "%s\n%s\n", name, fs.Content("wal/"+name))
	}
	return all.String()
}

// The same seed gives the same bytes in the files and the same callbacks in the same order.
func TestSameSeedDrivesTheSameStore(t *testing.T) {
	for seed := range uint64(5) {
		var runs [2]*hand
		for i := range runs {
			h, err := openHand(t, waltest.New(), seed+1)
			if err != nil {
				t.Fatal(err)
			}
			h.run(1500)
			if h.durable < 100 {
				t.Fatalf("only %d records became durable", h.durable)
			}
			if err := h.driver.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			if err := h.store.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			runs[i] = h
		}
		if !slices.Equal(runs[0].trace, runs[1].trace) {
			t.Fatalf("seed %d: two traces", seed)
		}
		if contents(runs[0].fs) != contents(runs[1].fs) {
			t.Fatalf("seed %d: two contents", seed)
		}
	}
}

// Power is lost at each change of the disk in turn. What is found is what the store held after some
// number of records, and no durable record is missing.
func TestPowerLossAtEveryChangeLeavesAMomentOfTheStore(t *testing.T) {
	const steps = 700
	h, err := openHand(t, waltest.New(), 1)
	if err != nil {
		t.Fatal(err)
	}
	h.run(steps)
	changes := h.fs.Changes()
	if changes < 100 || h.durable < 50 {
		t.Fatalf("%d changes and %d durable records are too few", changes, h.durable)
	}
	for at := 1; at <= changes; at++ {
		fs := waltest.New()
		fs.CrashAfter(at)
		h, err := openHand(t, fs, 1)
		if err == nil {
			h.run(steps)
		}
		if _, err := fs.List("wal"); !errors.Is(err, waltest.ErrCrashed) {
			t.Fatalf("change %d: the file system lives: %v", at, err)
		}
		found, err := openHand(t, fs.Crash(rand.New(rand.NewPCG(uint64(at), 5))), 2)
		if err != nil {
			t.Fatalf("change %d: open: %v", at, err)
		}
		found.count()
		if found.durable < h.durable {
			t.Fatalf("change %d: %d records are found, %d were durable", at, found.durable, h.durable)
		}
		if len(h.history) == 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(h.history, found.durable+1,
			func(m moment, records int) int { return m.records - records })
		if found.history[0].digest != h.history[i-1].digest {
			t.Fatalf("change %d: after %d of %d records the store is another", at, found.durable,
				h.counter.records)
		}
	}
}

// Append by hand must never wait: without room, without space, and without anybody who turns the WAL.
func TestAppendWithAnEndedContextNeverWaits(t *testing.T) {
	h, err := openHand(t, waltest.New(), 1)
	if err != nil {
		t.Fatal(err)
	}
	l := h.logs[0]
	l.Assume(Role{Leading: true, Epoch: 1, AcceptOne: true})
	refused := error(nil)
	for range 100 {
		if _, refused = l.Append(expired(), build(spec{value: make([]byte, 4000)}),
			AppendOptions{Acks: 1}); refused != nil {
			break
		}
	}
	if !errors.Is(refused, wal.ErrFull) || !errors.Is(refused, context.Canceled) {
		t.Fatalf("append without space: got %v, want wal.ErrFull", refused)
	}
	end := l.State().LogEnd
	if err := h.driver.Turn(); err != nil {
		t.Fatal(err)
	}
	for h.driver.Writing() {
		h.driver.Disk()
		if err := h.driver.Complete(); err != nil {
			t.Fatal(err)
		}
	}
	for h.driver.Wanted() {
		if err := h.driver.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	a, err := l.Append(expired(), build(spec{}), AppendOptions{Acks: 1})
	if err != nil || a.Base != end {
		t.Fatalf("append with space again: got %d, %v; want %d", a.Base, err, end)
	}
}

// A driven store costs this for each batch in a group of its own, and in groups of eight.
func BenchmarkDrivenAppend(b *testing.B) {
	for _, batches := range []int{1, 8} {
		b.Run(fmt.Sprintf("batches=%d", batches), func(b *testing.B) {
			s := openReal(b, waltest.New(), 1)
			s.SetObserver(discard{})
			d, err := s.Drive()
			if err != nil {
				b.Fatal(err)
			}
			l := leader(s, 0, 1)
			value, ended := build(spec{value: make([]byte, 100)}), expired()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				a, err := l.Append(ended, value, AppendOptions{Acks: AcksAll})
				if err != nil {
					b.Fatal(err)
				}
				if i%batches != 0 {
					continue
				}
				for d.Wanted() {
					if err := d.Prepare(); err != nil {
						b.Fatal(err)
					}
				}
				if err := d.Turn(); err != nil {
					b.Fatal(err)
				}
				d.Disk()
				if err := d.Complete(); err != nil {
					b.Fatal(err)
				}
				l.SetHighWatermark(a.End)
			}
		})
	}
}
