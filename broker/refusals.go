package broker

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// refusals are the batches of idempotent producers that a connection was refused for the moment. What its client had
// sent behind one of them must not be taken in its place:
//
//	client                                    broker
//	batch 0..24 ──────────────────────────>   NOT_LEADER_OR_FOLLOWER
//	batch 25..47 ─────────────────────────>   has become the leader, knows nothing of the producer, and takes it
//	0..24 again  ─────────────────────────>   OUT_OF_ORDER_SEQUENCE_NUMBER, now for good
//
// librdkafka even takes the first for acknowledged with the second, and tells its application so; and if the broker does
// know the producer, OUT_OF_ORDER_SEQUENCE_NUMBER for the second ends its producer. So the second is refused as the first was,
// until the first has come again. It may have been taken elsewhere meanwhile: then the log knows what came before the second.
//
// One goroutine uses them, the connection's reader.
type refusals struct {
	byBatch map[refusalKey]refusal
}

type refusalKey struct {
	topic     string
	id        topic.ID
	partition int32
	producer  int64
}

// refusal is the first batch of a producer that was refused and has not come again.
type refusal struct {
	epoch int16
	first int32
	why   code
	until time.Time
}

const (
	// refusalsMax bounds those of a connection. One more takes the place of another, whose followers are judged as if it had
	// never come.
	refusalsMax = 1024
	// refusedFor is how long a client has to send a refused batch again. One that has given it up gets to know that what
	// follows it is out of order.
	refusedFor = time.Minute
)

// comesAgain reports whether clients send a batch again that was refused with the code.
func comesAgain(why code) bool {
	switch why {
	case codeNotLeaderOrFollower, codeNotEnoughReplicas, codeUnknownTopicOrPartition, codeUnknownTopicID, codeStorageError,
		codeCorruptMessage, codeConcurrentTransactions:
		return true
	}
	return false
}

func refusalOf(t *kmsg.ProduceRequestTopic, index int32, producer int64) refusalKey {
	return refusalKey{topic: t.Topic, id: t.TopicID, partition: index, producer: producer}
}

// add notes that a batch was refused.
func (r *refusals) add(t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition, why code, now time.Time) {
	if r == nil || !comesAgain(why) {
		return
	}
	h, err := batch.ParseHeader(p.Records)
	if err != nil || h.ProducerID < 0 || h.BaseSequence < 0 {
		return
	}
	key := refusalOf(t, p.Partition, h.ProducerID)
	if was, ok := r.byBatch[key]; ok && !was.over(h, now) && was.precedes(h) {
		return
	}
	if r.byBatch == nil {
		r.byBatch = map[refusalKey]refusal{}
	}
	if len(r.byBatch) >= refusalsMax {
		for any := range r.byBatch {
			delete(r.byBatch, any)
			break
		}
	}
	r.byBatch[key] = refusal{epoch: h.ProducerEpoch, first: h.BaseSequence, why: why, until: now.Add(refusedFor)}
}

// before finds the refusal behind which a batch was sent. One that is over, and one whose batch this is, is forgotten.
func (r *refusals) before(
	t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition, h batch.Header, now time.Time,
) (refusal, bool) {
	if r == nil || len(r.byBatch) == 0 || h.ProducerID < 0 {
		return refusal{}, false
	}
	key := refusalOf(t, p.Partition, h.ProducerID)
	was, ok := r.byBatch[key]
	if !ok {
		return refusal{}, false
	}
	if was.over(h, now) || h.BaseSequence == was.first {
		delete(r.byBatch, key)
		return refusal{}, false
	}
	if !was.precedes(h) {
		return refusal{}, false
	}
	return was, true
}

// taken forgets the refusal of a batch, for one behind it was appended where it belongs.
func (r *refusals) taken(t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition, h batch.Header) {
	delete(r.byBatch, refusalOf(t, p.Partition, h.ProducerID))
}

// over reports whether a refusal is of no use any more when its producer sends a batch.
func (r refusal) over(h batch.Header, now time.Time) bool {
	return h.ProducerEpoch != r.epoch || !now.Before(r.until)
}

// precedes reports whether a batch of the same epoch comes behind the refused one in its sequence, which wraps around.
func (r refusal) precedes(h batch.Header) bool {
	behind := uint32(h.BaseSequence-r.first) & math.MaxInt32
	return behind > 0 && behind < 1<<30
}
