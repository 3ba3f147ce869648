package sim

import (
	"slices"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// dataSpares reports whether the disk of h may be lost without losing anything promised: no other lost
// disk waits to be made good, and every replica that h shares holds what was promised.
func (w *World) dataSpares(h *host) bool {
	im := w.check.image
	if im == nil {
		return false
	}
	if w.frail != nil && !w.madeGood() {
		return false
	}
	w.frail = h
	w.count.dataWipes++
	return true
}

// madeGood reports whether every partition is as its replicas are: all in sync, all with all that was
// promised on disk.
func (w *World) madeGood() bool {
	im := w.check.image
	for t := range im.All() {
		for i, placement := range t.Partitions {
			p := topic.Partition{Topic: t.ID, Index: int32(i)}
			if len(placement.ISR) < len(placement.Replicas) {
				return false
			}
			for _, m := range placement.ISR {
				end, known := w.hosts[m.Node-1].durableEnd(p, m.Session)
				if !known || end < w.check.promisedEnd[p] {
					return false
				}
			}
		}
	}
	return true
}

// flows reports whether the data side has recovered: every broker is registered, every partition has
// all its replicas in sync and takes writes, and, once the clients have been told to stop, all logs are
// equal and committed to their ends.
func (w *World) flows() bool {
	im := w.check.image
	if im == nil || im.TopicCount() == 0 {
		return false
	}
	for _, h := range w.hosts {
		if !h.up() || !im.Live(topic.Member{Node: h.id, Session: h.broker.session}) {
			return false
		}
	}
	for t := range im.All() {
		for i, placement := range t.Partitions {
			p := topic.Partition{Topic: t.ID, Index: int32(i)}
			if len(placement.ISR) < len(placement.Replicas) || placement.Leader == topic.NoNode {
				return false
			}
			if w.quiet && !w.level(p, placement) || !w.quiet && w.check.promisedEnd[p] <= w.healedFrom[p] {
				return false
			}
		}
	}
	if !w.quiet {
		w.quiet = true // everything takes writes: now let it come to rest
		return false
	}
	return !slices.ContainsFunc(w.producers, func(p *producer) bool { return p.sending != nil })
}

// level reports whether all replicas of a partition hold the same, committed to the end.
func (w *World) level(p topic.Partition, placement *topic.Placement) bool {
	var first partition.State
	for i, id := range placement.Replicas {
		log := w.hosts[id-1].broker.store.Log(p)
		if log == nil {
			return false
		}
		state := log.State()
		if i == 0 {
			first = state
		}
		if state.LogEnd != first.LogEnd || state.HighWatermark != state.LogEnd || state.LogEnd < w.check.promisedEnd[p] {
			return false
		}
	}
	return true
}
