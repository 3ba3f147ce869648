package broker

import (
	"strings"
	"testing"
	"time"

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
	r.sequenced("fourth, sent before the refusal of the third was read", 0, 6, codeNotLeaderOrFollower)
	r.sequenced("third", 0, 4, codeNone)
	r.sequenced("fourth", 0, 6, codeNone)
	r.sequenced("with a gap", 0, 10, codeOutOfOrderSequence)
	r.ends(8)
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
	r.sequenced("at a follower", 0, 0, codeNotLeaderOrFollower)
	r.led(true)
	r.sequenced("of the next epoch", 1, 2, codeNone)
	r.ends(2)
	records := batchOf{values: []string{"a"}, producer: 8, sequence: 5, timestamp: 1000}.bytes()
	onlyCode(t, "of a producer that is not known", onlyProduced(r.c.ask(produceOf(9, "t", 0, -1, records))).ErrorCode)
}

// TestWhatWasSentBehindABatchThatWasCutDoesNotTakeItsPlace: the batch was appended here, and no later leader had it. Its client
// hears of that later than it sends the next one, for answers keep their order.
func TestWhatWasSentBehindABatchThatWasCutDoesNotTakeItsPlace(t *testing.T) {
	r := startRefusing(t)
	r.h.create("stuck", 1)
	r.h.cluster.hold()
	stuck := produceOf(9, "stuck", 0, -1, plainBatch("a"))
	first := produceOf(9, "t", 0, -1, batchOf{values: []string{"a", "b"}, producer: 7, timestamp: 1000}.bytes())
	second := produceOf(9, "t", 0, -1, batchOf{values: []string{"c"}, producer: 7, sequence: 2, timestamp: 1000}.bytes())
	r.c.send(0, stuck, first)
	log := r.h.cluster.log(t, "t", 0)
	eventually(t, "the first batch is appended", func() bool { return log.State().LogEnd == 2 })
	r.led(false)
	if err := log.Truncate(0); err != nil {
		t.Fatal(err)
	}
	r.led(true)
	r.c.send(2, second)
	eventually(t, "the second batch is read", func() bool { return r.h.metric("kafka_network_requestmetrics_requests_total", "Produce") >= 3 })
	r.h.cluster.release()
	expectCode(t, "stuck", onlyProduced(r.c.receive(0, stuck)).ErrorCode, codeNone)
	expectCode(t, "first", onlyProduced(r.c.receive(1, first)).ErrorCode, codeRequestTimedOut)
	expectCode(t, "second", onlyProduced(r.c.receive(2, second)).ErrorCode, codeNotLeaderOrFollower)
	r.ends(0)
	r.sequenced("first again", 0, 0, codeNone)
	expectCode(t, "second again", onlyProduced(r.c.ask(second)).ErrorCode, codeNone)
}

// refusedOf is a request of one batch that is refused.
func refusedOf(t *testing.T, producer int64, sequence int32, name string) (*produceWait, batch.Header) {
	t.Helper()
	records := batchOf{values: []string{"a"}, producer: producer, sequence: sequence, timestamp: 1000}.bytes()
	h, err := batch.ParseHeader(records)
	if err != nil {
		t.Fatal(err)
	}
	return &produceWait{request: produceOf(9, name, 0, -1, records)}, h
}

// TestRefusalsAreBounded in number and in time.
func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	now := time.Now()
	noted := func(producer int64) bool {
		w, h := refusedOf(t, producer, 1, "t")
		return r.before(&w.request.Topics[0], &w.request.Topics[0].Partitions[0], h)
	}
	refuse := func(producer int64, name string) *produceWait {
		w, _ := refusedOf(t, producer, 0, name)
		r.add(w, place{})
		return w
	}
	for producer := range int64(refusalsMax) {
		refuse(producer, "t")
	}
	again := refuse(5, "t")
	for producer := range int64(refusalsMax) {
		if !noted(producer) {
			t.Fatalf("the refusal of producer %d is forgotten, want %d of them", producer, refusalsMax)
		}
	}
	r.told(again.refused)
	key := refusalOf(&again.request.Topics[0], 0, 5)
	was := r.mu.byBatch[key]
	if end := was.until; was.by != nil || end.Before(now.Add(refusedFor)) || end.After(time.Now().Add(refusedFor)) {
		t.Errorf("an answer that is written now counts until %v, want for %v", end.Sub(now), refusedFor)
	}
	was.until = now
	r.mu.byBatch[key] = was
	refuse(refusalsMax, "t")
	if _, kept := r.mu.byBatch[key]; kept || len(r.mu.byBatch) != refusalsMax {
		t.Errorf("%d refusals, the one that is over among them: %v, want %d without it", len(r.mu.byBatch), kept, refusalsMax)
	}
	refuse(refusalsMax+1, "t")
	if want := refusalsMax - refusalsMax/4 + 1; len(r.mu.byBatch) != want || !noted(refusalsMax+1) {
		t.Errorf("%d refusals, the last one among them: %v, want %d with it", len(r.mu.byBatch), noted(refusalsMax+1), want)
	}
	if long := refuse(refusalsMax+2, strings.Repeat("t", topic.NameLengthMax+1)); long.refused != nil {
		t.Error("the name of no topic is remembered")
	}
	full, _ := refusedOf(t, refusalsMax+3, 0, "t")
	full.refused = &telling{keys: make([]refusalKey, refusalsMax)}
	if r.add(full, place{}); len(full.refused.keys) > refusalsMax {
		t.Errorf("one answer tells of %d refusals, want %d at most", len(full.refused.keys), refusalsMax)
	}
}

