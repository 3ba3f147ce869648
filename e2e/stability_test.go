package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// watchedPartition is one whose last stable offset is looked at.
type watchedPartition struct {
	topic     string
	partition int32
}

// stability tells how long last stable offsets stand still below the ends of their partitions. In doubt it
// is for the brokers: a time begins when an answer has come, and ends when the next question is asked.
type stability struct {
	limit time.Duration
	// open are the partitions below whose end the offset was when it was last told.
	open map[watchedPartition]standing
	// told counts the answers.
	told    map[watchedPartition]int
	longest time.Duration
	// stuck are those that have stood for longer than the limit, each with how it stood then.
	stuck map[watchedPartition]string
}

// standing is a last stable offset, and since when it is known to stand there.
type standing struct {
	offset int64
	since  time.Duration
}

func newStability(limit time.Duration) *stability {
	return &stability{limit: limit, open: map[watchedPartition]standing{}, told: map[watchedPartition]int{}, stuck: map[watchedPartition]string{}}
}

// see takes what a leader has told, first its last stable offset and then its end, and when its answer had come. A
// leader that tells a lower offset than the one before it has not moved it on.
func (s *stability) see(at watchedPartition, stable, end int64, answered time.Duration) {
	s.told[at]++
	was, open := s.open[at]
	switch {
	case stable >= end:
		delete(s.open, at)
	case !open || stable > was.offset:
		s.open[at] = standing{stable, answered}
	}
}

// judge looks who has stood for too long at a time. A partition that tells nothing stands where it was.
func (s *stability) judge(now time.Duration) {
	for at, o := range s.open {
		stood := now - o.since
		s.longest = max(s.longest, stood)
		if stood > s.limit {
			s.stuck[at] = fmt.Sprintf("%s/%d stands at its last stable offset %d for %s", at.topic, at.partition, o.offset,
				stood.Round(time.Millisecond))
		}
	}
}

const (
	stabilityEvery = 200 * time.Millisecond
	// stabilityWithin is how long a question waits for leaders, of which some are dead.
	stabilityWithin = 2 * time.Second
)

// watchStability asks for the last stable offsets of topics until end is called, the first time, which returns what was seen.
func (c *cluster) watchStability(limit time.Duration, topics ...string) (end func() *stability) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	s, admin, began := newStability(limit), kadm.NewClient(client), time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(stabilityEvery)
		defer ticker.Stop()
		for {
			asked := time.Since(began)
			stable := listed(ctx, admin.ListCommittedOffsets, topics)
			for at, last := range listed(ctx, admin.ListEndOffsets, topics) {
				if offset, ok := stable[at]; ok {
					s.see(at, offset, last, time.Since(began))
				}
			}
			s.judge(asked)
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return sync.OnceValue(func() *stability {
		cancel()
		running.Wait()
		client.Close()
		return s
	})
}

// listed are the offsets that leaders tell in time; who leads a partition that is not among them is dead, or new.
func listed(
	ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string,
) map[watchedPartition]int64 {
	ctx, cancel := context.WithTimeout(ctx, stabilityWithin)
	defer cancel()
	found, _ := list(ctx, topics...) // what some leaders have told comes beside the error of others
	offsets := map[watchedPartition]int64{}
	found.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Partition >= 0 {
			offsets[watchedPartition{o.Topic, o.Partition}] = o.Offset
		}
	})
	return offsets
}

func TestOffsetsThatStandStillAreSeen(t *testing.T) {
	at, other := watchedPartition{"t", 0}, watchedPartition{"t", 1}
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	for _, c := range []struct {
		what string
		run  func(s *stability)
		want []watchedPartition
	}{
		{"decided all the time", func(s *stability) {
			s.see(at, 5, 5, second(0))
			s.judge(second(100))
		}, nil},
		{"decided in time", func(s *stability) {
			s.see(at, 5, 9, second(0))
			s.judge(second(10))
			s.see(at, 9, 9, second(11))
			s.judge(second(30))
		}, nil},
		{"one transaction after another", func(s *stability) {
			for i := range 10 {
				s.see(at, int64(i), 20, second(9*i))
				s.judge(second(9 * i))
			}
		}, nil},
		{"stuck", func(s *stability) {
			s.see(at, 5, 9, second(0))
			s.see(other, 5, 5, second(0))
			s.see(at, 5, 12, second(11))
			s.judge(second(11))
		}, []watchedPartition{at}},
		{"stuck, and then decided", func(s *stability) {
			s.see(at, 5, 9, second(0))
			s.judge(second(11))
			s.see(at, 9, 9, second(12))
			s.judge(second(12))
		}, []watchedPartition{at}},
		{"stuck, and a new leader goes back", func(s *stability) {
			s.see(at, 5, 9, second(0))
			s.see(at, 3, 9, second(5))
			s.see(at, 5, 9, second(8))
			s.judge(second(11))
		}, []watchedPartition{at}},
		{"stuck, and then nobody leads it", func(s *stability) {
			s.see(at, 5, 9, second(0))
			s.judge(second(11))
		}, []watchedPartition{at}},
	} {
		s := newStability(10 * time.Second)
		c.run(s)
		var got []watchedPartition
		for at := range s.stuck {
			got = append(got, at)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v stuck, want %v", c.what, got, c.want)
		}
	}
}
