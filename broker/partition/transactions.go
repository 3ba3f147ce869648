package partition

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// transaction is one producer's transaction in one partition, from its first batch to its marker.
type transaction struct {
	id    int64
	epoch int16
	first topic.Offset
	// last is the offset of the marker, NoOffset while there is none.
	last    topic.Offset
	aborted bool
	// done: the marker lies below the high watermark.
	done bool
	// stable is where the oldest of the others began that were open when the marker came, behind the
	// marker if none was.
	stable topic.Offset
}

// transactionTable holds the transactions of one partition. Like the producers, whose table it is part
// of, it is derived from the log alone (checklist 47): whoever replays the same batches has the same
// last stable offset and the same aborted transactions. A transaction whose marker is not committed
// can be opened again, so a truncation above the high watermark is exact.
//
// Memory: one entry for each open transaction, which the coordinator ends at its timeout, and one for
// each aborted one that the log holds; see abortedMax.
type transactionTable struct {
	open map[int64]*transaction
	// begun are the transactions that are not done, and those that are and began behind one that is
	// not, by first offset. The first one holds the last stable offset.
	begun queue[*transaction]
	// ended are those whose markers lie above the high watermark, by marker.
	ended queue[*transaction]
	// aborted are the aborted ones that are done, by marker.
	aborted []AbortedTransaction
	// guards are held by those who ask the coordinator about a producer's transaction; see Guard.
	guards map[int64]*guard
	serial uint64
	// doubt is where the first one began that was open where a damaged batch was passed over. That may be its marker, and
	// what comes behind another transaction of that producer.
	doubt topic.Offset
}

// Guard lets a batch begin a transaction in this partition. It is taken before the coordinator is
// asked, and a marker that comes meanwhile breaks it: what the coordinator has said of the transaction
// is of the past then, and a batch that was let in would open one that nobody ends.
//
//  1. The producer's batch comes, the coordinator says that its transaction is ongoing.
//  2. The coordinator times the transaction out; its marker is appended here.
//  3. The batch would be appended behind the marker, and hold the last stable offset for ever.
type Guard struct {
	id     int64
	serial uint64
}

type guard struct {
	serial  uint64
	holders int
}

// GuardTransaction says whether the producer's transaction is open here in that very epoch. If it is
// not, the guard is to be taken back by DropGuard.
func (l *Log) GuardTransaction(id int64, epoch int16) (g Guard, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.mu.producers.transactions
	if t.holds(id, epoch) {
		return Guard{}, true
	}
	known := t.guards[id]
	if known == nil {
		t.serial++
		known = &guard{serial: t.serial}
		t.guards[id] = known
	}
	known.holders++
	return Guard{id: id, serial: known.serial}, false
}

// DropGuard takes a guard back, whether or not it was used. The zero Guard is none.
func (l *Log) DropGuard(g Guard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.mu.producers.transactions
	known := t.guards[g.id]
	if known == nil || known.serial != g.serial {
		return
	}
	if known.holders--; known.holders == 0 {
		delete(t.guards, g.id)
	}
}

// Guarded reports whether no marker has broken a guard.
func (l *Log) Guarded(g Guard) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.mu.producers.transactions.guards[g.id]
	return known != nil && known.serial == g.serial
}

// EndTransaction says which marker is to be appended.
type EndTransaction struct {
	ProducerID    int64
	ProducerEpoch int16
	batch.Marker
	// Strict: the marker bears a newer epoch than the batches of its transaction (KIP-890), so one
	// that does not is of an earlier transaction.
	Strict bool
	// Timestamp is milliseconds since 1970.
	Timestamp int64
}

// AppendMarker ends a producer's transaction in this partition; where none is open the marker only
// fences older epochs. A marker that was appended already may be appended once more. Errors are those
// of Append, and ErrCoordinatorFenced.
func (l *Log) AppendMarker(ctx context.Context, e EndTransaction, o AppendOptions) (Appended, error) {
	b, err := e.Build(e.ProducerID, e.ProducerEpoch, e.Timestamp)
	if err != nil {
		return Appended{}, fmt.Errorf("build marker: %w", err)
	}
	o.marker = &e
	return l.Append(ctx, b, o)
}

// JudgeTransaction says what Append would say to a batch without a sequence in a producer's transaction,
// as coordinators write them.
func (l *Log) JudgeTransaction(id int64, epoch int16, g Guard) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := batch.Header{ProducerID: id, ProducerEpoch: epoch, BaseSequence: -1, Attributes: batch.Transactional}
	if _, _, err := l.mu.producers.judge(h, false); err != nil {
		return err
	}
	return l.mu.producers.transactions.judge(h, g)
}

// JudgeMarker says what AppendMarker would say to a marker.
func (l *Log) JudgeMarker(e EndTransaction) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.producers.judgeMarker(&e)
}

// LatestStable is the last stable offset and the epoch of the record before it. A leader that is not
// ready does not know it yet: ErrNotReady.
func (l *Log) LatestStable() (topic.Offset, topic.Epoch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.knowsLatestLocked() {
		return topic.NoOffset, topic.NoEpoch, ErrNotReady
	}
	stable := l.lastStableLocked()
	return stable, l.mu.epochs.of(stable - 1), nil
}

// lastStableLocked is the offset below which every transaction is decided, and known to be.
func (l *Log) lastStableLocked() topic.Offset {
	t := &l.mu.producers.transactions
	stable := min(l.mu.highWatermark, t.firstUnstable())
	if len(l.mu.damaged) > 0 {
		stable = min(stable, t.doubt)
	}
	return max(l.mu.start, stable)
}

func newTransactionTable() transactionTable {
	return transactionTable{open: map[int64]*transaction{}, guards: map[int64]*guard{}, doubt: math.MaxInt64}
}

