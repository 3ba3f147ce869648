package sim

import (
	"maps"
	"slices"

	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
	"outrigger/sidecar/raft"
)

// nemesis does one thing to the cluster.
func (w *World) nemesis() {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if leader := w.leader(); leader != nil && w.rng.IntN(3) == 0 {
		h = leader
	}
	switch act := w.rng.IntN(12); {
	case act < 4 && w.mix.cuts:
		w.partition(h)
	case act < 7 && w.mix.crashes:
		w.strike(h)
	case act == 7 && w.mix.wipes:
		w.wipe(h)
	case act == 8 && w.mix.pauses:
		w.pause(h)
	case act == 9 && w.mix.badDisks:
		w.spoil(h)
	case act < 11 && w.mix.changes:
		w.meddle(h)
	default:
		w.net.join()
	}
}

// partition cuts links: one host off, one way or both, a split, or each link by itself, which gives
// every partial mesh in time.
func (w *World) partition(h *host) {
	w.count.partitions++
	w.net.join()
	n := len(w.hosts)
	switch w.rng.IntN(6) {
	case 5:
		w.swizzle()
	case 0:
		for i := range n {
			w.net.cut[h.at][i], w.net.cut[i][h.at] = true, true
		}
	case 1:
		for i := range n {
			w.net.cut[h.at][i] = true
		}
	case 2:
		for i := range n {
			w.net.cut[i][h.at] = true
		}
	case 3:
		side := make([]bool, n)
		for i := range side {
			side[i] = w.rng.IntN(2) == 0
		}
		for i := range n {
			for j := range n {
				w.net.cut[i][j] = side[i] != side[j]
			}
		}
	case 4:
		oneWay := w.rng.IntN(2) == 0
		for i := range n {
			for j := range i {
				w.net.cut[i][j] = w.rng.IntN(3) == 0
				w.net.cut[j][i] = w.net.cut[i][j]
				if oneWay {
					w.net.cut[j][i] = w.rng.IntN(3) == 0
				}
			}
		}
	}
}

// swizzle cuts some hosts off one after the other, and joins them again in another order: the schedule
// that finds what depends on the order in which connections come back.
func (w *World) swizzle() {
	w.count.swizzles++
	some := w.rng.Perm(len(w.hosts))[:1+w.rng.IntN(len(w.hosts))]
	at := int64(0)
	set := func(host int, cut bool) {
		w.laterAnywhere(at, func() {
			for i := range w.hosts {
				w.net.cut[host][i], w.net.cut[i][host] = cut && !w.healing, cut && !w.healing
			}
		})
		at += w.between(0, 4*tickMicros)
	}
	for _, host := range some {
		set(host, true)
	}
	for _, i := range w.rng.Perm(len(some)) {
		set(some[i], false)
	}
}

// strike crashes a host at one of its next durability points or sends, or right now, or all at once.
func (w *World) strike(h *host) {
	switch w.rng.IntN(6) {
	case 0:
		h.crash()
		w.restartLater(h)
	case 1:
		for _, other := range w.hosts {
			other.crash()
			w.restartLater(other)
		}
	default:
		if !h.up() {
			return
		}
		h.fuse = w.rng.IntN(12)
		if h.broker != nil && w.rng.IntN(2) == 0 {
			h.fuse = -1
			h.disk.fs.CrashAfter(w.rng.IntN(20))
		}
	}
}

// spoil makes a disk misbehave for a while: full, slow, or failing once, which ends the process.
func (w *World) spoil(h *host) {
	if h.broker == nil {
		return
	}
	w.count.spoiled++
	fs := h.disk.fs
	kinds := 5
	if w.mix.interval {
		kinds = 2 // what a disk that errs or rots takes is not bounded by what was synced
	}
	switch w.rng.IntN(kinds) {
	case 3, 4:
		w.rot(h)
	case 0:
		fs.SetCapacity(1)
		w.laterAnywhere(w.between(0, 40*tickMicros), func() { h.disk.fs.SetCapacity(0) })
	case 1:
		h.slowUntil = w.now + w.between(0, 80*tickMicros)
	case 2:
		failed := false
		fs.Intercept(func(op waltest.Op) error {
			if failed || op.Verb != waltest.Write && op.Verb != waltest.Sync {
				return nil
			}
			failed = true
			w.count.ioErrors++
			return errDisk
		})
	}
}

