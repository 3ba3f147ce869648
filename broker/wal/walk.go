package wal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
)

// walk reads the files of a directory in order and follows the chain of groups through them. Memory:
// one window of a file, or one group if that is larger.
type walk struct {
	fs     FS
	dir    string
	direct bool
	files  []*walked
	window window
	// start is where the chain begins; front says that later files are left out on purpose.
	start Start
	front bool
	// drained: something shows that files were drained.
	drained bool
	// chain is the last group that was accepted.
	chain chain
	// floor is the highest sequence that anything valid says was synced, and witness says where.
	floor   uint64
	witness string
	// unread is where the chain may go on and nobody can read on: damage, unless a later file shows that it does not.
	unread *Damage
	// bad are the blocks outside of the chain that cannot be read and where a group may lie, neighbours together.
	bad []Damage
	// closed: the last group that was accepted is the empty one of a clean stop, behind which its run wrote nothing. (The
	// one that ends a file early lies at the start of the next.)
	closed bool
	// patience is how many blocks may be refused before the walk gives up, zero for any number.
	patience int
	// progress, if set, is told how many bytes were passed.
	progress func(bytes int64)
}

// walked is one file of a walk.
type walked struct {
	number uint64
	name   string
	header FileHeader
	size   int64
	// end is where the chain leaves the file, last the sequence of its last group there, zero if the
	// chain does not run through it.
	end  int64
	last uint64
	// crc is the checksum of that group.
	crc uint32
	// used says that a group of this life of the file was at least begun behind the chain. doubt says that this cannot be
	// known: the first block there cannot be read.
	used, doubt bool
}

// newWalk lists the files of the chain from start on, and what else lies there: drained files, too. A
// gap in their numbers is damage: they are made, and given up, one after the other, with the directory
// synced in between.
func newWalk(fs FS, dir string, direct bool, start Start) (*walk, []string, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list %s: %w", dir, err)
	}
	w := &walk{fs: fs, dir: dir, direct: direct, start: start, chain: start.chain()}
	w.testify(start.Sequence, "what was drained")
	var others []string
	for _, name := range names {
		if number, ok := parseName(name, fileSuffix); ok && number >= start.File {
			full := fileName(dir, number, fileSuffix)
			w.files = append(w.files, &walked{number: number, name: full, end: blockBytes})
		} else {
			others = append(others, name)
		}
	}
	sort.Slice(w.files, func(i, k int) bool { return w.files[i].number < w.files[k].number })
	sort.Strings(others)
	return w, others, nil
}

// gaps reports the missing files.
func (w *walk) gaps() []Damage {
	var damage []Damage
	next := w.start.File
	if len(w.files) == 0 && next > 1 && !w.front {
		// The one before it was drained only after this one was begun.
		return []Damage{{At: Position{File: next}, File: fileName(w.dir, next, fileSuffix),
			Reason: "file is missing"}}
	}
	for _, f := range w.files {
		if f.number != next {
			reason := "file is missing"
			if f.number > next+1 {
				reason = fmt.Sprintf("files up to number %d are missing", f.number-1)
			}
			damage = append(damage, Damage{
				At:     Position{File: next},
				File:   fileName(w.dir, next, fileSuffix),
				Reason: reason,
			})
		}
		next = f.number + 1
	}
	return damage
}

// open reads the header of f and leaves the window on the file. Headers and sizes were synced before
// the file got its name, so what is wrong here is damage at any time.
func (w *walk) open(f *walked) error {
	file, err := w.fs.Open(f.name, w.direct)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.name, err)
	}
	if err := w.window.reset(file); err != nil {
		return fmt.Errorf("size of %s: %w", f.name, err)
	}
	f.size = w.window.size
	b, err := w.window.view(0, fileHeaderBytes)
	if refused := (*unreadable)(nil); errors.As(err, &refused) {
		return w.unreadable(f, 0, "file header: "+refused.Error())
	}
	if err != nil && !errors.Is(err, errShort) {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	f.header, err = parseFileHeader(b)
	switch {
	case errors.Is(err, errVersion):
		return fmt.Errorf("read %s: %w", f.name, err)
	case err != nil:
		return w.damage(f, 0, "file header: "+err.Error())
	case f.header.Generation != f.number:
		return w.damage(f, 0, fmt.Sprintf("file header is of file %d", f.header.Generation))
	case f.header.Bytes != f.size:
		return w.damage(f, min(f.size, f.header.Bytes),
			fmt.Sprintf("file is %d bytes long, was made with %d", f.size, f.header.Bytes))
	}
	w.testify(f.header.Synced, f.name)
	return nil
}

