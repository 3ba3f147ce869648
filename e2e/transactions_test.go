package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// chainTopic is the topic before a stage.
func chainTopic(stage int) string { return fmt.Sprint("chain-", stage) }

// chain is three stages of consumers that produce what they have read to the next topic, in transactions.
type chain struct {
	*cluster
	members sync.WaitGroup
}

// member runs one member of a stage until ctx ends. One whose transaction is lost, since it timed out or its
// outcome cannot be known, begins again as a program would that restarts.
func (c *chain) member(ctx context.Context, stage, number int) {
	c.members.Go(func() {
		for ctx.Err() == nil {
			if err := c.session(ctx, stage, number); err != nil && ctx.Err() == nil {
				c.t.Logf("stage %d, member %d begins again: %v", stage, number, err)
			}
		}
	})
}

func (c *chain) session(ctx context.Context, stage, number int) error {
	s, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(c.kafka...), kgo.TransactionalID(fmt.Sprintf("stage-%d-%d", stage, number)),
		kgo.ConsumerGroup(fmt.Sprint("stage-", stage)), kgo.ConsumeTopics(chainTopic(stage)),
		kgo.DefaultProduceTopic(chainTopic(stage+1)), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.SessionTimeout(2*time.Second), kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.TransactionTimeout(3*time.Second),
	)
	if err != nil {
		return err
	}
	defer s.Close()
	for round := 0; ; round++ {
		fetches := s.PollRecords(ctx, 50)
		if ctx.Err() != nil {
			return nil
		}
		if err := s.Begin(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		broken := kgo.AbortingFirstErrPromise(s.Client())
		fetches.EachRecord(func(r *kgo.Record) { s.Produce(ctx, &kgo.Record{Value: r.Value}, broken.Promise()) })
		commit := kgo.TransactionEndTry(broken.Err() == nil && round%9 != 4)
		if _, err := s.End(ctx, commit); err != nil {
			return fmt.Errorf("end: %w", err)
		}
	}
}

// feed produces n records, numbered from first on, to the first topic, each once.
func (c *chain) feed(ctx context.Context, first, n int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.DefaultProduceTopic(chainTopic(0)),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	for i := range n {
		client.Produce(ctx, kgo.StringRecord(fmt.Sprint(first+i)), func(_ *kgo.Record, err error) {
			if err != nil && !errors.Is(err, context.Canceled) {
				c.t.Errorf("feed: %v", err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		c.t.Errorf("feed: %v", err)
	}
}

// collect reads the last topic until each of the n records has come, and returns how often each has.
func (c *chain) collect(ctx context.Context, n int) map[string]int {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.ConsumeTopics(chainTopic(3)),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	seen := map[string]int{}
	for len(seen) < n && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
	}
	if len(seen) < n {
		c.t.Fatalf("%d of %d records have come through the chain", len(seen), n)
	}
	return seen
}

// decided waits until nothing in the chain's topics is undecided.
func (c *chain) decided(within time.Duration) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics := []string{chainTopic(0), chainTopic(1), chainTopic(2), chainTopic(3)}
	c.eventually(within, "all transactions are decided", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		ends, err := admin.ListEndOffsets(ctx, topics...)
		if err != nil {
			return err
		}
		stable, err := admin.ListCommittedOffsets(ctx, topics...)
		if err != nil {
			return err
		}
		undecided := error(nil)
		ends.Each(func(end kadm.ListedOffset) {
			if s, _ := stable.Lookup(end.Topic, end.Partition); s.Err != nil || s.Offset != end.Offset {
				undecided = fmt.Errorf("%s/%d: last stable offset %d, end %d, %w", end.Topic, end.Partition, s.Offset, end.Offset, s.Err)
			}
		})
		return undecided
	})
}

// TestExactlyOnceChainSurvivesKilledBrokers: every input comes through three stages of transactions once,
// while brokers are killed with -9 and a member of each stage leaves. OUTRIGGER_CHAIN, a duration, makes it
// go on for so long, with a kill every few seconds.
func TestExactlyOnceChainSurvivesKilledBrokers(t *testing.T) {
	records, kills := 1_000, 1
	long, err := time.ParseDuration(os.Getenv("OUTRIGGER_CHAIN"))
	if err == nil {
		kills = max(2, int(long/(4*time.Second)))
		records = 1_000 * kills
	}
	c := &chain{cluster: start(t, options{restart: true, args: []string{"--set", "group.min.session.timeout.ms=2000"}})}
	for stage := range 4 {
		c.createTopic(0, chainTopic(stage), 3, 3)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+2*long)
	defer cancel()
	leaving, leave := context.WithCancel(ctx)
	for stage := range 3 {
		c.member(ctx, stage, 0)
		c.member(leaving, stage, 1)
	}
	for i := range kills {
		c.feed(ctx, i*records/kills, records/kills)
		victim := rand.IntN(3)
		c.signal(victim, syscall.SIGKILL)
		if i == 0 {
			leave()
		}
		c.serves(victim)
	}
	began := time.Now()
	for value, count := range c.collect(ctx, records) {
		if count != 1 {
			t.Errorf("%s: got %d times, want once", value, count)
		}
	}
	t.Logf("%d records came through, the last %v after the last kill", records, time.Since(began).Round(time.Millisecond))
	cancel()
	leave()
	c.members.Wait()
	c.decided(20 * time.Second)
	if all := c.collect(context.Background(), records); len(all) != records {
		t.Errorf("records at the end: got %d, want %d", len(all), records)
	}
}
