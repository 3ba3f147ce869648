package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

// bench is one run of Run.
type bench struct {
	o       Options
	started time.Time
	target  *cluster
	admin   *kgo.Client

	topic      string
	partitions int
	// made: the topic is ours, and is deleted at the end.
	made bool

	payloads *payloads
	history  *history.History
	// producersMade numbers the producers of all loads, so that their values differ.
	producersMade atomic.Int64

	acknowledged sharedAcknowledged

	processes *processes
	failures  *counter
	retries   *counter
	sockets   *socketErrors
	batches   *batches
	gaps      atomic.Int64
	live      *live
}

// ErrVerification: the cluster did not keep what it had acknowledged, or it cannot be said that it did.
var ErrVerification = errors.New("verification failed")

// Run measures, and writes the report. It fails if the cluster cannot be measured, and if what was
// measured does not stand: then the report is written all the same.
func Run(ctx context.Context, o Options) (err error) {
	o.Flags = o.withDefaults()
	if err := o.Validate(); err != nil {
		return err
	}
	b := &bench{o: o, started: time.Now(), failures: newCounter(), retries: newCounter(), sockets: newSocketErrors(),
		batches: &batches{}, live: newLive(o.Err, o.Outputs.Quiet)}
	if b.target, err = openTarget(ctx, o); err != nil {
		return interrupted(ctx, err)
	}
	b.processes = newProcesses(b.target.pids)
	failed := true
	defer func() {
		err = b.target.close(interrupted(ctx, err), failed && ctx.Err() == nil)
	}()
	if b.admin, err = kgo.NewClient(b.clientOptions(false)...); err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	defer b.admin.Close()
	report, err := b.measure(ctx)
	if err != nil {
		return err
	}
	if err := b.publish(report); err != nil {
		return err
	}
	failed = !report.Verification.OK
	return report.Verification.err()
}

// interrupted replaces what came of an end that somebody asked for.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("the run was interrupted")
	}
	return err
}

// clientOptions are those of all clients.
func (b *bench) clientOptions(countRetries bool) []kgo.Opt {
	options := []kgo.Opt{
		kgo.SeedBrokers(b.target.servers...), kgo.ClientID("outrigger-bench"),
		kgo.MetadataMinAge(metadataMinAge), kgo.WithHooks(b.sockets),
	}
	if countRetries {
		options = append(options, kgo.WithLogger(retryLogger{b.retries}))
	}
	return options
}

// metadataMinAge lets a client look for a new leader this often.
const metadataMinAge = 100 * time.Millisecond

// measure does everything between the clients and the report.
func (b *bench) measure(ctx context.Context) (*Report, error) {
	b.history = history.New(history.Config{Rules: history.Rules{Retention: true}})
	b.payloads = newPayloads(b.o.Load.Seed, b.o.Load.RecordBytes)
	machine := thisMachine()
	if err := b.createTopic(ctx); err != nil {
		return nil, err
	}
	defer b.deleteTopic(context.WithoutCancel(ctx))
	facts := b.clusterFacts(ctx)
	machine.FileSystem = b.target.fileSystem(facts)
	out, err := b.runMode(ctx)
	if err != nil {
		return nil, err
	}
	r := b.newReport(out)
	r.Cluster, r.Machine = facts, machine
	return r, nil
}

const (
	topicWithin  = 30 * time.Second
	deleteWithin = 30 * time.Second
)

// createTopic makes the topic unless it exists, and waits until every partition has a leader.
func (b *bench) createTopic(ctx context.Context) error {
	b.topic, b.partitions = b.o.Load.Topic, b.o.Load.Partitions
	if b.o.Mode == Create {
		return nil // it makes its own
	}
	if b.topic == "" {
		b.topic = "bench-" + strconv.FormatInt(b.started.UnixMilli(), 36)
	}
	admin := kadm.NewClient(b.admin)
	err := eventually(ctx, topicWithin, "create topic "+b.topic, func() error {
		created, err := admin.CreateTopic(ctx, int32(b.partitions), int16(b.o.Load.Replication), nil, b.topic)
		switch err = errors.Join(err, created.Err); {
		case errors.Is(err, kerr.TopicAlreadyExists):
			return nil
		case err == nil:
			b.made = true
		}
		return err
	})
	if err != nil {
		return err
	}
	return eventually(ctx, topicWithin, "look at topic "+b.topic, func() error {
		found, err := admin.ListTopics(ctx, b.topic)
		if err != nil {
			return err
		}
		topic := found[b.topic]
		if topic.Err != nil || len(topic.Partitions) == 0 {
			return errors.Join(fmt.Errorf("it has no partitions yet"), topic.Err)
		}
		for _, p := range topic.Partitions {
			if p.Err != nil || p.Leader < 0 {
				return errors.Join(fmt.Errorf("partition %d has no leader", p.Partition), p.Err)
			}
		}
		b.partitions = len(topic.Partitions)
		return nil
	})
}

func (b *bench) deleteTopic(ctx context.Context) {
	if !b.made || b.target.own != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, deleteWithin)
	defer cancel()
	deleted, err := kadm.NewClient(b.admin).DeleteTopic(ctx, b.topic)
	if err = errors.Join(err, deleted.Err); err != nil {
		b.o.Logger.Warn("topic is left behind", "topic", b.topic, "error", err)
	}
}
