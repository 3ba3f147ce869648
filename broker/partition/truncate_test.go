package partition

import (
	"errors"
	"slices"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// The interleaving in truncate.go, step by step. (failure mode 30: what counts is the record that was
// synced, and not the range of offsets.)
func TestDurableEndNeverCountsCutRecords(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{count: 100}, 1)
	f.journal.flush()
	f.replicate(spec{count: 10}, 1) // 100..110
	f.journal.seal(1)
	f.truncate(100)
	f.follow(2)
	f.replicate(spec{count: 5}, 2) // 100..105
	f.wantEnds(100, 105)
	f.journal.settle() // the sync of 100..110 of epoch 1
	f.wantEnds(100, 105)
	if _, ok := f.log.Position(100); ok {
		t.Error("a batch that is not durable has a position")
	}
	f.journal.seal(1) // the Truncate record
	f.journal.settle()
	f.wantEnds(100, 105)
	f.journal.seal(1)
	f.journal.settle()
	f.wantEnds(105, 105)
	if last := f.observer.ends[len(f.observer.ends)-1]; last.DurableEnd != 105 || last.Cuts != 1 {
		t.Errorf("the observer heard %+v, want durable end 105 after 1 cut", last)
	}
}

func TestRecordsCutWhileQueuedAreNeverShipped(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{count: 3}, 1)
	f.replicate(spec{count: 3}, 1)
	f.truncate(3)
	f.replicate(spec{count: 4}, 2)
	f.truncate(3)
	f.replicate(spec{count: 2}, 3)
	f.journal.flush() // all in one group
	type seen struct {
		base        topic.Offset
		count       int32
		epoch, prev topic.Epoch
	}
	var got []seen
	for _, e := range f.observer.entries {
		got = append(got, seen{e.Base, e.Count, e.Epoch, e.PrevEpoch})
	}
	if want := []seen{{0, 3, 1, -1}, {3, 2, 3, 1}}; !slices.Equal(got, want) {
		t.Errorf("sealed entries are %v, want %v", got, want)
	}
	f.wantEnds(5, 5)
}

// Cuts that have come through leave nothing behind that could hide a later one.
func TestEveryCutHidesItsRecords(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	for range 5 {
		f.replicate(spec{}, 1)
		f.truncate(0)
		f.journal.flush()
	}
	if len(f.observer.entries) != 0 {
		t.Errorf("the observer saw %d cut batches", len(f.observer.entries))
	}
	if c := f.log.mu.cuts; c.pending.len() != 0 || c.sealed != 0 || c.count != 5 {
		t.Errorf("cuts are %+v, want none under way", c)
	}
}

// 1. Truncate looks at the log. 2. The log changes. 3. Truncate must not act on what it saw.
func TestCutByAPlanThatNoLongerHoldsIsNotMade(t *testing.T) {
	for name, change := range map[string]func(*fixture){
		"cut deeper":   func(f *fixture) { f.truncate(1) },
		"committed":    func(f *fixture) { f.log.SetHighWatermark(4) },
		"leading":      func(f *fixture) { f.lead(2) },
		"removed":      func(f *fixture) { _ = f.store.Remove(p0) },
		"nothing else": nil,
	} {
		f := newFixture(t)
		f.follow(1)
		for range 4 {
			f.replicate(spec{}, 1)
		}
		end, below, err := f.log.planCut(3)
		if end != 3 || below || err != nil {
			t.Fatalf("plan is to cut at %d, below the high watermark: %v, %v", end, below, err)
		}
		if change != nil {
			change(f)
		}
		before := f.log.State()
		r := wal.Record{Kind: wal.Truncate, Partition: p0, Base: end}
		f.journal.TryReserve(wal.Relief, wal.EncodedLen(r))
		if done := f.log.cut(r, nil); done != (change == nil) {
			t.Errorf("%s: the cut was made: %v", name, done)
		} else if !done {
			f.journal.Release(wal.Relief, wal.EncodedLen(r))
			if after := f.log.State(); after != before {
				t.Errorf("%s: a cut that was not made changed %+v to %+v", name, before, after)
			}
		}
	}
}

// Two cuts under way, the second one deeper and shallower than the first.
func TestOverlappingCutsWhileRecordsAreInFlight(t *testing.T) {
	for _, second := range []topic.Offset{1, 2, 4} {
		f := newFixture(t)
		f.follow(1)
		for range 6 {
			f.replicate(spec{}, 1)
		}
		f.journal.seal(3)
		f.truncate(3)
		f.replicate(spec{}, 2)
		f.replicate(spec{}, 2)
		f.truncate(second)
		f.replicate(spec{}, 3)
		f.journal.settle()
		f.wantEnds(min(3, second), second+1)
		for range 7 { // 3 more of epoch 1, a cut, 2 of epoch 2, a cut: one group each
			f.journal.seal(1)
			f.journal.settle()
			if s := f.log.State(); s.DurableEnd > second {
				t.Fatalf("second cut at %d: durable end %d counts what was cut", second, s.DurableEnd)
			}
		}
		f.journal.flush()
		f.wantEnds(second+1, second+1)
		want := f.log.State()
		f.reopen(false)
		if got := f.log.State(); got.LogEnd != want.LogEnd || got.TailEpoch != want.TailEpoch {
			t.Errorf("reopened log is %+v, want %+v", got, want)
		}
	}
}

