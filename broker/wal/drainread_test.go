package wal_test

import (
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// Syncs wait on the device for whatever is being read there, so a drain reads a file in small pieces.
func TestDrainReadsInSmallPieces(t *testing.T) {
	const most = 256 << 10
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
	if _, err := d.log.ReadSealed(sealed.File, nil, func(wal.Placed) error { records++; return nil }); err != nil {
		t.Fatal(err)
	}
	if largest > most || all < sealed.Bytes || records == 0 {
		t.Errorf("got %d records by reads of at most %d bytes, %d of %d in all, want at most %d each", records, largest, all, sealed.Bytes, most)
	}
	d.stop()
}
