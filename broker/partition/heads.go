package partition

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"

	"outrigger/broker/catalog"
	"outrigger/broker/topic"
)

// heads knows which batches in the catalog have a head (head.go), for the drainer, which alone edits it.
//
//	an edit of runs ──> follow ──> the edit, without the heads that were about those runs
//	runs without a head ──> mend ──> heads, in an edit of their own
type heads struct {
	of map[topic.Partition]*headed
	// due: a log has so many batches without a head that some are to be made.
	due bool
}

// headed is what of a log has a head.
type headed struct {
	// spans are in the order of their offsets, and do not overlap.
	spans []span
	// loose is about how many batches have no head.
	loose int
}

// span is the offsets of a head, and how many batches it has.
type span struct {
	base, end topic.Offset
	batches   int32
}

// looseChunks: heads are made once so many chunks' worth of batches have none.
const looseChunks = 2

// batchInRun is about what a batch takes in a run, in bytes.
const batchInRun = 6

func (h *heads) log(p topic.Partition) *headed {
	one := h.of[p]
	if one == nil {
		one = &headed{}
		h.of[p] = one
	}
	return one
}

// loosen takes in that a log has more batches without a head.
func (h *heads) loosen(p topic.Partition, batches, most int) {
	one := h.log(p)
	one.loose += batches
	h.due = h.due || one.loose >= looseChunks*most
}

// found takes in a head that a start has found, behind all others.
func (h *heads) found(at headAt) error {
	one := h.log(at.partition)
	if n := len(one.spans); n > 0 && one.spans[n-1].end > at.base {
		return fmt.Errorf("%w: heads at %d and %d of %v overlap", errCatalog, one.spans[n-1].base, at.base, at.partition)
	}
	one.spans = append(one.spans, span{base: at.base, end: at.end, batches: at.batches})
	return nil
}

// restored takes in how many batches a log has.
func (h *heads) restored(p topic.Partition, batches, most int) {
	if one := h.of[p]; one != nil {
		for _, s := range one.spans {
			batches -= int(s.batches)
		}
	}
	if batches > 0 {
		h.loosen(p, batches, most)
	}
}

// follow adds to edits that the heads go that are about the runs which they change, of logs whose chunks have so many batches.
func (h *heads) follow(edits []catalog.Edit, most int) ([]catalog.Edit, error) {
	for _, e := range edits[:len(edits):len(edits)] {
		if e.Key[0] != keyRun {
			continue
		}
		p, base, err := parseRunKey(e.Key)
		if err != nil {
			return nil, err
		}
		until := base + 1
		if e.Until != nil {
			if until, err = untilOf(e.Until); err != nil {
				return nil, err
			}
		} else {
			h.loosen(p, max(1, len(e.Value)/batchInRun), most)
		}
		one := h.of[p]
		if one == nil {
			continue
		}
		from, behind := one.touching(base, until)
		for _, gone := range one.spans[from:behind] {
			edits = append(edits, catalog.Deletion(headKey(p, gone.base)))
			h.loosen(p, int(gone.batches), most)
		}
		if one.spans = slices.Delete(one.spans, from, behind); e.Until != nil && base == 0 && until == math.MaxInt64 {
			delete(h.of, p) // All runs go.
		}
	}
	return edits, nil
}

// untilOf is the offset below which a deletion of runs has them begin.
func untilOf(key []byte) (topic.Offset, error) {
	exact := len(key) == runKeyBytes
	_, offset, err := parseRunKey(key[:min(len(key), runKeyBytes)])
	switch {
	case err != nil:
		return 0, err
	case exact:
		return offset, nil
	case offset < 0: // It is runsEnd.
		return math.MaxInt64, nil
	}
	return offset + 1, nil
}

// touching finds the spans that share offsets with those from base on and below until.
func (h *headed) touching(base, until topic.Offset) (from, behind int) {
	from = sort.Search(len(h.spans), func(i int) bool { return h.spans[i].end > base })
	behind = from + sort.Search(len(h.spans)-from, func(i int) bool { return h.spans[from+i].base >= until })
	return from, behind
}

// gaps are the offsets between heads, and those behind the last one.
func (h *headed) gaps() (all []span) {
	at := topic.Offset(0)
	for _, s := range h.spans {
		if at < s.base {
			all = append(all, span{base: at, end: s.base})
		}
		at = s.end
	}
	return append(all, span{base: at, end: math.MaxInt64})
}

func (h *headed) add(made []span) {
	if n := len(h.spans); len(made) > 0 && (n == 0 || h.spans[n-1].end <= made[0].base) {
		h.spans = append(h.spans, made...)
		return
	}
	h.spans = append(h.spans, made...)
	slices.SortFunc(h.spans, func(a, b span) int { return int(min(max(a.base-b.base, -1), 1)) })
}

// apply makes edits of the catalog durable, and takes those heads away that are not so any more.
func (d *drainer) apply(edits []catalog.Edit) error {
	followed, err := d.heads.follow(edits, d.store.cfg.ChunkBatches)
	if err != nil {
		return err
	}
	if d.store.cfg.mutant == HeadsOutliveRuns {
		followed = edits
	}
	return d.store.cfg.Catalog.Apply(followed)
}

