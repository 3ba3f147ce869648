package wire

import "io"

// FrameReader cuts a stream into frames.
type FrameReader struct{ r io.Reader }

// NewFrameReader reads frames of at most limit bytes from r.
func NewFrameReader(r io.Reader, limit int) *FrameReader { return &FrameReader{r: r} }

// Next returns the next frame, without its size. The caller owns the slice.
func (f *FrameReader) Next() ([]byte, error) { return nil, errSkeleton }
