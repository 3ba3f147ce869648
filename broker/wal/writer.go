package wal

import (
	"context"
	"time"
)

// writer is turned by the goroutine inside Run, or by a Driver. It alone fills and seals groups, calls the Sink and decides
// what is written where; the disk does the I/O, so that the next group fills meanwhile.
type writer struct {
	log  *Log
	disk *disk
	// pending are records taken from the queue, of which the first next are in groups.
	pending []queued
	next    int
	// open is being filled, full once a record did not fit any more; inflight are jobs of the disk, in
	// order; free are groups to use again.
	open     *openGroup
	full     bool
	inflight []*job
	free     []*openGroup
	memory   groupMemory
	sequence uint64
	// current is the file that open will lie in; left are files that are full, to be closed after the
	// next sync; dirty are files written since the last sync.
	current *segment
	left    []*segment
	dirty   []*segment
	// seal is up to which file nothing more is to be written.
	seal uint64
	// syncDue is when, under an interval, the next job has to sync.
	syncDue time.Duration
	stage   stage
}

// stage of a writer: how far a clean stop has come.
type stage int

const (
	writing stage = iota
	syncingLast
	closingChain
)

// run is the loop: fill, submit when the disk is free, wait for whatever comes next.
func (w *writer) run(ctx context.Context, broken <-chan error) error {
	var tick <-chan time.Time
	if period := w.log.cfg.Sync.Interval; period > 0 {
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		tick = ticker.C
	}
	stop := ctx.Done()
	for {
		w.advance()
		if stop == nil && w.windUp() {
			return nil
		}
		select {
		case <-w.log.wake:
		case r := <-w.disk.results:
			if err := w.completed(r); err != nil {
				return err
			}
		case <-tick:
			w.syncIdle()
		case err := <-broken:
			return err
		case <-stop:
			stop = nil
			w.log.stop()
		}
	}
}

// advance fills groups and hands them on as far as that goes. An idle disk gets what there is, at
// once; a busy one gets a group behind the one it writes only if that is full, so that under load
// groups grow while they wait.
func (w *writer) advance() {
	for {
		w.fill()
		switch {
		case w.open == nil:
			if !w.leave() {
				return
			}
		case len(w.inflight) == 0, w.full && len(w.inflight) < jobsMax:
			w.submit()
		default:
			return
		}
	}
}

// fill moves records from the queue into the open group until one of them runs out.
func (w *writer) fill() {
	for !w.full {
		if w.next == len(w.pending) && !w.refill() {
			return
		}
		q := &w.pending[w.next]
		if w.open == nil {
			w.begin(q.bytes)
		}
		if w.full = !w.open.add(q); w.full {
			return
		}
		w.next++
	}
}

// refill swaps the used-up pending records for the queue.
func (w *writer) refill() bool {
	clear(w.pending)
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	w.pending, l.mu.queue = l.mu.queue, w.pending[:0]
	w.next, w.seal = 0, l.mu.seal
	return len(w.pending) > 0
}

// begin opens a group that has room for a first record of that length, in the next file if this one
// has no room, or is to be left.
func (w *writer) begin(bytes int64) {
	need := alignUp(groupHeaderBytes + bytes)
	if w.current == nil || w.current.used+need > w.current.capacity {
		w.rotate(need)
	} else {
		w.rotateEarly(need, 0)
	}
	w.open = w.blank(min(max(w.log.cfg.GroupBytesMax, need), w.current.capacity-w.current.used))
}

// blank is an empty group behind the others of the file in use.
func (w *writer) blank(limit int64) *openGroup {
	g := &openGroup{memory: &w.memory}
	if n := len(w.free); n > 0 && limit <= w.log.cfg.GroupBytesMax {
		g, w.free = w.free[n-1], w.free[:n-1]
	}
	g.begin(w.current, w.current.used, limit)
	return g
}

// rotate takes the next of the files ahead. Reserve has promised its space, so there is one.
func (w *writer) rotate(need int64) {
	w.log.mu.Lock()
	w.rotateLocked(need)
	w.log.mu.Unlock()
	nudge(w.log.makeFile)
}

func (w *writer) rotateLocked(need int64) {
	l := w.log
	if w.current != nil {
		w.left = append(w.left, w.current)
		l.mu.segments = l.mu.segments[1:]
	}
	if len(l.mu.segments) == 0 || l.mu.segments[0].capacity-l.mu.segments[0].used < need {
		panicf("reserved space is missing: %d files, %d bytes wanted", len(l.mu.segments), need)
	}
	w.current = l.mu.segments[0]
	now := l.cfg.Now()
	l.mu.lasted, l.mu.rotated = now-l.mu.rotated, now
	l.mu.ledger.setSpace(l.mu.segments)
}

// submit seals the open group and hands it to the disk. The Sink hears of it first: shipping starts
// before the write does. Of an empty group there is nothing to hear.
func (w *writer) submit() {
	g := w.open
	w.open, w.full = nil, false
	w.sequence++
	g.seal(w.sequence)
	w.log.placed(g)
	if len(g.group.Records) > 0 {
		w.log.cfg.Sink.Sealed(&g.group)
	}
	w.start(&job{group: g})
}

// start hands j to the disk, with the files to sync after the write.
func (w *writer) start(j *job) {
	if j.group != nil && (len(w.dirty) == 0 || w.dirty[len(w.dirty)-1] != j.group.segment) {
		w.dirty = append(w.dirty, j.group.segment)
	}
	if w.log.cfg.Sync.Interval == 0 || w.log.cfg.Now() >= w.syncDue {
		j.alone = w.log.cfg.Sync.Interval == 0 && j.group != nil && len(w.dirty) == 1
		j.sync, w.dirty = w.dirty, nil
		j.close, w.left = w.left, nil
	}
	w.inflight = append(w.inflight, j)
	w.disk.jobs <- j
}

