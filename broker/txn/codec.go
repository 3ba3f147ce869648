package txn

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Record is one record of `__transaction_state`. A nil Value takes the key away.
type Record struct{ Key, Value []byte }

const (
	valueVersion = 1
	// recordFixed is more than a record takes beside the names, partitionBytes more than a partition does
	// beside its topic.
	recordFixed    = 128
	partitionBytes = 16
)

// recordBytes is a bound on what a record of the id takes.
func recordBytes(name string, partitions []Partition) int {
	bytes := recordFixed + len(name)
	for i, p := range partitions {
		bytes += partitionBytes
		if i == 0 || partitions[i-1].Topic != p.Topic {
			bytes += len(p.Topic)
		}
	}
	return bytes
}

func keyOf(name string) []byte {
	k := kmsg.NewTxnMetadataKey()
	k.TransactionalID = name
	return k.AppendTo(nil)
}

// record is the id as it is written down.
func (m *Machine) record() Record {
	v := kmsg.NewTxnMetadataValue()
	v.Version, v.ProducerID, v.ProducerEpoch = valueVersion, m.id, m.epoch
	v.TimeoutMillis, v.State = m.timeout, kmsg.TransactionState(m.state)
	v.LastUpdateTimestamp, v.StartTimestamp = m.updated, m.started
	v.PreviousProducerID, v.NextProducerID, v.ClientTransactionVersion = m.previous, m.next, m.version
	for i, p := range m.partitions {
		if i == 0 || m.partitions[i-1].Topic != p.Topic {
			t := kmsg.NewTxnMetadataValueTopic()
			t.Topic = p.Topic
			v.Topics = append(v.Topics, t)
		}
		last := &v.Topics[len(v.Topics)-1]
		last.Partitions = append(last.Partitions, p.Index)
	}
	return Record{Key: keyOf(m.name), Value: v.AppendTo(nil)}
}

// Replay gathers what the records of one partition say, in their order.
type Replay struct {
	last map[string]kmsg.TxnMetadataValue
}

// NewReplay returns the replay of a partition that holds nothing yet.
func NewReplay() *Replay { return &Replay{last: map[string]kmsg.TxnMetadataValue{}} }

// Apply takes one record. It keeps no slice of it. An error wraps ErrMalformed.
func (r *Replay) Apply(record Record) error {
	var k kmsg.TxnMetadataKey
	if len(record.Key) < 2 || binary.BigEndian.Uint16(record.Key) != 0 {
		return nil // of a kind that comes with a later version
	}
	if err := k.ReadFrom(record.Key); err != nil {
		return fmt.Errorf("%w: key: %w", ErrMalformed, err)
	}
	if record.Value == nil {
		delete(r.last, k.TransactionalID)
		return nil
	}
	if len(record.Value) < 2 || binary.BigEndian.Uint16(record.Value) > valueVersion ||
		record.Value[1] == valueVersion && !guarded(record.Value) {
		return fmt.Errorf("%w: %q in %d bytes", ErrMalformed, k.TransactionalID, len(record.Value))
	}
	v := kmsg.NewTxnMetadataValue()
	if err := v.ReadFrom(record.Value); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrMalformed, k.TransactionalID, err)
	}
	if v.State < 0 || v.State >= kmsg.TransactionState(Dead) {
		return fmt.Errorf("%w: %q is in state %d", ErrMalformed, k.TransactionalID, v.State)
	}
	r.last[k.TransactionalID] = v
	return nil
}

// Machines makes the transactional ids that there are. An ongoing transaction has what is left of its
// timeout by the wall clock, but never more than the whole.
func (r *Replay) Machines(cfg *Config, now Time) map[string]*Machine {
	machines := make(map[string]*Machine, len(r.last))
	for name, v := range r.last {
		m := New(cfg, name)
		m.kept, m.state, m.id, m.epoch = true, State(v.State), v.ProducerID, v.ProducerEpoch
		m.previous, m.next, m.version = v.PreviousProducerID, v.NextProducerID, v.ClientTransactionVersion
		m.timeout, m.started, m.updated = v.TimeoutMillis, v.StartTimestamp, v.LastUpdateTimestamp
		for _, t := range v.Topics {
			for _, index := range t.Partitions {
				m.partitions = append(m.partitions, Partition{t.Topic, index})
			}
		}
		m.sortPartitions()
		if m.state == Ongoing {
			spent := min(max(now.Wall-m.started, 0), int64(m.timeout))
			m.expires = now.Mono + int64(m.timeout) - spent
		}
		machines[name] = m
	}
	return machines
}
