package sim

import (
	"fmt"
	"slices"
	"strings"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// dataSpares reports whether the disk of h may be lost without losing anything promised: fewer lost disks
// wait to be made good than every topic bears, and h is not the last hope of any partition.
func (w *World) dataSpares(h *host) bool {
	im := w.check.image
	if im == nil {
		return false
	}
	if len(w.frail) > 0 && w.madeGood() {
		w.frail = nil
	}
	if !slices.Contains(w.frail, h) && len(w.frail) >= lossesBorne(im) || w.lastHope(im, h) {
		return false
	}
	if !slices.Contains(w.frail, h) {
		w.frail = append(w.frail, h)
	}
	if len(w.frail) > 1 {
		w.count.secondLosses++
	}
	return true
}

// lossesBorne is how many disks may be lost together: min.insync-1, and with a minimum of one the disk of
// any member but the last.
func lossesBorne(im *cluster.Image) int {
	borne := len(im.Brokers())
	for t := range im.All() {
		for _, p := range t.Partitions {
			borne = min(borne, max(1, im.MinInSync(t, p)-1))
		}
	}
	return borne
}

// bearsPowerLoss reports whether the machine of h may lose power. Where everything acknowledged was synced,
// always. Under the interval policy it is like the loss of a disk, one machine at a time; and no topic may be written with
// one replica in sync, for that may be h by the time that all are fenced, with what it has lost:
//  1. Nodes 1 and 2 are in sync, 1 leads, min.insync.replicas is 1, 2. node 1 loses power, node 2 is killed, 3. node 2 is
//     fenced first, which leaves node 1 as the one that may have committed more, 4. node 1 is back before node 2, and led on.
func (w *World) bearsPowerLoss(h *host) bool {
	return !w.mix.interval || !w.mix.brokers || !w.writableAlone() && w.dataSpares(h)
}

// writableAlone reports whether some partition of several replicas may be written with one of them in sync.
func (w *World) writableAlone() bool {
	if w.check.image == nil {
		return false
	}
	for t := range w.check.image.All() {
		for _, p := range t.Partitions {
			if len(p.Replicas) > 1 && w.check.image.MinInSync(t, p) == 1 {
				return true
			}
		}
	}
	return false
}

// lastHope reports whether some partition has no in-sync or eligible replica but that of h: such a
// disk may not be lost.
func (w *World) lastHope(im *cluster.Image, h *host) bool {
	for t := range im.All() {
		for _, placement := range t.Partitions {
			others := 0
			for _, m := range slices.Concat(placement.ISR, placement.Eligible) {
				if m.Node != h.id {
					others++
				}
			}
			if placement.Hosts(h.id) && others == 0 {
				return true
			}
		}
	}
	return false
}

// madeGood reports whether every partition is as its replicas are: all in sync, all with all that was
// promised on disk.
func (w *World) madeGood() bool {
	im := w.check.image
	for _, h := range w.hosts {
		if h.disk.latent {
			return false
		}
	}
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
		if h.lost {
			if b, ok := im.Broker(h.id); ok && !b.Fenced {
				return false
			}
			continue
		}
		if !h.up() || !im.Live(topic.Member{Node: h.id, Session: h.broker.session}) {
			return false
		}
	}
	still := map[topic.Partition]bool{}
	for t := range im.All() {
		for i, placement := range t.Partitions {
			p := topic.Partition{Topic: t.ID, Index: int32(i)}
			there := w.there(placement)
			if there < im.MinInSync(t, placement) || w.orphaned(p, placement) {
				still[p] = true // and rightly so
				continue
			}
			if len(placement.ISR) != there || placement.Leader == topic.NoNode || !w.settled(t, p, placement) {
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
	return !slices.ContainsFunc(w.producers, func(p *producer) bool {
		return p.sending != nil && !still[p.sending.partition]
	})
}

// orphaned reports whether everybody who could lead was lost, or must be waited for. Which disks a new
// partition was made on, and that an in-sync set shrank, may not yet be published when a disk is lost.
func (w *World) orphaned(p topic.Partition, placement *topic.Placement) bool {
	clean := slices.Concat(placement.ISR, placement.Eligible)
	other := func(id topic.NodeID) bool { return w.hosts[id-1].disk.since > 1 }
	if len(clean) == 0 && len(placement.LastKnown) == 0 && slices.ContainsFunc(placement.Replicas, other) {
		return true // all who held everything are on other disks: it is for the operator
	}
	away := func(id topic.NodeID) bool { return w.hosts[id-1].lost }
	if len(clean) == 0 && slices.ContainsFunc(placement.LastKnown, away) {
		return true
	}
	return len(clean) > 0 && !slices.ContainsFunc(clean, func(m topic.Member) bool { return !w.hosts[m.Node-1].lost })
}

// there counts the replicas that are not lost.
func (w *World) there(placement *topic.Placement) int {
	n := 0
	for _, id := range placement.Replicas {
		if !w.hosts[id-1].lost {
			n++
		}
	}
	return n
}

// lose takes some hosts away for good, a minority whose absence the rest can bear: what remains is a
// random quorum, and must go on.
func (w *World) lose() {
	im := w.check.image
	if im == nil || im.TopicCount() == 0 || len(w.frail) > 0 && !w.madeGood() {
		return
	}
	left := (len(w.hosts) - 1) / 2
	for _, i := range w.rng.Perm(len(w.hosts)) {
		h := w.hosts[i]
		if left == 0 || !w.spares(h) || w.lastHope(im, h) {
			continue
		}
		left--
		w.count.lostHosts++
		h.crash()
		h.lost = true
		h.disk = w.newDisk() // nobody counts on it
	}
}

// rest requires that nobody suspects anybody while nothing happens (failure mode 8).
func (w *World) rest() {
	if !w.mix.brokers {
		return
	}
	before := w.suspicions
	for end := w.now + restTicks*tickMicros; w.check.violation == nil && w.now < end; {
		w.step()
	}
	if w.check.violation == nil && w.suspicions > before {
		w.check.fail("%d election requests in a cluster at rest", w.suspicions-before)
	}
}

// restTicks is some leader timeouts.
const restTicks = 30

// level reports whether all replicas of a partition hold the same, committed to the end, and what was found
// damaged was filled again from another.
func (w *World) level(p topic.Partition, placement *topic.Placement) bool {
	var first partition.State
	seen := false
	for _, id := range placement.Replicas {
		if w.hosts[id-1].lost {
			continue
		}
		log := w.hosts[id-1].broker.store.Log(p)
		if log == nil {
			return false
		}
		state := log.State()
		if state.Damaged && len(placement.ISR) > 1 {
			return false
		}
		if !seen {
			first, seen = state, true
		}
		if state.LogStart != first.LogStart || state.LogStart < w.check.deletions.done[p] {
			return false
		}
		if state.LogEnd != first.LogEnd || state.HighWatermark != state.LogEnd || state.LogEnd < w.check.promisedEnd[p] {
			return false
		}
	}
	return true
}

// portrayData describes every partition, and every replica's log.
func (w *World) portrayData(out *strings.Builder) {
	im := w.check.image
	if im == nil {
		return
	}
	fmt.Fprintf(out, "\n  image %d, clients quiet %t", im.AppliedIndex(), w.quiet)
	for _, h := range w.hosts {
		if h.up() {
			fmt.Fprintf(out, "\n  %s session %s live %t image %d leased %t hangs %t", h, h.broker.session,
				im.Live(h.broker.register.Self), h.broker.view.Image.AppliedIndex(), h.broker.store.Leased(), h.broker.hangs())
		}
	}
	for t := range im.All() {
		for i, placement := range t.Partitions {
			p := topic.Partition{Topic: t.ID, Index: int32(i)}
			fmt.Fprintf(out, "\n  %v: %+v, promised %d, when healed %d", p, *placement, w.check.promisedEnd[p], w.healedFrom[p])
			for _, id := range placement.Replicas {
				if h := w.hosts[id-1]; h.up() && h.broker.store.Log(p) != nil {
					fmt.Fprintf(out, "\n    %s %+v", h, h.broker.store.Log(p).State())
				}
			}
		}
	}
}
