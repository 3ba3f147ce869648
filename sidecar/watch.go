package sidecar

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/frame"
)

// watchTick is the watcher's unit of time: that of the Raft by default, so that both wake together.
const watchTick = 150 * time.Millisecond

func (s *Sidecar) watcherConfig() election.WatcherConfig {
	return election.WatcherConfig{
		Self: s.cfg.Node, TimeoutTicks: ticksOf(s.cfg.LeaderTimeout),
		// A hint leaves room for two heartbeats: it shortens the wait and proves nothing.
		HintTicksMin: ticksOf(5 * s.cfg.HeartbeatInterval / 2),
	}
}

func ticksOf(d time.Duration) int { return int((d + watchTick - 1) / watchTick) }

// beat is a heartbeat that arrived.
type beat struct {
	from topic.Member
	frame.Heartbeat
}

// promise is a heartbeat from an image that this node does not have yet.
type promise struct {
	applied uint64
	at      time.Duration
}

// watch owns the table "last heard, per node". It collects, then acts, and acting is putting a
// request into a mailbox: it never publishes, waits, calls the Raft or takes somebody's lock, and so
// it cannot be stopped by what it watches.
type watch struct {
	s       *Sidecar
	watcher *election.Watcher
	// heardAt is when each session was last heard, for the leadership lease and for the gate on
	// acks=all.
	heardAt map[topic.Member]time.Duration
	// voucherAt is when each node last vouched for this node's leaderships: heard, and not ahead of
	// this node's image.
	voucherAt map[topic.NodeID]time.Duration
	// ahead holds each node's first heartbeat that this node's image has not caught up with. When it
	// has, that was a voucher too: while topics are created one by one, all heartbeats are ahead.
	ahead map[topic.NodeID]promise
	heard map[topic.Member]bool
	// toldAt is when each silence was last logged.
	toldAt map[topic.Member]time.Duration
	// routes are the nodes behind names, the connected routes at the last tick.
	routes map[topic.NodeID]bool
	names  []string
	// suspecting: the published table has somebody in it who is suspected.
	suspecting bool
	image      *published
	tickedAt   time.Duration
}

func newWatch(s *Sidecar) *watch {
	return &watch{
		s: s, watcher: election.NewWatcher(s.watcherConfig()),
		heardAt: map[topic.Member]time.Duration{}, voucherAt: map[topic.NodeID]time.Duration{},
		ahead: map[topic.NodeID]promise{},
		heard: map[topic.Member]bool{}, toldAt: map[topic.Member]time.Duration{}, routes: map[topic.NodeID]bool{}, tickedAt: s.cfg.Now(),
	}
}

func (w *watch) run(ctx context.Context) error {
	ticker := newPace(watchTick)
	defer ticker.stop()
	var beats []beat
	for {
		tick := false
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			ticker.next()
			tick = true
		case <-w.s.beats.signal:
		}
		w.sync()
		// Heartbeats that wait in the queue are not silence.
		beats = w.s.beats.take(beats)
		for _, b := range beats {
			w.take(b)
		}
		if tick {
			w.tick()
		}
	}
}

// sync follows the image.
func (w *watch) sync() {
	current := w.s.current()
	if current == w.image {
		return
	}
	before := w.image
	w.image = current
	if before == nil || before.controller != current.controller {
		w.remind()
	}
	if before == nil || before.image != current.image {
		w.watcher.Sync(current.image.Brokers())
		maps.DeleteFunc(w.toldAt, func(m topic.Member, _ time.Duration) bool { return !current.image.Live(m) })
		w.grant(before)
		w.redeem()
	}
}

// remind tells a new controller at once whom this node suspects: it has no evidence of its own, and the
// next repetition is some ticks away.
func (w *watch) remind() {
	for _, row := range w.watcher.Snapshot().Rows() {
		if row.Suspected {
			w.s.triggers.put(election.Request{
				Reporter: w.s.self(), Suspect: row.Member, SilentTicks: row.SilentTicks,
			})
		}
	}
}

// redeem counts the heartbeats that the image has caught up with, from when they were heard.
func (w *watch) redeem() {
	for node, p := range w.ahead {
		if p.applied <= w.image.image.AppliedIndex() {
			w.voucherAt[node] = max(w.voucherAt[node], p.at)
			delete(w.ahead, node)
		}
	}
	w.lease(w.s.cfg.Now())
}

// grant gives a fresh wait to whom an applied election made a leader.
func (w *watch) grant(before *published) {
	if before == nil {
		return
	}
	for _, node := range elected(before.image, w.image.image) {
		w.watcher.Grant(node)
	}
}

// elected lists who was made a leader between two images.
func elected(before, after *cluster.Image) []topic.NodeID {
	granted := map[topic.NodeID]bool{}
	for c := range cluster.Changes(before, after) {
		if c.After != nil && (c.Before == nil || c.Before.LeaderEpoch != c.After.LeaderEpoch) {
			granted[c.After.Leader] = true
		}
	}
	return slices.Sorted(maps.Keys(granted))
}

