package cluster

import (
	"bytes"
	"errors"
	"fmt"

	"outrigger/broker/topic"
)

// ErrInvariant: an image is impossible. Whoever holds it must not act on it.
var ErrInvariant = errors.New("invariant is broken")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvariant, fmt.Sprintf(format, args...))
}

// Check proves what the package comment promises of every single image. It costs a walk over all
// partitions.
func (im *Image) Check() error {
	if im.defaults.MinInSync < 1 || im.nextProducerID < 0 || im.placed < 0 {
		return broken("defaults %+v, next producer id %d, placed %d",
			im.defaults, im.nextProducerID, im.placed)
	}
	if err := im.checkBrokers(); err != nil {
		return err
	}
	if err := im.checkIndexes(); err != nil {
		return err
	}
	if err := im.checkConfigs(); err != nil {
		return err
	}
	if err := im.checkVoters(); err != nil {
		return err
	}
	for t := range im.All() {
		if len(t.Partitions) == 0 {
			return broken("topic %s has no partition", t.Name)
		}
		for i, p := range t.Partitions {
			if err := im.checkPlacement(t, p); err != nil {
				return fmt.Errorf("partition %s/%d: %w", t.Name, i, err)
			}
		}
	}
	return nil
}

// CheckAfter proves what must hold between an image and an earlier one: nothing goes backwards.
func (im *Image) CheckAfter(earlier *Image) error {
	if im.applied < earlier.applied || im.level < earlier.level ||
		im.nextProducerID < earlier.nextProducerID {
		return broken("index, level or producer ids went backwards")
	}
	if earlier.clusterID != "" && im.clusterID != earlier.clusterID {
		return broken("cluster id %q became %q", earlier.clusterID, im.clusterID)
	}
	if err := im.checkConfigsAfter(earlier); err != nil {
		return err
	}
	for change := range Changes(earlier, im) {
		if err := checkChange(change); err != nil {
			return fmt.Errorf("partition %s: %w", change.Partition, err)
		}
	}
	return nil
}

func checkChange(c Change) error {
	before, after := c.Before, c.After
	if before == nil || after == nil {
		return nil
	}
	if err := checkEvictions(before, after); err != nil {
		return err
	}
	if after.PartitionEpoch <= before.PartitionEpoch {
		return broken("changed at partition epoch %d after %d",
			after.PartitionEpoch, before.PartitionEpoch)
	}
	moved := after.Leader != before.Leader || after.LeaderSession != before.LeaderSession
	if after.LeaderEpoch < before.LeaderEpoch || moved && after.LeaderEpoch == before.LeaderEpoch {
		return broken("leader %d in %s at epoch %d after %d in %s at %d",
			after.Leader, after.LeaderSession, after.LeaderEpoch,
			before.Leader, before.LeaderSession, before.LeaderEpoch)
	}
	return nil
}

// checkEvictions proves that whoever is no replica any more was told so, in another leader epoch.
func checkEvictions(before, after *topic.Placement) error {
	for _, node := range before.Replicas {
		if after.Hosts(node) || len(after.Evicted) == evictedMax {
			continue
		}
		if !containsNode(after.Evicted, node) || after.LeaderEpoch == before.LeaderEpoch {
			return broken("replicas %v at epoch %d became %v at epoch %d, evicted are %v", before.Replicas,
				before.LeaderEpoch, after.Replicas, after.LeaderEpoch, after.Evicted)
		}
	}
	return nil
}

func (im *Image) checkBrokers() error {
	for i := range im.brokers {
		b := &im.brokers[i].broker
		if b.ID < 0 || b.Session == 0 || b.Disk.IsZero() {
			return broken("broker %d without session or disk", b.ID)
		}
		if i > 0 && b.ID <= im.brokers[i-1].broker.ID {
			return broken("broker %d after %d", b.ID, im.brokers[i-1].broker.ID)
		}
		if !b.Fenced && im.brokers[i].isRetired(b.Session) {
			return broken("broker %d is live in session %s that it ended", b.ID, b.Session)
		}
	}
	return nil
}

// checkIndexes proves that the indexes hold the same and are in order.
func (im *Image) checkIndexes() error {
	byID, byName, folds := 0, 0, 0
	last := ""
	for t := range im.byName.all() {
		if t.Name <= last || topic.ValidateName(t.Name) != nil {
			return broken("topic %q after %q", t.Name, last)
		}
		if other, found := im.TopicByID(t.ID); !found || other != t {
			return broken("topic %q is another by its id", t.Name)
		}
		if collides(t.Name) {
			folds++
			if name, found := im.folded.get(orderFold(t.Name)); !found || name != t.Name {
				return broken("topic %q is not known by its fold", t.Name)
			}
		}
		if im.Deleted(t.ID) {
			return broken("topic %q exists and is deleted", t.Name)
		}
		last = t.Name
		byName++
	}
	var previous topic.ID
	for t := range im.byID.all() {
		if bytes.Compare(t.ID[:], previous[:]) <= 0 {
			return broken("topic %s after %s", t.ID, previous)
		}
		previous = t.ID
		byID++
	}
	if byID != byName || byID != im.byID.count || byName != im.byName.count ||
		folds != im.folded.count {
		return broken("%d topics by id, %d by name", byID, byName)
	}
	return im.checkTombstones()
}

