package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"outrigger/cmd/peers/internal/fetch"
	"outrigger/cmd/peers/internal/lines"
	"outrigger/cmd/peers/internal/score"
)

func TestFlagsAreRefusedBeforeAnythingIsFetched(t *testing.T) {
	for _, args := range [][]string{{"--lines", "rocket"}, {"--pairs", "0"}, {"--seconds", "0"}, {"--idle", "1ms"}, {"--warm-jvm", "-1s"}, {"--keeping-mb", "1"}, {"--what"}} {
		command := newCommand()
		command.SetArgs(append(args, "--cache", "/dev/null/none")) // nothing can be kept there
		if err := command.ExecuteContext(t.Context()); !errors.Is(err, errRefused) {
			t.Errorf("%v: got %v, want %v", args, err, errRefused)
		}
	}
}

// A sample that failed stands in the output, and the settings of each system, too.
func TestReportTellsSettingsAndFailures(t *testing.T) {
	r := report{Findings: lines.Findings{Version: "1.2.3", Pairs: []score.Values{{"outrigger/small.mbps": 3, "kafka/small.mbps": 1}},
		Failures: []string{"pair 1, cold, kafka: it is gone"}, Warmings: []lines.Warming{
			{System: "kafka", Seconds: 83.4, Loads: []lines.Warmed{
				{Load: "1 KiB", Rates: []float64{52.4, 110, 180, 181, 179, 183}, Level: true}, {Load: "fetch", Rates: []float64{400, 0, 900}}}},
			{System: "outrigger"}}}}
	r.Results = score.Collect(lines.Metrics([]string{lines.Small}), r.Pairs)
	r.Facts = facts(flags{pairs: 1}, fetch.Kafka{Version: "4.4.0"}, lines.Config{Lines: []string{lines.Small}}, r)
	var table, object bytes.Buffer
	if err := errors.Join(r.write(&table, false), r.write(&object, true)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Outrigger 1.2.3", "Apache Kafka 4.4.0", "no fsync", "-Xmx1G", "sync_interval: always",
		"FAILED: pair 1, cold, kafka", "kafka was loaded for 83 s before the first pair",
		"1 KiB: level after 6 rounds (52.4 to 183 MB/s)", "fetch: NOT level after 3 rounds, of which 1 failed (400 to 900 MB/s)",
		"outrigger was not loaded before the first pair", ">= 3x"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("got\n%swant %q in it", table.String(), want)
		}
	}
	var back report
	if err := json.Unmarshal(object.Bytes(), &back); err != nil || len(back.Results) != len(r.Results) || back.Version != "1.2.3" {
		t.Errorf("got %+v %v from JSON, want what was written", back, err)
	}
}

// Where nobody is compared with Kafka, nothing is said of it.
func TestReportOfOursAgainstOursTellsWhatWasAtWork(t *testing.T) {
	chosen, err := lines.Select([]string{lines.Keeping})
	if err != nil {
		t.Fatal(err)
	}
	r := report{Findings: lines.Findings{Pairs: []score.Values{{"kept/small.mbps": 94, "bare/small.mbps": 100, "kept/tail.mbps": 96,
		"bare/tail.mbps": 100, "kept/tail.deleted": 12, "bare/tail.deleted": 0}}}}
	r.Results = score.Collect(lines.Metrics(chosen), r.Pairs)
	r.Facts = facts(flags{pairs: 1, keepingMB: 77}, fetch.Kafka{}, lines.Config{Lines: chosen, Seconds: 8, Warmup: 4}, r)
	var table bytes.Buffer
	if err := r.write(&table, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"log.retention.ms=4000", "wal.retained.bytes=", "77 MB of overwritten keys"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("got\n%swant %q in it", table.String(), want)
		}
	}
	for want, of := range map[string][]string{
		"no":      {"keeping-small ", "0.94x", ">= 95 %"},
		"yes":     {"keeping-tail ", "0.96x", ">= 95 %"},
		"-":       {"keeping-tail ", "deleted by retention", "12 MB", "0 MB"},
		"unknown": {"keeping-end-to-end ", "p99"},
	} {
		if !slices.ContainsFunc(strings.Split(table.String(), "\n"), func(line string) bool {
			return strings.HasSuffix(strings.TrimRight(line, "| "), " "+want) &&
				!slices.ContainsFunc(of, func(part string) bool { return !strings.Contains(line, part) })
		}) {
			t.Errorf("got\n%swant a line of %q that ends with %q", table.String(), of, want)
		}
	}
	if strings.Contains(table.String(), "Kafka") || strings.Contains(table.String(), "JVM") {
		t.Errorf("got\n%swant nothing of Kafka in it", table.String())
	}
}
