package partition

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"outrigger/broker/catalog"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A pack in which little is needed any more is written anew, without the rest, also one with little that is not where
// space is scarce, and so is one that was adopted: the new one takes the place of the old in the order of packs.
//
//	number of a pack   where the WAL began when it was drained, as a file, times 65,536
//	                   + how often it was written anew; that of an adopted file is the file's own, + 255

const (
	// repackShare: a pack is written anew once less than one in so many of its bytes is needed.
	repackShare = 2
	// scarceShare is how much of one must be dead where space is scarce, scarceBytes of a file of the WAL at least.
	scarceShare, scarceBytes = 1.0 / 16, 1.0 / 64
	// crowdedScarce: scarce space is as if so many times what stays were dead, so packs have half of the time.
	crowdedScarce = 2.0
)

const (
	// sortTurn is how long packs are written anew until the next file of the WAL is drained, whatever their share.
	sortTurn = time.Second
	// sortsMax bounds the packs of one turn, on a clock that stands still.
	sortsMax = 8
)

// respite is how long a pack is left alone that could not be written anew. The repair of a replica takes away what is
// damaged there; where there is no other replica it stays, and each try reads the pack up to there.
type respite struct {
	until, lasts time.Duration
}

// respiteLeast and respiteMost bound a respite, which is twice as long each time.
const (
	respiteLeast = time.Minute
	respiteMost  = time.Hour
)

// repack writes packs anew that are worth it, those of which least is needed first, after a look at the packs
// that began at from. While the disk is busy it does so only if dead batches crowd it, or space is scarce.
func (d *drainer) repack(used map[uint64]int64, from time.Duration) error {
	crowded := d.crowd(used)
	if d.store.scarce() {
		crowded = max(crowded, crowdedScarce)
	}
	d.store.crowded.Store(crowded > crowdedLeast)
	d.grant(&d.repacking, from, crowded)
	may := d.repacking.may() && from >= d.fullUntil
	if may { // A look alone gets nothing done: if it were charged, one each second could keep the job from its work for ever.
		d.repacking.spend(d.store.cfg.Now())
	}
	for range sortsMax {
		numbers, next, again := d.anewNext(used)
		d.store.unsorted.Store(again)
		if len(numbers) == 0 || !may {
			break
		}
		if len(numbers) == 1 && d.defers(numbers[0]) {
			now := d.store.cfg.Now()
			d.repacking.spend(now)
			may = d.repacking.may() && now-from < sortTurn
			continue
		}
		done, err := d.rewrite(numbers, next)
		now := d.store.cfg.Now()
		d.repacking.spend(now)
		if may = d.repacking.may() && now-from < sortTurn; err != nil {
			return err
		}
		if !done && !slices.ContainsFunc(numbers, d.left) {
			break
		}
		if done {
			bytes := int64(0)
			for _, number := range numbers {
				bytes += used[number]
				delete(used, number)
			}
			used[next] = bytes
		}
	}
	d.store.sortAfter.Store(int64(max(d.repacking.due(), d.fullUntil)))
	d.count()
	return nil
}

// anewNext lists the packs to write anew now as one, and its number: one that is worth it by itself, before those that
// are to be merged. again: there are some, now or later.
func (d *drainer) anewNext(used map[uint64]int64) (numbers []uint64, next uint64, again bool) {
	number, next, again := d.worst(used)
	if number != 0 {
		return []uint64{number}, next, again
	}
	numbers, next, merges := d.merges(used)
	return numbers, next, again || merges
}

// crowd is how many times what is needed of the packs is dead in them.
func (d *drainer) crowd(used map[uint64]int64) float64 {
	var dead, needed int64
	for number, p := range d.packs {
		dead += p.RecordBytes() - used[number]
		needed += used[number]
	}
	return crowding(dead, needed, shareSlackFiles*d.store.walLog.FileBytes())
}

// worst is the pack to write anew now, and as which number; zero if none is. again: there is one, now or
// later.
func (d *drainer) worst(used map[uint64]int64) (number, next uint64, again bool) {
	least := 2.0
	for _, n := range slices.Sorted(maps.Keys(d.packs)) {
		to, worth := d.anew(n, used[n])
		if !worth || used[n] == 0 { // It is doomed.
			continue
		}
		again = true
		bytes := d.packs[n].RecordBytes()
		timely := d.store.demand() != busy || d.store.crowded.Load() && d.sparse(n, used[n])
		if free, _ := d.store.walLog.Free(); used[n] > free { // There is no room for the copy.
			timely = false
		}
		if share := float64(used[n]) / float64(bytes); timely && share < least {
			number, next, least = n, to, share
		}
	}
	return number, next, again
}

