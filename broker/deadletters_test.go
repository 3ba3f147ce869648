package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// startLetters is a broker whose group g has a dead-letter queue, with a topic of three records to share.
func startLetters(t *testing.T, edit ...func(*Config)) (*harness, *sharer) {
	t.Helper()
	h := startShares(t, edit...)
	id := h.create("work", 1)
	b := batch.NewBuilder(batch.CodecNone)
	b.Add(batch.Record{Timestamp: 1, Key: []byte("k"), Value: []byte("a"), Headers: []batch.RecordHeader{{Key: "own", Value: []byte("h")}}})
	b.Add(batch.Record{Timestamp: 1, Value: []byte("b")})
	b.Add(batch.Record{Timestamp: 1, Value: []byte("c")})
	raw, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if r := onlyProduced(h.dial().ask(produceOf(9, "work", 0, -1, raw))); r.ErrorCode != 0 {
		t.Fatalf("produce: %v", code(r.ErrorCode))
	}
	h.setGroup("g", configLetterQueue, "dead")
	s := h.sharer("g", "one", "work", id)
	s.exactly = true
	return h, s
}

// enableLetters lets dead letters into a topic.
func (h *harness) enableLetters(name string) {
	h.Helper()
	q := alterationOf(kmsg.ConfigResourceTypeTopic, name, edit(configLetterTopic, opSet, "true"))
	if got := h.dial().altered(q).ErrorCode; got != 0 {
		h.Fatalf("enable letters: %v", code(got))
	}
}

// lettersIn waits for so many letters in a topic of one partition, and returns them as text.
func (h *harness) lettersIn(name string, count int) []string {
	h.Helper()
	var all []string
	eventually(h, fmt.Sprint(count, " letters"), func() bool {
		all = nil
		read, err := h.cluster.log(h, name, 0).Read(0, 1<<20, true)
		if err != nil {
			return false
		}
		for _, raw := range read.Batches {
			for r, err := range batch.Records(raw) {
				if err != nil {
					h.Fatal(err)
				}
				said := fmt.Sprintf("%q=%q", r.Key, r.Value)
				for _, header := range r.Headers {
					said += fmt.Sprintf(" %s:%s", strings.TrimPrefix(header.Key, "__dlq.errors."), header.Value)
				}
				all = append(all, said)
			}
		}
		return len(all) >= count
	})
	return all
}

// startMoves waits until everything before an offset is done.
func (s *sharer) startMoves(to int64) {
	s.Helper()
	eventually(s, fmt.Sprint("start at ", to), func() bool {
		start, _ := s.shareOffset()
		return start == to
	})
}

// TestRecordsThatCannotBeUsedBecomeDeadLetters, rejected ones and those that were given too often, with the
// headers of KIP-1191 behind their own; what was accepted does not.
func TestRecordsThatCannotBeUsedBecomeDeadLetters(t *testing.T) {
	h, s := startLetters(t)
	h.create("dead", 1)
	h.enableLetters("dead")
	h.setGroup("g", configLetterCopies, "true")
	h.setGroup("g", configShareDeliveries, "2")
	expectGot(t, "first", s.receive(), "0:a/1 1:b/1 2:c/1 ")
	onlyCode(t, "acknowledge", int16(s.acknowledge(ackBatch(0, 2, share.Reject, share.Accept, share.ReleaseIt))))
	expectGot(t, "second", s.receive(), "2:c/2 ")
	onlyCode(t, "release", int16(s.acknowledge(ackBatch(2, 2, share.ReleaseIt))))
	got := h.lettersIn("dead", 2)
	want := []string{
		`"k"="a" own:h topic:work partition:0 offset:0 group:g delivery.count:1 message:Offset rejected by client.`,
		`""="c" topic:work partition:0 offset:2 group:g delivery.count:2 message:Offset delivery count exceeded the threshold.`,
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("letter %d:\ngot  %s\nwant %s", i, got[i], want[i])
		}
	}
	s.startMoves(3)
	if len(h.lettersIn("dead", 2)) != 2 {
		t.Error("there are more letters than records")
	}
}

// TestLettersTellOnlyWhereTheRecordWas unless copies are asked for.
func TestLettersTellOnlyWhereTheRecordWas(t *testing.T) {
	h, s := startLetters(t)
	h.create("dead", 1)
	h.enableLetters("dead")
	s.receive()
	onlyCode(t, "reject", int16(s.acknowledge(ackBatch(0, 2, share.Reject))))
	for i, letter := range h.lettersIn("dead", 3) {
		if want := fmt.Sprintf(`""="" topic:work partition:0 offset:%d group:g`, i); !strings.HasPrefix(letter, want) {
			t.Errorf("letter %d: got %s, want %s", i, letter, want)
		}
	}
}

