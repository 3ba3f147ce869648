package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Each record of these worlds is stamped 2 ms after the one before, from 0 on.
func TestRetentionTakesNothingTooEarly(t *testing.T) {
	const ms = time.Millisecond
	age := func(age, slack time.Duration) Kept { return Kept{Age: age, Bytes: -1, Slack: slack} }
	sized := func(w *world, bytes uint32, values ...Value) {
		for i, v := range values {
			w.p.SendStored(topicName, 0, v, Stored{Bytes: bytes}).Acked(int64(i))
		}
	}
	for name, c := range map[string]struct {
		kept     Kept
		producer ProducerConfig
		do       func(w *world)
		start    int64
		values   []Value
		want     []Kind
		taken    Taken
	}{
		"old enough": {
			kept: age(7*ms, 0), start: 1, values: []Value{2, 3}, taken: Taken{Old: 1},
			do: func(w *world) { w.acked(0, 1, 2, 3); w.h.Began(topicName, 0, 1) }, // seen at 7
		},
		"one of two too young": {
			kept: age(6*ms, 0), start: 2, values: []Value{3}, want: []Kind{TakenEarly}, taken: Taken{Old: 1},
			do: func(w *world) { w.acked(0, 1, 2, 3); w.h.Began(topicName, 0, 2) }, // seen at 7
		},
		"too young by what clocks may differ": {
			kept: age(6*ms, ms), start: 2, values: []Value{3}, taken: Taken{Old: 2},
			do: func(w *world) { w.acked(0, 1, 2, 3); w.h.Began(topicName, 0, 2) },
		},
		"seen again when it is old": {
			kept: age(6*ms, 0), start: 2, values: []Value{3}, want: []Kind{TakenEarly}, taken: Taken{Old: 1},
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.h.Began(topicName, 0, 2)
				w.h.Began(topicName, 0, 2)
				w.h.Began(topicName, 0, 2)
			},
		},
		"old by a clock that was put forward": {
			kept: age(time.Minute, 0), start: 2, values: []Value{3}, taken: Taken{Old: 2},
			do: func(w *world) { w.acked(0, 1, 2, 3); w.clock.ahead = time.Minute; w.h.Began(topicName, 0, 2) },
		},
		"old by a clock that was put back before anybody saw it": {
			kept: age(time.Minute, 0), start: 2, values: []Value{3}, taken: Taken{Old: 2},
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.clock.ahead = time.Minute
				w.read(0, 1)
				w.clock.ahead = 0
				w.h.Began(topicName, 0, 2)
			},
		},
		"young by a clock that is put forward once they are gone": {
			kept: age(time.Minute, 0), start: 2, values: []Value{3}, want: []Kind{TakenEarly},
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.h.Began(topicName, 0, 2)
				w.clock.ahead = time.Minute
			},
		},
		"young by its timestamp, not by when it was sent": {
			kept: age(7*ms, 0), start: 1, values: []Value{2}, want: []Kind{TakenEarly},
			do: func(w *world) {
				w.p.SendStored(topicName, 0, 1, Stored{Stamp: 1}).Acked(0)
				w.acked(1, 2)
				w.clock.now = 6 * ms
				w.h.Began(topicName, 0, 1)
			},
		},
		"kept for ever": {
			kept: age(-1, 0), start: 1, values: []Value{2}, want: []Kind{TakenEarly},
			do: func(w *world) { w.acked(0, 1, 2); w.h.Began(topicName, 0, 1) },
		},
		"without an acknowledgement, and read before": {
			kept: age(-1, 0), start: 1, values: []Value{2}, want: []Kind{TakenEarly},
			do: func(w *world) {
				w.p.Send(topicName, 0, 1).Unknown()
				w.acked(1, 2)
				w.read(0, 1)
				w.h.Began(topicName, 0, 1)
			},
		},
		"nobody knows where it was": {
			kept: age(-1, 0), start: 1, values: []Value{2},
			do: func(w *world) {
				w.p.Send(topicName, 0, 1).Unknown()
				w.acked(1, 2)
				w.h.Began(topicName, 0, 1)
			},
		},
		"another partition's start": {
			kept: age(-1, 0), values: []Value{1, 2},
			do: func(w *world) { w.acked(0, 1, 2); w.h.Began(topicName, 1, 1) },
		},
		"young and passed over by a reader": {
			kept: age(9*ms, 0), start: 1, values: []Value{2}, want: []Kind{TakenEarly},
			do: func(w *world) { w.acked(0, 1, 2); w.c.Seek(topicName, 0, 0); w.read(1, 2) },
		},
		"old and passed over by a reader": {
			kept: age(2*ms, 0), start: 1, values: []Value{2}, taken: Taken{Old: 1},
			do: func(w *world) { w.acked(0, 1, 2); w.c.Seek(topicName, 0, 0); w.read(1, 2) },
		},

		"deleted by a client": {
			kept: age(-1, 0), start: 2, values: []Value{3}, taken: Taken{Deleted: 2},
			do: func(w *world) { w.acked(0, 1, 2, 3); w.h.Deleting(topicName, 0, 2); w.h.Began(topicName, 0, 2) },
		},
		"more gone than a client deleted": {
			kept: age(-1, 0), start: 2, values: []Value{3}, want: []Kind{TakenEarly}, taken: Taken{Deleted: 1},
			do: func(w *world) { w.acked(0, 1, 2, 3); w.h.Deleting(topicName, 0, 1); w.h.Began(topicName, 0, 2) },
		},
		"gone before a client deleted it": {
			kept: age(-1, 0), start: 1, values: []Value{2}, want: []Kind{TakenEarly},
			do: func(w *world) { w.acked(0, 1, 2); w.h.Began(topicName, 0, 1); w.h.Deleting(topicName, 0, 1) },
		},

		"beyond what is kept by size": {
			kept: Kept{Age: -1, Bytes: 200}, producer: idempotent, start: 1, values: []Value{2, 3}, taken: Taken{Beyond: 1},
			do: func(w *world) { sized(w, 100, 1, 2, 3); w.h.Began(topicName, 0, 1) },
		},
		"within what is kept by size": {
			kept: Kept{Age: -1, Bytes: 201}, producer: idempotent, start: 1, values: []Value{2, 3}, want: []Kind{TakenEarly},
			do: func(w *world) { sized(w, 100, 1, 2, 3); w.h.Began(topicName, 0, 1) },
		},
		"within what is kept by the size that it had then": {
			kept: Kept{Age: -1, Bytes: 200}, producer: idempotent, start: 1, values: []Value{2, 3}, want: []Kind{TakenEarly},
			do: func(w *world) {
				sized(w, 100, 1, 2)
				w.h.Began(topicName, 0, 1)
				w.p.SendStored(topicName, 0, 3, Stored{Bytes: 100}).Acked(2)
			},
		},
		"beyond, with what may have been written": {
			kept: Kept{Age: -1, Bytes: 200}, producer: idempotent, start: 1, values: []Value{2}, taken: Taken{Beyond: 1},
			do: func(w *world) {
				sized(w, 100, 1, 2)
				w.p.SendStored(topicName, 0, 3, Stored{Bytes: 100}).Unknown()
				w.h.Began(topicName, 0, 1)
			},
		},
		"one beyond, and one behind it within": {
			kept: Kept{Age: -1, Bytes: 200}, producer: idempotent, start: 2, values: []Value{3}, want: []Kind{TakenEarly}, taken: Taken{Beyond: 1},
			do: func(w *world) { sized(w, 100, 1, 2, 3); w.h.Began(topicName, 0, 2) },
		},
		"within, for what has failed was not written": {
			kept: Kept{Age: -1, Bytes: 200}, producer: idempotent, start: 1, values: []Value{2}, want: []Kind{TakenEarly},
			do: func(w *world) {
				sized(w, 100, 1, 2)
				w.p.SendStored(topicName, 0, 3, Stored{Bytes: 100}).Failed()
				w.h.Began(topicName, 0, 1)
			},
		},
		"by size, of records that have none": {
			kept: Kept{Age: -1, Bytes: 0}, producer: idempotent, start: 1, values: []Value{2}, want: []Kind{"incomplete"}, taken: Taken{Beyond: 1},
			do: func(w *world) { w.acked(0, 1, 2); w.h.Began(topicName, 0, 1) },
		},
		"by size, of a producer that may write twice": {
			kept: Kept{Age: -1, Bytes: 0}, start: 1, values: []Value{2}, want: []Kind{"incomplete"}, taken: Taken{Beyond: 1},
			do: func(w *world) { sized(w, 100, 1, 2); w.h.Began(topicName, 0, 1) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Rules{Retention: true, Kept: &c.kept}, c.producer, assigned)
			c.do(w)
			w.c.Final(topicName, 0, Range{Asked: w.h.Now(), Start: c.start, End: c.start + int64(len(c.values))})
			w.read(c.start, c.values...)
			for _, h := range []*History{w.h, copied(t, w.h)} {
				judged(t, h, c.want)
				if got := Check(h).Taken; got != c.taken {
					t.Errorf("got %+v taken, want %+v", got, c.taken)
				}
			}
		})
	}
}

