package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy"
)

// Snappy has no stream format of its own that Kafka uses. A body is one raw block, or, from Java
// and those who imitate it, a header and blocks with their lengths:
//
//	82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version i32 | compatible i32 | length i32, block | ...
const (
	xerialMagic       = "\x82SNAPPY\x00"
	xerialHeaderBytes = len(xerialMagic) + 8
	// snappyRatioMax: the densest element is three bytes that copy 64.
	snappyRatioMax = 22
)

var errSnappy = errors.New("malformed snappy")

// snappyReader decompresses block by block. Only one block is in memory, and a block's memory is
// bounded by its compressed size, whatever it declares.
type snappyReader struct {
	src    []byte // blocks not yet decompressed
	framed bool
	block  []byte // the block at hand; block[at:] is unread
	at     int
	limit  int
}

func (s *snappyReader) reset(body []byte, limit int) {
	*s = snappyReader{src: body, block: s.block[:0], limit: limit}
	if len(body) >= xerialHeaderBytes && string(body[:len(xerialMagic)]) == xerialMagic {
		s.framed = true
		s.src = body[xerialHeaderBytes:]
	}
}

// Read returns bytes of the current block, or of the next.
func (s *snappyReader) Read(p []byte) (int, error) {
	for s.at == len(s.block) {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.block[s.at:])
	s.at += n
	return n, nil
}

func (s *snappyReader) next() error {
	if len(s.src) == 0 {
		return io.EOF
	}
	block := s.src
	if s.framed {
		if len(s.src) < 4 {
			return fmt.Errorf("block length missing: %w", errSnappy)
		}
		n := binary.BigEndian.Uint32(s.src)
		if uint64(n) > uint64(len(s.src)-4) {
			return fmt.Errorf("block of %d bytes, %d left: %w", n, len(s.src)-4, errSnappy)
		}
		block = s.src[4 : 4+n]
		s.src = s.src[4+n:]
	} else {
		s.src = nil
	}
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return fmt.Errorf("read block: %w", err)
	}
	if n > s.limit {
		return fmt.Errorf("block of %d bytes: %w", n, ErrTooLarge)
	}
	if n > snappyRatioMax*len(block) {
		return fmt.Errorf("block of %d bytes from %d: %w", n, len(block), errSnappy)
	}
	if cap(s.block) < n {
		s.block = make([]byte, n)
	}
	s.block, err = snappy.Decode(s.block[:cap(s.block)], block)
	s.at = 0
	if err != nil {
		s.block = s.block[:0]
		return fmt.Errorf("read block: %w", err)
	}
	return nil
}
