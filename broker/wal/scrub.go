package wal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// Scrub says how the log is read in search of damage that nobody has met: bits that flipped, blocks
// that lost a write or got another's. Open reads the chain, and none of the packs. A pass begins one Interval
// after the last one has ended, in whatever run that was, and one that a stop cut short goes on; see scrubNote.
type Scrub struct {
	// Interval is the wait between two passes, zero for none.
	Interval time.Duration
	// BytesPerSecond is the pace of a pass, 4 MiB by default. While records wait for the disk it is an
	// eighth of that.
	BytesPerSecond int64
	// Wall is the time of day, time.Now unless set: the interval runs on while nothing else does.
	Wall func() time.Time
	// Found hears of every damaged place once, and of a group of the chain anew when more of it is damaged. It is called
	// from the scrub's goroutine and may read.
	Found func(Damage)
	// Resume is where in a pack the next record lies behind a place that is damaged; ok is false if there is
	// none that somebody needs. It is called as Found is. What lies before that is not looked at any more by the scrub:
	// Found is told of all of it. Without Resume the rest of such a pack is told as damaged.
	Resume func(behind Position) (next Position, ok bool)
}

// ScrubStats are the numbers of a scrub; they only grow.
type ScrubStats struct {
	Bytes  int64
	Passes int64
	// Damage counts the places that were found, and anew those of which more was.
	Damage int64
	// Ended is when the last pass ended, in this run or an earlier one; zero if none ever did.
	Ended time.Time
}

const (
	defaultScrubRate = 4 << 20
	// scrubBytes is how much is read at once: a quarter of a second at the default pace.
	scrubBytes = 1 << 20
	// scrubYield is by how much a scrub is slower while records wait for the disk.
	scrubYield = 8
)

// ScrubStats tells how far the scrub has come since Open.
func (l *Log) ScrubStats() ScrubStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.scrubbed
}

// scrub verifies what is durable, group by group along the chain, as recovery would: a group that is
// whole and in the wrong place is damage, too. One goroutine turns it.
type scrub struct {
	log *Log
	// at is where the pass goes on, headed says that the header of its file was verified.
	at     Position
	headed uint64
	// chain is the last group that was met.
	chain chain
	// told holds the places that were told, with the sum of what was read there; it is bounded by the damage that a disk
	// can have and live.
	told map[Position]uint32
	// behind is where the last damage in a pack ended; what is damaged there, too, is told with so many bytes more.
	behind Position
	stride int64
	buffer []byte
	// ended is when the last pass ended, unnoted how much was read since the last note.
	// gaveUp: the last pass did not come to its end.
	ended   time.Time
	unnoted int64
	gaveUp  bool
}

// run makes passes until ctx ends. Between two of them it sleeps through.
func (s *scrub) run(ctx context.Context) {
	if s.log.cfg.Scrub.Interval == 0 {
		return
	}
	s.recall()
	for wait := s.due(); pause(ctx, wait); wait = s.due() {
		if !s.pass(ctx) {
			s.note()
			return
		}
	}
}

