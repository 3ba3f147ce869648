package partition

import (
	"errors"
	"slices"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

const (
	// denseShare is how much of what is read from disk must be wanted, one part in so many, for whole
	// chunks to be read: below it each batch is read by itself.
	denseShare = 8
	// ownBytesMax is how many bytes a Reader reads into memory of its own once the WAL lends nothing
	// more, and one batch is always let through.
	ownBytesMax = 256 << 10
	// aheadChunksMax is how many chunks one read asks for ahead.
	aheadChunksMax = 8
	// expectedMax is how many readers of one partition are known to read on.
	expectedMax = 8
)

// Reader reads batches for who only passes them on, such as the answer to a fetch: what memory does not
// hold comes in memory that the WAL lends until Release, without a copy, and what a reader that goes on
// will want next is read ahead. It reads of the logs of one Store and is for one goroutine at a time; the
// zero value is ready.
//
// The memory lent to all readers together is bounded (wal.Cache). A reader that finds none left reads a
// little into memory of its own, and then returns less than it was asked for, but never nothing.
type Reader struct {
	loan *wal.Loan
	// own is how much was read into memory of its own for want of a loan.
	own int
}

// Query is what to read.
type Query struct {
	// From is an offset in the first batch.
	From topic.Offset
	// BytesMax bounds the batches together, but for the first with MinOne.
	BytesMax int
	MinOne   bool
	// Decided: as Log.ReadCommitted does, else as Log.Read.
	Decided bool
}

// Read is Log.Read, or Log.ReadCommitted, but that Batches are pieces of memory, in order, that together
// are whole batches, and hold only until Release.
func (r *Reader) Read(l *Log, q Query) (ReadResult, error) {
	var batches [][]byte
	pieces, result, err := l.read(q, func(pieces []piece) (count int, err error) {
		batches, count, err = r.gather(l, pieces, q.MinOne)
		return count, err
	})
	if err != nil || len(pieces) == 0 {
		return result, err
	}
	result.Batches = batches
	if pieces[len(pieces)-1].borrowed {
		l.readAhead(q.From, pieces)
	}
	return result, nil
}

// Release gives back what was lent. Nothing of what was read may be used any more.
func (r *Reader) Release() {
	r.loan.Release()
	r.own = 0
}

// gather collects the bytes of pieces, as far as it comes, and tells how many are there whole. Without
// an error it may be fewer than all for want of memory.
func (r *Reader) gather(l *Log, pieces []piece, minOne bool) (batches [][]byte, count int, err error) {
	batches = make([][]byte, 0, len(pieces)+len(pieces)/16+1)
	for i := 0; i < len(pieces); {
		if pieces[i].payload != nil {
			batches = append(batches, pieces[i].payload)
			i++
			continue
		}
		group := onDisk(pieces[i:])
		fill := dense(group, l.store.reader.ChunkBytes())
		var lent int
		batches, lent, err = r.borrow(l, group, fill, batches)
		if i += lent; lent == len(group) {
			continue
		}
		rest := group[lent:]
		if !errors.Is(err, wal.ErrNotLent) {
			rest = rest[:1] // Something is wrong with it, or it was moved: by itself it tells.
		} else if fill {
			if rest = r.bounded(rest, minOne && i == 0); len(rest) == 0 {
				return batches, i, nil
			}
		}
		loaded, err := l.load(rest)
		for _, p := range rest[:loaded] {
			batches = append(batches, p.payload)
		}
		if i += loaded; err != nil {
			return batches, i, err
		}
	}
	return batches, len(pieces), nil
}

// bounded is how many of the pieces may come in memory of the reader's own: one at least if none was
// read so, or if there must be one.
func (r *Reader) bounded(pieces []piece, minOne bool) []piece {
	for i, p := range pieces {
		if r.own > 0 && r.own+int(p.bytes) > ownBytesMax && (i > 0 || !minOne) {
			return pieces[:i]
		}
		r.own += int(p.bytes)
	}
	return pieces
}

// borrow appends what is lent of the pieces, and tells of how many, and why of no more.
func (r *Reader) borrow(l *Log, pieces []piece, fill bool, batches [][]byte) ([][]byte, int, error) {
	if r.loan == nil {
		r.loan = l.store.reader.Lend()
	}
	for i := range pieces {
		p := &pieces[i]
		record, rest, err := r.loan.Record(p.at, int64(p.encoded), fill)
		if err == nil {
			err = l.recognise(p, &record)
		}
		if err != nil {
			return batches, i, err
		}
		p.borrowed = true
		batches = append(append(batches, record.Payload), rest...)
	}
	return batches, len(pieces), nil
}

// onDisk is the longest front of pieces that lies in one file and not in memory.
func onDisk(pieces []piece) []piece {
	for i, p := range pieces {
		if p.payload != nil || p.at.File != pieces[0].at.File {
			return pieces[:i]
		}
	}
	return pieces
}

// dense reports whether enough of the chunks that the pieces lie in is wanted: a reader of one of a few
// partitions, or of a pack, wants them; of one of a thousand partitions it would be a waste.
func dense(pieces []piece, chunkBytes int64) bool {
	wanted := int64(0)
	for _, p := range pieces {
		wanted += int64(p.encoded)
	}
	last := pieces[len(pieces)-1]
	span := last.at.Offset + int64(last.encoded) - pieces[0].at.Offset
	return wanted*denseShare >= max(span, chunkBytes)
}

// readAhead asks for what a reader will want next that has read these pieces from `from` on, if it reads
// on: if it began where a read has ended before.
func (l *Log) readAhead(from topic.Offset, pieces []piece) {
	wanted := int64(0)
	for _, p := range pieces {
		wanted += int64(p.bytes)
	}
	for _, at := range l.next(from, pieces[len(pieces)-1].end(), wanted) {
		l.store.reader.Prefetch(at)
	}
}

// next lists the chunks that hold about `wanted` bytes from offset end on, if a read from `from` on was
// expected. From now on one from end on is.
func (l *Log) next(from, end topic.Offset, wanted int64) []wal.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := slices.Index(l.mu.expected[:], from)
	if known < 0 {
		l.mu.expected[l.mu.expectedNext%expectedMax] = end
		l.mu.expectedNext++
		return nil
	}
	l.mu.expected[known] = end
	chunkBytes, found := l.store.reader.ChunkBytes(), int64(0)
	var chunks []wal.Position
	for i := l.mu.index.covering(end); i < l.mu.settled && found < wanted && l.heldLocked(i) == nil; i++ {
		e := l.mu.index.at(i)
		first := e.at.Offset - e.at.Offset%chunkBytes
		for at := first; at < e.at.Offset+int64(e.encoded); at += chunkBytes {
			place := wal.Position{File: e.at.File, Offset: at}
			if n := len(chunks); n > 0 && chunks[n-1] == place {
				continue
			}
			if len(chunks) == aheadChunksMax {
				return chunks
			}
			chunks = append(chunks, place)
		}
		found += int64(e.encoded)
	}
	if found*denseShare < int64(len(chunks))*chunkBytes {
		return nil
	}
	return chunks
}
