package partition

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

var seedFlag = flag.Uint64("seed", 0, "run the model test with this seed alone")

// modelBatch is a batch as the model knows it. Its number is never used twice.
type modelBatch struct {
	number  int
	base    topic.Offset
	count   int32
	epoch   topic.Epoch
	payload []byte
	header  batch.Header
	// fate is what may become of it; nil in a test without compaction.
	fate *fate
}

func (b modelBatch) end() topic.Offset { return b.base + topic.Offset(b.count) }

// modelLog is a partition log as a list, with everything computed from scratch when asked.
type modelLog struct {
	batches []modelBatch
	// dropped are the batches below the log start that producers are still remembered by.
	dropped []modelBatch
	// forgotten are those of them that a log remembers no more, unless it cannot read what it has to go by.
	forgotten []modelBatch
	// unread: something of it was damaged at the last start, so that it may remember those; also once what is damaged has gone.
	unread        bool
	highWatermark topic.Offset
	role          Role
	start         topic.Offset
	// empty is where a log without batches ends, floor the epoch of the record before the first batch.
	empty topic.Offset
	floor topic.Epoch
	// origin is the epoch before the record that the log began with.
	origin topic.Epoch
}

func emptyModel() *modelLog {
	return &modelLog{role: Role{Epoch: topic.NoEpoch}, floor: topic.NoEpoch, origin: topic.NoEpoch}
}

func (m *modelLog) first() topic.Offset {
	if len(m.batches) == 0 {
		return m.empty
	}
	return m.batches[0].base
}

func (m *modelLog) end() topic.Offset {
	if len(m.batches) == 0 {
		return m.empty
	}
	return m.batches[len(m.batches)-1].end()
}

func (m *modelLog) tailEpoch() topic.Epoch {
	if len(m.batches) == 0 {
		return m.floor
	}
	return m.batches[len(m.batches)-1].epoch
}

func (m *modelLog) cut(to topic.Offset) {
	first := m.first()
	m.batches = slices.DeleteFunc(slices.Clone(m.batches), func(b modelBatch) bool { return b.end() > to })
	if len(m.batches) == 0 {
		m.empty = min(m.start, first)
		m.start = m.empty
	}
	if m.end() < m.highWatermark {
		m.forget() // producers are remembered by what is left
	}
	m.highWatermark = min(m.highWatermark, m.end())
}

func (m *modelLog) forget() { m.forgotten, m.dropped = append(m.forgotten, m.dropped...), nil }

// drop moves the log start.
func (m *modelLog) drop(start topic.Offset) {
	m.start = max(m.start, start)
	m.highWatermark = max(m.highWatermark, m.start)
	for len(m.batches) > 0 && m.batches[0].end() <= m.start {
		m.floor, m.empty = m.batches[0].epoch, m.batches[0].end()
		m.dropped = append(m.dropped, m.batches[0])
		m.batches = m.batches[1:]
	}
}

// reset replaces the log by an empty one.
func (m *modelLog) reset(to topic.Offset, epoch topic.Epoch) {
	if to == 0 {
		epoch = topic.NoEpoch
	}
	*m = modelLog{role: m.role, start: to, empty: to, highWatermark: to, floor: epoch, origin: epoch}
}

// lower has an empty log end where a span did that reached further down than the batches that it stood for.
func (m *modelLog) lower(to topic.Offset) {
	m.start, m.empty, m.highWatermark = to, to, min(m.highWatermark, to)
	last := modelBatch{epoch: m.origin}
	for _, b := range slices.Concat(m.forgotten, m.dropped) {
		if b.end() <= to && b.end() >= last.end() {
			last = b
		}
	}
	m.floor = last.epoch
}

// durable is the end of the front of the log that is all durable.
func (m *modelLog) durable(numbers map[int]bool) topic.Offset {
	end := m.first()
	for _, b := range m.batches {
		if !numbers[b.number] {
			break
		}
		end = b.end()
	}
	return end
}

