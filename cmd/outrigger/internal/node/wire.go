package node

import (
	"time"

	"outrigger/broker"
	"outrigger/broker/topic"
	"outrigger/natsconf"
	"outrigger/sidecar"
	"outrigger/sidecar/bus"
)

// newSidecar joins the replication side to the parts that it stands on. This file is the only place
// that knows how a sidecar is made.
func (n *node) newSidecar(clock func() time.Duration) (replication, error) {
	cfg, identity := n.Config, n.dir.Identity()
	defer func() { n.metadata = nil }() // It is the sidecar's from here on.
	side, err := sidecar.New(sidecar.Config{
		Node:                         cfg.Node.ID,
		Session:                      n.session,
		Disk:                         identity.Disk,
		Log:                          identity.Log,
		ClusterID:                    identity.Cluster,
		Metadata:                     n.metadata,
		CleanStop:                    n.dir.CleanStop(),
		FlushAlways:                  n.dir.FlushedAlways(),
		Voters:                       n.voters(),
		Endpoints:                    n.sockets.Endpoints(),
		Rack:                         cfg.Node.Rack,
		Version:                      n.Version,
		MessageBytesMax:              int32(cfg.Kafka.MessageBytesMax),
		BatchBytesMax:                int32(batchBytesMax(cfg)),
		HeartbeatInterval:            cfg.Replica.Heartbeat,
		LeaderTimeout:                cfg.Replica.LeaderTimeout,
		RaftTick:                     cfg.Replica.RaftTick,
		RaftElectionTimeout:          cfg.Replica.RaftElection,
		ReplicaLagTimeMax:            cfg.Replica.LagTimeMax,
		LeaderImbalanceCheckInterval: cfg.Replica.BalanceInterval,
		LeaderImbalancePercent:       cfg.Replica.BalancePercent,
		MinInSyncReplicas:            cfg.Kafka.Topics.MinInSyncReplicas,
		UncleanElection:              cfg.Kafka.Topics.Unclean,
		Bus:                          n.bus,
		Routes:                       n.nats.Routes,
		RoutesCue:                    n.nats.RoutesCue(),
		FeedOffer:                    n.nats.FeedOffer,
		FeedFrom:                     n.nats.FeedFrom,
		NodeOf:                       natsconf.NodeOf,
		Logs:                         n.logs,
		Now:                          clock,
		Logger:                       n.Logger,
		Registerer:                   n.registry,
	})
	if err != nil {
		return nil, err
	}
	return joined{side}, nil
}

// joined shows the sidecar to the broker, which knows views by its own interface.
type joined struct{ *sidecar.Sidecar }

// View implements broker.Cluster.
func (j joined) View() broker.View { return j.Sidecar.View() }

// voters are the configured ones; a broker without any is its own.
func (n *node) voters() []topic.NodeID {
	voters := make([]topic.NodeID, 0, len(n.Config.Node.Voters))
	for _, voter := range n.Config.Node.Voters {
		voters = append(voters, voter.ID)
	}
	if len(voters) == 0 {
		return []topic.NodeID{n.Config.Node.ID}
	}
	return voters
}

// onGap hears of messages that were lost between the embedded server and us. The sidecar's own
// machinery notices every gap by its offsets; this is for the log only.
func (n *node) onGap(lane bus.Lane) {
	n.Logger.Warn("messages were lost on a lane", "lane", lane)
}
