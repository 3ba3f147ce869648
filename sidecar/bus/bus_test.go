package bus_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/natsconf"
	"outrigger/sidecar/bus"
)

const patience = 10 * time.Second

// node is one embedded server and the bus on it.
type node struct {
	server *natsconf.Server
	*bus.Bus
	gaps chan bus.Lane
}

func config(id int32, routes ...string) natsconf.Config {
	return natsconf.Config{
		NodeID: id, ClusterName: "test", ClientListen: "127.0.0.1:0", ClusterListen: "127.0.0.1:0",
		ClusterSecret: "s3cret", Routes: routes,
		OpsUser: "ops", OpsPassword: "ops", SysUser: "admin", SysPassword: "admin",
	}
}

func startNode(t testing.TB, c natsconf.Config) *node {
	t.Helper()
	return startNodeBehind(t, c, func(server *natsconf.Server) bus.Server { return server })
}

// startNodeBehind is startNode with something between the bus and its server.
func startNodeBehind(t testing.TB, c natsconf.Config, between func(*natsconf.Server) bus.Server) *node {
	t.Helper()
	server, err := natsconf.Start(t.Context(), c)
	if err != nil {
		t.Fatalf("start node %d: %v", c.NodeID, err)
	}
	t.Cleanup(server.Shutdown)
	n := &node{server: server, gaps: make(chan bus.Lane, 100)}
	n.Bus, err = bus.Open(t.Context(), bus.Config{
		Server: between(server), Node: topic.NodeID(c.NodeID), OnGap: func(l bus.Lane) { n.gaps <- l },
	})
	if err != nil {
		t.Fatalf("open bus of node %d: %v", c.NodeID, err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// startCluster starts three nodes and waits until each is connected to the others.
func startCluster(t testing.TB, change func(*natsconf.Config)) (nodes [3]*node) {
	t.Helper()
	var routes []string
	for i := range nodes {
		c := config(int32(i), routes...)
		if change != nil {
			change(&c)
		}
		nodes[i] = startNode(t, c)
		routes = append(routes, nodes[i].server.ClusterAddr())
	}
	eventually(t, "full mesh", func() bool {
		return nodes[0].server.RouteCount() == 2 && nodes[1].server.RouteCount() == 2 &&
			nodes[2].server.RouteCount() == 2
	})
	return nodes
}

// eventually polls, since nothing announces that a subscription has reached another server.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		case <-ticker.C:
		}
	}
}

// subscribe collects what arrives and returns when node from can reach it.
func subscribe(t testing.TB, n *node, l bus.Lane, account, subject string, from *node) <-chan bus.Message {
	t.Helper()
	arrived := make(chan bus.Message, 10000)
	if err := n.Subscribe(l, subject, func(m bus.Message) { arrived <- m }); err != nil {
		t.Fatal(err)
	}
	if err := n.Flush(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	eventually(t, "interest in "+subject, func() bool { return from.server.Interest(account, subject) })
	return arrived
}

func receive(t testing.TB, from <-chan bus.Message) bus.Message {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(patience):
		t.Fatal("no message arrived")
		panic("unreachable")
	}
}

func publish(t testing.TB, n *node, l bus.Lane, subject string, data []byte) {
	t.Helper()
	if err := n.Publish(l, subject, data); err != nil {
		t.Fatalf("publish on %s: %v", subject, err)
	}
}

// failure mode 9: heartbeats, the Raft and the data have accounts and connections of their own, so that
// none queues behind another.
func TestEachLaneReachesTheOtherNodes(t *testing.T) {
	nodes := startCluster(t, nil)
	for _, c := range []struct {
		lane    bus.Lane
		account string
		subject string
	}{
		{bus.Heartbeat, "HB", "hb.1"},
		{bus.Raft, "RAFT", "raft.append.1"},
		{bus.Replication, "REPL", "wal.1"},
		{bus.Acks, "REPL", "ack.1"},
		{bus.Catchup, "CATCHUP", "catchup.1"},
	} {
		arrived := subscribe(t, nodes[1], c.lane, c.account, c.subject, nodes[0])
		publish(t, nodes[0], c.lane, c.subject, []byte(c.subject))
		if m := receive(t, arrived); string(m.Data) != c.subject || m.Subject != c.subject {
			t.Errorf("%s: got %q on %s", c.lane, m.Data, m.Subject)
		}
	}
}

