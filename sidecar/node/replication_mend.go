package node

import (
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/replica"
)

// mend cuts a log that has lost records, at the start of an epoch in which nobody counts on them. It
// reports whether the slot may go on; else the log stays as it is, and the slot in its old epoch, where
// it answers nothing.
//
// Why then, and not at once: 1. The leader has proof from this replica that it holds everything up to
// 100. 2. The replica leaves the in-sync set, and cuts its log to 40. 3. The leader, who still has the
// proof, takes it back in. 4. Everybody else dies, and it leads without 40 to 100. A new epoch begins
// without proofs, and a replica answers in it only after the cut. It is in no set at that moment, in no
// session of this node: what an earlier one counts for, the registration of this one would inherit. And an
// earlier one may yet come to count, such as by a change of the in-sync set that is on its way, until an image
// has shown this one (seed 52059 of the simulator).
func (r *Replication) mend(s *slot, p *topic.Placement) bool {
	r.unmended = slices.DeleteFunc(r.unmended, func(x *slot) bool { return x == s })
	state := s.log.State()
	if !state.Damaged || r.counts(p) {
		return true
	}
	if !r.registered || s.log.CutDamage() != nil {
		r.unmended = append(r.unmended, s)
		return false
	}
	r.counters.Mended++
	r.note(replica.Event{
		Kind: replica.EventCut, Partition: s.partition, Epoch: p.LeaderEpoch, Peer: p.Leader,
		Offset: s.log.State().LogEnd, Detail: "before a damaged batch",
	})
	return true
}

// counts reports whether the cluster counts on what this node holds, in whatever session.
func (r *Replication) counts(p *topic.Placement) bool {
	mine := func(m topic.Member) bool { return m.Node == r.cfg.Self.Node }
	return p.Leader == r.cfg.Self.Node || slices.ContainsFunc(p.ISR, mine) || slices.ContainsFunc(p.Eligible, mine)
}

// mendAgain configures the slots whose logs could not be cut, which tries it again.
func (r *Replication) mendAgain() {
	for _, s := range slices.Clone(r.unmended) {
		t, found := r.image.TopicByID(s.partition.Topic)
		if !found {
			continue
		}
		r.configure(s, r.view(t, t.Partitions[s.partition.Index]))
	}
}
