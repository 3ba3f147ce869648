package partition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"outrigger/broker/compact"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A compacted log keeps the newest record of each key. What may be dropped is decided by package compact,
// batch by batch; this is where the batches come from and go to. Only what was drained is compacted, so the
// files of the WAL are what Kafka calls the active segment:
//
//	batches of a log in packs ──> compact.Pass: Learn, then Clean ──> batches in one new pack
//	one durable edit of the catalog ──> the log's extents point there ──> old packs are swept
//
// All batches of a log move that lie in packs, also those behind the end of the pass: so the log's batches
// lie in the order of their offsets, and a pack's number tells which come first. Many small logs share one
// new pack, a large one moves in portions (portion.go). The work is done in slices, between which files are drained; what has happened to a log
// meanwhile is looked at before the edit, and a log that was cut is left as it is.
//
// Every replica compacts by itself, and may hold other batches than its leader, but of the same offsets
// and epochs. Boundaries of batches stay, except that neighbours of which nothing is left become one span:
// Entry.From cuts that for a follower whose log ends within.

// Compaction is how a partition is compacted.
type Compaction struct {
	// DirtyRatio: a log is compacted once more than this share of its bytes was not yet
	// (min.cleanable.dirty.ratio).
	DirtyRatio float64
	// LagMin is how old a record must be to be dropped, LagMax how old the oldest that was never looked at
	// may become, whatever the ratio (min.compaction.lag.ms, max.compaction.lag.ms).
	LagMin, LagMax time.Duration
	// Roll is how long a batch may wait in the WAL, where it cannot be compacted (segment.ms); 0 for as long as it
	// takes. No longer than LagMax in any case.
	Roll time.Duration
	// DeleteRetention is how long tombstones stay (delete.retention.ms).
	DeleteRetention time.Duration
	// Now is the time, in milliseconds since 1970.
	Now int64
	// Hold keeps tombstones and markers whatever their age: a replica may lack them, and keep what they
	// end.
	Hold bool
}

// CompactBy sets who says how a partition is compacted; not at all unless it is ok. It may be called by any
// goroutine, and no lock is held.
func (s *Store) CompactBy(rules func(topic.Partition) (Compaction, bool)) { s.rules.Store(&rules) }

// compactionSpan is where packs are numbered that compactions write: at its multiples, but for those of portions.
// Between two there is room for half as many rewrites, and between two drains for wal.PackStep/compactionSpan compactions.
const compactionSpan = 256

// compactionPackBytes is how large a pack may become before no other log joins it.
const compactionPackBytes = 64 << 20

// compaction writes one pack of compacted logs.
type compaction struct {
	*drainer
	number uint64
	pack   *wal.PackWriter
	bytes  int64
	// room is how much of it there was space for when it began. ventures: it may come to more.
	room     int64
	ventures bool
	// reads are the packs in which the batches lie that it is about: they stay where they are meanwhile.
	reads map[uint64]bool
	// queue are the logs whose turn may come, done those that are in the pack, now is the one at hand. rest is the
	// one of which the first portion is in the pack, and others follow.
	queue []dirty
	done  []*cleaning
	now   *cleaning
	rest  *cleaning
	// hopesUntil is until when it waits for the space that what was recorded last gives back.
	hopesUntil time.Duration
	// over: all was written, when the group overBy was the newest that is durable.
	over   bool
	overBy uint64
}

// dirty is a log that is worth a compaction.
type dirty struct {
	log   *Log
	rules Compaction
	dirt
}

// dirt is what of a log in packs is to be compacted, and what was, in bytes.
type dirt struct{ dirty, clean int64 }

func (d dirt) ratio() float64 { return float64(d.dirty) / float64(max(1, d.clean+d.dirty)) }

