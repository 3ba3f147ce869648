package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func exampleTxns() []txnView {
	epoch, started := int16(3), time.Unix(1_000, 0).UTC()
	return []txnView{
		{ID: "idle", State: "Empty", Producer: 7, Epoch: &epoch, Coordinator: 1, TimeoutMS: 60_000},
		{
			ID: "busy", State: "Ongoing", Producer: 8, Epoch: &epoch, Coordinator: 2, TimeoutMS: 1500, Started: &started,
			Partitions: []txnPartition{{"__consumer_offsets", 4}, {"orders", 0}},
		},
	}
}

func TestTransactionsAreShownWithTheirPartitionsAndAge(t *testing.T) {
	var out bytes.Buffer
	if err := writeTxns(&out, exampleTxns(), time.Unix(1_002, 0)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"idle\n  Empty, producer 7 epoch 3, timeout 1m0s, coordinator 1\n",
		"busy\n  Ongoing, open for 2s, producer 8 epoch 3, timeout 1.5s, coordinator 2\n", "orders              0",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s, want %q in it", out.String(), want)
		}
	}
}

func TestTransactionsAreListedAsATable(t *testing.T) {
	var out bytes.Buffer
	if err := writeTxnList(&out, exampleTxns()); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "TRANSACTIONAL ID") ||
		strings.Join(strings.Fields(lines[2]), " ") != "busy Ongoing 8 2" {
		t.Errorf("got\n%s", out.String())
	}
}

// TestTransactionsAsJSONLeaveOutWhatIsNotKnown: an id without a transaction has no start.
func TestTransactionsAsJSONLeaveOutWhatIsNotKnown(t *testing.T) {
	text, err := json.Marshal(exampleTxns())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), `"started"`) != 1 || !strings.Contains(string(text), `"producer_epoch":3`) {
		t.Errorf("got %s", text)
	}
}

// txnBench is a broker with a transaction that is open in both partitions of topic "orders".
type txnBench struct {
	*groupBench
	producer *kgo.Client
}

// startTxn begins a transaction under an id.
func startTxn(t *testing.T, id string) *txnBench {
	t.Helper()
	b := &txnBench{groupBench: startGroupBench(t)}
	b.producer, _ = b.dial(kgo.TransactionalID(id))
	b.begin()
	return b
}

// begin begins a transaction in both partitions.
func (b *txnBench) begin() {
	b.Helper()
	if err := b.producer.BeginTransaction(); err != nil {
		b.Fatal(err)
	}
	for p := range int32(2) {
		if err := b.producer.ProduceSync(b.ctx, &kgo.Record{Topic: "orders", Partition: p, Value: []byte("v")}).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
}

// txn runs a `txn` command.
func (b *txnBench) txn(arguments ...string) outcome {
	b.Helper()
	return run(b.T, nil, append([]string{"txn", "--bootstrap-server", b.kafka}, arguments...)...)
}

// An id may expire between the list and its description. That is no reason to show nothing of the others.
func TestTransactionsThatAreGoneAreLeftOutUnlessTheyWereNamed(t *testing.T) {
	b := startTxn(t, "payments")
	ids := []string{"gone", "payments"}
	views, err := describeIDs(b.ctx, b.admin, ids, true)
	if err != nil || len(views) != 1 || views[0].ID != "payments" {
		t.Errorf("from a list: got %+v, %v, want payments", views, err)
	}
	if _, err := describeIDs(b.ctx, b.admin, ids, false); err == nil || !strings.Contains(err.Error(), "describe transaction gone: there is no such id") {
		t.Errorf("by name: got %v, want gone to be refused", err)
	}
	if got := b.txn("describe"); got.code != 0 || !strings.Contains(got.stdout, "payments\n  Ongoing, open for ") {
		t.Errorf("describe: got %+v", got)
	}
}
