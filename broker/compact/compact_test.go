package compact

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"outrigger/broker/batch"
)

// modelRecord is a record as the model knows it.
type modelRecord struct {
	offset, timestamp int64
	key, value        string // "-" is null
}

// modelBatch is a batch as the model knows it.
type modelBatch struct {
	base, last int64
	producer   int64
	control    bool
	// data is the index of the transaction that the batch is part of, or -1.
	transaction int
	horizon     int64 // 0 is none
	records     []modelRecord
}

// model is a log as a list, compacted in the dumbest way.
type model struct {
	batches []modelBatch
	// aborted says what became of each transaction.
	aborted []bool
	newest  map[int64][]int64
}

// pass is what a pass is to do to the records of [0, end), after learning those of [from, end).
func (m *model) pass(from, end, now, retention int64, hold bool) {
	dead := func(b modelBatch) bool { return b.transaction >= 0 && !b.control && m.aborted[b.transaction] }
	newest := map[string]int64{}
	alive := map[int]bool{} // transactions of which there is a batch before the pass
	for _, b := range m.batches {
		if b.base < end && !b.control {
			alive[b.transaction] = true
		}
		for _, r := range b.records {
			if !b.control && !dead(b) && r.key != "-" && r.offset >= from && r.offset < end {
				newest[r.key] = max(newest[r.key], r.offset)
			}
		}
	}
	var left []modelBatch
	for _, b := range m.batches {
		if b.base >= end {
			left = append(left, b)
			continue
		}
		if b.control {
			switch {
			case alive[b.transaction] || len(b.records) == 0:
			case b.horizon == 0:
				b.horizon = now + retention
			case b.horizon <= now && !hold:
				b.records = nil
			}
		} else {
			tombstone := false
			b.records = slices.DeleteFunc(slices.Clone(b.records), func(r modelRecord) bool {
				if r.offset >= end {
					return false
				}
				gone := dead(b) || r.key == "-" || newest[r.key] > r.offset ||
					r.value == "-" && b.horizon != 0 && b.horizon <= now && !hold
				tombstone = tombstone || !gone && r.value == "-"
				return gone
			})
			if tombstone && b.horizon == 0 {
				b.horizon = now + retention
			}
		}
		tells := slices.ContainsFunc(m.newest[b.producer], func(n int64) bool { return b.base <= n && n <= b.last })
		if len(b.records) > 0 || tells {
			left = append(left, b)
		}
	}
	m.batches = left
}

func (m *model) String() string {
	var out bytes.Buffer
	for _, b := range m.batches {
		fmt.Fprintf(&out, "%d-%d producer %d control %v horizon %d %v\n", b.base, b.last, b.producer, b.control, b.horizon, b.records)
	}
	return out.String()
}

// described is a real log in the words of the model.
func described(t *rapid.T, log [][]byte) string {
	var m model
	for _, raw := range log {
		h, err := batch.ParseHeader(raw)
		if err != nil || h.Size() != len(raw) || h.CRC != batch.Checksum(raw) {
			t.Fatalf("not a batch: %+v of %d bytes, %v", h, len(raw), err)
		}
		if h.Spans() {
			continue
		}
		b := modelBatch{base: h.BaseOffset, last: h.LastOffset(), producer: h.ProducerID, control: h.Control()}
		if at, ok := h.DeleteHorizon(); ok {
			b.horizon = at
		}
		for r, err := range batch.Records(raw) {
			if err != nil {
				t.Fatalf("read a batch: %v", err)
			}
			b.records = append(b.records, modelRecord{r.Offset, r.Timestamp, word(r.Key), word(r.Value)})
		}
		if len(b.records) != int(h.Records) {
			t.Fatalf("%d records, the header says %d", len(b.records), h.Records)
		}
		m.batches = append(m.batches, b)
	}
	return m.String()
}

