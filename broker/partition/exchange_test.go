package partition

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A compaction is put into a log of which the start moves, that grows, and that is cut behind it at any step of that: the log has
// what was compacted from its start on, and behind it what it had.
func TestCompactionIsPutIntoALogThatChangesMeanwhile(t *testing.T) {
	moved := 0
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 7))
		l, c := vast(t, chunkLength+random.IntN(4*chunkLength))
		// A portion may be any part of it.
		if first := random.IntN(c.out.len()) / 2; random.IntN(2) == 0 {
			c.keep(first, first+1+random.IntN(c.out.len()-first))
		}
		begun, out := extents(l), all(newListing(c.out))
		want := func() (all []extent) { // what the log should have by now
			for _, e := range slices.Concat(begun[:below(begun, c.was.first())], out, begun[below(begun, c.was.end()):]) {
				if e.end() > l.mu.start && e.base < l.mu.end {
					all = append(all, e)
				}
			}
			withMaxima(all)
			return all
		}
		change := func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			switch committed := l.mu.highWatermark; random.IntN(4) {
			case 0: // Retention.
				start := min(committed, l.mu.start+1+topic.Offset(random.Int64N(int64(committed-l.mu.start)+1)/8))
				if random.IntN(20) == 0 {
					start = committed
				}
				l.moveStartLocked(start)
				moved++
			case 1: // Produce; some of it gets durable.
				for n := random.IntN(2 * chunkLength); n > 0; n-- {
					e := extent{base: l.mu.end, count: 1 + random.Int32N(3), newest: random.Int64N(1 << 41), epoch: 7, bytes: 100}
					e.latest, e.encoded = e.newest, int32(wal.EncodedBytes(100))
					l.mu.index.push(e)
					l.mu.end, l.mu.bytes, l.mu.room.unacked = e.end(), l.mu.bytes+100, l.mu.room.unacked+100
					begun = append(begun, e)
				}
				for n := random.IntN(l.mu.index.len() - l.mu.settled + 1); n > 0; n-- {
					at := wal.Position{File: 1 << 30, Offset: int64(4096 + l.mu.settled*200)}
					base := l.mu.index.at(l.mu.settled).base
					l.settleLocked(l.mu.index.at(l.mu.settled).base, at)
					begun[below(begun, base)].at = at
				}
			case 2: // A truncation.
				to := committed + topic.Offset(random.Int64N(int64(l.mu.end-committed)+1))
				l.cutLocked(to, nil)
				begun = begun[:below(begun, l.mu.end)]
			}
		}
		if !c.hold() {
			t.Fatal("the log is not held")
		}
		change()
		var saved int64
		if random.IntN(2) == 0 {
			saved = l.replace(c)
		} else {
			saved = replaceWhile(l, c, random.IntN(followsMax+1), change)
		}
		if l.mu.index.len() > 0 {
			wantSound(t, &l.mu.index)
		}
		bytes, got, wanted := l.mu.bytes, extents(l), want()
		if !slices.Equal(got, wanted) {
			t.Fatalf("seed %d: the log has %d batches from %v on, want %d", seed, len(got), l.mu.start, len(wanted))
		}
		committed, settled := 0, 0
		for _, e := range wanted {
			if bytes -= int64(e.bytes); e.end() <= l.mu.highWatermark {
				committed++
			}
			if e.at != (wal.Position{}) {
				settled++
			}
		}
		if bytes != 0 || committed != l.mu.committed || settled != l.mu.settled {
			t.Fatalf("seed %d: %d bytes too many after %d saved, %d committed, %d durable, want %d and %d", seed, bytes, saved,
				l.mu.committed, l.mu.settled, committed, settled)
		}
		var packs tally
		for _, e := range wanted {
			packs.add(e.at, int64(e.encoded))
		}
		if !slices.Equal(l.mu.index.packs, packs) {
			t.Fatalf("seed %d: in packs are %v, want %v", seed, l.mu.index.packs, packs)
		}
		c.was.x.reset()
		used, _ := l.store.cfg.Spill.Bytes()
		for k := range l.mu.index.chunks {
			if c := &l.mu.index.chunks[k]; c.spilled {
				used -= int64(cap(c.frozen))
			}
		}
		if used != 0 {
			t.Fatalf("seed %d: %d bytes of the spill are nobody's", seed, used)
		}
		change()
	}
	if moved == 0 {
		t.Error("no start ever moved")
	}
}

