package sidecar

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger/broker/partition"
	"outrigger/broker/wal"
)

// Groups for which a thread waited are told apart from all of them.
func TestGroupsOfTheLogAreCountedByHowTheyWereWritten(t *testing.T) {
	registry := prometheus.NewRegistry()
	stats := partition.Stats{Groups: wal.GroupStats{Groups: 9, Waited: 4, Took: wal.WriteTimes{Sum: 3 * time.Second}}}
	stats.Groups.Took.Counts[0], stats.Groups.Took.Counts[2] = 6, 2
	stats.Groups.Took.Counts[len(stats.Groups.Took.Counts)-1] = 1
	groupMetrics(register{registry}, func() partition.Stats { return stats })
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if took := f.GetMetric()[0].GetHistogram(); took != nil {
			third := took.GetBucket()[2]
			if took.GetSampleCount() != 9 || took.GetSampleSum() != 3 || third.GetCumulativeCount() != 8 || third.GetUpperBound() != 0.0005 {
				t.Errorf("%s: got %v", f.GetName(), took)
			}
			continue
		}
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	if len(families) != 3 || len(got) != 2 || got["outrigger_wal_groups_total"] != 9 || got["outrigger_wal_waited_groups_total"] != 4 {
		t.Errorf("got %v", got)
	}
}
