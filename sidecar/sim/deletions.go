package sim

import (
	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// deletions is what the checker knows of log starts.
type deletions struct {
	// asked is the highest start that any leader has taken from a client, done the highest that a client
	// was told to be in force on every replica in sync.
	asked, done map[topic.Partition]topic.Offset
	// doneAt is done when an epoch was first seen elected.
	doneAt map[grant]topic.Offset
}

func newDeletions() deletions {
	return deletions{
		asked: map[topic.Partition]topic.Offset{}, done: map[topic.Partition]topic.Offset{},
		doneAt: map[grant]topic.Offset{},
	}
}

// deleteRecords asks whom it takes for the leader to delete the records below some offset, or all.
func (w *World) deleteRecords() {
	p, ok := w.pick()
	if !ok || w.quiet || !w.deleted(p) {
		return
	}
	h, _ := w.guess(p)
	if !h.up() || h.paused() {
		return
	}
	b := h.broker
	log := b.store.Log(p)
	if log == nil {
		return
	}
	before := topic.NoOffset
	state := log.State()
	switch {
	case w.compacted(p): // Where all is deleted nothing is left to compact.
		before = state.LogStart + topic.Offset(w.rng.Int64N(int64(state.LogEnd-state.LogStart)/4+2))
	case w.rng.IntN(3) > 0:
		before = topic.Offset(w.rng.Int64N(int64(state.LogEnd) + 2))
	}
	to, epoch, err := log.DeleteRecords(noWait, before)
	b.want(partWAL)
	if err != nil {
		return
	}
	w.count.deletions++
	if w.compacted(p) && to > state.LogStart {
		w.count.compactedStarts++
	}
	w.check.deletions.asked[p] = max(w.check.deletions.asked[p], to)
	log.AwaitLowWatermark(epoch, to, func(err error) {
		if err == nil {
			w.count.deletionsDone++
			w.check.deletions.done[p] = max(w.check.deletions.done[p], to)
			if placement, ok := w.check.image.Partition(p); ok {
				w.check.entitled(p, placement)
			}
		}
	})
}

// durableStart is where a host's log starts on its disk; unknown if the disk was lost since.
func (h *host) durableStart(p topic.Partition, session topic.Session) (topic.Offset, bool) {
	if h.lost || uint64(session) < h.disk.since {
		return 0, false
	}
	if !h.up() {
		start, known := h.disk.keptStarts[p]
		return start, known
	}
	log := h.broker.store.Log(p)
	if log == nil {
		return 0, h.broker.session == session
	}
	return log.State().StartDurable, true
}

// undone: under the interval policy a loss of power may take a log start that was not synced, as it takes
// records. Of those who held everything last the longest log leads then, and where it starts is not asked:
// records that were deleted may be there again, until a follower that starts later is in sync.
func (c *checker) undone(before, after *topic.Placement, p topic.Partition) {
	if !c.w.mix.interval || !after.Unclean || before != nil && before.LeaderEpoch == after.LeaderEpoch || after.Leader == topic.NoNode {
		return
	}
	h := c.w.hosts[after.Leader-1]
	if start, known := h.durableStart(p, after.LeaderSession); known {
		c.deletions.done[p] = min(c.deletions.done[p], start)
	}
}

// mayBeGone reports whether a record may have been deleted. A log that began anew above it knows nothing of
// its producer, who may write it again, as with Kafka.
func (c *checker) mayBeGone(at place) bool { return at.offset < c.deletions.asked[at.partition] }

// starts requires that no log starts above what anybody asked for, nor above what is committed.
func (c *checker) starts(b *broker, p topic.Partition, state partition.State) {
	if asked := c.deletions.asked[p]; state.LogStart > asked || state.LogStart > state.HighWatermark || state.First > state.LogStart {
		c.fail("%s has %v from %d on, first batch at %d, high watermark %d; %d was asked for",
			b.h, p, state.LogStart, state.First, state.HighWatermark, asked)
	}
}

// serves requires that the newest leader gives nobody what a client was told to be deleted.
func (c *checker) serves(b *broker, p topic.Partition, from topic.Offset, epoch topic.Epoch) {
	placement, ok := c.image.Partition(p)
	if ok && placement.LeaderEpoch == epoch && placement.Leader == b.h.id && from < c.deletions.done[p] {
		c.fail("%s, which leads %v, serves %d, but what lies below %d was deleted", b.h, p, from, c.deletions.done[p])
	}
}
