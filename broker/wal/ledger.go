package wal

// groupOverhead is the most that a group adds to its records: its header, and padding to a block.
const groupOverhead = groupHeaderBytes + blockBytes

// charge is the file space that a record of that encoded length takes at worst, in a group alone.
func charge(bytes int64) int64 { return bytes + groupOverhead }

// ledger keeps the promises of Reserve: bytes of the queue, per budget, and space in files that are
// already allocated. It is pure; Log guards it with its mutex.
//
// A reservation goes through four states. Reserved: taken by Reserve, no record yet. Queued: Append
// has used it. Placed: its group is sealed, file space has been consumed and the charge ends.
// Durable: the memory is free as well. Dropped reservations leave from any state.
//
// Why the space suffices: every file that holds a promise is filled record by record; it is left when
// the next record does not fit, which wastes less than wasteMax, the charge of the largest record. So
// files with free_i bytes take at least sum(free_i - wasteMax) worth of charges, whatever the sizes
// and their order. That sum is the space that may be promised, and a group takes no more than the
// charges of its records.
//
// The last file is never left, as long as no more is promised than the sum of the others and all that is free
// in it: that is the brim. What lies between the space and the brim is for Relief alone, at least
// wasteMax of an empty file.
type ledger struct {
	queueMax [budgets]int64
	// wasteMax is the charge of the largest record that is allowed.
	wasteMax int64

	// queued counts bytes from Reserve to Durable, unplaced charges from Reserve to Sealed,
	// reservations those that Append has not used.
	queued       [budgets]int64
	unplaced     [budgets]int64
	reservations [budgets]int64
	// space is what may be promised, brim what may be to Relief, see above.
	space, brim int64
	waiting     [budgets]waitQueue
}

// reliefQueueBytes bounds the records of Relief on their way.
const reliefQueueBytes = 1 << 20

func newLedger(cfg Config) ledger {
	queues := cfg.QueueBytesMax
	return ledger{queueMax: [budgets]int64{Leader: queues[Leader], Follower: queues[Follower], Relief: reliefQueueBytes},
		wasteMax: charge(cfg.RecordBytesMax)}
}

// waiter is one Reserve that waits.
type waiter struct {
	bytes int64
	// done is closed once the waiter is settled: granted if err is nil. Both are written under the
	// Log's mutex.
	done chan struct{}
	err  error
}

// waitQueue is first in, first out: nobody overtakes a large reservation.
type waitQueue struct{ list []*waiter }

func (q *waitQueue) remove(w *waiter) bool {
	for i, other := range q.list {
		if other == w {
			q.list = append(q.list[:i], q.list[i+1:]...)
			return true
		}
	}
	return false
}

// fits reports whether bytes may be promised now. A budget may promise half of the space, so that the
// other finds room at any time; Relief may go to the brim.
func (l *ledger) fits(b Budget, bytes int64) bool {
	c := charge(bytes)
	if l.queued[b]+bytes > l.queueMax[b] || c > l.left() {
		return false
	}
	return b == Relief || l.unplaced[b]+c <= l.space/2 && l.unplaced[Leader]+l.unplaced[Follower]+c <= l.space
}

// lacksSpace reports whether bytes do not fit for want of space in files, and not because the queue is full.
func (l *ledger) lacksSpace(b Budget, bytes int64) bool {
	return b != Relief && l.queued[b]+bytes <= l.queueMax[b] && !l.fits(b, bytes)
}

// starves is lacksSpace for who would have to wait behind others: what the first of them lacks, it lacks, too.
func (l *ledger) starves(b Budget, bytes int64) bool {
	if waiting := l.waiting[b].list; len(waiting) > 0 && l.lacksSpace(b, waiting[0].bytes) {
		return true
	}
	return l.lacksSpace(b, bytes)
}

// left is how much may still be promised to Relief.
func (l *ledger) left() int64 {
	return l.brim - l.unplaced[Leader] - l.unplaced[Follower] - l.unplaced[Relief]
}

