package partition

import (
	"errors"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

func TestReplayRebuildsWhatWasDurable(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	for i := range int32(7) {
		f.append(spec{count: 2, idempotent: true, producer: 4, sequence: 2 * i, timestamp: int64(i)})
	}
	f.lead(3)
	f.append(spec{idempotent: true, producer: 5, sequence: 8})
	f.log.SetHighWatermark(6)
	f.clock.advance(time.Hour)
	f.store.Tick()
	f.journal.flush()
	want, producers, epochs := f.log.State(), f.log.mu.producers, f.log.Epochs()
	f.append(spec{}) // lost
	f.reopen(false)
	got := f.log.State()
	want.Role, got.Role = Role{}, Role{}
	if got != want {
		t.Errorf("reopened log is %+v, want %+v", got, want)
	}
	wantSameProducers(t, f.log.mu.producers, producers)
	if got := f.log.Epochs(); len(got) != 2 || got[0] != epochs[0] || got[1] != epochs[1] {
		t.Errorf("epochs are %v, want %v", got, epochs)
	}
	if got, err := f.log.Read(0, 1<<20, true); err != nil || len(got.Batches) != 3 {
		t.Errorf("read gave %d batches, %v; want the 3 committed ones", len(got.Batches), err)
	}
	f.refuse(spec{}, AcksAll, ErrNotLeader) // no role survives
}

func TestHighWatermarkIsCheckpointedWhenItMoved(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.HighWatermarkCheckpoint = 5 * time.Second })
	f.lead(1)
	f.append(spec{})
	f.append(spec{})
	checkpoints := func() int {
		f.journal.flush()
		n := 0
		for _, k := range f.journal.kinds() {
			if k == wal.HighWatermark {
				n++
			}
		}
		return n
	}
	tick := func(after time.Duration, want int) {
		t.Helper()
		f.clock.advance(after)
		f.store.Tick()
		if got := checkpoints(); got != want {
			t.Fatalf("%d checkpoints at %v, want %d", got, f.clock.now(), want)
		}
	}
	tick(10*time.Second, 0) // nothing moved
	f.log.SetHighWatermark(1)
	tick(time.Second, 0)
	tick(4*time.Second, 1)
	tick(5*time.Second, 1) // idle costs nothing (failure mode 17)
	f.log.SetHighWatermark(2)
	f.journal.limit(wal.Leader, 0)
	tick(5*time.Second, 1)
	f.journal.limit(wal.Leader, journalCapacity)
	tick(5*time.Second, 2)
	f.reopen(false)
	if got := f.log.State().HighWatermark; got != 2 {
		t.Errorf("high watermark after a restart is %d, want 2", got)
	}
	tick(5*time.Second, 2) // it is saved already
	f.lead(2)
	f.append(spec{count: savedBehind + 1})
	f.store.found.Store(int32(busy))
	f.log.SetHighWatermark(2 + savedBehind)
	tick(time.Second, 2) // not far enough behind for a busy disk
	f.log.SetHighWatermark(3 + savedBehind)
	tick(time.Second, 3)
	tick(time.Second, 3)
}

// After a cut the checkpoint in the WAL counts only up to the cut.
func TestHighWatermarkIsCheckpointedAgainAfterACut(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	for range 2 {
		f.replicate(spec{}, 1)
		f.replicate(spec{}, 1)
		f.log.SetHighWatermark(2)
		f.store.saveHighWatermarks(0)
		f.truncate(0)
	}
	f.replicate(spec{}, 2)
	f.replicate(spec{}, 2)
	f.log.SetHighWatermark(2)
	f.store.saveHighWatermarks(0)
	f.journal.flush()
	f.reopen(false)
	if got := f.log.State().HighWatermark; got != 2 {
		t.Errorf("high watermark after a restart is %d, want 2", got)
	}
}

func TestCheckpointIsCappedAtTheLogEnd(t *testing.T) {
	f := newFixture(t)
	f.follow(1)
	f.replicate(spec{}, 1)
	f.replicate(spec{}, 1)
	f.log.SetHighWatermark(2)
	f.store.saveHighWatermarks(0)
	f.truncate(1)
	f.journal.flush()
	f.reopen(false)
	if s := f.log.State(); s.HighWatermark != 1 || s.LogEnd != 1 {
		t.Errorf("log is %+v, want high watermark and end 1", s)
	}
}

