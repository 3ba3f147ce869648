package rebalance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// world draws a cluster: brokers in racks or in none, some draining, and partitions of one factor.
func world(r *rand.Rand) ([]Broker, []Partition) {
	racks := r.IntN(4)
	var brokers []Broker
	for id := range int32(1 + r.IntN(8)) {
		b := Broker{ID: id + 1, Draining: r.IntN(5) == 0, Full: r.IntN(6) == 0}
		if racks > 0 {
			b.Rack = fmt.Sprint(r.IntN(racks))
		}
		brokers = append(brokers, b)
	}
	factor := 1 + r.IntN(min(3, len(brokers)))
	skew := 1 + r.IntN(len(brokers)-factor+1)
	var partitions []Partition
	for i := range int32(r.IntN(40)) {
		p := Partition{Topic: "t", Index: i}
		for _, at := range r.Perm(min(len(brokers), factor+skew-1))[:factor] {
			p.Replicas = append(p.Replicas, brokers[at].ID)
		}
		partitions = append(partitions, p)
	}
	return brokers, partitions
}

// check plays many worlds.
func check(t *testing.T, play func(t *testing.T, r *rand.Rand)) {
	for seed := range uint64(2000) {
		if play(t, rand.New(rand.NewPCG(seed, 9))); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func rackCount(brokers []Broker, replicas []int32) int {
	racks := map[string]bool{}
	for _, b := range brokers {
		if slices.Contains(replicas, b.ID) {
			racks[b.Rack] = true
		}
	}
	return len(racks)
}

// spread is the difference between the fullest and the emptiest broker that takes replicas.
func spread(brokers []Broker, partitions []Partition, counted func(Partition) []int32) int {
	counts := map[int32]int{}
	for _, p := range partitions {
		for _, id := range counted(p) {
			counts[id]++
		}
	}
	least, most := 1<<30, 0
	for _, b := range brokers {
		if !b.Draining {
			least, most = min(least, counts[b.ID]), max(most, counts[b.ID])
		}
	}
	return most - least
}

// Both plans keep the factor, put no two replicas in one place, and leave nothing on a draining broker that
// finds another place; a balance never ends on fewer racks, and drains nothing but what has to go.
func TestPlansKeepWhatMustBeKept(t *testing.T) {
	check(t, func(t *testing.T, r *rand.Rand) {
		brokers, partitions := world(r)
		for _, plan := range []Plan{Drain(brokers, partitions), Balance(brokers, partitions)} {
			after := plan.applied(partitions)
			takers := 0
			for _, b := range brokers {
				if !b.Draining && !b.Full {
					takers++
				}
			}
			for i, p := range after {
				if len(p.Replicas) != len(partitions[i].Replicas) || len(slices.Compact(slices.Sorted(slices.Values(p.Replicas)))) != len(p.Replicas) {
					t.Errorf("%v became %v", partitions[i].Replicas, p.Replicas)
				}
				for _, id := range p.Replicas {
					if b := brokers[id-1]; (b.Full || b.Draining) && !slices.Contains(partitions[i].Replicas, id) {
						t.Fatalf("%v became %v, which brings a replica to broker %d: %+v", partitions[i].Replicas, p.Replicas, id, b)
					}
				}
				stays := slices.ContainsFunc(partitions[i].Replicas, func(id int32) bool { return brokers[id-1].Draining })
				if !stays && rackCount(brokers, p.Replicas) < rackCount(brokers, partitions[i].Replicas) {
					t.Fatalf("%v on fewer racks than %v", p.Replicas, partitions[i].Replicas)
				}
			}
			if stuck := plan.Stuck(brokers, partitions); len(stuck) > 0 && len(partitions[0].Replicas) <= takers {
				t.Fatalf("%v is left on draining brokers although there is room", stuck)
			}
		}
		for _, m := range Drain(brokers, partitions) {
			for i, id := range m.From {
				if !brokers[id-1].Draining && m.To[i] != id {
					t.Fatalf("draining moves %v to %v", m.From, m.To)
				}
			}
		}
	})
}

// Without racks, a balance ends with every broker within one replica and one preferred leader of every other
// (where no broker would need two replicas of a partition), after as few copies as there are replicas too
// many or too few.
func TestBalanceIsEvenAndMovesTheLeast(t *testing.T) {
	check(t, func(t *testing.T, r *rand.Rand) {
		brokers, partitions := world(r)
		for i := range brokers {
			brokers[i].Rack, brokers[i].Draining, brokers[i].Full = "", false, false
		}
		plan := Balance(brokers, partitions)
		after := plan.applied(partitions)
		all := func(p Partition) []int32 { return p.Replicas }
		if got := spread(brokers, after, all); got > 1 {
			t.Fatalf("replicas differ by %d: %v", got, after)
		}
		first := func(p Partition) []int32 { return p.Replicas[:1] }
		if got := spread(brokers, after, first); got > 1 {
			t.Fatalf("preferred leaders differ by %d: %v", got, after)
		}
		counts, total := map[int32]int{}, 0
		for _, p := range partitions {
			for _, id := range p.Replicas {
				counts[id]++
				total++
			}
		}
		over, under := 0, 0
		for _, b := range brokers {
			floor := total / len(brokers)
			ceiling := (total + len(brokers) - 1) / len(brokers)
			over, under = over+max(0, counts[b.ID]-ceiling), under+max(0, floor-counts[b.ID])
		}
		if want := max(over, under); plan.Copies() != want {
			t.Fatalf("%d copies, want %d: %v", plan.Copies(), want, plan)
		}
		if again := Balance(brokers, after); len(again) > 0 {
			t.Fatalf("a balanced cluster is balanced again: %v", again)
		}
	})
}

// A fourth broker beside three full ones gets its share, and leads its share.
func TestNewBrokerGetsItsShare(t *testing.T) {
	brokers := []Broker{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}}
	var partitions []Partition
	for i := range int32(8) {
		r := [][]int32{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}}[i%3]
		partitions = append(partitions, Partition{Topic: "t", Index: i, Replicas: r})
	}
	plan := Balance(brokers, partitions)
	if plan.Copies() != 6 {
		t.Errorf("got %d copies, want 6: %v", plan.Copies(), plan)
	}
	after := plan.applied(partitions)
	if got := spread(brokers, after, func(p Partition) []int32 { return p.Replicas[:1] }); got != 0 {
		t.Errorf("preferred leaders differ by %d: %v", got, after)
	}
}

