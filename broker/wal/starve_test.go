package wal_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// fillUp fills all files of a log whose preparer does not come to make another, with records of so many bytes.
func fillUp(d *driven, sizes ...int) {
	for _, size := range sizes {
		for more := true; more; {
			more = false
			for _, b := range []wal.Budget{wal.Leader, wal.Follower} {
				if r := data(1, size); d.TryReserve(b, wal.EncodedLen(r)) {
					d.Append(b, r)
					more = true
				}
			}
			d.must()
			for d.Writing() {
				d.Disk()
				d.complete()
			}
		}
	}
}

// starving is a full log with an append that waits since before the disk refused the next file.
func starving(t *testing.T, sizes ...int) *driven {
	t.Helper()
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
	fillUp(d, sizes...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- d.Reserve(ctx, wal.Leader, wal.EncodedLen(data(1, 9000))) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err == nil {
			t.Error("what waited was granted")
		}
	})
	ticker := time.NewTicker(time.Millisecond) // Nothing tells that a Reserve waits.
	defer ticker.Stop()
	for d.Waiting(wal.Leader) == 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("the append does not wait")
		}
	}
	low = true
	for range 3 {
		if err := d.Prepare(); !errors.Is(err, wal.ErrNoSpace) {
			t.Fatalf("got %v, want %v", err, wal.ErrNoSpace)
		}
	}
	return d
}

// Who already waits when the disk refuses the next file starves, too.
func TestWaitersBeforeTheRefusalStarve(t *testing.T) {
	if d := starving(t, 9000, 500, 1); !d.Starved() {
		t.Error("an append waits for a file that the disk refuses, and the log does not say that it starves")
	}
}

// Small records that fit, but wait behind a large one, starve with it.
func TestSmallRecordsBehindALargeOneStarve(t *testing.T) {
	d := starving(t, 9000)
	small := wal.EncodedLen(data(1, 100))
	if d.TryReserve(wal.Leader, small) {
		t.Fatal("a small record has overtaken the one that waits")
	}
	if !d.Starves(wal.Leader, small) || !d.Starved() {
		t.Error("the log says that a small record would be taken, and refuses it")
	}
}