// headsMost is how many batches get their heads by one edit.
const headsMost = 64 << 10

// mend makes heads for the logs that have many batches without one, in its share of the time: a store of very many has none when the
// format level is finalized. They wait for space.
func (d *drainer) mend() error {
	if d.heads.due && d.store.mayHead() && d.mayEdit() {
		if d.grant(&d.heading, d.store.cfg.Now(), 0); d.heading.may() {
			err := d.mendLogs(func() bool {
				d.heading.spend(d.store.cfg.Now())
				return d.heading.owes() || d.store.waits() || d.ends() != nil
			})
			if d.heading.spend(d.store.cfg.Now()); err != nil {
				return err
			}
		}
	}
	d.store.headless.Store(d.heads.due)
	return nil
}

// mendLogs is mend until it is told to stop, after an edit. The next turn goes on.
func (d *drainer) mendLogs(stop func() bool) error {
	most := d.store.cfg.ChunkBatches
	mended := false
	for _, p := range slices.SortedFunc(maps.Keys(d.heads.of), comparePartitions) {
		if d.heads.of[p].loose < looseChunks*most {
			continue
		}
		if mended && stop() {
			return nil
		}
		stopped, err := d.mendLog(p, most, stop)
		if err != nil {
			return fmt.Errorf("make heads of %v: %w", p, err)
		}
		if mended = true; stopped {
			return nil
		}
	}
	d.heads.due = false
	return nil
}

// mendLog makes the heads that a log wants for, as many at once as an edit takes.
func (d *drainer) mendLog(p topic.Partition, most int, stop func() bool) (stopped bool, err error) {
	one := d.heads.of[p]
	for _, gap := range one.gaps() {
		for at, more := gap.base, true; more; {
			g := grouping{partition: p, most: most, last: gap.end == math.MaxInt64, at: at}
			if err := d.group(&g, gap.end); err != nil {
				return false, err
			}
			if at, more = g.at, g.full; len(g.edits) > 0 {
				if err := d.store.cfg.Catalog.Apply(g.edits); err != nil {
					return false, err
				}
				one.add(g.spans)
				d.store.drained.heads.Add(int64(len(g.spans)))
			}
			if g.last && !more {
				one.loose = len(g.group)
			} else if len(g.edits) > 0 && stop() {
				return true, nil
			}
		}
	}
	return false, nil
}

// group groups the runs from where g is on, below an offset, up to as many as an edit takes.
func (d *drainer) group(g *grouping, until topic.Offset) error {
	behind := runsEnd(g.partition)
	if !g.last {
		behind = runKey(g.partition, until)
	}
	err := d.store.cfg.Catalog.Range(runKey(g.partition, g.at), behind, func(key, value []byte) error {
		if g.passed >= headsMost {
			g.end()
			g.full = true
			return errFound
		}
		_, base, err := parseRunKey(key)
		if err != nil {
			return err
		}
		return g.run(base, value)
	})
	if err != nil && !errors.Is(err, errFound) {
		return err
	}
	if !g.full && (!g.last || len(g.group) >= g.most) {
		g.end()
	}
	return nil
}

// grouping groups runs into heads.
type grouping struct {
	partition topic.Partition
	// most is how many batches a group is to have. last: what comes next may join what is left.
	most int
	last bool
	// group are the batches of whole runs that have no head yet.
	group []extent
	edits []catalog.Edit
	spans []span
	// at is where the next group begins, passed how many batches lie before that. full: that is enough for one edit.
	at     topic.Offset
	passed int
	full   bool
}

// run adds a run. One of more batches than a chunk has, as there were before there were heads, is split.
func (g *grouping) run(base topic.Offset, value []byte) error {
	var run []extent
	if err := decodeRun(base, value, func(e extent) { run = append(run, e) }); err != nil {
		return err
	}
	if n := len(g.group); n+len(run) > g.most && n >= g.most/2 {
		g.end()
	}
	if len(run) > g.most {
		g.end()
		for ; len(run) > g.most; run = run[g.most:] {
			g.split(run[:g.most])
			g.end()
		}
		g.split(run)
		return nil
	}
	g.group = append(g.group, run...)
	return nil
}

// split adds a part of a run as one of its own.
func (g *grouping) split(part []extent) {
	g.edits = append(g.edits, catalog.Edit{Key: runKey(g.partition, part[0].base), Value: encodeRun(part)})
	g.group = append(g.group, part...)
}

// end gives the group a head, if it can have one.
func (g *grouping) end() {
	n := len(g.group)
	if n == 0 {
		return
	}
	if h, ok := headOf(g.group); ok {
		g.edits = append(g.edits, catalog.Edit{Key: headKey(g.partition, h.base), Value: encodeHead(&h)})
		g.spans = append(g.spans, span{base: h.base, end: h.end, batches: h.batches})
	}
	g.at, g.passed, g.group = g.group[n-1].end(), g.passed+n, g.group[:0]
}
