package cluster

import "outrigger/broker/topic"

func (c Reassign) append(w *writer) {
	w.uvarint(uint64(len(c.Items)))
	for i := range c.Items {
		item := &c.Items[i]
		w.partition(item.Partition)
		w.varint(int64(item.PartitionEpoch))
		w.bool(item.Target != nil)
		if item.Target != nil {
			w.nodes(item.Target)
		}
	}
}

func (c FinishReassignments) append(w *writer) {
	w.uvarint(uint64(len(c.Items)))
	for _, item := range c.Items {
		w.partition(item.Partition)
		w.varint(int64(item.PartitionEpoch))
	}
}

func (c UnregisterBroker) append(w *writer) { w.varint(int64(c.Node)) }

func (c SetVoters) append(w *writer) {
	w.nodes(c.Before)
	w.nodes(c.After)
}

// reassignment keeps "take it back" (nil) apart from "to nobody", which is refused later.
func (r *reader) reassignment() topic.Reassignment {
	item := topic.Reassignment{Partition: r.partition(), PartitionEpoch: r.i32()}
	if r.bool() {
		if item.Target = r.nodes(); item.Target == nil {
			item.Target = []topic.NodeID{}
		}
	}
	return item
}

func (r *reader) reassignmentEnd() ReassignmentEnd {
	return ReassignmentEnd{Partition: r.partition(), PartitionEpoch: r.i32()}
}
