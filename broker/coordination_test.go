package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestGroupsAreCounted: the gauges and counters of coordinators are there, and follow what groups do.
func TestGroupsAreCounted(t *testing.T) {
	h := startConsumers(t)
	h.create("t", 2)
	want := func(what, name string, value float64, labels ...string) {
		t.Helper()
		eventually(t, what, func() bool { return h.metric(name, labels...) == value })
	}
	member := h.modern("modern", "t")
	h.drive(member, func(*kgo.Record) {})
	h.described("modern", evenly(1, 2))
	c := h.dial()
	h.coordinates("simple")
	onlyCode(t, "commit", commitCode(c.ask(simpleCommit("simple", "t", 1))))
	producer := h.client()
	produceIn(t, producer, "t", "a", "b", "c", "d")
	ends := h.cluster.log(t, "t", 0).State().HighWatermark
	want("groups by protocol", groupMetrics+"group_count", 1, "consumer")
	want("groups by protocol", groupMetrics+"group_count", 1, "classic")
	want("stable group", groupMetrics+"consumer_group_count", 1, "Stable")
	want("all groups", groupManager, 2)
	want("empty groups", groupManager+"empty", 1)
	want("offsets", "kafka_coordinator_group_groupmetadatamanager_numoffsets", 1)
	want("commits", groupMetrics+"offset_commit_count", 1)
	want("shards", groupMetrics+"num_partitions", 4, "active")
	want("members", exporter+"members", 1, "modern")
	want("members", exporter+"members", 0, "simple")
	want("committed", exporter+"current_offset", 1, "simple", "t", "0")
	want("committed sum", exporter+"current_offset_sum", 1, "simple", "t")
	want("lag", exporter+"lag", float64(max(0, ends-1)), "simple", "t", "0")
	want("lag sum", exporter+"lag_sum", float64(max(0, ends-1)), "simple", "t")
	if got := h.metric(groupMetrics + "group_completed_rebalance_count"); got < 1 {
		t.Errorf("rebalances: got %v, want at least 1", got)
	}
	before := h.metric(groupMetrics + "group_completed_rebalance_count")
	h.drive(h.modern("modern", "t"), func(*kgo.Record) {})
	h.described("modern", evenly(2, 1))
	want("members", exporter+"members", 2, "modern")
	if got := h.metric(groupMetrics + "group_completed_rebalance_count"); got <= before {
		t.Errorf("rebalances after another member: got %v, want more than %v", got, before)
	}
}

// TestShareGroupsAreCountedAsSuch, with their members.
func TestShareGroupsAreCountedAsSuch(t *testing.T) {
	h := startShares(t)
	id := h.create("t", 2)
	one := h.sharer("g", "one", "t", id)
	h.sharer("g", "two", "t", id)
	want := func(what, name string, value float64, labels ...string) {
		t.Helper()
		eventually(t, what, func() bool { return h.metric(name, labels...) == value })
	}
	want("share groups", groupMetrics+"group_count", 1, "share")
	want("classic groups", groupMetrics+"group_count", 0, "classic")
	want("all groups", groupManager, 1)
	want("stable share groups", groupMetrics+"share_group_count", 1, "Stable")
	want("stable groups", groupManager+"stable", 1)
	want("members", exporter+"members", 2, "g")
	one.leave()
	want("members after one has left", exporter+"members", 1, "g")
}

// TestGroupsBeyondTheBoundHaveNoSeries, and are counted all the same.
func TestGroupsBeyondTheBoundHaveNoSeries(t *testing.T) {
	h := startConsumers(t, func(c *Config) { c.Metrics.Partitions = 1 })
	h.create("t", 1)
	h.coordinates("simple")
	onlyCode(t, "commit", commitCode(h.dial().ask(simpleCommit("simple", "t", 1))))
	eventually(t, "group is counted", func() bool { return h.metric(groupManager) == 1 })
	if got := h.metric(exporter+"current_offset", "simple"); got != 0 {
		t.Errorf("series of a group beyond the bound: got %v, want none", got)
	}
}

// TestTransactionsAreCounted by state, age and outcome.
func TestTransactionsAreCounted(t *testing.T) {
	h := startTransactions(t)
	h.create("t", 1)
	producer := h.client(kgo.TransactionalID("tx"))
	transact(t, producer, "t", kgo.TryCommit, "a")
	transact(t, producer, "t", kgo.TryAbort, "b")
	for outcome, want := range map[string]float64{"commit": 1, "abort": 1} {
		if got := h.metric("outrigger_transactions_ended_total", outcome); got != want {
			t.Errorf("%s: got %v, want %v", outcome, got, want)
		}
	}
	// The answer to an end comes before its markers are written.
	eventually(t, "no oldest transaction", func() bool { return h.metric("outrigger_transactions_oldest_seconds") == 0 })
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produceIn(t, producer, "t", "c")
	eventually(t, "an open transaction", func() bool {
		return h.metric("outrigger_transactions", "Ongoing") == 1 && h.metric("outrigger_transactions_oldest_seconds") > 0
	})
	if err := producer.EndTransaction(deadline(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no open transaction", func() bool { return h.metric("outrigger_transactions", "Ongoing") == 0 })
	q := kmsg.NewPtrListTransactionsRequest()
	if listed := h.dial().ask(q).(*kmsg.ListTransactionsResponse).TransactionStates; len(listed) != 1 {
		t.Errorf("listed: got %v, want one", listed)
	}
}
