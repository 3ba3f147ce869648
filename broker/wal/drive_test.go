package wal_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// driven is a log in the hand of a test.
type driven struct {
	*node
	*wal.Driver
	now time.Duration
}

func drive(t *testing.T, cfg wal.Config) *driven {
	t.Helper()
	d := &driven{}
	cfg.Now = func() time.Duration { return d.now }
	n, err := open(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.node = n
	if d.Driver, err = n.Drive(); err != nil {
		t.Fatal(err)
	}
	return d
}

// must puts and turns without an error.
func (d *driven) must(records ...wal.Record) {
	d.t.Helper()
	for _, r := range records {
		if !d.TryReserve(wal.Leader, wal.EncodedLen(r)) {
			d.t.Fatalf("no room for record %d", r.Base)
		}
		d.Append(wal.Leader, r)
	}
	if err := d.Turn(); err != nil {
		d.t.Fatal(err)
	}
}

// groups makes each record durable in a group of its own, and whatever files are wanted then.
func (d *driven) groups(records ...wal.Record) {
	d.t.Helper()
	for _, r := range records {
		d.settle()
		d.must(r)
		d.settle()
	}
}

// end stops the log cleanly.
func (d *driven) end() {
	d.t.Helper()
	if err := errors.Join(d.Close(), d.Log.Close()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *driven) complete() {
	d.t.Helper()
	if err := d.Complete(); err != nil {
		d.t.Fatal(err)
	}
}

// Nothing happens on its own: each step is the caller's, two groups may be on their way, and ages
// come from the clock that was given.
func TestDriverTakesOneStepAtATime(t *testing.T) {
	d := drive(t, small(waltest.New()))
	if d.Age() != 0 || d.Writing() || d.Written() || !d.Wanted() {
		t.Fatal("a new log has something to do")
	}
	for d.Wanted() {
		if err := d.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	d.must(data(1, 100))
	d.now = 3 * time.Second
	if !d.Writing() || d.Written() || d.Age() != 3*time.Second {
		t.Fatalf("after Turn: writing %t, written %t, age %s", d.Writing(), d.Written(), d.Age())
	}
	// Behind a busy disk a second group waits only when it is full.
	d.must(data(2, 100))
	d.must(series(3, 3, 6000)...)
	d.Disk()
	d.Disk()
	d.Disk()
	if len(d.sink.durable) != 0 || !d.Written() || d.Writing() {
		t.Fatal("the log heard of the disk before Complete")
	}
	d.complete()
	same(t, "durable", records(d.sink.durable), []wal.Record{data(1, 100)})
	if d.Age() != 0 {
		t.Fatalf("age %s, want 0: the rest is of this moment", d.Age())
	}
	d.complete()
	if !d.Writing() || len(d.sink.durable) != 4 {
		t.Fatalf("%d records are durable, want 4 and one on its way", len(d.sink.durable))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Drive(); !errors.Is(err, wal.ErrClosed) {
		t.Fatalf("drive again: %v", err)
	}
	if err := d.Turn(); !errors.Is(err, wal.ErrClosed) {
		t.Fatalf("turn after close: %v", err)
	}
	same(t, "scanned", records(scanAll(t, d.Log, wal.Position{}, 0)), append(
		[]wal.Record{data(1, 100), data(2, 100)}, series(3, 3, 6000)...))
	if queued, unplaced, reserved, _ := d.Accounts(); queued|unplaced|reserved != 0 {
		t.Fatalf("accounts: %d queued, %d unplaced, %d reserved", queued, unplaced, reserved)
	}
}

// A clean stop by hand leaves the witness of the last group, as Run's does.
func TestDriverClosesTheChain(t *testing.T) {
	fs := waltest.New()
	d := drive(t, small(fs))
	d.must(data(1, 100))
	if err := errors.Join(d.Close(), d.Log.Close()); err != nil {
		t.Fatal(err)
	}
	fs.Damage(wal.FileName(dir, 1), func(b []byte) []byte {
		b[wal.BlockBytes+wal.GroupHeaderBytes+8] ^= 1
		return b
	})
	if _, err := open(t, small(fs)); !errors.Is(err, wal.ErrDamaged) {
		t.Fatalf("open with a spoilt last group: %v", err)
	}
}

func TestDriverStaysFailed(t *testing.T) {
	fs := waltest.New()
	d := drive(t, small(fs))
	for d.Wanted() {
		if err := d.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	d.must(data(1, 100))
	d.must(series(2, 3, 6000)...) // a second job is on its way
	ops := 0
	fs.Intercept(func(op waltest.Op) error {
		if ops++; op.Verb == waltest.Sync {
			return syscall.EIO
		}
		return nil
	})
	d.Disk()
	before := ops
	d.Disk()
	if ops != before {
		t.Fatal("the second job was tried after the first had failed")
	}
	err := d.Complete()
	fs.Intercept(func(op waltest.Op) error {
		t.Errorf("%s %s after the failure", op.Verb, op.Name)
		return nil
	})
	for _, err := range []error{err, d.Turn(), d.Complete(), d.Prepare(), d.Tick(), d.Close()} {
		if !errors.Is(err, wal.ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v, want the failure", err)
		}
	}
	if len(d.sink.durable) != 0 {
		t.Fatal("reported durable")
	}
	if err := d.Reserve(t.Context(), wal.Leader, 100); !errors.Is(err, wal.ErrFailed) {
		t.Fatalf("reserve: %v", err)
	}
}

// A full disk is back-pressure: nothing fails, nothing is lost, and space lets it go on.
func TestDriverWaitsForSpace(t *testing.T) {
	fs := waltest.New()
	d := drive(t, small(fs))
	fs.SetCapacity(100 << 10)
	if err := d.Prepare(); !errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrFailed) {
		t.Fatalf("prepare on a full disk: %v", err)
	}
	d.must(data(1, 100))
	d.Disk()
	d.complete()
	if !d.Wanted() {
		t.Fatal("no file is wanted any more")
	}
	fs.SetCapacity(0)
	for d.Wanted() {
		if err := d.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	if d.Ready() != 3 {
		t.Fatalf("%d files are ready, want 3", d.Ready())
	}
}

// Files are made ahead only where there is room, be it for a spare; the one in use is made in any case.
func TestFilesAheadWaitForRoom(t *testing.T) {
	low := true
	var asked []int64
	cfg := small(waltest.New())
	cfg.Room = func(bytes int64) error {
		asked = append(asked, bytes)
		if low {
			return fmt.Errorf("%w: kept free", wal.ErrNoSpace)
		}
		return nil
	}
	d := drive(t, cfg)
	if d.Ready() != 1 || len(asked) != 0 {
		t.Fatalf("%d files are ready after a start, asked for %d, want the one in use and no question", d.Ready(), asked)
	}
	if err := d.Prepare(); !errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrFailed) {
		t.Fatalf("prepare without room: got %v, want %v", err, wal.ErrNoSpace)
	}
	d.must(data(1, 100)) // what was promised is there
	d.Disk()
	d.complete()
	low = false
	for d.Wanted() {
		if err := d.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	if d.Ready() != 3 || asked[0] != cfg.FileBytes {
		t.Fatalf("%d files are ready, asked for %d, want 3 of %d bytes", d.Ready(), asked, cfg.FileBytes)
	}
}

// Under an interval the clock decides which group is synced, and Tick syncs what no group follows.
func TestDriverSyncsByTheClock(t *testing.T) {
	fs := waltest.New()
	var syncs int
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Sync && strings.HasSuffix(op.Name, ".wal") {
			syncs++
		}
		return nil
	})
	cfg := small(fs)
	cfg.Sync = wal.Policy{Interval: time.Second}
	d := drive(t, cfg)
	for i, want := range []int{0, 0, 1, 1, 2} {
		d.now = time.Duration(i) * 600 * time.Millisecond
		d.must(data(uint64(i+1), 100))
		d.Disk()
		d.complete()
		if syncs != want {
			t.Fatalf("group %d: %d syncs, want %d", i, syncs, want)
		}
	}
	before := syncs
	d.must(data(6, 100))
	d.Disk()
	d.complete()
	if err := d.Tick(); err != nil {
		t.Fatal(err)
	}
	d.Disk()
	d.complete()
	if syncs != before+1 || len(d.sink.durable) != 6 {
		t.Fatalf("%d syncs after %d, %d records durable", syncs, before, len(d.sink.durable))
	}
}

// What goes amiss reports success, and leaves the right place as it was.
func TestWritesGoAmissUnnoticed(t *testing.T) {
	fs := waltest.New()
	a, err := fs.Create("/d/a", true)
	if err != nil {
		t.Fatal(err)
	}
	blocks := make([]byte, 2*wal.BlockBytes)
	f, err := fs.Create("/d/b", false)
	if err != nil {
		t.Fatal(err)
	}
	_, errA := a.Allocate(2 * wal.BlockBytes)
	_, errB := f.Allocate(4 * wal.BlockBytes)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	for i := range blocks {
		blocks[i] = byte(1 + i/wal.BlockBytes)
	}
	amiss := []*waltest.Amiss{{}, {Blocks: []int{1}}, {Blocks: []int{0}, Elsewhere: "/d/a", Offset: 4096}}
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb != waltest.Write {
			return nil
		}
		next := amiss[0]
		amiss = amiss[1:]
		return next
	})
	look := func(name string) string {
		var firsts []byte
		for i, b := range fs.Content(name) {
			if i%wal.BlockBytes == 0 {
				firsts = append(firsts, '0'+b)
			}
		}
		return string(firsts)
	}
	for i, want := range []string{"0000 00", "1000 00", "1020 01"} {
		offset := int64(max(0, i-1)) * wal.BlockBytes
		if n, err := f.WriteAt(blocks, offset); n != len(blocks) || err != nil {
			t.Fatalf("write %d: %d, %v", i, n, err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := look("/d/b") + " " + look("/d/a"); got != want {
			t.Fatalf("after write %d: %s, want %s", i, got, want)
		}
	}
}
