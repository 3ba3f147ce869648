package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// holding is a reader whose answer is on its way.
type holding struct {
	reader Reader
	lent   [][]byte
	copied []byte
}

// release checks that what was lent did not change.
func (h *holding) release(t *testing.T) {
	t.Helper()
	if !bytes.Equal(bytes.Join(h.lent, nil), h.copied) {
		t.Error("lent batches have changed")
	}
	h.reader.Release()
}

// take reads and compares with what Read returns: whole batches, the same, and at least one if there is
// one. It reports whether that was all of it.
func (h *holding) take(t *testing.T, l *Log, q Query) (all bool) {
	t.Helper()
	want, wantErr := l.Read(q.From, q.BytesMax, q.MinOne)
	got, err := h.reader.Read(l, q)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("read %+v: got %v, want %v", q, err, wantErr)
	}
	if got.HighWatermark != want.HighWatermark || got.LogStart != want.LogStart || got.LogEnd != want.LogEnd {
		t.Fatalf("read %+v: got %+v, want %+v", q, got, want)
	}
	h.copied = bytes.Join(got.Batches, nil)
	h.lent = got.Batches
	rest := h.copied
	for i, b := range want.Batches {
		if len(rest) == 0 && (i > 0 || !q.MinOne) {
			return false
		}
		if !bytes.HasPrefix(rest, b) {
			t.Fatalf("read %+v: batch %d is another or is cut", q, i)
		}
		rest = rest[len(b):]
	}
	if len(rest) > 0 {
		t.Fatalf("read %+v: %d bytes too many", q, len(rest))
	}
	return true
}

// whole makes batches of the pieces that a Reader returned, in memory of their own.
func whole(pieces [][]byte) (batches [][]byte) {
	for rest := bytes.Join(pieces, nil); len(rest) > 0; {
		n := 12 + int(binary.BigEndian.Uint32(rest[8:])) // base offset, length
		batches, rest = append(batches, rest[:n]), rest[n:]
	}
	return batches
}

// A store does all that it can do, appends, truncations, drains, compactions and files written again, while
// readers hold what they were lent. Nobody gets what Read would not give, and nothing lent changes.
func TestLentBatchesStayWhateverTheStoreDoes(t *testing.T) {
	all, part, borrowed := 0, 0, int64(0)
	for seed := uint64(1); seed <= 8; seed++ {
		h, err := openCompacting(t, waltest.New(), seed, &catalogtest.Catalog{}, 0, 4)
		if err != nil {
			t.Fatal(err)
		}
		h.draining = rand.New(rand.NewPCG(seed, 4))
		random := rand.New(rand.NewPCG(seed, 17))
		holders := make([]holding, 6)
		for range 1200 {
			h.step()
			l := h.logs[random.IntN(len(h.logs))]
			state := l.State()
			holder := &holders[random.IntN(len(holders))]
			holder.release(t)
			q := Query{
				From: state.LogStart + topic.Offset(random.IntN(int(state.LogEnd-state.LogStart)+1)), BytesMax: random.IntN(8 << 10),
				MinOne: random.IntN(2) == 0,
			}
			if holder.take(t, l, q) {
				all++
			} else {
				part++
			}
		}
		for i := range holders {
			holders[i].release(t)
		}
		stats := h.store.walLog.CacheStats()
		if borrowed += stats.Misses; stats.Lent != 0 || stats.Bytes > 64<<10 {
			t.Errorf("seed %d: %+v", seed, stats)
		}
		h.close()
	}
	if all == 0 || borrowed < 100 {
		t.Errorf("%d answers were whole, %d in part, %d chunks were read", all, part, borrowed)
	}
}

// longLog is a log of so many durable and committed batches of 20 KB, none of them in memory but the last.
func longLog(t *testing.T, fs *waltest.FS, cache wal.Cache, count int) (*Store, *Log) {
	t.Helper()
	s := openReal(t, fs, 1, func(c *Config) { c.WAL.Cache, c.TailBytesMax = cache, 30<<10 })
	stop := start(s)
	l := leader(s, 0, 1)
	for i := range count {
		b := build(spec{value: bytes.Repeat([]byte{byte(i)}, 20_000)})
		if _, err := appendDurable(l, b); err != nil {
			t.Fatal(err)
		}
	}
	l.SetHighWatermark(topic.Offset(count))
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s, l
}

// readOn reads the log from the start to the end as a consumer does, and tells how much came at a time at most.
func readOn(t *testing.T, l *Log, bytesMax int) (most int) {
	t.Helper()
	for from := topic.Offset(0); from < l.State().HighWatermark; {
		var h holding
		h.take(t, l, Query{From: from, BytesMax: bytesMax, MinOne: true})
		n := len(h.copied) / len(build(spec{value: make([]byte, 20_000)}))
		if n == 0 {
			t.Fatalf("nothing is read at %d", from)
		}
		from += topic.Offset(n)
		most = max(most, len(h.copied))
		h.release(t)
	}
	return most
}

