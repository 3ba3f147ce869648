package wire

import "errors"

// Header is a request header with what the broker needs of it.
type Header struct {
	Key           int16   // which API
	Version       int16   // of that API
	CorrelationID int32   // echoed in the response
	ClientID      *string // nil when the client sent null
}

var errSkeleton = errors.New("not written yet")

// ParseHeader splits a frame into its header and the body of the request.
func ParseHeader(frame []byte) (Header, []byte, error) { return Header{}, nil, errSkeleton }
