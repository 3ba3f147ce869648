package batch

import (
	"encoding/binary"
	"fmt"
)

// Marker is the control record that ends a transaction in one partition. It is the only record of its
// batch, which bears the producer's id and epoch and is transactional. Numbers are big-endian:
//
//	key    version 0 (int16) | type (int16): 0 abort, 1 commit
//	value  version 0 (int16) | coordinator epoch (int32)
type Marker struct {
	Commit bool
	// CoordinatorEpoch is the leader epoch of the partition of `__transaction_state` in which the
	// decision was made.
	CoordinatorEpoch int32
}

const (
	markerAbort      = 0
	markerCommit     = 1
	markerKeyBytes   = 4
	markerValueBytes = 6
)

// Build makes the batch of the marker for a producer. timestamp is milliseconds since 1970.
func (m Marker) Build(producerID int64, producerEpoch int16, timestamp int64) ([]byte, error) {
	kind := uint16(markerAbort)
	if m.Commit {
		kind = markerCommit
	}
	key := binary.BigEndian.AppendUint16([]byte{0, 0}, kind)
	value := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.CoordinatorEpoch))
	b := NewBuilder(CodecNone)
	b.ProducerID, b.ProducerEpoch, b.Transactional, b.Control = producerID, producerEpoch, true, true
	b.Add(Record{Timestamp: timestamp, Key: key, Value: value})
	return b.Build()
}

// ParseMarker reads the marker of a control batch. ok is false if the batch is a control batch of
// another kind.
func ParseMarker(b []byte) (m Marker, ok bool, err error) {
	for r, err := range Records(b) {
		if err != nil {
			return Marker{}, false, fmt.Errorf("parse marker: %w", err)
		}
		if len(r.Key) < markerKeyBytes {
			return Marker{}, false, nil
		}
		kind := binary.BigEndian.Uint16(r.Key[2:])
		if kind != markerAbort && kind != markerCommit || len(r.Value) < markerValueBytes {
			return Marker{}, false, nil
		}
		m.Commit = kind == markerCommit
		m.CoordinatorEpoch = int32(binary.BigEndian.Uint32(r.Value[2:]))
		return m, true, nil
	}
	return Marker{}, false, nil
}
