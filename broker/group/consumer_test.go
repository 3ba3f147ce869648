package group

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group/assign"
)

// riding is a script for a consumer group of topic t with some partitions.
func riding(t *testing.T, partitions int32, edit ...func(*Config)) *script {
	edit = append([]func(*Config){func(c *Config) {
		c.Consumers = ConsumerConfig{
			MembersMax: 3, SessionMillis: 1000, Assignors: assign.Names(), Upgrades: true, Downgrades: true,
		}
	}}, edit...)
	s := newScript(t, edit...)
	s.topics(partitions)
	return s
}

var topicT = assign.TopicID{'t'}

// topics tells that topic t has so many partitions.
func (s *script) topics(partitions int32) {
	s.m.Refresh(NewCatalog([]assign.Topic{{ID: topicT, Name: "t", Partitions: partitions}}), s.now, &s.fx)
	s.take()
}

// of are partitions of topic t.
func of(partitions ...int32) *assign.Slots {
	slots := assign.Slots{}
	for _, p := range partitions {
		slots = append(slots, assign.Slot{Topic: topicT, Partition: p})
	}
	return &slots
}

// enter has a member join.
func (s *script) enter(id string, edit ...func(*ConsumerHeartbeat)) Token {
	e := ConsumerHeartbeat{
		Token: s.token(), MemberID: id, ClientID: "c", Host: "/h", RebalanceMillis: 5000, SessionMillis: 1000,
		Names: []string{"t"}, Owned: of(),
	}
	for _, f := range edit {
		f(&e)
	}
	return s.step(e)
}

// ride has a member beat in an epoch; owned is nil if it says nothing of what it has.
func (s *script) ride(id string, epoch int32, owned *assign.Slots) Token {
	return s.step(ConsumerHeartbeat{
		Token: s.token(), MemberID: id, Epoch: epoch, RebalanceMillis: -1, SessionMillis: 1000, Owned: owned,
	})
}

func fixedAs(id string) func(*ConsumerHeartbeat) {
	return func(e *ConsumerHeartbeat) { e.Instance = &id }
}

// placed wants a heartbeat to be answered with an epoch and an assignment, nil for none told.
func (s *script) placed(t Token, epoch int32, want *assign.Slots) {
	s.Helper()
	got := s.fine(t).Result.(*ConsumerBeat)
	if got.Epoch != epoch || (got.Assigned == nil) != (want == nil) || want != nil && !got.Assigned.Equal(*want) {
		s.Fatalf("heartbeat %d: got epoch %d and %v, want %d and %v", t, got.Epoch, got.Assigned, epoch, want)
	}
}

func TestNewMemberWaitsUntilTheOldOneHasGivenBack(t *testing.T) {
	s := riding(t, 4)
	s.placed(s.enter("a"), 1, of(0, 1, 2, 3))
	s.placed(s.enter("b"), 2, of())
	s.placed(s.ride("a", 1, nil), 1, of(0, 1))
	s.placed(s.ride("b", 2, nil), 2, nil)
	s.placed(s.ride("a", 1, of(0, 1, 2)), 1, nil) // it is not done yet
	s.placed(s.ride("b", 2, nil), 2, nil)
	s.placed(s.ride("a", 1, of(0, 1)), 2, nil)
	s.placed(s.ride("b", 2, nil), 2, of(2, 3))
	if got := s.m.consumerState(); got != Stable {
		t.Errorf("state: got %v, want Stable", got)
	}
}

func TestLostAnswerIsGivenAgain(t *testing.T) {
	s := riding(t, 2)
	s.enter("a")
	s.enter("b")
	s.ride("a", 1, nil)
	s.placed(s.ride("a", 1, of(0)), 2, nil)
	s.placed(s.ride("a", 1, of(0)), 2, nil)             // it has not heard of epoch 2
	s.refused(s.ride("a", 1, of(0, 1)), ErrFencedEpoch) // and this is another one's
	s.refused(s.ride("a", 3, of(0)), ErrFencedEpoch)
	s.placed(s.enter("a"), 2, of(0))
}

