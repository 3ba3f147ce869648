package partition

import (
	"fmt"
	"slices"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// windowLength is how many batches of a producer are remembered (checklist 13): an idempotent client
// has at most five in flight.
const windowLength = 5

// producerBatch is what is remembered of one batch of an idempotent producer, or of a marker that ended
// one of its transactions: that one has no sequence numbers, first is -1, and last is what the next
// batch of the same epoch continues.
type producerBatch struct {
	epoch       int16
	first, last int32 // sequence numbers, both inclusive
	// coordinator is the epoch of the transaction coordinator that wrote the last marker, -1 if there
	// was none.
	coordinator int32
	base, end   topic.Offset
	// timestamp is the largest of the batch, in milliseconds.
	timestamp int64
}

// producer is the state of one producer id: its last committed batches and, behind them, every
// batch above the high watermark. The two parts make a truncation above the high watermark exact:
// dropping batches from the back uncovers just what was remembered before they came.
type producer struct {
	batches   queue[producerBatch]
	committed int
	// markers counts the markers among the committed batches.
	markers int
	heard   time.Duration
}

func (b producerBatch) isMarker() bool { return b.first < 0 }

func (p *producer) newest() producerBatch { return *p.batches.at(p.batches.len() - 1) }

// settled reports whether all that is remembered of the producer is committed.
func (p *producer) settled() bool { return p.committed == p.batches.len() }

// producerTable holds the producers of one partition. It is derived from the log alone (checklist
// 14): a follower that replays the same batches has the same table.
//
// The number of producers is bounded. A full table forgets the eighth that wrote longest ago and has
// nothing uncommitted; a forgotten producer's next batch is taken with any sequence, as from one
// never seen, so it can no longer be told from a duplicate. Producers with uncommitted batches are
// never forgotten; those batches have a bound of their own.
type producerTable struct {
	byID map[int64]*producer
	// uncommitted lists the producers' batches above the high watermark in log order.
	uncommitted queue[uncommittedBatch]
	producerMax int
	evictAt     int
	// transactions are those of the same batches.
	transactions transactionTable
	// stale says, during a replay, that batches below the log end were forgotten that only the log
	// still knows: the table must be rebuilt.
	stale bool
}

type uncommittedBatch struct {
	id  int64
	end topic.Offset
}

func newProducerTable(producerMax int) *producerTable {
	return &producerTable{
		byID: map[int64]*producer{}, producerMax: producerMax, evictAt: producerMax,
		transactions: newTransactionTable(),
	}
}

// judge says whether a batch may be appended. A duplicate is not an error: it is answered with the
// offsets that it has already (failure mode 49). A batch that continues what is not known is refused if continues says so.
func (t *producerTable) judge(h batch.Header, continues bool) (original producerBatch, duplicate bool, err error) {
	if h.ProducerID < 0 || h.Control() {
		return producerBatch{}, false, nil
	}
	p := t.byID[h.ProducerID]
	if p == nil && continues {
		return producerBatch{}, false, fmt.Errorf("%w: producer %d sent %d, and is not known",
			ErrOutOfOrderSequence, h.ProducerID, h.BaseSequence)
	}
	if p == nil {
		return producerBatch{}, false, nil // any sequence will do: we may merely have forgotten it
	}
	newest := p.newest()
	switch {
	case h.ProducerEpoch < newest.epoch:
		return producerBatch{}, false, fmt.Errorf("%w: producer %d has epoch %d, the batch %d",
			ErrInvalidProducerEpoch, h.ProducerID, newest.epoch, h.ProducerEpoch)
	case !sequenced(h):
		return producerBatch{}, false, nil // a coordinator's, which has no sequence
	case h.ProducerEpoch > newest.epoch && h.BaseSequence != 0:
		return producerBatch{}, false, fmt.Errorf("%w: producer %d starts epoch %d at %d, not 0",
			ErrOutOfOrderSequence, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	case newest.last == unknownSequence && h.ProducerEpoch == newest.epoch && continues:
		return producerBatch{}, false, fmt.Errorf("%w: producer %d sent %d, and only a marker of it is known",
			ErrOutOfOrderSequence, h.ProducerID, h.BaseSequence)
	case h.ProducerEpoch > newest.epoch, newest.last == unknownSequence:
		return producerBatch{}, false, nil
	}
	if original, ok := p.remembered(h); ok {
		return original, true, nil
	}
	if want := batch.AddSequence(newest.last, 1); h.BaseSequence != want {
		return producerBatch{}, false, fmt.Errorf("%w: producer %d sent %d, want %d",
			ErrOutOfOrderSequence, h.ProducerID, h.BaseSequence, want)
	}
	return producerBatch{}, false, nil
}

// remembered finds the batch with h's very sequence numbers among the last of the same epoch.
func (p *producer) remembered(h batch.Header) (producerBatch, bool) {
	last := batch.AddSequence(h.BaseSequence, h.LastOffsetDelta)
	newest := p.batches.len() - 1
	for i, seen := newest, 0; i >= 0 && seen < windowLength; i-- {
		b := *p.batches.at(i)
		if b.isMarker() {
			continue
		}
		seen++
		if b.epoch == h.ProducerEpoch && b.first == h.BaseSequence && b.last == last {
			return b, true
		}
	}
	return producerBatch{}, false
}

// judgeMarker says whether a marker may be appended: neither one of an older epoch of the producer,
// nor one that an older coordinator sends.
func (t *producerTable) judgeMarker(e *EndTransaction) error {
	if p := t.byID[e.ProducerID]; p != nil {
		newest := p.newest()
		switch {
		case e.ProducerEpoch < newest.epoch:
			return fmt.Errorf("%w: producer %d has epoch %d, the marker %d",
				ErrInvalidProducerEpoch, e.ProducerID, newest.epoch, e.ProducerEpoch)
		case e.CoordinatorEpoch >= 0 && e.CoordinatorEpoch < newest.coordinator:
			return fmt.Errorf("%w: epoch %d, a marker of epoch %d is here",
				ErrCoordinatorFenced, e.CoordinatorEpoch, newest.coordinator)
		}
	}
	open := t.transactions.open[e.ProducerID]
	if open == nil || open.epoch < e.ProducerEpoch || open.epoch == e.ProducerEpoch && !e.Strict {
		return nil
	}
	return fmt.Errorf("%w: producer %d has a transaction of epoch %d, the marker is of %d",
		ErrInvalidProducerEpoch, e.ProducerID, open.epoch, e.ProducerEpoch)
}

// take takes in a batch that is now part of the log, uncommitted. It does not judge: what a leader
// appended is a fact for its followers and for a replay.
func (t *producerTable) take(h batch.Header, base topic.Offset, payload []byte, now time.Duration) {
	switch {
	case h.ProducerID < 0:
	case !h.Control():
		t.record(h, base, now)
		if h.Transactional() {
			t.transactions.begin(h, base)
		}
	default:
		// A control batch of another kind, or one that cannot be read, ends nothing.
		if m, ok, err := batch.ParseMarker(payload); ok && err == nil {
			t.recordMarker(h, m, base, now)
			t.transactions.end(h.ProducerID, m, base)
		}
	}
}

// unknownSequence is the last sequence number of a producer of which only a marker is known: what came before may merely
// have been forgotten, and any number will do.
const unknownSequence int32 = -2

// recordMarker notes the epochs of a marker. A batch that follows in the marker's epoch goes on counting
// if the epoch is not a new one.
func (t *producerTable) recordMarker(h batch.Header, m batch.Marker, base topic.Offset, now time.Duration) {
	p := t.of(h.ProducerID)
	last := int32(-1)
	switch {
	case p.batches.len() == 0:
		last = unknownSequence
	case p.newest().epoch == h.ProducerEpoch:
		last = p.newest().last
	}
	t.push(h.ProducerID, p, now, producerBatch{
		epoch: h.ProducerEpoch, first: -1, last: last, coordinator: m.CoordinatorEpoch,
		base: base, end: base + topic.Offset(h.LastOffsetDelta) + 1, timestamp: h.MaxTimestamp,
	})
}

// of finds a producer, or makes it.
func (t *producerTable) of(id int64) *producer {
	p := t.byID[id]
	if p == nil {
		t.makeRoom()
		p = &producer{}
		t.byID[id] = p
	}
	return p
}

func (t *producerTable) push(id int64, p *producer, now time.Duration, b producerBatch) {
	p.heard = now
	p.batches.push(b)
	t.uncommitted.push(uncommittedBatch{id: id, end: b.end})
}

// record takes in a batch of an idempotent producer.
func (t *producerTable) record(h batch.Header, base topic.Offset, now time.Duration) {
	if !sequenced(h) {
		return
	}
	p, coordinator := t.of(h.ProducerID), int32(-1)
	if p.batches.len() > 0 {
		coordinator = p.newest().coordinator
	}
	t.push(h.ProducerID, p, now, producerBatch{
		epoch: h.ProducerEpoch,
		first: h.BaseSequence,
		last:  batch.AddSequence(h.BaseSequence, h.LastOffsetDelta),
		base:  base,
		end:   base + topic.Offset(h.LastOffsetDelta) + 1,

		coordinator: coordinator,
		timestamp:   h.MaxTimestamp,
	})
}

// commit moves what lies below the high watermark from the second part of the state to the first.
func (t *producerTable) commit(highWatermark topic.Offset) {
	for t.uncommitted.len() > 0 && t.uncommitted.at(0).end <= highWatermark {
		p := t.byID[t.uncommitted.pop().id]
		if p.batches.at(p.committed).isMarker() {
			p.markers++
		}
		p.committed++
		// Markers do not push batches out, as long as they are not more than those.
		for p.committed > windowLength+min(p.markers, windowLength) {
			if p.batches.pop().isMarker() {
				p.markers--
			}
			p.committed--
		}
	}
	t.transactions.commit(highWatermark)
}

// cut forgets the batches that end above end, which must not be below the high watermark: what was
// committed has pushed older batches out of the window, and those only the log still knows.
func (t *producerTable) cut(end topic.Offset) {
	kept := t.uncommitted.len()
	for kept > 0 && t.uncommitted.at(kept-1).end > end {
		kept--
		id := t.uncommitted.at(kept).id
		p := t.byID[id]
		p.batches.cut(p.batches.len() - 1)
		if p.batches.len() == 0 {
			delete(t.byID, id)
		}
	}
	t.uncommitted.cut(kept)
	t.transactions.cut(end)
}

// forget is cut below the high watermark, as far as that goes: what the batches that are cut have pushed out of
// the window does not come back.
func (t *producerTable) forget(end topic.Offset) {
	t.cut(end)
	t.transactions.unmark(end)
	for id, p := range t.byID {
		for p.batches.len() > 0 && p.newest().end > end {
			if p.newest().isMarker() {
				p.markers--
			}
			p.batches.cut(p.batches.len() - 1)
			p.committed--
		}
		if p.batches.len() == 0 {
			delete(t.byID, id)
		}
	}
}

// expire forgets producers of which nothing was heard for longer than silence. It counts elapsed
// time, so a restart begins anew: forgetting late costs memory, forgetting early a duplicate.
func (t *producerTable) expire(now, silence time.Duration) {
	for id, p := range t.byID {
		if now-p.heard > silence && p.settled() && t.transactions.open[id] == nil {
			delete(t.byID, id)
		}
	}
}

// makeRoom keeps the table below its bound. It forgets many at once, so that the sort is paid for by
// as many insertions.
func (t *producerTable) makeRoom() {
	if len(t.byID) < t.evictAt {
		return
	}
	type candidate struct {
		id  int64
		end topic.Offset
	}
	var idle []candidate
	for id, p := range t.byID {
		if p.settled() && t.transactions.open[id] == nil {
			idle = append(idle, candidate{id: id, end: p.newest().end})
		}
	}
	slices.SortFunc(idle, func(a, b candidate) int { return int(min(max(a.end-b.end, -1), 1)) })
	step := max(1, t.producerMax/8)
	for _, c := range idle[:min(len(idle), len(t.byID)-t.producerMax+step)] {
		delete(t.byID, c.id)
	}
	t.evictAt = max(t.producerMax, len(t.byID)+step)
}

// sequenced reports whether a batch takes part in idempotence. Control batches carry a producer id
// but no sequence.
func sequenced(h batch.Header) bool {
	return h.ProducerID >= 0 && h.BaseSequence >= 0 && !h.Control()
}

// telling lists the records that tell each producer's state: its newest that is committed, and its newest
// marker. What is not committed stays anyhow.
func (t *producerTable) telling() map[int64][]int64 {
	tell := make(map[int64][]int64, len(t.byID))
	for id, p := range t.byID {
		var told [2]bool // of data, of markers
		for i := p.committed - 1; i >= 0 && told != [2]bool{true, true}; i-- {
			b, kind := p.batches.at(i), 0
			if b.isMarker() {
				kind = 1
			}
			if !told[kind] {
				tell[id], told[kind] = append(tell[id], int64(b.end-1)), true
			}
		}
	}
	return tell
}
