package node

import (
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/replica"
)

// Counters only grow.
type Counters struct {
	// FramesRefused were malformed, damaged, or of another cluster or session.
	FramesRefused uint64
	Gaps          uint64
	Stale         uint64
	Cuts          uint64
	// Mended are the cuts that took a damaged batch away.
	Mended uint64
	// SpansCut are the spans of dropped records that followers were given the rest of.
	SpansCut uint64
	// Evicted are the logs dropped since the replica was moved elsewhere.
	Evicted    uint64
	Faults     uint64
	Shrinks    uint64
	Expansions uint64
}

func (r *Replication) note(e replica.Event) {
	switch e.Kind {
	case replica.EventStale:
		r.counters.Stale++
		return
	case replica.EventGap:
		r.counters.Gaps++
	case replica.EventCut, replica.EventReset:
		r.counters.Cuts++
	case replica.EventFault:
		r.counters.Faults++
	case replica.EventShrink:
		r.counters.Shrinks++
	case replica.EventExpand:
		r.counters.Expansions++
	}
	if len(r.events) < replicaEventsMax {
		r.events = append(r.events, e)
	}
}

// replicaEventsMax bounds the events between two calls of Events; more are counted and not told.
const replicaEventsMax = 256

// Events returns what happened since the last call.
func (r *Replication) Events() []replica.Event {
	events := r.events
	r.events = nil
	return events
}

// Changes returns the in-sync sets to propose, in one batch.
func (r *Replication) Changes() []replica.Change {
	changes := r.changes
	r.changes = nil
	return changes
}

// Scans returns the WAL reads that are wanted.
func (r *Replication) Scans() []ScanRequest {
	scans := r.scans
	r.scans = nil
	return scans
}

// Counters returns the counters.
func (r *Replication) Counters() Counters { return r.counters }

// Busy reports whether ticks matter now.
func (r *Replication) Busy() bool {
	return len(r.busy) > 0 || len(r.removed) > 0 || len(r.unmended) > 0
}

// PartitionStatus is one hosted partition as status shows it.
type PartitionStatus struct {
	Partition topic.Partition
	Topic     string
	Leading   bool
	Epoch     topic.Epoch
	Log       partition.State
	Followers []replica.Progress
}

// Partitions reports every hosted partition that this node leads.
func (r *Replication) Partitions() []PartitionStatus {
	var out []PartitionStatus
	for t := range r.topics() {
		for i := range t.Partitions {
			s := r.slots[topic.Partition{Topic: t.ID, Index: int32(i)}]
			if s == nil || !s.machine.Role().Leading {
				continue
			}
			out = append(out, PartitionStatus{
				Partition: s.partition, Topic: s.name, Leading: true, Epoch: s.machine.Role().Epoch,
				Log: s.log.State(), Followers: s.machine.Followers(),
			})
		}
	}
	return out
}
