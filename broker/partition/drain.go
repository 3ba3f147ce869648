package partition

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"outrigger/broker/catalog"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A drain takes the oldest sealed file of the WAL and makes it superfluous. It replays the file's
// records on top of what the catalog holds, by the very code that Open replays with, and copies the
// batches that are still needed into a pack, sorted by partition:
//
//	catalog: logs as of file n-1 ──> shadows ── replay file n ──> logs as of file n ─┐
//	file n ──> batches that are needed ──> pack, synced ──> where they lie ─────────┤
//	                                                                                v
//	live logs: extents point to the pack <── then <── one durable edit of the catalog
//	file n is retired <── at last
//
// While the disk has no time for that, the file is adopted: it becomes a pack as it is, and what is replayed
// comes from its digest (digest.go), so that nothing is read and nothing copied. Once there is time, it is
// written anew like any other pack (repack.go), sorted, and without what is not needed any more. So is a file
// that cannot be read whole (around.go).
//
// So a start restores from the catalog what the drained files said, and replays those that are left. A
// crash before the edit leaves a pack that nobody knows; one after it, files that nobody needs.
//
// What is needed is judged by what is durable: a batch below a log start that a crash could bring back
// is copied, and so is one that was cut, for its shadow meets the cut only when that is drained. One that
// is not needed stays in its shadow, and lies nowhere from then on: a record further on in the WAL drops
// it, after a restart as well.

// drainer drains. One goroutine turns it at a time.
type drainer struct {
	store *Store
	// nextPack is the number of the next pack.
	nextPack uint64
	packs    map[uint64]wal.Pack
	// doomed are packs in which no batch lies that is needed, once the group doomedBy is synced.
	doomed   []uint64
	doomedBy uint64
	// stuck: a file is damaged, and nobody knows what its records were. It is not tried again before stuckUntil, later
	// each time: stuckFor.
	stuck                bool
	stuckUntil, stuckFor time.Duration
	// full says that the last try found no space. Until fullUntil nothing is copied then that can wait, which is
	// twice as long each time: fullFor.
	full               bool
	fullUntil, fullFor time.Duration
	// given counts the pieces after which a job has given way. leftToTurn: what was due then could not be adopted.
	given      int
	leftToTurn bool
	// bad are packs that could not be written anew.
	bad map[uint64]respite
	// heads are of the catalog.
	heads heads
	// draining, repacking, compacting, heading and removing are the times that these jobs may have. pause lets time pass until they may
	// go on, and is false once that is of no use any more; nil on a clock that does not pass by itself. dirty is how crowded the
	// logs were that are to be compacted, when they were looked at last, at dirtyAt.
	// moving is the time for which a compaction has used up the rate of what it may read and write.
	draining, repacking, compacting, heading, removing allowance
	moving                                             allowance
	// removeTurn is how long is removed at once, removeUntil when something else has its turn.
	removeTurn, removeUntil time.Duration
	// hoardMost bounds what is not removed as long as the disk is busy.
	hoardMost int64
	pause     func(time.Duration) bool
	// ending reports whether the store ends; nil if somebody else sees to that.
	ending  func() bool
	dirty   float64
	dirtyAt time.Duration
	// compaction is the one under way, nil if none is. compacted is the number of the last one's pack: it is
	// not used again when that is gone, for a reader may still know places in it.
	compaction *compaction
	compacted  uint64
	// due says until when an adopted pack waits for a compaction of logs that have batches in it, 0 if it does not any more.
	due map[uint64]time.Duration
	// spent are the numbers of portions' packs, which are not used again either.
	spent map[uint64]bool
	// cramped: compactions want for space, and that was said. None begins before crampedUntil, which is twice as
	// long each time: crampedFor.
	cramped                  bool
	crampedUntil, crampedFor time.Duration
}

// moved is a batch that was copied into a pack.
type moved struct {
	base     topic.Offset
	from, to wal.Position
}

