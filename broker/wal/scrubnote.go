package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"time"

	"outrigger/broker/topic"
)

// scrubNote is what one run tells the next of the scrub: else a broker that is started again each week would never end
// a pass over what it has. It lies in a file of one block in the directory of the log.
//
//	scrub    0  4  magic "ORWS"
//	         4  2  format version, 1
//	         6  2  zero
//	         8  8  when the last pass ended, in milliseconds since 1970, zero if none ever did
//	        16  8  file where the pass under way goes on, zero if none is
//	        24  8  offset there
//	        32  8  sequence of the group before that
//	        40  4  checksum of that group
//	        44  8  session that wrote the file
//	        52  8  zero
//	        60  4  checksum of bytes 0 to 59
//
// It is written over and never synced: a crash costs what a pass has read since it was written last, and one that tears
// it, or loses it, a pass.
type scrubNote struct {
	ended time.Time
	at    Position
	chain chain
	// session tells the file from another one that got its number after a quarantine.
	session topic.Session
}

const (
	scrubMagic   uint32 = 'O' | 'R'<<8 | 'W'<<16 | 'S'<<24
	scrubFormat         = 1
	scrubNoteLen        = 64
	// scrubNoteBytes is how much is read between two notes of a pass.
	scrubNoteBytes = 256 << 20
)

func (n scrubNote) encode(b []byte) {
	clear(b)
	endian.PutUint32(b, scrubMagic)
	endian.PutUint16(b[4:], scrubFormat)
	if !n.ended.IsZero() {
		endian.PutUint64(b[8:], uint64(n.ended.UnixMilli()))
	}
	endian.PutUint64(b[16:], n.at.File)
	endian.PutUint64(b[24:], uint64(n.at.Offset))
	endian.PutUint64(b[32:], n.chain.sequence)
	endian.PutUint32(b[40:], n.chain.crc)
	endian.PutUint64(b[44:], uint64(n.session))
	endian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

// decodeScrubNote is not ok for bytes that are no note, or one of a later version.
func decodeScrubNote(b []byte) (n scrubNote, ok bool) {
	if len(b) < scrubNoteLen || endian.Uint32(b) != scrubMagic || endian.Uint16(b[4:]) != scrubFormat ||
		crc32.Checksum(b[:60], castagnoli) != endian.Uint32(b[60:]) {
		return n, false
	}
	if ended := endian.Uint64(b[8:]); ended != 0 {
		n.ended = time.UnixMilli(int64(ended))
	}
	n.at = Position{File: endian.Uint64(b[16:]), Offset: int64(endian.Uint64(b[24:]))}
	n.chain = chain{sequence: endian.Uint64(b[32:]), crc: endian.Uint32(b[40:])}
	n.session = topic.Session(endian.Uint64(b[44:]))
	return n, n.at.Offset >= 0
}

// recall takes up what the run before has noted. Without a note all counts as read now if Open has just read all, and
// as never read if there are packs.
func (s *scrub) recall() {
	note, ok, err := s.readNote()
	if err != nil {
		s.log.cfg.Logger.Warn("how far the log was scrubbed cannot be read, a pass begins now", "err", err)
	}
	now := s.log.cfg.Scrub.Wall()
	switch {
	case ok && note.ended.After(now): // The clock was set back.
		note.ended = now
	case !ok && len(s.log.cfg.Packs) == 0:
		note.ended = now
	}
	s.ended, s.at, s.chain = note.ended, s.log.noted(note), note.chain
	s.endedAt(note.ended)
	if !ok {
		s.note()
	}
}

// noted is where a pass goes on. What was quarantined, or lost with the power under an interval, is not what was met: then
// that pack, or all of the chain, is read from its beginning.
func (l *Log) noted(note scrubNote) Position {
	e, ok := l.extent(note.at.File)
	switch {
	case note.at == Position{} || ok && e.session == note.session && note.at.Offset <= e.end:
		return note.at
	case note.at.File&PackBit != 0:
		return Position{File: note.at.File}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return Position{File: l.mu.start.File}
}

func (s *scrub) readNote() (note scrubNote, ok bool, err error) {
	cfg := &s.log.cfg
	file, err := cfg.FS.Open(filepath.Join(cfg.Dir, scrubName), false)
	if errors.Is(err, fs.ErrNotExist) {
		return note, false, nil
	}
	if err != nil {
		return note, false, fmt.Errorf("open the note of the scrub: %w", err)
	}
	b := alignedBytes(blockBytes)
	n, err := file.ReadAt(b, 0)
	note, ok = decodeScrubNote(b[:n])
	if err = errors.Join(err, file.Close()); ok {
		err = nil
	}
	return note, ok, err
}

// note writes down how far the scrub is. A log that has failed writes nothing any more.
func (s *scrub) note() {
	s.log.mu.Lock()
	failed := s.log.mu.state == failed
	s.log.mu.Unlock()
	if failed {
		return
	}
	b := alignedBytes(blockBytes)
	e, _ := s.log.extent(s.at.File)
	scrubNote{ended: s.ended, at: s.at, chain: s.chain, session: e.session}.encode(b[:scrubNoteLen])
	cfg := &s.log.cfg
	name := filepath.Join(cfg.Dir, scrubName)
	file, err := cfg.FS.Open(name, false)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = cfg.FS.Create(name, false)
	}
	if err == nil {
		_, err = file.WriteAt(b, 0)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		cfg.Logger.Warn("how far the log is scrubbed cannot be noted, the next start reads some of it again", "err", err)
	}
	s.unnoted = 0
}

// due is how long to wait for the next pass, or for the rest of one that was cut short.
func (s *scrub) due() time.Duration {
	interval := s.log.cfg.Scrub.Interval
	if s.gaveUp {
		return interval
	}
	if s.at != (Position{}) || s.ended.IsZero() {
		return 0
	}
	return min(max(0, s.ended.Add(interval).Sub(s.log.cfg.Scrub.Wall())), interval)
}
