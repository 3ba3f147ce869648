package partition

import (
	"maps"
	"slices"

	"outrigger/broker/wal"
)

// A drain makes a pack of each file of the WAL, however little of it is needed: a few KiB, where files are sealed early
// for a log that is compacted (roll.go). So neighbours in the order of packs are merged into one, which takes the place
// of all of them as a pack that is written anew does of one (repack.go), in the same share of the time:
//
//	packs    7: 9 MiB | 8: 4 KiB | 9: 4 KiB | 10: 4 KiB | 11: 4 KiB | 12: 60 MiB
//	become   7: 9 MiB |                                 11': 16 KiB | 12: 60 MiB
//
// They are merged up to a quarter of a file, once they come to four times what the largest of them does: so a byte is
// copied no more often than its pack becomes four times as large. That leaves few, but some orders of sizes many. So once
// too many neighbours are left that would fit into one, those are merged that come to most times the largest of them, if it
// is one and a half at least; and once there are very many, the smallest two, whatever their sizes: there are no more packs
// than two for each quarter of a file that is needed, and some hundred.
const (
	// mergeShare: packs are merged up to one in so many of the bytes of a file of the WAL.
	mergeShare = 4
	// mergeGain is how many times the largest of its packs a merged one is.
	mergeGain = 4
	// mergeSlack is how many neighbours may be left that would fit into one, before a merged one need only be mergeLeast
	// times the largest of its packs; mergeMany before that does not matter.
	mergeSlack = 32
	mergeLeast = 1.5
	mergeMany  = 256
	// mergeMost bounds how many are merged at once, and with them the edit of the catalog.
	mergeMost = 64
)

// neighbour is a pack as a merge sees it.
type neighbour struct {
	number uint64
	// needed is how many bytes of it are. stays: it must not be merged. leads: it may be the last of those that are,
	// whose number follows on its own. apart: nothing may be merged across what lies before it.
	needed              int64
	stays, leads, apart bool
}

// mergeable finds the packs to merge next, which are packs[from:until]; none if until is zero.
func mergeable(packs []neighbour, most int64) (from, until int) {
	crowd, left := int64(0), 0
	// best are those that grow most for what is copied of them, tight the smallest two.
	var best, tight choice
	for i := range packs {
		sum, largest := int64(0), int64(0)
		for j := i; j < min(len(packs), i+mergeMost); j++ {
			p := packs[j]
			if sum += p.needed; p.stays || j > i && p.apart || sum > most {
				break
			}
			largest = max(largest, p.needed)
			if j == i || !p.leads {
				continue
			}
			if j == i+1 {
				left++
				tight = tight.or(choice{from: i, until: j + 1, bytes: sum, gain: -float64(sum)})
			}
			best = best.or(choice{from: i, until: j + 1, bytes: sum, gain: float64(sum) / float64(largest)})
			if n := j + 1 - i; sum >= mergeGain*largest && (n > until-from || n == until-from && sum < crowd) {
				from, until, crowd = i, j+1, sum
			}
		}
	}
	switch {
	case until > 0 || left <= mergeSlack:
		return from, until
	case best.gain >= mergeLeast:
		return best.from, best.until
	case left > mergeMany:
		return tight.from, tight.until
	}
	return 0, 0
}

// choice is a run of packs that could be merged; none if until is zero.
type choice struct {
	from, until int
	bytes       int64
	gain        float64
}

// or is the one that gains more, and the smaller one of equals.
func (c choice) or(other choice) choice {
	if c.until == 0 || other.gain > c.gain || other.gain == c.gain && other.bytes < c.bytes {
		return other
	}
	return c
}

// neighbours lists the packs, of which so many bytes are needed, in their order.
func (d *drainer) neighbours(used map[uint64]int64) (all []neighbour) {
	last := uint64(0)
	for _, number := range slices.Sorted(maps.Keys(d.packs)) {
		_, leads := d.successor(number)
		all = append(all, neighbour{number: number, needed: used[number], leads: leads,
			stays: used[number] == 0 || wal.Adopted(number) || d.holds(number),
			// What a compaction is about to write there may belong between those.
			apart: d.compaction != nil && d.compaction.writes(last, number+1)})
		last = number
	}
	return all
}

// merges lists the packs to merge now, and as which number. again: there are some, now or later. Where space is scarce
// it has no hurry.
func (d *drainer) merges(used map[uint64]int64) (numbers []uint64, next uint64, again bool) {
	all := d.neighbours(used)
	from, until := mergeable(all, d.store.walLog.FileBytes()/mergeShare)
	if until == 0 {
		return nil, 0, false
	}
	bytes := int64(0)
	for _, p := range all[from:until] {
		numbers = append(numbers, p.number)
		bytes += p.needed
	}
	if free, _ := d.store.walLog.Free(); d.store.demand() == busy || d.store.scarce() || bytes > free {
		return nil, 0, true
	}
	next, _ = d.successor(numbers[len(numbers)-1])
	return numbers, next, true
}
