package partition

import (
	"context"
	"errors"
	"testing"
	"time"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// tardy is a reader each of whose records takes so long, on a clock of the test.
type tardy struct {
	reader
	clock *clock
	each  time.Duration
}

func (s *tardy) ReadRecord(at wal.Position, encodedLen int64) (wal.Record, error) {
	s.clock.advance(s.each)
	return s.reader.ReadRecord(at, encodedLen)
}

// openSparse is a store with packs of which little is needed, each of which takes so long at least to be written anew.
func openSparse(t *testing.T, packs int, each time.Duration) *hand {
	t.Helper()
	h, err := openDraining(t, waltest.New(), 1, &catalogtest.Catalog{}, func(cfg *Config) { cfg.TailBytesMax = 1 })
	if err != nil {
		t.Fatal(err)
	}
	h.fill(uint64(packs))
	for range packs {
		if drained, err := h.driver.Drain(); err != nil || !drained {
			t.Fatalf("got drained %v, %v", drained, err)
		}
	}
	for _, l := range h.logs[1:] {
		h.tolerate("truncate", l.Truncate(0))
		h.settle()
	}
	h.store.reader = &tardy{reader: h.store.reader, clock: h.clock, each: each}
	h.clock.advance(time.Minute)
	return h
}

// drains wants so many packs to have been written anew after another turn.
func (h *hand) drains(want int64) {
	h.t.Helper()
	if _, err := h.driver.Drain(); err != nil {
		h.t.Fatal(err)
	}
	if got := h.store.Stats().Drain.Repacked; got != want {
		h.t.Fatalf("got %d packs written anew, want %d", got, want)
	}
}

// While packs are written anew no file is drained: so that is for a second at once, also if it has all of the time.
func TestPacksAreWrittenAnewForASecondAtOnce(t *testing.T) {
	h := openSparse(t, 4, 2*time.Second)
	h.asked(idle)
	for want := int64(1); want <= 4; want++ {
		h.drains(want)
	}
	h.close()
}

// What was too much of the time under load is made up for in as much of it once the disk is quiet, not in eight times
// that.
func TestPacksAreWrittenAnewSoonOnceTheDiskIsQuiet(t *testing.T) {
	h := openSparse(t, 4, 2*time.Second)
	from := h.clock.now()
	h.drains(1)
	took := h.clock.now() - from
	h.asked(idle)
	h.drains(1)
	h.clock.advance(took)
	h.drains(2)
	h.close()
}

// Packs that a compaction reads are written anew once it has given up.
func TestPacksOfACompactionThatGaveUpAreWrittenAnew(t *testing.T) {
	p := newPress(t)
	p.lead()
	value := make([]byte, 4<<10)
	for i := range 4 {
		p.append(p.one, spec{key: []byte{byte(i % 2)}, value: value})
		p.append(p.filler, spec{value: value}, spec{value: value})
	}
	p.drain()
	for range 30 {
		p.append(p.filler, spec{value: value})
	}
	p.drain()
	if _, err := p.driver.Compact(1); err != nil || p.store.drainer.compaction == nil {
		t.Fatalf("got no compaction that is under way, %v", err)
	}
	if _, _, err := p.filler.DeleteRecords(context.Background(), 8); err != nil {
		t.Fatal(err)
	}
	settle(t, p.driver)
	turn := func() {
		for range 4 {
			if _, err := p.driver.Drain(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if turn(); p.store.Stats().Drain.Repacked != 0 {
		t.Fatal("a pack went that a compaction reads")
	}
	p.fs.SetCapacity(1)
	for p.store.drainer.compaction != nil {
		if _, err := p.driver.Compact(1 << 20); err != nil && !errors.Is(err, wal.ErrNoSpace) {
			t.Fatal(err)
		}
	}
	p.fs.SetCapacity(0)
	if p.store.Stats().Compaction.Logs != 0 {
		t.Fatal("the compaction was done: the test proves nothing")
	}
	if turn(); p.store.Stats().Drain.Repacked == 0 {
		t.Errorf("got %+v, want packs written anew", p.store.Stats().Drain)
	}
	if err := p.driver.Close(); err != nil {
		t.Fatal(err)
	}
}
