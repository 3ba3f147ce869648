package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// scanBytesMin is the least that a scan reads at once, whatever it was asked for.
const scanBytesMin = 64 << 10

// ReadRecord reads the durable record at that position, whose EncodedLen is known, and verifies its
// checksum; bad bytes are a *Damage. The checksum does not tell a record from another one of the same
// file, which a misdirected write can have put there: the caller compares what it knows. The payload is
// fresh memory.
func (l *Log) ReadRecord(at Position, encodedLen int64) (Record, error) {
	e, ok := l.extent(at.File)
	if !ok && l.gone(at.File) {
		return Record{}, fmt.Errorf("read %d bytes at %s: %w", encodedLen, at, ErrMoved)
	}
	if ok && e.pack() && at.Offset >= blockBytes && at.Offset+encodedLen > e.end { // All of it was durable before anybody knew it.
		return Record{}, l.damage(at, fmt.Sprintf("the pack ends before the %d bytes of that record", encodedLen))
	}
	if !ok || at.Offset < blockBytes || encodedLen < recordHeaderBytes ||
		at.Offset+encodedLen > e.end {
		return Record{}, fmt.Errorf("read %d bytes at %s: %w", encodedLen, at, ErrNotDurable)
	}
	start := alignDown(at.Offset)
	span := alignUp(at.Offset+encodedLen) - start
	if span > smallReadBytes {
		r, err := l.readRecord(alignedBytes(span), e, at, encodedLen)
		return r, l.moved(at, err)
	}
	b := l.blocks.take()
	r, err := l.readRecord(b[:span], e, at, encodedLen)
	r.Payload = slices.Clone(r.Payload)
	l.blocks.giveBack(b)
	return r, l.moved(at, err)
}

// moved makes of damage in a file that was given up meanwhile what it is: somebody else's bytes.
func (l *Log) moved(at Position, err error) error {
	if err != nil && l.gone(at.File) {
		return fmt.Errorf("read at %s: %w: %w", at, ErrMoved, err)
	}
	return err
}

// gone reports whether a file was drained, or a pack removed.
func (l *Log) gone(file uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if file&PackBit == 0 {
		return file < l.mu.start.File
	}
	_, ok := slices.BinarySearchFunc(l.mu.extents, file, byNumber)
	return !ok
}

// readRecord reads into b, which spans the record's blocks; the payload lies inside of it.
func (l *Log) readRecord(b []byte, e extent, at Position, encodedLen int64) (Record, error) {
	start := alignDown(at.Offset)
	if err := l.readBlocks(b, e.number, start); err != nil {
		return Record{}, err
	}
	r, n, err := parseRecord(b[at.Offset-start:][:encodedLen], e.seed())
	if err == nil && n != encodedLen {
		err = fmt.Errorf("record is %d bytes long, not %d", n, encodedLen)
	}
	if err != nil {
		return Record{}, l.damage(at, "record: "+err.Error())
	}
	return r, nil
}

// Scan returns durable records in order, beginning with the one at from: the position of a record,
// or one that Scan returned, or zero for the start of the log, which are the packs. What was drained
// behind `from` meanwhile is passed over: it lies before it now. It reads about bytesMax bytes at once,
// more only if the first record alone is larger, and returns where to go on. ErrEnd comes when that
// is the durable end, be it with the last records or without any. The payloads are fresh memory, which
// all records of one call share: who keeps one keeps all.
//
// Every record's own checksum is verified; bytes that fail are a *Damage, once the scan has come to
// where they lie: what is good before them is returned first. Reads are as direct as the
// writes: a buffered read would fill the page cache with what nobody reads twice, and its read-ahead
// would cache blocks beyond the durable end just before they are written past the cache.
func (l *Log) Scan(from Position, bytesMax int) (recs []Placed, next Position, err error) {
	budget := max(alignUp(int64(bytesMax)), scanBytesMin)
	for {
		e, at, ok := l.resume(from)
		if !ok {
			return nil, at, ErrEnd
		}
		recs, next, err := l.scan(e, at, budget)
		if err != nil && l.gone(at.File) {
			from = at
			continue
		}
		if err != nil {
			return nil, at, notBefore(at, err)
		}
		if len(recs) == 0 && next.Compare(at) > 0 {
			from = next
			continue
		}
		if len(recs) == 0 {
			// The first record does not fit; next.Offset is the same, so ask for all of it.
			budget, err = l.span(e, at)
			if err != nil && !l.gone(at.File) {
				return nil, at, notBefore(at, err)
			}
			continue
		}
		if next.Compare(l.End()) == 0 {
			err = ErrEnd
		}
		return recs, next, err
	}
}

