package wal_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// gate holds up writes of groups, or syncs, until it is opened.
type gate struct {
	verb    waltest.Verb
	mu      sync.Mutex
	shut    chan struct{}
	reached chan waltest.Op
}

func newGate(verb waltest.Verb) *gate {
	return &gate{verb: verb, shut: make(chan struct{}), reached: make(chan waltest.Op, 100)}
}

// isGroup tells a write of a group from the making of a file.
func isGroup(op waltest.Op) bool {
	return strings.HasSuffix(op.Name, ".wal") && op.Offset != 0 || op.Verb == waltest.Sync
}

func (g *gate) intercept(op waltest.Op) error {
	if op.Verb != g.verb || !strings.HasSuffix(op.Name, ".wal") || !isGroup(op) {
		return nil
	}
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	g.reached <- op
	<-shut
	return nil
}

func (g *gate) open() { close(g.shut) }

// failure mode 31: after a write or a sync has gone wrong nothing is reported durable, nothing is
// tried again, and everybody is told.
func TestFailedDiskStopsTheLogForEver(t *testing.T) {
	for _, verb := range []waltest.Verb{waltest.Write, waltest.Sync} {
		t.Run(string(verb), func(t *testing.T) {
			fs := waltest.New()
			n := start(t, small(fs))
			n.putDurable(data(1, 100))
			var broken atomic.Bool
			var after atomic.Int32
			fs.Intercept(func(op waltest.Op) error {
				if !strings.HasSuffix(op.Name, ".wal") || op.Verb != waltest.Write && op.Verb != waltest.Sync {
					return nil
				}
				if broken.Load() {
					after.Add(1)
				}
				if op.Verb == verb && broken.CompareAndSwap(false, true) {
					return syscall.EIO
				}
				return nil
			})
			lost := data(2, 100)
			n.put(wal.Leader, lost)
			<-n.ended
			if !errors.Is(n.err, wal.ErrFailed) || !errors.Is(n.err, syscall.EIO) {
				t.Fatalf("run: %v", n.err)
			}
			if after.Load() != 0 {
				t.Fatalf("%d operations after the failure", after.Load())
			}
			same(t, "durable", records(n.sink.durables()), series(1, 1, 100))
			if err := n.Reserve(t.Context(), wal.Leader, 100); !errors.Is(err, wal.ErrFailed) {
				t.Fatalf("reserve: %v", err)
			}
			if n.TryReserve(wal.Follower, 100) {
				t.Fatal("reserved")
			}
			if err := n.Run(t.Context()); err == nil {
				t.Fatal("ran again")
			}
			// What was durable before can still be read.
			same(t, "scanned", records(scanAll(t, n.Log, wal.Position{}, 0)), series(1, 1, 100))
		})
	}
}

func TestFailureReachesThoseWhoWait(t *testing.T) {
	fs := waltest.New()
	held := newGate(waltest.Sync)
	cfg := small(fs)
	cfg.QueueBytesMax = [2]int64{16 << 10, 16 << 10}
	n := start(t, cfg)
	n.putDurable(data(1, 10))
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Sync && op.Name == wal.FileName(dir, 1) {
			return errors.Join(held.intercept(op), syscall.EIO)
		}
		return nil
	})
	n.put(wal.Leader, data(2, 8<<10))
	<-held.reached
	n.put(wal.Leader, data(3, 7<<10))
	if err := n.Reserve(t.Context(), wal.Follower, 200); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error)
	go func() { answer <- n.Reserve(t.Context(), wal.Leader, 8<<10) }()
	awaitWaiting(t, n, 1)
	held.open()
	if err := <-answer; !errors.Is(err, wal.ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("waiting reserve: %v", err)
	}
	<-n.ended
	n.Append(wal.Follower, data(4, 200-wal.RecordHeaderBytes))
}

