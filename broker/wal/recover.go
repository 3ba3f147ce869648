package wal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Open recovers the log in cfg.Dir and makes it ready to Run. When it returns, every record that it
// found is on stable storage, so that their ends may be told to others.
//
// An error that wraps ErrDamaged names the place; nothing has been changed or deleted then. A full
// disk is no error: Reserve waits for space.
func Open(cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure write-ahead log: %w", err)
	}
	if err := cfg.FS.MakeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("make directory of write-ahead log: %w", err)
	}
	// Without its name in the directory above, a loss of power takes the whole log.
	if err := cfg.FS.SyncDir(filepath.Dir(cfg.Dir)); err != nil {
		return nil, fmt.Errorf("sync directory above write-ahead log: %w", err)
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return nil, err
	}
	l := &Log{
		cache:    newCache(cfg.Cache),
		cfg:      cfg,
		wake:     make(chan struct{}, 1),
		makeFile: make(chan struct{}, 1),
		lock:     lock,
	}
	l.mu.oldest = never
	l.mu.ledger = newLedger(cfg)
	if err := l.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open write-ahead log: %w", err), l.Close())
	}
	return l, nil
}

// recover finds the end of the chain and leaves the directory as if the log had just been stopped
// there. Every step may be cut short by a crash and done again:
//
//	walk     changes nothing;
//	secure   syncs what the chain runs through and the directory, before anything is changed;
//	tidy     gives up the files that were ready ahead, the last one first, each with the directory
//	         synced, so that no gap in the numbers ever shows; torn bytes stay where they are;
//	new file the first file of this session, with a number that no file of the chain has.
func (l *Log) recover() error {
	direct, err := l.probe()
	if err != nil {
		return err
	}
	l.direct = direct
	w, others, err := newWalk(l.cfg.FS, l.cfg.Dir, direct, l.cfg.Start)
	if err != nil {
		return err
	}
	w.window.passed = l.passed
	if damage := unfinished(l.cfg.Dir, others); damage != nil {
		return damage
	}
	if err := errors.Join(w.recover(l.cfg.Replay), w.close()); err != nil {
		return err
	}
	if err := l.secure(w); err != nil {
		return err
	}
	if err := l.tidy(w, others); err != nil {
		return err
	}
	l.adopt(w)
	err = l.makeSegment(context.Background())
	if errors.Is(err, ErrNoSpace) {
		l.cfg.Logger.Warn("no space for the write-ahead log, appends wait", "err", err)
		return nil
	}
	return err
}

// probe finds out whether direct writes work here: some file systems refuse them only when written.
func (l *Log) probe() (bool, error) {
	if l.cfg.Direct == DirectOff {
		return false, nil
	}
	name := filepath.Join(l.cfg.Dir, probeName)
	if err := ignoreMissing(l.cfg.FS.Remove(name)); err != nil {
		return false, fmt.Errorf("probe for direct I/O: %w", err)
	}
	file, err := l.cfg.FS.Create(name, true)
	if errors.Is(err, ErrNoSpace) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("probe for direct I/O: %w", err)
	}
	granted := file.Direct()
	if granted {
		_, err := file.WriteAt(alignedBytes(blockBytes), 0)
		granted = err == nil || errors.Is(err, ErrNoSpace)
	}
	l.tellWaits(file, granted)
	if err := errors.Join(file.Close(), l.cfg.FS.Remove(name)); err != nil {
		return false, fmt.Errorf("probe for direct I/O: %w", err)
	}
	if !granted {
		l.cfg.Logger.Warn("direct I/O refused, the write-ahead log goes through the page cache",
			"dir", l.cfg.Dir)
	}
	return granted, nil
}

// tellWaits says, once, if a thread will wait for the device with every group, and why.
func (l *Log) tellWaits(file File, direct bool) {
	f, ok := file.(interface {
		waits(direct bool) (reason, fileSystem string)
	})
	if !ok || l.cfg.Sync.Interval > 0 {
		return
	}
	if reason, fileSystem := f.waits(direct); reason != "" {
		l.cfg.Logger.Info("no asynchronous writes, a thread waits for the device with every group of the write-ahead log",
			"reason", reason, "file_system", fileSystem, "dir", l.cfg.Dir)
	}
}

