package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// fileVersion is the first thing in a file of a history.
const fileVersion = 1

// ErrFile: what is read is no history; nothing of it is returned.
var ErrFile = errors.New("not a history file")

// line is one line of a file: exactly one field is set. A send or a transaction belongs to the
// producer above it, a poll, a read or a move to the consumer above it.
//
//	{"header":{"version":1,"rules":{}}}
//	{"fault":{"at":1200000,"kind":"kill","detail":"broker 2"}}
//	{"start":{"topic":"t","partition":0,"offset":7,"at":1300000,"wall":1796098291142}}
//	{"deletion":{"topic":"t","partition":0,"offset":7,"at":1250000,"wall":1796098291092}}
//	{"producer":{"name":"load-1","idempotent":true}}
//	{"send":{"topic":"t","partition":0,"value":"000000000000002a","invoked":5,"ended":9,"outcome":"acked","offset":7}}
//	{"transaction":{"first":0,"end":3,"committing":12,"outcome":"acked"}}
//	{"consumer":{"name":"final"}}
//	{"poll":{"invoked":20,"ended":25}}
//	{"read":{"topic":"t","partition":0,"offset":7,"values":["000000000000002a"]}}
//	{"move":{"topic":"t","partition":0,"kind":"final","offset":0,"final":{"asked":19,"start":0,"end":8}}}
type line struct {
	Header      *fileHeader      `json:"header,omitempty"`
	Fault       *Fault           `json:"fault,omitempty"`
	Start       *fileSighting    `json:"start,omitempty"`
	Deletion    *fileSighting    `json:"deletion,omitempty"`
	Producer    *ProducerConfig  `json:"producer,omitempty"`
	Send        *fileSend        `json:"send,omitempty"`
	Transaction *fileTransaction `json:"transaction,omitempty"`
	Consumer    *ConsumerConfig  `json:"consumer,omitempty"`
	Poll        *filePoll        `json:"poll,omitempty"`
	Read        *fileRead        `json:"read,omitempty"`
	Move        *fileMove        `json:"move,omitempty"`
}

type fileHeader struct {
	Version int   `json:"version"`
	Rules   Rules `json:"rules"`
}

type fileSighting struct {
	Partition
	Offset int64         `json:"offset"`
	At     time.Duration `json:"at"`
	Wall   int64         `json:"wall"`
}

type fileSend struct {
	Partition
	Value   string        `json:"value"`
	Invoked time.Duration `json:"invoked"`
	Ended   time.Duration `json:"ended,omitempty"`
	Outcome string        `json:"outcome"`
	Offset  int64         `json:"offset"`
	Stamp   int64         `json:"stamp,omitempty"`
	Bytes   uint32        `json:"bytes,omitempty"`
}

type fileTransaction struct {
	First      int           `json:"first"`
	End        int           `json:"end"`
	Committing time.Duration `json:"committing"`
	Outcome    string        `json:"outcome"`
}

type filePoll struct {
	Invoked time.Duration `json:"invoked"`
	Ended   time.Duration `json:"ended"`
	Wall    int64         `json:"wall,omitempty"`
}

type fileRead struct {
	Partition
	Offset int64    `json:"offset"`
	Values []string `json:"values"`
}

type fileMove struct {
	Partition
	Kind   string `json:"kind"`
	Offset int64  `json:"offset"`
	Final  *Range `json:"final,omitempty"`
}

var moveNames = map[moveKind]string{
	moveSeek: "seek", moveReset: "reset", moveFinal: "final", moveFinished: "finished",
}

// fileWriter counts what it writes, for io.WriterTo, and keeps the first error.
type fileWriter struct {
	history *History
	buffer  *bufio.Writer
	encoder *json.Encoder
	written int64
	err     error
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.buffer.Write(p)
	w.written += int64(n)
	return n, err
}

func (w *fileWriter) put(l line) {
	if w.err == nil {
		w.err = w.encoder.Encode(l)
	}
}

