package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// Guard walks body by the shape of (key, version).
func Guard(key, version int16, body []byte) error { return errSkeleton }

// Decode guards body and decodes it. Byte fields alias body.
func Decode(h Header, body []byte) (kmsg.Request, error) { return nil, errSkeleton }
