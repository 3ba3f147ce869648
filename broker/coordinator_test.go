package broker

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// simpleCommit commits an offset of partition 0 without being a member.
func simpleCommit(name, topicName string, offset int64) *kmsg.OffsetCommitRequest {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version, q.Group, q.Generation = 8, name, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = offset
	q.Topics = []kmsg.OffsetCommitRequestTopic{{
		Topic: topicName, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p},
	}}
	return q
}

func commitCode(r kmsg.Response) int16 {
	return r.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
}

// fetchOffsets asks for all offsets of a group.
func fetchOffsets(name string) *kmsg.OffsetFetchRequest {
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Version = 9
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = name
	q.Groups = append(q.Groups, g)
	return q
}

// The hash decides which broker coordinates a group, and where its offsets are: it is Java's, and never
// changes, for those of a negative hash either.
func TestGroupsStayWhereTheyWerePlaced(t *testing.T) {
	for name, want := range map[string]int32{
		"": 0, "a": 97 % 50, "hello": 99162322 % 50, "polygenelubricants": 0, "é": 233 % 50,
		"\U0001F600": 1772899 % 50, "diff-txg-new": (1<<31 - 1993862802) % 50,
	} {
		if got := groupPartition(name, 50); got != want {
			t.Errorf("%q: got %d, want %d", name, got, want)
		}
	}
}