// judge applies the rules of idempotence to the whole log.
func (m *modelLog) judge(h batch.Header) (original modelBatch, duplicate bool, err error) {
	var own []modelBatch
	for _, b := range slices.Concat(m.dropped, m.batches) {
		if b.header.ProducerID == h.ProducerID && !b.header.Control() {
			own = append(own, b)
		}
	}
	if h.ProducerID < 0 || len(own) == 0 {
		return modelBatch{}, false, nil
	}
	last := own[len(own)-1].header
	if h.ProducerEpoch < last.ProducerEpoch {
		return modelBatch{}, false, ErrInvalidProducerEpoch
	}
	if h.ProducerEpoch > last.ProducerEpoch {
		if h.BaseSequence != 0 {
			return modelBatch{}, false, ErrOutOfOrderSequence
		}
		return modelBatch{}, false, nil
	}
	for _, b := range slices.Backward(own[max(0, len(own)-5):]) {
		if b.header.ProducerEpoch == h.ProducerEpoch && b.header.BaseSequence == h.BaseSequence &&
			b.header.LastOffsetDelta == h.LastOffsetDelta {
			return b, true, nil
		}
	}
	if h.BaseSequence != last.BaseSequence+last.LastOffsetDelta+1 {
		return modelBatch{}, false, ErrOutOfOrderSequence
	}
	return modelBatch{}, false, nil
}

// written is one record that the model expects in the WAL.
type written struct {
	kind      wal.Kind
	partition topic.Partition
	base      topic.Offset
	batch     modelBatch
	epoch     topic.Epoch // of a Reset
	// rest are the batches behind the first that a record stands for which came from a compacted log.
	rest []modelBatch
}

// replayed is what records make when they are played dumbly.
type replayed struct {
	logs map[topic.Partition]*modelLog
	// stale are the logs whose producers a start makes anew, from the batches that are left.
	stale map[*modelLog]bool
}

func newReplayed() *replayed {
	return &replayed{logs: map[topic.Partition]*modelLog{}, stale: map[*modelLog]bool{}}
}

// model finds or makes the model of p.
func (rp *replayed) model(p topic.Partition) *modelLog {
	if rp.logs[p] == nil {
		rp.logs[p] = emptyModel()
	}
	return rp.logs[p]
}

func (rp *replayed) play(r written) {
	m := rp.model(r.partition)
	switch r.kind {
	case wal.Data:
		m.batches = append(append(m.batches, r.batch), r.rest...)
	case wal.HighWatermark:
		m.highWatermark = max(m.highWatermark, min(r.base, m.end()))
	case wal.Truncate:
		rp.stale[m] = rp.stale[m] || r.base < m.highWatermark
		if m.cut(r.base); len(m.batches) == 0 && m.empty > r.base {
			m.lower(r.base)
		}
	case wal.LogStart:
		m.drop(r.base)
	case wal.Reset:
		delete(rp.stale, m) // nothing from before it is remembered
		m.reset(r.base, r.epoch)
	case wal.Remove:
		delete(rp.logs, r.partition)
	}
}

// started is the end of a replay.
func (rp *replayed) started() map[topic.Partition]*modelLog {
	for m := range rp.stale {
		if rp.stale[m] {
			m.forget()
		}
	}
	return rp.logs
}

// world drives a store over a journal and the model beside it.
type world struct {
	*fixture
	random  *rand.Rand
	logs    map[topic.Partition]*modelLog
	written []written // in WAL order, without high watermarks
	durable int       // how many of them are durable
	numbers int
	epoch   topic.Epoch
	trace   []string
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.Helper()
	for _, line := range w.trace[max(0, len(w.trace)-60):] {
		w.Log(line)
	}
	w.Fatalf(format, args...)
}

func (w *world) partition() topic.Partition {
	return topic.Partition{Topic: p0.Topic, Index: w.random.Int32N(3)}
}

// model finds or makes the model of p and the log that it models.
func (w *world) model(p topic.Partition) (*modelLog, *Log) {
	if w.logs[p] == nil {
		w.logs[p] = emptyModel()
	}
	return w.logs[p], w.store.Create(p)
}

func (w *world) spec() spec {
	s := spec{count: 1 + w.random.Int32N(3), timestamp: w.random.Int64N(1000)}
	if w.random.IntN(3) > 0 {
		s.idempotent, s.producer = true, w.random.Int64N(3)
		s.epoch = int16(w.random.IntN(2))
		s.sequence = w.random.Int32N(4)
	}
	return s
}

