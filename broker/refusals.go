package broker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// refusals are the batches of idempotent producers that are not known to be in the log, as far as a connection sent them and
// their clients may not know yet. What was sent behind one must not be taken in its place:
//
//	client                                    broker
//	batch 0..24 ──────────────────────────>   NOT_LEADER_OR_FOLLOWER
//	batch 25..47 ─────────────────────────>   has become the leader, knows nothing of the producer, and takes it
//	0..24 again  ─────────────────────────>   OUT_OF_ORDER_SEQUENCE_NUMBER, now for good
//
// librdkafka even takes the first for acknowledged with the second, and tells its application so; and if the broker does
// know the producer, OUT_OF_ORDER_SEQUENCE_NUMBER for the second may end its producer. So the second has to continue what the
// log knows, which is so if the first was appended after all, here or elsewhere, or came again; else it is refused like the
// first.
//
// The connection's reader adds to them and asks; who decides what was appended adds; the writer tells what is answered.
type refusals struct {
	// some: there is one. Most connections never have any.
	some atomic.Bool
	mu   struct {
		sync.Mutex
		byBatch map[refusalKey]refusal
		swept   time.Time
	}
}

// refusalKey is a producer in a partition, whose topic is called as the request calls it.
type refusalKey struct {
	topic     string
	id        topic.ID
	partition int32
	producer  int64
}

// refusal is the first batch of a producer of which that is so, and the last one that was refused for being behind it.
type refusal struct {
	epoch       int16
	first, last int32
	// by is the answer that says so, nil once it is written; until when it counts from then on.
	by    *telling
	until time.Time
}

// telling is what the answer to a request tells of.
type telling struct{ keys []refusalKey }

const (
	// refusalsMax bounds those of a connection, and of a request. Where there are more, a quarter makes room, whose followers
	// are judged as if it had never come.
	refusalsMax = 4096
	// refusedFor is how long a client that has the answer may have sent something before it read it, and how long what it sent
	// behind that waits for the batch to come again. A client that gives a batch up gets to know that the next is out of order.
	refusedFor = 10 * time.Second
)

// comesAgain reports whether clients send a batch again that was refused with the code.
func comesAgain(why code) bool {
	switch why {
	case codeNotLeaderOrFollower, codeNotEnoughReplicas, codeUnknownTopicOrPartition, codeUnknownTopicID, codeStorageError,
		codeCorruptMessage, codeConcurrentTransactions, codeRequestTimedOut:
		return true
	}
	return false
}

func refusalOf(t *kmsg.ProduceRequestTopic, index int32, producer int64) refusalKey {
	return refusalKey{topic: t.Topic, id: t.TopicID, partition: index, producer: producer}
}

// add notes that the answer to a request does not say of a batch that it is in the log.
func (r *refusals) add(by *produceWait, at place) {
	if r == nil {
		return
	}
	t := &by.request.Topics[at.topic]
	p := &t.Partitions[at.partition]
	h, err := batch.ParseHeader(p.Records)
	if err != nil || h.ProducerID < 0 || h.BaseSequence < 0 || len(t.Topic) > topic.NameLengthMax {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key, now := refusalOf(t, p.Partition, h.ProducerID), time.Now()
	was, known := r.mu.byBatch[key]
	switch {
	case known && !was.ended(now) && h.ProducerEpoch < was.epoch:
		return // Who has gone on to another epoch sends nothing of this one any more.
	case known && !was.over(h, now) && behind(was.first, h.BaseSequence):
		if behind(was.last, h.BaseSequence) {
			was.last = h.BaseSequence
			r.mu.byBatch[key] = was
		}
		return
	}
	if by.refused == nil {
		by.refused = &telling{}
	}
	if len(by.refused.keys) >= refusalsMax {
		return
	}
	if r.mu.byBatch == nil {
		r.mu.byBatch = map[refusalKey]refusal{}
	}
	if !known {
		r.makeRoomLocked(now)
	}
	last := h.BaseSequence
	if known && !was.over(h, now) && behind(last, was.last) {
		last = was.last
	}
	r.mu.byBatch[key] = refusal{epoch: h.ProducerEpoch, first: h.BaseSequence, last: last, by: by.refused}
	by.refused.keys = append(by.refused.keys, key)
	r.some.Store(true)
}

// makeRoomLocked sees to it that there is room for one more.
func (r *refusals) makeRoomLocked(now time.Time) {
	if len(r.mu.byBatch) < refusalsMax {
		return
	}
	r.sweepLocked(now)
	if len(r.mu.byBatch) < refusalsMax {
		return
	}
	for key := range r.mu.byBatch {
		if len(r.mu.byBatch) <= refusalsMax-refusalsMax/4 {
			return
		}
		delete(r.mu.byBatch, key)
	}
}

// sweepLocked forgets those whose time is over.
func (r *refusals) sweepLocked(now time.Time) {
	for key, was := range r.mu.byBatch {
		if was.ended(now) {
			delete(r.mu.byBatch, key)
		}
	}
	r.mu.swept = now
	r.some.Store(len(r.mu.byBatch) > 0)
}

// told says that an answer is written: from now on the client is to know.
func (r *refusals) told(by *telling) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, key := range by.keys {
		if was, ok := r.mu.byBatch[key]; ok && was.by == by {
			was.by, was.until = nil, now.Add(refusedFor)
			r.mu.byBatch[key] = was
		}
	}
}

// before reports whether a batch was sent behind one that is noted.
func (r *refusals) before(t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition, h batch.Header) bool {
	if r == nil || !r.some.Load() || h.ProducerID < 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Sub(r.mu.swept) >= refusedFor {
		r.sweepLocked(now)
	}
	was, ok := r.mu.byBatch[refusalOf(t, p.Partition, h.ProducerID)]
	return ok && !was.over(h, now) && behind(was.first, h.BaseSequence)
}

// taken says that a batch was appended: what is noted before it is in the log, and what was refused for being behind that has
// to come again next.
func (r *refusals) taken(t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition, h batch.Header) {
	if r == nil || !r.some.Load() || h.ProducerID < 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key, now := refusalOf(t, p.Partition, h.ProducerID), time.Now()
	was, ok := r.mu.byBatch[key]
	if !ok || was.epoch == h.ProducerEpoch && behind(h.BaseSequence, was.first) {
		return
	}
	next := batch.AddSequence(batch.AddSequence(h.BaseSequence, h.LastOffsetDelta), 1)
	if was.over(h, now) || next != was.last && !behind(next, was.last) {
		delete(r.mu.byBatch, key)
		r.some.Store(len(r.mu.byBatch) > 0)
		return
	}
	was.first, was.by, was.until = next, nil, now.Add(refusedFor)
	r.mu.byBatch[key] = was
}

// ended reports whether the time of a refusal is over.
func (r refusal) ended(now time.Time) bool { return r.by == nil && !now.Before(r.until) }

// over reports whether a refusal says nothing of a batch of its producer.
func (r refusal) over(h batch.Header, now time.Time) bool {
	return h.ProducerEpoch != r.epoch || r.ended(now)
}

// behind reports whether the second of two sequence numbers of an epoch comes behind the first; they wrap around.
func behind(first, second int32) bool {
	by := uint32(second-first) & math.MaxInt32
	return by > 0 && by < 1<<30
}
