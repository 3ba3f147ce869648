package wire

import (
	"encoding/binary"
	"fmt"
)

// headerFixedBytes is what every version of the request header begins with: key, version,
// correlation id.
const headerFixedBytes = 8

// Header is the header of a request.
type Header struct {
	Key           int16   // which API
	Version       int16   // of that API
	CorrelationID int32   // echoed in the response
	ClientID      *string // nil when the client sent null
}

// ParseHeader splits a frame into header and body. body aliases frame, ClientID does not.
//
// With ErrUnsupported the header is valid as far as the client's bytes allow: key, version and
// correlation id always, the client id if it could be read. With ErrMalformed the header holds what
// was read before the damage, for the log line.
func ParseHeader(frame []byte) (Header, []byte, error) {
	if len(frame) < headerFixedBytes {
		return Header{}, nil, fmt.Errorf("parse header of %d bytes: %w", len(frame), ErrMalformed)
	}
	h := Header{
		Key:           int16(binary.BigEndian.Uint16(frame[0:])),
		Version:       int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
	}
	rest := frame[headerFixedBytes:]
	api, ok := Lookup(h.Key)
	if !ok || !api.Advertises(h.Version) {
		h.ClientID, _, _ = clientID(rest)
		return h, nil, fmt.Errorf("parse header of key %d version %d: %w", h.Key, h.Version,
			ErrUnsupported)
	}
	var err error
	if h.ClientID, rest, err = clientID(rest); err != nil {
		return h, nil, fmt.Errorf("parse header of %s v%d: %w", api.Name, h.Version, err)
	}
	if shape := shapeOf(h.Key); h.Version >= shape.flexible {
		w := walker{rest: rest, version: h.Version, flexible: true, elements: elementsMax}
		if err := w.tags(nil); err != nil {
			return h, nil, fmt.Errorf("parse header of %s v%d: %w", api.Name, h.Version, err)
		}
		rest = w.rest
	}
	return h, rest, nil
}

// clientID reads the client id, which has a 16 bit length even in flexible headers: a client sends
// ApiVersions before it knows what the broker understands.
func clientID(b []byte) (id *string, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, fmt.Errorf("client id: %w", ErrMalformed)
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	b = b[2:]
	if n == -1 {
		return nil, b, nil
	}
	if n < 0 || n > len(b) {
		return nil, nil, fmt.Errorf("client id of %d bytes, %d left: %w", n, len(b), ErrMalformed)
	}
	text := string(b[:n])
	return &text, b[n:], nil
}
