package broker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sessionFetch is a request of some epoch in a session, for partitions of one topic.
func sessionFetch(version int16, id, epoch int32, name string, indexes ...int32) *kmsg.FetchRequest {
	q := fetchOf(version, name, 0, 0)
	q.SessionID, q.SessionEpoch = id, epoch
	first := q.Topics[0].Partitions[0]
	q.Topics[0].Partitions = nil
	for _, index := range indexes {
		p := first
		p.Partition = index
		q.Topics[0].Partitions = append(q.Topics[0].Partitions, p)
	}
	if len(indexes) == 0 {
		q.Topics = nil
	}
	return q
}

// toldOf are the partitions of an answer and how many bytes each got.
func toldOf(r *kmsg.FetchResponse) string {
	told := []string{}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			told = append(told, fmt.Sprintf("%d:%v:%d", p.Partition, len(p.RecordBatches) > 0, p.ErrorCode))
		}
	}
	return fmt.Sprint(told)
}

// TestFetchSessionTellsWhatMoved (checklist 24), by name and by id.
func TestFetchSessionTellsWhatMoved(t *testing.T) {
	for _, version := range []int16{7, 12, 13, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			h := start(t)
			id := h.create("s", 3)
			c := h.dial()
			produce := func(index int32) {
				onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "s", index, -1, plainBatch("x")))).ErrorCode)
			}
			ask := func(q *kmsg.FetchRequest) *kmsg.FetchResponse {
				for i := range q.Topics {
					q.Topics[i].TopicID = id
				}
				return c.ask(q).(*kmsg.FetchResponse)
			}
			expect := func(what string, r *kmsg.FetchResponse, want string) {
				t.Helper()
				onlyCode(t, what, r.ErrorCode)
				if got := toldOf(r); got != want {
					t.Errorf("%s: got %s, want %s", what, got, want)
				}
			}
			produce(1)
			opened := ask(sessionFetch(version, 0, 0, "s", 0, 1, 2))
			expect("full", opened, "[0:false:0 1:true:0 2:false:0]")
			session := opened.SessionID
			if session == 0 || h.metric("kafka_server_fetchsessioncache_numincrementalfetchpartitionscached") != 3 {
				t.Fatalf("session: got %d, want one of three partitions", session)
			}
			advanced := sessionFetch(version, session, 1, "s", 1)
			advanced.Topics[0].Partitions[0].FetchOffset = 1
			expect("nothing new", ask(advanced), "[]")
			produce(2)
			produce(0)
			expect("two moved", ask(sessionFetch(version, session, 2, "")), "[0:true:0 2:true:0]")
			// Nobody moved on: both are told again, and whoever was served goes last.
			expect("the same again", ask(sessionFetch(version, session, 3, "")), "[0:true:0 2:true:0]")

			lost := ask(sessionFetch(version, session, 3, ""))
			expectCode(t, "an epoch twice", lost.ErrorCode, codeInvalidFetchSessionEpoch)
			if lost.SessionID != 0 || len(lost.Topics) != 0 {
				t.Errorf("refusal: got %+v, want nothing in it", lost)
			}
			without := sessionFetch(version, session, 4, "")
			without.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "s", TopicID: id, Partitions: []int32{0}}}
			expect("one forgotten", ask(without), "[2:true:0]")
			closed := ask(sessionFetch(version, session, -1, "s", 0))
			expect("closed", closed, "[0:true:0]")
			if closed.SessionID != 0 {
				t.Errorf("closed: got session %d, want none", closed.SessionID)
			}
			expectCode(t, "closed", ask(sessionFetch(version, session, 5, "")).ErrorCode, codeFetchSessionIDNotFound)
		})
	}
}

// TestFetchSessionTellsErrorsAndTheirEnd.
func TestFetchSessionTellsErrorsAndTheirEnd(t *testing.T) {
	h := start(t)
	h.create("s", 1)
	c := h.dial()
	r := c.ask(sessionFetch(12, 0, 0, "s", 0, 5)).(*kmsg.FetchResponse)
	for epoch := int32(1); epoch < 3; epoch++ {
		if got := toldOf(c.ask(sessionFetch(12, r.SessionID, epoch, "")).(*kmsg.FetchResponse)); got != "[5:false:3]" {
			t.Errorf("epoch %d: got %s, want the error alone", epoch, got)
		}
	}
	h.cluster.move(t, "s", 0, 2, 1)
	if got := toldOf(c.ask(sessionFetch(12, r.SessionID, 3, "")).(*kmsg.FetchResponse)); got != "[0:false:6 5:false:3]" {
		t.Errorf("moved away: got %s, want both errors", got)
	}
	h.cluster.move(t, "s", 0, testNode, 2)
	if got := toldOf(c.ask(sessionFetch(12, r.SessionID, 4, "")).(*kmsg.FetchResponse)); got != "[0:false:0 5:false:3]" {
		t.Errorf("came back: got %s, want the end of the error", got)
	}
}

