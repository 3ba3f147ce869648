package cluster

import "outrigger/broker/topic"

// apply judges every replica by itself.
func (c QuarantineReplicas) apply(b *Batch) Result {
	items := make([]Status, len(c.Items))
	for i, item := range c.Items {
		items[i] = b.quarantine(c.Member, item)
	}
	return Result{Items: items}
}

func (b *Batch) quarantine(m topic.Member, q ReplicaQuarantine) Status {
	t, p, found := b.placement(q.Partition)
	switch {
	case !found || !p.Hosts(m.Node):
		return Unknown
	case q.LeaderEpoch != p.LeaderEpoch || !b.im.Live(m):
		return Stale
	case p.Leader == topic.NoNode:
		// A live replica of a leaderless partition is not eligible, and whoever leads next does so in a
		// later epoch.
		return OK
	case p.Leader == m.Node && !b.replaceable(m, p):
		return Refused
	}
	next := b.succeed(t, p, without(p.ISR, m), func(x topic.Member) (topic.Member, worth) {
		if x == m {
			return x, doubtful
		}
		return x, whole
	})
	if next == nil {
		next = clone(p)
		next.PartitionEpoch++
	}
	if next.LeaderEpoch == p.LeaderEpoch {
		// The same leader begins anew, and cleanly.
		next.LeaderEpoch++
		next.Unclean = false
	}
	b.editable(t).Partitions[q.Partition.Index] = next
	return OK
}

// replaceable reports whether somebody else is live and holds everything committed.
func (b *Batch) replaceable(m topic.Member, p *topic.Placement) bool {
	if len(without(p.ISR, m)) > 0 {
		return true
	}
	for _, other := range p.Eligible {
		if other != m && b.im.Live(other) {
			return true
		}
	}
	return false
}

// Quarantines lists what a member whose logs of these partitions have lost records has to ask for, by
// the image as it is. given tells at which leader epoch a partition was refused before: asking again is
// of no use until something has changed, and every change of who could lead changes the placement.
func (im *Image) Quarantines(
	m topic.Member, damaged []topic.Partition, refused map[topic.Partition]int32,
) QuarantineReplicas {
	c := QuarantineReplicas{Member: m}
	if !im.Live(m) {
		return c
	}
	for _, partition := range damaged {
		p, found := im.Partition(partition)
		if !found || !p.Hosts(m.Node) || p.Leader == topic.NoNode {
			continue
		}
		if epoch, asked := refused[partition]; asked && epoch == p.PartitionEpoch {
			continue
		}
		c.Items = append(c.Items, ReplicaQuarantine{Partition: partition, LeaderEpoch: p.LeaderEpoch})
	}
	return c
}
