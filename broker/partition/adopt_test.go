package partition

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// fill appends to all logs by turns until that many files are full and durable.
func (h *hand) fill(files uint64) {
	h.t.Helper()
	for i := 0; h.store.walLog.End().File <= files; i++ {
		h.append(h.logs[i%len(h.logs)])
		h.settle()
	}
}

// asked has the store find that so much is asked of it.
func (h *hand) asked(d demand) { h.store.found.Store(int32(d)) }

// settle makes durable what is queued, and files ahead.
func (h *hand) settle() {
	for h.driver.Wanted() {
		h.tolerate("prepare", h.driver.Prepare())
	}
	h.tolerate("turn", h.driver.Turn())
	for h.driver.Writing() {
		h.driver.Disk()
	}
	for h.driver.Written() {
		h.tolerate("complete", h.driver.Complete())
	}
}

// While much is appended full files are adopted as soon as they are there, and written anew, sorted, when
// that is over. Without leave to adopt the drain waits as ever, whatever else wakes it.
func TestBusyStoreAdoptsAndSortsLater(t *testing.T) {
	for _, may := range []bool{true, false} {
		h, err := openDraining(t, waltest.New(), 1, &catalogtest.Catalog{}, func(cfg *Config) {
			cfg.MayAdopt = func() bool { return may }
			cfg.WAL.FilesMax = 20
		})
		if err != nil {
			t.Fatal(err)
		}
		h.store.Tick() // What was there before counts for nothing.
		if h.store.demand() != loaded {
			t.Error("the rate is known before there was any")
		}
		h.fill(3)
		want := h.digest()
		h.clock.advance(time.Millisecond)
		h.store.Tick()
		if got := h.store.adopts() && h.store.drainDue.Load(); got != may {
			t.Errorf("got a drain by adoption %v with leave %v", got, may)
		}
		for drained := true; drained; {
			if drained, err = h.store.drainer.turn(h.store.adopts()); err != nil {
				t.Fatal(err)
			}
		}
		stats := h.store.Stats().Drain
		files := int64(0)
		if may {
			files = 3
		}
		if stats.Adopted != files || stats.Packs != files || stats.Files != files || stats.Bytes != 0 {
			t.Errorf("got %+v with leave %v", stats, may)
		}
		if may {
			h.sortsLater(want)
		}
		h.close()
	}
}

// What a start would have to replay is bounded in batches, too: many that are small are drained however much more the log
// may hold, by a copy or, on a busy disk, by adoption.
func TestManySmallBatchesDoNotWaitForTheLogToFillUp(t *testing.T) {
	for _, asked := range []demand{loaded, busy} {
		h, err := openDraining(t, waltest.New(), 1, &catalogtest.Catalog{}, func(cfg *Config) { cfg.WAL.FilesMax = 100 })
		if err != nil {
			t.Fatal(err)
		}
		h.fill(3)
		want := h.digest()
		h.asked(asked)
		if h.store.drains() || h.store.pressed() {
			t.Fatal("files of few batches do not wait")
		}
		h.store.digests.burdenMax = 1
		if got := h.store.adopts(); !h.store.drains() || got != (asked == busy) {
			t.Errorf("demand %d: got drains %t, by adoption %t", asked, h.store.drains(), got)
		}
		for turns := 0; h.store.drains(); turns++ {
			if drained, err := h.store.drainer.turn(h.store.adopts()); err != nil || !drained || turns == 3 {
				t.Fatalf("turn %d: got drained %t, %v", turns, drained, err)
			}
		}
		if got := h.store.Stats().Drain; got.Files != 3 || got.Adopted > 0 != (asked == busy) || h.digest() != want {
			t.Errorf("demand %d: got %+v", asked, got)
		}
		h.close()
	}
}

func (h *hand) sortsLater(want string) {
	h.t.Helper()
	if h.digest() != want {
		h.t.Error("adoption changed a log")
	}
	if _, err := h.store.drainer.turn(true); err != nil || h.store.Stats().Drain.Repacked > 0 {
		h.t.Errorf("got %+v, %v while the disk is busy", h.store.Stats().Drain, err)
	}
	h.clock.advance(time.Minute)
	h.store.Tick()
	if h.store.adopts() || !h.store.drainDue.Load() {
		h.t.Errorf("got adopts %v, due %v on a quiet disk", h.store.adopts(), h.store.drainDue.Load())
	}
	for range 4 {
		if _, err := h.driver.Drain(); err != nil {
			h.t.Fatal(err)
		}
	}
	stats := h.store.Stats().Drain
	if stats.Repacked != 3 || stats.Packs != 3 || h.store.unsorted.Load() {
		h.t.Errorf("got %+v, unsorted %v", stats, h.store.unsorted.Load())
	}
	if h.digest() != want {
		h.t.Error("sorting changed a log")
	}
	for _, l := range h.logs {
		for i := 1; i < l.mu.settled; i++ {
			a, b := l.mu.index.at(i-1), l.mu.index.at(i)
			if a.at.File == b.at.File && a.at.File&wal.PackBit != 0 && b.at.Offset != a.at.Offset+int64(a.encoded) {
				h.t.Errorf("%v: the batch at %d lies at %v, the one before it at %v", l.partition, b.base, b.at, a.at)
			}
		}
	}
}

