package partition

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

func TestSpillReusesWhatIsGivenBackAndIsOpenAboutALackOfRoom(t *testing.T) {
	var told bytes.Buffer
	room := 1
	s := newSpill(slog.New(slog.NewTextHandler(&told, nil)), func(bytes int) ([]byte, error) {
		if room--; room < 0 {
			return nil, errors.New("no space left")
		}
		return make([]byte, bytes), nil
	})
	random := rand.New(rand.NewPCG(1, 1))
	slots := map[string][]byte{}
	put := func() bool {
		b := make([]byte, 1+random.IntN(spillLargest))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		slot, ok := s.put(b)
		if ok {
			slots[string(b)] = slot
		}
		return ok
	}
	for put() {
	}
	full, file := s.Bytes()
	if file != spillSegmentBytes || full < file-spillLargest {
		t.Fatalf("%d of %d bytes are in use when the first finds no room", full, file)
	}
	for range 5 {
		put()
	}
	if n := strings.Count(told.String(), "no space left"); n != 1 {
		t.Errorf("the lack of room was told %d times, want once:\n%s", n, told.String())
	}
	for content, slot := range slots {
		if content != string(slot) {
			t.Fatal("a slot holds what was put into another")
		}
		if random.IntN(2) == 0 {
			s.give(slot)
			delete(slots, content)
		}
	}
	half, _ := s.Bytes()
	for range 200 {
		put()
	}
	if used, file := s.Bytes(); used <= half || file != spillSegmentBytes {
		t.Errorf("%d of %d bytes are in use, %d were before room was made: slots are not used again", used, file, half)
	}
	for content, slot := range slots {
		if content != string(slot) {
			t.Fatal("a slot holds what was put into another")
		}
	}
	room = 1
	if slot, ok := s.put(make([]byte, spillLargest)); !ok || len(slot) != spillLargest {
		t.Error("there is room again, and it is not used")
	}
	if _, ok := s.put(make([]byte, spillLargest+1)); ok {
		t.Error("more than the largest slot was taken")
	}
}

// Failure mode: memory that grows with what is stored. What a node knows of drained batches leaves the heap, is read there
// as before, comes back after a restart, and goes with its log.
func TestWhatIsKnownOfDrainedBatchesLeavesTheHeap(t *testing.T) {
	spill, err := OpenSpill(t.TempDir(), slog.New(slog.DiscardHandler))
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	fs, table := waltest.New(), &catalogtest.Catalog{}
	session := uint64(0)
	reopen := func() *hand {
		session++
		h, err := openDraining(t, fs, session, table, func(c *Config) { c.Spill = spill })
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := reopen()
	log := h.logs[0]
	log.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true, AcceptOne: true, Ready: true})
	const batches = 12 * chunkLength
	for i := range batches {
		_, err := log.Append(expired(), build(spec{timestamp: int64(i)}), AppendOptions{Acks: 1})
		if errors.Is(err, wal.ErrFull) {
			settle(t, h.driver)
			_, err = log.Append(expired(), build(spec{timestamp: int64(i)}), AppendOptions{Acks: 1})
		}
		if err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	settle(t, h.driver)
	log.SetHighWatermark(batches)
	for more := true; more; {
		if more, err = h.driver.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, h *hand) {
		t.Helper()
		h.store.spillIndexes()
		l := h.logs[0]
		kept := 0
		for k := range l.mu.index.frozen {
			if !l.mu.index.chunks[k].spilled {
				kept++
			}
		}
		// One is open to be read, and up to two are not drained to their ends.
		if used, _ := spill.Bytes(); kept > 3 || used == 0 {
			t.Errorf("%s, %d of %d chunks are in memory, %d bytes outside of it", when, kept, len(l.mu.index.chunks), used)
		}
		for from := topic.Offset(0); from < batches; {
			read, err := l.Read(from, 1<<10, true)
			if err != nil {
				t.Fatalf("%s, read from %d: %v", when, from, err)
			}
			for _, b := range read.Batches {
				header, err := batch.ParseHeader(b)
				if err != nil || header.BaseOffset != int64(from) || header.MaxTimestamp != int64(from) {
					t.Fatalf("%s, the batch at %d is %+v: %v", when, from, header, err)
				}
				from++
			}
		}
	}
	check("drained", h)
	if err := h.driver.Close(); err != nil {
		t.Fatal(err)
	}
	for _, l := range h.logs {
		l.mu.index.reset() // As the end of a process does it.
	}
	h = reopen()
	check("opened again", h)
	if err := h.store.Remove(h.logs[0].partition); err != nil {
		t.Fatal(err)
	}
	if used, _ := spill.Bytes(); used != 0 {
		t.Errorf("%d bytes are in use by a log that was removed", used)
	}
}

