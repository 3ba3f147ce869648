package partition

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

func TestAppendAssignsOffsetsAndWritesThemIntoTheBatch(t *testing.T) {
	f := newFixture(t)
	f.lead(7)
	f.append(spec{count: 3})
	b := build(spec{count: 2})
	a, err := f.log.Append(context.Background(), b, AppendOptions{Acks: 1})
	if err != nil || a != (Appended{Base: 3, End: 5, Timestamp: 1, Epoch: 7}) {
		t.Fatalf("got %+v and %v, want offsets 3 to 5 in epoch 7", a, err)
	}
	if base, epoch := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[12:]); base != 3 || epoch != 7 {
		t.Errorf("the batch says base %d, epoch %d; want 3, 7", base, epoch)
	}
	f.wantEnds(0, 5)
	f.journal.flush()
	f.wantEnds(5, 5)
	if len(f.observer.entries) != 2 || &f.observer.entries[1].Payload[0] != &b[0] {
		t.Errorf("the observer saw %d entries, want 2 that are not copies", len(f.observer.entries))
	}
}

func TestGatesRefuseBeforeAnythingHappens(t *testing.T) {
	open := Role{Leading: true, Epoch: 3, AcceptAll: true, AcceptOne: true}
	with := func(change func(*Role)) Role { r := open; change(&r); return r }
	tests := []struct {
		name    string
		role    Role
		lease   time.Duration
		all     error
		one     error
		prepare func(*fixture)
	}{
		{"a follower", Role{Epoch: 3}, Forever, ErrNotLeader, ErrNotLeader, nil},
		{"too few in sync", with(func(r *Role) { r.AcceptAll = false }), Forever, ErrNotEnoughReplicas, nil, nil},
		{"too few heard", with(func(r *Role) { r.AcceptAll, r.AcceptOne = false, false }), Forever,
			ErrNotEnoughReplicas, ErrNotLeader, nil},
		{"the lease has just ended", open, 10 * time.Second, ErrNotEnoughReplicas, ErrNotLeader, nil},
		{"the lease has not ended", open, 10*time.Second + 1, nil, nil, nil},
		{"an epoch older than the tail's", open, Forever, ErrNotLeader, ErrNotLeader,
			func(f *fixture) { f.replicate(spec{}, 4) }},
		{"a failed WAL", open, Forever, wal.ErrFailed, wal.ErrFailed,
			func(f *fixture) { f.store.fail(wal.ErrFailed) }},
		{"a removed partition", open, Forever, ErrNotLeader, ErrNotLeader,
			func(f *fixture) { _ = f.store.Remove(p0) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.clock.advance(10 * time.Second)
			if test.prepare != nil {
				test.prepare(f)
			}
			f.log.Assume(test.role)
			f.store.SetLease(test.lease)
			for _, try := range []struct {
				acks int16
				want error
			}{{AcksAll, test.all}, {1, test.one}, {0, test.one}} {
				if try.want != nil {
					f.refuse(spec{}, try.acks, try.want)
				} else if _, err := f.log.Append(expired(), build(spec{}), AppendOptions{Acks: try.acks}); err != nil {
					t.Errorf("append with acks %d: %v", try.acks, err)
				}
			}
		})
	}
}

func TestNoLeaseUntilOneIsGranted(t *testing.T) {
	f := newFixture(t)
	fresh := newStore(testConfig(f.clock))
	fresh.appender = f.journal
	l := fresh.Create(p0)
	l.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true, AcceptOne: true})
	if _, err := l.Append(expired(), build(spec{}), AppendOptions{Acks: AcksAll}); !errors.Is(err, ErrNotEnoughReplicas) {
		t.Errorf("append without a lease: got %v, want ErrNotEnoughReplicas", err)
	}
}

