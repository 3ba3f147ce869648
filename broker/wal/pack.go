package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"outrigger/broker/topic"
)

// Pack is a file of records that were drained from the log, sorted by partition. It is written once and
// synced before anybody hears of it, so it needs no groups: each record has its own checksum, and those
// who know the records know where they lie.
//
//	pack    +------------+--------+--------+-- - - --+----------------------+
//	        | header     | record | record |         | zeros to a multiple  |
//	        | 4096 bytes | n*8    | n*8    |         | of 4096              |
//	        +------------+--------+--------+-- - - --+----------------------+
//
// The header is that of a file of the chain, with the magic "ORWP"; its generation is the number of the
// pack. The records are those of the chain.
//
// Or it is a file of the chain that was adopted: it stays what it is, under its name, groups and all, and
// its records lie in the order in which they were appended.
type Pack struct {
	// Number is the pack's own, without PackBit. Packs are numbered in the order in which their records
	// were appended, partition by partition; see PackStep and Adopted.
	Number uint64
	// Session of the process that wrote it.
	Session topic.Session
	// Bytes is where its last record ends.
	Bytes int64
}

// RecordBytes is the encoded length of all its records.
func (p Pack) RecordBytes() int64 { return p.Bytes - blockBytes }

func (p Pack) extent() extent {
	return extent{number: p.Number | PackBit, session: p.Session, end: p.Bytes}
}

const packMagic uint32 = 'O' | 'R'<<8 | 'W'<<16 | 'P'<<24

// firstPack is what Start.NextPack is unless a drain has said more.
const firstPack = PackStep

// packWriteBytes is how much of a pack is written at once.
const packWriteBytes = 256 << 10

// PackWriter writes one pack. It is for one goroutine.
type PackWriter struct {
	log  *Log
	pack Pack
	file File
	name string
	seed uint32
	// buffer holds what is not written yet; at is where it goes.
	buffer []byte
	length int64
	at     int64
}

// NewPack begins a pack. Its number is not in use, and above that of any pack that holds what was
// appended before.
func (l *Log) NewPack(number uint64) (*PackWriter, error) {
	name := l.nameOf(number | PackBit)
	l.refused.forget(number | PackBit)
	if err := ignoreMissing(l.cfg.FS.Remove(name)); err != nil {
		return nil, fmt.Errorf("begin pack %d: %w", number, err)
	}
	file, err := l.cfg.FS.Create(name, l.direct)
	if err != nil {
		return nil, fmt.Errorf("begin pack %d: %w", number, err)
	}
	return &PackWriter{
		log: l, file: file, name: name, at: blockBytes,
		pack:   Pack{Number: number, Session: l.cfg.Session, Bytes: blockBytes},
		seed:   recordSeed(number|PackBit, l.cfg.Session),
		buffer: alignedBytes(2 * packWriteBytes),
	}, nil
}

// Add writes r and returns where it lies. The payload may be changed afterwards.
func (w *PackWriter) Add(r *Record) (Position, error) {
	n := EncodedLen(*r)
	if w.length+n > int64(len(w.buffer)) {
		grown := alignedBytes(alignUp(w.length + n + packWriteBytes))
		copy(grown, w.buffer[:w.length])
		w.buffer = grown
	}
	at := Position{File: w.pack.Number | PackBit, Offset: w.at + w.length}
	putLoneRecord(w.buffer[w.length:w.length+n], r, w.seed)
	w.length += n
	w.pack.Bytes = w.at + w.length
	if w.length >= packWriteBytes {
		return at, w.flush(alignDown(w.length))
	}
	return at, nil
}

// flush writes that many bytes from the front of the buffer.
func (w *PackWriter) flush(bytes int64) error {
	if bytes == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(w.buffer[:bytes], w.at); err != nil {
		return fmt.Errorf("write pack %d at byte %d: %w", w.pack.Number, w.at, err)
	}
	copy(w.buffer, w.buffer[bytes:w.length])
	w.length -= bytes
	w.at += bytes
	return nil
}

// Finish makes the pack durable: bytes and name. Nobody reads it before Adopt.
func (w *PackWriter) Finish() (Pack, error) {
	padded := alignUp(w.length)
	clear(w.buffer[w.length:padded])
	w.length = padded
	if err := w.flush(padded); err != nil {
		return Pack{}, err
	}
	block := alignedBytes(blockBytes)
	putFileHeader(block, FileHeader{Generation: w.pack.Number, Session: w.pack.Session, Bytes: w.pack.Bytes})
	endian.PutUint32(block, packMagic)
	endian.PutUint32(block[60:], crc32.Checksum(block[:60], castagnoli))
	_, err := w.file.WriteAt(block, 0)
	if err == nil && w.log.cfg.mutant != SkipsPackSync {
		err = w.file.Sync()
	}
	if err = errors.Join(err, w.file.Close()); err == nil {
		err = w.log.cfg.FS.SyncDir(w.log.cfg.Dir)
	}
	if err != nil {
		return Pack{}, fmt.Errorf("finish pack %d: %w", w.pack.Number, err)
	}
	return w.pack, nil
}

// Abandon removes a pack that was not adopted.
func (w *PackWriter) Abandon() error {
	err := errors.Join(w.file.Close(), ignoreMissing(w.log.cfg.FS.Remove(w.name)))
	if err != nil {
		return fmt.Errorf("abandon pack %d: %w", w.pack.Number, err)
	}
	return nil
}