// notBefore has damage that was met while a record was read lie no further ahead than that: a block may begin before
// the record, and who goes on behind the block's beginning would come to the same record again.
func notBefore(at Position, err error) error {
	d := (*Damage)(nil)
	if !errors.As(err, &d) || d.At.File != at.File || d.At.Offset >= at.Offset {
		return err
	}
	moved := *d
	moved.At = at
	return &moved
}

// resume finds the file to go on in; at the durable end there is none.
func (l *Log) resume(from Position) (e extent, at Position, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.mu.extents, from.File, byNumber)
	if from == (Position{}) {
		i = 0
	}
	for ; i < len(l.mu.extents); i++ {
		e := l.mu.extents[i]
		if e.number != from.File {
			from = Position{File: e.number}
		}
		from.Offset = max(from.Offset, blockBytes)
		if from.Offset < e.end {
			return e, from, true
		}
	}
	return extent{}, l.endLocked(), false
}

func byNumber(e extent, number uint64) int { return compareFiles(e.number, number) }

func (l *Log) extent(number uint64) (extent, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := slices.BinarySearchFunc(l.mu.extents, number, byNumber)
	if !ok {
		return extent{}, false
	}
	return l.mu.extents[i], true
}

// scan reads one stretch of one file and decodes it.
func (l *Log) scan(e extent, at Position, budget int64) ([]Placed, Position, error) {
	start := alignDown(at.Offset)
	b := alignedBytes(min(alignUp(e.end)-start, budget))
	err := l.readBlocks(b, e.number, start)
	if errors.Is(err, ErrDamaged) {
		// One block that the device does not give back must not hide the good ones before it.
		b = b[:min(int64(len(b)), 2*blockBytes)]
		if span, ok := l.span(e, at); ok == nil {
			b = b[:min(int64(cap(b)), span)]
		}
		err = l.readBlocks(b, e.number, start)
	}
	if err != nil {
		return nil, at, err
	}
	s := newStretch(e, b, start)
	recs, offset, err := s.records(at.Offset)
	if err != nil && len(recs) == 0 {
		return nil, at, l.damage(Position{File: e.number, Offset: offset}, err.Error())
	}
	return recs, Position{File: e.number, Offset: offset}, nil
}

// span is how many bytes of whole blocks the record at that position lies in.
func (l *Log) span(e extent, at Position) (int64, error) {
	start := alignDown(at.Offset)
	b := alignedBytes(min(2*blockBytes, alignUp(e.end)-start))
	err := l.readBlocks(b, e.number, start)
	if errors.Is(err, ErrDamaged) && len(b) > blockBytes {
		b = b[:blockBytes] // The next one may be bad, and the record need not reach there.
		err = l.readBlocks(b, e.number, start)
	}
	if err != nil {
		return 0, err
	}
	n, err := recordLen(b[at.Offset-start:])
	if err != nil || at.Offset+n > e.end {
		return 0, l.damage(at, "record length is impossible")
	}
	return alignUp(at.Offset+n) - start, nil
}

// stretch is a piece of the durable part of a file, from block to block. What begins at an offset in
// it shows in the first byte there: a group header's magic, a record's kind, or padding.
type stretch struct {
	bytes []byte
	start int64
	// last says that the durable part ends with the stretch: nothing may be cut off by its end.
	last   bool
	extent extent
	seed   uint32
}

// newStretch is what was read of e from start on. A pack ends with its last record, and zeros before
// that are none of its padding.
func newStretch(e extent, b []byte, start int64) *stretch {
	b = b[:min(int64(len(b)), e.end-start)]
	return &stretch{bytes: b, start: start, last: start+int64(len(b)) == e.end, extent: e,
		seed: e.seed()}
}

