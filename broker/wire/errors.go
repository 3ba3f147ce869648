package wire

import (
	"errors"
	"fmt"
)

var (
	// ErrMalformed is a header or body that is not what its key and version say. The connection
	// cannot be trusted any longer: count it and close.
	ErrMalformed = errors.New("malformed request")
	// ErrUnsupported is a key or a version that this broker does not serve. The header that comes
	// with it holds key, version and correlation id, so ApiVersions can still be answered
	// (AppendUnsupportedAPIVersions); for any other key: count it and close.
	ErrUnsupported = errors.New("unsupported request")
)

// FrameSizeError is a frame whose declared size is negative or over the limit. What follows on the
// connection has no meaning: count it and close.
type FrameSizeError struct {
	Size  int32 // as declared
	Limit int   // socket.request.max.bytes
}

// Error says what was declared and what is allowed.
func (e *FrameSizeError) Error() string {
	return fmt.Sprintf("frame of %d bytes, allowed are 0 to %d", e.Size, e.Limit)
}