func TestLocalSubjectDoesNotLeaveItsNode(t *testing.T) {
	nodes := startCluster(t, nil)
	for i, n := range nodes {
		err := n.QueueSubscribe(bus.Election, "local.*.election", "workers", func(m bus.Message) {
			_ = n.Respond(bus.Election, m, []byte{byte(i)})
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Flush(t.Context(), bus.Election); err != nil {
			t.Fatal(err)
		}
		if err := n.Subscribe(bus.Election, fmt.Sprintf("local.%d.mark", i), func(bus.Message) {}); err != nil {
			t.Fatal(err)
		}
	}
	// what else node 1 subscribed to in this account has arrived, so its local ones would have too
	subscribe(t, nodes[1], bus.Heartbeat, "HB", "hb.1", nodes[0])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 100 {
		answer, err := nodes[0].Request(ctx, bus.Election, "local.0.election", nil)
		if err != nil || !bytes.Equal(answer, []byte{0}) {
			t.Fatalf("got answer %v, %v, want only our own node's worker", answer, err)
		}
	}
	if _, err := nodes[0].Request(ctx, bus.Election, "local.1.mark", nil); !errors.Is(err, bus.ErrNoResponders) {
		t.Errorf("got %v for another node's local subject, want ErrNoResponders", err)
	}
}

// failure mode 6: one ordered way to each peer; TestOverflowOfABacklogIsTold is its bound.
func TestOrderOfOneLaneIsKept(t *testing.T) {
	nodes := startCluster(t, nil)
	// two publishing subjects, one wildcard subscription: one order
	arrived := subscribe(t, nodes[1], bus.Replication, "REPL", "wal.1", nodes[0])
	const count = 5000
	for i := range count {
		data := make([]byte, 8+i%700)
		binary.BigEndian.PutUint64(data, uint64(i))
		publish(t, nodes[0], bus.Replication, "wal.1", data)
	}
	for i := range count {
		m := receive(t, arrived)
		if got := binary.BigEndian.Uint64(m.Data); got != uint64(i) || len(m.Data) != 8+i%700 {
			t.Fatalf("got message %d of %d bytes, want %d", got, len(m.Data), i)
		}
	}
}

func TestLargestPayloadPassesAndLargerIsRefused(t *testing.T) {
	nodes := startCluster(t, nil)
	arrived := subscribe(t, nodes[1], bus.Replication, "REPL", "wal.1", nodes[0])
	data := bytes.Repeat([]byte("outrigger"), nodes[0].server.MaxPayload()/9+1)[:nodes[0].server.MaxPayload()]
	publish(t, nodes[0], bus.Replication, "wal.1", data)
	if m := receive(t, arrived); !bytes.Equal(m.Data, data) {
		t.Errorf("got %d other bytes, want the %d that were sent", len(m.Data), len(data))
	}
	err := nodes[0].Publish(bus.Replication, "wal.1", append(data, 0))
	if !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("got %v for one byte too many, want ErrTooLarge", err)
	}
	if err := nodes[0].PublishFrame("wal.1", [][]byte{data, {0}}); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("got %v for a frame of one byte too many, want ErrTooLarge", err)
	}
	// the refusal cost nothing but itself
	publish(t, nodes[0], bus.Replication, "wal.1", []byte("after"))
	if m := receive(t, arrived); string(m.Data) != "after" {
		t.Errorf("got %q, want the next message", m.Data)
	}
}