// sorts reports whether it is time to look for packs to write anew.
func (s *Store) sorts() bool {
	return s.unsorted.Load() && (s.demand() != busy || s.crowded.Load()) &&
		(s.demand() == idle || int64(s.cfg.Now()) >= s.sortAfter.Load()) // When that was found, less of the time was its own.
}

// anew reports whether a pack of which so many bytes are needed is worth writing anew, and as which number.
func (d *drainer) anew(number uint64, used int64) (next uint64, worth bool) {
	if d.holds(number) {
		return 0, false
	}
	if wal.Adopted(number) {
		next = number - number%wal.PackStep
		return next, d.vacant(next)
	}
	next, is := d.successor(number)
	return next, is && d.sparse(number, used)
}

// holds reports whether a pack stays for now: it could not be written anew, or a compaction knows where its batches lie,
// or is to come first.
func (d *drainer) holds(number uint64) bool {
	return d.left(number) || d.compaction != nil && d.compaction.reads[number] || d.awaits(number)
}

// successor is the number of what takes the place of a pack. It is not if there is none left.
func (d *drainer) successor(number uint64) (next uint64, is bool) {
	next = number + 1
	return next, next%portionSpan != 0 && !wal.Adopted(next) && d.vacant(next)
}

// vacant reports whether no pack has that number, or is about to.
func (d *drainer) vacant(number uint64) bool {
	_, taken := d.packs[number]
	return !taken && (d.compaction == nil || !d.compaction.writes(number-1, number))
}

// sparse reports whether a pack of which so many bytes are needed frees enough to be copied for that. Where space is
// scarce little is enough: what is dead is of no use where it lies.
func (d *drainer) sparse(number uint64, used int64) bool {
	bytes := d.packs[number].RecordBytes()
	if !d.store.scarce() {
		return used*repackShare <= bytes
	}
	return float64(bytes-used) >= max(scarceShare*float64(bytes), scarceBytes*float64(d.store.walLog.FileBytes()))
}

// resident is a batch that a log has in a pack.
type resident struct {
	log *Log
	extent
}

// left reports whether a pack is left alone for now.
func (d *drainer) left(number uint64) bool { return d.store.cfg.Now() < d.bad[number].until }

// leave leaves a pack alone for a while.
func (d *drainer) leave(pack uint64, err error) {
	r, known := d.bad[pack]
	if damage := (*wal.Damage)(nil); !known {
		attrs := []any{keyFile, wal.Position{File: pack | wal.PackBit}.FileName(), keyReason, err.Error()}
		if errors.As(err, &damage) {
			attrs = append(attrs, keyOffset, damage.At.Offset)
		}
		d.store.cfg.Logger.Error("pack is damaged and cannot be written anew: it keeps its space until what is damaged there "+
			"came back from another replica or is deleted, and is tried again now and then", attrs...)
	}
	r.lasts = min(max(respiteLeast, 2*r.lasts), respiteMost)
	r.until = d.store.cfg.Now() + r.lasts
	d.bad[pack] = r
}

// rewrite copies what is needed of packs, between which there are no others, into one that takes their place. Damage
// leaves them as they are: the repair of the replica takes the batch away. A crash before the edit leaves a pack that
// nobody knows, one after it those that nobody needs.
func (d *drainer) rewrite(olds []uint64, number uint64) (done bool, err error) {
	needed, settled := d.store.residents(olds[0], olds[len(olds)-1])
	if !settled || len(needed) == 0 { // The next sweep removes it.
		return false, nil
	}
	if reported, synced := d.store.walLog.Sequences(); synced < reported {
		return false, nil
	}
	pack, moves, err := d.copyResidents(needed, olds[0], number)
	if errors.Is(err, wal.ErrDamaged) {
		bad := olds[0]
		if one := (*unreadable)(nil); errors.As(err, &one) {
			bad = one.pack
		}
		d.leave(bad, err)
		return false, nil
	}
	if errors.Is(err, ErrOffsetOutOfRange) { // Something was dropped meanwhile: the next look knows.
		return false, nil
	}
	if err != nil {
		return false, err
	}
	edits := []catalog.Edit{{Key: packKey(number), Value: encodePack(pack)}}
	for _, old := range olds {
		edits = append(edits, catalog.Edit{Key: packKey(old), Until: append(packKey(old), 0)})
	}
	for _, p := range slices.SortedFunc(maps.Keys(moves), comparePartitions) {
		more, err := d.repackedRuns(p, olds, moves[p])
		if err != nil {
			return false, err
		}
		edits = append(edits, more...)
	}
	if err := d.apply(edits); err != nil {
		return false, fmt.Errorf("record that pack %d was written anew: %w", olds[0], err)
	}
	d.packs[number] = pack
	d.store.walLog.Adopt(pack)
	for p, list := range moves {
		if l := d.store.Log(p); l != nil {
			l.relocate(list, live, func() { d.relent(&d.repacking, d.store.urges) })
		}
	}
	for _, old := range olds {
		d.forget(old)
		if err := d.store.walLog.RemovePack(old); err != nil {
			return false, fmt.Errorf("remove a pack that was written anew: %w", err)
		}
	}
	if d.hasSpace(); len(olds) == 1 {
		d.store.drained.repacked.Add(1)
	} else {
		d.store.drained.merged.Add(int64(len(olds)))
	}
	return true, nil
}

