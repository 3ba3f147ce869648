package cluster

import (
	"testing"

	"outrigger/broker/topic"
)

// crashed begins the n-th session of a node on its first disk, after an unclean stop under interval.
func crashed(node topic.NodeID, n int) RegisterBroker {
	r := register(node, n)
	r.FlushAlways = false
	return r
}

// claim is what a session says of partition 0 as the image has it now.
func (w *world) claim(id topic.ID, m topic.Member, tail topic.Epoch, end topic.Offset) ClaimLogs {
	w.t.Helper()
	return ClaimLogs{Member: m, Items: []LogClaim{{Partition: topic.Partition{Topic: id},
		LeaderEpoch: w.partition(id, 0).LeaderEpoch, TailEpoch: tail, End: end}}}
}

// allCrashed is three replicas that were in sync and came back from a crash of all, under interval. The
// first to come back is not last known: without it the high watermark might still have moved.
func allCrashed(t *testing.T) (*world, topic.ID) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("2"), 1, 2, 3)
	for node := topic.NodeID(1); node <= 3; node++ {
		w.must(crashed(node, 2))
	}
	w.wants(id, "leader -1 epoch 3 isr [] eligible [] last [2 3]")
	return w, id
}

func TestLongestLogLeadsOnceAllLastKnownHaveSpoken(t *testing.T) {
	w, id := allCrashed(t)
	w.gets(OK, w.claim(id, member(1, 2), 0, 7))
	w.gets(OK, w.claim(id, member(3, 2), 2, 5))
	w.gets(OK, w.claim(id, member(3, 2), 2, 5))
	w.wants(id, "leader -1 epoch 3 isr [] eligible [] last [2 3]")
	w.gets(OK, w.claim(id, member(2, 2), 2, 4))
	w.wants(id, "leader 3 epoch 4 isr [3.2] eligible [] last [] unclean")
	if p := w.partition(id, 0); p.UncleanEpoch != 4 || len(p.Claims) != 0 {
		t.Errorf("after the election: got unclean epoch %d and claims %v, want 4 and none", p.UncleanEpoch, p.Claims)
	}
	w.gets(Stale, ClaimLogs{Member: member(1, 2), Items: []LogClaim{{Partition: topic.Partition{Topic: id}, LeaderEpoch: 3}}})
}

// 1 is not last known. It may hold more than those who lost their ends, unless its log is shorter: then what
// it has of a later epoch was never committed, and it lacks what they hold.
func TestReplicaThatIsNotLastKnownLeadsOnlyIfItCanHoldWhatTheyHold(t *testing.T) {
	type tail struct {
		epoch topic.Epoch
		end   topic.Offset
	}
	third := "leader 3 epoch 4 isr [3.2] eligible [] last [] unclean"
	first := "leader 1 epoch 4 isr [1.2] eligible [] last [] unclean"
	for claim, want := range map[tail]string{{2, 6}: third, {1, 7}: third, {0, 9}: third, {1, 9}: first, {2, 8}: first, {2, 9}: first} {
		w, id := allCrashed(t)
		w.gets(OK, w.claim(id, member(1, 2), claim.epoch, claim.end))
		w.gets(OK, w.claim(id, member(2, 2), 1, 4))
		w.gets(OK, w.claim(id, member(3, 2), 1, 8))
		w.wants(id, want)
	}
}

// 3 is away: what it holds is not known, so nobody leads, however long the others wait.
func TestAbsentLastKnownMemberIsWaitedFor(t *testing.T) {
	w, id := allCrashed(t)
	w.must(fence(3, 2))
	w.gets(OK, w.claim(id, member(1, 2), 0, 7))
	w.gets(OK, w.claim(id, member(2, 2), 0, 8))
	w.wants(id, "leader -1 epoch 3 isr [] eligible [] last [2 3]")
	w.must(crashed(3, 3))
	w.gets(Stale, w.claim(id, member(3, 2), 0, 9))
	w.gets(OK, w.claim(id, member(3, 3), 0, 3))
	w.wants(id, "leader 2 epoch 4 isr [2.2] eligible [] last [] unclean")
}

func TestClaimOfAnEndedSessionDoesNotCount(t *testing.T) {
	w, id := allCrashed(t)
	w.gets(OK, w.claim(id, member(1, 2), 0, 9))
	w.gets(OK, w.claim(id, member(2, 2), 0, 8))
	w.must(crashed(1, 3)) // and lost something once more
	w.gets(OK, w.claim(id, member(3, 2), 0, 8))
	w.wants(id, "leader -1 epoch 3 isr [] eligible [] last [2 3]")
	w.gets(OK, w.claim(id, member(1, 3), 0, 1))
	w.wants(id, "leader 2 epoch 4 isr [2.2] eligible [] last [] unclean")
}

