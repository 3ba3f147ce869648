package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// truth is a log that keeps its word, with clients of every kind. What they are told is a history.
type truth struct {
	r     *rand.Rand
	h     *History
	logs  [3][]entry
	value Value
	// writers and readers act in any order.
	writers []*writer
	readers []*reader
}

// entry is one offset of the log: a record, or a marker of a transaction's end.
type entry struct {
	value Value
	of    *fateOf
}

// fateOf is what becomes of a transaction; nil stands for none.
type fateOf struct{ ended, committed bool }

func (e entry) marker() bool { return e.value == 0 }

// writer is a producer with a pipe of sends that were not answered yet.
type writer struct {
	p       *Producer
	pipe    []flight
	in      *fateOf
	x       Transaction
	touched map[int]bool
}

type flight struct {
	sent      Sent
	value     Value
	partition int
	offset    int64
}

// reader is a consumer of all partitions.
type reader struct {
	c         *Consumer
	committed bool
	group     bool
	next      [3]int64
}

func newTruth(seed uint64) *truth {
	w := &truth{r: rand.New(rand.NewPCG(seed, 7))}
	transactional := seed%2 == 1
	w.h = New(Config{Clock: ticking(), Rules: Rules{Holes: transactional}})
	for i := range 3 {
		config := ProducerConfig{Name: fmt.Sprint("p", i), Idempotent: i > 0}
		w.writers = append(w.writers, &writer{p: w.h.Producer(config)})
	}
	for i := range 3 {
		config := ConsumerConfig{Name: fmt.Sprint("c", i), Subscribed: i == 2, ReadCommitted: transactional && i > 0}
		w.readers = append(w.readers, &reader{c: w.h.Consumer(config), committed: config.ReadCommitted, group: i == 2})
	}
	for range 40 + w.r.IntN(200) {
		switch n := w.r.IntN(10); {
		case n < 6:
			w.write(w.writers[w.r.IntN(3)])
		case n < 7 && transactional:
			w.turn(w.writers[2])
		default:
			w.poll(w.readers[w.r.IntN(3)])
		}
	}
	w.finish()
	return w
}

// write sends, or lets the oldest send of the pipe return.
func (t *truth) write(w *writer) {
	if len(w.pipe) > 0 && t.r.IntN(2) == 0 {
		t.answer(w)
		return
	}
	t.value++
	f := flight{value: t.value, partition: t.r.IntN(len(t.logs)), offset: NoOffset}
	f.sent = w.p.Send(topicName, int32(f.partition), f.value)
	if t.r.IntN(10) > 0 {
		f.offset = t.append(w, f)
	}
	w.pipe = append(w.pipe, f)
}

func (t *truth) append(w *writer, f flight) int64 {
	log := &t.logs[f.partition]
	*log = append(*log, entry{value: f.value, of: w.in})
	if w.in != nil {
		w.touched[f.partition] = true
	}
	return int64(len(*log) - 1)
}

// answer tells the client of its oldest send something true.
func (t *truth) answer(w *writer) {
	f := w.pipe[0]
	w.pipe = w.pipe[1:]
	again := !w.p.config.Idempotent && t.r.IntN(5) == 0
	switch n := t.r.IntN(10); {
	case n == 0: // nothing is ever said
	case n == 1:
		f.sent.Unknown()
		if f.offset == NoOffset && t.r.IntN(2) == 0 {
			t.append(w, f) // it lands late
		}
	case f.offset == NoOffset:
		f.sent.Failed()
	case again:
		f.sent.Acked(t.append(w, f))
	case n == 2:
		f.sent.Acked(NoOffset)
	default:
		f.sent.Acked(f.offset)
	}
}

// turn begins a transaction, or ends one: all is answered before.
func (t *truth) turn(w *writer) {
	for len(w.pipe) > 0 {
		t.answer(w)
	}
	if w.in == nil {
		w.in, w.touched, w.x = &fateOf{}, map[int]bool{}, w.p.Begin()
		return
	}
	of := w.in
	of.committed = t.r.IntN(3) > 0
	known := t.r.IntN(4) > 0
	if of.committed || !known {
		w.x.Committing()
	}
	for p := range w.touched {
		t.logs[p] = append(t.logs[p], entry{of: of})
	}
	of.ended, w.in = true, nil
	switch {
	case !known:
		w.x.Unknown()
	case of.committed:
		w.x.Committed()
	default:
		w.x.Aborted()
	}
}

