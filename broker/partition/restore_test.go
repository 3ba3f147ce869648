package partition

import (
	"errors"
	"testing"

	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// restorable is a catalog of so many logs with a batch each, of which log i begins at offset i.
func restorable(t *testing.T, logs int) *catalogtest.Catalog {
	t.Helper()
	table := &catalogtest.Catalog{}
	for i := range logs {
		l := newLog(newStore(testConfig(&clock{})), topic.Partition{Topic: p0.Topic, Index: int32(i)})
		l.mu.start, l.mu.highWatermark, l.mu.end = topic.Offset(i), topic.Offset(i), topic.Offset(i)+7
		var run runs
		run.add(l.partition, extent{base: l.mu.start, count: 7, bytes: 100, at: wal.Position{File: wal.PackBit | 1, Offset: 4096}})
		edits := append(run.done(l.partition), catalog.Edit{Key: partitionKey(keyLog, l.partition), Value: l.encodeLog()})
		if err := table.Apply(edits); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

func restored(table Catalog) (*Store, error) {
	cfg := testConfig(&clock{})
	cfg.Catalog = table
	s := newStore(cfg)
	_, _, err := s.restore()
	return s, err
}

// However many logs make up a share, each gets its own batches, and is counted.
func TestLogsAreRestoredInShares(t *testing.T) {
	for _, logs := range []int{0, 1, 2, sharesMost - 1, sharesMost, sharesMost + 1, 3*sharesMost + 5} {
		s, err := restored(restorable(t, logs))
		if err != nil || len(s.mu.logs) != logs {
			t.Fatalf("got %d logs of %d, %v", len(s.mu.logs), logs, err)
		}
		for _, l := range s.mu.logs {
			x := &l.mu.index
			if x.len() != 1 || x.at(0).base != topic.Offset(l.partition.Index) || l.mu.bytes != 100 ||
				l.mu.settled != 1 || l.mu.room.unacked != 100 {
				t.Fatalf("%d logs: %v has %d batches, %d bytes, of which %d are not committed", logs, l.partition, x.len(), l.mu.bytes,
					l.mu.room.unacked)
			}
		}
	}
}

// A run of a log that is not there, and a key that nobody knows, are found wherever they lie.
func TestRestoreFindsWhatBelongsToNoLog(t *testing.T) {
	stray := func(p topic.Partition) []byte { return runKey(p, 3) }
	for _, logs := range []int{0, 2, 600} {
		for name, key := range map[string][]byte{
			"before all":   stray(topic.Partition{}),
			"behind all":   stray(topic.Partition{Topic: topic.ID{0xff}}),
			"of the topic": stray(topic.Partition{Topic: p0.Topic, Index: int32(logs)}),
			"unknown":      {keyRun + 1},
			"not whole":    {keyRun},
		} {
			table := restorable(t, logs)
			if err := table.Apply([]catalog.Edit{{Key: key, Value: encodeRun([]extent{{count: 1, bytes: 100}})}}); err != nil {
				t.Fatal(err)
			}
			if _, err := restored(table); !errors.Is(err, errCatalog) {
				t.Errorf("%d logs, a key %s: got %v", logs, name, err)
			}
		}
	}
}
