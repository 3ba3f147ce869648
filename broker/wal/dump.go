package wal

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// DumpRecord is one thing found in the log's files: exactly one of File, Group and Record is set. A
// record's payload holds only during the call.
type DumpRecord struct {
	At Position
	// Bytes that it takes there, without padding.
	Bytes  int64
	File   *FileHeader
	Group  *GroupHeader
	Record *Record
	// Name of the file.
	Name string
}

// Dump reads every pack and every file of the chain in dir, verifies every checksum, and calls fn with all that is valid, in the
// order of the files: also what a recovery would leave behind, such as groups behind a torn one. It
// returns the places where bytes are missing or bad that were synced; a torn tail is none. It takes
// no lock and changes nothing, so it can look at a log in use, whose tail may then move under it.
func Dump(fs FS, dir string, fn func(DumpRecord)) (damage []Damage, err error) {
	w, others, err := newWalk(fs, dir, true, Start{})
	if err != nil {
		return nil, fmt.Errorf("dump write-ahead log: %w", err)
	}
	if err := w.adoptStart(others); err != nil {
		return nil, errors.Join(fmt.Errorf("dump write-ahead log: %w", err), w.close())
	}
	d := &dump{walk: w, fn: fn, adopted: w.adopted(), damage: w.gaps()}
	if damage := unfinished(dir, others); damage != nil {
		d.damage = append(d.damage, *damage)
	}
	if err := errors.Join(d.packs(others), d.run(), w.close()); err != nil {
		return nil, fmt.Errorf("dump write-ahead log: %w", err)
	}
	return d.damage, nil
}

// adoptStart takes the first file that there is for the beginning of the chain, if anything shows that
// files were drained: only the owner of the log knows more.
func (w *walk) adoptStart(others []string) error {
	w.start.File = 1
	if n := len(w.files); n == 0 || w.files[n-1].number == uint64(n) {
		return nil
	}
	w.drained = slices.ContainsFunc(others, func(name string) bool {
		_, ok := parseName(name, packSuffix)
		return ok
	})
	for _, f := range w.files {
		if w.drained {
			break
		}
		if err := w.open(f); err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		w.drained = f.header.First > 1
	}
	if w.drained {
		w.start.File = w.files[0].number
	}
	return nil
}

// adopted takes out the files before the chain: those that were adopted. Only the owner knows which they are;
// where files were drained, they are those before a gap.
func (w *walk) adopted() (adopted []*walked) {
	for i := len(w.files) - 1; i > 0; i-- {
		if w.drained && w.files[i].number != w.files[i-1].number+1 {
			adopted, w.files = w.files[:i], w.files[i:]
			w.start.File = w.files[0].number
			break
		}
	}
	return adopted
}

// dump remembers a little of each valid group, to follow the chain when all has been seen.
type dump struct {
	walk   *walk
	fn     func(DumpRecord)
	groups []link
	damage []Damage
	// adopted are files that are not of the chain any more.
	adopted []*walked
}

// link is a valid group as the chain sees it.
type link struct {
	at       Position
	end      int64
	chain    chain
	previous uint32
}

func (d *dump) run() error {
	for _, f := range d.adopted {
		if err := d.file(f); err != nil {
			return err
		}
	}
	d.groups = nil
	for _, f := range d.walk.files {
		if err := d.file(f); err != nil {
			return err
		}
	}
	if err := d.judge(); err != nil {
		return err
	}
	sort.SliceStable(d.damage, func(i, k int) bool {
		return d.damage[i].At.Compare(d.damage[k].At) < 0
	})
	d.damage = slices.CompactFunc(d.damage, func(a, b Damage) bool { return a.At == b.At })
	for _, bad := range d.walk.bad {
		d.unreadable(bad)
	}
	return nil
}

// unreadable takes in blocks that cannot be read, which may be why the chain breaks there.
func (d *dump) unreadable(bad Damage) {
	i, found := slices.BinarySearchFunc(d.damage, bad.At, func(x Damage, at Position) int { return x.At.Compare(at) })
	if !found {
		i--
	}
	if i < 0 || d.damage[i].At.File != bad.At.File || d.groupBetween(d.damage[i].At, bad.At) {
		d.damage = slices.Insert(d.damage, i+1, bad)
		return
	}
	if broken := &d.damage[i]; !strings.Contains(broken.Reason, bad.Reason) {
		broken.Reason += "; " + bad.Reason
	}
}

// groupBetween reports whether a good group lies between two places of a file.
func (d *dump) groupBetween(from, to Position) bool {
	return slices.ContainsFunc(d.groups, func(g link) bool { return g.at.Compare(from) >= 0 && g.at.Compare(to) < 0 })
}

// packs goes through the packs, which lie before the files of the chain.
func (d *dump) packs(others []string) error {
	for _, name := range others {
		number, ok := parseName(name, packSuffix)
		if !ok {
			continue
		}
		f := &walked{number: number | PackBit, name: fileName(d.walk.dir, number, packSuffix)}
		file, err := d.walk.fs.Open(f.name, d.walk.direct)
		if err != nil {
			return fmt.Errorf("open %s: %w", f.name, err)
		}
		if err := d.walk.window.reset(file); err != nil {
			return fmt.Errorf("size of %s: %w", f.name, err)
		}
		at, err := d.pack(f)
		if isFormat(err) && !errors.Is(err, errVersion) {
			d.damage = append(d.damage, *d.walk.damage(f, at, err.Error()))
		} else if err != nil {
			return fmt.Errorf("read %s at byte %d: %w", f.name, at, err)
		}
	}
	return nil
}

