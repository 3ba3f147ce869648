package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	watcherTopics     = 20
	watcherPartitions = 100
)

// failure modes 1, 2 and 11, the regression that started this project: a broker that leads 2,000
// partitions dies. The watchers see it, one proposal fences it and elects for all of them, and
// meanwhile nobody else stands still.
func TestDeadLeaderOfThousandsIsOneProposal(t *testing.T) {
	t.Run("a follower of the Raft dies", func(t *testing.T) {
		c := start(t, options{})
		c.dieLeadingThousands((c.controller()+1)%3, 1)
	})
	t.Run("the Raft leader dies", func(t *testing.T) {
		c := start(t, options{})
		// the new leader's own first entry, and the proposal
		c.dieLeadingThousands(c.controller(), 2)
	})
}

// dieLeadingThousands lets one broker lead every partition, kills it, and measures what clients of
// the others see. commits is how many entries of the metadata log that may cost.
func (c *cluster) dieLeadingThousands(victim int, commits float64) {
	t := c.t
	t.Helper()
	began := time.Now()
	c.createLedBy(victim)
	t.Logf("%d partitions led by broker %d: %s", watcherTopics*watcherPartitions, victim+1, time.Since(began).Round(time.Millisecond))
	c.healthy(30 * time.Second)

	var survivors []int
	for i := range c.kafka {
		if i != victim {
			survivors = append(survivors, i)
		}
	}
	before := c.commitIndex([]int{0, 1, 2})
	probes := make([]*probe, len(survivors))
	for n, i := range survivors {
		probes[n] = startProbe(t, c.kafka[i])
	}
	at := c.log.size()
	killed := time.Now()
	c.signal(victim, syscall.SIGKILL)
	for _, i := range survivors {
		c.allLed(i, victim)
	}
	led := time.Since(killed)
	c.writeEverywhere(survivors)
	written := time.Since(killed)
	// A second proposal for what is done would come with the next ticks of watchers that are not
	// satisfied; there are several in a leader timeout.
	<-time.After(leaderTimeout)
	after := c.commitIndex(survivors)
	for n, p := range probes {
		p.stop()
		p.judge(t, survivors[n]+1)
	}
	t.Logf("every partition has a leader after %s, and has acknowledged a record after %s; %.0f entries committed",
		led.Round(time.Millisecond), written.Round(time.Millisecond), after-before)
	if after-before > commits {
		t.Errorf("%.0f entries were committed to the metadata log, want %.0f\n%s", after-before, commits, c.log.from(at))
	}
	if led > 5*time.Second {
		t.Errorf("leaders for all partitions took %s, want at most 5 s", led)
	}
}

// createLedBy creates the topics so that every partition is led by one broker.
func (c *cluster) createLedBy(leader int) {
	t := c.t
	t.Helper()
	q := kmsg.NewPtrCreateTopicsRequest()
	q.TimeoutMillis = 20_000
	for n := range watcherTopics {
		created := kmsg.NewCreateTopicsRequestTopic()
		created.Topic = "led-" + strconv.Itoa(n)
		created.NumPartitions, created.ReplicationFactor = -1, -1
		for p := range watcherPartitions {
			placed := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			placed.Partition = int32(p)
			for r := range 3 {
				placed.Replicas = append(placed.Replicas, int32((leader+r)%3)+1)
			}
			created.ReplicaAssignment = append(created.ReplicaAssignment, placed)
		}
		q.Topics = append(q.Topics, created)
	}
	resp := request(t, c.kafka[0], q).(*kmsg.CreateTopicsResponse)
	for _, created := range resp.Topics {
		if err := kerr.ErrorForCode(created.ErrorCode); err != nil {
			t.Fatalf("create %s: %v", created.Topic, err)
		}
	}
}

// request sends one request to one broker.
func request(t testing.TB, address string, q kmsg.Request) kmsg.Response {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DialTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := client.SeedBrokers()[0].Request(ctx, q)
	if err != nil {
		t.Fatalf("%s to %s: %v", kmsg.NameForKey(q.Key()), address, err)
	}
	return resp
}

// commitIndex is the highest index that any of the brokers knows to be committed.
func (c *cluster) commitIndex(brokers []int) float64 {
	c.t.Helper()
	highest := 0.0
	for _, i := range brokers {
		highest = max(highest, c.metric(i, "outrigger_raft_commit_index"))
	}
	return highest
}