func (w *World) restartLater(h *host) {
	if h.up() {
		return
	}
	delay := w.between(100, 5*tickMicros)
	if w.rng.IntN(3) == 0 {
		delay = w.between(0, 80*tickMicros)
	}
	w.queue.push(event{at: w.now + delay, kind: restart, host: h.at})
}

// wipe takes a host's disk. Unless the seed is one of mass wipes, every membership that any host
// knows must keep a majority of its disks; with mass wipes one configured voter must keep its log,
// since otherwise a second founding would be right.
func (w *World) wipe(h *host) {
	if h.world.mix.brokers && !w.dataSpares(h) {
		return
	}
	if w.votedAt > 0 && (!w.votersSettled() || !w.someoneElseRemembers(h)) {
		// Those who founded the cluster need not vote any more, but would found another one.
		return
	}
	if !w.spares(h) {
		if !w.mix.massWipes || !w.someoneElseRemembers(h) {
			return
		}
		w.hopeless = true
		w.count.massWipes++
	}
	w.count.wipes++
	if w.mix.brokers {
		w.count.dataWipes++
	}
	h.crash()
	h.disk = w.newDisk()
	h.seen, h.checked, h.leading = raft.Brief{}, 0, 0
	w.restartLater(h)
}

func (w *World) spares(h *host) bool {
	for _, other := range w.hosts {
		known := memberships(other.disk)
		if other.up() {
			known = append(known, other.quorum.Status().Membership)
		}
		for _, s := range known {
			if !w.survives(s, h) {
				return false
			}
		}
	}
	return true
}

// survives reports whether a majority of the voters still has its disks, without that of gone.
func (w *World) survives(s raft.Membership, gone *host) bool {
	left := 0
	for _, h := range w.hosts {
		if h != gone && s.IsVoter(raft.Member{Node: h.id, Disk: h.disk.id}) {
			left++
		}
	}
	return left >= s.Quorum()
}

// memberships are all that a disk knows of, from its snapshot on.
func memberships(d *disk) []raft.Membership {
	var all []raft.Membership
	for _, held := range []image{d.synced, d.now} {
		if !held.snapshot.Membership.IsZero() {
			all = append(all, held.snapshot.Membership)
		}
		for _, e := range held.entries {
			if e.Kind == raft.EntryMembership {
				if s, err := raft.DecodeMembership(e.Data); err == nil {
					all = append(all, s)
				}
			}
		}
	}
	return all
}

func (w *World) someoneElseRemembers(h *host) bool {
	for _, other := range w.hosts[:len(w.voters)] {
		if other != h && other.disk.synced.last() > 0 {
			return true
		}
	}
	return false
}

func (w *World) pause(h *host) {
	if !h.up() || h.paused() {
		return
	}
	w.count.pauses++
	longest := int64(40)
	if w.rng.IntN(4) == 0 {
		longest = 160
	}
	h.pausedUntil = w.now + w.between(0, longest*tickMicros)
	w.queue.push(event{at: h.pausedUntil, kind: resume, host: h.at, run: h.run})
}

// meddle asks the leader for a transfer or a change of the membership.
func (w *World) meddle(h *host) {
	if !h.up() || h.paused() {
		return
	}
	target := w.hosts[w.rng.IntN(len(w.hosts))]
	member := raft.Member{Node: target.id, Disk: target.disk.id}
	var err error
	switch w.rng.IntN(4) {
	case 0:
		// A promotion by hand may put a voter in who is not configured, and behind.
		err = h.quorum.Change(raft.Change{Kind: raft.Promote, Member: member})
	case 1:
		// Nobody takes a voter out while another's disk is lost, if that leaves no majority.
		change := raft.Change{Kind: raft.Remove, Member: member}
		next, bad := h.quorum.Status().Membership.Apply(change)
		if bad != nil || !w.survives(next, nil) {
			return
		}
		err = h.quorum.Change(change)
	default:
		to := target.id
		if w.rng.IntN(2) == 0 {
			to = topic.NoNode
		}
		if err = h.quorum.Transfer(to); err == nil {
			w.count.transfers++
		}
	}
	if err == nil {
		w.count.changes++
	}
	h.wantTurn()
	w.check.after(h)
}