// TestRefusalsThatAreOverAreForgotten, so that produces are cheap again.
func TestRefusalsThatAreOverAreForgotten(t *testing.T) {
	var r refusals
	w, _ := refusedOf(t, 7, 0, "t")
	r.add(w, place{})
	r.told(w.refused)
	key := refusalOf(&w.request.Topics[0], 0, 7)
	was := r.mu.byBatch[key]
	was.until = time.Now()
	r.mu.byBatch[key], r.mu.swept = was, time.Now().Add(-refusedFor)
	other, h := refusedOf(t, 8, 0, "t")
	if r.before(&other.request.Topics[0], &other.request.Topics[0].Partitions[0], h) || r.some.Load() || len(r.mu.byBatch) > 0 {
		t.Errorf("%d refusals are left, want none", len(r.mu.byBatch))
	}
}

// TestFollowersDoNotProlongARefusal: a producer that has given the batch up is refused for that time alone.
func TestFollowersDoNotProlongARefusal(t *testing.T) {
	var r refusals
	refuse := func(sequence int32) refusal {
		w, _ := refusedOf(t, 7, sequence, "t")
		r.add(w, place{})
		if w.refused != nil {
			r.told(w.refused)
		}
		return r.mu.byBatch[refusalOf(&w.request.Topics[0], 0, 7)]
	}
	first := refuse(0)
	if got := refuse(2); got.first != first.first || got.by != nil || !got.until.Equal(first.until) || got.last != 2 {
		t.Errorf("a follower made %+v of %+v", got, first)
	}
	if got := refuse(0); !got.until.After(first.until) || got.last != 2 {
		t.Errorf("the batch itself made %+v of %+v, want it to count anew", got, first)
	}
}

// TestLateNewsOfAnOlderEpochChangesNothing: the producer has gone on.
func TestLateNewsOfAnOlderEpochChangesNothing(t *testing.T) {
	var r refusals
	for _, epoch := range []int16{1, 0} {
		records := batchOf{values: []string{"a"}, producer: 7, epoch: epoch, timestamp: 1000}.bytes()
		w := &produceWait{request: produceOf(9, "t", 0, -1, records)}
		r.add(w, place{})
		if got := r.mu.byBatch[refusalOf(&w.request.Topics[0], 0, 7)]; got.epoch != 1 {
			t.Errorf("got epoch %d, want 1", got.epoch)
		}
	}
}

// TestSequencesBehindEachOther wrap around.
func TestSequencesBehindEachOther(t *testing.T) {
	for _, c := range []struct {
		first, second int32
		want          bool
	}{{5, 4, false}, {5, 5, false}, {5, 6, true}, {1<<31 - 2, 0, true}, {3, 1<<31 - 2, false}} {
		if got := behind(c.first, c.second); got != c.want {
			t.Errorf("%d behind %d: got %v, want %v", c.second, c.first, got, c.want)
		}
	}
}

// TestCodesAfterWhichABatchComesAgain: what clients send again is noted, what they give up is not.
func TestCodesAfterWhichABatchComesAgain(t *testing.T) {
	for why, want := range map[code]bool{codeNone: false, codeNotLeaderOrFollower: true, codeNotEnoughReplicas: true,
		codeUnknownTopicOrPartition: true, codeRequestTimedOut: true, codeMessageTooLarge: false, codeInvalidRecord: false,
		codeOutOfOrderSequence: false, codeInvalidProducerEpoch: false} {
		if got := comesAgain(why); got != want {
			t.Errorf("%v: got %v, want %v", why, got, want)
		}
	}
}
