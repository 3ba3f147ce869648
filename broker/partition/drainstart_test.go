package partition

import (
	"slices"
	"testing"

	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// counted is a catalog that counts the runs that it shows.
type counted struct {
	*catalogtest.Catalog
	runs int
}

func (c *counted) Range(from, until []byte, fn func(key, value []byte) error) error {
	return c.Catalog.Range(from, until, func(key, value []byte) error {
		if key[0] == keyRun {
			c.runs++
		}
		return fn(key, value)
	})
}

func (c *counted) View() (catalog.View, error) { return c, nil }

func (*counted) Close() error { return nil }

// The drain of log starts looks at the batches that go and not at those that stay, and the catalog knows of the log
// afterwards what a replay of all of it would: from which epochs its first batch and those behind it are.
func TestDrainOfLogStartsLooksAtWhatGoes(t *testing.T) {
	for _, adopt := range []bool{false, true} {
		table := &counted{Catalog: &catalogtest.Catalog{}}
		h, err := openDraining(t, waltest.New(), 1, table, func(cfg *Config) { cfg.WAL.FilesMax = 100 })
		if err != nil {
			t.Fatal(err)
		}
		l := h.logs[0]
		add := func(epoch topic.Epoch) {
			t.Helper()
			state := l.State()
			b := spec{count: 3, value: make([]byte, 100)}
			if err := l.AppendReplica(Entry{Partition: l.partition, Epoch: epoch, PrevEpoch: state.TailEpoch, Base: state.LogEnd,
				Count: 3, Payload: placed(b, state.LogEnd, epoch)}); err != nil {
				t.Fatal(err)
			}
			h.settle()
			l.SetHighWatermark(l.State().DurableEnd)
		}
		// drain drains all that was written, and wants the catalog to know the log, after a look at so many runs at most.
		drain := func(runs int) {
			t.Helper()
			want, state := l.Epochs(), l.State()
			h.store.walLog.Seal(h.store.walLog.End().File)
			add(state.TailEpoch) // in the next file
			table.runs = 0
			d := &h.store.drainer
			if _, err, left := d.drainFiles(h.store.walLog.SealedFiles()[:1], adopt, true); err != nil || left != nil {
				t.Fatalf("adopt %t: drain: %v, %v", adopt, err, left)
			}
			if table.runs > runs {
				t.Errorf("adopt %t, log from %d to %d: the drain looked at %d runs, want %d at most", adopt, state.LogStart,
					state.LogEnd, table.runs, runs)
			}
			found := newLog(h.store, l.partition)
			if err := restoreLog(table, found); err != nil {
				t.Fatal(err)
			}
			if got := found.State(); got.LogStart != state.LogStart || got.LogEnd != state.LogEnd || !slices.Equal(found.Epochs(), want) {
				t.Fatalf("adopt %t: the catalog has a log from %d to %d of epochs %v, want %d to %d of %v", adopt, got.LogStart,
					got.LogEnd, found.Epochs(), state.LogStart, state.LogEnd, want)
			}
		}
		const files, each = 30, 10
		for i := range topic.Epoch(files * each) {
			if add(1 + i/3); i%each == each-1 {
				drain(1)
			}
		}
		for i := range topic.Epoch(files) {
			for range 3 { // some starts lie within a batch
				if err := l.MoveStart(l.State().LogStart + 7); err != nil {
					t.Fatal(err)
				}
				h.settle()
			}
			add(200 + i)
			drain(6)
		}
		// Over what was drained before, up to the last batch and behind it.
		for _, to := range []topic.Offset{l.State().LogEnd - 4, l.State().LogEnd} {
			if err := l.MoveStart(to); err != nil {
				t.Fatal(err)
			}
			h.settle()
		}
		drain(files*each + files)
		add(1000)
		if err := l.MoveStart(l.State().LogEnd - 1); err != nil {
			t.Fatal(err)
		}
		h.settle()
		drain(3)
		if stats := h.store.Stats().Drain; adopt != (stats.Adopted > files) {
			t.Errorf("adopt %t: got %+v", adopt, stats)
		}
		want := show(l)
		h.close()
		again, err := openDraining(t, h.fs, 2, table)
		if err != nil {
			t.Fatal(err)
		}
		if got := show(again.logs[0]); got != want {
			t.Errorf("adopt %t: opened again it is %s, not %s", adopt, got, want)
		}
		again.close()
	}
}

// A batch that was not needed when it was drained lies nowhere, also if it is not the first of those, and a start that finds
// one takes it for damaged.
func TestBatchesThatLieNowhereStayThere(t *testing.T) {
	var run []extent
	for i := range topic.Offset(4) {
		e := extent{base: 2 * i, count: 2, bytes: 70, epoch: 1, at: nowhere, encoded: int32(wal.EncodedBytes(70))}
		if len(run) > 0 && !e.continues(run[len(run)-1]) {
			t.Fatal("it takes more than one run")
		}
		run = append(run, e)
	}
	for start := range topic.Offset(8) {
		var x index
		err := decodeRun(0, encodeRun(run), func(e extent) {
			if e.at != nowhere {
				t.Errorf("the batch at %d lies at %v", e.base, e.at)
			}
			if e.end() > start {
				x.push(e)
			}
		})
		if err != nil || !x.holed(nil) {
			t.Errorf("log start %d: got %v; %d batches lie nowhere, and nothing is missed", start, err, x.len())
		}
	}
}
