package partition

import (
	"sort"

	"outrigger/broker/topic"
)

// EpochStart says at which offset a leader epoch begins in a log.
type EpochStart struct {
	Epoch topic.Epoch
	Start topic.Offset
}

// epochCache is where each leader epoch starts, derived from the batches, both columns growing.
type epochCache []EpochStart

// tail is the epoch of the last record, NoEpoch in an empty log.
func (c epochCache) tail() topic.Epoch {
	if len(c) == 0 {
		return topic.NoEpoch
	}
	return c[len(c)-1].Epoch
}

// note takes in that a batch of epoch starts at base.
func (c *epochCache) note(epoch topic.Epoch, base topic.Offset) {
	if epoch > c.tail() {
		*c = append(*c, EpochStart{Epoch: epoch, Start: base})
	}
}

// cut forgets the epochs that start at or after end.
func (c *epochCache) cut(end topic.Offset) {
	kept := sort.Search(len(*c), func(i int) bool { return (*c)[i].Start >= end })
	*c = (*c)[:kept]
}

// drop forgets the epochs that end at or before start. The one that holds start keeps its own start:
// it also tells which epoch the last dropped record had.
func (c *epochCache) drop(start topic.Offset) {
	above := sort.Search(len(*c), func(i int) bool { return (*c)[i].Start >= start })
	if above > 1 {
		*c = append((*c)[:0], (*c)[above-1:]...)
	}
}

// of is the epoch of the record at offset, NoEpoch if the cache does not reach down to it.
func (c epochCache) of(offset topic.Offset) topic.Epoch {
	above := sort.Search(len(c), func(i int) bool { return c[i].Start > offset })
	if above == 0 {
		return topic.NoEpoch
	}
	return c[above-1].Epoch
}

// end answers where epoch ends: checklist 18, the same rule as Kafka's. leading is the epoch that
// this node leads in, NoEpoch if it does not; it counts as known although it may have no record.
//
//	the newest epoch        itself, the log end
//	newer than the newest   nothing: (-1, -1)
//	older                   the largest known one that is not newer, and where the next one starts
//	older than the oldest   itself, and where the oldest starts: it has no record here at all
func (c epochCache) end(
	epoch, leading topic.Epoch, logEnd topic.Offset,
) (topic.Epoch, topic.Offset) {
	newest := max(c.tail(), leading)
	switch {
	case epoch < 0 || epoch > newest:
		return topic.NoEpoch, topic.NoOffset
	case epoch == newest:
		return epoch, logEnd
	}
	above := sort.Search(len(c), func(i int) bool { return c[i].Epoch > epoch })
	nextStart := logEnd // the led epoch has no record yet: it starts where the log ends
	if above < len(c) {
		nextStart = c[above].Start
	}
	if above == 0 {
		return epoch, nextStart
	}
	return c[above-1].Epoch, nextStart
}
