package nemesis

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"outrigger/e2e/history"
)

// A payload is its value in 16 hexadecimal digits, and padding. Most are small; some fill a good part
// of a group.
const (
	valueDigits  = 16
	paddingSmall = 90
	paddingLarge = 20 << 10
	// largeEvery is how many payloads come per large one.
	largeEvery = 97
)

var paddings = [...]string{strings.Repeat(".", paddingSmall), strings.Repeat("x", paddingLarge)}

// values counts up, for all producers.
type values struct{ last atomic.Uint64 }

// next draws a value that nobody has, and its payload.
func (v *values) next() (history.Value, string) {
	n := v.last.Add(1)
	padding := paddings[0]
	if n%largeEvery == 0 {
		padding = paddings[1]
	}
	return history.Value(n), fmt.Sprintf("%0*x", valueDigits, n) + padding
}

// aroundMax is more than a batch of one record has around its payload, also where compression makes it longer.
const aroundMax = 200

// stored is what retention goes by: the time, and the most that a payload takes of a log.
func stored(payload string, at time.Time) history.Stored {
	return history.Stored{Stamp: at.UnixMilli(), Bytes: uint32(len(payload) + aroundMax)}
}

// valueOf reads the value of a payload. What nobody can have sent gets the value of its bytes, which
// the history will not know.
func valueOf(payload []byte) history.Value {
	if len(payload) >= valueDigits {
		if n, err := strconv.ParseUint(string(payload[:valueDigits]), 16, 64); err == nil {
			padding := string(payload[valueDigits:])
			if padding == paddings[0] || padding == paddings[1] {
				return history.Value(n)
			}
		}
	}
	return history.ValueOf(payload)
}
