package sim

import "testing"

func TestSeeds(t *testing.T) {
	var total Counters
	var events uint64
	for seed := range uint64(200) {
		r := Run(seed, Options{})
		total.Add(r.Counters)
		events += r.Events
		if r.Violation != nil {
			t.Fatal(r.Violation)
		}
	}
	t.Log(events, total.Crashes, total.Partitions, total.Acked, total.String())
}
