package group

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/group/assign"
)

// shared is one share group with the log of its partition, and topics that come, grow and go.
type shared struct {
	*testing.T
	rand    *rand.Rand
	cfg     Config
	m       *Machine
	now     Time
	next    Token
	log     []Record
	topics  []assign.Topic
	catalog *Catalog
	epochs  map[string]int32
	where   string
}

func newShared(t *testing.T, seed uint64) *shared {
	s := &shared{T: t, rand: rand.New(rand.NewPCG(seed, 3)), epochs: map[string]int32{}}
	s.cfg.Shares = ShareConfig{MembersMax: 6, SessionMillis: 50}
	s.m = New(&s.cfg, "g")
	s.change()
	return s
}

// step has the machine take an event, and returns its reply.
func (s *shared) step(e Event) Reply {
	var fx Effects
	s.m.Step(e, s.now, &fx)
	s.note(&fx)
	if len(fx.Replies) != 1 {
		s.Fatalf("%s: %T: got %d replies, want one", s.where, e, len(fx.Replies))
	}
	return fx.Replies[0]
}

func (s *shared) token() Token { s.next++; return s.next }

// note appends what was decided. A log that ends after any record of it must be good to go on from.
func (s *shared) note(fx *Effects) {
	for i := range fx.Records {
		s.goesOn(slices.Concat(s.log, fx.Records[:i]))
	}
	s.log = append(s.log, fx.Records...)
}

// restore replays a log.
func (s *shared) restore(log []Record) *Machine {
	r := NewReplay()
	for _, record := range log {
		if err := r.Apply(record); err != nil {
			s.Fatalf("%s: replay: %v", s.where, err)
		}
	}
	if m := r.Machines(&s.cfg, s.now)["g"]; m != nil {
		return m
	}
	return New(&s.cfg, "g")
}

// goesOn restores a group from a log, has it told of the topics and beats of a member, and looks at it.
func (s *shared) goesOn(log []Record) {
	m := s.restore(log)
	var fx Effects
	m.Refresh(s.catalog, s.now, &fx)
	m.Tick(s.now, &fx)
	m.Step(ShareHeartbeat{Token: 1, MemberID: "last", SessionMillis: 50, Names: []string{"a"}}, s.now, &fx)
	if m.shares != nil && len(m.shares.members) > 0 {
		s.check(m)
	}
	again := s.restore(slices.Concat(log, fx.Records))
	again.Refresh(s.catalog, s.now, &fx)
	s.same(again, m)
}

// same compares what two machines know.
func (s *shared) same(got, want *Machine) {
	s.Helper()
	if g, w := fmt.Sprintf("%+v", got.DescribeShares()), fmt.Sprintf("%+v", want.DescribeShares()); g != w {
		s.Fatalf("%s: restored: got %s, want %s", s.where, g, w)
	}
	if want.shares != nil && !got.shares.forgetting.Equal(want.shares.forgetting) {
		s.Fatalf("%s: restored: forgets %v, want %v", s.where, got.shares.forgetting, want.shares.forgetting)
	}
}

// check: each partition that somebody subscribes to has a member, and nobody has nothing to do.
func (s *shared) check(m *Machine) {
	s.Helper()
	used := map[assign.Slot]bool{}
	for _, one := range m.shares.members {
		names := map[string]bool{}
		for _, n := range one.names {
			names[n] = true
		}
		partitions := int32(0)
		for _, t := range s.catalog.named(names) {
			partitions += t.Partitions
		}
		if partitions > 0 && len(one.target) == 0 {
			s.Fatalf("%s: %s has nothing of %d partitions", s.where, one.id, partitions)
		}
		for _, slot := range one.target {
			used[slot] = true
			if name := s.catalog.nameOf(slot.Topic); !names[name] {
				s.Fatalf("%s: %s has %q without a subscription", s.where, one.id, name)
			}
		}
	}
	for _, t := range s.catalog.named(m.shares.subscribed()) {
		for p := range t.Partitions {
			if !used[assign.Slot{Topic: t.ID, Partition: p}] {
				s.Fatalf("%s: nobody has partition %d of %s", s.where, p, t.Name)
			}
		}
	}
}