// awaitWaiting waits until so many reservations wait.
func awaitWaiting(t *testing.T, n *node, want int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if _, _, _, waiting := n.Accounts(); waiting == want {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("never saw %d waiting", want)
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// failure mode 3: a device that hangs holds up nobody who does not ask for its data.
func TestNothingWaitsForAHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := waltest.New()
		n := start(t, small(fs))
		n.putDurable(data(1, 100))
		if age := n.Age(); age != 0 {
			t.Fatalf("age %s with nothing to write", age)
		}
		hung := newGate(waltest.Sync)
		fs.Intercept(hung.intercept)
		n.put(wal.Leader, data(2, 100))
		<-hung.reached
		n.put(wal.Leader, data(3, 100))
		if !n.TryReserve(wal.Follower, 100) {
			t.Fatal("no room")
		}
		n.Release(wal.Follower, 100)
		same(t, "scanned", records(scanAll(t, n.Log, wal.Position{}, 0)), series(1, 1, 100))
		<-time.After(3 * time.Second)
		if age := n.Age(); age != 3*time.Second {
			t.Fatalf("age %s after 3s", age)
		}
		hung.open()
		n.sink.awaitDurable(t, 3)
		if age := n.Age(); age != 0 {
			t.Fatalf("age %s in the end", age)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Sealed comes before the write, Durable after the sync, and while one group is written the next one
// takes all that arrives.
func TestGroupsFillWhileTheDiskIsBusy(t *testing.T) {
	fs := waltest.New()
	cfg := small(fs)
	cfg.FileBytes = 1 << 20
	n := start(t, cfg)
	n.putDurable(data(1, 10))
	writes, syncs := newGate(waltest.Write), newGate(waltest.Sync)
	fs.Intercept(func(op waltest.Op) error {
		return errors.Join(writes.intercept(op), syncs.intercept(op))
	})
	n.put(wal.Leader, data(2, 10))
	<-writes.reached
	n.sink.mu.Lock()
	events := fmt.Sprint(n.sink.events)
	n.sink.mu.Unlock()
	if events != "[sealed 1 durable 1 sealed 2]" {
		t.Fatalf("at the write: %s", events)
	}
	n.put(wal.Leader, series(3, 50, 10)...)
	n.put(wal.Follower, series(53, 50, 10)...)
	writes.open()
	<-syncs.reached
	if got := len(n.sink.durables()); got != 1 {
		t.Fatalf("%d durable before the sync", got)
	}
	syncs.open()
	n.sink.awaitDurable(t, 102)
	if n.sink.groups != 3 {
		t.Fatalf("%d groups, want 3", n.sink.groups)
	}
	same(t, "durable", records(n.sink.durables()), series(1, 102, 10))
}

// failure mode 53, and the two budgets: a full queue makes the leader wait, in order, while followers
// go on; what is cancelled has not happened.
func TestFullQueueIsBackPressure(t *testing.T) {
	fs := waltest.New()
	cfg := small(fs)
	cfg.QueueBytesMax = [2]int64{16 << 10, 16 << 10}
	n := start(t, cfg)
	n.putDurable(data(1, 10))
	held := newGate(waltest.Write)
	fs.Intercept(held.intercept)
	n.put(wal.Leader, data(2, 12<<10))
	<-held.reached

	// Two that do not fit now: the second would fit, but does not overtake.
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { first <- n.Reserve(ctx, wal.Leader, 14<<10) }()
	awaitWaiting(t, n, 1)
	go func() { second <- n.Reserve(t.Context(), wal.Leader, 1<<10) }()
	awaitWaiting(t, n, 2)
	if n.TryReserve(wal.Leader, 100) {
		t.Fatal("overtook those who wait")
	}
	n.put(wal.Follower, data(3, 8<<10))

	cancel()
	if err := <-first; !errors.Is(err, wal.ErrFull) || !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	if err := <-second; err != nil {
		t.Fatalf("behind the cancelled one: %v", err)
	}
	n.Release(wal.Leader, 1<<10)
	held.open()
	n.sink.awaitDurable(t, 3)
	if err := n.Reserve(t.Context(), wal.Leader, 14<<10); err != nil {
		t.Fatal(err)
	}
	n.Release(wal.Leader, 14<<10)
}

// A full disk is back-pressure, never a failure, and it ends when there is space again.
func TestFullDiskIsBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := waltest.New()
		fs.SetCapacity(5 * 64 << 10)
		n := start(t, small(fs))
		number := uint64(0)
		for {
			r := data(number, 3000)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := n.Reserve(ctx, wal.Leader, wal.EncodedLen(r))
			cancel()
			if errors.Is(err, wal.ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n.Append(wal.Leader, r)
			number++
		}
		if number < 30 {
			t.Fatalf("full after %d records", number)
		}
		n.sink.awaitDurable(t, int(number))
		fs.SetCapacity(0)
		n.put(wal.Leader, series(number, 20, 3000)...)
		n.sink.awaitDurable(t, int(number)+20)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A node starts, and serves what it has, on a disk without room for one more file.
func TestOpenOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := waltest.New()
		n := start(t, small(fs))
		n.putDurable(series(1, 3, 100)...)
		n.cancel()
		<-n.ended
		fs = fs.Restart()
		for i := range uint64(3) {
			// The files that were ready would be used again.
			fs.Delete(wal.FileName(dir, i+2))
		}
		fs.SetCapacity(64 << 10)
		n = start(t, small(fs))
		same(t, "recovered", n.found, series(1, 3, 100))
		same(t, "scanned", records(scanAll(t, n.Log, wal.Position{}, 0)), series(1, 3, 100))
		if n.TryReserve(wal.Leader, 100) {
			t.Fatal("reserved without space")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := n.Reserve(ctx, wal.Leader, 100); !errors.Is(err, wal.ErrFull) {
			t.Fatalf("got %v", err)
		}
		fs.SetCapacity(0)
		n.put(wal.Leader, data(4, 100))
		n.sink.awaitDurable(t, 1)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// failure mode 53: reserved, released, cancelled, appended, on two budgets, with a device that is slow
// and full now and then: start checks at the end that all accounts are at zero.
func TestAccountsReturnToZero(t *testing.T) {
	fs := waltest.New()
	cfg := small(fs)
	cfg.QueueBytesMax = [2]int64{24 << 10, 24 << 10}
	n := start(t, cfg)
	var group sync.WaitGroup
	var appended atomic.Int64
	for worker := range 8 {
		group.Go(func() {
			for i := range uint64(60) {
				b := wal.Budget(worker % 2)
				r := data(i, int(i*977%12000))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7+1)*100*time.Microsecond)
				err := n.Reserve(ctx, b, wal.EncodedLen(r))
				cancel()
				switch {
				case err != nil:
				case i%5 == 0:
					n.Release(b, wal.EncodedLen(r))
				default:
					n.Append(b, r)
					appended.Add(1)
				}
			}
		})
	}
	group.Wait()
	n.sink.awaitDurable(t, int(appended.Load()))
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
}

// Under the interval policy a group is durable when written, and the sync follows by itself.
func TestIntervalSyncsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := waltest.New()
		cfg := small(fs)
		cfg.Sync = wal.Policy{Interval: time.Minute}
		n := start(t, cfg)
		synctest.Wait()
		var syncs atomic.Int32
		fs.Intercept(func(op waltest.Op) error {
			if op.Verb == waltest.Sync && strings.HasSuffix(op.Name, ".wal") {
				syncs.Add(1)
			}
			return nil
		})
		n.putDurable(series(1, 3, 100)...)
		if syncs.Load() != 0 {
			t.Fatalf("%d syncs before the interval", syncs.Load())
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if syncs.Load() != 1 {
			t.Fatalf("%d syncs after the interval", syncs.Load())
		}
		<-time.After(10 * time.Minute)
		if syncs.Load() != 1 {
			t.Fatalf("%d syncs with nothing to sync", syncs.Load())
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