// retaining is a log of records of one size, and retention by the three rules; bug, if any, breaks one.
type retaining struct {
	r     *rand.Rand
	h     *History
	p     *Producer
	kept  Kept
	start int64
	// sent are the timestamps.
	sent  []int64
	clock handClock
	// inFlight was written and has no answer yet.
	inFlight []Sent
	bug      string
}

const retainedRecord = 100

func newRetaining(seed uint64, bug string) *retaining {
	l := &retaining{r: rand.New(rand.NewPCG(seed, 9)), bug: bug, kept: Kept{Age: 60 * time.Millisecond, Bytes: 30 * retainedRecord}}
	switch seed % 3 {
	case 0:
		l.kept.Age = -1
	case 1:
		l.kept.Bytes = -1
	}
	l.h = New(Config{Clock: l.clock.tick, Wall: l.clock.wall, Rules: Rules{Retention: true, Kept: &l.kept}})
	l.p = l.h.Producer(idempotent)
	for range 600 {
		l.turn()
	}
	for len(l.inFlight) > 0 {
		l.answer()
	}
	c, end := l.h.Consumer(assigned), int64(len(l.sent))
	c.Final(topicName, 0, Range{Asked: l.h.Now(), Start: l.start, End: end})
	c.Poll()
	for at := l.start; at < end; at++ {
		c.Read(topicName, 0, at, Value(at+1))
	}
	c.Done()
	return l
}

