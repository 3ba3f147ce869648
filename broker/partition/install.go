package partition

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"

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
	c.done = slices.DeleteFunc(c.done, func(one *cleaning) bool {
		begins := c.begins(one)
		if !begins {
			one.free()
		}
		return !begins
	})
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
	return ok && (!rules.Hold || c.store.cfg.mutant == TombstonesIgnoreReplicas)
}

// record makes the edits durable, and then has the logs go by them.
func (c *compaction) record(edits []catalog.Edit) error {
	if len(edits) == 0 {
		return nil
	}
	if err := c.apply(edits); err != nil {
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
	if c.log.store.Log(c.log.partition) != c.log {
		return false
	}
	left, ok := c.pin()
	for ok && left.len() > 0 {
		var n int
		if n, ok = c.compare(left); !ok {
			c.log.release()
		}
		left = left.part(n, left.len())
	}
	return ok
}

// pin keeps the log from being cut where it was compacted, and says which of its batches are left.
func (c *cleaning) pin() (left listing, ok bool) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	x := &l.mu.index
	if l.mu.failed != nil || len(l.mu.damaged) > 0 || x.len() == 0 {
		return listing{}, false
	}
	// What supersedes a portion's records may lie behind it.
	if c.divided && l.mu.cuts.count != c.cuts {
		return listing{}, false
	}
	left = c.was.part(c.was.before(x.first()), c.was.len())
	if left.len() == 0 || x.covering(left.first())+left.len() > l.mu.settled {
		return listing{}, false
	}
	l.mu.pinned = left.end()
	l.mu.dropping = topic.Offset(c.pass.Dropped())
	return left, true
}

