package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// startShares is startGroups for share groups that begin at the start of partitions and beat often; edit may
// change that.
func startShares(tb testing.TB, edit ...func(*Config)) *harness {
	tb.Helper()
	h := startGroups(tb, append([]func(*Config){func(c *Config) {
		c.Shares.Partitions, c.Shares.Interval = 3, 20*time.Millisecond
		c.Shares.HeldMin, c.Shares.Locks.Min = 1, time.Millisecond
	}}, edit...)...)
	h.coordinates("g")
	h.setGroup("g", configShareReset, "earliest")
	return h
}

// setGroup sets a config of a group.
func (h *harness) setGroup(name, key, value string) {
	h.Helper()
	q := alterationOf(kmsg.ConfigResourceTypeGroupConfig, name, edit(key, opSet, value))
	if got := h.dial().altered(q).ErrorCode; got != 0 {
		h.Fatalf("set %s of %s: %v", key, name, code(got))
	}
}

// sharer is a member of a share group on a connection of its own.
type sharer struct {
	*harness
	c      *rawClient
	group  string
	member string
	topic  topic.ID
	parts  []int32
	epoch  int32
	// session is the epoch of the next fetch.
	session int32
	max     int32
	exactly bool
}

// sharer joins a group, and waits until it has been assigned something.
func (h *harness) sharer(group, member, name string, id topic.ID) *sharer {
	h.Helper()
	s := &sharer{harness: h, c: h.dial(), group: group, member: member, topic: id, max: 500}
	q := kmsg.NewPtrShareGroupHeartbeatRequest()
	q.Version, q.GroupID, q.MemberID, q.SubscribedTopicNames = 1, group, member, []string{name}
	r := s.c.ask(q).(*kmsg.ShareGroupHeartbeatResponse)
	if r.ErrorCode != 0 || r.Assignment == nil || len(r.Assignment.TopicPartitions) != 1 {
		h.Fatalf("%s joins %s: %v, assignment %+v", member, group, code(r.ErrorCode), r.Assignment)
	}
	s.epoch, s.parts = r.MemberEpoch, r.Assignment.TopicPartitions[0].Partitions
	return s
}

// leave takes the member out of its group.
func (s *sharer) leave() {
	s.Helper()
	q := kmsg.NewPtrShareGroupHeartbeatRequest()
	q.Version, q.GroupID, q.MemberID, q.MemberEpoch = 1, s.group, s.member, -1
	if r := s.c.ask(q).(*kmsg.ShareGroupHeartbeatResponse); r.ErrorCode != 0 {
		s.Fatalf("%s leaves: %v", s.member, code(r.ErrorCode))
	}
}

// ackBatch is what is said of some records of partition 0.
func ackBatch(first, last int64, types ...share.AckType) kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch {
	b := kmsg.NewShareFetchRequestTopicPartitionAcknowledgementBatch()
	b.FirstOffset, b.LastOffset = first, last
	for _, t := range types {
		b.AcknowledgeTypes = append(b.AcknowledgeTypes, int8(t))
	}
	return b
}

// request is the next fetch, with something to say of records of the first partition.
func (s *sharer) request(acks ...kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch) *kmsg.ShareFetchRequest {
	q := kmsg.NewPtrShareFetchRequest()
	q.Version, q.GroupID, q.MemberID, q.ShareSessionEpoch = 2, &s.group, &s.member, s.session
	q.MaxWaitMillis, q.MinBytes, q.MaxBytes, q.MaxRecords, q.BatchSize = 100, 1, 1<<20, s.max, s.max
	if s.exactly {
		q.ShareAcquireMode = shareAcquireExactly
	}
	t := kmsg.ShareFetchRequestTopic{TopicID: s.topic}
	for _, index := range s.parts {
		p := kmsg.NewShareFetchRequestTopicPartition()
		p.Partition = index
		if index == s.parts[0] {
			p.AcknowledgementBatches = acks
		}
		if s.session == share.SessionOpens || len(p.AcknowledgementBatches) > 0 {
			t.Partitions = append(t.Partitions, p)
		}
	}
	if len(t.Partitions) > 0 {
		q.Topics = []kmsg.ShareFetchRequestTopic{t}
	}
	return q
}

// fetch asks for records.
func (s *sharer) fetch(acks ...kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch) *kmsg.ShareFetchResponse {
	s.Helper()
	r := s.c.ask(s.request(acks...)).(*kmsg.ShareFetchResponse)
	if r.ErrorCode != 0 {
		s.Fatalf("%s fetches in epoch %d: %v", s.member, s.session, code(r.ErrorCode))
	}
	s.session++
	return r
}

