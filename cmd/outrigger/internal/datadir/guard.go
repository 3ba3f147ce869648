package datadir

import (
	"fmt"
	"sync"
	"sync/atomic"

	"outrigger/broker/wal"
)

// Bounds of what a Guard keeps free unless it is told.
const (
	freeMost  = 1 << 30
	freeShare = 20
	// freeAgain is the share of the minimum by which the free space must exceed it, beside a file, before producers go
	// on: who writes at the bound would be let in and sent away by turns. As much is left by copies, for the metadata.
	freeAgain = 4
)

// Guard keeps some space of a file system free of what producers send: for drains and compactions, which
// give space back, for the metadata, and for the records by which a log start moves. Methods may be called
// concurrently.
//
// There is one rule for the write-ahead log and for producers. The disk is low once less is free than the minimum, or
// once appends wait for a file that would leave less: then producers have to wait, and no such file is made, until
// there is room for one and a quarter of the minimum more.
type Guard struct {
	space func() (total, usable int64, err error)
	min   int64
	file  int64
	// starved tells whether appends wait for a file.
	starved atomic.Pointer[func() bool]

	mu struct {
		sync.Mutex
		short bool
		// free and floor are what there was and what there has to be, in bytes.
		free, floor int64
	}
}

// NewGuard returns a guard over what space tells; see Dir.Space. min is the bytes to keep free, 0 for none,
// -1 for what suits the size of the file system. file is how large a file of the write-ahead log is.
func NewGuard(space func() (total, usable int64, err error), min, file int64) *Guard {
	return &Guard{space: space, min: min, file: file}
}

// StarvedBy sets who tells whether appends wait for space: wal.Log.Starved.
func (g *Guard) StarvedBy(starved func() bool) { g.starved.Store(&starved) }

func (g *Guard) starves() bool {
	starved := g.starved.Load()
	return starved != nil && (*starved)()
}

// Look asks how much is free now.
func (g *Guard) Look() error {
	total, usable, err := g.space()
	if err != nil {
		return err
	}
	starves := g.starves()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.free, g.mu.floor = usable, g.floor(total)
	switch {
	case usable >= g.enough(g.mu.floor):
		g.mu.short = false
	case usable < g.mu.floor, starves:
		g.mu.short = true
	}
	return nil
}

// enough is how much must be free for producers to go on that had to wait.
func (g *Guard) enough(floor int64) int64 { return floor + g.file + floor/freeAgain }

func (g *Guard) floor(total int64) int64 {
	if g.min < 0 {
		return min(total/freeShare, freeMost)
	}
	return g.min
}

// State tells the free bytes of the last look, how many there have to be, and whether producers wait.
func (g *Guard) State() (free, floor int64, low bool) {
	free, floor, short := g.state()
	return free, floor, short || g.starves()
}

func (g *Guard) state() (free, floor int64, short bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.free, g.mu.floor, g.mu.short
}

// Low says why producers have to wait, "" if they need not.
func (g *Guard) Low() string {
	free, floor, low := g.State()
	if !low {
		return ""
	}
	return fmt.Sprintf("disk of the broker has %d bytes free, too few for more of the log beside those that log.disk.free.min keeps (%d)",
		free, floor)
}

// Space is wal.Config.Space: copies leave a share of the minimum. Spares go before producers have to wait, and
// do not come back as long as those would not be let in again.
func (g *Guard) Space() (free int64, low bool) {
	free, floor, low := g.State()
	return max(0, free-floor/freeAgain), low || free < g.enough(floor)
}

// Room is wal.Config.Room: a file is made ahead only if that leaves enough.
func (g *Guard) Room(bytes int64) error {
	if err := g.Look(); err != nil {
		return err
	}
	free, floor, short := g.state() // That appends wait is no reason to refuse what they wait for.
	if short || bytes > 0 && free-bytes < floor {
		return fmt.Errorf("%w: %d bytes are free, and %d are kept (log.disk.free.min)", wal.ErrNoSpace, free, floor)
	}
	return nil
}

// ReliefRoom is wal.Config.ReliefRoom: a file by which space is given back leaves as much as copies do.
func (g *Guard) ReliefRoom(bytes int64) error {
	if err := g.Look(); err != nil {
		return err
	}
	if free, floor, _ := g.state(); free-bytes < floor/freeAgain {
		return fmt.Errorf("%w: %d bytes are free, and %d are kept for the metadata", wal.ErrNoSpace, free, floor/freeAgain)
	}
	return nil
}
