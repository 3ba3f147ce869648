package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"outrigger/cmd/peers/internal/fetch"
	"outrigger/cmd/peers/internal/lines"
	"outrigger/cmd/peers/internal/score"
)

func TestFlagsAreRefusedBeforeAnythingIsFetched(t *testing.T) {
	for _, args := range [][]string{{"--lines", "rocket"}, {"--pairs", "0"}, {"--seconds", "0"}, {"--idle", "1ms"}, {"--what"}} {
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
		Failures: []string{"pair 1, cold, kafka: it is gone"}}}
	r.Results = score.Collect(lines.Metrics([]string{lines.Small}), r.Pairs)
	r.Facts = facts(flags{pairs: 1}, fetch.Kafka{Version: "4.4.0"}, r)
	var table, object bytes.Buffer
	if err := errors.Join(r.write(&table, false), r.write(&object, true)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Outrigger 1.2.3", "Apache Kafka 4.4.0", "no fsync", "-Xmx1G", "sync_interval: always",
		"FAILED: pair 1, cold, kafka", ">= 3x"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("got\n%swant %q in it", table.String(), want)
		}
	}
	var back report
	if err := json.Unmarshal(object.Bytes(), &back); err != nil || len(back.Results) != len(r.Results) || back.Version != "1.2.3" {
		t.Errorf("got %+v %v from JSON, want what was written", back, err)
	}
}