// compactTurn compacts, piece by piece, for as long as it may, and until it is to look after something else. It reports
// whether there is more to do.
func (d *drainer) compactTurn(until func() bool) (more bool, err error) {
	now := d.store.cfg.Now
	for {
		if d.compaction != nil && now()-d.dirtyAt >= d.store.cfg.CompactBackoff {
			d.look(d.nextPack) // More may have come in than when it began.
		}
		d.grant(&d.compacting, now(), d.dirty)
		d.moving.pass(now(), 1)
		if d.compacting.owes() || !d.moving.may() {
			return true, nil
		}
		if more, err = d.compact(d.piece(&d.compacting)); err != nil {
			d.compacting.spend(now())
			return more || d.compaction != nil, err
		}
		if err = d.giveWay(&d.compacting); errors.Is(err, errEnding) {
			return d.compaction != nil, nil // stop gives it up
		} else if err != nil {
			return false, err
		}
		if more {
			d.throttle(until)
		}
		if !more || until() {
			return more || d.compaction != nil, nil
		}
	}
}

// compact advances the compaction under way by about so many bytes that are read, or looks for a log that
// is to be compacted. It reports whether there is more to do at once. An error that wraps wal.ErrNoSpace
// has changed nothing; after any other the node has to stop.
func (d *drainer) compact(bytes int64) (more bool, err error) {
	c := d.compaction
	if c == nil {
		if c, err = d.beginCompaction(); errors.Is(err, errEnding) {
			return false, nil
		} else if c == nil || err != nil {
			return false, err
		}
		d.compaction = c
	}
	if c.hopes() {
		return false, nil
	}
	if c.now != nil {
		err = c.starved()
	}
	for err == nil && bytes > 0 && c.now != nil {
		var took int64
		written := c.bytes
		took, err = c.step()
		bytes -= took
		d.pay(took + c.bytes - written)
	}
	d.store.compactions.now.Store(c.progress())
	if err == nil && c.now != nil {
		return true, nil
	}
	if err == nil && !c.settled() {
		return false, nil // the sync that it waits for is not this goroutine's to make
	}
	if err == nil {
		err = c.commit()
	}
	d.compaction = nil
	d.store.compactions.now.Store(nil)
	d.store.unsorted.Store(true) // Packs that it read may wait to be written anew.
	if errors.Is(err, wal.ErrNoSpace) {
		d.cramp(err)
	}
	if err != nil {
		c.free()
		if abandoned := c.abandon(); abandoned != nil || !errors.Is(err, errEnding) { // That the store ends hides no other error.
			return false, errors.Join(err, abandoned)
		}
		return false, nil
	}
	if c.follows() {
		d.compaction = c
	}
	return true, nil
}

// starved ends a compaction short of a full disk, since the metadata need some, and one that was not sure to fit
// before producers have to wait for it.
func (c *compaction) starved() error {
	if c.store.walLog.Lasting() <= 0 || c.ventures && c.store.scarce() {
		return fmt.Errorf("compact logs: %w", wal.ErrNoSpace)
	}
	return nil
}

// crampedMost is how long compactions wait at most after one that found no space: it had read and written a log
// for nothing.
const crampedMost = 5 * time.Minute

// cramp has compactions wait for space, longer each time.
func (d *drainer) cramp(full error) {
	d.crampedFor = min(max(d.store.cfg.CompactBackoff, 2*d.crampedFor), crampedMost)
	d.crampedUntil = d.store.cfg.Now() + d.crampedFor
	d.store.unsorted.Store(true) // What waits for a compaction does not wait for space as well.
	d.sayCramped(keyReason, full.Error())
}

// sayCramped says once that there is no space for compactions, until one has been done again.
func (d *drainer) sayCramped(facts ...any) {
	if !d.cramped {
		d.store.cfg.Logger.Warn("no space to compact logs, they grow until there is", facts...)
	}
	d.cramped = true
}

// stop gives up the compaction under way.
func (d *drainer) stop() error {
	c := d.compaction
	d.compaction = nil
	d.store.compactions.now.Store(nil)
	if c == nil {
		return nil
	}
	c.free()
	return c.abandon()
}

