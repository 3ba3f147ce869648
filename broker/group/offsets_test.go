package group

import (
	"errors"
	"testing"
)

func at(topic string, partition int32, offset int64) CommitOffset {
	return CommitOffset{Place{topic, partition}, Offset{Offset: offset, LeaderEpoch: 7, Metadata: "note", ExpiresAt: -1}}
}

func (s *script) commit(generation int32, id string, offsets ...CommitOffset) Token {
	return s.step(Commit{Token: s.token(), MemberID: id, Generation: generation, Offsets: offsets})
}

func (s *script) committed(topic string, partition int32) Offset {
	s.Helper()
	r := s.fine(s.step(Fetch{Token: s.token(), Places: []Place{{topic, partition}}}))
	if !r.AfterRecords {
		s.Errorf("fetch may be answered before the records that it tells of")
	}
	return r.Result.(*Fetched).Offsets[0].Offset
}

func TestOffsetOfAnUnknownGroupIsMinusOne(t *testing.T) {
	s := newScript(t)
	if got := s.committed("t", 0).Offset; got != -1 {
		t.Errorf("got %d, want -1", got)
	}
	if s.m.Exists() {
		t.Errorf("group exists after a question")
	}
}

func TestCommitKeepsOffsetEpochAndMetadata(t *testing.T) {
	s := newScript(t)
	r := s.fine(s.commit(-1, "", at("t", 3, 42)))
	if !r.AfterRecords || len(s.log) != 1 {
		t.Errorf("got %d records and an answer that may precede them: %t", len(s.log), !r.AfterRecords)
	}
	got := s.committed("t", 3)
	if got.Offset != 42 || got.LeaderEpoch != 7 || got.Metadata != "note" || got.CommittedAt != s.now.Wall {
		t.Errorf("got %+v", got)
	}
	if sum := s.m.Summary(); !s.m.Exists() || sum.State != Empty || sum.ProtocolType != "" {
		t.Errorf("group of a simple consumer: got %+v, want it listed as empty", sum)
	}
}

func TestCommitWithTooMuchMetadataIsRefusedAlone(t *testing.T) {
	s := newScript(t)
	long := at("t", 0, 1)
	long.Metadata = "seventeen bytes!!"
	got := s.fine(s.commit(-1, "", long, at("t", 1, 2))).Result.(*Committed).Errs
	if !errors.Is(got[0], ErrMetadataTooLarge) || got[1] != nil {
		t.Errorf("got %v, want the first alone to be refused", got)
	}
	if o := s.committed("t", 0).Offset; o != -1 {
		t.Errorf("refused offset: got %d, want -1", o)
	}
}

func TestCommitIsForThePresentMembersAlone(t *testing.T) {
	s := newScript(t)
	s.refused(s.commit(3, "m"), ErrIllegalGeneration) // no such group
	all := s.stable(2)
	s.fine(s.commit(all[0].Generation, all[0].MemberID, at("t", 0, 1)))
	s.refused(s.commit(-1, "", at("t", 0, 2)), ErrUnknownMember)
	s.refused(s.commit(all[0].Generation, "nobody", at("t", 0, 2)), ErrUnknownMember)
	s.refused(s.commit(all[0].Generation-1, all[0].MemberID, at("t", 0, 2)), ErrIllegalGeneration)
	s.join("")
	s.fine(s.commit(all[1].Generation, all[1].MemberID, at("t", 0, 5))) // preparing: it still owns them
	s.join(all[0].MemberID)
	s.join(all[1].MemberID)
	s.is(Completing)
	s.refused(s.commit(s.m.generation, all[1].MemberID, at("t", 0, 6)), ErrRebalancing)
	if got := s.committed("t", 0).Offset; got != 5 {
		t.Errorf("offset: got %d, want 5", got)
	}
}

func TestCommitKeepsItsMemberAlive(t *testing.T) {
	s := newScript(t)
	j := s.stable(1)[0]
	for range 5 {
		s.pass(900)
		s.fine(s.commit(j.Generation, j.MemberID, at("t", 0, 1)))
	}
	s.is(Stable)
}

func TestOffsetsOfSubscribedTopicsNeitherExpireNorCanBeDeleted(t *testing.T) {
	s := newScript(t)
	j := s.stable(1)[0]
	s.fine(s.commit(j.Generation, j.MemberID, at("t", 0, 1), at("other", 0, 2)))
	got := s.fine(s.step(DeleteOffsets{Token: s.token(), Places: []Place{{"t", 0}, {"none", 9}}}))
	if errs := got.Result.(*Committed).Errs; !errors.Is(errs[0], ErrSubscribed) || errs[1] != nil {
		t.Errorf("delete: got %v, want the subscribed one to be refused", errs)
	}
	s.now.Wall += 60_000
	s.m.Sweep(s.now, func(string, [16]byte) bool { return false }, &s.fx)
	s.take()
	if a, b := s.committed("t", 0).Offset, s.committed("other", 0).Offset; a != 1 || b != -1 {
		t.Errorf("after the retention time: got %d and %d, want 1 and -1", a, b)
	}
}