func (im *Image) checkTombstones() error {
	if im.burials.count != im.tombstones.count || im.burials.count > TombstonesMax {
		return broken("%d tombstones, %d burials", im.tombstones.count, im.burials.count)
	}
	next := uint64(0)
	for s := range im.burials.all() {
		if s.order < next || s.order >= im.buried {
			return broken("tombstone of %s has order %d, want %d to %d",
				s.id, s.order, next, im.buried)
		}
		next = s.order + 1
		if other, found := im.tombstones.get(orderTombstone(s.id)); !found || other != s {
			return broken("tombstone of %s is lost", s.id)
		}
	}
	return nil
}

func (im *Image) checkPlacement(t *topic.Topic, p *topic.Placement) error {
	if len(p.Replicas) == 0 || p.Moving() != (p.Origin != nil) || len(p.Evicted) > evictedMax ||
		p.Moving() && !equalNodes(p.Replicas, union(p.Target, p.Origin)) {
		return broken("replicas %v, origin %v, target %v, evicted %v", p.Replicas, p.Origin, p.Target, p.Evicted)
	}
	for i, node := range p.Replicas {
		if _, known := im.Broker(node); !known || containsNode(p.Replicas[:i], node) {
			return broken("replica %d is unknown or there twice", node)
		}
	}
	for i, node := range p.Evicted {
		if p.Hosts(node) || containsNode(p.Evicted[:i], node) {
			return broken("evicted %v beside replicas %v", p.Evicted, p.Replicas)
		}
	}
	if p.LeaderEpoch < 0 || p.PartitionEpoch < 0 {
		return broken("epochs %d and %d", p.LeaderEpoch, p.PartitionEpoch)
	}
	if err := im.checkSets(t, p); err != nil {
		return err
	}
	if err := im.checkClaims(p); err != nil {
		return err
	}
	if p.Leader == topic.NoNode {
		return im.checkLeaderless(p)
	}
	if leader := (topic.Member{Node: p.Leader, Session: p.LeaderSession}); !p.InSync(leader) {
		return broken("leader %v is not in sync: %v", leader, p.ISR)
	}
	return nil
}

// checkSets proves that in-sync, eligible and last-known sets are disjoint, of replicas, in replica
// order, and as live as they must be.
func (im *Image) checkSets(t *topic.Topic, p *topic.Placement) error {
	isr, eligible, lastKnown := 0, 0, 0
	for _, node := range p.Replicas {
		roles := 0
		if m, found := memberOf(p.ISR, node); found {
			roles++
			if isr >= len(p.ISR) || p.ISR[isr] != m || !im.Live(m) {
				return broken("in-sync set %v of %v: order, or %v is not live",
					p.ISR, p.Replicas, m)
			}
			isr++
		}
		if m, found := memberOf(p.Eligible, node); found {
			roles++
			broker, _ := im.Broker(node)
			if p.Eligible[eligible] != m || broker.Session != m.Session {
				return broken("eligible set %v of %v: order, or session of %v",
					p.Eligible, p.Replicas, m)
			}
			eligible++
		}
		if containsNode(p.LastKnown, node) {
			roles++
			lastKnown++
		}
		if roles > 1 {
			return broken("node %d is in two sets", node)
		}
	}
	if isr != len(p.ISR) || eligible != len(p.Eligible) || lastKnown != len(p.LastKnown) {
		return broken("members that are no replicas: %v, %v, %v", p.ISR, p.Eligible, p.LastKnown)
	}
	if isr >= im.MinInSync(t, p) && eligible+lastKnown > 0 {
		return broken("eligible %v and last known %v beside in-sync set %v at the minimum",
			p.Eligible, p.LastKnown, p.ISR)
	}
	return nil
}

// checkClaims proves that claims are of replicas, in their order, each once, and made while nobody
// clean is left.
func (im *Image) checkClaims(p *topic.Placement) error {
	next := 0
	for _, node := range p.Replicas {
		if next < len(p.Claims) && p.Claims[next].Member.Node == node {
			next++
		}
	}
	if next != len(p.Claims) || len(p.Claims) > 0 && (p.Leader != topic.NoNode || len(p.Eligible) > 0) {
		return broken("claims %v of replicas %v, leader %d, eligible %v", p.Claims, p.Replicas, p.Leader, p.Eligible)
	}
	return nil
}

func (im *Image) checkLeaderless(p *topic.Placement) error {
	if p.LeaderSession != 0 || len(p.ISR) > 0 || p.Unclean {
		return broken("nobody leads, yet session %s, in-sync set %v", p.LeaderSession, p.ISR)
	}
	for _, m := range p.Eligible {
		if im.Live(m) {
			return broken("nobody leads, yet %v is eligible and live", m)
		}
	}
	return nil
}