// replaceWhile is replace, with something that happens before each of its steps.
func replaceWhile(l *Log, c *cleaning, follows int, change func()) (saved int64) {
	x := l.exchange(c)
	for range follows {
		change()
		if first, start, moved := l.moved(x); moved {
			x.follow(first, start)
		}
	}
	change()
	saved, rest := l.put(x)
	for k := range rest {
		x.fresh.giveBack(&rest[k])
	}
	return saved
}

func extents(l *Log) (all []extent) {
	for i := range l.mu.index.len() {
		all = append(all, l.mu.index.at(i))
	}
	return all
}

func all(some listing) (all []extent) {
	for _, e := range some.all() {
		all = append(all, e)
	}
	return all
}

// below counts the extents before an offset.
func below(all []extent, offset topic.Offset) int {
	n, _ := slices.BinarySearchFunc(all, offset, func(e extent, to topic.Offset) int { return cmp.Compare(e.base, to) })
	return n
}

// keep leaves a portion of what vast makes, from one batch that comes in place of two up to another.
func (c *cleaning) keep(first, last int) {
	out := all(newListing(c.out).part(first, last))
	c.was = c.was.part(2*first, min(c.was.len(), 2*last))
	c.out.reset()
	for _, e := range out {
		e.latest = e.newest
		c.out.push(e)
	}
}

// However long a log is, nobody waits for it for more than a few chunks of its index are thawed and frozen for.
func TestNobodyWaitsForALongLog(t *testing.T) {
	const most, batches = 24, 400 * chunkLength
	all := []struct {
		name string
		do   func(*Log, *cleaning)
	}{
		{"look", func(l *Log, c *cleaning) {
			if is, _ := l.dirt(c.rules, wal.Position{File: c.number() | wal.PackBit}); is.dirty != l.mu.bytes {
				t.Errorf("%d bytes are dirty, want all %d", is.dirty, l.mu.bytes)
			}
		}},
		{"plan", func(_ *Log, c *cleaning) { c.plan(c.number()) }},
		{"list", func(_ *Log, c *cleaning) {
			again := &cleaning{log: c.log}
			if next, ok := again.listNext(&index{}, 0, c.was.end()); !ok || next == 0 {
				t.Error("nothing was listed")
			}
		}},
		{"pin", func(_ *Log, c *cleaning) {
			if _, ok := c.pin(); !ok {
				t.Error("not held")
			}
		}},
		{"compare", func(_ *Log, c *cleaning) {
			if n, same := c.compare(c.was); !same || n == 0 {
				t.Error("not the same")
			}
		}},
		{"put", func(l *Log, c *cleaning) {
			x := l.exchange(c)
			x.follow(0, 0)
			l.mu.index.work = 0
			if saved, _ := l.put(x); saved == 0 || l.mu.index.len() != batches/2 {
				t.Error("nothing was exchanged")
			}
		}},
		{"put a portion", func(l *Log, c *cleaning) {
			c.keep(batches/8+1, batches/4)
			x := l.exchange(c)
			x.follow(0, 0)
			l.mu.index.work = 0
			if saved, _ := l.put(x); saved == 0 {
				t.Error("nothing was exchanged")
			}
		}},
		{"retention by size", func(l *Log, _ *cleaning) { l.Expired(Retention{AgeMax: maxAge, BytesMax: 1 << 30}, 0) }},
		{"retention by age", func(l *Log, _ *cleaning) {
			l.Expired(Retention{AgeMax: time.Millisecond, BytesMax: -1}, l.mu.index.at(batches/2).newest)
		}},
		{"log start", func(l *Log, _ *cleaning) { l.moveStartLocked(l.mu.end - 1000) }},
		{"log start behind a record of the future", func(l *Log, _ *cleaning) {
			l.mu.index = index{spill: l.mu.index.spill}
			for i := range batches {
				e := extent{base: topic.Offset(i) * 20, count: 20, bytes: 100, encoded: int32(wal.EncodedBytes(100)),
					at: wal.Position{File: wal.PackBit | 1, Offset: 4096 + int64(i)*200}}
				if i == 0 {
					e.newest, e.latest = 1<<50, 1<<50
				}
				l.mu.index.push(e)
			}
			l.mu.index.work = 0
			l.moveStartLocked(20)
			if got := l.mu.index.at(batches - 10).latest; got != 0 {
				t.Errorf("the largest timestamp is %d still", got)
			}
		}},
		{"cut", func(l *Log, _ *cleaning) { l.cutLocked(1000, newProducerTable(1)) }},
		{"where a place is", func(l *Log, c *cleaning) {
			if got := l.placedLocked(c.was.at(batches / 2).at); got != batches/2 {
				t.Errorf("the place is that of batch %d", got)
			}
		}},
		{"residents", func(l *Log, c *cleaning) {
			some, _, more, _ := l.residents(nil, c.was.at(0).at, wal.Position{File: 1})
			if len(some) != residentsMost || !more {
				t.Errorf("%d batches are there, and %t more", len(some), more)
			}
		}},
		{"spillable", func(l *Log, _ *cleaning) {
			l.mu.index.spillable()
			if k := l.mu.index.unspilled; k != l.mu.index.frozen {
				t.Errorf("what comes next for the spill is chunk %d of %d", k, l.mu.index.frozen)
			}
		}},
	}
	for _, one := range all {
		l, c := vast(t, batches)
		l.mu.index.at(batches / 3)
		l.mu.index.work = 0
		one.do(l, c)
		if got := l.mu.index.work; got > most {
			t.Errorf("%s: %d chunks were thawed or frozen, want %d at most", one.name, got, most)
		}
	}
}

