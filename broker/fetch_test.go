package broker

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// bases are the base offsets of the batches in b.
func bases(t *testing.T, b []byte) []int64 {
	t.Helper()
	var found []int64
	for len(b) > 0 {
		size := 12 + int(binary.BigEndian.Uint32(b[8:]))
		if size > len(b) {
			t.Fatalf("batch of %d bytes in %d: want whole batches", size, len(b))
		}
		found = append(found, int64(binary.BigEndian.Uint64(b)))
		b = b[size:]
	}
	return found
}

func expectBases(t *testing.T, what string, records []byte, want ...int64) {
	t.Helper()
	got := bases(t, records)
	if len(got) != len(want) {
		t.Errorf("%s: got batches at %v, want %v", what, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: got batches at %v, want %v", what, got, want)
			return
		}
	}
}

// three has batches of three records at 0, 3 and 6.
func three(h *harness, name string) []byte {
	h.Helper()
	h.create(name, 2)
	c := h.dial()
	batch := plainBatch("a", "b", "c")
	for range 3 {
		if p := onlyProduced(c.ask(produceOf(9, name, 0, -1, batch))); p.ErrorCode != 0 {
			h.Fatalf("produce: %v", code(p.ErrorCode))
		}
	}
	return batch
}

// TestFetchReturnsWholeBatches, from the one that holds the offset, within the bounds.
func TestFetchReturnsWholeBatches(t *testing.T) {
	h := start(t)
	size := int32(len(three(h, "whole")))
	c := h.dial()
	fetch := func(offset int64, partitionMax, max int32) []byte {
		q := fetchOf(12, "whole", 0, offset)
		q.MaxBytes, q.Topics[0].Partitions[0].PartitionMaxBytes = max, partitionMax
		p := onlyFetched(c.ask(q))
		onlyCode(t, "fetch", p.ErrorCode)
		if p.HighWatermark != 9 || p.LogStartOffset != 0 {
			t.Errorf("ends: got %d and %d, want 0 and 9", p.LogStartOffset, p.HighWatermark)
		}
		return p.RecordBatches
	}
	expectBases(t, "from the start", fetch(0, 1<<20, 1<<20), 0, 3, 6)
	expectBases(t, "inside the second batch", fetch(4, 1<<20, 1<<20), 3, 6)
	expectBases(t, "partition bound of two batches", fetch(0, 2*size+5, 1<<20), 0, 3)
	expectBases(t, "answer bound of two batches", fetch(0, 1<<20, 2*size+5), 0, 3)
	expectBases(t, "bounds below one batch", fetch(3, 1, 1), 3)
	expectBases(t, "bounds of nothing", fetch(3, 0, 0), 3)
	expectBases(t, "at the end", fetch(9, 1<<20, 1<<20))
}

// TestFetchSharesItsBoundAmongPartitions in request order; the last ones still hear their ends.
func TestFetchSharesItsBoundAmongPartitions(t *testing.T) {
	h := start(t)
	size := len(three(h, "first"))
	three(h, "second")
	q := fetchOf(12, "first", 0, 0)
	q.Topics = append(q.Topics, fetchOf(12, "second", 0, 0).Topics[0], fetchOf(12, "nobody", 0, 0).Topics[0])
	q.MaxBytes = int32(4*size + size/2)
	r := h.dial().ask(q).(*kmsg.FetchResponse)
	expectBases(t, "first", r.Topics[0].Partitions[0].RecordBatches, 0, 3, 6)
	expectBases(t, "second", r.Topics[1].Partitions[0].RecordBatches, 0)
	if got := r.Topics[1].Partitions[0].HighWatermark; got != 9 {
		t.Errorf("high watermark: got %d, want 9", got)
	}
	expectCode(t, "nobody", r.Topics[2].Partitions[0].ErrorCode, codeUnknownTopicOrPartition)
}

