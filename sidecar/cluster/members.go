package cluster

import (
	"slices"

	"outrigger/broker/topic"
)

// apply takes a broker out of the image. It must be gone, and nothing may be left on it.
func (c UnregisterBroker) apply(b *Batch) Result {
	i, found := b.im.broker(c.Node)
	if !found {
		return Result{Status: Unknown}
	}
	if !b.im.brokers[i].broker.Fenced || containsNode(b.im.voters, c.Node) || b.im.hostsAny(c.Node) {
		return Result{Status: Refused}
	}
	b.im.brokers = slices.Delete(slices.Clone(b.im.brokers), i, i+1)
	b.forgetConfigs(c.Node)
	return Result{}
}

// hostsAny reports whether node holds a replica. It walks all partitions.
func (im *Image) hostsAny(node topic.NodeID) bool {
	for t := range im.All() {
		for _, p := range t.Partitions {
			if p.Hosts(node) {
				return true
			}
		}
	}
	return false
}

// apply sets who shall vote in the metadata Raft.
func (c SetVoters) apply(b *Batch) Result {
	switch {
	case slices.Equal(c.After, b.im.voters):
		return Result{}
	case !slices.Equal(c.Before, b.im.voters):
		return Result{Status: Stale}
	case len(c.After) == 0 || len(c.After) > VotersMax:
		return Result{Status: Refused}
	}
	for i, node := range c.After {
		if _, known := b.im.Broker(node); !known || i > 0 && node <= c.After[i-1] {
			return Result{Status: Refused}
		}
	}
	b.im.voters = slices.Clone(c.After)
	return Result{}
}

// Voters are the nodes that shall vote in the metadata Raft, sorted; none until somebody has said so, and
// then those of the configuration do. Whoever leads the Raft brings it there, one change at a time.
func (im *Image) Voters() []topic.NodeID { return im.voters }

func (im *Image) checkVoters() error {
	for i, node := range im.voters {
		if _, known := im.Broker(node); !known || i > 0 && node <= im.voters[i-1] {
			return broken("voters %v", im.voters)
		}
	}
	return nil
}
