package e2e

import (
	"syscall"
	"testing"
	"time"

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
