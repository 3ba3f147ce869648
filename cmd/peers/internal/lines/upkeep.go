package lines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

const (
	// overwrittenTopics are compacted one after the other, and are small, so that some of it falls into every window. A tenth
	// of their records stays.
	overwrittenTopics  = 32
	overwrittenRounds  = 10
	expiringPartitions = 6
	// expiringSlack is how many times longer the records take to expire than it takes until a window ends: a sample may
	// begin late.
	expiringSlack     = 3
	upkeepRecordBytes = 1 << 10
	upkeepBatchBytes  = 128 << 10
	// keepingBytesMin fills a file of the log.
	keepingBytesMin = 70_000_000

	upkeepWithin  = 2 * time.Minute
	drainedWithin = 2 * time.Minute
	drainedEvery  = 200 * time.Millisecond
	removedWithin = 30 * time.Second
)

// upkeep is what a cluster holds beside a line: topics that are written over, and one whose records expire.
type upkeep struct {
	cluster *system.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	number  int
	bytes   int64
	// age is how long records are kept, lasts how long those of the topic that expires take for it.
	age, lasts  time.Duration
	overwritten []string
	expiring    string
	extra       []string
	value       []byte
}

// newUpkeep has topics of its own in every sample.
func (r *Runner) newUpkeep(c *system.Cluster, w window) (*upkeep, error) {
	client, err := impatient(c.Servers, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchMaxBytes(upkeepBatchBytes))
	if err != nil {
		return nil, err
	}
	r.probes++
	u := &upkeep{cluster: c, client: client, admin: kadm.NewClient(client), number: r.probes, bytes: r.cfg.KeepingBytes,
		age: r.cfg.retention(), lasts: expiringSlack * w.to, value: make([]byte, upkeepRecordBytes)}
	random := rand.NewChaCha8([32]byte{}) // the same for all
	_, _ = random.Read(u.value)           // it never fails
	for i := range overwrittenTopics {
		u.overwritten = append(u.overwritten, u.name("overwritten-"+strconv.Itoa(i)))
	}
	u.expiring = u.name("expiring")
	return u, nil
}

func (u *upkeep) name(what string) string { return fmt.Sprintf("peers-%s-%d", what, u.number) }

// topic names one more, that is removed with the others.
func (u *upkeep) topic(what string) string {
	name := u.name(what)
	u.extra = append(u.extra, name)
	return name
}

// fill writes everything. What is written over is drained when it returns, since what comes after it fills a file of the
// log: only then it can be compacted. The records of the other topic begin to expire, if there is retention.
func (u *upkeep) fill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upkeepWithin+drainedWithin)
	defer cancel()
	for _, name := range u.overwritten {
		if err := create(ctx, u.client, name, 1, unlimited()); err != nil {
			return err
		}
	}
	if err := create(ctx, u.client, u.expiring, expiringPartitions, nil); err != nil {
		return err
	}
	if err := u.write(ctx, u.overwriting); err != nil {
		return fmt.Errorf("write keys over: %w", err)
	}
	first := time.Now().Add(-u.age)
	if err := u.write(ctx, func(i, n int) *kgo.Record { return u.expires(first, i, n) }); err != nil {
		return fmt.Errorf("write what expires: %w", err)
	}
	return u.awaitDrained(ctx)
}

// write sends the records that are made, all of a size, and waits for them.
func (u *upkeep) write(ctx context.Context, record func(i, n int) *kgo.Record) error {
	n := int(u.bytes / upkeepRecordBytes)
	promise := kgo.AbortingFirstErrPromise(u.client)
	for i := range n {
		u.client.Produce(ctx, record(i, n), promise.Promise())
	}
	return errors.Join(u.client.Flush(ctx), promise.Err())
}

