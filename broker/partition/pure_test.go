package partition

import (
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

func TestQueueKeepsOrderAndLetsGo(t *testing.T) {
	var q queue[*int]
	random := rand.New(rand.NewPCG(1, 1))
	var want []*int
	for i := range 5000 {
		switch random.IntN(5) {
		case 0, 1, 2:
			n := i
			q.push(&n)
			want = append(want, &n)
		case 3:
			if len(want) > 0 {
				if got := q.pop(); got != want[0] {
					t.Fatalf("popped %d, want %d", *got, *want[0])
				}
				want = want[1:]
			}
		case 4:
			keep := len(want) - random.IntN(min(3, len(want)+1))
			q.cut(keep)
			want = want[:keep]
		}
		if q.len() != len(want) {
			t.Fatalf("length %d, want %d", q.len(), len(want))
		}
	}
	for i, w := range want {
		if *q.at(i) != w {
			t.Fatalf("item %d differs", i)
		}
	}
	for i, item := range q.items[:cap(q.items)][:] {
		if live := i >= q.head && i < len(q.items); !live && item != nil {
			t.Fatalf("a taken item is still held at %d", i)
		}
	}
}

func TestIndexAgreesWithASlice(t *testing.T) {
	spilled := int64(0)
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		var x index
		spill := memorySpill(8)
		if seed%2 == 1 {
			x.spill = spill
		}
		var want []extent
		end, settled := topic.Offset(0), 0
		for range 400 {
			x.hasty = x.spill != nil && random.IntN(2) == 0
			if x.spill != nil && random.IntN(8) == 0 {
				spillAll(&x)
			}
			spoil(spill)
			switch random.IntN(11) {
			default:
				for range random.IntN(100) {
					e := extent{base: end, count: 1 + random.Int32N(3), newest: random.Int64N(1000) - 1, bytes: 70 + random.Int32N(5000),
						epoch: topic.Epoch(len(want) / 700)}
					e.base += topic.Offset(random.Int32N(50) / 49) // a compaction leaves gaps
					e.latest, e.encoded = e.newest, int32(wal.EncodedBytes(int(e.bytes)))
					end = e.end()
					x.push(e)
					if e.latest = max(e.latest, -1); len(want) > 0 {
						e.latest = max(e.latest, want[len(want)-1].latest)
					}
					want = append(want, e)
				}
			case 8: // They become durable in their order.
				for n := random.IntN(len(want) - settled + 1); n > 0; n-- {
					at := wal.Position{File: 1 + uint64(settled/900), Offset: 4096 + int64(settled)*6000}
					if _, ok := x.settle(settled, want[settled].base+1, at); ok {
						t.Fatalf("extent %d begins at %d, and was taken for one that begins behind that", settled, want[settled].base)
					}
					if end, ok := x.settle(settled, want[settled].base, at); !ok || end != want[settled].end() {
						t.Fatalf("extent %d settled: got end %d %t, want %d", settled, end, ok, want[settled].end())
					}
					want[settled].at = at
					settled++
				}
			case 9: // They are drained.
				if settled == 0 {
					continue
				}
				from := random.IntN(settled)
				for i := from; i < min(settled, from+random.IntN(900)); i++ {
					at := wal.Position{File: wal.PackBit | uint64(1+from), Offset: 4096 + int64(i)*5000}
					x.set(i, withPlace(x.at(i), at))
					want[i].at = at
				}
			case 10: // They are compacted.
				if settled == 0 {
					continue
				}
				i := random.IntN(settled)
				j := i + 1 + random.IntN(settled-i)
				if random.IntN(2) == 0 {
					i = 0
				}
				want, settled = compactedAtRandom(random, &x, want, i, j, settled)
			case 6:
				keep := random.IntN(len(want) + 1)
				if keep < len(want) {
					end = want[keep].base
				}
				x.cut(keep)
				want, settled = want[:keep], min(settled, keep)
			case 7:
				n := random.IntN(len(want)/4 + 1)
				n = min(n, settled)
				x.drop(n)
				want, settled = want[n:], settled-n
				withMaxima(want)
			}
			wantSound(t, &x)
			wantSameIndex(t, random, &x, want)
		}
		x.reset()
		used, file := spill.Bytes()
		if used != 0 {
			t.Fatalf("%d bytes of a file of %d are in use by an empty index", used, file)
		}
		spilled += file
	}
	if spilled == 0 {
		t.Error("nothing was ever spilled")
	}
}