// pass goes to the end of a pass, and is false if ctx ends before that.
func (s *scrub) pass(ctx context.Context) bool {
	for {
		passes := s.log.ScrubStats().Passes
		bytes, end := s.turn()
		if end {
			if s.gaveUp = s.log.ScrubStats().Passes == passes; !s.gaveUp {
				s.ended = s.log.cfg.Scrub.Wall()
				s.endedAt(s.ended)
				s.note()
			}
			return true
		}
		if s.unnoted += bytes; s.unnoted >= scrubNoteBytes {
			s.note()
		}
		wait := time.Duration(bytes) * time.Second / time.Duration(s.log.cfg.Scrub.BytesPerSecond)
		if s.log.Age() > 0 {
			wait *= scrubYield
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

func (s *scrub) endedAt(when time.Time) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.mu.scrubbed.Ended = when
}

// turn verifies the next stretch of a pass, and reports how much it read and whether the pass has come
// to its end.
func (s *scrub) turn() (bytes int64, end bool) {
	e, at, ok := s.log.resume(s.at)
	if !ok {
		s.at, s.headed, s.chain = Position{}, 0, chain{}
		s.count(ScrubStats{Passes: 1})
		return 0, true
	}
	if s.log.begins(e.number) && at.Offset == blockBytes {
		s.chain = s.log.begin()
	}
	next, err := s.verify(e, at.Offset)
	if err != nil && s.log.gone(e.number) {
		s.at = Position{File: e.number, Offset: at.Offset}
		return 0, false
	}
	if err != nil {
		// Not the disk's fault, such as too many open files: another pass will come.
		s.log.cfg.Logger.Warn("scrub gave up a pass", "err", err)
		s.at, s.headed, s.chain = Position{}, 0, chain{}
		return 0, true
	}
	s.at = Position{File: e.number, Offset: next}
	bytes = next - at.Offset
	s.count(ScrubStats{Bytes: bytes})
	return bytes, false
}

func (s *scrub) count(more ScrubStats) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.mu.scrubbed.Bytes += more.Bytes
	s.log.mu.scrubbed.Passes += more.Passes
	s.log.mu.scrubbed.Damage += more.Damage
}

// tell reports a place, and again only if it reads differently: a group holds many batches, of which damage spares
// some that later damage may hit.
func (s *scrub) tell(d Damage, sum uint32) {
	if told, ok := s.told[d.At]; ok && told == sum {
		return
	}
	if s.told == nil {
		s.told = make(map[Position]uint32)
	}
	s.told[d.At] = sum
	s.count(ScrubStats{Damage: 1})
	if s.log.cfg.Scrub.Found != nil {
		s.log.cfg.Scrub.Found(d)
	}
}

// read fills the buffer from offset on, as far as the durable part goes. What cannot be read is
// missing from the end.
func (s *scrub) read(e extent, offset, bytes int64) ([]byte, error) {
	bytes = min(bytes, alignUp(e.end)-offset)
	if int64(len(s.buffer)) < bytes {
		s.buffer = alignedBytes(bytes)
	}
	b := s.buffer[:bytes]
	err := s.log.readBlocks(b, e.number, offset)
	return b, err
}

// verify looks at the next stretch of a file, and first of all at its header.
func (s *scrub) verify(e extent, offset int64) (int64, error) {
	if s.headed != e.number {
		if err := s.header(e); err != nil {
			return offset, err
		}
		s.headed = e.number
	}
	if e.pack() {
		return s.packed(e, offset)
	}
	return s.stretch(e, offset)
}

// header verifies the first block of a file: nothing that is read while the log runs needs it, and
// the next recovery does. An error says that the block could not be looked at.
func (s *scrub) header(e extent) error {
	b, err := s.read(extent{number: e.number, end: blockBytes}, 0, blockBytes)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if err == nil {
		var h FileHeader
		if h, err = e.parseHeader(b); err == nil && (h.Generation != e.generation() || h.Session != e.session) {
			err = errors.New("it is of another file")
		}
	}
	if err != nil {
		s.bad(e, 0, blockBytes, 0, "file header: "+err.Error())
	}
	return nil
}

// bad tells of a damaged range; sum is that of what was read there, where more of it may be damaged later.
func (s *scrub) bad(e extent, from, to int64, sum uint32, reason string) {
	if s.log.gone(e.number) {
		return // It was drained while it was being read.
	}
	d := s.log.damage(Position{File: e.number, Offset: from}, reason)
	d.Bytes = to - from
	s.tell(*d, sum)
}

// stretch verifies groups from offset on, at least one, and returns where the next one begins.
func (s *scrub) stretch(e extent, offset int64) (int64, error) {
	b, err := s.read(e, offset, scrubBytes)
	if err != nil {
		return s.unread(e, offset, err)
	}
	for start := offset; offset < start+int64(len(b)); {
		h, n, err := s.group(e, offset, b[offset-start:])
		switch {
		case errors.Is(err, errShort) && offset > start:
			return offset, nil // The next turn begins with it.
		case errors.Is(err, errShort):
			if b, err = s.read(e, offset, n); err != nil {
				return s.unread(e, offset, err)
			}
			continue
		case err != nil:
			return s.skip(e, offset, err.Error()), nil
		}
		s.chain = chain{sequence: h.Sequence, crc: h.CRC}
		offset += n
	}
	return offset, nil
}

// unread goes on behind what the device does not give back: a group at a time, so that one bad block
// is not taken for more than it is.
func (s *scrub) unread(e extent, offset int64, err error) (int64, error) {
	var damage *Damage
	if !errors.As(err, &damage) {
		return offset, err
	}
	b, err := s.read(e, offset, blockBytes)
	if err == nil {
		if _, n, short := s.group(e, offset, b); short == nil || errors.Is(short, errShort) {
			if b, err = s.read(e, offset, n); err == nil {
				if h, _, bad := s.group(e, offset, b); bad == nil {
					s.chain = chain{sequence: h.Sequence, crc: h.CRC}
					return offset + n, nil
				}
			}
		}
	}
	return s.skip(e, offset, damage.Reason), nil
}

// group verifies the group at the start of b, and returns how far it reaches. errShort says that b
// does not hold all of it.
func (s *scrub) group(e extent, offset int64, b []byte) (GroupHeader, int64, error) {
	h, err := parseGroupHeader(b)
	switch {
	case err != nil:
		return h, e.end, fmt.Errorf("group header: %w", err)
	case h.Generation != e.number || h.Session != e.session:
		return h, e.end, errors.New("group is of another file")
	case int64(h.Length) > e.end-offset:
		return h, e.end, errors.New("group is longer than the file")
	case alignUp(int64(h.Length)) > int64(len(b)):
		return h, alignUp(int64(h.Length)), errShort
	case !h.verifies(b[:h.Length]):
		return h, e.end, fmt.Errorf("group %d: %w", h.Sequence, errChecksum)
	case h.Sequence != s.chain.sequence+1:
		return h, e.end, fmt.Errorf("group %d lies where group %d was written", h.Sequence, s.chain.sequence+1)
	case h.Previous != s.chain.crc:
		return h, e.end, fmt.Errorf("group %d does not follow the group before it", h.Sequence)
	}
	return h, alignUp(int64(h.Length)), nil
}

// skip tells of damage at offset and finds the next group behind it: any that is whole, of this file
// and later than what came before. The chain goes on from there.
func (s *scrub) skip(e extent, offset int64, reason string) int64 {
	b, err := s.read(e, offset, blockBytes)
	sum, refused := summed(0, b, err), 0
	next := offset + blockBytes
	for ; next < e.end; next += blockBytes {
		b, err := s.read(e, next, blockBytes)
		after := summed(sum, b, err)
		if err == nil {
			var h GroupHeader
			if h, err = s.later(e, next, b); err == nil {
				s.chain = chain{sequence: h.Sequence - 1, crc: h.Previous}
				break
			}
		}
		sum = after
		if !isUnreadable(err) {
			refused = 0
		} else if refused++; refused == refusalsMax {
			next = e.end
		}
	}
	if next >= e.end {
		// The rest of the file; what comes first in the next one is taken as it is.
		next = e.end
		s.chain = s.resumed(e)
	}
	s.bad(e, offset, next, sum, reason)
	return next
}

// summed adds a block to the sum of what lies before it, and tells one that cannot be read from any that can.
func summed(before uint32, b []byte, err error) uint32 {
	if err != nil {
		b = []byte{1}
	}
	return crc32.Update(before, castagnoli, b)
}

// later finds the whole group at offset, which begins with b, that is later than the last one met. An error says that
// there is none, or none that can be read.
func (s *scrub) later(e extent, offset int64, b []byte) (GroupHeader, error) {
	h, err := parseGroupHeader(b)
	if err == nil && (h.Generation != e.number || h.Session != e.session ||
		h.Sequence <= s.chain.sequence || int64(h.Length) > e.end-offset) {
		err = errFormat
	}
	if err != nil {
		return h, err
	}
	b, err = s.read(e, offset, alignUp(int64(h.Length)))
	if err == nil && !h.verifies(b[:h.Length]) {
		err = errChecksum
	}
	return h, err
}

// resumed is the chain as the first group of the file after e wants it.
func (s *scrub) resumed(e extent) chain {
	after, at, ok := s.log.resume(Position{File: e.number + 1})
	if !ok {
		return s.chain
	}
	b, err := s.read(after, at.Offset, blockBytes)
	if err != nil {
		return s.chain
	}
	h, err := s.later(after, at.Offset, b)
	if err != nil {
		return s.chain
	}
	return chain{sequence: h.Sequence - 1, crc: h.Previous}
}

// Scrubber turns the log's scrub by hand; see Driver.
type Scrubber struct{ scrub }

// Scrubber returns a scrub of its own, which is at the beginning of a pass.
func (l *Log) Scrubber() *Scrubber { return &Scrubber{scrub{log: l}} }

// Turn verifies the next stretch, and returns io.EOF at the end of a pass.
func (s *Scrubber) Turn() error {
	if _, end := s.turn(); end {
		return io.EOF
	}
	return nil
}
