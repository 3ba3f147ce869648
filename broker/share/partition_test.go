package share

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// naive is what one group makes of a partition, record by record.
type naive struct {
	start   int64
	records map[int64]*naiveRecord
	limits  Limits
}

type naiveRecord struct {
	state   DeliveryState
	count   int16
	member  string
	expires int64
}

func newNaive(start int64, l Limits) *naive {
	return &naive{start: start, records: map[int64]*naiveRecord{}, limits: l}
}

func (n *naive) at(offset int64) *naiveRecord {
	if n.records[offset] == nil {
		n.records[offset] = &naiveRecord{}
	}
	return n.records[offset]
}

func (n *naive) advance() {
	for r := n.records[n.start]; r != nil && r.state.done(); r = n.records[n.start] {
		n.start++
	}
}

func (n *naive) release(r *naiveRecord) {
	*r = naiveRecord{state: Available, count: r.count}
	if r.count >= n.limits.DeliveriesMax {
		r.state = n.givenUp()
	}
}

// givenUp is what becomes of records that nobody gets any more.
func (n *naive) givenUp() DeliveryState {
	if n.limits.Letters {
		return Archiving
	}
	return Archived
}

func (n *naive) each(do func(*naiveRecord)) {
	for _, r := range n.records {
		do(r)
	}
	n.advance()
}

// acknowledge is Acknowledge, or refuses.
func (n *naive) acknowledge(member string, acks []Ack, now int64) bool {
	for pass := range 2 {
		for _, a := range acks {
			for offset := max(a.First, n.start); offset <= a.Last; offset++ {
				r := n.records[offset]
				if pass == 0 && (r == nil || r.state != Acquired || r.member != member) {
					return false
				}
				if pass == 0 {
					continue
				}
				switch a.at(offset) {
				case Accept:
					*r = naiveRecord{state: Acknowledged, count: r.count}
				case ReleaseIt:
					n.release(r)
				case Renew:
					r.expires = now + n.limits.LockMillis
				case Reject:
					*r = naiveRecord{state: n.givenUp(), count: r.count}
				default:
					*r = naiveRecord{state: Archived, count: r.count}
				}
			}
		}
	}
	n.advance()
	return true
}

// lane is a log of batches, some of which are gaps.
type lane struct{ spans []Span }

func drawLane(r *rand.Rand) *lane {
	l := &lane{}
	for next := int64(0); next < 400; {
		if r.IntN(8) == 0 {
			next += r.Int64N(4) // compaction
		}
		s := Span{First: next, Last: next + r.Int64N(9), Gap: r.IntN(6) == 0}
		l.spans = append(l.spans, s)
		next = s.Last + 1
	}
	return l
}

// from reads at most so many batches from the one that holds an offset on.
func (l *lane) from(offset int64, most int) []Span {
	i := slices.IndexFunc(l.spans, func(s Span) bool { return s.Last >= offset })
	if i < 0 {
		return nil
	}
	return l.spans[i:min(i+most, len(l.spans))]
}

// has reports whether a record can be given to somebody.
func (l *lane) has(offset int64) bool {
	return slices.ContainsFunc(l.spans, func(s Span) bool { return !s.Gap && s.First <= offset && offset <= s.Last })
}

// TestPartitionDoesAsTheNaiveModel compares every answer, and the state after every step, with a model that
// knows single records, in which leaders change at any time and go on from what was kept.
func TestPartitionDoesAsTheNaiveModel(t *testing.T) {
	for seed := range uint64(400) {
		s := newPlay(t, seed)
		for s.step = range 300 {
			s.play()
			s.compare()
		}
	}
}

// play is one run against the model.
type play struct {
	*testing.T
	seed   uint64
	step   int
	random *rand.Rand
	log    *lane
	limits Limits
	now    int64
	p      *Partition
	model  *naive
	keeper *Keeper
	// undone is what the log of the keeper holds.
	replay *Replay
	cfg    KeeperConfig
	leader int32
	// accepted are the records whose acknowledgement was answered.
	accepted map[int64]bool
	// lettered are those whose dead letters were written.
	lettered map[int64]bool
	waits    []answer
}

type answer struct {
	number  uint64
	offsets []int64
}