func TestWhatIsNoBatchIsRefused(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	if _, err := f.log.Append(expired(), []byte("short"), AppendOptions{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

// A refused batch leaves no hole: the next one gets the offset (failure mode 29).
func TestFullWALRefusesWithoutAHole(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	f.journal.limit(wal.Leader, 0)
	f.refuse(spec{}, AcksAll, wal.ErrFull)
	f.journal.limit(wal.Leader, journalCapacity)
	if a := f.append(spec{}); a.Base != 1 {
		t.Errorf("base offset after a refusal is %d, want 1", a.Base)
	}
	if granted := f.log.mu.room.granted; granted != 0 {
		t.Errorf("%d bytes of room leaked", granted)
	}
}

// What was true before the wait for space must be true after it.
func TestRoleIsCheckedAgainAfterTheWaitForSpace(t *testing.T) {
	changes := map[string]struct {
		change func(*fixture)
		want   error
	}{
		"leadership lost":  {func(f *fixture) { f.follow(2) }, ErrNotLeader},
		"gate closed":      {func(f *fixture) { f.log.Assume(Role{Leading: true, Epoch: 1}) }, ErrNotEnoughReplicas},
		"lease ended":      {func(f *fixture) { f.store.SetLease(0) }, ErrNotEnoughReplicas},
		"WAL failed":       {func(f *fixture) { f.store.fail(wal.ErrFailed) }, wal.ErrFailed},
		"a newer producer": {func(f *fixture) {}, ErrInvalidProducerEpoch},
	}
	for name, test := range changes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.lead(1)
				f.journal.limit(wal.Leader, 0)
				result := make(chan error, 1)
				b := build(spec{idempotent: true, producer: 1, epoch: 4, sequence: 9})
				go func() {
					_, err := f.log.Append(context.Background(), b, AppendOptions{Acks: AcksAll})
					result <- err
				}()
				synctest.Wait()
				if errors.Is(test.want, ErrInvalidProducerEpoch) {
					newer := pb(1, 5, 0, 1)
					f.log.mu.Lock()
					f.log.mu.producers.record(newer, 0, 0)
					f.log.mu.Unlock()
				}
				test.change(f)
				f.journal.limit(wal.Leader, journalCapacity)
				if err := <-result; !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if s := f.log.State(); s.LogEnd != 0 || f.log.mu.room.granted != 0 {
					t.Errorf("log end %d and room %d after a refusal, want 0, 0", s.LogEnd, f.log.mu.room.granted)
				}
			})
		})
	}
}

// batchBytes is the size of a batch of spec{}; twoBatches lets that many be unacknowledged.
var batchBytes = int64(len(build(spec{})))

func twoBatches(c *Config) { c.UnackedBytesMax = 2 * batchBytes }

func TestAppendWaitsForRoomUntilItsContextEnds(t *testing.T) {
	f := newFixture(t, twoBatches)
	f.lead(1)
	f.append(spec{})
	f.append(spec{})
	f.refuse(spec{}, AcksAll, ErrNotEnoughReplicas)
	f.refuse(spec{}, 1, ErrNotEnoughReplicas)
	f.log.SetHighWatermark(1)
	f.append(spec{})
	if s := f.log.State(); s.Unacked != 2*batchBytes || s.Size != 3*batchBytes {
		t.Errorf("%d of %d bytes are unacknowledged, want %d of %d", s.Unacked, s.Size, 2*batchBytes, 3*batchBytes)
	}
}

// TestBatchThatWaitsForTheDiskThroughAnElectionIsRefused: 1. A batch is appended and not committed. 2. The next one of its
// producer waits for the WAL. 3. The log follows, the first batch is cut, and the log leads again: nobody asks any more
// what came before the second.
func TestBatchThatWaitsForTheDiskThroughAnElectionIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.lead(1)
		f.append(spec{idempotent: true, producer: 7})
		f.journal.limit(wal.Leader, 0)
		result := make(chan error, 1)
		go func() {
			_, err := f.log.Append(context.Background(), build(spec{idempotent: true, producer: 7, sequence: 1}), AppendOptions{Acks: AcksAll})
			result <- err
		}()
		synctest.Wait()
		f.follow(2)
		f.truncate(0)
		f.lead(3)
		f.journal.limit(wal.Leader, journalCapacity)
		if err := <-result; !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v, want %v", err, ErrNotLeader)
		}
		if end := f.log.State().LogEnd; end != 0 {
			t.Errorf("the log ends at %d, want 0", end)
		}
	})
}

func TestOneBatchLargerThanTheBoundIsLetThrough(t *testing.T) {
	f := newFixture(t, twoBatches)
	f.lead(1)
	f.append(spec{value: make([]byte, 10*batchBytes)})
	f.refuse(spec{}, AcksAll, ErrNotEnoughReplicas)
	f.log.SetHighWatermark(1)
	f.append(spec{})
}

func TestRoomIsGivenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, twoBatches)
		f.lead(1)
		f.append(spec{})
		f.append(spec{})
		var order []int
		for i := range 4 {
			go func() {
				a, err := f.log.Append(context.Background(), build(spec{}), AppendOptions{Acks: AcksAll})
				if err != nil || a.Base != topic.Offset(2+i) {
					t.Errorf("waiter %d: offset %d, error %v", i, a.Base, err)
				}
				order = append(order, i)
			}()
			synctest.Wait()
		}
		for i := range 4 {
			if len(order) != i {
				t.Fatalf("%d waiters were served, want %d", len(order), i)
			}
			f.log.SetHighWatermark(topic.Offset(i + 1))
			synctest.Wait()
		}
	})
}

func TestWhoGivesUpOnRoomLetsASmallerOneThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, twoBatches)
		f.lead(1)
		f.append(spec{})
		ctx, cancel := context.WithCancel(context.Background())
		large, small := make(chan error, 1), make(chan error, 1)
		try := func(ctx context.Context, s spec, result chan<- error) {
			_, err := f.log.Append(ctx, build(s), AppendOptions{Acks: AcksAll})
			result <- err
		}
		go try(ctx, spec{value: make([]byte, batchBytes)}, large)
		synctest.Wait()
		go try(context.Background(), spec{}, small) // it would fit, but another one was first
		synctest.Wait()
		if len(large) != 0 || len(small) != 0 {
			t.Fatal("a small batch overtook one that waits")
		}
		cancel()
		err := <-large
		if !errors.Is(err, ErrNotEnoughReplicas) || !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
		if err := <-small; err != nil {
			t.Errorf("who came next got %v", err)
		}
	})
}

func TestLosingTheLeadershipEndsTheWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, twoBatches)
		f.lead(1)
		f.append(spec{})
		f.append(spec{})
		result := make(chan error, 1)
		go func() {
			_, err := f.log.Append(context.Background(), build(spec{}), AppendOptions{Acks: AcksAll})
			result <- err
		}()
		synctest.Wait()
		f.follow(2)
		if err := <-result; !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v, want ErrNotLeader", err)
		}
	})
}

func TestFollowersTailTakesRoomOnceItLeads(t *testing.T) {
	f := newFixture(t, twoBatches)
	f.follow(1)
	for range 5 {
		f.replicate(spec{}, 1)
	}
	f.lead(2)
	f.refuse(spec{}, AcksAll, ErrNotEnoughReplicas)
	f.log.SetHighWatermark(4)
	f.append(spec{})
}

// A retry is answered with the original offsets, and its producer waits like the first time: the
// original may not be committed (failure mode 49).
func TestDuplicateIsAnsweredWithTheOriginalOffsets(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	s := spec{idempotent: true, producer: 9, count: 4}
	f.append(spec{})
	original := f.append(s)
	again := f.append(s)
	if want := (Appended{Base: 1, End: 5, Timestamp: 3, Epoch: 1, Duplicate: true}); again != want {
		t.Fatalf("a retry got %+v, want %+v", again, want)
	}
	if original.Duplicate || original.Base != again.Base {
		t.Errorf("the original got %+v", original)
	}
	committed := &outcome{tb: t}
	f.log.AwaitCommit(again.Epoch, again.End, committed.done)
	committed.wantOpen()
	f.log.SetHighWatermark(5)
	committed.want(nil)
	f.wantEnds(0, 5)
	if granted := f.log.mu.room.granted; granted != 0 {
		t.Errorf("%d bytes of room leaked", granted)
	}
}

func TestProducerRulesHoldOnAppend(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	at := func(epoch int16, sequence int32) spec {
		return spec{idempotent: true, producer: 9, epoch: epoch, sequence: sequence}
	}
	f.append(at(1, 5))
	f.refuse(at(1, 7), AcksAll, ErrOutOfOrderSequence)
	f.refuse(at(0, 6), AcksAll, ErrInvalidProducerEpoch)
	f.refuse(at(2, 6), AcksAll, ErrOutOfOrderSequence)
	f.append(at(1, 6))
	f.append(at(2, 0))
}

