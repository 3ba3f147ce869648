package e2e

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A compacted topic is written over and over, with a broker away for the middle part of it, and offsets are
// committed all the while. Logs become small on every broker, the one that was away is filled from logs that
// were compacted meanwhile, and after the kill of all a reader finds the newest value of every key, and no
// key that was deleted; so does the coordinator, who reads its offsets from a compacted topic.
func TestCompactedTopicKeepsTheNewest(t *testing.T) {
	const keys, rounds, value, partitions = 200, 42, 1 << 10, 2
	c := start(t, options{args: []string{"--set", "wal.file.bytes=1048576", "--set", "wal.retained.bytes=8388608",
		"--set", "message.max.bytes=131072", "--set", "log.cleaner.backoff.ms=300",
		"--set", "log.cleaner.min.cleanable.ratio=0.1", "--set", "offsets.topic.num.partitions=2"}})
	c.run("topic", "create", "state", "--partitions", fmt.Sprint(partitions), "--replication-factor", "3",
		"--config", "cleanup.policy=compact", "--config", "delete.retention.ms=0", "--bootstrap-server", c.kafka[0])
	c.createTopic(0, "elsewhere", 100, 1)
	w := &overwriter{t: t, cluster: c, keys: keys, value: value, want: map[string]string{}}
	w.write(rounds / 3)
	away := (c.controller() + 1) % 3
	pid := c.pid(away)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.write(rounds / 3)
	c.eventually(30*time.Second, "the logs of the others are compacted", func() error {
		return c.compacted((away+1)%3, rounds/3*keys*value/2)
	})
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.healthy(time.Minute)
	w.write(rounds / 3)
	for i := range c.http {
		c.eventually(30*time.Second, "every log is compacted", func() error { return c.small(i, "state", rounds*keys*value/2) })
	}
	w.check()

	c.kill9()
	c.launch()
	c.healthy(30 * time.Second)
	w.check()
}

// compacted wants that a broker's logs have become smaller by so many bytes.
func (c *cluster) compacted(i, bytes int) error {
	if saved := c.metric(i, "outrigger_compaction_saved_bytes_total"); saved < float64(bytes) {
		return fmt.Errorf("broker %d: compaction has saved %v bytes, want %d", i+1, saved, bytes)
	}
	return nil
}

// small wants a topic to take up little on a broker.
func (c *cluster) small(i int, topic string, bytes int64) error {
	size, found, err := c.sizeOn(i, topic)
	if err != nil {
		return err
	}
	if !found || size > bytes {
		return fmt.Errorf("broker %d has %d bytes of %s (%v), want at most %d", i+1, size, topic, found, bytes)
	}
	return nil
}

// sizeOn is what a topic takes up on a broker, and whether it is there.
func (c *cluster) sizeOn(i int, topic string) (size int64, found bool, err error) {
	dirs, err := c.admin(i).DescribeAllLogDirs(within(c.t, 5*time.Second), nil)
	if err != nil {
		return 0, false, err
	}
	dirs[int32(i+1)].EachPartition(func(p kadm.DescribedLogDirPartition) {
		if p.Topic == topic {
			size, found = size+p.Size, true
		}
	})
	return size, found, nil
}

// overwriter writes the same keys again and again.
type overwriter struct {
	t       *testing.T
	cluster *cluster
	keys    int
	value   int
	round   int
	want    map[string]string
}

// write goes over all keys so many times, and commits an offset each time. Every tenth key is deleted.
func (w *overwriter) write(rounds int) {
	w.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.kafka...), kgo.DefaultProduceTopic("state"),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(64<<10))
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	ctx := within(w.t, 2*time.Minute)
	for range rounds {
		w.round++
		for key := range w.keys {
			r := &kgo.Record{Key: fmt.Appendf(nil, "key-%d", key)}
			delete(w.want, string(r.Key))
			if key%10 != w.round%10 {
				r.Value = fmt.Appendf(nil, "%-*d", w.value, w.round)
				w.want[string(r.Key)] = string(r.Value)
			}
			client.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil {
					w.t.Errorf("produce: %v", err)
				}
			})
		}
		if err := client.Flush(ctx); err != nil {
			w.t.Fatal(err)
		}
		offsets := kadm.Offsets{}
		for p := range int32(100) {
			offsets.AddOffset("elsewhere", p, int64(w.round), -1)
		}
		if err := kadm.NewClient(client).CommitAllOffsets(ctx, "accountant", offsets); err != nil {
			w.t.Fatalf("commit: %v", err)
		}
	}
}

// check reads the topic from its start to its end, and the committed offsets.
func (w *overwriter) check() {
	w.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.kafka...), kgo.ConsumeTopics("state"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	ctx := within(w.t, time.Minute)
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, "state")
	if err != nil {
		w.t.Fatal(err)
	}
	got, read, deleted := map[string]string{}, 0, 0
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { left[o.Partition] = o.Offset })
	for len(left) > 0 && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(topic string, p int32, err error) { w.t.Fatalf("fetch %s-%d: %v", topic, p, err) })
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			got[string(r.Key)] = string(r.Value)
			if r.Value == nil {
				delete(got, string(r.Key))
				deleted++
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	if !maps.Equal(got, w.want) {
		w.t.Fatalf("read %d keys, want %d: %v", len(got), len(w.want), context.Cause(ctx))
	}
	w.t.Logf("%d records and tombstones read (%d) for %d keys that were written %d times", read, deleted, w.keys, w.round)
	committed, err := kadm.NewClient(client).FetchOffsets(ctx, "accountant")
	if err != nil || len(committed) == 0 {
		w.t.Fatalf("fetch offsets: %v", err)
	}
	committed.Each(func(o kadm.OffsetResponse) {
		if o.At != int64(w.round) {
			w.t.Errorf("committed offset of %s-%d: got %d, want %d", o.Topic, o.Partition, o.At, w.round)
		}
	})
	if len(committed["elsewhere"]) != 100 {
		w.t.Errorf("%d committed offsets, want 100", len(committed["elsewhere"]))
	}
}

// `outrigger status` names the log that a broker compacts, and how far it is, while it does.
func TestStatusNamesTheLogThatIsCompacted(t *testing.T) {
	c := start(t, options{brokers: 1, args: []string{"--set", "wal.file.bytes=1048576", "--set", "wal.retained.bytes=8388608",
		"--set", "message.max.bytes=131072", "--set", "log.cleaner.backoff.ms=300", "--set", "log.cleaner.min.cleanable.ratio=0.1",
		"--set", "log.cleaner.io.max.bytes.per.second=200000", "--set", "offsets.topic.num.partitions=1"}})
	c.run("topic", "create", "state", "--partitions", "1", "--replication-factor", "1", "--config", "cleanup.policy=compact",
		"--bootstrap-server", c.kafka[0])
	c.createTopic(0, "elsewhere", 100, 1)
	w := &overwriter{t: t, cluster: c, keys: 200, value: 1 << 10, want: map[string]string{}}
	w.write(40)
	line := regexp.MustCompile(`(?m)^broker 1 compacts state-0: \d+ % of [1-9]\d* bytes, \d+ logs come after it$`)
	c.eventually(time.Minute, "status tells of the compaction", func() error {
		if out := c.run("status", "--nats", c.nats[0]); !line.MatchString(out) {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	})
}
