package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Quarantined is what a Quarantine did.
type Quarantined struct {
	// Damage is what was found, the place found last first: the log now ends at or before it.
	Damage []Damage
	// Dir holds what was set aside, Files are the base names there, as they were.
	Dir   string
	Files []string
}

// quarantineName begins the name of a directory of files that were set aside; the session of the
// process that began it follows, so that no two quarantines share one.
const quarantineName = "quarantine-"

// Quarantine makes a log that Open refuses as damaged usable again: it keeps the groups before the
// damage and sets the damaged file and all later ones aside, into a directory of their own. Nothing
// is deleted or written over. What the log loses may have been acknowledged, so whoever calls this has
// before made sure that the log can never again pass for the one that acknowledged it.
//
// It is one transaction. Its commit point is the name of the file that will take the damaged one's
// place, which is complete and synced by then; everything after it can be done again:
//
//	n.new       the good groups of the damaged file n, copied, synced and verified;
//	n-s.mended  its name from now on: Open refuses the log until the rest is done;
//	aside       n.wal and all later files move to quarantine-s, in any order;
//	n.wal       the mended file takes the name, once all that is durable.
//
// A crash before the name leaves a log as damaged as before, and after it one that Open refuses as
// half set aside, whatever it looks like: a log that lost its last files shows no damage by itself.
// Either way the next Quarantine goes on, into the same directory: 1. a killed process has moved files
// there, which nobody has synced, 2. its successor finds nothing left to move, and must sync that very
// directory before it gives their names away. A log without damage is left alone.
func Quarantine(cfg Config) (Quarantined, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return Quarantined{}, fmt.Errorf("configure write-ahead log: %w", err)
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return Quarantined{}, err
	}
	q := &quarantine{cfg: cfg}
	if err := errors.Join(q.run(), lock.Close()); err != nil {
		return q.done, fmt.Errorf("quarantine write-ahead log: %w", err)
	}
	return q.done, nil
}

// quarantine is one call of Quarantine.
type quarantine struct {
	cfg    Config
	direct bool
	done   Quarantined
	// damaged is the file to replace, before the chain where it enters it.
	damaged *walked
	before  chain
}

func (q *quarantine) run() error {
	var err error
	if q.direct, err = (&Log{cfg: q.cfg}).probe(); err != nil {
		return err
	}
	m, begun, err := q.begun()
	if err != nil {
		return err
	}
	if !begun {
		if err := q.find(); err != nil || q.damaged == nil {
			return err
		}
		m = mending{number: q.damaged.number, session: q.cfg.Session.String()}
		if err := q.mend(m); err != nil {
			return fmt.Errorf("keep the good part of %s: %w", q.damaged.name, err)
		}
	}
	return q.setAside(m)
}

// mending is what the name of a mended file says: which file it replaces, and the session that began.
type mending struct {
	number  uint64
	session string
}

// String is the base name.
func (m mending) String() string { return fmt.Sprintf("%020d-%s%s", m.number, m.session, mendedSuffix) }

// parseMending reads a base name.
func parseMending(name string) (m mending, ok bool) {
	number, session, _ := strings.Cut(strings.TrimSuffix(name, mendedSuffix), "-")
	m.session = session
	m.number, ok = parseName(number, "")
	return m, ok && name == m.String()
}

// begun finds the mended file of a quarantine that was cut short.
func (q *quarantine) begun() (m mending, begun bool, err error) {
	_, others, err := newWalk(q.cfg.FS, q.cfg.Dir, q.direct, q.cfg.Start)
	if err != nil {
		return m, false, err
	}
	damage := unfinished(q.cfg.Dir, others)
	if damage == nil {
		return m, false, nil
	}
	q.done.Damage = append(q.done.Damage, *damage)
	m, begun = parseMending(filepath.Base(damage.File))
	return m, begun, nil
}

// unfinished is the damage that a quarantine leaves while it is under way, nil if there is none.
func unfinished(dir string, others []string) *Damage {
	for _, name := range others {
		if m, ok := parseMending(name); ok {
			return &Damage{At: Position{File: m.number}, File: filepath.Join(dir, name),
				Reason: "damaged files were being set aside"}
		}
	}
	return nil
}

// find walks the chain as Open does. A walk stops at the first file that it cannot read, although an
// earlier one may end in damage that only later files witness; so it walks again over the files before
// the damage, until a walk finds none.
func (q *quarantine) find() error {
	for below := uint64(0); ; {
		w, _, err := newWalk(q.cfg.FS, q.cfg.Dir, q.direct, q.cfg.Start)
		if err != nil {
			return err
		}
		if below > 0 {
			w.files, w.front = w.files[:w.from(below)], true
		}
		err = errors.Join(w.recover(nil), w.close())
		var damage *Damage
		if err == nil || !errors.As(err, &damage) {
			q.before = w.chain
			return err
		}
		q.done.Damage = slices.Insert(q.done.Damage, 0, *damage)
		below = damage.At.File
		q.damaged = &walked{number: below, name: damage.File}
		if i := w.from(below); i < len(w.files) && w.files[i].number == below {
			q.damaged = w.files[i]
		}
	}
}