func TestSilentMemberIsTakenOut(t *testing.T) {
	s := riding(t, 2)
	s.enter("a")
	s.enter("b")
	s.ride("a", 1, nil)
	s.ride("a", 1, of(0))
	s.placed(s.ride("b", 2, nil), 2, of(1))
	s.pass(600)
	s.ride("b", 2, nil)
	s.pass(600)
	s.placed(s.ride("b", 2, nil), 3, of(0, 1))
	s.refused(s.ride("a", 2, nil), ErrUnknownMember)
}

func TestMemberThatKeepsWhatItMustGiveBackIsTakenOut(t *testing.T) {
	s := riding(t, 2)
	s.enter("a")
	s.enter("b")
	s.placed(s.ride("a", 1, nil), 1, of(0))
	for range 11 {
		s.pass(500)
		s.ride("a", 1, nil)
		s.ride("b", 2, nil)
	}
	s.refused(s.ride("a", 1, nil), ErrUnknownMember)
	if got := s.m.consumers.members["b"].assigned.slots; !got.Equal(*of(0, 1)) {
		t.Errorf("the other one has %v, want everything", got)
	}
}

func TestStaticMemberFindsWhatItLeft(t *testing.T) {
	s := riding(t, 2)
	s.placed(s.enter("a", fixedAs("one")), 1, of(0, 1))
	s.refused(s.enter("b", fixedAs("one")), ErrUnreleasedInstance)
	one := "one"
	s.fine(s.step(ConsumerHeartbeat{Token: s.token(), MemberID: "a", Instance: &one, Epoch: -2, SessionMillis: 1000}))
	s.placed(s.enter("other"), 2, of())
	back := s.enter("b", fixedAs("one"))
	if got := s.fine(back).Result.(*ConsumerBeat); got.Epoch != 0 && got.Epoch != 3 || len(*got.Assigned) != 1 {
		t.Errorf("back: got epoch %d and %v, want its half", got.Epoch, *got.Assigned)
	}
	s.refused(s.ride("a", 1, nil), ErrUnknownMember)
	s.fine(s.step(ConsumerHeartbeat{Token: s.token(), MemberID: "b", Instance: &one, Epoch: -2, SessionMillis: 1000}))
	s.pass(900)
	s.fine(s.ride("other", s.m.consumers.members["other"].epoch, nil))
	s.pass(900)
	if got := len(s.m.consumers.members); got != 1 {
		t.Errorf("members after the static one's session: got %d, want 1", got)
	}
}

func TestPatternsFollowTopics(t *testing.T) {
	s := riding(t, 1)
	pattern := "t.*"
	s.placed(s.enter("a", func(e *ConsumerHeartbeat) { e.Names, e.Pattern = nil, &pattern }), 1, of(0))
	s.topics(3)
	s.placed(s.ride("a", 1, nil), 2, of(0, 1, 2))
	wrong := "t("
	s.refused(s.enter("a", func(e *ConsumerHeartbeat) { e.Pattern = &wrong }), ErrInvalidPattern)
	kept := func() int {
		return len(s.m.consumers.patterns)
	}
	if kept() != 1 {
		t.Fatalf("patterns: got %d, want 1", kept())
	}
	none := ""
	s.enter("a", func(e *ConsumerHeartbeat) { e.Names, e.Pattern = []string{"t"}, &none })
	if kept() != 0 || s.log[len(s.log)-1].Key == nil {
		t.Errorf("patterns after the last one that names it: got %d, want none", kept())
	}
}

