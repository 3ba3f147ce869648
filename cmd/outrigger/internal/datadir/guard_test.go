package datadir

import (
	"errors"
	"strings"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// disk is a file system of which a test says what is left.
type disk struct {
	total, usable int64
	err           error
}

func (d *disk) space() (total, usable int64, err error) { return d.total, d.usable, d.err }

// minimum and file are those of the tests' guards.
const minimum, file = 1000, 300

func (d *disk) look(t *testing.T, g *Guard, usable int64) {
	t.Helper()
	d.usable = usable
	if err := g.Look(); err != nil {
		t.Fatal(err)
	}
}

func TestProducersWaitBelowTheMinimumAndGoOnAboveAFileAndAQuarterMore(t *testing.T) {
	d := &disk{total: 10_000}
	g := NewGuard(d.space, minimum, file)
	for _, step := range []struct {
		usable int64
		low    bool
	}{{5000, false}, {1000, false}, {999, true}, {1000, true}, {1549, true}, {1550, false}, {1000, false}, {0, true}, {9000, false}} {
		d.look(t, g, step.usable)
		if low := g.Low() != ""; low != step.low {
			t.Errorf("%d bytes free: got low %t, want %t", step.usable, low, step.low)
		}
	}
	for _, step := range []struct {
		usable, free int64
		low          bool
	}{{1550, 1300, false}, {1549, 1299, true}, {1000, 750, true}, {100, 0, true}, {5000, 4750, false}} {
		d.look(t, g, step.usable)
		if free, low := g.Space(); free != step.free || low != step.low {
			t.Errorf("%d bytes free: got %d for copies, low %t, want %d, %t", step.usable, free, low, step.free, step.low)
		}
	}
	d.look(t, g, 7)
	if said := g.Low(); !strings.Contains(said, "7 bytes") || !strings.Contains(said, "1000") {
		t.Errorf("got %q, want both figures", said)
	}
}

// Where appends wait for a file the disk is low, however much more than the minimum is free, and stays so until there
// is room for one and some more: what is free goes up and down there, and the disk does not.
func TestDiskIsLowWhileAppendsWaitForAFile(t *testing.T) {
	d, waits := &disk{total: 10_000}, false
	g := NewGuard(d.space, minimum, file)
	g.StarvedBy(func() bool { return waits })
	d.look(t, g, minimum+file-1)
	if err := g.Room(file); !errors.Is(err, wal.ErrNoSpace) || g.Low() != "" {
		t.Fatalf("got %v, low %q, want no room for a file, and appends that still find some", err, g.Low())
	}
	waits = true
	if g.Low() == "" {
		t.Fatal("appends wait, and the disk is not low before it is looked at again")
	}
	for _, usable := range []int64{1299, 1300, 1549, 1301, 1549} {
		d.look(t, g, usable)
		if waits = usable < 1300; g.Low() == "" || g.Room(file) == nil || g.Room(0) == nil {
			t.Errorf("%d bytes are free: got low %q, want it low, and no file made", usable, g.Low())
		}
	}
	waits = true
	d.look(t, g, 1550)
	if err := g.Room(file); err != nil || g.Low() == "" {
		t.Errorf("got %v, low %q, want a file made, and the disk low until then", err, g.Low())
	}
	if waits = false; g.Low() != "" {
		t.Errorf("got low %q once appends go on", g.Low())
	}
}

// A disk that has no space for a file although much is said to be free is asked again and again.
func TestAppendsThatWaitAreNoReasonToMakeNoFile(t *testing.T) {
	d := &disk{total: 10_000}
	g := NewGuard(d.space, minimum, file)
	g.StarvedBy(func() bool { return true })
	d.look(t, g, 9000)
	if err := g.Room(file); err != nil || g.Low() == "" {
		t.Errorf("got %v, low %q, want a try, on a low disk", err, g.Low())
	}
}

func TestFilesForReliefLeaveAQuarterOfTheMinimum(t *testing.T) {
	d := &disk{total: 10_000, usable: 550}
	g := NewGuard(d.space, minimum, file)
	if err := g.ReliefRoom(file); err != nil {
		t.Errorf("got %v, want room for 300 of 550 bytes", err)
	}
	d.usable = 549
	if err := g.ReliefRoom(file); !errors.Is(err, wal.ErrNoSpace) {
		t.Errorf("got %v, want %v", err, wal.ErrNoSpace)
	}
	d.err = errors.New("gone")
	if err := g.ReliefRoom(0); !errors.Is(err, d.err) {
		t.Errorf("got %v, want %v", err, d.err)
	}
}

func TestMinimumSuitsTheSizeOfTheDisk(t *testing.T) {
	for _, c := range []struct{ min, total, want int64 }{
		{-1, 100 << 20, 5 << 20}, {-1, 4 << 40, 1 << 30}, {0, 4 << 40, 0}, {123, 4 << 40, 123},
	} {
		d := &disk{total: c.total, usable: c.total}
		g := NewGuard(d.space, c.min, file)
		if err := g.Look(); err != nil {
			t.Fatal(err)
		}
		if _, floor, _ := g.State(); floor != c.want {
			t.Errorf("log.disk.free.min=%d on %d bytes: got %d, want %d", c.min, c.total, floor, c.want)
		}
	}
}

// A file ahead of the writer must not itself take what is kept free, and none is taken while producers wait.
func TestFilesAreMadeAheadOnlyWhereThatLeavesEnough(t *testing.T) {
	d := &disk{total: 10_000, usable: 1300}
	g := NewGuard(d.space, minimum, file)
	if err := g.Room(300); err != nil {
		t.Errorf("room for 300 of 1300 bytes: got %v, want nil", err)
	}
	if err := g.Room(301); !errors.Is(err, wal.ErrNoSpace) || g.Low() != "" {
		t.Errorf("room for 301 of 1300 bytes: got %v, low %q, want %v and not low", err, g.Low(), wal.ErrNoSpace)
	}
	d.usable = 900
	if err := g.Room(0); !errors.Is(err, wal.ErrNoSpace) {
		t.Errorf("room for a spare below the minimum: got %v, want %v", err, wal.ErrNoSpace)
	}
	d.err = errors.New("gone")
	if err := g.Room(0); !errors.Is(err, d.err) {
		t.Errorf("got %v, want %v", err, d.err)
	}
}

// The log and its guard have one rule: appends never wait for space on a disk that does not count as low, and it does not
// go to and fro meanwhile.
func TestAppendsWaitOnALowDiskAlone(t *testing.T) {
	const capacity, kept, fileBytes = 2 << 20, 100 << 10, 256 << 10 // a file is more than a quarter of what is kept
	fs := waltest.New()
	g := NewGuard(func() (total, usable int64, err error) { return capacity, capacity - fs.Used(), nil }, kept, fileBytes)
	log, err := wal.Open(wal.Config{FS: fs, Dir: "wal", Session: 1, FileBytes: fileBytes, GroupBytesMax: 16 << 10,
		Room: g.Room, ReliefRoom: g.ReliefRoom, Space: g.Space})
	if err != nil {
		t.Fatal(err)
	}
	g.StarvedBy(log.Starved)
	d, err := log.Drive()
	if err != nil {
		t.Fatal(err)
	}
	prepare := func() {
		t.Helper()
		for d.Wanted() {
			if err := d.Prepare(); errors.Is(err, wal.ErrNoSpace) && !errors.Is(err, wal.ErrFailed) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	r := wal.Record{Kind: wal.Data, Partition: topic.Partition{Topic: topic.ID{1}}, Payload: make([]byte, 4000)}
	appended := func() bool {
		t.Helper()
		prepare()
		if !log.TryReserve(wal.Leader, wal.EncodedLen(r)) {
			return false
		}
		log.Append(wal.Leader, r)
		for err := d.Turn(); err != nil || d.Writing(); err = d.Complete() {
			if err != nil {
				t.Fatal(err)
			}
			d.Disk()
		}
		return true
	}
	for appended() {
		if err := g.Look(); err != nil || g.Low() != "" {
			t.Fatalf("got %v, low %q while appends find room", err, g.Low())
		}
	}
	free, floor, low := g.State()
	if !low || free < floor+floor/freeAgain || free >= floor+fileBytes {
		t.Fatalf("appends wait with %d bytes free, low %t, want it low above %d and below %d", free, low, floor+floor/freeAgain, floor+fileBytes)
	}
	back := int64(0)
	g.space = func() (total, usable int64, err error) { return capacity, capacity - fs.Used() + back, nil }
	for _, back = range []int64{floor + fileBytes - free, floor + fileBytes - free - 1, g.enough(floor) - free - 1} {
		if prepare(); g.Low() == "" || appended() {
			t.Errorf("with %d bytes more the disk is not low any more", back)
		}
	}
	back = g.enough(floor) - free
	if prepare(); g.Low() != "" || !appended() {
		t.Errorf("with %d bytes more got low %q, want appends that go on", back, g.Low())
	}
	if err := errors.Join(d.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
}
