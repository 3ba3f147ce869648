package node

import (
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// Registrar decides when this session asks to be registered: at the start, and whenever the image
// shows it fenced, such as after a pause. It has one owner.
type Registrar struct {
	Self topic.Member
	// FreshFor is for how long a heartbeat of the controller proves that this node is connected.
	FreshFor time.Duration

	// since is the image index at which this node first saw itself unregistered.
	since uint64
}

// Heartbeat is the newest heartbeat of some node.
type Heartbeat struct {
	From topic.Member
	// At is when it was heard, on the hearer's clock; SentMicros is its sender's.
	At         time.Duration
	SentMicros uint64
	Applied    uint64
}

// HeardAt is a heartbeat that was heard now.
func HeardAt(now time.Duration, from topic.Member, hb frame.Heartbeat) *Heartbeat {
	return &Heartbeat{From: from, At: now, SentMicros: hb.SentMicros, Applied: hb.Applied}
}

// Newer reports whether the heartbeat takes the place of the last one of its node, nil if there is none:
// heartbeats of one session may overtake each other.
func (h *Heartbeat) Newer(last *Heartbeat) bool {
	return last == nil || last.From != h.From || last.SentMicros < h.SentMicros
}

// Echo tells its sender that it was heard.
func (h *Heartbeat) Echo() frame.PeerEcho {
	return frame.PeerEcho{Node: h.From.Node, Session: h.From.Session, SentMicros: h.SentMicros}
}

// Registered reports whether the view has the session live.
func (v View) Registered(m topic.Member) bool { return v.Image.Live(m) }

// Due reports whether the session should ask now. last is the controller's newest heartbeat, nil if
// it has not been heard.
//
// The controller's heart must have been heard just now, and not in something sent before this node was
// unregistered: then this node's own beats reach it, too. Without that a node that wakes from a pause
// hears what was sent to it while it slept, registers over one connection while the one that carries
// its heart is still being made anew, and is fenced again for its silence.
func (r *Registrar) Due(v View, last *Heartbeat, now time.Duration) bool {
	if v.Registered(r.Self) {
		r.since = 0
		return false
	}
	if r.since == 0 {
		r.since = v.Image.AppliedIndex()
	}
	switch v.Controller {
	case topic.NoNode, r.Self.Node:
		return true
	}
	return last != nil && last.Applied >= r.since && now-last.At < r.FreshFor
}
