package node

import (
	"fmt"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/raft"
)

// MetadataConfig is what a Metadata is made of.
type MetadataConfig struct {
	Quorum QuorumConfig
	// Tick is what a tick of the Raft takes, WatchTick by default.
	Tick time.Duration
	// Watcher is that of the controller's own table, WatchTick its unit of time.
	Watcher   election.WatcherConfig
	WatchTick time.Duration
	// Defaults are what this node, as the controller, gives a cluster that has none.
	Defaults cluster.SetDefaults
	// Balance is how this node, as the controller, gives leaderships back.
	Balance Balance

	mutant cluster.Mutant
}

// Metadata is one node's part in the cluster's metadata: the Quorum, the image that its log makes,
// and, while this node leads the Raft, the controller. It has no goroutine, clock or lock: one owner
// feeds it what has arrived, calls Turn once, and then takes what it has to tell.
type Metadata struct {
	quorum  *Quorum
	machine *imageMachine
	control controller
	// status is the Quorum's as of the last look; brief is what it was made for.
	status Status
	brief  raft.Brief
	// ticks have passed since that look; ticked: one has since the last turn.
	ticks  int
	ticked bool
	// voters are those of the image, roster the image that the Raft was told of last.
	voters *Voters
	roster *cluster.Image
}

// NewMetadata loads the store and rebuilds the image. Nothing is sent before the first Turn.
func NewMetadata(cfg MetadataConfig, store Store, sender Sender) (*Metadata, error) {
	if cfg.Tick == 0 {
		cfg.Tick = cfg.WatchTick
	}
	m := &Metadata{machine: newImageMachine(cfg.mutant), control: newController(cfg)}
	quorum, err := NewQuorum(cfg.Quorum, store, m.machine, sender)
	if err != nil {
		return nil, fmt.Errorf("open metadata log: %w", err)
	}
	m.quorum = quorum
	return m, nil
}

// StepMessage feeds one message from the network.
func (m *Metadata) StepMessage(msg raft.Message) { m.quorum.StepMessage(msg) }

// Propose feeds one command; see Quorum.Propose. Its result is 8 bytes of index and the encoded
// cluster.Result.
func (m *Metadata) Propose(command []byte, done func(result []byte, err error)) {
	m.quorum.Propose(command, done)
}

// Report feeds one piece of evidence. It counts while this node is the controller.
func (m *Metadata) Report(r Report) {
	if len(m.control.reports) < reportsMax {
		m.control.reports = append(m.control.reports, r)
	}
}

// Tick feeds one unit of the Raft's time, after every message that has arrived.
func (m *Metadata) Tick() {
	m.quorum.Tick()
	m.ticks++
	m.ticked = true
}

// Calm reports whether the next n ticks may pass together, at the end of their time; see
// raft.Machine.Calm.
func (m *Metadata) Calm(n int) bool { return m.quorum.machine.Calm(n) && m.control.calm(n) }

// Beat lets a leader's beats fall on the owner's moments; see raft.Machine.Beat.
func (m *Metadata) Beat() { m.quorum.machine.Beat() }

// Turn makes everything fed durable, answers it, applies what is committed and lets the controller
// look, as often as the controller proposes something. now is the time on the owner's monotonic
// clock. An error is final: nobody knows what a failed write left behind.
func (m *Metadata) Turn(now time.Duration) error {
	for {
		if err := m.quorum.Turn(); err != nil {
			return fmt.Errorf("persist metadata: %w", err)
		}
		m.look()
		if m.machine.failed != nil {
			return m.machine.failed
		}
		m.enroll(m.machine.publish())
		proposed := m.control.turn(m, now)
		m.ticked = false
		if !proposed {
			return nil
		}
	}
}

// lookTicks is how often the status is renewed although nothing that decides has changed.
const lookTicks = 8

// look renews the status when it has changed in something that decides, and else seldom: it is made of
// many parts, and most turns change none.
func (m *Metadata) look() {
	brief := m.quorum.Brief()
	if brief == m.brief && m.ticks < lookTicks && m.status.Session != 0 {
		return
	}
	m.ticks, m.brief, m.status = 0, brief, m.quorum.Status()
}

// enroll tells the Raft who the image wants for members, and notes who votes as of the image.
func (m *Metadata) enroll(im *cluster.Image) {
	at, membership := m.quorum.machine.MembershipAt(m.quorum.applied)
	if !membership.IsZero() && (m.voters == nil || m.voters.Index != at) {
		m.voters = &Voters{Index: at}
		for _, voter := range membership.Voters {
			m.voters.Nodes = append(m.voters.Nodes, voter.Node)
		}
	}
	if im == m.roster {
		return
	}
	m.roster = im
	m.quorum.machine.SetRoster(raft.Roster{Voters: im.Voters(), Known: func(node topic.NodeID) bool {
		_, known := im.Broker(node)
		return known
	}})
}

// View is the cluster after the last Turn.
func (m *Metadata) View() View {
	return View{Image: m.machine.image, Controller: m.status.Leader, Voters: m.voters,
		MembershipIndex: m.quorum.machine.MembershipIndex()}
}

// Status is the Quorum's, at most some ticks old in what decides nothing.
func (m *Metadata) Status() Status { return m.status }

// Events returns what the Raft did since the last call.
func (m *Metadata) Events() []raft.Event { return m.quorum.Events() }

// Verdicts returns what the controller decided since the last call. Those of kind Ask want the suspect
// asked by the owner; the others have been proposed.
func (m *Metadata) Verdicts() []election.Verdict {
	verdicts := m.control.verdicts
	m.control.verdicts = nil
	return verdicts
}

// Quorum is the Raft's half, for transfers, reads and checkers.
func (m *Metadata) Quorum() *Quorum { return m.quorum }

// Close fails everything that waits; the Metadata takes no more calls.
func (m *Metadata) Close() { m.quorum.Close() }

// propose is for the controller's own commands. Their outcome shows in the image, and what did not
// happen is proposed again at a later look.
func (m *Metadata) propose(c cluster.Command) {
	m.quorum.Propose(cluster.Encode(c), func([]byte, error) {})
}
