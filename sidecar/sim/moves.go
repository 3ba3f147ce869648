package sim

import (
	"slices"
	"strconv"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// moving reports whether the seed plays reassignments, drains and changes of the voters. It draws nothing,
// so that the other seeds stay what they are.
func (w *World) moving() bool { return w.mix.brokers && w.seed%2 == 1 && len(w.hosts) > 1 }

// factor is the replication factor of new topics: one that leaves somebody to move to.
func (w *World) factor() int {
	if w.moving() {
		return min(3, len(w.hosts)-1)
	}
	return min(3, len(w.hosts))
}

// move asks some broker for one of what moves replicas, brokers and voters.
func (w *World) move() {
	b := w.anyBroker()
	if b == nil || w.healing || !w.moving() {
		return
	}
	switch w.rng.IntN(10) {
	case 0:
		w.drain(b)
	case 1:
		w.vote(b)
	default:
		w.reassign(b)
	}
}

// reassign begins a reassignment, gives it another target, or takes it back.
func (w *World) reassign(b *broker) {
	at, ok := w.pick()
	if !ok {
		return
	}
	p, known := b.view.Image.Partition(at)
	if !known {
		return
	}
	r := topic.Reassignment{Partition: at, PartitionEpoch: p.PartitionEpoch}
	if !p.Moving() || w.rng.IntN(3) > 0 {
		for _, i := range w.rng.Perm(len(w.hosts))[:w.factor()] {
			r.Target = append(r.Target, w.hosts[i].id)
		}
	}
	b.propose(cluster.Reassign{Items: []topic.Reassignment{r}}, 4*leaderTimeout, false, func(result cluster.Result, err error) {
		switch {
		case err != nil || result.Items[0] == cluster.Stale:
		case result.Items[0] != cluster.OK:
			w.count.movesRefused++
		case r.Target == nil:
			w.count.cancels++
		default:
			w.count.reassigned++
		}
	})
}

// drain marks a broker as draining, or ends that.
func (w *World) drain(b *broker) {
	name := strconv.Itoa(1 + w.rng.IntN(len(w.hosts)))
	before := b.view.Image.Configs(topic.BrokerConfigs, name)
	change := topic.ConfigChange{Kind: topic.BrokerConfigs, Name: name, Epoch: before.Epoch}
	if len(before.Values) == 0 {
		change.Values = map[string]string{cluster.ConfigDraining: "true"}
	}
	b.propose(cluster.AlterConfigs{Changes: []topic.ConfigChange{change}}, 4*leaderTimeout, false, func(cluster.Result, error) {})
}

// votesMicros is longer than a change of the voters is on its way.
const votesMicros = 200 * tickMicros

// vote asks for other voters: three or five, so that one disk may be lost at any time, and none while one is.
func (w *World) vote(b *broker) {
	if len(w.hosts) < 4 || !w.votersSettled() {
		return
	}
	c := cluster.SetVoters{Before: b.view.Image.Voters()}
	size := 3
	if len(w.hosts) > 5 && w.rng.IntN(2) == 0 {
		size = 5
	}
	w.votedAt = w.now
	for _, i := range w.rng.Perm(len(w.hosts))[:size] {
		c.After = append(c.After, w.hosts[i].id)
	}
	slices.Sort(c.After)
	b.propose(c, 4*leaderTimeout, false, func(result cluster.Result, err error) {
		if err == nil && result.Status == cluster.OK {
			w.count.voted++
		}
	})
}

// shallVote are the nodes that vote in the end.
func (w *World) shallVote() []topic.NodeID {
	if im := w.check.image; im != nil && len(im.Voters()) > 0 {
		return im.Voters()
	}
	return w.voters
}

// votersSettled reports whether everybody knows the same voters, those that shall vote, on their present
// disks, and no change is on its way: an operator moves votes from one such state to the next.
func (w *World) votersSettled() bool {
	if w.votedAt > 0 && w.now < w.votedAt+votesMicros {
		return false
	}
	for _, other := range w.hosts {
		if !other.up() {
			return false
		}
		voters := other.quorum.Status().Membership.Voters
		if len(voters) != len(w.shallVote()) {
			return false
		}
		for _, m := range voters {
			if !slices.Contains(w.shallVote(), m.Node) || w.hosts[m.Node-1].disk.id != m.Disk {
				return false
			}
		}
	}
	return true
}

// settled reports whether every reassignment that can end has ended, and the partition's evicted hosts hold
// nothing of it any more.
func (w *World) settled(t *topic.Topic, at topic.Partition, p *topic.Placement) bool {
	if w.check.image.Finishable(t, p) {
		return false
	}
	for _, id := range p.Evicted {
		if h := w.hosts[id-1]; !h.lost && h.broker.store.Log(at) != nil {
			return false
		}
	}
	return true
}
