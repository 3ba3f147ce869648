package storage

import (
	"bytes"
	"fmt"
	"slices"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// entry is one batch as the model knows it.
type entry struct {
	offset   topic.Offset // every batch holds one record
	epoch    topic.Epoch
	payload  []byte
	producer int64
	sequence int32
	// record is its place among all records of the model.
	record int
}

// partitionModel is a partition log as a list.
type partitionModel struct {
	entries       []entry
	highWatermark topic.Offset
}

func (m *partitionModel) end() topic.Offset { return topic.Offset(len(m.entries)) }

func (m *partitionModel) tailEpoch() topic.Epoch {
	if len(m.entries) == 0 {
		return topic.NoEpoch
	}
	return m.entries[len(m.entries)-1].epoch
}

func (m *partitionModel) cut(to topic.Offset) {
	m.entries = m.entries[:min(to, m.end())]
	m.highWatermark = min(m.highWatermark, m.end())
}

// last is the newest batch of a producer.
func (m *partitionModel) last(producer int64) (entry, bool) {
	for _, e := range slices.Backward(m.entries) {
		if e.producer == producer {
			return e, true
		}
	}
	return entry{}, false
}

// logRecord is one record that was handed to the write-ahead log. Checkpoints of high watermarks are
// not among them: they are judged by what they say.
type logRecord struct {
	kind      wal.Kind
	partition topic.Partition
	entry     entry
	// base is where a cut ends the log.
	base topic.Offset
}

// logModel is all partition logs of a node: a list of records, and what a front of it makes.
type logModel struct {
	records []logRecord
	// promised counts the records, from the first, that were reported durable. groupStart is where the
	// last group began of which a record was.
	promised, groupStart int
	logs                 map[topic.Partition]*partitionModel
	// marks are the high watermarks that logs ever had.
	marks map[mark]bool
}

type mark struct {
	partition topic.Partition
	offset    topic.Offset
}

func newLogModel() *logModel {
	return &logModel{logs: map[topic.Partition]*partitionModel{}, marks: map[mark]bool{}}
}

func (m *logModel) log(p topic.Partition) *partitionModel {
	if m.logs[p] == nil {
		m.logs[p] = &partitionModel{}
	}
	return m.logs[p]
}

// add takes in a record and what it does.
func (m *logModel) add(r logRecord) {
	switch r.kind {
	case wal.Data:
		l := m.log(r.partition)
		r.entry.record = len(m.records)
		l.entries = append(l.entries[:len(l.entries):len(l.entries)], r.entry)
	case wal.Truncate:
		l := m.log(r.partition)
		l.cut(r.base)
		m.marks[mark{r.partition, l.highWatermark}] = true
	case wal.Remove:
		delete(m.logs, r.partition)
	}
	m.records = append(m.records, r)
}

// promise takes in that a batch was reported durable: all before it is, since there is one order.
func (m *logModel) promise(e entry) { m.promised = max(m.promised, e.record+1) }

// equals compares what was found with what was handed over.
func (r logRecord) equals(other logRecord) bool {
	if r.kind != other.kind || r.partition != other.partition {
		return false
	}
	switch r.kind {
	case wal.Data:
		return r.entry.offset == other.entry.offset && r.entry.epoch == other.entry.epoch &&
			bytes.Equal(r.entry.payload, other.entry.payload)
	case wal.Truncate:
		return r.base == other.base
	default:
		return true
	}
}

// survivors opens a copy of the files with the log's own recovery and lists its records, in order.
func survivors(fs *waltest.FS) ([]logRecord, error) {
	var records []logRecord
	l, err := wal.Open(wal.Config{FS: fs.Clone(), Dir: walDir, Session: 1 << 40, FileBytes: walFileBytes,
		Replay: func(p wal.Placed) error {
			r := logRecord{kind: p.Kind, partition: p.Partition, base: p.Base}
			if p.Kind == wal.Data {
				r.entry = entry{offset: p.Base, epoch: p.Epoch, payload: bytes.Clone(p.Payload)}
			}
			records = append(records, r)
			return nil
		}})
	if err != nil {
		return nil, err
	}
	return records, l.Close()
}

// match compares what was found with the model: it must be a front of the model's records, of at
// least so many. Among them lie checkpoints of high watermarks, which must be what a log once had.
func (m *logModel) match(records []logRecord, least int) (count int, err error) {
	for _, r := range records {
		if r.kind == wal.HighWatermark {
			if !m.marks[mark{r.partition, r.base}] {
				return count, fmt.Errorf("checkpoint %d of %v was never set", r.base, r.partition.Index)
			}
			continue
		}
		if count == len(m.records) || !r.equals(m.records[count]) {
			return count, fmt.Errorf("record %d of %d, %s of %d at %d, is not what was written", count,
				len(m.records), r.kind, r.partition.Index, r.base)
		}
		count++
	}
	if count < least {
		return count, fmt.Errorf("%d records are found, %d were promised", count, least)
	}
	return count, nil
}

// replay makes a model of the records that were found; what is left of the old one is forgotten.
func (m *logModel) replay(records []logRecord) *logModel {
	next := newLogModel()
	next.marks = m.marks
	for _, r := range records {
		if r.kind == wal.HighWatermark {
			l := next.log(r.partition)
			l.highWatermark = max(l.highWatermark, min(r.base, l.end()))
			continue
		}
		next.add(m.records[len(next.records)])
	}
	// The first file of the new start says that all of this was synced.
	next.promised, next.groupStart = len(next.records), len(next.records)
	return next
}
