package sim

import (
	"encoding/binary"
	"errors"
	"fmt"

	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// host is one simulated machine: a disk, and now and then a running Quorum.
type host struct {
	world *World
	at    int // place in World.hosts
	id    topic.NodeID
	disk  *disk

	quorum *node.Quorum // nil while crashed
	state  *register    // the state machine of a host without a broker
	broker *broker      // everything else of a whole node, nil without
	run    uint64       // counts starts
	// pausedUntil: messages wait in inbox and the clock stands still.
	pausedUntil int64
	inbox       []raft.Message
	turnDue     bool
	// fuse counts durability points and sends down to the host's death; negative is none.
	fuse int
	dead bool
	// seen is what the checker last saw.
	seen    raft.Brief
	checked uint64 // committed entries are checked up to here
	leading uint64 // term in which it was last seen leading
	// lost: it never comes back.
	lost bool
	// registration is the last one that this run has proposed, earlier that of a run before.
	registration, earlier []byte
	// slowUntil: its disk is slow until then.
	slowUntil int64
	pace      pace
	// ticks counts this run's; heardAt is when it last took something from the leader of its term.
	ticks, heardAt int
}

func (h *host) up() bool { return h.quorum != nil }

func (h *host) paused() bool { return h.pausedUntil > h.world.now }

// start begins a new session over what the disk holds.
func (h *host) start() {
	if h.registration != nil {
		h.earlier, h.registration = h.registration, nil
	}
	w := h.world
	h.run++
	w.sessions++
	h.inbox, h.turnDue, h.dead, h.fuse, h.pausedUntil = nil, false, false, -1, 0
	if err := h.open(topic.Session(w.sessions)); err != nil {
		h.quorum, h.broker = nil, nil
		w.refuses(h, err)
		return
	}
	b := h.quorum.Brief()
	w.check.restarted(h, b)
	h.seen, h.checked, h.ticks = b, h.disk.now.snapshot.Index, 0
	h.pace = pace{due: w.now + w.between(1, tickMicros), planned: 1}
	w.queue.push(event{at: h.pace.due, kind: tick, host: h.at, run: h.run, planned: h.pace.due})
	if h.broker != nil {
		w.check.reopened(h.broker)
		h.broker.begin()
	}
}

// open loads what the disk holds: the logs first, as a process does, then the metadata.
func (h *host) open(session topic.Session) error {
	w := h.world
	cfg := raft.Config{
		Node: h.id, Disk: h.disk.id, Session: session, Voters: w.voters,
		Seed: w.rng.Uint64(), HeartbeatTicks: w.mix.heartbeatTicks, ElectionTicks: electionTicks,
		AppendBytesMax: w.mix.appendBytes, InflightMessagesMax: 4, InflightBytesMax: 2_000,
		PendingBytesMax: 4_000, ChunkBytes: 100, CommandBytesMax: 1_000,
	}
	if w.mix.brokers {
		cfg.PendingBytesMax, cfg.ChunkBytes, cfg.CommandBytesMax = 16_000, 500, 8_000
	}
	raft.Break(&cfg, w.options.Mutant.raft)
	quorum := node.QuorumConfig{Raft: cfg, SnapshotLogBytes: w.mix.snapshotBytes, TailBytes: w.mix.snapshotBytes / 4}
	if w.mix.brokers {
		b, err := newBroker(h, session)
		if err != nil {
			return err
		}
		h.broker = b
		return b.newMetadata(quorum)
	}
	h.state = &register{h: h}
	q, err := node.NewQuorum(quorum, storePort{h}, h.state, sendPort{h})
	h.quorum = q
	return err
}

// crash ends the session. A process that is killed loses what it had in memory; a machine that loses
// power also loses what was not synced, but for whatever part of it, on all its files in one instant.
func (h *host) crash() {
	if !h.up() {
		return
	}
	w := h.world
	w.count.crashes++
	power := w.chance(w.mix.powerPercent) && w.bearsPowerLoss(h)
	kept := len(h.disk.unsynced)
	if power {
		w.count.powerLosses++
		kept = w.rng.IntN(kept + 1)
	}
	h.disk.crash(kept)
	if h.broker != nil {
		h.disk.remember(h.broker)
		if power {
			h.disk.fs = h.disk.fs.Crash(w.rng)
			h.disk.forget(w)
		} else {
			h.disk.fs = h.disk.fs.Restart()
		}
	}
	h.quorum, h.state, h.broker, h.inbox = nil, nil, nil, nil
}

// receive takes a message from the network.
func (h *host) receive(m raft.Message) {
	switch {
	case !h.up():
	case h.paused():
		if len(h.inbox) < inboxMax {
			h.inbox = append(h.inbox, m)
		}
	default:
		h.passGone()
		h.step(m)
		h.wantTurn()
	}
}

// step feeds one message, and lets the checker see what it changed.
func (h *host) step(m raft.Message) {
	before := h.quorum.Brief()
	h.quorum.StepMessage(m)
	h.world.check.steps(h, m, before, h.quorum.Brief())
}

// drain steps what came during a pause, before the clock goes on.
func (h *host) drain() {
	if !h.up() || h.paused() {
		return
	}
	for _, m := range h.inbox {
		h.step(m)
	}
	h.inbox = nil
	h.turnDue = false // a turn that the pause has put off may be far away
	h.wantTurn()
}

// wantTurn lets the Quorum turn a little later, so that inputs gather as they do during a sync.
func (h *host) wantTurn() {
	if !h.turnDue {
		h.turnDue = true
		w := h.world
		w.queue.push(event{at: w.now + w.between(0, w.mix.syncMicros), kind: turn, host: h.at, run: h.run})
	}
}

func (h *host) turn() {
	if h.paused() {
		h.world.queue.push(event{at: h.pausedUntil, kind: turn, host: h.at, run: h.run})
		return
	}
	h.turnDue = false
	if h.broker != nil {
		h.passGone()
		h.after(h.broker.turnMeta())
		h.stride()
	} else {
		h.after(h.quorum.Turn())
	}
}

// after ends the process if its turn ended it.
func (h *host) after(err error) {
	switch {
	case err == nil && !h.dead:
	case err == nil, errors.Is(err, errCrash), errors.Is(err, waltest.ErrCrashed), errors.Is(err, errDisk):
		h.crash()
		h.world.restartLater(h)
	default:
		h.world.check.fail("%s: turn: %v", h, err)
	}
}

// spark burns the fuse down at a durability point or send, and reports whether the host lives.
func (h *host) spark() bool {
	if h.dead {
		return false
	}
	if h.fuse == 0 {
		h.dead = true
		return false
	}
	if h.fuse > 0 {
		h.fuse--
	}
	return true
}

// durable carries out a write between two points at which the host may die.
func (h *host) durable(write func(d *disk)) error {
	if !h.spark() {
		return errCrash
	}
	write(h.disk)
	if !h.spark() {
		return errCrash
	}
	return nil
}

// sendPort is a host's way out.
type sendPort struct{ h *host }

// Send implements node.Sender.
func (s sendPort) Send(to topic.NodeID, m raft.Message) {
	if !s.h.spark() {
		return
	}
	s.h.world.check.sends(s.h, m)
	s.h.world.transmit(s.h, to, m)
}

// propose offers a unique value.
func (h *host) propose() {
	w := h.world
	w.values++
	value := w.values
	command := binary.BigEndian.AppendUint64(nil, value)
	command = append(command, make([]byte, w.rng.IntN(60))...)
	run := h.run
	h.quorum.Propose(command, func(result []byte, err error) {
		switch {
		case h.run != run:
			w.check.fail("host %d completes a proposal of an earlier run", h.id)
		case err == nil:
			w.count.acked++
			w.check.acked(h, value, result)
		case errors.Is(err, node.ErrOutcomeUnknown):
			w.count.unknown++
		case errors.Is(err, raft.ErrFull):
			w.count.full++
		}
	})
	h.wantTurn()
}

// read asks for a confirmed read; it must not be older than what was acknowledged when it began.
func (h *host) read() {
	w := h.world
	floor := w.check.ackedIndex
	h.quorum.ReadIndex(func(index uint64, err error) {
		if err != nil {
			return
		}
		w.count.reads++
		if index < floor {
			w.check.fail("host %d reads at %d, but %d was acknowledged before", h.id, index, floor)
		}
	})
	h.wantTurn()
}

// String names the host in reports.
func (h *host) String() string { return fmt.Sprintf("host %d", h.id) }