// holds says whether the producer's transaction is open in that epoch.
func (t *transactionTable) holds(id int64, epoch int16) bool {
	one := t.open[id]
	return one != nil && one.epoch == epoch
}

// judge says whether a batch of a client fits the transactions: one that is part of a transaction
// continues the open one or comes with a guard that holds, and others do not break into one.
func (t *transactionTable) judge(h batch.Header, g Guard) error {
	switch {
	case h.ProducerID < 0:
		return nil
	case !h.Transactional():
		if t.open[h.ProducerID] != nil {
			return fmt.Errorf("%w: producer %d is in a transaction, the batch is not", ErrNoTransaction, h.ProducerID)
		}
		return nil
	case t.holds(h.ProducerID, h.ProducerEpoch):
		return nil
	case len(t.aborted) >= abortedMax:
		return fmt.Errorf("%w: %d", ErrTooManyAborted, len(t.aborted))
	}
	known := t.guards[h.ProducerID]
	if known == nil || g.id != h.ProducerID || g.serial != known.serial {
		return fmt.Errorf("%w: producer %d, epoch %d", ErrNoTransaction, h.ProducerID, h.ProducerEpoch)
	}
	return nil
}

// begin notes a transactional batch.
func (t *transactionTable) begin(h batch.Header, base topic.Offset) {
	if t.open[h.ProducerID] != nil {
		return
	}
	one := &transaction{id: h.ProducerID, epoch: h.ProducerEpoch, first: base, last: topic.NoOffset}
	t.open[h.ProducerID] = one
	t.begun.push(one)
}

// end notes a marker.
func (t *transactionTable) end(id int64, m batch.Marker, at topic.Offset) {
	delete(t.guards, id)
	one := t.open[id]
	if one == nil {
		return
	}
	delete(t.open, id)
	one.last, one.aborted, one.stable = at, !m.Commit, at+1
	for i := range t.begun.len() {
		if other := *t.begun.at(i); other.last == topic.NoOffset {
			one.stable = other.first
			break
		}
	}
	t.ended.push(one)
}

// commit takes in that the markers below the high watermark stay.
func (t *transactionTable) commit(highWatermark topic.Offset) {
	for t.ended.len() > 0 && (*t.ended.at(0)).last < highWatermark {
		one := t.ended.pop()
		one.done = true
		if one.aborted {
			t.aborted = append(t.aborted, AbortedTransaction{
				ProducerID: one.id, First: one.first, Last: one.last, stable: one.stable,
			})
		}
	}
	for t.begun.len() > 0 && (*t.begun.at(0)).done {
		t.begun.pop()
	}
}

// cut forgets what lies at or above end, which must not be below the high watermark.
func (t *transactionTable) cut(end topic.Offset) {
	for id, one := range t.open {
		if one.first >= end {
			delete(t.open, id)
		}
	}
	kept := t.ended.len()
	for ; kept > 0 && (*t.ended.at(kept - 1)).last >= end; kept-- {
		if one := *t.ended.at(kept - 1); one.first < end {
			one.last, one.aborted, one.stable = topic.NoOffset, false, 0
			t.open[one.id] = one
		}
	}
	t.ended.cut(kept)
	kept = t.begun.len()
	for kept > 0 && (*t.begun.at(kept - 1)).first >= end {
		kept--
	}
	t.begun.cut(kept)
}

// passOver notes that a damaged batch comes next.
func (t *transactionTable) passOver() {
	for _, one := range t.open {
		t.doubt = min(t.doubt, one.first)
	}
}

// recall adds the transactions that another table of the same log knows: neither may know all.
func (t *transactionTable) recall(known *transactionTable) {
	all := t.list()
	for _, one := range known.list() {
		i := slices.IndexFunc(all, func(other *transaction) bool { return other.id == one.id && other.last == one.last })
		if i < 0 {
			all = append(all, one)
		} else {
			all[i].first = min(all[i].first, one.first)
		}
	}
	t.open, t.begun, t.ended = map[int64]*transaction{}, queue[*transaction]{}, queue[*transaction]{}
	slices.SortFunc(all, func(a, b *transaction) int { return cmp.Compare(a.last, b.last) })
	for _, one := range all {
		if one.last == topic.NoOffset {
			t.open[one.id] = one
		} else if !one.done {
			t.ended.push(one)
		}
	}
	slices.SortFunc(all, func(a, b *transaction) int { return cmp.Compare(a.first, b.first) })
	for _, one := range all {
		t.begun.push(one)
	}
	t.doubt = known.doubt
	t.aborted = append(t.aborted, known.aborted...)
	slices.SortFunc(t.aborted, func(a, b AbortedTransaction) int {
		return cmp.Or(cmp.Compare(a.Last, b.Last), cmp.Compare(a.First, b.First)) // The first of two is kept.
	})
	t.aborted = slices.CompactFunc(t.aborted, func(a, b AbortedTransaction) bool { return a.Last == b.Last })
	for i := range t.aborted {
		t.aborted[i].stable = 0 // Others may have begun below it that one of the two did not know.
	}
}

// list lists what is begun.
func (t *transactionTable) list() (all []*transaction) {
	for i := range t.begun.len() {
		all = append(all, *t.begun.at(i))
	}
	return all
}

// unmark drops the aborted transactions whose markers are cut.
func (t *transactionTable) unmark(end topic.Offset) {
	t.aborted = slices.DeleteFunc(t.aborted, func(a AbortedTransaction) bool { return a.Last >= end })
}

// firstUnstable is where the oldest transaction began that is not known to be decided.
func (t *transactionTable) firstUnstable() topic.Offset {
	if t.begun.len() == 0 {
		return math.MaxInt64
	}
	return (*t.begun.at(0)).first
}