// records decodes from offset on and returns where it had to stop, or where the error is.
//
// Padding may begin only where a group ends, and no record may lie there. Zeros in the place of a
// record are a block that never reached the disk, and to pass over them would be to lose what it held
// without a word.
func (s *stretch) records(offset int64) ([]Placed, int64, error) {
	var recs []Placed
	groupEnd, first := int64(-1), true // where the group ends is unknown inside of one
	for ; offset < s.start+int64(len(s.bytes)); first = false {
		b := s.bytes[offset-s.start:]
		switch {
		case offset%blockBytes == 0 && endian.Uint32(b) == groupMagic && s.extent.grouped():
			h, err := parseGroupHeader(b)
			if err != nil || h.Generation != life(s.extent.number) || h.Session != s.extent.session {
				return recs, offset, errors.New("group header is not of this file")
			}
			groupEnd = offset + int64(h.Length)
			offset += groupHeaderBytes
		case offset == groupEnd && offset%blockBytes != 0 && !s.holdsRecord(b):
			offset = alignUp(offset)
		case !first && groupEnd < 0 && s.extent.grouped() && isPadding(b[:min(int64(len(b)), alignUp(offset)-offset)]):
			offset = alignUp(offset)
		default:
			r, n, err := parseRecord(b, s.seed)
			if errors.Is(err, errShort) && !s.last {
				return recs, offset, nil
			}
			if err != nil {
				return recs, offset, fmt.Errorf("record: %w", err)
			}
			recs = append(recs, Placed{Record: r, At: Position{File: s.extent.number, Offset: offset}})
			offset += n
		}
	}
	return recs, offset, nil
}

// holdsRecord tells a record from padding, which no checksum covers: a flipped bit in it is no damage.
func (s *stretch) holdsRecord(b []byte) bool {
	_, _, err := parseRecord(b, s.seed)
	return err == nil
}

// isPadding tells the padding of a group, where nobody knows its length, from a record. Each may have a bad byte: no
// checksum covers padding, and a record may have lost its kind.
func isPadding(b []byte) bool {
	bad := 0
	for _, one := range b {
		if one != 0 {
			bad++
		}
		if bad > 1 {
			return false
		}
	}
	return len(b) > 0
}

// readBlocks fills b from the file; what is read has been written, so the end of the file is damage.
func (l *Log) readBlocks(b []byte, number uint64, offset int64) error {
	return l.readFile(b, Position{File: number, Offset: offset}, twice)
}

// readOnce is readBlocks for who reads what is in doubt in another way: what the device refuses is no damage yet.
func (l *Log) readOnce(b []byte, number uint64, offset int64) error {
	return l.readFile(b, Position{File: number, Offset: offset}, once)
}

// How often what a device refuses is asked for.
const (
	once = iota + 1
	twice
)

func (l *Log) readFile(b []byte, at Position, times int) error {
	if cause := l.refused.within(at, int64(len(b)), times, l.cfg.Now()); cause != nil {
		return l.unreadable(at, cause.Error())
	}
	h, err := l.handles.take(at.File, func() (File, error) {
		return l.cfg.FS.Open(l.nameOf(at.File), l.direct)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return l.damage(at, "file is missing")
	}
	if err != nil {
		return fmt.Errorf("open file %d: %w", at.File, err)
	}
	var n int
	if times == once {
		n, err = h.file.ReadAt(b, at.Offset)
	} else {
		n, err = readTwice(h.file, b, at.Offset, l.passed)
	}
	if back := l.handles.giveBack(h); back != nil && err == nil {
		err = back
	}
	if n == len(b) && (err == nil || errors.Is(err, io.EOF)) {
		return nil
	}
	l.refused.note(at, err, l.cfg.Now())
	if refused := (*unreadable)(nil); errors.As(err, &refused) {
		return l.unreadable(at, refused.Error())
	}
	if err == nil || errors.Is(err, io.EOF) {
		return l.damage(Position{File: at.File, Offset: at.Offset + int64(n)}, "file ends here")
	}
	return fmt.Errorf("read file %d at byte %d: %w", at.File, at.Offset, err)
}

// passed notes an error of a read that passed when it was tried again: a sign of a device that fails.
func (l *Log) passed(err error) {
	l.cfg.Logger.Warn("read of the write-ahead log failed, and the same read went through then", "err", err)
}

func (l *Log) damage(at Position, reason string) *Damage {
	return &Damage{At: at, File: l.nameOf(at.File), Reason: reason}
}

// unreadable is damage by what the device does not give back.
func (l *Log) unreadable(at Position, reason string) *Damage {
	d := l.damage(at, reason)
	d.Unreadable = true
	return d
}

// nameOf is the full name of a file of the chain or of a pack.
func (l *Log) nameOf(number uint64) string { return nameOf(l.cfg.Dir, number) }

func nameOf(dir string, number uint64) string {
	if number = life(number); number&PackBit != 0 {
		return fileName(dir, number&^PackBit, packSuffix)
	}
	return fileName(dir, number, fileSuffix)
}
