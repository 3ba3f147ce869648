package partition

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"outrigger/broker/batch"
	"outrigger/broker/catalog"
	"outrigger/broker/topic"
)

// settled reports whether no crash can bring anything back that the logs had dropped when their turn was
// over. What is appended since then is not waited for: under an interval there is always something.
func (c *compaction) settled() bool {
	reported, synced := c.store.walLog.Sequences()
	if !c.over {
		c.over, c.overBy = true, reported
	}
	if synced < c.overBy {
		return false
	}
	for _, one := range c.done {
		one.log.mu.Lock()
		settled := one.log.settledLocked()
		one.log.mu.Unlock()
		if !settled {
			return false
		}
	}
	c.store.mu.RLock()
	defer c.store.mu.RUnlock()
	return len(c.store.mu.removing) == 0
}

// commit makes the compaction count: in the catalog, then in the live logs. Until both have it, the logs
// refuse to be cut into what it is about: a crash would find the cut behind batches that have no boundary
// there.
func (c *compaction) commit() error {
	c.done = slices.DeleteFunc(c.done, func(one *cleaning) bool { return !c.begins(one) })
	defer func() {
		for _, one := range c.done {
			one.log.release()
		}
	}()
	var edits []catalog.Edit
	installs := false
	for _, one := range c.done {
		more, err := c.store.compacted(one)
		if err != nil {
			return err
		}
		edits = append(edits, more...)
		installs = installs || one.installs
	}
	if !installs {
		return errors.Join(c.abandon(), c.record(edits))
	}
	pack, err := c.pack.Finish()
	if err != nil {
		return fmt.Errorf("finish a compacted pack: %w", err)
	}
	c.pack = nil // The catalog may name it from here on, whatever an error says.
	edits = append(edits, catalog.Edit{Key: packKey(pack.Number), Value: encodePack(pack)})
	c.packs[pack.Number], c.compacted = pack, max(c.compacted, pack.Number)
	c.store.walLog.Adopt(pack)
	return c.record(edits)
}

// begins holds the log, unless that has changed or what was dropped may not go. The log says what it is about to
// drop before it is asked whether a replica is out of sync: a leader who learns of one later, and then looks at
// its log, sees that; and one who has looked before has made it known that there is one.
func (c *compaction) begins(one *cleaning) bool {
	if !one.hold() {
		return false
	}
	if !c.allowed(one) {
		one.log.release()
		return false
	}
	return true
}

// allowed reports whether what a log has dropped for its age may still go. A replica that was added since, or has
// left the in-sync set, may have been sent what that ends.
func (c *compaction) allowed(one *cleaning) bool {
	if one.pass.Dropped() == 0 {
		return true
	}
	rules, ok := (*c.store.rules.Load())(one.log.partition)
	return ok && !rules.Hold
}

// record makes the edits durable, and then has the logs go by them.
func (c *compaction) record(edits []catalog.Edit) error {
	if len(edits) == 0 {
		return nil
	}
	if err := c.store.cfg.Catalog.Apply(edits); err != nil {
		return fmt.Errorf("record a compaction: %w", err)
	}
	read, saved := int64(0), int64(0)
	logs := int64(0)
	for _, one := range c.done {
		saved += one.log.install(one)
		read += one.read
		if !one.partial {
			logs++
		}
	}
	if logs > 0 { // A portion that fits says nothing of the next.
		c.cramped, c.crampedFor = false, 0
	}
	c.store.dropped.Add(1)
	c.count()
	c.store.compactions.logs.Add(logs)
	c.store.compactions.saved.Add(saved)
	c.store.cfg.Logger.Info("logs compacted", keyPartitions, len(c.done), keyBytes, read, keySaved, saved)
	return nil
}