// drain is the draining of one file, or of several that are adopted together.
type drain struct {
	*drainer
	// logs and runs are the catalog as it was: one for keyLog, one for keyRun, so that each is looked into in the order of its
	// keys.
	logs, runs catalog.View
	shadows    map[topic.Partition]*shadow
	// last is the shadow of the record before, of lastOf, and need which of its batches are needed.
	last   *shadow
	lastOf topic.Partition
	need   need
	window sorter
	files  int
	// adopting is the pack that the file at hand becomes, nothing if it is copied. needed: a batch in it must
	// outlive the file. made are the packs of all files.
	adopting wal.Pack
	needed   bool
	made     []wal.Pack
	// taken counts the records that were replayed.
	taken int
}

// turn drains one file if there is one, or adopts all if that is asked for, and removes the packs that
// nobody needs any more, and those of which little is needed: these also if there is no space for the file, for then
// they are what gives it back. Where space is scarce it has given back spare files before. On a busy disk it copies only once it must,
// and where there is no room for a copy it adopts. An error that wraps wal.ErrNoSpace is for later; after any other the node has to stop.
func (d *drainer) turn(adopt bool) (drained bool, err error) {
	d.leftToTurn = false
	if err := d.dropSpares(); err != nil {
		return false, err
	}
	files := d.store.walLog.SealedFiles()
	forced := !adopt && d.lacksRoom()
	if forced {
		files = files[:1] // The edit of the catalog takes space as well.
	}
	// Something else may have had it woken while the disk has no time for copies.
	may := adopt || forced || (d.store.demand() != busy || d.store.owes()) && !d.waits() || d.store.pressed()
	if len(files) > 0 && may && !d.rests() && d.store.cfg.Catalog != nil {
		first := !adopt && !forced && d.compactsFirst(files[0])
		if first {
			files = files[:1]
		}
		copied, failed, left := d.drainFiles(files, adopt || forced || first, !forced)
		if err = failed; err == nil && first {
			d.awaitCompaction(files[0])
		}
		if damage := (*wal.Damage)(nil); errors.As(err, &damage) {
			drained, err = d.around(files[0], damage)
		} else if drained = err == nil; drained {
			if copied {
				d.hasSpace()
			}
			d.freed()
		}
		err = errors.Join(err, left)
	}
	if err != nil && !errors.Is(err, wal.ErrNoSpace) {
		return false, err
	}
	if swept := d.sweep(); swept != nil {
		return false, swept
	}
	if discarded := d.discard(); discarded != nil {
		return false, discarded
	}
	if mended := d.mend(); mended != nil {
		return false, mended
	}
	return drained, err
}

// editShare: an adoption takes one in so many bytes of a file at most, for the catalog.
const editShare = 16

// lacksRoom reports whether the oldest file cannot be copied for want of space, and may be adopted, which takes little.
// So files of which nothing is needed come back also if they lie behind others, and the log does not grow meanwhile.
func (d *drainer) lacksRoom() bool {
	sealed, ok := d.store.walLog.Sealed()
	if !ok || !d.store.mayAdopt() {
		return false
	}
	free, _ := d.store.walLog.Free()
	return d.mayEdit() && (d.waits() || sealed.Bytes > free)
}

// mayEdit reports whether there is space for an edit of the catalog that is as large as that of an adoption.
func (d *drainer) mayEdit() bool {
	free, _ := d.store.walLog.Free()
	return free >= d.store.walLog.FileBytes()/editShare
}

// drainFiles drains a file by copying what is needed of it, or adopts all that are there. Damage leaves everything as
// it was, but for what could not be removed of it: left.
func (d *drainer) drainFiles(files []uint64, adopt, copies bool) (copied bool, err, left error) {
	run, err := d.begin()
	if err != nil {
		return false, err, nil
	}
	defer func() { left = errors.Join(left, run.end()) }()
	var next wal.Start
	if adopt {
		next, err = run.adopt(files)
	}
	if copied = err == nil && run.files == 0; copied && !copies {
		err = fmt.Errorf("%w to copy a file that cannot be adopted", wal.ErrNoSpace)
	} else if copied {
		next, err = run.copy(files[0])
	}
	if err == nil {
		return copied, run.commit(next), nil
	}
	left = run.window.abandon()
	if left != nil && errors.Is(err, errEnding) { // That the store ends hides no other error.
		return false, left, nil
	}
	return false, err, left
}

