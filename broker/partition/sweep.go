package partition

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"outrigger/broker/catalog"
	"outrigger/broker/wal"
)

// sweep removes the packs in which no batch lies that any log has, once what dropped the batches is
// durable. A crash between the two steps leaves a pack that the catalog does not name. Runs may still
// name it, until the record that dropped the batches is drained. Then it writes packs anew.
func (d *drainer) sweep() error {
	dropped := d.store.dropped.Load()
	var used map[uint64]int64
	looks := len(d.doomed) == 0 && (d.store.swept.Load() != dropped || d.store.sorts())
	from := d.store.cfg.Now()
	if looks {
		inUse, settled := d.store.packsInUse()
		if !settled {
			return nil
		}
		used = inUse
		for _, number := range slices.Sorted(maps.Keys(d.packs)) {
			if used[number] == 0 {
				d.doomed = append(d.doomed, number)
			}
		}
		slices.SortStableFunc(d.doomed, adoptedFirst)
		d.doomedBy, _ = d.store.walLog.Sequences()
		d.store.swept.Store(dropped)
		d.store.unsorted.Store(true) // Until repack has looked, too.
	}
	looked := d.store.cfg.Now() - from
	if _, synced := d.store.walLog.Sequences(); synced >= d.doomedBy {
		if err := d.removeDoomed(); err != nil {
			return err
		}
	}
	d.store.doomed.Store(len(d.doomed) > 0)
	if used != nil {
		return d.repack(used, d.store.cfg.Now()-looked)
	}
	return nil
}

// adoptedFirst orders packs: those that were adopted do not wait for removals, but become spares.
func adoptedFirst(a, b uint64) int {
	switch {
	case wal.Adopted(a) == wal.Adopted(b):
		return 0
	case wal.Adopted(a):
		return -1
	}
	return 1
}

// removeDoomed removes the packs that are doomed, those that were not adopted one by one, as many as may be.
func (d *drainer) removeDoomed() error {
	for d.beginRemoving(); len(d.doomed) > 0; {
		number := d.doomed[0]
		if !wal.Adopted(number) && !d.mayRemove() {
			break
		}
		key := packKey(number)
		if err := d.store.cfg.Catalog.Apply([]catalog.Edit{{Key: key, Until: append(packKey(number), 0)}}); err != nil {
			return fmt.Errorf("forget pack %d: %w", number, err)
		}
		bytes := d.packs[number].Bytes
		d.forget(number)
		d.doomed = d.doomed[1:]
		d.hasSpace()
		if err := d.store.walLog.RemovePack(number); err != nil {
			return fmt.Errorf("remove a pack: %w", err)
		}
		if wal.Adopted(number) { // It waits for discard.
			continue
		}
		if err := d.removed(bytes); err != nil {
			return err
		}
	}
	d.count()
	return nil
}

// forget drops what is known of a pack.
func (d *drainer) forget(number uint64) {
	delete(d.packs, number)
	delete(d.bad, number)
	delete(d.due, number)
}

// packsInUse counts the bytes of the records that are needed of each pack. It is not settled while a crash
// could bring batches back that were dropped.
func (s *Store) packsInUse() (used map[uint64]int64, settled bool) {
	s.mu.RLock()
	removing := len(s.mu.removing)
	s.mu.RUnlock()
	if removing > 0 && s.cfg.mutant != SweepsByMemory {
		return nil, false
	}
	used = map[uint64]int64{}
	for _, l := range s.snapshot() {
		if !l.packsInUse(used) {
			return nil, false
		}
	}
	return used, true
}

func (l *Log) packsInUse(used map[uint64]int64) (settled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.settledLocked() && l.store.cfg.mutant != SweepsByMemory {
		return false
	}
	for _, p := range l.mu.index.packs {
		used[p.number] += p.bytes
	}
	return true
}

// settledLocked reports whether no crash can bring batches back that were dropped, short of a loss of
// power under an interval.
func (l *Log) settledLocked() bool {
	return l.mu.cuts.pending.len() == 0 && l.mu.startDurable == l.mu.start && l.mu.resets == 0
}

// count publishes what there is, for metrics and the next tick, and lets go of packs that have waited for long enough.
func (d *drainer) count() {
	bytes := int64(0)
	for _, p := range d.packs {
		bytes += p.Bytes
	}
	after := time.Duration(0)
	for _, r := range d.bad {
		if r.until > d.store.cfg.Now() && (after == 0 || r.until < after) {
			after = r.until
		}
	}
	for number, until := range d.due {
		if until > 0 && until <= d.store.cfg.Now() {
			d.release(number)
		} else if until > 0 && (after == 0 || until < after) {
			after = until
		}
	}
	d.store.drained.badPacks.Store(int64(len(d.bad)))
	d.store.badAfter.Store(int64(after))
	d.store.drained.packs.Store(int64(len(d.packs)))
	d.store.drained.packBytes.Store(bytes)
}

// fullLeast and fullMost are how long copies wait for space that can wait.
const (
	fullLeast = 2 * time.Second
	fullMost  = time.Minute
)

// dropSpares gives the spare files of the WAL back while space is scarce.
func (d *drainer) dropSpares() error {
	for again := d.store.scarce(); again; {
		var err error
		if again, err = d.dropOne(); err != nil {
			return err
		}
	}
	return nil
}

// dropOne removes a file that waits for that, or a spare.
func (d *drainer) dropOne() (dropped bool, err error) {
	if dropped, err = d.store.walLog.Discard(); err == nil && !dropped {
		dropped, err = d.store.walLog.DropSpare()
	}
	return dropped, err
}

// scarce reports whether space is to be given back before anything else.
func (s *Store) scarce() bool { return s.walLog.Scarce() }