// hold reports whether the log still has what was compacted, but for what lies below its start, and keeps
// it from being cut there until release. (A cut of what is not committed may fall there as well.)
func (c *cleaning) hold() bool {
	l := c.log
	if l.store.Log(l.partition) != l {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failed != nil || len(l.mu.damaged) > 0 || l.mu.index.len() == 0 {
		return false
	}
	// What supersedes a portion's records may lie behind it.
	if c.divided && l.mu.cuts.count != c.cuts {
		return false
	}
	gone := c.below(l.mu.index.at(0).base)
	left := c.was[gone:]
	if len(left) == 0 {
		return false
	}
	from := l.mu.index.covering(left[0].base)
	if from+len(left) > l.mu.settled {
		return false
	}
	for i, e := range left {
		if now := l.mu.index.at(from + i); now.base != e.base || now.at != e.at || now.count != e.count {
			return false
		}
	}
	l.mu.pinned = left[len(left)-1].end()
	l.mu.dropping = topic.Offset(c.pass.Dropped())
	return true
}

// below counts the batches that were there before an offset.
func (c *cleaning) below(offset topic.Offset) int {
	n, _ := slices.BinarySearchFunc(c.was, offset, func(e extent, to topic.Offset) int { return int(e.base - to) })
	return n
}

func (l *Log) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.pinned, l.mu.dropping = 0, 0
}

// compacted are the edits of the catalog for a log: its runs, and what else is known of it as of the
// drained part of the WAL. The catalog may know of more batches than the log: before those that were
// compacted, if the record that moved the log start is not drained yet, and behind them, if that of a cut
// is not. A crash comes back to them before that record drops them.
func (s *Store) compacted(one *cleaning) ([]catalog.Edit, error) {
	p := one.log.partition
	drained := newLog(s, p)
	if err := s.restoreLog(drained); err != nil {
		return nil, err
	}
	if !one.partial {
		drained.mu.compacted = one.end()
	}
	drained.mu.dropped = max(drained.mu.dropped, topic.Offset(one.pass.Dropped()))
	drained.commitLocked(one.end(), nil) // Whoever reads after a restart must find what superseded the rest.
	drained.mu.producers.transactions.forget(one.unmarked)
	edits := []catalog.Edit{{Key: partitionKey(keyLog, p), Value: drained.encodeLog()}}
	if !one.changed {
		one.recorded = true
		return edits, nil
	}
	if err := s.restoreRuns(drained); err != nil {
		return nil, err
	}
	before, behind, ok := one.beside(&drained.mu.index)
	if !ok {
		return nil, nil // Its batches lie elsewhere than was thought.
	}
	one.recorded, one.installs = true, true
	var run runs
	for _, list := range [][]extent{before, one.out, behind} {
		for _, e := range list {
			run.add(p, e)
		}
	}
	return append(append(edits, catalog.Edit{Key: runKey(p, 0), Until: runsEnd(p)}), run.done(p)...), nil
}

// end is where the compaction of the log ended.
func (c *cleaning) end() topic.Offset { return topic.Offset(c.pass.End()) }

// beside splits what the catalog has of a log around the batches that were compacted. It is not ok if they
// are not there.
func (c *cleaning) beside(x *index) (before, behind []extent, ok bool) {
	first := c.out[0].base
	last := c.out[len(c.out)-1].end()
	i := 0
	for ; i < x.len() && x.at(i).end() <= first; i++ {
		before = append(before, x.at(i))
	}
	gone := 0
	if i < x.len() {
		gone = c.below(x.at(i).base) // the catalog may have dropped them
	}
	for _, was := range c.was[gone:] {
		if i >= x.len() || x.at(i).base != was.base || x.at(i).at != was.at {
			return nil, nil, false
		}
		i++
	}
	for ; i < x.len(); i++ {
		behind = append(behind, x.at(i))
	}
	return before, behind, gone < len(c.was) && (len(behind) == 0 || behind[0].base == last)
}

