package partition

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
)

// encoded is all that a catalog would hold of the logs, but for their batches.
func (h *hand) encoded() (all [][]byte) {
	for _, l := range h.logs {
		all = append(all, l.encodeLog())
	}
	return all
}

func (h *hand) close() {
	h.t.Helper()
	if err := errors.Join(h.driver.Close(), h.store.Close()); err != nil {
		h.t.Fatalf("close: %v", err)
	}
}

// Two stores do the same, and one of them drains its WAL meanwhile: opened again, nothing tells them
// apart but the files.
func TestDrainedStoreReopensAsOneThatWasNeverDrained(t *testing.T) {
	files, repacked, adopted, merged := 0, int64(0), int64(0), int64(0)
	for seed := uint64(1); seed <= 25; seed++ {
		plain, drained := waltest.New(), waltest.New()
		table := &catalogtest.Catalog{}
		for session := range uint64(4) {
			want, err := openHand(t, plain, seed*10+session)
			if err != nil {
				t.Fatal(err)
			}
			got, err := openDraining(t, drained, seed*10+session, table)
			if err != nil {
				t.Fatalf("seed %d, session %d: open: %v", seed, session, err)
			}
			got.draining = rand.New(rand.NewPCG(seed, session))
			want.epoch, got.epoch = topic.Epoch(1+1000*session), topic.Epoch(1+1000*session)
			if !slices.EqualFunc(got.encoded(), want.encoded(), bytes.Equal) {
				for i, l := range got.logs {
					if !bytes.Equal(l.encodeLog(), want.logs[i].encodeLog()) {
						t.Fatalf("seed %d, session %d: the drained log is %s\nnot %s", seed, session, show(l), show(want.logs[i]))
					}
				}
			}
			if got.digest() != want.digest() {
				t.Fatalf("seed %d, session %d: the drained logs hold other batches", seed, session)
			}
			want.run(400)
			got.run(400)
			if got.digest() != want.digest() {
				t.Fatalf("seed %d, session %d: draining changed a log", seed, session)
			}
			want.close()
			got.close()
			files += got.drained
			repacked += got.store.Stats().Drain.Repacked
			adopted += got.store.Stats().Drain.Adopted
			merged += got.store.Stats().Drain.Merged
		}
	}
	if files < 50 || repacked < 10 || adopted < 20 || merged < 10 {
		t.Fatalf("only %d files were drained, %d of them adopted, %d packs were written anew, %d merged", files, adopted, repacked, merged)
	}
}

// Power is lost at each change of the disk in turn while files are drained. What is found is what the
// store held at some moment at or after the last one that was durable.
func TestPowerLossWhileDrainingLosesNothing(t *testing.T) {
	const steps, seed = 1000, 4
	open := func(fs *waltest.FS) (*hand, *catalogtest.Catalog, error) {
		table := dyingCatalog(fs)
		h, err := openDraining(t, fs, seed, table)
		h.draining = rand.New(rand.NewPCG(seed, 9))
		return h, table, err
	}
	twin, err := openHand(t, waltest.New(), seed)
	if err != nil {
		t.Fatal(err)
	}
	durableAt := []int{0}
	for range steps {
		twin.step()
		durableAt = append(durableAt, twin.durable)
	}
	h, _, err := open(waltest.New())
	if err != nil {
		t.Fatal(err)
	}
	h.run(steps)
	changes := h.fs.Changes()
	if h.drained < 3 {
		t.Fatalf("only %d files were drained", h.drained)
	}
	for at := 1; at <= changes; at++ {
		fs := waltest.New()
		fs.CrashAfter(at)
		h, table, err := open(fs)
		if err == nil {
			h.run(steps)
		}
		found, err := openDraining(t, fs.Crash(rand.New(rand.NewPCG(uint64(at), 5))), 2, table.Clone())
		if err != nil {
			t.Fatalf("change %d: open: %v", at, err)
		}
		if len(h.history) == 0 {
			continue
		}
		durable := durableAt[max(0, len(h.history)-2)]
		if !slices.ContainsFunc(h.history, func(m moment) bool {
			return m.records >= durable && m.digest == found.history[0].digest
		}) {
			t.Fatalf("change %d: the store is none that was, at or after %d records", at, durable)
		}
		found.draining = rand.New(rand.NewPCG(seed, 10))
		before := found.history[0].digest
		for {
			drained, err := found.driver.Drain()
			if err != nil {
				t.Fatalf("change %d: drain: %v", at, err)
			}
			if !drained {
				break
			}
		}
		if found.digest() != before {
			t.Fatalf("change %d: draining what was found changed it", at)
		}
	}
}

// dyingCatalog is a catalog on the same disk as fs: when that has crashed, it takes nothing any more.
func dyingCatalog(fs *waltest.FS) *catalogtest.Catalog {
	return &catalogtest.Catalog{Durable: func(apply func()) error {
		if _, err := fs.List("wal"); err != nil {
			return err
		}
		apply()
		return nil
	}}
}

func show(l *Log) string {
	s := fmt.Sprintf("%+v epochs %v stale %v", l.State(), l.mu.epochs, l.mu.producers.stale)
	for id, p := range l.mu.producers.byID {
		if id < 4 {
			s += fmt.Sprintf("\n  %d: %d %d %+v", id, p.committed, p.markers, p.batches.items[p.batches.head:])
		}
	}
	for i := range l.mu.producers.transactions.begun.len() {
		s += fmt.Sprintf("\n  begun %+v", **l.mu.producers.transactions.begun.at(i))
	}
	return s + fmt.Sprintf("\n  aborted %+v producers %d", l.mu.producers.transactions.aborted, len(l.mu.producers.byID))
}