// dense requires that a log has no gaps, and that neighbours of which nothing is left are one.
func dense(t *rapid.T, log [][]byte, end int64) {
	next, spanned := int64(0), false
	for _, raw := range log {
		h, err := batch.ParseHeader(raw)
		if err != nil || h.BaseOffset != next || h.LastOffset() < h.BaseOffset {
			t.Fatalf("a batch from %d to %d follows up to %d, %v", h.BaseOffset, h.LastOffset(), next, err)
		}
		if h.Spans() && spanned {
			t.Fatalf("two empty batches meet at %d", next)
		}
		next, spanned = h.LastOffset()+1, h.Spans()
	}
	if next != end {
		t.Fatalf("the log ends at %d, want %d", next, end)
	}
}

func word(b []byte) string {
	if b == nil {
		return "-"
	}
	return string(b)
}

func null(s string) []byte {
	if s == "-" {
		return nil
	}
	return []byte(s)
}

// writer makes a log and its model.
type writer struct {
	*rapid.T
	log   [][]byte
	model model
	next  int64
	open  map[int64]int // transaction by producer
}

func (w *writer) put(b *batch.Builder, of modelBatch) {
	b.BaseOffset = w.next
	of.base, of.last, of.producer = w.next, w.next+int64(len(of.records))-1, b.ProducerID
	for i := range of.records {
		r := &of.records[i]
		r.offset = w.next + int64(i)
		b.Add(batch.Record{Timestamp: r.timestamp, Key: null(r.key), Value: null(r.value)})
	}
	raw, err := b.Build()
	if err != nil {
		w.Fatal(err)
	}
	w.next = of.last + 1
	w.log, w.model.batches = append(w.log, raw), append(w.model.batches, of)
	if !of.control && b.ProducerID >= 0 {
		w.model.newest[b.ProducerID] = []int64{of.last}
	}
}

var keys = rapid.SampledFrom([]string{"a", "b", "c", "d", "", "-"})

// data writes a batch of a producer: 1 and 2 write in transactions, 3 does not, -1 has no id.
func (w *writer) data() {
	b := batch.NewBuilder(batch.Codec(rapid.IntRange(0, 4).Draw(w.T, "codec")))
	of := modelBatch{transaction: -1}
	b.ProducerID = rapid.SampledFrom([]int64{-1, 1, 2, 3}).Draw(w.T, "producer")
	if b.ProducerID >= 0 {
		b.ProducerEpoch, b.BaseSequence = 0, int32(w.next)
	}
	if b.ProducerID == 1 || b.ProducerID == 2 {
		b.Transactional = true
		if _, open := w.open[b.ProducerID]; !open {
			w.open[b.ProducerID] = len(w.model.aborted)
			w.model.aborted = append(w.model.aborted, false)
		}
		of.transaction = w.open[b.ProducerID]
	}
	for range rapid.IntRange(1, 4).Draw(w.T, "records") {
		value := "-"
		if rapid.IntRange(0, 3).Draw(w.T, "value") > 0 {
			value = fmt.Sprint("value ", w.next, len(of.records))
		}
		of.records = append(of.records, modelRecord{
			key: keys.Draw(w.T, "key"), value: value, timestamp: rapid.Int64Range(-1, 50).Draw(w.T, "timestamp"),
		})
	}
	w.put(b, of)
}

// end ends a transaction.
func (w *writer) end(producer int64, commit bool) {
	at, open := w.open[producer]
	if !open {
		return
	}
	delete(w.open, producer)
	w.model.aborted[at] = !commit
	raw, err := batch.Marker{Commit: commit}.Build(producer, 0, 7)
	if err != nil {
		w.Fatal(err)
	}
	for r := range batch.Records(raw) {
		b := batch.NewBuilder(batch.CodecNone)
		b.ProducerID, b.ProducerEpoch, b.Transactional, b.Control = producer, 0, true, true
		w.put(b, modelBatch{control: true, transaction: at, records: []modelRecord{{
			timestamp: 7, key: string(r.Key), value: string(r.Value),
		}}})
	}
}