// A chunk that changes while it is copied out keeps what it has become.
func TestSpillDoesNotBringBackWhatWasReplaced(t *testing.T) {
	x := index{spill: memorySpill(1)}
	at := func(i int) wal.Position { return wal.Position{File: wal.PackBit | 1, Offset: 4096 + int64(i)*200} }
	for i := range 3 * chunkLength {
		x.push(extent{base: topic.Offset(i), count: 1, bytes: 80, encoded: int32(wal.EncodedBytes(80)), at: at(i)})
	}
	k, frozen, _ := x.spillable()
	slot, ok := x.spill.put(frozen)
	if !ok {
		t.Fatal("no room")
	}
	moved := x.at(7)
	moved.at.File++
	x.set(7, moved)
	if x.spilledAs(k, frozen, slot) {
		t.Fatal("a chunk that is open was replaced")
	}
	x.at(2 * chunkLength) // closes it
	if x.spilledAs(k, frozen, slot) {
		t.Fatal("a chunk that has changed was replaced by what it was")
	}
	x.spill.give(slot)
	if got := x.at(7); got != moved {
		t.Errorf("extent 7 is %+v, want %+v", got, moved)
	}
}

// What a start costs for each batch that was drained, and what it costs to read the batches then.
func BenchmarkRestore(b *testing.B) {
	b.Run("runs", func(b *testing.B) { benchmarkRestore(b, false) })
	b.Run("heads", func(b *testing.B) { benchmarkRestore(b, true) })
}

