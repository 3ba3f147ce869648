package sim

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
)

// TestMain collects garbage less often: a run keeps little and throws much away.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}

// seeds is how many seeds the test plays: 2,000, unless the detector of races or -short is on.
func seeds() uint64 {
	switch {
	case raceEnabled:
		return 40
	case testing.Short():
		return 100
	}
	return 2000
}

// failure modes 12, 40, 41, 42 and 44: the package comment lists what counts as a violation.
func TestSeedsKeepEveryPromise(t *testing.T) {
	const shards = 4
	totals := make([]Counters, shards)
	t.Run("shards", func(t *testing.T) {
		for shard := range uint64(shards) {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for seed := shard; seed < seeds(); seed += shards {
					r := Run(seed, Options{})
					totals[shard].Add(r.Counters)
					if r.Violation != nil {
						t.Errorf("%v", r.Violation)
						return
					}
				}
			})
		}
	})
	var total Counters
	for _, c := range totals {
		total.Add(c)
	}
	t.Logf("crashes=%d partitions=%d acked=%d rare=%s", total.Crashes, total.Partitions, total.Acked, total)
	if seeds() < 2000 {
		return
	}
	for _, r := range total.Rare {
		if r.Count == 0 {
			t.Errorf("%s was reached in none of %d seeds", r.Name, seeds())
		}
	}
}

func TestSameSeedGivesTheSameTrace(t *testing.T) {
	for seed := range seeds()/50 + 5 {
		if a, b := Run(seed, Options{}), Run(seed, Options{}); a.Hash != b.Hash || a.Events != b.Events {
			t.Fatalf("seed %d: got trace %x of %d events, then %x of %d", seed, a.Hash, a.Events, b.Hash, b.Events)
		}
	}
	if a, b := Run(1, Options{}), Run(2, Options{}); a.Hash == b.Hash {
		t.Errorf("seeds 1 and 2 give the same trace")
	}
}

func TestCheckerCatchesEveryMutant(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("needs many seeds")
	}
	for _, mutant := range Mutants() {
		t.Run(mutant.String(), func(t *testing.T) {
			t.Parallel()
			seed, caught := Catch(t.Context(), mutant, 0, 2000)
			if !caught {
				t.Fatalf("missed within 2000 seeds")
			}
			t.Logf("caught at seed %d: %v", seed, Caught(seed, mutant))
		})
	}
}

func BenchmarkSeed(b *testing.B) {
	var events, seed uint64
	for b.Loop() {
		events += Run(seed, Options{}).Events
		seed++
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
