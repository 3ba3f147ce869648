package partition

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// noTimestamp is the timestamp of "no record found".
const noTimestamp = -1

// newestOf is the largest timestamp of a batch's records. A batch of which compaction has left none still
// tells what it was: who looks a time up finds no record there.
func newestOf(h batch.Header) int64 {
	if h.Records == 0 {
		return noTimestamp
	}
	return h.MaxTimestamp
}

// Epochs lists where each leader epoch of the log starts, oldest first.
func (l *Log) Epochs() []EpochStart {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mu.epochs)
}

// EpochEnd answers OffsetForLeaderEpoch: the largest epoch of this log that is not newer than e, and
// the offset after its last record. The epoch that this node leads in is known even before its first
// record. (-1, -1) means that e is unknown here.
func (l *Log) EpochEnd(e topic.Epoch) (topic.Epoch, topic.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	leading := topic.NoEpoch
	if l.mu.role.Leading {
		leading = l.mu.role.Epoch
	}
	found, end := l.mu.epochs.end(e, leading, l.mu.end)
	if found != topic.NoEpoch {
		end = max(end, l.mu.start)
	}
	return found, end
}

// Earliest is the first offset of the log and the epoch of its record, NoEpoch if it has none.
func (l *Log) Earliest() (topic.Offset, topic.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.index.len() == 0 {
		return l.mu.start, topic.NoEpoch
	}
	return l.mu.start, l.mu.epochs.of(l.mu.start)
}

// Latest is the high watermark and the epoch of the record before it, NoEpoch if there is none. A
// leader that is not ready does not know it yet: ErrNotReady.
func (l *Log) Latest() (topic.Offset, topic.Epoch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.knowsLatestLocked() {
		return topic.NoOffset, topic.NoEpoch, ErrNotReady
	}
	return l.mu.highWatermark, l.mu.epochs.of(l.mu.highWatermark - 1), nil
}

// knowsLatestLocked: a new leader's high watermark may lag what its predecessor told consumers, and
// an offset that a consumer saw must not go away (failure mode 39).
func (l *Log) knowsLatestLocked() bool { return !l.mu.role.Leading || l.mu.role.Ready }

// OffsetForTime finds the first committed record with a timestamp of at least ts: its offset,
// timestamp and epoch. If there is none they are all -1, except that a leader which is not ready
// answers ErrNotReady, for there may be one above its high watermark.
func (l *Log) OffsetForTime(
	ts int64,
) (offset topic.Offset, found int64, epoch topic.Epoch, err error) {
	return l.find(ts)
}

// find answers the two above: at newestTimestamp it finds the largest.
func (l *Log) find(ts int64) (offset topic.Offset, found int64, epoch topic.Epoch, err error) {
	err = untilStill(func() error {
		offset, found, epoch = topic.NoOffset, noTimestamp, topic.NoEpoch
		p, ok, err := l.batchReaching(ts)
		if !ok {
			return err
		}
		wanted := ts
		if ts == newestTimestamp {
			wanted = p.latest
		}
		offset, found, epoch, err = l.findInBatch(p, wanted)
		return err
	})
	return offset, found, epoch, err
}

// MaxTimestamp finds the first committed record that bears the largest timestamp, with the same
// results as OffsetForTime.
func (l *Log) MaxTimestamp() (offset topic.Offset, found int64, epoch topic.Epoch, err error) {
	return l.find(newestTimestamp)
}

// newestTimestamp asks batchReaching for the largest timestamp that there is.
const newestTimestamp = math.MaxInt64

// batchReaching finds the first committed batch with a timestamp of at least ts.
func (l *Log) batchReaching(ts int64) (p piece, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ready := l.knowsLatestLocked()
	if ts == newestTimestamp && ready && l.mu.committed > 0 {
		ts = l.mu.index.at(l.mu.committed - 1).latest
	}
	i := l.mu.index.reaching(ts, l.mu.committed)
	switch {
	case i < l.mu.committed:
		return piece{extent: l.mu.index.at(i), payload: l.heldLocked(i)}, true, nil
	case !ready:
		return piece{}, false, ErrNotReady
	}
	return piece{}, false, nil
}

// findInBatch finds the first record of a batch at or after ts. A batch whose header promises a
// timestamp that no record bears is answered by its first record: a consumer rather starts early
// than late.
func (l *Log) findInBatch(p piece, ts int64) (topic.Offset, int64, topic.Epoch, error) {
	pieces := []piece{p}
	if _, err := l.load(pieces); err != nil {
		return topic.NoOffset, noTimestamp, topic.NoEpoch, fmt.Errorf("look up a timestamp: %w", err)
	}
	offset, found, ok, err := batch.FindTimestamp(pieces[0].payload, ts)
	if err != nil {
		return topic.NoOffset, noTimestamp, topic.NoEpoch,
			fmt.Errorf("look up a timestamp in the batch at %d: %w", p.base, err)
	}
	if !ok {
		offset, found = int64(p.base), ts
	}
	// The record may lie below a log start that lies within the batch.
	return max(topic.Offset(offset), l.State().LogStart), found, p.epoch, nil
}

func isEnd(err error) bool { return errors.Is(err, wal.ErrEnd) }
