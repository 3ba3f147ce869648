package cluster

import (
	"fmt"

	"outrigger/broker/topic"
)

// Batch applies commands to a private copy of an image, to be published once. It belongs to one
// goroutine.
type Batch struct {
	im Image
	// owned holds the topics that this batch made since it last published: only they may be changed
	// in place. It is looked up, never walked.
	owned map[topic.ID]*topic.Topic
}

// Edit starts a batch on top of the image, which stays as it is.
func (im *Image) Edit() *Batch { return &Batch{im: *im} }

// Apply applies one committed command. Indexes must grow; the caller skips entries that a snapshot
// already holds.
func (b *Batch) Apply(index uint64, c Command) Result {
	b.Advance(index)
	return c.apply(b)
}

// CheckLevel is Image.CheckLevel for what was applied so far.
func (b *Batch) CheckLevel() error { return b.im.CheckLevel() }

// Advance moves the applied index over an entry that holds no command (a term's no-op, a membership
// change).
func (b *Batch) Advance(index uint64) {
	if index <= b.im.applied {
		panic(fmt.Sprintf("cluster: index %d applied after %d", index, b.im.applied))
	}
	b.im.applied = index
}

// Image publishes what was applied so far. The batch may go on; the image does not change any more.
func (b *Batch) Image() *Image {
	published := b.im
	b.owned = nil
	return &published
}

// editable returns the topic in a form that may be changed in place until the batch publishes.
func (b *Batch) editable(t *topic.Topic) *topic.Topic {
	if b.owned[t.ID] == t {
		return t
	}
	fresh := b.own(t)
	b.im.byID = b.im.byID.with(fresh, orderID(t.ID))
	b.im.byName = b.im.byName.with(fresh, orderName(t.Name))
	return fresh
}

// own copies a topic and its list of partitions, not the partitions.
func (b *Batch) own(t *topic.Topic) *topic.Topic {
	fresh := *t
	fresh.Partitions = append([]*topic.Placement(nil), t.Partitions...)
	if b.owned == nil {
		b.owned = make(map[topic.ID]*topic.Topic)
	}
	b.owned[t.ID] = &fresh
	return &fresh
}

// sweep offers every placement to change, which returns a new one or nil to leave it. It copies the
// indexes once however many topics change, so that fencing the leader of 10,000 partitions is one
// pass.
func (b *Batch) sweep(change func(*topic.Topic, *topic.Placement) *topic.Placement) {
	swapped := false
	byID := mapped(b.im.byID, func(t *topic.Topic) *topic.Topic {
		fresh := t
		for i, p := range t.Partitions {
			next := change(t, p)
			if next == nil {
				continue
			}
			if b.owned[t.ID] != fresh {
				fresh, swapped = b.own(t), true
			}
			fresh.Partitions[i] = next
		}
		return fresh
	})
	b.im.byID = byID
	if !swapped {
		return
	}
	b.im.byName = mapped(b.im.byName, func(t *topic.Topic) *topic.Topic {
		if fresh := b.owned[t.ID]; fresh != nil {
			return fresh
		}
		return t
	})
}

// insert adds a new topic, owned by the batch.
func (b *Batch) insert(t *topic.Topic) {
	if b.owned == nil {
		b.owned = make(map[topic.ID]*topic.Topic)
	}
	b.owned[t.ID] = t
	b.im.byID = b.im.byID.with(t, orderID(t.ID))
	b.im.byName = b.im.byName.with(t, orderName(t.Name))
	if collides(t.Name) {
		b.im.folded = b.im.folded.with(t.Name, orderFold(t.Name))
	}
}

// remove deletes a topic and leaves a tombstone.
func (b *Batch) remove(t *topic.Topic) {
	delete(b.owned, t.ID)
	b.im.byID = b.im.byID.without(orderID(t.ID))
	b.im.byName = b.im.byName.without(orderName(t.Name))
	if collides(t.Name) {
		b.im.folded = b.im.folded.without(orderFold(t.Name))
	}
	b.bury(t.ID)
}

// bury adds a tombstone and drops the oldest beyond the bound.
func (b *Batch) bury(id topic.ID) {
	s := tombstone{id: id, order: b.im.buried}
	b.im.buried++
	b.im.tombstones = b.im.tombstones.with(s, orderTombstone(id))
	b.im.burials = b.im.burials.with(s, orderBurial(s.order))
	if b.im.burials.count > TombstonesMax {
		oldest, _ := b.im.burials.first()
		b.im.burials = b.im.burials.without(orderBurial(oldest.order))
		b.im.tombstones = b.im.tombstones.without(orderTombstone(oldest.id))
	}
}

// setBroker replaces or adds a registration.
func (b *Batch) setBroker(r registration) {
	i, found := b.im.broker(r.broker.ID)
	fresh := make([]registration, 0, len(b.im.brokers)+1)
	fresh = append(append(fresh, b.im.brokers[:i]...), r)
	if found {
		i++
	}
	b.im.brokers = append(fresh, b.im.brokers[i:]...)
}
