package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"outrigger/sidecar/sim"
)

var lastLine = regexp.MustCompile(`(?m)^seeds=2 events=[0-9]+ crashes=[0-9]+ partitions=[0-9]+ acked=[0-9]+ violations=0 rare=\S+\n\z`)

func TestLastLineIsPlainIntegers(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), options{seeds: 2, first: 1}, &out); err != nil {
		t.Fatal(err)
	}
	if !lastLine.MatchString(out.String()) {
		t.Errorf("got %q, want a last line that matches %s", out.String(), lastLine)
	}
}

func TestViolationNamesTheSeedThatReproducesIt(t *testing.T) {
	totals := &totals{}
	totals.add(sim.Result{Seed: 9, Violation: &sim.Violation{Seed: 9, Text: "nine"}})
	totals.add(sim.Result{Seed: 7, Violation: &sim.Violation{Seed: 7, Text: "seven"}})
	var out bytes.Buffer
	err := totals.report(&out)
	if err == nil || !strings.Contains(err.Error(), "seed 7") {
		t.Errorf("got %v, want an error that names seed 7", err)
	}
	for _, want := range []string{"seven", "--seed 7 --trace", "violations=1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out.String(), want)
		}
	}
}

// A simulation that never reaches a state proves nothing about it.
func TestStateThatIsNeverReachedFailsALongRun(t *testing.T) {
	never := func(seeds uint64) error {
		totals := &totals{seeds: seeds}
		totals.counters.Add(sim.Counters{Rare: []sim.Rare{{Name: "often", Count: 5}, {Name: "never"}}})
		return totals.report(&bytes.Buffer{})
	}
	if err := never(rareSeeds); err == nil || !strings.Contains(err.Error(), "never") {
		t.Errorf("after %d seeds: got %v, want an error about the state", rareSeeds, err)
	}
	if err := never(rareSeeds - 1); err != nil {
		t.Errorf("before %d seeds: got %v, want none", rareSeeds, err)
	}
}

func TestMutantThatIsMissedFails(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), options{mutants: true, only: "acks-before-persist", first: 1, seeds: 50}, &out); err != nil {
		t.Errorf("a bug that shows at once: got %v and %q, want it caught", err, out.String())
	}
	out.Reset()
	if err := run(t.Context(), options{mutants: true, only: "learners-count", first: 1, seeds: 1}, &out); err == nil {
		t.Errorf("one seed for a rare bug: got no error and %q, want it missed", out.String())
	}
}
