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
}

// ActiveProducers lists the idempotent producers that are remembered, by id.
func (l *Log) ActiveProducers() []ActiveProducer {
	l.mu.Lock()
	active := make([]ActiveProducer, 0, len(l.mu.producers.byID))
	for id, p := range l.mu.producers.byID {
		newest := p.newest()
		active = append(active, ActiveProducer{
			ID: id, Epoch: newest.epoch, LastSequence: newest.last, LastTimestamp: newest.timestamp,
			End: newest.end,
		})
	}
	l.mu.Unlock()
	slices.SortFunc(active, func(a, b ActiveProducer) int { return cmp.Compare(a.ID, b.ID) })
	return active
}
