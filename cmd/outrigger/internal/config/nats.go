package config

import (
	"fmt"
	"strconv"

	"outrigger/broker/topic"
)

// clusterPort is what NATS calls its own for clusters.
const clusterPort = 6222

func (b *builder) nats(node Node) NATS {
	n := NATS{
		Client:        b.address(keyNATSClient),
		Cluster:       b.clusterAddress(node),
		ClusterSecret: b.text(keyNATSSecret),
		Ops:           Login{b.text(keyNATSOpsUser), b.text(keyNATSOpsPassword)},
		Sys:           Login{b.text(keyNATSSysUser), b.text(keyNATSSysPassword)},
		File:          b.text(keyNATSConfig),
		Tap:           b.text(keyNATSTap),
		Feeds:         b.flag(keyNATSFeeds),
	}
	if n.Ops.User == n.Sys.User {
		b.refuse(&Refusal{keyNATSSysUser, n.Sys.User, "it is the name of " + keyNATSOpsUser + " too"})
	}
	if n.Cluster != (Address{}) && !n.Cluster.Loopback() && n.ClusterSecret == "" {
		// Whoever reaches the route port and is believed may act in any account: it is the crown
		// jewel, and a guess about the network is not a lock.
		b.refuse(&Refusal{keyNATSCluster, n.Cluster.String(), fmt.Sprintf(
			"other machines can reach it, so %s is needed, the same on every broker", keyNATSSecret)})
	}
	return n
}

// clusterAddress is where the other brokers connect. Unset, it follows this node's entry among the
// voters; its host is then every address, unless the voters' entry is on loopback.
func (b *builder) clusterAddress(node Node) Address {
	if b.text(keyNATSCluster) != "" {
		return b.address(keyNATSCluster)
	}
	own, voter := findVoter(node.Voters, node.ID)
	alone := len(node.Voters) == 0 || (voter && len(node.Voters) == 1)
	if alone || node.ID == topic.NoNode {
		return Address{}
	}
	derived := Address{Host: "0.0.0.0", Port: clusterPort}
	if voter {
		derived.Port = own.Port
	}
	if voter && own.Loopback() {
		derived.Host = own.Host
	}
	b.derive(keyNATSCluster, derived.String(), "from "+keyVoters+", port "+strconv.Itoa(derived.Port))
	return derived
}

func (b *builder) address(key string) Address {
	address, err := ParseAddress(b.text(key))
	if err != nil {
		b.refuse(&Refusal{key, b.text(key), err.Error()})
	}
	return address
}
