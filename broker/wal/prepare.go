package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// fillBytes is how much is zero-filled at once. It is small, so that a group that wants the device
// never waits for more than one of these.
const fillBytes = 1 << 20

// fillPace: files are filled unless the last one was full sooner than that. To write every block twice is
// what a busy disk has no time for; an idle one answers a group sooner.
const fillPace = 4 * time.Second

// zeroBytes is what files are filled with. Nobody writes to it.
var zeroBytes = sync.OnceValue(func() []byte { return alignedBytes(fillBytes) })

// preparer makes files ahead of the writer. Whoever turns it alone touches it.
type preparer struct {
	log *Log
	// full says that the disk had no space at the last try.
	full bool
}

// run keeps files ready until ctx ends. A full disk is not an error: it tries again, and Reserve waits
// meanwhile.
func (p *preparer) run(ctx context.Context) error {
	for {
		err := p.turn(ctx)
		switch {
		case ctx.Err() != nil:
			// A file that was being filled has been given up; that is no error.
			return nil //nolint:nilerr
		case errors.Is(err, ErrNoSpace):
			if !pause(ctx, p.log.cfg.SpaceRetry) {
				return nil
			}
			continue
		case err != nil:
			return err
		case p.wanted():
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.log.makeFile:
		}
	}
}

// wanted reports whether there is one file in use and enough ahead. Those that are for what gives space back alone
// do not count: others wait for one of their own.
func (p *preparer) wanted() bool {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	files := 0
	for _, f := range p.log.mu.segments {
		if !f.relief {
			files++
		}
	}
	return files < p.log.cfg.FilesAhead+1 && !p.log.atBoundLocked()
}

// turn makes one file if one is wanted.
func (p *preparer) turn(ctx context.Context) error {
	if !p.wanted() {
		p.log.refuse(false)
		return nil
	}
	err := p.log.makeSegment(ctx)
	if errors.Is(err, ErrNoSpace) {
		p.log.refuse(true)
	}
	switch {
	case errors.Is(err, ErrNoSpace) && !p.full:
		p.full = true
		p.log.cfg.Logger.Warn("no space for the write-ahead log, appends wait", "err", err)
	case err == nil && p.full && !p.wanted():
		p.full = false
		p.log.cfg.Logger.Info("space for the write-ahead log again")
	}
	return err
}

// pause waits for d; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// makeSegment makes the next file and promises its space. Only one goroutine does this at a time:
// Open, then the preparer.
//
// The file is allocated, written through once (blocks that were written before take a direct write
// twice as fast) and synced with its header before it gets its name, and the directory is synced
// before the writer hears of it. So after a crash anywhere a named file has a valid header, and no
// group was ever written to a file whose name could be lost.
func (l *Log) makeSegment(ctx context.Context) error {
	l.mu.Lock()
	number, first, synced := l.mu.nextFile, l.mu.start.File, l.mu.synced
	l.mu.Unlock()
	relief, err := l.room()
	if err != nil {
		return fmt.Errorf("make file %d: %w", number, err)
	}
	file, name, err := l.blank(ctx, number)
	if err != nil {
		return fmt.Errorf("make file %d: %w", number, err)
	}
	if err := l.christen(file, name, number, first, synced); err != nil {
		// Its name may have changed already: then the next attempt replaces it.
		err = errors.Join(err, file.Close(), ignoreMissing(l.cfg.FS.Remove(name)))
		return fmt.Errorf("make file %d: %w", number, err)
	}
	s := &segment{
		number:   number,
		file:     file,
		capacity: l.cfg.FileBytes,
		used:     blockBytes,
		relief:   relief,
		seed:     recordSeed(number, l.cfg.Session),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.nextFile++
	l.mu.segments = append(l.mu.segments, s)
	for _, f := range l.mu.segments {
		f.relief = f.relief && relief
	}
	l.mu.ledger.setSpace(l.mu.segments)
	l.mu.ledger.grant()
	l.refuseLocked(relief)
	return nil
}

// christen gives a blank file its header and its name.
func (l *Log) christen(file File, name string, number, first, synced uint64) error {
	block := alignedBytes(blockBytes)
	putFileHeader(block, FileHeader{
		Generation: number,
		Session:    l.cfg.Session,
		Synced:     synced,
		Bytes:      l.cfg.FileBytes,
		First:      first,
	})
	if _, err := file.WriteAt(block, 0); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := l.cfg.FS.Rename(name, fileName(l.cfg.Dir, number, fileSuffix)); err != nil {
		return err
	}
	return l.cfg.FS.SyncDir(l.cfg.Dir)
}

// blank returns a file of full size: a spare, or a new one. Its blocks have all been written unless files
// are taken too fast for that.
func (l *Log) blank(ctx context.Context, number uint64) (File, string, error) {
	for {
		name, ok := l.takeSpare()
		if !ok {
			break
		}
		file, err := l.openSpare(name)
		if err != nil {
			l.giveSpares(name)
			return nil, "", err
		}
		if file != nil {
			return file, name, nil
		}
	}
	name := fileName(l.cfg.Dir, number, unfinishedSuffix)
	file, err := l.cfg.FS.Create(name, l.direct)
	if err != nil {
		return nil, "", err
	}
	taken, err := file.Allocate(l.cfg.FileBytes)
	if err == nil && (!taken || !l.hurried()) {
		err = l.zeroFill(ctx, file)
	}
	if err != nil {
		return nil, "", errors.Join(err, file.Close(), l.cfg.FS.Remove(name))
	}
	return file, name, nil
}

// hurried reports whether files are used up fast.
func (l *Log) hurried() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.rotated > 0 && l.mu.lasted < fillPace && l.cfg.Now()-l.mu.rotated < fillPace
}

// room asks whether the disk has room for one more file ahead. If it has not, and what gives space back
// needs one, that is for it alone: what Room keeps free is kept for that, as far as ReliefRoom allows.
//
// So that there is such a file as long as it takes, copies that do not give back what they take leave room for two (Lasting). What lies in a file for Relief
// is not needed any more once it is drained: it is given back with nothing copied while the next is filled, and that
// is room for the one after it.
func (l *Log) room() (relief bool, err error) {
	l.mu.Lock()
	bytes, ahead, strained := l.cfg.FileBytes, len(l.mu.segments) > 0, l.mu.ledger.strained()
	if len(l.mu.spares) > 0 {
		bytes = 0
	}
	l.mu.Unlock()
	if !ahead || l.cfg.Room == nil {
		return false, nil
	}
	if err = l.cfg.Room(bytes); !errors.Is(err, ErrNoSpace) || !strained {
		return false, err
	}
	if l.cfg.ReliefRoom != nil {
		err = l.cfg.ReliefRoom(bytes)
		return err == nil, err
	}
	return true, nil
}

// openSpare returns nil for a spare of another size, which it removes.
func (l *Log) openSpare(name string) (File, error) {
	file, err := l.cfg.FS.Open(name, l.direct)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err == nil && size == l.cfg.FileBytes {
		return file, nil
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return nil, l.cfg.FS.Remove(name)
}

func (l *Log) zeroFill(ctx context.Context, file File) error {
	zeros := zeroBytes()
	for offset := int64(0); offset < l.cfg.FileBytes; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(zeros)), l.cfg.FileBytes-offset)
		if _, err := file.WriteAt(zeros[:n], offset); err != nil {
			return err
		}
		offset += n
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
