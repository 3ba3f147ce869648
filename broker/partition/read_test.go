package partition

import (
	"bytes"
	"errors"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

func TestReadReturnsWholeCommittedBatches(t *testing.T) {
	for _, evicted := range []bool{false, true} {
		f := newFixture(t, func(c *Config) {
			if evicted {
				c.TailBytesMax = 1
			}
		})
		f.lead(1)
		size := 0
		for range 4 {
			f.append(spec{count: 3})
			size = len(build(spec{count: 3}))
		}
		f.journal.flush()
		f.log.SetHighWatermark(10) // inside the last batch
		tests := []struct {
			name     string
			from     topic.Offset
			bytesMax int
			minOne   bool
			want     []topic.Offset // bases
			err      error
		}{
			{"from a boundary", 0, 10 * size, false, []topic.Offset{0, 3, 6}, nil},
			{"from inside a batch", 4, 10 * size, false, []topic.Offset{3, 6}, nil},
			{"as much as fits", 0, 2 * size, false, []topic.Offset{0, 3}, nil},
			{"a byte less", 0, 2*size - 1, false, []topic.Offset{0}, nil},
			{"nothing fits", 0, size - 1, false, nil, nil},
			{"one at least", 0, size - 1, true, []topic.Offset{0}, nil},
			{"one at least, no bytes", 5, 0, true, []topic.Offset{3}, nil},
			{"inside the batch that is not wholly committed", 9, 10 * size, true, nil, nil},
			{"at the log end", 12, 10 * size, true, nil, nil},
			{"above the log end", 13, 10 * size, true, nil, ErrOffsetOutOfRange},
			{"below the log start", -1, 10 * size, true, nil, ErrOffsetOutOfRange},
		}
		for _, test := range tests {
			got, err := f.log.Read(test.from, test.bytesMax, test.minOne)
			if !errors.Is(err, test.err) || got.HighWatermark != 10 || got.LogEnd != 12 {
				t.Errorf("%s: got %+v, %v; want error %v", test.name, got, err, test.err)
			}
			if len(got.Batches) != len(test.want) {
				t.Errorf("%s: got %d batches, want %d", test.name, len(got.Batches), len(test.want))
				continue
			}
			for i, b := range got.Batches {
				if want := placed(spec{count: 3}, test.want[i], 1); !bytes.Equal(b, want) {
					t.Errorf("%s: batch %d differs from what was appended", test.name, i)
				}
			}
		}
	}
}

func TestTailIsBoundedOverTheNodeAndFirstInFirstOut(t *testing.T) {
	size := int64(len(build(spec{}))) + heldOverhead
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 4 * size })
	other := f.store.Create(topic.Partition{Topic: p0.Topic, Index: 1})
	other.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true})
	f.lead(1)
	for range 3 {
		f.append(spec{})
		if _, err := other.Append(expired(), build(spec{}), AppendOptions{Acks: AcksAll}); err != nil {
			t.Fatal(err)
		}
	}
	if held := f.log.mu.tail.len() + other.mu.tail.len(); held != 6 {
		t.Errorf("%d batches are held before any is durable, want all 6", held)
	}
	f.journal.flush()
	if a, b := f.log.mu.tail.len(), other.mu.tail.len(); a != 2 || b != 2 {
		t.Errorf("%d and %d batches are held, want the newest 2 of each", a, b)
	}
	if got := f.store.Stats().TailBytes; got != 4*size {
		t.Errorf("%d bytes are counted, want %d", got, 4*size)
	}
	if _, ok := f.log.ReadTail(0, 1000); ok {
		t.Error("the tail claims to hold what was evicted")
	}
	if entries, ok := f.log.ReadTail(1, 1<<20); !ok || len(entries) != 2 {
		t.Errorf("the tail gave %d entries from 1, %v; want 2", len(entries), ok)
	}
}

// What is not durable cannot be read from the WAL, so it must stay in memory.
func TestOnlyDurableBatchesAreEvicted(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
	f.follow(1)
	f.replicate(spec{}, 1)
	f.journal.flush()
	for range 3 {
		f.replicate(spec{}, 1)
	}
	f.log.SetHighWatermark(4)
	if got, err := f.log.Read(0, 1<<20, true); err != nil || len(got.Batches) != 4 {
		t.Errorf("read gave %d batches, %v; want 4", len(got.Batches), err)
	}
}

