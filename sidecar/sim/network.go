package sim

import (
	"outrigger/broker/topic"
	"outrigger/sidecar/raft"
)

// network is the state of the links: cut[from][to] loses everything one way.
type network struct {
	cut  [][]bool
	last [][]int64 // arrival of the last message, for links that keep order
	old  []*raft.Message
	mail []*mail
	// lanes is the arrival of the last mail of each kind, for links that keep order.
	lanes [mailKinds][][]int64
}

func (n *network) init(nodes int) {
	n.cut, n.last = make([][]bool, nodes), make([][]int64, nodes)
	for i := range nodes {
		n.cut[i], n.last[i] = make([]bool, nodes), make([]int64, nodes)
	}
	for kind := range n.lanes {
		n.lanes[kind] = make([][]int64, nodes)
		for i := range nodes {
			n.lanes[kind][i] = make([]int64, nodes)
		}
	}
}

// hurry lets nothing wait any more for what was slow before it.
func (n *network) hurry() {
	for i := range n.last {
		clear(n.last[i])
		for kind := range n.lanes {
			clear(n.lanes[kind][i])
		}
	}
}

func (n *network) join() {
	for _, row := range n.cut {
		clear(row)
	}
}

// transmit puts a message on its way, or not.
func (w *World) transmit(from *host, to topic.NodeID, m raft.Message) {
	at := int(to) - 1
	if at < 0 || at >= len(w.hosts) {
		w.check.fail("%s sends to nobody: %s", from, m)
		return
	}
	w.count.messages++
	if w.mix.codec {
		decoded, err := raft.Decode(raft.Encode(m))
		if err != nil {
			w.check.fail("%s sends what does not decode: %s: %v", from, m, err)
			return
		}
		m = decoded
	}
	w.remember(&m)
	if w.net.cut[from.at][at] || w.chance(w.mix.lossPercent) {
		return
	}
	w.arrive(from.at, at, &m)
	if w.chance(w.mix.dupPercent) {
		w.arrive(from.at, at, &m)
	}
	if w.chance(w.mix.replayPercent) {
		again := w.net.old[w.rng.IntN(len(w.net.old))]
		w.count.replays++
		w.arrive(int(again.From)-1, int(again.To)-1, again)
	}
}

// remember keeps some messages, to be replayed long after.
func (w *World) remember(m *raft.Message) {
	switch {
	case w.mix.replayPercent == 0:
	case len(w.net.old) < replaysKept:
		w.net.old = append(w.net.old, m)
	case w.rng.IntN(8) == 0:
		w.net.old[w.rng.IntN(replaysKept)] = m
	}
}

func (w *World) arrive(from, to int, m *raft.Message) {
	at := w.now + 200 + w.between(0, w.mix.delayMicros)
	if w.chance(w.mix.slowPercent) {
		at += w.between(0, w.mix.slowMicros)
	}
	if w.mix.fifo {
		at = max(at, w.net.last[from][to]+1)
		w.net.last[from][to] = at
	}
	w.queue.push(event{at: at, kind: deliver, host: to, msg: m})
}

func (w *World) chance(percent int) bool { return percent > 0 && w.rng.IntN(100) < percent }
