package cluster

import "outrigger/broker/topic"

// apply gives partitions back to their preferred leaders, one by one.
func (c ElectPreferred) apply(b *Batch) Result {
	items := make([]Status, len(c.Partitions))
	for i, p := range c.Partitions {
		items[i] = b.electPreferred(p)
	}
	return Result{Items: items}
}

// electPreferred changes nothing but who leads: the preferred leader must be in sync in its present
// session, and so holds everything committed. Who led until now stays in the in-sync set, and what it
// alone has is cut when it follows in the new epoch.
func (b *Batch) electPreferred(partition topic.Partition) Status {
	t, p, found := b.placement(partition)
	if !found {
		return Unknown
	}
	if p.Leader == p.Replicas[0] {
		return OK
	}
	m, live := b.im.member(p.Replicas[0])
	if !live || !p.InSync(m) {
		return Stale
	}
	next := clone(p)
	lead(next, m)
	b.editable(t).Partitions[partition.Index] = sealed(p, next)
	return OK
}
