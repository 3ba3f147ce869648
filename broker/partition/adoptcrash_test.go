package partition

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// A crash leaves a file of which no group is good, and its number is passed over. What another crash leaves
// of a drain behind it is removed, and not set aside as a pack of some other log.
func TestPackOfACutDrainBehindAGapIsRemoved(t *testing.T) {
	fs, table := waltest.New(), &catalogtest.Catalog{}
	h, err := openDraining(t, fs, 1, table)
	if err != nil {
		t.Fatal(err)
	}
	h.fill(1)
	torn := wal.Position{File: h.store.walLog.End().File}.FileName()
	fs = fs.Restart()
	if fs.Flip(rand.New(rand.NewPCG(1, 1)), "wal/"+torn, 4096+8, 4096+9) < 0 {
		t.Fatalf("nothing was damaged in %s", torn)
	}
	if h, err = openDraining(t, fs, 2, table); err != nil {
		t.Fatal(err)
	}
	if drained, err := h.driver.Drain(); err != nil || !drained {
		t.Fatalf("got drained %v, %v", drained, err)
	}
	h.fill(h.store.walLog.End().File + 2)
	if sealed, _ := h.store.walLog.Sealed(); sealed.File <= 2 {
		t.Fatalf("the drain goes on with file %d: there is no gap", sealed.File)
	}
	died := errors.New("the process ends here")
	table.Durable = func(func()) error { return died }
	if _, err := h.driver.Drain(); !errors.Is(err, died) {
		t.Fatalf("got %v", err)
	}
	table.Durable = nil
	fs = fs.Restart()
	if _, err = openDraining(t, fs, 3, table); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	packs := 0
	for _, name := range names {
		if strings.Contains(name, ".pack") {
			packs++
		}
		if strings.Contains(name, "orphan") {
			t.Errorf("%s was set aside", name)
		}
	}
	if packs != 1 {
		t.Errorf("got %d packs, want the one of the first drain: %q", packs, names)
	}
}

// Each start begins a file. When they are as many as there may be appends wait for a drain, however little they
// hold: it does not wait for the disk in its turn.
func TestDrainDoesNotWaitWhenAllFilesAreTaken(t *testing.T) {
	fs, table := waltest.New(), &catalogtest.Catalog{}
	open := func(session uint64) *hand {
		h, err := openDraining(t, fs, session, table, func(cfg *Config) {
			cfg.WAL.FilesMax = 8
			cfg.MayAdopt = func() bool { return false }
		})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for session := range uint64(6) {
		h := open(1 + session)
		h.epoch = topic.Epoch(1 + session)
		h.fill(session) // One batch.
		h.close()
	}
	h := open(9)
	for h.driver.Wanted() {
		h.tolerate("prepare", h.driver.Prepare())
	}
	h.store.Tick()
	h.asked(busy)
	if stats := h.store.Stats().Drain; stats.ChainBytes < h.store.walLog.BytesMax() || stats.WaitingBytes*4 > h.store.walLog.BytesMax() {
		t.Fatalf("got %+v: the test proves nothing", stats)
	}
	if drained, err := h.store.drainer.turn(h.store.adopts()); err != nil || !drained {
		t.Errorf("got drained %v, %v while appends wait", drained, err)
	}
	h.close()
}
