package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Log is the write-ahead log of a node. Open recovers it, Run (or a Driver) writes it; everything else
// may be called from any goroutine.
type Log struct {
	cfg Config
	// direct says that the file system grants direct I/O.
	direct bool
	// recovered is where the chain stood at Open; replayable are the files that it runs through.
	recovered  chain
	replayable []extent
	// drained are files that were given up and are not recycled yet. They belong to Open, then to whoever
	// drains.
	drained []uint64
	// going is one that is removed piece by piece, waste the bytes of all of them.
	going going
	waste atomic.Int64
	// wake tells the writer of the first record in an empty queue, makeFile the preparer of a file
	// taken. Both hold one token: a second adds nothing.
	wake     chan struct{}
	makeFile chan struct{}
	blocks   blockPool
	handles  handleCache
	cache    *cache
	refused  refusals

	// starved says that records found no space in the files, and the disk had none for another since.
	starved atomic.Bool

	lockOnce sync.Once
	lock     io.Closer

	mu struct {
		sync.Mutex
		state  state
		cause  error
		ran    bool
		ledger ledger
		// queue holds what Append enqueued and the writer has not taken.
		queue []queued
		// segments: the file in use first, then those ahead. nextFile is the number of the next one.
		segments []*segment
		nextFile uint64
		// rotated is when the file in use was taken, lasted for how long the one before it was in use.
		rotated, lasted time.Duration
		// seal is up to which file nothing more is to be written, written what became durable in this session.
		seal    uint64
		written int64
		groups  GroupStats
		// start is where the chain begins: what lay before is drained.
		start Start
		// spares are files to write again.
		spares []string
		// refused: the disk had no space for a file when one was wanted last.
		refused bool
		// unbound: the bound on the files of the chain is lifted.
		unbound bool
		// extents of all files, oldest first, packs before the chain; the last one's end is the durable
		// end.
		extents []extent
		// synced is the highest sequence known to be on stable storage, reported the highest that the Sink
		// was told is durable: under an interval that is ahead.
		synced, reported uint64
		// oldest is when the oldest record that is not durable was appended; never if there is none.
		oldest   time.Duration
		scrubbed ScrubStats
	}
}

// state of a Log. Stopping accepts what was reserved but promises nothing more; closed and failed
// drop what comes.
type state int

const (
	running state = iota
	stopping
	closed
	failed
)

// queued is a record on its way to the writer.
type queued struct {
	record Record
	budget Budget
	bytes  int64
	at     time.Duration
}

// never is a time that does not come.
const never time.Duration = math.MaxInt64

// Reserve promises room in the queue and on disk for one record of that encoded length, and waits for
// it until ctx ends; then the error wraps ErrFull and nothing has happened. With a ctx that has ended
// already it never waits. Waiters are served in order. Relief takes no record with a payload. Each reservation is used by exactly one Append of a record of that EncodedLen, or given back
// with Release.
func (l *Log) Reserve(ctx context.Context, b Budget, bytes int64) error {
	if most := l.recordMax(b); bytes > most {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, bytes, most)
	}
	l.mu.Lock()
	if err := l.refusalLocked(); err != nil {
		l.mu.Unlock()
		return err
	}
	if l.mu.ledger.tryReserve(b, bytes) {
		l.mu.Unlock()
		return nil
	}
	l.starveLocked(b, bytes)
	w := l.mu.ledger.wait(b, bytes)
	l.mu.Unlock()

	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.ledger.abandon(b, w) {
		return w.err
	}
	return fmt.Errorf("%w: %w", ErrFull, context.Cause(ctx))
}

// TryReserve is Reserve without waiting. It does not overtake those who wait.
func (l *Log) TryReserve(b Budget, bytes int64) bool {
	if bytes > l.recordMax(b) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusalLocked() != nil {
		return false
	}
	if l.mu.ledger.tryReserve(b, bytes) {
		return true
	}
	l.starveLocked(b, bytes)
	return false
}

// starveLocked notes that bytes do not fit, if that is for want of space on the disk.
func (l *Log) starveLocked(b Budget, bytes int64) {
	if l.mu.refused && l.mu.ledger.starves(b, bytes) {
		l.starved.Store(true)
	}
}

// refuse takes in whether the disk has no space for a file that is wanted.
func (l *Log) refuse(refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuseLocked(refused)
}

