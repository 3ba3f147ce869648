package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

const testNode = topic.NodeID(1)

// harness is a broker on a real listener over a real partition store.
type harness struct {
	testing.TB
	*Broker
	cluster  *soleCluster
	store    *partition.Store
	registry *prometheus.Registry
	logged   *lockedBuffer
	address  string
	// stop ends the broker and waits for it.
	stop func()
}

// start runs a broker until the test ends; edit may change its configuration.
func start(tb testing.TB, edit ...func(*Config)) *harness {
	tb.Helper()
	return startOver(tb, 4<<20, edit...)
}

// startOver is start over WAL files of a size; a quarter of it bounds a batch.
func startOver(tb testing.TB, fileBytes int64, edit ...func(*Config)) *harness {
	tb.Helper()
	return startWith(tb, func(c *partition.Config) { c.WAL.FileBytes = fileBytes }, edit...)
}

// startWith is start over a store of another configuration.
func startWith(tb testing.TB, adjust func(*partition.Config), edit ...func(*Config)) *harness {
	tb.Helper()
	return startNode(tb, testNode, adjust, edit...)
}

// startNode is startWith for a broker of another number.
func startNode(tb testing.TB, node topic.NodeID, adjust func(*partition.Config), edit ...func(*Config)) *harness {
	tb.Helper()
	h := &harness{
		TB: tb, cluster: newSoleCluster(node), registry: prometheus.NewRegistry(),
		logged: &lockedBuffer{},
	}
	h.store = openStore(tb, h.cluster, adjust)
	config := Config{
		Node:      node,
		Listeners: []Listener{{Name: "PLAINTEXT", Addresses: []string{"127.0.0.1:0"}}},
	}
	for _, e := range edit {
		e(&config)
	}
	logger := slog.New(slog.NewJSONHandler(h.logged, nil))
	b, err := New(config, h.cluster, h.store, logger, h.registry)
	if err != nil {
		tb.Fatalf("new broker: %v", err)
	}
	h.Broker = b
	e := b.Endpoints()[0]
	h.address = net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
	h.cluster.addBroker(topic.Broker{ID: node, Session: 1, Endpoints: b.Endpoints(), Rack: "r1"})
	h.stop = runUntilStopped(tb, b.Run)
	return h
}

// openStore opens and runs a store on a file system in memory.
func openStore(tb testing.TB, cluster *soleCluster, adjust func(*partition.Config)) *partition.Store {
	tb.Helper()
	began := time.Now()
	config := partition.Config{
		WAL:      wal.Config{FS: waltest.New(), Dir: "wal", Session: 1},
		Observer: cluster, Now: func() time.Duration { return time.Since(began) },
		Logger: slog.New(slog.DiscardHandler),
	}
	adjust(&config)
	store, err := partition.Open(config)
	if err != nil {
		tb.Fatalf("open store: %v", err)
	}
	store.SetLease(partition.Forever)
	store.SetMandate(partition.Forever)
	cluster.store = store
	runUntilStopped(tb, store.Run)
	return store
}

// runUntilStopped runs what blocks, until the returned function is called or the test ends.
func runUntilStopped(tb testing.TB, run func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			tb.Errorf("run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	tb.Cleanup(stop)
	return stop
}

// client is a franz-go client of the broker.
func (h *harness) client(options ...kgo.Opt) *kgo.Client {
	h.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(h.address), kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }),
	}, options...)...)
	if err != nil {
		h.Fatalf("new client: %v", err)
	}
	h.Cleanup(client.Close)
	return client
}

// create makes a topic through the admin API.
func (h *harness) create(name string, partitions int32) topic.ID {
	h.Helper()
	made, err := kadm.NewClient(h.client()).CreateTopic(deadline(h), partitions, 1, nil, name)
	if err != nil {
		h.Fatalf("create %s: %v", name, err)
	}
	return topic.ID(made.ID)
}

// deadline is a context that ends before the test binary's patience does.
func deadline(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// wire is a raw connection to the broker.
type rawClient struct {
	testing.TB
	net.Conn
}

func (h *harness) dial() *rawClient {
	h.Helper()
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		h.Fatalf("dial: %v", err)
	}
	h.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &rawClient{h.TB, conn}
}

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw"))

// send writes requests in one piece, with correlation ids from first on.
func (c *rawClient) send(first int32, requests ...kmsg.Request) {
	c.Helper()
	var out []byte
	for i, r := range requests {
		out = append(out, formatter.AppendRequest(nil, r, first+int32(i))...)
	}
	c.write(out)
}

func (c *rawClient) write(b []byte) {
	c.Helper()
	if _, err := c.Write(b); err != nil {
		c.Fatalf("write: %v", err)
	}
}

