package cluster

import "outrigger/broker/topic"

// apply judges every change by itself: one lost compare-and-set does not refuse the others.
func (c AlterISR) apply(b *Batch) Result {
	items := make([]Status, len(c.Changes))
	for i, change := range c.Changes {
		items[i] = b.alterISR(change)
	}
	return Result{Items: items}
}

// alterISR commits a leader's wish. Members are checked here, at commit, and not where the wish was
// made: a replica that was restarted or wiped meanwhile must not ride in on an old proposal.
func (b *Batch) alterISR(c ISRChange) Status {
	t, p, found := b.placement(c.Partition)
	if !found {
		return Unknown
	}
	if c.LeaderEpoch != p.LeaderEpoch || p.Leader == topic.NoNode ||
		c.Leader != (topic.Member{Node: p.Leader, Session: p.LeaderSession}) {
		return Stale
	}
	same := sameSet(c.ISR, p.ISR)
	switch {
	case c.PartitionEpoch != p.PartitionEpoch && same:
		return OK // A proposal of unknown outcome, made again after it was committed.
	case c.PartitionEpoch != p.PartitionEpoch:
		return Stale
	case same:
		return b.endWishes(t, c.Partition.Index)
	case !b.admissible(c, p):
		return Refused
	}
	next := b.succeed(t, p, c.ISR, unchanged)
	b.editable(t).Partitions[c.Partition.Index] = next
	return OK
}

// endWishes moves the partition epoch and nothing else. A leader asks for the set as it is when a
// proposal of its was refused and a copy of it may still be on its way: until the epoch has moved, the
// copy may be committed, and the high watermark must wait for members that may be dead.
func (b *Batch) endWishes(t *topic.Topic, index int32) Status {
	next := clone(t.Partitions[index])
	next.PartitionEpoch++
	b.editable(t).Partitions[index] = next
	return OK
}

// admissible reports whether the wanted set has its leader, each node once, and only live replicas.
func (b *Batch) admissible(c ISRChange, p *topic.Placement) bool {
	leads := false
	for i, m := range c.ISR {
		if _, twice := memberOf(c.ISR[:i], m.Node); twice {
			return false
		}
		if !p.Hosts(m.Node) || !b.im.Live(m) && b.im.mutant != AdmitsAnySession {
			return false
		}
		leads = leads || m == c.Leader
	}
	return leads
}

// apply lets live replicas lead where no clean candidate is left.
func (c ElectUnclean) apply(b *Batch) Result {
	items := make([]Status, len(c.Elections))
	for i, election := range c.Elections {
		items[i] = b.electUnclean(election)
	}
	return Result{Items: items}
}

func (b *Batch) electUnclean(c UncleanElection) Status {
	t, p, found := b.placement(c.Partition)
	if !found {
		return Unknown
	}
	if p.Leader != topic.NoNode || c.PartitionEpoch != p.PartitionEpoch {
		return Stale
	}
	m, live := b.im.member(c.Node)
	if c.Node == topic.NoNode {
		m, live = b.im.bestLive(p)
	}
	if !live {
		return Refused
	}
	if !p.Hosts(m.Node) {
		return Refused
	}
	b.leadUncleanly(t, c.Partition.Index, m)
	return OK
}

func (b *Batch) placement(p topic.Partition) (*topic.Topic, *topic.Placement, bool) {
	t, found := b.im.TopicByID(p.Topic)
	if !found || p.Index < 0 || int(p.Index) >= len(t.Partitions) {
		return nil, nil, false
	}
	return t, t.Partitions[p.Index], true
}

// sameSet reports whether wanted holds the members of the committed set, each once, in any order.
func sameSet(wanted, committed []topic.Member) bool {
	if len(wanted) != len(committed) {
		return false
	}
	for _, m := range committed {
		if other, found := memberOf(wanted, m.Node); !found || other != m {
			return false
		}
	}
	return true
}