// recover follows the chain through all files, replays its records and judges how it ends.
func (w *walk) recover(replay func(Placed) error) error {
	w.patience = refusalsMax
	if damage := w.gaps(); len(damage) > 0 {
		return &damage[0]
	}
	for _, f := range w.files {
		if err := w.open(f); err != nil {
			return err
		}
		if err := w.follow(f, f.size, replayGroup(replay)); err != nil {
			return err
		}
		if damage := w.givesUp(); damage != nil {
			return damage
		}
		if w.progress != nil {
			w.progress(f.size)
		}
	}
	return w.judge()
}

// replayGroup decodes the records of each group even if nobody listens: a group that does not decode
// is better found now.
func replayGroup(replay func(Placed) error) func(GroupHeader, []byte, Position) error {
	if replay == nil {
		replay = func(Placed) error { return nil }
	}
	return func(h GroupHeader, b []byte, at Position) error {
		return eachRecord(b, &h, at, replay)
	}
}

// judge decides whether the chain ends in a torn tail or in damage. It ends after some group n-1;
// whatever valid is found behind that place, in this file or a later one, is a witness. If one of
// them says that n was synced, n has been lost since: damage. If none does, nobody was ever told that
// n is durable (under Always), and the tail is torn.
//
// Groups behind a torn one can be valid without saying so: they were written, and not synced, before
// the same crash, or they are leftovers that a recovery has already decided to leave behind.
//
// A block that cannot be read is never a torn tail if a group may lie there: it may have been n, acknowledged, or its
// witness. See search and forgive for where none can.
func (w *walk) judge() error {
	tail := w.tail()
	for i := max(tail, 0); i < len(w.files); i++ {
		f := w.files[i]
		if err := w.open(f); err != nil {
			return err
		}
		h, err := w.peek(f, f.end)
		if refused := (*unreadable)(nil); err != nil && !errors.As(err, &refused) {
			return err
		}
		f.used, f.doubt = h.Length > 0, err != nil
		err = w.search(f, f.end, func(h GroupHeader, _ []byte, at Position) error {
			f.used = true
			w.testify(h.Synced, fmt.Sprintf("group %d at %s byte %d", h.Sequence, f.name, at.Offset))
			return nil
		})
		if err != nil {
			return err
		}
	}
	w.forgive(tail)
	found := w.unread
	if found == nil && len(w.bad) > 0 {
		found = &w.bad[0]
	}
	if w.floor > w.chain.sequence {
		f := w.suspect(tail)
		missing := w.damage(f, f.end, fmt.Sprintf("group %d is missing or bad, but %s says that %d was synced",
			w.chain.sequence+1, w.witness, w.floor))
		if found == nil || missing.At.Compare(found.At) < 0 {
			found = missing
		}
	}
	if found == nil {
		return nil
	}
	return found
}

// forgive drops what cannot be read where no group can lie, from the tail on.
//
// Behind the empty group of a clean stop its run wrote nothing, in no file of its own. (That a file ahead can be read and
// is empty says nothing of those behind it: after a loss of power under an interval, a later run may have written there.)
func (w *walk) forgive(tail int) {
	none := func(number uint64) bool {
		return w.closed && tail >= 0 && w.files[w.from(number)].header.Session == w.files[tail].header.Session
	}
	for _, f := range w.files {
		f.doubt = f.doubt && !none(f.number)
	}
	w.bad = slices.DeleteFunc(w.bad, func(d Damage) bool { return none(d.At.File) })
	if w.unread != nil && none(w.unread.At.File) {
		w.unread = nil
	}
}

// tail is the index of the last file that the chain runs through, -1 if there is none.
func (w *walk) tail() int {
	for i := len(w.files) - 1; i >= 0; i-- {
		if w.files[i].last > 0 {
			return i
		}
	}
	return -1
}

// suspect is the file in which the group after the chain should be: the one that the chain ends in if
// anything follows there, else the next.
func (w *walk) suspect(tail int) *walked {
	if tail < 0 {
		return w.files[0]
	}
	if f := w.files[tail]; !f.used && !f.doubt && tail+1 < len(w.files) {
		return w.files[tail+1]
	}
	return w.files[tail]
}

// secure syncs every file with groups that nothing says were synced, and the directory. Until then
// they may be in the cache of the device or of the kernel only: nobody may hear of them.
func (l *Log) secure(w *walk) error {
	for _, f := range w.files {
		if f.last <= w.floor {
			continue
		}
		file, err := l.cfg.FS.Open(f.name, l.direct)
		if err != nil {
			return fmt.Errorf("open %s: %w", f.name, err)
		}
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", f.name, err)
		}
	}
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return fmt.Errorf("sync %s: %w", l.cfg.Dir, err)
	}
	return nil
}

