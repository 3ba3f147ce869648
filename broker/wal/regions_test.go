package wal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// large is a configuration whose files have several regions, with room in the cache for fewer.
func large(fs wal.FS) wal.Config {
	cfg := small(fs)
	cfg.FileBytes, cfg.GroupBytesMax, cfg.ReadCacheBytes = 4<<20, 1<<20, 3<<20
	return cfg
}

// Readers in order and at random, through a cache that is too small, while the log grows: each finds the
// records that were written.
func TestReadsThroughTheCacheFindWhatWasWritten(t *testing.T) {
	n := start(t, large(waltest.New()))
	random := rand.New(rand.NewPCG(1, 2))
	grow := func(from, count uint64) {
		for i := range count {
			n.put(wal.Leader, data(from+i, random.IntN(200_000)))
		}
		n.sink.awaitDurable(t, int(from+count))
	}
	grow(0, 60)
	var readers sync.WaitGroup
	for reader := range uint64(4) {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(reader, 3))
			for range 3 {
				for i, p := range n.sink.durables() {
					if reader%2 == 1 {
						all := n.sink.durables()
						p = all[random.IntN(len(all))]
					}
					r, err := n.ReadRecord(p.At, wal.EncodedLen(p.Record))
					if err != nil || !equal(r, p.Record) {
						t.Errorf("reader %d, record %d at %v: %v, or not what was written", reader, i, p.At, err)
						return
					}
				}
			}
		})
	}
	grow(60, 60)
	readers.Wait()
	i := 0
	for from := (wal.Position{}); ; {
		records, next, err := n.Scan(from, 300_000)
		for _, r := range records {
			if want := n.sink.durables()[i]; r.At != want.At || !equal(r.Record, want.Record) {
				t.Fatalf("scan: record %d at %v is not what was written", i, r.At)
			}
			i++
		}
		if from = next; errors.Is(err, wal.ErrEnd) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if i != 120 {
		t.Errorf("scanned %d records, want 120", i)
	}
}

// Consumers of all partitions that lag in the same place cost the device one reading.
func TestLaggingReadersShareReads(t *testing.T) {
	fs := waltest.New()
	cfg := large(fs)
	cfg.ReadCacheBytes = 16 << 20
	n := start(t, cfg)
	for i := range uint64(300) {
		n.put(wal.Leader, data(i, 30_000))
	}
	n.sink.awaitDurable(t, 300)
	var bytes atomic.Int64
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Read {
			bytes.Add(op.Bytes)
		}
		return nil
	})
	all := n.sink.durables()
	for range 3 {
		for _, p := range all {
			if r, err := n.ReadRecord(p.At, wal.EncodedLen(p.Record)); err != nil || !equal(r, p.Record) {
				t.Fatalf("record at %v: %v, or not what was written", p.At, err)
			}
		}
	}
	// The last file is still being written: its last region is read record by record.
	if got, most := bytes.Load(), int64(300*30_000*3/2+3<<20); got > most {
		t.Errorf("three readings of 9 MB took %d bytes from the device, want at most %d", got, most)
	}
}

// A block that the device does not give back hides nothing but what lies in it, cache or not.
func TestUnreadableBlockCostsItsRecordAlone(t *testing.T) {
	fs := waltest.New()
	n := start(t, large(fs))
	for i := range uint64(200) {
		n.put(wal.Leader, data(i, 30_000))
	}
	n.sink.awaitDurable(t, 200)
	all := n.sink.durables()
	bad := all[40]
	badName := filepath.Join(dir, fmt.Sprintf("%020d.wal", bad.At.File))
	fs.Intercept(func(op waltest.Op) error {
		block := bad.At.Offset &^ 4095
		if op.Verb == waltest.Read && op.Name == badName && op.Offset <= block && block < op.Offset+op.Bytes {
			return syscall.EIO
		}
		return nil
	})
	for range 2 {
		for i, p := range all {
			_, err := n.ReadRecord(p.At, wal.EncodedLen(p.Record))
			touches := p.At.File == bad.At.File && p.At.Offset&^4095 <= bad.At.Offset &&
				bad.At.Offset&^4095 < p.At.Offset+wal.EncodedLen(p.Record)
			if touches != errors.Is(err, wal.ErrDamaged) || !touches && err != nil {
				t.Errorf("record %d: got %v, in the bad block: %v", i, err, touches)
			}
		}
	}
}