// TestCommitsAreJudgedByTheEpochSinceWhenAPartitionIsHeld (KIP-1251): an epoch that has moved on does not
// fence what a member has held all the while.
func TestCommitsAreJudgedByTheEpochSinceWhenAPartitionIsHeld(t *testing.T) {
	s := riding(t, 4)
	s.enter("a")
	s.enter("b")
	s.ride("a", 1, nil)
	s.placed(s.ride("a", 1, of(0, 1)), 2, nil)
	commit := func(epoch, partition int32) Token {
		return s.step(Commit{
			Token: s.token(), MemberID: "a", Generation: epoch, KnowsEpochs: true,
			Offsets: []CommitOffset{{Place{"t", partition}, Offset{Offset: 1, ExpiresAt: -1, TopicID: topicT}}},
		})
	}
	s.fine(commit(2, 0))
	s.fine(commit(1, 0))
	s.refused(commit(1, 3), ErrStaleEpoch) // given back
	s.refused(commit(3, 0), ErrStaleEpoch)
	s.refused(s.step(Commit{Token: s.token(), MemberID: "a", Generation: 2}), ErrOldCommit)
	within := func(epoch int32) Token {
		return s.step(TxnCommit{Token: s.token(), ProducerID: 1, MemberID: "a", Generation: epoch,
			Offsets: []CommitOffset{{Place{"t", 3}, Offset{Offset: 1, ExpiresAt: -1, TopicID: topicT}}}})
	}
	s.fine(within(2))
	s.refused(within(1), ErrIllegalGeneration)
	s.refused(s.step(TxnCommit{Token: s.token(), ProducerID: 1, MemberID: "a", Generation: 1, KnowsEpochs: true,
		Offsets: []CommitOffset{{Place{"t", 3}, Offset{Offset: 1, ExpiresAt: -1, TopicID: topicT}}}}), ErrStaleEpoch)
	s.refused(s.step(Commit{Token: s.token(), Generation: -1, KnowsEpochs: true}), ErrUnknownMember)
}

func TestAssignorIsWhatMostMembersWant(t *testing.T) {
	s := riding(t, 4)
	want := func(name string) func(*ConsumerHeartbeat) {
		return func(e *ConsumerHeartbeat) { e.Assignor = &name }
	}
	s.enter("a", want("range"))
	s.enter("b", want("uniform"))
	if got := s.m.assignorName(); got != "uniform" {
		t.Errorf("of equals: got %s, want the one that is configured first", got)
	}
	s.enter("c", want("range"))
	if got := s.m.assignorName(); got != "range" {
		t.Errorf("majority: got %s, want range", got)
	}
	s.refused(s.enter("d", want("uniform")), ErrGroupFull)
	s.refused(s.enter("a", want("best")), ErrUnsupportedAssignor)
}

// TestMigrationsFollowThePolicy: a group with members changes its protocol only as it is allowed to.
func TestMigrationsFollowThePolicy(t *testing.T) {
	for _, may := range []bool{true, false} {
		s := riding(t, 4, func(c *Config) { c.Consumers.Upgrades, c.Consumers.Downgrades = may, may })
		said := kmsg.NewConsumerMemberMetadata()
		said.Topics = []string{"t"}
		subscribed := func(e *Join) { e.Protocols = []Protocol{{"range", said.AppendTo(nil)}} }
		all := []*Joined{s.joined(s.join("", subscribed))}
		s.sync(all[0], all[0].MemberID)
		before := len(s.log)
		// Its assignment is none that could be read.
		s.refused(s.enter("a"), ErrNotConsumers)
		if len(s.log) != before || s.m.consumers != nil {
			t.Fatalf("upgrades %t: a refusal has changed the group", may)
		}
		good := map[string][]byte{all[0].MemberID: s.m.catalog.assignmentOf(*of(0, 1, 2, 3))}
		s.m.members[all[0].MemberID].assignment = good[all[0].MemberID]
		if !may {
			s.refused(s.enter("a"), ErrNotConsumers)
			continue
		}
		s.placed(s.enter("a"), all[0].Generation+1, of())
		s.refused(s.beat(all[0]), ErrRebalancing)
		s.fine(s.step(ConsumerHeartbeat{Token: s.token(), MemberID: "a", Epoch: -1}))
		if s.m.consumers != nil || s.m.state != Preparing || len(s.m.members) != 1 {
			t.Errorf("group after the last modern member: %v with %d members, want a classic one that rebalances",
				s.m.state, len(s.m.members))
		}
	}
}