// WriteTo writes the history as JSON lines. Nobody may write to the history meanwhile.
func (h *History) WriteTo(to io.Writer) (int64, error) {
	w := &fileWriter{history: h, buffer: bufio.NewWriterSize(to, 1<<16)}
	w.encoder = json.NewEncoder(w)
	w.put(line{Header: &fileHeader{Version: fileVersion, Rules: h.rules}})
	for i := range h.mu.faults {
		w.put(line{Fault: &h.mu.faults[i]})
	}
	for _, s := range h.mu.starts {
		w.put(line{Start: w.sighting(s)})
	}
	for _, s := range h.mu.deletions {
		w.put(line{Deletion: w.sighting(s)})
	}
	for _, p := range h.mu.producers {
		w.producer(p)
	}
	for _, c := range h.mu.consumers {
		w.consumer(c)
	}
	if w.err == nil {
		w.err = w.buffer.Flush()
	}
	if w.err != nil {
		return w.written, fmt.Errorf("write history: %w", w.err)
	}
	return w.written, nil
}

func (w *fileWriter) sighting(s sighting) *fileSighting {
	return &fileSighting{Partition: w.history.mu.partitions[s.partition], Offset: s.offset, At: s.at, Wall: s.wall}
}

func (w *fileWriter) producer(p *Producer) {
	w.put(line{Producer: &p.config})
	for i := range p.mu.sends.len() {
		s := p.mu.sends.at(i)
		w.put(line{Send: &fileSend{
			Partition: w.history.mu.partitions[s.partition], Value: hex(s.value), Invoked: s.invoked,
			Ended: s.ended, Outcome: s.outcome.String(), Offset: s.offset, Stamp: s.stored.Stamp, Bytes: s.stored.Bytes,
		}})
	}
	for _, t := range p.mu.transactions {
		w.put(line{Transaction: &fileTransaction{
			First: t.first, End: t.end, Committing: t.committing, Outcome: t.outcome.String(),
		}})
	}
}

func (w *fileWriter) consumer(c *Consumer) {
	w.put(line{Consumer: &c.config})
	value, final, next := 0, 0, 0
	// jumps before the first poll come after it here: it has read nothing before them
	for i := range max(1, c.mu.polls.len()) {
		if i < c.mu.polls.len() {
			p := c.mu.polls.at(i)
			w.put(line{Poll: &filePoll{Invoked: p.invoked, Ended: p.ended, Wall: p.wall}})
		}
		for ; next < c.mu.runs.len() && c.mu.runs.at(next).poll == uint32(i); next++ {
			r := c.mu.runs.at(next)
			partition := w.history.mu.partitions[r.partition]
			if r.kind == moveRead {
				read := &fileRead{Partition: partition, Offset: r.offset}
				for range r.count {
					read.Values = append(read.Values, hex(*c.mu.values.at(value)))
					value++
				}
				w.put(line{Read: read})
				continue
			}
			move := &fileMove{Partition: partition, Kind: moveNames[r.kind], Offset: r.offset}
			if r.kind == moveFinal {
				move.Final = &c.mu.finals[final]
				final++
			}
			w.put(line{Move: move})
		}
	}
}

func hex(v Value) string { return fmt.Sprintf("%016x", uint64(v)) }

// Read reads what WriteTo wrote.
func Read(from io.Reader) (*History, error) {
	decoder := json.NewDecoder(bufio.NewReaderSize(from, 1<<16))
	r := &fileReader{}
	for n := 1; ; n++ {
		var l line
		err := decoder.Decode(&l)
		if errors.Is(err, io.EOF) && r.history != nil {
			return r.history, nil
		}
		if err == nil {
			err = r.take(l)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrFile, n, err)
		}
	}
}

// fileReader is what the lines so far have made.
type fileReader struct {
	history  *History
	producer *Producer
	consumer *Consumer
}

var errLine = errors.New("line is out of place or says nothing")

