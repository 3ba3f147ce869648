package sim

import (
	"outrigger/broker/topic"
	"outrigger/sidecar/node"
)

// turnWatch is the timeout watcher.
func (b *broker) turnWatch(tick bool) {
	// Ticks of a stride that have gone by, as production's watch finds when something wakes it.
	gone := !tick && b.clockPlanned > 1 && b.w.now-b.clockedAt >= tickMicros
	b.watch.Sync(b.view)
	for _, beat := range b.beats {
		b.watch.Take(beat, b.now())
	}
	b.beats = b.beats[:0]
	switch {
	case tick:
		b.watch.Routes(b.routes())
		b.watch.Tick(b.now())
		b.clockedAt = b.w.now
	case gone:
		b.watch.Tick(b.now())
		b.clockedAt += tickMicros
		b.clockPlanned = 1
	}
	defer b.planClock(tick)
	fx := b.watch.Effects()
	if fx.LeaseSet {
		b.store.SetLease(fx.Lease)
		b.store.SetMandate(fx.Mandate)
	}
	if heard := fx.Heard; heard != nil {
		b.in.Asks = append(b.in.Asks, func(r *node.Replication) {
			r.SetHeard(func(m topic.Member) bool { return heard[m] })
		})
		b.want(partData)
	}
	if fx.Table != nil {
		b.table = *fx.Table
	}
	b.w.count.triggers += uint64(fx.Fired)
	for _, r := range fx.Triggers {
		// A late copy of its registration may show a lost node as live for a while.
		if !b.w.hosts[r.Suspect.Node-1].lost {
			b.w.suspicions++
		}
		// The subject of the election requests may lose them, too.
		if !b.w.chance(b.w.mix.lossPercent) {
			b.triggers = append(b.triggers, r)
			b.want(partWorker)
		}
	}
	for _, r := range fx.Reports {
		b.meta.Report(r)
		if r.Kind != node.ReportHeard {
			b.h.wantTurn()
		}
	}
}

// planClock lets the watch's next tick come with the next heartbeat while nobody's wait can end before it.
func (b *broker) planClock(ticked bool) {
	calm := b.w.mix.strides && b.watch.Calm(strideTicks)
	switch {
	case ticked && calm:
		b.w.count.strides++
		b.clockPlanned = strideTicks
		b.wantIn(partClock, strideTicks*tickMicros)
	case ticked || !calm && b.clockPlanned > 1:
		b.clockPlanned = 1
		b.wantIn(partClock, tickMicros-(b.w.now-b.clockedAt)%tickMicros)
	}
}

// strideTicks make a heartbeat interval.
const strideTicks = beatMicros / tickMicros

// routes are the nodes whose connection is not known to be gone: that of a dead process usually is.
func (b *broker) routes() map[topic.NodeID]bool {
	routes := map[topic.NodeID]bool{}
	for _, other := range b.w.hosts {
		if other != b.h && (other.up() || b.w.mix.silentDeaths) {
			routes[other.id] = true
		}
	}
	return routes
}

// turnWorker is the election worker.
func (b *broker) turnWorker() {
	for _, r := range b.triggers {
		b.pending.Add(r)
	}
	b.triggers = b.triggers[:0]
	for _, r := range b.pending.Take(b.table, b.view.Image) {
		switch b.view.Controller {
		case topic.NoNode:
		case b.h.id:
			b.meta.Report(node.Report{Kind: node.ReportRequest, Request: r})
			b.h.wantTurn()
		default:
			b.w.post(b.h, int(b.view.Controller)-1, &mail{kind: mailReport, bytes: r.Encode()})
		}
	}
}
