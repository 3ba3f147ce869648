package lines

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/cmd/peers/internal/system"
)

const (
	// probeEvery is how often something is tried that does not work yet.
	probeEvery    = 20 * time.Millisecond
	healthyWithin = 2 * time.Minute
	replicas      = 3
	firstTopic    = "peers-first"
)

// impatient is a client that tries again at once.
func impatient(servers []string, extra ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(servers...), kgo.ClientID("outrigger-peers"),
		kgo.RetryBackoffFn(func(int) time.Duration { return probeEvery }), kgo.MetadataMinAge(probeEvery),
		kgo.UnknownTopicRetries(-1), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner())}, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

// firstWrite returns when a record is acknowledged by three replicas.
func firstWrite(ctx context.Context, servers []string) error {
	ctx, cancel := context.WithTimeout(ctx, healthyWithin)
	defer cancel()
	client, err := impatient(servers)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := create(ctx, client, firstTopic, 1, nil); err != nil {
		return err
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: firstTopic, Value: []byte("first")}).FirstErr(); err != nil {
		return fmt.Errorf("write the first record: %w", err)
	}
	return nil
}

func createTopic(ctx context.Context, servers []string, topic string, partitions int32, configs map[string]*string) error {
	client, err := impatient(servers)
	if err != nil {
		return err
	}
	defer client.Close()
	return create(ctx, client, topic, partitions, configs)
}

func deleteTopic(ctx context.Context, servers []string, topic string) error {
	client, err := impatient(servers)
	if err != nil {
		return err
	}
	defer client.Close()
	deleted, err := kadm.NewClient(client).DeleteTopic(ctx, topic)
	return errors.Join(err, deleted.Err)
}

// create tries until the topic is there, which needs three live brokers.
func create(ctx context.Context, client *kgo.Client, topic string, partitions int32, configs map[string]*string) error {
	ctx, cancel := context.WithTimeout(ctx, healthyWithin)
	defer cancel()
	admin := kadm.NewClient(client)
	return eventually(ctx, "create topic "+topic, func() error {
		created, err := admin.CreateTopic(ctx, partitions, replicas, configs, topic)
		if err = errors.Join(err, created.Err); errors.Is(err, kerr.TopicAlreadyExists) {
			return nil
		}
		return err
	})
}

// awaitHealthy returns when a cluster that was stopped for a while has three live brokers again: a new
// topic has three replicas in sync for every partition, and takes a record in each.
func (r *Runner) awaitHealthy(ctx context.Context, c *system.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, healthyWithin)
	defer cancel()
	client, err := impatient(c.Servers)
	if err != nil {
		return err
	}
	defer client.Close()
	r.probes++
	topic := fmt.Sprintf("peers-probe-%d", r.probes)
	if err := create(ctx, client, topic, replicas, nil); err != nil {
		return err
	}
	var records []*kgo.Record
	for p := range int32(replicas) {
		records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: []byte("probe")})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("write to %s: %w", topic, err)
	}
	admin := kadm.NewClient(client)
	err = eventually(ctx, "see all replicas of "+topic, func() error { return inSync(ctx, admin, topic) })
	if err != nil {
		return err
	}
	deleted, err := admin.DeleteTopic(ctx, topic)
	return errors.Join(err, deleted.Err)
}

// prime makes a topic, and returns when each partition has acknowledged a record and has all replicas in sync.
func prime(ctx context.Context, client *kgo.Client, topic string, partitions int32) error {
	ctx, cancel := context.WithTimeout(ctx, primedWithin)
	defer cancel()
	if err := create(ctx, client, topic, partitions, nil); err != nil {
		return err
	}
	var records []*kgo.Record
	for p := range partitions {
		records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: []byte("first")})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("write to each partition of %s: %w", topic, err)
	}
	admin := kadm.NewClient(client)
	return eventually(ctx, "see all replicas of "+topic, func() error { return inSync(ctx, admin, topic) })
}

// inSync wants three brokers, and all replicas of a topic in sync.
func inSync(ctx context.Context, admin *kadm.Client, topic string) error {
	metadata, err := admin.Metadata(ctx, topic)
	if err != nil {
		return err
	}
	if len(metadata.Brokers) != replicas {
		return fmt.Errorf("%d brokers are live", len(metadata.Brokers))
	}
	for _, p := range metadata.Topics[topic].Partitions {
		if p.Err != nil || len(p.ISR) != replicas {
			return errors.Join(fmt.Errorf("partition %d has %d replicas in sync", p.Partition, len(p.ISR)), p.Err)
		}
	}
	return nil
}

// eventually tries until it works.
func eventually(ctx context.Context, what string, try func() error) error {
	return eventuallyEvery(ctx, probeEvery, what, try)
}

func eventuallyEvery(ctx context.Context, every time.Duration, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		if !system.Pause(ctx, every) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}
