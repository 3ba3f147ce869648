package history

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// world builds a history by hand: every call is a millisecond after the one before.
type world struct {
	t *testing.T
	h *History
	p *Producer
	c *Consumer
	// clock is what the world goes by.
	clock *handClock
}

const topicName = "t"

func newWorld(t *testing.T, rules Rules, p ProducerConfig, c ConsumerConfig) *world {
	t.Helper()
	clock := &handClock{}
	h := New(Config{Rules: rules, Clock: clock.tick, Wall: clock.wall})
	p.Name, c.Name = "p", "c"
	return &world{t: t, h: h, p: h.Producer(p), c: h.Consumer(c), clock: clock}
}

// handClock goes on by a millisecond each time that it is looked at. The time of day may be put forward, and back.
type handClock struct{ now, ahead time.Duration }

func (c *handClock) tick() time.Duration {
	c.now += time.Millisecond
	return c.now
}

func (c *handClock) wall() int64 { return (c.now + c.ahead).Milliseconds() }

func ticking() func() time.Duration { return new(handClock).tick }

// acked sends values that are acknowledged at the offsets from first on.
func (w *world) acked(first int64, values ...Value) {
	for i, v := range values {
		w.p.Send(topicName, 0, v).Acked(first + int64(i))
	}
}

// read is one poll of consecutive offsets.
func (w *world) read(first int64, values ...Value) {
	w.c.Poll()
	for i, v := range values {
		w.c.Read(topicName, 0, first+int64(i), v)
	}
	w.c.Done()
}

// final begins the final polls of partition 0.
func (w *world) final(end int64) {
	w.c.Final(topicName, 0, Range{Asked: w.h.Now(), End: end})
}

// finals are the final polls of partition 0.
func (w *world) finals(values ...Value) {
	w.final(int64(len(values)))
	w.read(0, values...)
}

var (
	idempotent = ProducerConfig{Idempotent: true}
	careless   = ProducerConfig{}
	assigned   = ConsumerConfig{}
	subscribed = ConsumerConfig{Subscribed: true}
	committed  = ConsumerConfig{ReadCommitted: true}
	holes      = Rules{Holes: true}
)