// begin begins a drain. It must be ended.
func (d *drainer) begin() (*drain, error) {
	logs, err := d.store.cfg.Catalog.View()
	if err != nil {
		return nil, err
	}
	runs, err := d.store.cfg.Catalog.View()
	if err != nil {
		return nil, errors.Join(err, logs.Close())
	}
	return &drain{drainer: d, logs: logs, runs: runs, shadows: map[topic.Partition]*shadow{}}, nil
}

// end lets go of the catalog as it was.
func (d *drain) end() error {
	if d.logs == nil {
		return nil
	}
	err := errors.Join(d.logs.Close(), d.runs.Close())
	d.logs, d.runs = nil, nil
	return err
}

// adopt replays the files from their digests, as far as there are any: a catalog's edit for all of them costs
// as much as one for each. Without a digest the first is read.
func (d *drain) adopt(files []uint64) (next wal.Start, err error) {
	for _, file := range files {
		pack, behind, ok := d.store.walLog.Adoptable(file)
		if !ok || d.nextPack > file*wal.PackStep {
			return next, nil
		}
		known := d.store.digests.find(file)
		if known == nil && d.files > 0 {
			return next, nil
		}
		d.adopting, d.needed = pack, false
		d.draining.bounded = true
		d.grant(&d.draining, d.store.cfg.Now(), 0)
		if known != nil {
			next, err = behind, known.each(d.take)
		} else {
			next, err = d.store.walLog.ReadSealed(file, d.atOnce, d.take)
		}
		if err != nil {
			return next, err
		}
		if d.needed {
			d.made = append(d.made, pack)
		}
		d.files++
	}
	return next, nil
}

// atOnce is how much of a file is read at once.
func (d *drain) atOnce() int64 { return d.piece(&d.draining) }

// copy replays a file and copies what is needed of it.
func (d *drain) copy(file uint64) (next wal.Start, err error) {
	d.adopting = wal.Pack{}
	d.window = sorter{log: d.store.walLog, number: d.nextPack, moved: d.moved,
		breathe: func() error { return d.breathe(&d.draining) }}
	crowded := 0.0
	if d.store.scarce() {
		crowded = crowdedScarce
	}
	d.draining.bounded = d.store.owes()
	d.grant(&d.draining, d.store.cfg.Now(), crowded)
	if next, err = d.store.walLog.ReadSealed(file, d.atOnce, d.take); err != nil {
		return next, err
	}
	pack, err := d.window.finish()
	if pack.Number != 0 {
		d.made = append(d.made, pack)
	}
	d.files++
	return next, err
}

// takesMost is how many records are replayed until it is looked whether there is time for more: some twenty microseconds.
const takesMost = 16

// take replays a record on its shadow, and keeps a batch that is needed for the pack.
func (d *drain) take(r wal.Placed) error {
	if d.taken++; d.adopting.Number == 0 || d.taken%takesMost == 0 { // To copy takes long.
		d.relents()
		if err := d.ends(); err != nil {
			return err
		}
	}
	s, err := d.shadow(r)
	if err != nil {
		return err
	}
	if r.Kind == wal.Remove {
		*s = shadow{log: newLog(d.store, r.Partition), fresh: true, whole: true}
		return nil
	}
	if r.Kind == wal.LogStart && !s.whole && r.Base < s.from {
		return d.startsBelow(s, r.Base)
	}
	if r.Kind == wal.Data && d.adopting.Number != 0 {
		return d.adoptOne(s, r)
	}
	if err := s.log.replay(r); err != nil {
		return fmt.Errorf("drain %v: %w", r.Partition, err)
	}
	switch {
	case r.Kind != wal.Data:
		return nil
	case !d.need.has(&r):
		s.moves = append(s.moves, moved{base: r.Base, from: r.At, to: nowhere})
		return nil
	}
	return d.window.add(r)
}