// end is where a reader must stop.
func (t *truth) end(r *reader, p int) int64 {
	for i, e := range t.logs[p] {
		if r.committed && e.of != nil && !e.of.ended {
			return int64(i)
		}
	}
	return int64(len(t.logs[p]))
}

// poll reads a little of each partition.
func (t *truth) poll(r *reader) {
	if t.r.IntN(10) == 0 {
		t.jump(r)
	}
	r.c.Poll()
	for p := range t.logs {
		t.take(r, p, r.next[p]+int64(t.r.IntN(6)))
	}
	r.c.Done()
}

// jump is a rebalance, which says nothing, or a seek, which does.
func (t *truth) jump(r *reader) {
	p := t.r.IntN(len(t.logs))
	r.next[p] = t.r.Int64N(t.end(r, p) + 1)
	switch {
	case r.group:
	case t.r.IntN(2) == 0:
		r.c.Seek(topicName, int32(p), r.next[p])
	default:
		r.c.Reset(topicName, int32(p))
	}
}

// take reads up to an offset.
func (t *truth) take(r *reader, p int, to int64) {
	for ; r.next[p] < min(to, t.end(r, p)); r.next[p]++ {
		e := t.logs[p][r.next[p]]
		if e.marker() || r.committed && e.of != nil && !e.of.committed {
			continue
		}
		r.c.Read(topicName, int32(p), r.next[p], e.value)
	}
}

// finish lets everything be answered, and polls for the last time.
func (t *truth) finish() {
	for _, w := range t.writers {
		if w.in != nil {
			t.turn(w)
		}
		for len(w.pipe) > 0 {
			t.answer(w)
		}
	}
	r := &reader{c: t.h.Consumer(ConsumerConfig{Name: "final", ReadCommitted: t.r.IntN(2) == 0})}
	r.committed = r.c.config.ReadCommitted
	asked := t.h.Now()
	for p := range t.logs {
		r.c.Final(topicName, int32(p), Range{Asked: asked, End: t.end(r, p)})
	}
	for p := range t.logs {
		for r.next[p] < t.end(r, p) {
			r.c.Poll()
			t.take(r, p, r.next[p]+1+int64(t.r.IntN(20)))
			r.c.Done()
		}
		r.c.Finished(topicName, int32(p))
	}
}

// enough histories in which a lie found its place.
const enough = 2

// histories is how many random ones are judged.
func histories() uint64 {
	if testing.Short() {
		return 300
	}
	return 1000
}

func TestTrueHistoriesAreValid(t *testing.T) {
	records := 0
	for seed := range histories() {
		w := newTruth(seed)
		v := Check(w.h)
		if !v.Valid() {
			t.Fatalf("seed %d: %v", seed, v.Err())
		}
		if again := Check(copied(t, w.h)); again.String() != v.String() {
			t.Fatalf("seed %d, from the file: got %v, want %v", seed, again, v)
		}
		records += v.Reads
	}
	t.Logf("%d histories, %d records read", histories(), records)
}

// lie is a history as lines, with one record in each line of a read.
type lie struct {
	r     *rand.Rand
	lines []line
	// reads are the lines that read a value, before anything was changed.
	reads map[string][]int
}

func newLie(t *testing.T, seed uint64) *lie {
	t.Helper()
	w := newTruth(seed)
	var file bytes.Buffer
	if _, err := w.h.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	l := &lie{r: w.r, reads: map[string][]int{}}
	for decoder := json.NewDecoder(&file); ; {
		var one line
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return l
		}
		if err != nil {
			t.Fatal(err)
		}
		if one.Read == nil {
			l.lines = append(l.lines, one)
			continue
		}
		for i, v := range one.Read.Values {
			l.reads[v] = append(l.reads[v], len(l.lines))
			l.lines = append(l.lines, line{Read: &fileRead{
				Partition: one.Read.Partition, Offset: one.Read.Offset + int64(i), Values: []string{v},
			}})
		}
	}
}

