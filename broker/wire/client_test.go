package wire_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/wire"
)

// miniBroker serves one partition of one topic over pipes with nothing but wire and batch: enough to
// let a real client judge both.
type miniBroker struct {
	t       *testing.T
	done    chan struct{} // closed at the end; a fetch that finds nothing waits for it
	mu      sync.Mutex
	batches [][]byte
	end     int64
	problem error
}

var topicID = [16]byte{1, 2, 3}

func newMiniBroker(t *testing.T) *miniBroker {
	m := &miniBroker{t: t, done: make(chan struct{})}
	t.Cleanup(func() { close(m.done) })
	return m
}

func (m *miniBroker) client(opts ...kgo.Opt) *kgo.Client {
	m.t.Helper()
	opts = append(opts, kgo.SeedBrokers("broker:9092"),
		kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go m.serve(far)
			return near, nil
		}))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(cl.Close)
	return cl
}

func (m *miniBroker) serve(conn net.Conn) {
	defer conn.Close()
	frames := wire.NewFrameReader(conn, 10<<20)
	for {
		frame, err := frames.Next()
		if err != nil {
			return
		}
		h, body, err := wire.ParseHeader(frame)
		if err != nil {
			m.fail(err)
			return
		}
		req, err := wire.Decode(h, body)
		if err != nil {
			m.fail(err)
			return
		}
		buffers := net.Buffers(m.answer(h, req))
		if _, err := buffers.WriteTo(conn); err != nil {
			return
		}
	}
}

func (m *miniBroker) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problem = err
}

func (m *miniBroker) answer(h wire.Header, req kmsg.Request) [][]byte {
	resp := req.ResponseKind()
	resp.SetVersion(h.Version)
	switch req := req.(type) {
	case *kmsg.ApiVersionsRequest:
		for _, api := range wire.Supported() {
			row := kmsg.NewApiVersionsResponseApiKey()
			row.ApiKey, row.MinVersion, row.MaxVersion = api.Key, api.Advertised, api.Max
			resp.(*kmsg.ApiVersionsResponse).ApiKeys = append(resp.(*kmsg.ApiVersionsResponse).ApiKeys, row)
		}
	case *kmsg.MetadataRequest:
		m.metadata(resp.(*kmsg.MetadataResponse))
	case *kmsg.InitProducerIDRequest:
		resp.(*kmsg.InitProducerIDResponse).ProducerID = 7
	case *kmsg.ProduceRequest:
		m.produce(req, resp.(*kmsg.ProduceResponse))
	case *kmsg.FetchRequest:
		return m.fetch(h, req, resp.(*kmsg.FetchResponse))
	default:
		m.fail(fmt.Errorf("request %T was not expected", req))
	}
	return [][]byte{wire.AppendResponse(nil, h.CorrelationID, resp)}
}

func (m *miniBroker) metadata(resp *kmsg.MetadataResponse) {
	node := kmsg.NewMetadataResponseBroker()
	node.NodeID, node.Host, node.Port = 1, "broker", 9092
	name := "orders"
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic, topic.TopicID = &name, topicID
	part := kmsg.NewMetadataResponseTopicPartition()
	part.Leader, part.Replicas, part.ISR = 1, []int32{1}, []int32{1}
	topic.Partitions = append(topic.Partitions, part)
	resp.ControllerID = 1
	resp.Brokers, resp.Topics = append(resp.Brokers, node), append(resp.Topics, topic)
}

func (m *miniBroker) produce(req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.BaseOffset = p.Partition, m.end
			h, err := batch.Validate(p.Records, batch.Limits{Zstd: req.Version >= 7})
			if err != nil {
				m.problem = err
				part.ErrorCode = 87
			} else {
				batch.SetBaseOffset(p.Records, m.end)
				batch.SetLeaderEpoch(p.Records, 0)
				m.batches = append(m.batches, p.Records)
				m.end += int64(h.Records)
			}
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
}

