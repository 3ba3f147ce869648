package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Configs are altered through any broker, hold at every broker, take effect without a restart and
// survive the kill of all; and leaderships that a kill has moved go back when asked to.
func TestConfigsAlteredAnywhereHoldEverywhere(t *testing.T) {
	c := start(t, options{})
	c.createTopic(0, "configured", 3, 3)
	value := ""
	for i := range c.kafka {
		value = fmt.Sprint(5000 + i)
		alterTopic(t, c.kafka[i], "configured", "max.message.bytes", value)
		for j := range c.kafka {
			c.eventually(10*time.Second, "config at every broker", func() error {
				return describes(t, c.kafka[j], "configured", "max.message.bytes", value)
			})
		}
	}
	produceTooLarge(t, c.kafka[0])
	expectSameQuorum(t, c.kafka)

	c.kill9()
	c.launch()
	c.healthy(readyWithin)
	if err := describes(t, c.kafka[1], "configured", "max.message.bytes", value); err != nil {
		t.Errorf("after the kill of all: %v", err)
	}
	c.eventually(30*time.Second, "preferred leaders", func() error { return electPreferred(t, c.kafka[2]) })
}

func within(t testing.TB, timeout time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func alterTopic(t testing.TB, seed, topic, key, value string) {
	t.Helper()
	altered, err := admin(t, seed).AlterTopicConfigs(within(t, 20*time.Second),
		[]kadm.AlterConfig{{Name: key, Value: &value}}, topic)
	if err == nil {
		err = altered[0].Err
	}
	if err != nil {
		t.Fatalf("alter %s=%s through %s: %v", key, value, seed, err)
	}
}

func describes(t testing.TB, seed, topic, key, want string) error {
	t.Helper()
	described, err := admin(t, seed).DescribeTopicConfigs(within(t, 5*time.Second), topic)
	if err != nil {
		return err
	}
	for _, c := range described[0].Configs {
		if c.Key == key && c.MaybeValue() == want && c.Source == kmsg.ConfigSourceDynamicTopicConfig {
			return nil
		}
	}
	return fmt.Errorf("%s at %s: got %+v, %v, want %s", key, seed, described[0].Configs, described[0].Err, want)
}

// produceTooLarge wants a batch refused that is larger than the topic's bound and smaller than the
// broker's.
func produceTooLarge(t testing.TB, seed string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(seed), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	record := &kgo.Record{Topic: "configured", Value: make([]byte, 10_000)}
	if err := client.ProduceSync(within(t, 20*time.Second), record).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("batch of 10,000 bytes: got %v, want MESSAGE_TOO_LARGE", err)
	}
}

// expectSameQuorum asks every broker, of which one is the controller.
func expectSameQuorum(t testing.TB, seeds []string) {
	t.Helper()
	for _, seed := range seeds {
		client, err := kgo.NewClient(kgo.SeedBrokers(seed))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		q := kmsg.NewPtrDescribeQuorumRequest()
		q.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata",
			Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}}}}
		// The seed itself is asked, not whom the client takes for the controller.
		r, err := client.SeedBrokers()[0].Request(within(t, 20*time.Second), q)
		if err != nil {
			t.Fatalf("quorum of %s: %v", seed, err)
		}
		p := r.(*kmsg.DescribeQuorumResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.LeaderID < 1 || len(p.CurrentVoters) != len(seeds) || p.HighWatermark < 1 {
			t.Errorf("quorum of %s: got %+v, want a leader and %d voters", seed, p, len(seeds))
		}
	}
}

// electPreferred asks for all preferred leaders, and looks whether they lead.
func electPreferred(t testing.TB, seed string) error {
	t.Helper()
	adm := admin(t, seed)
	ctx := within(t, 10*time.Second)
	if _, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil); err != nil {
		return err
	}
	details, err := adm.ListTopics(ctx, "configured")
	if err != nil {
		return err
	}
	for _, p := range details["configured"].Partitions {
		if p.Leader != p.Replicas[0] {
			return fmt.Errorf("partition %d of replicas %v is led by %d", p.Partition, p.Replicas, p.Leader)
		}
	}
	return nil
}

// min.insync.replicas holds from the next batch on, for who leads already.
func TestMinimumOfReplicasInSyncHoldsAtOnce(t *testing.T) {
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, "least", 1, 3)
	f.kill(2)
	client, err := kgo.NewClient(kgo.SeedBrokers(f.kafka[:2]...), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, c := range []struct {
		least string
		want  error
	}{{"2", nil}, {"3", kerr.NotEnoughReplicas}, {"2", nil}, {"3", kerr.NotEnoughReplicas}, {"1", nil}} {
		alterTopic(t, f.kafka[0], "least", "min.insync.replicas", c.least)
		f.eventually(10*time.Second, "min.insync.replicas="+c.least, func() error {
			got := client.ProduceSync(within(t, 5*time.Second), &kgo.Record{Topic: "least", Value: []byte("value")}).FirstErr()
			if !errors.Is(got, c.want) {
				return fmt.Errorf("with two of three in sync: got %v, want %v", got, c.want)
			}
			return nil
		})
	}
}
