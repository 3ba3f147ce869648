package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// Loan is memory of the log's cache that a reader has borrowed. It does not change and does not go before
// Release, whatever becomes of the log and of the file that it was read from: a truncation, a drain, a
// pack that is removed. It is for one goroutine at a time; a nil one lends nothing.
type Loan struct {
	log *Log
	// chunks are those that are lent, each once, the latest last.
	chunks []*chunk
}

// Lend begins a loan.
func (l *Log) Lend() *Loan { return &Loan{log: l} }

// Release gives back all that was lent: none of it may be read any more. The loan can be used again.
func (o *Loan) Release() {
	if o == nil {
		return
	}
	for _, k := range o.chunks {
		o.log.cache.giveBack(k)
	}
	clear(o.chunks)
	o.chunks = o.chunks[:0]
}

// Record is ReadRecord out of lent memory. The chunks that the record lies in are read if they are not
// there, which takes fill; else, and if the cache has no room, the error is ErrNotLent. The payload lies
// in as many pieces as chunks: r.Payload is the first, rest are the others.
//
// The checksum is verified every time, as ReadRecord does it. What fails is not judged here: the cache
// forgets the bytes, and the caller reads the record by itself to learn what is wrong.
func (o *Loan) Record(at Position, encodedLen int64, fill bool) (r Record, rest [][]byte, err error) {
	if o == nil || at.Offset < blockBytes || encodedLen < recordHeaderBytes {
		return Record{}, nil, ErrNotLent
	}
	size := o.log.cache.cfg.ChunkBytes
	in := at.Offset % size
	k, err := o.chunk(Position{File: at.File, Offset: at.Offset - in}, in+encodedLen, fill)
	if err != nil {
		return Record{}, nil, err
	}
	if in+encodedLen > size {
		return o.across(k, at, encodedLen, fill)
	}
	r, n, err := parseRecord(k.bytes()[in:in+encodedLen], k.seed)
	if err == nil && n != encodedLen {
		err = errFormat
	}
	if err != nil {
		o.log.cache.forget(k)
		return Record{}, nil, fmt.Errorf("borrow record at %s: %w", at, err)
	}
	return r, nil, nil
}

// across is Record for one that begins in chunk k and ends in a later one.
func (o *Loan) across(k *chunk, at Position, encodedLen int64, fill bool) (Record, [][]byte, error) {
	size := o.log.cache.cfg.ChunkBytes
	seed, used := k.seed, []*chunk{k}
	encoded := [][]byte{k.bytes()[at.Offset-k.at.Offset:]}
	for left := encodedLen - int64(len(encoded[0])); left > 0; left -= size {
		next := Position{File: at.File, Offset: at.Offset + encodedLen - left}
		k, err := o.chunk(next, left, fill)
		if err != nil {
			return Record{}, nil, err
		}
		encoded, used = append(encoded, k.bytes()[:min(left, size)]), append(used, k)
	}
	r, payload, err := parsePieces(encoded, seed, encodedLen)
	if err != nil {
		for _, k := range used {
			o.log.cache.forget(k)
		}
		return Record{}, nil, fmt.Errorf("borrow record at %s: %w", at, err)
	}
	r.Payload = payload[0]
	return r, payload[1:], nil
}

// chunk is one that the loan has, or that it takes up.
func (o *Loan) chunk(at Position, need int64, fill bool) (*chunk, error) {
	need = min(need, o.log.cache.cfg.ChunkBytes)
	for _, k := range slices.Backward(o.chunks) {
		if k.at == at && k.filled >= need {
			return k, nil
		}
	}
	if int64(len(o.chunks)) >= max(o.log.cache.cfg.BytesMax/o.log.cache.cfg.ChunkBytes/loanShare, 1) {
		return nil, ErrNotLent
	}
	k, err := o.log.chunk(at, need, fill)
	if err != nil {
		return nil, err
	}
	o.chunks = append(o.chunks, k)
	return k, nil
}

// chunk returns the chunk at that place, in use, ready and with `need` bytes.
func (l *Log) chunk(at Position, need int64, fill bool) (*chunk, error) {
	k, mine := l.cache.lookup(at, need), false
	if k == nil {
		e, ok := l.extent(at.File)
		if !fill || !ok || e.end-at.Offset < need {
			return nil, ErrNotLent
		}
		if k, mine = l.cache.begin(e, at, need); k == nil {
			return nil, ErrNotLent
		}
	}
	if mine {
		l.cache.done(k, l.readOnce(k.buffer[:alignUp(k.filled)], at.File, at.Offset))
	}
	<-k.ready
	if k.err != nil {
		l.cache.giveBack(k)
		return nil, k.err
	}
	return k, nil
}

// parsePieces is parseRecord for one that lies in pieces, whose lengths add up to n.
func parsePieces(pieces [][]byte, seed uint32, n int64) (Record, [][]byte, error) {
	var header [recordHeaderBytes]byte
	rest, have := pieces, 0
	for have < len(header) {
		taken := copy(header[have:], rest[0])
		have += taken
		if rest[0] = rest[0][taken:]; len(rest[0]) == 0 {
			rest = rest[1:]
		}
	}
	if length, err := recordLen(header[:]); err != nil || length != n {
		return Record{}, nil, errors.Join(err, errFormat)
	}
	sum := recordCRC(header[:], seed)
	for _, b := range rest {
		sum = crc32.Update(sum, castagnoli, b)
	}
	if sum != endian.Uint32(header[4:]) {
		return Record{}, nil, errChecksum
	}
	r, length, err := decodeRecord(header[:])
	if err != nil {
		return Record{}, nil, err
	}
	return r, cut(rest, length), nil
}

// cut takes the padding off the end of a payload, which may reach into the piece before the last. There
// is one piece at least.
func cut(pieces [][]byte, length int) [][]byte {
	for i := range pieces {
		if length <= len(pieces[i]) {
			pieces[i] = pieces[i][:length:length]
			return pieces[:i+1]
		}
		length -= len(pieces[i])
	}
	return [][]byte{nil}
}
