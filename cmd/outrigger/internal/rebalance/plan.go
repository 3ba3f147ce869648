// Package rebalance plans where replicas should be. It is pure: brokers and partitions as they are go in, a
// Plan comes out, which says for each partition that changes what its replicas shall be.
//
//	brokers, partitions ── Drain ───> replicas leave the draining brokers, nothing else moves
//	                    ── Balance ─> and then every partition on as many racks as a new one would be on,
//	                                  as many replicas everywhere as nearly as can be, by the fewest
//	                                  moves; and as many preferred leaders, by no move at all
//
// Racks may have been given to brokers, or brokers to racks, after a topic was made. A replica never goes where its partition has one, and no partition ends on fewer racks than it was on.
package rebalance

import (
	"cmp"
	"slices"
)

// Broker is a place for replicas.
type Broker struct {
	ID   int32
	Rack string
	// Draining brokers give up what they have and get nothing.
	Draining bool
	// Full brokers keep what they have and get nothing: such as those that are down.
	Full bool
}

// Partition is where the replicas of one are, the preferred leader first.
type Partition struct {
	Topic    string
	Index    int32
	Replicas []int32
}

// Move is what one partition shall be.
type Move struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	From      []int32 `json:"from"`
	To        []int32 `json:"to"`
}

// Added are the brokers on which replicas have to be filled.
func (m Move) Added() []int32 {
	var added []int32
	for _, id := range m.To {
		if !slices.Contains(m.From, id) {
			added = append(added, id)
		}
	}
	return added
}

// Copies is how many replicas have to be filled.
func (m Move) Copies() int { return len(m.Added()) }

// Plan is what shall change, in the order of the partitions that were given.
type Plan []Move

// Copies is how many replicas have to be filled in all.
func (p Plan) Copies() int {
	n := 0
	for _, m := range p {
		n += m.Copies()
	}
	return n
}

// planner holds the partitions as they would be.
type planner struct {
	brokers    map[int32]Broker
	order      []int32 // of those that take replicas, by id
	partitions []Partition
	replicas   map[int32]int
	preferred  map[int32]int
}

func newPlanner(brokers []Broker, partitions []Partition) *planner {
	p := &planner{brokers: map[int32]Broker{}, replicas: map[int32]int{}, preferred: map[int32]int{}}
	for _, b := range brokers {
		p.brokers[b.ID] = b
		if !b.Draining && !b.Full {
			p.order = append(p.order, b.ID)
		}
	}
	slices.Sort(p.order)
	for _, part := range partitions {
		part.Replicas = slices.Clone(part.Replicas)
		p.partitions = append(p.partitions, part)
		for i, id := range part.Replicas {
			p.replicas[id]++
			if i == 0 {
				p.preferred[id]++
			}
		}
	}
	return p
}

// Drain moves the replicas of draining and of unknown brokers elsewhere. What finds no other place stays,
// and is told by Stuck.
func Drain(brokers []Broker, partitions []Partition) Plan {
	p := newPlanner(brokers, partitions)
	p.drain()
	return p.plan(partitions)
}

// Balance drains, brings partitions onto more racks, and then evens out replicas and preferred leaders.
func Balance(brokers []Broker, partitions []Partition) Plan {
	p := newPlanner(brokers, partitions)
	p.drain()
	p.spread()
	p.even()
	p.evenLeaders()
	return p.plan(partitions)
}

// Stuck lists the partitions that a plan leaves on a broker that is draining or unknown: there are fewer
// others than replicas.
func (p Plan) Stuck(brokers []Broker, partitions []Partition) []Partition {
	after := newPlanner(brokers, p.applied(partitions))
	var stuck []Partition
	for _, part := range after.partitions {
		if slices.ContainsFunc(part.Replicas, func(id int32) bool { return !after.keeps(id) }) {
			stuck = append(stuck, part)
		}
	}
	return stuck
}

// applied are the partitions as a plan leaves them.
func (p Plan) applied(partitions []Partition) []Partition {
	after := slices.Clone(partitions)
	for i := range after {
		for _, m := range p {
			if m.Topic == after[i].Topic && m.Partition == after[i].Index {
				after[i].Replicas = m.To
			}
		}
	}
	return after
}

func (p *planner) plan(before []Partition) Plan {
	var plan Plan
	for i, part := range p.partitions {
		if !slices.Equal(part.Replicas, before[i].Replicas) {
			plan = append(plan, Move{Topic: part.Topic, Partition: part.Index, From: before[i].Replicas, To: part.Replicas})
		}
	}
	return plan
}

// keeps reports whether a replica may be on a broker.
func (p *planner) keeps(id int32) bool {
	b, known := p.brokers[id]
	return known && !b.Draining
}

// drain replaces every replica where none may be by the emptiest broker that keeps the racks apart.
func (p *planner) drain() {
	for i := range p.partitions {
		for at, id := range p.partitions[i].Replicas {
			if p.keeps(id) {
				continue
			}
			if to, found := p.best(i, at); found {
				p.move(i, at, to)
			}
		}
	}
}

// best is the broker for the replica of partition i at a place: the most racks first, then the fewest
// replicas, and where it would be the preferred leader the fewest of those.
func (p *planner) best(i, at int) (int32, bool) {
	part := &p.partitions[i]
	var candidates []int32
	for _, id := range p.order {
		if !slices.Contains(part.Replicas, id) {
			candidates = append(candidates, id)
		}
	}
	if len(candidates) == 0 {
		return 0, false
	}
	return slices.MinFunc(candidates, func(a, b int32) int {
		leads := 0
		if at == 0 {
			leads = cmp.Compare(p.preferred[a], p.preferred[b])
		}
		return cmp.Or(cmp.Compare(p.racks(i, at, b), p.racks(i, at, a)), cmp.Compare(p.replicas[a], p.replicas[b]),
			leads, cmp.Compare(a, b))
	}), true
}

// racks is on how many racks partition i would be with another broker at a place.
func (p *planner) racks(i, at int, id int32) int {
	racks := map[string]bool{}
	for j, other := range p.partitions[i].Replicas {
		if j == at {
			other = id
		}
		racks[p.brokers[other].Rack] = true
	}
	return len(racks)
}

func (p *planner) move(i, at int, to int32) {
	from := p.partitions[i].Replicas[at]
	p.replicas[from]--
	p.replicas[to]++
	if at == 0 {
		p.preferred[from]--
		p.preferred[to]++
	}
	p.partitions[i].Replicas[at] = to
}
