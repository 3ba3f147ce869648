package partition

import (
	"testing"
	"time"

	"outrigger/broker/batch"
)

// keys reads the keys that a log has.
func (s *strait) keys() map[string]bool {
	s.Helper()
	keys := map[string]bool{}
	for _, p := range s.one.pieces(0, s.one.State().LogEnd, 1<<30) {
		one := []piece{p}
		if _, err := s.one.load(one); err != nil {
			s.Fatal(err)
		}
		for r, err := range batch.Records(one[0].payload) {
			if err != nil {
				s.Fatal(err)
			}
			keys[string(r.Key)] = true
		}
	}
	return keys
}

// What supersedes a record of one portion lies in a later one and is cut, as after an unclean election: the record is
// the newest of its key then, and stays.
func TestPortionIsLeftAloneOnceTheLogWasCut(t *testing.T) {
	s, _ := newPortioned(t, 1<<40)
	for i := range 240 {
		s.append(s.one, spec{key: []byte{byte(i / 2)}, value: make([]byte, 8<<10)})
	}
	s.drain()
	between := func() bool {
		c := s.store.drainer.compaction
		return c != nil && c.now != nil && c.now.first > 0 && c.now.next == c.now.first
	}
	for !between() {
		if _, err := s.driver.Compact(16 << 10); err != nil {
			t.Fatal(err)
		}
	}
	now := s.store.drainer.compaction.now
	s.one.Assume(Role{Epoch: 2})
	if err := s.one.Truncate(now.was.at(now.portions[0].until).base); err != nil {
		t.Fatal(err)
	}
	settle(t, s.driver)
	want := s.keys()
	for more := true; more || s.store.drainer.compaction != nil; s.clock.advance(time.Second) {
		var err error
		if more, err = s.driver.Compact(16 << 10); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.keys(); len(got) != len(want) || len(want) == 0 {
		t.Errorf("got %d keys, want %d as before", len(got), len(want))
	}
}

// The packs of all portions that follow stay where they are. None follows one that was not recorded: its pack may lie before what
// that would have moved.
func TestPortionFollowsOneThatIsRecorded(t *testing.T) {
	s, _ := newPortioned(t, 1<<40)
	d := &s.store.drainer
	for d.compaction == nil || d.compaction.now == nil || d.compaction.now.first == 0 {
		if more, err := s.driver.Compact(16 << 10); err != nil || !more {
			t.Fatalf("got more %t, %v before the second portion", more, err)
		}
	}
	c := d.compaction
	now := c.now
	packs := now.was.part(now.first, now.was.len()).packs()
	for _, p := range packs {
		if !c.reads[p.number] {
			t.Errorf("pack %d of %d that are left may be written anew meanwhile", p.number, len(packs))
		}
	}
	for _, recorded := range []bool{true, false} {
		c.now, c.rest, c.done = nil, now, []*cleaning{{log: now.log, was: now.was, partial: true, recorded: recorded}}
		if got := c.follows(); got != recorded || (c.now != nil) != recorded || c.rest != nil || c.done != nil {
			t.Errorf("one that is recorded %t is followed: %t", recorded, got)
		}
	}
}

// A log that is compacted again and again is divided each time.
func TestLogIsDividedEachTimeItIsCompacted(t *testing.T) {
	const bound = 90 << 10
	s := newStrait(t, 240)
	s.store.cfg.portionBytes = bound
	s.rules.DirtyRatio = 0.01
	for round := range 8 {
		largest := int64(0)
		for more := true; more || s.store.drainer.compaction != nil; s.clock.advance(time.Second) {
			var err error
			if more, err = s.driver.Compact(16 << 10); err != nil {
				t.Fatal(err)
			}
			if c := s.store.drainer.compaction; c != nil && c.now != nil {
				for _, p := range c.now.portions {
					largest = max(largest, p.bytes)
				}
			}
			if _, err := s.driver.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		if all := s.one.portionBelow(1<<60, 1<<60); largest > 3*bound || all < 6*bound {
			t.Errorf("round %d: got a portion of %d bytes, want at most about %d of %d", round, largest, bound, all)
		}
		for i := range 40 {
			s.append(s.one, spec{key: []byte{byte(i*3 + round)}, value: make([]byte, 8<<10)})
		}
		s.drain()
		s.clock.advance(20 * time.Second)
	}
}
