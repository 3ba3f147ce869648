package rebalance

import (
	"cmp"
	"slices"
)

// spread moves replicas to racks on which their partition has none, as long as it has two on one rack. Each move
// brings one rack more, so there are no more moves than racks that a partition lacks.
func (p *planner) spread() {
	for i := range p.partitions {
		for p.spreadOnce(i) {
		}
	}
}

// swap is a replica's place in its partition, and the broker that might have it.
type swap struct {
	at int
	to int32
}

// spreadOnce takes one replica of partition i to another rack, if that leaves it on more of them: a follower if there
// is one, from the fullest broker to the emptiest. It reports whether it did.
func (p *planner) spreadOnce(i int) bool {
	replicas := p.partitions[i].Replicas
	var better []swap
	for at, from := range replicas {
		if !slices.Contains(p.order, from) {
			continue // it is down and keeps what it has, or drains and found no other place
		}
		for _, to := range p.order {
			if !slices.Contains(replicas, to) && p.racks(i, at, to) > p.racks(i, at, from) {
				better = append(better, swap{at, to})
			}
		}
	}
	if len(better) == 0 {
		return false
	}
	best := slices.MinFunc(better, func(a, b swap) int {
		return cmp.Or(cmp.Compare(min(b.at, 1), min(a.at, 1)), cmp.Compare(p.replicas[a.to], p.replicas[b.to]),
			cmp.Compare(p.replicas[replicas[b.at]], p.replicas[replicas[a.at]]), cmp.Compare(a.to, b.to), cmp.Compare(a.at, b.at))
	})
	p.move(i, best.at, best.to)
	return true
}
