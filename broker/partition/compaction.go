package partition

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"outrigger/broker/batch"
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
// new pack. The work is done in slices, between which files are drained; what has happened to a log
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

// compactionSpan is where packs are numbered that compactions write: at its multiples. Between two there is
// room for that many rewrites, and between two drains for packStep/compactionSpan compactions.
const compactionSpan = 256

// compactionPackBytes is how large a pack may become before no other log joins it.
const compactionPackBytes = 64 << 20

// compactionReadBytes is how much is read at once.
const compactionReadBytes = 1 << 20

// compaction writes one pack of compacted logs.
type compaction struct {
	*drainer
	number uint64
	pack   *wal.PackWriter
	bytes  int64
	// queue are the logs whose turn may come, done those that are in the pack, now is the one at hand.
	queue []dirty
	done  []*cleaning
	now   *cleaning
	// over: all was written, when the group overBy was the newest that is durable.
	over   bool
	overBy uint64
}

// dirty is a log that is worth a compaction.
type dirty struct {
	log   *Log
	rules Compaction
	share float64
}

// cleaning is the compaction of one log.
type cleaning struct {
	log   *Log
	rules Compaction
	pass  *compact.Pass
	// was are the batches as they were found, out are those that come in their place.
	was, out []extent
	// next is the one of was that comes next; learned says whether it is to be cleaned.
	next    int
	learned bool
	// from is where the last compaction ended.
	from topic.Offset
	// unmarked are the offsets of markers that were dropped; changed: there is something in out that is
	// not in was.
	unmarked map[topic.Offset]bool
	changed  bool
	// recorded: the edits of the catalog speak of it; installs: they name new batches.
	recorded, installs bool
}

// compact advances the compaction under way by about so many bytes that are read, or looks for a log that
// is to be compacted. It reports whether there is more to do at once. An error that wraps wal.ErrNoSpace
// has changed nothing; after any other the node has to stop.
func (d *drainer) compact(bytes int64) (more bool, err error) {
	c := d.compaction
	if c == nil {
		if c = d.beginCompaction(); c == nil {
			return false, nil
		}
		d.compaction = c
	}
	for err == nil && bytes > 0 && c.now != nil {
		var took int64
		took, err = c.step()
		bytes -= took
	}
	d.store.compactions.permille.Store(c.progress())
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
	if err != nil {
		return false, errors.Join(err, c.abandon())
	}
	return true, nil
}

// stop gives up the compaction under way.
func (d *drainer) stop() error {
	c := d.compaction
	d.compaction = nil
	if c == nil {
		return nil
	}
	return c.abandon()
}

// beginCompaction finds a log that is worth it, nil if there is none.
func (d *drainer) beginCompaction() *compaction {
	highest := d.compacted
	for number := range d.packs {
		highest = max(highest, number)
	}
	c := &compaction{drainer: d, number: (highest/compactionSpan + 1) * compactionSpan}
	rules := d.store.rules.Load()
	if rules == nil || highest == 0 || c.number >= d.nextPack {
		return nil
	}
	for _, l := range d.store.snapshot() {
		if r, ok := (*rules)(l.partition); ok {
			if share := l.dirt(r, c.number); share > 0 {
				c.queue = append(c.queue, dirty{l, r, share})
			}
		}
	}
	// Those of which the largest share is to be compacted come first.
	slices.SortStableFunc(c.queue, func(a, b dirty) int { return cmp.Compare(b.share, a.share) })
	if c.choose(); c.now == nil {
		return nil
	}
	return c
}

// choose takes the next log, unless the pack is large enough.
func (c *compaction) choose() {
	c.now = nil
	if len(c.queue) == 0 || c.bytes >= compactionPackBytes {
		return
	}
	c.now = &cleaning{log: c.queue[0].log, rules: c.queue[0].rules}
	c.queue = c.queue[1:]
	c.now.begin(c.number, int(c.store.cfg.CompactBytesMax/compact.KeyBytes))
}

