package sidecar

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger/broker/partition"
	"outrigger/broker/wal"
)

// Groups for which a thread waited are told apart from all of them.
func TestGroupsOfTheLogAreCountedByHowTheyWereWritten(t *testing.T) {
	registry := prometheus.NewRegistry()
	stats := partition.Stats{Groups: wal.GroupStats{Groups: 9, Waited: 4}}
	groupMetrics(register{registry}, func() partition.Stats { return stats })
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	if len(got) != 2 || got["outrigger_wal_groups_total"] != 9 || got["outrigger_wal_waited_groups_total"] != 4 {
		t.Errorf("got %v", got)
	}
}
