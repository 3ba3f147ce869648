package nemesis

import (
	"slices"
	"sync"
	"time"
)

// availability knows when each partition last acknowledged a record, and how long it did not.
// Times are since the start of the run. Its methods may be called concurrently.
type availability struct {
	mu struct {
		sync.Mutex
		partitions []gap
		any        gap
		acked      int
	}
}

// gap is the longest time between two acknowledgements.
type gap struct {
	last, longest time.Duration
	// at is when the longest began.
	at time.Duration
}

func (g *gap) acked(now time.Duration) {
	if silent := now - g.last; silent > g.longest {
		g.longest, g.at = silent, g.last
	}
	g.last = max(g.last, now)
}

func newAvailability(partitions int) *availability {
	a := &availability{}
	a.mu.partitions = make([]gap, partitions)
	return a
}

// begin starts the clock once every partition can be written.
func (a *availability) begin(now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.mu.partitions {
		a.mu.partitions[i] = gap{last: now}
	}
	a.mu.any = gap{last: now}
}

func (a *availability) acked(partition int32, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.partitions[partition].acked(now)
	a.mu.any.acked(now)
	a.mu.acked++
}

// end closes the gaps that are open.
func (a *availability) end(now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.mu.partitions {
		a.mu.partitions[i].acked(now)
	}
	a.mu.any.acked(now)
}

// silent are the partitions that acknowledged nothing since.
func (a *availability) silent(since time.Duration) []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []int
	for i, g := range a.mu.partitions {
		if g.last <= since {
			all = append(all, i)
		}
	}
	return all
}

func (a *availability) total() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.acked
}

// Unavailability is what the report says of it.
type Unavailability struct {
	// Cluster is the longest time in which no partition acknowledged anything.
	ClusterMillis int64 `json:"cluster_ms"`
	// Partitions are the longest times of each, Worst the one that suffered longest, and from when.
	PartitionMillis []int64 `json:"partition_ms"`
	Worst           int     `json:"worst_partition"`
	WorstMillis     int64   `json:"worst_ms"`
	WorstAtMillis   int64   `json:"worst_at_ms"`
}

func (a *availability) summary() Unavailability {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := Unavailability{ClusterMillis: a.mu.any.longest.Milliseconds()}
	for i, g := range a.mu.partitions {
		u.PartitionMillis = append(u.PartitionMillis, g.longest.Milliseconds())
		if ms := g.longest.Milliseconds(); ms >= u.WorstMillis {
			u.Worst, u.WorstMillis, u.WorstAtMillis = i, ms, g.at.Milliseconds()
		}
	}
	return u
}

// quantile of an unsorted list; zero of an empty one.
func quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