func (w *walk) close() error { return w.window.close() }

// testify notes a statement that everything up to a sequence was synced. Such a statement holds for
// ever: whatever recovery came between has kept what was synced.
func (w *walk) testify(synced uint64, witness string) {
	if synced > w.floor {
		w.floor, w.witness = synced, witness
	}
}

// follow accepts groups of the open file from f.end as long as they continue the chain, up to limit.
// fn hears of each. Where it cannot read on it leaves that in w.unread: there may be the next group, acknowledged
// and with nothing behind it that says so.
func (w *walk) follow(f *walked, limit int64, fn func(GroupHeader, []byte, Position) error) error {
	for f.end < limit {
		h, b, err := w.group(f, f.end)
		if refused := (*unreadable)(nil); errors.As(err, &refused) {
			if w.unread == nil {
				w.unread = w.unreadable(f, f.end, fmt.Sprintf("group %d: %v", w.chain.sequence+1, refused))
				w.unread.Bytes = refused.at + blockBytes - f.end
			}
			return nil
		}
		if err != nil {
			return err
		}
		if b == nil || h.Sequence != w.chain.sequence+1 || h.Previous != w.chain.crc {
			return nil
		}
		at := Position{File: f.number, Offset: f.end}
		if err := fn(h, b, at); err != nil {
			return w.located(f, at, err)
		}
		w.testify(h.Synced, fmt.Sprintf("group %d at %s byte %d", h.Sequence, f.name, f.end))
		w.chain, w.unread, w.closed = chain{sequence: h.Sequence, crc: h.CRC}, nil, h.Records == 0 && f.end > blockBytes
		f.last, f.crc = h.Sequence, h.CRC
		f.end += alignUp(int64(h.Length))
	}
	return nil
}

// group reads the group at offset of the open file; nil bytes mean that there is no valid one of this
// life of the file. An error is one of reading: it must never pass for the end of the log.
func (w *walk) group(f *walked, offset int64) (GroupHeader, []byte, error) {
	h, err := w.peek(f, offset)
	if err != nil || h.Length == 0 {
		return h, nil, err
	}
	b, err := w.window.view(offset, int64(h.Length))
	if err != nil && !errors.Is(err, errShort) {
		return h, nil, fmt.Errorf("read %s at byte %d: %w", f.name, offset, err)
	}
	if !h.verifies(b) {
		b = nil
	}
	return h, b, nil
}

// peek reads the header of the group at offset, not verified; a zero Length means that there is none
// of this life of the file. Old groups of a recycled file have another generation; what a torn tail
// left in a file that was made anew under the same number has another session.
func (w *walk) peek(f *walked, offset int64) (GroupHeader, error) {
	b, err := w.window.view(offset, groupHeaderBytes)
	if err != nil && !errors.Is(err, errShort) {
		return GroupHeader{}, fmt.Errorf("read %s at byte %d: %w", f.name, offset, err)
	}
	if h, err := parseGroupHeader(b); err == nil && f.owns(h) {
		return h, nil
	}
	return GroupHeader{}, nil
}

// owns tells whether a group was written in this life of the file.
func (f *walked) owns(h GroupHeader) bool {
	return h.Generation == f.number && h.Session == f.header.Session
}

// search looks at every block of the open file from offset on for a valid group, calls fn with it and
// goes on behind it. Blocks that cannot be read are noted in w.bad: a group may lie there, also behind blocks that can be
// read and hold no beginning of one, for one of those may be a header that has rotted.
func (w *walk) search(f *walked, offset int64, fn func(GroupHeader, []byte, Position) error) error {
	for offset < f.size {
		h, b, err := w.group(f, offset)
		if refused := (*unreadable)(nil); errors.As(err, &refused) {
			w.note(f, refused)
			if damage := w.givesUp(); damage != nil {
				return damage
			}
			err = nil
		}
		if err != nil {
			return err
		}
		if b == nil {
			offset += blockBytes
			continue
		}
		if err := fn(h, b, Position{File: f.number, Offset: offset}); err != nil {
			return err
		}
		offset += alignUp(int64(h.Length))
	}
	return nil
}

// givesUp is the damage that a walk ends with which was refused too many blocks to ask for more; nil for none.
func (w *walk) givesUp() *Damage {
	found := w.unread
	if found == nil && len(w.bad) > 0 {
		found = &w.bad[0]
	}
	if found == nil || w.patience == 0 || w.window.refusals < w.patience {
		return nil
	}
	found.Reason += fmt.Sprintf("; %d blocks were refused, what lies behind was not looked at", w.window.refusals)
	return found
}

