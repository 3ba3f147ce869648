package partition

import (
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/topic"
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
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		var x index
		var want []extent
		end := topic.Offset(0)
		for range 400 {
			switch random.IntN(8) {
			default:
				for range random.IntN(100) {
					e := extent{base: end, count: 1 + random.Int32N(3), latest: random.Int64N(1000)}
					end = e.end()
					x.push(e)
					want = append(want, e)
				}
			case 6:
				keep := random.IntN(len(want) + 1)
				if keep < len(want) {
					end = want[keep].base
				}
				x.cut(keep)
				want = want[:keep]
			case 7:
				n := random.IntN(len(want)/4 + 1)
				x.drop(n)
				want = want[n:]
			}
			wantSameIndex(t, random, &x, want)
		}
	}
}

func wantSameIndex(t *testing.T, random *rand.Rand, x *index, want []extent) {
	t.Helper()
	if x.len() != len(want) {
		t.Fatalf("length %d, want %d", x.len(), len(want))
	}
	if len(want) == 0 {
		return
	}
	i := random.IntN(len(want))
	if got := x.at(i); got.base != want[i].base || got.count != want[i].count {
		t.Fatalf("extent %d is %+v, want %+v", i, *got, want[i])
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
