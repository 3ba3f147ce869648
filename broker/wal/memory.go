package wal

import (
	"errors"
	"fmt"
)

// A direct write pins the pages of its buffer, and names each of them to the device that is not next to the one before:
// of a group of 2 MiB those are 512 pages, or one huge page. Measured, such a group is written in 0.65 of the time, for
// half of the processor time.

const (
	// smallGroupBytes: groups of a log that is not busy fit in so much, and do not take a huge page each.
	smallGroupBytes = 64 << 10
	// hugePageBytes is what memory outside of the heap is a multiple of; buffers of less than half of one stay in the heap.
	hugePageBytes = 2 << 20
)

// groupMemory makes the buffers of groups: small at first, then for any group that the bound on them allows. It is the
// writer's. A nil one has heap only.
type groupMemory struct {
	// largest is Config.GroupBytesMax.
	largest int64
	// mapped is what lies outside of the heap, of which there is as much as groups are under way at once.
	mapped [][]byte
}

// take returns a buffer for a group of so many bytes that may grow to limit, a multiple of a block.
func (m *groupMemory) take(bytes, limit int64) []byte {
	switch {
	case m == nil:
		return alignedBytes(limit)
	case bytes <= smallGroupBytes:
		return alignedBytes(min(smallGroupBytes, max(limit, m.largest)))
	case limit > m.largest || m.largest < hugePageBytes/2:
		return alignedBytes(max(limit, m.largest))
	}
	buffer, whole, err := takeHuge(m.largest)
	if err != nil {
		return alignedBytes(m.largest) // The system gives no more mappings: the heap has to do.
	}
	m.mapped = append(m.mapped, whole)
	return buffer
}

// release gives back what lies outside of the heap. No group is filled or written any more.
func (m *groupMemory) release() error {
	var errs []error
	for _, whole := range m.mapped {
		if err := giveMemory(whole); err != nil {
			errs = append(errs, fmt.Errorf("give back the memory of a group: %w", err))
		}
	}
	m.mapped = nil
	return errors.Join(errs...)
}
