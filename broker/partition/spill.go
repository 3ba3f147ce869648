package partition

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// spillUnit is what slots are a multiple of, and spillLargest is the largest slot: a chunk of an index takes 4
	// to 20 KiB as a rule. What is larger stays on the heap.
	spillUnit    = 512
	spillLargest = 32 << 10
	// spillSegmentBytes is by how much the file grows.
	spillSegmentBytes = 4 << 20
)

// Spill keeps what the indexes of logs say of batches that were drained: about 12 bytes for each batch that a node
// has. It is a file that is mapped into memory, without a name: the kernel writes its pages out and takes them back
// when memory is wanted elsewhere, which it cannot do with a heap, and which would grow to twice of what it holds. Nothing
// of it outlives the process. A device that does not give a page back ends the process, as a failed sync does.
//
// Slots that are given back are used again for what is about as large; the file does not shrink.
//
// A nil Spill keeps nothing. Its methods may be called concurrently.
type Spill struct {
	// grow is for who holds growing: it may wait for the disk, and nobody who gives a slot back waits for that.
	grow    func(bytes int) ([]byte, error)
	growing sync.Mutex
	logger  *slog.Logger

	mu struct {
		sync.Mutex
		// rest is what is left of the newest segment.
		rest []byte
		// free are slots that were given back, by their size in units.
		free [spillLargest/spillUnit + 1][][]byte
		// bytes is what the slots in use take, total the size of the file.
		bytes, total int64
		// full: the file could not grow, which has been told.
		full bool
	}
}

func newSpill(logger *slog.Logger, grow func(bytes int) ([]byte, error)) *Spill {
	return &Spill{grow: grow, logger: logger}
}

// put copies b into a slot, which belongs to the caller until free. It is not ok if there is no room: b stays where it
// is then.
func (s *Spill) put(b []byte) (slot []byte, ok bool) {
	if s == nil || len(b) == 0 || len(b) > spillLargest {
		return nil, false
	}
	if slot, ok = s.take((len(b) + spillUnit - 1) / spillUnit); ok {
		slot = slot[:copy(slot, b)]
	}
	return slot, ok
}

func (s *Spill) take(units int) (slot []byte, ok bool) {
	if slot, ok = s.takeHeld(units); ok {
		return slot, true
	}
	s.growing.Lock()
	defer s.growing.Unlock()
	if slot, ok = s.takeHeld(units); ok { // another one has grown it
		return slot, true
	}
	segment, err := s.grow(spillSegmentBytes)
	if !s.grown(segment, err) {
		return nil, false
	}
	return s.takeHeld(units)
}

// takeHeld takes a slot of what the file has.
func (s *Spill) takeHeld(units int) (slot []byte, ok bool) {
	size := units * spillUnit
	s.mu.Lock()
	defer s.mu.Unlock()
	switch free := s.mu.free[units]; {
	case len(free) > 0:
		slot = free[len(free)-1]
		s.mu.free[units] = free[:len(free)-1]
	case len(s.mu.rest) >= size:
		slot, s.mu.rest = s.mu.rest[:size:size], s.mu.rest[size:]
	default:
		return nil, false
	}
	s.mu.bytes += int64(size)
	return slot, true
}

// grown takes in a new segment of the file, or why there is none. What is left of the last one becomes a slot.
func (s *Spill) grown(segment []byte, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if !s.mu.full {
			s.logger.Warn("what is known of drained batches stays in memory", keyReason, err.Error())
		}
		s.mu.full = true
		return false
	}
	if units := len(s.mu.rest) / spillUnit; units > 0 { // at most the largest slot, or it would have been taken
		s.mu.free[units] = append(s.mu.free[units], s.mu.rest)
	}
	s.mu.full = false
	s.mu.rest = segment
	s.mu.total += int64(len(segment))
	return true
}

// give takes a slot back, which nobody may read any more.
func (s *Spill) give(slot []byte) {
	slot = slot[:cap(slot)]
	if len(slot)%spillUnit != 0 || len(slot) == 0 || len(slot) > spillLargest {
		panic(fmt.Sprintf("spill: %d bytes are no slot", len(slot)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	units := len(slot) / spillUnit
	s.mu.free[units] = append(s.mu.free[units], slot)
	s.mu.bytes -= int64(len(slot))
}

// spillEvery is how long the drain has between two looks for what can be moved out of memory.
const spillEvery = 10 * time.Second

// spillNow is spillIndexes once in a while. It is for the drainer's goroutine.
func (s *Store) spillNow() {
	if now := s.cfg.Now(); now-s.spilledAt >= spillEvery {
		s.spilledAt = now
		s.spillIndexes()
	}
}

// spillIndexes moves what the logs know of drained batches out of memory. To write there can take a wait for the disk, so
// no lock is held over it.
func (s *Store) spillIndexes() {
	if s.cfg.Spill == nil {
		return
	}
	for _, l := range s.snapshot() {
		if !l.spillIndex(s.cfg.Spill) {
			return
		}
	}
}

// spillIndex is false if there is no room.
func (l *Log) spillIndex(to *Spill) (room bool) {
	for {
		l.mu.Lock()
		k, frozen, more := l.mu.index.spillable()
		l.mu.Unlock()
		if !more {
			return true
		}
		if frozen == nil {
			continue
		}
		slot, ok := to.put(frozen)
		if !ok {
			return false
		}
		l.mu.Lock()
		ok = l.mu.index.spilledAs(k, frozen, slot)
		l.mu.Unlock()
		if !ok || l.store.cfg.mutant == SpillsIntoUsedSlots {
			to.give(slot) // It was changed meanwhile, and has another turn.
		}
	}
}

// Bytes is what the slots in use take, and the size of the file.
func (s *Spill) Bytes() (used, file int64) {
	if s == nil {
		return 0, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.bytes, s.mu.total
}