func (l *retaining) turn() {
	switch n := l.r.IntN(20); {
	case n < 8:
		at := len(l.sent)
		l.inFlight = append(l.inFlight, l.p.SendStored(topicName, 0, Value(at+1), Stored{Stamp: l.clock.wall(), Bytes: retainedRecord}))
		l.sent = append(l.sent, l.clock.wall())
	case n < 16 && len(l.inFlight) > 0:
		l.answer()
	case n == 16 && l.start < int64(len(l.sent)) && l.r.IntN(8) == 0:
		before := l.start + l.r.Int64N(int64(len(l.sent))-l.start)
		l.h.Deleting(topicName, 0, before)
		l.start = before
		if l.bug == "DeleteRecords takes one more" {
			l.start++
		}
	case n == 17:
		l.retain()
	case n == 18 && l.r.IntN(8) == 0: // the time of day jumps, either way
		l.h.Began(topicName, 0, l.start)
		l.clock.ahead += time.Duration(l.r.IntN(60)-30) * time.Millisecond
	default:
		l.h.Began(topicName, 0, l.start)
	}
}

func (l *retaining) answer() {
	l.inFlight[0].Acked(int64(len(l.sent) - len(l.inFlight)))
	l.inFlight = l.inFlight[1:]
}

// retain takes what is old, and what is beyond.
func (l *retaining) retain() {
	kept, now := l.kept, l.clock.wall()
	switch l.bug {
	case "age is halved":
		kept.Age /= 2
	case "bytes are kept but for two records":
		kept.Bytes -= 2 * retainedRecord
	case "a bound of age holds though there is none":
		if kept.Age < 0 {
			kept.Age = 30 * time.Millisecond
		}
	}
	end := int64(len(l.sent))
	for l.start < end && (kept.Age >= 0 && now-l.sent[l.start] >= kept.Age.Milliseconds() ||
		kept.Bytes >= 0 && (end-l.start-1)*retainedRecord >= kept.Bytes) {
		l.start++
	}
}

// What keeps the rules is passed in each history of a hundred, and what breaks one is found in some.
func TestRetentionThatBreaksARuleIsFound(t *testing.T) {
	const seeds = 100
	for _, bug := range []string{
		"", "age is halved", "bytes are kept but for two records", "a bound of age holds though there is none",
		"DeleteRecords takes one more",
	} {
		t.Run(fmt.Sprintf("%q", bug), func(t *testing.T) {
			found, taken := 0, Taken{}
			for seed := range uint64(seeds) {
				v := Check(newRetaining(seed, bug).h)
				taken.Old, taken.Deleted, taken.Beyond = taken.Old+v.Taken.Old, taken.Deleted+v.Taken.Deleted, taken.Beyond+v.Taken.Beyond
				if v.Valid() {
					continue
				}
				found++
				if bug == "" || len(v.Counts) != 1 || !slices.ContainsFunc(v.Anomalies, func(a Anomaly) bool { return a.Kind == TakenEarly }) {
					t.Fatalf("seed %d: %v", seed, v.Err())
				}
			}
			if bug != "" && found < seeds/10 {
				t.Errorf("found in %d of %d histories, want it in a tenth at least", found, seeds)
			}
			if bug == "" && (taken.Old == 0 || taken.Deleted == 0 || taken.Beyond == 0) {
				t.Errorf("got %+v taken, want some of each", taken)
			}
		})
	}
}
