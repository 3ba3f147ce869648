package share

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// pruned is a partition of the topic with its whole log, of which what lies below start may have been cut.
type pruned struct {
	*testing.T
	rand      *rand.Rand
	cfg       KeeperConfig
	keepers   map[Key]*Keeper
	snapshots *Snapshots
	log       []Record
	// committed is how much of the log is; the rest may get lost with its leader.
	committed, start, now int64
	epoch                 int32
	cuts                  int
	where                 string
}

func newPruned(t *testing.T, seed uint64) *pruned {
	return &pruned{
		T: t, rand: rand.New(rand.NewPCG(seed, 5)), cfg: KeeperConfig{UpdatesMax: 3, RecordBytesMax: 1 << 20},
		keepers: map[Key]*Keeper{}, snapshots: NewSnapshots(),
	}
}

// step is what a coordinator does with an event.
func (p *pruned) step(key Key, e Event) {
	k := p.keepers[key]
	if k == nil {
		k = NewKeeper(&p.cfg, key)
		p.keepers[key] = k
	}
	p.log = append(p.log, k.Step(e, p.now).Records...)
	if !k.Exists() {
		delete(p.keepers, key)
	}
}

// commit commits some of what is not.
func (p *pruned) commit(n int64) {
	for range n {
		if m, ok := MarkOf(p.log[p.committed]); ok {
			p.snapshots.Note(m, p.committed, p.now)
		}
		p.committed++
	}
	p.snapshots.Settle(p.committed)
}

// replay is what the log says from one offset up to another.
func (p *pruned) replay(from, to int64) *Replay {
	r := NewReplay()
	for _, record := range p.log[from:to] {
		if err := r.Apply(record); err != nil {
			p.Fatalf("%s: replay: %v", p.where, err)
		}
	}
	return r
}

// lead is a new leader, who has what is committed and perhaps more, from the cut on.
func (p *pruned) lead() {
	p.log = p.log[:p.committed+p.rand.Int64N(int64(len(p.log))-p.committed+1)]
	p.keepers = p.replay(p.start, int64(len(p.log))).Keepers(&p.cfg)
	p.snapshots, p.committed = NewSnapshots(), p.start
	p.commit(int64(len(p.log)) - p.start)
}

// cut moves the start, to where a dumber look at the log says.
func (p *pruned) cut() {
	got, want := p.snapshots.Cut(), p.committed
	for key := range p.replay(0, p.committed).keepers {
		newest := int64(0)
		for offset, r := range p.log[:p.committed] {
			if m, ok := MarkOf(r); ok && m.Key == key {
				newest = int64(offset)
			}
		}
		want = min(want, newest)
	}
	if got != want {
		p.Fatalf("%s: cut: got %d, want %d", p.where, got, want)
	}
	if got > p.start {
		p.start = got
		p.cuts++
	}
}

// check: from the cut on, and from anywhere before it, the log says what all of it does, wherever it ends.
func (p *pruned) check() {
	for end := p.committed; end <= int64(len(p.log)); end++ {
		want := p.replay(0, end).keepers
		for _, from := range []int64{p.start, p.rand.Int64N(p.start + 1)} {
			if got := p.replay(from, end).keepers; !reflect.DeepEqual(got, want) {
				p.Fatalf("%s: from %d to %d: got %s, want %s", p.where, from, end, shown(got), shown(want))
			}
		}
	}
}

func shown(keepers map[Key]*Keeper) (text string) {
	for _, k := range keepers {
		text += fmt.Sprintf("%+v ", *k)
	}
	return text
}

func (p *pruned) chill(most int) (n int) {
	cold := p.snapshots.Cold(p.now-10, p.now, most)
	for _, key := range cold {
		p.step(key, Snapshot{})
	}
	return len(cold)
}