func (l *lie) history(t *testing.T) *History {
	t.Helper()
	var file bytes.Buffer
	encoder := json.NewEncoder(&file)
	for _, one := range l.lines {
		if err := encoder.Encode(one); err != nil {
			t.Fatal(err)
		}
	}
	h, err := Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// pick is the number of a line that fits, at random; -1 if none does.
func (l *lie) pick(fits func(i int, one line) bool) int {
	var found []int
	for i, one := range l.lines {
		if fits(i, one) {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return -1
	}
	return found[l.r.IntN(len(found))]
}

// above is the line of the consumer or producer that a line belongs to.
func (l *lie) above(i int) line {
	for ; ; i-- {
		if l.lines[i].Producer != nil || l.lines[i].Consumer != nil {
			return l.lines[i]
		}
	}
}

// inTransaction reports whether a send belongs to one.
func (l *lie) inTransaction(i int) bool {
	number := 0
	for j := i - 1; l.lines[j].Producer == nil; j-- {
		number++
	}
	for ; i < len(l.lines) && (l.lines[i].Send != nil || l.lines[i].Transaction != nil); i++ {
		if x := l.lines[i].Transaction; x != nil && x.First <= number && number < x.End {
			return true
		}
	}
	return false
}

// read is a send that was acknowledged at an offset, in no transaction, and read.
func (l *lie) readSend(i int, one line) bool {
	return one.Send != nil && one.Send.Outcome == "acked" && one.Send.Offset >= 0 && !l.inTransaction(i) &&
		len(l.reads[one.Send.Value]) > 0
}

func (l *lie) remove(numbers ...int) {
	gone := map[int]bool{}
	for _, i := range numbers {
		gone[i] = true
	}
	kept := l.lines[:0]
	for i, one := range l.lines {
		if !gone[i] {
			kept = append(kept, one)
		}
	}
	l.lines = kept
}

// lies are ways to make a true history a false one. Each says what must be found, or nothing if it
// found no place.
var lies = map[string]func(l *lie) []Kind{
	"nobody reads an acknowledged record": func(l *lie) []Kind {
		i := l.pick(l.readSend)
		if i < 0 {
			return nil
		}
		l.remove(l.reads[l.lines[i].Send.Value]...)
		// without the last record of a partition the final polls do not reach their end
		return []Kind{LostWrite, "incomplete", Unseen}
	},
	"a reader misses a record": func(l *lie) []Kind {
		i := l.pick(func(i int, one line) bool {
			if one.Read == nil || l.above(i).Consumer.Subscribed || i+1 == len(l.lines) {
				return false
			}
			before, after := l.lines[i-1].Read, l.lines[i+1].Read
			return before != nil && after != nil && before.Partition == one.Read.Partition &&
				after.Partition == one.Read.Partition && before.Offset+1 == one.Read.Offset &&
				after.Offset-1 == one.Read.Offset && l.readAgain(i) &&
				!l.doubtful(one.Read.Values[0])
		})
		if i < 0 {
			return nil
		}
		l.remove(i)
		return []Kind{InternalSkip}
	},
	"a poll gives a record twice": func(l *lie) []Kind {
		i := l.pick(func(_ int, one line) bool { return one.Read != nil })
		if i < 0 {
			return nil
		}
		l.lines = append(l.lines[:i+1], l.lines[i:]...)
		return []Kind{InternalNonmonotonic}
	},
	"the next poll gives a record again": func(l *lie) []Kind {
		i := l.pick(func(i int, one line) bool {
			return one.Poll != nil && i > 0 && l.lines[i-1].Read != nil && !l.above(i).Consumer.Subscribed
		})
		if i < 0 {
			return nil
		}
		again := l.lines[i-1]
		l.lines = append(l.lines[:i+1], append([]line{again}, l.lines[i+1:]...)...)
		return []Kind{PollNonmonotonic}
	},
	"a read gives a value of nobody": func(l *lie) []Kind {
		i := l.pick(func(_ int, one line) bool { return one.Read != nil })
		if i < 0 {
			return nil
		}
		l.lines[i].Read.Values = []string{hex(1 << 60)}
		return []Kind{Garbage}
	},
	"a read gives the value of another offset": func(l *lie) []Kind {
		i := l.pick(func(_ int, one line) bool { return one.Read != nil && len(l.reads[one.Read.Values[0]]) > 1 })
		j := l.pick(func(_ int, one line) bool {
			return i >= 0 && one.Read != nil && one.Read.Partition == l.lines[i].Read.Partition &&
				one.Read.Values[0] != l.lines[i].Read.Values[0]
		})
		if j < 0 {
			return nil
		}
		l.lines[i].Read.Values = l.lines[j].Read.Values
		return []Kind{InconsistentOffset}
	},
	"a record that was read had failed": func(l *lie) []Kind {
		i := l.pick(l.readSend)
		if i < 0 {
			return nil
		}
		l.lines[i].Send.Outcome, l.lines[i].Send.Offset = "failed", NoOffset
		return []Kind{FailedRead}
	},
	"an acknowledgement names another offset": func(l *lie) []Kind {
		i := l.pick(func(i int, one line) bool { return l.readSend(i, one) && l.above(i).Producer.Idempotent })
		if i < 0 {
			return nil
		}
		l.lines[i].Send.Offset += 100_000
		return []Kind{AckMismatch}
	},
	"two acknowledgements name one offset": func(l *lie) []Kind {
		i := l.pick(l.readSend)
		j := l.pick(func(j int, one line) bool {
			return i >= 0 && i != j && l.readSend(j, one) && one.Send.Partition == l.lines[i].Send.Partition
		})
		if j < 0 {
			return nil
		}
		l.lines[i].Send.Offset = l.lines[j].Send.Offset
		return []Kind{InconsistentOffset}
	},
	"two sends of a producer change places": func(l *lie) []Kind {
		ordered := func(i int, one line) bool { return l.readSend(i, one) && l.above(i).Producer.Idempotent }
		i := l.pick(ordered)
		j := l.pick(func(j int, one line) bool {
			return i >= 0 && j != i && ordered(j, one) && one.Send.Partition == l.lines[i].Send.Partition &&
				l.above(i).Producer.Name == l.above(j).Producer.Name
		})
		if j < 0 {
			return nil
		}
		one, other := l.lines[i].Send, l.lines[j].Send
		one.Value, other.Value, one.Offset, other.Offset = other.Value, one.Value, other.Offset, one.Offset
		return []Kind{NonmonotonicSend}
	},
	"an idempotent record stands twice": func(l *lie) []Kind {
		i := l.pick(func(i int, one line) bool { return l.readSend(i, one) && l.above(i).Producer.Idempotent })
		if i < 0 {
			return nil
		}
		s := l.lines[i].Send
		l.lines = append(l.lines, line{Read: &fileRead{
			Partition: s.Partition, Offset: 100_000, Values: []string{s.Value},
		}})
		return []Kind{Duplicate}
	},
	"nobody polls for the last time": func(l *lie) []Kind {
		i := l.pick(func(_ int, one line) bool {
			return one.Move != nil && one.Move.Kind == "final" && one.Move.Final.End > 0
		})
		if i < 0 {
			return nil
		}
		l.remove(i)
		return []Kind{"incomplete"}
	},
	"the end lies below what was read": func(l *lie) []Kind {
		i := l.pick(func(i int, one line) bool {
			return one.Move != nil && one.Move.Kind == "final" && l.lastRead(one.Move.Partition) >= 0
		})
		if i < 0 {
			return nil
		}
		m := l.lines[i].Move
		m.Final.End = l.lastRead(m.Partition)
		var beyond []int
		for j := i; j < len(l.lines); j++ {
			if r := l.lines[j].Read; r != nil && r.Partition == m.Partition && r.Offset >= m.Final.End {
				beyond = append(beyond, j)
			}
		}
		l.remove(beyond...)
		return []Kind{Vanished}
	},
	"what was read as committed was aborted": func(l *lie) []Kind {
		i := l.pick(func(_ int, one line) bool { return one.Transaction != nil && one.Transaction.Outcome == "acked" })
		if i < 0 || !l.committedReader() {
			return nil
		}
		x := l.lines[i].Transaction
		first := i
		for l.lines[first-1].Producer == nil {
			first--
		}
		for _, one := range l.lines[first+x.First : first+x.End] {
			if one.Send.Outcome == "acked" {
				x.Outcome = "failed"
			}
		}
		if x.Outcome == "acked" {
			return nil
		}
		return []Kind{UncommittedRead}
	},
}

// readAgain reports whether another line reads what this one does.
func (l *lie) readAgain(i int) bool {
	return l.pick(func(j int, one line) bool {
		return i != j && one.Read != nil && one.Read.Partition == l.lines[i].Read.Partition &&
			one.Read.Offset == l.lines[i].Read.Offset
	}) >= 0
}

// doubtful reports whether a record may be hidden by a transaction.
func (l *lie) doubtful(value string) bool {
	i := l.pick(func(_ int, one line) bool { return one.Send != nil && one.Send.Value == value })
	return i < 0 || l.inTransaction(i)
}

// committedReader reports whether the final polls read what is committed only.
func (l *lie) committedReader() bool {
	return l.above(len(l.lines) - 1).Consumer.ReadCommitted
}

// lastRead is the highest offset that an ordinary consumer read in a partition.
func (l *lie) lastRead(p Partition) int64 {
	last := int64(-1)
	for _, one := range l.lines {
		if one.Consumer != nil && one.Consumer.Name == "final" {
			break
		}
		if one.Read != nil && one.Read.Partition == p {
			last = max(last, one.Read.Offset)
		}
	}
	return last
}

func TestFalseHistoriesAreFound(t *testing.T) {
	for name, tell := range lies {
		t.Run(name, func(t *testing.T) {
			told := 0
			for seed := range histories() / 10 {
				l := newLie(t, seed)
				want := tell(l)
				if want == nil {
					continue
				}
				told++
				v := Check(l.history(t))
				if len(v.Incomplete) > 0 {
					v.Counts["incomplete"] = 1
				}
				found := false
				for _, kind := range want {
					found = found || v.Counts[kind] > 0
				}
				if !found {
					t.Fatalf("seed %d: got %v, want one of %v", seed, v.Err(), want)
				}
			}
			if told < enough {
				t.Errorf("%d histories had a place for it, want at least %d", told, enough)
			}
		})
	}
}

// bigHistory is one of n records over 16 partitions, each read twice.
func bigHistory(n int) *History {
	const partitions, batch = 16, 100
	h := New(Config{})
	var producers [4]*Producer
	for i := range producers {
		producers[i] = h.Producer(ProducerConfig{Idempotent: true})
	}
	for i := range n {
		p := int32(i % partitions)
		producers[p%4].Send(topicName, p, Value(i)*0x9E3779B97F4A7C15).Acked(int64(i / partitions))
	}
	asked := h.Now()
	for i := range 2 {
		c := h.Consumer(ConsumerConfig{})
		for p := range int32(partitions) {
			end := int64((n - int(p) + partitions - 1) / partitions)
			if i == 1 {
				c.Final(topicName, p, Range{Asked: asked, End: end})
			}
			for at := int64(0); at < end; at++ {
				if at%batch == 0 {
					c.Poll()
				}
				c.Read(topicName, p, at, Value(at*partitions+int64(p))*0x9E3779B97F4A7C15)
			}
		}
		c.Done()
	}
	return h
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := bigHistory(n)
			b.ReportAllocs()
			for b.Loop() {
				if v := Check(h); !v.Valid() {
					b.Fatal(v.Err())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
		})
	}
}

// BenchmarkRecord is one record sent, acknowledged and read.
func BenchmarkRecord(b *testing.B) {
	began := time.Now()
	h := New(Config{Clock: func() time.Duration { return time.Since(began) }})
	p, c := h.Producer(ProducerConfig{}), h.Consumer(ConsumerConfig{})
	c.Poll()
	b.ReportAllocs()
	i := int64(0)
	for b.Loop() {
		p.Send(topicName, AnyPartition, Value(i)).AckedAt(0, i)
		c.Read(topicName, 0, i, Value(i))
		i++
	}
}