// hasSpace ends that anything waits for space.
func (d *drainer) hasSpace() { d.full, d.fullUntil, d.fullFor = false, 0, 0 }

// waits reports whether there was no space a short while ago.
func (d *drainer) waits() bool { return d.store.cfg.Now() < d.fullUntil }

// step is a turn that answers a full disk by making room, as far as there is a way.
func (d *drainer) step(adopt bool) (again bool, err error) {
	again, err = d.turn(adopt)
	if errors.Is(err, wal.ErrNoSpace) {
		again, err = d.makeRoom(err)
	}
	return again, err
}

// makeRoom answers a full disk: a spare file of the WAL goes, and the drain is tried again; without one
// copies wait, longer each time: to find out that there is no space costs as much as to copy. Files are adopted meanwhile.
func (d *drainer) makeRoom(full error) (again bool, err error) {
	again, err = d.dropOne()
	if !again && err == nil && !d.full {
		d.store.cfg.Logger.Warn("no space to copy what the write-ahead log holds, that waits", keyReason, full.Error())
	}
	if d.full = !again; !d.full || err != nil {
		return again, err
	}
	if !d.waits() { // What cannot wait is tried meanwhile.
		d.fullFor = min(max(fullLeast, 2*d.fullFor), fullMost)
		d.fullUntil = d.store.cfg.Now() + d.fullFor
	}
	if !d.lacksRoom() {
		return false, nil
	}
	if again, err = d.turn(false); errors.Is(err, wal.ErrNoSpace) { // A file that cannot be adopted, nor copied.
		return false, nil
	}
	return again, err
}

// DrainStats are the numbers of the drain.
type DrainStats struct {
	// Files and Bytes count what was drained since Open: files of the WAL, and bytes copied into packs.
	// Adopted are the files among them that became packs as they were.
	Files, Adopted, Bytes int64
	// Packs and PackBytes are what there is now, Repacked counts those that were written anew, Merged those that were
	// into one with others. BadPacks are those that could not be, since something is damaged there.
	Packs, PackBytes, Repacked, Merged, BadPacks int64
	// Rolled counts how often a file was to be sealed before it was full.
	Rolled int64
	// Heads are those that were made: each lets a start do without reading some hundred batches.
	Heads int64
	// SpilledBytes is what the logs know of drained batches outside of the heap.
	SpilledBytes int64
	// WaitingBytes is what could be drained, ChainBytes and SpareBytes the size of the WAL's files, WasteBytes that of
	// files that nobody needs and that were not removed yet.
	WaitingBytes, ChainBytes, SpareBytes, WasteBytes int64
	// Stuck is 1 while a file is damaged and nothing can be drained before the next start, else 0.
	Stuck int64
}

func (s *Store) drainStats() DrainStats {
	d := DrainStats{Files: s.drained.files.Load(), Adopted: s.drained.adopted.Load(), Bytes: s.drained.bytes.Load(),
		Packs: s.drained.packs.Load(), PackBytes: s.drained.packBytes.Load(),
		Repacked: s.drained.repacked.Load(), Merged: s.drained.merged.Load(), BadPacks: s.drained.badPacks.Load(),
		Rolled: s.drained.rolled.Load(), Heads: s.drained.heads.Load(), Stuck: s.drained.stuck.Load()}
	d.SpilledBytes, _ = s.cfg.Spill.Bytes()
	if s.walLog != nil {
		sealed, _ := s.walLog.Sealed()
		d.WaitingBytes = sealed.Waiting
		d.ChainBytes, d.SpareBytes = s.walLog.ChainBytes()
		d.WasteBytes = s.walLog.Waste()
	}
	return d
}

// drainPace decides when and how a drain runs. Files are copied when nothing else wants the disk, or when
// what waits takes up half of what the WAL may hold; while the disk is busy they are adopted as soon as they
// are full. It is for the goroutine that calls Tick.
type drainPace struct {
	at time.Duration
	// written and served are as of then; known: there was a then.
	written, served int64
	known           bool
	// busyUntil is until when the disk counts as busy whatever is appended, and readUntil until when it does not
	// count as idle whatever is read.
	busyUntil, readUntil time.Duration
}

// demand is how much is asked of a store beside copying.
type demand int32

const (
	loaded demand = iota
	// busy: to copy, too, would make appends wait.
	busy
	// quiet: there is time for everything, in small pieces.
	quiet
	// idle: nobody waits for the disk.
	idle
)

// The rates of appends, in bytes per second, below which a store is idle or quiet, and from which on it is busy. It is
// not quiet either while as much is read, even from memory: consumers that catch up want the processors, and a copy
// can come later.
const (
	drainIdle  = 64 << 10
	drainQuiet = 4 << 20
	drainFast  = 32 << 20
	drainRead  = drainFast
	// drainCalm is how long a busy disk counts as busy after that: to begin with something else in each gap
	// would widen the gaps.
	drainCalm = 5 * time.Second
)

// judge reports how much was appended and read since it was asked last. written and served count all bytes that
// ever were.
func (p *drainPace) judge(now time.Duration, written, served int64) demand {
	elapsed, known := now-p.at, p.known
	appended, read := written-p.written, served-p.served
	p.at, p.written, p.served, p.known = now, written, served, true
	if elapsed <= 0 || !known {
		return loaded
	}
	appends, reads := float64(appended)/elapsed.Seconds(), float64(read)/elapsed.Seconds()
	if appends >= drainFast {
		p.busyUntil = now + drainCalm
	}
	if reads >= drainRead {
		p.readUntil = now + drainCalm
	}
	switch {
	case now < p.busyUntil:
		return busy
	case appends >= drainQuiet || now < p.readUntil:
		return loaded
	case appends >= drainIdle || reads >= drainIdle:
		return quiet
	}
	return idle
}