func (p *pruned) play() {
	p.now += p.rand.Int64N(4)
	key := Key{Group: "g", Partition: p.rand.Int32N(5)}
	switch p.rand.IntN(12) {
	case 0, 1:
		p.epoch++
		p.step(key, Initialize{StateEpoch: p.epoch, Start: p.rand.Int64N(30) - 1})
	case 2, 3, 4, 5:
		if k := p.keepers[key]; k != nil {
			first := p.rand.Int64N(30)
			p.step(key, Keep{State: State{
				StateEpoch: k.StateEpoch, LeaderEpoch: k.LeaderEpoch, Start: p.rand.Int64N(30) - 1, Complete: -1,
				Batches: []Batch{{first, first + p.rand.Int64N(5), Acknowledged, 1}},
			}})
		}
	case 6:
		p.step(key, Read{LeaderEpoch: p.rand.Int32N(20)})
	case 7:
		p.step(key, Delete{})
	case 8:
		p.chill(2)
	case 9:
		p.commit(p.rand.Int64N(int64(len(p.log)) - p.committed + 1))
	case 10:
		p.cut()
	case 11:
		if p.rand.IntN(3) == 0 {
			p.lead()
		}
	}
}

// TestPrunedLogSaysWhatTheWholeOneDoes plays at random: states are made, changed, deleted and made anew, and
// leaders lose what is not committed.
func TestPrunedLogSaysWhatTheWholeOneDoes(t *testing.T) {
	cuts := 0
	for seed := range uint64(25) {
		p := newPruned(t, seed)
		for step := range 150 {
			p.where = fmt.Sprintf("seed %d, step %d", seed, step)
			p.play()
			p.check()
		}
		cuts += p.cuts
	}
	if cuts < 100 {
		t.Errorf("cuts: got %d, want at least 100: the test must move the start", cuts)
	}
}

// TestPruningComesToRest: when nobody writes any more the log becomes less than two records for each state,
// and then nothing is written.
func TestPruningComesToRest(t *testing.T) {
	for seed := range uint64(60) {
		p := newPruned(t, seed)
		for range 100 {
			p.play()
		}
		p.where = fmt.Sprintf("seed %d at rest", seed)
		p.commit(int64(len(p.log)) - p.committed)
		for range 8 {
			p.now += 20
			p.chill(2)
			p.commit(int64(len(p.log)) - p.committed)
			p.cut()
			p.check()
		}
		p.now += 20
		if n := p.chill(2); n != 0 {
			t.Errorf("%s: got %d more snapshots, want none", p.where, n)
		}
		if got, most := int64(len(p.log))-p.start, max(0, 2*len(p.keepers)-1); got > int64(most) {
			t.Errorf("%s: got %d records of %d states, want at most %d", p.where, got, len(p.keepers), most)
		}
	}
}

// TestColdStateDoesNotHoldBackTheCut: while another one is written to, its snapshot is made anew.
func TestColdStateDoesNotHoldBackTheCut(t *testing.T) {
	p := newPruned(t, 1)
	cold, hot := Key{Group: "cold"}, Key{Group: "hot"}
	p.step(cold, Initialize{StateEpoch: 1, Start: 7})
	p.step(hot, Initialize{StateEpoch: 1, Start: 0})
	longest := int64(0)
	for i := range int64(1000) {
		p.now++
		p.step(hot, Keep{State: State{StateEpoch: 1, Start: i, Complete: -1}})
		p.chill(64)
		p.commit(int64(len(p.log)) - p.committed)
		p.cut()
		longest = max(longest, p.committed-p.start)
	}
	if longest > 20 {
		t.Errorf("records kept: got %d, want at most 20 with snapshots every 10", longest)
	}
	if got := p.replay(p.start, p.committed).keepers[cold]; got == nil || got.Start != 7 {
		t.Errorf("the cold state: got %+v, want start 7", got)
	}
}

// TestOnlyWhatIsCommittedMovesTheCut.
func TestOnlyWhatIsCommittedMovesTheCut(t *testing.T) {
	s := NewSnapshots()
	for _, partition := range []int32{1, 2} {
		s.Note(Mark{Key: Key{Partition: partition}}, int64(partition), 0)
	}
	s.Settle(9)
	if got := s.Cut(); got != 1 {
		t.Errorf("with states at 1 and 2: got %d, want 1", got)
	}
	if got := s.Cold(0, 5, 64); len(got) != 2 {
		t.Errorf("cold: got %v, want both", got)
	}
	if got := s.Cold(5, 5, 64); s.Cut() != 1 {
		t.Errorf("until the new snapshots are committed: got cut %d and %v, want 1", s.Cut(), got)
	}
	s.Note(Mark{Key{Partition: 1}, true}, 9, 6)
	s.Note(Mark{Key{Partition: 2}, true}, 10, 6)
	s.Settle(11)
	if got := s.Cut(); got != 11 {
		t.Errorf("without states: got %d, want the committed end, 11", got)
	}
}