// abortedOf lists the aborted transactions of a log, as the partition's index has them.
func (w *writer) abortedOf() []Aborted {
	var all []Aborted
	for i, aborted := range w.model.aborted {
		if !aborted {
			continue
		}
		a := Aborted{First: -1}
		for _, b := range w.model.batches {
			if b.transaction == i {
				if a.First < 0 {
					a.First = b.base
				}
				a.ProducerID, a.Last = b.producer, b.last
			}
		}
		all = append(all, a)
	}
	return all
}

// view is what a reader of committed records ends up with, over the whole log: the last value of each key.
func view(t *rapid.T, log [][]byte, aborted []Aborted) map[string]string {
	p := NewPass(Config{Aborted: aborted, Limit: 1 << 60}, 0)
	last := map[string]string{}
	for _, raw := range log {
		h, err := batch.ParseHeader(raw)
		if err != nil {
			t.Fatal(err)
		}
		if h.Control() || p.isAborted(h) {
			continue
		}
		for r := range batch.Records(raw) {
			switch {
			case r.Key == nil:
			case r.Value == nil:
				delete(last, string(r.Key))
			default:
				last[string(r.Key)] = string(r.Value)
			}
		}
	}
	return last
}

// A log that is compacted again and again, with maps of any size, up to any limit and at any time, holds
// what the model holds, and whoever reads all of it ends up with the same.
func TestCompactionAgreesWithTheSimplestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &writer{T: t, open: map[int64]int{}, model: model{newest: map[int64][]int64{}}}
		for range rapid.IntRange(1, 25).Draw(t, "batches") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				w.end(rapid.Int64Range(1, 2).Draw(t, "ended"), rapid.Bool().Draw(t, "commit"))
			default:
				w.data()
			}
		}
		for producer := range int64(2) {
			w.end(producer+1, rapid.Bool().Draw(t, "commit"))
		}
		aborted := w.abortedOf()
		want := view(t, w.log, aborted)
		now, limit, from := int64(100), int64(0), int64(0)
		for range rapid.IntRange(1, 8).Draw(t, "passes") {
			now += rapid.Int64Range(0, 60).Draw(t, "time")
			limit = max(limit, rapid.Int64Range(0, w.next).Draw(t, "limit"))
			if from == limit && rapid.Bool().Draw(t, "again") {
				from = 0
			}
			hold := rapid.Bool().Draw(t, "hold")
			keysMax := rapid.IntRange(1, 6).Draw(t, "keys")
			p := NewPass(Config{
				Now: now, DeleteRetention: 50, Hold: hold, KeysMax: keysMax, Limit: limit,
				Aborted: aborted, Newest: w.model.newest,
			}, from)
			more := true
			for i := 0; i < len(w.log) && more; i++ {
				var err error
				if more, err = p.Learn(w.log[i]); err != nil {
					t.Fatal(err)
				}
			}
			if more {
				p.Exhausted()
			}
			if len(p.newest) > keysMax {
				t.Fatalf("%d keys are remembered, want %d at most", len(p.newest), keysMax)
			}
			if from < limit && p.End() <= from {
				t.Fatalf("a pass from %d to %d made no progress", from, limit)
			}
			var left [][]byte
			for _, raw := range w.log {
				before := bytes.Clone(raw)
				out, err := p.Clean(raw)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(raw, before) {
					t.Fatal("a batch was changed in place")
				}
				left = append(left, out...)
			}
			if rest := p.Flush(); rest != nil {
				left = append(left, rest)
			}
			dense(t, left, w.next)
			w.log = left
			w.model.pass(from, p.End(), now, 50, hold)
			if got := described(t, w.log); got != w.model.String() {
				t.Fatalf("after a pass from %d to %d the log is\n%swant\n%s", from, p.End(), got, w.model.String())
			}
			if got := view(t, w.log, aborted); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("a reader ends up with %v, want %v", got, want)
			}
			from = p.End()
		}
	})
}