// follows makes a spec that continues its producer, so that most appends succeed.
func (w *world) follows(m *modelLog) spec {
	s := w.spec()
	if !s.idempotent || w.random.IntN(4) == 0 {
		return s
	}
	for i := len(m.batches) - 1; i >= 0; i-- {
		h := m.batches[i].header
		if h.ProducerID == s.producer {
			s.epoch, s.sequence = h.ProducerEpoch, h.BaseSequence+h.LastOffsetDelta+1
			if w.random.IntN(4) == 0 { // a retry
				s.sequence, s.count = h.BaseSequence, h.LastOffsetDelta+1
			}
			return s
		}
	}
	return s
}

func (w *world) push(p topic.Partition, m *modelLog, payload []byte, epoch topic.Epoch) {
	h, err := batch.ParseHeader(payload)
	if err != nil {
		w.fail("parse: %v", err)
	}
	w.numbers++
	b := modelBatch{number: w.numbers, base: m.end(), count: h.LastOffsetDelta + 1, epoch: epoch,
		payload: slices.Clone(payload), header: h}
	m.batches = append(m.batches, b)
	w.written = append(w.written, written{kind: wal.Data, partition: p, base: b.base, batch: b})
}

func (w *world) append() {
	p := w.partition()
	m, l := w.model(p)
	b := build(w.follows(m))
	h, _ := batch.ParseHeader(b)
	got, err := l.Append(context.Background(), b, AppendOptions{Acks: AcksAll})
	w.note("append %d: %+v %v", p.Index, got, err)
	if !m.role.Leading {
		if !errors.Is(err, ErrNotLeader) {
			w.fail("append to a follower: got %v", err)
		}
		return
	}
	original, duplicate, want := m.judge(h)
	if !errors.Is(err, want) || got.Duplicate != duplicate {
		w.fail("append of %+v: got duplicate %v, %v; want %v, %v", h, got.Duplicate, err, duplicate, want)
	}
	switch {
	case want != nil:
	case duplicate:
		if got.Base != original.base || got.End != original.end() {
			w.fail("duplicate at %d, want %d", got.Base, original.base)
		}
	default:
		if got.Base != m.end() {
			w.fail("base offset %d, want %d", got.Base, m.end())
		}
		w.push(p, m, b, m.role.Epoch)
	}
}

func (w *world) replicate() {
	p := w.partition()
	m, l := w.model(p)
	s := w.spec()
	base, prev := m.end(), m.tailEpoch()
	var want error
	if w.random.IntN(8) == 0 {
		base, want = base+topic.Offset(w.random.IntN(5)-2), ErrGap
	} else if w.random.IntN(8) == 0 {
		prev, want = prev+topic.Epoch(w.random.IntN(3)-1), ErrDiverged
	}
	if base == m.end() && prev == m.tailEpoch() {
		want = nil
	}
	epoch := max(m.role.Epoch, m.tailEpoch(), 0)
	payload := placed(s, base, epoch)
	if m.role.Leading {
		want = ErrLeading
	}
	err := l.AppendReplica(Entry{Partition: p, Epoch: epoch, PrevEpoch: prev, Base: base,
		Count: s.count, Payload: payload})
	w.note("replicate %d at %d epoch %d: %v", p.Index, base, epoch, err)
	if !errors.Is(err, want) {
		w.fail("replicate: got %v, want %v", err, want)
	}
	if err == nil {
		w.push(p, m, payload, epoch)
	}
}

func (w *world) truncate() {
	p := w.partition()
	m, l := w.model(p)
	to := m.first() + topic.Offset(w.random.IntN(int(m.end()-m.first())+3))
	if w.random.IntN(4) > 0 {
		to = max(to, m.highWatermark)
	}
	err := l.Truncate(to)
	w.note("truncate %d to %d: %v", p.Index, to, err)
	if m.role.Leading {
		if !errors.Is(err, ErrLeading) {
			w.fail("truncate by a leader: got %v", err)
		}
		return
	}
	if err != nil {
		w.fail("truncate: %v", err)
	}
	before := m.end()
	m.cut(to)
	if m.end() != before {
		w.written = append(w.written, written{kind: wal.Truncate, partition: p, base: m.end()})
	}
}

func (w *world) commit() {
	p := w.partition()
	m, l := w.model(p)
	hw := topic.Offset(w.random.IntN(int(m.end()) + 3))
	w.note("high watermark %d to %d", p.Index, hw)
	l.SetHighWatermark(hw)
	m.highWatermark = max(m.highWatermark, min(hw, m.end()))
}

