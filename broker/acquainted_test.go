package broker

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// A broker that has just started knows of no broker. A client that were told so would have lost its
// bootstrap servers: it waits, and is told of those that there are.
func TestBrokerThatKnowsNobodyKeepsClientsWaiting(t *testing.T) {
	cluster := newSoleCluster(testNode)
	b, err := New(Config{Node: testNode, Listeners: []Listener{{Name: "PLAINTEXT", Addresses: []string{"127.0.0.1:0"}}}},
		cluster, openStore(t, cluster, func(*partition.Config) {}), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	runUntilStopped(t, b.Run)
	e := b.Endpoints()[0]
	conn, err := net.Dial("tcp", net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	q := kmsg.NewPtrMetadataRequest()
	q.Version = 6
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, q, 7)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if n, err := io.ReadFull(conn, size[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes and %v while no broker is known, want none", n, err)
	}
	cluster.addBroker(topic.Broker{ID: testNode, Session: 1, Endpoints: b.Endpoints()})
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	response := q.ResponseKind().(*kmsg.MetadataResponse)
	if err := response.ReadFrom(body[4:]); err != nil || len(response.Brokers) != 1 {
		t.Errorf("got %d brokers, %v, want one", len(response.Brokers), err)
	}
}