func TestRequestIsAnsweredAcrossNodes(t *testing.T) {
	nodes := startCluster(t, nil)
	err := nodes[2].Subscribe(bus.Raft, "raft.vote.2", func(m bus.Message) {
		if err := nodes[2].Respond(bus.Raft, m, append([]byte("re "), m.Data...)); err != nil {
			t.Errorf("respond: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "interest", func() bool { return nodes[0].server.Interest("RAFT", "raft.vote.2") })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := nodes[0].Request(ctx, bus.Raft, "raft.vote.2", []byte("vote"))
	if err != nil || string(answer) != "re vote" {
		t.Errorf("got %q, %v, want the answer", answer, err)
	}
	if _, err := nodes[0].Request(ctx, bus.Raft, "raft.vote.9", nil); !errors.Is(err, bus.ErrNoResponders) {
		t.Errorf("got %v, want ErrNoResponders", err)
	}
	if err := nodes[2].Respond(bus.Raft, bus.Message{}, nil); !errors.Is(err, bus.ErrNoReply) {
		t.Errorf("got %v for a message without a reply subject, want ErrNoReply", err)
	}
}

func TestAnswersMayComeToASubjectOfOurs(t *testing.T) {
	nodes := startCluster(t, nil)
	err := nodes[1].Subscribe(bus.Raft, "raft.vote.1", func(m bus.Message) {
		if err := nodes[1].Respond(bus.Raft, m, []byte("granted")); err != nil {
			t.Errorf("respond: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "interest", func() bool { return nodes[0].server.Interest("RAFT", "raft.vote.1") })
	answers := subscribe(t, nodes[0], bus.Raft, "RAFT", "raft.reply.0", nodes[0])
	for subject, want := range map[string]string{"raft.vote.1": "granted", "raft.vote.9": ""} {
		if err := nodes[0].PublishRequest(bus.Raft, subject, "raft.reply.0", []byte("vote")); err != nil {
			t.Fatal(err)
		}
		if m := receive(t, answers); string(m.Data) != want {
			t.Errorf("%s: got %q, want %q", subject, m.Data, want)
		}
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	n := startNode(t, config(1))
	if err := n.Subscribe(bus.Raft, "raft.vote.1", func(bus.Message) {}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := n.Request(ctx, bus.Raft, "raft.vote.1", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
}

// failure mode 14: the answer comes at once, and is an error that says so. (Who asks again waits, see
// TestRefusedProposalWaitsLongerEachTime in package node.)
func TestDeadPeerIsNoResponderAtOnce(t *testing.T) {
	nodes := startCluster(t, nil)
	subscribe(t, nodes[1], bus.Raft, "RAFT", "raft.vote.1", nodes[0])
	_ = nodes[1].Close()
	nodes[1].server.Shutdown()
	eventually(t, "interest goes with the peer", func() bool {
		return !nodes[0].server.Interest("RAFT", "raft.vote.1")
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := nodes[0].Request(ctx, bus.Raft, "raft.vote.1", nil); !errors.Is(err, bus.ErrNoResponders) {
		t.Errorf("got %v, want ErrNoResponders", err)
	}
}

// failure mode 6: a peer that takes nothing costs a bounded backlog, and holds up nobody.
func TestOverflowOfABacklogIsTold(t *testing.T) {
	n := startNode(t, config(1))
	// the largest backlog that Acks allows is 32 MiB
	release := make(chan struct{})
	first := make(chan struct{}, 100)
	err := n.Subscribe(bus.Acks, "ack.1", func(bus.Message) {
		first <- struct{}{}
		<-release
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Flush(t.Context(), bus.Acks); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 1<<20)
	publish(t, n, bus.Replication, "ack.1", data)
	<-first
	for range 40 {
		publish(t, n, bus.Replication, "ack.1", data)
	}
	select {
	case lane := <-n.gaps:
		if lane != bus.Acks {
			t.Errorf("got a gap of lane %s, want %s", lane, bus.Acks)
		}
	case <-time.After(patience):
		t.Error("messages were dropped in silence")
	}
	close(release)
}

// severed lets a test break the connections that it handed out.
type severed struct {
	*natsconf.Server
	conns chan net.Conn
}

func (s severed) InProcessConn() (net.Conn, error) {
	conn, err := s.Server.InProcessConn()
	if err == nil {
		s.conns <- conn
	}
	return conn, err
}

func TestLaneComesBackAndTellsOfTheGap(t *testing.T) {
	conns := make(chan net.Conn, 100)
	n := startNodeBehind(t, config(1), func(server *natsconf.Server) bus.Server { return severed{server, conns} })
	arrived := make(chan bus.Message, 10)
	if err := n.Subscribe(bus.Heartbeat, "hb.1", func(m bus.Message) { arrived <- m }); err != nil {
		t.Fatal(err)
	}
	// lanes connect in their order, so this is the heartbeat's
	(<-conns).Close()
	select {
	case lane := <-n.gaps:
		if lane != bus.Heartbeat {
			t.Fatalf("got a gap of lane %s, want %s", lane, bus.Heartbeat)
		}
	case <-time.After(patience):
		t.Fatal("the lane did not come back")
	}
	// the lane does not hear itself; another one of its account does the talking
	if err := n.Publish(bus.Election, "hb.1", []byte("again")); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, arrived); string(m.Data) != "again" {
		t.Errorf("got %q, want the message sent after the reconnect", m.Data)
	}
}

// slow lets a test hold back what a server learns of subscriptions, while whoever has sent it goes on, as over a network.
type slow struct {
	severed
	held    chan struct{}
	release chan struct{}
}

type slowConn struct {
	net.Conn
	writes chan []byte
}

func (s slow) InProcessConn() (net.Conn, error) {
	conn, err := s.severed.InProcessConn()
	if err != nil {
		return nil, err
	}
	late := slowConn{conn, make(chan []byte, 1000)}
	go func() {
		for p := range late.writes {
			if bytes.Contains(p, []byte("SUB hb.1 ")) {
				s.held <- struct{}{}
				<-s.release
			}
			_, _ = conn.Write(p) // an error is read, too
		}
	}()
	return late, nil
}

func (c slowConn) Write(p []byte) (int, error) {
	c.writes <- bytes.Clone(p)
	return len(p), nil
}

// Whoever hears of a gap asks again for what was lost in it. So it is told when it is over: what is sent from then on
// arrives. nats.go says that it is connected when it has sent the subscriptions, not when the server knows them.
func TestGapIsOverWhenItIsTold(t *testing.T) {
	s := slow{severed{conns: make(chan net.Conn, 100)}, make(chan struct{}), make(chan struct{})}
	n := startNodeBehind(t, config(1), func(server *natsconf.Server) bus.Server {
		s.Server = server
		return s
	})
	if err := n.Subscribe(bus.Heartbeat, "hb.1", func(bus.Message) {}); err != nil {
		t.Fatal(err)
	}
	<-s.held
	s.release <- struct{}{}
	if err := n.Flush(t.Context(), bus.Heartbeat); err != nil {
		t.Fatal(err)
	}
	(<-s.conns).Close() // the heartbeat's
	select {
	case <-s.held:
	case <-time.After(patience):
		t.Fatal("the subscription is not sent again")
	}
	select {
	case <-n.gaps:
		t.Error("the gap is told before the server knows the subscription")
	case <-time.After(200 * time.Millisecond): // long for a goroutine that has nothing to wait for
	}
	close(s.release)
	select {
	case <-n.gaps:
	case <-time.After(patience):
		t.Error("the gap is not told")
	}
}

// failure mode 44: nothing is kept to be sent after a reconnect.
func TestPublishWithoutConnectionIsAnError(t *testing.T) {
	n := startNode(t, config(1))
	n.server.Shutdown()
	eventually(t, "publish fails", func() bool {
		return errors.Is(n.Publish(bus.Raft, "raft.vote.1", nil), bus.ErrDisconnected)
	})
	_ = n.Close()
	if err := n.Publish(bus.Raft, "raft.vote.1", nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("got %v after Close, want ErrClosed", err)
	}
	if err := n.Flush(t.Context(), bus.Raft); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("got %v after Close, want ErrClosed", err)
	}
}

func TestOpenTellsWhichLaneFailed(t *testing.T) {
	server, err := natsconf.Start(t.Context(), config(1))
	if err != nil {
		t.Fatal(err)
	}
	server.Shutdown()
	_, err = bus.Open(t.Context(), bus.Config{Server: server, Node: 1})
	if err == nil || !strings.Contains(err.Error(), "lane heartbeat") {
		t.Errorf("got %v, want the lane named", err)
	}
}
