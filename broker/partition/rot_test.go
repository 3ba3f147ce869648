package partition

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
)

// rotten is a store with one pack, in which bytes are spoilt.
type rotten struct {
	*hand
	said bytes.Buffer
	file string
	// batches are those that lie in the pack, in their order there.
	batches []resident
}

// openRotten fills one file and drains or adopts it.
func openRotten(t *testing.T, adopted bool) *rotten {
	t.Helper()
	r := &rotten{}
	var err error
	r.hand, err = openDraining(t, waltest.New(), 1, &catalogtest.Catalog{}, func(cfg *Config) {
		cfg.TailBytesMax, cfg.Logger = 1, slog.New(slog.NewTextHandler(&r.said, nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	r.fill(1)
	drain := r.driver.Drain
	if adopted {
		drain = r.driver.Adopt
	}
	if drained, err := drain(); err != nil || !drained {
		t.Fatalf("got drained %v, %v", drained, err)
	}
	for number := range r.store.drainer.packs {
		r.batches, _ = r.store.residents(number, number)
	}
	r.file = "wal/" + r.batches[0].at.FileName()
	return r
}

// spoil flips a bit so many bytes behind the beginning of a batch's record.
func (r *rotten) spoil(i int, behind int64) {
	r.fs.Damage(r.file, func(b []byte) []byte {
		b[r.batches[i].at.Offset+behind] ^= 1
		return b
	})
}

// scrub makes a pass and wants exactly these batches to be known as damaged.
func (r *rotten) scrub(want ...int) {
	r.t.Helper()
	for !r.driver.Scrub() {
		continue
	}
	known := map[*Log][]topic.Offset{}
	for _, i := range want {
		known[r.batches[i].log] = append(known[r.batches[i].log], r.batches[i].base)
	}
	for _, l := range r.logs {
		if got := l.mu.damaged; len(got) != len(known[l]) {
			r.t.Fatalf("%v: got damage at %v, want it at %v", l.partition, got, known[l])
		}
		for _, base := range known[l] {
			if !l.damagedLocked(base) {
				r.t.Fatalf("%v: got damage at %v, want it at %d, too", l.partition, l.mu.damaged, base)
			}
		}
	}
}

// A pass over a pack goes on behind a place that is damaged, now and in later passes, and what it says is true of
// packs. What it finds comes back from the leader.
func TestScrubOfAPackGoesOnBehindDamage(t *testing.T) {
	for _, adopted := range []bool{false, true} {
		r := openRotten(t, adopted)
		want := r.digest()
		entries := r.entries()
		last := len(r.batches) - 1
		if last < 12 {
			t.Fatalf("got %d batches, too few for the test", last+1)
		}
		r.spoil(3, 2) // its length, so that nobody can tell by the record where the next one begins
		r.spoil(7, 60)
		r.scrub(3, 7)
		r.spoil(last, 60)
		r.scrub(3, 7, last)
		if said := r.said.String(); strings.Contains(said, "a start before") || strings.Count(said, "pack is damaged, batches are lost") != 3 {
			t.Errorf("adopted %v: it says\n%s", adopted, said)
		}
		r.repair(entries)
		if r.digest() != want {
			t.Errorf("adopted %v: the repair gave something else than was lost", adopted)
		}
		for range 3 {
			if _, err := r.driver.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		r.scrub()
		r.close()
	}
}

// A group header is needed by nobody once its file is a pack: that it is damaged hides nothing behind it.
func TestDamagedGroupHeaderOfAPackHidesNothing(t *testing.T) {
	r := openRotten(t, true)
	next := 5
	for r.batches[next].at.Offset%4096 > 100 { // the first of its group
		next++
	}
	r.fs.Damage(r.file, func(b []byte) []byte {
		b[r.batches[next].at.Offset/4096*4096] ^= 1
		return b
	})
	r.spoil(next+2, 60)
	r.scrub(next + 2)
	if said := r.said.String(); strings.Contains(said, "a start before") || !strings.Contains(said, "pack is damaged where no batch lies that is still needed") {
		t.Errorf("it says\n%s", said)
	}
	r.close()
}

// entries are all batches of all logs, as their leaders would send them.
func (r *rotten) entries() (all []Entry) {
	r.t.Helper()
	for _, l := range r.logs {
		state := l.State()
		pieces := l.pieces(state.LogStart, state.LogEnd, 1<<30)
		if _, err := l.load(pieces); err != nil {
			r.t.Fatal(err)
		}
		before := topic.NoEpoch
		for _, p := range pieces {
			all = append(all, Entry{Partition: l.partition, Epoch: p.epoch, PrevEpoch: before, Base: p.base, Count: p.count,
				Payload: bytes.Clone(p.payload)})
			before = p.epoch
		}
	}
	return all
}

// repair cuts the logs where they are damaged, and fills them again.
func (r *rotten) repair(entries []Entry) {
	r.t.Helper()
	for _, d := range r.store.Damaged() {
		l := r.store.Log(d.Partition)
		l.Assume(Role{Epoch: r.epoch + 1})
		if err := r.store.PrepareCut(d.Partition); err != nil {
			r.t.Fatal(err)
		}
		if err := l.CutDamage(); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, e := range entries {
		if l := r.store.Log(e.Partition); e.Base >= l.State().LogEnd {
			if err := l.AppendReplica(e); err != nil {
				r.t.Fatalf("fill %v at %d: %v", e.Partition, e.Base, err)
			}
			r.settle()
		}
	}
	if got := r.store.Damaged(); len(got) > 0 {
		r.t.Errorf("got damage %v after the repair", got)
	}
}

// A block that the device does not give back costs the batches that lie in it, and is one damaged place for each.
func TestScrubOfAPackGoesOnBehindAnUnreadableBlock(t *testing.T) {
	for _, adopted := range []bool{false, true} {
		r := openRotten(t, adopted)
		from := r.batches[4].at.Offset / 4096 * 4096
		var want []int
		for i, b := range r.batches {
			if b.at.Offset < from+4096 && b.at.Offset+int64(b.encoded) > from {
				want = append(want, i)
			}
		}
		r.fs.Intercept(func(op waltest.Op) error {
			if op.Verb == waltest.Read && op.Name == r.file && op.Offset < from+4096 && op.Offset+op.Bytes > from {
				return fmt.Errorf("read: %w", syscall.EIO)
			}
			return nil
		})
		r.scrub(want...)
		if got, most := r.store.walLog.ScrubStats().Damage, int64(len(want))+1; got == 0 || got > most { // and a group header
			t.Errorf("adopted %v: got %d damaged places, want at most %d", adopted, got, most)
		}
		r.close()
	}
}
