package rebalance

import (
	"cmp"
	"slices"
)

// even moves single replicas from full brokers to empty ones, as long as that makes them more alike. Each
// move takes one replica off a broker that has too many and gives it to one that has too few, so there are
// no more moves than there are replicas too many.
func (p *planner) even() {
	for p.evenOnce() {
	}
}

// evenOnce makes the best move there is, from the fullest broker to the emptiest as far as racks and the
// other replicas allow. It reports whether there was one.
func (p *planner) evenOnce() bool {
	full := slices.Clone(p.order)
	slices.SortFunc(full, func(a, b int32) int { return cmp.Or(cmp.Compare(p.replicas[b], p.replicas[a]), cmp.Compare(a, b)) })
	for _, from := range full {
		for i := len(full) - 1; i >= 0 && p.replicas[from]-p.replicas[full[i]] > 1; i-- {
			if p.shift(from, full[i]) {
				return true
			}
		}
	}
	return false
}

// shift moves one replica, a follower if there is one, unless every partition would lose a rack by it.
func (p *planner) shift(from, to int32) bool {
	best, bestAt := -1, 0
	for i := range p.partitions {
		at := slices.Index(p.partitions[i].Replicas, from)
		if at < 0 || slices.Contains(p.partitions[i].Replicas, to) || p.racks(i, at, to) < p.racks(i, at, from) {
			continue
		}
		if best < 0 || bestAt == 0 && at > 0 {
			best, bestAt = i, at
		}
	}
	if best < 0 {
		return false
	}
	p.move(best, bestAt, to)
	return true
}

// evenLeaders evens out who is first, by changing the order of replicas alone. A surplus goes along a path:
// 1 gives a partition to 2, which gives another to 3.
func (p *planner) evenLeaders() {
	for {
		most := slices.Clone(p.order)
		slices.SortFunc(most, func(a, b int32) int {
			return cmp.Or(cmp.Compare(p.preferred[b], p.preferred[a]), cmp.Compare(a, b))
		})
		if !slices.ContainsFunc(most, func(from int32) bool { return p.passOn(from) }) {
			return
		}
	}
}

// passOn takes one preferred leadership from a broker to one that has at least two fewer, by the shortest
// path, if there is one.
func (p *planner) passOn(from int32) bool {
	type step struct {
		partition int
		by        int32
	}
	came := map[int32]step{from: {partition: -1}}
	for queue := []int32{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if p.preferred[from]-p.preferred[at] > 1 {
			for at != from {
				s := came[at]
				p.prefer(s.partition, at)
				at = s.by
			}
			return true
		}
		for i := range p.partitions {
			if p.partitions[i].Replicas[0] != at {
				continue
			}
			for _, next := range p.partitions[i].Replicas[1:] {
				if _, seen := came[next]; !seen && slices.Contains(p.order, next) {
					came[next] = step{i, at}
					queue = append(queue, next)
				}
			}
		}
	}
	return false
}

// prefer puts a replica first.
func (p *planner) prefer(i int, id int32) {
	replicas := p.partitions[i].Replicas
	at := slices.Index(replicas, id)
	p.preferred[replicas[0]]--
	p.preferred[id]++
	replicas[0], replicas[at] = replicas[at], replicas[0]
}