func TestTruncateFindsTheBatchBoundary(t *testing.T) {
	for _, test := range []struct{ to, want topic.Offset }{
		{-5, 0}, {0, 0}, {2, 0}, {3, 3}, {5, 3}, {6, 6}, {8, 6}, {9, 9}, {100, 9},
	} {
		f := newFixture(t)
		f.follow(1)
		for range 3 {
			f.replicate(spec{count: 3}, 1)
		}
		f.truncate(test.to)
		f.wantEnds(0, test.want)
		f.journal.flush()
		f.wantEnds(test.want, test.want)
		if cut := slices.Contains(f.journal.kinds(), wal.Truncate); cut != (test.want < 9) {
			t.Errorf("truncating to %d wrote a record: %v", test.to, cut)
		}
	}
}

func TestTruncateCutsEverythingDerived(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{idempotent: true, producer: 1, timestamp: 50}, 1)
	f.replicate(spec{idempotent: true, producer: 1, sequence: 1, timestamp: 60}, 1)
	f.log.SetHighWatermark(1)
	before := f.log.State()
	f.replicate(spec{idempotent: true, producer: 1, sequence: 2, timestamp: 999}, 2)
	f.replicate(spec{idempotent: true, producer: 2, timestamp: 70}, 3)
	f.truncate(2)
	after := f.log.State()
	if after.Cuts != 1 {
		t.Errorf("%d cuts, want 1", after.Cuts)
	}
	after.Cuts = before.Cuts
	if after != before {
		t.Errorf("after the cut the log is %+v, want %+v", after, before)
	}
	if epoch, end := f.log.EpochEnd(2); epoch != topic.NoEpoch || end != topic.NoOffset {
		t.Errorf("the cut epoch ends at %d, %d, want unknown", epoch, end)
	}
	f.lead(4)
	if a := f.append(spec{idempotent: true, producer: 1, sequence: 2, timestamp: 61}); a.Duplicate {
		t.Error("a batch that was cut is taken for a duplicate")
	}
	f.append(spec{idempotent: true, producer: 2, sequence: 40}) // unknown again
	f.log.SetHighWatermark(4)
	if _, ts, _, err := f.log.MaxTimestamp(); ts != 61 || err != nil {
		t.Errorf("largest timestamp is %d, %v; want 61", ts, err)
	}
}

// Only an unclean election cuts below the high watermark. What was committed has pushed older
// batches out of the producer's window: only the log still knows them.
func TestCutBelowTheHighWatermarkRebuildsProducersFromTheLog(t *testing.T) {
	for _, evicted := range []bool{false, true} {
		f := newFixture(t, func(c *Config) {
			if evicted {
				c.TailBytesMax = 1
			}
		})
		f.follow(1)
		for i := range int32(20) {
			f.replicate(spec{idempotent: true, producer: int64(i % 2), sequence: i / 2}, 1)
		}
		f.journal.flush()
		f.log.SetHighWatermark(20)
		f.truncate(12)
		f.wantEnds(12, 12)
		if got := f.log.State().HighWatermark; got != 12 {
			t.Errorf("high watermark is %d, want 12", got)
		}
		want := newProducerTable(100)
		for i := range int32(12) {
			want.record(pb(int64(i%2), 0, i/2, 1), topic.Offset(i), 0)
		}
		want.commit(12)
		wantSameProducers(t, f.log.mu.producers, want)

		// The same after a restart, where the high watermark of the checkpoint was above the cut.
		f.journal.flush()
		f.reopen(false)
		f.log.SetHighWatermark(12)
		wantSameProducers(t, f.log.mu.producers, want)
	}
}

func TestReplayOfACutBelowTheCheckpointRebuildsProducers(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	for i := range int32(20) {
		f.replicate(spec{idempotent: true, producer: 1, sequence: i}, 1)
	}
	f.log.SetHighWatermark(20)
	f.store.saveHighWatermarks(0)
	f.journal.flush()
	f.truncate(12)
	f.replicate(spec{idempotent: true, producer: 1, sequence: 12}, 2)
	f.journal.flush()
	want := f.log.mu.producers
	f.reopen(false)
	wantSameProducers(t, f.log.mu.producers, want)
	if s := f.log.State(); s.HighWatermark != 12 || s.LogEnd != 13 {
		t.Errorf("log is %+v, want high watermark 12, end 13", s)
	}
}

func TestFailedTruncateChangesNothing(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
	f.follow(1)
	for range 4 {
		f.replicate(spec{}, 1)
	}
	f.journal.flush()
	f.log.SetHighWatermark(3)
	before := f.log.State()
	f.journal.limit(wal.Relief, 0)
	if err := f.log.Truncate(3); !errors.Is(err, wal.ErrFull) {
		t.Errorf("truncate without space: got %v, want wal.ErrFull", err)
	}
	f.journal.limit(wal.Relief, journalCapacity)
	f.journal.damaged = true
	if err := f.log.Truncate(2); !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("truncate that cannot read the log: got %v, want wal.ErrDamaged", err)
	}
	f.lead(2)
	if err := f.log.Truncate(3); !errors.Is(err, ErrLeading) {
		t.Errorf("truncate by a leader: got %v, want ErrLeading", err)
	}
	before.Role = f.log.State().Role
	before.Damaged = true // The first batch could not be read, and that is remembered.
	if after := f.log.State(); after != before {
		t.Errorf("failed truncations changed %+v to %+v", before, after)
	}
}

func TestTruncateEndsWaits(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{}, 1)
	f.replicate(spec{}, 1)
	poll := &outcome{tb: t}
	f.log.AwaitHighWatermark(0, func() { poll.done(nil) })
	f.truncate(1)
	poll.want(nil)
}