// beginCompaction finds a log that is worth it, nil if there is none.
func (d *drainer) beginCompaction() (*compaction, error) {
	highest := d.compacted
	for number := range d.packs {
		highest = max(highest, number)
	}
	c := &compaction{drainer: d, number: (highest/compactionSpan + 1) * compactionSpan, reads: map[uint64]bool{}}
	if highest == 0 || c.number >= d.nextPack || d.store.cfg.Now() < d.crampedUntil {
		return nil, nil //nolint:nilnil // there is none
	}
	c.room = d.store.walLog.Lasting()
	c.queue = d.look(c.number)
	// Those of which the largest share is to be compacted come first.
	slices.SortStableFunc(c.queue, func(a, b dirty) int { return cmp.Compare(b.ratio(), a.ratio()) })
	if err := c.choose(); err != nil || c.now == nil {
		return nil, err
	}
	return c, nil
}

// look lists the logs that are worth a compaction of what they have in packs below a number, and notes how
// crowded they are.
func (d *drainer) look(number uint64) (queue []dirty) {
	rules := d.store.rules.Load()
	if rules == nil {
		return nil
	}
	var all dirt
	for _, l := range d.store.snapshot() {
		r, ok := (*rules)(l.partition)
		if !ok {
			continue
		}
		if is, worth := l.dirt(r, wal.Position{File: number | wal.PackBit}); worth {
			queue = append(queue, dirty{l, r, is})
			all.dirty, all.clean = all.dirty+is.dirty, all.clean+is.clean
		}
	}
	d.dirty = crowding(all.dirty, all.clean, shareSlackFiles*d.store.walLog.FileBytes())
	d.dirtyAt = d.store.cfg.Now()
	d.compactedFirst(queue)
	return queue
}

// choose takes the next log for which there is space, unless the pack is large enough, in place of one that was given up. To list
// what a large log has takes long: files are adopted meanwhile.
func (c *compaction) choose() error {
	if c.now != nil {
		c.now.free()
	}
	c.now = nil
	if c.bytes >= compactionPackBytes {
		return nil
	}
	for len(c.queue) > 0 && !c.fits(c.queue[0].log) {
		c.queue = c.queue[1:]
	}
	if len(c.queue) == 0 {
		return nil
	}
	between := func() error { return c.giveWay(&c.compacting) }
	now := &cleaning{log: c.queue[0].log, rules: c.queue[0].rules}
	err := now.begin(c.number, int(c.store.cfg.CompactBytesMax/compact.KeyBytes), between)
	if err == nil {
		now.portions, err = c.divide(now.was, between)
	}
	if err != nil {
		now.free()
		return err
	}
	if now.divided = len(now.portions) > 1; now.divided {
		if c.queue = c.queue[:1]; c.pack != nil || len(c.done) > 0 { // Its portions have packs of their own.
			now.free()
			return nil
		}
		c.number = now.portions[0].number
	}
	c.ventures = c.ventures || now.portions[0].bytes > c.room-c.bytes // Fewer numbers were left than was thought.
	c.queue = c.queue[1:]
	c.now = now
	c.readsFrom(now.was)
	return nil
}

// fits reports whether there is space for what the log has in packs, or for one portion of it. How much of that stays is not known before it
// was written: while space is not scarce it is worth a try.
func (c *compaction) fits(l *Log) bool {
	return c.holds(l, l.portionBelow(c.number, c.store.cfg.portionBytes))
}

// holds reports whether there is space for so much of the log.
func (c *compaction) holds(l *Log, bytes int64) bool {
	free := min(c.store.walLog.Lasting(), c.room-c.bytes)
	if bytes <= free {
		return true
	}
	if !c.store.scarce() {
		c.ventures = true
		return true
	}
	c.sayCramped(keyPartition, l.partition, keyBytes, bytes, keyFree, free)
	return false
}

