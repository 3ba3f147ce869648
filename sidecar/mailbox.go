package sidecar

import "sync"

// mailbox is a bounded queue that many goroutines put into and one empties in batches. Putting never
// blocks: what does not fit is refused, and the caller says what that means.
type mailbox[T any] struct {
	signal chan struct{}
	max    int
	mu     struct {
		sync.Mutex
		items []T
		// refused counts what did not fit.
		refused uint64
	}
}

func newMailbox[T any](itemsMax int) *mailbox[T] {
	return &mailbox[T]{signal: make(chan struct{}, 1), max: itemsMax}
}

// put adds an item, wakes the owner and reports whether there was room.
func (m *mailbox[T]) put(item T) bool {
	room := m.leave(item)
	if room {
		m.wake()
	}
	return room
}

// leave is put for what the owner finds early enough when it next looks for a reason of its own.
func (m *mailbox[T]) leave(item T) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mu.items) >= m.max {
		m.mu.refused++
		return false
	}
	m.mu.items = append(m.mu.items, item)
	return true
}

// wake makes the owner look, also when nothing was put.
func (m *mailbox[T]) wake() {
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// take empties the mailbox into the memory of spare, which the owner no longer needs.
func (m *mailbox[T]) take(spare []T) []T {
	clear(spare)
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.mu.items
	m.mu.items = spare[:0]
	return items
}