// TestFetchShowsNothingAboveTheHighWatermark (checklist 23).
func TestFetchShowsNothingAboveTheHighWatermark(t *testing.T) {
	h := start(t)
	three(h, "bound")
	h.cluster.hold()
	c := h.dial()
	onlyCode(t, "acks=1", onlyProduced(c.ask(produceOf(9, "bound", 0, 1, plainBatch("x")))).ErrorCode)
	p := onlyFetched(c.ask(fetchOf(12, "bound", 0, 6)))
	expectBases(t, "before the commit", p.RecordBatches, 6)
	p = onlyFetched(c.ask(fetchOf(12, "bound", 0, 10)))
	onlyCode(t, "at the uncommitted log end", p.ErrorCode)
	if len(p.RecordBatches) != 0 || p.HighWatermark != 9 {
		t.Errorf("got %d bytes and %d, want none below 9", len(p.RecordBatches), p.HighWatermark)
	}
	h.cluster.release()
	p = onlyFetched(c.ask(fetchOf(12, "bound", 0, 9)))
	expectBases(t, "after the commit", p.RecordBatches, 9)
}

// TestFetchRefusals: each with its code, and ends where they help the client on.
func TestFetchRefusals(t *testing.T) {
	h := start(t)
	three(h, "refused")
	h.cluster.move(t, "refused", 0, testNode, 4)
	cases := []struct {
		name    string
		version int16
		topic   string
		index   int32
		offset  int64
		epoch   int32
		want    code
	}{
		{"beyond the end", 12, "refused", 0, 10, -1, codeOffsetOutOfRange},
		{"a negative offset", 12, "refused", 0, -5, -1, codeOffsetOutOfRange},
		{"an old epoch", 12, "refused", 0, 0, 3, codeFencedLeaderEpoch},
		{"a future epoch", 12, "refused", 0, 0, 5, codeUnknownLeaderEpoch},
		{"the epoch", 12, "refused", 0, 0, 4, codeNone},
		{"an unknown partition", 12, "refused", 9, 0, -1, codeUnknownTopicOrPartition},
		{"an unknown topic", 4, "nobody", 0, 0, -1, codeUnknownTopicOrPartition},
		{"an unknown id", 13, "", 0, 0, -1, codeUnknownTopicID},
	}
	c := h.dial()
	for _, test := range cases {
		q := fetchOf(test.version, test.topic, test.index, test.offset)
		q.MaxWaitMillis, q.MinBytes = 60_000, 1 // a failure is told at once
		q.Topics[0].Partitions[0].CurrentLeaderEpoch = test.epoch
		p := onlyFetched(c.ask(q))
		expectCode(t, test.name, p.ErrorCode, test.want)
		if test.want == codeOffsetOutOfRange && (p.HighWatermark != 9 || p.LogStartOffset != 0) {
			t.Errorf("%s: got ends %d and %d, want 0 and 9", test.name, p.LogStartOffset, p.HighWatermark)
		}
		if p.RecordBatches == nil {
			t.Errorf("%s: got null records, want none", test.name)
		}
	}
}

// TestDeposedLeaderSendsNobodyBack (failure mode 39): a leader that wakes from a long pause does not
// know yet that another has gone on without it. A consumer that comes from there, and is told that
// its offset is out of range, starts over or skips to the end.
func TestDeposedLeaderSendsNobodyBack(t *testing.T) {
	h := start(t)
	three(h, "deposed")
	c := h.dial()
	h.store.SetMandate(0)
	beyond := onlyFetched(c.ask(fetchOf(12, "deposed", 0, 10)))
	expectCode(t, "beyond the end without a lease", beyond.ErrorCode, codeNotLeaderOrFollower)
	below := onlyFetched(c.ask(fetchOf(12, "deposed", 0, -5)))
	expectCode(t, "below the start without a lease", below.ErrorCode, codeOffsetOutOfRange)
	committed := onlyFetched(c.ask(fetchOf(12, "deposed", 0, 3)))
	expectCode(t, "committed records without a lease", committed.ErrorCode, codeNone)
	expectBases(t, "committed records", committed.RecordBatches, 3, 6)
	h.store.SetMandate(partition.Forever)
	beyond = onlyFetched(c.ask(fetchOf(12, "deposed", 0, 10)))
	expectCode(t, "beyond the end with a lease", beyond.ErrorCode, codeOffsetOutOfRange)
	// The mandate comes back with the image that names another, and the log hears last.
	h.cluster.elect("deposed", 0, 2, 1)
	beyond = onlyFetched(c.ask(fetchOf(12, "deposed", 0, 10)))
	expectCode(t, "beyond the end, another elected", beyond.ErrorCode, codeNotLeaderOrFollower)
}