// Bytes are counted once and given back once, whatever becomes of the batches (failure mode 53).
func TestTailAccountingSurvivesCutsAndRemovals(t *testing.T) {
	size := int64(len(build(spec{}))) + heldOverhead
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 10 * size })
	f.follow(1)
	for i := range 100 {
		for range 5 {
			f.replicate(spec{}, 1)
		}
		f.journal.flush()
		f.truncate(topic.Offset(i))
		f.replicate(spec{}, 1)
		f.journal.flush()
		if got := f.store.Stats().TailBytes; got > 10*size || got < 0 {
			t.Fatalf("%d bytes are counted, want 0 to %d", got, 10*size)
		}
		if held := f.log.mu.tail.len(); int64(held)*size > 10*size {
			t.Fatalf("%d batches are held", held)
		}
	}
	if err := f.store.Remove(p0); err != nil {
		t.Fatal(err)
	}
	f.journal.flush()
	f.log = f.store.Create(p0)
	f.follow(1)
	for range 20 {
		f.replicate(spec{}, 1)
	}
	f.journal.flush()
	if got, held := f.store.Stats().TailBytes, f.log.mu.tail.len(); got != 10*size || held != 10 {
		t.Errorf("%d bytes are counted and %d batches held, want %d and 10", got, held, 10*size)
	}
}

func TestNeighboursInTheWALAreReadTogether(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
	f.lead(1)
	for range 50 {
		f.append(spec{})
	}
	f.journal.flush()
	f.log.SetHighWatermark(50)
	if got, err := f.log.Read(0, 1<<20, true); err != nil || len(got.Batches) != 50 {
		t.Fatalf("read gave %d batches, %v; want 50", len(got.Batches), err)
	}
	if f.journal.scans != 1 || f.journal.payloadReads != 0 {
		t.Errorf("%d scans and %d single reads, want 1 and 0", f.journal.scans, f.journal.payloadReads)
	}
}

func TestDistantBatchesAreReadOneByOne(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
	other := f.store.Create(topic.Partition{Index: 1})
	other.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true})
	f.lead(1)
	for i := range 3 {
		f.append(spec{})
		if _, err := other.Append(expired(), build(spec{value: make([]byte, 4096*i)}),
			AppendOptions{Acks: AcksAll}); err != nil {
			t.Fatal(err)
		}
	}
	f.journal.flush()
	f.log.SetHighWatermark(3)
	got, err := f.log.Read(0, 1<<20, true)
	if err != nil || len(got.Batches) != 3 {
		t.Fatalf("read gave %d batches, %v; want 3", len(got.Batches), err)
	}
	if f.journal.scans != 1 || f.journal.payloadReads != 1 {
		t.Errorf("%d scans and %d single reads, want 1 of the first two and 1 of the third",
			f.journal.scans, f.journal.payloadReads)
	}
}

func TestDamageIsAnErrorNotAnEmptyRead(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
	f.lead(1)
	f.append(spec{})
	f.append(spec{})
	f.journal.flush()
	f.log.SetHighWatermark(2)
	f.journal.damaged = true
	for from := range topic.Offset(2) {
		if got, err := f.log.Read(from, 1<<20, true); !errors.Is(err, wal.ErrDamaged) || got.Batches != nil {
			t.Errorf("read from %d gave %d batches, %v; want wal.ErrDamaged", from, len(got.Batches), err)
		}
	}
	if _, _, _, err := f.log.OffsetForTime(0); !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("time lookup gave %v, want wal.ErrDamaged", err)
	}
}

func TestReadTailGoesPastHighWatermarkAndDurableEnd(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{count: 2})
	f.lead(4)
	f.append(spec{})
	f.append(spec{})
	entries, ok := f.log.ReadTail(0, 1<<20)
	if !ok || len(entries) != 3 || entries[1].PrevEpoch != 1 || entries[2].PrevEpoch != 4 || entries[0].PrevEpoch != -1 {
		t.Errorf("got %+v, %v", entries, ok)
	}
	for from, want := range map[topic.Offset]bool{-1: false, 4: true, 5: false} {
		if entries, ok := f.log.ReadTail(from, 1<<20); ok != want || len(entries) != 0 {
			t.Errorf("from %d: got %d entries, %v; want none, %v", from, len(entries), ok, want)
		}
	}
	if entries, _ := f.log.ReadTail(2, 0); len(entries) != 1 || entries[0].Base != 2 {
		t.Errorf("with no bytes allowed got %+v, want one entry at 2", entries)
	}
}

