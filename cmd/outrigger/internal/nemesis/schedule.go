package nemesis

import (
	"math/rand/v2"
	"time"
)

// Plan is what a schedule is drawn from.
type Plan struct {
	Seed    uint64
	Brokers int
	// Length of the time with faults; it scales how long a fault lasts.
	Length time.Duration
	// SmallDisk is the broker whose directory is on a file system of its own, the one that can be full.
	SmallDisk int
	// Kinds to draw from; empty means all.
	Kinds []Kind
}

// Period is one stretch of the schedule: calm, one fault, or two that overlap.
type Period struct {
	// Calm is how long nothing happens, for a calm period.
	Calm   time.Duration
	Faults []Fault
	// Overlap is how long after the first fault the second one begins.
	Overlap time.Duration
	// Settle: wait until every in-sync set is full before the next period, not only until writes
	// resume.
	Settle bool
}

// The odds, in percent.
const (
	calmOdds    = 25
	overlapOdds = 20
	settleOdds  = 50
)

// A fault lasts from holdMin to a twelfth of the run, at most a minute.
const (
	holdMin   = time.Second
	holdMax   = time.Minute
	holdFloor = 4 * time.Second
	holdShare = 12
	delayMin  = 5 * time.Millisecond
	delayMax  = 2 * time.Second
	roomMax   = 48 << 20
	flipsMax  = 3
	drawsMax  = 100
)

// Schedule draws periods for ever. The same plan draws the same ones.
type Schedule struct {
	plan Plan
	rng  *rand.Rand
	// deck holds the kinds that are still to be dealt: each once before any comes twice, so that a
	// short run, too, sees all of them.
	deck []Kind
}

// NewSchedule begins at the first period.
func NewSchedule(p Plan) *Schedule {
	if len(p.Kinds) == 0 {
		p.Kinds = Kinds
	}
	return &Schedule{plan: p, rng: rand.New(rand.NewPCG(p.Seed, p.Seed^0x9e3779b97f4a7c15))}
}

// Next draws the next period.
func (s *Schedule) Next() Period {
	if s.percent(calmOdds) {
		return Period{Calm: s.hold() / 2, Settle: s.percent(settleOdds)}
	}
	first := s.draw(s.deal())
	p := Period{Faults: []Fault{first}, Settle: s.percent(settleOdds)}
	if s.percent(overlapOdds) {
		if second, ok := s.beside(first); ok {
			p.Faults = append(p.Faults, second)
			p.Overlap = time.Duration(s.rng.Int64N(int64(first.Hold)))
		}
	}
	for _, f := range p.Faults {
		p.Settle = p.Settle || f.Kind.Lossy() || f.Kind.mayEnd()
	}
	return p
}

// beside draws a fault that may overlap with the first, if one is found. The card that was dealt for
// it goes back if not.
func (s *Schedule) beside(first Fault) (Fault, bool) {
	kind := s.deal()
	for range drawsMax {
		if second := s.draw(kind); compatible(first, second) {
			return second, true
		}
	}
	s.deck = append(s.deck, kind)
	return Fault{}, false
}

// compatible reports whether two faults can be told apart and healed one by one: they hit two
// processes, or one hits the network only. Two lossy ones never overlap.
func compatible(a, b Fault) bool {
	switch {
	case a.Kind == KillAll || b.Kind == KillAll:
		return a.Kind.ofNetwork() || b.Kind.ofNetwork()
	case a.Kind.Lossy() && b.Kind.Lossy():
		return false
	case a.Kind.ofNetwork() || b.Kind.ofNetwork():
		return true
	}
	return a.Node != b.Node
}

// deal takes a card.
func (s *Schedule) deal() Kind {
	if len(s.deck) == 0 {
		s.deck = append(s.deck, s.plan.Kinds...)
		s.rng.Shuffle(len(s.deck), func(i, j int) { s.deck[i], s.deck[j] = s.deck[j], s.deck[i] })
	}
	kind := s.deck[len(s.deck)-1]
	s.deck = s.deck[:len(s.deck)-1]
	return kind
}

// draw fills in what a kind needs.
func (s *Schedule) draw(kind Kind) Fault {
	f := Fault{Kind: kind, Node: 1 + s.rng.IntN(s.plan.Brokers), Hold: s.hold()}
	switch kind {
	case KillAll:
		f.Node = 0
		for _, i := range s.rng.Perm(s.plan.Brokers) {
			f.Order = append(f.Order, i+1)
		}
		f.Delay = time.Duration(s.rng.Int64N(int64(delayMax))).Round(time.Millisecond)
	case Isolate, OneWay, Partial:
		f.Cuts = drawCuts(s.rng, kind, s.plan.Brokers, f.Node)
	case DiskFull:
		f.Node = s.plan.SmallDisk
		// A third leave nothing at all.
		f.RoomBytes = max(0, s.rng.Int64N(roomMax*3/2)-roomMax/2)
		f.Restart = s.rng.IntN(2) == 0
	case SyncDelay:
		f.Delay = delayMin << s.rng.IntN(10)
		f.Delay = min(f.Delay, delayMax)
	case BitFlip:
		for range 1 + s.rng.IntN(flipsMax) {
			f.Flips = append(f.Flips, Flip{At: s.rng.Float64(), Bit: s.rng.IntN(8)})
		}
	}
	return f
}

func (s *Schedule) hold() time.Duration {
	most := min(max(s.plan.Length/holdShare, holdFloor), holdMax)
	return (holdMin + time.Duration(s.rng.Int64N(int64(most-holdMin)))).Round(time.Millisecond)
}

func (s *Schedule) percent(odds int) bool { return s.rng.IntN(100) < odds }