func TestReplicaIsAppendedOnlyWhereItBelongs(t *testing.T) {
	entry := func(base topic.Offset, epoch, prev topic.Epoch) Entry {
		return Entry{Partition: p0, Epoch: epoch, PrevEpoch: prev, Base: base, Count: 1,
			Payload: placed(spec{}, base, epoch)}
	}
	changed := func(e Entry, change func(*Entry)) Entry { change(&e); return e }
	tests := []struct {
		name  string
		entry Entry
		want  error
	}{
		{"the next one", entry(2, 5, 5), nil},
		{"the first of a new epoch", entry(2, 8, 5), nil},
		{"one further on", entry(3, 5, 5), ErrGap},
		{"one that is there already", entry(1, 5, 5), ErrGap},
		{"one that follows another epoch", entry(2, 5, 4), ErrDiverged},
		{"one that follows nothing", entry(2, 5, topic.NoEpoch), ErrDiverged},
		{"one of an older epoch", entry(2, 4, 5), ErrDiverged},
		{"no batch", changed(entry(2, 5, 5), func(e *Entry) { e.Payload = e.Payload[:30] }), ErrMalformed},
		{"a batch of another offset", changed(entry(2, 5, 5), func(e *Entry) { e.Payload = placed(spec{}, 9, 5) }), ErrMalformed},
		{"a batch of another epoch", changed(entry(2, 5, 5), func(e *Entry) { e.Payload = placed(spec{}, 2, 9) }), ErrMalformed},
		{"a batch of another length", changed(entry(2, 5, 5), func(e *Entry) { e.Count = 2 }), ErrMalformed},
		{"another partition's", changed(entry(2, 5, 5), func(e *Entry) { e.Partition.Index = 1 }), ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.follow(5)
			f.replicate(spec{count: 2}, 5)
			before := f.log.State()
			if err := f.log.AppendReplica(test.entry); !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if after := f.log.State(); test.want != nil && after != before {
				t.Errorf("a refused entry changed %+v to %+v", before, after)
			}
		})
	}
}

func TestReplicaNeverWaits(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.journal.limit(wal.Follower, 0)
	if err := f.tryReplicate(spec{}, 1); !errors.Is(err, wal.ErrFull) {
		t.Errorf("a full follower budget gave %v, want wal.ErrFull", err)
	}
	f.journal.limit(wal.Follower, journalCapacity)
	f.journal.limit(wal.Leader, 0) // a leader's backlog is no reason
	f.replicate(spec{}, 1)
	f.lead(2)
	if err := f.tryReplicate(spec{}, 2); !errors.Is(err, ErrLeading) {
		t.Errorf("a leader replicating gave %v, want ErrLeading", err)
	}
}

// A follower has the state that its leader has: after a failover the retry is still recognised.
func TestFollowerDerivesTheSameProducerState(t *testing.T) {
	leader, follower := newFixture(t), newFixture(t)
	leader.lead(1)
	follower.follow(1)
	for i := range int32(8) {
		leader.append(spec{idempotent: true, producer: int64(i % 2), sequence: i / 2})
	}
	leader.journal.flush()
	for _, e := range leader.observer.entries {
		if err := follower.log.AppendReplica(e); err != nil {
			t.Fatal(err)
		}
	}
	leader.log.SetHighWatermark(6)
	follower.log.SetHighWatermark(6)
	wantSameProducers(t, follower.log.mu.producers, leader.log.mu.producers)
	follower.lead(2)
	again := follower.append(spec{idempotent: true, producer: 1, sequence: 3})
	if !again.Duplicate || again.Base != 7 || again.Epoch != 2 {
		t.Errorf("a retry after failover got %+v, want a duplicate at 7, epoch 2", again)
	}
}

// TestFencedAppendIsForItsEpochAlone: a coordinator that lost the leadership and won it back has
// missed what was written in between.
func TestFencedAppendIsForItsEpochAlone(t *testing.T) {
	f := newFixture(t)
	told := 0
	f.store.WatchRoles(func() { told++ })
	f.lead(3)
	f.lead(3) // nothing new
	fenced := AppendOptions{Acks: AcksAll, Fenced: true, Epoch: 3}
	if _, err := f.log.Append(expired(), build(spec{}), fenced); err != nil {
		t.Errorf("append in its epoch: %v", err)
	}
	f.follow(4)
	f.lead(5)
	if _, err := f.log.Append(expired(), build(spec{}), fenced); !errors.Is(err, ErrNotLeader) {
		t.Errorf("append in a later epoch: got %v, want ErrNotLeader", err)
	}
	f.wantEnds(0, 1)
	if told != 3 {
		t.Errorf("changes of role: told of %d, want 3", told)
	}
}
