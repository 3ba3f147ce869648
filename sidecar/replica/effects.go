package replica

import (
	"fmt"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// Role is what the partition log must be told; it changes only when something in it does.
type Role struct {
	Leading bool
	Epoch   topic.Epoch
	// AcceptAll allows acks=all appends: enough members are in sync and were heard.
	AcceptAll bool
	// AcceptOne allows the other appends.
	AcceptOne bool
	// Ready says that the high watermark has reached the start of the epoch.
	Ready bool
}

// Outgoing is a section for one follower, in the session that it was meant for.
type Outgoing struct {
	To      topic.Member
	Section frame.Section
}

// Change is a proposal for another in-sync set, compared and set on both epochs.
type Change struct {
	Partition      topic.Partition
	LeaderEpoch    topic.Epoch
	PartitionEpoch int32
	ISR            []topic.Member
}

// Replacement is an empty log that begins at Base, behind a record of Epoch.
type Replacement struct {
	Base  topic.Offset
	Epoch topic.Epoch
}

// Effects is what a machine wants done, in the order of the fields: a cut and an append go to the
// partition log before anything is sent, and an acknowledgement never counts what is not synced (it
// carries the durable end that Durable reported, not the append).
type Effects struct {
	// Role, when not nil, goes to the partition log first.
	Role *Role
	// Cut, when not topic.NoOffset, truncates the log.
	Cut topic.Offset
	// Replace, when not nil, replaces the log by an empty one.
	Replace *Replacement
	// Duplicate, when not nil, is a batch at an offset that the log has already. If the log holds
	// other bytes there in the same epoch, the two logs contradict each other: that is a fault,
	// nothing is answered, and Contradicted is called.
	Duplicate *frame.Section
	// Append, when not nil, is the batch that a follower takes.
	Append *frame.Section
	// HighWatermark, when not topic.NoOffset, is the new one.
	HighWatermark topic.Offset
	// Start, when not topic.NoOffset, is where the log is to start: at most the high watermark and the
	// durable end. If the log has no room for that, StartStays is called.
	Start topic.Offset
	// LowWatermark, when not topic.NoOffset, is what the log starts of all in-sync members have reached.
	LowWatermark topic.Offset
	// Sections go to followers.
	Sections []Outgoing
	// Ack, when not nil, goes to AckTo.
	Ack   *frame.Ack
	AckTo topic.Member
	// Lagging lists followers that must be fed from the log before they can stream.
	Lagging []topic.NodeID
	// Change, when not nil, goes to the controller; its outcome comes back through Decided.
	Change *Change
	Events []Event
}

// Reset empties e for the next step and keeps its memory.
func (e *Effects) Reset() {
	*e = Effects{
		Cut: topic.NoOffset, HighWatermark: topic.NoOffset, Start: topic.NoOffset, LowWatermark: topic.NoOffset,
		Sections: e.Sections[:0], Lagging: e.Lagging[:0], Events: e.Events[:0],
	}
}

// EventKind names what happened.
type EventKind uint8

// What a machine reports.
const (
	// EventStale: a message of another epoch or session was dropped.
	EventStale EventKind = iota + 1
	// EventGap: a follower asked for something again.
	EventGap
	// EventCut: a follower truncated its log.
	EventCut
	// EventFault: the two logs contradict each other although they may not. A human acts.
	EventFault
	// EventShrink and EventExpand: another in-sync set was proposed.
	EventShrink
	EventExpand
	// EventReset: a follower replaced its log by an empty one, where its leader's starts.
	EventReset
)

// Event is a fact for counters, operators and logs; cores do not log.
type Event struct {
	Kind      EventKind
	Partition topic.Partition
	Epoch     topic.Epoch
	Peer      topic.NodeID
	Offset    topic.Offset
	Detail    string
}

// String is the line that an operator reads.
func (e Event) String() string {
	name := map[EventKind]string{
		EventStale: "stale message dropped", EventGap: "gap asked for", EventCut: "log cut",
		EventFault: "logs contradict each other", EventShrink: "in-sync set shrinks",
		EventExpand: "in-sync set grows", EventReset: "log reset",
	}[e.Kind]
	text := fmt.Sprintf("%s: partition %s epoch %d peer %d offset %d", name, e.Partition, e.Epoch, e.Peer, e.Offset)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Window bounds the bytes that were sent to one follower node and not yet acknowledged, over all of
// its partitions: route queues are unbounded, and a paused peer must not cost more than this. A full
// window makes partitions lag; they are fed again as acknowledgements come in.
type Window struct {
	BytesMax int64
	inFlight int64
}

// Open reports whether more may be sent.
func (w *Window) Open() bool { return w.inFlight < w.BytesMax }

// Room is how many bytes more may be sent, for catch-up reads, which leave half of the window to
// live batches.
func (w *Window) Room() int64 { return max(0, w.BytesMax/2-w.inFlight) }

// InFlight is the number of bytes sent and not acknowledged.
func (w *Window) InFlight() int64 { return w.inFlight }