// TestAbortedTransactionsAreNullUnlessAskedFor (redpanda#18852).
func TestAbortedTransactionsAreNullUnlessAskedFor(t *testing.T) {
	h := start(t)
	three(h, "isolation")
	c := h.dial()
	q := fetchOf(12, "isolation", 0, 0)
	if p := onlyFetched(c.ask(q)); p.AbortedTransactions != nil {
		t.Errorf("read_uncommitted: got %v, want null", p.AbortedTransactions)
	}
	q.IsolationLevel = 1
	p := onlyFetched(c.ask(q))
	if p.AbortedTransactions == nil || len(p.AbortedTransactions) != 0 || p.LastStableOffset != 9 {
		t.Errorf("read_committed: got %v and %d, want none and 9", p.AbortedTransactions, p.LastStableOffset)
	}
}

// longPoll is a fetch at the end that would wait for a minute.
func longPoll(name string, offset int64, bytesMin int32) *kmsg.FetchRequest {
	q := fetchOf(12, name, 0, offset)
	q.MaxWaitMillis, q.MinBytes = 60_000, bytesMin
	return q
}

// TestLongPollWaitsForEnoughBytes, over all partitions, counting only what is committed.
func TestLongPollWaitsForEnoughBytes(t *testing.T) {
	h := start(t)
	size := int32(len(three(h, "enough")))
	poller, producer := h.dial(), h.dial()
	q := longPoll("enough", 9, 2*size)
	q.Topics[0].Partitions = append(q.Topics[0].Partitions, q.Topics[0].Partitions[0])
	q.Topics[0].Partitions[1].Partition, q.Topics[0].Partitions[1].FetchOffset = 1, 0
	poller.send(1, q)
	onlyCode(t, "produce", onlyProduced(producer.ask(produceOf(9, "enough", 0, -1, plainBatch("a", "b", "c")))).ErrorCode)
	onlyCode(t, "produce", onlyProduced(producer.ask(produceOf(9, "enough", 1, -1, plainBatch("a", "b", "c")))).ErrorCode)
	r := poller.receive(1, q).(*kmsg.FetchResponse)
	expectBases(t, "first", r.Topics[0].Partitions[0].RecordBatches, 9)
	expectBases(t, "second", r.Topics[0].Partitions[1].RecordBatches, 0)
}

// TestLongPollEndsWithItsTime and not before.
func TestLongPollEndsWithItsTime(t *testing.T) {
	h := start(t)
	three(h, "time")
	q := longPoll("time", 9, 1)
	q.MaxWaitMillis = 60
	began := time.Now()
	p := onlyFetched(h.dial().ask(q))
	onlyCode(t, "fetch", p.ErrorCode)
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("answered after %v, want 60ms", took)
	}
}

