package wal

import "time"

// Seal asks that nothing more be written to a file, if it is the one in use, although it is not full: so that
// it can be drained. It returns at once. The writer goes on in the next file as soon as that takes no space away
// that Reserve has promised, until when the request stands; if nothing is appended meanwhile, an empty group there
// ends the file.
func (l *Log) Seal(file uint64) {
	l.mu.Lock()
	l.mu.seal = max(l.mu.seal, file)
	l.mu.Unlock()
	nudge(l.wake)
}

// Born is when the oldest record of a file was appended, on Config.Now. It is not known, and ok is false, of
// files that another session has written, and of those that hold nothing durable.
func (l *Log) Born(file uint64) (at time.Duration, ok bool) {
	e, ok := l.extent(file)
	return e.born, ok && !e.pack() && e.session == l.cfg.Session
}

// WrittenBytes counts the bytes of the groups that became durable in this session.
func (l *Log) WrittenBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.written
}

// rotateEarly leaves the file in use although it has room, if that was asked for and so many bytes of the next one,
// of which uncharged are nobody's charge, can come instead. Nothing is promised in between.
func (w *writer) rotateEarly(need, uncharged int64) bool {
	if w.current == nil || w.current.number > w.seal || w.current.used == blockBytes {
		return false
	}
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.segments) < 2 {
		return false // The preparer is late.
	}
	next := l.mu.segments[1]
	if next.relief || next.capacity-next.used < need || !l.mu.ledger.suffices(l.mu.segments[1:], uncharged) {
		return false
	}
	w.rotateLocked(need)
	nudge(l.makeFile)
	return true
}

// leave ends the file in use with an empty group in the next one, if that was asked for and nothing else is
// there to write. A crash before the group is durable leaves the file unsealed, and the next start seals it.
func (w *writer) leave() bool {
	if len(w.inflight) > 0 || w.stage != writing || !w.rotateEarly(blockBytes, blockBytes) {
		return false
	}
	w.open = w.blank(blockBytes)
	w.open.born = w.log.cfg.Now()
	w.submit()
	return true
}
