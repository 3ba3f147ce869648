package partition

import (
	"context"
	"testing"
	"testing/synctest"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

func TestHighWatermarkIsMonotoneAndCapped(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	for range 10 {
		f.append(spec{})
	}
	for _, step := range []struct{ set, want topic.Offset }{{4, 4}, {2, 4}, {-1, 4}, {4, 4}, {99, 10}, {9, 10}} {
		f.log.SetHighWatermark(step.set)
		if got := f.log.State().HighWatermark; got != step.want {
			t.Errorf("high watermark after setting %d is %d, want %d", step.set, got, step.want)
		}
	}
}

func TestCommitWaitEndsAtTheLogEndMeant(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	a := f.append(spec{count: 5})
	o := &outcome{tb: t}
	f.log.AwaitCommit(1, a.End, o.done)
	f.log.SetHighWatermark(a.Base)
	f.log.SetHighWatermark(a.End - 1) // the last offset is not the end (failure mode 20)
	o.wantOpen()
	f.log.SetHighWatermark(a.End)
	o.want(nil)

	at := &outcome{tb: t}
	f.log.AwaitCommit(1, a.End, at.done)
	at.want(nil)
}

func TestDurableWaitEndsWhenTheGroupIsDurable(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	a := f.append(spec{count: 5})
	o := &outcome{tb: t}
	f.log.AwaitDurable(1, a.End, o.done)
	f.log.SetHighWatermark(a.End)
	f.journal.seal(1)
	o.wantOpen()
	f.journal.settle()
	o.want(nil)

	at := &outcome{tb: t}
	f.log.AwaitDurable(1, a.End, at.done)
	at.want(nil)
}

func TestObserverHearsOfBatchesAlone(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	f.append(spec{})
	f.journal.flush()
	f.log.SetHighWatermark(2)
	f.store.saveHighWatermarks(0)
	f.journal.flush()
	if want := (DurableEnd{Partition: p0, LogEnd: 2, DurableEnd: 2}); len(f.observer.ends) != 1 || f.observer.ends[0] != want {
		t.Errorf("the observer heard %+v, want once %+v", f.observer.ends, want)
	}
}

func TestWaitsEndWithTheLeadership(t *testing.T) {
	changes := map[string]struct {
		change func(*fixture)
		want   error
	}{
		"following":                {func(f *fixture) { f.follow(1) }, ErrNotLeader},
		"following in a new epoch": {func(f *fixture) { f.follow(2) }, ErrNotLeader},
		"leading in a new epoch":   {func(f *fixture) { f.lead(2) }, ErrNotLeader},
		"removed":                  {func(f *fixture) { _ = f.store.Remove(p0) }, ErrNotLeader},
		"failed":                   {func(f *fixture) { f.store.fail(wal.ErrFailed) }, wal.ErrFailed},
		"stopped":                  {func(f *fixture) { f.store.fail(ErrStopped) }, ErrStopped},
	}
	for name, test := range changes {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.lead(1)
			f.append(spec{})
			commit, durable, poll := &outcome{tb: t}, &outcome{tb: t}, &outcome{tb: t}
			f.log.AwaitCommit(1, 1, commit.done)
			f.log.AwaitDurable(1, 1, durable.done)
			f.log.AwaitHighWatermark(0, func() { poll.done(nil) })
			test.change(f)
			commit.want(test.want)
			durable.want(test.want)
			poll.want(nil)
			// What comes later changes nothing.
			f.log.SetHighWatermark(1)
			f.journal.flush()
			commit.want(test.want)
			durable.want(test.want)
			poll.want(nil)
			late := &outcome{tb: t}
			f.log.AwaitCommit(1, 1, late.done)
			late.want(test.want)
		})
	}
}

func TestFlagsChangeWithoutEndingWaits(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	o := &outcome{tb: t}
	f.log.AwaitCommit(1, 1, o.done)
	f.log.Assume(Role{Leading: true, Epoch: 1})
	f.log.Assume(Role{Leading: false, Epoch: 0}) // an old image
	o.wantOpen()
	f.log.SetHighWatermark(1)
	o.want(nil)
}

func TestWaitInAnotherEpochIsRefused(t *testing.T) {
	f := newFixture(t)
	f.lead(2)
	f.append(spec{})
	f.log.SetHighWatermark(1)
	o := &outcome{tb: t}
	f.log.AwaitCommit(1, 1, o.done)
	o.want(ErrNotLeader)
}