func TestRemovedPartitionIsGoneAndMayComeBack(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{count: 5})
	old := f.log
	if err := f.store.Remove(p0); err != nil {
		t.Fatal(err)
	}
	if f.store.Log(p0) != nil || len(f.store.Partitions()) != 0 {
		t.Error("a removed partition is still listed")
	}
	if _, err := old.Read(0, 100, true); !errors.Is(err, ErrRemoved) {
		t.Errorf("read gave %v, want ErrRemoved", err)
	}
	if err := old.Truncate(0); !errors.Is(err, ErrRemoved) {
		t.Errorf("truncate gave %v, want ErrRemoved", err)
	}
	f.log = f.store.Create(p0)
	f.lead(9)
	f.append(spec{count: 2})
	// The old incarnation's records are still in the queue and must not count for the new one.
	f.journal.seal(1)
	f.journal.settle()
	f.wantEnds(0, 2)
	f.journal.seal(1)
	f.journal.settle()
	f.wantEnds(0, 2)
	f.journal.flush()
	f.wantEnds(2, 2)
	if len(f.observer.entries) != 1 || f.observer.entries[0].Epoch != 9 {
		t.Errorf("the observer saw %+v, want the new batch alone", f.observer.entries)
	}
	if len(f.store.mu.removing) != 0 {
		t.Errorf("removals are still counted: %v", f.store.mu.removing)
	}
	f.reopen(false)
	if s := f.log.State(); s.LogEnd != 2 || s.TailEpoch != 9 {
		t.Errorf("reopened log is %+v, want end 2, epoch 9", s)
	}
}

func TestRemoveWithoutSpaceChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.journal.limit(wal.Relief, 0)
	if err := f.store.Remove(p0); !errors.Is(err, wal.ErrFull) {
		t.Errorf("got %v, want wal.ErrFull", err)
	}
	if f.store.Log(p0) != f.log {
		t.Error("the partition is gone")
	}
	f.journal.limit(wal.Relief, journalCapacity)
	if err := f.store.Remove(topic.Partition{Index: 77}); err != nil {
		t.Errorf("removing what is not there gave %v", err)
	}
}

func TestLogStartIsReplayed(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	for i := range 4 {
		f.append(spec{count: 2, timestamp: int64(100 - i)})
	}
	f.lead(2)
	f.append(spec{count: 2, timestamp: 50})
	put := func(base topic.Offset) {
		r := wal.Record{Kind: wal.LogStart, Partition: p0, Base: base}
		f.journal.TryReserve(wal.Leader, wal.EncodedLen(r))
		f.journal.Append(wal.Leader, r)
		f.journal.flush()
		f.reopen(false)
	}
	size := int64(len(build(spec{count: 2})))
	put(5)
	s := f.log.State()
	if s.LogStart != 5 || s.HighWatermark != 5 || s.LogEnd != 10 || s.Size != 3*size || s.Unacked != 3*size {
		t.Errorf("log is %+v, want start and high watermark 5, end 10, %d bytes", s, 3*size)
	}
	if _, err := f.log.Read(4, 100, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("read below the start gave %v, want ErrOffsetOutOfRange", err)
	}
	f.log.SetHighWatermark(10)
	if got, err := f.log.Read(5, 1<<20, true); err != nil || len(got.Batches) != 3 {
		t.Errorf("read gave %d batches, %v; want 3", len(got.Batches), err)
	}
	put(20) // beyond the end: a fresh start
	if s := f.log.State(); s.LogStart != 20 || s.LogEnd != 20 || s.HighWatermark != 20 || s.DurableEnd != 20 || s.Size != 0 {
		t.Errorf("log is %+v, want everything at 20", s)
	}
	f.lead(3)
	if a := f.append(spec{}); a.Base != 20 || a.LogStart != 20 {
		t.Errorf("appended at %+v, want 20", a)
	}
}

// The WAL vouches for order; a gap in it is damage, and a log that starts over it would serve a hole.
func TestGapInTheWALRefusesToOpen(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	f.append(spec{})
	f.append(spec{})
	f.journal.flush()
	j := f.journal.survivors(false)
	s := newStore(f.store.cfg)
	if err := s.replay(j.durable[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.replay(j.durable[2]); err == nil {
		t.Error("a WAL with a gap was opened")
	}
}

func TestProducersExpireByTick(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.ProducerIDExpiration = 16 * time.Minute })
	f.lead(1)
	s := spec{idempotent: true, producer: 1, sequence: 3}
	f.append(s)
	f.log.SetHighWatermark(1)
	f.clock.advance(15 * time.Minute)
	f.store.Tick()
	if a := f.append(s); !a.Duplicate {
		t.Error("a producer was forgotten too early")
	}
	f.clock.advance(2 * time.Minute)
	f.store.Tick()
	if a := f.append(s); a.Duplicate {
		t.Error("a producer was not forgotten")
	}
}

func TestConfigIsJudgedAtTheDoor(t *testing.T) {
	good := testConfig(&clock{})
	for name, change := range map[string]func(*Config){
		"no clock":       func(c *Config) { c.Now = nil },
		"another's sink": func(c *Config) { c.WAL.Sink = sink{} },
		"negative bound": func(c *Config) { c.TailBytesMax = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s: was opened", name)
		}
	}
}
