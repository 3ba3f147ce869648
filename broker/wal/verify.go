package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Check is a look at the files of a log that nobody has open. It reads what Open would read, by the same
// code, and every pack besides; it takes no lock and changes nothing.
type Check struct {
	// FS holds the files, ReadOnly() unless given; Dir is where they lie.
	FS  FS
	Dir string
	// Start and Packs are what Config.Start and Config.Packs would be.
	Start Start
	Packs []Pack
	// Replay is called with every record of the chain, as Config.Replay would.
	Replay func(Placed) error
	// Packed is called with every record of the packs that can be read, in their order.
	Packed func(Placed)
	// Resume is where in a pack to go on behind a record that is bad; ok is false for nowhere.
	Resume func(at Position) (next Position, ok bool)
	// Behind is called with every record that is found where a damaged chain breaks and behind that, in
	// order and without what lies in those of the broken group: they did not verify.
	Behind func(Placed)
	// Read is told how many bytes were looked at.
	Read func(bytes int64)
}

// Checked is what a Check found.
type Checked struct {
	// Damage are the places whose bytes are not what was written: those of the chain, then those of the
	// packs, each in the order of their positions.
	Damage []Damage
	// Broken: the chain is damaged, so that Replay has heard only what lies before.
	Broken bool
	// Unneeded are the files that nothing names and that nothing is lost with: what a crash left, spares,
	// what was set aside.
	Unneeded []string
	// Files and Packs were read.
	Files, Packs int
	// Groups of the chain were followed.
	Groups uint64
}

// Verify checks the log. An error means that it could not look.
func Verify(c Check) (Checked, error) {
	if c.FS == nil {
		c.FS = ReadOnly()
	}
	if c.Start.File == 0 {
		c.Start.File = 1
	}
	if c.Start.NextPack == 0 {
		c.Start.NextPack = firstPack
	}
	v := &verification{Check: c}
	if err := errors.Join(v.chain(), v.packs()); err != nil {
		return v.done, fmt.Errorf("verify write-ahead log: %w", err)
	}
	return v.done, nil
}

// CheckBytes is how many bytes a Check is going to look at.
func CheckBytes(c Check) (bytes int64, err error) {
	if c.FS == nil {
		c.FS = ReadOnly()
	}
	names, err := c.FS.List(c.Dir)
	if err != nil {
		return 0, fmt.Errorf("list %s: %w", c.Dir, err)
	}
	for _, name := range names {
		_, pack := parseName(name, packSuffix)
		number, file := parseName(name, fileSuffix)
		if !pack && (!file || number < c.Start.File) && !known(c.Packs, name) {
			continue
		}
		f, err := c.FS.Open(filepath.Join(c.Dir, name), false)
		if err != nil {
			return 0, fmt.Errorf("open %s: %w", name, err)
		}
		size, err := f.Size()
		if err := errors.Join(err, f.Close()); err != nil {
			return 0, fmt.Errorf("size of %s: %w", name, err)
		}
		bytes += size
	}
	return bytes, nil
}

// verification is one call of Verify.
type verification struct {
	Check
	done Checked
}

func (v *verification) read(bytes int64) {
	if v.Read != nil {
		v.Read(bytes)
	}
}

func (v *verification) replay(p Placed) error {
	if v.Replay == nil {
		return nil
	}
	return v.Replay(p)
}

// chain follows the chain as Open does, and once more as a dump does if it is broken: Open stops at the
// first place.
func (v *verification) chain() error {
	w, others, err := newWalk(v.FS, v.Dir, true, v.Start)
	if err != nil {
		return err
	}
	w.progress = v.read
	v.unneeded(others)
	v.done.Files = len(w.files)
	err = errors.Join(w.recover(v.replay), w.close())
	v.done.Groups = w.chain.sequence
	var first *Damage
	if !errors.As(err, &first) {
		if half := unfinished(v.Dir, others); half != nil && err == nil {
			v.done.Damage, v.done.Broken = append(v.done.Damage, *half), true
		}
		return err
	}
	v.done.Broken = true
	again, others, err := newWalk(v.FS, v.Dir, true, v.Start)
	if err != nil {
		return err
	}
	if v.Behind == nil {
		v.Behind = func(Placed) {}
	}
	if err := v.salvage(again, first.At); err != nil {
		return errors.Join(err, again.close())
	}
	d := &dump{walk: again, damage: append(again.gaps(), *first), fn: func(r DumpRecord) {
		if r.Record != nil && r.At.Compare(first.At) > 0 {
			v.Behind(Placed{Record: *r.Record, At: r.At})
		}
	}}
	if half := unfinished(v.Dir, others); half != nil {
		d.damage = append(d.damage, *half)
	}
	if err := errors.Join(d.run(), again.close()); err != nil {
		return err
	}
	v.done.Damage = append(v.done.Damage, d.damage...)
	return nil
}

// salvage tells what the records of a group that does not verify say they are.
func (v *verification) salvage(w *walk, at Position) error {
	i := w.from(at.File)
	if i == len(w.files) || w.files[i].number != at.File || at.Offset < blockBytes {
		return nil
	}
	f := w.files[i]
	if err := w.open(f); err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	end := f.size
	if h, err := w.peek(f, at.Offset); err == nil && h.Length > 0 {
		end = min(end, at.Offset+int64(h.Length))
	}
	for offset := at.Offset + groupHeaderBytes; offset < end; {
		b, err := w.window.view(offset, recordHeaderBytes)
		if isFormat(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s at byte %d: %w", f.name, offset, err)
		}
		r, n := unverified(b)
		if !r.Kind.known() || offset+n > end {
			return nil
		}
		v.Behind(Placed{Record: r, At: Position{File: at.File, Offset: offset}})
		offset += n
	}
	return nil
}