// While others hold all that there is to lend, a reader gets on with a little memory of its own.
func TestReaderWithoutALoanGetsOn(t *testing.T) {
	s, l := longLog(t, waltest.New(), wal.Cache{BytesMax: 256 << 10, ChunkBytes: 32 << 10}, 60)
	var others []*holding
	for from := range topic.Offset(40) {
		h := &holding{}
		h.take(t, l, Query{From: from, BytesMax: 200_000, MinOne: true})
		others = append(others, h)
	}
	if stats := s.walLog.CacheStats(); stats.Lent != 256<<10 {
		t.Fatalf("%d bytes are lent, want all", stats.Lent)
	}
	if most := readOn(t, l, 1<<20); most > ownBytesMax+256<<10 {
		t.Errorf("%d bytes came at a time, with a memory of %d and nothing lent", most, ownBytesMax)
	}
	for _, h := range others {
		h.release(t)
	}
	if most := readOn(t, l, 60_000); most < 40_000 {
		t.Errorf("%d bytes came at a time once there was memory again", most)
	}
}

// What a reader far behind reads takes the place of nothing that the tail holds.
func TestReaderFarBehindLeavesTheTail(t *testing.T) {
	s, l := longLog(t, waltest.New(), wal.Cache{BytesMax: 128 << 10, ChunkBytes: 32 << 10}, 60)
	before := s.Stats().TailBytes
	readOn(t, l, 100_000)
	// It may have held more than its bound for a moment: what became durable last leaves it only then.
	if after := s.Stats().TailBytes; after > before || after == 0 {
		t.Errorf("the tail holds %d bytes, and held %d", after, before)
	}
	if entries, ok := l.ReadTail(59, 1); !ok || len(entries) != 1 {
		t.Errorf("the newest batch is not in memory any more: %d, %v", len(entries), ok)
	}
	if stats := s.walLog.CacheStats(); stats.Bytes > 128<<10 || stats.Misses == 0 {
		t.Errorf("the cache is beyond its bound, or was not used: %+v", stats)
	}
}

// A batch that is damaged ends a read before it, is told of, and hides nothing behind it.
func TestDamagedBatchInALentRunEndsTheRead(t *testing.T) {
	fs := waltest.New()
	s, l := longLog(t, fs, wal.Cache{BytesMax: 1 << 20, ChunkBytes: 64 << 10}, 12)
	at, _ := l.Position(3)
	fs.Damage(fmt.Sprintf("wal/%020d.wal", at.File), func(b []byte) []byte {
		b[at.Offset+5000] ^= 1
		return b
	})
	size := len(build(spec{value: make([]byte, 20_000)}))
	for range 2 { // what is known is not read again
		for from, want := range []int{3, 2, 1, 0, 8, 7} {
			var reader Reader
			got, err := reader.Read(l, Query{From: topic.Offset(from), BytesMax: 1 << 20, MinOne: true})
			if n := len(bytes.Join(got.Batches, nil)); n != want*size || errors.Is(err, wal.ErrDamaged) != (want == 0) {
				t.Errorf("from %d: %d bytes, %v; want %d batches", from, n, err, want)
			}
			reader.Release()
		}
	}
	if got := s.Damaged(); len(got) != 1 || got[0].Offset != 3 {
		t.Errorf("got damaged logs %+v, want the one at 3", got)
	}
}

// asking notes what is to be read ahead.
type asking struct {
	reader
	asked []wal.Position
}

func (a *asking) Prefetch(at wal.Position) { a.asked = append(a.asked, at) }

// Who reads on from where a read has ended is read ahead of, at the next chunk that it will want; who
// jumps about is not.
func TestOnlyReadersThatGoOnAreReadAheadOf(t *testing.T) {
	s, l := longLog(t, waltest.New(), wal.Cache{BytesMax: 1 << 20, ChunkBytes: 32 << 10}, 40)
	spy := &asking{reader: s.reader}
	s.reader = spy
	read := func(from topic.Offset) {
		t.Helper()
		var h holding
		h.take(t, l, Query{From: from, BytesMax: 3 * 20_100, MinOne: true})
		h.release(t)
	}
	for _, from := range []topic.Offset{20, 10, 30, 5, 15} {
		read(from)
	}
	if len(spy.asked) != 0 {
		t.Errorf("read ahead at %v for nobody", spy.asked)
	}
	read(18)
	next, _ := l.Position(21)
	next.Offset -= next.Offset % (32 << 10)
	if len(spy.asked) == 0 || spy.asked[0] != next {
		t.Errorf("read ahead at %v, want from %v on", spy.asked, next)
	}
	for _, at := range spy.asked {
		if last, _ := l.Position(24); at.Compare(last) > 0 {
			t.Errorf("read ahead at %v, beyond %v that is wanted next", at, last)
		}
	}
}

// What a Reader passes on from disk costs no memory but the list of it.
func TestLentBytesAreNotCopied(t *testing.T) {
	_, l := longLog(t, waltest.New(), wal.Cache{BytesMax: 16 << 20, ChunkBytes: 512 << 10}, 40)
	var reader Reader
	lent := 0
	read := func() {
		got, err := reader.Read(l, Query{From: 2, BytesMax: 30 * 20_100, MinOne: true})
		if err != nil {
			t.Fatal(err)
		}
		lent = len(bytes.Join(got.Batches, nil))
		reader.Release()
	}
	read()
	joined := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			read()
		}
	})
	if got := int(joined.AllocedBytesPerOp()) - lent; lent < 25*20_000 || got > 32<<10 {
		t.Errorf("%d bytes are allocated to read %d", got, lent)
	}
}
