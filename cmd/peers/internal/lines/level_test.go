package lines

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"outrigger/cmd/peers/internal/system"
)

func TestRatesAreLevelOnceTheyCeaseToRise(t *testing.T) {
	for name, c := range map[string]struct {
		rates []float64
		want  bool
	}{
		"nothing":                     {nil, false},
		"too few to tell":             {[]float64{100, 100, 100, 100, 100}, false},
		"the same":                    {[]float64{100, 100, 100, 100, 100, 100}, true},
		"Kafka's climb":               {[]float64{54, 62, 70, 81, 93, 104}, false},
		"a slow climb":                {[]float64{100, 102, 104, 106, 108, 110}, false},
		"at its top":                  {[]float64{54, 80, 104, 180, 196, 201, 198, 189, 204}, true},
		"just there":                  {[]float64{54, 80, 104, 180, 196, 201}, false},
		"noise":                       {[]float64{101, 88, 112, 93, 115, 90}, true},
		"a dip in what still rises":   {[]float64{60, 70, 80, 40, 90, 100}, false},
		"a round that failed":         {[]float64{60, 70, 80, 0, 82, 81}, true},
		"all of the last have failed": {[]float64{60, 70, 80, 0, 0, 0}, false},
		"none that did not fail":      {[]float64{0, 0, 0, 0, 0, 0}, false},
	} {
		if got := isLevel(c.rates); got != c.want {
			t.Errorf("%s, %v: got level=%t, want %t", name, c.rates, got, c.want)
		}
	}
}

func TestWarmingEndsLevelOrAtItsBound(t *testing.T) {
	steady, rising := &Warmed{}, &Warmed{}
	for steady.due() {
		steady.take(100)
	}
	for rising.due() {
		rising.take(float64(1 + len(rising.Rates)*100))
	}
	if got := len(steady.Rates); !steady.Level || got != 2*levelRounds {
		t.Errorf("a steady one: got %d rounds, level=%t, want %d and level", got, steady.Level, 2*levelRounds)
	}
	if got := len(rising.Rates); rising.Level || got != warmRoundsMax {
		t.Errorf("one that always rises: got %d rounds, level=%t, want %d and not level", got, rising.Level, warmRoundsMax)
	}
}

// What a line runs in a JVM was run there before it is measured.
func TestEveryLineOfAWarmClusterHasALoadThatWarmsIt(t *testing.T) {
	for _, line := range append(slices.Clone(warmLines), Partitions, Sticky) {
		for _, name := range []string{line, keepingLine(line)} {
			chosen, err := Select([]string{name})
			if line == Sticky && name != line {
				continue // Nobody compares it with itself.
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := loadsFor(chosen); !slices.ContainsFunc(got, func(l warmLoad) bool { return slices.Contains(l.lines, line) }) {
				t.Errorf("%s: got %v, want a load that warms it", name, got)
			}
		}
	}
	for _, line := range []string{Tail, Cold} {
		if got := loadsFor([]string{line}); len(got) != 1 || got[0].args[0] != "consume" {
			t.Errorf("%s: got %v, want one that reads", line, got)
		}
	}
	if got := loadsFor([]string{WAL, Start, JetStream}); len(got) != 0 {
		t.Errorf("lines without a warm cluster: got %v, want nothing", got)
	}
}

// Rounds that fail do not end the run, a load that is level gets no more of them, and the time ends all.
func TestSystemIsWarmedUntilAllItsLoadsAreLevel(t *testing.T) {
	cfg := Config{Lines: []string{Throughput, Tail}, WarmJVM: time.Hour, Progress: io.Discard}
	r, rounds := New(cfg), map[string]int{}
	err := r.warmUntilLevel(t.Context(), system.Kafka, func(l warmLoad) (float64, error) {
		rounds[l.name]++
		switch n := rounds[l.name]; {
		case l.name == "fetch":
			return 500, nil
		case n == 1:
			return 0, errors.New("it timed out")
		default:
			return float64(100 * min(n, 8)), nil
		}
	})
	if want := map[string]int{"1 KiB": 11, "fetch": 6}; err != nil || !maps.Equal(rounds, want) {
		t.Errorf("got rounds %v %v, want %v", rounds, err, want)
	}
	if w := r.found.Warmings; len(w) != 1 || w[0].System != system.Kafka || !w[0].Loads[0].Level || w[0].Loads[0].Rates[0] != 0 {
		t.Errorf("got %+v, want one of Kafka whose loads are level", w)
	}

	cfg.WarmJVM = 0
	r = New(cfg)
	err = r.warmUntilLevel(t.Context(), system.Kafka, func(warmLoad) (float64, error) { return 0, errors.New("a round") })
	if got := r.found.Warmings[0]; err != nil || len(got.Loads[0].Rates) > 0 || got.Seconds != 0 {
		t.Errorf("without time: got %+v %v, want no round", got, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cfg.WarmJVM = time.Hour
	r, calls := New(cfg), 0
	err = r.warmUntilLevel(ctx, system.Kafka, func(warmLoad) (float64, error) { calls++; cancel(); return 0, ctx.Err() })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("interrupted: got %v after %d rounds, want the interruption after one", err, calls)
	}
}