// withMaxima makes the running maxima.
func withMaxima(want []extent) {
	for i := range want {
		if want[i].latest = want[i].newest; i > 0 {
			want[i].latest = max(want[i].newest, want[i-1].latest)
		}
	}
}

// compactedAtRandom splices others in the place of the extents from i up to j, of which the front was dropped meanwhile if they are the
// first ones.
func compactedAtRandom(random *rand.Rand, x *index, want []extent, i, j, settled int) (all []extent, left int) {
	out := index{spill: x.spill, hasty: random.IntN(2) == 0}
	var now []extent
	for base, end := want[i].base, want[j-1].end(); base < end; {
		e := extent{base: base, count: min(1+random.Int32N(4), int32(end-base)), newest: random.Int64N(1000) - 1, bytes: 70 + random.Int32N(5000)}
		e.latest, e.encoded = e.newest, int32(wal.EncodedBytes(int(e.bytes)))
		e.at = wal.Position{File: wal.PackBit | 1<<20 | uint64(len(now)/800), Offset: 4096 + int64(len(now))*5000}
		out.push(e)
		now, base = append(now, e), e.end()
	}
	out.finish()
	if n := random.IntN(len(now)); i == 0 && random.IntN(2) == 0 {
		out.drop(n)
		now = now[n:]
		gone := slices.IndexFunc(want, func(e extent) bool { return e.end() > now[0].base })
		x.drop(gone)
		want, j, settled = want[gone:], j-gone, settled-gone
		out.close()
	}
	var was tally
	for _, e := range want[i:j] {
		was.add(e.at, int64(e.encoded))
	}
	for k, rest := 0, x.splice(i, j, &out, was, nil); k < len(rest); k++ {
		x.giveBack(&rest[k])
	}
	all = slices.Concat(want[:i], now, want[j:])
	withMaxima(all)
	return all, settled - (j - i) + len(now)
}

// wantSound checks what an index presumes of its chunks.
func wantSound(t *testing.T, x *index) {
	t.Helper()
	for k := range x.chunks {
		c, is := &x.chunks[k], x.chunks[k].open
		if is == nil {
			is = thaw(nil, c.frozen)
		}
		switch {
		case len(is) == 0 || len(is) >= 3*chunkLength/2 || x.behind(k)-c.from != len(is):
			t.Fatalf("chunk %d has %d extents, %d numbers", k, len(is), x.behind(k)-c.from)
		case k < x.frozen == (len(c.frozen) == 0), k >= x.frozen && c.open == nil, k == len(x.chunks)-1 && k < x.frozen:
			t.Fatalf("chunk %d of %d, %d of which are frozen: %d bytes, %d open", k, len(x.chunks), x.frozen, len(c.frozen), len(c.open))
		case k < x.unspilled && !c.spilled && len(c.frozen) <= spillLargest:
			t.Fatalf("chunk %d is not spilled, and %d are taken for spilled", k, x.unspilled)
		case k == 0 && (x.gone < c.from || x.gone >= c.from+len(is)):
			t.Fatalf("%d extents are gone, the first chunk has those from %d to %d", x.gone, c.from, c.from+len(is))
		}
	}
}

// memorySpill can grow so often.
func memorySpill(segments int) *Spill {
	return newSpill(slog.New(slog.DiscardHandler), func(bytes int) ([]byte, error) {
		if segments--; segments < 0 {
			return nil, syscall.ENOSPC
		}
		return make([]byte, bytes), nil
	})
}

// spillAll does for one index what spillIndex does for that of a log.
func spillAll(x *index) {
	for {
		k, frozen, more := x.spillable()
		if !more {
			return
		}
		if frozen == nil {
			continue
		}
		slot, ok := x.spill.put(frozen)
		if !ok {
			return
		}
		if !x.spilledAs(k, frozen, slot) {
			x.spill.give(slot)
		}
	}
}

// spoil overwrites the slots that are free.
func spoil(s *Spill) {
	for _, slots := range s.mu.free {
		for _, slot := range slots {
			for i := range slot {
				slot[i] = 0xfe
			}
		}
	}
}

func withPlace(e extent, at wal.Position) extent {
	e.at = at
	return e
}