func TestCancelledWaitIsNotCalled(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	commit, durable, poll := &outcome{tb: t}, &outcome{tb: t}, &outcome{tb: t}
	cancels := []func(){
		f.log.AwaitCommit(1, 1, commit.done),
		f.log.AwaitDurable(1, 1, durable.done),
		f.log.AwaitHighWatermark(0, func() { poll.done(nil) }),
	}
	for range 2 {
		for _, cancel := range cancels {
			cancel()
		}
		f.log.SetHighWatermark(1)
		f.journal.flush()
		f.follow(2)
	}
	commit.wantOpen()
	durable.wantOpen()
	poll.wantOpen()
}

func TestLongPollWakesAboveItsOffset(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	for range 3 {
		f.append(spec{})
	}
	f.log.SetHighWatermark(1)
	below, at := &outcome{tb: t}, &outcome{tb: t}
	f.log.AwaitHighWatermark(0, func() { below.done(nil) })
	below.want(nil)
	f.log.AwaitHighWatermark(1, func() { at.done(nil) })
	at.wantOpen()
	f.log.SetHighWatermark(2)
	at.want(nil)
}

// A fetch that looks again and again at a log that has ended would burn a core until its time is up,
// just when the node needs it to stop.
func TestLongPollOfAnEndedLogWaits(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	f.store.fail(wal.ErrFailed)
	poll := &outcome{tb: t}
	f.log.AwaitHighWatermark(0, func() { poll.done(nil) })
	poll.wantOpen()
	f.log.SetHighWatermark(1)
	poll.want(nil)
}

// A callback may use the log: no lock is held while it runs (failure modes 1 and 3).
func TestCallbacksRunWithoutLocks(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	calls := 0
	use := func() { calls++; f.log.State(); f.store.Partitions(); f.log.Assume(f.log.State().Role) }
	f.log.AwaitCommit(1, 1, func(error) { use() })
	f.log.AwaitHighWatermark(0, use)
	f.log.SetHighWatermark(1)
	f.log.AwaitCommit(1, 1, func(error) { use() })
	f.log.AwaitDurable(1, 1, func(error) { use() })
	f.journal.flush()
	f.log.AwaitCommit(1, 2, func(error) { use() })
	f.follow(2)
	if calls != 5 {
		t.Errorf("%d callbacks were called, want 5", calls)
	}
}

func TestRunEndsAllWaitsAndSavesHighWatermarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.lead(1)
		f.append(spec{})
		f.append(spec{})
		f.log.SetHighWatermark(1)
		o := &outcome{tb: t}
		f.log.AwaitCommit(1, 2, o.done)
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() {
			result <- f.store.run(ctx, func(ctx context.Context) error {
				<-ctx.Done()
				f.journal.flush()
				return nil
			})
		}()
		synctest.Wait()
		o.wantOpen()
		cancel()
		if err := <-result; err != nil {
			t.Fatalf("run: %v", err)
		}
		o.want(ErrStopped)
		f.refuse(spec{}, AcksAll, ErrStopped)
		f.reopen(false)
		if s := f.log.State(); s.HighWatermark != 1 || s.LogEnd != 2 {
			t.Errorf("after a clean stop the log is %+v, want high watermark 1, end 2", s)
		}
	})
}

func TestFailedWALEndsAllWaits(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	commit, durable := &outcome{tb: t}, &outcome{tb: t}
	f.log.AwaitCommit(1, 1, commit.done)
	f.log.AwaitDurable(1, 1, durable.done)
	broken := context.DeadlineExceeded
	err := f.store.run(context.Background(), func(context.Context) error { return broken })
	commit.want(wal.ErrFailed)
	durable.want(wal.ErrFailed)
	if err == nil {
		t.Error("run returned nil, want the failure")
	}
	f.refuse(spec{}, AcksAll, wal.ErrFailed)
	late := &outcome{tb: t}
	f.log.AwaitDurable(1, 1, late.done)
	late.want(wal.ErrFailed)
	other := f.store.Create(topic.Partition{Index: 5})
	if other.mu.failed == nil {
		t.Error("a log created after the failure takes appends")
	}
}