// change lets a topic come, grow or go.
func (s *shared) change() {
	name := string('a' + rune(s.rand.IntN(3)))
	i := slices.IndexFunc(s.topics, func(t assign.Topic) bool { return t.Name == name })
	switch {
	case i < 0:
		t := assign.Topic{Name: name, Partitions: 1 + s.rand.Int32N(3)}
		t.ID = assign.TopicID{name[0], byte(s.rand.IntN(256))}
		s.topics = append(s.topics, t)
	case s.rand.IntN(2) == 0:
		s.topics[i].Partitions++
	default:
		s.topics = slices.Delete(s.topics, i, i+1)
	}
	s.catalog = NewCatalog(slices.Clone(s.topics))
	s.refresh()
}

func (s *shared) refresh() {
	var fx Effects
	s.m.Refresh(s.catalog, s.now, &fx)
	s.note(&fx)
}

func (s *shared) play() {
	id := fmt.Sprint("m", s.rand.IntN(8))
	switch s.rand.IntN(12) {
	case 0, 1, 2, 3, 4, 5:
		s.beat(id)
	case 6:
		s.step(ShareHeartbeat{Token: s.token(), MemberID: id, Epoch: leaveEpoch})
		delete(s.epochs, id)
	case 7:
		s.change()
	case 8:
		s.now.Mono += s.rand.Int64N(40)
		var fx Effects
		s.m.Tick(s.now, &fx)
		s.note(&fx)
	case 9:
		s.forget()
	case 10:
		s.m = s.restore(s.log)
		s.refresh()
	case 11:
		s.reset()
	}
}

// beat is a heartbeat of a member, and what its handler does then.
func (s *shared) beat(id string) {
	e := ShareHeartbeat{Token: s.token(), MemberID: id, Epoch: s.epochs[id], SessionMillis: 50}
	if e.Epoch == joinEpoch || s.rand.IntN(4) == 0 {
		e.Names = [][]string{{"a"}, {"b", "a"}, {"c"}}[s.rand.IntN(3)]
	}
	reply := s.step(e)
	if reply.Err != nil {
		delete(s.epochs, id)
		return
	}
	beat := reply.Result.(*ShareBeat)
	s.epochs[id] = beat.Epoch
	if len(beat.Forgetting) > 0 {
		s.step(ShareForgotten{s.token(), beat.Forgetting})
	}
	if s.rand.IntN(3) > 0 {
		s.step(ShareInitialized{s.token(), beat.Missing})
		if missing := s.m.missingShares(); len(missing) > 0 {
			s.Fatalf("%s: %v are missing after they were initialized", s.where, missing)
		}
	}
}

func (s *shared) forget() {
	reply := s.step(ShareForget{Token: s.token()})
	if reply.Err != nil {
		return
	}
	if states := reply.Result.(*ShareStates).Slots; s.rand.IntN(2) == 0 {
		s.step(ShareForgotten{s.token(), states})
		if err := s.step(Delete{s.token()}).Err; err != nil || s.m.Exists() {
			s.Fatalf("%s: delete: got %v, want it gone", s.where, err)
		}
	}
}

func (s *shared) reset() {
	if len(s.topics) > 0 {
		reply := s.step(ShareReset{s.token(), assign.Slots{{Topic: s.topics[0].ID, Partition: 0}}})
		if noted, is := reply.Result.(*ShareStates); is && s.rand.IntN(3) == 0 {
			s.step(ShareUninitialized{s.token(), noted.Slots})
		}
	}
}

// TestShareGroupsAreWhatTheirLogSays plays at random, with a new coordinator at any time, and after every
// record of a decision.
func TestShareGroupsAreWhatTheirLogSays(t *testing.T) {
	for seed := range uint64(40) {
		s := newShared(t, seed)
		for step := range 80 {
			s.where = fmt.Sprintf("seed %d, step %d", seed, step)
			s.play()
			restored := s.restore(s.log)
			s.same(restored, s.m)
			if s.m.shares != nil {
				s.check(s.m)
			}
		}
	}
}

