package cluster

import "outrigger/broker/topic"

// apply judges every claim by itself.
func (c ClaimLogs) apply(b *Batch) Result {
	items := make([]Status, len(c.Items))
	for i, item := range c.Items {
		items[i] = b.claim(c.Member, item)
	}
	return Result{Items: items}
}

// claim notes what a replica holds, and elects when everybody has spoken whose word is waited for.
func (b *Batch) claim(m topic.Member, c LogClaim) Status {
	t, p, found := b.placement(c.Partition)
	switch {
	case !found || !p.Hosts(m.Node):
		return Unknown
	case c.LeaderEpoch != p.LeaderEpoch || !IsUndecided(p) || !b.im.Live(m):
		return Stale
	case c.End < 0 || c.TailEpoch >= p.LeaderEpoch:
		return Refused
	}
	claim := topic.Claim{Member: m, TailEpoch: c.TailEpoch, End: c.End}
	if known, claimed := claimOf(p, m); !claimed || known != claim {
		next := clone(p)
		next.Claims = withClaim(p, claim)
		next.PartitionEpoch++
		t = b.editable(t)
		t.Partitions[c.Partition.Index] = next
		p = next
	}
	if best, all := b.im.strongest(p); all {
		b.leadUncleanly(t, c.Partition.Index, best)
	}
	return OK
}

// leadUncleanly commits an unclean election.
func (b *Batch) leadUncleanly(t *topic.Topic, index int32, m topic.Member) {
	t = b.editable(t)
	old := t.Partitions[index]
	next := clone(old)
	leadUnclean(next, m)
	t.Partitions[index] = sealed(old, next)
}

// IsUndecided reports whether nobody leads and nobody clean is left, live or dead.
func IsUndecided(p *topic.Placement) bool { return p.Leader == topic.NoNode && len(p.Eligible) == 0 }

// strongest is the replica that claims to hold the most, once all last-known members are live and every
// live replica has claimed. If all who ever held everything are on other disks now, their old disks may
// still tell, and what the rest holds may be any part of it: that is for the operator to weigh.
//
// Of the last-known ones the newest epoch and the longest log hold the most: all of them held everything
// that is committed, until some may have lost their ends. Another replica may hold more than they do: it
// left the sets because the image could not know that the leader was dead already. It counts if its log
// ends in no earlier epoch and at no lower offset. A shorter one lacks what they hold, whatever its epoch:
//  1. Node 1 leads in epoch 4 and appends records that nobody gets, 2. node 2 leads in epoch 5, without
//     them, and commits what it has of epoch 3, 3. all crash: the log of node 1 ends in epoch 4, those of
//     nodes 2 and 3 in epoch 3, and these two hold what is committed.
func (im *Image) strongest(p *topic.Placement) (best topic.Member, all bool) {
	if len(p.LastKnown) == 0 {
		return topic.Member{}, false
	}
	var claim topic.Claim
	for _, node := range p.LastKnown {
		m, live := im.member(node)
		c, claimed := claimOf(p, m)
		if !live || !claimed {
			return topic.Member{}, false
		}
		if !all || c.Exceeds(claim) || im.mutant == ElectsShorterLog && claim.Exceeds(c) {
			best, claim, all = m, c, true
		}
	}
	for _, node := range p.Replicas {
		m, live := im.member(node)
		if !live || containsNode(p.LastKnown, node) {
			continue
		}
		c, claimed := claimOf(p, m)
		if !claimed {
			return topic.Member{}, false
		}
		if c.Exceeds(claim) && c.End >= claim.End {
			best, claim = m, c
		}
	}
	return best, all
}

// bestLive is the live replica that claims the most, or the first one while nobody claims anything.
func (im *Image) bestLive(p *topic.Placement) (best topic.Member, found bool) {
	claim := topic.Claim{TailEpoch: topic.NoEpoch}
	for _, node := range p.Replicas {
		m, live := im.member(node)
		if !live || !trusted(p, node) {
			continue
		}
		if c, claimed := claimOf(p, m); !found || claimed && c.Exceeds(claim) {
			best, found = m, true
			if claimed {
				claim = c
			}
		}
	}
	return best, found
}

// claimOf is what m claims in its present session.
func claimOf(p *topic.Placement, m topic.Member) (topic.Claim, bool) {
	for _, c := range p.Claims {
		if c.Member == m {
			return c, true
		}
	}
	return topic.Claim{}, false
}

// withClaim returns the claims with one more, in replica order and in fresh memory. It replaces what an
// earlier session of the node claimed.
func withClaim(p *topic.Placement, claim topic.Claim) []topic.Claim {
	var claims []topic.Claim
	for _, node := range p.Replicas {
		if node == claim.Member.Node {
			claims = append(claims, claim)
			continue
		}
		for _, c := range p.Claims {
			if c.Member.Node == node {
				claims = append(claims, c)
			}
		}
	}
	return claims
}

// ClaimDue reports whether m has something to say about a partition that nobody leads: what it holds, or
// once more, because all have spoken since somebody who had not is gone.
func (im *Image) ClaimDue(p *topic.Placement, m topic.Member) bool {
	if !IsUndecided(p) || !p.Hosts(m.Node) || !im.Live(m) {
		return false
	}
	_, claimed := claimOf(p, m)
	_, all := im.strongest(p)
	return !claimed || all
}