// 1 was not last known, and might hold more than those who lost their ends, until it is fenced.
func TestLiveReplicaIsWaitedForUntilItIsFenced(t *testing.T) {
	w, id := allCrashed(t)
	w.gets(OK, w.claim(id, member(2, 2), 0, 4))
	w.gets(OK, w.claim(id, member(3, 2), 0, 3))
	w.wants(id, "leader -1 epoch 3 isr [] eligible [] last [2 3]")
	if w.im.ClaimDue(w.partition(id, 0), member(2, 2)) {
		t.Error("2 has spoken and 1 has not: got a claim that is due, want none")
	}
	w.must(fence(1, 2))
	if !w.im.ClaimDue(w.partition(id, 0), member(2, 2)) {
		t.Error("nobody is waited for any more: got no claim due, want one")
	}
	w.gets(OK, w.claim(id, member(2, 2), 0, 4))
	w.wants(id, "leader 2 epoch 4 isr [2.2] eligible [] last [] unclean")
}

// 1 held everything alone and comes back on another disk: what 2 and 3 hold may be any part of it.
func TestOperatorDecidesWhereAllLastKnownDisksAreGone(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("1"), 1, 2, 3)
	w.must(w.alter(id, member(1, 1)))
	w.must(register2(1, 2, 2))
	w.gets(OK, w.claim(id, member(1, 2), topic.NoEpoch, 0))
	w.gets(OK, w.claim(id, member(2, 1), 0, 4))
	w.gets(OK, w.claim(id, member(3, 1), 0, 3))
	w.wants(id, "leader -1 epoch 1 isr [] eligible [] last []")
	w.must(ElectUnclean{Elections: []UncleanElection{{Partition: topic.Partition{Topic: id},
		PartitionEpoch: w.partition(id, 0).PartitionEpoch, Node: topic.NoNode}}})
	w.wants(id, "leader 2 epoch 2 isr [2.1] eligible [] last [] unclean")
}

// Nothing was ever written, so nothing can be missing.
func TestEmptyLogsLeadAfterACrashOfAll(t *testing.T) {
	w, id := allCrashed(t)
	for node := topic.NodeID(1); node <= 3; node++ {
		w.gets(OK, w.claim(id, member(node, 2), topic.NoEpoch, 0))
	}
	w.wants(id, "leader 2 epoch 4 isr [2.2] eligible [] last [] unclean")
}

func TestOnlyMemberBackAfterUncleanIntervalStopLeadsUncleanly(t *testing.T) {
	w := newWorld(t, 1)
	id := w.create("t", 1, nil, 1)
	w.must(crashed(1, 2))
	w.wants(id, "leader -1 epoch 1 isr [] eligible [] last [1]")
	w.gets(OK, w.claim(id, member(1, 2), 0, 3))
	w.wants(id, "leader 1 epoch 2 isr [1.2] eligible [] last [] unclean")
}

func TestOperatorsWordTakesWhoClaimsMost(t *testing.T) {
	w, id := allCrashed(t)
	w.must(fence(2, 2))
	w.gets(OK, w.claim(id, member(1, 2), 0, 4))
	w.gets(OK, w.claim(id, member(3, 2), 1, 2))
	w.must(ElectUnclean{Elections: []UncleanElection{{Partition: topic.Partition{Topic: id},
		PartitionEpoch: w.partition(id, 0).PartitionEpoch, Node: topic.NoNode}}})
	w.wants(id, "leader 3 epoch 4 isr [3.2] eligible [] last [] unclean")
}

func TestClaimsAreRefusedWhereACleanCandidateIsAwaited(t *testing.T) {
	w := newWorld(t, 3)
	id := w.create("t", 1, minimum("2"), 1, 2, 3)
	for node := topic.NodeID(1); node <= 3; node++ {
		w.must(fence(node, 1))
	}
	w.must(crashed(1, 2))
	w.gets(Stale, w.claim(id, member(1, 2), 0, 9))
	if w.im.ClaimDue(w.partition(id, 0), member(1, 2)) {
		t.Error("2 and 3 are eligible: got a claim that is due, want none")
	}
	w.gets(Unknown, ClaimLogs{Member: member(1, 2), Items: []LogClaim{{Partition: topic.Partition{Topic: id, Index: 1}}}})
}

func TestImpossibleClaimsAreRefused(t *testing.T) {
	w, id := allCrashed(t)
	w.gets(Refused, w.claim(id, member(1, 2), 3, 9))
	w.gets(Refused, w.claim(id, member(1, 2), 0, -1))
}
