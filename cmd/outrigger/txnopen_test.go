package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTransactionHangsIfNoCoordinatorWillEndIt(t *testing.T) {
	open := []openTxn{
		{Topic: "orders", Partition: 0, Producer: 7, Start: 3}, {Topic: "orders", Partition: 1, Producer: 7, Start: 5},
		{Topic: "orders", Partition: 0, Producer: 8, Start: 9}, {Topic: "orders", Partition: 0, Producer: 9, Start: 11},
	}
	// Of producer 7 the coordinator knows one partition, the id of producer 8 has expired since it was listed,
	// and producer 9 has none.
	ids := map[int64]string{7: "payments", 8: "gone"}
	views := []txnView{{ID: "payments", Partitions: []txnPartition{{"orders", 0}}}}
	var starts []int64
	for _, one := range hanging(open, ids, views) {
		starts = append(starts, one.Start)
	}
	if got, want := fmt.Sprint(starts), "[5 9 11]"; got != want {
		t.Errorf("got those at %s, want %s", got, want)
	}
}

func TestHangingTransactionsAreShownWithTheirAge(t *testing.T) {
	last := time.Unix(1_000, 0)
	var out bytes.Buffer
	if err := writeHanging(&out, []openTxn{
		{Topic: "orders", Partition: 1, Producer: 7, Epoch: 2, CoordinatorEpoch: -1, Start: 5, Last: &last},
		{Topic: "__consumer_offsets", Partition: 4, Producer: 8, Start: 6},
	}, time.Unix(4_600, 0)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"orders 1 7 2 -1 5 1h0m0s\n", "__consumer_offsets 4 8 0 0 6 -\n", "outrigger txn abort --topic"} {
		if got := squeezed(out.String()); !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant %q in it", got, want)
		}
	}
}

func TestTransactionsAreListedByWhatIsAskedFor(t *testing.T) {
	b := startTxn(t, "payments")
	idle, _ := b.dial(kgo.TransactionalID("refunds"))
	if err := idle.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := idle.ProducerID(b.ctx); err != nil {
		t.Fatal(err)
	}
	var listed []txnView
	if got := b.txn("list", "--state", "ongoing", "--json"); json.Unmarshal([]byte(got.stdout), &listed) != nil || len(listed) != 1 {
		t.Fatalf("list: got %+v", got)
	}
	for flags, want := range map[string]string{
		"":                                "payments refunds",
		"--state Ongoing":                 "payments",
		"--state empty,prepareabort":      "refunds",
		"--transactional-id-pattern re.*": "refunds",
		"--transactional-id-pattern re":   "",
		"--duration 0":                    "payments",
		"--duration 1h":                   "",
		"--duration-filter 3600000":       "",
		"--duration PT0S --state Empty":   "",
		"--producer-id 987654":            "",
		fmt.Sprint("--producer-id ", listed[0].Producer): "payments",
	} {
		got := b.txn(append([]string{"list"}, strings.Fields(flags)...)...)
		var names []string
		for line := range strings.Lines(got.stdout) {
			if name := strings.Fields(line)[0]; name != "TRANSACTIONAL" {
				names = append(names, name)
			}
		}
		if text := strings.Join(names, " "); got.code != 0 || text != want {
			t.Errorf("list %s: got %d %s %s, want %s", flags, got.code, text, got.stderr, want)
		}
	}
	for flags, want := range map[string]string{
		"--state open":                 "--state open is refused: want one of Empty, Ongoing",
		"--duration soon":              "--duration soon is refused: want a duration",
		"--transactional-id-pattern (": "--transactional-id-pattern ( is refused: error parsing regexp",
	} {
		if got := b.txn(append([]string{"list"}, strings.Fields(flags)...)...); got.code != exitConfig || !strings.Contains(got.lastLine(), want) {
			t.Errorf("list %s: got %+v, want %s", flags, got, want)
		}
	}
}

// A transaction that its coordinator knows does not hang, and is not to be decided in one partition.
func TestOpenTransactionIsAbortedWhereItBegins(t *testing.T) {
	b := startTxn(t, "payments")
	at := func(offset string, more ...string) outcome {
		return b.txn(append([]string{"abort", "--topic", "orders", "--partition", "0", "--start-offset", offset}, more...)...)
	}
	for _, search := range []string{"", "--topic orders", "--topic orders --partition 1", "--broker-id 1"} {
		got := b.txn(append([]string{"find-hanging", "--max-transaction-timeout", "0", "--json"}, strings.Fields(search)...)...)
		if got.code != 0 || got.stdout != "[]\n" {
			t.Errorf("find-hanging %s: got %+v, want none", search, got)
		}
	}
	for _, search := range []string{"--topic nothing", "--topic orders --partition 7", "--broker-id 9"} {
		if got := b.txn(append([]string{"find-hanging"}, strings.Fields(search)...)...); got.code != exitUnreachable {
			t.Errorf("find-hanging %s: got %+v, want %d", search, got, exitUnreachable)
		}
	}
	if got := at("3"); got.code != 1 || !strings.Contains(got.lastLine(), "none begins there; those that are open begin at 10") {
		t.Errorf("another offset: got %+v", got)
	}
	if got := at("10"); got.code != 1 || !strings.Contains(got.lastLine(), "abort it with `outrigger txn abort payments`") {
		t.Errorf("one that is to be decided: got %+v", got)
	}
	if got := at("10", "--force"); got.code != 0 || !strings.Contains(got.stdout, " at offset 10 of orders-0 aborted\n") {
		t.Errorf("by force: got %+v", got)
	}
	if got := at("10"); got.code != 1 || !strings.Contains(got.lastLine(), "none is open there") {
		t.Errorf("twice: got %+v", got)
	}
	if got := b.txn("abort", "payments"); got.code != 0 || got.stdout != "payments aborted\n" {
		t.Errorf("by id: got %+v", got)
	}
	for _, flags := range []string{"", "payments --force", "--topic orders", "payments --topic orders --partition 0 --start-offset 1"} {
		if got := b.txn(append([]string{"abort"}, strings.Fields(flags)...)...); got.code != exitConfig {
			t.Errorf("abort %s: got %+v, want %d", flags, got, exitConfig)
		}
	}
}

// What ends between two looks does not hang.
func TestTransactionThatHasEndedIsNotStillOpen(t *testing.T) {
	b := startTxn(t, "payments")
	open, err := openTxns(b.ctx, b.client, []txnPartition{{"orders", 1}, {"orders", 0}}, leaders)
	if err != nil || len(open) != 2 || open[0].place() != (txnPartition{"orders", 0}) || open[1].Start != 10 || open[1].Last == nil {
		t.Fatalf("open: got %+v, %v, want one in each partition from offset 10 on", open, err)
	}
	if still, err := stillOpen(b.ctx, b.client, open, leaders); err != nil || len(still) != 2 {
		t.Errorf("before the end: got %+v, %v, want both", still, err)
	}
	if err := b.producer.EndTransaction(b.ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	b.begin() // another one, which is not meant
	eventually(t, "the first one has ended", func() bool {
		still, err := stillOpen(b.ctx, b.client, open, leaders)
		if err != nil {
			t.Fatal(err)
		}
		return len(still) == 0
	})
}
