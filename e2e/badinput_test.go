package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
)

const (
	hostileRequests = 10_000
	// hostileCorrelation comes back where there is an answer at all.
	hostileCorrelation = 4711
	// warningsMax is a warning for each reason, of which there are seven, and room for a minute that
	// ends during the test.
	warningsMax = 14
	// residentMoreMax is in MiB. The largest frames here are a megabyte, eight at a time.
	residentMoreMax = 64
)

// hostile is one kind of bad input, and what it gets.
type hostile struct {
	name string
	// frame is what is sent, its size in front.
	frame func(*rand.Rand) []byte
	// judge looks at the answer without its correlation id; nil means that there is to be none.
	judge func(body []byte) error
	// ends says that the connection does, after the answer if there is one.
	ends bool
	// reason is the label under which the broker counts it: why it is bad input, or, for an ordinary
	// mistake, the error that it was told.
	reason string
	// every makes it rarer: one in so many of its turns.
	every int
}

// Whatever a client sends, the broker answers as Kafka does or closes the connection, counts it,
// and goes on.
func TestBadInputTouchesNothing(t *testing.T) {
	c := start(t, options{})
	c.createTopic(0, "light", 3, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "light", 3, ledger)
	resumed(t, ledger, 3)
	kinds := hostileKinds(t, leaderOf(t, c.kafka, "light", 0))
	victim := leaderOf(t, c.kafka, "light", 0)
	at := c.log.size()
	assault(t, c.kafka[victim], kinds, len(kinds)*10)

	before, resident0 := c.badInput(victim), resident(t, c.pids[victim])
	silent := halfFrames(t, c.kafka[victim], 200)
	began := time.Now()
	sent := assault(t, c.kafka[victim], kinds, hostileRequests)
	took := time.Since(began)
	resumed(t, ledger, 3)
	load.stop()

	after := c.badInput(victim)
	for reason, n := range sent {
		if got := after[reason] - before[reason]; got != float64(n) {
			t.Errorf("count of %q: got %.0f, want %d", reason, got, n)
		}
	}
	warnings := strings.Count(c.log.from(at), `"level":"WARN"`)
	if warnings > warningsMax {
		t.Errorf("%d warnings, want at most %d\n%s", warnings, warningsMax, c.log.from(at))
	}
	more := resident(t, c.pids[victim]) - resident0
	if more > residentMoreMax {
		t.Errorf("resident memory grew by %.0f MiB, want at most %d", more, residentMoreMax)
	}
	for i, pid := range c.pids {
		if now := c.pid(i); now != pid {
			t.Errorf("broker %d is process %d, was %d", i+1, now, pid)
		}
	}
	t.Logf("%d hostile requests of %d kinds in %s: %.0f MiB resident, %+.0f; %d warnings; meanwhile %s",
		hostileRequests, len(kinds), took.Round(time.Millisecond), resident0+more, more, warnings, ledger.summary())
	silent()
	ledger.check(t, c.kafka, "light", 3)
	t.Run("on NATS", c.natsIsReadOnly)
	c.healthy(10 * time.Second)
}

// badInput is what a broker has counted, by reason and by error told.
func (c *cluster) badInput(i int) map[string]float64 {
	c.t.Helper()
	counts := map[string]float64{}
	for series, value := range c.metrics(i) {
		for _, name := range []string{
			`outrigger_broker_bad_input_total{reason="`, `kafka_network_requestmetrics_errors_total{error="`,
		} {
			if rest, ok := strings.CutPrefix(series, name); ok {
				label, _, _ := strings.Cut(rest, `"`)
				counts[label] += value
			}
		}
	}
	return counts
}