// Every anomaly has cases where it is found, and cases that look like it and are not.
func TestCheckerTellsEachAnomalyFromWhatIsLegal(t *testing.T) {
	for name, c := range map[string]struct {
		rules    Rules
		producer ProducerConfig
		consumer ConsumerConfig
		do       func(w *world)
		want     []Kind
	}{
		"all acknowledged, all read": {do: func(w *world) { w.acked(0, 1, 2, 3); w.finals(1, 2, 3) }},
		"nothing at all":             {do: func(*world) {}},

		"two acknowledged at one offset": {
			do:   func(w *world) { w.acked(0, 1); w.acked(0, 2); w.finals(1) },
			want: []Kind{InconsistentOffset, NonmonotonicSend, Unseen},
		},
		"another value read than was acknowledged": {
			do: func(w *world) {
				w.acked(0, 1, 2)
				w.p.Send(topicName, 0, 3).Unknown()
				w.finals(1, 3)
			},
			want: []Kind{InconsistentOffset, Unseen},
		},
		"two readers read two values at one offset": {
			do: func(w *world) {
				w.p.Send(topicName, 0, 1).Unknown()
				w.p.Send(topicName, 0, 2).Unknown()
				w.read(0, 1)
				w.finals(2)
			},
			want: []Kind{InconsistentOffset},
		},
		"one offset in two partitions": {
			do: func(w *world) {
				w.acked(0, 1)
				w.p.Send(topicName, 1, 2).Acked(0)
				w.finals(1)
				w.c.Final(topicName, 1, Range{Asked: w.h.Now(), End: 1})
				w.c.Poll()
				w.c.Read(topicName, 1, 0, 2)
				w.c.Done()
			},
		},

		"acknowledged, passed over by the final polls": {
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.final(3)
				w.read(0, 1)
				w.read(2, 3)
			},
			want: []Kind{LostWrite, PollSkip},
		},
		"acknowledged, passed over by a reader, no final polls": {
			do:   func(w *world) { w.acked(0, 1, 2, 3); w.read(0, 1); w.read(2, 3); w.read(0, 1); w.c.Reset("t", 0) },
			want: []Kind{LostWrite, PollSkip, PollNonmonotonic, "incomplete"},
		},
		"acknowledged, and not yet read": {
			do:   func(w *world) { w.acked(0, 1, 2, 3); w.read(0, 1) },
			want: []Kind{"incomplete"},
		},
		"acknowledged, read from the middle by who begins there": {
			do:   func(w *world) { w.acked(0, 1, 2, 3); w.c.Reset(topicName, 0); w.read(2, 3) },
			want: []Kind{"incomplete"},
		},
		"acknowledged, missing at the start": {
			do: func(w *world) {
				w.acked(0, 1, 2)
				w.c.Final(topicName, 0, Range{Asked: w.h.Now(), Start: 1, End: 2})
				w.read(1, 2)
			},
			want: []Kind{LostWrite},
		},
		"acknowledged, and below the start that retention moved": {
			rules: Rules{Retention: true},
			do: func(w *world) {
				w.acked(0, 1, 2)
				w.c.Final(topicName, 0, Range{Asked: w.h.Now(), Start: 1, End: 2})
				w.read(1, 2)
			},
		},
		"passed over by a reader that retention overtook": {
			rules: Rules{Retention: true},
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.c.Seek(topicName, 0, 0)
				w.read(2, 3)
				w.c.Final(topicName, 0, Range{Asked: w.h.Now(), Start: 2, End: 3})
				w.read(2, 3)
			},
		},
		"passed over by a reader, and there when retention had stopped": {
			rules: Rules{Retention: true},
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.c.Seek(topicName, 0, 0)
				w.read(2, 3)
				w.c.Final(topicName, 0, Range{Asked: w.h.Now(), Start: 1, End: 3})
				w.read(1, 2, 3)
			},
			want: []Kind{PollSkip},
		},
		"acknowledged, above the end of the final polls": {
			do:   func(w *world) { w.acked(0, 1, 2); w.finals(1) },
			want: []Kind{Unseen},
		},
		"acknowledged without an offset, never read": {
			do:   func(w *world) { w.acked(0, 1); w.acked(NoOffset, 2); w.finals(1) },
			want: []Kind{Unseen},
		},
		"acknowledged without an offset, read":  {do: func(w *world) { w.acked(NoOffset, 2); w.finals(2) }},
		"unknown and never read":                {do: func(w *world) { w.acked(0, 1); w.p.Send("t", 0, 2).Unknown(); w.finals(1) }},
		"unknown and read":                      {do: func(w *world) { w.p.Send(topicName, 0, 2).Unknown(); w.finals(2) }},
		"without an outcome, and read":          {do: func(w *world) { w.p.Send(topicName, 0, 2); w.finals(2) }},
		"without an outcome, and no final poll": {do: func(w *world) { w.p.Send(topicName, 0, 2) }, want: []Kind{"incomplete"}},
		"final polls that did not get to the end": {
			do:   func(w *world) { w.acked(0, 1, 2); w.final(2); w.read(0, 1) },
			want: []Kind{"incomplete"},
		},
		"final polls asked for too early": {
			do:   func(w *world) { w.acked(0, 1); w.final(1); w.acked(1, 2); w.read(0, 1) },
			want: []Kind{"incomplete"},
		},

		"failed and read": {
			do:   func(w *world) { w.p.Send(topicName, 0, 1).Failed(); w.finals(1) },
			want: []Kind{FailedRead},
		},
		"failed and not read":          {do: func(w *world) { w.p.Send(topicName, 0, 1).Failed(); w.acked(0, 2); w.finals(2) }},
		"only failed, nothing to poll": {do: func(w *world) { w.p.Send(topicName, 0, 1).Failed() }},
		"a value that nobody sent": {
			do:   func(w *world) { w.acked(0, 1); w.finals(1, 99) },
			want: []Kind{Garbage},
		},
		"a value in a partition that it was not sent to": {
			do: func(w *world) {
				w.acked(0, 1)
				w.p.Send(topicName, 1, 2).Unknown()
				w.finals(1, 2)
			},
			want: []Kind{Garbage, "incomplete"},
		},
		"a value sent to any partition": {
			do: func(w *world) {
				w.p.Send(topicName, AnyPartition, 1).AckedAt(0, 0)
				w.p.Send(topicName, AnyPartition, 2).Unknown()
				w.p.Send(topicName, AnyPartition, 3).Unknown()
				w.finals(1, 2)
			},
		},
		"read elsewhere than acknowledged": {
			producer: idempotent,
			do:       func(w *world) { w.acked(0, 1); w.acked(2, 2); w.finals(1, 2) },
			want:     []Kind{AckMismatch},
		},
		"read elsewhere than acknowledged, by final polls, not idempotent": {
			producer: careless,
			do:       func(w *world) { w.acked(0, 1); w.acked(2, 2); w.finals(1, 2) },
			want:     []Kind{AckMismatch},
		},

		"one poll leaves out a record": {
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.c.Poll()
				w.c.Read(topicName, 0, 0, 1)
				w.c.Read(topicName, 0, 2, 3)
				w.c.Done()
				w.finals(1, 2, 3)
			},
			want: []Kind{InternalSkip},
		},
		"one poll leaves out what no transaction left there": {
			rules: holes, consumer: subscribed,
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.c.Poll()
				w.c.Read(topicName, 0, 0, 1)
				w.c.Read(topicName, 0, 2, 3)
				w.c.Done()
				w.finals(1, 2, 3)
			},
			want: []Kind{InternalSkip},
		},
		"one poll goes back": {
			consumer: subscribed,
			do: func(w *world) {
				w.acked(0, 1, 2)
				w.c.Poll()
				w.c.Read(topicName, 0, 1, 2)
				w.c.Read(topicName, 0, 0, 1)
				w.c.Done()
				w.finals(1, 2)
			},
			want: []Kind{InternalNonmonotonic},
		},
		"one poll reads a record twice": {
			do: func(w *world) {
				w.acked(0, 1)
				w.c.Poll()
				w.c.Read(topicName, 0, 0, 1)
				w.c.Read(topicName, 0, 0, 1)
				w.c.Done()
				w.finals(1)
			},
			want: []Kind{InternalNonmonotonic},
		},
		"one poll takes turns between two partitions": {
			do: func(w *world) {
				w.p.Send(topicName, 0, 1).Acked(0)
				w.p.Send(topicName, 1, 2).Acked(0)
				w.p.Send(topicName, 0, 3).Acked(1)
				w.c.Final(topicName, 0, Range{Asked: w.h.Now(), End: 2})
				w.c.Final(topicName, 1, Range{Asked: w.h.Now(), End: 1})
				w.c.Poll()
				w.c.Read(topicName, 0, 0, 1)
				w.c.Read(topicName, 1, 0, 2)
				w.c.Read(topicName, 0, 1, 3)
				w.c.Done()
			},
		},
		"skip between two polls": {
			do:   func(w *world) { w.acked(0, 1, 2, 3); w.read(0, 1); w.read(2, 3); w.finals(1, 2, 3) },
			want: []Kind{PollSkip},
		},
		"skip at the start": {
			do:   func(w *world) { w.acked(0, 1, 2); w.c.Seek(topicName, 0, 0); w.read(1, 2); w.finals(1, 2) },
			want: []Kind{PollSkip},
		},
		"skip between two polls, excused": {
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.read(0, 1)
				w.c.Reset(topicName, 0)
				w.read(2, 3)
				w.finals(1, 2, 3)
			},
		},
		"skip between two polls, in a group": {
			consumer: subscribed,
			do:       func(w *world) { w.acked(0, 1, 2, 3); w.read(0, 1); w.read(2, 3); w.finals(1, 2, 3) },
		},
		"skip in the final polls, in a group": {
			consumer: subscribed,
			do: func(w *world) {
				w.acked(0, 1, 2, 3)
				w.read(0, 1, 2, 3)
				w.final(3)
				w.read(0, 1)
				w.read(2, 3)
			},
			want: []Kind{PollSkip},
		},
		"step back between two polls": {
			do:   func(w *world) { w.acked(0, 1, 2); w.read(0, 1, 2); w.read(1, 2); w.finals(1, 2) },
			want: []Kind{PollNonmonotonic},
		},
		"step back between two polls, sought": {
			do: func(w *world) { w.acked(0, 1, 2); w.read(0, 1, 2); w.c.Seek("t", 0, 1); w.read(1, 2); w.finals(1, 2) },
		},
		"step back between two polls, in a group": {
			consumer: subscribed,
			do:       func(w *world) { w.acked(0, 1, 2); w.read(0, 1, 2); w.read(1, 2); w.finals(1, 2) },
		},

		"later send lower": {
			do:   func(w *world) { w.acked(1, 1); w.acked(0, 2); w.finals(2, 1) },
			want: []Kind{NonmonotonicSend},
		},
		"later send lower, by where it was read": {
			do:   func(w *world) { w.acked(1, 1); w.acked(NoOffset, 2); w.finals(2, 1) },
			want: []Kind{NonmonotonicSend},
		},
		"overlapping sends out of order": {
			do: func(w *world) {
				first, second := w.p.Send(topicName, 0, 1), w.p.Send(topicName, 0, 2)
				first.Acked(1)
				second.Acked(0)
				w.finals(2, 1)
			},
		},
		"overlapping sends out of order, of an idempotent producer": {
			producer: idempotent,
			do: func(w *world) {
				first, second := w.p.Send(topicName, 0, 1), w.p.Send(topicName, 0, 2)
				second.Acked(0)
				first.Acked(1)
				w.finals(2, 1)
			},
			want: []Kind{NonmonotonicSend},
		},
		"an unknown send that lands late": {
			producer: idempotent,
			do:       func(w *world) { w.p.Send(topicName, 0, 1).Unknown(); w.acked(0, 2); w.finals(2, 1) },
		},
		"two producers in any order": {
			producer: idempotent,
			do: func(w *world) {
				w.acked(1, 1)
				w.h.Producer(idempotent).Send(topicName, 0, 2).Acked(0)
				w.finals(2, 1)
			},
		},

		"one value twice, idempotent": {
			producer: idempotent,
			do:       func(w *world) { w.acked(0, 1); w.acked(1, 2); w.finals(1, 2, 1) },
			want:     []Kind{Duplicate},
		},
		"one unknown value twice, idempotent": {
			producer: idempotent,
			do:       func(w *world) { w.p.Send(topicName, 0, 1).Unknown(); w.finals(1, 1) },
			want:     []Kind{Duplicate},
		},
		"one value twice, acknowledged at the second": {
			producer: idempotent,
			do:       func(w *world) { w.acked(1, 1); w.finals(1, 1) },
			want:     []Kind{Duplicate},
		},
		"one value twice, not idempotent": {
			producer: careless,
			do:       func(w *world) { w.acked(0, 1); w.acked(1, 2); w.finals(1, 2, 1) },
		},
		"one value sent twice": {
			do:   func(w *world) { w.acked(0, 1, 1); w.finals(1, 1) },
			want: []Kind{RepeatedValue},
		},

		"an offset that holds nothing": {
			do: func(w *world) {
				w.acked(0, 1)
				w.acked(2, 3)
				w.final(3)
				w.read(0, 1)
				w.read(2, 3)
			},
			want: []Kind{Hole, PollSkip},
		},
		"an offset that holds a marker": {
			rules: holes,
			do: func(w *world) {
				w.acked(0, 1)
				w.acked(2, 3)
				w.final(4)
				w.read(0, 1)
				w.read(2, 3)
				w.c.Finished(topicName, 0)
			},
		},
		"markers at the end, and nobody says that it was reached": {
			rules: holes,
			do:    func(w *world) { w.acked(0, 1); w.final(2); w.read(0, 1) },
			want:  []Kind{"incomplete"},
		},
		"a claim to have reached the end where records must show it": {
			do:   func(w *world) { w.acked(0, 1); w.final(2); w.read(0, 1); w.c.Finished("t", 0) },
			want: []Kind{"incomplete"},
		},
		"nothing at the start": {
			do: func(w *world) {
				w.p.Send(topicName, 0, 1).Unknown()
				w.c.Final(topicName, 0, Range{Asked: w.h.Now(), Start: 5, End: 6})
				w.read(5, 1)
			},
			want: []Kind{Hole},
		},

		"read, and gone": {
			do: func(w *world) {
				w.acked(0, 1)
				w.p.Send(topicName, 0, 2).Unknown()
				w.read(0, 1, 2)
				w.finals(1)
			},
			want: []Kind{Vanished},
		},
		"read above the end after it was asked for": {
			do: func(w *world) {
				w.acked(0, 1)
				w.p.Send(topicName, 0, 2).Unknown()
				w.final(1)
				w.read(0, 1, 2)
			},
		},

		"aborted and read": {
			rules: holes, consumer: committed,
			do: func(w *world) {
				x := w.p.Begin()
				w.acked(0, 1)
				x.Aborted()
				w.final(2)
				w.read(0, 1)
				w.c.Finished(topicName, 0)
			},
			want: []Kind{UncommittedRead},
		},
		"aborted and read by who reads everything": {
			rules: holes,
			do: func(w *world) {
				x := w.p.Begin()
				w.acked(0, 1)
				x.Aborted()
				w.final(2)
				w.read(0, 1)
				w.c.Finished(topicName, 0)
			},
		},
		"aborted and not read": {
			rules: holes, consumer: committed,
			do: func(w *world) {
				x := w.p.Begin()
				w.acked(0, 1)
				x.Aborted()
				w.acked(2, 2)
				w.final(3)
				w.read(2, 2)
			},
		},
		"committed and not read": {
			rules: holes, consumer: committed,
			do: func(w *world) {
				x := w.p.Begin()
				w.acked(0, 1)
				x.Committing()
				x.Committed()
				w.acked(2, 2)
				w.final(3)
				w.read(2, 2)
			},
			want: []Kind{LostWrite, PollSkip},
		},
		"of an unknown commit and not read": {
			rules: holes, consumer: committed,
			do: func(w *world) {
				x := w.p.Begin()
				w.acked(0, 1)
				x.Committing()
				x.Unknown()
				w.acked(2, 2)
				w.final(3)
				w.read(2, 2)
			},
		},
		"of an unknown commit and read": {
			rules: holes, consumer: committed,
			do: func(w *world) {
				x := w.p.Begin()
				w.acked(0, 1)
				x.Committing()
				x.Unknown()
				w.final(2)
				w.read(0, 1)
				w.c.Finished(topicName, 0)
			},
		},
		"read before the commit was asked for": {
			rules: holes, consumer: committed,
			do: func(w *world) {
				x := w.p.Begin()
				w.acked(0, 1)
				w.read(0, 1)
				x.Committing()
				x.Committed()
				w.final(2)
				w.read(0, 1)
				w.c.Finished(topicName, 0)
			},
			want: []Kind{UncommittedRead},
		},
		"read after the commit was asked for and before it was answered": {
			rules: holes, consumer: committed,
			do: func(w *world) {
				x := w.p.Begin()
				w.acked(0, 1)
				x.Committing()
				w.read(0, 1)
				x.Committed()
				w.final(2)
				w.read(0, 1)
				w.c.Finished(topicName, 0)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.rules, c.producer, c.consumer)
			c.do(w)
			judged(t, w.h, c.want)
			again := copied(t, w.h)
			judged(t, again, c.want)
			if first, second := Check(w.h), Check(again); first.String() != second.String() ||
				len(first.Anomalies) != len(second.Anomalies) {
				t.Errorf("from the file: got %v, want %v", second.Err(), first.Err())
			}
		})
	}
}

