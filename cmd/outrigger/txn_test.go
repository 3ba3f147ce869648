package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
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