// unneeded sorts out the files that belong neither to the chain nor to the known packs.
func (v *verification) unneeded(others []string) {
	for _, name := range others {
		if known(v.Packs, name) || name == lockName || name == scrubName || strings.HasSuffix(name, mendedSuffix) {
			continue
		}
		v.done.Unneeded = append(v.done.Unneeded, filepath.Join(v.Dir, name))
	}
}

// packs reads every known pack from its first record to its last.
func (v *verification) packs() error {
	known := slices.SortedFunc(slices.Values(v.Packs), func(a, b Pack) int {
		return compareFiles(a.Number|PackBit, b.Number|PackBit)
	})
	w := &walk{fs: v.FS, dir: v.Dir, direct: true, progress: v.read}
	for _, p := range known {
		f := &walked{number: p.Number | PackBit, name: nameOf(v.Dir, p.Number|PackBit)}
		file, err := v.FS.Open(f.name, true)
		if errors.Is(err, fs.ErrNotExist) {
			v.done.Damage = append(v.done.Damage, *w.damage(f, 0, "file is missing"))
			continue
		}
		if err != nil {
			return errors.Join(fmt.Errorf("open %s: %w", f.name, err), w.close())
		}
		if err := w.window.reset(file); err != nil {
			return errors.Join(fmt.Errorf("size of %s: %w", f.name, err), w.close())
		}
		v.done.Packs++
		if err := v.pack(w, f, p); err != nil {
			return errors.Join(err, w.close())
		}
		v.read(w.window.size)
	}
	return w.close()
}

// pack reads one pack. Behind a bad record it goes on at the next one that somebody needs.
func (v *verification) pack(w *walk, f *walked, p Pack) error {
	found := func(at int64, reason string) {
		v.done.Damage = append(v.done.Damage, *w.damage(f, at, reason))
	}
	b, err := w.window.view(0, fileHeaderBytes)
	var h FileHeader
	e := p.extent()
	if err == nil {
		h, err = e.parseHeader(b)
	}
	switch {
	case err != nil && !isFormat(err):
		return fmt.Errorf("read %s: %w", f.name, err)
	case err != nil:
		found(0, "file header: "+err.Error())
	case h.Generation != e.generation() || h.Session != p.Session || !e.grouped() && h.Bytes != p.Bytes:
		found(0, "file header is of another pack than the catalog names")
	}
	tell := func(r Placed) error {
		if v.Packed != nil {
			v.Packed(r)
		}
		return nil
	}
	for at := int64(blockBytes); at < p.Bytes; {
		n, err := v.next(w, e, at, tell)
		if at += n; err == nil {
			continue
		}
		if !isFormat(err) {
			return fmt.Errorf("read %s at byte %d: %w", f.name, at, err)
		}
		found(at, err.Error())
		if v.Resume == nil {
			return nil
		}
		next, ok := v.Resume(Position{File: f.number, Offset: at})
		if !ok || next.File != f.number {
			return nil
		}
		at = next.Offset
	}
	return nil
}

// next reads what lies at one place of a pack, a record or a group, and returns how far it is good.
func (v *verification) next(w *walk, e extent, at int64, fn func(Placed) error) (int64, error) {
	if e.grouped() && at%blockBytes == 0 {
		b, err := w.window.view(at, groupHeaderBytes)
		if err != nil {
			return 0, err
		}
		if endian.Uint32(b) == groupMagic {
			return v.group(w, e, at, b, fn)
		}
	}
	r, n, err := w.record(at, e.end, e.seed())
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	n += at
	if e.grouped() && n%blockBytes != 0 {
		// Behind a bad record of a group: the next one, if there is any.
		if b, err := w.window.view(n, alignUp(n)-n); err == nil && isPadding(b) {
			n = alignUp(n)
		}
	}
	return n - at, fn(Placed{Record: r, At: Position{File: e.number, Offset: at}})
}

// group reads the group of an adopted file whose header is b. One that fails its checksum is read record by record.
func (v *verification) group(w *walk, e extent, at int64, b []byte, fn func(Placed) error) (int64, error) {
	h, err := parseGroupHeader(b)
	if err == nil && (h.Generation != life(e.number) || h.Session != e.session || at+int64(h.Length) > e.end) {
		err = errFormat
	}
	if err != nil {
		return 0, fmt.Errorf("group header: %w", err)
	}
	b, err = w.window.view(at, int64(h.Length))
	if err == nil && !h.verifies(b) {
		err = errChecksum
	}
	if err != nil {
		return 0, fmt.Errorf("group %d: %w", h.Sequence, err)
	}
	return alignUp(int64(h.Length)), eachRecord(b, &h, Position{File: e.number, Offset: at}, fn)
}

// record reads the record at a place of the open file, which ends before end, and returns how long it is.
func (w *walk) record(at, end int64, seed uint32) (Record, int64, error) {
	b, err := w.window.view(at, recordHeaderBytes)
	if err != nil {
		return Record{}, 0, err
	}
	n, err := recordLen(b)
	if err == nil && at+n > end {
		err = errShort
	}
	if err == nil {
		b, err = w.window.view(at, n)
	}
	if err != nil {
		return Record{}, 0, err
	}
	return parseRecord(b, seed)
}

// isFormat tells bytes that are wrong, or that the device does not give back, from not being able to look.
func isFormat(err error) bool {
	return errors.Is(err, errShort) || errors.Is(err, errChecksum) || errors.Is(err, errFormat) ||
		errors.Is(err, errVersion) || refusesBlock(err)
}

// FileName is the base name of the file that a position lies in.
func (p Position) FileName() string {
	return filepath.Base(nameOf("", p.File))
}
