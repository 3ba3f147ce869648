package group

import (
	"bytes"
	"testing"
)

func TestFirstMemberLeadsAGenerationOfItsOwn(t *testing.T) {
	s := newScript(t)
	j := s.joined(s.join(""))
	if j.Generation != 1 || j.Leader != j.MemberID || j.Protocol != "range" || len(j.Members) != 1 {
		t.Errorf("got %+v, want generation 1, led by itself, with itself as member", j)
	}
	s.is(Completing)
	r := s.fine(s.sync(j, j.MemberID))
	if got := r.Result.(*Synced); string(got.Assignment) != "for "+j.MemberID || !r.AfterRecords {
		t.Errorf("got %+v after records %t, want its assignment after the record", got, r.AfterRecords)
	}
	s.is(Stable)
	if len(s.log) != 1 {
		t.Errorf("records: got %d, want the group once", len(s.log))
	}
}

func TestFirstMembersWaitForOthersAndEachNewcomerProlongsIt(t *testing.T) {
	s := newScript(t, func(c *Config) { c.InitialDelayMillis = 3000 })
	first := s.join("")
	s.pass(2999)
	s.waits(first)
	second := s.join("")
	s.pass(1) // 3,000: a newcomer came, so another delay, but no longer than 5,000 in all
	s.waits(first)
	s.pass(1999)
	s.waits(first)
	s.pass(1)
	if a, b := s.joined(first), s.joined(second); a.Generation != 1 || b.Generation != 1 ||
		len(a.Members) != 2 || len(b.Members) != 0 {
		t.Errorf("got %+v and %+v, want one generation, members told to the leader alone", a, b)
	}
}

func TestFirstMemberAloneWaitsOneDelay(t *testing.T) {
	s := newScript(t, func(c *Config) { c.InitialDelayMillis = 3000 })
	first := s.join("")
	s.pass(3000)
	s.joined(first)
}

func TestNewDynamicMemberIsToldItsIDFirst(t *testing.T) {
	s := newScript(t)
	names := func(e *Join) { e.NamesFirst = true }
	asked := s.join("", names)
	s.refused(asked, ErrMemberIDRequired)
	id := s.replies[asked].Result.(*Joined).MemberID
	if got := s.joined(s.join(id, names)); got.MemberID != id {
		t.Errorf("member: got %s, want %s", got.MemberID, id)
	}
	s.waits(s.join("", names, instance("static"))) // a static member has an id that it may keep
}

func TestPendingMemberHoldsUpARebalanceOnlyUntilItsTimeIsUp(t *testing.T) {
	s := newScript(t)
	j := s.stable(1)[0]
	s.refused(s.join("", func(e *Join) { e.NamesFirst, e.SessionMillis = true, 700 }), ErrMemberIDRequired)
	again := s.join(j.MemberID)
	s.waits(again)
	s.pass(699)
	s.waits(again)
	s.pass(1)
	if got := s.joined(again); got.Generation != 2 || len(got.Members) != 1 {
		t.Errorf("got %+v, want generation 2 without the pending member", got)
	}
}

func TestMemberOfAnEarlierCoordinatorIsUnknown(t *testing.T) {
	s := newScript(t)
	s.refused(s.join("somebody"), ErrUnknownMember)
	s.refused(s.step(Heartbeat{Token: s.token(), MemberID: "somebody", Generation: 3}), ErrUnknownMember)
	s.refused(s.step(Sync{Token: s.token(), MemberID: "somebody", Generation: 3}), ErrUnknownMember)
	if s.m.Exists() {
		t.Errorf("group exists, want it not to: nobody was let in")
	}
}

func TestJoinIsRefusedForWhatDoesNotFit(t *testing.T) {
	s := newScript(t, func(c *Config) { c.MembersMax = 2 })
	s.refused(s.join("", func(e *Join) { e.SessionMillis = 9 }), ErrInvalidSessionTimeout)
	s.refused(s.join("", func(e *Join) { e.SessionMillis = 100_001 }), ErrInvalidSessionTimeout)
	s.refused(s.join("", func(e *Join) { e.ProtocolType = "" }), ErrInconsistentProtocol)
	s.refused(s.join("", func(e *Join) { e.Protocols = nil }), ErrInconsistentProtocol)
	s.stable(1)
	s.refused(s.join("", func(e *Join) { e.ProtocolType = "connect" }), ErrInconsistentProtocol)
	s.refused(s.join("", protocols("sticky")), ErrInconsistentProtocol)
	s.join("", protocols("sticky", "range"))
	s.refused(s.join(""), ErrGroupFull)
	nameless := New(&s.cfg, "")
	nameless.Step(Heartbeat{Token: 99}, s.now, &s.fx)
	s.take()
	s.refused(99, ErrInvalidGroupID)
}