// moveStart moves a log start, as a leader or as a follower does.
func (w *world) moveStart() {
	p := w.partition()
	m, l := w.model(p)
	to := topic.Offset(w.random.IntN(int(m.end()) + 3))
	certain, known := l.State().DurableEnd, m.highWatermark
	var err, want error
	if m.role.Leading && w.random.IntN(2) == 0 {
		if w.random.IntN(4) == 0 {
			to = topic.NoOffset
		}
		_, _, err = l.DeleteRecords(context.Background(), to)
		switch {
		case to == topic.NoOffset && known <= certain:
			to = known
		case (to == topic.NoOffset || to > min(known, certain)) && known > certain:
			want = ErrNotReady
		case to > known:
			want = ErrOffsetOutOfRange
		}
	} else {
		err = l.MoveStart(to)
		to = min(to, known, certain)
	}
	w.note("start %d to %d: %v", p.Index, to, err)
	if !errors.Is(err, want) {
		w.fail("move the start: got %v, want %v", err, want)
	}
	if err == nil && to > m.start {
		m.drop(to)
		w.written = append(w.written, written{kind: wal.LogStart, partition: p, base: to})
	}
}

// reset replaces a follower's log.
func (w *world) reset() {
	p := w.partition()
	m, l := w.model(p)
	to, epoch := m.start+topic.Offset(w.random.IntN(20)-8), topic.Epoch(w.random.IntN(int(w.epoch)+1))
	to = max(to, 0)
	err := l.Reset(to, epoch)
	w.note("reset %d to %d epoch %d: %v", p.Index, to, epoch, err)
	if m.role.Leading {
		if !errors.Is(err, ErrLeading) {
			w.fail("reset by a leader: got %v", err)
		}
		return
	}
	if err != nil {
		w.fail("reset: %v", err)
	}
	m.reset(to, epoch)
	w.written = append(w.written, written{kind: wal.Reset, partition: p, base: to, epoch: epoch})
}

// underWay reports whether records of some kinds for the present log of p are not durable yet.
func (w *world) underWay(p topic.Partition, kinds ...wal.Kind) bool {
	for _, r := range slices.Backward(w.written[w.durable:]) {
		if r.partition == p && (r.kind == wal.Remove || slices.Contains(kinds, r.kind)) {
			return r.kind != wal.Remove
		}
	}
	return false
}

func (w *world) elect() {
	p := w.partition()
	m, l := w.model(p)
	w.epoch++
	m.role = Role{Epoch: w.epoch, Leading: w.random.IntN(2) == 0, AcceptAll: true, AcceptOne: true, Ready: true}
	w.note("assume %d %+v", p.Index, m.role)
	l.Assume(m.role)
}

func (w *world) remove() {
	p := w.partition()
	if w.logs[p] == nil {
		return
	}
	w.note("remove %d", p.Index)
	if err := w.store.Remove(p); err != nil {
		w.fail("remove: %v", err)
	}
	delete(w.logs, p)
	w.written = append(w.written, written{kind: wal.Remove, partition: p})
}

// turn lets the WAL make some progress.
func (w *world) turn() {
	sealed, queued := w.journal.progress()
	switch {
	case sealed > 0 && (sealed == 2 || queued == 0 || w.random.IntN(2) == 0):
		w.note("settle")
		w.journal.settle()
	case queued > 0:
		n := 1 + w.random.IntN(queued)
		w.note("seal %d of %d", n, queued)
		w.journal.seal(n)
	}
	w.countDurable()
}

// countDurable matches the WAL's records with those that the model expects.
func (w *world) countDurable() {
	w.durable = 0
	for _, r := range w.journal.durable {
		if r.Kind == wal.HighWatermark {
			continue
		}
		want := w.written[w.durable]
		if r.Kind != want.kind || r.Partition != want.partition || r.Base != want.base ||
			!bytes.Equal(r.Payload, want.batch.payload) {
			w.fail("WAL record %d is %v of %v at %d, want %+v", w.durable, r.Kind, r.Partition, r.Base, want)
		}
		w.durable++
	}
}

