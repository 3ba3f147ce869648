package wal

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A device may take seconds for each refusal: a disk tries by itself, a path waits for its other end. What that costs is
// bounded, so that nobody waits for more than some of them:
//
//	one block      is asked for twice, and then not again for refusalHolds, whoever wants it: readers get the same answer
//	               at once. A chunk of the cache is asked for once in that time.
//	a walk         (a start, a quarantine, a verify's first look) ends after refusalsMax blocks, as damage
//	a scrub        looks no further in a file after as many in a row; what lies behind is told as damaged
//	who examines   batches one by one stops after some (Refusals)
const (
	refusalsMax  = 16
	refusalHolds = time.Minute
	// refusalsKept bounds what is remembered. What finds no room is asked for each time.
	refusalsKept = 1024
)

// unreadable is a block that the device has and does not give back. It was asked twice: an error that passes, of a
// path or a bus, is none of the block's.
type unreadable struct {
	// at is the block's place in its file.
	at    int64
	cause error
}

// Error names the place.
func (u *unreadable) Error() string { return fmt.Sprintf("byte %d cannot be read: %v", u.at, u.cause) }

// Unwrap gives the device's answer.
func (u *unreadable) Unwrap() error { return u.cause }

// refusesBlock reports whether a device answers so that has a block and does not give it back.
func refusesBlock(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, errMedium) || errors.Is(err, errProtection)
}

// isUnreadable reports whether an error is damage by what the device does not give back.
func isUnreadable(err error) bool {
	damage := (*Damage)(nil)
	return errors.As(err, &damage) && damage.Unreadable
}

// readTwice is ReadAt of whole blocks that reads block by block what the device refuses at first. What it refuses again
// is an *unreadable, and all before that was read. One that comes back is told to passed: its checksum decides.
func readTwice(file File, b []byte, offset int64, passed func(error)) (n int, err error) {
	n, err = file.ReadAt(b, offset)
	if !refusesBlock(err) {
		return n, err
	}
	refused := err
	for n = int(alignDown(int64(n))); n < len(b); n += blockBytes {
		got, err := file.ReadAt(b[n:min(n+blockBytes, len(b))], offset+int64(n))
		if refusesBlock(err) {
			return n, &unreadable{at: offset + int64(n), cause: err}
		}
		if err != nil {
			return n + got, err
		}
	}
	passed(refused)
	return len(b), nil
}

// refusals are what the device did not give back a short while ago.
type refusals struct {
	// count is how many there are: nearly always none. total counts what was refused since Open.
	count, total atomic.Int64
	mu           struct {
		sync.Mutex
		blocks, chunks map[Position]refusal
	}
}

// refusal is the device's answer and until when it holds.
type refusal struct {
	cause error
	until time.Duration
}

// within is why a read from `at` on need not be tried; nil if it is to be.
func (r *refusals) within(at Position, bytes int64, times int, now time.Duration) error {
	if r.count.Load() == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.countLocked()
	over := func(_ Position, one refusal) bool { return now >= one.until }
	maps.DeleteFunc(r.mu.blocks, over)
	maps.DeleteFunc(r.mu.chunks, over)
	if one, ok := r.mu.chunks[at]; ok && times == once {
		return one.cause
	}
	end, first := at.Offset+bytes, Position{}
	for block := range r.mu.blocks {
		if block.File == at.File && block.Offset+blockBytes > at.Offset && block.Offset < end {
			first, end = block, block.Offset
		}
	}
	return r.mu.blocks[first].cause
}

// note remembers the error of a read from `at` on: the block that was refused twice, or that whatever lies from there
// on was not given back when all of it was asked for, once.
func (r *refusals) note(at Position, err error, now time.Duration) {
	if !refusesBlock(err) {
		return
	}
	r.total.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.countLocked()
	into := &r.mu.chunks
	if block := (*unreadable)(nil); errors.As(err, &block) {
		into, at = &r.mu.blocks, Position{File: at.File, Offset: block.at}
	}
	if *into == nil {
		*into = map[Position]refusal{}
	}
	if len(*into) < refusalsKept {
		(*into)[at] = refusal{cause: err, until: now + refusalHolds}
	}
}

// Refusals counts how often the device did not give back what was asked of it since Open, also at a second try. What
// was refused a short while ago is not asked for, and not counted.
func (l *Log) Refusals() int64 { return l.refused.total.Load() }

// forget drops what is known of a file that is written anew.
func (r *refusals) forget(number uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.countLocked()
	of := func(at Position, _ refusal) bool { return at.File == number }
	maps.DeleteFunc(r.mu.blocks, of)
	maps.DeleteFunc(r.mu.chunks, of)
}

func (r *refusals) countLocked() { r.count.Store(int64(len(r.mu.blocks) + len(r.mu.chunks))) }
