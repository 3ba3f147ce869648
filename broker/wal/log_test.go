package wal_test

import (
	"errors"
	"runtime"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// every holds one record of each kind and payloads of awkward sizes.
func every() []wal.Record {
	list := []wal.Record{
		data(1, 0), data(2, 1), data(3, 7), data(4, 8), data(5, 4096), data(6, 4000), data(7, 12000),
		// Larger than a group, as large as a record may be.
		data(8, 16<<10-wal.RecordHeaderBytes),
	}
	for i, kind := range []wal.Kind{wal.Truncate, wal.LogStart, wal.HighWatermark, wal.Remove} {
		list = append(list, wal.Record{Kind: kind, Base: topic.Offset(i), Epoch: topic.NoEpoch,
			Partition: topic.Partition{Topic: topic.ID{9}, Index: int32(i)}})
	}
	return list
}

// failure mode 38: read back everything, by every way there is.
func TestRecordsComeBackByEveryWay(t *testing.T) {
	for name, refuse := range map[string]bool{"direct": false, "buffered": true} {
		t.Run(name, func(t *testing.T) {
			fs := waltest.New()
			if refuse {
				fs.RefuseDirect()
			}
			n := start(t, small(fs))
			if n.Direct() == refuse {
				t.Fatalf("direct is %v", n.Direct())
			}
			want := every()
			for range 5 {
				n.putDurable(want...)
			}
			for range 4 {
				want = append(want, every()...)
			}
			checkReads(t, n.Log, n.sink.durables(), want)
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			again := start(t, small(fs))
			same(t, "recovered", again.found, want)
			checkReads(t, again.Log, n.sink.durables(), want)
			var replayed []wal.Record
			err := again.Replay(func(p wal.Placed) error {
				replayed = append(replayed, cloned(p.Record))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			same(t, "replayed", replayed, want)
		})
	}
}

func checkReads(t *testing.T, l *wal.Log, durable []wal.Placed, want []wal.Record) {
	t.Helper()
	same(t, "durable", records(durable), want)
	for _, bytes := range []int{0, 100_000, 1 << 20} {
		scanned := scanAll(t, l, wal.Position{}, bytes)
		same(t, "scanned", records(scanned), want)
	}
	for i, p := range durable {
		r, err := l.ReadRecord(p.At, wal.EncodedLen(p.Record))
		if err != nil {
			t.Fatalf("read record %d: %v", i, err)
		}
		if !equal(r, p.Record) {
			t.Fatalf("record %d differs", i)
		}
		rest, _, err := l.Scan(p.At, 0)
		if err != nil && !errors.Is(err, wal.ErrEnd) || len(rest) == 0 {
			t.Fatalf("scan from record %d: %d records, %v", i, len(rest), err)
		}
		if rest[0].At != p.At || !equal(rest[0].Record, p.Record) {
			t.Fatalf("scan from %s begins at %s", p.At, rest[0].At)
		}
	}
	if _, next, err := l.Scan(l.End(), 0); !errors.Is(err, wal.ErrEnd) || next != l.End() {
		t.Fatalf("scan at the end: %s, %v", next, err)
	}
}

func TestReadBeyondTheDurableEndIsRefused(t *testing.T) {
	n := start(t, small(waltest.New()))
	n.putDurable(data(1, 10))
	if _, err := n.ReadRecord(n.End(), 56); !errors.Is(err, wal.ErrNotDurable) {
		t.Fatalf("got %v", err)
	}
	if _, err := n.ReadRecord(wal.Position{File: 9, Offset: 4096}, 56); !errors.Is(err, wal.ErrNotDurable) {
		t.Fatalf("got %v", err)
	}
}

func TestSecondProcessIsLockedOut(t *testing.T) {
	fs := waltest.New()
	start(t, small(fs))
	_, err := wal.Open(small(fs))
	var locked *wal.LockedError
	if !errors.As(err, &locked) || locked.PID != 1 {
		t.Fatalf("got %v", err)
	}
}

func TestRecordTooLargeIsRefused(t *testing.T) {
	n := start(t, small(waltest.New()))
	if err := n.Reserve(t.Context(), wal.Leader, 16<<10+1); !errors.Is(err, wal.ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	if n.TryReserve(wal.Leader, 16<<10+1) {
		t.Fatal("reserved")
	}
}

func TestClosedLogDropsAndRefuses(t *testing.T) {
	n := start(t, small(waltest.New()))
	r := data(1, 100)
	if err := n.Reserve(t.Context(), wal.Leader, wal.EncodedLen(r)); err != nil {
		t.Fatal(err)
	}
	n.cancel()
	<-n.ended
	n.Append(wal.Leader, r)
	if err := n.Reserve(t.Context(), wal.Leader, 100); !errors.Is(err, wal.ErrClosed) {
		t.Fatalf("got %v", err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
}

// A restart of the process alone loses nothing, and crash loops do not grow the directory.
func TestRestartsKeepEverythingAndTheDirectorySmall(t *testing.T) {
	fs := waltest.New()
	want := series(1, 3, 500)
	n := start(t, small(fs))
	n.putDurable(want...)
	for range 20 {
		fs = fs.Restart()
		n = start(t, small(fs))
		same(t, "recovered", n.found, want)
	}
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) > 6 {
		t.Fatalf("%d files after 20 restarts: %v", len(names), names)
	}
}

// failure mode 37: recovery takes a window of memory, not the log.
func TestRecoveryStreams(t *testing.T) {
	fs := waltest.New()
	cfg := small(fs)
	cfg.FileBytes = 1 << 20
	n := start(t, cfg)
	for i := range uint64(400) {
		n.put(wal.Leader, data(i%10, 60_000))
	}
	n.sink.awaitDurable(t, 400)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	cfg.Session = nextSession()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err := wal.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	err = l.Replay(func(wal.Placed) error {
		found++
		return nil
	})
	runtime.ReadMemStats(&after)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	if found != 400 {
		t.Fatalf("found %d records, want 400", found)
	}
	// Two walks with a window of at most a file each, and the first file of the new session.
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Fatalf("recovery of 24 MB allocated %d bytes", used)
	}
}