// tidy gives up the unused files at the end and removes what was being filled.
func (l *Log) tidy(w *walk, others []string) error {
	for i := len(w.files) - 1; i > w.tail() && !w.files[i].used; i-- {
		spare := fileName(l.cfg.Dir, w.files[i].number, spareSuffix)
		if err := l.cfg.FS.Rename(w.files[i].name, spare); err != nil {
			return fmt.Errorf("give up %s: %w", w.files[i].name, err)
		}
		if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
			return fmt.Errorf("give up %s: %w", w.files[i].name, err)
		}
		l.mu.spares = append(l.mu.spares, spare)
		w.files = w.files[:i]
	}
	for _, name := range others {
		if err := l.tidyOther(name); err != nil {
			return err
		}
	}
	return l.discardAll()
}

// tidyOther takes in a file that is not of the chain. What was drained is left to discardAll.
func (l *Log) tidyOther(name string) error {
	full := filepath.Join(l.cfg.Dir, name)
	if _, ok := parseName(name, spareSuffix); ok {
		if !slices.Contains(l.mu.spares, full) {
			l.mu.spares = append(l.mu.spares, full)
		}
		return nil
	}
	if known(l.cfg.Packs, name) {
		return nil
	}
	if number, ok := parseName(name, fileSuffix); ok {
		l.drained = append(l.drained, number)
		return nil
	}
	number, pack := parseName(name, packSuffix)
	switch {
	case !pack && !strings.HasSuffix(name, unfinishedSuffix):
		return nil
	case pack && number > l.cfg.Start.NextPack:
		l.cfg.Logger.Error("pack belongs to no log that is known here, it is set aside", "file", full)
		if err := l.cfg.FS.Rename(full, full+orphanSuffix); err != nil {
			return fmt.Errorf("set %s aside: %w", full, err)
		}
		return nil
	}
	if err := l.cfg.FS.Remove(full); err != nil {
		return fmt.Errorf("remove %s: %w", full, err)
	}
	return nil
}

// adopt takes over what the walk has found.
func (l *Log) adopt(w *walk) {
	l.recovered = w.chain
	l.mu.synced, l.mu.reported = w.chain.sequence, w.chain.sequence
	l.mu.start = l.cfg.Start
	l.mu.nextFile = l.cfg.Start.File
	for _, p := range l.cfg.Packs {
		l.mu.extents = append(l.mu.extents, p.extent())
	}
	slices.SortFunc(l.mu.extents, func(a, b extent) int { return compareFiles(a.number, b.number) })
	for _, f := range w.files {
		l.mu.nextFile = f.number + 1
		if f.last > 0 {
			l.mu.extents = append(l.mu.extents,
				extent{number: f.number, session: f.header.Session, end: f.end, last: chain{f.last, f.crc}})
		}
	}
	l.replayable = append([]extent(nil), l.mu.extents[len(l.cfg.Packs):]...)
	l.cfg.Logger.Info("write-ahead log recovered", "dir", l.cfg.Dir, "groups", w.chain.sequence,
		"files", len(w.files), "end", l.endLocked().String(), "direct", l.direct)
}

// Replay calls fn with every record that Open has found, in order; payloads hold only during the
// call. It reads the files a second time: Config.Replay does the same during Open.
func (l *Log) Replay(fn func(Placed) error) error {
	w := &walk{fs: l.cfg.FS, dir: l.cfg.Dir, direct: l.direct, chain: l.cfg.Start.chain()}
	w.window.passed = l.passed
	err := errors.Join(l.replay(w, fn), w.close())
	if err != nil {
		return fmt.Errorf("replay write-ahead log: %w", err)
	}
	return nil
}

func (l *Log) replay(w *walk, fn func(Placed) error) error {
	for _, e := range l.replayable {
		name := fileName(l.cfg.Dir, e.number, fileSuffix)
		f := &walked{number: e.number, name: name, end: blockBytes}
		if err := w.open(f); err != nil {
			return err
		}
		if err := w.follow(f, e.end, replayGroup(fn)); err != nil {
			return err
		}
		if f.end != e.end {
			return w.stopped(f, fmt.Sprintf("group %d was good at open and is bad now", w.chain.sequence+1))
		}
	}
	return nil
}