// crash opens the store from what was durable, and the model from the same records, played dumbly.
func (w *world) crash() {
	withSealed := w.random.IntN(2) == 0
	w.note("crash, sealed group survives: %v", withSealed)
	w.reopen(withSealed)
	w.countDurable()
	w.written = w.written[:w.durable]
	rp, i := newReplayed(), 0
	for _, r := range w.journal.durable {
		if r.Kind == wal.HighWatermark {
			rp.play(written{kind: r.Kind, partition: r.Partition, base: r.Base})
			continue
		}
		rp.play(w.written[i])
		i++
	}
	w.logs = rp.started()
}

// check compares everything that can be asked.
func (w *world) check() {
	numbers := map[int]bool{}
	for _, r := range w.written[:w.durable] {
		numbers[r.batch.number] = true
	}
	for p, m := range w.logs {
		_, l := w.model(p)
		w.checkState(m, l, m.durable(numbers))
		w.checkRead(m, l)
		w.checkLookups(m, l)
	}
	w.journal.idle()
}

func (w *world) checkState(m *modelLog, l *Log, durable topic.Offset) {
	got := l.State()
	want := State{HighWatermark: m.highWatermark, LastStable: m.highWatermark, DurableEnd: durable, LogEnd: m.end(),
		LogStart: m.start, First: m.first(), StartDurable: m.start,
		TailEpoch: m.tailEpoch(), Role: m.role, Cuts: got.Cuts}
	if w.underWay(l.partition, wal.Reset) {
		if got.DurableEnd >= got.LogStart {
			w.fail("%+v counts as durable before its reset is", got)
		}
		want.DurableEnd = got.DurableEnd
	}
	if w.underWay(l.partition, wal.Reset, wal.LogStart) && got.StartDurable <= m.start {
		want.StartDurable = got.StartDurable
	}
	for _, b := range m.batches {
		want.Size += int64(len(b.payload))
		if b.end() > m.highWatermark {
			want.Unacked += int64(len(b.payload))
		}
	}
	if got != want {
		w.fail("partition %d is\n %+v, want\n %+v", l.partition.Index, got, want)
	}
	if room := l.mu.room; room.granted != 0 || room.queue.Len() != 0 {
		w.fail("room leaked: %+v", room)
	}
	h := pb(w.random.Int64N(3), int16(w.random.IntN(2)), w.random.Int32N(12), 1+w.random.Int32N(3))
	original, duplicate, err := l.mu.producers.judge(h, false)
	wantOriginal, wantDuplicate, wantErr := m.judge(h)
	if !errors.Is(err, wantErr) || duplicate != wantDuplicate || original.base != wantOriginal.base {
		w.fail("%+v is judged duplicate %v of %d, %v; want %v of %d, %v", h, duplicate, original.base, err,
			wantDuplicate, wantOriginal.base, wantErr)
	}
}

func (w *world) checkRead(m *modelLog, l *Log) {
	from := topic.Offset(w.random.IntN(int(m.end()) + 1))
	bytesMax, minOne := w.random.IntN(600), w.random.IntN(2) == 0
	var want [][]byte
	left := bytesMax
	for _, b := range m.batches {
		if b.end() <= from || b.end() > m.highWatermark {
			continue
		}
		left -= len(b.payload)
		if left < 0 && (!minOne || len(want) > 0) {
			break
		}
		want = append(want, b.payload)
	}
	got, err := l.Read(from, bytesMax, minOne)
	if from < m.start {
		if !errors.Is(err, ErrOffsetOutOfRange) {
			w.fail("read at %d below the start %d gave %v", from, m.start, err)
		}
	} else if err != nil || !slices.EqualFunc(got.Batches, want, bytes.Equal) {
		w.fail("read from %d of %d, %d bytes: got %d batches, %v; want %d",
			from, m.end(), bytesMax, len(got.Batches), err, len(want))
	}
	entries, ok := l.ReadTail(from, 1<<20)
	var expect []modelBatch
	for _, b := range m.batches {
		if b.end() > from {
			expect = append(expect, b)
		}
	}
	if ok && !slices.EqualFunc(entries, expect, func(e Entry, b modelBatch) bool {
		return e.Base == b.base && e.Epoch == b.epoch && bytes.Equal(e.Payload, b.payload)
	}) {
		w.fail("tail from %d: got %d entries, want %d", from, len(entries), len(expect))
	}
}