// completed takes the result of the oldest job in flight. What has gathered goes to the disk before
// the Sink hears, so that the disk does not wait for the Sink.
func (w *writer) completed(r result) error {
	if r.err != nil {
		return r.err
	}
	j := w.inflight[0]
	w.inflight = append(w.inflight[:0], w.inflight[1:]...)
	if len(j.sync) > 0 {
		w.syncDue = w.log.cfg.Now() + w.log.cfg.Sync.Interval
	}
	w.advance()
	if j.group != nil && !j.farewell {
		w.log.durable(j.group, r, w.oldest())
		if len(j.group.group.Records) > 0 {
			w.log.cfg.Sink.Durable(&j.group.group)
		}
		w.recycle(j.group)
	}
	return nil
}

// oldest is when the oldest record in the writer's hands was appended, never if there is none.
func (w *writer) oldest() time.Duration {
	for _, j := range w.inflight {
		if j.group != nil {
			return j.group.born
		}
	}
	switch {
	case w.open != nil:
		return w.open.born
	case w.next < len(w.pending):
		return w.pending[w.next].at
	default:
		return never
	}
}

// recycle keeps g for later, unless a record of unusual size has made it large.
func (w *writer) recycle(g *openGroup) {
	if int64(len(g.buffer)) <= w.log.cfg.GroupBytesMax {
		g.begin(nil, 0, 0)
		w.free = append(w.free, g)
	}
}

// syncIdle syncs, under the interval policy, what no later group will take along.
func (w *writer) syncIdle() {
	if len(w.inflight) == 0 && len(w.dirty) > 0 {
		w.syncDue = w.log.cfg.Now()
		w.start(&job{})
	}
}

// finish closes the log if nothing is left to write; from then on Append drops.
func (w *writer) finish() bool {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.queue) > 0 {
		return false
	}
	l.mu.state = closed
	return true
}

// windUp takes the next step of a clean stop once nothing is under way, and reports whether all is
// done. It syncs what the interval policy left and then writes an empty group, if there is room. That
// states that everything before it was synced: without it, damage to the very last group of a clean
// stop would look like a torn tail.
func (w *writer) windUp() (done bool) {
	if len(w.inflight) > 0 || w.stage == writing && !w.finish() {
		return false
	}
	if w.sequence == w.log.recovered.sequence {
		return true
	}
	w.syncDue = w.log.cfg.Now()
	if w.stage == writing {
		w.stage = syncingLast
		if len(w.dirty) > 0 {
			w.start(&job{})
			return false
		}
	}
	if w.stage == syncingLast && w.current.used+blockBytes <= w.current.capacity {
		w.stage = closingChain
		g := &openGroup{memory: &w.memory}
		g.begin(w.current, w.current.used, blockBytes)
		g.seal(w.sequence + 1)
		w.start(&job{group: g, farewell: true})
		return false
	}
	return true
}

// drop gives back what a failed log still held, so that the accounts end at zero.
func (w *writer) drop() {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range w.inflight {
		if j.group == nil {
			continue
		}
		for b, bytes := range j.group.bytes {
			l.mu.ledger.durable(Budget(b), bytes)
		}
	}
	if w.open != nil {
		for b := range w.open.bytes {
			l.mu.ledger.drop(Budget(b), w.open.records[b], w.open.bytes[b])
		}
	}
	for _, list := range [][]queued{w.pending[w.next:], l.mu.queue} {
		for _, q := range list {
			l.mu.ledger.drop(q.budget, 1, q.bytes)
		}
	}
	l.mu.queue = nil
	w.pending, w.open, w.inflight, w.free = nil, nil, nil, nil
}

// placed consumes the space of a sealed group.
func (l *Log) placed(g *openGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.segment.used = g.offset + g.group.Bytes
	for b := range g.bytes {
		l.mu.ledger.place(Budget(b), g.records[b], g.bytes[b])
	}
	l.mu.ledger.setSpace(l.mu.segments)
	l.mu.ledger.grant()
}

// durable moves the durable end behind g and frees its share of the queue.
func (l *Log) durable(g *openGroup, r result, oldest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := g.offset + g.group.Bytes
	if n := len(l.mu.extents); n > 0 && l.mu.extents[n-1].number == g.segment.number {
		l.mu.extents[n-1].end = end
	} else {
		l.mu.extents = append(l.mu.extents,
			extent{number: g.segment.number, session: l.cfg.Session, end: end, born: g.born})
	}
	l.mu.extents[len(l.mu.extents)-1].last = chain{sequence: g.group.Sequence, crc: g.group.CRC}
	l.mu.synced, l.mu.reported = r.synced, g.group.Sequence
	l.mu.written += g.group.Bytes
	l.mu.groups.Groups++
	l.mu.groups.Took.add(r.took)
	if r.waited {
		l.mu.groups.Waited++
	}
	if oldest == never && len(l.mu.queue) > 0 {
		oldest = l.mu.queue[0].at
	}
	l.mu.oldest = oldest
	for b, bytes := range g.bytes {
		l.mu.ledger.durable(Budget(b), bytes)
	}
	l.mu.ledger.grant()
}

// stop refuses new reservations; those that were granted may still be used.
func (l *Log) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.state = stopping
	l.mu.ledger.refuse(ErrClosed)
}
