package partition

import (
	"context"
	"errors"
	"slices"
	"testing"

	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// The catalog names batches whose pack was removed, since the record that dropped them was lost with a part of the WAL.
// The start tells that, nobody need read them, and the log is repaired from there on.
func TestStartTellsOfBatchesThatNoPackHolds(t *testing.T) {
	fs, table := waltest.New(), &catalogtest.Catalog{}
	h, err := openDraining(t, fs, 1, table)
	if err != nil {
		t.Fatal(err)
	}
	l := h.logs[0]
	l.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true, AcceptOne: true, Ready: true})
	var lost topic.Offset
	for pack := range 2 {
		for files := h.store.Stats().Drain.Files; h.store.Stats().Drain.Files == files; {
			if _, err := l.Append(expired(), build(spec{value: make([]byte, 3000)}), AppendOptions{Acks: 1}); err != nil && !errors.Is(err, wal.ErrFull) {
				t.Fatal(err)
			}
			settle(t, h.driver)
			l.SetHighWatermark(l.State().DurableEnd)
			if _, err := h.driver.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		if pack == 0 {
			lost = l.mu.index.at(l.mu.index.placed(wal.Position{File: 1})).base // the first that is not drained
		}
	}
	want := l.State()
	h.close()
	numbers := []uint64{}
	for number := range h.store.drainer.packs {
		numbers = append(numbers, number)
	}
	last := slices.Max(numbers)
	name := "wal/" + wal.Position{File: last | wal.PackBit}.FileName()
	if err := errors.Join(fs.Remove(name), table.Apply([]catalog.Edit{{Key: packKey(last), Until: append(packKey(last), 0)}})); err != nil {
		t.Fatal(err)
	}

	if h, err = openDraining(t, fs, 2, table); err != nil {
		t.Fatal(err)
	}
	l = h.logs[0]
	if got := l.State(); !got.Damaged || got.DamagedAt != lost || got.LogEnd != want.LogEnd {
		t.Fatalf("got %+v, want it damaged at %d", got, lost)
	}
	select {
	case <-h.store.DamageFound():
	default:
		t.Error("whoever repairs is not told")
	}
	for _, at := range []topic.Offset{0, lost - 1} {
		if _, err := l.Read(at, 1, true); err != nil {
			t.Errorf("read at %d, which is whole: %v", at, err)
		}
	}
	if _, err := l.Read(lost, 1, true); !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("read at %d, which is lost: %v", lost, err)
	}
	h.wantTallied()
	if got := h.store.drainer.compacted; got < last {
		t.Errorf("numbers above %d may be used, while the catalog still names %d", got, last)
	}
	l.Assume(Role{Epoch: 2})
	if err := errors.Join(h.store.PrepareCut(l.partition), l.CutDamage()); err != nil {
		t.Fatal(err)
	}
	if got := l.State(); got.Damaged || got.LogEnd != lost {
		t.Errorf("repaired: got %+v, want it to end at %d", got, lost)
	}
}

// The catalog names the packs of batches that are gone until their log is written anew. A start uses none of these numbers
// again, though the packs went before it.
func TestNumbersThatTheCatalogStillNamesAreNotUsedAgain(t *testing.T) {
	p := newPress(t)
	p.lead()
	two := leader(p.store, 2, 1)
	p.append(p.one, at(1), at(1))
	p.append(two, at(1))
	p.drain()
	p.compact()
	first, _ := p.one.Position(1)
	if _, _, err := p.one.DeleteRecords(context.Background(), topic.NoOffset); err != nil {
		t.Fatal(err)
	}
	settle(t, p.driver)
	for range 3 {
		if _, err := p.driver.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	number := first.File &^ wal.PackBit
	if _, there := p.store.drainer.packs[number]; there {
		t.Fatalf("the pack of %v is still there", first)
	}
	again := openReal(t, p.fs.Clone(), 2, func(c *Config) { c.WAL.FileBytes, c.Catalog = 64<<10, p.table.Clone() })
	if got := again.drainer.compacted; got < number {
		t.Errorf("a start would use numbers above %d, of which the catalog names %d", got, number)
	}
}
