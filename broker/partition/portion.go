package partition

import (
	"slices"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A log that has more than portionBytes in packs, or portionBatches, is compacted in portions: its keys are learned of all that is new,
// as ever, and then one portion after the other is cleaned, written to a pack of its own and recorded, before the
// next begins. So no more space is needed at once than for one, as long as what the portions before took the place
// of goes meanwhile; and a compaction that is stopped has lost one at most.
//
// The pack of a portion has a number between what lies before the portion and what lies behind it: so the log's
// batches lie in the order of their offsets whichever portions are recorded, each after those before it. A portion may
// end within a pack: then it moves in any case, for the next one counts on that. Where no number is left it goes on.
//
//	packs of the log    1 ....... 40 | 41 ....... 80 ..|.. 80, 81 ....... 90
//	goes to a pack      before 41      before 80           as all of a log that is compacted at once
//
// Each portion drops what all that was learned supersedes. That lies in the same portion or behind it, is committed
// and on the disk, and is still there, for a log that was cut is left alone: what is found between two of them, also after a crash, is a log without some older records that newer
// ones replace. How far the log is compacted is noted with the last one.

const (
	// portionBytes is how much of a log is compacted at once, and portionBatches how many of its batches: the catalog takes
	// what is known of them in one edit, and who writes their pack anew lists them.
	portionBytes   = 1 << 30
	portionBatches = 1 << 20
	// portionSpan: packs of portions have odd multiples of it for numbers, since others of that session had, or will
	// have, numbers that compactions and drains begin with.
	portionSpan = compactionSpan / 2
	// spentMax bounds the numbers of portions that are remembered; logs are not divided beyond.
	spentMax = 1 << 20
)

// portion is a part of a log that is compacted at once.
type portion struct {
	// until is where it ends in cleaning.was, bytes what it holds.
	until int
	bytes int64
	// number is that of its pack.
	number uint64
	// within: it ends within a pack.
	within bool
}

// divide makes portions of the batches of a log, of which the last goes to the pack that others may share.
func (c *compaction) divide(was listing, between func() error) (portions []portion, err error) {
	taken, held := map[uint64]bool{}, map[uint64]int64{}
	for number := range c.packs {
		taken[number/portionSpan] = true
	}
	for _, p := range was.packs() {
		held[p.number] = p.bytes
	}
	bytes, batches, behind, last, failed := int64(0), 0, uint64(wal.PackStep), uint64(0), uint64(0)
	for i, e := range was.all() {
		if i%chunkLength == 0 {
			if err := between(); err != nil {
				return nil, err
			}
		}
		file := e.at.File &^ wal.PackBit
		// A pack of which a part was moved stays until the rest was: there has to be room for all of it.
		splits := file != last || held[file]+bytes <= c.room
		enough := bytes >= c.store.cfg.portionBytes || batches >= c.store.cfg.portionBatches
		if splits && enough && file != failed && len(c.spent)+len(portions) < spentMax {
			number, ok := c.unused(taken, behind, file)
			if failed = file; ok {
				portions = append(portions, portion{until: i, bytes: bytes, number: number, within: last == file})
				taken[number/portionSpan] = true
				bytes, batches, behind, failed = 0, 0, number, 0
				if last != file { // The portion may stay where it is.
					behind = max(behind, last)
				}
			}
		}
		bytes, batches, last = bytes+int64(e.encoded), batches+1, file
	}
	return append(portions, portion{until: was.len(), bytes: bytes, number: c.number}), nil
}

// unused finds a number between two others, at an odd multiple of portionSpan up to the next of which no pack is or
// was: near the middle, so that the next compaction finds some on both sides.
func (c *compaction) unused(taken map[uint64]bool, behind, before uint64) (number uint64, ok bool) {
	low, high := behind/portionSpan+1, before/portionSpan
	middle := (low+high)/2 | 1
	for step := uint64(0); low < high && step <= high-low; step += 2 {
		for _, span := range [...]uint64{middle - step, middle + step} { // Below zero is above high.
			number = span * portionSpan
			if span >= low && span < high && !taken[span] && !c.spent[number] {
				return number, true
			}
		}
	}
	return 0, false
}

// usedByRuns has no number be used again of a pack that the catalog names, also of one that has gone: what dropped its
// batches may be a record of the WAL, which damage can take away.
func (d *drainer) usedByRuns() {
	for _, l := range d.store.mu.logs { // Nobody else knows the store yet.
		for _, p := range l.mu.index.packs {
			d.used(p.number)
		}
	}
}

// used has the number of a pack that a start finds not be used again when the pack is gone: a reader may still know places
// in it.
func (d *drainer) used(number uint64) {
	d.compacted = max(d.compacted, number)
	if span := number / portionSpan; span%2 == 1 && !wal.Adopted(number) {
		d.spent[span*portionSpan] = true
	}
}

// until is where the batches end that are learned, or cleaned, now.
func (c *cleaning) until() int {
	if !c.learned {
		return c.was.len()
	}
	return c.portions[0].until
}

// portion is what was cleaned of the log since the portion before it.
func (c *cleaning) portion() *cleaning {
	one := *c
	one.was = c.was.part(c.first, c.portions[0].until)
	one.partial = len(c.portions) > 1
	one.changed = c.changed || c.portions[0].within
	one.read = c.pass.Stats().Bytes - c.read
	return &one
}

// advance goes on to the next portion.
func (c *cleaning) advance() {
	c.first, c.portions = c.portions[0].until, c.portions[1:]
	c.read = c.pass.Stats().Bytes
	c.out, c.unmarked, c.changed = c.log.store.newIndex(), map[topic.Offset]bool{}, false
}

// follows goes on with the next portion of a log of which one was recorded, unless that was not to be: the
// log is another by now.
func (c *compaction) follows() bool {
	now, recorded := c.rest, len(c.done) > 0 && c.done[0].recorded
	c.rest = nil
	c.free()
	if now == nil {
		return false
	}
	if _, compacted := (*c.store.rules.Load())(now.log.partition); !recorded || !compacted {
		now.free()
		return false
	}
	c.over, c.bytes = false, 0
	c.now, c.number = now, now.portions[0].number
	c.hopesUntil = c.store.cfg.Now() + hopeMost
	c.reads = map[uint64]bool{}
	c.readsFrom(now.was.part(now.first, now.was.len()))
	return true
}

// readsFrom notes the packs in which batches lie.
func (c *compaction) readsFrom(batches listing) {
	for _, p := range batches.packs() {
		c.reads[p.number] = true
	}
}

// free gives back what is noted of logs.
func (c *compaction) free() {
	for _, one := range append(c.done, c.now, c.rest) {
		if one != nil {
			one.free()
		}
	}
	c.done, c.now, c.rest = nil, nil, nil
}

// hopeMost is how long the next portion waits for space. What the one before took the place of goes with the next
// sweeps; but what is to be read meanwhile stays, and with it what else lies in those packs.
const hopeMost = 30 * time.Second

// hopes reports whether the next portion waits for space.
func (c *compaction) hopes() bool {
	if c.hopesUntil == 0 {
		return false
	}
	free := c.store.walLog.Lasting()
	fits := c.now.portions[0].bytes <= free
	if !fits && c.store.cfg.Now() < c.hopesUntil {
		return true
	}
	c.hopesUntil, c.room, c.ventures = 0, free, !fits
	return false
}

// writes reports whether a pack of a number above one and up to another is, or will be, written.
func (c *compaction) writes(above, upTo uint64) bool {
	within := func(p portion) bool { return above < p.number && p.number <= upTo }
	for _, one := range []*cleaning{c.now, c.rest} {
		if one != nil && slices.ContainsFunc(one.portions, within) {
			return true
		}
	}
	return within(portion{number: c.number})
}