// acknowledge says something of records of the first partition, and returns what is said of that.
func (s *sharer) acknowledge(acks ...kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch) code {
	s.Helper()
	q := kmsg.NewPtrShareAcknowledgeRequest()
	q.Version, q.GroupID, q.MemberID, q.ShareSessionEpoch = 2, &s.group, &s.member, s.session
	p := kmsg.NewShareAcknowledgeRequestTopicPartition()
	p.Partition = s.parts[0]
	for _, a := range acks {
		p.AcknowledgementBatches = append(p.AcknowledgementBatches, kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch(a))
		q.IsRenewAck = q.IsRenewAck || slices.Contains(a.AcknowledgeTypes, int8(share.Renew))
	}
	q.Topics = []kmsg.ShareAcknowledgeRequestTopic{{
		TopicID: s.topic, Partitions: []kmsg.ShareAcknowledgeRequestTopicPartition{p},
	}}
	r := s.c.ask(q).(*kmsg.ShareAcknowledgeResponse)
	if r.ErrorCode != 0 {
		s.Fatalf("%s acknowledges in epoch %d: %v", s.member, s.session, code(r.ErrorCode))
	}
	s.session++
	return code(r.Topics[0].Partitions[0].ErrorCode)
}

// got is a record that was given to somebody.
type got struct {
	offset int64
	value  string
	count  int16
}

// acquired are the records of an answer's first partition that were given.
func (s *sharer) acquired(r *kmsg.ShareFetchResponse) (all []got) {
	s.Helper()
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				s.Fatalf("%s fetches partition %d: %v", s.member, p.Partition, code(p.ErrorCode))
			}
			values := map[int64]string{}
			batches, err := batch.Split(p.Records)
			if err != nil {
				s.Fatalf("records: %v", err)
			}
			for _, b := range batches {
				for record, err := range batch.Records(b) {
					if err != nil {
						s.Fatalf("record: %v", err)
					}
					values[record.Offset] = string(record.Value)
				}
			}
			for _, a := range p.AcquiredRecords {
				for offset := a.FirstOffset; offset <= a.LastOffset; offset++ {
					all = append(all, got{offset, values[offset], a.DeliveryCount})
				}
			}
		}
	}
	return all
}

// receive fetches until something is given.
func (s *sharer) receive(acks ...kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch) (all []got) {
	s.Helper()
	all = s.acquired(s.fetch(acks...))
	eventually(s, s.member+" is given something", func() bool {
		if len(all) == 0 {
			all = s.acquired(s.fetch())
		}
		return len(all) > 0
	})
	return all
}

// expectGot compares what was given, as text.
func expectGot(tb testing.TB, what string, all []got, want string) {
	tb.Helper()
	text := ""
	for _, g := range all {
		text += fmt.Sprintf("%d:%s/%d ", g.offset, g.value, g.count)
	}
	if text != want {
		tb.Errorf("%s: got %q, want %q", what, text, want)
	}
}

// TestShareGroupGivesEachRecordToOneMember until that says what has become of it.
func TestShareGroupGivesEachRecordToOneMember(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.produceOne("work", "a", "b")
	h.produceOne("work", "c", "d")
	one, other := h.sharer("g", "one", "work", id), h.sharer("g", "other", "work", id)
	one.exactly, one.max = true, 3
	expectGot(t, "first", one.receive(), "0:a/1 1:b/1 2:c/1 ")
	expectGot(t, "second", other.receive(), "3:d/1 ")
	if why := other.acknowledge(ackBatch(2, 3, share.Accept)); why != codeInvalidRecordState {
		t.Errorf("of another's record: got %v, want INVALID_RECORD_STATE", why)
	}
	if why := one.acknowledge(ackBatch(0, 2, share.Accept, share.ReleaseIt, share.Reject)); why != codeNone {
		t.Errorf("acknowledge: got %v", why)
	}
	expectGot(t, "released", other.receive(ackBatch(3, 3, share.Accept)), "1:b/2 ")
	onlyCode(t, "accept", int16(other.acknowledge(ackBatch(1, 1, share.Accept))))
	expectGot(t, "all done", one.acquired(one.fetch()), "")
	if why := one.acknowledge(ackBatch(9, 9, share.Accept)); why != codeInvalidRecordState {
		t.Errorf("while nobody has any record: got %v, want INVALID_RECORD_STATE", why)
	}
	h.produceOne("work", "e")
	expectGot(t, "more", one.receive(), "4:e/1 ")
	if why := one.acknowledge(ackBatch(9, 9, share.Accept)); why != codeInvalidRequest {
		t.Errorf("beyond what anybody has: got %v, want INVALID_REQUEST", why)
	}
}