// residents lists the batches that lie in a pack, or between two, by partition and offset. It is not settled while a
// crash could bring batches back that were dropped.
func (s *Store) residents(first, last uint64) (all []resident, settled bool) {
	for _, l := range s.snapshot() {
		from, until, more := wal.Position{File: first | wal.PackBit}, wal.Position{File: (last + 1) | wal.PackBit}, true
		for more {
			if all, from, more, settled = l.residents(all, from, until); !settled {
				return nil, false
			}
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return all, len(s.mu.removing) == 0
}

// residentsMost is how many batches are listed while others wait for the log.
const residentsMost = chunkLength

// residents adds some of the batches that lie between two places to a list, and says where there may be more. What was dropped since
// those before were listed is durably so by now if the log is settled.
func (l *Log) residents(all []resident, from, until wal.Position) (more []resident, next wal.Position, again, settled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.settledLocked() {
		return all, from, false, false
	}
	for i, most := l.mu.index.placed(from), len(all)+residentsMost; i < l.mu.settled; i++ {
		e := l.mu.index.at(i)
		if e.at.Compare(until) >= 0 {
			break
		}
		if len(all) == most {
			return all, e.at, true, true
		}
		all = append(all, resident{l, e})
	}
	return all, until, false, true
}

// copyResidents writes a pack of the batches that are needed of an old one.
func (d *drainer) copyResidents(
	needed []resident, old, number uint64,
) (wal.Pack, map[topic.Partition][]moved, error) {
	moves := map[topic.Partition][]moved{}
	to := sorter{log: d.store.walLog, number: number, breathe: func() error { return d.giveWay(&d.repacking) },
		moved: func(p topic.Partition, m moved) { moves[p] = append(moves[p], m) }}
	copied := d.copyEach
	if wal.Adopted(old) {
		copied = d.copyScanned
	}
	err := copied(needed, &to)
	var pack wal.Pack
	if err == nil {
		pack, err = to.finish()
	}
	if err != nil {
		return wal.Pack{}, nil, to.giveUp(fmt.Errorf("write a pack anew: %w", err))
	}
	return pack, moves, nil
}

// giveWayEvery: in between pieces it is looked each so many times whether files are due.
const giveWayEvery = 16

// giveWay is breathe for who writes a pack anew or compacts, which may take a minute of small shares: files that are due are
// adopted meanwhile. Neither touches what the other moves.
func (d *drainer) giveWay(a *allowance) error {
	if err := d.rest(a, d.store.urges, d.adoptDue); err != nil {
		return err
	}
	if d.given++; d.given%giveWayEvery == 0 {
		if err := d.adoptDue(); err != nil { // That the store ends hides no other error.
			return err
		}
		a.pass(d.store.cfg.Now(), a.share) // It was not the job's time.
	}
	return d.ends()
}

// adoptDue adopts files that are due. What it cannot is left to the next turn, which has answers.
func (d *drainer) adoptDue() error {
	if d.leftToTurn || d.rests() || !d.store.adopts() {
		return nil
	}
	files := d.store.walLog.SealedFiles()
	if len(files) == 0 {
		return nil
	}
	_, err, left := d.drainFiles(files, true, false)
	if err = errors.Join(err, left); errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrDamaged) {
		d.leftToTurn = true
		return nil
	}
	if err != nil {
		return err
	}
	d.freed()
	d.store.dropped.Add(1) // Who looks at packs now knows nothing of the new ones: they are looked at again.
	return nil
}

// unreadable is a pack of which a batch could not be read.
type unreadable struct {
	pack uint64
	err  error
}

func (u *unreadable) Error() string { return fmt.Sprintf("read pack %d: %v", u.pack, u.err) }
func (u *unreadable) Unwrap() error { return u.err }

// copyEach reads batch by batch: those of one partition lie side by side.
func (d *drainer) copyEach(needed []resident, to *sorter) error {
	for _, r := range needed {
		one := []piece{{extent: r.extent}}
		if _, err := r.log.load(one); err != nil {
			return &unreadable{pack: r.at.File &^ wal.PackBit, err: err}
		}
		if err := d.giveWay(&d.repacking); err != nil {
			return err
		}
		err := to.add(wal.Placed{At: r.at, Record: wal.Record{Kind: wal.Data, Partition: r.log.partition, Epoch: r.epoch,
			Base: r.base, Count: r.count, Payload: one[0].payload}})
		if err != nil {
			return err
		}
	}
	return nil
}

// copyScanned reads an adopted file from its beginning to its end, where the batches lie as they came.
func (d *drainer) copyScanned(needed []resident, to *sorter) error {
	slices.SortFunc(needed, func(a, b resident) int { return a.at.Compare(b.at) })
	for left := needed; len(left) > 0; {
		recs, _, err := d.store.walLog.Scan(left[0].at, int(d.piece(&d.repacking)))
		if err != nil && !errors.Is(err, wal.ErrEnd) {
			return d.lookAt(left, err)
		}
		if left, err = takeScanned(left, recs, to); errors.Is(err, wal.ErrDamaged) {
			return d.lookAt(left, err)
		}
		if err != nil {
			return err
		}
		if err := d.giveWay(&d.repacking); err != nil {
			return err
		}
	}
	return nil
}

// lookAt reads batch by batch what could not be scanned, so that it is known which of them are damaged.
func (d *drainer) lookAt(left []resident, why error) error {
	most := d.store.refusals() + refusalsMax
	for _, r := range left {
		_, err := r.log.load([]piece{{extent: r.extent}})
		if err != nil && !errors.Is(err, wal.ErrDamaged) {
			return err
		}
		if d.store.refusals() >= most {
			break
		}
	}
	return why
}

// takeScanned adds those records that are needed, of which the first is the first that is left.
func takeScanned(left []resident, recs []wal.Placed, to *sorter) ([]resident, error) {
	for _, r := range recs {
		if len(left) == 0 || r.At.Compare(left[0].at) < 0 {
			continue
		}
		want := left[0]
		if r.At != want.at {
			return left, fmt.Errorf("no record begins at %v: %w", want.at, wal.ErrDamaged)
		}
		if err := want.log.recognise(&piece{extent: want.extent}, &r.Record); err != nil {
			return left, err
		}
		if err := to.add(r); err != nil {
			return nil, err
		}
		left = left[1:]
	}
	return left, nil
}

// repackedRuns are a partition's runs in the old packs with their batches' new places. A batch that was not
// copied lies nowhere from now on: a record that is not drained yet drops it. Partitions of which nothing
// was copied keep their runs until then, as when a pack is removed.
func (d *drainer) repackedRuns(
	p topic.Partition, olds []uint64, moves []moved,
) (edits []catalog.Edit, err error) {
	to := make(map[topic.Offset]wal.Position, len(moves))
	for _, m := range moves {
		to[m.base] = m.to
	}
	var run runs // Of neighbours, too, that lie side by side now.
	err = d.store.cfg.Catalog.Range(runKey(p, 0), runsEnd(p), func(key, value []byte) error {
		_, base, err := parseRunKey(key)
		if err != nil || !slices.Contains(olds, packOfRun(value)) {
			return err
		}
		edits = append(edits, catalog.Deletion(key))
		err = decodeRun(base, value, func(e extent) {
			at, copied := to[e.base]
			if e.at = at; !copied {
				e.at = nowhere
			}
			run.add(p, e)
		})
		return err
	})
	return append(edits, run.done(p)...), err
}

// runBatches is how many batches a run has at most, so that none is large.
const runBatches = 4096

// runs gathers extents into runs.
type runs struct {
	edits []catalog.Edit
	open  []extent
}

func (r *runs) add(p topic.Partition, e extent) {
	if n := len(r.open); n > 0 && (n == runBatches || !e.continues(r.open[n-1])) {
		r.end(p)
	}
	r.open = append(r.open, e)
}

func (r *runs) end(p topic.Partition) {
	if len(r.open) > 0 {
		r.edits = append(r.edits, catalog.Edit{Key: runKey(p, r.open[0].base), Value: encodeRun(r.open)})
	}
	r.open = r.open[:0]
}

func (r *runs) done(p topic.Partition) []catalog.Edit {
	r.end(p)
	return r.edits
}
