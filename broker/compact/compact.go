package compact

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"

	"outrigger/broker/batch"
)

// Aborted is an aborted transaction of a producer: from its first record to its marker, both inclusive.
type Aborted struct{ ProducerID, First, Last int64 }

// Config is what a pass goes by.
type Config struct {
	// Now is milliseconds since 1970, DeleteRetention is delete.retention.ms.
	Now, DeleteRetention int64
	// Hold: no horizon counts as passed, since there is a replica that may not have what is behind it.
	Hold bool
	// KeysMax bounds the keys that the pass remembers, at about KeyBytes each; at least one.
	KeysMax int
	// Limit is where the pass ends at the latest: no record at or above it is learned or dropped.
	Limit int64
	// Aborted are the aborted transactions with records below Limit, in any order.
	Aborted []Aborted
	// Newest are, of each producer whose state the partition keeps, the offsets of the records that tell it:
	// its newest one, and its newest marker.
	Newest map[int64][]int64
}

// KeyBytes is what one remembered key costs, roughly: hash and offset, in a map that grows by doubling.
const KeyBytes = 56

// Stats count what Clean has seen and dropped.
type Stats struct {
	Batches, Records, Bytes int64
	// KeptBatches count those of which something is left, EmptyBatches those that hold no record any more.
	KeptBatches, EmptyBatches, KeptRecords, KeptBytes int64
	// Spans counts the batches that stand for dropped ones.
	Spans int64
	// Tombstones counts those that are kept until their horizon.
	Tombstones int64
}

// digest stands for a key. Two keys of one digest would be taken for one; with 128 bits of SHA-256 that
// does not happen by accident nor on purpose.
type digest [16]byte

func digestOf(key []byte) digest {
	sum := sha256.Sum256(key)
	return digest(sum[:16])
}

// Pass is one pass over a log.
type Pass struct {
	cfg     Config
	newest  map[digest]int64
	aborted map[int64][]Aborted
	// end is the offset up to which everything was learned.
	end  int64
	full bool
	// open are the transactions of which Clean has met a batch and not yet the marker.
	open map[int64]bool
	// gap are the dropped offsets behind the last batch that was returned; none if it is empty.
	gap gap
	out [2][]byte
	// keep is what was decided about the records of the batch at hand.
	keep  []bool
	stats Stats
	// dropped is one past the newest tombstone or marker that was dropped for its age.
	dropped int64
}

// gap are offsets of which nothing is left, in one leader epoch: from base up to end.
type gap struct {
	base, end int64
	epoch     int32
}

// NewPass begins a pass that learns from an offset on.
func NewPass(cfg Config, from int64) *Pass {
	cfg.KeysMax = max(1, cfg.KeysMax)
	p := &Pass{
		cfg: cfg, end: from, newest: map[digest]int64{}, aborted: map[int64][]Aborted{}, open: map[int64]bool{},
	}
	for _, a := range cfg.Aborted {
		p.aborted[a.ProducerID] = append(p.aborted[a.ProducerID], a)
	}
	return p
}

// End is the offset up to which everything was learned: Clean drops nothing at or above it.
func (p *Pass) End() int64 { return min(p.end, p.cfg.Limit) }

// Dropped is one past the offset of the newest tombstone or marker that Clean has dropped since its horizon has
// passed; 0 if there is none. Whoever holds older records of another replica, and goes on behind them with this
// log, may miss what ended them.
func (p *Pass) Dropped() int64 { return p.dropped }

// Stats tells what Clean has seen and dropped so far.
func (p *Pass) Stats() Stats { return p.stats }

