package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// refusing is a topic of one partition, and a connection on which an idempotent producer writes to it.
type refusing struct {
	*testing.T
	h     *harness
	c     *rawClient
	epoch topic.Epoch
}

func startRefusing(t *testing.T) *refusing {
	h := start(t)
	h.create("t", 1)
	return &refusing{T: t, h: h, c: h.dial(), epoch: 10}
}

// sequenced produces two records.
func (r *refusing) sequenced(what string, epoch int16, sequence int32, want code) {
	r.Helper()
	records := batchOf{values: []string{"a", "b"}, producer: 7, epoch: epoch, sequence: sequence, timestamp: 1000}.bytes()
	expectCode(r.T, what, onlyProduced(r.c.ask(produceOf(9, "t", 0, -1, records))).ErrorCode, want)
}

// led has this broker lead, or another one.
func (r *refusing) led(here bool) {
	r.epoch++
	leader := topic.NodeID(2)
	if here {
		leader = 1
	}
	r.h.cluster.move(r.T, "t", 0, leader, r.epoch)
}

func (r *refusing) ends(want int64) {
	r.Helper()
	if end := r.h.cluster.log(r.T, "t", 0).State().LogEnd; int64(end) != want {
		r.Errorf("log ends at %d, want %d", end, want)
	}
}

// TestWhatWasSentBehindARefusedBatchDoesNotTakeItsPlace: a broker that begins to lead between two batches of a producer
// that it does not know would take the second without the first. librdkafka then told its application that the first was
// acknowledged, too.
func TestWhatWasSentBehindARefusedBatchDoesNotTakeItsPlace(t *testing.T) {
	r := startRefusing(t)
	r.led(false)
	r.sequenced("first, at a follower", 0, 0, codeNotLeaderOrFollower)
	r.led(true)
	r.sequenced("second, without the first", 0, 2, codeNotLeaderOrFollower)
	r.sequenced("third, without the first", 0, 4, codeNotLeaderOrFollower)
	r.ends(0)
	r.sequenced("first", 0, 0, codeNone)
	r.sequenced("second", 0, 2, codeNone)
	r.sequenced("third", 0, 4, codeNone)
	r.ends(6)
}

// TestWhatWasSentBehindARefusedBatchIsNotOutOfOrder: for the code that says so librdkafka gives its producer up.
func TestWhatWasSentBehindARefusedBatchIsNotOutOfOrder(t *testing.T) {
	r := startRefusing(t)
	r.sequenced("first", 0, 0, codeNone)
	r.led(false)
	r.sequenced("second, at a follower", 0, 2, codeNotLeaderOrFollower)
	r.led(true)
	r.sequenced("third, without the second", 0, 4, codeNotLeaderOrFollower)
	r.sequenced("first again", 0, 0, codeNone)
	r.sequenced("third, still without the second", 0, 4, codeNotLeaderOrFollower)
	r.sequenced("second", 0, 2, codeNone)
	r.sequenced("third", 0, 4, codeNone)
	r.sequenced("with a gap", 0, 8, codeOutOfOrderSequence)
	r.ends(6)
}

// TestRefusedBatchMayComeAnotherWay: what the log knows counts, not which connection it came by.
func TestRefusedBatchMayComeAnotherWay(t *testing.T) {
	r := startRefusing(t)
	r.led(false)
	r.sequenced("first, at a follower", 0, 0, codeNotLeaderOrFollower)
	r.led(true)
	other := &refusing{T: t, h: r.h, c: r.h.dial()}
	other.sequenced("first, on another connection", 0, 0, codeNone)
	r.sequenced("second", 0, 2, codeNone)
	r.sequenced("with a gap", 0, 6, codeOutOfOrderSequence)
	r.ends(4)
}

// TestRefusalEndsWithItsEpoch, and says nothing to those who were never refused.
func TestRefusalEndsWithItsEpoch(t *testing.T) {
	r := startRefusing(t)
	r.led(false)
	r.sequenced("at a follower", 0, 3, codeNotLeaderOrFollower)
	r.led(true)
	r.sequenced("of the next epoch", 1, 0, codeNone)
	r.ends(2)
	records := batchOf{values: []string{"a"}, producer: 8, sequence: 5, timestamp: 1000}.bytes()
	onlyCode(t, "of a producer that is not known", onlyProduced(r.h.dial().ask(produceOf(9, "t", 0, -1, records))).ErrorCode)
}

// TestRefusalsAreBounded in number and in time.
func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	asked := kmsg.NewProduceRequestTopic()
	asked.Topic = "t"
	p := kmsg.NewProduceRequestTopicPartition()
	now := time.Unix(1000, 0)
	for producer := range int64(2 * refusalsMax) {
		p.Records = batchOf{values: []string{"a"}, producer: producer, timestamp: 1000}.bytes()
		r.add(&asked, &p, codeNotLeaderOrFollower, now)
	}
	if len(r.byBatch) != refusalsMax {
		t.Errorf("got %d refusals, want %d", len(r.byBatch), refusalsMax)
	}
	last := batch.Header{ProducerID: 2*refusalsMax - 1, BaseSequence: 1}
	if _, behind := r.before(&asked, &p, last, now.Add(refusedFor-1)); !behind {
		t.Error("the last refusal is forgotten, want it remembered for its time")
	}
	if _, behind := r.before(&asked, &p, last, now.Add(refusedFor)); behind {
		t.Error("the last refusal is remembered beyond its time")
	}
	first := batchOf{values: []string{"a"}, producer: 1, timestamp: 1000}.bytes()
	p.Records = first
	before := len(r.byBatch)
	r.add(&asked, &p, codeMessageTooLarge, now)
	if len(r.byBatch) != before {
		t.Error("a refusal for good is remembered")
	}
}

// TestSequencesBehindARefusedOne wrap around.
func TestSequencesBehindARefusedOne(t *testing.T) {
	for _, c := range []struct {
		refused, sequence int32
		want              bool
	}{{5, 4, false}, {5, 5, false}, {5, 6, true}, {1<<31 - 2, 3, true}, {3, 1<<31 - 2, false}} {
		was := refusal{first: c.refused}
		if got := was.precedes(batch.Header{BaseSequence: c.sequence}); got != c.want {
			t.Errorf("%d behind %d: got %v, want %v", c.sequence, c.refused, got, c.want)
		}
	}
}