// A million durable batches take little memory, those of a pack least.
func TestIndexOfDurableBatchesIsSmall(t *testing.T) {
	var x index
	const count = 200_000
	for i := range count {
		e := extent{base: topic.Offset(i) * 20, count: 20, epoch: 7, bytes: 20_000 + int32(i%512),
			newest: 1_700_000_000_000 + int64(i)*15}
		e.latest, e.encoded = e.newest, int32(wal.EncodedBytes(int(e.bytes)))
		e.at = wal.Position{File: wal.PackBit | 1<<17 + uint64(i/3000), Offset: 4096 + int64(i%3000)*21_000}
		x.push(e)
	}
	bytes := 0
	for _, c := range x.chunks {
		bytes += cap(c.frozen) + cap(c.open)*56
	}
	if per := float64(bytes) / count; per > 16 {
		t.Errorf("a batch takes %.1f bytes, want 16 at most", per)
	} else {
		t.Logf("a batch takes %.1f bytes", per)
	}
}

func wantSameIndex(t *testing.T, random *rand.Rand, x *index, want []extent) {
	t.Helper()
	if x.len() != len(want) {
		t.Fatalf("length %d, want %d", x.len(), len(want))
	}
	if len(want) > 0 && x.first() != want[0].base {
		t.Fatalf("the first begins at %d, want %d", x.first(), want[0].base)
	}
	packs := map[uint64]int64{}
	for _, e := range want {
		if e.at.File&wal.PackBit != 0 {
			packs[e.at.File&^wal.PackBit] += int64(e.encoded)
		}
	}
	counted := map[uint64]int64{}
	for _, p := range x.packs {
		counted[p.number] = p.bytes
	}
	if !maps.Equal(counted, packs) || len(counted) != len(x.packs) {
		t.Fatalf("counted in packs are %v, want %v", x.packs, packs)
	}
	if len(want) == 0 {
		return
	}
	i := random.IntN(len(want))
	for j := max(0, i-3); j < min(i+3, len(want)); j++ {
		if got := x.at(j); got != want[j] {
			t.Fatalf("extent %d is %+v, want %+v", j, got, want[j])
		}
	}
	j := i + random.IntN(len(want)-i+1)
	bytes, oldest := int64(0), int64(math.MaxInt64)
	for _, e := range want[i:j] {
		bytes, oldest = bytes+int64(e.bytes), min(oldest, e.age())
	}
	if gotBytes, gotOldest := x.sum(i, j); gotBytes != bytes || gotOldest != oldest {
		t.Fatalf("extents %d to %d are of %d bytes, the oldest of %d, want %d and %d", i, j, gotBytes, gotOldest, bytes, oldest)
	}
	front := int64(0)
	for _, e := range want[:i] {
		front += int64(e.bytes)
	}
	if got := x.beyond(j, front+100, 100); got != i {
		t.Fatalf("without %d extents are the bytes left that shall be, want %d", got, i)
	}
	n, ts := random.IntN(len(want)+1), random.Int64N(1100)
	reached := slices.IndexFunc(want[:n], func(e extent) bool { return e.latest >= ts })
	if reached < 0 {
		reached = n
	}
	if got := x.reaching(ts, n); got != reached {
		t.Fatalf("the first of %d to reach %d is %d, want %d", n, ts, got, reached)
	}
	inside := want[i].base + topic.Offset(random.Int32N(want[i].count))
	if got := x.covering(inside); got != i {
		t.Fatalf("offset %d is in extent %d, want %d", inside, got, i)
	}
	if got := x.covering(want[len(want)-1].end()); got != len(want) {
		t.Fatalf("the end is in extent %d, want %d", got, len(want))
	}
}

func TestTimestampSearchFindsTheFirstBatchThatReaches(t *testing.T) {
	var x index
	stamps := []int64{10, 30, 20, 30, 50, 40}
	for i, ts := range stamps {
		x.push(extent{base: topic.Offset(i), count: 1, latest: ts})
	}
	for _, n := range []int{0, 1, 3, 6} {
		for ts := int64(0); ts < 60; ts++ {
			want := slices.IndexFunc(stamps[:n], func(s int64) bool { return s >= ts })
			if want < 0 {
				want = n
			}
			if got := x.reaching(ts, n); got != want {
				t.Errorf("first of %d batches to reach %d is %d, want %d", n, ts, got, want)
			}
		}
	}
}

