package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"outrigger/broker/topic"
)

// startTransactions runs a broker whose coordinators have few partitions.
func startTransactions(tb testing.TB, edit ...func(*Config)) *harness {
	tb.Helper()
	return startGroups(tb, append([]func(*Config){func(c *Config) { c.Transactions.Partitions = 4 }}, edit...)...)
}

// transact runs one transaction that produces the values to a topic.
func transact(tb testing.TB, client *kgo.Client, name string, commit kgo.TransactionEndTry, values ...string) {
	tb.Helper()
	if err := client.BeginTransaction(); err != nil {
		tb.Fatalf("begin: %v", err)
	}
	produceIn(tb, client, name, values...)
	if err := client.EndTransaction(deadline(tb), commit); err != nil {
		tb.Fatalf("end: %v", err)
	}
}

func produceIn(tb testing.TB, client *kgo.Client, name string, values ...string) {
	tb.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: name, Value: []byte(v)}
	}
	if err := client.ProduceSync(deadline(tb), records...).FirstErr(); err != nil {
		tb.Fatalf("produce: %v", err)
	}
}

// reader reads a topic from its start, committed records alone.
func (h *harness) reader(name string) *kgo.Client {
	h.Helper()
	return h.client(kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(200*time.Millisecond))
}

func valuesOf(records []*kgo.Record) map[string]int {
	seen := map[string]int{}
	for _, r := range records {
		seen[string(r.Value)]++
	}
	return seen
}

// stable waits until nothing of a topic is undecided.
func (h *harness) stable(name string, partitions int32) {
	h.Helper()
	for i := range partitions {
		log := h.cluster.log(h, name, i)
		eventually(h, fmt.Sprintf("%s/%d is stable", name, i), func() bool {
			s := log.State()
			return s.LastStable == s.LogEnd
		})
	}
}

// clientsOf are clients of each protocol: the one of KIP-890, and the one before.
func clientsOf() map[string][]kgo.Opt {
	return map[string][]kgo.Opt{"KIP-890": nil, "before": {kgo.MaxVersions(kversion.V3_0_0())}}
}

