package e2e

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// message.max.bytes is the same on all brokers, so it changes while all are stopped. Here they were killed:
// the image still shows their last runs as live, with the size of before, when the first comes back.
func TestLargestBatchChangesWhileAllBrokersAreDown(t *testing.T) {
	first := start(t, options{})
	first.createTopic(0, "larger", 3, 3)
	produceOne := func(c *cluster, bytes int) error {
		client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.DefaultProduceTopic("larger"),
			kgo.ProducerBatchMaxBytes(3_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()),
			kgo.RecordDeliveryTimeout(20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		return client.ProduceSync(t.Context(), &kgo.Record{Value: make([]byte, bytes)}).FirstErr()
	}
	if err := produceOne(first, 2_000_000); err == nil {
		t.Error("a batch of 2 MB was taken by brokers that allow one of 1 MB")
	}
	for _, pid := range first.pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	<-first.done // dev ends with its last broker
	first.cmd = nil
	second := start(t, options{data: first.data, args: []string{"--set", "message.max.bytes=2500000"}})
	if err := produceOne(second, 2_000_000); err != nil {
		t.Errorf("produce 2 MB after the change: %v", err)
	}
	second.healthy(20 * time.Second)
}

// A topic's max.message.bytes goes before the brokers' message.max.bytes, as in Kafka, up to what the brokers carry:
// its large batches reach all replicas, as they are or compressed anew, survive their leader, and are compacted. Those
// of another topic are refused, and so is a bound that the log files would not hold.
func TestTopicTakesLargerBatchesThanTheBrokersDefault(t *testing.T) {
	const value, rounds = 3_000_000, 12
	c := start(t, options{args: []string{"--set", "wal.file.bytes=16777216", "--set", "wal.retained.bytes=67108864",
		"--set", "log.cleaner.backoff.ms=300", "--set", "log.cleaner.min.cleanable.ratio=0.1"}})
	create := func(name string, configs ...string) {
		args := []string{"topic", "create", name, "--partitions", "1", "--replication-factor", "3", "--bootstrap-server", c.kafka[0]}
		for _, config := range configs {
			args = append(args, "--config", config)
		}
		c.run(args...)
	}
	create("verbatim")
	create("anew", "max.message.bytes=4190208", "compression.type=zstd")
	create("kept", "max.message.bytes=4190208", "cleanup.policy=compact")
	create("usual")
	values := rand.NewChaCha8([32]byte{7}) // what no codec makes smaller
	produce := func(topic string) ([]byte, error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(value+1000),
			kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordDeliveryTimeout(20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		sent := make([]byte, value)
		_, _ = values.Read(sent) // never fails, by its documentation
		return sent, client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("k"), Value: sent}).FirstErr()
	}
	alter := func(bytes string) error {
		answers, err := c.admin(0).AlterTopicConfigs(within(t, 10*time.Second), []kadm.AlterConfig{
			{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &bytes}}, "verbatim")
		if err == nil && answers[0].Err != nil {
			err = fmt.Errorf("%w: %s", answers[0].Err, answers[0].ErrMessage)
		}
		return err
	}
	if _, err := produce("verbatim"); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("before the topic allows it: got %v, want %v", err, kerr.MessageTooLarge)
	}
	err := alter("4190209")
	for _, want := range []string{"max.message.bytes=4190209", "above 4190208", "wal.file.bytes=17825792 or more"} {
		if !errors.Is(err, kerr.InvalidConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %v with %q", err, kerr.InvalidConfig, want)
		}
	}
	if err := alter("4190208"); err != nil {
		t.Fatal(err)
	}
	last := map[string][]byte{}
	for topic, times := range map[string]int{"verbatim": 1, "anew": 1, "kept": rounds} {
		for range times {
			if last[topic], err = produce(topic); err != nil {
				t.Fatalf("produce to %s: %v", topic, err)
			}
		}
	}
	if _, err := produce("usual"); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("a topic that says nothing: got %v, want %v", err, kerr.MessageTooLarge)
	}
	for i := range c.http {
		for _, topic := range []string{"verbatim", "anew"} {
			c.eventually(20*time.Second, "the batch is on every replica", func() error {
				size, found, err := c.sizeOn(i, topic)
				if err == nil && (!found || size < value) {
					err = fmt.Errorf("broker %d has %d bytes of %s", i+1, size, topic)
				}
				return err
			})
		}
		c.eventually(time.Minute, "the large batches are compacted", func() error { return c.small(i, "kept", rounds*value/2) })
	}
	c.healthy(20 * time.Second)
	leader, _ := c.isrOf(0, "verbatim")
	if err := syscall.Kill(c.pid(leader-1), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for topic, want := range last {
		read := readAll(t, c.kafka, topic, 1)[0]
		if got := read[slices.Max(slices.Collect(maps.Keys(read)))]; got != string(want) {
			t.Errorf("%s: read %d bytes, want the %d that were written last", topic, len(got), len(want))
		}
	}
}
