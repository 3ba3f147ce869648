package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	chainStages     = 3
	chainPartitions = 3
	// chainTimeout is that of the transactions.
	chainTimeout = 3 * time.Second
	// chainStable is how long an offset may stand beyond that: a partition needs a leader to be told.
	chainStable = 10 * time.Second
	// chainReads is how long one topic may take to be read.
	chainReads = 30 * time.Second
	// chainJoins is how long members may take to be in their groups.
	chainJoins = 30 * time.Second
)

// chainTopic is the topic before a stage.
func chainTopic(stage int) string { return fmt.Sprint("chain-", stage) }

// chainMember names a member of a stage, and its transactions.
func chainMember(stage, number int) string { return fmt.Sprintf("stage-%d-%d", stage, number) }

// chainGroup is the group of a stage.
func chainGroup(stage int) string { return fmt.Sprint("stage-", stage) }

// chain is three stages of consumers that produce what they have read to the next topic, in transactions.
type chain struct {
	*cluster
	members sync.WaitGroup
	mu      struct {
		sync.Mutex
		// committed are the records in transactions of each member that were.
		committed map[string]int
	}
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

// join has a member of this number join each stage, until it is called to leave.
func (c *chain) join(ctx context.Context, number int) (leave context.CancelFunc) {
	ctx, leave = context.WithCancel(ctx)
	for stage := range chainStages {
		c.member(ctx, stage, number)
	}
	return leave
}

func (c *chain) session(ctx context.Context, stage, number int) error {
	name := chainMember(stage, number)
	s, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(c.kafka...), kgo.TransactionalID(name), kgo.ClientID(name),
		kgo.ConsumerGroup(chainGroup(stage)), kgo.ConsumeTopics(chainTopic(stage)),
		kgo.DefaultProduceTopic(chainTopic(stage+1)), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.SessionTimeout(2*time.Second), kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.TransactionTimeout(chainTimeout),
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
		committed, err := s.End(ctx, commit)
		if err != nil {
			return fmt.Errorf("end: %w", err)
		}
		if committed {
			c.count(name, fetches.NumRecords())
		}
	}
}

func (c *chain) count(member string, records int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.committed[member] += records
}

// worked requires that a member of each stage has committed records.
func (c *chain) worked(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for stage := range chainStages {
		if name := chainMember(stage, number); c.mu.committed[name] == 0 {
			c.t.Errorf("%s has joined and done nothing; all have committed %v", name, c.mu.committed)
		}
	}
}

// joined waits until each stage has these members and no others, and they share its partitions.
func (c *chain) joined(numbers ...int) {
	client := c.client()
	defer client.Close()
	admin := kadm.NewClient(client)
	for stage := range chainStages {
		var want []string
		for _, n := range numbers {
			want = append(want, chainMember(stage, n))
		}
		slices.Sort(want)
		c.eventually(chainJoins, fmt.Sprint("stage ", stage, " has its members"), func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			groups, err := admin.DescribeGroups(ctx, chainGroup(stage))
			if err := errors.Join(err, groups.Error()); err != nil {
				return err
			}
			g := groups[chainGroup(stage)]
			var got []string
			for _, m := range g.Members {
				got = append(got, m.ClientID)
			}
			if slices.Sort(got); g.State != "Stable" || !slices.Equal(got, want) {
				return fmt.Errorf("%s with members %v, want %v", g.State, got, want)
			}
			return nil
		})
	}
}

func (c *chain) client(options ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.kafka...), kgo.MetadataMinAge(100 * time.Millisecond)}, options...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// feed produces n records, numbered from first on, to the first topic, each once.
func (c *chain) feed(ctx context.Context, first, n int) {
	client := c.client(kgo.DefaultProduceTopic(chainTopic(0)), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
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

// arrived waits until each of n records has come out of the last stage, or ctx ends.
func (c *chain) arrived(ctx context.Context, n int) {
	client := c.client(kgo.ConsumeTopics(chainTopic(chainStages)), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	defer client.Close()
	seen := map[string]bool{}
	for len(seen) < n && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Value)] = true })
	}
	if len(seen) < n {
		c.t.Fatalf("%d of %d records have come through the chain", len(seen), n)
	}
}

