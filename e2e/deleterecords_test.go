package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What DeleteRecords has answered stays deleted: over the kill of the leader that answered, and over a
// disk that is lost and filled again from a log that starts there.
func TestDeletedRecordsStayDeleted(t *testing.T) {
	const name, records, before = "cut", 60, 37
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, name, 1, 3)
	client, err := kgo.NewClient(kgo.SeedBrokers(f.kafka...), kgo.DefaultProduceTopic(name), kgo.MaxBufferedRecords(10),
		kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range records {
		r := kgo.StringRecord(fmt.Sprint("record ", i))
		r.Timestamp = time.Now()
		client.Produce(within(t, 20*time.Second), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
		if i%7 == 0 { // batches of several records, so that the start lies within one
			if err := client.Flush(within(t, 20*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := client.Flush(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	first := leaderOf(t, f.kafka, name, 0)
	var offsets kadm.Offsets
	offsets.AddOffset(name, 0, before, -1)
	answers, err := kadm.NewClient(client).DeleteRecords(within(t, 20*time.Second), offsets)
	if err == nil {
		err = answers.Error()
	}
	if got := answers[name][0].LowWatermark; err != nil || got != before {
		t.Fatalf("delete records: low watermark %d, %v, want %d", got, err, before)
	}

	f.kill(first)
	beginsAt(t, f.kafka, name, before, records)

	f.wipe(first)
	f.start(first)
	f.serves(first)
	f.healthy(30 * time.Second)
	f.kill(leaderOf(t, f.kafka, name, 0))
	beginsAt(t, f.kafka, name, before, records)
}

// beginsAt wants the first record of a partition at an offset, and all that follow up to the last.
func beginsAt(t testing.TB, seeds []string, name string, first, end int64) {
	t.Helper()
	var starts kadm.ListedOffsets
	eventually(t, 20*time.Second, "the start of the log", func() (err error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
		if err != nil {
			return err
		}
		defer client.Close()
		if starts, err = kadm.NewClient(client).ListStartOffsets(within(t, 5*time.Second), name); err == nil {
			err = starts.Error()
		}
		return err
	})
	if o, _ := starts.Lookup(name, 0); o.Offset != first {
		t.Fatalf("%s starts at %d, want %d", name, o.Offset, first)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := within(t, 30*time.Second)
	for next := first; next < end; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s: read up to %d of %d, %v", name, next, end, fetches.Errors())
		}
		for _, r := range fetches.Records() {
			if r.Offset != next || string(r.Value) != fmt.Sprint("record ", next) {
				t.Fatalf("%s: got %q at %d, want record %d", name, r.Value, r.Offset, next)
			}
			next++
		}
	}
}
