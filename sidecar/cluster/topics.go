package cluster

import "outrigger/broker/topic"

// apply creates topics one by one; a later item sees the earlier ones.
func (c CreateTopics) apply(b *Batch) Result {
	items := make([]Status, len(c.Topics))
	for i := range c.Topics {
		items[i] = b.create(&c.Topics[i])
	}
	return Result{Items: items}
}

// create makes one topic. The same id under the same name again is success, however it was placed:
// the proposer is making a proposal of unknown outcome again.
func (b *Batch) create(c *topic.Creation) Status {
	if c.ID.IsZero() {
		return Refused
	}
	if t, found := b.im.TopicByID(c.ID); found {
		if t.Name == c.Name {
			return OK
		}
		return Refused
	}
	if b.im.Deleted(c.ID) {
		return Stale
	}
	if status := b.nameable(c.Name); status != OK {
		return status
	}
	configs, status := checkedConfigs(c.Configs)
	if status != OK {
		return status
	}
	assignments, status := b.assignments(c)
	if status != OK {
		return status
	}
	t := &topic.Topic{ID: c.ID, Name: c.Name, Configs: configs, Internal: c.Internal}
	for _, replicas := range assignments {
		t.Partitions = append(t.Partitions, b.place(replicas))
	}
	b.insert(t)
	return OK
}

// nameable applies Kafka's rules for names, the collision of '.' and '_' among them.
func (b *Batch) nameable(name string) Status {
	if topic.ValidateName(name) != nil {
		return InvalidName
	}
	if _, taken := b.im.TopicByName(name); taken {
		return NameTaken
	}
	if collides(name) {
		if _, taken := b.im.folded.get(orderFold(name)); taken {
			return InvalidName
		}
	}
	return OK
}

// assignments returns where the partitions of a new topic go: where the creator says, or where we
// do.
func (b *Batch) assignments(c *topic.Creation) ([][]topic.NodeID, Status) {
	if c.Assignments != nil {
		n := len(c.Assignments)
		if n == 0 || n > PartitionsMax || c.Partitions > 0 && int(c.Partitions) != n {
			return nil, InvalidPartitions
		}
		return c.Assignments, b.assignable(c.Assignments, len(c.Assignments[0]))
	}
	if c.Partitions < 1 || c.Partitions > PartitionsMax {
		return nil, InvalidPartitions
	}
	if c.ReplicationFactor < 1 || !b.placeable(int(c.ReplicationFactor)) {
		return nil, InvalidReplicationFactor
	}
	return b.assign(int(c.Partitions), int(c.ReplicationFactor)), OK
}

// assignable checks replicas that a client chose: factor each, registered, no node twice, and at
// least one live.
func (b *Batch) assignable(assignments [][]topic.NodeID, factor int) Status {
	for _, replicas := range assignments {
		if len(replicas) == 0 || len(replicas) != factor {
			return InvalidAssignment
		}
		live := false
		for i, node := range replicas {
			if _, known := b.im.Broker(node); !known || containsNode(replicas[:i], node) {
				return InvalidAssignment
			}
			if _, isLive := b.im.member(node); isLive {
				live = true
			}
		}
		if !live {
			return InvalidAssignment
		}
	}
	return OK
}

// place starts a partition: all live replicas are in sync, since there is nothing to lack, and the
// first of them leads. A fenced one joins later as any follower does.
func (b *Batch) place(replicas []topic.NodeID) *topic.Placement {
	p := &topic.Placement{Replicas: append([]topic.NodeID(nil), replicas...)}
	for _, node := range replicas {
		if m, live := b.im.member(node); live {
			p.ISR = append(p.ISR, m)
		}
	}
	lead(p, p.ISR[0])
	return p
}

// apply deletes topics. One that has a tombstone is deleted already.
func (c DeleteTopics) apply(b *Batch) Result {
	items := make([]Status, len(c.IDs))
	for i, id := range c.IDs {
		t, found := b.im.TopicByID(id)
		switch {
		case found:
			b.remove(t)
		case !b.im.Deleted(id):
			items[i] = Unknown
		}
	}
	return Result{Items: items}
}

// apply grows topics one by one.
func (c CreatePartitions) apply(b *Batch) Result {
	items := make([]Status, len(c.Growths))
	for i := range c.Growths {
		items[i] = b.grow(&c.Growths[i])
	}
	return Result{Items: items}
}

func (b *Batch) grow(c *topic.Growth) Status {
	t, found := b.im.TopicByID(c.ID)
	if !found {
		return Unknown
	}
	added := int(c.Total) - len(t.Partitions)
	if added == 0 {
		return OK
	}
	if added < 0 || c.Total > PartitionsMax {
		return InvalidPartitions
	}
	factor := len(t.Partitions[0].Final())
	assignments := c.Assignments
	if assignments != nil {
		if len(assignments) != added {
			return InvalidAssignment
		}
		if status := b.assignable(assignments, factor); status != OK {
			return status
		}
	} else {
		if !b.placeable(factor) {
			return InvalidReplicationFactor
		}
		assignments = b.assign(added, factor)
	}
	t = b.editable(t)
	for _, replicas := range assignments {
		t.Partitions = append(t.Partitions, b.place(replicas))
	}
	return OK
}

// apply sets what topics inherit where nothing was set while the cluster runs.
func (c SetDefaults) apply(b *Batch) Result {
	if c.MinInSync < 1 {
		return Result{Status: Refused}
	}
	if c == b.im.defaults {
		return Result{}
	}
	b.im.defaults = c
	b.inherit()
	return Result{}
}