func TestFewerBrokersThanReplicasAreTold(t *testing.T) {
	brokers := []Broker{{ID: 1}, {ID: 2}, {ID: 3, Draining: true}}
	partitions := []Partition{{Topic: "t", Replicas: []int32{1, 2, 3}}}
	if plan := Drain(brokers, partitions); len(plan) != 0 || len(plan.Stuck(brokers, partitions)) != 1 {
		t.Errorf("got %v, stuck %v; want no plan and one partition that is stuck", plan, plan.Stuck(brokers, partitions))
	}
}

// Partitions that were made before brokers had racks, or before there were brokers on others, end on as many racks as a
// new one would be on. That alone takes one copy for each rack that a partition lacks, and a balance undoes none of it.
func TestBalanceBringsPartitionsOntoMoreRacks(t *testing.T) {
	check(t, func(t *testing.T, r *rand.Rand) {
		brokers, partitions := world(r)
		var all []int32
		for i := range brokers {
			brokers[i].Draining, brokers[i].Full = false, false
			all = append(all, brokers[i].ID)
		}
		reachable := func(p Partition) int { return min(len(p.Replicas), rackCount(brokers, all)) }
		lacking := 0
		for _, p := range partitions {
			lacking += reachable(p) - rackCount(brokers, p.Replicas)
		}
		planned := newPlanner(brokers, partitions)
		planned.spread()
		if got := planned.plan(partitions).Copies(); got != lacking {
			t.Fatalf("%d copies, want %d", got, lacking)
		}
		after := Balance(brokers, partitions).applied(partitions)
		for i, p := range after {
			if got, want := rackCount(brokers, p.Replicas), reachable(p); got != want {
				t.Fatalf("%v became %v, on %d racks, want %d", partitions[i].Replicas, p.Replicas, got, want)
			}
		}
		if again := Balance(brokers, after); len(again) > 0 {
			t.Fatalf("a balanced cluster is balanced again: %v", again)
		}
	})
}

// A follower goes, not the preferred leader; to the emptiest broker of the other rack; and nobody goes to one that is
// down, nor leaves one.
func TestOneReplicaLeavesTheRackThatAllAreIn(t *testing.T) {
	brokers := []Broker{{ID: 1, Rack: "a"}, {ID: 2, Rack: "a"}, {ID: 3, Rack: "b"}, {ID: 4, Rack: "b"}, {ID: 5, Rack: "c", Full: true}}
	partitions := []Partition{{Topic: "t", Replicas: []int32{1, 2}}, {Topic: "t", Index: 1, Replicas: []int32{3, 5}}}
	plan := Balance(brokers, partitions)
	if len(plan) != 1 || plan[0].Partition != 0 || !slices.Equal(plan[0].To, []int32{1, 4}) {
		t.Errorf("got %+v, want partition 0 on brokers 1 and 4", plan)
	}
	brokers[1].Full, brokers[0].Full = true, true
	if plan := Balance(brokers, partitions); len(plan) != 0 {
		t.Errorf("brokers 1 and 2 are down: got %+v, want nothing to move", plan)
	}
}
