package partition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// shadow is a log as of the drained part of the WAL.
type shadow struct {
	log *Log
	// from is where the drain begins to add: what lies below has its runs in the catalog. fresh says that
	// those are of no use any more, since the log was removed, emptied or cut.
	// start is the log start that the catalog has.
	from, start topic.Offset
	fresh       bool
	// whole: the index holds all batches, not only those that the drain has added.
	whole bool
	// front is a run of the catalog, as far as it lies above a log start.
	front []extent
	moves []moved
}

// shadowBatches is how many batches of a log a file of the WAL has, or less, where there are many logs.
const shadowBatches = 16

// shadow finds the shadow of a record's partition, or restores it from the catalog. A cut, and a log start above the
// log end, need all of its batches.
func (d *drain) shadow(r wal.Placed) (*shadow, error) {
	s := d.last
	if s == nil || d.lastOf != r.Partition {
		s = d.shadows[r.Partition]
		d.last, d.lastOf, d.need = s, r.Partition, d.store.needs(r.Partition)
	}
	if s == nil {
		s = &shadow{log: newLog(d.store, r.Partition)}
		if r.Kind == wal.Data {
			s.log.mu.index.spare = make([]extent, 0, shadowBatches)
		}
		d.shadows[r.Partition], d.last = s, s
		if err := restoreLog(d.logs, s.log); err != nil {
			return nil, err
		}
		s.from, s.start = s.log.mu.end, s.log.mu.start
	}
	switch r.Kind {
	case wal.Reset:
		s.fresh, s.whole = true, true
	case wal.LogStart:
		if r.Base > s.log.mu.end {
			s.fresh = true
			return s, d.complete(s)
		}
	case wal.Truncate:
		s.fresh = s.fresh || r.Base < s.from
		return s, d.complete(s)
	}
	return s, nil
}

// errFound ends a look into the catalog.
var errFound = errors.New("found")

// startsBelow replays a log start below what the drain has added: of what was drained before it needs to know where the
// first batch begins that reaches above it.
func (d *drain) startsBelow(s *shadow, start topic.Offset) error {
	if start <= s.log.mu.start {
		return nil
	}
	if len(s.log.mu.epochs) < 2 { // Then nothing depends on the first batch.
		s.log.startBefore(start, start)
		return nil
	}
	above := func(e extent, start topic.Offset) int { return cmp.Compare(e.end(), start+1) }
	i, _ := slices.BinarySearchFunc(s.front, start, above)
	if i == len(s.front) {
		if err := d.findFront(s, start); err != nil {
			return fmt.Errorf("drain the log start %d of %v: %w", start, s.log.partition, err)
		}
		i = 0
	}
	first := s.log.first()
	if len(s.front) > 0 {
		first = s.front[i].base
	}
	s.log.startBefore(start, first)
	return nil
}

// findFront finds the first run that reaches above a log start. It looks at those that go, and at one more, however long
// the log is.
func (d *drain) findFront(s *shadow, start topic.Offset) error {
	p, from := s.log.partition, topic.Offset(0)
	if n := len(s.front); n > 0 {
		from = s.front[n-1].end()
	}
	s.front = s.front[:0]
	err := d.runs.Range(runKey(p, from), runKey(p, s.from), func(key, value []byte) error {
		d.relents()
		_, base, err := parseRunKey(key)
		if err == nil {
			err = decodeRun(base, value, func(e extent) {
				if e.end() > start {
					s.front = append(s.front, e)
				}
			})
		}
		if err == nil && len(s.front) > 0 {
			return errFound
		}
		return err
	})
	if errors.Is(err, errFound) {
		return nil
	}
	return err
}

// complete gives a shadow the batches that were drained before.
func (d *drain) complete(s *shadow) error {
	if s.whole {
		return nil
	}
	added := s.log.mu.index
	s.log.mu.index, s.log.mu.bytes, s.whole = index{extents: added.extents}, 0, true
	if err := d.store.restoreRuns(d.runs, s.log, d.relents); err != nil {
		return err
	}
	for i := range added.len() {
		e := added.at(i)
		s.log.mu.index.push(e)
		s.log.mu.bytes += int64(e.bytes)
	}
	s.log.recount()
	return nil
}