// pack goes through one pack, as far as it can be read, and returns where it stopped.
func (d *dump) pack(f *walked) (at int64, err error) {
	b, err := d.walk.window.view(0, fileHeaderBytes)
	if err != nil {
		return 0, err
	}
	header, err := parsePackHeader(b)
	if err == nil && header.Generation != f.number&^PackBit {
		err = errFormat
	}
	if err != nil {
		return 0, err
	}
	d.fn(DumpRecord{At: Position{File: f.number}, Bytes: fileHeaderBytes, File: &header, Name: f.name})
	seed := recordSeed(f.number, header.Session)
	for at = blockBytes; at < header.Bytes; {
		if b, err = d.walk.window.view(at, recordHeaderBytes); err != nil {
			return at, err
		}
		n, err := recordLen(b)
		if err == nil {
			b, err = d.walk.window.view(at, n)
		}
		if err != nil {
			return at, err
		}
		r, _, err := parseRecord(b, seed)
		if err != nil {
			return at, err
		}
		d.fn(DumpRecord{At: Position{File: f.number, Offset: at}, Bytes: n, Record: &r, Name: f.name})
		at += n
	}
	return at, nil
}

func (d *dump) file(f *walked) error {
	err := d.walk.open(f)
	var damage *Damage
	if errors.As(err, &damage) {
		d.damage = append(d.damage, *damage)
	} else if err != nil {
		return err
	}
	if f.header.Generation != f.number {
		// Without a header the session is unknown, and with it which groups belong here.
		return nil
	}
	header := f.header
	d.fn(DumpRecord{At: Position{File: f.number}, Bytes: fileHeaderBytes, File: &header, Name: f.name})
	return d.walk.search(f, blockBytes, func(h GroupHeader, b []byte, at Position) error {
		return d.group(f, h, b, at)
	})
}

func (d *dump) group(f *walked, h GroupHeader, b []byte, at Position) error {
	d.walk.testify(h.Synced, fmt.Sprintf("group %d at %s byte %d", h.Sequence, f.name, at.Offset))
	d.groups = append(d.groups, link{
		at:       at,
		end:      at.Offset + alignUp(int64(h.Length)),
		chain:    chain{sequence: h.Sequence, crc: h.CRC},
		previous: h.Previous,
	})
	d.fn(DumpRecord{At: at, Bytes: int64(h.Length), Group: &h, Name: f.name})
	err := eachRecord(b, &h, at, func(p Placed) error {
		d.fn(DumpRecord{At: p.At, Bytes: EncodedLen(p.Record), Record: &p.Record, Name: f.name})
		return nil
	})
	if damage := (*Damage)(nil); errors.As(d.walk.located(f, at, err), &damage) {
		d.damage = append(d.damage, *damage)
	}
	return nil
}

// judge follows the chain through the groups that were found, as recovery would. Where it breaks and
// something says that the next group was synced, that is damage, and it goes on from the next group
// with a higher sequence.
func (d *dump) judge() error {
	last := d.walk.start.chain()
	if last == (chain{}) && d.walk.start.File > 1 && len(d.groups) > 0 {
		last = chain{sequence: d.groups[0].chain.sequence - 1, crc: d.groups[0].previous}
	}
	end := Position{File: d.walk.start.File, Offset: blockBytes}
	i := 0
	for {
		for k := i; k < len(d.groups); k++ {
			g := d.groups[k]
			first := end.File != g.at.File && g.at.Offset == blockBytes
			next := end == g.at || first
			if next && g.chain.sequence == last.sequence+1 && g.previous == last.crc {
				last, end, i = g.chain, Position{File: g.at.File, Offset: g.end}, k+1
			}
		}
		if d.walk.floor <= last.sequence {
			return nil
		}
		at, err := d.broken(end, i)
		if err != nil {
			return err
		}
		d.damage = append(d.damage, Damage{
			At:   at,
			File: fileName(d.walk.dir, at.File, fileSuffix),
			Reason: fmt.Sprintf("group %d is missing or bad, but %s says that %d was synced",
				last.sequence+1, d.walk.witness, d.walk.floor),
		})
		for i < len(d.groups) && d.groups[i].chain.sequence <= last.sequence {
			i++
		}
		if i == len(d.groups) {
			return nil
		}
		g := d.groups[i]
		last, end = g.chain, Position{File: g.at.File, Offset: g.end}
		i++
	}
}

// broken is where the group behind end should be: right there, if a group was begun there or a later
// one of the same file is valid, else at the start of the next file.
func (d *dump) broken(end Position, i int) (Position, error) {
	if i < len(d.groups) && d.groups[i].at.File == end.File {
		return end, nil
	}
	for k, f := range d.walk.files {
		if f.number != end.File || k+1 == len(d.walk.files) {
			continue
		}
		if err := d.walk.open(f); err != nil && !errors.Is(err, ErrDamaged) {
			return end, err
		}
		h, err := d.walk.peek(f, end.Offset)
		if refused := (*unreadable)(nil); errors.As(err, &refused) {
			return end, nil
		}
		if err != nil {
			return end, err
		}
		if h.Length == 0 {
			return Position{File: end.File + 1, Offset: blockBytes}, nil
		}
	}
	return end, nil
}
