package partition

import (
	"slices"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// wait is a driven store whose log `one` is compacted only because of its age, on a clock of the test.
type wait struct {
	*press
	clock *clock
	// value is the next one.
	value byte
}

func newWait(t *testing.T, rules Compaction) *wait {
	t.Helper()
	clock := &clock{at: time.Hour}
	w := &wait{clock: clock, press: newPress(t, func(c *Config) { c.Now = clock.now })}
	w.rules = rules
	w.rules.DirtyRatio = 1 // never by that
	w.lead()
	return w
}

// put appends records of a key.
func (w *wait) put(key byte, n int) {
	w.Helper()
	for range n {
		w.value++
		w.append(w.one, spec{key: []byte{key}, value: []byte{w.value}, timestamp: w.clock.now().Milliseconds()})
	}
}

// pass lets so much time pass, second by second, and carries out what a store that runs would.
func (w *wait) pass(d time.Duration) {
	w.Helper()
	for until := w.clock.now() + d; w.clock.now() < until; {
		w.clock.advance(time.Second)
		w.rules.Now = w.clock.now().Milliseconds()
		w.store.Tick()
		settle(w, w.driver)
		settle(w, w.driver) // what came of it
		for w.store.drains() {
			if _, err := w.store.drainer.turn(w.store.adopts()); err != nil {
				w.Fatal(err)
			}
		}
		w.work()
	}
}

// kept are the offsets of the records that the log has.
func (w *wait) kept() (offsets []int64) {
	w.Helper()
	for from := topic.Offset(0); from < w.one.State().LogEnd; {
		got, err := w.one.Read(from, 1<<20, true)
		if err != nil {
			w.Fatal(err)
		}
		for _, b := range got.Batches {
			for r, err := range batch.Records(b) {
				if err != nil {
					w.Fatal(err)
				}
				offsets = append(offsets, r.Offset)
			}
			h, err := batch.ParseHeader(b)
			if err != nil {
				w.Fatal(err)
			}
			from = topic.Offset(h.LastOffset()) + 1
		}
	}
	return offsets
}

func (w *wait) want(what string, offsets ...int64) {
	w.Helper()
	if got := w.kept(); !slices.Equal(got, offsets) {
		w.Fatalf("%s: got the records at %v, want %v", what, got, offsets)
	}
}

// max.compaction.lag.ms: on a node where hardly anything is appended an overwritten value goes once it has waited for
// as long as it may, and not before. That its file was sealed is nobody's load.
func TestOverwrittenValueGoesOnceItsLagIsOver(t *testing.T) {
	w := newWait(t, Compaction{LagMax: time.Minute})
	w.put(1, 2)
	w.pass(30 * time.Second)
	w.put(2, 2)
	w.pass(29 * time.Second)
	w.want("before the lag is over", 0, 1, 2, 3)
	if end := w.store.walLog.End(); end.File != 1 {
		t.Fatalf("the log ends at %v, want it in its first file", end)
	}
	w.pass(12 * time.Second)
	w.want("after the lag", 1, 3)
	if w.store.demand() != idle {
		t.Errorf("got demand %v after a file was sealed, want %v", w.store.demand(), idle)
	}
	if err := w.driver.Close(); err != nil {
		t.Fatal(err)
	}
	if l := w.crashed(); l.State().LogEnd != 4 {
		t.Errorf("the log ends at %d after a restart, want 4", l.State().LogEnd)
	}
}

// Without a lag, and without segment.ms, what waits in the WAL waits for the file to be full.
func TestLogWithoutALagWaitsForAFullFile(t *testing.T) {
	w := newWait(t, Compaction{LagMax: maxAge})
	w.put(1, 2)
	w.pass(10 * time.Minute)
	w.want("after ten minutes", 0, 1)
	if end := w.store.walLog.End(); end.File != 1 {
		t.Errorf("the log ends at %v, want it in its first file", end)
	}
}

// segment.ms has batches drained, and then it is the ratio that decides.
func TestRollHasALogDrainedAndTheRatioDecides(t *testing.T) {
	w := newWait(t, Compaction{LagMax: maxAge, Roll: time.Minute})
	w.put(1, 2)
	w.pass(2 * time.Minute)
	w.want("by the ratio", 0, 1)
	if waits := w.one.waits(); waits {
		t.Fatal("the log was not drained")
	}
	w.rules.DirtyRatio = 0.5
	w.pass(time.Second)
	w.want("by another ratio", 1)
}

// min.compaction.lag.ms: what is younger stays, and so does what it supersedes.
func TestYoungRecordsSupersedeNothing(t *testing.T) {
	w := newWait(t, Compaction{LagMax: time.Minute, LagMin: 30 * time.Second})
	w.put(1, 2)
	w.pass(45 * time.Second)
	w.put(1, 1)
	w.pass(27 * time.Second)
	w.want("while the third is young", 1, 2)
	w.put(2, 1)
	w.pass(3 * time.Minute)
	w.want("once all are old", 2, 3)
}

// However little a topic wants to wait: no more than one short file comes about in RollBackoff.
func TestFewFilesAreSealedEarly(t *testing.T) {
	w := newWait(t, Compaction{LagMax: time.Millisecond})
	for range 100 {
		w.put(1, 1)
		w.pass(time.Second)
	}
	if end := w.store.walLog.End(); end.File < 10 || end.File > 11 {
		t.Errorf("the log ends at %v after 100 s, want it in file 10 or 11", end)
	}
}

// While a file cannot be drained, as on a full disk, no other is sealed before it is full.
func TestNoFileIsSealedEarlyWhileAnotherWaits(t *testing.T) {
	w := newWait(t, Compaction{LagMax: time.Second})
	for range 6 {
		w.put(1, 1)
		w.clock.advance(10 * time.Second)
		w.store.Tick()
		settle(t, w.driver)
		settle(t, w.driver)
	}
	if end := w.store.walLog.End(); end.File != 2 {
		t.Errorf("the log ends at %v, want it in file 2", end)
	}
}

// What a compacted log is owed is drained while others append, too: copied, or adopted where the disk is busy. Nothing
// else is.
func TestOwedFilesAreDrainedUnderLoad(t *testing.T) {
	for _, test := range []struct {
		name    string
		lag     time.Duration
		demand  demand
		drained bool
	}{
		{"nothing owed, loaded", maxAge, loaded, false}, {"nothing owed, busy", maxAge, busy, false},
		{"not yet owed, loaded", time.Hour, loaded, false}, {"not yet owed, busy", time.Hour, busy, false},
		{"owed, loaded", time.Minute, loaded, true}, {"owed, busy", time.Minute, busy, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWait(t, Compaction{LagMax: test.lag})
			w.put(1, 2)
			for w.store.walLog.End().File == 1 {
				w.append(w.filler, spec{value: make([]byte, 6000)})
			}
			w.clock.advance(2 * time.Minute)
			w.store.roll(w.clock.now())
			w.store.found.Store(int32(test.demand))
			drained := w.store.drains()
			if drained {
				if _, err := w.store.drainer.turn(w.store.adopts()); err != nil {
					t.Fatal(err)
				}
				drained = w.store.Stats().Drain.Files == 1
			}
			adopted := w.store.Stats().Drain.Adopted == 1
			if due := w.store.owed.Load() != 0; drained != test.drained || due != drained || adopted != (drained && test.demand == busy) {
				t.Errorf("got owed %t, drained %t, adopted %t, want it %t", due, drained, adopted, test.drained)
			}
		})
	}
}

// A start seals what was written before it. How long it has waited then, the records tell.
func TestLagGoesOnAfterARestart(t *testing.T) {
	w := newWait(t, Compaction{LagMax: 10 * time.Minute})
	w.put(1, 2)
	w.clock.advance(9 * time.Minute)
	s := openReal(t, w.fs.Restart(), 2, func(c *Config) {
		c.WAL.FileBytes, c.Catalog, c.Now = 64<<10, w.table, w.clock.now
	})
	s.CompactBy(func(topic.Partition) (Compaction, bool) { return w.rules, true })
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{30 * time.Second, false}, {time.Minute, true}} {
		w.clock.advance(step.after)
		w.rules.Now = w.clock.now().Milliseconds()
		s.roll(w.clock.now())
		if s.owes() != step.want {
			t.Fatalf("%v later: got owed %t, want %t", step.after, s.owes(), step.want)
		}
	}
}