// TestAnswersWaitUntilTheRecordIsCommitted (failure mode 46): neither a commit nor a question about it is
// answered before the in-sync replicas have it, and other groups' questions are.
func TestAnswersWaitUntilTheRecordIsCommitted(t *testing.T) {
	h := startGroups(t)
	h.create("t", 1)
	h.coordinates("g")
	h.cluster.hold()
	writer, reader := h.dial(), h.dial()
	writer.send(1, simpleCommit("g", "t", 5))
	log := h.cluster.log(t, offsetsTopic, groupPartition("g", 4))
	eventually(t, "record is appended", func() bool { return log.State().LogEnd == 1 })
	reader.send(1, fetchOffsets("g"))
	onlyCode(t, "other group", h.dial().ask(fetchOffsets("h")).(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode)
	if got := log.State().HighWatermark; got != 0 {
		t.Fatalf("high watermark: got %d, want 0", got)
	}
	for _, c := range []*rawClient{writer, reader} {
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, _, err := c.frame(); !isTimeout(err) {
			t.Fatalf("answered before the commit: %v", err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	}
	h.cluster.release()
	onlyCode(t, "commit", commitCode(writer.receive(1, simpleCommit("g", "t", 5))))
	fetched := reader.receive(1, fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0]
	if got := fetched.Topics[0].Partitions[0].Offset; got != 5 {
		t.Errorf("offset: got %d, want 5", got)
	}
}

func TestCommitWithoutReplicasIsGivenUpAsUnknown(t *testing.T) {
	h := startGroups(t, func(c *Config) { c.Groups.CommitTimeout = 30 * time.Millisecond })
	h.create("t", 1)
	h.coordinates("g")
	h.cluster.hold()
	expectCode(t, "commit", commitCode(h.dial().ask(simpleCommit("g", "t", 5))), codeCoordinatorNotAvailable)
	h.cluster.release()
	// It was kept after all, and so was everybody's way to it.
	eventually(t, "commit is there", func() bool {
		g := h.dial().ask(fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0]
		return g.ErrorCode == 0 && len(g.Topics) == 1 && g.Topics[0].Partitions[0].Offset == 5
	})
}

// TestNothingIsBegunWithoutEnoughReplicas: what needs a record is refused, heartbeats are not.
func TestNothingIsBegunWithoutEnoughReplicas(t *testing.T) {
	h := startGroups(t)
	h.create("t", 1)
	h.coordinates("g")
	j := h.join("g")
	log := h.cluster.log(t, offsetsTopic, groupPartition("g", 4))
	role := log.State().Role
	role.AcceptAll = false
	log.Assume(role)
	c := h.dial()
	expectCode(t, "commit", commitCode(c.ask(simpleCommit("g", "t", 5))), codeCoordinatorNotAvailable)
	expectCode(t, "join", c.ask(joinOf("g", j.MemberID)).(*kmsg.JoinGroupResponse).ErrorCode, codeCoordinatorNotAvailable)
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.MemberID, beat.Generation = "g", j.MemberID, 1
	onlyCode(t, "heartbeat", c.ask(beat).(*kmsg.HeartbeatResponse).ErrorCode)
	if log.State().LogEnd != 0 {
		t.Errorf("something was appended")
	}
}

// TestDeposedCoordinatorAnswersNothing: who waits is sent elsewhere, whoever comes too, and nothing is
// appended under the old epoch.
func TestDeposedCoordinatorAnswersNothing(t *testing.T) {
	h := startGroups(t)
	h.create("t", 1)
	h.coordinates("g")
	h.join("g")
	waiting := h.dial()
	waiting.send(1, joinOf("g", "")) // waits for the first member
	index := groupPartition("g", 4)
	shard := h.groups.shardOf("g")
	eventually(t, "second member waits", func() bool {
		d, err := h.describeGroup(context.Background(), "g")
		return err == nil && d.State == group.Preparing
	})
	h.cluster.move(t, offsetsTopic, index, 2, 1)
	<-shard.ended
	expectCode(t, "waiting join", waiting.receive(1, joinOf("g", "")).(*kmsg.JoinGroupResponse).ErrorCode, codeNotCoordinator)
	expectCode(t, "commit", commitCode(h.dial().ask(simpleCommit("g", "t", 5))), codeNotCoordinator)
	if got := h.dial().ask(fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode; code(got) != codeNotCoordinator {
		t.Errorf("fetch: got %v, want %v", code(got), codeNotCoordinator)
	}
}

// TestCoordinatorWithoutLeaseOrMandateSaysNothing: another may lead by now, and have other offsets.
func TestCoordinatorWithoutLeaseOrMandateSaysNothing(t *testing.T) {
	h := startGroups(t)
	h.create("t", 1)
	h.coordinates("g")
	onlyCode(t, "commit", commitCode(h.dial().ask(simpleCommit("g", "t", 5))))
	for _, lost := range []struct {
		what string
		lose func(time.Duration)
	}{{"lease", h.store.SetLease}, {"mandate", h.store.SetMandate}} {
		t.Run(lost.what, func(t *testing.T) { h.saysNothing(t, lost.lose) })
	}
}

// TestCoordinatorBelievesTheImageBeforeItsLog: a node that was paused may have its mandate back before
// its log hears that another leads.
func TestCoordinatorBelievesTheImageBeforeItsLog(t *testing.T) {
	h := startGroups(t)
	h.create("t", 1)
	h.coordinates("g")
	c := h.dial()
	onlyCode(t, "commit", commitCode(c.ask(simpleCommit("g", "t", 5))))
	h.cluster.elect(offsetsTopic, groupPartition("g", 4), 2, 1)
	if got := c.ask(fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode; code(got) != codeNotCoordinator {
		t.Errorf("fetch: got %v, want %v", code(got), codeNotCoordinator)
	}
	expectCode(t, "commit", commitCode(c.ask(simpleCommit("g", "t", 6))), codeNotCoordinator)
}

// saysNothing takes away a right, and wants no answer until it is back.
func (h *harness) saysNothing(t *testing.T, lose func(time.Duration)) {
	t.Helper()
	lose(0)
	c := h.dial()
	if got := c.ask(fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode; code(got) != codeNotCoordinator {
		t.Errorf("fetch: got %v, want %v", code(got), codeNotCoordinator)
	}
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.MemberID = "g", "m"
	expectCode(t, "heartbeat", c.ask(beat).(*kmsg.HeartbeatResponse).ErrorCode, codeNotCoordinator)
	expectCode(t, "commit", commitCode(c.ask(simpleCommit("g", "t", 6))), codeNotCoordinator)
	lose(partition.Forever)
	onlyCode(t, "commit again", commitCode(c.ask(simpleCommit("g", "t", 7))))
}

// TestNewCoordinatorLoadsOnlyWhatIsCommitted: until everything in its log is, it says that it loads.
func TestNewCoordinatorLoadsOnlyWhatIsCommitted(t *testing.T) {
	h := startGroups(t, func(c *Config) { c.Groups.CommitTimeout = 20 * time.Millisecond })
	h.create("t", 1)
	h.coordinates("g")
	index := groupPartition("g", 4)
	h.cluster.hold()
	expectCode(t, "commit", commitCode(h.dial().ask(simpleCommit("g", "t", 5))), codeCoordinatorNotAvailable)
	old := h.groups.shardOf("g")
	h.cluster.move(t, offsetsTopic, index, testNode, 3)
	<-old.ended
	eventually(t, "new shard", func() bool { s := h.groups.shardOf("g"); return s != nil && s != old })
	c := h.dial()
	for range 3 {
		got := c.ask(fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode
		if code(got) != codeCoordinatorLoading {
			t.Fatalf("fetch while loading: got %v, want %v", code(got), codeCoordinatorLoading)
		}
	}
	h.cluster.release()
	eventually(t, "groups are loaded", func() bool { return h.groups.shardOf("g").loaded.Load() })
	g := c.ask(fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0]
	onlyCode(t, "fetch", g.ErrorCode)
	if len(g.Topics) != 1 || g.Topics[0].Partitions[0].Offset != 5 {
		t.Errorf("offsets: got %+v, want 5", g.Topics)
	}
}

// TestFullMailboxIsSaid: a shard that does not come to its requests refuses further ones at once.
func TestFullMailboxIsSaid(t *testing.T) {
	h := startGroups(t)
	h.coordinates("g")
	stuck := newGroupShard(h.groups, h.groups.shardOf("g").log, 0)
	stuck.loaded.Store(true)
	for range mailboxMax {
		stuck.mailbox <- &groupCall{}
	}
	_, err := h.groups.ask(context.Background(), stuck, &groupCall{}, time.Second)
	if got := codeBefore(err); got != codeCoordinatorNotAvailable {
		t.Errorf("got %v, want %v", got, codeCoordinatorNotAvailable)
	}
}

// TestWaitingJoinHoldsUpNeitherStopNorConnection: a client that goes, and a broker that stops, end the
// wait of minutes.
func TestWaitingJoinHoldsUpNeitherStopNorConnection(t *testing.T) {
	h := startGroups(t)
	h.coordinates("g")
	h.join("g")
	gone, stays := h.dial(), h.dial()
	gone.send(1, joinOf("g", ""))
	stays.send(1, joinOf("g", ""))
	eventually(t, "both wait", func() bool {
		d, err := h.describeGroup(context.Background(), "g")
		return err == nil && len(d.Members) == 3
	})
	const connections = "kafka_server_socketservermetrics_connection_count"
	open := h.metric(connections)
	_ = gone.Close()
	eventually(t, "connection is released", func() bool { return h.metric(connections) == open-1 })
	began := time.Now()
	h.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stop took %v with a join waiting", took)
	}
}

// TestInternalTopicIsTheBrokersAlone: shown as internal, and neither written, deleted, grown nor made by
// clients.
func TestInternalTopicIsTheBrokersAlone(t *testing.T) {
	h := startGroups(t)
	c := h.dial()
	name := offsetsTopic
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.TimeoutMillis = 5, 1000
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: name, NumPartitions: 1, ReplicationFactor: 1}}
	expectCode(t, "create", c.ask(create).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode, codeInvalidTopic)
	h.coordinates("g")
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 5
	metadata.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	if shown := c.ask(metadata).(*kmsg.MetadataResponse).Topics[0]; !shown.IsInternal || len(shown.Partitions) != 4 {
		t.Errorf("metadata: got %+v, want 4 partitions of an internal topic", shown)
	}
	expectCode(t, "produce", onlyProduced(c.ask(produceOf(9, name, 0, -1, plainBatch("x")))).ErrorCode, codeInvalidTopic)
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.Version, remove.TimeoutMillis, remove.TopicNames = 5, 1000, []string{name}
	expectCode(t, "delete", c.ask(remove).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, codeInvalidTopic)
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: 9}}
	expectCode(t, "grow", c.ask(grow).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode, codeInvalidPartitions)
}

// TestOffsetsOfARecreatedTopicAreNotItsPredecessors.
func TestOffsetsOfARecreatedTopicAreNotItsPredecessors(t *testing.T) {
	h := startGroups(t)
	old := h.create("t", 1)
	h.coordinates("g")
	onlyCode(t, "commit", commitCode(h.dial().ask(simpleCommit("g", "t", 5))))
	h.cluster.DeleteTopics(context.Background(), []topic.ID{old})
	h.create("t", 1)
	if g := h.dial().ask(fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0]; len(g.Topics) != 0 {
		t.Errorf("offsets: got %+v, want none", g.Topics)
	}
}

func TestCommitsOfUnknownPartitionsAreRefusedAlone(t *testing.T) {
	h := startGroups(t)
	h.create("t", 1)
	h.coordinates("g")
	q := simpleCommit("g", "t", 5)
	q.Topics[0].Partitions = append(q.Topics[0].Partitions, kmsg.OffsetCommitRequestTopicPartition{Partition: 7})
	q.Topics = append(q.Topics, kmsg.OffsetCommitRequestTopic{
		Topic: "none", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{}},
	})
	r := h.dial().ask(q).(*kmsg.OffsetCommitResponse)
	onlyCode(t, "known", r.Topics[0].Partitions[0].ErrorCode)
	expectCode(t, "partition 7", r.Topics[0].Partitions[1].ErrorCode, codeUnknownTopicOrPartition)
	expectCode(t, "topic none", r.Topics[1].Partitions[0].ErrorCode, codeUnknownTopicOrPartition)
}

// TestMembersShareThePartitionsAsTheyComeAndGo, eagerly and cooperatively: every record is read by
// somebody, and in the end everything is committed.
func TestMembersShareThePartitionsAsTheyComeAndGo(t *testing.T) {
	for name, balancer := range map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "cooperative": kgo.CooperativeStickyBalancer(),
	} {
		t.Run(name, func(t *testing.T) {
			h := startGroups(t)
			h.create("work", 6)
			options := []kgo.Opt{kgo.Balancers(balancer), kgo.HeartbeatInterval(20 * time.Millisecond)}
			members := []*kgo.Client{h.member("g", "work", options...)}
			read := map[string]bool{}
			for round := range 4 {
				values := numbered(name+string(rune('a'+round)), 60)
				h.produceTo("work", values...)
				if round < 2 {
					members = append(members, h.member("g", "work", options...))
				} else {
					members[0].Close()
					members = members[1:]
				}
				readAll(t, members, read, values)
			}
		})
	}
}

