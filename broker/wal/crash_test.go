package wal_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

var (
	crashSeed  = flag.Uint64("wal.seed", 0, "run the crash test with this seed only")
	crashSeeds = flag.Uint64("wal.seeds", 60, "how many seeds the crash test runs")
)

// failure modes 32, 33, 36: whatever a crash takes of what was not synced, be it during writing or
// during recovery, and however often: each record that was reported durable is found again, in order,
// with nothing before it missing and nothing that was never appended.
func TestCrashesLoseNothingThatWasDurable(t *testing.T) {
	crashTest(t, wal.Always)
}

// Under the interval policy a loss of power may take what was reported durable, and only that: what
// is left is still a prefix, and it is never mistaken for damage. A killed process loses nothing.
func TestCrashesUnderIntervalLeaveAPrefix(t *testing.T) {
	crashTest(t, wal.Policy{Interval: time.Millisecond})
}

func crashTest(t *testing.T, policy wal.Policy) {
	first, last := uint64(1), *crashSeeds
	if *crashSeed != 0 {
		first, last = *crashSeed, *crashSeed
	}
	for seed := first; seed <= last && !t.Failed(); seed++ {
		c := &crashes{t: t, seed: seed, policy: policy, fs: waltest.New(),
			random: rand.New(rand.NewPCG(seed, 1))}
		for round := range 6 {
			c.round(round)
		}
		c.epilogue()
	}
}

// crashes is one seed's life of a log.
type crashes struct {
	t      *testing.T
	seed   uint64
	policy wal.Policy
	random *rand.Rand
	fs     *waltest.FS
	// appended is everything that may be found, in order; the first kept of it must be.
	appended []wal.Record
	kept     int
	number   uint64
}

// round opens, appends until the file system dies or enough is written, and crashes.
func (c *crashes) round(round int) {
	c.fs.CrashAfter(1 + c.random.IntN(250))
	if n := c.open(round); n != nil {
		c.work(n)
	}
	if c.random.IntN(3) == 0 {
		c.fs = c.fs.Restart()
		return
	}
	if c.policy != wal.Always {
		c.kept = 0
	}
	c.fs = c.fs.Crash(c.random)
}

// open checks what is found; nil means that the file system died on the way.
func (c *crashes) open(round int) *node {
	cfg := small(c.fs)
	cfg.Sync = c.policy
	n, err := open(c.t, cfg)
	if errors.Is(err, waltest.ErrCrashed) {
		return nil
	}
	if err != nil {
		c.t.Fatalf("seed %d round %d: open: %v", c.seed, round, err)
	}
	if len(n.found) < c.kept || len(n.found) > len(c.appended) {
		c.t.Fatalf("seed %d round %d: found %d records; %d were durable, %d appended",
			c.seed, round, len(n.found), c.kept, len(c.appended))
	}
	for i, r := range n.found {
		if !equal(r, c.appended[i]) {
			c.t.Fatalf("seed %d round %d: record %d is base %d, want base %d",
				c.seed, round, i, r.Base, c.appended[i].Base)
		}
	}
	// Recovery has synced what it found before it returned: it stays.
	c.appended = c.appended[:len(n.found)]
	c.kept = len(n.found)
	n.run()
	return n
}

// work appends from two sides at once, with a pause for durability now and then.
func (c *crashes) work(n *node) {
	var mu sync.Mutex
	var group sync.WaitGroup
	found := len(c.appended)
	for b := range 2 {
		random := rand.New(rand.NewPCG(c.seed, c.random.Uint64()))
		group.Go(func() {
			for range random.IntN(60) {
				size := random.IntN(3000)
				if random.IntN(10) == 0 {
					size = random.IntN(16<<10 - wal.RecordHeaderBytes)
				}
				mu.Lock()
				c.number++
				r := data(c.number, size)
				mu.Unlock()
				err := n.Reserve(c.t.Context(), wal.Budget(b), wal.EncodedLen(r))
				if err != nil {
					return
				}
				if random.IntN(10) == 0 {
					n.Release(wal.Budget(b), wal.EncodedLen(r))
					continue
				}
				mu.Lock()
				c.appended = append(c.appended, r)
				n.Append(wal.Budget(b), r)
				mark := len(c.appended) - found
				mu.Unlock()
				if random.IntN(4) == 0 {
					n.awaitDurableOrEnd(mark)
				}
				if random.IntN(8) == 0 {
					n.Seal(n.End().File)
				}
			}
		})
	}
	group.Wait()
	if c.random.IntN(2) == 0 {
		n.awaitDurableOrEnd(len(c.appended) - found)
	}
	if err := n.stop(); err != nil && !errors.Is(err, waltest.ErrCrashed) {
		c.t.Fatalf("seed %d: run: %v", c.seed, err)
	}
	durable := n.sink.durables()
	same(c.t, "durable", records(durable), c.appended[found:found+len(durable)])
	c.kept = found + len(durable)
}

// awaitDurableOrEnd waits for n durable records or for Run to end.
func (n *node) awaitDurableOrEnd(count int) {
	for {
		n.sink.mu.Lock()
		met, changed := len(n.sink.durable) >= count, n.sink.changed
		n.sink.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-n.ended:
			return
		}
	}
}

// epilogue opens once more without a crash, and reads everything back.
func (c *crashes) epilogue() {
	c.fs.CrashAfter(-1)
	n := c.open(99)
	defer n.stop()
	r := data(c.number+1, 100)
	n.putDurable(r)
	want := append(n.found, r)
	same(c.t, "scanned", records(scanAll(c.t, n.Log, wal.Position{}, 0)), want)
	damage, err := wal.Dump(c.fs, dir, func(wal.DumpRecord) {})
	if err != nil || len(damage) > 0 {
		c.t.Fatalf("seed %d: dump: %v, %v", c.seed, damage, err)
	}
}

// Blocks of an earlier life of a file lie exactly where new groups would: they must not be taken.
func TestOldGroupsInARecycledFileAreNotTaken(t *testing.T) {
	fs := waltest.New()
	n := start(t, small(fs))
	n.putDurable(series(1, 8, 1000)...)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	old := fs.Content(wal.FileName(dir, 1))
	for _, name := range []string{"00000000000000000901.spare", "00000000000000000902.spare"} {
		f, err := fs.Create(dir+"/"+name, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(old, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	want := series(1, 8, 1000)
	for round := range uint64(3) {
		n = start(t, small(fs))
		same(t, "recovered", n.found, want)
		more := series(100*(round+1), 2, 1000)
		n.putDurable(more...)
		want = append(want, more...)
		same(t, "scanned", records(scanAll(t, n.Log, wal.Position{}, 0)), want)
		fs = fs.Restart()
	}
}

// The torn bytes stay in the old file; the chain goes on in a new one, whose first group names the
// last good one; and so again after the next crash.
func TestChainJumpsOverTornBytes(t *testing.T) {
	fs := waltest.New()
	var want []wal.Record
	for round := range uint64(5) {
		n := start(t, small(fs))
		same(t, "recovered", n.found, want)
		more := series(100*round, 3, 2000)
		n.putDurable(more...)
		want = append(want, more...)
		end := n.End()
		fs = fs.Restart()
		// A group that was begun and torn.
		torn := wal.PutGroup(wal.GroupHeader{Sequence: 3*round + 4, Generation: end.File,
			Session: sessions.last}, series(1000, 4, 2000))
		fs.Damage(wal.FileName(dir, end.File), func(b []byte) []byte {
			copy(b[end.Offset:], torn[:len(torn)/2])
			return b
		})
	}
	n := start(t, small(fs))
	same(t, "recovered", n.found, want)
}