func newPlay(t *testing.T, seed uint64) *play {
	r := rand.New(rand.NewPCG(seed, 7))
	s := &play{
		T: t, seed: seed, random: r, log: drawLane(r), accepted: map[int64]bool{}, replay: NewReplay(), lettered: map[int64]bool{},
		limits: Limits{Letters: seed%2 == 1, LocksMax: 1 + r.Int64N(40), DeliveriesMax: 2 + int16(r.IntN(3)), LockMillis: 20},
		cfg:    KeeperConfig{UpdatesMax: r.IntN(6), RecordBytesMax: 1 << 20},
	}
	s.keeper = NewKeeper(&s.cfg, Key{Group: "g", Partition: 3})
	s.tell(Initialize{StateEpoch: 5, Start: -1})
	s.lead()
	return s
}

func (s *play) where() string { return fmt.Sprintf("seed %d, step %d", s.seed, s.step) }

// tell has the keeper take a request, whose records are in its log at once.
func (s *play) tell(e Event) Reply {
	fx := s.keeper.Step(e, s.now)
	for _, r := range fx.Records {
		if err := s.replay.Apply(r); err != nil {
			s.Fatalf("%s: replay: %v", s.where(), err)
		}
	}
	return fx.Reply
}

// lead makes a new leader, which goes on from what was kept.
func (s *play) lead() {
	s.leader++
	reply := s.tell(Read{LeaderEpoch: s.leader})
	if reply.Err != nil {
		s.Fatalf("%s: read: %v", s.where(), reply.Err)
	}
	kept := reply.Result.(*State)
	l := Loaded{StateEpoch: kept.StateEpoch, LeaderEpoch: s.leader, Start: kept.Start, Batches: kept.Batches, Limits: s.limits}
	if kept.Start < 0 {
		l.Start, l.Fresh = s.random.Int64N(20), true
	}
	s.p, s.waits = NewPartition(l), nil
	s.model = newNaive(l.Start, s.limits)
	for _, b := range kept.Batches {
		for offset := b.First; offset <= b.Last; offset++ {
			*s.model.at(offset) = naiveRecord{state: b.State, count: b.Count}
		}
	}
	for _, b := range kept.Batches { // what lies between was looked at
		for offset := l.Start; offset <= b.Last; offset++ {
			s.model.at(offset)
		}
	}
	s.model.advance()
}

// follow has a new coordinator take over from the log.
func (s *play) follow() {
	before := s.keeper.State
	s.keeper = s.replay.Keepers(&s.cfg)[s.keeper.Key()]
	if s.keeper.StateEpoch != before.StateEpoch || s.keeper.Start != before.Start || s.keeper.LeaderEpoch != before.LeaderEpoch ||
		s.keeper.Complete != before.Complete || !slices.Equal(s.keeper.Batches, before.Batches) {
		s.Fatalf("%s: replayed: got %+v, want %+v", s.where(), s.keeper.State, before)
	}
	s.replay = NewReplay()
	if err := s.replay.Apply(s.keeper.record(0)); err != nil {
		s.Fatalf("%s: %v", s.where(), err)
	}
	s.replay.keepers[s.keeper.Key()].updates = s.keeper.updates
}

func (s *play) play() {
	s.now += s.random.Int64N(4)
	member := fmt.Sprint("m", s.random.IntN(3))
	switch s.random.IntN(16) {
	case 0, 1, 2, 3, 4:
		s.acquire(member)
	case 5, 6, 7, 8:
		s.acknowledge(member)
	case 9:
		s.p.Release(member)
		s.model.each(func(r *naiveRecord) {
			if r.state == Acquired && r.member == member {
				s.model.release(r)
			}
		})
	case 10:
		s.p.Tick(s.now)
		s.model.each(func(r *naiveRecord) {
			if r.state == Acquired && r.expires <= s.now {
				s.model.release(r)
			}
		})
	case 11, 12, 13:
		s.write()
	case 15:
		s.post()
	case 14:
		switch s.random.IntN(6) {
		case 0:
			s.lead()
		case 1:
			s.follow()
		case 2:
			s.trim()
		}
	}
}

// post writes dead letters; that they were written may not be heard of.
func (s *play) post() {
	for _, l := range s.p.Letters(1 + s.random.Int64N(6)) {
		for offset := l.First; offset <= l.Last; offset++ {
			s.lettered[offset] = true
			if r := s.model.at(offset); r.state != Archiving || r.count != l.Count {
				s.Fatalf("%s: a letter of %d, which is %+v", s.where(), offset, *r)
			}
			if !slices.ContainsFunc(s.keeper.Batches, func(b Batch) bool {
				return b.State == Archiving && b.First <= offset && offset <= b.Last
			}) {
				s.Fatalf("%s: a letter of %d before that is kept: %+v", s.where(), offset, s.keeper.Batches)
			}
		}
		if s.random.IntN(4) == 0 {
			continue
		}
		s.p.Wrote(l.First, l.Last)
		for offset := l.First; offset <= l.Last; offset++ {
			s.model.at(offset).state = Archived
		}
		s.model.advance()
	}
}