// dirt is the share of a log's bytes in packs below a number that is to be compacted; zero if it is not
// to be compacted now.
func (l *Log) dirt(r Compaction, number uint64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, limit := l.cleanableLocked(r, number)
	dirty, clean := int64(0), int64(0)
	oldest := int64(math.MaxInt64)
	for i := range n {
		switch e := l.mu.index.at(i); {
		case e.end() <= l.mu.compacted:
			clean += int64(e.bytes)
		case e.base < limit:
			dirty += int64(e.bytes)
			if e.newest >= 0 {
				oldest = min(oldest, e.newest)
			}
		}
	}
	ratio := float64(dirty) / float64(max(1, clean+dirty))
	overdue := r.LagMax < maxAge && oldest < r.Now-r.LagMax.Milliseconds()
	if ratio > r.DirtyRatio || overdue {
		return ratio
	}
	return 0
}

// cleanableLocked counts the batches that a compaction may move, and says below which offset it may drop
// records: what is decided, and old enough.
func (l *Log) cleanableLocked(r Compaction, number uint64) (n int, limit topic.Offset) {
	if l.mu.failed != nil || len(l.mu.damaged) > 0 || l.mu.uncleanable {
		return 0, 0
	}
	if n = l.placedLocked(wal.Position{File: number | wal.PackBit}); n == 0 {
		return 0, 0
	}
	limit = l.mu.index.at(n - 1).end()
	if l.store.cfg.mutant != CompactsUncommitted {
		limit = min(limit, l.lastStableLocked())
	}
	if r.LagMin > 0 {
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

// begin notes what the log has now.
func (c *cleaning) begin(number uint64, keysMax int) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	n, limit := l.cleanableLocked(c.rules, number)
	c.was = make([]extent, n)
	for i := range n {
		c.was[i] = l.mu.index.at(i)
	}
	c.from = max(l.mu.compacted, l.mu.start)
	config := compact.Config{Now: c.rules.Now, DeleteRetention: c.rules.DeleteRetention.Milliseconds(),
		Hold: c.rules.Hold, KeysMax: keysMax, Limit: int64(limit), Newest: l.mu.producers.telling()}
	for _, a := range l.mu.producers.transactions.aborted {
		if a.First < limit {
			config.Aborted = append(config.Aborted, compact.Aborted{ProducerID: a.ProducerID,
				First: int64(a.First), Last: int64(a.Last)})
		}
	}
	c.pass = compact.NewPass(config, int64(c.from))
	c.unmarked = map[topic.Offset]bool{}
	for c.next < n && c.was[c.next].end() <= c.from {
		c.next++
	}
}

// telling lists the records that tell each producer's state: its newest that is committed, and its newest
// marker. What is not committed stays anyhow.
func (t *producerTable) telling() map[int64][]int64 {
	tell := make(map[int64][]int64, len(t.byID))
	for id, p := range t.byID {
		var told [2]bool // of data, of markers
		for i := p.committed - 1; i >= 0 && told != [2]bool{true, true}; i-- {
			b, kind := p.batches.at(i), 0
			if b.isMarker() {
				kind = 1
			}
			if !told[kind] {
				tell[id], told[kind] = append(tell[id], int64(b.end-1)), true
			}
		}
	}
	return tell
}

// step reads the next stretch of the log at hand, and learns or cleans it. A log that does not give back
// what it should is left as it is: its repair is somebody else's, and what cannot be understood a human's.
func (c *compaction) step() (read int64, err error) {
	now := c.now
	pieces := now.stretch()
	if len(pieces) > 0 {
		if _, err = now.log.load(pieces); err == nil {
			for _, p := range pieces {
				read += int64(p.encoded)
			}
			err = c.work(pieces)
		}
	}
	if err == nil && now.next == len(now.was) {
		err = c.turn()
	}
	switch {
	case err == nil:
		return max(1, read), nil
	case errors.Is(err, wal.ErrDamaged), errors.Is(err, ErrOffsetOutOfRange):
	case errors.Is(err, errUncleanable):
		now.log.giveUpCleaning()
		c.store.compactions.uncleanable.Add(1)
		c.store.cfg.Logger.Error("log cannot be compacted, it grows until that is looked into",
			keyPartition, now.log.partition, keyReason, err.Error())
	default:
		return read, fmt.Errorf("compact %v: %w", now.log.partition, err)
	}
	c.choose()
	return max(1, read), nil
}

// CompactionStats are the numbers of the compaction since Open.
type CompactionStats struct {
	// Logs counts those that were compacted, ReadBytes what was read of them, SavedBytes what they have
	// become smaller by.
	Logs, ReadBytes, SavedBytes int64
	// Uncleanable counts the logs that cannot be compacted.
	Uncleanable int64
	// Progress is how far the log has come that is compacted now, from 0 to 1.
	Progress float64
}

func (s *Store) compactionStats() CompactionStats {
	return CompactionStats{Logs: s.compactions.logs.Load(), ReadBytes: s.compactions.read.Load(),
		SavedBytes: s.compactions.saved.Load(), Uncleanable: s.compactions.uncleanable.Load(),
		Progress: float64(s.compactions.permille.Load()) / 1000}
}

// errUncleanable: a batch cannot be taken apart, although its checksum is right.
var errUncleanable = errors.New("batch cannot be compacted")

// giveUpCleaning leaves a log alone until the next start.
func (l *Log) giveUpCleaning() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.uncleanable = true
}