// number is one behind the packs of vast.
func (c *cleaning) number() uint64 { return c.out.at(0).at.File &^ wal.PackBit }

// While batches are pointed to a pack, their log has them in the order of their places at each step: who looks for a place
// finds it.
func TestRelocatedBatchesLieInTheirOrderAllTheTime(t *testing.T) {
	const batches = 5 * chunkLength
	for name, to := range map[string]wal.Position{
		"before": {File: wal.PackBit | 1, Offset: 4096}, "behind": {File: wal.PackBit | 3<<40, Offset: 4096},
	} {
		l, c := vast(t, batches)
		var moves []moved
		was := all(c.was)
		for _, e := range was[:batches-chunkLength/2] {
			moves = append(moves, moved{base: e.base, from: e.at, to: to})
			to.Offset += int64(e.encoded)
		}
		if to.Compare(c.was.at(0).at) > 0 { // Nothing lies behind.
			moves = moves[:0]
			for _, e := range was[chunkLength/2:] {
				moves = append(moves, moved{base: e.base, from: e.at, to: to})
				to.Offset += int64(e.encoded)
			}
		}
		for len(moves) > 0 {
			moves = l.relocateNext(moves, live)
			all := extents(l)
			for i := 1; i < len(all); i++ {
				if all[i-1].at.Compare(all[i].at) >= 0 {
					t.Fatalf("%s: batch %d lies at %v, the one before it at %v", name, i, all[i].at, all[i-1].at)
				}
			}
		}
		if got, _ := l.mu.index.sum(0, batches); got != l.mu.bytes {
			t.Errorf("%s: %d bytes, want %d", name, got, l.mu.bytes)
		}
		if got := l.mu.index.at(batches / 2).at.File; got != to.File {
			t.Errorf("%s: batch %d lies in file %x, want %x", name, batches/2, got, to.File)
		}
	}
}

// What is compacted is noted some batches at a time: of a log whose start moves meanwhile from there on, of one that is cut not at all,
// until it is listed anew.
func TestBatchesAreListedAsTheLogHasThemAtLast(t *testing.T) {
	l, c := vast(t, 4*chunkLength)
	again := &cleaning{log: l, rules: c.rules}
	_, next, until := again.plan(c.number())
	if next != 0 || until != l.mu.end {
		t.Fatalf("batches from %d to %d are to be compacted, want all up to %d", next, until, l.mu.end)
	}
	was := &index{}
	list := func() (ok bool) {
		t.Helper()
		next, ok = again.listNext(was, next, until)
		return ok
	}
	if !list() || was.len() != chunkLength {
		t.Fatalf("%d batches are listed at once, want %d", was.len(), chunkLength)
	}
	l.moveStartLocked(20*100 + 7) // within what was listed
	if !list() || was.len() != 2*chunkLength {
		t.Fatalf("%d batches are listed, want %d", was.len(), 2*chunkLength)
	}
	l.moveStartLocked(20*2*chunkLength + 20*50) // behind that
	if !list() || was.len() == 0 || !slices.Equal(all(newListing(was)), extents(l)[:was.len()]) {
		t.Fatalf("%d batches from %d on are listed, the log starts at %d", was.len(), was.first(), l.mu.start)
	}
	l.mu.cuts.add(l.mu.end)
	if list() {
		t.Error("a log was listed that was cut")
	}
	begun(t, again.begin(c.number(), 1, goOn))
	if !slices.Equal(all(again.was), extents(l)) || again.bytes != l.mu.bytes {
		t.Errorf("%d batches of %d bytes are to be compacted, want the %d of %d that are left", again.was.len(), again.bytes,
			l.mu.index.len(), l.mu.bytes)
	}
	l.mu.index.reset()
	if list() {
		t.Error("a log was listed that was removed")
	}
}

