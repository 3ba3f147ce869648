package nemesis

import (
	"reflect"
	"testing"
	"time"
)

func testPlan(seed uint64, brokers int) Plan {
	return Plan{Seed: seed, Brokers: brokers, Length: 5 * time.Minute, SmallDisk: brokers}
}

func draw(p Plan, n int) []Period {
	s := NewSchedule(p)
	var all []Period
	for range n {
		all = append(all, s.Next())
	}
	return all
}

func TestSameSeedDrawsTheSameSchedule(t *testing.T) {
	for _, brokers := range []int{3, 4, 5} {
		first, again := draw(testPlan(7, brokers), 200), draw(testPlan(7, brokers), 200)
		if !reflect.DeepEqual(first, again) {
			t.Errorf("%d brokers: seed 7 drew two schedules", brokers)
		}
		if reflect.DeepEqual(first, draw(testPlan(8, brokers), 200)) {
			t.Errorf("%d brokers: seeds 7 and 8 drew the same schedule", brokers)
		}
	}
}

func TestAQuarterOfThePeriodsIsCalm(t *testing.T) {
	const periods = 4000
	calm, overlapping := 0, 0
	for _, p := range draw(testPlan(1, 3), periods) {
		if (p.Calm > 0) != (len(p.Faults) == 0) {
			t.Fatalf("got period %+v, want calm or faults", p)
		}
		if p.Calm > 0 {
			calm++
		}
		if len(p.Faults) > 1 {
			overlapping++
		}
	}
	if share := float64(calm) / periods; share < 0.22 || share > 0.28 {
		t.Errorf("%.3f of the periods are calm, want about 0.25", share)
	}
	if share := float64(overlapping) / periods; share < 0.05 || share > 0.2 {
		t.Errorf("in %.3f of the periods faults overlap, want some", share)
	}
}

func TestEveryKindComesOnceBeforeAnyComesTwice(t *testing.T) {
	s := NewSchedule(testPlan(3, 3))
	seen := map[Kind]int{}
	for len(seen) < len(Kinds) {
		for _, f := range s.Next().Faults {
			seen[f.Kind]++
		}
	}
	// a card that found no partner goes back into the deck, and two faults may straddle two decks
	for kind, n := range seen {
		if n > 2 {
			t.Errorf("%s came %d times before every kind had come", kind, n)
		}
	}
}

func TestFaultsCanBeHealedOneByOne(t *testing.T) {
	for seed := range uint64(20) {
		for _, brokers := range []int{3, 5} {
			for _, p := range draw(testPlan(seed, brokers), 300) {
				for _, f := range p.Faults {
					checkFault(t, f, brokers)
					if (f.Kind.Lossy() || f.Kind.mayEnd()) && !p.Settle {
						t.Errorf("%v: the next period does not wait until all is whole", f)
					}
				}
				if len(p.Faults) > 1 {
					checkPair(t, p)
				}
			}
		}
	}
}

func checkFault(t *testing.T, f Fault, brokers int) {
	t.Helper()
	if f.Hold < holdMin || f.Hold > 25*time.Second {
		t.Errorf("%v lasts %v of 5 minutes", f, f.Hold)
	}
	if f.Kind != KillAll && (f.Node < 1 || f.Node > brokers) {
		t.Errorf("%v hits broker %d of %d", f, f.Node, brokers)
	}
	if f.Kind == DiskFull && f.Node != brokers {
		t.Errorf("%v hits broker %d, whose disk is not the small one", f, f.Node)
	}
	if f.Kind == KillAll && len(f.Order) != brokers {
		t.Errorf("%v brings back %d of %d", f, len(f.Order), brokers)
	}
	if f.Kind.ofNetwork() != (len(f.Cuts) > 0) {
		t.Errorf("%v cuts %d directions", f, len(f.Cuts))
	}
}

func checkPair(t *testing.T, p Period) {
	t.Helper()
	a, b := p.Faults[0], p.Faults[1]
	processes := !a.Kind.ofNetwork() && !b.Kind.ofNetwork()
	if processes && (a.Node == b.Node || a.Kind == KillAll || b.Kind == KillAll) {
		t.Errorf("%v and %v overlap and hit the same process", a, b)
	}
	if a.Kind.Lossy() && b.Kind.Lossy() {
		t.Errorf("%v and %v overlap, and lose two directories", a, b)
	}
	if p.Overlap < 0 || p.Overlap >= a.Hold {
		t.Errorf("the second fault begins %v after the first, which lasts %v", p.Overlap, a.Hold)
	}
}

