package partition

import (
	"errors"
	"fmt"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// ReadResult is what Read found.
type ReadResult struct {
	// Batches are whole record batches in offset order. They are immutable and may be kept.
	Batches                         [][]byte
	HighWatermark, LogStart, LogEnd topic.Offset
	// LastStable is the offset below which every transaction is decided.
	LastStable topic.Offset
	// Aborted are the aborted transactions among the batches, of ReadCommitted alone.
	Aborted []AbortedTransaction
}

// Read reads committed batches from the one that holds `from` on: from memory if they are there,
// else from the WAL. A batch is returned whole or not at all (checklist 21); bytesMax bounds them
// all together, except that with minOne the first comes however large it is. At or above the high
// watermark there is nothing to read; below the log start or above the log end the error is
// ErrOffsetOutOfRange, and the offsets of the result hold all the same.
func (l *Log) Read(from topic.Offset, bytesMax int, minOne bool) (ReadResult, error) {
	return l.readOwned(Query{From: from, BytesMax: bytesMax, MinOne: minOne})
}

// readOwned reads into memory that may be kept.
func (l *Log) readOwned(q Query) (ReadResult, error) {
	pieces, result, err := l.read(q, l.load)
	if err != nil || len(pieces) == 0 {
		return result, err
	}
	result.Batches = make([][]byte, len(pieces))
	for i := range pieces {
		result.Batches[i] = pieces[i].payload
	}
	return result, nil
}

// read finds the batches and has them taken from the disk, and returns those at the front that take has
// brought: what lies before a damaged one is as good as ever. It begins anew if the log was compacted
// meanwhile.
func (l *Log) read(q Query, take func([]piece) (taken int, err error)) ([]piece, ReadResult, error) {
	var pieces []piece
	var result ReadResult
	err := untilStill(func() (err error) {
		if pieces, result, err = l.committedPieces(q); err != nil || len(pieces) == 0 {
			return err
		}
		taken, err := take(pieces)
		if taken > 0 && (errors.Is(err, errRewritten) || errors.Is(err, wal.ErrDamaged)) {
			err = nil
		}
		pieces = pieces[:taken]
		if err != nil {
			return fmt.Errorf("read batches from %d: %w", q.From, err)
		}
		return nil
	})
	if err != nil {
		return nil, result, err
	}
	var bytes int64
	for i := range pieces {
		bytes += int64(pieces[i].bytes)
	}
	l.store.served.Add(bytes)
	return pieces, result, nil
}

// rereadsMax is how often a read begins anew because the log was compacted meanwhile.
const rereadsMax = 8

// errRewritten: a batch is not there any more as it was, since the log was compacted or its start has moved.
var errRewritten = fmt.Errorf("batch was rewritten: %w", ErrOffsetOutOfRange)

// untilStill calls fn again if it met a batch that had just been rewritten. That a log is rewritten again and
// again says nothing of its offsets.
func untilStill(fn func() error) error {
	for range rereadsMax {
		if err := fn(); !errors.Is(err, errRewritten) {
			return err
		}
	}
	return fmt.Errorf("the log is rewritten again and again: %w", wal.ErrMoved)
}

// piece is a batch that is to be read. What memory holds of it is there already; the rest can be
// read after the mutex was let go, since the WAL never rewrites what is durable.
type piece struct {
	extent
	payload []byte
	// borrowed: the payload was lent, and is not kept here.
	borrowed bool
}

func (l *Log) committedPieces(q Query) ([]piece, ReadResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	result := ReadResult{
		HighWatermark: l.mu.highWatermark,
		LogStart:      l.mu.start,
		LogEnd:        l.mu.end,
		LastStable:    l.lastStableLocked(),
	}
	switch {
	case l.removedLocked():
		return nil, result, ErrRemoved
	case q.From < l.mu.start || q.From > l.mu.end:
		return nil, result, ErrOffsetOutOfRange
	}
	first, until := l.mu.index.covering(q.From), l.mu.committed
	if q.Decided {
		until = min(until, l.mu.index.covering(result.LastStable))
	}
	pieces := l.piecesLocked(first, until, q.BytesMax, q.MinOne)
	if q.Decided && len(pieces) > 0 {
		result.Aborted = l.mu.producers.transactions.within(q.From, pieces[len(pieces)-1].end())
	}
	return pieces, result, nil
}

// pieces lists the batches from the one that holds `from` on that end at or below end, committed or
// not: at least one if there is one, about bytesMax in all.
func (l *Log) pieces(from, end topic.Offset, bytesMax int) []piece {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, until := l.boundaryLocked(end)
	return l.piecesLocked(l.mu.index.covering(from), until, bytesMax, true)
}

// piecesLocked lists the batches with index first <= i < until, as far as bytesMax reaches.
func (l *Log) piecesLocked(first, until, bytesMax int, minOne bool) []piece {
	count, left := 0, bytesMax
	for i := first; i < until; i++ {
		e := l.mu.index.at(i)
		left -= int(e.bytes)
		if left < 0 && (count > 0 || !minOne) {
			break
		}
		if count > 0 && len(l.mu.damaged) > 0 && l.damagedLocked(e.base) && l.heldLocked(i) == nil {
			break
		}
		count++
	}
	if count == 0 {
		return nil
	}
	pieces := make([]piece, count)
	for i := range pieces {
		pieces[i] = piece{extent: l.mu.index.at(first + i), payload: l.heldLocked(first + i)}
	}
	return pieces
}

// heldLocked is the bytes of batch i if memory has them. The tail covers the end of the index.
func (l *Log) heldLocked(i int) []byte {
	inTail := i - (l.mu.index.len() - l.mu.tail.len())
	if inTail < 0 {
		return nil
	}
	return l.mu.tail.at(inTail).payload
}

// ReadTail lists batches from the one that holds `from` on, from memory alone, beyond the high
// watermark and beyond the durable end too: at least one if there is one, about bytesMax in all. It
// is not ok if memory does not reach back to `from` (or `from` is beyond the log end); at the log
// end there is nothing, and that is ok.
func (l *Log) ReadTail(from topic.Offset, bytesMax int) (entries []Entry, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removedLocked() || from > l.mu.end || from < l.firstLocked() {
		return nil, false
	}
	first := l.mu.index.covering(from)
	if first < l.mu.index.len()-l.mu.tail.len() {
		return nil, false
	}
	for _, p := range l.piecesLocked(first, l.mu.index.len(), bytesMax, true) {
		entries = append(entries, l.entryLocked(p.base, p.count, p.epoch, p.payload))
	}
	return entries, true
}

func (l *Log) entryLocked(
	base topic.Offset, count int32, epoch topic.Epoch, payload []byte,
) Entry {
	return Entry{
		Partition: l.partition,
		Epoch:     epoch,
		PrevEpoch: l.mu.epochs.of(base - 1),
		Base:      base,
		Count:     count,
		Payload:   payload,
	}
}

// Position tells where in the WAL the batch that holds offset lies. It is not ok if there is no such
// batch, if it is not durable yet, or if it is known to be damaged.
func (l *Log) Position(offset topic.Offset) (at wal.Position, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.mu.index.covering(offset)
	if offset < l.firstLocked() || i >= l.mu.settled || l.damagedLocked(l.mu.index.at(i).base) {
		return wal.Position{}, false
	}
	return l.mu.index.at(i).at, true
}

// load reads what memory did not hold, and returns how many pieces at the front are there then.
// Neighbours in the WAL are read together. The first one that is damaged is remembered as such.
func (l *Log) load(pieces []piece) (loaded int, err error) {
	for i := 0; i < len(pieces); {
		if pieces[i].payload != nil {
			i++
			continue
		}
		run := neighbours(pieces[i:])
		if err := l.loadRun(run); err == nil {
			i += len(run)
			continue
		} else if !errors.Is(err, wal.ErrDamaged) {
			return i, err
		}
		// One of them is damaged, or something that lies between them: each by itself tells.
		for ; len(run) > 0; run = run[1:] {
			if err := l.loadOne(&run[0]); errors.Is(err, wal.ErrDamaged) {
				l.noteDamage(run[0].extent)
				return i, err
			} else if err != nil {
				return i, err
			}
			i++
		}
	}
	return len(pieces), nil
}

// neighbours returns the longest front of pieces, none of which is in memory, that one sequential
// read can bring at a cost of at most twice their bytes.
func neighbours(pieces []piece) []piece {
	first := pieces[0]
	wanted := int64(0)
	for i, p := range pieces {
		wanted += int64(p.encoded)
		span := p.at.Offset + int64(p.encoded) - first.at.Offset
		if p.payload != nil || p.at.File != first.at.File || span > 2*wanted {
			return pieces[:i]
		}
	}
	return pieces
}

// loadOne reads one batch, from its new place if it was drained meanwhile.
func (l *Log) loadOne(p *piece) error {
	r, err := l.store.reader.ReadRecord(p.at, int64(p.encoded))
	for errors.Is(err, wal.ErrMoved) {
		if err = l.locate(p); err == nil {
			r, err = l.store.reader.ReadRecord(p.at, int64(p.encoded))
		}
	}
	if err == nil {
		err = l.recognise(p, &r)
	}
	if err == nil {
		p.payload = r.Payload
	}
	return err
}

// locate finds where a batch lies now that is not where it was.
func (l *Log) locate(p *piece) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.mu.index.covering(p.base)
	if i >= l.mu.settled || l.mu.index.at(i).base != p.base || l.mu.index.at(i).epoch != p.epoch ||
		l.mu.index.at(i).count != p.count {
		return fmt.Errorf("the batch at %d is gone: %w", p.base, errRewritten)
	}
	if now := l.mu.index.at(i); now.at != p.at {
		if now.bytes != p.bytes {
			return fmt.Errorf("the batch at %d has changed: %w", p.base, errRewritten)
		}
		p.extent = now
		return nil
	}
	return fmt.Errorf("the batch at %d lies at %v, where nothing is: %w", p.base, p.at, wal.ErrDamaged)
}

