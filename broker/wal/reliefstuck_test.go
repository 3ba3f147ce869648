package wal_test

import (
	"fmt"
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// While files that are for relief alone are all that is ahead, others still want one of their own: they get it once
// there is room, also if nothing more is given back.
func TestFilesForReliefKeepNobodyWaiting(t *testing.T) {
	low := false
	cfg := small(waltest.New())
	cfg.Room = func(int64) error {
		if low {
			return fmt.Errorf("%w: kept free", wal.ErrNoSpace)
		}
		return nil
	}
	d := drive(t, cfg)
	d.step()
	low = true
	d.fill()
	start, reserved, files := moveStart(1), 0, 0
	for files < 3 {
		if d.TryReserve(wal.Relief, wal.EncodedLen(start)) {
			reserved++
			continue
		}
		if !d.Wanted() {
			t.Fatalf("no file is wanted after %d for relief", files)
		}
		if err := d.Prepare(); err != nil {
			t.Fatal(err)
		}
		files++
	}
	for range reserved {
		d.Append(wal.Relief, start)
	}
	d.step()
	low = false
	d.step()
	if !d.TryReserve(wal.Leader, wal.EncodedLen(data(1, 9000))) {
		t.Errorf("space is back, and data still waits: ready %d, wanted %t", d.Ready(), d.Wanted())
	}
}