// decided waits until nothing in the chain's topics is undecided.
func (c *chain) decided(within time.Duration) {
	client := c.client()
	defer client.Close()
	admin := kadm.NewClient(client)
	topics := []string{chainTopic(0), chainTopic(1), chainTopic(2), chainTopic(3)}
	c.eventually(within, "all transactions are decided", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		ends, err := admin.ListEndOffsets(ctx, topics...)
		if err := errors.Join(err, ends.Error()); err != nil {
			return err
		}
		stable, err := admin.ListCommittedOffsets(ctx, topics...)
		if err := errors.Join(err, stable.Error()); err != nil {
			return err
		}
		undecided := error(nil)
		ends.Each(func(end kadm.ListedOffset) {
			if s, ok := stable.Lookup(end.Topic, end.Partition); !ok || s.Offset != end.Offset {
				undecided = fmt.Errorf("%s/%d: last stable offset %d, end %d", end.Topic, end.Partition, s.Offset, end.Offset)
			}
		})
		return undecided
	})
}

// contents are a topic's records from its start to its end.
type contents struct {
	// counts tells how often each value is there.
	counts map[string]int
	// records counts them all; last is the offset of each partition's last one, -1 for none.
	records int
	last    [chainPartitions]int64
	end     [chainPartitions]int64
}

// read reads a topic up to the end that it has now. Markers are read, too, so that the end is seen to be reached
// whatever stands there.
func (c *chain) read(topic string, isolation kgo.IsolationLevel) contents {
	ctx, cancel := context.WithTimeout(context.Background(), chainReads)
	defer cancel()
	client := c.client(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err := errors.Join(err, ends.Error()); err != nil {
		c.t.Fatalf("ends of %s: %v", topic, err)
	}
	got, left := contents{counts: map[string]int{}}, 0
	for p := range int32(chainPartitions) {
		got.end[p], got.last[p] = ends[topic][p].Offset, -1
		if got.end[p] > 0 {
			left++
		}
	}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			c.t.Fatalf("%s: %d partitions were not read to their ends %v within %s", topic, left, got.end, chainReads)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= got.end[r.Partition] {
				return
			}
			if r.Offset == got.end[r.Partition]-1 {
				left--
			}
			if !r.Attrs.IsControl() {
				got.counts[string(r.Value)]++
				got.records++
				got.last[r.Partition] = r.Offset
			}
		})
	}
	return got
}

// exactlyOnce requires of every topic that each of n records is there once and nothing else, and of every
// stage that its group has committed what was read of it: no more is to be done, and nothing is to be done again.
func (c *chain) exactlyOnce(n int) {
	c.t.Helper()
	client := c.client()
	defer client.Close()
	admin := kadm.NewClient(client)
	for stage := range chainStages + 1 {
		topic := chainTopic(stage)
		got := c.read(topic, kgo.ReadCommitted())
		c.each(topic, got, n)
		if stage == chainStages {
			break
		}
		ctx, cancel := context.WithTimeout(context.Background(), chainReads)
		offsets, err := admin.FetchOffsets(ctx, chainGroup(stage))
		cancel()
		if err := errors.Join(err, offsets.Error()); err != nil {
			c.t.Fatalf("offsets of stage %d: %v", stage, err)
		}
		for p, last := range got.last {
			at, _ := offsets.Lookup(topic, int32(p))
			if at.At <= last || at.At > got.end[p] {
				c.t.Errorf("stage %d has committed offset %d of partition %d, whose last record is at %d and end at %d",
					stage, at.At, p, last, got.end[p])
			}
		}
	}
}

// each requires that each of n records is there once and nothing else.
func (c *chain) each(topic string, got contents, n int) {
	c.t.Helper()
	if got.records != n {
		c.t.Errorf("%s: got %d records, want %d", topic, got.records, n)
	}
	const most = 10
	wrong := 0
	for i := range n {
		if count := got.counts[fmt.Sprint(i)]; count != 1 {
			if wrong++; wrong <= most {
				c.t.Errorf("%s: record %d is there %d times, want once", topic, i, count)
			}
		}
		delete(got.counts, fmt.Sprint(i))
	}
	if len(got.counts) > 0 {
		c.t.Errorf("%s: got %v, which nobody has fed", topic, slices.Collect(maps.Keys(got.counts)))
	}
}

// aborted is how many records lie in the chain's topics that readers of committed ones must not see.
func (c *chain) aborted(n int) int {
	all := 0
	for stage := range chainStages {
		all += c.read(chainTopic(stage+1), kgo.ReadUncommitted()).records - n
	}
	return all
}