// adoptOne replays a batch that becomes part of a pack where it lies.
func (d *drain) adoptOne(s *shadow, r wal.Placed) error {
	at := r.At
	if r.At = nowhere; d.need.has(&r) {
		r.At = wal.Position{File: d.adopting.Number | wal.PackBit, Offset: at.Offset}
		d.needed = true
	}
	if err := s.log.replay(r); err != nil {
		return fmt.Errorf("adopt %v at %v: %w", r.Partition, at, err)
	}
	return nil
}

// relents stops the drain once it has had its share. Brokers have the same files to adopt at the same time: where they share
// processors, nobody else would get one for as long as that takes.
func (d *drain) relents() {
	urgent := d.store.urges
	if d.adopting.Number != 0 {
		urgent = d.store.hurries
	}
	d.relent(&d.draining, urgent)
}

func (d *drain) moved(p topic.Partition, m moved) {
	s := d.shadows[p]
	s.moves = append(s.moves, m)
}

// nowhere is the place of a batch that is not needed any more.
var nowhere = wal.Position{File: wal.PackBit}

// commit makes the drain count: in the catalog, then in the live logs, then in the WAL.
func (d *drain) commit(next wal.Start) error {
	next.NextPack = max(d.nextPack, next.File*wal.PackStep)
	edits := []catalog.Edit{{Key: []byte{keyStart}, Value: encodeStart(next)}}
	for _, pack := range d.made {
		edits = append(edits, catalog.Edit{Key: packKey(pack.Number), Value: encodePack(pack)})
	}
	partitions := make([]topic.Partition, 0, len(d.shadows))
	for p := range d.shadows {
		partitions = append(partitions, p)
	}
	slices.SortFunc(partitions, comparePartitions)
	for _, p := range partitions {
		more, err := d.edits(p, d.shadows[p])
		if err != nil {
			return err
		}
		edits = append(edits, more...)
		d.relents()
	}
	if err := d.end(); err != nil {
		return err
	}
	if d.store.cfg.mutant == RetiresTooEarly {
		if err := d.store.walLog.Retire(next); err != nil {
			return err
		}
	}
	if err := d.apply(edits); err != nil {
		return fmt.Errorf("record the drain up to file %d: %w", next.File, err)
	}
	if d.store.cfg.mutant == RetiresAdopted {
		if err := d.store.walLog.Retire(next); err != nil {
			return err
		}
	}
	for _, pack := range d.made {
		d.adoptPack(pack)
	}
	for _, p := range partitions {
		if l := d.store.Log(p); l != nil {
			l.relocate(d.shadows[p].moves, live, d.relents)
			for _, pack := range d.made {
				for wal.Adopted(pack.Number) && l.adopted(pack) {
					d.relents()
				}
			}
			d.relents()
		}
	}
	d.nextPack = next.NextPack
	d.store.digests.forget(next.File - 1)
	d.store.drained.files.Add(int64(d.files))
	if err := d.store.walLog.Retire(next); err != nil {
		return fmt.Errorf("retire the files before %d: %w", next.File, err)
	}
	return nil
}

// adoptPack has the readers find what lies in a new pack.
func (d *drain) adoptPack(pack wal.Pack) {
	d.packs[pack.Number] = pack
	d.store.walLog.Adopt(pack)
	d.store.unsorted.Store(true)
	if wal.Adopted(pack.Number) {
		d.store.drained.adopted.Add(1)
	} else {
		d.store.drained.bytes.Add(pack.Bytes)
	}
	d.count()
}

