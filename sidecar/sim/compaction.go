package sim

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// deleteRetention is delete.retention.ms of every topic.
const deleteRetention = 150 * time.Millisecond

// In half of the seeds a log is compacted, and the file that it waits in sealed, after lagMax, and what is younger
// than lagMin is spared.
const lagMax, lagMin = 400 * time.Millisecond, 40 * time.Millisecond

// turnCompaction goes on compacting, a few batches at a time.
func (b *broker) turnCompaction() error {
	if !b.w.mix.compacts {
		return nil
	}
	before := b.store.Stats().Compaction.Logs
	if _, err := b.drive.Compact(b.w.between(1, 8<<10)); err != nil && !errors.Is(err, wal.ErrNoSpace) {
		return err
	}
	b.w.count.compactions += uint64(b.store.Stats().Compaction.Logs - before)
	return nil
}

// compaction is how a partition is compacted, if it is: those of every second topic are, in some runs. As in
// production tombstones stay while this broker's image shows a replica out of sync.
func (b *broker) compaction(p topic.Partition) (partition.Compaction, bool) {
	c := partition.Compaction{
		DirtyRatio: 0.2, LagMax: time.Duration(math.MaxInt64), Now: b.w.millis(), DeleteRetention: deleteRetention,
	}
	if b.w.seed%2 == 0 {
		c.LagMax, c.LagMin = lagMax, lagMin
	}
	if placement, ok := b.view.Image.Partition(p); ok {
		c.Hold = len(placement.ISR) < len(placement.Replicas)
	}
	return c, b.w.compacted(p) && !b.lazy(p)
}

// lazy reports whether a host compacts a partition late, so that replicas do so apart from each other.
func (b *broker) lazy(p topic.Partition) bool {
	return (b.h.at+int(p.Topic[1]))%2 == 0 && b.w.now/lazyMicros%4 != 0
}

// lazyMicros is how long a lazy host compacts, before it does not for three times as long.
const lazyMicros = 400_000

func (w *World) compacted(p topic.Partition) bool { return w.mix.compacts && p.Topic[0]&1 == 0 }

// deleted reports whether clients may delete records of a partition: those of half of the compacted topics, whose
// cleanup.policy is compact,delete.
func (w *World) deleted(p topic.Partition) bool { return !w.compacted(p) || p.Topic[0]&2 == 0 }

// millis is the time of records.
func (w *World) millis() int64 { return w.now / 1000 }

// keys is how many there are: so many that some end with a tombstone.
const keys = 24

// keyOf is the key of a value.
func keyOf(value uint64) byte { return byte(value % keys) }

// deletes reports whether a value is none, but the tombstone of its key: every second one of a key.
func (w *World) deletes(value uint64) bool { return w.mix.compacts && value/keys%2 == 1 }

// record is the record of a value. A tombstone has it in a header.
func (w *World) record(value uint64) batch.Record {
	bytes := binary.BigEndian.AppendUint64(nil, value)
	r := batch.Record{Timestamp: w.millis(), Key: []byte{keyOf(value)}, Value: bytes}
	if w.deletes(value) {
		r.Value, r.Headers = nil, []batch.RecordHeader{{Key: "value", Value: bytes}}
	}
	return r
}

// valueOf is the value of a record.
func valueOf(r batch.Record) (value uint64, ok bool) {
	bytes := r.Value
	if bytes == nil && len(r.Headers) == 1 {
		bytes = r.Headers[0].Value
	}
	if len(bytes) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(bytes), true
}

// keepsNewest looks at every log of a compacted topic.
func (c *checker) keepsNewest() {
	for _, h := range c.w.hosts {
		if !h.up() || h.broker == nil {
			continue
		}
		for _, p := range h.broker.store.Partitions() {
			log := h.broker.store.Log(p)
			if !c.w.compacted(p) || c.gone(p) || log.State().Damaged {
				continue
			}
			c.keeps(h, p, log)
		}
	}
}