// recognise compares a record with what the log has at its place. A record of the same file has a good
// checksum wherever a misdirected write has put it.
func (l *Log) recognise(p *piece, r *wal.Record) error {
	if r.Kind != wal.Data || r.Partition != l.partition || r.Base != p.base || r.Epoch != p.epoch ||
		r.Count != p.count {
		return fmt.Errorf("at %v lies %v of %v at %d, epoch %d, and not the batch at %d, epoch %d: %w",
			p.at, r.Kind, r.Partition, r.Base, r.Epoch, p.base, p.epoch, wal.ErrDamaged)
	}
	return nil
}

// loadRun reads one run of neighbours.
func (l *Log) loadRun(run []piece) error {
	if len(run) == 1 {
		return l.loadOne(&run[0])
	}
	last := run[len(run)-1]
	next := run[0].at
	for missing := run; len(missing) > 0; {
		span := int(last.at.Offset + int64(last.encoded) - next.Offset)
		records, after, err := l.store.reader.Scan(next, span)
		for i := range records {
			if r := &records[i]; len(missing) > 0 && r.At == missing[0].at {
				if err := l.recognise(&missing[0], &r.Record); err != nil {
					return err
				}
				missing[0].payload = r.Payload
				missing = missing[1:]
			}
		}
		switch {
		case len(missing) == 0:
			return nil
		case err != nil && !isEnd(err):
			return err
		case isEnd(err), after.Compare(next) <= 0, after.Compare(missing[0].at) > 0:
			// Also the end of the log is damage if a batch must be there.
			return fmt.Errorf("scan for the batch at %v stopped at %v: %w",
				missing[0].at, after, wal.ErrDamaged)
		}
		next = after
	}
	return nil
}

