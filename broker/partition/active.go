package partition

import (
	"cmp"
	"slices"

	"outrigger/broker/topic"
)

// ActiveProducer is what a partition remembers of one idempotent producer.
type ActiveProducer struct {
	ID    int64
	Epoch int16
	// LastSequence and LastTimestamp (milliseconds) are those of its newest batch, End is where the
	// batch ends.
	LastSequence  int32
	LastTimestamp int64
	End           topic.Offset
	// CoordinatorEpoch is that of its last transaction marker, -1 if there was none.
	CoordinatorEpoch int32
	// TransactionStart is where its open transaction began, NoOffset if it has none.
	TransactionStart topic.Offset
}

// ActiveProducers lists the idempotent producers that are remembered, by id.
func (l *Log) ActiveProducers() []ActiveProducer {
	l.mu.Lock()
	active := make([]ActiveProducer, 0, len(l.mu.producers.byID))
	for id, p := range l.mu.producers.byID {
		newest := p.newest()
		one := ActiveProducer{
			ID: id, Epoch: newest.epoch, LastSequence: max(newest.last, -1), LastTimestamp: newest.timestamp,
			End: newest.end, CoordinatorEpoch: newest.coordinator, TransactionStart: topic.NoOffset,
		}
		if open := l.mu.producers.transactions.open[id]; open != nil {
			one.TransactionStart = open.first
		}
		active = append(active, one)
	}
	for id, open := range l.mu.producers.transactions.open {
		if l.mu.producers.byID[id] == nil { // a coordinator's, which has no sequence
			active = append(active, ActiveProducer{
				ID: id, Epoch: open.epoch, LastSequence: -1, LastTimestamp: -1, CoordinatorEpoch: -1,
				TransactionStart: open.first,
			})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(active, func(a, b ActiveProducer) int { return cmp.Compare(a.ID, b.ID) })
	return active
}