func (m *miniBroker) fetch(h wire.Header, req *kmsg.FetchRequest, resp *kmsg.FetchResponse) [][]byte {
	m.mu.Lock()
	batches, end := m.batches, m.end
	m.mu.Unlock()
	if len(req.Topics) == 0 || req.Topics[0].Partitions[0].FetchOffset >= end {
		<-m.done
	}
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic, topic.TopicID = "orders", topicID
	part := kmsg.NewFetchResponseTopicPartition()
	part.HighWatermark, part.LastStableOffset, part.LogStartOffset = end, end, 0
	topic.Partitions = append(topic.Partitions, part)
	resp.Topics = append(resp.Topics, topic)
	return wire.FetchFrame(h.CorrelationID, resp, func(int, int) [][]byte { return batches })
}

// A real producer's batches are accepted in every compression, and read back by a real consumer as
// they were sent; our own reader agrees with it.
func TestRealClientProducesAndFetches(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			m := newMiniBroker(t)
			producer := m.client(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic("orders"))
			var sent []*kgo.Record
			for i := range 500 {
				sent = append(sent, &kgo.Record{
					Key: fmt.Appendf(nil, "key %d", i%7), Value: fmt.Appendf(nil, "value %0100d", i),
					Headers: []kgo.RecordHeader{{Key: "n", Value: []byte{byte(i)}}},
				})
			}
			if err := producer.ProduceSync(ctx, sent...).FirstErr(); err != nil {
				t.Fatalf("produce: %v, broker: %v", err, m.problem)
			}
			checkConsumed(ctx, t, m, sent)
			checkStored(t, m, sent)
		})
	}
}

func checkConsumed(ctx context.Context, t *testing.T, m *miniBroker, sent []*kgo.Record) {
	t.Helper()
	consumer := m.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		"orders": {0: kgo.NewOffset().At(0)},
	}))
	var got []*kgo.Record
	for len(got) < len(sent) {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("fetch: %v, broker: %v", err, m.problem)
		}
		got = append(got, fetches.Records()...)
	}
	for i, r := range got {
		want := sent[i]
		if r.Offset != int64(i) || string(r.Key) != string(want.Key) ||
			string(r.Value) != string(want.Value) || len(r.Headers) != 1 {
			t.Fatalf("record %d: got offset %d, %q, %q", i, r.Offset, r.Key, r.Value)
		}
	}
}

func checkStored(t *testing.T, m *miniBroker, sent []*kgo.Record) {
	t.Helper()
	i := 0
	for _, b := range m.batches {
		for r, err := range batch.Records(b) {
			if err != nil {
				t.Fatal(err)
			}
			want := sent[i]
			if r.Offset != int64(i) || string(r.Key) != string(want.Key) ||
				string(r.Value) != string(want.Value) || r.Timestamp != want.Timestamp.UnixMilli() {
				t.Fatalf("record %d: got %+v", i, r)
			}
			i++
		}
	}
	if i != len(sent) {
		t.Errorf("got %d records, want %d", i, len(sent))
	}
}

// Batches that our builder made, in every compression, are ones a real consumer reads.
func TestRealClientReadsBuiltBatches(t *testing.T) {
	m := newMiniBroker(t)
	var sent []*kgo.Record
	for codec := batch.CodecNone; codec <= batch.CodecZstd; codec++ {
		for _, xerial := range []bool{false, true} {
			b := batch.NewBuilder(codec)
			b.Xerial, b.BaseOffset = xerial, m.end
			for i := range 10 {
				r := &kgo.Record{Key: []byte(codec.String()), Value: fmt.Appendf(nil, "value %0100d", i)}
				r.Headers = []kgo.RecordHeader{{Key: "h"}}
				b.Add(batch.Record{Timestamp: int64(i), Key: r.Key, Value: r.Value,
					Headers: []batch.RecordHeader{{Key: "h"}}})
				sent = append(sent, r)
			}
			raw, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			m.batches = append(m.batches, raw)
			m.end += 10
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	checkConsumed(ctx, t, m, sent)
}