// TestFetchSessionsAreRefusedOrNotKept: what a client must survive.
func TestFetchSessionsAreRefusedOrNotKept(t *testing.T) {
	h := start(t)
	h.create("s", 1)
	c := h.dial()
	stranger := c.ask(sessionFetch(12, 77, 3, "s", 0)).(*kmsg.FetchResponse)
	expectCode(t, "unknown session", stranger.ErrorCode, codeFetchSessionIDNotFound)
	named := c.ask(sessionFetch(12, 0, 0, "s", 0)).(*kmsg.FetchResponse)
	byID := c.ask(sessionFetch(13, named.SessionID, 1, "")).(*kmsg.FetchResponse)
	expectCode(t, "names, then ids", byID.ErrorCode, codeFetchSessionTopicID)
	// Who forgets all ends the session.
	empty := sessionFetch(12, named.SessionID, 1, "")
	empty.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "s", Partitions: []int32{0}}}
	if r := c.ask(empty).(*kmsg.FetchResponse); r.ErrorCode != 0 || r.SessionID != 0 {
		t.Errorf("nothing left: got %+v, want no session", r)
	}
	old := c.ask(sessionFetch(6, 0, 0, "s", 0)).(*kmsg.FetchResponse)
	onlyCode(t, "before sessions", old.ErrorCode)
	none := start(t, func(c *Config) { c.Requests.FetchSessionsMax = -1 })
	none.create("s", 1)
	if r := none.dial().ask(sessionFetch(12, 0, 0, "s", 0)).(*kmsg.FetchResponse); r.SessionID != 0 || len(r.Topics) != 1 {
		t.Errorf("no slots: got session %d, want the answer without", r.SessionID)
	}
}

// TestConsumerReadsAllInASession with a real client, over records that come bit by bit.
func TestConsumerReadsAllInASession(t *testing.T) {
	h := start(t)
	const partitions, rounds = 20, 5
	h.create("s", partitions)
	consumer := h.client(kgo.ConsumeTopics("s"), kgo.FetchMaxWait(50_000_000))
	producer := h.dial()
	seen := map[string]int{}
	for round := range rounds {
		for index := range int32(partitions) {
			value := fmt.Sprintf("%d/%d", round, index)
			onlyCode(t, "produce", onlyProduced(producer.ask(produceOf(9, "s", index, -1, plainBatch(value)))).ErrorCode)
		}
		for ctx := deadline(t); len(seen) < (round+1)*partitions; {
			fetches := consumer.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatalf("round %d: %v after %d records", round, err, len(seen))
			}
			fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
		}
	}
	for value, times := range seen {
		if times != 1 {
			t.Errorf("%s: got it %d times, want once", value, times)
		}
	}
	if got := h.metric("kafka_server_fetchsessioncache_numincrementalfetchsessions"); got < 1 {
		t.Errorf("sessions: got %v, want one in use", got)
	}
}

// BenchmarkFetchOfThousandPartitions is a consumer of 1,000 partitions of which one has a new batch:
// with a session and without.
func BenchmarkFetchOfThousandPartitions(b *testing.B) {
	const partitions = 1000
	indexes := make([]int32, partitions)
	for i := range indexes {
		indexes[i] = int32(i)
	}
	for _, inSession := range []bool{false, true} {
		b.Run(fmt.Sprintf("session=%v", inSession), func(b *testing.B) {
			h := start(b)
			id := h.create("s", partitions)
			c := h.dial()
			onlyCode(b, "seed", onlyProduced(c.ask(produceOf(9, "s", 7, -1, plainBatch("x")))).ErrorCode)
			full := sessionFetch(13, 0, -1, "", indexes...)
			if inSession {
				full.SessionEpoch = 0
			}
			full.Topics[0].TopicID = id
			session := c.ask(full).(*kmsg.FetchResponse).SessionID
			var sent, received int
			b.ResetTimer()
			for i := range b.N {
				q := full
				if inSession {
					q = sessionFetch(13, session, int32(i+1), "")
				}
				frame := formatter.AppendRequest(nil, q, 1)
				c.write(frame)
				_, body, err := c.frame()
				if err != nil {
					b.Fatal(err)
				}
				sent, received = sent+len(frame), received+len(body)
			}
			b.ReportMetric(float64(sent)/float64(b.N), "sent-B/op")
			b.ReportMetric(float64(received)/float64(b.N), "received-B/op")
		})
	}
}
