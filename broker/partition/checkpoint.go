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
//	  3 producers, until format level 3 is finalized: id 8, committed batches 4, batches 4, then each batch: epoch 2,
//	               first 4, last 4, coordinator 4, base 8, end 8, timestamp 8
//	  4 transactions that are not done, or began behind one that is not: id 8, epoch 2, first 8, last 8,
//	               stable 8, 1 if aborted plus 2 if done 1, each
//	  5 aborted transactions: id 8, first 8, last 8, stable 8, each
//	  6 compacted up to 8, tombstones or markers dropped up to 8; only of a log that was. Without the second
//	    number, which was not always written, it may be as high as the first
//	  7 producers, from then on, as varints: id, committed batches, batches, then each batch: epoch, first, last, coordinator, base,
//	               end, timestamp; all but the two numbers by how they differ from what the batch before makes likely,
//	               which takes 8 bytes a batch in place of 38
func (l *Log) encodeLog() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	producers, coding := byte(sectionProducersFixed), producerWriter(fixedProducers{})
	if l.store.mayBeTerse() {
		producers, coding = sectionProducers, new(producerCoding)
	}
	b := append(make([]byte, 0, encodedLeast+l.mu.producers.encodedBytes(coding)), logFormat)
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
	b = appendSection(b, producers, func(b []byte) []byte { return l.mu.producers.encode(b, coding) })
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

	sectionOffsets        = 1
	sectionEpochs         = 2
	sectionProducersFixed = 3
	sectionTransactions   = 4
	sectionAborted        = 5
	sectionCompacted      = 6
	sectionProducers      = 7
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
			l.mu.producers.decode(&section, l, new(producerCoding))
		case sectionProducersFixed:
			l.mu.producers.decode(&section, l, fixedProducers{})
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

// producerWriter writes a producer's head, and then each of its batches.
type producerWriter interface {
	appendHead(b []byte, id int64, p *producer) []byte
	appendBatch(b []byte, x *producerBatch) []byte
	// sizes are the bytes of a head and of a batch, most of the time.
	sizes() (head, batch int)
}

// producerReader reads what a producerWriter has written.
type producerReader interface {
	head(d *decoder) (id int64, committed, batches int)
	batch(d *decoder) producerBatch
}

func (t *producerTable) encodedBytes(to producerWriter) (n int) {
	head, batch := to.sizes()
	for _, p := range t.byID {
		n += head + batch*p.batches.len()
	}
	return n
}

func (t *producerTable) encode(b []byte, to producerWriter) []byte {
	ids := make([]int64, 0, len(t.byID))
	for id := range t.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		p := t.byID[id]
		b = to.appendHead(b, id, p)
		for i := range p.batches.len() {
			b = to.appendBatch(b, p.batches.at(i))
		}
	}
	return b
}

// producerCoding is the producer and the batch before, by which the next one is told. Its beginning is the zero value.
type producerCoding struct {
	id     int64
	before producerBatch
}

func (*producerCoding) sizes() (head, batch int) { return 8, 9 }

func (c *producerCoding) appendHead(b []byte, id int64, p *producer) []byte {
	b = binary.AppendVarint(b, id-c.id)
	b = binary.AppendUvarint(b, uint64(p.committed))
	b = binary.AppendUvarint(b, uint64(p.batches.len()))
	c.id = id
	return b
}

func (c *producerCoding) appendBatch(b []byte, x *producerBatch) []byte {
	was := &c.before
	b = binary.AppendVarint(b, int64(x.epoch)-int64(was.epoch))
	b = binary.AppendVarint(b, int64(x.first)-int64(was.last)-1)
	b = binary.AppendVarint(b, int64(x.last)-int64(x.first))
	b = binary.AppendVarint(b, int64(x.coordinator)-int64(was.coordinator))
	b = binary.AppendVarint(b, int64(x.base-was.end))
	b = binary.AppendVarint(b, int64(x.end-x.base)-(int64(x.last)-int64(x.first)+1))
	b = binary.AppendVarint(b, x.timestamp-was.timestamp)
	c.before = *x
	return b
}

func (c *producerCoding) head(d *decoder) (id int64, committed, batches int) {
	c.id += d.varint()
	return c.id, int(d.uvarint()), int(d.uvarint())
}

func (c *producerCoding) batch(d *decoder) (x producerBatch) {
	was := &c.before
	x.epoch = int16(int64(was.epoch) + d.varint())
	x.first = int32(int64(was.last) + 1 + d.varint())
	x.last = int32(int64(x.first) + d.varint())
	x.coordinator = int32(int64(was.coordinator) + d.varint())
	x.base = was.end + topic.Offset(d.varint())
	x.end = x.base + topic.Offset(int64(x.last)-int64(x.first)+1+d.varint())
	x.timestamp = was.timestamp + d.varint()
	c.before = x
	return x
}

// fixedProducers has numbers of fixed length.
type fixedProducers struct{}

func (fixedProducers) sizes() (head, batch int) { return 8 + 4 + 4, 2 + 3*4 + 3*8 }

func (fixedProducers) appendHead(b []byte, id int64, p *producer) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(id))
	b = binary.BigEndian.AppendUint32(b, uint32(p.committed))
	return binary.BigEndian.AppendUint32(b, uint32(p.batches.len()))
}

func (fixedProducers) appendBatch(b []byte, x *producerBatch) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(x.epoch))
	b = binary.BigEndian.AppendUint32(b, uint32(x.first))
	b = binary.BigEndian.AppendUint32(b, uint32(x.last))
	b = binary.BigEndian.AppendUint32(b, uint32(x.coordinator))
	b = binary.BigEndian.AppendUint64(b, uint64(x.base))
	b = binary.BigEndian.AppendUint64(b, uint64(x.end))
	return binary.BigEndian.AppendUint64(b, uint64(x.timestamp))
}

func (fixedProducers) head(d *decoder) (id int64, committed, batches int) {
	return int64(d.uint64()), int(d.uint32()), int(d.uint32())
}

func (fixedProducers) batch(d *decoder) producerBatch {
	return producerBatch{
		epoch: int16(d.uint16()),
		first: int32(d.uint32()), last: int32(d.uint32()), coordinator: int32(d.uint32()),
		base: topic.Offset(d.uint64()), end: topic.Offset(d.uint64()),
		timestamp: int64(d.uint64()),
	}
}

// batchLeast is the least that a batch is encoded to.
const batchLeast = 7

// decode restores an empty table. What was uncommitted is listed in log order again.
func (t *producerTable) decode(d *decoder, l *Log, from producerReader) {
	now := l.store.cfg.Now()
	for len(d.b) > 0 {
		id, committed, batches := from.head(d)
		if d.err == nil && (committed < 0 || committed > batches || batches < 1) {
			d.err = fmt.Errorf("%w: %d of %d batches of a producer", errCatalog, committed, batches)
		}
		if d.err != nil {
			return
		}
		p := &producer{committed: committed, heard: now}
		p.batches.items = make([]producerBatch, 0, min(batches, len(d.b)/batchLeast))
		for i := range batches {
			if d.err != nil {
				return
			}
			p.batches.push(from.batch(d))
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
