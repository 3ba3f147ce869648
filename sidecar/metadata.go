package sidecar

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// imageMachine is the Raft's state machine: the cluster image. It belongs to the metadata goroutine.
type imageMachine struct {
	image *cluster.Image
	batch *cluster.Batch
	dirty bool
	// failed is why this node cannot follow the log any more.
	failed error
}

func newImageMachine() *imageMachine {
	im := cluster.Empty()
	return &imageMachine{image: im, batch: im.Edit()}
}

// Apply carries out one command. Its result is the index, then the encoded cluster.Result: a proposer
// waits until its own image has reached the index. A committed command that this node cannot read was
// written by a newer one: going on would make two images of one log, so the node stops.
func (m *imageMachine) Apply(index uint64, command []byte) []byte {
	c, err := cluster.Decode(command)
	if err != nil {
		m.failed = errors.Join(m.failed, fmt.Errorf("read committed command %d: %w", index, err))
		m.batch.Advance(index)
		return nil
	}
	result := m.batch.Apply(index, c)
	m.dirty = true
	return append(binary.BigEndian.AppendUint64(nil, index), result.Encode()...)
}

// Snapshot encodes the image.
func (m *imageMachine) Snapshot() []byte { return m.publish().Encode() }

// Restore replaces the image.
func (m *imageMachine) Restore(_ uint64, data []byte) error {
	im, err := cluster.DecodeImage(data)
	if err != nil {
		return fmt.Errorf("restore cluster image: %w", err)
	}
	m.image, m.batch, m.dirty = im, im.Edit(), true
	return nil
}

func (m *imageMachine) publish() *cluster.Image {
	if m.dirty {
		m.image, m.dirty = m.batch.Image(), false
	}
	return m.image
}

// proposal is a command that some node wants committed.
type proposal struct {
	command []byte
	// done is called once, from the metadata goroutine, and must only enqueue.
	done func(result []byte, err error)
}

// metadata owns the Quorum, the image and the controller's evidence. Everything reaches it through
// its mailboxes; it waits for nobody but its own disk.
type metadata struct {
	s       *Sidecar
	quorum  *node.Quorum
	machine *imageMachine
	control controller
	// status is the Quorum's as of the last look; brief is what it was made for.
	status node.Status
	brief  raft.Brief
	ticks  int

	messages  *mailbox[raft.Message]
	proposals *mailbox[proposal]
	reports   *mailbox[report]
	// transfer asks for the leadership to be handed on, before a clean stop.
	transfer chan struct{}
}

// Bounds of the metadata mailboxes. A message that does not fit is lost, as the network may lose any;
// a proposal that does not fit is refused and made again.
const (
	messagesMax  = 8192
	proposalsMax = 16384
	reportsMax   = 4096
)

func newMetadata(s *Sidecar, store node.Store) (*metadata, error) {
	m := &metadata{
		s: s, machine: newImageMachine(),
		messages: newMailbox[raft.Message](messagesMax), proposals: newMailbox[proposal](proposalsMax),
		reports: newMailbox[report](reportsMax), transfer: make(chan struct{}, 1),
	}
	quorum, err := node.NewQuorum(node.QuorumConfig{Raft: raft.Config{
		Node: s.cfg.Node, Disk: s.cfg.Disk, Session: s.cfg.Session, Voters: s.cfg.Voters,
		Cluster: s.cfg.ClusterID, Seed: uint64(s.cfg.Session), HeartbeatTicks: raftHeartbeatTicks,
		ElectionTicks: int(s.cfg.RaftElectionTimeout / s.cfg.RaftTick),
	}}, store, m.machine, raftSender{s})
	if err != nil {
		return nil, fmt.Errorf("open metadata log: %w", err)
	}
	m.quorum = quorum
	m.control = newController(s)
	return m, nil
}

// run turns the Quorum until the context ends. An error means that the metadata store failed: the
// process must stop, since nobody knows what a failed write left behind.
func (m *metadata) run(ctx context.Context) error {
	ticker := newPace(m.s.cfg.RaftTick)
	defer ticker.stop()
	defer m.quorum.Close()
	var messages []raft.Message
	var proposals []proposal
	for {
		tick := false
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			ticker.next()
			tick = true
		case <-m.messages.signal:
		case <-m.proposals.signal:
		case <-m.reports.signal:
		case <-m.transfer:
			m.handOver()
		}
		// What has arrived counts before anything expires.
		messages = m.messages.take(messages)
		for _, msg := range messages {
			m.quorum.StepMessage(msg)
		}
		proposals = m.proposals.take(proposals)
		for _, p := range proposals {
			m.quorum.Propose(p.command, p.done)
		}
		if tick {
			m.quorum.Tick()
		}
		if err := m.turn(tick); err != nil {
			return err
		}
	}
}

// turn makes everything fed durable, answers it, publishes what was applied and lets the controller
// look.
func (m *metadata) turn(tick bool) error {
	if err := m.quorum.Turn(); err != nil {
		return fmt.Errorf("persist metadata: %w", err)
	}
	m.look(tick)
	if m.machine.failed != nil {
		return m.machine.failed
	}
	dirty := m.machine.dirty
	m.s.publish(m.machine.publish(), m.status, dirty)
	for _, e := range m.quorum.Events() {
		m.s.raftEvent(e)
	}
	if proposed := m.control.turn(m, m.status, tick); proposed {
		// What the controller proposed is carried out now, not at the next tick.
		return m.turn(false)
	}
	return nil
}

// look renews the status when it has changed in something that decides, and else seldom: it is made of
// many parts, and most turns change none.
func (m *metadata) look(tick bool) {
	if tick {
		m.ticks++
	}
	if brief := m.quorum.Brief(); brief != m.brief || m.ticks%lookTicks == 0 || m.status.Node != m.s.cfg.Node {
		m.brief, m.status = brief, m.quorum.Status()
	}
}

// lookTicks is how often the status is renewed although nothing that decides has changed.
const lookTicks = 8

// propose is for the controller's own commands. Their outcome shows in the image, and what did not
// happen is proposed again at a later look.
func (m *metadata) propose(c cluster.Command) {
	m.quorum.Propose(cluster.Encode(c), func(_ []byte, err error) {
		if err != nil {
			m.s.log.Debug("controller's proposal not committed", slog.String("error", err.Error()))
		}
	})
}

// handOver gives the leadership of the Raft away, if this node has it.
func (m *metadata) handOver() {
	err := m.quorum.Transfer(topic.NoNode)
	if err != nil && !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrTransferring) {
		m.s.log.Info("metadata leadership stays until the stop", slog.String("reason", err.Error()))
	}
}