// What a whole pass leaves, said without a model.
func TestWholePassLeavesOneRecordOfEachKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &writer{T: t, open: map[int64]int{}, model: model{newest: map[int64][]int64{}}}
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			w.data()
		}
		for producer := range int64(2) {
			w.end(producer+1, rapid.Bool().Draw(t, "commit"))
		}
		aborted := w.abortedOf()
		want := view(t, w.log, aborted)
		var bytesLeft int
		for round := range 3 { // the third is behind every horizon that the second could set
			p := NewPass(Config{Now: int64(1000 + 100*round), DeleteRetention: 50, KeysMax: 100, Limit: w.next,
				Aborted: aborted, Newest: map[int64][]int64{}}, 0)
			for _, raw := range w.log {
				if _, err := p.Learn(raw); err != nil {
					t.Fatal(err)
				}
			}
			var left [][]byte
			for _, raw := range w.log {
				out, err := p.Clean(raw)
				if err != nil {
					t.Fatal(err)
				}
				left = append(left, out...)
			}
			if rest := p.Flush(); rest != nil {
				left = append(left, rest)
			}
			dense(t, left, w.next)
			w.log = left
			if s := p.Stats(); s.KeptBatches+s.Spans != int64(len(left)) || s.EmptyBatches != 0 {
				t.Fatalf("stats are %+v, %d batches are left", s, len(left))
			}
		}
		seen := map[string]bool{}
		for _, raw := range w.log {
			bytesLeft += len(raw)
			h, err := batch.ParseHeader(raw)
			if err != nil {
				t.Fatal(err)
			}
			for r := range batch.Records(raw) {
				if h.Control() {
					continue // of a transaction that something is left of
				}
				if r.Value == nil || r.Key == nil || seen[string(r.Key)] {
					t.Fatalf("record at %d with key %q is left", r.Offset, r.Key)
				}
				seen[string(r.Key)] = true
			}
		}
		if len(seen) != len(want) {
			t.Fatalf("%d keys are left in %d bytes, want %d", len(seen), bytesLeft, len(want))
		}
	})
}

func TestTombstoneStaysForItsTime(t *testing.T) {
	build := func(base int64, key, value string) []byte {
		b := batch.NewBuilder(batch.CodecZstd)
		b.BaseOffset = base
		b.Add(batch.Record{Timestamp: 5, Key: []byte(key), Value: null(value)})
		raw, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	log := [][]byte{build(0, "k", "v"), build(1, "k", "-")}
	clean := func(now int64) {
		p := NewPass(Config{Now: now, DeleteRetention: 100, KeysMax: 10, Limit: 2}, 0)
		for _, raw := range log {
			if _, err := p.Learn(raw); err != nil {
				t.Fatal(err)
			}
		}
		var left [][]byte
		for _, raw := range log {
			if out, err := p.Clean(raw); err != nil {
				t.Fatal(err)
			} else {
				left = append(left, out...)
			}
		}
		p.Flush()
		log = slices.DeleteFunc(left, func(b []byte) bool {
			h, err := batch.ParseHeader(b)
			return err == nil && h.Spans()
		})
	}
	for _, now := range []int64{1000, 1050, 1099} {
		clean(now)
		if len(log) != 1 {
			t.Fatalf("at %d: %d batches are left, want the tombstone", now, len(log))
		}
		h, _ := batch.ParseHeader(log[0])
		if at, ok := h.DeleteHorizon(); !ok || at != 1100 || h.BaseOffset != 1 || h.MaxTimestamp != 5 {
			t.Fatalf("at %d: the tombstone's batch is %+v, want horizon 1100", now, h)
		}
		for r, err := range batch.Records(log[0]) {
			if err != nil || r.Timestamp != 5 || r.Offset != 1 {
				t.Fatalf("at %d: the tombstone is %+v, %v", now, r, err)
			}
		}
	}
	if clean(1100); len(log) != 0 {
		t.Errorf("behind its horizon the tombstone is still there")
	}
}
