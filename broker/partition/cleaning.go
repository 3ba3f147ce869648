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
	// was are the batches as they were found, out are those that come in their place.
	was, out []extent
	// bytes is how long those are.
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

// begin notes what the log has now.
func (c *cleaning) begin(number uint64, keysMax int) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	n, limit := l.cleanableLocked(c.rules, number)
	c.cuts = l.mu.cuts.count
	c.was = make([]extent, n)
	for i := range n {
		c.was[i] = l.mu.index.at(i)
		c.bytes += int64(c.was[i].bytes)
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
	c.choose()
	return max(1, read), nil
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
	for i := c.next; i < c.until() && (bytes == 0 || bytes+int(c.was[i].bytes) <= pieceBytes); i++ {
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
	c.done = append(c.done, now.portion())
	if len(now.portions) > 1 {
		now.advance()
		c.rest, c.now = now, nil
		return nil
	}
	c.choose()
	return nil
}
