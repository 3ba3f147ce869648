package batch

import (
	"bytes"
	"iter"
	"slices"
)

// Agree reports whether a and b can be one batch, of which compaction has taken records away, on one side
// or on both: same first offset and leader epoch, same producer and last offset unless one is a Span, and
// what both have at an offset is the same. Batches that cannot be read agree with nothing.
func Agree(a, b []byte) bool {
	ha, err := ParseHeader(a)
	if err != nil {
		return false
	}
	hb, err := ParseHeader(b)
	if err != nil || ha.BaseOffset != hb.BaseOffset || ha.PartitionLeaderEpoch != hb.PartitionLeaderEpoch {
		return false
	}
	if ha.Spans() || hb.Spans() {
		return true
	}
	if ha.LastOffset() != hb.LastOffset() || ha.ProducerID != hb.ProducerID || ha.ProducerEpoch != hb.ProducerEpoch ||
		ha.BaseSequence != hb.BaseSequence || ha.Control() != hb.Control() || ha.Transactional() != hb.Transactional() {
		return false
	}
	return agree(a, b)
}

// agree compares the records of two batches where both have one.
func agree(a, b []byte) bool {
	next, stop := iter.Pull2(Records(b))
	defer stop()
	other, err, more := next()
	for one, failed := range Records(a) {
		if failed != nil {
			return false
		}
		for more && err == nil && other.Offset < one.Offset {
			other, err, more = next()
		}
		if err != nil {
			return false
		}
		if more && other.Offset == one.Offset && !sameRecord(one, other) {
			return false
		}
	}
	for more && err == nil {
		_, err, more = next()
	}
	return err == nil
}

func sameRecord(a, b Record) bool {
	return a.Timestamp == b.Timestamp && bytes.Equal(a.Key, b.Key) && (a.Key == nil) == (b.Key == nil) &&
		bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y RecordHeader) bool {
			return x.Key == y.Key && bytes.Equal(x.Value, y.Value)
		})
}