// portionBelow is how many bytes the log has in packs below a number, at most in one portion unless the numbers of
// packs lie close together.
func (l *Log) portionBelow(number uint64, portionBytes int64) (most int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes := int64(0)
	for _, p := range l.mu.index.packs {
		if p.number >= number {
			break
		}
		if bytes >= portionBytes {
			bytes = 0
		}
		bytes += p.bytes
		most = max(most, bytes)
	}
	return most
}

// dirt is what of a log is to be compacted that lies before a place, and whether it is now.
func (l *Log) dirt(r Compaction, below wal.Position) (is dirt, worth bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, limit := l.cleanableLocked(r, below)
	// What was compacted is what is left when the rest is counted: it is the larger part, and frozen.
	is.clean = l.mu.bytes
	from := min(n, l.mu.index.covering(l.mu.compacted))
	until := max(from, min(n, l.mu.index.covering(limit)))
	rest, _ := l.mu.index.sum(from, l.mu.index.len())
	is.clean -= rest
	var oldest int64
	is.dirty, oldest = l.mu.index.sum(from, until)
	overdue := r.LagMax < maxAge && oldest < r.Now-r.LagMax.Milliseconds()
	return is, is.dirty > 0 && (is.ratio() > r.DirtyRatio || overdue)
}

// cleanableLocked counts the batches before a place that a compaction may move, and says below which offset it may drop
// records: what is decided, and old enough.
func (l *Log) cleanableLocked(r Compaction, below wal.Position) (n int, limit topic.Offset) {
	if l.mu.failed != nil || len(l.mu.damaged) > 0 || l.mu.uncleanable {
		return 0, 0
	}
	if n = l.placedLocked(below); n == 0 {
		return 0, 0
	}
	limit = l.mu.index.at(n - 1).end()
	if l.store.cfg.mutant != CompactsUncommitted {
		limit = min(limit, l.lastStableLocked())
	}
	if r.LagMin > 0 && l.store.cfg.mutant != CompactsTheYoung {
		young := l.mu.index.reaching(r.Now-r.LagMin.Milliseconds()+1, n)
		if young < n {
			limit = min(limit, l.mu.index.at(young).base)
		}
	}
	// A batch is read as a whole: nothing may be dropped because of one that cannot be read yet.
	if within := l.mu.index.covering(limit); within < n {
		limit = l.mu.index.at(within).base
	}
	return n, limit
}

// CompactionStats are the numbers of the compaction since Open.
type CompactionStats struct {
	// Logs counts those that were compacted, SavedBytes what they have become smaller by. ReadBytes is what was read of
	// logs, also by a compaction that is under way or was given up: most of it twice.
	Logs, ReadBytes, SavedBytes int64
	// Uncleanable counts the logs that cannot be compacted.
	Uncleanable int64
	// Now is the log that is compacted now, nil if none is.
	Now *Compacting
}

// Compacting is how far the compaction of one log has come.
type Compacting struct {
	Partition topic.Partition
	// Progress is how much is done, from 0 to 1: half of it is to learn the keys, half to write what stays.
	Progress float64
	// Bytes is how long the part is that is compacted, Waiting how many logs come after it.
	Bytes   int64
	Waiting int
}

func (s *Store) compactionStats() CompactionStats {
	return CompactionStats{Logs: s.compactions.logs.Load(), ReadBytes: s.compactions.read.Load(),
		SavedBytes: s.compactions.saved.Load(), Uncleanable: s.compactions.uncleanable.Load(),
		Now: s.compactions.now.Load()}
}

// progress is how far the log at hand has come, nil if all are done.
func (c *compaction) progress() *Compacting {
	if c.now == nil {
		return nil
	}
	now := &Compacting{Partition: c.now.log.partition, Bytes: c.now.bytes, Waiting: len(c.queue)}
	now.Progress = float64(c.now.next) / float64(2*max(1, c.now.was.len()))
	if c.now.learned {
		now.Progress += 0.5
	}
	return now
}

// abandon removes what was written.
func (c *compaction) abandon() error {
	pack := c.pack
	c.pack = nil
	if pack == nil {
		return nil
	}
	return pack.Abandon()
}
