package partition

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"outrigger/broker/topic"
)

// encodeLog encodes all of a log that is not in its runs: a format version, then sections, of which a
// reader skips none, since each of them decides something.
//
//	version 1, then sections: kind 1, length 4, bytes
//	  1 offsets    start 8, high watermark 8, end 8, high watermark as last recorded 8, producers stale 1
//	  2 epochs     epoch 4, start 8, each
//	  3 producers  id 8, committed batches 4, batches 4, then each batch: epoch 2, first 4, last 4,
//	               coordinator 4, base 8, end 8, timestamp 8
//	  4 transactions that are not done, or began behind one that is not: id 8, epoch 2, first 8, last 8,
//	               stable 8, 1 if aborted plus 2 if done 1, each
//	  5 aborted transactions: id 8, first 8, last 8, stable 8, each
//	  6 compacted up to 8, tombstones or markers dropped up to 8; only of a log that was. Without the second
//	    number, which was not always written, it may be as high as the first
func (l *Log) encodeLog() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := append(make([]byte, 0, encodedLeast+l.mu.producers.encodedBytes()), logFormat)
	b = appendSection(b, sectionOffsets, func(b []byte) []byte {
		for _, o := range []topic.Offset{l.mu.start, l.mu.highWatermark, l.mu.end, l.mu.savedHighWatermark} {
			b = binary.BigEndian.AppendUint64(b, uint64(o))
		}
		if l.mu.producers.stale {
			return append(b, 1)
		}
		return append(b, 0)
	})
	b = appendSection(b, sectionEpochs, func(b []byte) []byte {
		for _, e := range l.mu.epochs {
			b = binary.BigEndian.AppendUint32(b, uint32(e.Epoch))
			b = binary.BigEndian.AppendUint64(b, uint64(e.Start))
		}
		return b
	})
	b = appendSection(b, sectionProducers, l.mu.producers.encode)
	b = appendSection(b, sectionTransactions, l.mu.producers.transactions.encode)
	b = appendSection(b, sectionAborted, l.mu.producers.transactions.encodeAborted)
	if l.mu.compacted == 0 && l.mu.dropped == 0 {
		return b
	}
	return appendSection(b, sectionCompacted, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint64(b, uint64(l.mu.compacted))
		return binary.BigEndian.AppendUint64(b, uint64(l.mu.dropped))
	})
}

// encodedLeast has room for what a log is encoded to without producers, most of the time.
const encodedLeast = 256

const (
	logFormat = 1

	sectionOffsets      = 1
	sectionEpochs       = 2
	sectionProducers    = 3
	sectionTransactions = 4
	sectionAborted      = 5
	sectionCompacted    = 6
)

func appendSection(b []byte, kind byte, content func([]byte) []byte) []byte {
	b = append(b, kind, 0, 0, 0, 0)
	from := len(b)
	b = content(b)
	binary.BigEndian.PutUint32(b[from-4:], uint32(len(b)-from))
	return b
}

// decodeLog restores what encodeLog has encoded. Its batches come from its runs.
func (l *Log) decodeLog(b []byte) error {
	d := decoder{b: b}
	if version := d.uint8(); version != logFormat {
		return fmt.Errorf("%w: log of format %d, not %d", errCatalog, version, logFormat)
	}
	for len(d.b) > 0 {
		kind := d.uint8()
		section := decoder{b: d.take(int(d.uint32()))}
		switch kind {
		case sectionOffsets:
			l.mu.start = topic.Offset(section.uint64())
			l.mu.highWatermark = topic.Offset(section.uint64())
			l.mu.end = topic.Offset(section.uint64())
			l.mu.savedHighWatermark = topic.Offset(section.uint64())
			l.mu.producers.stale = section.uint8() != 0
			l.mu.durable = l.mu.end
			l.mu.startDurable = l.mu.start
		case sectionEpochs:
			for len(section.b) > 0 {
				l.mu.epochs = append(l.mu.epochs, EpochStart{
					Epoch: topic.Epoch(section.uint32()), Start: topic.Offset(section.uint64())})
			}
		case sectionProducers:
			l.mu.producers.decode(&section, l)
		case sectionTransactions:
			l.mu.producers.transactions.decode(&section)
		case sectionAborted:
			l.mu.producers.transactions.decodeAborted(&section)
		case sectionCompacted:
			l.mu.compacted = topic.Offset(section.uint64())
			l.mu.dropped = l.mu.compacted
			if len(section.b) > 0 {
				l.mu.dropped = topic.Offset(section.uint64())
			}
		default:
			return fmt.Errorf("%w: section %d of a log", errCatalog, kind)
		}
		if section.err != nil {
			return section.err
		}
	}
	return d.err
}

// producerHeadBytes and producerBatchBytes are what a producer and each of its batches is encoded to.
const producerHeadBytes, producerBatchBytes = 8 + 4 + 4, 2 + 3*4 + 3*8

