package interop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// forAllBrokers is the name by which drivers are told of what holds for all brokers.
const forAllBrokers = "default"

// aheadConfig is a config of brokers that topics inherit: how far ahead of its clock a record may be, an hour unless
// set. The one of all brokers is common to all cells, so those that alter it wait for each other; longer than an hour
// is nothing that any other cell would notice.
const (
	aheadConfig = "log.message.timestamp.after.max.ms"
	aheadLonger = "10800000"
	aheadBy     = 2 * time.Hour
)

var aheadTurn = make(chan struct{}, 1)

// adminConfigs alters, describes and deletes configs of a topic and of one broker, and sees what produce makes of those
// of the topic.
func adminConfigs(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, _ *kadm.Client) error {
		topic := fresh("configs." + cl.name)
		if err := c.topic(ctx, topic, 1, 3); err != nil {
			return err
		}
		return errorOf(topicConfigs(ctx, c, with, topic), brokerConfigs(ctx, with))
	})
}

// topicConfigs refuses larger batches, and takes them again.
func topicConfigs(ctx context.Context, c *cluster, with talker, topic string) error {
	const key = "max.message.bytes"
	large := &kgo.Record{Value: []byte(strings.Repeat("x", 5000))}
	if _, err := with.ask(ctx, "set-config", "topics", topic, key, "1000"); err != nil {
		return err
	}
	if err := errorOf(awaits(ctx, with, "1000", "config-of", "topics", topic, key), c.refuses(ctx, topic, large, kerr.MessageTooLarge)); err != nil {
		return err
	}
	if _, err := with.ask(ctx, "delete-config", "topics", topic, key); err != nil {
		return err
	}
	return errorOf(awaits(ctx, with, "none", "config-of", "topics", topic, key), c.refuses(ctx, topic, large, nil))
}

// brokerConfigs alters what one broker alone goes by, and no cell would notice.
func brokerConfigs(ctx context.Context, with talker) error {
	const key = "max.connections.per.ip"
	if _, err := with.ask(ctx, "set-config", "brokers", "2", key, "0"); err == nil {
		return errors.New("a broker was told to let nobody in")
	}
	if _, err := with.ask(ctx, "set-config", "brokers", "2", key, "123456"); err != nil {
		return err
	}
	if err := awaits(ctx, with, "123456", "config-of", "brokers", "2", key); err != nil {
		return err
	}
	if _, err := with.ask(ctx, "delete-config", "brokers", "2", key); err != nil {
		return err
	}
	return awaits(ctx, with, "none", "config-of", "brokers", "2", key)
}

// adminDefaults does the same with a config of all brokers.
func adminDefaults(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, _ *kadm.Client) error {
		topic := fresh("defaults." + cl.name)
		if err := c.topic(ctx, topic, 1, 3); err != nil {
			return err
		}
		return allBrokersConfigs(ctx, c, with, topic)
	})
}

// allBrokersConfigs has records taken that are further ahead, and refused again.
func allBrokersConfigs(ctx context.Context, c *cluster, with talker, topic string) error {
	select {
	case aheadTurn <- struct{}{}:
		defer func() { <-aheadTurn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ahead := &kgo.Record{Value: []byte("x"), Timestamp: time.Now().Add(aheadBy)}
	if err := c.refuses(ctx, topic, ahead, kerr.InvalidTimestamp); err != nil {
		return fmt.Errorf("before all brokers were told: %w", err)
	}
	if _, err := with.ask(ctx, "set-config", "brokers", forAllBrokers, aheadConfig, aheadLonger); err != nil {
		return err
	}
	if err := errorOf(
		awaits(ctx, with, aheadLonger, "config-of", "brokers", forAllBrokers, aheadConfig),
		eventually(ctx, func() error { return c.refuses(ctx, topic, ahead, nil) }),
	); err != nil {
		return err
	}
	if _, err := with.ask(ctx, "delete-config", "brokers", forAllBrokers, aheadConfig); err != nil {
		return err
	}
	return errorOf(
		awaits(ctx, with, "none", "config-of", "brokers", forAllBrokers, aheadConfig),
		eventually(ctx, func() error { return c.refuses(ctx, topic, ahead, kerr.InvalidTimestamp) }),
	)
}

// refuses wants an answer to a record: an error, or nil for its being written.
func (c *cluster) refuses(ctx context.Context, topic string, r *kgo.Record, want error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer client.Close()
	sent := &kgo.Record{Value: r.Value, Timestamp: r.Timestamp}
	if err := client.ProduceSync(ctx, sent).FirstErr(); !errors.Is(err, want) {
		return fmt.Errorf("produce to %s: got %v, want %v", topic, err, want)
	}
	return nil
}