// TestUselessQueueHoldsNobodyUp: one that is not there, is not for letters, or refuses them. The records are
// archived, and counted.
func TestUselessQueueHoldsNobodyUp(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(*harness)
		lost float64
	}{
		{"not there", func(*harness) {}, 3},
		{"not for letters", func(h *harness) { h.create("dead", 1) }, 3},
		{"refuses what has no key", func(h *harness) {
			h.create("dead", 1)
			h.enableLetters("dead")
			h.setGroup("g", configLetterCopies, "true")
			onlyCode(t, "compact", h.dial().altered(alterationOf(kmsg.ConfigResourceTypeTopic, "dead",
				edit(configCleanupPolicy, opSet, "compact"))).ErrorCode)
		}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, s := startLetters(t)
			test.make(h)
			s.receive()
			onlyCode(t, "reject", int16(s.acknowledge(ackBatch(0, 2, share.Reject))))
			s.startMoves(3)
			if got := h.metric("outrigger_dead_letters_lost_total"); got != test.lost {
				t.Errorf("lost letters: got %v, want %v", got, test.lost)
			}
			if test.lost == 2 {
				h.lettersIn("dead", 1)
			}
		})
	}
}

// TestQueueIsMadeIfThatIsAllowed, for letters.
func TestQueueIsMadeIfThatIsAllowed(t *testing.T) {
	h, s := startLetters(t, func(c *Config) { c.Shares.LetterTopics = true })
	s.receive()
	onlyCode(t, "reject", int16(s.acknowledge(ackBatch(1, 1, share.Reject))))
	eventually(t, "a topic", func() bool {
		made, ok := h.cluster.View().TopicByName("dead")
		return ok && h.settingsOf(h.cluster.View(), made).letters
	})
	s.startMoves(0)
	onlyCode(t, "accept", int16(s.acknowledge(ackBatch(0, 0, share.Accept), ackBatch(2, 2, share.Accept))))
	s.startMoves(3)
}

// TestLettersWaitForTheirQueue, while nobody leads it: a record is done when its letter is written, not before.
func TestLettersWaitForTheirQueue(t *testing.T) {
	h, s := startLetters(t)
	id := h.create("dead", 1)
	h.enableLetters("dead")
	led := func(by topic.NodeID) {
		h.cluster.publish(func(v *soleView) {
			for i, known := range v.topics {
				if known.ID == id {
					changed, placement := *known, *known.Partitions[0]
					placement.Leader = by
					changed.Partitions = []*topic.Placement{&placement}
					v.topics[i] = &changed
				}
			}
		})
	}
	node := mustTopic(h, "dead").Partitions[0].Leader
	led(topic.NoNode)
	s.receive()
	onlyCode(t, "reject", int16(s.acknowledge(ackBatch(0, 2, share.Reject))))
	p := h.shares.find(share.Key{Group: "g", Topic: s.topic})
	eventually(t, "letters", p.hasLetters)
	if h.letters.write(deadline(t), p) {
		t.Error("letters are written, or given up, while nobody leads their queue")
	}
	if start, lag := s.shareOffset(); start != 0 || lag != 3 {
		t.Errorf("got start %d, lag %d, want 0 and 3", start, lag)
	}
	led(node)
	s.startMoves(3)
	h.lettersIn("dead", 3)
}

// TestQueueMustBeATopicOfLetters: names that could never be one are refused when they are set.
func TestQueueMustBeATopicOfLetters(t *testing.T) {
	h := startShares(t, func(c *Config) { c.Shares.LetterPrefix = "dlq." })
	c := h.dial()
	for name, want := range map[string]code{
		"dlq.x": codeNone, "": codeNone, "x": codeInvalidConfig, "dlq.a/b": codeInvalidConfig, "__dlq": codeInvalidConfig,
		"dlq." + strings.Repeat("x", 250): codeInvalidConfig,
	} {
		q := alterationOf(kmsg.ConfigResourceTypeGroupConfig, "g", edit(configLetterQueue, opSet, name))
		expectCode(t, fmt.Sprintf("%.10s", name), c.altered(q).ErrorCode, want)
	}
}

// TestQueueOfANameThatIsNoLongerAllowedTakesNoLetters: the broker's prefix may have become another one since the
// group's config was judged. What was not allowed then is not now, either.
func TestQueueOfANameThatIsNoLongerAllowedTakesNoLetters(t *testing.T) {
	h := startShares(t, func(c *Config) { c.Shares.LetterPrefix = "dlq." })
	for _, name := range []string{"dlq.x", "x"} {
		h.create(name, 1)
		h.enableLetters(name)
	}
	for name, useful := range map[string]bool{"dlq.x": true, "x": false, "": false, "__dlq": false, "dlq.a/b": false} {
		_, err := h.letters.queue(deadline(t), share.Key{Group: "g"}, name)
		if useful && err != nil || !useful && !errors.Is(err, errNoLetters) {
			t.Errorf("%q: got %v, want that it takes letters: %v", name, err, useful)
		}
	}
}
