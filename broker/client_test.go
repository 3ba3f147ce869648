package broker

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestClientReadsBackWhatItProducedInEveryCodec: bytes and order survive the whole path.
func TestClientReadsBackWhatItProducedInEveryCodec(t *testing.T) {
	h := start(t)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			topicName := "codec.." + name
			h.create(topicName, 3)
			producer := h.client(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(topicName))
			values := numbered("value-that-repeats-repeats-", 3000)
			for _, v := range values {
				producer.Produce(deadline(t), kgo.StringRecord(v), func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("produce: %v", err)
					}
				})
			}
			if err := producer.Flush(deadline(t)); err != nil {
				t.Fatalf("flush: %v", err)
			}
			expectExactly(t, consume(h, topicName, len(values)), values)
		})
	}
}

// consume reads n records of a topic from its start.
func consume(h *harness, name string, n int) []*kgo.Record {
	h.Helper()
	consumer := h.client(kgo.ConsumeTopics(name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(time.Second))
	var got []*kgo.Record
	ctx := deadline(h)
	for len(got) < n {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			h.Fatalf("poll after %d of %d: %v", len(got), n, err)
		}
		got = append(got, fetches.Records()...)
	}
	return got
}

// expectExactly wants each value once, and the offsets of each partition without holes.
func expectExactly(t *testing.T, got []*kgo.Record, want []string) {
	t.Helper()
	seen, next := map[string]int{}, map[int32]int64{}
	for _, r := range got {
		seen[string(r.Value)]++
		if r.Offset != next[r.Partition] {
			t.Fatalf("partition %d: got offset %d, want %d", r.Partition, r.Offset, next[r.Partition])
		}
		next[r.Partition]++
	}
	for _, value := range want {
		if seen[value] != 1 {
			t.Fatalf("%s: got %d times, want once", value, seen[value])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("records: got %d, want %d", len(got), len(want))
	}
}

// TestIdempotentProducersWriteEachRecordOnceThroughBrokenConnections cuts the connection under load.
func TestIdempotentProducersWriteEachRecordOnceThroughBrokenConnections(t *testing.T) {
	h := start(t)
	h.create("once", 2)
	dialer := &cuttingDialer{}
	producer := h.client(kgo.DefaultProduceTopic("once"), kgo.Dialer(dialer.dial),
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(50))
	values := numbered("v", 2000)
	for i, v := range values {
		if i%250 == 100 {
			dialer.cut()
		}
		producer.Produce(deadline(t), kgo.StringRecord(v), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := producer.Flush(deadline(t)); err != nil {
		t.Fatalf("flush: %v", err)
	}
	expectExactly(t, consume(h, "once", len(values)), values)
}

// TestNewTopicIsCreatedOnceForManyProducers: two hundred producers, one topic, one proposal each.
func TestNewTopicIsCreatedOnceForManyProducers(t *testing.T) {
	h := start(t, func(c *Config) { c.Topics.Partitions = 2 })
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			producer := h.client(kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("fresh"))
			r := kgo.StringRecord(fmt.Sprint(i))
			if err := producer.ProduceSync(deadline(t), r).FirstErr(); err != nil {
				t.Errorf("produce %d: %v", i, err)
			}
		})
	}
	all.Wait()
	found, ok := h.cluster.View().TopicByName("fresh")
	if !ok || len(found.Partitions) != 2 {
		t.Fatalf("topic: got %v, want 2 partitions", found)
	}
	consume(h, "fresh", 20)
}

// TestLongPollWakesOnAppend: a consumer at the end gets a record long before its wait is over.
func TestLongPollWakesOnAppend(t *testing.T) {
	h := start(t)
	h.create("poll", 1)
	consumer := h.client(kgo.ConsumeTopics("poll"), kgo.FetchMaxWait(time.Minute),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	producer := h.client(kgo.DefaultProduceTopic("poll"))
	for i := range 20 {
		got := make(chan string, 1)
		go func() {
			fetches := consumer.PollFetches(deadline(t))
			if records := fetches.Records(); len(records) == 1 {
				got <- string(records[0].Value)
				return
			}
			got <- fmt.Sprint(fetches.Err())
		}()
		want := fmt.Sprint("r", i)
		if err := producer.ProduceSync(deadline(t), kgo.StringRecord(want)).FirstErr(); err != nil {
			t.Fatalf("produce: %v", err)
		}
		if value := <-got; value != want {
			t.Fatalf("polled: got %q, want %q", value, want)
		}
	}
}

// TestAdminClientSeesTheCluster walks the calls that tools make first.
func TestAdminClientSeesTheCluster(t *testing.T) {
	h := start(t)
	id := h.create("seen", 4)
	admin := kadm.NewClient(h.client())
	metadata, err := admin.Metadata(deadline(t))
	if err != nil {
		t.Fatalf("metadata: %v", err)
	}
	if metadata.Controller != int32(testNode) || len(metadata.Brokers) != 1 ||
		metadata.Cluster != h.cluster.View().ClusterID() {
		t.Errorf("metadata: got %+v, want one broker which is the controller", metadata)
	}
	seen := metadata.Topics["seen"]
	if len(seen.Partitions) != 4 || [16]byte(seen.ID) != [16]byte(id) || seen.Partitions[3].Leader != 1 {
		t.Errorf("topic: got %+v, want 4 partitions led by 1", seen)
	}
	ends, err := admin.ListEndOffsets(deadline(t), "seen")
	if err != nil || ends.Error() != nil {
		t.Fatalf("list end offsets: %v, %v", err, ends.Error())
	}
	configs, err := admin.DescribeTopicConfigs(deadline(t), "seen")
	if err != nil || len(configs[0].Configs) != len(topicKeys) {
		t.Fatalf("describe configs: got %v, %v, want %d keys", configs, err, len(topicKeys))
	}
	if _, err := admin.DeleteTopic(deadline(t), "seen"); err != nil {
		t.Fatalf("delete: %v", err)
	}
	topics, err := kadm.NewClient(h.client()).ListTopics(deadline(t))
	if err != nil || topics.Has("seen") {
		t.Errorf("topics after the deletion: got %v, %v", topics.Names(), err)
	}
}

// TestProducersFollowALeaderThatComesBack: refused appends are retried until there is a leader.
func TestProducersFollowALeaderThatComesBack(t *testing.T) {
	h := start(t)
	h.create("moved", 1)
	producer := h.client(kgo.DefaultProduceTopic("moved"))
	h.cluster.move(t, "moved", 0, -1, 1)
	done := make(chan error, 1)
	producer.Produce(deadline(t), kgo.StringRecord("late"), func(_ *kgo.Record, err error) { done <- err })
	eventually(t, "a client asks for the leader", func() bool {
		return h.metric("kafka_network_requestmetrics_requests_total", "Metadata") >= 2
	})
	h.cluster.move(t, "moved", 0, testNode, 2)
	if err := <-done; err != nil {
		t.Fatalf("produce: %v", err)
	}
}
