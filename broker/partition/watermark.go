package partition

import "outrigger/broker/topic"

// SetHighWatermark moves the high watermark up to hw, but not beyond the log end, and wakes who
// waited for it. It never moves down (failure mode 28): acks that are overtaken by later ones, and
// a new leader that knows less than the old one did, ask for that.
func (l *Log) SetHighWatermark(hw topic.Offset) {
	l.mu.Lock()
	woken := l.commitLocked(hw, nil)
	l.mu.Unlock()
	woken.call()
}

// commitLocked moves the high watermark and all that depends on it.
func (l *Log) commitLocked(hw topic.Offset, woken wakeList) wakeList {
	hw = min(hw, l.mu.end)
	if hw <= l.mu.highWatermark {
		if l.store.cfg.mutant == HighWatermarkFalls {
			l.mu.highWatermark = hw
		}
		return woken
	}
	l.mu.highWatermark = hw
	for l.mu.committed < l.mu.index.len() {
		e := l.mu.index.at(l.mu.committed)
		if e.end() > hw {
			break
		}
		l.mu.room.unacked -= int64(e.bytes)
		l.mu.committed++
	}
	l.mu.producers.commit(hw)
	l.mu.room.grant()
	return l.mu.awaitHigh.reached(hw, woken)
}

// AwaitCommit calls done once: with nil when the high watermark has reached end while this node
// leads in epoch, with ErrNotLeader when it does not (any more), with wal.ErrFailed or ErrStopped
// when the node ends. It is called at once, in this very call, if that is decided already, else
// from whichever goroutine decides it. No lock is held; done must only enqueue. cancel takes the
// wait back, if done has not become due yet.
//
// The wait is for an exclusive log end (failure mode 20), in one epoch: a later leader may put
// another record at the same offset.
func (l *Log) AwaitCommit(epoch topic.Epoch, end topic.Offset, done func(error)) (cancel func()) {
	l.mu.Lock()
	err := l.awaitLocked(epoch)
	if err != nil || l.mu.highWatermark >= end {
		l.mu.Unlock()
		done(err)
		return func() {}
	}
	return l.wait(&l.mu.awaitHigh, end, done)
}

// AwaitDurable is AwaitCommit for this node's own durable end: what acks=1 waits for.
func (l *Log) AwaitDurable(epoch topic.Epoch, end topic.Offset, done func(error)) (cancel func()) {
	l.mu.Lock()
	err := l.awaitLocked(epoch)
	if err != nil || l.mu.durable >= end {
		l.mu.Unlock()
		done(err)
		return func() {}
	}
	return l.wait(&l.mu.awaitDurable, end, done)
}

// AwaitHighWatermark calls fn once: when the high watermark is above `above`, when the role of this
// node changes, and when the log ends. It is for a fetch that waits for more; the caller looks again,
// with a deadline of its own: on a log that has ended before, fn may never be called, since a caller
// that is called at once looks again at once.
func (l *Log) AwaitHighWatermark(above topic.Offset, fn func()) (cancel func()) {
	l.mu.Lock()
	if l.mu.highWatermark > above {
		l.mu.Unlock()
		fn()
		return func() {}
	}
	return l.wait(&l.mu.awaitHigh, above+1, func(error) { fn() })
}

// awaitLocked says whether a wait in epoch may begin.
func (l *Log) awaitLocked(epoch topic.Epoch) error {
	switch {
	case l.removedLocked():
		return ErrNotLeader
	case l.mu.failed != nil:
		return l.mu.failed
	case !l.mu.role.Leading || l.mu.role.Epoch != epoch:
		return ErrNotLeader
	}
	return nil
}

// wait adds a waiter to h and releases the mutex.
func (l *Log) wait(h *waiters, until topic.Offset, done func(error)) (cancel func()) {
	w := &waiter{until: until, done: done}
	h.add(w)
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		h.remove(w)
	}
}
