package cluster

import (
	"slices"

	"outrigger/broker/topic"
)

// evictedMax bounds Placement.Evicted. A node that was evicted and forgotten keeps an orphaned log until a
// person removes it, which needs as many moves of one partition while the node is down.
const evictedMax = 16

// apply judges every reassignment by itself.
func (c Reassign) apply(b *Batch) Result {
	items := make([]Status, len(c.Items))
	for i, item := range c.Items {
		items[i] = b.reassign(item)
	}
	return Result{Items: items}
}

// reassign begins a reassignment, gives one under way another target, or takes it back.
func (b *Batch) reassign(r topic.Reassignment) Status {
	t, p, found := b.placement(r.Partition)
	if !found {
		return Unknown
	}
	target := r.Target
	if target == nil {
		target = originOf(p)
	}
	switch {
	case equalNodes(target, p.Final()):
		return OK // Nothing to do, or done before: a proposal of unknown outcome, made again.
	case r.PartitionEpoch != p.PartitionEpoch:
		return Stale
	case !b.targets(target):
		return InvalidAssignment
	}
	next := clone(p)
	next.Origin, next.Target = originOf(p), slices.Clone(target)
	next.Replicas = union(next.Target, next.Origin)
	if equalNodes(next.Origin, next.Target) {
		next.Origin, next.Target = nil, nil
	}
	if !b.im.spares(t, p, next.Replicas) {
		return Refused
	}
	b.editable(t).Partitions[r.Partition.Index] = b.reshaped(t, p, next)
	return OK
}

// targets reports whether replicas may be asked for: at least one, registered, no node twice.
func (b *Batch) targets(replicas []topic.NodeID) bool {
	for i, node := range replicas {
		if _, known := b.im.Broker(node); !known || containsNode(replicas[:i], node) {
			return false
		}
	}
	return len(replicas) > 0
}

// apply judges every end by itself.
func (c FinishReassignments) apply(b *Batch) Result {
	items := make([]Status, len(c.Items))
	for i, item := range c.Items {
		items[i] = b.finish(item)
	}
	return Result{Items: items}
}

func (b *Batch) finish(c ReassignmentEnd) Status {
	t, p, found := b.placement(c.Partition)
	switch {
	case !found:
		return Unknown
	case c.PartitionEpoch != p.PartitionEpoch || !p.Moving():
		return Stale
	case !b.im.Finishable(t, p):
		return Refused
	}
	next := clone(p)
	next.Replicas, next.Origin, next.Target = p.Target, nil, nil
	b.editable(t).Partitions[c.Partition.Index] = b.reshaped(t, p, next)
	return OK
}

// Finishable reports whether a reassignment has reached its end: all that it brings are in sync, and what
// it takes away is not missed.
func (im *Image) Finishable(t *topic.Topic, p *topic.Placement) bool {
	if !p.Moving() {
		return false
	}
	if im.mutant == FinishesEarly {
		return len(p.ISR) > 0
	}
	for _, node := range p.Adding() {
		if _, inSync := memberOf(p.ISR, node); !inSync {
			return false
		}
	}
	return im.spares(t, p, p.Target)
}

// spares reports whether a partition loses nothing that it promised when its replicas become these: who is
// in sync, eligible or last known stays, or enough in-sync members are left to commit with. Who leaves is
// not eligible any more, as members are that leave an in-sync set which becomes too small.
func (im *Image) spares(t *topic.Topic, p *topic.Placement, replicas []topic.NodeID) bool {
	if im.mutant == EvictsHolders || im.mutant == FinishesEarly {
		return true
	}
	left, gone := 0, false
	for _, m := range p.ISR {
		if containsNode(replicas, m.Node) {
			left++
		} else {
			gone = true
		}
	}
	for _, m := range p.Eligible {
		gone = gone || !containsNode(replicas, m.Node)
	}
	for _, node := range p.LastKnown {
		gone = gone || !containsNode(replicas, node)
	}
	return !gone || left >= minInSync(im.inherited, t.Configs, len(replicas))
}

// reshaped returns the placement that follows old when its replicas are those of shape. Who is no replica
// any more leaves every set, and a leader among them is replaced, in this one record.
//
// When somebody is evicted, another leader epoch begins, also where the leader stays. (1. Node 4 is evicted
// and drops its log, 2. it is added again, in the same session, 3. an acknowledgement of before 1 that
// waited on a line tells the leader that node 4 holds everything: it would be in sync with an empty log.)
func (b *Batch) reshaped(t *topic.Topic, old, shape *topic.Placement) *topic.Placement {
	next := clone(shape)
	var gone []topic.NodeID
	next.Evicted, gone = evicted(old, shape.Replicas)
	next.Claims = claimsOf(old, shape.Replicas)
	minimum := minInSync(b.im.inherited, t.Configs, shape.Factor())
	settle(next, shape, old.ISR, unchanged, minimum)
	b.elect(t, next, minimum)
	if sealed(old, next) == nil {
		next.PartitionEpoch = old.PartitionEpoch + 1
	}
	if len(gone) > 0 && next.LeaderEpoch == old.LeaderEpoch && b.im.mutant != KeepsEpochOfEvicted {
		next.LeaderEpoch++
		next.Unclean = false // It begins anew, and cleanly.
	}
	return next
}

// evicted are the nodes that hold none of old's replicas any more, and who of them goes now.
func evicted(old *topic.Placement, replicas []topic.NodeID) (all, gone []topic.NodeID) {
	for _, node := range old.Evicted {
		if !containsNode(replicas, node) {
			all = append(all, node)
		}
	}
	for _, node := range old.Replicas {
		if !containsNode(replicas, node) {
			all, gone = append(all, node), append(gone, node)
		}
	}
	return all[max(0, len(all)-evictedMax):], gone
}

// claimsOf are old's claims in the order of other replicas.
func claimsOf(old *topic.Placement, replicas []topic.NodeID) []topic.Claim {
	var claims []topic.Claim
	for _, node := range replicas {
		for _, c := range old.Claims {
			if c.Member.Node == node {
				claims = append(claims, c)
			}
		}
	}
	return claims
}

// originOf are the replicas that a partition has without its reassignment.
func originOf(p *topic.Placement) []topic.NodeID {
	if p.Moving() {
		return p.Origin
	}
	return p.Replicas
}

// union is target, then what origin has beside it, in fresh memory.
func union(target, origin []topic.NodeID) []topic.NodeID {
	all := slices.Clone(target)
	for _, node := range origin {
		if !containsNode(target, node) {
			all = append(all, node)
		}
	}
	return all
}

// Evicts reports whether the image says that node shall drop its log of p: it held a replica once, and a
// committed record took it away. An older image may say so of a log that was made later: see Replication.
func (im *Image) Evicts(node topic.NodeID, p topic.Partition) bool {
	placement, found := im.Partition(p)
	return found && !placement.Hosts(node) && containsNode(placement.Evicted, node)
}