func TestProtocolIsChosenByVotesAmongThoseThatAllKnow(t *testing.T) {
	s := newScript(t, func(c *Config) { c.InitialDelayMillis = 100 })
	first := s.join("", protocols("alone", "b", "a"))
	s.join("", protocols("a", "b"))
	s.join("", protocols("a", "b"))
	s.pass(100)
	s.pass(100)
	if got := s.joined(first).Protocol; got != "a" {
		t.Errorf("protocol: got %s, want a", got)
	}
}

func TestConcurrentJoinsLoseNoMember(t *testing.T) {
	s := newScript(t)
	first := s.stable(1)[0]
	var newcomers []Token
	for range 50 {
		newcomers = append(newcomers, s.join(""))
	}
	again := s.join(first.MemberID)
	if got := s.joined(again); len(got.Members) != 51 {
		t.Errorf("members told to the leader: got %d, want 51", len(got.Members))
	}
	for _, n := range newcomers {
		if got := s.joined(n).Generation; got != 2 {
			t.Errorf("generation of a newcomer: got %d, want 2", got)
		}
	}
}

func TestUnchangedFollowerIsAnsweredAtOnceAndNobodyRebalances(t *testing.T) {
	s := newScript(t)
	all := s.stable(2)
	generation := s.m.generation
	if got := s.joined(s.join(all[1].MemberID)); got.Generation != generation || got.Members != nil {
		t.Errorf("follower: got %+v, want the present generation without members", got)
	}
	s.is(Stable)
	s.waits(s.join(all[1].MemberID, protocols("range", "sticky")))
	s.is(Preparing)
}

func TestLeaderThatJoinsAgainRebalances(t *testing.T) {
	s := newScript(t)
	all := s.stable(2)
	s.waits(s.join(all[0].MemberID))
	s.is(Preparing)
}

func TestMembersHearOfARebalanceByTheirHeartbeats(t *testing.T) {
	s := newScript(t)
	all := s.stable(2)
	s.fine(s.beat(all[1]))
	s.join("")
	s.refused(s.beat(all[1]), ErrRebalancing)
	s.refused(s.sync(all[1]), ErrRebalancing)
	old := *all[1]
	old.Generation--
	s.refused(s.beat(&old), ErrIllegalGeneration)
	s.refused(s.sync(&old), ErrIllegalGeneration)
}

func TestRebalanceGoesOnWithoutThoseWhoDoNotJoinInTime(t *testing.T) {
	s := newScript(t)
	all := s.stable(2)
	again := s.join(all[0].MemberID)
	for range 9 {
		s.pass(500)
		s.refused(s.beat(all[1]), ErrRebalancing)
	}
	s.waits(again)
	s.pass(500)
	if got := s.joined(again); len(got.Members) != 1 {
		t.Errorf("members: got %d, want the one that joined", len(got.Members))
	}
	s.refused(s.beat(all[1]), ErrUnknownMember)
}

func TestSilentMemberIsTakenOutWhenItsSessionEnds(t *testing.T) {
	s := newScript(t)
	all := s.stable(2)
	s.pass(999)
	s.fine(s.beat(all[0]))
	s.is(Stable)
	s.pass(1)
	s.is(Preparing)
	s.refused(s.beat(all[1]), ErrUnknownMember)
	s.refused(s.beat(all[0]), ErrRebalancing)
}

// A group of redpanda's was stuck for good since members that waited were taken out (checklist 34).
func TestMemberThatWaitsForUsIsNotSilent(t *testing.T) {
	s := newScript(t)
	all := s.stable(3)
	again := s.join(all[1].MemberID, protocols("range", "x"))
	for range 4 {
		s.pass(900)
		s.beat(all[0])
		s.beat(all[2])
	}
	s.waits(again)
	s.join(all[0].MemberID)
	s.join(all[2].MemberID)
	j := s.joined(again)
	waits := s.sync(j)
	s.pass(4000) // longer than anybody's session, but it was we who let it wait
	s.refused(waits, ErrRebalancing)
	if s.m.members[j.MemberID] == nil {
		t.Errorf("member that waited is gone")
	}
}

func TestNewMemberThatNeverGetsAnAnswerIsForgotten(t *testing.T) {
	s := newScript(t)
	all := s.stable(1)
	lost := s.join("", func(e *Join) { e.RebalanceMillis = 3_000_000 })
	for s.now.Mono < 1000+newMemberMillis {
		s.beat(all[0])
		s.pass(500)
	}
	s.refused(lost, ErrUnknownMember)
}

