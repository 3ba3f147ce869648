package partition

import (
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// deletion is a tombstone.
func deletion(key byte) spec { return spec{key: []byte{key}, tombstone: true} }

// expire has the log compacted until what has a horizon has passed it.
func (p *press) expire() {
	p.Helper()
	p.drain()
	p.compact() // what is deleted goes, what says so has a horizon
	p.append(p.one, at(9))
	p.drain()
	p.rules.Now += time.Hour.Milliseconds()
}

// Whoever holds older records of another replica must not go on with this log behind them: that lacks the
// tombstone at 1, and the marker at 4.
func TestLogKnowsHowFarItHasDroppedWhatEndsOlderRecords(t *testing.T) {
	txn := spec{key: []byte{2}, idempotent: true, producer: 7, transactional: true}
	for name, c := range map[string]struct {
		write func(p *press)
		want  topic.Offset
	}{
		"superseded record": {func(p *press) { p.append(p.one, at(1), at(1), at(3), at(9)) }, 0},
		"tombstone":         {func(p *press) { p.append(p.one, at(1), deletion(1), at(3), at(9)) }, 2},
		"marker": {func(p *press) {
			p.append(p.one, at(1), at(3), at(3), txn)
			p.end(7, false)
			p.append(p.one, spec{key: []byte{4}, idempotent: true, producer: 7, sequence: 1, transactional: true})
			p.end(7, true)
			p.append(p.one, at(4), at(9))
			p.drain()
			p.compact()
			p.append(p.one, at(9))
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPress(t)
			p.lead()
			c.write(p)
			p.expire()
			if got := p.one.State().Dropped; got != 0 {
				t.Fatalf("dropped up to %d before the horizon, want 0", got)
			}
			p.compact()
			if got := p.one.State().Dropped; got != c.want {
				t.Errorf("dropped up to %d, want %d", got, c.want)
			}
			if got := p.crashed().State().Dropped; got != c.want {
				t.Errorf("after a loss of power dropped up to %d, want %d", got, c.want)
			}
		})
	}
}

// heldMidway is a log with a tombstone whose compaction had begun when it was to be held.
func heldMidway(t *testing.T) *press {
	t.Helper()
	p := newPress(t)
	p.lead()
	p.append(p.one, at(1), deletion(1), at(3), at(9))
	p.expire()
	if more, err := p.driver.Compact(1); err != nil || !more {
		t.Fatalf("the first slice: %v, %v, want more", more, err)
	}
	p.rules.Hold = true
	p.work()
	return p
}

// 1. A compaction begins while all replicas are in sync. 2. One is added, and is sent the key. 3. The compaction
// ends: if the tombstone went now, the replica would keep the key.
func TestTombstoneStaysIfAReplicaCameWhileTheLogWasCompacted(t *testing.T) {
	p := heldMidway(t)
	if got := p.one.State().Dropped; got != 0 {
		t.Errorf("dropped up to %d, want 0", got)
	}
	for _, b := range p.one.pieces(1, 2, 1) {
		if h, err := batch.ParseHeader(p.payload(b)); err != nil || h.Records != 1 {
			t.Errorf("at 1 are %d records, %v; want the tombstone", h.Records, err)
		}
	}
}

// payload reads one batch.
func (p *press) payload(b piece) []byte {
	p.Helper()
	one := []piece{b}
	if _, err := p.one.load(one); err != nil {
		p.Fatal(err)
	}
	return one[0].payload
}

// A follower that copies a compacted log lacks what its leader lacks, and may lead. What was dropped cannot be
// told from a batch, so any may have been a tombstone.
func TestFollowerOfACompactedLogLacksWhatItsLeaderLacks(t *testing.T) {
	p := newPress(t)
	p.follow(placed(at(1), 0, 1), batch.Span(1, 3, 1), placed(at(2), 4, 1))
	if got := p.one.State().Dropped; got != 4 {
		t.Errorf("dropped up to %d, want 4", got)
	}
	if got := p.crashed().State().Dropped; got != 4 {
		t.Errorf("after a loss of power dropped up to %d, want 4", got)
	}
	if err := p.one.Truncate(1); err != nil {
		t.Fatal(err)
	}
	if got := p.one.State().Dropped; got != 1 {
		t.Errorf("of a log cut to 1 dropped up to %d, want 1", got)
	}
	if err := p.one.Reset(0, topic.NoEpoch); err != nil {
		t.Fatal(err)
	}
	if got := p.one.State().Dropped; got != 0 {
		t.Errorf("of a log that begins anew dropped up to %d, want 0", got)
	}
}

// A log that was recorded before this was noted may have dropped anything that it has compacted.
func TestOldCatalogCountsAllThatIsCompactedAsDropped(t *testing.T) {
	p := newPress(t)
	old := newLog(p.store, p0)
	old.mu.compacted = 7
	b := old.encodeLog()
	b = b[:len(b)-8]
	b[len(b)-9] = 8 // the length of the last section
	found := newLog(p.store, p0)
	if err := found.decodeLog(b); err != nil {
		t.Fatal(err)
	}
	if found.mu.compacted != 7 || found.mu.dropped != 7 {
		t.Errorf("compacted up to %d, dropped up to %d, want 7, 7", found.mu.compacted, found.mu.dropped)
	}
}

// 1. The rules say that all replicas are in sync. 2. One leaves, and the leader looks at what its log has dropped.
// 3. The compaction counts. So a log says what is about to go before the rules are asked for the last time.
func TestLogTellsWhatIsAboutToBeDroppedBeforeTheRulesAreAsked(t *testing.T) {
	p := newPress(t)
	p.lead()
	p.append(p.one, at(1), deletion(1), at(3), at(9))
	p.expire()
	var asked State
	p.store.CompactBy(func(q topic.Partition) (Compaction, bool) {
		if s := p.one.State(); s.Dropping > 0 {
			asked = s
		}
		return p.rules, q.Index == 0
	})
	p.work()
	if asked.Dropping != 2 || asked.Dropped != 0 {
		t.Errorf("when the rules were asked: dropping up to %d, dropped up to %d, want 2, 0", asked.Dropping, asked.Dropped)
	}
	if s := p.one.State(); s.Dropping != 0 || s.Dropped != 2 {
		t.Errorf("after the compaction: dropping up to %d, dropped up to %d, want 0, 2", s.Dropping, s.Dropped)
	}
}

// A compaction that may not drop what it wanted to leaves no trace of that.
func TestRefusedCompactionIsNotAboutToDropAnything(t *testing.T) {
	p := heldMidway(t)
	if s := p.one.State(); s.Dropping != 0 || s.Dropped != 0 {
		t.Errorf("dropping up to %d, dropped up to %d, want 0, 0", s.Dropping, s.Dropped)
	}
	if p.one.mu.pinned != 0 {
		t.Errorf("cuts are refused below %d, want none refused", p.one.mu.pinned)
	}
}

// 1. A log that starts at 5 was compacted up to there and beyond. 2. It begins anew below, where its leader starts.
// 3. A compaction that took what lies below 5 for compacted would not learn of a tombstone there, and drop it in
// time, while what it deletes stays.
func TestLogThatBeginsAnewBelowItsStartWasNeverCompacted(t *testing.T) {
	p := newPress(t)
	l := newLog(p.store, p0)
	l.resetLocked(5, 1)
	l.mu.end, l.mu.compacted, l.mu.dropped = 9, 8, 7
	l.resetLocked(0, topic.NoEpoch)
	if l.mu.compacted != 0 || l.mu.dropped != 0 {
		t.Errorf("compacted up to %d, dropped up to %d, want 0, 0", l.mu.compacted, l.mu.dropped)
	}
}
