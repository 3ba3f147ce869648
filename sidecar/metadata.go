package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// proposal is a command that some node wants committed.
type proposal struct {
	command []byte
	// done is called once, from the metadata goroutine, and must only enqueue.
	done func(result []byte, err error)
}

// metadata owns node.Metadata. Everything reaches it through its mailboxes; it waits for nobody but
// its own disk.
type metadata struct {
	s    *Sidecar
	core *node.Metadata

	messages  *mailbox[raft.Message]
	proposals *mailbox[proposal]
	reports   *mailbox[node.Report]
	// transfer asks for the leadership to be handed on, before a clean stop.
	transfer chan struct{}
}

// balanceSoon is how long a broker that came back is in the cluster before it is given its leaderships back.
const balanceSoon = 10 * time.Second

// Bounds of the metadata mailboxes. A message that does not fit is lost, as the network may lose any;
// a proposal that does not fit is refused and made again.
const (
	messagesMax  = 8192
	proposalsMax = 16384
	reportsMax   = 4096
)

func newMetadata(s *Sidecar, store node.Store) (*metadata, error) {
	m := &metadata{
		s:        s,
		messages: newMailbox[raft.Message](messagesMax), proposals: newMailbox[proposal](proposalsMax),
		reports: newMailbox[node.Report](reportsMax), transfer: make(chan struct{}, 1),
	}
	core, err := node.NewMetadata(node.MetadataConfig{
		Quorum: node.QuorumConfig{Raft: raft.Config{
			Node: s.cfg.Node, Disk: s.cfg.Disk, Session: s.cfg.Session, Voters: s.cfg.Voters,
			Cluster: s.cfg.ClusterID, Seed: uint64(s.cfg.Session), HeartbeatTicks: raftHeartbeatTicks,
			ElectionTicks: int(s.cfg.RaftElectionTimeout / s.cfg.RaftTick),
		}},
		Tick: s.cfg.RaftTick, Watcher: s.watcherConfig(), WatchTick: watchTick,
		Balance: node.Balance{Every: s.cfg.LeaderImbalanceCheckInterval, Soon: balanceSoon, Percent: s.cfg.LeaderImbalancePercent},
		Defaults: cluster.SetDefaults{
			MinInSync: int32(s.cfg.MinInSyncReplicas), UncleanElection: s.cfg.UncleanElection,
		},
	}, store, raftSender{s})
	if err != nil {
		return nil, err
	}
	m.core = core
	return m, nil
}

// run turns the metadata until the context ends. An error means that the metadata store failed: the
// process must stop, since nobody knows what a failed write left behind.
func (m *metadata) run(ctx context.Context) error {
	ticker := newPace(m.s.cfg.RaftTick)
	defer ticker.stop()
	defer m.core.Close()
	var messages []raft.Message
	var proposals []proposal
	var reports []node.Report
	for {
		due := 0
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			due = ticker.fired()
		case <-m.messages.signal:
		case <-m.proposals.signal:
		case <-m.reports.signal:
		case <-m.transfer:
			m.handOver()
		}
		m.pass(ticker.gone())
		// What has arrived counts before anything expires.
		messages = m.messages.take(messages)
		for _, msg := range messages {
			m.core.StepMessage(msg)
		}
		proposals = m.proposals.take(proposals)
		for _, p := range proposals {
			m.core.Propose(p.command, p.done)
		}
		reports = m.reports.take(reports)
		for _, r := range reports {
			m.core.Report(r)
		}
		m.pass(due)
		if due > 0 && ticker.onBeat(raftHeartbeatTicks) {
			m.core.Beat()
		}
		if err := m.core.Turn(m.s.cfg.Now()); err != nil {
			return refuseLevel(err)
		}
		m.tell()
		// While nothing can expire before it, the next tick comes with the leader's next beat.
		ticker.plan(due > 0, m.core.Calm(raftHeartbeatTicks), raftHeartbeatTicks)
	}
}

func (m *metadata) pass(ticks int) {
	for range ticks {
		m.core.Tick()
	}
}

// tell publishes what was applied and passes on what the controller wants.
func (m *metadata) tell() {
	m.s.publish(m.core.View(), m.core.Status())
	for _, e := range m.core.Events() {
		m.s.raftEvent(e)
	}
	for _, v := range m.core.Verdicts() {
		m.s.log.Info("verdict on a silent broker", slog.String("verdict", v.String()))
		if v.Kind == election.Ask {
			m.s.asks.put(v.Suspect)
		}
	}
}

// handOver gives the leadership of the Raft away, if this node has it.
func (m *metadata) handOver() {
	err := m.core.Quorum().Transfer(topic.NoNode)
	if err != nil && !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrTransferring) {
		m.s.log.Info("metadata leadership stays until the stop", slog.String("reason", err.Error()))
	}
}