func (l *Log) refuseLocked(refused bool) {
	if l.mu.refused = refused; !refused {
		l.starved.Store(false)
		return
	}
	for _, b := range []Budget{Leader, Follower} { // They may wait since before it was known that there is no space.
		l.starveLocked(b, 0)
	}
}

// Starved reports whether records other than those of Relief wait for space on the disk: one did not fit in the files
// that there are, and there has been no room for another file since.
func (l *Log) Starved() bool { return l.starved.Load() }

// Starves reports whether that is so, or would be with one more record of that encoded length.
func (l *Log) Starves(b Budget, bytes int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.starved.Load() || l.mu.refused && l.mu.ledger.starves(b, bytes)
}

// recordMax is the encoded length of the largest record that a budget takes.
func (l *Log) recordMax(b Budget) int64 {
	if b == Relief {
		return recordHeaderBytes
	}
	return l.cfg.RecordBytesMax
}

// Release gives back a reservation that no Append will use.
func (l *Log) Release(b Budget, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.ledger.release(b, bytes)
}

// Append enqueues r under a reservation of EncodedLen(r). The order of Append calls is the order of
// the log. It never blocks on I/O and never fails; after the log has failed or closed, the record is
// dropped, which Run has reported or reports.
func (l *Log) Append(b Budget, r Record) {
	if !r.Kind.known() {
		panicf("append a record of %s", r.Kind)
	}
	q := queued{record: r, budget: b, bytes: EncodedLen(r), at: l.cfg.Now()}
	l.mu.Lock()
	if l.mu.state == closed || l.mu.state == failed {
		l.mu.ledger.release(b, q.bytes)
		l.mu.Unlock()
		return
	}
	l.mu.ledger.use(b, q.bytes)
	l.mu.queue = append(l.mu.queue, q)
	l.mu.oldest = min(l.mu.oldest, q.at)
	l.mu.Unlock()
	nudge(l.wake)
}

// End is the durable end: the position at which the next group will be found.
func (l *Log) End() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endLocked()
}

// Age tells for how long the oldest record that is not durable has been waiting, zero if there is
// none. A disk that hangs shows here while everything else still answers.
func (l *Log) Age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.oldest == never {
		return 0
	}
	return l.cfg.Now() - l.mu.oldest
}

// GroupStats count the groups that became durable since Open.
type GroupStats struct {
	Groups int64
	// Waited are those among them for which a thread waited for the device, although they are synced one by one: the
	// system did not take them to write them by itself. The log says at Open why, if it knows then.
	Waited int64
	// Took are the times of their writes, with the sync that was their own, under an interval without.
	Took WriteTimes
}

// GroupStats counts what was written.
func (l *Log) GroupStats() GroupStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.groups
}

// Close gives up the lock of the directory and the files open for reading. It is for a log whose Run
// has returned, whose Driver was closed, or that had neither.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.mu.state != failed {
		l.mu.state = closed
	}
	l.mu.ledger.refuse(ErrClosed)
	l.mu.Unlock()
	l.cache.close()
	return errors.Join(l.handles.close(), l.closeSegments(), l.unlock())
}

func (l *Log) endLocked() Position {
	if n := len(l.mu.extents); n > 0 && !l.mu.extents[n-1].pack() {
		last := l.mu.extents[n-1]
		return Position{File: last.number, Offset: last.end}
	}
	return Position{File: l.mu.start.File, Offset: blockBytes}
}

// refusalLocked is why nothing can be reserved any more.
func (l *Log) refusalLocked() error {
	switch l.mu.state {
	case stopping, closed:
		return ErrClosed
	case failed:
		return l.mu.cause
	default:
		return nil
	}
}

// fail makes every later and every waiting call fail. There is no way back: what the device has of
// the writes since the last successful sync is unknown, and a later sync that succeeds says nothing
// about them.
func (l *Log) fail(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.state != failed {
		l.mu.state = failed
		l.mu.cause = fmt.Errorf("%w: %w", ErrFailed, cause)
		l.mu.ledger.refuse(l.mu.cause)
	}
	return l.mu.cause
}

// closeSegments closes the files that Run did not get to own.
func (l *Log) closeSegments() error {
	l.mu.Lock()
	segments := l.mu.segments
	l.mu.segments = nil
	l.mu.ledger.setSpace(nil)
	l.mu.Unlock()
	return closeAll(segments)
}

func (l *Log) unlock() (err error) {
	l.lockOnce.Do(func() { err = l.lock.Close() })
	return err
}

// nudge leaves a token in c unless one is there.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