func benchmarkRestore(b *testing.B, heads bool) {
	const partitions, perPartition = 100, 10_000
	cfg := testConfig(&clock{})
	table, err := catalog.Open(filepath.Join(b.TempDir(), "catalog"), cfg.Logger, func(err error) { panic(err) })
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := table.Close(); err != nil {
			b.Error(err)
		}
	}()
	cfg.Catalog = table
	drained := newStore(cfg)
	for p := range int32(partitions) {
		of := topic.Partition{Topic: p0.Topic, Index: p}
		l := newLog(newStore(testConfig(&clock{})), of)
		l.mu.end, l.mu.highWatermark = 20*perPartition, 20*perPartition
		edits := []catalog.Edit{{Key: partitionKey(keyLog, of), Value: l.encodeLog()}}
		var run runs
		at := wal.Position{File: wal.PackBit | 1<<17, Offset: 4096}
		for i := range perPartition {
			e := extent{base: topic.Offset(i) * 20, count: 20, epoch: 7, bytes: 15_000 + int32(i%512),
				newest: 1_700_000_000_000 + int64(i)*15, at: at}
			e.encoded = int32(wal.EncodedBytes(int(e.bytes)))
			at.Offset += int64(e.encoded)
			run.add(of, e)
		}
		if err := drained.drainer.apply(append(edits, run.done(of)...)); err != nil {
			b.Fatal(err)
		}
	}
	if heads {
		if err := mendNow(drained); err != nil {
			b.Fatal(err)
		}
	}
	read := time.Duration(0)
	for b.Loop() {
		cfg.Spill = memorySpill(64)
		s := newStore(cfg)
		if _, _, err := s.restore(); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		b.StopTimer()
		if err := s.readIndexes(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		read += time.Since(began)
		if l := s.Log(p0); l.mu.index.len() != perPartition || l.mu.committed != perPartition {
			b.Fatalf("%d of %d batches are back", l.mu.index.len(), perPartition)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/partitions/perPartition, "ns/batch")
	b.ReportMetric(float64(read.Nanoseconds())/float64(b.N)/partitions/perPartition, "ns/batch-later")
}

// A file of the WAL with many batches of one log and a cut behind them: its drain has to know what was drained before, and
// keeps what it has met so far.
func TestDrainOfACutBehindManyBatchesKeepsThem(t *testing.T) {
	fs, table := waltest.New(), &catalogtest.Catalog{}
	adjust := func(c *Config) { c.WAL.FileBytes, c.WAL.GroupBytesMax = 512<<10, 64<<10 }
	h, err := openDraining(t, fs, 1, table, adjust)
	if err != nil {
		t.Fatal(err)
	}
	log := h.logs[0]
	grow := func(h *hand, log *Log, batches int) {
		t.Helper()
		log.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true, AcceptOne: true, Ready: true})
		for range batches {
			b := build(spec{timestamp: int64(log.State().LogEnd)})
			_, err := log.Append(expired(), b, AppendOptions{Acks: 1})
			if errors.Is(err, wal.ErrFull) {
				settle(t, h.driver)
				_, err = log.Append(expired(), b, AppendOptions{Acks: 1})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		settle(t, h.driver)
		log.Assume(Role{Epoch: 1})
	}
	drained := func() (files int) {
		t.Helper()
		for more := true; more; {
			if more, err = h.driver.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		return int(h.store.Stats().Drain.Files)
	}
	for drained() == 0 {
		grow(h, log, 200)
	}
	grow(h, log, 3*chunkLength)
	end := log.State().LogEnd - 7
	if err := log.Truncate(end); err != nil {
		t.Fatal(err)
	}
	for drained() == 1 {
		grow(h, log, 200)
	}
	want := log.State()
	log.SetHighWatermark(want.LogEnd)
	if err := h.driver.Close(); err != nil {
		t.Fatal(err)
	}
	h, err = openDraining(t, fs, 2, table, adjust)
	if err != nil {
		t.Fatal(err)
	}
	log = h.logs[0]
	if got := log.State(); got.LogEnd != want.LogEnd || got.Size != want.Size {
		t.Errorf("opened again, the log ends at %d and has %d bytes, want %d and %d", got.LogEnd, got.Size, want.LogEnd, want.Size)
	}
	log.SetHighWatermark(want.LogEnd)
	for from := topic.Offset(0); from < want.LogEnd; {
		read, err := log.Read(from, 4<<10, true)
		if err != nil || len(read.Batches) == 0 {
			t.Fatalf("read from %d: %d batches, %v", from, len(read.Batches), err)
		}
		from += topic.Offset(len(read.Batches))
	}
}

// The growth of the file is I/O. A log that gives a slot back under its mutex must not wait for it.
func TestGiveDoesNotWaitForTheFileToGrow(t *testing.T) {
	release, growing, first := make(chan struct{}), make(chan struct{}), true
	s := newSpill(slog.New(slog.DiscardHandler), func(n int) ([]byte, error) {
		if !first {
			close(growing)
			<-release
		}
		first = false
		return make([]byte, n), nil
	})
	x := index{spill: s}
	for i := range 3 * chunkLength {
		x.push(extent{base: topic.Offset(i), count: 1, bytes: 80, encoded: int32(wal.EncodedBytes(80)),
			at: wal.Position{File: wal.PackBit | 1, Offset: 4096 + int64(i)*200}})
	}
	k, frozen, _ := x.spillable()
	slot, _ := s.put(frozen)
	x.spilledAs(k, frozen, slot)
	go func() { // spillIndex of another log
		for range 200 {
			s.put(make([]byte, spillLargest))
			select {
			case <-growing:
				return
			default:
			}
		}
	}()
	<-growing
	done := make(chan struct{})
	go func() { x.drop(chunkLength + 1); close(done) }() // retention, under l.mu
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("drop, which runs under the log's mutex, waits for fallocate")
	}
	close(release)
	<-done
}