// assault sends bad input of all kinds in turn, eight hands at once, and returns how much of it the
// broker should have counted, by reason.
func assault(t testing.TB, address string, kinds []hostile, requests int) map[string]int {
	t.Helper()
	const hands = 8
	var workers sync.WaitGroup
	var mu sync.Mutex
	sent := map[string]int{}
	for hand := range hands {
		workers.Go(func() {
			a := assailant{address: address, random: rand.New(rand.NewPCG(uint64(hand), 7)), sent: map[string]int{}}
			defer a.close()
			for n := hand; n < requests; n += hands {
				// kinds take turns within a hand, whatever the number of hands
				kind := kinds[n/hands%len(kinds)]
				if round := n / hands / len(kinds); kind.every > 1 && round%kind.every != 0 {
					continue
				}
				if err := a.attack(kind); err != nil {
					t.Errorf("%s: %v", kind.name, err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for reason, n := range a.sent {
				sent[reason] += n
			}
		})
	}
	workers.Wait()
	return sent
}

// assailant is one hand. It keeps a connection for as long as the broker does.
type assailant struct {
	address string
	random  *rand.Rand
	conn    net.Conn
	sent    map[string]int
}

func (a *assailant) close() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

func (a *assailant) attack(kind hostile) error {
	if a.conn == nil {
		conn, err := net.DialTimeout("tcp", a.address, 2*time.Second)
		if err != nil {
			return err
		}
		a.conn = conn
	}
	_ = a.conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := a.conn.Write(kind.frame(a.random)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	a.sent[kind.reason]++
	if kind.judge != nil {
		answer, err := readFrame(a.conn)
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		if got := binary.BigEndian.Uint32(answer); got != hostileCorrelation {
			return fmt.Errorf("got correlation id %d, want %d", got, hostileCorrelation)
		}
		if err := kind.judge(answer[4:]); err != nil {
			return err
		}
	}
	if !kind.ends {
		return nil
	}
	_, err := a.conn.Read(make([]byte, 1))
	a.close()
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("got %v, want the connection closed", err)
	}
	return nil
}

// halfFrames opens connections that send half a frame, declare 100 MiB and fall silent, until the
// returned function is called.
func halfFrames(t testing.TB, address string, count int) (end func()) {
	t.Helper()
	var conns []net.Conn
	for range count {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte{6, 0, 0, 0, 0, 3, 0, 1}); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return func() {
		for _, conn := range conns {
			conn.Close()
		}
	}
}

// hostileKinds lists the bad input. The produce requests go to partition 0 of topic light.
func hostileKinds(t testing.TB, leader int) []hostile {
	t.Helper()
	if leader < 0 {
		t.Fatal("nobody leads")
	}
	fixed := func(b ...byte) func(*rand.Rand) []byte { return func(*rand.Rand) []byte { return b } }
	whole := fixedBatch(t, nil)
	return []hostile{
		{name: "garbage", frame: garbage, ends: true, reason: "bad frame"},
		{name: "an HTTP request", frame: fixed([]byte("GET / HTTP/1.1\r\n\r\n")...), ends: true, reason: "bad frame"},
		{name: "a negative length", frame: fixed(0xff, 0xff, 0xff, 0xfe), ends: true, reason: "bad frame"},
		{name: "two gibibytes", frame: fixed(0x7f, 0xff, 0xff, 0xff), ends: true, reason: "bad frame"},
		{name: "half a header", frame: fixed(0, 0, 0, 3, 0, 3, 0), ends: true, reason: "bad header"},
		{name: "an unknown API", frame: headed(999, 0), judge: unsupported, ends: true, reason: "unknown api"},
		{name: "an unknown version", frame: headed(3, 99), judge: unsupported, ends: true, reason: "unsupported version"},
		{name: "an unknown version of ApiVersions", frame: headed(18, 99), judge: versionsOfOld, reason: "UNSUPPORTED_VERSION"},
		{name: "two billion topics", frame: headed(3, 1, 0x7f, 0xff, 0xff, 0xff), ends: true, reason: "malformed request"},
		{name: "minus two topics", frame: headed(19, 2, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1, 0), ends: true, reason: "malformed request"},
		{name: "two billion tags", frame: headed(18, 3, 0, 2, 'a', 2, 'b', 0xff, 0xff, 0xff, 0xff, 7), ends: true, reason: "malformed request"},
		{name: "a wrong checksum", reason: "bad batch",
			frame: produce("light", -1, changed(whole, func(b []byte) { b[len(b)-1] ^= 1 })), judge: produceCode(kerr.CorruptMessage)},
		{name: "a wrong count", reason: "bad batch",
			frame: produce("light", -1, resealed(whole, func(b []byte) { b[60]++ })), judge: produceCode(kerr.InvalidRecord)},
		{name: "a control batch", reason: "bad batch",
			frame: produce("light", -1, resealed(whole, func(b []byte) { b[22] |= 1 << 5 })), judge: produceCode(kerr.InvalidRecord)},
		{name: "an over-size batch", reason: "bad batch", every: 20,
			frame: produce("light", -1, fixedBatch(t, make([]byte, 1100<<10))), judge: produceCode(kerr.MessageTooLarge)},
		{name: "acks=2", reason: "INVALID_REQUIRED_ACKS",
			frame: produce("light", 2, whole), judge: produceCode(kerr.InvalidRequiredAcks)},
		{name: "a bad topic name in produce", reason: "UNKNOWN_TOPIC_OR_PARTITION",
			frame: produce("no/such name", -1, whole), judge: produceCode(kerr.UnknownTopicOrPartition)},
		{name: "a bad topic name in create", reason: "INVALID_TOPIC_EXCEPTION",
			frame: create("no/such name"), judge: createCode(kerr.InvalidTopicException)},
	}
}

// garbage declares more than any frame may have, or less than nothing.
func garbage(r *rand.Rand) []byte {
	b := make([]byte, 8+r.IntN(200))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	b[0] |= 1 << 5
	return b
}

// headed is a request whose body is given byte by byte.
func headed(key, version int16, body ...byte) func(*rand.Rand) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, hostileCorrelation)
	b = append(append(b, 0, 3, 'b', 'a', 'd'), body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return func(*rand.Rand) []byte { return b }
}

var hostileFormat = kmsg.NewRequestFormatter(kmsg.FormatterClientID("bad"))

// produceVersion names topics, which is what a client that makes mistakes by hand does.
const produceVersion = 9

func produce(topic string, acks int16, records []byte) func(*rand.Rand) []byte {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks, q.TimeoutMillis = produceVersion, acks, 1000
	to, partition := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	partition.Records = records
	to.Topic, to.Partitions = topic, append(to.Partitions, partition)
	q.Topics = append(q.Topics, to)
	b := hostileFormat.AppendRequest(nil, q, hostileCorrelation)
	return func(*rand.Rand) []byte { return b }
}

func create(topic string) func(*rand.Rand) []byte {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version, q.TimeoutMillis = 4, 1000
	created := kmsg.NewCreateTopicsRequestTopic()
	created.Topic, created.NumPartitions, created.ReplicationFactor = topic, 1, 3
	q.Topics = append(q.Topics, created)
	b := hostileFormat.AppendRequest(nil, q, hostileCorrelation)
	return func(*rand.Rand) []byte { return b }
}

// fixedBatch is a batch of one record that nothing is wrong with.
func fixedBatch(t testing.TB, value []byte) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.CodecNone)
	b.Add(batch.Record{Timestamp: time.Now().UnixMilli(), Value: value})
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func changed(b []byte, change func([]byte)) []byte {
	b = bytes.Clone(b)
	change(b)
	return b
}

// resealed gives the changed batch a checksum that is right, over the bytes from the attributes on.
func resealed(b []byte, change func([]byte)) []byte {
	b = changed(b, change)
	binary.BigEndian.PutUint32(b[17:], batch.Checksum(b))
	return b
}

// unsupported is all that an unknown API or version gets.
func unsupported(body []byte) error {
	if !bytes.Equal(body, []byte{0, 35}) {
		return fmt.Errorf("got %x, want error 35", body)
	}
	return nil
}

// versionsOfOld is the answer of version 0, which every client can read, with error 35.
func versionsOfOld(body []byte) error {
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(body); err != nil {
		return fmt.Errorf("read as version 0: %w", err)
	}
	if resp.ErrorCode != kerr.UnsupportedVersion.Code {
		return fmt.Errorf("got error %d, want 35", resp.ErrorCode)
	}
	return nil
}

func produceCode(want *kerr.Error) func([]byte) error {
	return func(body []byte) error {
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = produceVersion
		// a flexible answer has tags between its header and its body
		if err := resp.ReadFrom(body[1:]); err != nil {
			return fmt.Errorf("read produce answer: %w", err)
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return fmt.Errorf("got %+v, want one partition", resp.Topics)
		}
		return same(resp.Topics[0].Partitions[0].ErrorCode, want)
	}
}

func createCode(want *kerr.Error) func([]byte) error {
	return func(body []byte) error {
		resp := kmsg.NewPtrCreateTopicsResponse()
		resp.Version = 4
		if err := resp.ReadFrom(body); err != nil {
			return fmt.Errorf("read create answer: %w", err)
		}
		if len(resp.Topics) != 1 {
			return fmt.Errorf("got %+v, want one topic", resp.Topics)
		}
		return same(resp.Topics[0].ErrorCode, want)
	}
}

func same(code int16, want *kerr.Error) error {
	if code != want.Code {
		return fmt.Errorf("got error %d, want %d %s", code, want.Code, want.Message)
	}
	return nil
}

// natsIsReadOnly: an operator reads, and asks for status; nobody else comes in at all.
func (c *cluster) natsIsReadOnly(t *testing.T) {
	address := c.nats[0][strings.LastIndexByte(c.nats[0], '@')+1:]
	for _, subject := range []string{
		"wal.1", "ack.1", "hb.1", "raft.propose.1", "raft.report.1", "catchup.1", "local.1.election",
		"sidecar.event.fake", "sidecar.tap.light.0", "$SYS.REQ.SERVER.PING",
	} {
		got := askNATS(t, address, `{"user":"ops","pass":"ops"}`, "PUB "+subject+" 5\r\nhello\r\nPING\r\n")
		if !strings.Contains(got, "Permissions Violation for Publish to") {
			t.Errorf("operator publishes to %s: got %q, want a refusal", subject, got)
		}
	}
	for _, login := range []string{`{}`, `{"user":"ops","pass":"guess"}`, `{"user":"outrigger","pass":""}`} {
		if got := askNATS(t, address, login, "PING\r\n"); !strings.Contains(got, "Authorization Violation") {
			t.Errorf("login %s: got %q, want a refusal", login, got)
		}
	}
	if got := askNATS(t, address, "\x00\x16\x03", "PING\r\n"); strings.Contains(got, "PONG") {
		t.Errorf("garbage: got %q, want the connection closed", got)
	}
}

// askNATS logs in, sends lines and returns what the server says until the first answer after them.
func askNATS(t testing.TB, address, login, lines string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "CONNECT "+login+"\r\n"+lines); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		said.Write(buf[:n])
		_, answer, _ := strings.Cut(said.String(), "\r\n") // the first line is INFO
		if err != nil || strings.Contains(answer, "PONG") || strings.Contains(answer, "-ERR") {
			return answer
		}
	}
}