func (s *play) trim() {
	to := s.p.Start() + s.random.Int64N(5)
	s.p.Trim(to)
	for offset := range s.model.records {
		if offset < to {
			delete(s.model.records, offset)
		}
	}
	s.model.start = max(s.model.start, to)
	s.model.advance()
}

// write makes the next write; it may get lost on its way there or back.
func (s *play) write() {
	w := s.p.Write()
	if w == nil || s.random.IntN(4) == 0 {
		return
	}
	reply := s.tell(Keep{State: State{
		StateEpoch: w.StateEpoch, LeaderEpoch: w.LeaderEpoch, Start: w.Start, Complete: w.Complete, Batches: w.Batches,
	}})
	if reply.Err != nil {
		s.Fatalf("%s: keep: %v", s.where(), reply.Err)
	}
	if s.random.IntN(4) == 0 {
		return
	}
	s.p.Written(w.Number)
	s.answered()
}

// answered notes whose acknowledgements are kept.
func (s *play) answered() {
	s.waits = slices.DeleteFunc(s.waits, func(a answer) bool {
		if a.number > s.p.Kept() {
			return false
		}
		for _, offset := range a.offsets {
			s.accepted[offset] = true
		}
		return true
	})
}

func (s *play) acquire(member string) {
	from, ok := s.p.Next()
	if !ok {
		return
	}
	a := Acquire{
		Member: member, From: from, Spans: s.log.from(from, 1+s.random.IntN(4)), Max: 1 + s.random.Int64N(12),
		Whole: s.random.IntN(2) == 0,
	}
	end := s.p.end
	taken := int64(0)
	for _, b := range s.p.Acquire(a, s.now) {
		for offset := b.First; offset <= b.Last; offset++ {
			taken++
			r := s.model.at(offset)
			if r.state != Available || r.count+1 != b.Count || !s.log.has(offset) || s.accepted[offset] || s.lettered[offset] {
				s.Fatalf("%s: %d was given to %s in state %v, delivery %d, accepted %v", s.where(), offset, member,
					*r, b.Count, s.accepted[offset])
			}
			*r = naiveRecord{Acquired, b.Count, member, s.now + s.limits.LockMillis}
		}
	}
	if taken > a.Max && !a.Whole {
		s.Fatalf("%s: got %d records, want at most %d", s.where(), taken, a.Max)
	}
	// What was passed over is no record, or was given too often.
	for offset := from; offset < s.p.end; offset++ {
		if r := s.model.at(offset); r.state == Available && !s.log.has(offset) && s.stateOf(offset) == Archived {
			r.state = Archived
		}
	}
	s.model.advance()
	if len(a.Spans) > 0 && taken == 0 && s.p.end == end && s.p.Start() <= from && s.stateOf(from) == Available && s.log.has(from) {
		s.Fatalf("%s: nothing was given of %v, although %d is available", s.where(), a.Spans, from)
	}
}

// stateOf is what the partition thinks of an offset.
func (s *play) stateOf(offset int64) DeliveryState {
	if offset < s.p.start {
		return Archived
	}
	if offset >= s.p.end {
		return Available
	}
	return s.p.runs[s.p.at(offset)].State
}