func TestShortRunsHaveShortFaults(t *testing.T) {
	p := testPlan(1, 3)
	p.Length = 30 * time.Second
	for _, period := range draw(p, 200) {
		for _, f := range period.Faults {
			if f.Hold > holdFloor {
				t.Errorf("%v lasts %v of 30 s", f, f.Hold)
			}
		}
	}
	p.Length = 10 * time.Hour
	longest := time.Duration(0)
	for _, period := range draw(p, 1000) {
		for _, f := range period.Faults {
			longest = max(longest, f.Hold)
		}
	}
	if longest > holdMax || longest < holdMax*9/10 {
		t.Errorf("in a run of hours the longest fault lasts %v, want nearly %v", longest, holdMax)
	}
}

func TestBudgetPermitsOneLostDirectoryOfThree(t *testing.T) {
	b := NewBudget(2)
	if !b.Permits(1) {
		t.Fatal("the first loss is not permitted")
	}
	b.Spend(1)
	if b.Permits(2) || !b.Permits(1) {
		t.Error("a second broker may lose its directory, or the first may not again")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("two directories were lost without a word")
			}
		}()
		b.Spend(2)
	}()
	b.Restored()
	if !b.Permits(2) {
		t.Error("nothing may be lost although all is whole again")
	}
}

func TestCutsAreWhatTheirNamesSay(t *testing.T) {
	for seed := range uint64(30) {
		for _, p := range draw(testPlan(seed, 5), 50) {
			for _, f := range p.Faults {
				cut := map[Cut]bool{}
				for _, c := range f.Cuts {
					cut[c] = true
				}
				switch f.Kind {
				case Isolate:
					for _, other := range brokersFrom1(5) {
						if other != f.Node && (!cut[Cut{f.Node, other}] || !cut[Cut{other, f.Node}]) {
							t.Errorf("%v leaves a way between %d and %d", f, f.Node, other)
						}
					}
				case OneWay:
					for c := range cut {
						if cut[Cut{c.To, c.From}] {
							t.Errorf("%v cuts both directions", f)
						}
					}
				case Partial:
					if !connected(cut, 5) {
						t.Errorf("%v leaves nobody whom all can reach over others", f)
					}
				}
			}
		}
	}
}

// connected reports whether every broker reaches every other, if only over others.
func connected(cut map[Cut]bool, brokers int) bool {
	reached := map[int]bool{1: true}
	for grown := true; grown; {
		grown = false
		for from := range reached {
			for _, to := range brokersFrom1(brokers) {
				if !reached[to] && !cut[Cut{from, to}] && !cut[Cut{to, from}] {
					reached[to], grown = true, true
				}
			}
		}
	}
	return len(reached) == brokers
}

func TestBrokersMayEndForTheirStorageOnly(t *testing.T) {
	const damaged = "open node WAL: write-ahead log is damaged: 1.wal at byte 4096"
	faults := func(kinds ...Kind) (all []Fault) {
		for _, kind := range kinds {
			all = append(all, Fault{Kind: kind, Node: 2})
		}
		return all
	}
	for _, c := range []struct {
		name   string
		node   int
		code   int
		words  string
		faults []Fault
		want   end
	}{
		{"a failed sync", 2, 5, "sync file 1: input/output error", faults(SyncError), endOfStorage},
		{"a disk without room, among others", 2, 5, "no space", faults(Partial, DiskFull), endOfStorage},
		{"the code of a panic", 2, 2, "it said nothing", faults(SyncError), endUnexcused},
		{"the disk of another", 1, 5, "input/output error", faults(SyncError), endUnexcused},
		{"a disk that nobody touched", 2, 5, "input/output error", faults(Kill), endUnexcused},
		{"damage of ours", 2, 1, damaged, faults(BitFlip), endOfDamage},
		{"damage that is not named", 2, 1, "open node WAL", faults(BitFlip), endUnexcused},
		{"damage that nobody did", 2, 1, damaged, faults(Kill), endUnexcused},
		{"no fault", 2, 0, "", nil, endUnexcused},
	} {
		if got := judgeEnd(c.node, c.code, c.words, c.faults); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
