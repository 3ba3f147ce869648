package lines

import (
	"fmt"
	"slices"
	"strings"

	"outrigger/cmd/peers/internal/system"
)

const (
	// levelRounds is how many of the last rounds are held against all before them.
	levelRounds = 3
	// levelRise is by how much the best of them may be ahead. It is the best, since a round that something
	// disturbed says nothing of what a system has become.
	levelRise = 0.05
	// warmRoundsMax bounds the rounds of a system that does not become level.
	warmRoundsMax = 30
)

// Warmed is what a load did to a system before the first pair.
type Warmed struct {
	Load string `json:"load"`
	// Rates are those of the rounds, in MB/s; 0 is a round that failed.
	Rates []float64 `json:"rates"`
	// Level: the last rounds were no faster than those before.
	Level bool `json:"level"`
}

// Warming is what a system got before the first pair.
type Warming struct {
	System  system.Name `json:"system"`
	Seconds float64     `json:"seconds"`
	Loads   []Warmed    `json:"loads"`
}

// String is the line of the output.
func (w Warming) String() string {
	var loads []string
	for _, l := range w.Loads {
		loads = append(loads, l.String())
	}
	if len(loads) == 0 || w.Seconds == 0 {
		return string(w.System) + " was not loaded before the first pair"
	}
	return fmt.Sprintf("%s was loaded for %.0f s before the first pair; %s", w.System, w.Seconds, strings.Join(loads, "; "))
}

// String tells the first round and the best one: how much warming has given.
func (w Warmed) String() string {
	worked := slices.DeleteFunc(slices.Clone(w.Rates), func(rate float64) bool { return rate == 0 })
	text := w.Load + ": "
	if !w.Level {
		text += "NOT "
	}
	text += fmt.Sprintf("level after %d rounds", len(w.Rates))
	if failed := len(w.Rates) - len(worked); failed > 0 {
		text += fmt.Sprintf(", of which %d failed", failed)
	}
	if len(worked) > 0 {
		text += fmt.Sprintf(" (%.3g to %.3g MB/s)", worked[0], slices.Max(worked))
	}
	return text
}

// take adds a round.
func (w *Warmed) take(rate float64) {
	w.Rates = append(w.Rates, rate)
	w.Level = isLevel(w.Rates)
}

// due reports whether another round may find more.
func (w *Warmed) due() bool { return !w.Level && len(w.Rates) < warmRoundsMax }

// isLevel reports whether rates, one per round, have ceased to rise.
func isLevel(rates []float64) bool {
	first := len(rates) - levelRounds
	if first < levelRounds {
		return false
	}
	before, last := slices.Max(rates[:first]), slices.Max(rates[first:])
	return last > 0 && last < before*(1+levelRise)
}