// A log is held if it has what was compacted from its start on, and not if any of it is another one, however far behind.
func TestLogIsHeldIfItHasWhatWasCompacted(t *testing.T) {
	const batches = 4 * chunkLength
	held := func(l *Log, c *cleaning) bool {
		ok := c.hold()
		if want := l.mu.end; ok && l.mu.pinned != want || !ok && l.mu.pinned != 0 {
			t.Errorf("held: %t, and pinned to %d", ok, l.mu.pinned)
		}
		return ok
	}
	l, c := vast(t, batches)
	l.moveStartLocked(20 * chunkLength * 3 / 2)
	if !held(l, c) {
		t.Error("a log is not held of which the start has moved")
	}
	for _, i := range []int{0, chunkLength, batches - 1} {
		l, c = vast(t, batches)
		e := l.mu.index.at(i)
		e.at.Offset++
		l.mu.index.set(i, e)
		if held(l, c) {
			t.Errorf("a log is held of which batch %d lies elsewhere", i)
		}
	}
	l, c = vast(t, batches)
	l.cutLocked(l.mu.end-20, newProducerTable(1))
	if held(l, c) {
		t.Error("a log is held of which the last batch was cut")
	}
	// The start moves while they are compared.
	l, c = vast(t, batches)
	left, ok := c.pin()
	for first := true; ok && left.len() > 0; first = false {
		var n int
		n, ok = c.compare(left)
		if left = left.part(n, left.len()); first {
			l.moveStartLocked(20 * chunkLength * 5 / 2)
		}
	}
	if !ok {
		t.Error("a log is not held of which the start moves meanwhile")
	}
}

// An exchange for which it is too late changes nothing, and gives back what it holds: that of a log that was removed, has failed, or
// starts behind all of it by now, whatever lies there.
func TestExchangeThatIsTooLateLeavesNothing(t *testing.T) {
	late := map[string]func(*Log){
		"removed": func(l *Log) {
			l.mu.failed = ErrRemoved
			l.mu.index.reset()
		},
		"failed":       func(l *Log) { l.mu.failed = ErrStopped },
		"start at end": func(l *Log) { l.moveStartLocked(l.mu.end) },
		"start behind it": func(l *Log) {
			for range 2 {
				l.mu.index.push(extent{base: l.mu.end, count: 20, bytes: 100, encoded: int32(wal.EncodedBytes(100))})
				l.mu.end, l.mu.bytes = l.mu.end+20, l.mu.bytes+100
				l.settleLocked(l.mu.index.at(l.mu.settled).base, wal.Position{File: 1, Offset: int64(l.mu.end)})
			}
			l.mu.durable = l.mu.end
			l.moveStartLocked(l.mu.end - 7)
		},
		"cut behind it": func(l *Log) {
			l.mu.index.push(extent{base: l.mu.end, count: 20, bytes: 100, encoded: int32(wal.EncodedBytes(100))})
			l.mu.end, l.mu.bytes = l.mu.end+20, l.mu.bytes+100
			l.moveStartLocked(l.mu.end - 20)
			l.cutLocked(l.mu.end-20, nil)
		},
	}
	for name, do := range late {
		for follows := range 2 {
			l, c := vast(t, 3*chunkLength+7)
			before, _ := l.store.cfg.Spill.Bytes()
			x := l.exchange(c)
			if after, _ := l.store.cfg.Spill.Bytes(); after <= before {
				t.Fatalf("%s: the exchange holds nothing", name)
			}
			do(l)
			want, bytes := extents(l), l.mu.bytes
			for range follows {
				if first, start, moved := l.moved(x); moved {
					x.follow(first, start)
				}
			}
			saved, rest := l.put(x)
			for k := range rest {
				x.fresh.giveBack(&rest[k])
			}
			if saved != 0 || l.mu.bytes != bytes || !slices.Equal(extents(l), want) {
				t.Errorf("%s: %d bytes are saved, the log has %d batches, want %d", name, saved, l.mu.index.len(), len(want))
			}
			l.mu.index.reset()
			c.free()
			if used, _ := l.store.cfg.Spill.Bytes(); used != 0 {
				t.Errorf("%s: %d bytes of the spill are nobody's", name, used)
			}
		}
	}
}
