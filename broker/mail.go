package broker

import (
	"bytes"
	"strconv"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

const (
	// lettersMax is how many letters one batch holds.
	lettersMax = 500
	// letterReadBytes is how much of the log is read for one batch of copies.
	letterReadBytes = 1 << 20
	// letterRecordBytes is what a record takes beside key, value and headers, at most.
	letterRecordBytes = 64
)

// The headers that a dead letter has more than its record (KIP-1191), all of them text.
const (
	headerLetterTopic     = "__dlq.errors.topic"
	headerLetterPartition = "__dlq.errors.partition"
	headerLetterOffset    = "__dlq.errors.offset"
	headerLetterGroup     = "__dlq.errors.group"
	headerLetterCount     = "__dlq.errors.delivery.count"
	headerLetterMessage   = "__dlq.errors.message"
)

// letterMessages are Kafka's, by which tools may go.
var letterMessages = map[share.Cause]string{
	share.Rejected: "Offset rejected by client.",
	share.TooOften: "Offset delivery count exceeded the threshold.",
}

// mail is one batch of letters, up to last.
type mail struct {
	batch []byte
	last  int64
	count int64
}

// newMail makes a batch of the first letters, as many as fit. A record that the log has no longer, or that does
// not fit the queue, is told of by its headers alone.
func newMail(p *sharePartition, due []share.Letter, to letterBox, copies bool, now time.Time) (mail, error) {
	b := batch.NewBuilder(batch.CodecNone)
	m := mail{last: due[0].First - 1}
	size := batch.HeaderBytes
	name := p.key.String()
	if t, ok := p.all.broker.cluster.View().TopicByID(p.key.Topic); ok {
		name = t.Name
	}
	originals := originals{p: p}
	for _, l := range due {
		for offset := l.First; offset <= l.Last; offset++ {
			r := batch.Record{}
			if copies {
				r = originals.at(offset)
			}
			own := letterHeaders(name, p.key, offset, l)
			if batch.HeaderBytes+lengthOf(r)+lengthOf(batch.Record{Headers: own}) > to.bytesMax {
				r = batch.Record{}
			}
			r.Headers = append(r.Headers, own...)
			r.Timestamp = now.UnixMilli()
			if size += lengthOf(r); m.count > 0 && size > to.bytesMax {
				return m.built(b)
			}
			b.Add(r)
			m.last, m.count = offset, m.count+1
		}
	}
	return m.built(b)
}

func (m mail) built(b *batch.Builder) (mail, error) {
	var err error
	m.batch, err = b.Build()
	return m, err
}

// lengthOf is what a record takes in a batch, at most.
func lengthOf(r batch.Record) int {
	n := letterRecordBytes + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += 10 + len(h.Key) + len(h.Value)
	}
	return n
}

func letterHeaders(name string, key share.Key, offset int64, l share.Letter) []batch.RecordHeader {
	text := func(key, value string) batch.RecordHeader { return batch.RecordHeader{Key: key, Value: []byte(value)} }
	return []batch.RecordHeader{
		text(headerLetterTopic, name), text(headerLetterPartition, strconv.Itoa(int(key.Partition))),
		text(headerLetterOffset, strconv.FormatInt(offset, 10)), text(headerLetterGroup, key.Group),
		text(headerLetterCount, strconv.Itoa(int(l.Count))), text(headerLetterMessage, letterMessages[l.Cause]),
	}
}

// originals reads records of a log in the order of their offsets.
type originals struct {
	p *sharePartition
	// read are those of one piece of the log, from `from` on and before `to`.
	read     map[int64]batch.Record
	from, to int64
}

// at is a record, or the zero one if the log has it no longer.
func (o *originals) at(offset int64) batch.Record {
	if offset < o.from || offset >= o.to {
		o.fill(offset)
	}
	return o.read[offset]
}

// fill reads a piece of the log. What cannot be read, damage too, is not there: the letter tells where it was.
func (o *originals) fill(offset int64) {
	o.read, o.from, o.to = map[int64]batch.Record{}, offset, offset+1
	got, err := o.p.log.Read(topic.Offset(offset), letterReadBytes, true)
	if err != nil {
		return
	}
	for _, raw := range got.Batches {
		h, err := batch.ParseHeader(raw)
		if err != nil {
			return
		}
		for r, err := range batch.Records(raw) {
			if err != nil {
				return
			}
			if r.Offset >= offset {
				o.read[r.Offset] = keep(r)
			}
		}
		o.to = max(o.to, h.LastOffset()+1)
	}
}

// keep copies a record, whose slices are valid until the next one only.
func keep(r batch.Record) batch.Record {
	kept := batch.Record{Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
	for _, h := range r.Headers {
		kept.Headers = append(kept.Headers, batch.RecordHeader{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	return kept
}
