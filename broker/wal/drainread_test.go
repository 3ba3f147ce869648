package wal_test

import (
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// Syncs wait on the device for whatever is being read there, so a drain reads a file in small pieces, as small as is asked for.
func TestDrainReadsInSmallPieces(t *testing.T) {
	for most, atOnce := range map[int64]func() int64{256 << 10: nil, 16 << 10: func() int64 { return 16 << 10 }} {
		drainReads(t, most, atOnce)
	}
}

func drainReads(t *testing.T, most int64, atOnce func() int64) {
	t.Helper()
	fs := waltest.New()
	d := openDriven(t, wal.Config{FS: fs, FileBytes: 1 << 20})
	d.append(400)
	sealed, ok := d.log.Sealed()
	if !ok {
		t.Fatal("no file is full")
	}
	var largest, all int64
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Read {
			largest, all = max(largest, op.Bytes), all+op.Bytes
		}
		return nil
	})
	records := 0
	if _, err := d.log.ReadSealed(sealed.File, atOnce, func(wal.Placed) error { records++; return nil }); err != nil {
		t.Fatal(err)
	}
	if largest > most || largest < most/2 || all < sealed.Bytes || records == 0 {
		t.Errorf("got %d records by reads of at most %d bytes, %d of %d in all, want at most %d each", records, largest, all, sealed.Bytes, most)
	}
	d.stop()
}
