package bench

import (
	"sync"
	"time"
)

// silence notes how long nothing was acknowledged: per partition, and in all of them together.
type silence struct {
	from time.Duration
	mu   struct {
		sync.Mutex
		all        gap
		partitions []gap
		// killed is when the broker died; 0 before. recovered is when a partition first acknowledged a
		// record that was sent after that.
		killed    time.Duration
		recovered []time.Duration
	}
}

// gap is the longest time between two acknowledgements.
type gap struct{ last, longest, from time.Duration }

func (g *gap) add(now time.Duration) {
	if now-g.last > g.longest {
		g.longest, g.from = now-g.last, g.last
	}
	g.last = max(g.last, now)
}

// newSilence begins to count at from.
func newSilence(partitions int, from time.Duration) *silence {
	s := &silence{from: from}
	s.mu.all.last = from
	s.mu.partitions = make([]gap, partitions)
	for i := range s.mu.partitions {
		s.mu.partitions[i].last = from
	}
	s.mu.recovered = make([]time.Duration, partitions)
	return s
}

// acked notes an acknowledgement of a record that was handed to the client at sent.
func (s *silence) acked(partition int32, sent, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now < s.from {
		return
	}
	s.mu.all.add(now)
	s.mu.partitions[partition].add(now)
	if s.mu.killed > 0 && sent >= s.mu.killed && s.mu.recovered[partition] == 0 {
		s.mu.recovered[partition] = now
	}
}

// kill notes the moment at which a broker dies.
func (s *silence) kill(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.killed = now
}

// Gaps are what failover is about.
type Gaps struct {
	KilledNode      int32   `json:"killed_node"`
	KilledAtSeconds float64 `json:"killed_at_seconds"`
	// LedPartitions is how many partitions the killed broker led.
	LedPartitions int `json:"led_partitions"`
	// AnyMillis is the longest time in which no partition acknowledged anything; WorstMillis that of
	// the partition that was silent longest.
	AnyMillis       float64   `json:"any_ms"`
	WorstMillis     float64   `json:"worst_ms"`
	Worst           int       `json:"worst_partition"`
	PartitionMillis []float64 `json:"partition_ms"`
	// RecoveredMillis is from the kill until every partition had acknowledged a record that was sent
	// after it; negative if one never did.
	RecoveredMillis float64 `json:"recovered_ms"`
}

// gaps ends the count at end: who is silent then has been silent until then.
func (s *silence) gaps(end time.Duration) Gaps {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := func(d time.Duration) float64 { return float64(d.Microseconds()) / microsPerMilli }
	s.mu.all.add(max(end, s.mu.all.last))
	g := Gaps{KilledAtSeconds: s.mu.killed.Seconds(), AnyMillis: in(s.mu.all.longest)}
	for i := range s.mu.partitions {
		p := &s.mu.partitions[i]
		p.add(max(end, p.last))
		g.PartitionMillis = append(g.PartitionMillis, in(p.longest))
		if in(p.longest) > g.WorstMillis {
			g.WorstMillis, g.Worst = in(p.longest), i
		}
		switch at := s.mu.recovered[i]; {
		case at == 0:
			g.RecoveredMillis = -1
		case g.RecoveredMillis >= 0:
			g.RecoveredMillis = max(g.RecoveredMillis, in(at-s.mu.killed))
		}
	}
	return g
}