// readAll has the members read and commit until all values were read.
func readAll(t *testing.T, members []*kgo.Client, read map[string]bool, values []string) {
	t.Helper()
	left := func() (n int) {
		for _, v := range values {
			if !read[v] {
				n++
			}
		}
		return n
	}
	ctx := deadline(t)
	for left() > 0 {
		if ctx.Err() != nil {
			t.Fatalf("%d of %d values are never read", left(), len(values))
		}
		for _, m := range members {
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			fetches := m.PollFetches(short)
			cancel()
			fetches.EachRecord(func(r *kgo.Record) { read[string(r.Value)] = true })
			// A member that is between two generations may not commit; what it read is read again.
			_ = m.CommitUncommittedOffsets(ctx)
		}
	}
}

// TestShardThatCannotAppendStartsAgainWithItsLog: what it had decided is forgotten, and who waits for it
// is told nothing but to ask again.
func TestShardThatCannotAppendStartsAgainWithItsLog(t *testing.T) {
	h := startOver(t, 1<<20, func(c *Config) { c.Groups.InitialDelay, c.Groups.Partitions = -1, 1 })
	h.create("t", 1)
	h.coordinates("g")
	c := h.dial()
	onlyCode(t, "commit", commitCode(c.ask(simpleCommit("other", "t", 5))))
	j, old := h.join("g"), h.groups.shardOf("g")
	q := kmsg.NewPtrSyncGroupRequest()
	q.Group, q.MemberID, q.Generation = "g", j.MemberID, j.Generation
	q.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{
		{MemberID: j.MemberID, MemberAssignment: make([]byte, 500<<10)}, // no batch of this log holds it
	}
	expectCode(t, "sync", c.ask(q).(*kmsg.SyncGroupResponse).ErrorCode, codeNotCoordinator)
	<-old.ended
	eventually(t, "another shard", func() bool {
		s := h.groups.shardOf("g")
		return s != old && s.loaded.Load()
	})
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.MemberID, beat.Generation = "g", j.MemberID, j.Generation
	expectCode(t, "heartbeat", c.ask(beat).(*kmsg.HeartbeatResponse).ErrorCode, codeUnknownMemberID)
	other := c.ask(fetchOffsets("other")).(*kmsg.OffsetFetchResponse).Groups[0]
	if len(other.Topics) != 1 || other.Topics[0].Partitions[0].Offset != 5 {
		t.Errorf("offsets of another group: got %+v, want 5", other.Topics)
	}
}

// TestLongestClientNameMakesAnIDThatARecordHolds: an id of more than 32,767 bytes would make a record
// that nobody can read, and so a partition that nobody can load.
func TestLongestClientNameMakesAnIDThatARecordHolds(t *testing.T) {
	long := strings.Repeat("é", 16_000)
	for _, id := range []string{memberID(long, nil), memberID("c", &long)} {
		if len(id) > memberNameMax+37 || !utf8.ValidString(id) {
			t.Errorf("got %d bytes, valid: %t", len(id), utf8.ValidString(id))
		}
	}
}
