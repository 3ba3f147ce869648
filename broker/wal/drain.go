package wal

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Start is where the chain begins. Zero is the beginning of a log that was never drained.
type Start struct {
	// File is the first file that is still needed.
	File uint64
	// Sequence and CRC are those of the last group before it, which the first one there names.
	Sequence uint64
	CRC      uint32
	// NextPack is the number of the next pack that a drain makes, 65,536 for the first. One of that number
	// or a lower one that nobody knows is a leftover.
	NextPack uint64
}

func (s Start) chain() chain { return chain{sequence: s.Sequence, crc: s.CRC} }

// Sealed is the oldest file of the chain, if nothing will be written to it any more and all of it is
// durable: the one that a drain takes next. Bytes is how much of it holds groups, Waiting the same of all
// files that could be drained.
type Sealed struct {
	File           uint64
	Bytes, Waiting int64
}

// Sealed returns the file to drain next; ok is false if there is none.
func (l *Log) Sealed() (s Sealed, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.firstFileLocked(); i < len(l.mu.extents); i++ {
		if !l.sealedLocked(i) {
			continue
		}
		e := &l.mu.extents[i]
		if !ok {
			s, ok = Sealed{File: e.number, Bytes: e.end}, true
		}
		s.Waiting += e.end
	}
	return s, ok
}

// SealedFiles lists the files that can be drained, the oldest first.
func (l *Log) SealedFiles() (files []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.firstFileLocked(); i < len(l.mu.extents); i++ {
		if l.sealedLocked(i) {
			files = append(files, l.mu.extents[i].number)
		}
	}
	return files
}

// firstFileLocked is the first extent of the chain: there may be many packs, which come before.
func (l *Log) firstFileLocked() int {
	i, _ := slices.BinarySearchFunc(l.mu.extents, 0, byNumber)
	return i
}

// sealedLocked reports whether the extent is a file of the chain that nothing will be written to.
func (l *Log) sealedLocked(i int) bool {
	e := l.mu.extents[i]
	return !e.pack() && (i < len(l.mu.extents)-1 || e.session != l.cfg.Session)
}

// ChainBytes is the size of all files of the chain, those ahead included, and of the spares.
func (l *Log) ChainBytes() (chain, spares int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.mu.nextFile-l.mu.start.File) * l.cfg.FileBytes, int64(len(l.mu.spares)) * l.cfg.FileBytes
}

// Sequences tells up to which group the log was reported durable, and up to which one no loss of power
// takes it back.
func (l *Log) Sequences() (reported, synced uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.reported, l.mu.synced
}

// FileBytes is the size of a file of the chain.
func (l *Log) FileBytes() int64 { return l.cfg.FileBytes }

// BytesMax is the most that the chain may take up, the largest number if there is no bound.
func (l *Log) BytesMax() int64 {
	if l.cfg.FilesMax == 0 {
		return math.MaxInt64
	}
	return int64(l.cfg.FilesMax) * l.cfg.FileBytes
}

// ReadSealed calls fn with every record of the file that Sealed named, in order; payloads hold only
// during the call. It verifies the chain and returns where it begins behind that file, for Retire. A
// group that is not there, or not good, is a *Damage. atOnce, unless it is nil, says how many bytes may be read at once, a
// multiple of 4 KiB. One goroutine drains.
func (l *Log) ReadSealed(number uint64, atOnce func() int64, fn func(Placed) error) (next Start, err error) {
	e, ok := l.extent(number)
	if !ok {
		return Start{}, fmt.Errorf("drain file %d: %w", number, ErrNotDurable)
	}
	w := &walk{fs: l.cfg.FS, dir: l.cfg.Dir, direct: l.direct, chain: l.begin()}
	w.window.passed, w.window.atOnce = l.passed, atOnce
	f := &walked{number: number, name: l.nameOf(number), end: blockBytes}
	err = w.open(f)
	if err == nil {
		err = w.follow(f, e.end, replayGroup(fn))
	}
	if err == nil && f.end != e.end {
		err = w.stopped(f, fmt.Sprintf("group %d is missing or bad", w.chain.sequence+1))
	}
	if err = errors.Join(err, w.close()); err != nil {
		return Start{}, fmt.Errorf("drain file %d: %w", number, err)
	}
	return Start{File: number + 1, Sequence: w.chain.sequence, CRC: w.chain.crc}, nil
}