// from is the index of the first file with that number or a higher one.
func (w *walk) from(number uint64) int {
	i, _ := slices.BinarySearchFunc(w.files, number, func(f *walked, n uint64) int {
		return Position{File: f.number}.Compare(Position{File: n})
	})
	return i
}

// mend makes the file that takes the damaged one's place: its header, but for the size, and its good
// groups. One without any gets a header that says nothing: the damaged one's may say of groups that
// are gone now that they were synced.
func (q *quarantine) mend(m mending) error {
	f := q.damaged
	header := FileHeader{Generation: f.number, Session: q.cfg.Session, Bytes: blockBytes}
	if f.last > 0 {
		header = f.header
		header.Bytes = f.end
	}
	fresh := fileName(q.cfg.Dir, f.number, unfinishedSuffix)
	if err := ignoreMissing(q.cfg.FS.Remove(fresh)); err != nil {
		return err
	}
	file, err := q.cfg.FS.Create(fresh, q.direct)
	if err != nil {
		return err
	}
	err = q.fill(file, header)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, ignoreMissing(q.cfg.FS.Remove(fresh)))
	}
	if err := q.verify(fresh, header); err != nil {
		return err
	}
	// The commit point.
	if err := q.cfg.FS.Rename(fresh, filepath.Join(q.cfg.Dir, m.String())); err != nil {
		return err
	}
	return q.cfg.FS.SyncDir(q.cfg.Dir)
}

// fill writes the header, and copies the groups up to where the file ends.
func (q *quarantine) fill(to File, header FileHeader) error {
	block := alignedBytes(blockBytes)
	putFileHeader(block, header)
	if _, err := to.WriteAt(block, 0); err != nil || header.Bytes == blockBytes {
		return err
	}
	from, err := q.cfg.FS.Open(q.damaged.name, q.direct)
	if err != nil {
		return err
	}
	buffer := alignedBytes(fillBytes)
	for offset := int64(blockBytes); offset < header.Bytes && err == nil; {
		b := buffer[:min(fillBytes, header.Bytes-offset)]
		if _, err = readTwice(from, b, offset, (&Log{cfg: q.cfg}).passed); err == nil {
			_, err = to.WriteAt(b, offset)
		}
		offset += int64(len(b))
	}
	return errors.Join(err, from.Close())
}

// verify reads the copy back: the chain must run through it to the very group where it ended before.
func (q *quarantine) verify(name string, header FileHeader) error {
	w := &walk{fs: q.cfg.FS, dir: q.cfg.Dir, direct: q.direct, chain: q.before}
	f := &walked{number: q.damaged.number, name: name, end: blockBytes}
	err := w.open(f)
	if err == nil {
		err = w.follow(f, f.size, replayGroup(nil))
	}
	if err := errors.Join(err, w.close()); err != nil {
		return err
	}
	if f.end != header.Bytes || f.last != q.damaged.last {
		return fmt.Errorf("the copy ends with group %d at byte %d, not with %d at %d: %w",
			f.last, f.end, q.damaged.last, header.Bytes, ErrDamaged)
	}
	return nil
}

// setAside moves the damaged file and all later ones away, and then the mended one in. All of it may
// have happened already.
func (q *quarantine) setAside(m mending) error {
	fs, dir := q.cfg.FS, q.cfg.Dir
	q.done.Dir = filepath.Join(dir, quarantineName+m.session)
	w, _, err := newWalk(fs, dir, q.direct, q.cfg.Start)
	if err != nil {
		return err
	}
	if err := fs.MakeDir(q.done.Dir); err != nil {
		return fmt.Errorf("make %s: %w", q.done.Dir, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	for _, f := range w.files[w.from(m.number):] {
		base := filepath.Base(f.name)
		if err := fs.Rename(f.name, filepath.Join(q.done.Dir, base)); err != nil {
			return fmt.Errorf("set %s aside: %w", f.name, err)
		}
		q.done.Files = append(q.done.Files, base)
	}
	// Where they are is durable before the damaged one's name is given away.
	if err := errors.Join(fs.SyncDir(q.done.Dir), fs.SyncDir(dir)); err != nil {
		return fmt.Errorf("sync %s: %w", q.done.Dir, err)
	}
	mended := filepath.Join(dir, m.String())
	if err := fs.Rename(mended, fileName(dir, m.number, fileSuffix)); err != nil {
		return fmt.Errorf("put %s in its place: %w", mended, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