// TestLongPollTellsOfALostLeadershipAtOnce.
func TestLongPollTellsOfALostLeadershipAtOnce(t *testing.T) {
	h := start(t)
	three(h, "leaves")
	c := h.dial()
	q := longPoll("leaves", 9, 1)
	c.send(1, q)
	requests := func() float64 { return h.metric("kafka_network_requestmetrics_requests_total", "Fetch") }
	eventually(t, "the fetch has come", func() bool { return requests() == 1 })
	h.cluster.move(t, "leaves", 0, topic.NoNode, 1)
	expectCode(t, "fetch", onlyFetched(c.receive(1, q)).ErrorCode, codeNotLeaderOrFollower)

	q = longPoll("leaves", 9, 1)
	h.cluster.move(t, "leaves", 0, testNode, 2)
	c.send(2, q)
	eventually(t, "the fetch has come", func() bool { return requests() == 2 })
	if err := h.store.Remove(topic.Partition{Topic: mustTopic(h, "leaves").ID}); err != nil {
		t.Fatal(err)
	}
	if p := onlyFetched(c.receive(2, q)); p.ErrorCode == 0 {
		t.Errorf("fetch of a deleted partition: got no error, want one")
	}
}

// TestLongPollDoesNotStopTheReader: a produce behind it is appended while it waits.
func TestLongPollDoesNotStopTheReader(t *testing.T) {
	h := start(t)
	three(h, "behind")
	c := h.dial()
	poll, produce := longPoll("behind", 9, 1), produceOf(9, "behind", 0, -1, plainBatch("x"))
	c.send(1, poll, produce)
	expectBases(t, "poll", onlyFetched(c.receive(1, poll)).RecordBatches, 9)
	onlyCode(t, "produce", onlyProduced(c.receive(2, produce)).ErrorCode)
}

// TestFetchReadsWhatLeftMemory and one batch larger than any bound.
func TestFetchReadsWhatLeftMemory(t *testing.T) {
	h := start(t)
	h.create("large", 1)
	c := h.dial()
	large := plainBatch(strings.Repeat("x", 900<<10))
	for range 3 {
		onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "large", 0, -1, large))).ErrorCode)
	}
	for offset := range int64(3) {
		q := fetchOf(12, "large", 0, offset)
		q.Topics[0].Partitions[0].PartitionMaxBytes = 1000
		got := onlyFetched(c.ask(q)).RecordBatches
		expectBases(t, "large", got, offset)
		if !bytes.Equal(got[61:], large[61:]) {
			t.Errorf("batch at %d differs", offset)
		}
	}
}

// listOf asks for one offset.
func listOf(version int16, name string, timestamp int64, epoch int32) *kmsg.ListOffsetsRequest {
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version, q.ReplicaID = version, -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = timestamp, epoch
	q.Topics = []kmsg.ListOffsetsRequestTopic{{
		Topic: name, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p},
	}}
	return q
}