// edits are what the catalog has to learn of one partition.
func (d *drain) edits(p topic.Partition, s *shadow) (edits []catalog.Edit, err error) {
	s.log.relocate(s.moves, shadowed, d.relents)
	if s.fresh {
		edits = append(edits, catalog.Edit{Key: runKey(p, 0), Until: runsEnd(p)})
	} else if edits, err = d.deadRuns(s); err != nil {
		return nil, err
	}
	if s.fresh && s.log.mu.end == 0 && !s.log.mu.producers.stale {
		return append(edits, catalog.Deletion(partitionKey(keyLog, p))), nil
	}
	var run runs
	first := 0
	if !s.fresh {
		first = s.log.mu.index.covering(s.from) // The catalog has those before.
	}
	for i := first; i < s.log.mu.index.len(); i++ {
		if i%chunkLength == 0 {
			d.relents()
		}
		e := s.log.mu.index.at(i)
		if e.at.File&wal.PackBit == 0 {
			return nil, fmt.Errorf("drain: the batch at %d of %v lies at %v, and is needed", e.base, p, e.at)
		}
		run.add(p, e)
	}
	return append(append(edits, run.done(p)...), catalog.Edit{Key: partitionKey(keyLog, p), Value: s.log.encodeLog()}), nil
}

// need says which batches of a partition must outlive their file. It may be a little old: then it is more of them.
type need struct {
	all, some bool
	// above: of some, those that reach above it.
	above topic.Offset
}

func (n *need) has(r *wal.Placed) bool { return n.all || n.some && recordEnd(r) > n.above }

// needs says that batches are needed whose partition is there, and at or above whose end no durable log start lies. Under an
// interval a loss of power can take both back, so that all is needed.
func (s *Store) needs(p topic.Partition) need {
	s.mu.RLock()
	l, removing := s.mu.logs[p], s.mu.removing[p] != removals{}
	s.mu.RUnlock()
	if s.cfg.WAL.Sync.Interval > 0 || removing {
		return need{all: true}
	}
	if l == nil {
		return need{}
	}
	return need{some: true, above: l.startDurable()}
}

// startDurable is the log start that no crash takes back.
func (l *Log) startDurable() topic.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.startDurable
}

// deadMost is how many runs are deleted one by one.
const deadMost = 16

// deadRuns are the deletions of the runs that lie wholly below the shadow's log start: of each, or of all at once if they are
// many.
func (d *drain) deadRuns(shadow *shadow) (edits []catalog.Edit, err error) {
	p, start := shadow.log.partition, shadow.log.mu.start
	if start == shadow.start { // What a compaction has made dead since the start has moved goes when it moves again.
		return nil, nil
	}
	first := runKey(p, 0)
	// A run ends where the next one begins; the last one has what the drain adds behind it.
	var last []byte
	dead := 0
	bury := func() {
		if dead++; dead <= deadMost {
			edits = append(edits, catalog.Deletion(last))
		}
	}
	err = d.runs.Range(first, runKey(p, start), func(key, _ []byte) error {
		d.relents()
		if last != nil {
			bury()
		}
		last = slices.Clone(key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if last != nil && start >= shadow.from {
		bury()
		last = runKey(p, shadow.from)
	}
	if dead > deadMost {
		edits = []catalog.Edit{{Key: first, Until: last}}
	}
	return edits, nil
}

// Quarantine is wal.Quarantine for the WAL of a Store: it knows from the catalog where that begins.
func Quarantine(cfg Config) (wal.Quarantined, error) {
	if cfg.Catalog != nil {
		err := cfg.Catalog.Range([]byte{keyStart}, []byte{keyStart + 1}, func(_, value []byte) (err error) {
			cfg.WAL.Start, err = decodeStart(value)
			return err
		})
		if err != nil {
			return wal.Quarantined{}, fmt.Errorf("quarantine node WAL: %w", err)
		}
	}
	return wal.Quarantine(cfg.WAL)
}
