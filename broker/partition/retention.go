package partition

import (
	"time"

	"outrigger/broker/topic"
)

// Retention is how much of a log is kept.
type Retention struct {
	// AgeMax is how old a record may grow, by its timestamp; at the largest duration for ever.
	AgeMax time.Duration
	// BytesMax: the oldest batches go as long as that leaves at least as many bytes. Below 0 none do.
	BytesMax int64
}

// Expired is where the log would start if everything went that is committed, durable, and more than
// retention keeps at a time, in milliseconds since 1970. Kafka deletes whole segments, and so deletes
// later than this does; what it promises to keep is kept: no record younger than AgeMax, nor one within
// the last BytesMax bytes.
func (l *Log) Expired(r Retention, now int64) topic.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(l.mu.committed, l.mu.settled)
	expired := max(l.mu.index.older(n, now, r.AgeMax), l.mu.index.beyond(n, l.mu.bytes, r.BytesMax))
	if expired == 0 {
		return l.mu.start
	}
	return max(l.mu.start, l.mu.index.at(expired-1).end())
}

// older counts the batches at the front, of the first n, that are all older than an age. It goes by the
// running maximum, as Kafka goes by that of a segment: what lies behind a younger record stays. A batch
// whose records have no timestamp has no age, and goes with a later one that has.
func (x *index) older(n int, now int64, age time.Duration) int {
	if age == maxAge {
		return 0
	}
	count := x.reaching(now-age.Milliseconds(), n)
	if count == 0 || x.at(count-1).latest < 0 {
		return 0
	}
	return count
}

const maxAge = time.Duration(1<<63 - 1)

// beyond counts the batches at the front, of the first n, without which at least `keep` of all bytes are
// left.
func (x *index) beyond(n int, bytes, keep int64) (count int) {
	if keep < 0 {
		return 0
	}
	return x.each(0, n, func(c *chunk) bool {
		fits := bytes-c.bytes >= keep
		if fits {
			bytes -= c.bytes
		}
		return fits
	}, func(e extent) bool {
		bytes -= int64(e.bytes)
		return bytes >= keep
	})
}