// Learn takes in the next batch of the log, and reports whether there is room for more. Batches that lie
// wholly below the pass's beginning change nothing.
func (p *Pass) Learn(b []byte) (more bool, err error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return false, fmt.Errorf("learn keys: %w", err)
	}
	if p.full {
		return false, nil
	}
	if h.BaseOffset >= p.cfg.Limit {
		p.Exhausted()
		return false, nil
	}
	if h.LastOffset() < p.end {
		return true, nil
	}
	if !h.Control() && !p.isAborted(h) {
		for r, err := range batch.Records(b) {
			if err != nil {
				return false, fmt.Errorf("learn keys: %w", err)
			}
			if !p.learn(r) {
				return false, nil
			}
		}
	}
	p.end = h.LastOffset() + 1
	return p.end < p.cfg.Limit, nil
}

// Exhausted says that the log has no further batch below the limit: what it once held there was dropped.
func (p *Pass) Exhausted() {
	if !p.full {
		p.end, p.full = max(p.end, p.cfg.Limit), true
	}
}

// learn takes in one record. It is false at the limit, and when the record's key does not fit any more.
func (p *Pass) learn(r batch.Record) bool {
	if r.Offset < p.end || r.Key == nil {
		return true
	}
	if r.Offset >= p.cfg.Limit {
		p.end, p.full = p.cfg.Limit, true
		return false
	}
	key := digestOf(r.Key)
	if _, known := p.newest[key]; !known && len(p.newest) >= p.cfg.KeysMax {
		p.end, p.full = r.Offset, true
		return false
	}
	p.newest[key] = r.Offset
	return true
}

// isAborted reports whether a batch of data belongs to an aborted transaction.
func (p *Pass) isAborted(h batch.Header) bool {
	if !h.Transactional() || h.Control() {
		return false
	}
	for _, a := range p.aborted[h.ProducerID] {
		if a.First <= h.BaseOffset && h.BaseOffset < a.Last {
			return true
		}
	}
	return false
}

// Clean returns what is to be written next: nothing, or the batch itself or one with fewer records, perhaps
// with one before it that stands for what was dropped. The batches come in the order of the log, from its
// start on; what begins at or above End stays as it is and need not come. The slice is the pass's own and
// valid until the next call; the batches in it are the caller's. At the end, Flush returns the rest.
func (p *Pass) Clean(b []byte) ([][]byte, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return nil, fmt.Errorf("clean batch: %w", err)
	}
	left, err := p.clean(b, h)
	if err != nil {
		return nil, err
	}
	next := gap{base: h.BaseOffset, end: h.LastOffset() + 1, epoch: h.PartitionLeaderEpoch}
	out := p.out[:0]
	continues := left == nil && p.gap.end == next.base && p.gap.epoch == next.epoch && next.end-p.gap.base <= math.MaxInt32
	switch {
	case left == nil && p.gap != (gap{}) && continues:
		p.gap.end = next.end
		return nil, nil
	case p.gap != (gap{}):
		out = append(out, p.span())
	}
	if left == nil {
		p.gap = next
		return out, nil
	}
	return append(out, left), nil
}

// Flush returns the batch that stands for what was dropped at the end, nil if there is none.
func (p *Pass) Flush() []byte {
	if p.gap == (gap{}) {
		return nil
	}
	return p.span()
}

// span is the batch that stands for the gap, which is closed by it.
func (p *Pass) span() []byte {
	b := batch.Span(p.gap.base, p.gap.end-1, p.gap.epoch)
	p.gap = gap{}
	p.stats.Spans++
	p.stats.KeptBytes += int64(len(b))
	return b
}

// clean returns what is left of a batch, or nil.
func (p *Pass) clean(b []byte, h batch.Header) ([]byte, error) {
	var err error
	p.stats.Batches++
	p.stats.Records += int64(h.Records)
	p.stats.Bytes += int64(len(b))
	out, kept := b, h.Records
	switch {
	case h.BaseOffset >= p.End():
	case h.Control():
		out, kept, err = p.cleanMarker(b, h)
	default:
		out, kept, err = p.cleanData(b, h)
	}
	if err != nil {
		return nil, fmt.Errorf("clean batch at %d: %w", h.BaseOffset, err)
	}
	if kept == 0 && !p.tells(h) {
		return nil, nil
	}
	p.stats.KeptBatches++
	p.stats.KeptRecords += int64(kept)
	p.stats.KeptBytes += int64(len(out))
	if kept == 0 {
		p.stats.EmptyBatches++
	}
	return out, nil
}

