package partition

import (
	"context"
	"errors"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// deleteRecords moves the start of a log that is led.
func (f *fixture) deleteRecords(before topic.Offset) topic.Offset {
	f.Helper()
	to, _, err := f.log.DeleteRecords(context.Background(), before)
	if err != nil {
		f.Fatalf("delete records before %d: %v", before, err)
	}
	return to
}

func (f *fixture) wantStart(start, durable topic.Offset) {
	f.Helper()
	if s := f.log.State(); s.LogStart != start || s.StartDurable != durable {
		f.Fatalf("log starts at %d, durably at %d, want %d and %d", s.LogStart, s.StartDurable, start, durable)
	}
}

// committed leads and holds n durable and committed batches of one record.
func committed(t *testing.T, n int) *fixture {
	f := newFixture(t)
	f.lead(1)
	for range n {
		f.append(spec{})
	}
	f.journal.flush()
	f.log.SetHighWatermark(topic.Offset(n))
	return f
}

func TestDeletedRecordsAreOutOfRangeAndTheStartIsDurable(t *testing.T) {
	f := committed(t, 5)
	if to := f.deleteRecords(3); to != 3 {
		t.Errorf("the log is to start at %d, want 3", to)
	}
	f.wantStart(3, 0)
	if _, err := f.log.Read(2, 100, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("read below the start: got %v, want ErrOffsetOutOfRange", err)
	}
	if offset, epoch := f.log.Earliest(); offset != 3 || epoch != 1 {
		t.Errorf("earliest is %d of epoch %d, want 3 of 1", offset, epoch)
	}
	f.journal.flush()
	f.wantStart(3, 3)
	f.reopen(false)
	f.wantStart(3, 3)
}

func TestCrashBeforeTheStartIsDurableBringsTheRecordsBack(t *testing.T) {
	f := committed(t, 5)
	f.deleteRecords(3)
	f.reopen(false)
	f.wantStart(0, 0)
}

func TestStartMovesNeitherBackNorAboveWhatIsCommitted(t *testing.T) {
	f := committed(t, 5)
	f.append(spec{})
	f.deleteRecords(3)
	f.deleteRecords(2)
	f.wantStart(3, 0)
	if _, _, err := f.log.DeleteRecords(context.Background(), 6); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("deleting what is not committed: got %v, want ErrOffsetOutOfRange", err)
	}
	if to := f.deleteRecords(topic.NoOffset); to != 5 {
		t.Errorf("deleting everything goes to %d, want the high watermark 5", to)
	}
	f.follow(2)
	if _, _, err := f.log.DeleteRecords(context.Background(), 5); !errors.Is(err, ErrNotLeader) {
		t.Errorf("deleting on a follower: got %v, want ErrNotLeader", err)
	}
	if err := f.log.MoveStart(100); err != nil {
		t.Fatal(err)
	}
	f.wantStart(5, 0)
	f.journal.flush()
}

func TestNewLeaderDeletesNothingBeforeItKnowsWhatIsCommitted(t *testing.T) {
	f := committed(t, 5)
	f.log.Assume(Role{Leading: true, Epoch: 2, AcceptAll: true, AcceptOne: true})
	for _, before := range []topic.Offset{topic.NoOffset, 6} {
		if _, _, err := f.log.DeleteRecords(context.Background(), before); !errors.Is(err, ErrNotReady) {
			t.Errorf("delete before %d: got %v, want ErrNotReady", before, err)
		}
	}
	f.deleteRecords(4)
	f.wantStart(4, 0)
}

func TestProducersAreRememberedByWhatWasDeleted(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{idempotent: true, producer: 7, sequence: 0, count: 2})
	f.journal.flush()
	f.log.SetHighWatermark(2)
	f.deleteRecords(2)
	f.journal.flush()
	for range 2 {
		a := f.append(spec{idempotent: true, producer: 7, sequence: 0, count: 2})
		if !a.Duplicate || a.Base != 0 {
			t.Errorf("a retry is appended at %+v, want the duplicate of 0", a)
		}
		f.reopen(false)
		f.lead(2)
	}
}

func TestEmptiedLogKnowsTheEpochOfItsLastRecord(t *testing.T) {
	f := committed(t, 3)
	f.deleteRecords(3)
	f.journal.flush()
	f.reopen(false)
	if s := f.log.State(); s.TailEpoch != 1 || s.LogEnd != 3 || s.First != 3 || s.Size != 0 {
		t.Errorf("emptied log is %+v, want end and first 3, tail epoch 1, no bytes", s)
	}
	f.follow(2)
	if err := f.tryReplicate(spec{}, 2); err != nil {
		t.Errorf("a batch behind epoch 1: %v", err)
	}
}

