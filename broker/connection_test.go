package broker

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestChurnOfConnectionsLeavesNothingBehind (failure mode 15): clients that leave in the middle of
// everything.
func TestChurnOfConnectionsLeavesNothingBehind(t *testing.T) {
	h := start(t)
	three(h, "churn")
	h.cluster.hold()
	warm := h.dial()
	warm.ask(kmsg.NewPtrMetadataRequest())
	const open = "kafka_server_socketservermetrics_connection_count"
	before, connections := runtime.NumGoroutine(), h.metric(open)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 150 {
				churn(h, worker+i)
			}
		})
	}
	all.Wait()
	eventually(t, "all connections are gone", func() bool {
		return h.metric(open) <= connections && runtime.NumGoroutine() <= before
	})
	h.census.mu.Lock()
	if h.census.open > int(connections) || h.census.perIP["127.0.0.1"] != h.census.open {
		t.Errorf("census: got %d, %v, want what is open", h.census.open, h.census.perIP)
	}
	h.census.mu.Unlock()
	if !h.memory.TryAcquire(h.config.Connections.NodeInFlightBytes) {
		t.Errorf("memory of requests in flight was not given back")
	}
}

// churn opens a connection, leaves something undone and goes away.
func churn(h *harness, kind int) {
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		h.Errorf("dial: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	switch kind % 5 {
	case 0:
	case 1:
		_, _ = conn.Write([]byte{0, 0, 1, 0, 0, 3})
	case 2:
		_, _ = conn.Write(formatter.AppendRequest(nil, longPoll("churn", 9, 1), 1))
	case 3:
		large := plainBatch(string(make([]byte, 10_000)))
		q := produceOf(9, "churn", 1, -1, large)
		_, _ = conn.Write(formatter.AppendRequest(nil, q, 1))
	case 4:
		_, _ = conn.Write(formatter.AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 1))
		_, _ = conn.Read(make([]byte, 4))
	}
}

// TestStopLeavesTimeForTheRest: a consumer that takes no byte of its answer must not use up what the
// node has left for draining its log, or the stop counts as unclean.
func TestStopLeavesTimeForTheRest(t *testing.T) {
	const brokerWithin = 1500 * time.Millisecond // of the node's stop
	h := start(t)
	h.create("slow", 1)
	c := h.dial()
	for range 32 {
		c.ask(produceOf(9, "slow", 0, -1, plainBatch(string(make([]byte, 900_000)))))
	}
	for i := range int32(4) {
		q := fetchOf(11, "slow", 0, 0)
		q.MaxBytes, q.Topics[0].Partitions[0].PartitionMaxBytes = 32<<20, 32<<20
		c.send(i, q)
	}
	if _, err := c.Read(make([]byte, 4)); err != nil {
		t.Fatalf("read the beginning of an answer: %v", err)
	}
	began := time.Now()
	h.stop()
	if took := time.Since(began); took >= brokerWithin {
		t.Errorf("stop with a client that does not read took %v, want less than %v", took, brokerWithin)
	}
}

// TestTooManyConnectionsAreTurnedAway, per node and per address, and counted.
func TestTooManyConnectionsAreTurnedAway(t *testing.T) {
	for name, limit := range map[string]func(*Config){
		"per node":    func(c *Config) { c.Connections.Max = 3 },
		"per address": func(c *Config) { c.Connections.MaxPerIP = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, limit)
			var open []*rawClient
			for range 3 {
				c := h.dial()
				c.ask(kmsg.NewPtrApiVersionsRequest())
				open = append(open, c)
			}
			h.dial().ended()
			if got := h.metric("outrigger_broker_connections_refused_total"); got != 1 {
				t.Errorf("refused: got %v, want 1", got)
			}
			_ = open[0].Close()
			eventually(t, "there is room again", func() bool {
				return h.metric("kafka_server_socketservermetrics_connection_count") == 2
			})
			h.dial().ask(kmsg.NewPtrApiVersionsRequest())
		})
	}
}