// tells reports whether a batch tells the state of its producer, which must stay in the log. So must
// whatever begins at or above the end of the pass.
func (p *Pass) tells(h batch.Header) bool {
	if h.BaseOffset >= p.End() {
		return true
	}
	return h.ProducerID >= 0 && slices.ContainsFunc(p.cfg.Newest[h.ProducerID], func(newest int64) bool {
		return h.BaseOffset <= newest && newest <= h.LastOffset()
	})
}

// cleanData drops records of a batch of data.
func (p *Pass) cleanData(b []byte, h batch.Header) ([]byte, int32, error) {
	if h.Transactional() {
		p.open[h.ProducerID] = true
	}
	kept, tombstones, err := p.judge(b, h)
	if err != nil {
		return nil, 0, err
	}
	p.stats.Tombstones += int64(tombstones)
	horizon := int64(0)
	if _, has := h.DeleteHorizon(); !has && tombstones > 0 {
		horizon = p.horizon()
	}
	if kept == h.Records && horizon == 0 {
		return b, kept, nil
	}
	out, err := batch.Filter(b, horizon, p.keep)
	return out, kept, err
}

// judge decides about each record of a batch, in p.keep, and counts those kept, and the tombstones among
// them.
func (p *Pass) judge(b []byte, h batch.Header) (kept, tombstones int32, err error) {
	aborted := p.isAborted(h)
	horizon, has := h.DeleteHorizon()
	expired := has && p.passed(horizon)
	p.keep = p.keep[:0]
	for r, err := range batch.Records(b) {
		if err != nil {
			return 0, 0, err
		}
		keep := r.Offset >= p.End() || !aborted && r.Key != nil && !p.superseded(r)
		if keep && r.Value == nil && r.Offset < p.End() {
			if keep = !expired; keep {
				tombstones++
			} else {
				p.dropped = max(p.dropped, r.Offset+1)
			}
		}
		if keep {
			kept++
		}
		p.keep = append(p.keep, keep)
	}
	return kept, tombstones, nil
}

// superseded reports whether a newer record of the same key is known.
func (p *Pass) superseded(r batch.Record) bool {
	newest, known := p.newest[digestOf(r.Key)]
	return known && newest > r.Offset
}

// passed reports whether what has a horizon may go.
func (p *Pass) passed(horizon int64) bool { return horizon <= p.cfg.Now && !p.cfg.Hold }

// horizon is the delete horizon of what is to go from now on. The zero would be none.
func (p *Pass) horizon() int64 {
	if p.cfg.DeleteRetention > math.MaxInt64-p.cfg.Now {
		return math.MaxInt64
	}
	return max(1, p.cfg.Now+p.cfg.DeleteRetention)
}

// cleanMarker drops the marker of a transaction of which nothing is left, once its horizon has passed.
func (p *Pass) cleanMarker(b []byte, h batch.Header) ([]byte, int32, error) {
	_, ok, err := batch.ParseMarker(b)
	if err != nil || !ok && h.Records > 0 {
		return b, h.Records, err
	}
	something := p.open[h.ProducerID]
	delete(p.open, h.ProducerID)
	horizon, has := h.DeleteHorizon()
	switch {
	case something || h.Records == 0 || has && !p.passed(horizon):
		return b, h.Records, nil
	case has:
		p.dropped = max(p.dropped, h.LastOffset()+1)
		out, err := batch.Filter(b, 0, make([]bool, h.Records))
		return out, 0, err
	}
	out, err := batch.Filter(b, p.horizon(), slices.Repeat([]bool{true}, int(h.Records)))
	return out, h.Records, err
}