// compare compares some of the batches with those that the log has, and says how many: nobody has to wait for all. Since the log is
// pinned, only its start may move meanwhile.
func (c *cleaning) compare(left listing) (n int, same bool) {
	some := left.next(0)
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	x := &l.mu.index
	if l.mu.failed != nil || x.len() == 0 {
		return 0, false
	}
	first := x.first()
	if gone := sort.Search(len(some), func(i int) bool { return some[i].end() > first }); gone > 0 {
		return gone, true
	}
	from := x.covering(some[0].base)
	for n = 0; n < len(some); n++ {
		if from+n >= l.mu.settled {
			return n, false
		}
		if e, now := some[n], x.at(from+n); now.base != e.base || now.at != e.at || now.count != e.count {
			return n, false
		}
	}
	return n, true
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
	if err := restoreLog(s.cfg.Catalog, drained); err != nil {
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
	runs, ok, err := s.rewritten(one)
	if err != nil || !ok {
		return nil, err
	}
	one.recorded, one.installs = true, true
	return append(edits, runs...), nil
}

// end is where the compaction of the log ended.
func (c *cleaning) end() topic.Offset { return topic.Offset(c.pass.End()) }

// rewritten are the edits that put what was compacted in the place of what the catalog has of that. It is not ok if other
// batches are there: then they lie elsewhere than was thought.
//
//	runs    | a, b, c | d, e | f, g, h | i, j
//	instead of c to f: C, F
//	become  | a, b | C, F | g, h | i, j
func (s *Store) rewritten(one *cleaning) (edits []catalog.Edit, ok bool, err error) {
	p, first, end := one.log.partition, one.was.first(), one.was.end()
	from, err := s.runBefore(p, first)
	if err != nil {
		return nil, false, err
	}
	// The catalog may have dropped the first ones, and goes on at follows behind the last.
	next, same, follows := -1, true, end
	var before, behind []extent
	split := func(e extent) {
		switch {
		case e.end() <= first:
			before = append(before, e)
		case e.base >= end:
			behind = append(behind, e)
		default:
			if next < 0 {
				next = one.was.before(e.base)
			}
			same = same && next < one.was.len()
			if same {
				was := one.was.at(next)
				same = was.base == e.base && was.at == e.at
			}
			next++
		}
	}
	err = s.cfg.Catalog.Range(from, runsEnd(p), func(key, value []byte) error {
		_, base, err := parseRunKey(key)
		switch {
		case err != nil:
			return err
		case base < end:
			return decodeRun(base, value, split)
		case len(behind) == 0:
			follows = base
		}
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, false, err
	}
	if len(behind) > 0 {
		follows = behind[0].base
	}
	if !same || follows != end || next != one.was.len() {
		return nil, false, nil
	}
	var run runs
	for _, e := range before {
		run.add(p, e)
	}
	for _, e := range newListing(one.out).all() {
		run.add(p, e)
	}
	for _, e := range behind {
		run.add(p, e)
	}
	return append([]catalog.Edit{{Key: from, Until: runKey(p, end)}}, run.done(p)...), true, nil
}

// runBefore is the key of the last run that begins at an offset or below it; the key that one would have which begins there, if there is
// none. All portions but the first begin where a run does, so that no portion has to pass over those before it.
func (s *Store) runBefore(p topic.Partition, offset topic.Offset) (key []byte, err error) {
	key, behind := runKey(p, offset), runKey(p, offset+1)
	found := false
	take := func(at, _ []byte) error {
		key, found = append(key[:0], at...), true
		return nil
	}
	if err = s.cfg.Catalog.Range(slices.Clone(key), behind, take); err != nil || found {
		return key, err
	}
	err = s.cfg.Catalog.Range(runKey(p, 0), behind, take)
	return key, err
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

// replace exchanges batches of the index, and says how many bytes less the log has. What comes in their place is made while
// nobody waits for that; it follows the log start, the only thing that may have moved when it is put there.
func (l *Log) replace(one *cleaning) (saved int64) {
	x := l.exchange(one)
	for range followsMax {
		if first, start, moved := l.moved(x); moved {
			x.follow(first, start)
		}
	}
	saved, rest := l.put(x)
	for k := range rest {
		x.fresh.giveBack(&rest[k])
	}
	return saved
}

// followsMax is how often an exchange follows the log start before it is waited for that: each time there is less to do.
const followsMax = 4

// exchange is what takes the place of some batches of a log.
type exchange struct {
	// was are the batches that the log still has of those that were compacted, which begin at first and end at end. counts are
	// their bytes in packs.
	was        listing
	first, end topic.Offset
	counts     tally
	// fresh are those that come in their place.
	fresh *index
	// saved is how many bytes less those are, room where the chunks of the index are listed anew.
	saved int64
	room  []chunk
}

// exchange makes an exchange of what was compacted, which it takes.
func (l *Log) exchange(one *cleaning) *exchange {
	out := newListing(one.out)
	one.out = nil
	x := &exchange{was: one.was, first: one.was.first(), end: one.was.end(), counts: one.was.packs(), fresh: out.x,
		saved: one.was.bytes() - out.bytes()}
	l.mu.Lock()
	chunks := len(l.mu.index.chunks)
	l.mu.Unlock()
	x.room = make([]chunk, 0, chunks+len(x.fresh.chunks)+chunkLength)
	return x
}

// moved is where the first batch of the log begins, and the log itself, if the exchange does not know that yet.
func (l *Log) moved(x *exchange) (first, start topic.Offset, moved bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.firstLocked(), l.mu.start, x.lags(l.firstLocked())
}

// lags reports whether an exchange has batches that the log has no more. Where one of those that come in their place ends, one
// of them does, so that none is left that nobody needs if the first of them is.
func (x *exchange) lags(first topic.Offset) bool { return x.was.len() > 0 && x.first < first }

// follow takes out what lies below the log start.
func (x *exchange) follow(first, start topic.Offset) {
	n := x.was.before(first)
	gone, left := x.was.part(0, n), x.was.part(n, x.was.len())
	x.counts.subtract(gone.packs())
	x.saved -= gone.bytes()
	if x.was = left; left.len() > 0 {
		x.first = left.first()
	}
	dropped := x.fresh.covering(start)
	bytes, _ := x.fresh.sum(0, dropped)
	x.saved += bytes
	x.fresh.drop(dropped)
	x.fresh.close()
}

// put puts the fresh batches in the place of the others, and returns the chunks that are not needed any more, of
// them.
func (l *Log) put(x *exchange) (saved int64, rest []chunk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failed != nil || l.mu.index.len() == 0 {
		return 0, x.fresh.chunks
	}
	if first := l.firstLocked(); x.lags(first) {
		x.fresh.hasty = false
		x.follow(first, l.mu.start)
	}
	if x.was.len() == 0 {
		return 0, x.fresh.chunks // the start has moved behind all of it
	}
	all, was, now := &l.mu.index, x.was.len(), x.fresh.len()
	from := all.covering(x.first)
	if from+was > l.mu.settled || all.at(from).base != x.first || all.at(from+was-1).end() != x.end {
		panic(fmt.Sprintf("partition %v: %d batches from %d on were compacted, and are not there any more", l.partition, was, x.first))
	}
	rest = all.splice(from, from+was, x.fresh, x.counts, x.room)
	l.mu.committed = all.covering(l.mu.highWatermark)
	l.mu.settled += now - was
	l.mu.bytes -= x.saved
	for l.mu.tail.len() > all.len()-from-now {
		l.mu.tail.pop()
	}
	// What was found damaged since the log was held lies elsewhere now, and is good there.
	l.mu.damaged = slices.DeleteFunc(l.mu.damaged, func(base topic.Offset) bool { return x.first <= base && base < x.end })
	return x.saved, rest
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
