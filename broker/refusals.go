package broker

import (
	"math"
	"strings"
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
	}
}

// refusalKey is a producer in a partition, whose topic is called as the request calls it.
type refusalKey struct {
	topic     string
	id        topic.ID
	partition int32
	producer  int64
}

// refusal is the first batch of a producer of which that is so.
type refusal struct {
	epoch int16
	first int32
	// by is the request whose answer says so, nil once it is written; until when it counts from then on.
	by    *produceWait
	until time.Time
}

const (
	// refusalsMax bounds those of a connection. One more takes the place of another, whose followers are judged as if it had
	// never come.
	refusalsMax = 4096
	// refusedFor is how long a client that has the answer may have sent something before it read it, and how long what it sent
	// behind that waits for the batch to come again. A client that gives a batch up gets to know that the next is out of order.
	refusedFor = 10 * time.Second
	// topicNameMax is the longest name that a topic can have.
	topicNameMax = 249
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
	if err != nil || h.ProducerID < 0 || h.BaseSequence < 0 || len(t.Topic) > topicNameMax {
		return
	}
	key := refusalOf(t, p.Partition, h.ProducerID)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	was, known := r.mu.byBatch[key]
	if known && !was.over(h, now) && was.precedes(h) {
		return
	}
	if r.mu.byBatch == nil {
		r.mu.byBatch = map[refusalKey]refusal{}
	}
	if !known && len(r.mu.byBatch) >= refusalsMax {
		r.makeRoomLocked(now)
	}
	key.topic = strings.Clone(key.topic)
	r.mu.byBatch[key] = refusal{epoch: h.ProducerEpoch, first: h.BaseSequence, by: by}
	by.refused = append(by.refused, key)
	r.some.Store(true)
}

// makeRoomLocked forgets those whose time is over, or else any.
func (r *refusals) makeRoomLocked(now time.Time) {
	for key, was := range r.mu.byBatch {
		if was.ended(now) {
			delete(r.mu.byBatch, key)
		}
	}
	for key := range r.mu.byBatch {
		if len(r.mu.byBatch) < refusalsMax {
			return
		}
		delete(r.mu.byBatch, key)
	}
}

// told says that the answer to a request is written: from now on the client is to know.
func (r *refusals) told(by *produceWait) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, key := range by.refused {
		if was, ok := r.mu.byBatch[key]; ok && was.by == by {
			was.by, was.until = nil, now.Add(refusedFor)
			r.mu.byBatch[key] = was
		}
	}
	by.refused = nil
}

// before reports whether a batch was sent behind one that is noted. One that is over, and the batch's own, is forgotten.
func (r *refusals) before(t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition, h batch.Header) bool {
	if r == nil || !r.some.Load() || h.ProducerID < 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := refusalOf(t, p.Partition, h.ProducerID)
	was, ok := r.mu.byBatch[key]
	if !ok {
		return false
	}
	if was.over(h, time.Now()) || h.BaseSequence == was.first {
		r.forgetLocked(key)
		return false
	}
	return was.precedes(h)
}

// taken forgets what precedes a batch that was appended where it belongs.
func (r *refusals) taken(t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition, h batch.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(refusalOf(t, p.Partition, h.ProducerID))
}

func (r *refusals) forgetLocked(key refusalKey) {
	delete(r.mu.byBatch, key)
	r.some.Store(len(r.mu.byBatch) > 0)
}

// ended reports whether the time of a refusal is over.
func (r refusal) ended(now time.Time) bool { return r.by == nil && !now.Before(r.until) }

// over reports whether a refusal is of no use any more when its producer sends a batch.
func (r refusal) over(h batch.Header, now time.Time) bool {
	return h.ProducerEpoch != r.epoch || r.ended(now)
}

// precedes reports whether a batch of the same epoch comes behind the refused one in its sequence, which wraps around.
func (r refusal) precedes(h batch.Header) bool {
	behind := uint32(h.BaseSequence-r.first) & math.MaxInt32
	return behind > 0 && behind < 1<<30
}