func TestEpochEndFollowsOffsetForLeaderEpoch(t *testing.T) {
	type answer struct {
		epoch topic.Epoch
		end   topic.Offset
	}
	unknown := answer{topic.NoEpoch, topic.NoOffset}
	log := epochCache{{Epoch: 2, Start: 0}, {Epoch: 3, Start: 10}, {Epoch: 6, Start: 25}}
	const logEnd = 40
	tests := []struct {
		name    string
		cache   epochCache
		leading topic.Epoch
		logEnd  topic.Offset
		asked   topic.Epoch
		want    answer
	}{
		{"none asked", log, 6, logEnd, topic.NoEpoch, unknown},
		{"future epoch", log, 6, logEnd, 7, unknown},
		{"newest epoch", log, 6, logEnd, 6, answer{6, 40}},
		{"newest epoch on a follower", log, topic.NoEpoch, logEnd, 6, answer{6, 40}},
		{"older epoch", log, 6, logEnd, 3, answer{3, 25}},
		{"epoch without records", log, 6, logEnd, 5, answer{3, 25}},
		{"oldest epoch", log, 6, logEnd, 2, answer{2, 10}},
		{"older than the oldest", log, 6, logEnd, 1, answer{1, 0}},
		{"led epoch without records", log, 9, logEnd, 9, answer{9, 40}},
		{"before the led epoch", log, 9, logEnd, 8, answer{6, 40}},
		{"newest with records while leading", log, 9, logEnd, 6, answer{6, 40}},
		{"empty log, not leading", nil, topic.NoEpoch, 0, 0, unknown},
		{"empty log, led epoch", nil, 4, 0, 4, answer{4, 0}},
		{"empty log, older epoch", nil, 4, 0, 3, answer{3, 0}},
	}
	for _, test := range tests {
		epoch, end := test.cache.end(test.asked, test.leading, test.logEnd)
		if got := (answer{epoch, end}); got != test.want {
			t.Errorf("%s: end of epoch %d is %+v, want %+v", test.name, test.asked, got, test.want)
		}
	}
}

func TestEpochCacheFollowsTheLog(t *testing.T) {
	var c epochCache
	c.note(1, 0)
	c.note(1, 5)
	c.note(4, 10)
	c.note(5, 20)
	for offset, want := range map[topic.Offset]topic.Epoch{-1: -1, 0: 1, 9: 1, 10: 4, 19: 4, 20: 5, 99: 5} {
		if got := c.of(offset); got != want {
			t.Errorf("epoch of %d is %d, want %d", offset, got, want)
		}
	}
	c.cut(20)
	if c.tail() != 4 {
		t.Errorf("tail epoch after the cut is %d, want 4", c.tail())
	}
	c.note(7, 20)
	c.drop(15)
	if want := (epochCache{{4, 10}, {7, 20}}); !slices.Equal(c, want) {
		t.Errorf("cache is %v, want %v", c, want)
	}
	c.cut(0)
	if c.tail() != topic.NoEpoch {
		t.Errorf("tail epoch of an empty log is %d, want none", c.tail())
	}
}

func TestWaitersWakeInOrderOfTheirOffsets(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 3))
		var h waiters
		var waiting []*waiter
		woken := map[*waiter]bool{}
		reached := topic.Offset(0)
		for range 500 {
			switch random.IntN(4) {
			default:
				w := &waiter{until: reached + 1 + topic.Offset(random.IntN(100))}
				w.done = func(error) { woken[w] = true }
				h.add(w)
				waiting = append(waiting, w)
			case 2:
				if len(waiting) == 0 {
					continue
				}
				i := random.IntN(len(waiting))
				if !h.remove(waiting[i]) || h.remove(waiting[i]) {
					t.Fatal("a waiter is taken out once")
				}
				waiting = slices.Delete(waiting, i, i+1)
			case 3:
				reached += topic.Offset(random.IntN(30))
				h.reached(reached, nil).call()
				waiting = slices.DeleteFunc(waiting, func(w *waiter) bool {
					if woken[w] != (w.until <= reached) {
						t.Fatalf("waiter until %d at %d: woken is %v", w.until, reached, woken[w])
					}
					return woken[w]
				})
			}
		}
		before := len(woken)
		h.all(nil, nil).call()
		if len(woken)-before != len(waiting) || len(h) != 0 {
			t.Fatalf("%d waiters were dismissed, want %d", len(woken)-before, len(waiting))
		}
	}
}
