package node

import (
	"slices"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// dropDeleted removes the logs of topics that a committed tombstone names. A topic that is merely
// absent keeps its logs (failure mode 34).
func (r *Replication) dropDeleted() {
	for id := range r.seen {
		if _, ok := r.image.TopicByID(id); ok {
			continue
		}
		for i := range r.seen[id].Partitions {
			if s := r.slots[topic.Partition{Topic: id, Index: int32(i)}]; s != nil {
				r.close(s)
				r.removed = append(r.removed, s.partition)
			}
		}
		delete(r.seen, id)
	}
	r.removeLogs()
}

// DropStrays removes logs that were left from before a restart and whose topics a committed tombstone
// names, or from which a committed record took this node's replica, and notes those of which nothing is known. The owner
// calls it once, with an image that holds its session.
func (r *Replication) DropStrays() {
	for _, p := range r.logs.Partitions() {
		switch {
		case r.slots[p] != nil:
		case r.droppable(p):
			r.removed = append(r.removed, p)
		default:
			r.strays[p] = true
		}
	}
	r.removeLogs()
}

// Strays is how many logs there are of which the cluster knows nothing.
func (r *Replication) Strays() int { return len(r.strays) }

// evict ends the part of a replica that was moved elsewhere. Its log goes only if the image holds this
// session, and so is as new as any log here:
//  1. the replica is taken away, brought back, and fills its log again; 2. the node restarts from a
//     snapshot of between; 3. the log would be dropped although the cluster counts on it.
//
// A log that is kept for that is looked at once more in DropStrays.
func (r *Replication) evict(s *slot) {
	r.close(s)
	if r.registered {
		r.removed = append(r.removed, s.partition)
		r.removeLogs()
	}
}

// droppable reports whether the committed word is that this node has nothing of p to keep.
func (r *Replication) droppable(p topic.Partition) bool {
	return r.image.Deleted(p.Topic) || r.image.Evicts(r.cfg.Self.Node, p)
}

func (r *Replication) close(s *slot) {
	p := s.partition
	// In the same epoch: a log ignores what is older.
	s.log.Assume(partition.Role{Epoch: s.machine.Role().Epoch})
	delete(r.slots, p)
	s.machine.Close()
	r.busy = slices.DeleteFunc(r.busy, func(b *slot) bool { return b == s })
	r.unmended = slices.DeleteFunc(r.unmended, func(b *slot) bool { return b == s })
	for _, peer := range r.order {
		peer.forget(s)
	}
}

// removeLogs removes what is due; a full WAL leaves the rest for the next tick. A replica that came back
// meanwhile keeps its log.
func (r *Replication) removeLogs() {
	slices.SortFunc(r.removed, comparePartition)
	r.removed = slices.DeleteFunc(r.removed, func(p topic.Partition) bool {
		if r.slots[p] != nil {
			return true
		}
		if !r.droppable(p) {
			r.strays[p] = true
			return true
		}
		if r.logs.Remove(p) != nil {
			return false
		}
		if !r.image.Deleted(p.Topic) {
			r.counters.Evicted++
		}
		return true
	})
}

func comparePartition(a, b topic.Partition) int {
	if c := slices.Compare(a.Topic[:], b.Topic[:]); c != 0 {
		return c
	}
	return int(a.Index - b.Index)
}
