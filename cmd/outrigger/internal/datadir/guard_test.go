package datadir

import (
	"errors"
	"strings"
	"testing"

	"outrigger/broker/wal"
)

// disk is a file system of which a test says what is left.
type disk struct {
	total, usable int64
	err           error
}

func (d *disk) space() (total, usable int64, err error) { return d.total, d.usable, d.err }

func TestProducersWaitBelowTheMinimumAndGoOnAboveAQuarterMore(t *testing.T) {
	d := &disk{total: 10_000}
	g := NewGuard(d.space, 1000)
	for _, step := range []struct {
		usable int64
		low    bool
	}{{5000, false}, {1000, false}, {999, true}, {1000, true}, {1249, true}, {1250, false}, {1000, false}, {0, true}, {9000, false}} {
		d.usable = step.usable
		if err := g.Look(); err != nil {
			t.Fatal(err)
		}
		if low := g.Low() != ""; low != step.low {
			t.Errorf("%d bytes free: got low %t, want %t", step.usable, low, step.low)
		}
	}
	for _, step := range []struct {
		usable, free int64
		low          bool
	}{{1250, 1000, false}, {1249, 999, true}, {1000, 750, true}, {100, 0, true}, {5000, 4750, false}} {
		d.usable = step.usable
		if err := g.Look(); err != nil {
			t.Fatal(err)
		}
		if free, low := g.Space(); free != step.free || low != step.low {
			t.Errorf("%d bytes free: got %d for copies, low %t, want %d, %t", step.usable, free, low, step.free, step.low)
		}
	}
	d.usable = 7
	if err := g.Look(); err != nil {
		t.Fatal(err)
	}
	if said := g.Low(); !strings.Contains(said, "7 bytes") || !strings.Contains(said, "1000") {
		t.Errorf("got %q, want both figures", said)
	}
}

func TestMinimumSuitsTheSizeOfTheDisk(t *testing.T) {
	for _, c := range []struct{ min, total, want int64 }{
		{-1, 100 << 20, 5 << 20}, {-1, 4 << 40, 1 << 30}, {0, 4 << 40, 0}, {123, 4 << 40, 123},
	} {
		d := &disk{total: c.total, usable: c.total}
		g := NewGuard(d.space, c.min)
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
	g := NewGuard(d.space, 1000)
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
