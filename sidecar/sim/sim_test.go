package sim

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
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
	return 800
}

// failure modes 8, 10 to 13, 18, 20 to 33, 35, 36, 39 to 42, 44 and 49: the package comment lists what
// counts as a violation. Ten thousand seeds and more, in which every rare state must come up, are a
// command.
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
	if total.Acked == 0 || total.Crashes == 0 || total.Partitions == 0 {
		t.Error("the seeds prove nothing: nobody crashed, or nothing was acknowledged")
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

// Most known bugs show within a few dozen seeds; `go run ./cmd/sim --mutants` looks for all of them.
func TestCheckerCatchesMutants(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("needs many seeds")
	}
	var missed atomic.Int64
	t.Run("mutants", func(t *testing.T) {
		for _, mutant := range Mutants() {
			t.Run(mutant.String(), func(t *testing.T) {
				t.Parallel()
				seed, caught := Catch(t.Context(), mutant, 1, 25)
				if !caught {
					missed.Add(1)
					return
				}
				t.Logf("seed %d: %s", seed, Caught(seed, mutant))
			})
		}
	})
	if all := len(Mutants()); all < 30 || int(missed.Load()) > all/3 {
		t.Errorf("%d of %d known bugs were missed within 25 seeds", missed.Load(), all)
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
