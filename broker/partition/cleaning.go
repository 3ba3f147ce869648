package partition

import (
	"errors"
	"fmt"

	"outrigger/broker/batch"
	"outrigger/broker/compact"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// cleaning is the compaction of one log.
type cleaning struct {
	log   *Log
	rules Compaction
	pass  *compact.Pass
	// was are the batches as they were found, out are those that come in their place, nil once the log has them.
	was listing
	out *index
	// bytes is how long those are that were found.
	bytes int64
	// next is the one of was that comes next; learned says whether it is to be cleaned.
	next    int
	learned bool
	// portions are those that are not recorded yet, first is where the first of them begins in was.
	portions []portion
	first    int
	// partial: the log has more to be cleaned. read is what was read of it, or before it of a log at hand.
	partial bool
	// divided: the log has several portions. cuts is how often it was cut before.
	divided bool
	cuts    uint64
	read    int64
	// from is where the last compaction ended.
	from topic.Offset
	// unmarked are the offsets of markers that were dropped; changed: there is something in out that is
	// not in was.
	unmarked map[topic.Offset]bool
	changed  bool
	// recorded: the edits of the catalog speak of it; installs: they name new batches.
	recorded, installs bool
}

// begin notes what the log has now, and calls between after some of that. One that is cut again and again meanwhile has its turn later.
func (c *cleaning) begin(number uint64, keysMax int, between func() error) (err error) {
	config, ok := compact.Config{}, false
	was := c.log.store.newIndex()
	for range listsMax {
		var first, until topic.Offset
		config, first, until = c.plan(number)
		was.reset()
		if ok, err = c.list(was, first, until, between); ok || err != nil {
			break
		}
	}
	if !ok {
		was.reset()
	}
	c.was, c.out = newListing(was), c.log.store.newIndex()
	c.bytes = c.was.bytes()
	config.KeysMax = keysMax
	c.pass = compact.NewPass(config, int64(c.from))
	c.unmarked = map[topic.Offset]bool{}
	c.next = c.was.before(c.from)
	return err
}

// newIndex is one of batches that lie in packs, for who holds no lock.
func (s *Store) newIndex() *index {
	return &index{spill: s.cfg.Spill, hasty: true, extents: s.cfg.ChunkBatches}
}

// free gives back what the lists take. What a portion was belongs to its log's compaction, but for that of the last one.
func (c *cleaning) free() {
	if !c.partial {
		c.was.x.reset()
	}
	if c.out != nil {
		c.out.reset()
	}
}

// listsMax is how often a log is listed anew that was cut meanwhile.
const listsMax = 4

// plan is what the log is compacted by, and between which offsets.
func (c *cleaning) plan(number uint64) (config compact.Config, first, until topic.Offset) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	n, limit := l.cleanableLocked(c.rules, wal.Position{File: number | wal.PackBit})
	c.cuts = l.mu.cuts.count
	c.from = max(l.mu.compacted, l.mu.start)
	config = compact.Config{Now: c.rules.Now, DeleteRetention: c.rules.DeleteRetention.Milliseconds(),
		Hold: c.rules.Hold, Limit: int64(limit), Newest: l.mu.producers.telling()}
	for _, a := range l.mu.producers.transactions.aborted {
		if a.First < limit {
			config.Aborted = append(config.Aborted, compact.Aborted{ProducerID: a.ProducerID,
				First: int64(a.First), Last: int64(a.Last)})
		}
	}
	l.store.cfg.mutant.spoil(&config)
	if n > 0 {
		first, until = l.mu.index.at(0).base, l.mu.index.at(n-1).end()
	}
	return config, first, until
}

// list notes the batches between two offsets, unless the log was cut since that was planned.
func (c *cleaning) list(was *index, first, until topic.Offset, between func() error) (ok bool, err error) {
	for first < until {
		if first, ok = c.listNext(was, first, until); !ok {
			return false, nil
		}
		if err := between(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// listNext notes some of them, and says where the next ones begin.
func (c *cleaning) listNext(was *index, first, until topic.Offset) (next topic.Offset, ok bool) {
	some, from, next, ok := c.found(first, until)
	if from > first { // The log start has moved behind what was noted.
		was.reset()
	}
	for _, e := range some {
		was.push(e)
	}
	return next, ok
}

// found are some of the batches from an offset on, or from the log start on if that is larger. Nothing but this goroutine changes
// where they lie; but the log start may move.
func (c *cleaning) found(first, until topic.Offset) (some []extent, from, next topic.Offset, ok bool) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	x := &l.mu.index
	if l.mu.cuts.count != c.cuts || x.len() == 0 {
		return nil, first, first, false
	}
	some, next = make([]extent, 0, chunkLength), until
	for i := x.covering(first); i < x.len() && len(some) < chunkLength; i++ {
		e := x.at(i)
		if next = min(e.base, until); next == until {
			break
		}
		some, next = append(some, e), e.end()
	}
	return some, max(first, x.first()), next, true
}

// step reads the next stretch of the log at hand, and learns or cleans it. A log that does not give back
// what it should is left as it is: its repair is somebody else's, and what cannot be understood a human's.
func (c *compaction) step() (read int64, err error) {
	now := c.now
	pieces := now.stretch(c.piece(&c.compacting))
	if len(pieces) > 0 {
		if _, err = now.log.load(pieces); err == nil {
			for _, p := range pieces {
				read += int64(p.encoded)
			}
			c.store.compactions.read.Add(read)
			err = c.work(pieces)
		}
	}
	if err == nil && now.next == now.until() {
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
	return max(1, read), c.choose()
}

// errUncleanable: a batch cannot be taken apart, although its checksum is right.
var errUncleanable = errors.New("batch cannot be compacted")

// giveUpCleaning leaves a log alone until the next start.
func (l *Log) giveUpCleaning() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.uncleanable = true
}

// stretch lists the batches that come next, of about so many bytes.
func (c *cleaning) stretch(most int64) (pieces []piece) {
	bytes := int64(0)
	for i := c.next; i < c.until(); i++ {
		e := c.was.at(i)
		if bytes > 0 && bytes+int64(e.bytes) > most {
			break
		}
		bytes += int64(e.bytes)
		pieces = append(pieces, piece{extent: e})
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
				now.next = now.was.len()
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
		if len(c.now.portions) > 1 {
			c.spent[c.number] = true
		}
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
		c.now.out.push(e)
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
	c.done, c.now = append(c.done, now.portion()), nil
	if len(now.portions) > 1 {
		now.advance()
		c.rest = now
		return nil
	}
	return c.choose()
}
