package batch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	windowBytes = 16 << 10
	// windowKeepBytes is how large a window may be to be used again.
	windowKeepBytes = 256 << 10
	// zstdWindowBytes is how far back a zstd stream may refer. The decoder allocates as much when
	// a frame asks for it. Levels up to 19 ask for 8 MiB; what asks for more is decoded in one
	// piece, whose memory follows what comes out.
	zstdWindowBytes      = 8 << 20
	zstdWindowBytesLimit = 128 << 20
	// zstdRatioMax: the densest block is four bytes that stand for 128 KiB.
	zstdRatioMax = 32 << 10
)

// stream decompresses one batch at a time. Its decoders are costly to make and are kept.
type stream struct {
	src    bytes.Reader
	window []byte
	gzip   *gzip.Reader
	lz4    *lz4.Reader
	zstd   *zstd.Decoder
	snappy snappyReader
}

// streams holds idle streams: a cache, which changes no result.
var streams = sync.Pool{New: func() any { return &stream{window: make([]byte, 0, windowBytes)} }}

func openStream() *stream { return streams.Get().(*stream) }

// close gives the stream back and lets go of the batch.
func (s *stream) close() {
	s.src.Reset(nil)
	s.snappy = snappyReader{block: s.snappy.block[:0]}
	if cap(s.snappy.block) > windowKeepBytes {
		s.snappy.block = nil
	}
	streams.Put(s)
}

// keep takes back the window that start lent to c.
func (s *stream) keep(c *cursor) {
	if cap(c.buf) <= windowKeepBytes {
		s.window = c.buf[:0]
	} else {
		s.window = make([]byte, 0, windowBytes)
	}
}

// start makes c read body, decompressed and at most limit bytes of it.
func (s *stream) start(c *cursor, codec Codec, body []byte, limit int) error {
	r, err := s.open(codec, body, limit)
	if err != nil {
		return err
	}
	*c = cursor{buf: s.window[:0], r: r, left: int64(limit)}
	return nil
}

func (s *stream) open(codec Codec, body []byte, limit int) (io.Reader, error) {
	s.src.Reset(body)
	switch codec {
	case CodecGzip:
		return s.openGzip()
	case CodecSnappy:
		s.snappy.reset(body, limit)
		return &s.snappy, nil
	case CodecLz4:
		if s.lz4 == nil {
			s.lz4 = lz4.NewReader(&s.src)
		}
		s.lz4.Reset(&s.src)
		return s.lz4, nil
	case CodecZstd:
		return s.openZstd(body, limit)
	}
	return nil, fmt.Errorf("%s: %w", codec, ErrUnsupportedCodec)
}

func (s *stream) openGzip() (io.Reader, error) {
	var err error
	if s.gzip == nil {
		s.gzip, err = gzip.NewReader(&s.src)
	} else {
		err = s.gzip.Reset(&s.src)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress records: %w: %w", ErrInvalidRecord, err)
	}
	return s.gzip, nil
}

func (s *stream) openZstd(body []byte, limit int) (io.Reader, error) {
	var h zstd.Header
	if err := h.Decode(body); err != nil {
		return nil, fmt.Errorf("decompress records: %w: %w", ErrInvalidRecord, err)
	}
	if h.HasFCS && h.FrameContentSize > uint64(limit) {
		return nil, fmt.Errorf("%d decompressed bytes: %w", h.FrameContentSize, ErrTooLarge)
	}
	if h.HasFCS && h.FrameContentSize > uint64(len(body))*zstdRatioMax {
		return nil, invalid("%d bytes from %d", h.FrameContentSize, len(body))
	}
	if h.WindowSize > zstdWindowBytes || h.SingleSegment && h.FrameContentSize > zstdWindowBytes {
		return s.wholeZstd(body, limit)
	}
	var err error
	if s.zstd == nil {
		// One at a time, and so without goroutines; never in one piece behind our back.
		s.zstd, err = zstd.NewReader(&s.src, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindowBytes),
			zstd.WithDecodeBuffersBelow(0))
	} else {
		err = s.zstd.Reset(&s.src)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress records: %w: %w", ErrInvalidRecord, err)
	}
	return s.zstd, nil
}

// wholeZstd decompresses a frame with a large window in one piece. The decoder refuses windows over
// its memory, so that cannot be less than the largest window; the cursor still stops at limit.
func (s *stream) wholeZstd(body []byte, limit int) (io.Reader, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(uint64(max(limit, zstdWindowBytesLimit))),
		zstd.WithDecoderMaxWindow(zstdWindowBytesLimit))
	if err != nil {
		return nil, fmt.Errorf("decompress records: %w", err)
	}
	defer d.Close()
	out, err := d.DecodeAll(body, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, fmt.Errorf("more decompressed bytes than allowed: %w", ErrTooLarge)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress records: %w: %w", ErrInvalidRecord, err)
	}
	s.src.Reset(out)
	return &s.src, nil
}
