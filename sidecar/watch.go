package sidecar

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/election"
	"outrigger/sidecar/node"
)

// watchTick is the watcher's unit of time: that of the Raft by default, so that both wake together.
const watchTick = 150 * time.Millisecond

// waryTicks span what the NATS server may need to drop a lost route from its table after it has told
// of it.
const waryTicks = 8

func (s *Sidecar) watcherConfig() election.WatcherConfig {
	return election.WatcherConfig{
		Self: s.cfg.Node, TimeoutTicks: ticksOf(s.cfg.LeaderTimeout),
		// A hint leaves room for two heartbeats: it shortens the wait and proves nothing.
		HintTicksMin: ticksOf(5 * s.cfg.HeartbeatInterval / 2),
	}
}

func ticksOf(d time.Duration) int { return int((d + watchTick - 1) / watchTick) }

// watch owns node.Watch: it feeds what came, then acts, and acting is putting something into a mailbox.
// It never publishes, waits, calls the Raft or takes somebody's lock, and so it cannot be stopped by
// what it watches.
type watch struct {
	s    *Sidecar
	core *node.Watch
	view *published
	// stride is how many ticks make a heartbeat interval.
	stride int
	// names are the connected routes at the last tick.
	names []string
	// wary counts down the ticks in which the routes are looked at one by one, since one may be going.
	wary int
}

func newWatch(s *Sidecar) *watch {
	return &watch{s: s, core: node.NewWatch(node.WatchConfig{
		Self: s.self(), Watcher: s.watcherConfig(), Tick: watchTick, LeaderTimeout: s.cfg.LeaderTimeout,
		ToldAgain: time.Minute,
	}, s.cfg.Now()), stride: max(1, int(s.cfg.HeartbeatInterval/watchTick))}
}

func (w *watch) run(ctx context.Context) error {
	ticker := newPace(watchTick)
	defer ticker.stop()
	var beats []node.Beat
	for {
		due := 0
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			due = ticker.fired()
		case <-w.s.beats.signal:
		case <-w.s.cfg.RoutesCue:
			w.wary = waryTicks
		}
		w.wary = max(0, w.wary-due)
		w.sync()
		// Heartbeats that wait in the queue are not silence.
		beats = w.s.beats.take(beats)
		for _, b := range beats {
			w.core.Take(b, w.s.cfg.Now())
		}
		switch {
		case due > 0:
			w.tick()
		case ticker.gone() > 0:
			w.core.Tick(w.s.cfg.Now())
		}
		w.act()
		// While nobody's wait can end before it, the next tick comes with the next heartbeat.
		ticker.plan(due > 0, w.wary == 0 && w.core.Calm(w.stride), w.stride)
	}
}

// sync follows the image.
func (w *watch) sync() {
	if current := w.s.current(); current != w.view {
		w.view = current
		w.core.Sync(current.View)
	}
}

// tick lets time pass.
func (w *watch) tick() {
	if names := w.s.cfg.Routes(); !slices.Equal(names, w.names) {
		w.names = slices.Clone(names)
		routes := map[topic.NodeID]bool{}
		for _, name := range names {
			if id, ok := w.s.cfg.NodeOf(name); ok {
				routes[topic.NodeID(id)] = true
			}
		}
		w.core.Routes(routes)
	}
	w.core.Tick(w.s.cfg.Now())
}

// act carries out what the watch wants. The table comes first: the worker checks the requests against
// it.
func (w *watch) act() {
	fx := w.core.Effects()
	if fx.LeaseSet {
		w.s.cfg.Logs.SetLease(fx.Lease)
		w.s.cfg.Logs.SetMandate(fx.Mandate)
	}
	if fx.Heard != nil {
		heard := fx.Heard
		w.s.replication.setHeard(func(m topic.Member) bool { return heard[m] })
	}
	if fx.Table != nil {
		w.s.table.Store(fx.Table)
	}
	w.s.metrics.triggers.Add(uint64(fx.Fired))
	for _, suspicion := range fx.Silent {
		w.s.log.Info("peer is silent", slog.String("suspicion", suspicion.String()))
	}
	for _, r := range fx.Triggers {
		w.s.triggers.put(r)
	}
	for _, r := range fx.Reports {
		if r.Kind == node.ReportHeard {
			// It matters when the controller lets time pass, and not before.
			w.s.meta.reports.leave(r)
		} else {
			w.s.meta.reports.put(r)
		}
	}
}

// pullTriggers publishes the watcher's requests on the node-internal subject, on a connection of its
// own. A request that is lost comes again.
func (s *Sidecar) pullTriggers(ctx context.Context) error {
	var requests []election.Request
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.triggers.signal:
		}
		requests = s.triggers.take(requests)
		for _, r := range requests {
			if err := s.bus.Publish(bus.Election, electionSubject(s.cfg.Node), r.Encode()); err != nil {
				s.log.Warn("election request not published", slog.String("error", err.Error()))
			}
			s.event("watcher.fired", map[string]any{
				"node": s.cfg.Node, "suspect": r.Suspect.Node, "silent_ticks": r.SilentTicks,
			})
		}
	}
}

// electionWorker consumes the requests, coalesces them (a dead node that leads 5,000 partitions is one
// report), checks that they still hold, and reports to the controller with a deadline. What is lost
// here is asked for again by the watcher.
func (s *Sidecar) electionWorker(ctx context.Context) error {
	requests := newMailbox[election.Request](election.PendingMax)
	err := s.bus.QueueSubscribe(bus.Election, electionSubject(s.cfg.Node), "election", func(m bus.Message) {
		r, err := election.DecodeRequest(m.Data)
		if err != nil {
			s.metrics.malformed.WithLabelValues("election").Inc()
			return
		}
		requests.put(r)
	})
	if err != nil {
		return err
	}
	var pending election.Pending
	var batch []election.Request
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-requests.signal:
		}
		batch = requests.take(batch)
		for _, r := range batch {
			pending.Add(r)
		}
		current := s.current()
		for _, r := range pending.Take(*s.table.Load(), current.Image) {
			s.report(ctx, current.Controller, r)
		}
	}
}

// report brings one request to the controller.
func (s *Sidecar) report(ctx context.Context, controller topic.NodeID, r election.Request) {
	if controller == s.cfg.Node {
		s.meta.reports.put(node.Report{Kind: node.ReportRequest, Request: r})
		return
	}
	if controller == topic.NoNode {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.LeaderTimeout/2)
	defer cancel()
	if _, err := s.bus.Request(ctx, bus.Raft, reportSubject(controller), r.Encode()); err != nil {
		s.log.Debug("report did not reach the controller", slog.Int("controller", int(controller)),
			slog.String("error", err.Error()))
	}
}