// Scan lists the batches that lie in the WAL from position `from` on, of all partitions, as far as
// they still belong to a log here: cut, removed and damaged ones are left out. PrevEpoch is filled in.
// end says that `next` is the durable end.
func (s *Store) Scan(
	from wal.Position, bytesMax int,
) (entries []Entry, next wal.Position, end bool, err error) {
	records, next, err := s.reader.Scan(from, bytesMax)
	if damage := (*wal.Damage)(nil); errors.As(err, &damage) {
		next, more := s.passOver(damage)
		return nil, next, !more, nil
	}
	if end = isEnd(err); err != nil && !end {
		return nil, from, false, fmt.Errorf("scan node WAL from %v: %w", from, err)
	}
	for _, r := range records {
		if r.Kind != wal.Data {
			continue
		}
		l := s.Log(r.Partition)
		if l == nil {
			continue
		}
		if e, ok := l.scanned(r); ok {
			entries = append(entries, e)
		}
	}
	if s.cfg.mutant == ScansLoseTheLast && len(entries) > 1 {
		entries = entries[:len(entries)-1]
	}
	return entries, next, end, nil
}

// scanned makes an Entry of a record if it is the one that the log has at its offset.
func (l *Log) scanned(r wal.Placed) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.mu.index.covering(r.Base)
	if i >= l.mu.settled || l.mu.index.at(i).at != r.At {
		return Entry{}, false
	}
	return l.entryLocked(r.Base, r.Count, r.Epoch, r.Payload), true
}
