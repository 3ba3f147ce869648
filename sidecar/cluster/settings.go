package cluster

import (
	"math"

	"outrigger/broker/topic"
)

// clusterIDBytesMax bounds the cluster id; Kafka's own are 22 bytes.
const clusterIDBytesMax = 64

// apply names the cluster once. Two controllers in a row may each draw an id: the loser learns from
// Stale that it has to read the image.
func (c SetClusterID) apply(b *Batch) Result {
	switch {
	case c.ID == "" || len(c.ID) > clusterIDBytesMax:
		return Result{Status: Refused}
	case b.im.clusterID == "":
		b.im.clusterID = c.ID
	case b.im.clusterID != c.ID:
		return Result{Status: Stale}
	}
	return Result{}
}

// apply raises the finalized level if every registered broker speaks it; a late copy of an older command
// changes nothing. A node that is not registered, and does not speak it, stops: see Image.CheckLevel.
func (c SetLevel) apply(b *Batch) Result {
	switch {
	case c.Level <= b.im.level:
	case len(b.im.brokers) == 0 || len(b.im.Lacking(c.Level)) > 0:
		return Result{Status: Refused}
	default:
		b.im.level = c.Level
	}
	return Result{}
}

// apply hands out the next block of producer ids to a session that is live.
func (c AllocateProducerIDs) apply(b *Batch) Result {
	if _, found := b.im.broker(c.Node); !found {
		return Result{Status: Unknown}
	}
	if !b.im.Live(topic.Member{Node: c.Node, Session: c.Session}) {
		return Result{Status: Stale}
	}
	if b.im.nextProducerID > math.MaxInt64-ProducerIDBlock {
		return Result{Status: Refused}
	}
	first := b.im.nextProducerID
	b.im.nextProducerID += ProducerIDBlock
	return Result{FirstID: first, IDCount: ProducerIDBlock}
}