// TestWaitingClientIsNotIdle: a long poll outlives the idle time.
func TestWaitingClientIsNotIdle(t *testing.T) {
	h := start(t, func(c *Config) { c.Connections.Idle = 30 * time.Millisecond })
	three(h, "patient")
	q := longPoll("patient", 9, 1)
	q.MaxWaitMillis = 150
	c := h.dial()
	onlyCode(t, "fetch", onlyFetched(c.ask(q)).ErrorCode)
	c.ended()
}

// TestFullConnectionStopsReading: requests in flight are bounded, in number and in bytes, and go on
// when there is room.
func TestFullConnectionStopsReading(t *testing.T) {
	for name, limit := range map[string]func(*Config){
		"number": func(c *Config) { c.Connections.InFlight = 4 },
		"bytes":  func(c *Config) { c.Connections.InFlightBytes = 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, limit)
			h.create("full", 1)
			h.cluster.hold()
			log := h.cluster.log(t, "full", 0)
			c := h.dial()
			var sent []kmsg.Request
			for range 50 {
				sent = append(sent, produceOf(9, "full", 0, -1, plainBatch("0123456789")))
			}
			c.send(0, sent...)
			eventually(t, "some are appended", func() bool { return log.State().LogEnd >= 3 })
			h.dial().ask(kmsg.NewPtrMetadataRequest())
			if end := log.State().LogEnd; end > 12 {
				t.Errorf("appended: got %d, want no more than fit", end)
			}
			h.cluster.release()
			for i, q := range sent {
				onlyCode(t, "produce", onlyProduced(c.receive(int32(i), q)).ErrorCode)
			}
		})
	}
}

// TestStoppingAnswersWhatWaits: a produce that waits is told that its outcome is unknown, a poll gets
// what there is, and then the connection ends.
func TestStoppingAnswersWhatWaits(t *testing.T) {
	h := start(t)
	three(h, "stop")
	h.cluster.hold()
	producer, poller := h.dial(), h.dial()
	produce, poll := produceOf(9, "stop", 0, -1, plainBatch("a")), longPoll("stop", 9, 1)
	producer.send(1, produce)
	poller.send(1, poll)
	eventually(t, "both wait", func() bool {
		return h.cluster.log(t, "stop", 0).State().LogEnd == 10 &&
			h.metric("kafka_network_requestmetrics_requests_total", "Fetch") == 1
	})
	began := time.Now()
	h.stop()
	expectCode(t, "produce", onlyProduced(producer.receive(1, produce)).ErrorCode, codeRequestTimedOut)
	producer.ended()
	onlyCode(t, "fetch", onlyFetched(poller.receive(1, poll)).ErrorCode)
	poller.ended()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if _, err := net.Dial("tcp", h.address); err == nil {
		t.Errorf("dial after the stop: got a connection")
	}
}

// TestListenerWaitsInTheKernel: clients may connect before Run, since a node listens first.
func TestListenerWaitsInTheKernel(t *testing.T) {
	s, err := Listen(deadline(t), []Listener{{Name: "PLAINTEXT", Addresses: []string{"127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.open[0].Addr().String())
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer func() { _ = conn.Close() }()
	c := &rawClient{t, conn}
	c.send(7, kmsg.NewPtrMetadataRequest())
	start(t, func(config *Config) { config.Sockets = s })
	c.receive(7, kmsg.NewPtrMetadataRequest())
}

// TestClientThatTakesNoAnswersIsDropped instead of holding its writer for ever.
func TestClientThatTakesNoAnswersIsDropped(t *testing.T) {
	h := start(t, func(c *Config) { c.Connections.Idle = time.Second })
	h.create("big", 1)
	c := h.dial()
	onlyCode(t, "produce", onlyProduced(c.ask(produceOf(9, "big", 0, -1, plainBatch(string(make([]byte, 900<<10)))))).ErrorCode)
	stuffed, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stuffed.Close() }()
	for range 30 {
		if _, err := stuffed.Write(formatter.AppendRequest(nil, fetchOf(12, "big", 0, 0), 1)); err != nil {
			break
		}
	}
	eventually(t, "the connection is gone", func() bool {
		_ = stuffed.SetWriteDeadline(time.Now().Add(time.Millisecond))
		_, err := stuffed.Write([]byte{0})
		return err != nil && !errors.Is(err, net.ErrClosed) && !isTimeout(err)
	})
}
