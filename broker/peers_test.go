package broker

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// behindExternal gives a broker a first listener whose advertised address nobody can reach, as one that is
// meant for clients elsewhere, and a second one for brokers.
func behindExternal(c *Config) {
	loopback := []string{"127.0.0.1:0"}
	c.Listeners = []Listener{
		{Name: "EXTERNAL", Addresses: loopback, AdvertisedHost: "127.0.0.1", AdvertisedPort: 1},
		{Name: "INTERNAL", Addresses: loopback},
	}
	c.PeerListener = "INTERNAL"
}

// startThree runs brokers 1 to 3 that know each other. Each leads the partition of topic t below its number,
// and broker 1 coordinates all transactions.
func startThree(tb testing.TB, edit ...func(*Config)) []*harness {
	tb.Helper()
	var all []*harness
	var registered []topic.Broker
	for node := topic.NodeID(1); node <= 3; node++ {
		h := startNode(tb, node, func(*partition.Config) {}, edit...)
		own, _ := h.cluster.View().Broker(node)
		all, registered = append(all, h), append(registered, own)
	}
	topics := []topic.Creation{
		{ID: newTopicID(), Name: "t", Partitions: 3},
		{ID: newTopicID(), Name: transactionsTopic, Partitions: 1, Internal: true},
	}
	for _, h := range all {
		h.cluster.publish(func(v *soleView) { v.controller, v.brokers = 1, registered })
		for _, creation := range topics {
			if err := h.cluster.create(creation); err != nil {
				tb.Fatalf("create %s: %v", creation.Name, err)
			}
		}
		h.cluster.move(tb, transactionsTopic, 0, 1, 1)
		for index := range int32(3) {
			h.cluster.move(tb, "t", index, topic.NodeID(index+1), 1)
		}
	}
	return all
}

// TestBrokersAskEachOtherAtTheListenerNamedForThem: the first one leads nowhere, and a transaction over
// partitions of all brokers is verified by each, and ended by its marker.
func TestBrokersAskEachOtherAtTheListenerNamedForThem(t *testing.T) {
	all := startThree(t, behindExternal)
	inside := all[0].Endpoints()[1]
	all[0].address = net.JoinHostPort(inside.Host, strconv.Itoa(int(inside.Port)))
	client := all[0].client(kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for index := range int32(3) {
		record := &kgo.Record{Topic: "t", Partition: index, Value: []byte("v")}
		if err := client.ProduceSync(deadline(t), record).FirstErr(); err != nil {
			t.Fatalf("produce to partition %d: %v", index, err)
		}
	}
	if err := client.EndTransaction(deadline(t), kgo.TryCommit); err != nil {
		t.Fatalf("end: %v", err)
	}
	for index, h := range all {
		log := h.cluster.log(t, "t", int32(index))
		eventually(t, fmt.Sprintf("marker in partition %d", index), func() bool {
			s := log.State()
			return s.LogEnd == 2 && s.LastStable == 2
		})
	}
}

// TestListenerForBrokersMustBeOpened: a broker that could ask nobody does not start.
func TestListenerForBrokersMustBeOpened(t *testing.T) {
	config := Config{Node: testNode, PeerListener: "INSIDE",
		Listeners: []Listener{{Name: "A", Addresses: []string{"127.0.0.1:0"}}, {Name: "B", Addresses: []string{"127.0.0.1:0"}}}}
	_, err := New(config, newSoleCluster(testNode), nil, nil, prometheus.NewRegistry())
	if want := "inter.broker.listener.name: INSIDE is none of the listeners A, B"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
