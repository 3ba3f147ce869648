package fetchsession

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// asked names partitions of one topic.
func asked(topic string, indexes ...int32) []kmsg.FetchRequestTopic {
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	for _, index := range indexes {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = index
		t.Partitions = append(t.Partitions, p)
	}
	return []kmsg.FetchRequestTopic{t}
}

func forgotten(topic string, indexes ...int32) []kmsg.FetchRequestForgottenTopic {
	return []kmsg.FetchRequestForgottenTopic{{Topic: topic, Partitions: indexes}}
}

// names are the partitions of a session in order.
func names(s *Session) []string {
	var all []string
	for _, p := range s.Partitions() {
		all = append(all, fmt.Sprintf("%s%d", p.Topic, p.Asked.Partition))
	}
	return all
}

func several(n int) []kmsg.FetchRequestTopic {
	var indexes []int32
	for i := range n {
		indexes = append(indexes, int32(i))
	}
	return asked("t", indexes...)
}

func expectNames(t *testing.T, s *Session, want ...string) {
	t.Helper()
	if got := names(s); !slices.Equal(got, want) {
		t.Errorf("partitions: got %v, want %v", got, want)
	}
}

func answer(highWatermark int64, failure int16) *kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.ErrorCode = highWatermark, highWatermark, 0, failure
	return &p
}

func TestSessionChangesOnlyWithTheRightEpoch(t *testing.T) {
	c := NewCache(Config{Slots: 2, Partitions: 10, EvictionMillis: 100})
	s := c.Open(0, false, asked("a", 0, 1))
	for _, wrong := range []int32{0, 2, -5, math.MaxInt32} {
		if s.Begin(wrong, asked("b", 0), forgotten("a", 0)) {
			t.Errorf("epoch %d: taken, want 1 only", wrong)
		}
	}
	expectNames(t, s, "a0", "a1")
	if !s.Begin(1, asked("b", 0), forgotten("a", 0)) {
		t.Fatal("epoch 1: refused")
	}
	expectNames(t, s, "a1", "b0")
	if s.Begin(1, nil, nil) || !s.Begin(2, nil, forgotten("none", 7)) {
		t.Error("epochs: want 2 after 1")
	}
	s.epoch = math.MaxInt32
	if !s.Begin(math.MaxInt32, nil, nil) || !s.Begin(1, nil, nil) {
		t.Error("epochs: want 1 after the largest")
	}
}

func TestAnswersTellOnlyWhatIsNew(t *testing.T) {
	c := NewCache(Config{Slots: 1, Partitions: 10, EvictionMillis: 100})
	s := c.Open(0, false, asked("a", 0, 1, 2))
	p := s.Find("a", [16]byte{}, 0)
	for i, step := range []struct {
		answer *kmsg.FetchResponseTopicPartition
		bytes  int
		want   bool
	}{
		{answer(5, 0), 0, true}, {answer(5, 0), 0, false}, {answer(5, 0), 10, true}, {answer(5, 0), 0, false},
		{answer(6, 0), 0, true}, {answer(6, 6), 0, true}, {answer(6, 6), 0, true}, {answer(6, 0), 0, true},
		{answer(6, 0), 0, false},
	} {
		if got := s.Settle(p, step.answer, step.bytes); got != step.want {
			t.Errorf("step %d: told: got %v, want %v", i, got, step.want)
		}
	}
	expectNames(t, s, "a1", "a2", "a0")
	moved := answer(6, 0)
	moved.LogStartOffset = 3
	if !s.Settle(p, moved, 0) {
		t.Error("log start moved: not told")
	}
	// A partition that was forgotten while its answer was under way does not come back.
	s.Begin(1, nil, forgotten("a", 0))
	s.Settle(p, answer(7, 0), 10)
	expectNames(t, s, "a1", "a2")
}

func TestPartitionsAreFoundAsTheClientNamesThem(t *testing.T) {
	c := NewCache(Config{Slots: 1, Partitions: 10, EvictionMillis: 100})
	byID := asked("", 0)
	byID[0].TopicID = [16]byte{1}
	other := asked("", 0)
	other[0].TopicID = [16]byte{2}
	s := c.Open(0, true, append(byID, other...))
	if s.Len() != 2 || s.Find("", [16]byte{2}, 0).ID != [16]byte{2} || s.Find("", [16]byte{3}, 0) != nil {
		t.Errorf("got %d partitions, want two of the same number", s.Len())
	}
}

// TestEvictionFollowsKIP227: idle sessions go first, then smaller ones that have had their time.
func TestEvictionFollowsKIP227(t *testing.T) {
	c := NewCache(Config{Slots: 2, Partitions: 100, EvictionMillis: 100})
	small, large := c.Open(0, false, several(2)), c.Open(0, false, several(5))
	if c.Open(50, false, several(9)) != nil {
		t.Error("both are young: want no room")
	}
	c.Used(small, 90)
	c.Used(large, 90)
	if c.Open(101, false, several(2)) != nil {
		t.Error("nobody is smaller: want no room")
	}
	third := c.Open(101, false, several(3))
	if third == nil || c.Find(small.ID) != nil || c.Find(large.ID) == nil {
		t.Fatal("want the smallest replaced by a larger one")
	}
	if c.Used(small, 110) {
		t.Error("an evicted session goes on")
	}
	if c.Open(191, false, several(1)) == nil || c.Find(large.ID) != nil || c.Evictions() != 2 {
		t.Error("want the idle one replaced, whatever its size")
	}
	for _, none := range []*Cache{
		NewCache(Config{Slots: 0, Partitions: 5}), NewCache(Config{Slots: 5, Partitions: 1}),
	} {
		if none.Open(0, false, several(2)) != nil {
			t.Error("no room at all: got a session")
		}
	}
	if c.Open(1000, false, nil) != nil {
		t.Error("nothing asked for: got a session")
	}
}

// TestCacheKeepsItsBounds plays at random against a model of plain counting.
func TestCacheKeepsItsBounds(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		c := NewCache(Config{Slots: 4, Partitions: 20, EvictionMillis: 30, Seed: seed})
		var sessions []*Session
		epochs := map[*Session]int32{}
		now := int64(0)
		for range 500 {
			now += r.Int64N(10)
			if len(sessions) == 0 || r.IntN(4) == 0 {
				if s := c.Open(now, false, several(r.IntN(9))); s != nil {
					sessions, epochs[s] = append(sessions, s), 1
				}
				continue
			}
			s := sessions[r.IntN(len(sessions))]
			switch alive := c.Find(s.ID) == s; {
			case r.IntN(20) == 0:
				c.Close(s.ID)
			case alive:
				if !s.Begin(epochs[s], asked("u", r.Int32N(9)), forgotten("t", r.Int32N(9))) {
					t.Fatalf("seed %d: epoch %d refused", seed, epochs[s])
				}
				epochs[s]++
				if goesOn := c.Used(s, now); goesOn != (c.Find(s.ID) == s) {
					t.Fatalf("seed %d: goes on: got %v", seed, goesOn)
				}
			case c.Used(s, now):
				t.Fatalf("seed %d: an ended session goes on", seed)
			}
			total, live := 0, 0
			for _, s := range sessions {
				if c.Find(s.ID) == s {
					total, live = total+s.Len(), live+1
				}
			}
			if total != c.Partitions() || live != c.Len() || total > 20 || live > 4 {
				t.Fatalf("seed %d: got %d sessions of %d partitions, want %d of %d within 4 and 20",
					seed, c.Len(), c.Partitions(), live, total)
			}
		}
	}
}
