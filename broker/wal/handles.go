package wal

import (
	"errors"
	"sync"
)

// handlesMax is how many files are kept open for reading while nobody reads them.
const handlesMax = 16

// handleCache keeps files open for reading. Opening and closing happen outside its lock.
type handleCache struct {
	mu struct {
		sync.Mutex
		handles map[uint64]*handle
		clock   uint64
		closed  bool
	}
}

// handle is an open file, shared by its readers.
type handle struct {
	number uint64
	file   File
	// users and lastUse are guarded by the cache's mutex.
	users   int
	lastUse uint64
	// dropped: it is not in the cache any more.
	dropped bool
}

// take returns the handle of a file, opening it if need be. giveBack must follow.
func (c *handleCache) take(number uint64, open func() (File, error)) (*handle, error) {
	if h, err := c.lookup(number); h != nil || err != nil {
		return h, err
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	h, surplus := c.insert(number, file)
	if surplus != nil {
		// Somebody was faster; nothing was done with this one yet.
		err = surplus.Close()
	}
	if err != nil {
		return nil, errors.Join(err, c.giveBack(h))
	}
	return h, nil
}

func (c *handleCache) lookup(number uint64) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, ErrClosed
	}
	h := c.mu.handles[number]
	if h != nil {
		c.useLocked(h)
	}
	return h, nil
}

// insert adds file unless the number is there already; then file is surplus.
func (c *handleCache) insert(number uint64, file File) (h *handle, surplus File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.mu.handles[number]; h != nil {
		c.useLocked(h)
		return h, file
	}
	h = &handle{number: number, file: file}
	if c.mu.handles == nil {
		c.mu.handles = make(map[uint64]*handle)
	}
	c.mu.handles[number] = h
	c.useLocked(h)
	return h, nil
}

func (c *handleCache) useLocked(h *handle) {
	c.mu.clock++
	h.users++
	h.lastUse = c.mu.clock
}

// giveBack ends a use, and closes the file that has been idle longest if there are too many.
func (c *handleCache) giveBack(h *handle) error {
	c.mu.Lock()
	h.users--
	if h.dropped {
		last := h.users == 0
		c.mu.Unlock()
		if last {
			return h.file.Close()
		}
		return nil
	}
	victim := c.victimLocked()
	if victim != nil {
		delete(c.mu.handles, victim.number)
	}
	c.mu.Unlock()
	if victim == nil {
		return nil
	}
	return victim.file.Close()
}

func (c *handleCache) victimLocked() *handle {
	if len(c.mu.handles) <= handlesMax && !c.mu.closed {
		return nil
	}
	var victim *handle
	for _, h := range c.mu.handles {
		if h.users == 0 && (victim == nil || h.lastUse < victim.lastUse) {
			victim = h
		}
	}
	return victim
}

// drop closes the handle of a file that is to go; if somebody uses it, whoever gives it back last does.
func (c *handleCache) drop(number uint64) error {
	c.mu.Lock()
	h := c.mu.handles[number]
	delete(c.mu.handles, number)
	if h != nil {
		h.dropped = true
	}
	idle := h != nil && h.users == 0
	c.mu.Unlock()
	if !idle {
		return nil
	}
	return h.file.Close()
}

// close closes what nobody uses; the rest is closed when it is given back.
func (c *handleCache) close() error {
	c.mu.Lock()
	c.mu.closed = true
	var idle []*handle
	for {
		victim := c.victimLocked()
		if victim == nil {
			break
		}
		delete(c.mu.handles, victim.number)
		idle = append(idle, victim)
	}
	c.mu.Unlock()
	var err error
	for _, h := range idle {
		err = errors.Join(err, h.file.Close())
	}
	return err
}
