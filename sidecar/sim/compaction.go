package sim

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

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

// compaction is how a partition is compacted, if it is: those of every second topic are, in some runs.
func (w *World) compaction(p topic.Partition) (partition.Compaction, bool) {
	return partition.Compaction{DirtyRatio: 0.2, LagMax: time.Duration(math.MaxInt64), Now: w.now / 1000}, w.compacted(p)
}

func (w *World) compacted(p topic.Partition) bool { return w.mix.compacts && p.Topic[0]&1 == 0 }

// keyOf is the key of a value.
func keyOf(value uint64) byte { return byte(value % 5) }

// keepsNewest requires that of what is known to be committed a log has everything that is not superseded
// by what the log itself has.
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

func (c *checker) keeps(h *host, p topic.Partition, log *partition.Log) {
	start := log.State().LogStart
	present, newest := map[topic.Offset]bool{}, map[byte]topic.Offset{}
	end := start
	for {
		result, err := log.Read(end, 1<<20, true)
		if err != nil && h.disk.rotten {
			return
		}
		if err != nil {
			c.fail("%s does not read %v at %d: %v", h, p, end, err)
			return
		}
		if len(result.Batches) == 0 {
			break
		}
		for _, b := range result.Batches {
			_, end = c.readBatch(h, p, b)
			for r, err := range batch.Records(b) {
				if err != nil {
					break // readBatch tells
				}
				at := topic.Offset(r.Offset)
				present[at], newest[keyOf(binary.BigEndian.Uint64(r.Value))] = true, at
			}
		}
	}
	for at, r := range c.canon[p] {
		offset := topic.Offset(at)
		if offset < start || offset >= end || r.value == 0 || present[offset] {
			continue
		}
		if by, known := newest[keyOf(r.value)]; !known || by <= offset {
			c.fail("%s has dropped value %d at %v offset %d, which nothing supersedes", h, r.value, p, offset)
		}
	}
}