func (w *world) checkLookups(m *modelLog, l *Log) {
	ts := w.random.Int64N(1100)
	wantOffset, wantFound := topic.NoOffset, int64(-1)
	for _, b := range m.batches {
		if b.end() <= m.highWatermark && b.header.MaxTimestamp >= ts {
			delta := max(0, ts-b.header.BaseTimestamp)
			wantOffset, wantFound = max(m.start, b.base+topic.Offset(delta)), b.header.BaseTimestamp+delta
			break
		}
	}
	if offset, found, _, err := l.OffsetForTime(ts); offset != wantOffset || found != wantFound || err != nil {
		w.fail("time %d: got %d, %d, %v; want %d, %d", ts, offset, found, err, wantOffset, wantFound)
	}
	asked := topic.Epoch(w.random.IntN(int(w.epoch) + 3))
	wantEpoch, wantEnd := topic.NoEpoch, topic.NoOffset
	newest := m.tailEpoch()
	if m.role.Leading {
		newest = max(newest, m.role.Epoch)
	}
	if asked <= newest {
		wantEpoch, wantEnd = asked, m.first()
		if m.floor != topic.NoEpoch && m.floor <= asked {
			wantEpoch = m.floor
		}
		for _, b := range m.batches {
			if b.epoch <= asked {
				wantEpoch, wantEnd = b.epoch, b.end()
			}
		}
		if asked == newest {
			wantEpoch, wantEnd = asked, m.end()
		}
		wantEnd = max(wantEnd, m.start)
	}
	if epoch, end := l.EpochEnd(asked); epoch != wantEpoch || end != wantEnd {
		w.fail("epoch %d ends at %d, %d; want %d, %d", asked, epoch, end, wantEpoch, wantEnd)
	}
}

// checkScan reads the whole WAL and compares it with the durable front of every log.
func (w *world) checkScan() {
	got := map[topic.Partition][]Entry{}
	from := wal.Position{}
	for end := false; !end; {
		var entries []Entry
		var err error
		if entries, from, end, err = w.store.Scan(from, 200); err != nil {
			w.fail("scan: %v", err)
		}
		for _, e := range entries {
			got[e.Partition] = append(got[e.Partition], e)
		}
	}
	numbers := map[int]bool{}
	for _, r := range w.written[:w.durable] {
		numbers[r.batch.number] = true
	}
	for p, m := range w.logs {
		want := slices.DeleteFunc(slices.Clone(m.batches), func(b modelBatch) bool { return !numbers[b.number] })
		if !slices.EqualFunc(got[p], want, func(e Entry, b modelBatch) bool {
			return e.Base == b.base && bytes.Equal(e.Payload, b.payload)
		}) {
			w.fail("scan of partition %d gave %d batches, want %d", p.Index, len(got[p]), len(want))
		}
	}
}

// A store does what a list does, through appends, elections, truncations, crashes and removals.
func TestStoreAgreesWithADumbModel(t *testing.T) {
	first, last := uint64(1), uint64(150)
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runModel(t, seed) })
	}
}

func runModel(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	f := newFixture(t, func(c *Config) {
		c.TailBytesMax = []int64{1, 2000, 64 << 20}[random.IntN(3)]
		c.HighWatermarkCheckpoint = time.Second
		c.ProducerIDExpiration = 1000 * time.Hour
	})
	w := &world{fixture: f, random: random, logs: map[topic.Partition]*modelLog{}}
	for range 400 {
		switch random.IntN(24) {
		case 0, 1, 2, 3, 4, 5:
			w.append()
		case 6, 7, 8, 9, 10:
			w.replicate()
		case 11:
			w.truncate()
		case 12:
			if random.IntN(3) > 0 {
				w.moveStart()
			} else {
				w.reset()
			}
		case 13, 14, 15:
			w.commit()
		case 16, 17:
			w.elect()
		case 18:
			w.clock.advance(700 * time.Millisecond)
			w.store.Tick()
		case 19:
			if random.IntN(4) == 0 {
				w.crash()
			} else if random.IntN(6) == 0 {
				w.remove()
			}
		default:
			w.turn()
		}
		w.check()
	}
	w.checkScan()
	w.crash()
	w.check()
	w.checkScan()
}