// heal ends all faults and requires progress.
func (w *World) heal() {
	quiet := w.mix
	quiet.lossPercent, quiet.dupPercent, quiet.replayPercent, quiet.slowPercent = 0, 0, 0, 0
	quiet.nemesisMicros, quiet.delayMicros = 1<<50, min(quiet.delayMicros, 8_000)
	quiet.syncMicros = min(quiet.syncMicros, 3_000)
	// Snapshots are tiny here, and come faster than a slow link carries them if proposals do.
	if !quiet.brokers {
		quiet.clientMicros = max(quiet.clientMicros, 4*tickMicros)
	}
	quiet.clientLossPercent, quiet.badDisks = 0, false
	quiet.cuts, quiet.crashes, quiet.wipes, quiet.pauses, quiet.changes = false, false, false, false, false
	w.mix, w.healing = quiet, true
	w.net.join()
	w.net.hurry()
	if w.mix.brokers && w.rng.IntN(2) == 0 {
		w.lose()
		// Their absence is noticed, or not, while messages are still lost.
		for until := w.now + loseTicks*tickMicros; w.check.violation == nil && w.now < until; {
			w.step()
		}
	}
	for _, h := range w.hosts {
		if h.lost {
			continue
		}
		h.fuse, h.pausedUntil, h.slowUntil = -1, 0, 0
		if fs := h.disk.fs; fs != nil {
			fs.SetCapacity(0)
			fs.Intercept(nil)
			fs.CrashAfter(-1)
		}
		if h.up() {
			h.drain()
			h.wake()
		} else {
			h.start()
		}
	}
	start := w.now
	w.healedFrom = maps.Clone(w.check.promisedEnd)
	for w.check.violation == nil && w.now < start+healTicks*tickMicros {
		w.step()
		if !w.hopeless && w.events%64 == 0 && w.healthy() {
			w.count.healedTicks += uint64((w.now - start) / tickMicros)
			w.rest()
			return
		}
	}
	if w.check.violation == nil && !w.hopeless && !w.stranded() {
		w.check.fail("no progress within %d ticks after healing: %s", healTicks, w.portrait())
	}
}

// stranded reports whether somebody knows of a membership whose majority is lost for good: one that no
// disk held any more when the hosts were taken, so that lose did not mind it, and that came by a message
// which was still on its way (seed 1025). Whoever holds it has the longest log and lacks the votes, in any
// Raft, until a lost host returns.
func (w *World) stranded() bool {
	if !slices.ContainsFunc(w.hosts, func(h *host) bool { return h.lost }) {
		return false
	}
	return !w.spares(nil)
}

// loseTicks is a little more than a leader timeout.
const loseTicks = 12

// healthy reports whether the cluster has recovered: one leader, every host a member under its
// present disk, every configured voter voting, and everybody has applied what the leader committed
// since the healing.
func (w *World) healthy() bool {
	if w.mix.brokers && !w.flows() {
		return false
	}
	leader := w.leader()
	if leader == nil {
		return false
	}
	status := leader.quorum.Status()
	if !status.CommittedInTerm || status.Commit < w.check.ackedIndex || w.count.acked == 0 && !w.mix.brokers {
		return false
	}
	for _, h := range w.hosts {
		if h.lost {
			continue
		}
		if !h.up() || !status.Membership.Contains(raft.Member{Node: h.id, Disk: h.disk.id}) ||
			h.quorum.Applied()+healSlack < status.Commit || h.seen.Leader != leader.id {
			return false
		}
	}
	for _, id := range w.shallVote() {
		h := w.hosts[id-1]
		if !h.lost && !status.Membership.IsVoter(raft.Member{Node: h.id, Disk: h.disk.id}) {
			return false
		}
	}
	return true
}

// healSlack is how far a follower may be behind a leader that goes on committing.
const healSlack = 40