func TestScanListsWhatIsStillInTheLogs(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{count: 2}, 1)
	f.replicate(spec{}, 1) // cut
	f.journal.flush()
	f.truncate(2)
	f.replicate(spec{count: 3}, 2)
	gone := topic.Partition{Index: 8}
	removed := f.store.Create(gone)
	removed.Assume(Role{Epoch: 1})
	if err := removed.AppendReplica(Entry{Partition: gone, Epoch: 1, PrevEpoch: -1, Count: 1,
		Payload: placed(spec{}, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Remove(gone); err != nil {
		t.Fatal(err)
	}
	f.journal.flush()
	var got []Entry
	from := wal.Position{}
	for end := false; !end; {
		entries, next, atEnd, err := f.store.Scan(from, 1)
		if err != nil {
			t.Fatal(err)
		}
		got, from, end = append(got, entries...), next, atEnd
	}
	if len(got) != 2 || got[0].Base != 0 || got[1].Base != 2 || got[1].Epoch != 2 || got[1].PrevEpoch != 1 {
		t.Errorf("scan gave %+v, want batches at 0 and 2", got)
	}
	at, ok := f.log.Position(3)
	if entries, _, _, err := f.store.Scan(at, 1<<20); !ok || err != nil || len(entries) != 1 || entries[0].Base != 2 {
		t.Errorf("scan from the position of 3 gave %+v, %v", entries, err)
	}
}

func TestTimeLookupFindsTheFirstRecordInsideABatch(t *testing.T) {
	for _, evicted := range []bool{false, true} {
		f := newFixture(t, func(c *Config) {
			if evicted {
				c.TailBytesMax = 1
			}
		})
		f.lead(3)
		f.append(spec{count: 10, timestamp: 100}) // 0: 100..109
		f.append(spec{count: 10, timestamp: 50})  // 10: 50..59, a clock that went back
		f.append(spec{count: 10, timestamp: 200}) // 20: 200..209
		f.append(spec{count: 10, timestamp: 900}) // 30: not committed
		f.journal.flush()
		f.log.SetHighWatermark(30)
		for _, test := range []struct {
			ts     int64
			offset topic.Offset
			found  int64
			epoch  topic.Epoch
		}{
			{0, 0, 100, 3}, {100, 0, 100, 3}, {105, 5, 105, 3}, {110, 20, 200, 3}, {209, 29, 209, 3},
			{210, -1, -1, -1}, {900, -1, -1, -1},
		} {
			offset, found, epoch, err := f.log.OffsetForTime(test.ts)
			if offset != test.offset || found != test.found || epoch != test.epoch || err != nil {
				t.Errorf("time %d: got %d, %d, %d, %v; want %d, %d, %d", test.ts, offset, found, epoch, err,
					test.offset, test.found, test.epoch)
			}
		}
		if offset, found, _, err := f.log.MaxTimestamp(); offset != 29 || found != 209 || err != nil {
			t.Errorf("largest timestamp: got %d, %d, %v; want 29, 209", offset, found, err)
		}
	}
}

func TestLeaderThatIsNotReadyDoesNotKnowTheLatest(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{timestamp: 10}, 1)
	f.replicate(spec{timestamp: 20}, 1)
	f.log.SetHighWatermark(1)
	f.log.Assume(Role{Leading: true, Epoch: 2})
	if _, _, err := f.log.Latest(); !errors.Is(err, ErrNotReady) {
		t.Errorf("latest: got %v, want ErrNotReady", err)
	}
	if _, _, _, err := f.log.OffsetForTime(15); !errors.Is(err, ErrNotReady) {
		t.Errorf("a time above the high watermark: got %v, want ErrNotReady", err)
	}
	if _, _, _, err := f.log.MaxTimestamp(); !errors.Is(err, ErrNotReady) {
		t.Errorf("largest timestamp: got %v, want ErrNotReady", err)
	}
	if offset, _, _, err := f.log.OffsetForTime(5); offset != 0 || err != nil {
		t.Errorf("a time below the high watermark: got %d, %v; want 0", offset, err)
	}
	f.log.SetHighWatermark(2)
	f.lead(2)
	if offset, epoch, err := f.log.Latest(); offset != 2 || epoch != 1 || err != nil {
		t.Errorf("latest: got %d, epoch %d, %v; want 2, 1", offset, epoch, err)
	}
	if offset, epoch := f.log.Earliest(); offset != 0 || epoch != 1 {
		t.Errorf("earliest: got %d, epoch %d; want 0, 1", offset, epoch)
	}
}

func TestEmptyLogKnowsNoEpoch(t *testing.T) {
	f := newFixture(t)
	f.lead(5)
	if offset, epoch, err := f.log.Latest(); offset != 0 || epoch != topic.NoEpoch || err != nil {
		t.Errorf("latest: got %d, epoch %d, %v; want 0, none", offset, epoch, err)
	}
	if offset, epoch := f.log.Earliest(); offset != 0 || epoch != topic.NoEpoch {
		t.Errorf("earliest: got %d, epoch %d; want 0, none", offset, epoch)
	}
	if offset, _, _, err := f.log.MaxTimestamp(); offset != topic.NoOffset || err != nil {
		t.Errorf("largest timestamp: got %d, %v; want none", offset, err)
	}
	if epoch, end := f.log.EpochEnd(5); epoch != 5 || end != 0 {
		t.Errorf("led epoch ends at %d, %d; want 5, 0", epoch, end)
	}
	if len(f.log.Epochs()) != 0 {
		t.Errorf("epochs are %v, want none", f.log.Epochs())
	}
}