// TestListOffsetsFindsEndsAndTimes.
func TestListOffsetsFindsEndsAndTimes(t *testing.T) {
	h := start(t)
	h.create("times", 1)
	c := h.dial()
	type row struct {
		name      string
		version   int16
		timestamp int64
		epoch     int32
		want      code
		offset    int64
		found     int64
		inEpoch   int32
	}
	check := func(rows []row) {
		t.Helper()
		for _, test := range rows {
			r := c.ask(listOf(test.version, "times", test.timestamp, test.epoch)).(*kmsg.ListOffsetsResponse)
			p := r.Topics[0].Partitions[0]
			expectCode(t, test.name, p.ErrorCode, test.want)
			if p.Offset != test.offset || p.Timestamp != test.found || test.version >= 4 && p.LeaderEpoch != test.inEpoch {
				t.Errorf("%s: got offset %d, time %d, epoch %d, want %d, %d, %d", test.name,
					p.Offset, p.Timestamp, p.LeaderEpoch, test.offset, test.found, test.inEpoch)
			}
		}
	}
	check([]row{
		{"latest of nothing", 10, -1, -1, codeNone, 0, -1, -1},
		{"earliest of nothing", 10, -2, -1, codeNone, 0, -1, -1},
		{"a time in nothing", 10, 5, -1, codeNone, -1, -1, -1},
		{"largest time of nothing", 10, -3, -1, codeNone, -1, -1, -1},
	})
	for i, timestamp := range []int64{1000, 3000, 2000} {
		h.cluster.move(t, "times", 0, testNode, topic.Epoch(i))
		batch := batchOf{values: []string{"a", "b"}, producer: -1, epoch: -1, sequence: -1, timestamp: timestamp}
		onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "times", 0, -1, batch.bytes()))).ErrorCode)
	}
	check([]row{
		{"latest", 1, -1, -1, codeNone, 6, -1, 2},
		{"latest", 11, -1, 2, codeNone, 6, -1, 2},
		{"earliest", 5, -2, -1, codeNone, 0, -1, 0},
		{"earliest local", 8, -4, -1, codeNone, 0, -1, 0},
		{"latest tiered", 9, -5, -1, codeNone, -1, -1, -1},
		{"earliest to be uploaded", 11, -6, -1, codeNone, -1, -1, -1},
		{"largest time", 7, -3, -1, codeNone, 2, 3000, 1},
		{"a time", 6, 1500, -1, codeNone, 2, 3000, 1},
		{"a time before all", 6, 0, -1, codeNone, 0, 1000, 0},
		{"a time after all", 6, 9999, -1, codeNone, -1, -1, -1},
		{"largest time in version 6", 6, -3, -1, codeUnsupportedVersion, -1, -1, -1},
		{"earliest local in version 7", 7, -4, -1, codeUnsupportedVersion, -1, -1, -1},
		{"a time of no meaning", 11, -9, -1, codeUnsupportedVersion, -1, -1, -1},
		{"an old epoch", 6, -1, 1, codeFencedLeaderEpoch, -1, -1, -1},
		{"a future epoch", 6, -1, 3, codeUnknownLeaderEpoch, -1, -1, -1},
	})
	h.cluster.log(t, "times", 0).Assume(partition.Role{Leading: true, Epoch: 2})
	check([]row{
		{"latest of a leader that is not ready", 4, -1, -1, codeLeaderNotAvailable, -1, -1, -1},
		{"latest of a leader that is not ready", 5, -1, -1, codeOffsetNotAvailable, -1, -1, -1},
		{"earliest of a leader that is not ready", 5, -2, -1, codeNone, 0, -1, 0},
	})
	twice := listOf(6, "times", -2, -1)
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
	r := c.ask(twice).(*kmsg.ListOffsetsResponse)
	expectCode(t, "a partition twice", r.Topics[0].Partitions[1].ErrorCode, codeInvalidRequest)
}

// TestOffsetForLeaderEpochNeverGuesses (checklist 18).
func TestOffsetForLeaderEpochNeverGuesses(t *testing.T) {
	h := start(t)
	h.create("epochs", 1)
	c := h.dial()
	for _, epoch := range []topic.Epoch{2, 5} {
		h.cluster.move(t, "epochs", 0, testNode, epoch)
		onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "epochs", 0, -1, plainBatch("a", "b")))).ErrorCode)
	}
	ask := func(epoch, current int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
		q := kmsg.NewPtrOffsetForLeaderEpochRequest()
		q.Version = 3
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.LeaderEpoch, p.CurrentLeaderEpoch = epoch, current
		q.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{
			Topic: "epochs", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p},
		}}
		return c.ask(q).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
	}
	for _, test := range []struct {
		epoch, current int32
		want           code
		found          int32
		end            int64
	}{
		{5, 5, codeNone, 5, 4}, {2, -1, codeNone, 2, 2}, {3, -1, codeNone, 2, 2},
		{9, -1, codeNone, -1, -1},
		{5, 4, codeFencedLeaderEpoch, -1, -1}, {5, 6, codeUnknownLeaderEpoch, -1, -1},
	} {
		p := ask(test.epoch, test.current)
		expectCode(t, "epoch end", p.ErrorCode, test.want)
		if p.LeaderEpoch != test.found || p.EndOffset != test.end {
			t.Errorf("end of epoch %d: got %d at %d, want %d at %d",
				test.epoch, p.LeaderEpoch, p.EndOffset, test.found, test.end)
		}
	}
	h.cluster.move(t, "epochs", 0, topic.NoNode, 6)
	expectCode(t, "no leader", ask(5, -1).ErrorCode, codeNotLeaderOrFollower)
}