func (r *fileReader) take(l line) error {
	switch {
	case l.Header != nil && r.history == nil:
		if l.Header.Version != fileVersion {
			return fmt.Errorf("version %d, want %d", l.Header.Version, fileVersion)
		}
		r.history = New(Config{Rules: l.Header.Rules})
	case r.history == nil:
		return errLine
	case l.Fault != nil:
		r.history.mu.faults = append(r.history.mu.faults, *l.Fault)
	case l.Start != nil:
		r.history.mu.starts = rise(r.history.mu.starts, r.sighting(l.Start))
	case l.Deletion != nil:
		r.history.mu.deletions = rise(r.history.mu.deletions, r.sighting(l.Deletion))
	case l.Producer != nil:
		r.producer = r.history.Producer(*l.Producer)
	case l.Send != nil && r.producer != nil:
		return r.send(l.Send)
	case l.Transaction != nil && r.producer != nil:
		return r.transaction(l.Transaction)
	case l.Consumer != nil:
		r.consumer = r.history.Consumer(*l.Consumer)
	case l.Poll != nil && r.consumer != nil:
		r.consumer.mu.polls.add(poll{invoked: l.Poll.Invoked, ended: l.Poll.Ended, wall: l.Poll.Wall})
	case l.Read != nil && r.consumer != nil:
		return r.read(l.Read)
	case l.Move != nil && r.consumer != nil:
		return r.move(l.Move)
	default:
		return errLine
	}
	return nil
}

func (r *fileReader) sighting(s *fileSighting) sighting {
	return sighting{r.history.number(s.Partition), s.Offset, s.At, s.Wall}
}

func (r *fileReader) send(s *fileSend) error {
	value, err := value(s.Value)
	if err != nil {
		return err
	}
	became, err := outcomeOf(s.Outcome)
	if err != nil {
		return err
	}
	in := &r.producer.mu
	in.sends.add(send{
		value: value, offset: s.Offset, invoked: s.Invoked, ended: s.Ended,
		partition: in.of(s.Topic, s.ID), outcome: became, stored: Stored{Stamp: s.Stamp, Bytes: s.Bytes},
	})
	return nil
}

func (r *fileReader) transaction(t *fileTransaction) error {
	became, err := outcomeOf(t.Outcome)
	if err != nil {
		return err
	}
	in := &r.producer.mu
	if n := len(in.transactions); t.First < 0 || t.First > in.sends.len() ||
		n > 0 && (in.transactions[n-1].end < 0 || in.transactions[n-1].end > t.First) {
		return errLine
	}
	in.transactions = append(in.transactions, transaction{
		first: t.First, end: t.End, committing: t.Committing, outcome: became,
	})
	return nil
}

func (r *fileReader) read(read *fileRead) error {
	if read.Offset < 0 || read.Offset > math.MaxInt64-int64(len(read.Values)) {
		return errLine
	}
	number := r.consumer.mu.of(read.Topic, read.ID)
	for i, text := range read.Values {
		v, err := value(text)
		if err != nil {
			return err
		}
		r.consumer.readLocked(number, read.Offset+int64(i), v)
	}
	return nil
}

func (r *fileReader) move(m *fileMove) error {
	for kind, name := range moveNames {
		if name != m.Kind {
			continue
		}
		if (kind == moveFinal) != (m.Final != nil) ||
			m.Offset < 0 || m.Final != nil && m.Offset != m.Final.Start {
			return errLine
		}
		if m.Final != nil {
			r.consumer.Final(m.Topic, m.ID, *m.Final)
			return nil
		}
		r.consumer.move(kind, m.Topic, m.ID, m.Offset)
		return nil
	}
	return errLine
}

func value(text string) (Value, error) {
	v, err := strconv.ParseUint(text, 16, 64)
	return Value(v), err
}

func outcomeOf(text string) (outcome, error) {
	for o, name := range outcomeNames {
		if name == text {
			return outcome(o), nil
		}
	}
	return 0, fmt.Errorf("unknown outcome %q", text)
}
