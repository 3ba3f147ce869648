package nemesis

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// clientsNode is the end of a Cut that stands for all clients; brokers are 1 and up.
const clientsNode = 0

// Cut is one direction that carries nothing.
type Cut struct{ From, To int }

// both are the two directions between a and b.
func both(a, b int) []Cut { return []Cut{{a, b}, {b, a}} }

func brokersFrom1(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i + 1
	}
	return all
}

// drawCuts draws the directions that a network fault cuts.
func drawCuts(rng *rand.Rand, kind Kind, brokers, node int) []Cut {
	var cuts []Cut
	switch kind {
	case Isolate:
		for _, other := range brokersFrom1(brokers) {
			if other != node {
				cuts = append(cuts, both(node, other)...)
			}
		}
		// In half of them the clients are on the other side, too. In the other half they still reach a
		// leader that reaches nobody.
		if rng.IntN(2) == 0 {
			cuts = append(cuts, both(node, clientsNode)...)
		}
	case OneWay:
		deaf := rng.IntN(2) == 0
		for _, other := range brokersFrom1(brokers) {
			switch {
			case other == node:
			case deaf:
				cuts = append(cuts, Cut{other, node})
			default:
				cuts = append(cuts, Cut{node, other})
			}
		}
	case Partial:
		cuts = drawPartial(rng, brokers)
	}
	sortCuts(cuts)
	return cuts
}

// drawPartial cuts one pair, or from four brokers up divides all but one into halves that only that
// one reaches.
func drawPartial(rng *rand.Rand, brokers int) []Cut {
	order := rng.Perm(brokers)
	for i := range order {
		order[i]++
	}
	if brokers < 4 || rng.IntN(2) == 0 {
		return both(order[0], order[1])
	}
	var cuts []Cut
	rest := order[1:]
	for _, a := range rest[:len(rest)/2] {
		for _, b := range rest[len(rest)/2:] {
			cuts = append(cuts, both(a, b)...)
		}
	}
	return cuts
}

func sortCuts(cuts []Cut) {
	slices.SortFunc(cuts, func(a, b Cut) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
}

func describeCuts(cuts []Cut) string {
	name := func(node int) string {
		if node == clientsNode {
			return "clients"
		}
		return fmt.Sprint(node)
	}
	var all []string
	for _, c := range cuts {
		all = append(all, name(c.From)+">"+name(c.To))
	}
	return "[" + strings.Join(all, " ") + "]"
}