// TestCommittedTransactionsAreReadAndOthersAreNot, by clients of both protocols.
func TestCommittedTransactionsAreReadAndOthersAreNot(t *testing.T) {
	for name, options := range clientsOf() {
		t.Run(name, func(t *testing.T) {
			h := startTransactions(t)
			h.create("t", 3)
			producer := h.client(append(options, kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
			want := 0
			for round := range 6 {
				commit := kgo.TransactionEndTry(round%2 == 0)
				transact(t, producer, "t", commit, numbered(fmt.Sprintf("%v-%d-", commit, round), 10)...)
				if commit {
					want += 10
				}
			}
			if err := producer.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			produceIn(t, producer, "t", numbered("open-", 6)...)
			reader := h.reader("t")
			for value, count := range valuesOf(poll(t, reader, want)) {
				if value[:4] != "true" || count != 1 {
					t.Errorf("%s: got %d times", value, count)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if more := reader.PollFetches(ctx).Records(); len(more) > 0 {
				t.Errorf("read beyond the last stable offset: %s", more[0].Value)
			}
			if err := producer.EndTransaction(deadline(t), kgo.TryCommit); err != nil {
				t.Fatalf("end: %v", err)
			}
			if got := valuesOf(poll(t, reader, 6)); len(got) != 6 {
				t.Errorf("records of the last transaction: got %v", got)
			}
			h.stable("t", 3)
		})
	}
}

// TestNewerProducerFencesTheOlder: the zombie can neither write nor commit, and what it had open is
// aborted.
func TestNewerProducerFencesTheOlder(t *testing.T) {
	for name, options := range clientsOf() {
		t.Run(name, func(t *testing.T) {
			h := startTransactions(t)
			h.create("t", 1)
			zombie := h.client(append(options, kgo.TransactionalID("tx"))...)
			if err := zombie.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			produceIn(t, zombie, "t", "zombie")
			successor := h.client(append(options, kgo.TransactionalID("tx"))...)
			transact(t, successor, "t", kgo.TryCommit, "successor")
			if err := zombie.ProduceSync(deadline(t), &kgo.Record{Topic: "t", Value: []byte("late")}).FirstErr(); err == nil {
				t.Error("the zombie may write")
			}
			if err := zombie.EndTransaction(deadline(t), kgo.TryCommit); err == nil {
				t.Error("the zombie may commit")
			}
			if got := valuesOf(poll(t, h.reader("t"), 1)); got["successor"] != 1 {
				t.Errorf("read: got %v, want the successor's", got)
			}
			h.stable("t", 1)
		})
	}
}

// TestSilentProducersTransactionTimesOut: readers wait no longer than that, and the producer is fenced.
func TestSilentProducersTransactionTimesOut(t *testing.T) {
	h := startTransactions(t)
	h.create("t", 1)
	producer := h.client(kgo.TransactionalID("tx"), kgo.TransactionTimeout(300*time.Millisecond))
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produceIn(t, producer, "t", "lost")
	if s := h.cluster.log(t, "t", 0).State(); s.LastStable != 0 {
		t.Fatalf("last stable offset: got %d, want 0", s.LastStable)
	}
	h.stable("t", 1)
	if err := producer.EndTransaction(deadline(t), kgo.TryCommit); err == nil {
		t.Error("a transaction that timed out is committed")
	}
	transact(t, h.client(kgo.TransactionalID("tx")), "t", kgo.TryCommit, "next")
	if got := valuesOf(poll(t, h.reader("t"), 1)); got["next"] != 1 {
		t.Errorf("read: got %v, want the next one's", got)
	}
}

// endTxnOf ends a transaction.
func endTxnOf(version int16, id string, producer int64, epoch int16, commit bool) *kmsg.EndTxnRequest {
	q := kmsg.NewPtrEndTxnRequest()
	q.Version, q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = version, id, producer, epoch, commit
	return q
}

// initOf begins a transactional producer.
func initOf(id string) *kmsg.InitProducerIDRequest {
	q := kmsg.NewPtrInitProducerIDRequest()
	q.Version, q.TransactionalID, q.TransactionTimeoutMillis = 4, &id, 60_000
	return q
}

// coordinatesTransactions waits until the coordinator of a transactional id takes requests.
func (h *harness) coordinatesTransactions(id string) {
	h.Helper()
	q := kmsg.NewPtrFindCoordinatorRequest()
	q.Version, q.CoordinatorType, q.CoordinatorKeys = 4, coordinatorTxn, []string{id}
	c := h.dial()
	eventually(h, "transaction coordinator", func() bool {
		if at := c.ask(q).(*kmsg.FindCoordinatorResponse).Coordinators[0]; at.ErrorCode != 0 {
			return false
		}
		s := h.txns.shardOf(id)
		return s != nil && s.loaded.Load()
	})
}

// begin gives a producer of a transactional id, and one record in each partition of topic t.
func (h *harness) begin(c *rawClient, id string, partitions int32) *kmsg.InitProducerIDResponse {
	h.Helper()
	h.coordinatesTransactions(id)
	who := c.ask(initOf(id)).(*kmsg.InitProducerIDResponse)
	expectCode(h, "init", who.ErrorCode, codeNone)
	for i := range partitions {
		q := produceOf(12, "t", i, -1, batchOf{
			values: []string{"v"}, producer: who.ProducerID, epoch: who.ProducerEpoch, attribute: 0x10, timestamp: 1000,
		}.bytes())
		q.TransactionID = &id
		expectCode(h, "produce", onlyProduced(c.ask(q)).ErrorCode, codeNone)
	}
	return who
}

// TestMarkersAreResumedByTheNextCoordinator: the decision is durable, its coordinator goes before the
// markers can be written, and a partition's leader is away meanwhile too.
func TestMarkersAreResumedByTheNextCoordinator(t *testing.T) {
	h := startTransactions(t)
	h.create("t", 2)
	c := h.dial()
	who := h.begin(c, "tx", 2)
	h.cluster.move(t, "t", 1, -1, 1) // nobody leads it
	end := endTxnOf(5, "tx", who.ProducerID, who.ProducerEpoch, true)
	ended := c.ask(end).(*kmsg.EndTxnResponse)
	expectCode(t, "end", ended.ErrorCode, codeNone)
	if ended.ProducerEpoch != who.ProducerEpoch+1 {
		t.Errorf("epoch: got %d, want %d", ended.ProducerEpoch, who.ProducerEpoch+1)
	}
	h.stable("t", 1)
	index := groupPartition("tx", 4)
	old := h.txns.shardOf("tx")
	h.cluster.move(t, transactionsTopic, index, 2, 1)
	<-old.ended
	expectCode(t, "end, elsewhere", c.ask(end).(*kmsg.EndTxnResponse).ErrorCode, codeNotCoordinator)
	h.cluster.move(t, transactionsTopic, index, testNode, 2)
	h.coordinatesTransactions("tx")
	expectCode(t, "end again", c.ask(end).(*kmsg.EndTxnResponse).ErrorCode, codeConcurrentTransactions)
	h.cluster.move(t, "t", 1, testNode, 2)
	h.stable("t", 2)
	eventually(t, "the retry is answered", func() bool {
		again := c.ask(end).(*kmsg.EndTxnResponse)
		return again.ErrorCode == 0 && again.ProducerEpoch == ended.ProducerEpoch
	})
	expectCode(t, "abort after the commit", c.ask(endTxnOf(5, "tx", who.ProducerID, who.ProducerEpoch, false)).(*kmsg.EndTxnResponse).ErrorCode, codeInvalidTxnState)
	if got := poll(t, h.reader("t"), 2); len(got) != 2 {
		t.Errorf("records: got %d, want 2", len(got))
	}
}

// TestMarkersOfATopicThatWasDeletedAreGivenUp: its transaction ends all the same.
func TestMarkersOfATopicThatWasDeletedAreGivenUp(t *testing.T) {
	h := startTransactions(t)
	h.create("t", 1)
	c := h.dial()
	who := h.begin(c, "tx", 1)
	gone, _ := h.cluster.View().TopicByName("t")
	if errs := h.cluster.DeleteTopics(t.Context(), []topic.ID{gone.ID}); errs[0] != nil {
		t.Fatalf("delete: %v", errs[0])
	}
	expectCode(t, "end", c.ask(endTxnOf(5, "tx", who.ProducerID, who.ProducerEpoch, true)).(*kmsg.EndTxnResponse).ErrorCode, codeNone)
	eventually(t, "transaction is complete", func() bool {
		q := kmsg.NewPtrDescribeTransactionsRequest()
		q.TransactionalIDs = []string{"tx"}
		return c.ask(q).(*kmsg.DescribeTransactionsResponse).TransactionStates[0].State == "CompleteCommit"
	})
}

// TestDecisionIsDurableBeforeAnyMarker: while the record of it is not committed there is no marker, and
// no answer.
func TestDecisionIsDurableBeforeAnyMarker(t *testing.T) {
	h := startTransactions(t)
	h.create("t", 1)
	c := h.dial()
	who := h.begin(c, "tx", 1)
	state := h.cluster.log(t, transactionsTopic, groupPartition("tx", 4))
	data := h.cluster.log(t, "t", 0)
	before := state.State().LogEnd
	h.cluster.hold()
	end := endTxnOf(5, "tx", who.ProducerID, who.ProducerEpoch, true)
	c.send(1, end)
	eventually(t, "decision is appended", func() bool { return state.State().LogEnd > before })
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, _, err := c.frame(); !isTimeout(err) {
		t.Fatalf("answered before the decision was durable: %v", err)
	}
	if got := data.State().LogEnd; got != 1 {
		t.Fatalf("log end: got %d, want 1: a marker came before the decision was durable", got)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	h.cluster.release()
	expectCode(t, "end", c.receive(1, end).(*kmsg.EndTxnResponse).ErrorCode, codeNone)
	h.stable("t", 1)
}

// TestProduceOutsideOfATransactionIsRefused: of a producer that has none, one that has ended its own, and
// one that claims another's.
func TestProduceOutsideOfATransactionIsRefused(t *testing.T) {
	h := startTransactions(t)
	h.create("t", 2)
	c := h.dial()
	who := h.begin(c, "tx", 1)
	try := func(what string, version int16, id *string, epoch int16, index int32, want code) {
		t.Helper()
		q := produceOf(version, "t", index, -1, batchOf{
			values: []string{"v"}, producer: who.ProducerID, epoch: epoch, sequence: 0, attribute: 0x10, timestamp: 1000,
		}.bytes())
		q.TransactionID = id
		expectCode(t, what, onlyProduced(c.ask(q)).ErrorCode, want)
	}
	id, other := "tx", "another"
	try("without an id", 12, nil, who.ProducerEpoch, 1, codeInvalidTxnState)
	try("not added, old client", 11, &id, who.ProducerEpoch, 1, codeTransactionAbortable)
	try("not added, older client", 9, &id, who.ProducerEpoch, 1, codeInvalidTxnState)
	h.coordinatesTransactions(other)
	try("of another id", 12, &other, who.ProducerEpoch, 1, codeInvalidProducerIDMapping)
	try("of a newer epoch", 12, &id, who.ProducerEpoch+1, 1, codeInvalidProducerEpoch)
	expectCode(t, "end", c.ask(endTxnOf(5, "tx", who.ProducerID, who.ProducerEpoch, false)).(*kmsg.EndTxnResponse).ErrorCode, codeNone)
	h.stable("t", 1)
	try("of an epoch that was ended, elsewhere", 12, &id, who.ProducerEpoch, 1, codeInvalidProducerEpoch)
	if end := h.cluster.log(t, "t", 1).State().LogEnd; end != 0 {
		t.Errorf("log end: got %d, want 0", end)
	}
	try("of the next one", 12, &id, who.ProducerEpoch+1, 1, codeNone)
}

// stage consumes from one topic and produces to the next, in transactions, until ctx ends.
func stage(ctx context.Context, h *harness, number, member int) error {
	from, to := fmt.Sprint("chain-", number), fmt.Sprint("chain-", number+1)
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(h.address), kgo.TransactionalID(fmt.Sprintf("stage-%d-%d", number, member)),
		kgo.ConsumerGroup(fmt.Sprint("stage-", number)), kgo.ConsumeTopics(from), kgo.DefaultProduceTopic(to),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.MetadataMinAge(10*time.Millisecond),
		// A member that leaves while the coordinator moves is not heard, and missed after its session.
		kgo.SessionTimeout(3*time.Second), kgo.HeartbeatInterval(200*time.Millisecond),
		// Others do not commit while they wait for it: their transactions must outlast that. Its own, if it leaves in
		// the midst of one, is aborted by whoever takes its id.
		kgo.TransactionTimeout(30*time.Second),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	// What a member before left open is aborted now: the offsets in it must be stable before records are polled.
	if _, _, err := session.Client().ProducerID(ctx); err != nil {
		return fmt.Errorf("producer id: %w", err)
	}
	for round := 0; ; round++ {
		fetches := session.PollRecords(ctx, 20)
		if ctx.Err() != nil {
			return nil
		}
		if err := session.Begin(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		broken := kgo.AbortingFirstErrPromise(session.Client())
		fetches.EachRecord(func(r *kgo.Record) {
			session.Produce(ctx, &kgo.Record{Value: r.Value}, broken.Promise())
		})
		// Now and then the work is given up, and done again by the next round.
		commit := kgo.TransactionEndTry(broken.Err() == nil && round%7 != 3)
		if _, err := session.End(ctx, commit); err != nil && ctx.Err() == nil {
			return fmt.Errorf("end: %w", err)
		}
	}
}

// readToEnd reads what is committed in a topic, up to the ends that its partitions have now. Markers are read, too, so
// that an end is seen to be reached whatever stands there, and then left out.
func (h *harness) readToEnd(name string, partitions int32) (records []*kgo.Record) {
	h.Helper()
	client := h.client(kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(200*time.Millisecond))
	ends, left := map[int32]int64{}, 0
	for i := range partitions {
		if ends[i] = int64(h.cluster.log(h, name, i).State().LogEnd); ends[i] > 0 {
			left++
		}
	}
	for ctx := deadline(h); left > 0; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			h.Fatalf("read %s to its ends %v: %v", name, ends, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records
}

// TestChainOfTransactionsIsExactlyOnce: three stages of consumers that produce, two members each, with
// coordinators that move and members that leave and join; each input is in each topic once, and nothing else.
func TestChainOfTransactionsIsExactlyOnce(t *testing.T) {
	h := startTransactions(t, func(c *Config) { c.Groups.SessionMin = time.Second })
	for i := range 4 {
		h.create(fmt.Sprint("chain-", i), 3)
	}
	values := numbered("v", 300)
	h.produceTo("chain-0", values...)
	ctx, cancel := context.WithCancel(t.Context())
	var members, leavers sync.WaitGroup
	run := func(ctx context.Context, number, member int, all *sync.WaitGroup) {
		all.Go(func() {
			if err := stage(ctx, h, number, member); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("stage %d, member %d: %v", number, member, err)
			}
		})
	}
	leaves, leave := context.WithCancel(ctx)
	for number := range 3 {
		run(ctx, number, 0, &members)
		run(leaves, number, 1, &leavers)
	}
	moves := make(chan struct{})
	go func() {
		defer close(moves)
		for epoch := range int32(6) {
			for index := range int32(4) {
				if _, ok := h.cluster.View().TopicByName(transactionsTopic); ok {
					h.cluster.move(t, transactionsTopic, index, testNode, topic.Epoch(epoch+1))
				}
				if _, ok := h.cluster.View().TopicByName(offsetsTopic); ok {
					h.cluster.move(t, offsetsTopic, index, testNode, topic.Epoch(epoch+1))
				}
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
					return
				}
			}
			if epoch == 2 {
				leave()
				leavers.Wait()
				for number := range 3 {
					run(ctx, number, 1, &members)
				}
			}
		}
	}()
	h.arrive("chain-3", len(values))
	<-moves
	more := numbered("w", 60)
	h.produceTo("chain-0", more...)
	values = append(values, more...)
	h.arrive("chain-3", len(values))
	cancel()
	leave()
	leavers.Wait()
	members.Wait()
	for i := range 4 {
		name := fmt.Sprint("chain-", i)
		h.stable(name, 3)
		got := h.readToEnd(name, 3)
		if len(got) != len(values) {
			t.Errorf("%s: got %d records, want %d", name, len(got), len(values))
		}
		for _, v := range values {
			if n := valuesOf(got)[v]; n != 1 {
				t.Errorf("%s: %s: got %d times, want once", name, v, n)
			}
		}
	}
}

// arrive waits until so many different values have come to a topic.
func (h *harness) arrive(name string, n int) {
	h.Helper()
	reader, seen := h.reader(name), map[string]bool{}
	for ctx := deadline(h); len(seen) < n; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			h.Fatalf("%d of %d values have come to %s: %v", len(seen), n, name, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)] = true })
	}
}

// TestOffsetsOfATransactionAreUnstableUntilItsMarker: those who ask for stable offsets wait, and then
// read what was decided, also from a coordinator that has taken over.
func TestOffsetsOfATransactionAreUnstableUntilItsMarker(t *testing.T) {
	for _, commit := range []bool{true, false} {
		t.Run(fmt.Sprint("commit ", commit), func(t *testing.T) {
			h := startTransactions(t)
			h.create("t", 1)
			h.coordinates("g")
			c := h.dial()
			expectCode(t, "commit", commitCode(c.ask(simpleCommit("g", "t", 5))), codeNone)
			who := h.begin(c, "tx", 1)
			q := kmsg.NewPtrTxnOffsetCommitRequest()
			q.Version, q.TransactionalID, q.Group, q.Generation = 5, "tx", "g", -1
			q.ProducerID, q.ProducerEpoch = who.ProducerID, who.ProducerEpoch
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Offset = 9
			q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
			expectCode(t, "commit in the transaction", c.ask(q).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode, codeNone)
			index := groupPartition("g", 4)
			h.cluster.move(t, offsetsTopic, index, testNode, 1)
			h.coordinates("g")
			want := func(stable bool, offset int64, why code) {
				t.Helper()
				fetch := fetchOffsets("g")
				fetch.RequireStable = stable
				got := c.ask(fetch).(*kmsg.OffsetFetchResponse).Groups[0].Topics[0].Partitions[0]
				if expectCode(t, "fetch", got.ErrorCode, why); got.Offset != offset {
					t.Errorf("offset, stable %v: got %d, want %d", stable, got.Offset, offset)
				}
			}
			want(true, -1, codeUnstableOffsetCommit)
			want(false, 5, codeNone)
			expectCode(t, "end", c.ask(endTxnOf(5, "tx", who.ProducerID, who.ProducerEpoch, commit)).(*kmsg.EndTxnResponse).ErrorCode, codeNone)
			h.stable(offsetsTopic, 4)
			decided := int64(5)
			if commit {
				decided = 9
			}
			want(true, decided, codeNone)
			h.cluster.move(t, offsetsTopic, index, testNode, 2)
			h.coordinates("g")
			want(true, decided, codeNone)
			q.ProducerEpoch--
			if got := code(c.ask(q).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode); got != codeInvalidProducerEpoch {
				t.Errorf("zombie's offsets: got %v, want %v", got, codeInvalidProducerEpoch)
			}
		})
	}
}

// TestTransactionalProducerIsToldItsTimeoutIsTooLong and other refusals of InitProducerId.
func TestTransactionalProducerIsToldItsTimeoutIsTooLong(t *testing.T) {
	h := startTransactions(t)
	h.coordinatesTransactions("tx")
	c := h.dial()
	q := initOf("tx")
	q.TransactionTimeoutMillis = int32(h.config.Transactions.TimeoutMax.Milliseconds()) + 1
	expectCode(t, "too long", c.ask(q).(*kmsg.InitProducerIDResponse).ErrorCode, codeInvalidTxnTimeout)
	empty := initOf("")
	expectCode(t, "empty id", c.ask(empty).(*kmsg.InitProducerIDResponse).ErrorCode, codeInvalidRequest)
	if err := kerr.ErrorForCode(c.ask(initOf("tx")).(*kmsg.InitProducerIDResponse).ErrorCode); err != nil {
		t.Errorf("init: %v", err)
	}
}

// TestOffsetsCanBeAddedBeforeAnyGroupWasLookedFor: the topic that keeps them is created then.
func TestOffsetsCanBeAddedBeforeAnyGroupWasLookedFor(t *testing.T) {
	h := startTransactions(t)
	h.create("t", 1)
	c := h.dial()
	who := h.begin(c, "tx", 1)
	q := kmsg.NewPtrAddOffsetsToTxnRequest()
	q.Version, q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Group = 3, "tx", who.ProducerID, who.ProducerEpoch, "g"
	expectCode(t, "add offsets", c.ask(q).(*kmsg.AddOffsetsToTxnResponse).ErrorCode, codeNone)
}

// TestEmptyTransactionalIDsAreRefused, by whoever coordinates none, too.
func TestEmptyTransactionalIDsAreRefused(t *testing.T) {
	c := startTransactions(t).dial()
	end := kmsg.NewPtrEndTxnRequest()
	end.Version = 3
	expectCode(t, "end", c.ask(end).(*kmsg.EndTxnResponse).ErrorCode, codeInvalidRequest)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.Version, add.Group = 3, "g"
	expectCode(t, "add offsets", c.ask(add).(*kmsg.AddOffsetsToTxnResponse).ErrorCode, codeInvalidRequest)
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{""}
	expectCode(t, "describe", c.ask(describe).(*kmsg.DescribeTransactionsResponse).TransactionStates[0].ErrorCode, codeInvalidRequest)
}