// Adoptable tells what one of the SealedFiles would be as a pack, and where the chain begins behind it,
// for Adopt and Retire. Nothing is read: what it knows is what was made durable. ok is false if a loss of
// power could still take something back.
func (l *Log) Adoptable(number uint64) (p Pack, next Start, ok bool) {
	e, ok := l.extent(number)
	_, synced := l.Sequences()
	if !ok || e.pack() || synced < e.last.sequence && l.cfg.mutant != AdoptsUnsynced {
		return Pack{}, Start{}, false
	}
	p = Pack{Number: adoptedNumber(number), Session: e.session, Bytes: e.end}
	return p, Start{File: number + 1, Sequence: e.last.sequence, CRC: e.last.crc}, true
}

// begin is the chain before the first file.
func (l *Log) begin() chain {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.start.chain()
}

// begins reports whether number is the first file of the chain that holds a group.
func (l *Log) begins(number uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.mu.extents, l.mu.start.File, byNumber)
	return i < len(l.mu.extents) && l.mu.extents[i].number == number
}

// Retire gives up the files before start: from now on the log begins there. Whoever calls it has made
// durable that it does (Config.Start), and that what was drained lies in packs. The files become spares
// or wait for Discard, but for those that were adopted. An error leaves some for the next Open to do so.
func (l *Log) Retire(start Start) error {
	l.mu.Lock()
	var adopted []uint64
	for number := l.mu.start.File; number < start.File; number++ {
		if _, is := slices.BinarySearchFunc(l.mu.extents, adoptedNumber(number)|PackBit, byNumber); is {
			adopted = append(adopted, number)
			continue
		}
		l.drained = append(l.drained, number)
	}
	l.mu.start = start
	l.mu.extents = slices.DeleteFunc(l.mu.extents, func(e extent) bool {
		return !e.pack() && e.number < start.File
	})
	l.mu.Unlock()
	var err error
	for _, number := range adopted { // Under its old number nobody finds it any more.
		l.cache.drop(number)
		err = errors.Join(err, l.handles.drop(number))
	}
	err = errors.Join(err, l.recycle())
	nudge(l.makeFile)
	return err
}

// recycle makes spares of the drained files, as many as are wanted and none while space is scarce. The others wait for
// Discard. The names are durable before anybody writes to a spare: else a crash could bring a drained file's name back
// over what was written.
func (l *Log) recycle() error {
	defer l.countWaste()
	var spares []string
	for len(l.drained) > 0 {
		number := l.drained[0]
		spare := fileName(l.cfg.Dir, number, spareSuffix)
		if !l.wantsSpare(len(spares), spare) {
			break
		}
		if err := l.forget(number); err != nil {
			return err
		}
		err := l.cfg.FS.Rename(l.nameOf(number), spare)
		if ignoreMissing(err) != nil {
			return fmt.Errorf("make a spare of drained file %d: %w", number, err)
		}
		if err == nil {
			spares = append(spares, spare)
		}
		l.drained = l.drained[1:]
	}
	if len(spares) > 0 {
		if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
			return fmt.Errorf("sync %s: %w", l.cfg.Dir, err)
		}
	}
	l.giveSpares(spares...)
	return nil
}

// wantsSpare reports whether a spare of that name is wanted beside so many that are new.
func (l *Log) wantsSpare(more int, name string) bool {
	if l.Scarce() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// A file that was ready ahead before another start may have left a spare of the same name.
	return len(l.mu.spares)+more < l.cfg.SparesMax && !slices.Contains(l.mu.spares, name)
}

// forget lets go of what is held of a drained file.
func (l *Log) forget(number uint64) error {
	l.cache.drop(number)
	if err := l.handles.drop(number); err != nil {
		return fmt.Errorf("close drained file %d: %w", number, err)
	}
	return nil
}

// Recycle makes spares of the files that were given up, as many as are wanted. Whoever drains calls it.
func (l *Log) Recycle() error { return l.recycle() }

// Discard removes one of the files that were given up, unless it can be a spare by now; false means that none is left.
// A disk that is told which blocks are free may let all who write wait meanwhile, so it is the caller who knows when.
// Whoever drains calls it. What was not discarded the next Open removes.
func (l *Log) Discard() (bool, error) {
	for {
		bytes, err := l.DiscardSome()
		if err != nil || bytes == 0 {
			return false, err
		}
		if l.going.bytes == 0 {
			return true, nil
		}
	}
}

// going is a file that is removed piece by piece.
type going struct {
	name string
	// bytes are those that are left; no file is going if there are none.
	bytes int64
}

// shrinker is an FS that can give up the end of a file. What Open finds of such a file it removes.
type shrinker interface {
	Shrink(name string, bytes int64) error
}

