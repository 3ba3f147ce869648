package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"outrigger/broker/uncleared"
)

// A frame's memory starts at firstBytes and may be growth times what has arrived, so that a client
// who declares much and sends little costs little. Growing copies: 16 KiB of a frame of 128 KiB,
// 144 KiB of one of a mebibyte. Who has sent a whole frame once is given as much at once the next time:
// that is still no more than came.
const (
	firstBytes  = 16 << 10
	growth      = 8
	bufferBytes = 4 << 10
)

// FrameReader cuts a stream into frames. It is for one goroutine.
type FrameReader struct {
	r     *bufio.Reader
	limit int
	// proven is the size of the largest frame that came whole.
	proven int
	head   [4]byte // the size of the frame at hand
}

// NewFrameReader reads frames of at most limit bytes from r.
func NewFrameReader(r io.Reader, limit int) *FrameReader {
	return &FrameReader{r: bufio.NewReaderSize(r, bufferBytes), limit: limit}
}

// Next returns the next frame without its size. Each frame is memory of its own and the caller's:
// the log keeps the record batches of a Produce request as they lie in the frame.
//
// The error is io.EOF between frames, io.ErrUnexpectedEOF within one, *FrameSizeError for a size
// that is not allowed, else the reader's.
func (f *FrameReader) Next() ([]byte, error) {
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("read frame size: %w", err)
	}
	size := int32(binary.BigEndian.Uint32(f.head[:]))
	if size < 0 || int(size) > f.limit {
		return nil, &FrameSizeError{Size: size, Limit: f.limit}
	}
	return f.body(int(size))
}

// body reads size bytes into one slice that grows as they arrive.
func (f *FrameReader) body(size int) ([]byte, error) {
	// No byte of it is shown before all have come.
	frame := uncleared.Bytes(min(size, max(firstBytes, f.proven)))
	for filled := 0; ; {
		n, err := io.ReadFull(f.r, frame[filled:])
		filled += n
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, fmt.Errorf("read frame, %d of %d bytes: %w", filled, size, err)
		}
		if filled == size {
			f.proven = max(f.proven, size)
			return frame, nil
		}
		// Never leave a last step that copies nearly everything for a few bytes more.
		next := filled * growth
		if next*2 > size {
			next = size
		}
		grown := uncleared.Bytes(next)
		copy(grown, frame)
		frame = grown
	}
}