// entered looks at those who have come into the in-sync set of a compacted partition.
func (c *checker) entered(before, after *topic.Placement, p topic.Partition) {
	if before == nil || !c.w.compacted(p) {
		return
	}
	for _, m := range after.ISR {
		h := c.w.hosts[m.Node-1]
		if before.InSync(m) || !h.up() || h.broker == nil || h.broker.session != m.Session {
			continue
		}
		if log := h.broker.store.Log(p); log != nil && !log.State().Damaged {
			c.keeps(h, p, log)
		}
	}
}

// keeps requires that of what is known to be committed a log has everything that is not superseded by what
// the log itself has; a tombstone, unless nothing of its key is there any more; and a marker, unless nothing is of its
// transaction.
func (c *checker) keeps(h *host, p topic.Partition, log *partition.Log) {
	d, start := c.decide(p), log.State().LogStart
	has := held{start: start, end: start, present: map[topic.Offset]bool{}, newest: map[byte]topic.Offset{}}
	for {
		result, err := log.Read(has.end, 1<<20, true)
		if err != nil && (h.disk.rotten || errors.Is(err, waltest.ErrCrashed)) {
			return
		}
		if err != nil {
			c.fail("%s does not read %v at %d: %v", h, p, has.end, err)
			return
		}
		if len(result.Batches) == 0 {
			break
		}
		for _, b := range result.Batches {
			_, has.end = c.readBatch(h, p, b)
			has.take(b, d)
		}
	}
	// A compaction may have gone further than the high watermark that a later run has come to know.
	canon := c.canon[p]
	for at := has.end; at < log.State().DurableEnd && int(at) < len(canon); at++ {
		if value := canon[at].value; value != 0 && !isMarker(value) && d.counts(at) {
			has.newest[keyOf(value)] = at
		}
	}
	c.dropped(h, p, has, d)
	c.leavesOut(h, p, log, d)
}

// held is what a log has from start to end.
type held struct {
	start, end topic.Offset
	present    map[topic.Offset]bool
	// newest is the last record of each key that is not aborted.
	newest map[byte]topic.Offset
}

func (l *held) take(b []byte, d decided) {
	header, err := batch.ParseHeader(b)
	for r, broken := range batch.Records(b) {
		at := topic.Offset(r.Offset)
		if err != nil || broken != nil {
			return // readBatch tells
		}
		if at < l.start {
			continue
		}
		l.present[at] = true
		if !header.Control() && d.counts(at) {
			l.newest[r.Key[0]] = at
		}
	}
}

// dropped looks at what a log does not have.
func (c *checker) dropped(h *host, p topic.Partition, has held, d decided) {
	canon := c.canon[p]
	canon = canon[:min(int(has.end), len(canon))]
	last := map[byte]uint64{}
	for at, r := range canon {
		if r.value != 0 && !isMarker(r.value) && d.counts(topic.Offset(at)) {
			last[keyOf(r.value)] = r.value
		}
	}
	for at, r := range canon {
		offset, key := topic.Offset(at), keyOf(r.value)
		if offset < has.start || r.value == 0 || has.present[offset] {
			continue
		}
		by, known := has.newest[key]
		switch {
		case isMarker(r.value):
			if i := slices.IndexFunc(d.of[offset], func(of topic.Offset) bool { return has.present[of] }); i >= 0 {
				c.fail("%s has dropped the marker at %v offset %d, and of its transaction offset %d is there", h, p, offset, d.of[offset][i])
			}
		case d.aborted[offset]:
		case !d.counts(offset):
			c.fail("%s has dropped value %d at %v offset %d, whose transaction is not over", h, r.value, p, offset)
		case known && by > offset, !known && c.w.deletes(last[key]):
		case known && c.w.deletes(r.value):
			c.fail("%s has dropped the tombstone %d at %v offset %d, and what it deletes at %d is there",
				h, r.value, p, offset, by)
		default:
			c.fail("%s has dropped value %d at %v offset %d, which nothing supersedes", h, r.value, p, offset)
		}
	}
}