func (t *producerTable) encodedBytes() (n int) {
	for _, p := range t.byID {
		n += producerHeadBytes + producerBatchBytes*p.batches.len()
	}
	return n
}

func (t *producerTable) encode(b []byte) []byte {
	ids := make([]int64, 0, len(t.byID))
	for id := range t.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		p := t.byID[id]
		b = binary.BigEndian.AppendUint64(b, uint64(id))
		b = binary.BigEndian.AppendUint32(b, uint32(p.committed))
		b = binary.BigEndian.AppendUint32(b, uint32(p.batches.len()))
		for i := range p.batches.len() {
			x := p.batches.at(i)
			b = binary.BigEndian.AppendUint16(b, uint16(x.epoch))
			b = binary.BigEndian.AppendUint32(b, uint32(x.first))
			b = binary.BigEndian.AppendUint32(b, uint32(x.last))
			b = binary.BigEndian.AppendUint32(b, uint32(x.coordinator))
			b = binary.BigEndian.AppendUint64(b, uint64(x.base))
			b = binary.BigEndian.AppendUint64(b, uint64(x.end))
			b = binary.BigEndian.AppendUint64(b, uint64(x.timestamp))
		}
	}
	return b
}

// decode restores an empty table. What was uncommitted is listed in log order again.
func (t *producerTable) decode(d *decoder, l *Log) {
	now := l.store.cfg.Now()
	for len(d.b) > 0 {
		id := int64(d.uint64())
		p := &producer{committed: int(d.uint32()), heard: now}
		batches := int(d.uint32())
		p.batches.items = make([]producerBatch, 0, min(batches, len(d.b)/producerBatchBytes))
		for i := range batches {
			if d.err != nil {
				return
			}
			p.batches.push(producerBatch{
				epoch: int16(d.uint16()),
				first: int32(d.uint32()), last: int32(d.uint32()), coordinator: int32(d.uint32()),
				base: topic.Offset(d.uint64()), end: topic.Offset(d.uint64()),
				timestamp: int64(d.uint64()),
			})
			if i < p.committed && p.newest().isMarker() {
				p.markers++
			}
			if i >= p.committed {
				t.uncommitted.push(uncommittedBatch{id: id, end: p.newest().end})
			}
		}
		t.byID[id] = p
	}
	slices.SortFunc(t.uncommitted.items[t.uncommitted.head:],
		func(a, b uncommittedBatch) int { return cmp.Compare(a.end, b.end) })
	t.evictAt = max(t.producerMax, len(t.byID)+max(1, t.producerMax/8))
}

// encode encodes the transactions in the order in which they began: open ones, and those that have ended.
func (t *transactionTable) encode(b []byte) []byte {
	for i := range t.begun.len() {
		one := *t.begun.at(i)
		b = binary.BigEndian.AppendUint64(b, uint64(one.id))
		b = binary.BigEndian.AppendUint16(b, uint16(one.epoch))
		for _, o := range []topic.Offset{one.first, one.last, one.stable} {
			b = binary.BigEndian.AppendUint64(b, uint64(o))
		}
		flags := byte(0)
		if one.aborted {
			flags |= flagAborted
		}
		if one.done {
			flags |= flagDone
		}
		b = append(b, flags)
	}
	return b
}

const (
	flagAborted = 1
	flagDone    = 2
)

// decode restores an empty table.
func (t *transactionTable) decode(d *decoder) {
	for len(d.b) > 0 {
		one := &transaction{id: int64(d.uint64()), epoch: int16(d.uint16()), first: topic.Offset(d.uint64()),
			last: topic.Offset(d.uint64()), stable: topic.Offset(d.uint64())}
		flags := d.uint8()
		one.aborted, one.done = flags&flagAborted != 0, flags&flagDone != 0
		t.begun.push(one)
		switch {
		case one.last == topic.NoOffset:
			t.open[one.id] = one
		case !one.done:
			t.ended.push(one)
		}
	}
	slices.SortFunc(t.ended.items[t.ended.head:],
		func(a, b *transaction) int { return cmp.Compare(a.last, b.last) })
}

func (t *transactionTable) encodeAborted(b []byte) []byte {
	for _, one := range t.aborted {
		b = binary.BigEndian.AppendUint64(b, uint64(one.ProducerID))
		for _, o := range []topic.Offset{one.First, one.Last, one.stable} {
			b = binary.BigEndian.AppendUint64(b, uint64(o))
		}
	}
	return b
}

func (t *transactionTable) decodeAborted(d *decoder) {
	for len(d.b) > 0 {
		t.aborted = append(t.aborted, AbortedTransaction{ProducerID: int64(d.uint64()),
			First: topic.Offset(d.uint64()), Last: topic.Offset(d.uint64()), stable: topic.Offset(d.uint64())})
	}
}
