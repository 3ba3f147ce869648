package partition

import (
	"container/list"
	"context"
	"fmt"
)

// room is the space below the bound on unacknowledged bytes. Appends take it before they wait for
// anything else, first come, first served.
type room struct {
	bytesMax int64
	// unacked is the bytes of the batches above the high watermark, whoever appended them. granted
	// is what was promised to appends that have no offset yet.
	unacked, granted int64
	// queue holds *roomWaiter. It is a list, since those whose request times out leave it in the
	// middle; its length is bounded by the requests that the broker has in flight.
	queue list.List
}

type roomWaiter struct {
	bytes int64
	// ready is closed when the wait is over: granted, or dismissed with err.
	ready chan struct{}
	err   error
	over  bool
}

// fits reports whether bytes may be granted. A batch larger than the bound fits when it is alone.
func (r *room) fits(bytes int64) bool {
	used := r.unacked + r.granted
	return used == 0 || used+bytes <= r.bytesMax
}

// free reports whether bytes fit, and nobody waits for room.
func (r *room) free(bytes int64) bool { return r.queue.Len() == 0 && r.fits(bytes) }

// grant serves the waiters that fit now.
func (r *room) grant() {
	for front := r.queue.Front(); front != nil; front = r.queue.Front() {
		w := front.Value.(*roomWaiter)
		if !r.fits(w.bytes) {
			return
		}
		r.granted += w.bytes
		r.end(front, nil)
	}
}

// dismiss ends all waits with err.
func (r *room) dismiss(err error) {
	for front := r.queue.Front(); front != nil; front = r.queue.Front() {
		r.end(front, err)
	}
}

func (r *room) end(e *list.Element, err error) {
	w := r.queue.Remove(e).(*roomWaiter)
	w.err, w.over = err, true
	close(w.ready)
}

// takeRoom takes bytes of room, or waits for them until ctx ends. Afterwards they are consumed by
// assign or given back by giveRoom.
func (l *Log) takeRoom(ctx context.Context, bytes int64) error {
	l.mu.Lock()
	r := &l.mu.room
	if r.free(bytes) {
		r.granted += bytes
		l.mu.Unlock()
		return nil
	}
	w := &roomWaiter{bytes: bytes, ready: make(chan struct{})}
	place := r.queue.PushBack(w)
	l.mu.Unlock()

	select {
	case <-w.ready:
		return w.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.over { // granted or dismissed at the same moment: that counts
		return w.err
	}
	r.queue.Remove(place)
	r.grant() // the next one may be smaller
	return fmt.Errorf("%w: %d bytes are unacknowledged: %w",
		ErrNotEnoughReplicas, r.unacked, context.Cause(ctx))
}

// giveRoom gives back what takeRoom took and nobody consumed.
func (l *Log) giveRoom(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.room.granted -= bytes
	l.mu.room.grant()
}