// stopped is the damage where the chain stops too early in a file: what cannot be read there, or what is bad.
func (w *walk) stopped(f *walked, reason string) *Damage {
	if w.unread != nil {
		return w.unread
	}
	return w.damage(f, f.end, reason)
}

// note keeps the place of an unreadable block.
func (w *walk) note(f *walked, refused *unreadable) {
	if n := len(w.bad); n > 0 && w.bad[n-1].At.File == f.number {
		last := &w.bad[n-1]
		if end := last.At.Offset + last.Bytes; refused.at <= end {
			last.Bytes = max(last.Bytes, refused.at+blockBytes-last.At.Offset)
			return
		}
	}
	d := w.unreadable(f, refused.at, refused.Error())
	d.Bytes = blockBytes
	w.bad = append(w.bad, *d)
}

func (w *walk) damage(f *walked, offset int64, reason string) *Damage {
	return &Damage{At: Position{File: f.number, Offset: offset}, File: f.name, Reason: reason}
}

// unreadable is damage by what the device does not give back.
func (w *walk) unreadable(f *walked, offset int64, reason string) *Damage {
	d := w.damage(f, offset, reason)
	d.Unreadable = true
	return d
}

// located turns a malformed record into a Damage and leaves other errors alone.
func (w *walk) located(f *walked, at Position, err error) error {
	var m *malformed
	if errors.As(err, &m) {
		return w.damage(f, at.Offset+m.offset, m.Error())
	}
	return err
}

// windowBytes is how much is read at once, unless a group is larger or there is somebody who says. A sync that comes in
// waits for all of it on the device: while three brokers drained on one, by 4 MiB, one in a hundred records took 120 to
// 170 ms, by this 20 to 28.
const windowBytes = 256 << 10

// window shows a file through one large aligned buffer.
type window struct {
	file  File
	size  int64
	bytes []byte
	// start of the buffer in the file and how much of it is filled.
	start, filled int64
	// atOnce, if set, says how much is read at once.
	atOnce func() int64
	// passed, if set, is told of an error of a read that has passed.
	passed func(error)
	// refused are the blocks of the file that the device did not give back, in order: they are not asked for again, for
	// one that fails may take seconds for each answer. refusals counts those of all files.
	refused  []*unreadable
	refusals int
}

// reset closes the file that the window was on.
func (w *window) reset(file File) error {
	err := w.close()
	w.file = file
	if err != nil {
		return err
	}
	w.size, err = file.Size()
	return err
}

func (w *window) close() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file, w.size, w.start, w.filled, w.refused = nil, 0, 0, 0, nil
	return err
}

// view returns n bytes at offset; they hold until the next call. At the end of the file it returns
// what there is, and errShort.
func (w *window) view(offset, n int64) ([]byte, error) {
	if offset+n > w.size {
		return nil, errShort
	}
	if offset < w.start || offset+n > w.start+w.filled {
		if err := w.load(offset, n); err != nil {
			return nil, err
		}
	}
	at := offset - w.start
	return w.bytes[at : at+n : at+n], nil
}

func (w *window) load(offset, n int64) error {
	start := alignDown(offset)
	most := int64(windowBytes)
	if w.atOnce != nil {
		most = w.atOnce()
	}
	want := max(alignUp(offset+n)-start, min(most, alignUp(w.size)-start))
	if i := w.refusedFrom(start); i < len(w.refused) {
		known := w.refused[i]
		if known.at < offset+n {
			return known
		}
		want = min(want, known.at-start)
	}
	if int64(len(w.bytes)) < want {
		w.bytes = alignedBytes(want)
	}
	w.filled = 0
	got, err := readTwice(w.file, w.bytes[:want], start, w.went)
	if refused := (*unreadable)(nil); errors.As(err, &refused) {
		w.refused = slices.Insert(w.refused, w.refusedFrom(refused.at), refused)
		w.refusals++
		if start+int64(got) >= offset+n {
			err = nil // It lies behind what is asked for.
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if start+int64(got) < offset+n {
		return fmt.Errorf("%d bytes at byte %d: %w", got, start, io.ErrUnexpectedEOF)
	}
	w.start, w.filled = start, int64(got)
	return nil
}

// refusedFrom is the index of the first block at or behind offset that is known not to be given back.
func (w *window) refusedFrom(offset int64) int {
	i, _ := slices.BinarySearchFunc(w.refused, offset, func(u *unreadable, at int64) int { return cmp.Compare(u.at, at) })
	return i
}

func (w *window) went(err error) {
	if w.passed != nil {
		w.passed(err)
	}
}
