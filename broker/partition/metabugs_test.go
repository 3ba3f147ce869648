package partition

import (
	"fmt"
	"runtime"
	"testing"
)

// storageBugs are what no test but the metamorphic one, and those of single functions, meets.
var storageBugs = []Mutant{CutsBehindDamage, ForgetsDamage, RepairsForgetProducers, ResetsKeepProducers,
	RemovesStayInMemory, ScansLoseTheLast, TombstonesIgnoreHorizons, SpillsIntoUsedSlots,
	StartsTrustTheCatalog, AbortedSupersede, TombstonesIgnoreReplicas, StartsForgetAborted, CompactsTheYoung,
	HeadsOutliveRuns}

// metaBugSeeds is in how many seeds of the metamorphic test a bug has to show. In which one it does, changes with whatever
// changes the order of steps: no more than 18 so far.
const metaBugSeeds = 100

// The metamorphic test finds bugs in repair, in moves, in what compactions wait for, and in the spill.
func TestBugsOfStorageAreFound(t *testing.T) {
	for _, bug := range storageBugs {
		t.Run(bug.String(), func(t *testing.T) {
			for seed := uint64(1); seed <= metaBugSeeds; seed++ {
				if said := failureOf(t, seed, bug); said != "" {
					t.Logf("seed %d: %s", seed, said)
					return
				}
			}
			t.Errorf("%d seeds with this bug pass", metaBugSeeds)
		})
	}
}

// failureOf runs a seed that is to fail, and returns what is said of it.
func failureOf(t *testing.T, seed uint64, bug Mutant) string {
	trial := &trial{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if broken := recover(); broken != nil { // An invariant.
				trial.said = fmt.Sprint(broken)
			}
		}()
		runTwins(trial, seed, bug, map[string]int{})
	}()
	<-done
	return trial.said
}

// trial is a test whose failure is what is wanted.
type trial struct {
	testing.TB
	said string
}

func (r *trial) Helper() {}

// Failed is false: nothing is told of how it came to that.
func (r *trial) Failed() bool { return false }

func (r *trial) Fatalf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *trial) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *trial) Errorf(format string, args ...any) { r.Fatalf(format, args...) }

func (r *trial) Error(args ...any) { r.Fatal(args...) }
