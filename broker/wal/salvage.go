package wal

import (
	"errors"
	"fmt"
)

// Salvage is ReadSealed for a file in which something is bad. Of a group that is not good it takes each record that is,
// by the record's own checksum, and where one is not, what known says of it: the record that was made durable at that
// place, with a payload of its length. Nobody may guess: every byte of the group has to be accounted for, and the group
// behind it, or what was made durable, has to vouch for its header. Else the error is a *Damage, and what fn has heard
// is of no use.
func (l *Log) Salvage(
	number uint64, known func(Position) (Record, bool), fn func(Placed) error,
) (next Start, err error) {
	e, ok := l.extent(number)
	if !ok {
		return Start{}, fmt.Errorf("salvage file %d: %w", number, ErrNotDurable)
	}
	w := &walk{fs: l.cfg.FS, dir: l.cfg.Dir, direct: l.direct, chain: l.begin()}
	w.window.passed = l.passed
	f := &walked{number: number, name: l.nameOf(number), end: blockBytes}
	s := salvage{walk: w, file: f, extent: e, known: known, fn: fn}
	if err = errors.Join(s.run(), w.close()); err != nil {
		return Start{}, fmt.Errorf("salvage file %d: %w", number, err)
	}
	return Start{File: number + 1, Sequence: w.chain.sequence, CRC: w.chain.crc}, nil
}

// salvage is one call of Salvage.
type salvage struct {
	*walk
	file   *walked
	extent extent
	known  func(Position) (Record, bool)
	fn     func(Placed) error
}

func (s *salvage) run() error {
	if err := s.open(s.file); err != nil {
		return err
	}
	for {
		if err := s.follow(s.file, s.extent.end, replayGroup(s.fn)); err != nil {
			return err
		}
		if s.file.end == s.extent.end {
			return nil
		}
		if err := s.group(); err != nil {
			return err
		}
	}
}

// group takes the records of the next group, which is bad.
func (s *salvage) group() error {
	f := s.file
	h, err := s.peek(f, f.end)
	if isFormat(err) || err == nil && (h.Length == 0 || h.Sequence != s.chain.sequence+1 || h.Previous != s.chain.crc) {
		return s.stopped(f, fmt.Sprintf("header of group %d is bad", s.chain.sequence+1))
	}
	if err != nil {
		return err
	}
	vouched, err := s.vouched(h)
	if err != nil {
		return err
	}
	if !vouched {
		return s.stopped(f, fmt.Sprintf("nothing vouches for the header of group %d", h.Sequence))
	}
	at, end := f.end+groupHeaderBytes, f.end+int64(h.Length)
	for range h.Records {
		n, err := s.record(at, end)
		if err != nil {
			return err
		}
		at += n
	}
	if at != end {
		return s.damage(f, at, fmt.Sprintf("records of group %d end here, the group does not", h.Sequence))
	}
	s.chain, s.unread = chain{sequence: h.Sequence, crc: h.CRC}, nil
	f.end += alignUp(int64(h.Length))
	return nil
}

// vouched reports whether the group behind it, or what was made durable, says of the header h what it says itself.
func (s *salvage) vouched(h GroupHeader) (bool, error) {
	end := s.file.end + alignUp(int64(h.Length))
	if end >= s.extent.end {
		return end == s.extent.end && s.extent.last == chain{sequence: h.Sequence, crc: h.CRC}, nil
	}
	next, err := s.peek(s.file, end)
	if isFormat(err) {
		return false, nil
	}
	return next.Length > 0 && next.Sequence == h.Sequence+1 && next.Previous == h.CRC, err
}

// record takes the record at a place, which ends at or before end if it is good, and returns how long it is.
func (s *salvage) record(at, end int64) (int64, error) {
	place := Position{File: s.file.number, Offset: at}
	r, n, err := s.walk.record(at, end, s.extent.seed())
	if isFormat(err) {
		recalled, ok := s.known(place)
		if !ok {
			return 0, s.damage(s.file, at, fmt.Sprintf("nobody knows what lay here: %v", err))
		}
		r, n, err = recalled, EncodedLen(recalled), nil
	}
	if err != nil {
		return 0, err
	}
	return n, s.fn(Placed{Record: r, At: place})
}