// cold is a harness whose memory holds nothing of topic "cold", and how many batches of 40 KB that has.
func cold(t *testing.T, edit ...func(*Config)) (h *harness, batches int64) {
	t.Helper()
	h = startWith(t, func(c *partition.Config) {
		c.TailBytesMax = 1
		c.WAL.FileBytes, c.WAL.Cache = 4<<20, wal.Cache{BytesMax: 1 << 20, ChunkBytes: 64 << 10}
	}, edit...)
	h.create("cold", 1)
	c := h.dial()
	for i := range int64(40) {
		b := plainBatch(strings.Repeat(string(rune('a'+i%26)), 40_000))
		if p := onlyProduced(c.ask(produceOf(9, "cold", 0, -1, b))); p.ErrorCode != 0 {
			t.Fatalf("produce: %v", code(p.ErrorCode))
		}
	}
	return h, 40
}

// TestFetchPassesOnWhatItWasLent, whole and in order, and gives it back when it was written.
func TestFetchPassesOnWhatItWasLent(t *testing.T) {
	h, batches := cold(t)
	c := h.dial()
	for offset := int64(0); offset < batches; {
		got := onlyFetched(c.ask(fetchOf(12, "cold", 0, offset))).RecordBatches
		found := bases(t, got)
		if len(found) == 0 || found[0] != offset {
			t.Fatalf("fetch from %d: got batches at %v", offset, found)
		}
		for i, base := range found {
			if base != offset+int64(i) {
				t.Fatalf("fetch from %d: got batches at %v", offset, found)
			}
			letter := byte('a' + base%26)
			if b := got[i*len(got)/len(found):][:len(got)/len(found)]; bytes.Count(b, []byte{letter}) < 40_000 {
				t.Errorf("batch at %d holds something else", base)
			}
		}
		offset += int64(len(found))
	}
	eventually(t, "nothing is lent", func() bool { return h.store.Stats().Cache.Lent == 0 })
	if stats := h.store.Stats().Cache; stats.Misses == 0 {
		t.Errorf("nothing was lent at all: %+v", stats)
	}
}

// TestClientThatTakesNothingHoldsItsShareAndNoMore: others get on meanwhile, and when it is gone all that
// it was lent is back.
func TestClientThatTakesNothingHoldsItsShareAndNoMore(t *testing.T) {
	h, batches := cold(t)
	stuffed, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stuffed.Close() }()
	for range 60 {
		q := formatter.AppendRequest(nil, fetchOf(12, "cold", 0, 0), 1)
		_ = stuffed.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := stuffed.Write(q); err != nil {
			break
		}
	}
	eventually(t, "something is lent", func() bool { return h.store.Stats().Cache.Lent > 0 })
	c := h.dial()
	for offset := int64(0); offset < batches; {
		found := bases(t, onlyFetched(c.ask(fetchOf(12, "cold", 0, offset))).RecordBatches)
		if len(found) == 0 {
			t.Fatalf("fetch from %d: got nothing", offset)
		}
		offset += int64(len(found))
	}
	if taken := h.store.Stats().Cache.Bytes; taken > 1<<20 {
		t.Errorf("the cache has %d bytes, more than its bound", taken)
	}
	eventually(t, "the one client has its quarter at most", func() bool { return h.store.Stats().Cache.Lent <= 1<<18 })
	_ = stuffed.Close()
	eventually(t, "nothing is lent", func() bool { return h.store.Stats().Cache.Lent == 0 })
}
