package main

import (
	"errors"
	"testing"
)

func TestResetWantsOnePlaceAndTopics(t *testing.T) {
	for name, test := range map[string]struct {
		flags resetFlags
		fine  bool
	}{
		"earliest of all":      {resetFlags{earliest: true, all: true}, true},
		"offset 0 of one":      {resetFlags{offsetSet: true, topics: []string{"t"}}, true},
		"no place":             {resetFlags{all: true}, false},
		"two places":           {resetFlags{earliest: true, latest: true, all: true}, false},
		"no topics":            {resetFlags{latest: true}, false},
		"topics twice":         {resetFlags{latest: true, all: true, topics: []string{"t"}}, false},
		"a time":               {resetFlags{datetime: "2026-11-28T12:00:00Z", all: true}, true},
		"a time without zone":  {resetFlags{datetime: "2026-11-28T12:00:00", all: true}, false},
		"a shift by something": {resetFlags{shifted: true, shift: -3, all: true}, true},
	} {
		err := test.flags.validate()
		var usage *usageError
		if (err == nil) != test.fine || err != nil && !errors.As(err, &usage) {
			t.Errorf("%s: got %v, want it to be fine: %t", name, err, test.fine)
		}
	}
}

func TestResetStaysWithinThePartition(t *testing.T) {
	for name, test := range map[string]struct {
		flags resetFlags
		from  int64
		want  int64
	}{
		"earliest":              {resetFlags{earliest: true}, 50, 10},
		"latest":                {resetFlags{latest: true}, 50, 90},
		"an offset":             {resetFlags{offsetSet: true, offset: 30}, 50, 30},
		"an offset before all":  {resetFlags{offsetSet: true, offset: 3}, 50, 10},
		"an offset beyond all":  {resetFlags{offsetSet: true, offset: 300}, 50, 90},
		"back":                  {resetFlags{shifted: true, shift: -5}, 50, 45},
		"back beyond the first": {resetFlags{shifted: true, shift: -500}, 50, 10},
		"on from nothing":       {resetFlags{shifted: true, shift: 5}, -1, 15},
		"a time":                {resetFlags{datetime: "x"}, 50, 70},
	} {
		bounds := partitionBounds{first: 10, end: 90, dated: 70}
		if got := test.flags.target(test.from, bounds); got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}
