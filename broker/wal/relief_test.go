package wal_test

import (
	"errors"
	"fmt"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// moveStart is a record without a payload.
func moveStart(base uint64) wal.Record {
	return wal.Record{Kind: wal.LogStart, Partition: data(1, 1).Partition, Epoch: topic.NoEpoch, Base: topic.Offset(base)}
}

// step makes files as far as there is room, and durable what is queued.
func (d *driven) step() {
	d.t.Helper()
	for d.Wanted() {
		if err := d.Prepare(); errors.Is(err, wal.ErrNoSpace) && !errors.Is(err, wal.ErrFailed) {
			break
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
	d.must()
	for d.Writing() {
		d.Disk()
		d.complete()
	}
}

// fill appends records of both budgets until none fits any more.
func (d *driven) fill() (records int) {
	d.t.Helper()
	for _, size := range []int{9000, 500, 1} {
		for more := true; more; d.step() {
			more = false
			for _, b := range []wal.Budget{wal.Leader, wal.Follower} {
				if r := data(1, size); d.TryReserve(b, wal.EncodedLen(r)) {
					d.Append(b, r)
					more, records = true, records+1
				}
			}
		}
	}
	return records
}

// onLowDisk is a log whose files are full for everybody but what gives space back, on a disk that has none for more
// as long as low says so.
func onLowDisk(t *testing.T) (d *driven, low *bool) {
	t.Helper()
	low = new(bool)
	cfg := small(waltest.New())
	cfg.Room = func(int64) error {
		if *low {
			return fmt.Errorf("%w: kept free", wal.ErrNoSpace)
		}
		return nil
	}
	d = drive(t, cfg)
	d.step()
	if *low = true; d.fill() == 0 {
		t.Fatal("nothing was appended: the test proves nothing")
	}
	return d, low
}

// On a low disk, when all files are full for everybody else, what gives space back is written: in the end of the
// last file, then in files that are made for it alone. Once there is room the others go on.
func TestReliefIsWrittenHoweverFullTheLogIs(t *testing.T) {
	d, low := onLowDisk(t)
	first := d.End().File
	for base := range uint64(60) { // a block each: more than three files of them
		r := moveStart(base)
		if !d.TryReserve(wal.Relief, wal.EncodedLen(r)) {
			t.Fatalf("no room for what gives space back, record %d in file %d", base, d.End().File)
		}
		d.Append(wal.Relief, r)
		d.step()
		if more := d.fill(); more > 0 {
			t.Fatalf("%d other records went into what is kept for those that give space back", more)
		}
	}
	if got := d.End().File; got < first+2 || d.Ready() > 2 {
		t.Errorf("got from file %d to %d, %d ready, want three more files, one at a time", first, got, d.Ready())
	}
	*low = false
	d.step()
	if r := data(1, 9000); d.Ready() != 3 || !d.TryReserve(wal.Leader, wal.EncodedLen(r)) {
		t.Errorf("%d files are ready, and nobody but those that give space back finds room in them", d.Ready())
	} else {
		d.Release(wal.Leader, wal.EncodedLen(r))
	}
	if queued, unplaced, reserved, _ := d.Accounts(); queued|unplaced|reserved != 0 {
		t.Errorf("accounts: %d queued, %d unplaced, %d reserved", queued, unplaced, reserved)
	}
}

// Relief is for the little that gives space back.
func TestReliefTakesNoPayload(t *testing.T) {
	d := drive(t, small(waltest.New()))
	r := data(1, 100)
	if d.TryReserve(wal.Relief, wal.EncodedLen(r)) {
		t.Error("data was promised what is kept for those that give space back")
	}
	if err := d.Reserve(t.Context(), wal.Relief, wal.EncodedLen(r)); !errors.Is(err, wal.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, wal.ErrTooLarge)
	}
}

// While files that are for relief alone are all that is ahead, others still want one of their own: they get it once
// there is room, also if nothing more is given back.
func TestFilesForReliefKeepNobodyWaiting(t *testing.T) {
	d, low := onLowDisk(t)
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
	*low = false
	d.step()
	if !d.TryReserve(wal.Leader, wal.EncodedLen(data(1, 9000))) {
		t.Errorf("space is back, and data still waits: ready %d, wanted %t", d.Ready(), d.Wanted())
	}
}

// Records that find no space are noted while the disk has none, until there is a file for them.
func TestLogStarvesWhileRecordsFindNoSpaceOnTheDisk(t *testing.T) {
	d, low := onLowDisk(t)
	if !d.Starved() || !d.Starves(wal.Leader, 1) {
		t.Fatal("a full log on a full disk does not starve")
	}
	for start := moveStart(1); d.TryReserve(wal.Relief, wal.EncodedLen(start)); { // another file for them alone
		d.Append(wal.Relief, start)
		d.step()
		if d.Ready() > 1 {
			break
		}
	}
	if !d.Starved() {
		t.Error("the log does not starve any more, with a file for relief alone")
	}
	*low = false
	if d.step(); d.Starved() || d.Starves(wal.Leader, wal.EncodedLen(data(1, 9000))) {
		t.Error("the log starves although there is space again")
	}
	*low = true
	if d.Starves(wal.Leader, wal.EncodedLen(data(1, 9000))) {
		t.Error("the log starves with files ahead")
	}
}

// A queue that is full is no want of space.
func TestFullQueueIsNoWantOfSpace(t *testing.T) {
	cfg := small(waltest.New())
	cfg.QueueBytesMax[wal.Leader] = 16 << 10
	refused := false
	cfg.Room = func(int64) error {
		if refused {
			return wal.ErrNoSpace
		}
		return nil
	}
	d := drive(t, cfg)
	d.step()
	refused = true
	for reserved := int64(0); ; reserved += 4 << 10 {
		if d.TryReserve(wal.Leader, 4<<10) {
			continue
		}
		if d.Starved() || reserved == 0 {
			t.Errorf("the log starves: %t, after %d bytes in the queue", d.Starved(), reserved)
		}
		return
	}
}

// Files for relief leave what ReliefRoom says, and give themselves back: those that are full are drained without a
// pack, and that is room for the next. So there is no end to what may be written, however little that frees.
func TestReliefNeverTakesTheLastOfTheDisk(t *testing.T) {
	fs := waltest.New()
	const kept = 40 << 10
	capacity := int64(1 << 20)
	fs.SetCapacity(capacity)
	low := false
	cfg := small(fs)
	room := func(leave int64) func(int64) error {
		return func(bytes int64) error {
			if capacity-fs.Used()-bytes < leave {
				return fmt.Errorf("%w: kept free", wal.ErrNoSpace)
			}
			return nil
		}
	}
	cfg.Room = func(bytes int64) error {
		if low {
			return wal.ErrNoSpace
		}
		return nil
	}
	cfg.ReliefRoom = room(kept)
	cfg.Space = func() (int64, bool) { return max(0, capacity-fs.Used()-kept), low }
	d := drive(t, cfg)
	d.step()
	low = true
	d.fill()
	// Copies have taken what they may.
	ballast, err := fs.Create("ballast", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ballast.Allocate(d.Lasting() &^ 4095); err != nil {
		t.Fatal(err)
	}
	first := d.End().File
	for base := uint64(0); d.End().File < first+6; base++ {
		r := moveStart(base)
		if !d.TryReserve(wal.Relief, wal.EncodedLen(r)) {
			t.Fatalf("no room for what gives space back, record %d in file %d, %d bytes are free", base, d.End().File, capacity-fs.Used())
		}
		d.Append(wal.Relief, r)
		d.step()
		if left := capacity - fs.Used(); left < kept {
			t.Fatalf("%d bytes are left, want %d", left, kept)
		}
		for sealed, ok := d.Sealed(); ok && sealed.File > first; sealed, ok = d.Sealed() {
			next, err := d.ReadSealed(sealed.File, nil, func(wal.Placed) error { return nil })
			if err == nil {
				err = d.Retire(next)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for sealed, ok := d.Sealed(); ok && sealed.File <= first; sealed, ok = d.Sealed() { // adopted
			pack, next, _ := d.Adoptable(sealed.File)
			d.Adopt(pack)
			if err := d.Retire(next); err != nil {
				t.Fatal(err)
			}
		}
		discardAll(t, d.Log)
	}
}

// discardAll removes what waits for it.
func discardAll(t *testing.T, l *wal.Log) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = l.Discard(); err != nil {
			t.Fatal(err)
		}
	}
}

// Somebody else may take even that: then what gives space back has the end of the last file, and waits.
func TestReliefLeavesWhatIsKeptForTheMetadata(t *testing.T) {
	cfg := small(waltest.New())
	low, lowest := false, false
	answer := func(no *bool) func(int64) error {
		return func(int64) error {
			if *no {
				return wal.ErrNoSpace
			}
			return nil
		}
	}
	cfg.Room, cfg.ReliefRoom = answer(&low), answer(&lowest)
	d := drive(t, cfg)
	d.step()
	low, lowest = true, true
	d.fill()
	file, written := d.End().File, 0
	write := func() bool {
		r := moveStart(uint64(written))
		if !d.TryReserve(wal.Relief, wal.EncodedLen(r)) {
			return false
		}
		d.Append(wal.Relief, r)
		d.step()
		written++
		return true
	}
	for write() {
		if d.End().File != file {
			t.Fatal("a file was made of what is kept for the metadata")
		}
	}
	if written == 0 {
		t.Error("there was no room in the last file")
	}
	lowest = false
	if d.step(); !write() {
		t.Error("no room for what gives space back once there is space for a file")
	}
}