// strained reports whether so little is left that Relief needs another file.
func (l *ledger) strained() bool { return l.left() < l.wasteMax/2 }

// tryReserve promises bytes unless somebody waits already.
func (l *ledger) tryReserve(b Budget, bytes int64) bool {
	if len(l.waiting[b].list) > 0 || !l.fits(b, bytes) {
		return false
	}
	l.take(b, bytes)
	return true
}

func (l *ledger) take(b Budget, bytes int64) {
	l.queued[b] += bytes
	l.unplaced[b] += charge(bytes)
	l.reservations[b]++
}

// wait queues a Reserve that does not fit.
func (l *ledger) wait(b Budget, bytes int64) *waiter {
	w := &waiter{bytes: bytes, done: make(chan struct{})}
	l.waiting[b].list = append(l.waiting[b].list, w)
	return w
}

// abandon takes w out of the queue; false means that it has been settled already.
func (l *ledger) abandon(b Budget, w *waiter) bool {
	found := l.waiting[b].remove(w)
	l.grant()
	return found
}

// use turns a reservation into a queued record.
func (l *ledger) use(b Budget, bytes int64) {
	l.reservations[b]--
	l.check(b, "append without a reservation of its size", bytes)
}

// release gives back a reservation that was not used.
func (l *ledger) release(b Budget, bytes int64) {
	l.reservations[b]--
	l.drop(b, 1, bytes)
	l.check(b, "release without a reservation of its size", bytes)
	l.grant()
}

// drop forgets queued records that will never be placed.
func (l *ledger) drop(b Budget, records, bytes int64) {
	l.queued[b] -= bytes
	l.unplaced[b] -= bytes + records*groupOverhead
}

// place ends the charge of records that have consumed their space. The caller sets the new space.
func (l *ledger) place(b Budget, records, bytes int64) {
	l.unplaced[b] -= bytes + records*groupOverhead
	l.check(b, "placed more than was reserved", bytes)
}

// durable frees the memory of placed records.
func (l *ledger) durable(b Budget, bytes int64) {
	l.queued[b] -= bytes
	l.check(b, "made durable more than was queued", bytes)
}

// setSpace counts what may be promised, from the free bytes of the file in use and those ahead.
func (l *ledger) setSpace(files []*segment) {
	l.space, l.brim = 0, 0
	for i, f := range files {
		free := f.capacity - f.used
		room := max(0, free-l.wasteMax)
		if !f.relief {
			l.space += room
		}
		if i == len(files)-1 {
			room = free
		}
		l.brim += room
	}
}

// suffices reports whether those files alone hold what was promised, and so many bytes that are nobody's.
func (l *ledger) suffices(files []*segment, uncharged int64) bool {
	then := ledger{wasteMax: l.wasteMax}
	then.setSpace(files)
	plain := l.unplaced[Leader] + l.unplaced[Follower] + uncharged
	return plain <= then.space && plain+l.unplaced[Relief] <= then.brim
}

// grant settles waiters, in order, as far as there is room.
func (l *ledger) grant() {
	for b := range l.waiting {
		for len(l.waiting[b].list) > 0 {
			w := l.waiting[b].list[0]
			if !l.fits(Budget(b), w.bytes) {
				break
			}
			l.waiting[b].list = l.waiting[b].list[1:]
			l.take(Budget(b), w.bytes)
			close(w.done)
		}
	}
}

// refuse settles all waiters with err.
func (l *ledger) refuse(err error) {
	for b := range l.waiting {
		for _, w := range l.waiting[b].list {
			w.err = err
			close(w.done)
		}
		l.waiting[b].list = nil
	}
}

// check panics when more was given back than taken: from then on a promise could be broken.
func (l *ledger) check(b Budget, what string, bytes int64) {
	if l.reservations[b] < 0 || l.queued[b] < 0 || l.unplaced[b] < 0 {
		panicf("%s: budget %d, %d bytes: %d reservations, %d bytes queued, %d unplaced",
			what, b, bytes, l.reservations[b], l.queued[b], l.unplaced[b])
	}
}