// allLed waits until a broker tells clients of a living leader for every partition.
func (c *cluster) allLed(broker, dead int) {
	c.t.Helper()
	c.eventually(20*time.Second, "leaders of all partitions", func() error {
		resp := request(c.t, c.kafka[broker], kmsg.NewPtrMetadataRequest()).(*kmsg.MetadataResponse)
		led, others := 0, 0
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				if p.Leader >= 0 && int(p.Leader) != dead+1 && p.ErrorCode == 0 {
					led++
				} else {
					others++
				}
			}
		}
		if led < watcherTopics*watcherPartitions || others > 0 {
			return fmt.Errorf("%d partitions have a leader, %d have not", led, others)
		}
		return nil
	})
}

// writeEverywhere produces one record to every partition.
func (c *cluster) writeEverywhere(brokers []int) {
	c.t.Helper()
	var seeds []string
	for _, i := range brokers {
		seeds = append(seeds, c.kafka[i])
	}
	// an idempotent producer's id would be an entry of the metadata log
	client, err := kgo.NewClient(clientOptions(seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableIdempotentWrite())...)
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for n := range watcherTopics {
		for p := range watcherPartitions {
			records = append(records, &kgo.Record{Topic: "led-" + strconv.Itoa(n), Partition: int32(p), Value: []byte("after")})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		c.t.Fatalf("write to every partition: %v", err)
	}
}

// probe asks a broker for its ApiVersions every 10 ms, whether or not it has answered the last, and
// notes how long each answer took.
type probe struct {
	conn    net.Conn
	ending  chan struct{}
	workers sync.WaitGroup
	mu      struct {
		sync.Mutex
		sent []time.Time
		took []time.Duration
		err  error
	}
}

const probeEvery = 10 * time.Millisecond

func startProbe(t testing.TB, address string) *probe {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &probe{conn: conn, ending: make(chan struct{})}
	p.workers.Go(p.ask)
	p.workers.Go(p.listen)
	return p
}

func (p *probe) ask() {
	//	size | key 18, version 0 | correlation id | client id
	frame := []byte{0, 0, 0, 15, 0, 18, 0, 0, 0, 0, 0, 0, 0, 5, 'p', 'r', 'o', 'b', 'e'}
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.ending:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		p.mu.sent = append(p.mu.sent, time.Now())
		p.mu.Unlock()
		if _, err := p.conn.Write(frame); err != nil {
			p.fail(err)
			return
		}
	}
}

func (p *probe) listen() {
	r := bufio.NewReader(p.conn)
	var size [4]byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(r, size[:]); err != nil {
			p.fail(err)
			return
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(size[:]))); err != nil {
			p.fail(err)
			return
		}
		p.mu.Lock()
		p.mu.took = append(p.mu.took, time.Since(p.mu.sent[n]))
		p.mu.Unlock()
	}
}

func (p *probe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.err == nil && !errors.Is(err, net.ErrClosed) {
		p.mu.err = err
	}
}

// stop waits a moment for the last answers: what is not answered by then counts with its age.
func (p *probe) stop() {
	close(p.ending)
	_ = p.conn.(*net.TCPConn).CloseWrite()
	_ = p.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	p.workers.Wait()
	_ = p.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sent := range p.mu.sent[len(p.mu.took):] {
		p.mu.took = append(p.mu.took, time.Since(sent))
	}
}

// judge holds the answers against what the issue allows: p99 under 100 ms, none over a second.
func (p *probe) judge(t testing.TB, broker int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.err != nil && !errors.Is(p.mu.err, io.EOF) {
		t.Errorf("ApiVersions to broker %d: %v", broker, p.mu.err)
	}
	if len(p.mu.took) < 100 {
		t.Fatalf("ApiVersions to broker %d: got %d answers, want at least 100", broker, len(p.mu.took))
	}
	slices.Sort(p.mu.took)
	at := func(q int) time.Duration { return p.mu.took[(len(p.mu.took)-1)*q/100] }
	t.Logf("ApiVersions to broker %d: %d answers, p50 %s, p99 %s, max %s",
		broker, len(p.mu.took), at(50), at(99), at(100))
	if at(99) > 100*time.Millisecond || at(100) > time.Second {
		t.Errorf("ApiVersions to broker %d: p99 %s, max %s, want under 100 ms and 1 s", broker, at(99), at(100))
	}
}