// TestShareGroupsAndOthersRefuseEachOther: a group is of one kind as long as there is anything of it.
func TestShareGroupsAndOthersRefuseEachOther(t *testing.T) {
	s := newShared(t, 1)
	if err := s.step(ShareHeartbeat{Token: 1, MemberID: "m", SessionMillis: 50, Names: []string{"a"}}).Err; err != nil {
		t.Fatal(err)
	}
	s.cfg.SessionMaxMillis = 1000
	for _, test := range []struct {
		event Event
		want  error
	}{
		{Join{Token: 1, ProtocolType: "consumer", SessionMillis: 10}, ErrInconsistentProtocol},
		{Heartbeat{Token: 1}, ErrUnknownMember},
		{Commit{Token: 1, Generation: -1}, ErrNotThatKind},
		{Fetch{Token: 1, All: true}, nil}, // and nothing was committed
		{Fetch{Token: 1, All: true, MemberID: new(string)}, ErrNotThatKind},
		{ConsumerHeartbeat{Token: 1, MemberID: "c"}, ErrNotThatKind},
		{Delete{Token: 1}, ErrNotEmpty},
		{ShareForget{Token: 1}, ErrNotEmpty},
		{ShareHeartbeat{Token: 1, MemberID: "m", Epoch: 9}, ErrFencedEpoch},
		{ShareHeartbeat{Token: 1, MemberID: "n", Epoch: 1}, ErrUnknownMember},
	} {
		if err := s.step(test.event).Err; !errors.Is(err, test.want) {
			t.Errorf("%T: got %v, want %v", test.event, err, test.want)
		}
	}
	nobody := newShared(t, 1)
	for _, test := range []struct {
		event Event
		want  error
	}{
		{ShareHeartbeat{Token: 1, MemberID: "m", Epoch: 1}, ErrUnknownMember},
		{ShareHeartbeat{Token: 1, MemberID: "m", Epoch: -1}, ErrUnknownGroup},
		{ShareForget{Token: 1}, ErrUnknownGroup},
		{ShareReset{Token: 1}, nil}, // which makes the group
		{ShareForget{Token: 1}, nil},
	} {
		if err := nobody.step(test.event).Err; !errors.Is(err, test.want) {
			t.Errorf("%+v without a group: got %v, want %v", test.event, err, test.want)
		}
	}
	other := newShared(t, 1)
	if err := other.step(Commit{Token: 1, Generation: -1, Offsets: []CommitOffset{{Place: Place{"a", 0}}}}).Err; err != nil {
		t.Fatal(err)
	}
	for _, e := range []Event{
		ShareHeartbeat{Token: 1, MemberID: "m", Names: []string{"a"}}, ShareForget{Token: 1}, ShareReset{Token: 1},
	} {
		if err := other.step(e).Err; !errors.Is(err, ErrNotThatKind) {
			t.Errorf("%T: got %v, want %v", e, err, ErrNotThatKind)
		}
	}
}

// TestSharesAreDividedAtADistance (KIP-1263), as those of consumers.
func TestSharesAreDividedAtADistance(t *testing.T) {
	s := newShared(t, 1)
	s.topics = []assign.Topic{{ID: assign.TopicID{'a'}, Name: "a", Partitions: 2}}
	s.catalog = NewCatalog(s.topics)
	var fx Effects
	s.m.Refresh(s.catalog, s.now, &fx)
	join := func(id string) *ShareBeat {
		fx.Reset()
		s.m.Step(ShareHeartbeat{Token: 1, MemberID: id, SessionMillis: 10_000, AssignMillis: 500, Names: []string{"a"}}, s.now, &fx)
		return fx.Replies[0].Result.(*ShareBeat)
	}
	if got := join("m").Assigned; got == nil || len(*got) != 2 {
		t.Errorf("first: got %v, want both partitions at once", got)
	}
	if got := join("n").Assigned; got == nil || len(*got) != 0 {
		t.Errorf("second: got %v, want nothing yet", got)
	}
	s.now.Mono += 500
	s.m.Tick(s.now, &fx)
	fx.Reset()
	s.m.Step(ShareHeartbeat{Token: 1, MemberID: "n", Epoch: 1, SessionMillis: 10_000, AssignMillis: 500}, s.now, &fx)
	if got := fx.Replies[0].Result.(*ShareBeat); got.Epoch != 2 || got.Assigned == nil || len(*got.Assigned) != 1 {
		t.Errorf("after the interval: got epoch %d and %v, want 2 and one partition", got.Epoch, got.Assigned)
	}
}