// A batch that is damaged in an adopted file is noted when that is to be sorted, which is not tried again
// until it is gone.
func TestDamageInAnAdoptedFileIsNotedOnce(t *testing.T) {
	fs := waltest.New()
	h, err := openDraining(t, fs, 1, &catalogtest.Catalog{})
	if err != nil {
		t.Fatal(err)
	}
	h.fill(1)
	if adopted, err := h.driver.Adopt(); err != nil || !adopted {
		t.Fatalf("got adopted %v, %v", adopted, err)
	}
	victim := h.logs[3]
	e := victim.mu.index.at(0)
	if fs.Flip(rand.New(rand.NewPCG(1, 1)), "wal/"+e.at.FileName(), e.at.Offset+8, e.at.Offset+9) < 0 || !gapped(e.at.File) {
		t.Fatalf("nothing was damaged at %v", e.at)
	}
	for range 3 {
		if _, err := h.driver.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.store.Damaged(); len(got) != 1 || got[0] != (DamagedLog{victim.partition, e.base}) {
		t.Errorf("got damage %v, want that of %v at %d", got, victim.partition, e.base)
	}
	if stats := h.store.Stats().Drain; stats.Repacked != 0 || stats.Packs != 1 || h.store.unsorted.Load() {
		t.Errorf("got %+v, unsorted %v", stats, h.store.unsorted.Load())
	}
	h.close()
}

// A disk that is busy for ever still gives back what is dead: one log keeps all, so that something is needed
// of every file, and the others keep next to nothing.
func TestBusyDiskGivesDeadSpaceBack(t *testing.T) {
	h, err := openDraining(t, waltest.New(), 1, &catalogtest.Catalog{})
	if err != nil {
		t.Fatal(err)
	}
	for round := range uint64(40) {
		h.clock.advance(time.Second)
		h.fill(round + 1)
		for _, l := range h.logs[1:] {
			s := l.State()
			l.SetHighWatermark(s.LogEnd)
			h.tolerate("move the start", l.MoveStart(max(s.LogStart, s.DurableEnd-1)))
			h.settle()
		}
		h.fill(round + 2)
		if _, err := h.driver.Adopt(); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range h.logs[1:] {
		if s := l.State(); s.LogEnd-s.LogStart > 20 {
			t.Errorf("%v starts at %d and ends at %d: the test proves nothing", l.partition, s.LogStart, s.LogEnd)
		}
	}
	needed := int64(0)
	for _, l := range h.logs {
		needed += l.State().Size
	}
	stats := h.store.Stats().Drain
	if most := 3*needed + 6*h.store.walLog.FileBytes(); stats.PackBytes > most || stats.Adopted < 30 || stats.Repacked == 0 {
		t.Errorf("%d bytes are needed, packs take %d, want at most %d; %+v", needed, stats.PackBytes, most, stats)
	}
	h.close()
}

// Every record that a digest gives back replays as the record itself does.
func TestDigestReplaysAsItsFileDoes(t *testing.T) {
	h, err := openDraining(t, waltest.New(), 7, &catalogtest.Catalog{})
	if err != nil {
		t.Fatal(err)
	}
	h.sealing = nil
	h.run(600)
	sealed, ok := h.store.walLog.Sealed()
	if !ok {
		t.Fatal("no file is full")
	}
	var read []wal.Placed
	_, err = h.store.walLog.ReadSealed(sealed.File, nil, func(r wal.Placed) error {
		r.Payload = slices.Clone(r.Payload)
		read = append(read, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(read, func(a, b wal.Placed) int { return comparePartitions(a.Partition, b.Partition) })
	known := h.store.digests.find(sealed.File)
	if known == nil {
		t.Fatal("there is no digest")
	}
	kinds := map[wal.Kind]int{}
	fromFile, fromDigest := map[topic.Partition]*Log{}, map[topic.Partition]*Log{}
	replay := func(logs map[topic.Partition]*Log, r wal.Placed) {
		if logs[r.Partition] == nil || r.Kind == wal.Remove {
			logs[r.Partition] = newLog(h.store, r.Partition)
		}
		if r.Kind != wal.Remove {
			if err := logs[r.Partition].replay(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = known.each(func(r wal.Placed) error {
		if len(read) == 0 || r.At != read[0].At || len(r.Payload) != len(read[0].Payload) {
			t.Fatalf("got %v of %d bytes, want %+v", r.At, len(r.Payload), read[:min(1, len(read))])
		}
		kinds[r.Kind]++
		replay(fromDigest, r)
		replay(fromFile, read[0])
		read = read[1:]
		return nil
	})
	if err != nil || len(read) > 0 || len(kinds) < 4 {
		t.Fatalf("%d records are missing; %v; kinds %v", len(read), err, kinds)
	}
	for p, l := range fromFile {
		if string(l.encodeLog()) != string(fromDigest[p].encodeLog()) {
			t.Errorf("the digest makes of %v\n%s\nnot\n%s", p, show(fromDigest[p]), show(l))
		}
	}
	h.close()
}

// What finds no room has no digest, and takes none away from others.
func TestDigestsAreBounded(t *testing.T) {
	var d digests
	d.bytesMax = 1 << 10
	record := wal.Placed{Record: record(0, 1)}
	for file := range uint64(20) {
		for i := range int64(1 + file%3*10) {
			record.At = wal.Position{File: file + 1, Offset: 4096 + 100*i}
			d.add(record)
		}
	}
	got, bytes, held := 0, 0, 0
	for _, one := range d.mu.files {
		bytes, held = bytes+one.bytes, held+one.held()
	}
	if bytes != d.mu.bytes || held != d.mu.held || held > d.bytesMax || held < d.bytesMax/2 || bytes >= held {
		t.Errorf("the digests have %d bytes in %d and count %d in %d, of %d", bytes, held, d.mu.bytes, d.mu.held, d.bytesMax)
	}
	for file := range uint64(20) {
		found := d.find(file + 1)
		if d.forget(file + 1); found != nil {
			got++
		}
	}
	if got < 3 || got > 12 || d.mu.bytes != 0 || len(d.mu.files) != 0 {
		t.Errorf("got %d digests, %d bytes and %d files are left", got, d.mu.bytes, len(d.mu.files))
	}
}

// A pack of which little is needed is written anew although the disk is never quiet, in a share of the time.
func TestDeadSpaceIsGivenBackUnderModerateLoad(t *testing.T) {
	now := time.Hour
	h, err := openDraining(t, waltest.New(), 1, &catalogtest.Catalog{}, func(cfg *Config) {
		cfg.Now = func() time.Duration { now += time.Millisecond; return now }
	})
	if err != nil {
		t.Fatal(err)
	}
	h.fill(1)
	if drained, err := h.driver.Drain(); err != nil || !drained {
		t.Fatalf("got drained %v, %v", drained, err)
	}
	for _, l := range h.logs[1:] {
		h.tolerate("truncate", l.Truncate(0))
	}
	for range 3 {
		h.tolerate("turn", h.driver.Turn())
		for h.driver.Writing() {
			h.driver.Disk()
		}
		for h.driver.Written() {
			h.tolerate("complete", h.driver.Complete())
		}
	}
	want := h.digest()
	h.store.drainer.repacking = allowance{credit: -5 * time.Millisecond, at: now}
	turns := 0
	for ; h.store.Stats().Drain.Repacked == 0 && turns < 100; turns++ {
		if _, err := h.driver.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	if turns < 3 || turns == 100 || h.store.demand() != loaded {
		t.Errorf("got the pack written anew after %d turns, demand %v", turns, h.store.demand())
	}
	if h.digest() != want {
		t.Error("that changed a log")
	}
	h.close()
}

// A pack that is damaged for good, as without another replica, is tried again now and then, said once, and holds up no
// other, however often something is dropped.
func TestBadPackIsTriedRarelyAndHoldsUpNoOther(t *testing.T) {
	for file := range uint64(3) {
		badPack(t, file+1)
	}
}

func badPack(t *testing.T, file uint64) {
	t.Helper()
	var said bytes.Buffer
	fs := waltest.New()
	h, err := openDraining(t, fs, 1, &catalogtest.Catalog{}, func(cfg *Config) {
		cfg.TailBytesMax, cfg.Logger = 1, slog.New(slog.NewTextHandler(&said, nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	h.fill(3)
	if adopted, err := h.driver.Adopt(); err != nil || !adopted {
		t.Fatalf("got adopted %v, %v", adopted, err)
	}
	var e extent
	for i := 0; e.at.FileName() != (wal.Position{File: file}).FileName(); i++ {
		e = h.logs[3].mu.index.at(i)
	}
	name := "wal/" + e.at.FileName()
	flip := func() { fs.Damage(name, func(b []byte) []byte { b[e.at.Offset+8] ^= 1; return b }) }
	flip()
	reads := 0
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Read && op.Name == name {
			reads++
		}
		return nil
	})
	// turns drains some times, after each of which something was dropped, and wants so many packs written anew.
	turns := func(n int, tried bool, repacked, bad int64) {
		t.Helper()
		reads = 0
		for range n {
			h.store.dropped.Add(1)
			if _, err := h.driver.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		if stats := h.store.Stats().Drain; stats.Repacked != repacked || stats.BadPacks != bad {
			t.Errorf("got %+v, want %d written anew and %d bad", stats, repacked, bad)
		}
		if reads > 0 != tried {
			t.Errorf("the bad pack was read %d times, want that it was tried %v", reads, tried)
		}
	}
	// due reports whether the next tick has the drainer look again.
	due := func() bool {
		h.store.unsorted.Store(false)
		h.store.Tick()
		return h.store.unsorted.Load()
	}
	turns(1, true, 2, 1)
	turns(4, false, 2, 1)
	h.clock.advance(respiteLeast)
	if !due() {
		t.Error("nobody looks again after the respite")
	}
	turns(4, true, 2, 1)
	h.clock.advance(respiteLeast)
	if due() {
		t.Error("somebody looks again although the second respite is longer")
	}
	turns(4, false, 2, 1)
	flip()
	h.clock.advance(respiteLeast)
	turns(4, true, 3, 0)
	if text := said.String(); strings.Count(text, "cannot be written anew") != 1 {
		t.Errorf("it says\n%s", text)
	}
	h.close()
}

// The next file begins while the one before is drained.
func TestDigestIsReadWhileTheNextFileBegins(t *testing.T) {
	var d digests
	d.bytesMax = 1 << 20
	at := func(file uint64) wal.Placed {
		return wal.Placed{Record: record(0, 1), At: wal.Position{File: file, Offset: 4096}}
	}
	d.add(at(7))
	var next sync.WaitGroup
	next.Go(func() { d.add(at(8)) })
	got := 0
	if err := d.find(7).each(func(wal.Placed) error { got++; return nil }); err != nil || got != 1 {
		t.Errorf("got %d records, %v, want 1", got, err)
	}
	next.Wait()
}

// Headers as no broker makes them come back from a digest, too, and those that are as ever take little.
func TestDigestGivesHeadersBack(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	var d digests
	d.bytesMax = 1 << 30
	want, left := map[topic.Partition][]batch.Header{}, 0
	var bytes int
	at := int64(4096)
	add := func(r wal.Record) {
		h, err := batch.ParseHeader(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		d.add(wal.Placed{Record: r, At: wal.Position{File: 7, Offset: at}})
		at += wal.EncodedLen(r)
		want[r.Partition] = append(want[r.Partition], h)
		left++
	}
	base := topic.Offset(0)
	for i := range 2000 { // what an idempotent producer sends
		count := 1 + random.Int32N(20)
		b := placed(spec{count: count, idempotent: true, producer: 4711, epoch: 3, sequence: int32(base), timestamp: 1764428400000 + int64(20*i)}, base, 9)
		add(wal.Record{Kind: wal.Data, Partition: p0, Epoch: 9, Base: base, Count: count, Payload: b})
		base += topic.Offset(count)
	}
	if bytes = d.mu.bytes; bytes > 2000*22 {
		t.Errorf("it takes %d bytes for each of 2,000 batches", bytes/2000)
	}
	for range 2000 { // anything
		b := make([]byte, batch.HeaderBytes+random.IntN(40))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		b[16], b[8], b[22] = 2, 0, b[22]&^0x20
		r := wal.Record{Kind: wal.Data, Partition: topic.Partition{Index: random.Int32N(3)}, Epoch: topic.Epoch(random.Int32()),
			Base: topic.Offset(random.Int64()), Count: random.Int32(), Payload: b}
		h, err := batch.ParseHeader(b)
		if err != nil {
			continue
		}
		if random.IntN(2) == 0 { // in its place, whatever else it says
			h.BaseOffset, h.Length, h.PartitionLeaderEpoch, h.LastOffsetDelta = int64(r.Base), int32(len(b)-12), int32(r.Epoch), r.Count-1
			h.Put(b)
		}
		add(r)
	}
	err := d.find(7).each(func(r wal.Placed) error {
		got, err := batch.ParseHeader(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		of := want[r.Partition]
		if len(of) == 0 {
			t.Fatalf("got %+v of %v, want nothing", got, r.Partition)
		}
		got.CRC, of[0].CRC = 0, 0
		if got != of[0] {
			t.Fatalf("got %+v of %v, want %+v", got, r.Partition, of[0])
		}
		want[r.Partition] = of[1:]
		left--
		return nil
	})
	if err != nil || left != 0 {
		t.Errorf("%d records are missing, %v", left, err)
	}
}