// overwriting goes over the keys of all topics again and again.
func (u *upkeep) overwriting(i, n int) *kgo.Record {
	keys := max(1, n/overwrittenTopics/overwrittenRounds)
	return &kgo.Record{Topic: u.overwritten[i%overwrittenTopics], Value: u.value,
		Key: strconv.AppendInt(nil, int64(i/overwrittenTopics%keys), 10)}
}

// expires has a time that is over for the first record now, and for the last when the time of all is.
func (u *upkeep) expires(first time.Time, i, n int) *kgo.Record {
	return &kgo.Record{Topic: u.expiring, Partition: int32(i % expiringPartitions), Value: u.value,
		Timestamp: first.Add(time.Duration(float64(u.lasts) * float64(i) / float64(n)))}
}

func (u *upkeep) awaitDrained(ctx context.Context) error {
	const undrained = "outrigger_wal_undrained_bytes"
	ctx, cancel := context.WithTimeout(ctx, drainedWithin)
	defer cancel()
	return eventuallyEvery(ctx, drainedEvery, "see all full files drained", func() error {
		waiting, err := u.cluster.Counters(ctx, undrained)
		if err == nil && waiting[undrained] > 0 {
			err = fmt.Errorf("%g bytes wait", waiting[undrained])
		}
		return err
	})
}

// beside takes a sample of a line while the cluster does its chores, if it is one that does, and adds what they were
// in the window.
func (u *upkeep) beside(ctx context.Context, line string, w window, take func() (score.Values, error)) (score.Values, error) {
	doing, stop := context.WithCancel(ctx)
	defer stop()
	type end struct {
		seen []map[string]float64
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		seen, err := u.attend(doing, w)
		ended <- end{seen, err}
	}()
	values, err := take()
	stop()
	attended := <-ended
	if err = errors.Join(err, attended.err); err != nil {
		return nil, err
	}
	seen := attended.seen
	if len(seen) == 1 {
		last, err := u.cluster.Counters(ctx, choreCounters()...)
		if err != nil {
			return nil, err
		}
		seen = append(seen, last)
	}
	if len(seen) != 2 {
		return nil, errors.New("it was over before its window began")
	}
	done := choresBetween(seen[0], seen[1])
	maps.Copy(values, done.values(u.cluster.Name, line))
	return values, done.doubts(u.cluster.Name, line)
}

// attend does what the moments of a window ask for, until ctx ends, and returns what the counters were.
func (u *upkeep) attend(ctx context.Context, w window) (seen []map[string]float64, err error) {
	began := time.Now()
	for _, m := range w.moments(len(u.overwritten)) {
		if !system.Pause(ctx, time.Until(began.Add(m.at))) {
			break
		}
		if m.read {
			var now map[string]float64
			if now, err = u.cluster.Counters(ctx, choreCounters()...); err == nil {
				seen = append(seen, now)
			}
		} else if u.cluster.Name == system.Kept {
			err = u.compact(ctx, u.overwritten[m.topic])
		}
		if err != nil && ctx.Err() == nil {
			return seen, err
		}
	}
	return seen, nil
}

func (u *upkeep) compact(ctx context.Context, topic string) error {
	policy := "compact"
	altered, err := u.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}, topic)
	for _, one := range altered {
		err = errors.Join(err, one.Err)
	}
	if err != nil {
		return fmt.Errorf("have %s compacted: %w", topic, err)
	}
	return nil
}

// end removes the topics, also those of a sample that failed.
func (u *upkeep) end(ctx context.Context, cause error) error {
	defer u.client.Close()
	if ctx.Err() != nil {
		return cause
	}
	ctx, cancel := context.WithTimeout(ctx, removedWithin)
	defer cancel()
	deleted, err := u.admin.DeleteTopics(ctx, append(append(u.extra, u.expiring), u.overwritten...)...)
	for _, one := range deleted {
		if !errors.Is(one.Err, kerr.UnknownTopicOrPartition) {
			err = errors.Join(err, one.Err)
		}
	}
	return errors.Join(cause, err)
}
