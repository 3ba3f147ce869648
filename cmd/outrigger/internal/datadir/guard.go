package datadir

import (
	"fmt"
	"sync"

	"outrigger/broker/wal"
)

// Bounds of what a Guard keeps free unless it is told.
const (
	freeMost  = 1 << 30
	freeShare = 20
	// freeAgain is the share of the minimum by which the free space must exceed it before producers go on:
	// who writes at the bound would be let in and sent away by turns. As much is left by copies, for the metadata.
	freeAgain = 4
)

// Guard keeps some space of a file system free of what producers send: for drains and compactions, which
// give space back, for the metadata, and for the records by which a log start moves. Methods may be called
// concurrently.
type Guard struct {
	space func() (total, usable int64, err error)
	min   int64

	mu struct {
		sync.Mutex
		low bool
		// free and floor are what there was and what there has to be, in bytes.
		free, floor int64
	}
}

// NewGuard returns a guard over what space tells; see Dir.Space. min is the bytes to keep free, 0 for none,
// -1 for what suits the size of the file system.
func NewGuard(space func() (total, usable int64, err error), min int64) *Guard {
	return &Guard{space: space, min: min}
}

// Look asks how much is free now.
func (g *Guard) Look() error {
	total, usable, err := g.space()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.free, g.mu.floor = usable, g.floor(total)
	switch {
	case usable < g.mu.floor:
		g.mu.low = true
	case usable >= enough(g.mu.floor):
		g.mu.low = false
	}
	return nil
}

// enough is how much must be free for producers to go on that had to wait.
func enough(floor int64) int64 { return floor + floor/freeAgain }

func (g *Guard) floor(total int64) int64 {
	if g.min < 0 {
		return min(total/freeShare, freeMost)
	}
	return g.min
}

// State tells the free bytes of the last look, how many there have to be, and whether producers wait.
func (g *Guard) State() (free, floor int64, low bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.free, g.mu.floor, g.mu.low
}

// Low says why producers have to wait, "" if they need not.
func (g *Guard) Low() string {
	free, floor, low := g.State()
	if !low {
		return ""
	}
	return fmt.Sprintf("disk of the broker has %d bytes free, less than log.disk.free.min asks for (%d)", free, floor)
}

// Space is wal.Config.Space: copies leave a share of the minimum. Spares go before producers have to wait, and
// do not come back as long as those would not be let in again.
func (g *Guard) Space() (free int64, low bool) {
	free, floor, low := g.State()
	return max(0, free-floor/freeAgain), low || free < enough(floor)
}

// Room is wal.Config.Room: a file is made ahead only if that leaves enough.
func (g *Guard) Room(bytes int64) error {
	if err := g.Look(); err != nil {
		return err
	}
	free, floor, low := g.State()
	if low || bytes > 0 && free-bytes < floor {
		return fmt.Errorf("%w: %d bytes are free, and %d are kept (log.disk.free.min)", wal.ErrNoSpace, free, floor)
	}
	return nil
}
