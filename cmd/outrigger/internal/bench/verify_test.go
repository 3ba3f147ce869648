package bench

import (
	"errors"
	"strings"
	"testing"
	"time"

	"outrigger/e2e/history"
)

// judged is the verification of a run in which what was acknowledged was read as told.
func judged(t *testing.T, acks string, tell func(*history.Producer, *history.Consumer)) Verification {
	t.Helper()
	h := history.New(history.Config{Rules: history.Rules{Retention: true}})
	p := h.Producer(history.ProducerConfig{Name: "p", Idempotent: true})
	c := h.Consumer(history.ConsumerConfig{Name: "c"})
	tell(p, c)
	return verificationOf(history.Check(h), acks)
}

func TestVerificationWantsEveryAcknowledgedRecordOnce(t *testing.T) {
	final := func(h history.Range, values ...history.Value) func(*history.Consumer) {
		h.Asked = time.Hour // after every answer
		return func(c *history.Consumer) {
			c.Final("t", 0, h)
			c.Poll()
			for i, v := range values {
				c.Read("t", 0, h.Start+int64(i), v)
			}
			c.Done()
		}
	}
	for _, test := range []struct {
		name, acks string
		ok         bool
		sent       map[history.Value]int64
		read       func(*history.Consumer)
	}{
		{name: "all read", acks: acksAll, ok: true, sent: map[history.Value]int64{7: 5}, read: final(history.Range{Start: 5, End: 6}, 7)},
		{name: "never read", acks: acksAll, sent: map[history.Value]int64{7: 5}, read: final(history.Range{Start: 5, End: 5})},
		{name: "deleted before it was read", acks: acksAll, sent: map[history.Value]int64{7: 5}, read: final(history.Range{Start: 6, End: 6})},
		{name: "read at another offset", acks: acksAll, sent: map[history.Value]int64{7: 5}, read: final(history.Range{Start: 6, End: 7}, 7)},
		{name: "another value", acks: acksAll, sent: map[history.Value]int64{7: 5}, read: final(history.Range{Start: 5, End: 6}, 8)},
		{name: "read twice", acks: acksAll, sent: map[history.Value]int64{7: 5}, read: final(history.Range{Start: 5, End: 7}, 7, 7)},
		{name: "no final polls", acks: acksAll, sent: map[history.Value]int64{7: 5}, read: func(*history.Consumer) {}},
		{name: "nothing acknowledged", acks: acksAll, read: func(*history.Consumer) {}},
		{name: "nobody asked for acknowledgements", acks: acksNone, ok: true, read: func(*history.Consumer) {}},
	} {
		v := judged(t, test.acks, func(p *history.Producer, c *history.Consumer) {
			for value, offset := range test.sent {
				p.Send("t", 0, value).Acked(offset)
			}
			test.read(c)
		})
		if v.OK != test.ok {
			t.Errorf("%s: got %+v, want ok %t", test.name, v, test.ok)
		}
		if !v.OK && (len(v.Wrong) == 0 || !errors.Is(v.err(), ErrVerification)) {
			t.Errorf("%s: got %+v and %v, want to be told why", test.name, v, v.err())
		}
	}
}

func TestAcknowledgedIsReachedWhenEveryEndIs(t *testing.T) {
	var run sharedAcknowledged
	one, two := make(acknowledged, 2), make(acknowledged, 2)
	one.add(0, 9)
	one.add(0, 3) // answers come in any order
	two.add(0, 5)
	two.add(1, 0)
	run.merge(one)
	run.merge(two)
	for _, c := range []struct {
		ends [2]int64
		want bool
	}{{[2]int64{10, 1}, true}, {[2]int64{9, 1}, false}, {[2]int64{10, 0}, false}, {[2]int64{11, 2}, true}} {
		bounds := map[int32]history.Range{0: {End: c.ends[0]}, 1: {End: c.ends[1]}}
		if got := run.mu.ends.reachedBy(bounds); got != c.want {
			t.Errorf("got %t for ends %v of acknowledged %v, want %t", got, c.ends, run.mu.ends, c.want)
		}
	}
}

func TestForeignRecordsAreCountedAndOrdered(t *testing.T) {
	b := &bench{}
	if v := b.judgeReads(10, 10); !v.OK || !strings.Contains(v.Text, "each once") {
		t.Errorf("got %+v, want it to be well", v)
	}
	b.gaps.Add(1)
	if v := b.judgeReads(10, 9); !v.OK || !strings.Contains(v.Text, "1 jumps") {
		t.Errorf("got %+v, want a topic with holes to be told of", v)
	}
	if v := b.judgeReads(10, 11); v.OK {
		t.Errorf("got %+v, want more records than offsets to be wrong", v)
	}
}