// produceOne produces one batch to partition 0.
func (h *harness) produceOne(name string, values ...string) {
	h.Helper()
	r := onlyProduced(h.dial().ask(produceOf(9, name, 0, -1, plainBatch(values...))))
	if r.ErrorCode != 0 {
		h.Fatalf("produce: %v", code(r.ErrorCode))
	}
}

// TestRecordsComeBackWhenTheirMemberIsGone: by its session's end, its connection's, or the time that it
// takes, until they were given too often.
func TestRecordsComeBackWhenTheirMemberIsGone(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.setGroup("g", configShareDeliveries, "4")
	h.produceOne("work", "a", "b")
	gone, next, last := h.sharer("g", "gone", "work", id), h.sharer("g", "next", "work", id), h.sharer("g", "last", "work", id)
	expectGot(t, "first", gone.receive(), "0:a/1 1:b/1 ")
	if err := gone.c.Close(); err != nil {
		t.Fatal(err)
	}
	expectGot(t, "after the connection", next.receive(), "0:a/2 1:b/2 ")
	closing := next.request(ackBatch(1, 1, share.Accept))
	closing.ShareSessionEpoch, closing.MaxRecords = share.SessionCloses, 0
	next.c.ask(closing)
	expectGot(t, "after the session", last.receive(), "0:a/3 ")
	h.setGroup("g", configShareLock, "1")
	onlyCode(t, "renew", int16(last.acknowledge(ackBatch(0, 0, share.Renew))))
	h.setGroup("g", configShareLock, "60000")
	expectGot(t, "after its time", last.receive(), "0:a/4 ")
	onlyCode(t, "release", int16(last.acknowledge(ackBatch(0, 0, share.ReleaseIt))))
	expectGot(t, "given four times", last.acquired(last.fetch()), "")
	state := h.summary("g", id, 0)
	if state.start != 2 {
		t.Errorf("start: got %d, want 2: all is done", state.start)
	}
}

// summary is what is kept of a share-partition.
func (h *harness) summary(group string, id topic.ID, index int32) shareStateOf {
	h.Helper()
	slots := slotsOf(id, index)
	s := h.summarizeShares(deadline(h), group, slots)[slots[0]]
	if s.err != nil {
		h.Fatalf("state of %s: %v", group, s.err)
	}
	return s
}

// TestShareStateOutlivesLeaderAndCoordinator: what was acknowledged stays done, deliveries are counted on,
// and what was only acquired is given again.
func TestShareStateOutlivesLeaderAndCoordinator(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.produceOne("work", "a", "b", "c", "d")
	s := h.sharer("g", "one", "work", id)
	s.exactly, s.max = true, 3
	expectGot(t, "first", s.receive(), "0:a/1 1:b/1 2:c/1 ")
	onlyCode(t, "acknowledge", int16(s.acknowledge(ackBatch(1, 2, share.Accept, share.ReleaseIt))))
	epoch := topic.Epoch(1)
	for range 3 {
		h.cluster.move(t, "work", 0, 2, epoch)
		r := s.fetch()
		if p := r.Topics[0].Partitions[0]; p.ErrorCode != int16(codeNotLeaderOrFollower) || p.CurrentLeader.LeaderEpoch != -1 {
			t.Fatalf("fetch elsewhere: got %+v, want NOT_LEADER_OR_FOLLOWER, and no hint to a broker that nobody knows", p)
		}
		h.moveAll(shareTopic, 2, epoch)
		h.moveAll(shareTopic, testNode, epoch+1)
		h.cluster.move(t, "work", 0, testNode, epoch+1)
		epoch += 2
	}
	s.max = 10
	all := s.receive()
	expectGot(t, "after that", all, "0:a/1 2:c/2 3:d/1 ")
	if why := s.acknowledge(ackBatch(0, 0, share.Accept), ackBatch(2, 3, share.Accept)); why != codeNone {
		t.Errorf("acknowledge: got %v", why)
	}
	if state := h.summary("g", id, 0); state.start != 4 || state.leaderEpoch != int32(epoch-1) {
		t.Errorf("state: got %+v, want start 4 in leader epoch %d", state, epoch-1)
	}
}