// A DeleteRecords that was answered holds on every replica; see the machine's low watermark.
func TestLowWatermarkEndsTheWaitOfItsEpoch(t *testing.T) {
	f := committed(t, 3)
	f.deleteRecords(2)
	first, second := &outcome{tb: t}, &outcome{tb: t}
	f.log.AwaitLowWatermark(1, 2, first.done)
	f.log.AwaitLowWatermark(1, 3, second.done)
	f.log.SetLowWatermark(1)
	first.wantOpen()
	f.log.SetLowWatermark(2)
	first.want(nil)
	second.wantOpen()
	f.follow(2)
	second.want(ErrNotLeader)
	f.lead(3)
	third := &outcome{tb: t}
	f.log.AwaitLowWatermark(3, 2, third.done)
	third.wantOpen() // what an earlier in-sync set had says nothing of this one
	f.journal.flush()
}

func TestResetLogIsNotCountedOnBeforeItIsDurable(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{count: 4}, 1)
	f.journal.seal(1) // under way when the log is replaced
	if err := f.log.Reset(10, 3); err != nil {
		t.Fatal(err)
	}
	f.replicate(spec{}, 3)
	f.journal.settle()
	if s := f.log.State(); s.DurableEnd >= s.LogStart || s.LogStart != 10 || s.LogEnd != 11 || s.TailEpoch != 3 {
		t.Errorf("log is %+v, want 10 to 11, durable below its start", s)
	}
	f.journal.flush()
	f.wantEnds(11, 11)
	f.wantStart(10, 10)
	f.reopen(false)
	f.wantEnds(11, 11)
	if s := f.log.State(); s.LogStart != 10 || s.TailEpoch != 3 || s.Size == 0 {
		t.Errorf("replayed log is %+v, want 10 to 11", s)
	}
}

func TestResetGoesBackToo(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	if err := f.log.Reset(10, 3); err != nil {
		t.Fatal(err)
	}
	f.journal.flush()
	if err := f.log.Reset(0, topic.NoEpoch); err != nil {
		t.Fatal(err)
	}
	f.wantEnds(-1, 0)
	f.journal.flush()
	f.wantEnds(0, 0)
	f.reopen(false)
	f.wantStart(0, 0)
	f.replicate(spec{}, 0)
	f.lead(4)
	if err := f.log.Reset(5, 1); !errors.Is(err, ErrLeading) {
		t.Errorf("reset of a leader's log: got %v, want ErrLeading", err)
	}
}

// The start may lie within a batch. A cut that takes the batch takes the start back to where it began,
// since that is what the leader will send again.
func TestCutOfTheFirstBatchTakesTheStartBack(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{count: 5}, 1)
	f.replicate(spec{count: 5}, 1)
	f.journal.flush()
	f.log.SetHighWatermark(10)
	if err := f.log.MoveStart(7); err != nil {
		t.Fatal(err)
	}
	f.journal.flush()
	if s := f.log.State(); s.LogStart != 7 || s.First != 5 {
		t.Fatalf("log is %+v, want start 7 in the batch at 5", s)
	}
	if entries, ok := f.log.ReadTail(5, 100); !ok || len(entries) != 1 || entries[0].PrevEpoch != 1 {
		t.Errorf("the first batch is not there to be sent: %v, %t", entries, ok)
	}
	f.truncate(8)
	f.journal.flush()
	for range 2 {
		f.wantStart(5, 5)
		f.wantEnds(5, 5)
		f.reopen(false)
	}
	f.follow(2)
	f.replicate(spec{}, 1)
}

func TestFullWALMovesNoStart(t *testing.T) {
	f := committed(t, 3)
	f.journal.limit(wal.Relief, 0)
	if _, _, err := f.log.DeleteRecords(expired(), 2); !errors.Is(err, wal.ErrFull) {
		t.Errorf("delete records: got %v, want ErrFull", err)
	}
	if err := f.log.MoveStart(2); !errors.Is(err, wal.ErrFull) {
		t.Errorf("move the start: got %v, want ErrFull", err)
	}
	f.follow(2)
	if err := f.log.Reset(9, 1); !errors.Is(err, wal.ErrFull) {
		t.Errorf("reset: got %v, want ErrFull", err)
	}
	f.wantStart(0, 0)
}

func TestLargestTimestampGoesWithTheBatchThatBoreIt(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{timestamp: 900})
	f.append(spec{timestamp: 100})
	f.append(spec{timestamp: 200})
	f.journal.flush()
	f.log.SetHighWatermark(3)
	f.deleteRecords(1)
	if offset, found, _, err := f.log.MaxTimestamp(); offset != 2 || found != 200 || err != nil {
		t.Errorf("largest timestamp is %d at %d, %v; want 200 at 2", found, offset, err)
	}
	if offset, _, _, err := f.log.OffsetForTime(300); offset != topic.NoOffset || err != nil {
		t.Errorf("a time after everything is found at %d, %v", offset, err)
	}
	f.journal.flush()
}
