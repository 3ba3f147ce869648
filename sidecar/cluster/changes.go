package cluster

import (
	"bytes"
	"iter"
	"slices"

	"outrigger/broker/topic"
)

// Change is one partition that two images tell differently.
type Change struct {
	Partition topic.Partition
	// Topic is the topic in the later image, or in the earlier one if it was deleted.
	Topic *topic.Topic
	// Before is nil for a new partition, After for a deleted one.
	Before, After *topic.Placement
}

// Changes walks the partitions whose placement differs between two images of one history, by topic
// id and index. Parts that the images share are skipped unseen, so that following an image of 10,000
// partitions through 5,000 topic creations is not quadratic. A topic whose configs alone changed has
// no changes here.
func Changes(before, after *Image) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		older, newer := cursor{list: before.byID}, cursor{list: after.byID}
		for {
			skipShared(&older, &newer)
			was, is := older.topic(), newer.topic()
			if was == nil && is == nil {
				return
			}
			switch {
			case is == nil || was != nil && bytes.Compare(was.ID[:], is.ID[:]) < 0:
				is = nil
				older.next()
			case was == nil || was.ID != is.ID:
				was = nil
				newer.next()
			default:
				older.next()
				newer.next()
			}
			if was != is && !topicChanges(was, is, yield) {
				return
			}
		}
	}
}

// topicChanges yields the placements that differ; either topic may be nil.
func topicChanges(was, is *topic.Topic, yield func(Change) bool) bool {
	var before, after []*topic.Placement
	t := is
	if was != nil {
		before = was.Partitions
	}
	if is != nil {
		after = is.Partitions
	} else {
		t = was
	}
	for i := range max(len(before), len(after)) {
		c := Change{Partition: topic.Partition{Topic: t.ID, Index: int32(i)}, Topic: t}
		if i < len(before) {
			c.Before = before[i]
		}
		if i < len(after) {
			c.After = after[i]
		}
		if !samePlacement(c.Before, c.After) && !yield(c) {
			return false
		}
	}
	return true
}

// samePlacement compares by value when it must: an image from a snapshot shares nothing.
func samePlacement(a, b *topic.Placement) bool {
	if a == b || a == nil || b == nil {
		return a == b
	}
	return a.PartitionEpoch == b.PartitionEpoch && a.LeaderEpoch == b.LeaderEpoch &&
		a.Leader == b.Leader && a.LeaderSession == b.LeaderSession && a.Unclean == b.Unclean &&
		a.UncleanEpoch == b.UncleanEpoch &&
		equalNodes(a.Replicas, b.Replicas) && equalNodes(a.Origin, b.Origin) && equalNodes(a.Target, b.Target) &&
		equalNodes(a.Evicted, b.Evicted) && equalMembers(a.ISR, b.ISR) &&
		equalMembers(a.Eligible, b.Eligible) && equalNodes(a.LastKnown, b.LastKnown) &&
		slices.Equal(a.Claims, b.Claims)
}

// cursor is a place in a list of topics.
type cursor struct {
	list      sorted[*topic.Topic]
	chunk, at int
}

func (c *cursor) topic() *topic.Topic {
	if c.chunk == len(c.list.chunks) {
		return nil
	}
	return c.list.chunks[c.chunk][c.at]
}

func (c *cursor) next() {
	if c.at++; c.at == len(c.list.chunks[c.chunk]) {
		c.chunk, c.at = c.chunk+1, 0
	}
}

// skipShared moves both cursors over chunks that the two lists share.
func skipShared(a, b *cursor) {
	for a.at == 0 && b.at == 0 && a.chunk < len(a.list.chunks) && b.chunk < len(b.list.chunks) &&
		&a.list.chunks[a.chunk][0] == &b.list.chunks[b.chunk][0] {
		a.chunk++
		b.chunk++
	}
}
