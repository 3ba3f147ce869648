package replica

import "outrigger/broker/topic"

// EpochStart is where an epoch's records begin.
type EpochStart struct {
	Epoch topic.Epoch
	Start topic.Offset
}

// epochs is the epoch cache of one log (KIP-101): ascending in both fields, one entry for each epoch
// that has records.
type epochs []EpochStart

// tail is the epoch of the last record.
func (e epochs) tail() topic.Epoch {
	if len(e) == 0 {
		return topic.NoEpoch
	}
	return e[len(e)-1].Epoch
}

// at is the epoch of the record at offset, which must be below the log end.
func (e epochs) at(offset topic.Offset) topic.Epoch {
	for i := len(e) - 1; i >= 0; i-- {
		if e[i].Start <= offset {
			return e[i].Epoch
		}
	}
	return topic.NoEpoch
}

// floor is the largest epoch at most epoch, and the end of its records in a log that ends at end.
func (e epochs) floor(epoch topic.Epoch, start, end topic.Offset) (topic.Epoch, topic.Offset) {
	for i := len(e) - 1; i >= 0; i-- {
		if e[i].Epoch > epoch {
			end = e[i].Start
			continue
		}
		return e[i].Epoch, end
	}
	return topic.NoEpoch, start
}

// append notes a record of epoch at base.
func (e epochs) append(epoch topic.Epoch, base topic.Offset) epochs {
	if epoch > e.tail() {
		return append(e, EpochStart{Epoch: epoch, Start: base})
	}
	return e
}

// cut drops what begins at or after end.
func (e epochs) cut(end topic.Offset) epochs {
	for len(e) > 0 && e[len(e)-1].Start >= end {
		e = e[:len(e)-1]
	}
	return e
}