// take refreshes everything that the sender claims. A sender whose data path hangs disclaims it: its
// heart beats, and it is silent all the same.
func (w *watch) take(b beat) {
	now := w.s.cfg.Now()
	if b.Disclaims {
		return
	}
	if !w.watcher.Heard(b.from) {
		return
	}
	w.heardAt[b.from] = now
	delete(w.toldAt, b.from)
	// It matters when the controller lets time pass, and not before.
	w.s.meta.reports.leave(report{kind: reportHeard, member: b.from})
	// A node that was stopped for long hears its peers before it has read that it was deposed. Who is
	// ahead of this node's image does not vouch for what the image says.
	if b.Applied <= w.image.image.AppliedIndex() {
		w.voucherAt[b.from.Node] = now
		w.lease(now)
	} else if _, waits := w.ahead[b.from.Node]; !waits {
		w.ahead[b.from.Node] = promise{applied: b.Applied, at: now}
	}
	if !w.heard[b.from] {
		w.tellHeard(now)
	}
}

// tick lets time pass: suspicions, hints, and who is no longer heard.
func (w *watch) tick() {
	now := w.s.cfg.Now()
	w.hints()
	elapsed := int((now - w.tickedAt) / watchTick)
	w.tickedAt += time.Duration(elapsed) * watchTick
	suspicions := w.watcher.Tick(elapsed)
	// The table comes first: the worker checks the requests against it. While nobody was suspected and
	// nobody is, it says what it said.
	if len(suspicions) > 0 || w.suspecting {
		table := w.watcher.Snapshot()
		w.suspecting = slices.ContainsFunc(table.Rows(), func(r election.Row) bool { return r.Suspected })
		w.s.table.Store(&table)
	}
	for _, suspicion := range suspicions {
		w.s.metrics.watcherTriggers.Inc()
		w.tellSilent(suspicion, now)
		w.s.triggers.put(election.Request{
			Reporter: w.s.self(), Suspect: suspicion.Member, SilentTicks: suspicion.SilentTicks,
		})
	}
	w.tellHeard(now)
}

// tellSilent logs a silence when it begins and once a minute while it lasts; the trigger itself repeats
// much faster.
func (w *watch) tellSilent(suspicion election.Suspicion, now time.Duration) {
	if at, told := w.toldAt[suspicion.Member]; told && now-at < time.Minute {
		return
	}
	w.toldAt[suspicion.Member] = now
	w.s.log.Info("peer is silent", slog.String("suspicion", suspicion.String()))
}

// hints compares the connected routes with those of the last tick. A lost route shortens the wait; it
// is never proof.
func (w *watch) hints() {
	names := w.s.cfg.Routes()
	if slices.Equal(names, w.names) {
		return
	}
	w.names = slices.Clone(names)
	routes := map[topic.NodeID]bool{}
	for _, name := range names {
		if id, ok := w.s.cfg.NodeOf(name); ok {
			routes[topic.NodeID(id)] = true
		}
	}
	for node := range w.routes {
		if !routes[node] {
			w.watcher.Hint(node)
			w.s.meta.reports.put(report{kind: reportHint, member: topic.Member{Node: node}})
		}
	}
	w.routes = routes
}

// tellHeard tells the replica machines which members were heard within the leader timeout, when that
// has changed.
func (w *watch) tellHeard(now time.Duration) {
	if !w.heardChanged(now) {
		return
	}
	heard := map[topic.Member]bool{}
	for member, at := range w.heardAt {
		if now-at < w.s.cfg.LeaderTimeout {
			heard[member] = true
		}
	}
	if maps.Equal(heard, w.heard) {
		return
	}
	for member := range w.heard {
		if !heard[member] {
			delete(w.heardAt, member)
		}
	}
	w.heard = heard
	w.s.replication.setHeard(func(m topic.Member) bool { return heard[m] })
}

// heardChanged looks whether tellHeard has anything to tell; most ticks have not.
func (w *watch) heardChanged(now time.Duration) bool {
	fresh := 0
	for member, at := range w.heardAt {
		if now-at < w.s.cfg.LeaderTimeout {
			if !w.heard[member] {
				return true
			}
			fresh++
		}
	}
	return fresh != len(w.heard)
}

// lease extends the right to act as leader: until one leader timeout after this node last heard the
// controller, or enough members to commit with.
func (w *watch) lease(now time.Duration) {
	until := now + w.s.cfg.LeaderTimeout
	im := w.image.image
	needed := min(int(im.Defaults().MinInSync), len(im.Registered())) - 1
	if needed > 0 {
		until = w.vouchedAt(needed) + w.s.cfg.LeaderTimeout
		if at, ok := w.voucherAt[w.image.controller]; ok {
			until = max(until, at+w.s.cfg.LeaderTimeout)
		}
	}
	if needed <= 0 {
		until = partition.Forever
	}
	w.s.cfg.Logs.SetLease(until)
}

// vouchedAt is when at least n peers had last vouched.
func (w *watch) vouchedAt(n int) time.Duration {
	times := slices.Sorted(maps.Values(w.voucherAt))
	if len(times) < n {
		return -w.s.cfg.LeaderTimeout
	}
	return times[len(times)-n]
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
		for _, r := range pending.Take(*s.table.Load(), current.image) {
			s.report(ctx, current.controller, r)
		}
	}
}

// report brings one request to the controller.
func (s *Sidecar) report(ctx context.Context, controller topic.NodeID, r election.Request) {
	if controller == s.cfg.Node {
		s.meta.reports.put(report{kind: reportRequest, request: r})
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