// TestEmptyGroupsTakeEitherProtocol, whatever the policy is, and keep their offsets.
func TestEmptyGroupsTakeEitherProtocol(t *testing.T) {
	s := riding(t, 1, func(c *Config) { c.Consumers.Upgrades, c.Consumers.Downgrades = false, false })
	all := s.stable(1)
	s.sync(all[0], all[0].MemberID)
	s.step(Commit{Token: s.token(), MemberID: all[0].MemberID, Generation: all[0].Generation,
		Offsets: []CommitOffset{{Place{"t", 0}, Offset{Offset: 9, ExpiresAt: -1}}}})
	s.step(Leave{Token: s.token(), Members: []Leaver{{ID: all[0].MemberID}}})
	s.placed(s.enter("a"), 3, of(0))
	s.fine(s.step(ConsumerHeartbeat{Token: s.token(), MemberID: "a", Epoch: -1}))
	again := s.join("")
	if s.m.consumers != nil {
		t.Error("a classic member has joined an empty group, and it is not classic")
	}
	s.joined(again)
	if got := s.m.offsets[Place{"t", 0}].Offset; got != 9 {
		t.Errorf("offset: got %d, want 9", got)
	}
}

// BenchmarkThousandthMemberJoins is what one more member of a thousand costs.
func BenchmarkThousandthMemberJoins(b *testing.B) {
	cfg := Config{
		RecordBytesMax: 1 << 20,
		Consumers:      ConsumerConfig{MembersMax: 1 << 20, SessionMillis: 1000, Assignors: assign.Names()},
	}
	m := New(&cfg, "g")
	var fx Effects
	m.Refresh(NewCatalog([]assign.Topic{{ID: topicT, Name: "t", Partitions: 2000}}), Time{}, &fx)
	join := func(id string) {
		m.Step(ConsumerHeartbeat{
			Token: 1, MemberID: id, RebalanceMillis: 5000, SessionMillis: 1000, Names: []string{"t"}, Owned: of(),
		}, Time{}, &fx)
		fx.Reset()
	}
	for i := range 1000 {
		join(fmt.Sprint("m", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		join("one more")
		m.Step(ConsumerHeartbeat{Token: 1, MemberID: "one more", Epoch: leaveEpoch}, Time{}, &fx)
		fx.Reset()
	}
}

// TestSlotsAreSets: what clients send may be unsorted and repeated.
func TestSlotsAreSets(t *testing.T) {
	slots := assign.SlotsOf(slices.Concat(*of(3, 1), *of(1, 2)))
	if !slots.Equal(*of(1, 2, 3)) || !of(1).Within(slots) || !slots.Meets(*of(0, 3)) || slots.Meets(*of(0)) {
		t.Errorf("got %v, want a sorted set", slots)
	}
}

// TestDivisionsKeepTheirDistance (KIP-1263): what changes within the interval is divided at its end, once.
func TestDivisionsKeepTheirDistance(t *testing.T) {
	s := riding(t, 4)
	soon := func(e *ConsumerHeartbeat) { e.AssignMillis, e.SessionMillis = 500, 10_000 }
	s.placed(s.enter("a", soon), 1, of(0, 1, 2, 3)) // the first one comes at once
	s.placed(s.enter("b", soon), 1, of())
	s.placed(s.enter("c", soon), 1, of())
	if got := s.m.consumers; got.epoch != 3 || got.targetEpoch != 1 || s.m.Summary().State != Assigning {
		t.Errorf("got epoch %d, divided %d, %v, want 3, 1 and Assigning", got.epoch, got.targetEpoch, s.m.Summary().State)
	}
	s.pass(499)
	if got := s.m.consumers.targetEpoch; got != 1 {
		t.Errorf("too early: divided in epoch %d", got)
	}
	if s.m.Wake() > s.now.Mono+1 {
		t.Errorf("wakes at %d, want the end of the interval, %d", s.m.Wake(), s.now.Mono+1)
	}
	s.pass(1)
	if got := s.m.consumers.targetEpoch; got != 3 {
		t.Errorf("got a division in epoch %d, want 3", got)
	}
	s.placed(s.step(ConsumerHeartbeat{
		Token: s.token(), MemberID: "a", Epoch: 1, RebalanceMillis: -1, SessionMillis: 10_000, AssignMillis: 500,
	}), 1, of(0, 1))
}