func TestMemberThatNeverAsksForItsAssignmentIsTakenOut(t *testing.T) {
	s := newScript(t, func(c *Config) { c.InitialDelayMillis = 10 })
	a, b := s.join("", func(e *Join) { e.SessionMillis = 60_000 }), s.join("", func(e *Join) { e.SessionMillis = 60_000 })
	s.pass(10)
	s.pass(10)
	leader, follower := s.joined(a), s.joined(b)
	waits := s.sync(follower)
	s.pass(4999)
	s.waits(waits)
	s.pass(1) // the leader has not assigned within the rebalance timeout
	s.refused(waits, ErrRebalancing)
	s.refused(s.beat(leader), ErrUnknownMember)
	s.is(Preparing)
}

func TestFollowerWaitsForTheLeadersAssignment(t *testing.T) {
	s := newScript(t, func(c *Config) { c.InitialDelayMillis = 10 })
	a, b := s.join(""), s.join("")
	s.pass(10)
	s.pass(10)
	leader, follower := s.joined(a), s.joined(b)
	waits := s.sync(follower)
	s.waits(waits)
	s.fine(s.sync(leader, leader.MemberID))
	// The leader forgot the follower: it gets nothing, and that is an answer.
	if got := s.fine(waits).Result.(*Synced); len(got.Assignment) != 0 {
		t.Errorf("assignment of a forgotten member: got %q, want none", got.Assignment)
	}
}

func TestSyncIsRefusedUnderAnotherProtocol(t *testing.T) {
	s := newScript(t)
	j := s.joined(s.join(""))
	other := "sticky"
	s.refused(s.step(Sync{Token: s.token(), MemberID: j.MemberID, Generation: 1, Protocol: &other}),
		ErrInconsistentProtocol)
	s.refused(s.step(Sync{Token: s.token(), MemberID: j.MemberID, Generation: 1, ProtocolType: &other}),
		ErrInconsistentProtocol)
}

func TestLeavingMembersAreAnsweredOneByOne(t *testing.T) {
	s := newScript(t)
	all := s.stable(2)
	gone := "gone"
	left := s.fine(s.step(Leave{Token: s.token(), Members: []Leaver{
		{ID: all[0].MemberID}, {ID: "nobody"}, {Instance: &gone},
	}})).Result.(*Left)
	if left.Errs[0] != nil || left.Errs[1] != ErrUnknownMember || left.Errs[2] != ErrUnknownMember {
		t.Errorf("got %v, want nil and twice unknown", left.Errs)
	}
	s.is(Preparing)
	s.step(Leave{Token: s.token(), Members: []Leaver{{ID: all[1].MemberID}}})
	s.is(Empty)
	if d := s.m.Describe(); d.State != Empty || d.ProtocolType != "consumer" || len(d.Members) != 0 {
		t.Errorf("got %+v, want an empty group of consumers", d)
	}
}

func TestStaticMemberComesBackWithoutARebalance(t *testing.T) {
	s := newScript(t)
	first := s.joined(s.join("", instance("i")))
	s.fine(s.sync(first, first.MemberID))
	records := len(s.log)
	back := s.join("", instance("i"), func(e *Join) { e.Host, e.SessionMillis, e.Skips = "/new", 2000, true })
	j := s.joined(back)
	if j.MemberID == first.MemberID || j.Generation != 1 || !j.Skip || j.Leader != j.MemberID {
		t.Errorf("got %+v, want a new id in generation 1, leading without assigning", j)
	}
	s.is(Stable)
	if len(s.log) != records+1 || !s.replies[back].AfterRecords {
		t.Errorf("records: got %d more, want the group once, before the answer", len(s.log)-records)
	}
	if d := s.m.Describe().Members[0]; d.Host != "/new" || s.m.members[j.MemberID].session != 2000 {
		t.Errorf("member: got %+v, want its new host and session", d)
	}
	if got := s.fine(s.sync(j)).Result.(*Synced); string(got.Assignment) != "for "+first.MemberID {
		t.Errorf("assignment: got %q, want that of the member before", got.Assignment)
	}
	id := "i"
	s.refused(s.step(Heartbeat{Token: s.token(), MemberID: first.MemberID, Instance: &id, Generation: 1}),
		ErrFencedInstance)
}