// Adopt lets readers find what lies in a finished pack.
func (l *Log) Adopt(p Pack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, found := slices.BinarySearchFunc(l.mu.extents, p.Number|PackBit, byNumber)
	if !found {
		l.mu.extents = slices.Insert(l.mu.extents, i, p.extent())
	}
}

// RemovePack removes a pack that nobody needs. One that was adopted becomes a spare if those are wanted,
// or waits for Discard.
func (l *Log) RemovePack(number uint64) error {
	number |= PackBit
	bytes := int64(0)
	l.mu.Lock()
	if i, found := slices.BinarySearchFunc(l.mu.extents, number, byNumber); found {
		bytes = l.mu.extents[i].end
		l.mu.extents = slices.Delete(l.mu.extents, i, i+1)
	}
	l.mu.Unlock()
	if file := life(number); file != number {
		l.cache.drop(number)
		if err := l.handles.drop(number); err != nil {
			return fmt.Errorf("close adopted file %d: %w", file, err)
		}
		l.drained = append(l.drained, file)
		return l.recycle()
	}
	l.cache.drop(number)
	err := errors.Join(l.handles.drop(number), l.remove(l.nameOf(number), bytes))
	if err != nil {
		return fmt.Errorf("remove pack %d: %w", number&^PackBit, err)
	}
	return nil
}

// known reports whether a file of that base name is one of the packs.
func known(packs []Pack, name string) bool {
	number, pack := parseName(name, packSuffix)
	if file, ok := parseName(name, fileSuffix); ok {
		number, pack = adoptedNumber(file), true
	}
	return pack && slices.ContainsFunc(packs, func(p Pack) bool { return p.Number == number })
}

// parseHeader reads and verifies the first block of a pack or of a file of the chain.
func (e extent) parseHeader(b []byte) (FileHeader, error) {
	if e.grouped() {
		return parseFileHeader(b)
	}
	return parsePackHeader(b)
}

// generation is what that header says.
func (e extent) generation() uint64 { return life(e.number) &^ PackBit }

// parsePackHeader reads and verifies the header of a pack.
func parsePackHeader(b []byte) (FileHeader, error) {
	if len(b) < fileHeaderBytes {
		return FileHeader{}, errShort
	}
	if endian.Uint32(b) != packMagic {
		return FileHeader{}, errFormat
	}
	if crc32.Checksum(b[:60], castagnoli) != endian.Uint32(b[60:]) {
		return FileHeader{}, errChecksum
	}
	return decodeFileHeader(b)
}

// packed verifies records of a pack from offset on, at least one, and returns where the next one begins. An error
// says that they could not be looked at.
func (s *scrub) packed(e extent, offset int64) (int64, error) {
	next := offset
	b, err := s.readable(e, alignDown(offset))
	if err == nil {
		next, err = s.decoded(e, b, offset)
	}
	if err == nil && next == offset { // The record is longer than that, or a block behind it cannot be read.
		var span int64
		if span, err = s.log.span(e, Position{File: e.number, Offset: offset}); err == nil {
			b, err = s.read(e, alignDown(offset), span)
		}
		if err == nil {
			next, err = s.decoded(e, b, offset)
		}
	}
	if damage := (*Damage)(nil); errors.As(err, &damage) {
		return s.unpacked(e, offset, damage.Reason), nil
	}
	return next, err
}

// readable reads a stretch of a pack, less of it if there is a block in it that the device does not give back: what
// lies before that would be read again for each of its records.
func (s *scrub) readable(e extent, from int64) ([]byte, error) {
	bytes := min(scrubBytes, alignUp(e.end)-from)
	b, err := s.read(e, from, bytes)
	for errors.Is(err, ErrDamaged) && bytes > blockBytes {
		bytes = max(blockBytes, alignDown(bytes/2))
		b, err = s.read(e, from, bytes)
	}
	return b, err
}

// decoded verifies the records in b from offset on and returns where the next one begins. A bad one behind good ones
// is the next turn's.
func (s *scrub) decoded(e extent, b []byte, offset int64) (int64, error) {
	_, next, err := newStretch(e, b, alignDown(offset)).records(offset)
	if err != nil && next == offset {
		return offset, s.log.damage(Position{File: e.number, Offset: offset}, err.Error())
	}
	return next, nil
}

// unpacked tells of damage at offset, and goes on where the next record lies by those who know. Without them the
// rest of the pack is theirs to look at, batch by batch. So is what lies near if damage follows on damage, more each
// time: a pack that is bad all through has as many records as it has room for, and each place costs a look at all logs.
func (s *scrub) unpacked(e extent, offset int64, reason string) int64 {
	at, to := Position{File: e.number, Offset: offset}, e.end
	if s.log.gone(e.number) {
		return to
	}
	if _, told := s.told[at]; told || s.behind != at {
		s.stride = 0
	}
	if resume := s.log.cfg.Scrub.Resume; resume != nil {
		next, ok := resume(Position{File: e.number, Offset: offset + s.stride})
		if ok && next.File == e.number && next.Offset > offset && next.Offset < to {
			to = next.Offset
		}
	}
	s.bad(e, offset, to, 0, reason) // What lies behind it is looked at by itself from the next pass on.
	s.behind, s.stride = Position{File: e.number, Offset: to}, min(max(2*s.stride, blockBytes), scrubBytes)
	return to
}
