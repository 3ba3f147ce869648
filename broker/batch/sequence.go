package batch

import "math"

// AddSequence counts on from a sequence number; after 2^31-1 comes 0.
func AddSequence(s, n int32) int32 {
	return int32((int64(s) + int64(n)) & math.MaxInt32)
}
