package sidecar

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
)

// Config is what a Sidecar is made of. Durations that are zero take the default named beside them.
type Config struct {
	Node topic.NodeID
	// Session is drawn at random at every process start and never zero.
	Session topic.Session
	// Disk is who votes, Log whose records count: a log that lost some has another id than before, and
	// the metadata store keeps its own. Log is Disk unless given.
	Disk, Log topic.DiskID
	// ClusterID is the configured one, empty if the first controller shall draw it.
	ClusterID string
	// Metadata is the node's metadata store. The sidecar closes it.
	Metadata *MetadataStore
	// CleanStop says that the previous run on this disk stopped cleanly, FlushAlways that it synced
	// before it acknowledged. Either keeps what it held trustworthy.
	CleanStop, FlushAlways bool
	// Voters are the configured voters of the metadata Raft, the same on every node.
	Voters []topic.NodeID
	// Endpoints are the addresses that clients are told.
	Endpoints     []topic.Endpoint
	Rack, Version string
	// MessageBytesMax is message.max.bytes, which must be the same on all brokers. 0 says nothing of it.
	MessageBytesMax int32
	// BatchBytesMax is the largest batch that this node can carry if a topic's max.message.bytes allows it.
	BatchBytesMax int32

	// HeartbeatInterval is replica.heartbeat.interval.ms. Default 300 ms.
	HeartbeatInterval time.Duration
	// LeaderTimeout is replica.leader.timeout.ms: how long a silent node keeps what it leads. Default
	// 1.2 s; at least three heartbeats.
	LeaderTimeout time.Duration
	// RaftTick is the Raft's unit of time. Default 150 ms.
	RaftTick time.Duration
	// RaftElectionTimeout is the least silence after which a voter campaigns. Default 1 s, drawn up to twice that; at least
	// six ticks, since a leader beats every second tick.
	RaftElectionTimeout time.Duration
	// ReplicaLagTimeMax is replica.lag.time.max.ms. Default 30 s.
	ReplicaLagTimeMax time.Duration
	// MinInSyncReplicas is the cluster's min.insync.replicas. Default 1.
	MinInSyncReplicas int
	// UncleanElection is the cluster's unclean.leader.election.enable.
	UncleanElection bool
	// LeaderImbalanceCheckInterval is leader.imbalance.check.interval.seconds: how often the controller
	// gives leaderships back to preferred leaders, 0 for never (auto.leader.rebalance.enable=false).
	LeaderImbalanceCheckInterval time.Duration
	// LeaderImbalancePercent is leader.imbalance.per.broker.percentage: what a broker may lack of the
	// leaderships that prefer it.
	LeaderImbalancePercent int
	// WindowBytes bounds what is sent to one follower and not acknowledged. Default 16 MiB.
	WindowBytes int64

	Bus *bus.Bus
	// Routes lists the server names of the peers that are connected now; nil gives no hints.
	Routes func() []string
	// RoutesCue says that Routes may change soon; nil: nobody says so, and a lost route is noticed up to
	// a heartbeat interval later.
	RoutesCue <-chan struct{}
	// FeedOffer is what a peer's FeedFrom needs for a connection to our server by which it takes frames, empty if there
	// is none. nil: none.
	FeedOffer func() []byte
	// FeedFrom says where and how the feed is opened that a peer has offered. nil: routes carry all frames.
	FeedFrom func(peer int32, offer []byte) (address, user, password string, err error)
	// NodeOf tells the node behind a server name.
	NodeOf func(serverName string) (int32, bool)
	Logs   *partition.Store
	// Now is the monotonic clock that Logs was opened with.
	Now        func() time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	setDefault(&c.HeartbeatInterval, 300*time.Millisecond)
	setDefault(&c.LeaderTimeout, 1200*time.Millisecond)
	setDefault(&c.RaftTick, 150*time.Millisecond)
	setDefault(&c.RaftElectionTimeout, 1000*time.Millisecond)
	setDefault(&c.ReplicaLagTimeMax, 30*time.Second)
	setDefault(&c.MinInSyncReplicas, 1)
	setDefault(&c.WindowBytes, 16<<20)
	setDefault(&c.Log, c.Disk)
	if c.Routes == nil {
		c.Routes = func() []string { return nil }
	}
	if c.FeedOffer == nil {
		c.FeedOffer = func() []byte { return nil }
	}
	if c.NodeOf == nil {
		c.NodeOf = func(string) (int32, bool) { return 0, false }
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

func (c Config) validate() error {
	switch {
	case c.Session == 0 || c.Disk.IsZero():
		return errors.New("validate sidecar config: session and disk id are required")
	case c.Bus == nil || c.Logs == nil || c.Metadata == nil || c.Now == nil || c.Logger == nil:
		return errors.New("validate sidecar config: bus, logs, metadata store, clock and logger are required")
	case len(c.Voters) == 0:
		return errors.New("validate sidecar config: no voters")
	case c.LeaderTimeout < 3*c.HeartbeatInterval:
		return fmt.Errorf("replica.leader.timeout.ms %d must be at least three times replica.heartbeat.interval.ms %d",
			c.LeaderTimeout.Milliseconds(), c.HeartbeatInterval.Milliseconds())
	case c.LeaderTimeout < 3*c.RaftTick:
		return fmt.Errorf("replica.leader.timeout.ms %d must be at least three times raft.tick.ms %d",
			c.LeaderTimeout.Milliseconds(), c.RaftTick.Milliseconds())
	case c.RaftElectionTimeout < raftHeartbeatTicks*3*c.RaftTick:
		return fmt.Errorf("raft.election.timeout.ms %d must be at least %d times raft.tick.ms %d",
			c.RaftElectionTimeout.Milliseconds(), raftHeartbeatTicks*3, c.RaftTick.Milliseconds())
	}
	return nil
}

// raftHeartbeatTicks is how many ticks lie between two beats of the controller.
const raftHeartbeatTicks = 2
