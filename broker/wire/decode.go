package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decode guards body and decodes it as the request that h names. Byte fields of the result, above
// all the record batches of Produce, alias body; strings are copies. A request that keeps its bytes
// keeps the frame, so a frame must not be reused.
func Decode(h Header, body []byte) (kmsg.Request, error) {
	if err := Guard(h.Key, h.Version, body); err != nil {
		return nil, err
	}
	req := kmsg.RequestForKey(h.Key)
	if req == nil {
		return nil, fmt.Errorf("decode key %d: %w", h.Key, ErrUnsupported)
	}
	req.SetVersion(h.Version)
	if err := req.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("decode %s v%d: %w: %w", shapeOf(h.Key).name, h.Version,
			ErrMalformed, err)
	}
	return req, nil
}
