package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// parsedReset is what a command line comes to.
func parsedReset(t *testing.T, line string) (*resetPlace, error) {
	t.Helper()
	p := &resetPlace{}
	flags := pflag.NewFlagSet("reset-offsets", pflag.ContinueOnError)
	p.register(flags)
	if err := flags.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	return p, p.choose(flags)
}

func TestResetWantsOnePlace(t *testing.T) {
	for line, fine := range map[string]bool{
		"--to-earliest": true, "--to-offset 0": true, "--shift-by -3": true, "--to-current": true,
		"--to-datetime 2026-11-28T12:00:00Z": true, "--to-datetime 2026-11-28T12:00:00.000": true, "--by-duration P1D": true,
		"--from-file f": true,
		"":              false, "--to-earliest --to-latest": false, "--to-offset 0 --shift-by 0": false,
		"--to-datetime yesterday": false, "--by-duration 1": false, "--to-current --from-file f": false,
	} {
		_, err := parsedReset(t, line)
		var usage *usageError
		if (err == nil) != fine || err != nil && !errors.As(err, &usage) {
			t.Errorf("%q: got %v, want it to be fine: %t", line, err, fine)
		}
	}
}

func TestResetWantsTopicsOrAFile(t *testing.T) {
	named, filed := []string{"t"}, resetPlace{file: "f"}
	for name, test := range map[string]struct {
		flags resetFlags
		fine  bool
	}{
		"all":                {resetFlags{all: true}, true},
		"one":                {resetFlags{topics: named}, true},
		"some partitions":    {resetFlags{topics: []string{"t:0,1"}}, true},
		"none":               {resetFlags{}, false},
		"both":               {resetFlags{all: true, topics: named}, false},
		"no partitions":      {resetFlags{topics: []string{"t:"}}, false},
		"a file":             {resetFlags{place: filed}, true},
		"a file and a topic": {resetFlags{place: filed, topics: named}, false},
		"a share group":      {resetFlags{all: true, kind: "share"}, true},
		"another kind":       {resetFlags{all: true, kind: "consumer"}, false},
		"do and do not":      {resetFlags{all: true, execute: true, dryRun: true}, false},
	} {
		err := test.flags.validate(false)
		var usage *usageError
		if (err == nil) != test.fine || err != nil && !errors.As(err, &usage) {
			t.Errorf("%s: got %v, want it to be fine: %t", name, err, test.fine)
		}
	}
	if err := (&resetFlags{all: true, export: true}).validate(true); err == nil {
		t.Error("a file in JSON: got no error")
	}
}

func TestResetStaysWithinThePartition(t *testing.T) {
	for name, test := range map[string]struct {
		line string
		from int64
		want int64
	}{
		"earliest":              {"--to-earliest", 50, 10},
		"latest":                {"--to-latest", 50, 90},
		"an offset":             {"--to-offset 30", 50, 30},
		"an offset before all":  {"--to-offset 3", 50, 10},
		"an offset beyond all":  {"--to-offset 300", 50, 90},
		"back":                  {"--shift-by -5", 50, 45},
		"back beyond the first": {"--shift-by -500", 50, 10},
		"on from nothing":       {"--shift-by 5", -1, 15},
		"on for ever":           {"--shift-by 9223372036854775807", 50, 90},
		"a time":                {"--to-datetime 2026-11-28T12:00:00Z", 50, 70},
		"long ago":              {"--by-duration P1D", 50, 70},
		"a file":                {"--from-file f", 50, 70},
		"where it is":           {"--to-current", 50, 50},
		"where it was":          {"--to-current", 3, 10},
		"where it never was":    {"--to-current", -1, 90},
	} {
		p, err := parsedReset(t, test.line)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.target(test.from, partitionBounds{first: 10, end: 90, said: 70}); got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}