// moveAll makes a node the leader of all partitions of a topic.
func (h *harness) moveAll(name string, to topic.NodeID, epoch topic.Epoch) {
	h.Helper()
	t, _ := h.cluster.View().TopicByName(name)
	for i := range t.Partitions {
		h.cluster.move(h, name, int32(i), to, epoch)
	}
}

// TestAcknowledgementWaitsUntilItIsKept: while no replica confirms anything it is not answered with success,
// and holds up nobody for ever.
func TestAcknowledgementWaitsUntilItIsKept(t *testing.T) {
	h := startShares(t, func(c *Config) { c.Shares.WriteTimeout = 300 * time.Millisecond })
	id := h.create("work", 1)
	h.produceOne("work", "a", "b")
	s := h.sharer("g", "one", "work", id)
	expectGot(t, "first", s.receive(), "0:a/1 1:b/1 ")
	h.cluster.hold()
	if why := s.acknowledge(ackBatch(0, 0, share.Accept)); why != codeRequestTimedOut {
		t.Errorf("while nothing is kept: got %v, want REQUEST_TIMED_OUT", why)
	}
	h.cluster.release()
	onlyCode(t, "the other", int16(s.acknowledge(ackBatch(1, 1, share.Accept))))
	if state := h.summary("g", id, 0); state.start != 2 {
		t.Errorf("start: got %d, want 2: the first is kept, too", state.start)
	}
}

// TestShareSessionsAreJudged by their epochs and bounds.
func TestShareSessionsAreJudged(t *testing.T) {
	h := startShares(t, func(c *Config) { c.Shares.SessionsMax = 1 })
	id := h.create("work", 1)
	s := h.sharer("g", "one", "work", id)
	ask := func(edit func(*kmsg.ShareFetchRequest)) code {
		q := s.request()
		edit(q)
		return code(s.c.ask(q).(*kmsg.ShareFetchResponse).ErrorCode)
	}
	empty := ""
	for _, test := range []struct {
		name string
		edit func(*kmsg.ShareFetchRequest)
		want code
	}{
		{"no session", func(q *kmsg.ShareFetchRequest) { q.ShareSessionEpoch = 1 }, codeShareSessionNotFound},
		{"close none", func(q *kmsg.ShareFetchRequest) { q.ShareSessionEpoch = -1 }, codeShareSessionNotFound},
		{"no member", func(q *kmsg.ShareFetchRequest) { q.MemberID = &empty }, codeInvalidRequest},
		{"no group", func(q *kmsg.ShareFetchRequest) { q.GroupID = nil }, codeInvalidRequest},
		{"acknowledgements first", func(q *kmsg.ShareFetchRequest) {
			q.Topics[0].Partitions[0].AcknowledgementBatches = append(
				q.Topics[0].Partitions[0].AcknowledgementBatches, ackBatch(0, 0, share.Accept))
		}, codeInvalidRequest},
		{"opens", func(*kmsg.ShareFetchRequest) {}, codeNone},
		{"wrong epoch", func(q *kmsg.ShareFetchRequest) { q.ShareSessionEpoch = 2 }, codeInvalidShareSessionEpoch},
		{"right epoch", func(q *kmsg.ShareFetchRequest) { q.ShareSessionEpoch = 1 }, codeNone},
		{"another member", func(q *kmsg.ShareFetchRequest) { q.MemberID = kmsg.StringPtr("other") }, codeShareSessionLimitReached},
		{"opens again", func(*kmsg.ShareFetchRequest) {}, codeNone},
	} {
		if why := ask(test.edit); why != test.want {
			t.Errorf("%s: got %v, want %v", test.name, why, test.want)
		}
	}
	q := kmsg.NewPtrShareAcknowledgeRequest()
	q.Version, q.GroupID, q.MemberID = 1, &s.group, &s.member
	expectCode(t, "acknowledge opens", s.c.ask(q).(*kmsg.ShareAcknowledgeResponse).ErrorCode, codeInvalidShareSessionEpoch)
	q.ShareSessionEpoch = 1
	onlyCode(t, "acknowledge nothing", s.c.ask(q).(*kmsg.ShareAcknowledgeResponse).ErrorCode)
}