// stretch lists the batches that come next.
func (c *cleaning) stretch() (pieces []piece) {
	bytes := 0
	for i := c.next; i < len(c.was) && (bytes == 0 || bytes+int(c.was[i].bytes) <= compactionReadBytes); i++ {
		bytes += int(c.was[i].bytes)
		pieces = append(pieces, piece{extent: c.was[i]})
	}
	return pieces
}

// work learns or cleans what was read.
func (c *compaction) work(pieces []piece) error {
	now := c.now
	for _, p := range pieces {
		now.next++
		if !now.learned {
			more, err := now.pass.Learn(p.payload)
			if err != nil {
				return fmt.Errorf("%w: %w", errUncleanable, err)
			}
			if !more {
				now.next = len(now.was)
				return nil
			}
			continue
		}
		batches, err := now.pass.Clean(p.payload)
		if err != nil {
			return fmt.Errorf("%w: %w", errUncleanable, err)
		}
		if err := c.add(batches...); err != nil {
			return err
		}
		if err := now.note(p, batches); err != nil {
			return err
		}
	}
	return nil
}

// add writes batches to the pack.
func (c *compaction) add(batches ...[]byte) error {
	if c.pack == nil {
		pack, err := c.store.walLog.NewPack(c.number)
		if err != nil {
			return err
		}
		c.pack = pack
	}
	for _, b := range batches {
		h, err := batch.ParseHeader(b)
		if err != nil {
			return fmt.Errorf("%w: %w", errUncleanable, err)
		}
		e := extent{base: topic.Offset(h.BaseOffset), newest: newestOf(h), latest: newestOf(h),
			count: h.LastOffsetDelta + 1, epoch: topic.Epoch(h.PartitionLeaderEpoch), bytes: int32(len(b))}
		r := wal.Record{Kind: wal.Data, Partition: c.now.log.partition, Epoch: e.epoch, Base: e.base,
			Count: e.count, Payload: b}
		e.encoded = int32(wal.EncodedLen(r))
		if e.at, err = c.pack.Add(&r); err != nil {
			return err
		}
		c.bytes += int64(e.encoded)
		c.now.out = append(c.now.out, e)
	}
	return nil
}

// note notes what became of a batch: whether it is another now, and whether it was a marker of which
// nothing is left.
func (c *cleaning) note(was piece, left [][]byte) error {
	if len(left) == 1 && &left[0][0] == &was.payload[0] {
		return nil
	}
	c.changed = true
	h, err := batch.ParseHeader(was.payload)
	if err != nil || !h.Control() || h.Records == 0 {
		return err
	}
	if n := len(left); n > 0 {
		after, err := batch.ParseHeader(left[n-1])
		if err != nil || after.BaseOffset == h.BaseOffset && after.Records > 0 {
			return err
		}
	}
	c.unmarked[was.base] = true
	return nil
}

// turn ends the part of the log at hand that was going on: all was learned, or all was cleaned.
func (c *compaction) turn() error {
	now := c.now
	if !now.learned {
		now.pass.Exhausted()
		now.learned, now.next = true, 0
		return nil
	}
	if rest := now.pass.Flush(); rest != nil {
		if err := c.add(rest); err != nil {
			return err
		}
	}
	c.done = append(c.done, now)
	c.choose()
	return nil
}

// progress is how much of the log at hand was done, in thousandths.
func (c *compaction) progress() int64 {
	if c.now == nil {
		return 0
	}
	done, all := c.now.next, len(c.now.was)
	if !c.now.learned {
		return int64(500 * done / max(1, all))
	}
	return int64(500 + 500*done/max(1, all))
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