func TestOffsetsExpireAfterTheGroupHasBeenEmptyForTheRetentionTime(t *testing.T) {
	s := newScript(t)
	j := s.stable(1)[0]
	s.fine(s.commit(j.Generation, j.MemberID, at("t", 0, 1)))
	s.now.Wall += 50_000
	s.step(Leave{Token: s.token(), Members: []Leaver{{ID: j.MemberID}}})
	none := func(string, [16]byte) bool { return false }
	s.now.Wall += 59_999
	s.m.Sweep(s.now, none, &s.fx)
	s.take()
	if got := s.committed("t", 0).Offset; got != 1 {
		t.Errorf("before its time: got %d, want 1", got)
	}
	s.now.Wall++
	s.m.Sweep(s.now, none, &s.fx)
	s.take()
	if s.m.Exists() || s.restored(s.log).Exists() {
		t.Errorf("group exists, here or in the log, want neither")
	}
}

func TestExpiryThatTheClientAskedForIsKept(t *testing.T) {
	s := newScript(t)
	o := at("t", 0, 1)
	o.ExpiresAt = s.now.Wall + 100
	s.fine(s.commit(-1, "", o))
	s.m = s.restored(s.log)
	s.now.Wall += 100
	s.m.Sweep(s.now, func(string, [16]byte) bool { return false }, &s.fx)
	s.take()
	if got := s.committed("t", 0).Offset; got != -1 {
		t.Errorf("got %d, want -1", got)
	}
}

func TestOffsetsOfDeletedTopicsGo(t *testing.T) {
	s := newScript(t)
	j := s.stable(1)[0]
	s.fine(s.commit(j.Generation, j.MemberID, at("t", 0, 1), at("u", 0, 2)))
	s.m.Sweep(s.now, func(topic string, _ [16]byte) bool { return topic == "t" }, &s.fx)
	s.take()
	if a, b := s.committed("t", 0).Offset, s.restored(s.log).offsets[Place{"t", 0}].Offset; a != -1 || b != 0 {
		t.Errorf("got %d here and %d in the log, want it to be gone", a, b)
	}
}

func TestGroupIsDeletedOnlyWhenItIsEmpty(t *testing.T) {
	s := newScript(t)
	s.refused(s.step(Delete{Token: s.token()}), ErrUnknownGroup)
	j := s.stable(1)[0]
	s.fine(s.commit(j.Generation, j.MemberID, at("t", 0, 1)))
	s.refused(s.step(Delete{Token: s.token()}), ErrNotEmpty)
	s.step(Leave{Token: s.token(), Members: []Leaver{{ID: j.MemberID}}})
	if r := s.fine(s.step(Delete{Token: s.token()})); !r.AfterRecords {
		t.Errorf("deletion may be answered before it is written")
	}
	if s.m.Exists() || s.restored(s.log).Exists() {
		t.Errorf("group exists after its deletion, want it gone")
	}
	if d := s.m.Describe(); d.State != Dead {
		t.Errorf("state: got %v, want Dead", d.State)
	}
}

func TestOffsetsOfOtherProtocolsCannotBeDeletedWhileThereAreMembers(t *testing.T) {
	s := newScript(t)
	s.refused(s.step(DeleteOffsets{Token: s.token()}), ErrUnknownGroup)
	s.joined(s.join("", func(e *Join) { e.ProtocolType = "connect" }))
	s.refused(s.step(DeleteOffsets{Token: s.token(), Places: []Place{{"t", 0}}}), ErrNotEmpty)
}

// TestGroupWithoutOffsetsStaysAWhile: who has deleted the last offset may delete the group, too, also if a
// sweep comes between.
func TestGroupWithoutOffsetsStaysAWhile(t *testing.T) {
	s := newScript(t)
	emptied := func() {
		s.fine(s.commit(-1, "", at("t", 0, 1)))
		s.fine(s.step(DeleteOffsets{Token: s.token(), Places: []Place{{"t", 0}}}))
		s.fine(s.step(DeleteOffsets{Token: s.token(), Places: []Place{{"t", 0}}}))
	}
	emptied()
	s.fine(s.step(Delete{Token: s.token()}))
	if s.m.Exists() {
		t.Error("group exists after its deletion")
	}
	emptied()
	sweep := func() {
		s.m.Sweep(s.now, func(string, [16]byte) bool { return false }, &s.fx)
		s.take()
	}
	s.now.Mono += hollowMillis - 1
	if sweep(); !s.m.Exists() {
		t.Error("group has gone with the first sweep, want it to stay a while")
	}
	s.now.Mono++
	if sweep(); s.m.Exists() || s.restored(s.log).Exists() {
		t.Error("group exists after the sweep, here or in the log, want neither")
	}
}

func TestTransactionOfAMemberNeedsItsGroup(t *testing.T) {
	for knows, want := range map[bool]error{false: ErrIllegalGeneration, true: ErrUnknownGroup} {
		s := newScript(t)
		s.refused(s.step(TxnCommit{Token: s.token(), ProducerID: 1, MemberID: "m", Generation: 1, KnowsEpochs: knows,
			Offsets: []CommitOffset{at("t", 0, 1)}}), want)
	}
}