// judged requires exactly these kinds of anomalies; "incomplete" is one of them here.
func judged(t *testing.T, h *History, want []Kind) {
	t.Helper()
	v := Check(h)
	got := slices.Collect(maps.Keys(v.Counts))
	if len(v.Incomplete) > 0 {
		got = append(got, "incomplete")
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v\n%v", got, want, v.Err())
	}
	if v.Valid() != (len(want) == 0) || (v.Err() == nil) != v.Valid() {
		t.Errorf("valid %t, error %v, anomalies %v", v.Valid(), v.Err(), want)
	}
}

// copied is a history by way of its file.
func copied(t testing.TB, h *History) *History {
	t.Helper()
	var file bytes.Buffer
	n, err := h.WriteTo(&file)
	if err != nil || n != int64(file.Len()) {
		t.Fatalf("write: %d of %d bytes, %v", n, file.Len(), err)
	}
	again, err := Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestAnomalyNamesItsEvidence(t *testing.T) {
	w := newWorld(t, Rules{}, idempotent, assigned)
	w.h.Fault("kill", "broker 2")
	w.acked(0, 1, 2)
	w.finals(1, 3)
	said := Check(w.h).Err().Error()
	for _, want := range []string{
		"inconsistent-offset: t-0 offsets [1] values [0000000000000002 0000000000000003]",
		`producer "p" send 1 at 4ms: acked offset 1 at 5ms`, `consumer "c" poll 0 at 7ms to 8ms`,
	} {
		if !strings.Contains(said, want) {
			t.Errorf("got %s\nwant %s", said, want)
		}
	}
}

func TestManyAnomaliesAreCountedAndFewSpelledOut(t *testing.T) {
	w := newWorld(t, Rules{}, idempotent, assigned)
	var garbage []Value
	for v := range Value(10 * AnomaliesMax) {
		garbage = append(garbage, v)
	}
	w.finals(garbage...)
	v := Check(w.h)
	if v.Counts[Garbage] != len(garbage) || len(v.Anomalies) != AnomaliesMax {
		t.Errorf("got %d counted and %d spelled out, want %d and %d", v.Counts[Garbage], len(v.Anomalies),
			len(garbage), AnomaliesMax)
	}
}

// A wild offset costs what one record costs, not what lies between.
func TestWildOffsetsAreFoundAtOnce(t *testing.T) {
	w := newWorld(t, Rules{}, idempotent, assigned)
	w.acked(0, 1)
	w.acked(1<<61, 2)
	w.final(1 << 62)
	w.read(0, 1)
	w.read(1<<61, 2)
	w.read(1<<62, 3)
	judged(t, w.h, []Kind{Hole, PollSkip, Garbage})
	w = newWorld(t, holes, idempotent, assigned)
	w.acked(0, 1)
	w.acked(7, 2)
	w.final(1 << 62)
	w.read(0, 1)
	w.read(1<<62, 3)
	judged(t, w.h, []Kind{PollSkip, Garbage, LostWrite})
}