// frame reads one response frame: its correlation id and what follows.
func (c *rawClient) frame() (int32, []byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return 0, nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, frame); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(frame)), frame[4:], nil
}

// receive reads the answer to a request, which must come next.
func (c *rawClient) receive(correlation int32, q kmsg.Request) kmsg.Response {
	c.Helper()
	got, body, err := c.frame()
	if err != nil {
		c.Fatalf("read answer %d: %v", correlation, err)
	}
	if got != correlation {
		c.Fatalf("correlation id: got %d, want %d", got, correlation)
	}
	response := q.ResponseKind()
	response.SetVersion(q.GetVersion())
	if response.IsFlexible() && q.Key() != kmsg.ApiVersions.Int16() {
		if body[0] != 0 {
			c.Fatalf("header tags of %T: got %d, want none", response, body[0])
		}
		body = body[1:]
	}
	if err := response.ReadFrom(body); err != nil {
		c.Fatalf("decode %T version %d: %v", response, q.GetVersion(), err)
	}
	return response
}

// ask is send and receive.
func (c *rawClient) ask(q kmsg.Request) kmsg.Response {
	c.Helper()
	c.send(7, q)
	return c.receive(7, q)
}

// ended fails unless the broker has closed the connection.
func (c *rawClient) ended() {
	c.Helper()
	if _, body, err := c.frame(); err == nil {
		c.Fatalf("got an answer of %d bytes, want the end", len(body))
	} else if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		c.Fatalf("connection is open, want it closed: %v", err)
	}
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// batchOf is a record batch as a producer makes it. Producer -1 is none.
type batchOf struct {
	values    []string
	producer  int64
	epoch     int16
	sequence  int32
	attribute int16
	timestamp int64
}

func (o batchOf) bytes() []byte {
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: o.attribute,
		LastOffsetDelta: int32(len(o.values) - 1), FirstTimestamp: o.timestamp,
		MaxTimestamp: o.timestamp, ProducerID: o.producer, ProducerEpoch: o.epoch,
		FirstSequence: o.sequence, NumRecords: int32(len(o.values)),
	}
	for i, value := range o.values {
		r := kmsg.Record{OffsetDelta: int32(i), Value: []byte(value)}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // the length itself took one byte
		b.Records = r.AppendTo(b.Records)
	}
	return seal(b)
}

// seal fills in length and checksum.
func seal(b kmsg.RecordBatch) []byte {
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// plainBatch is a batch of a producer that is not idempotent.
func plainBatch(values ...string) []byte {
	return batchOf{values: values, producer: -1, epoch: -1, sequence: -1, timestamp: 1000}.bytes()
}

// produceOf is a request that produces one batch.
func produceOf(version int16, name string, index int32, acks int16, records []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks, q.TimeoutMillis = version, acks, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = index, records
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = name, append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

// onlyProduced is the answer for the one partition that was produced to.
func onlyProduced(r kmsg.Response) kmsg.ProduceResponseTopicPartition {
	return r.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

// fetchOf is a request for one partition that does not wait.
func fetchOf(version int16, name string, index int32, offset int64) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.MaxBytes, q.SessionEpoch = version, 1<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = index, offset, 1<<20
	p.CurrentLeaderEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.Partitions = name, append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

// onlyFetched is the answer for the one partition that was fetched.
func onlyFetched(r kmsg.Response) kmsg.FetchResponseTopicPartition {
	return r.(*kmsg.FetchResponse).Topics[0].Partitions[0]
}

// metric is the sum of a metric's series.
func (h *harness) metric(name string, labels ...string) float64 {
	h.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.Fatalf("gather: %v", err)
	}
	var sum float64
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if bears(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func bears(m *dto.Metric, values []string) bool {
	for _, want := range values {
		found := false
		for _, label := range m.GetLabel() {
			found = found || label.GetValue() == want
		}
		if !found {
			return false
		}
	}
	return true
}

// eventually polls what has no signal of its own.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	limit := time.After(15 * time.Second)
	for !holds() {
		select {
		case <-ticker.C:
		case <-limit:
			tb.Fatalf("never: %s", what)
		}
	}
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte(text))
}

func expectCode(tb testing.TB, what string, got int16, want code) {
	tb.Helper()
	if code(got) != want {
		tb.Errorf("%s: got %v, want %v", what, code(got), want)
	}
}

func numbered(prefix string, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return values
}

// cuttingDialer dials, and cuts what it dialled on demand.
type cuttingDialer struct {
	mu   sync.Mutex
	open []net.Conn
}

func (d *cuttingDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open = append(d.open, conn)
	}
	return conn, err
}

func (d *cuttingDialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.open {
		_ = conn.Close()
	}
	d.open = nil
}