func TestStaticLeaderThatCannotSkipIsToldThatTheOldOneLeads(t *testing.T) {
	s := newScript(t)
	first := s.joined(s.join("", instance("i")))
	s.fine(s.sync(first, first.MemberID))
	if j := s.joined(s.join("", instance("i"))); j.Leader != first.MemberID || j.Members != nil || j.Skip {
		t.Errorf("got %+v, want the old leader and no members", j)
	}
}

// In Completing the leader may have assigned to the old id: KAFKA-9801.
func TestStaticMemberThatComesBackBeforeTheAssignmentRebalances(t *testing.T) {
	s := newScript(t)
	first := s.joined(s.join("", instance("i")))
	s.is(Completing)
	if j := s.joined(s.join("", instance("i"))); j.Generation != first.Generation+1 {
		t.Errorf("generation: got %d, want the next", j.Generation)
	}
}

func TestStaticMemberKeepsItsPlaceUntilItsSessionEnds(t *testing.T) {
	s := newScript(t, func(c *Config) { c.InitialDelayMillis = 10 })
	a := s.join("", instance("i"), func(e *Join) { e.SessionMillis = 20_000 })
	b := s.join("")
	s.pass(10)
	s.pass(10)
	static, dynamic := s.joined(a), s.joined(b)
	s.fine(s.sync(static, static.MemberID, dynamic.MemberID))
	s.fine(s.sync(dynamic))
	again := s.join(dynamic.MemberID, protocols("range", "x"))
	s.pass(5000) // the static member does not join, and is waited for no longer
	if j := s.joined(again); j.Leader != dynamic.MemberID || len(j.Members) != 2 {
		t.Errorf("got %+v, want the joined one to lead, and the static one to be a member still", j)
	}
}

func TestFencedInstanceWhoseRequestWaitsHearsOfIt(t *testing.T) {
	s := newScript(t)
	s.stable(1)
	waits := s.join("", instance("i"))
	s.waits(waits)
	s.join("", instance("i"))
	s.refused(waits, ErrFencedInstance)
}

// Cooperative consumers put owned partitions and their generation into these bytes (checklist 36).
func TestMetadataAndAssignmentsPassUntouched(t *testing.T) {
	s := newScript(t)
	odd := []byte{0, 3, 0, 0, 0, 0, 255, 0, 1}
	j := s.joined(s.join("", func(e *Join) { e.Protocols = []Protocol{{"cooperative-sticky", odd}} }))
	if !bytes.Equal(j.Members[0].Metadata, odd) {
		t.Errorf("metadata: got %v, want %v", j.Members[0].Metadata, odd)
	}
}

func TestMachineKeepsNothingOfTheRequest(t *testing.T) {
	s := newScript(t)
	metadata := consumes("t")
	j := s.joined(s.join("", func(e *Join) { e.Protocols = []Protocol{{"range", metadata}} }))
	assignment := []byte("mine")
	s.step(Sync{Token: s.token(), MemberID: j.MemberID, Generation: 1,
		Assignments: map[string][]byte{j.MemberID: assignment}})
	clear(metadata)
	clear(assignment)
	d := s.m.Describe().Members[0]
	if !bytes.Equal(d.Metadata, consumes("t")) || string(d.Assignment) != "mine" {
		t.Errorf("got %q and %q, want what was sent", d.Metadata, d.Assignment)
	}
}

func TestGroupThatFitsNoRecordIsRefusedForGood(t *testing.T) {
	s := newScript(t, func(c *Config) { c.RecordBytesMax = 200 })
	j := s.joined(s.join(""))
	e := Sync{Token: s.token(), MemberID: j.MemberID, Generation: 1,
		Assignments: map[string][]byte{j.MemberID: make([]byte, 200)}}
	s.refused(s.step(e), ErrRecordTooLarge)
	if len(s.log) != 0 {
		t.Errorf("records: got %d, want none", len(s.log))
	}
}

func TestPausedCoordinatorDoesNotTakeSilenceForDeath(t *testing.T) {
	s := newScript(t)
	all := s.stable(2)
	s.now.Mono += 60_000
	s.m.Rearm(s.now)
	s.pass(999)
	s.is(Stable)
	s.fine(s.beat(all[0]))
	s.pass(1)
	s.is(Preparing)
}

func TestWakeIsNeverLaterThanWhatIsDue(t *testing.T) {
	s := newScript(t)
	all := s.stable(2)
	for range 20 {
		s.beat(all[0])
		if due := s.m.members[all[1].MemberID]; due != nil && s.m.Wake() > due.expires {
			t.Fatalf("wake: got %d, a session ends at %d", s.m.Wake(), due.expires)
		}
		s.pass(100)
	}
	s.is(Preparing)
}