// DiscardSome is Discard for the next piece of a file, of which it returns the size, 0 if there is none: so all who write wait
// a little several times. Where the file system knows no pieces it is all of the file.
func (l *Log) DiscardSome() (bytes int64, err error) {
	defer l.countWaste()
	if l.going.bytes == 0 {
		if err := l.recycle(); err != nil || len(l.drained) == 0 {
			return 0, err
		}
		number := l.drained[0]
		if err := l.forget(number); err != nil {
			return 0, err
		}
		l.drained, l.going = l.drained[1:], going{name: l.nameOf(number), bytes: l.cfg.FileBytes}
	}
	if bytes, err = l.removeSome(&l.going); err != nil {
		return 0, fmt.Errorf("remove drained %s: %w", l.going.name, err)
	}
	return bytes, nil
}

// removeSome removes the next piece of a file, or all of it, and returns how much that was.
func (l *Log) removeSome(g *going) (bytes int64, err error) {
	s, ok := l.cfg.FS.(shrinker)
	if left := g.bytes - l.cfg.DiscardBytes; ok && left > 0 {
		g.bytes = left
		return l.cfg.DiscardBytes, ignoreMissing(s.Shrink(g.name, left))
	}
	bytes, g.bytes = g.bytes, 0
	return bytes, ignoreMissing(l.cfg.FS.Remove(g.name))
}

// remove removes a file of so many bytes by pieces, so that others come to the disk in between.
func (l *Log) remove(name string, bytes int64) error {
	for g := (going{name: name, bytes: bytes}); ; {
		if _, err := l.removeSome(&g); err != nil || g.bytes == 0 {
			return err
		}
	}
}

func (l *Log) countWaste() { l.waste.Store(int64(len(l.drained))*l.cfg.FileBytes + l.going.bytes) }

// Waste is the size of the files that wait for Discard.
func (l *Log) Waste() (bytes int64) { return l.waste.Load() }

// discardAll discards what there is.
func (l *Log) discardAll() error {
	for {
		if more, err := l.Discard(); err != nil || !more {
			return err
		}
	}
}

func (l *Log) takeSpare() (name string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.spares) == 0 {
		return "", false
	}
	name = l.mu.spares[0]
	l.mu.spares = l.mu.spares[1:]
	return name, true
}

func (l *Log) giveSpares(names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.spares = append(l.mu.spares, names...)
}

// DropSpare removes a spare, for somebody who finds no space; false means that there is none.
func (l *Log) DropSpare() (bool, error) {
	name, ok := l.takeSpare()
	if !ok {
		return false, nil
	}
	if err := ignoreMissing(l.cfg.FS.Remove(name)); err != nil {
		return false, fmt.Errorf("remove spare %s: %w", name, err)
	}
	return true, nil
}

// scarceFiles is below how many files of free space that is scarce, whatever Config.Space says.
const scarceFiles = 2

// Scarce reports whether space is to be given back before anything else.
func (l *Log) Scarce() bool {
	free, low := l.Free()
	return low || free < scarceFiles*l.cfg.FileBytes
}

// Free is what Config.Space tells, the largest number if nobody does: what a copy may take that has given back at least
// as much when it is done.
func (l *Log) Free() (bytes int64, low bool) {
	if l.cfg.Space == nil {
		return math.MaxInt64, false
	}
	return l.cfg.Space()
}

// reliefFiles is for how many files for Relief there is to be room at any time: one to write to, and one that follows
// before it was drained.
const reliefFiles = 2

// Lasting is what a copy may take that gives nothing back by itself: what is free, less what files for Relief may take.
func (l *Log) Lasting() int64 {
	bytes, _ := l.Free()
	if l.cfg.ReliefRoom == nil {
		return bytes
	}
	due := int64(reliefFiles)
	l.mu.Lock()
	for _, s := range l.mu.segments {
		if s.relief {
			due--
		}
	}
	l.mu.Unlock()
	return max(0, bytes-max(0, due)*l.cfg.FileBytes)
}

// Unbind lifts Config.FilesMax, for a log that cannot be drained because it is damaged: to wait would be
// to wait for ever. Bind is for when it can be drained after all.
func (l *Log) Unbind() { l.bind(false) }

// Bind takes Unbind back.
func (l *Log) Bind() { l.bind(true) }

func (l *Log) bind(bound bool) {
	l.mu.Lock()
	l.mu.unbound = !bound
	l.mu.Unlock()
	nudge(l.makeFile)
}

// atBoundLocked reports whether the chain has as many files as it may.
func (l *Log) atBoundLocked() bool {
	return l.cfg.FilesMax > 0 && !l.mu.unbound && l.mu.nextFile-l.mu.start.File >= uint64(l.cfg.FilesMax)
}