// install takes in that the catalog has the compaction, and says how many bytes less the log has.
func (l *Log) install(one *cleaning) (saved int64) {
	if l.store.Log(l.partition) != l || !one.recorded {
		return 0
	}
	if one.installs {
		saved = l.replace(one)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !one.partial {
		l.mu.compacted = min(one.end(), l.mu.end)
	}
	l.mu.dropped = max(l.mu.dropped, min(topic.Offset(one.pass.Dropped()), l.mu.end))
	l.mu.producers.transactions.forget(one.unmarked)
	return saved
}

// replace exchanges batches of the index, and says how many bytes less the log has.
func (l *Log) replace(one *cleaning) (saved int64) {
	var fresh index
	l.mu.Lock()
	start := l.mu.start
	l.mu.Unlock()
	for _, e := range one.out {
		if e.end() > start {
			fresh.push(e)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failed != nil || l.mu.index.len() == 0 {
		return 0
	}
	if drop := fresh.covering(l.mu.start); drop > 0 {
		fresh.drop(drop) // the start has moved meanwhile
	}
	old := &l.mu.index
	gone := one.below(old.at(0).base)
	if gone == len(one.was) {
		return 0 // the start has moved behind all of it
	}
	from, was := old.covering(one.was[gone].base), len(one.was)-gone
	now := fresh.len()
	for i := range was {
		saved += int64(old.at(from + i).bytes)
	}
	for i := range now {
		saved -= int64(fresh.at(i).bytes)
	}
	fresh = fresh.between(old, from, from+was)
	old.reset()
	fresh.spill = old.spill
	*old = fresh
	l.mu.committed = fresh.covering(l.mu.highWatermark)
	l.mu.settled += now - was
	l.mu.bytes -= saved
	for l.mu.tail.len() > fresh.len()-from-now {
		l.mu.tail.pop()
	}
	// What was found damaged since the log was held lies elsewhere now, and is good there.
	first, rewritten := one.was[0].base, one.was[len(one.was)-1].end()
	l.mu.damaged = slices.DeleteFunc(l.mu.damaged, func(base topic.Offset) bool { return first <= base && base < rewritten })
	return saved
}

// between is x in the place of what another index has from one place up to another.
func (x index) between(old *index, from, until int) (all index) {
	add := func(y *index, from, until int) {
		for i := from; i < until; i++ {
			e := y.at(i)
			e.latest = e.newest // the index makes the running maximum of it
			all.push(e)
		}
	}
	add(old, 0, from)
	add(&x, 0, x.len())
	add(old, until, old.len())
	return all
}

// forget forgets the aborted transactions of which nothing is left, not even the marker: a reader that was
// told of one would wait for that.
func (t *transactionTable) forget(unmarked map[topic.Offset]bool) {
	if len(unmarked) == 0 {
		return
	}
	t.aborted = slices.DeleteFunc(t.aborted, func(a AbortedTransaction) bool { return unmarked[a.Last] })
}

// From is the entry from an offset on, for a follower whose log ends there: of a batch that stands for
// offsets whose records were dropped, what is left of those. Any other entry is returned as it is.
func (e Entry) From(offset topic.Offset) Entry {
	end := e.Base + topic.Offset(e.Count)
	if offset <= e.Base || offset >= end {
		return e
	}
	rest, ok := spanFrom(e.Payload, offset)
	if !ok {
		return e
	}
	e.PrevEpoch, e.Base, e.Count, e.Payload = e.Epoch, offset, int32(end-offset), rest
	return e
}

// Agrees reports whether the payload of another entry of the same offset and epoch can be that of e: they
// are the same, or compaction has taken records away from one of them.
func (e Entry) Agrees(payload []byte) bool {
	return bytes.Equal(e.Payload, payload) || batch.Agree(e.Payload, payload)
}

// spanFrom is what is left of a batch without records from an offset on.
func spanFrom(b []byte, offset topic.Offset) ([]byte, bool) {
	h, err := batch.ParseHeader(b)
	if err != nil || !h.Spans() {
		return nil, false
	}
	return batch.Span(int64(offset), h.LastOffset(), h.PartitionLeaderEpoch), true
}