func (s *play) acknowledge(member string) {
	var acks []Ack
	first := s.p.Start() - 2 + s.random.Int64N(8)
	var held []int64
	for offset, r := range s.model.records {
		if r.state == Acquired && r.member == member {
			held = append(held, offset)
		}
	}
	slices.Sort(held)
	if len(held) > 0 && s.random.IntN(5) > 0 {
		first = held[s.random.IntN(len(held))]
	}
	for range 1 + s.random.IntN(2) {
		a := Ack{First: max(first, 0)}
		a.Last = a.First + s.random.Int64N(3)
		a.Types = []AckType{AckType(s.random.IntN(5))}
		if s.random.IntN(2) == 0 {
			for len(a.Types) < int(a.Last-a.First+1) {
				a.Types = append(a.Types, AckType(s.random.IntN(5)))
			}
		}
		acks = append(acks, a)
		first = a.Last + 1 + s.random.Int64N(2)
	}
	if err := Judge(acks, true); err != nil {
		s.Fatalf("%s: %v: %v", s.where(), acks, err)
	}
	wait, err := s.p.Acknowledge(member, acks, s.now)
	if want := s.model.acknowledge(member, acks, s.now); (err == nil) != want {
		s.Fatalf("%s: %s acknowledges %v: got %v, want success %v", s.where(), member, acks, err, want)
	}
	if err != nil {
		return
	}
	done := answer{number: wait}
	for _, a := range acks {
		for offset := a.First; offset <= a.Last; offset++ {
			if a.at(offset) == Accept {
				done.offsets = append(done.offsets, offset)
			}
		}
	}
	s.waits = append(s.waits, done)
	s.answered()
}

// compare looks at the whole state.
func (s *play) compare() {
	if s.p.start != s.model.start {
		s.Fatalf("%s: start: got %d, want %d", s.where(), s.p.start, s.model.start)
	}
	if s.p.end-s.p.start > s.limits.LocksMax && s.leader == 1 {
		s.Fatalf("%s: %d to %d are in flight, want at most %d", s.where(), s.p.start, s.p.end, s.limits.LocksMax)
	}
	next := s.p.start
	for i, r := range s.p.runs {
		if r.First != next || r.Last < r.First || i > 0 && s.p.runs[i-1].like(&r) {
			s.Fatalf("%s: runs: got %+v, want them to adjoin and differ", s.where(), s.p.runs)
		}
		next = r.Last + 1
		for offset := r.First; offset <= r.Last; offset++ {
			if m := s.model.at(offset); m.state != r.State || m.count != r.Count || m.member != r.member || m.expires != r.expires {
				s.Fatalf("%s: record %d: got %+v, want %+v", s.where(), offset, r, *m)
			}
		}
	}
	if next != s.p.end {
		s.Fatalf("%s: runs end at %d, want %d", s.where(), next, s.p.end)
	}
}

func TestJudgeRefusesWhatMakesNoSense(t *testing.T) {
	for _, test := range []struct {
		name   string
		acks   []Ack
		renews bool
		want   error
	}{
		{"one type for all", []Ack{{0, 9, []AckType{Accept}}}, false, nil},
		{"a type for each", []Ack{{0, 1, []AckType{Accept, Gap}}, {5, 5, []AckType{Reject}}}, false, nil},
		{"too few types", []Ack{{0, 2, []AckType{Accept, Gap}}}, false, ErrInvalidAcknowledgement},
		{"no types", []Ack{{0, 2, nil}}, false, ErrInvalidAcknowledgement},
		{"backwards", []Ack{{3, 2, []AckType{Accept}}}, false, ErrInvalidAcknowledgement},
		{"overlapping", []Ack{{0, 5, []AckType{Accept}}, {4, 6, []AckType{Accept}}}, false, ErrInvalidAcknowledgement},
		{"one record twice", []Ack{{0, 5, []AckType{Accept}}, {5, 6, []AckType{Accept}}}, false, ErrRecordState},
		{"negative", []Ack{{-1, 5, []AckType{Accept}}}, false, ErrInvalidAcknowledgement},
		{"unknown type", []Ack{{0, 0, []AckType{5}}}, true, ErrInvalidAcknowledgement},
		{"renewal", []Ack{{0, 0, []AckType{Renew}}}, true, nil},
		{"renewal where there is none", []Ack{{0, 0, []AckType{Renew}}}, false, ErrInvalidAcknowledgement},
	} {
		if err := Judge(test.acks, test.renews); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
}

// TestStartIsKeptBeforeAnythingIsGiven: another leader could choose another one.
func TestStartIsKeptBeforeAnythingIsGiven(t *testing.T) {
	p := NewPartition(Loaded{Start: 7, Fresh: true})
	p.SetLimits(Limits{LocksMax: 10, DeliveriesMax: 5, LockMillis: 10})
	if _, ok := p.Next(); ok {
		t.Fatal("records are given before the start is kept")
	}
	w := p.Write()
	if w == nil || w.Start != 7 {
		t.Fatalf("write: got %+v, want the start", w)
	}
	p.Written(w.Number)
	if from, ok := p.Next(); !ok || from != 7 {
		t.Errorf("next: got %d, %v, want 7", from, ok)
	}
}