// TestShareFetchOfUnknownPartitionsIsToldSo, each by itself.
func TestShareFetchOfUnknownPartitionsIsToldSo(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	s := h.sharer("g", "one", "work", id)
	q := s.request()
	q.Topics[0].Partitions = append(q.Topics[0].Partitions, kmsg.ShareFetchRequestTopicPartition{Partition: 7})
	q.Topics = append(q.Topics, kmsg.ShareFetchRequestTopic{
		TopicID: [16]byte{1}, Partitions: []kmsg.ShareFetchRequestTopicPartition{{}},
	})
	codes := map[code]bool{}
	for _, answered := range s.c.ask(q).(*kmsg.ShareFetchResponse).Topics {
		for _, p := range answered.Partitions {
			codes[code(p.ErrorCode)] = true
		}
	}
	if len(codes) != 2 || !codes[codeUnknownTopicOrPartition] || !codes[codeUnknownTopicID] {
		t.Errorf("codes: got %v, want UNKNOWN_TOPIC_OR_PARTITION and UNKNOWN_TOPIC_ID", codes)
	}
}

// TestShareGroupSkipsWhatIsNoRecord: control batches always, and aborted transactions if the group reads
// committed records only. With those below, everything is done in the end.
func TestShareGroupSkipsWhatIsNoRecord(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.setGroup("g", configShareIsolation, isolationCommitted)
	for i, commit := range []bool{true, false, true} {
		client := h.client(kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("work"))
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			if err := client.ProduceSync(deadline(t), kgo.StringRecord(fmt.Sprint(i, n))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.EndTransaction(deadline(t), kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	s := h.sharer("g", "one", "work", id)
	var all []got
	eventually(t, "four records", func() bool {
		all = append(all, s.acquired(s.fetch())...)
		return len(all) >= 4
	})
	expectGot(t, "committed", all, "0:0 0/1 1:0 1/1 6:2 0/1 7:2 1/1 ")
	onlyCode(t, "acknowledge", int16(s.acknowledge(ackBatch(0, 1, share.Accept), ackBatch(6, 7, share.Accept))))
	eventually(t, "everything is done", func() bool {
		s.fetch()
		return h.summary("g", id, 0).start == 9
	})
}

// TestLockedRecordsBoundWhatIsGiven: beyond the limit nothing is given until the first are done.
func TestLockedRecordsBoundWhatIsGiven(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	h.setGroup("g", configShareHeld, "3")
	h.produceOne("work", "a", "b", "c", "d", "e")
	s := h.sharer("g", "one", "work", id)
	expectGot(t, "first", s.receive(), "0:a/1 1:b/1 2:c/1 ")
	expectGot(t, "at the limit", s.acquired(s.fetch(ackBatch(1, 2, share.Accept))), "")
	expectGot(t, "beyond", s.receive(ackBatch(0, 0, share.Accept)), "3:d/1 4:e/1 ")
}

// TestWaitingShareFetchIsWokenByWhatComes: a record that is produced, and one that is given back.
func TestWaitingShareFetchIsWokenByWhatComes(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	s, other := h.sharer("g", "one", "work", id), h.sharer("g", "other", "work", id)
	s.fetch()
	patient := func(s *sharer) (arrived chan []got) {
		arrived = make(chan []got, 1)
		q := s.request()
		q.MaxWaitMillis = 15_000
		s.session++
		s.c.send(7, q)
		go func() {
			r, _ := s.c.receive(7, q).(*kmsg.ShareFetchResponse)
			arrived <- s.acquired(r)
		}()
		return arrived
	}
	first := patient(s)
	h.produceOne("work", "a")
	expectGot(t, "produced", <-first, "0:a/1 ")
	second := patient(other)
	onlyCode(t, "release", int16(s.acknowledge(ackBatch(0, 0, share.ReleaseIt))))
	expectGot(t, "given back", <-second, "0:a/2 ")
}

// TestDeposedLeaderGivesNothing: it does not know what its successor was told.
func TestDeposedLeaderGivesNothing(t *testing.T) {
	h := startShares(t)
	id := h.create("work", 1)
	s := h.sharer("g", "one", "work", id)
	h.produceOne("work", "a")
	expectGot(t, "with a mandate", s.receive(), "0:a/1 ")
	h.produceOne("work", "b")
	h.store.SetMandate(0)
	r := s.fetch()
	if len(r.Topics) != 1 {
		t.Fatalf("without a mandate: got %+v, want to be told", r)
	}
	if p := r.Topics[0].Partitions[0]; p.ErrorCode != int16(codeNotLeaderOrFollower) || len(p.AcquiredRecords) > 0 || len(p.Records) > 0 {
		t.Errorf("without a mandate: got %+v, want NOT_LEADER_OR_FOLLOWER and nothing", p)
	}
}
