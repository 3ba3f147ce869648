package node

import (
	"maps"
	"slices"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/frame"
)

// WatchConfig is what a Watch is made of.
type WatchConfig struct {
	Self topic.Member
	// Watcher is the table's, in units of Tick.
	Watcher election.WatcherConfig
	Tick    time.Duration
	// LeaderTimeout is replica.leader.timeout.ms.
	LeaderTimeout time.Duration
	// ToldAgain is after how long a silence that lasts is worth another log line.
	ToldAgain time.Duration

	mutant Mutant
}

// Beat is a heartbeat that arrived.
type Beat struct {
	From topic.Member
	frame.Heartbeat
}

// Watch owns the table "last heard, per node", and what follows from it: suspicions, who counts as
// heard, and until when this node may act as leader. It collects, then its owner acts; it never waits
// for anybody and calls nobody. All times are of the owner's monotonic clock.
type Watch struct {
	cfg     WatchConfig
	watcher *election.Watcher
	// heardAt is when each session was last heard, for the leadership lease and for the gate on
	// acks=all.
	heardAt map[topic.Member]time.Duration
	// voucherAt is when this node sent the newest heartbeat that each node has vouched with: it was not
	// ahead of this node's image, and had heard that heartbeat. When its word arrived does not matter: it
	// may have waited on a line, or for this process to be woken up.
	voucherAt map[topic.NodeID]time.Duration
	// ahead holds each node's first heartbeat that this node's image has not caught up with. When it
	// has, that was a voucher too: while topics are created one by one, all heartbeats are ahead.
	ahead map[topic.NodeID]promise
	heard map[topic.Member]bool
	// toldAt is when each silence was last told.
	toldAt map[topic.Member]time.Duration
	routes map[topic.NodeID]bool
	// suspecting: the last published table has somebody in it who is suspected.
	suspecting bool
	view       View
	tickedAt   time.Duration
	fx         WatchEffects
}

// promise is a voucher from an image that this node does not have yet.
type promise struct {
	applied uint64
	at      time.Duration
}

// WatchEffects is what a Watch wants done since the last call of Effects.
type WatchEffects struct {
	// Table, when not nil, is published before the triggers go out: the election worker checks them
	// against it.
	Table *election.Table
	// Triggers are election requests for this node's election worker.
	Triggers []election.Request
	// Fired counts the triggers that are suspicions, not reminders.
	Fired int
	// Silent are suspicions worth a log line.
	Silent []election.Suspicion
	// Heard, when not nil, are the members heard within the leader timeout.
	Heard map[topic.Member]bool
	// Lease, when LeaseSet, is until when this node may act as leader.
	Lease    time.Duration
	LeaseSet bool
	// Mandate, when LeaseSet, is until when it may say what does not exist.
	Mandate time.Duration
	// Reports are evidence for a controller on this node.
	Reports []Report
}

// NewWatch makes a watch of nobody.
func NewWatch(cfg WatchConfig, now time.Duration) *Watch {
	return &Watch{
		cfg: cfg, watcher: election.NewWatcher(cfg.Watcher),
		heardAt: map[topic.Member]time.Duration{}, voucherAt: map[topic.NodeID]time.Duration{},
		ahead: map[topic.NodeID]promise{}, heard: map[topic.Member]bool{},
		toldAt: map[topic.Member]time.Duration{}, routes: map[topic.NodeID]bool{}, tickedAt: now,
	}
}

// Effects returns what is to be done; the Watch starts a new list.
func (w *Watch) Effects() WatchEffects {
	fx := w.fx
	w.fx = WatchEffects{}
	return fx
}

// Sync follows the image.
func (w *Watch) Sync(v View) {
	before := w.view
	if v == before {
		return
	}
	w.view = v
	if before.Image == nil || before.Controller != v.Controller {
		w.remind()
	}
	if before.Image != v.Image {
		w.follow(before.Image)
	}
	if before.Image != v.Image || before.Voters != v.Voters {
		w.redeem()
	}
}

// follow brings the table in line with an image that takes the place of another, if there was one.
func (w *Watch) follow(before *cluster.Image) {
	im := w.view.Image
	w.watcher.Sync(im.Brokers())
	maps.DeleteFunc(w.toldAt, func(m topic.Member, _ time.Duration) bool { return !im.Live(m) })
	if before != nil {
		// An applied election gives the new leader a fresh wait.
		for _, node := range elected(before, im) {
			w.watcher.Grant(node)
		}
	}
}

// remind tells a new controller at once whom this node suspects: it has no evidence of its own, and the
// next repetition is some ticks away.
func (w *Watch) remind() {
	for _, row := range w.watcher.Snapshot().Rows() {
		if row.Suspected {
			w.trigger(election.Suspicion{Member: row.Member, SilentTicks: row.SilentTicks})
		}
	}
}

func (w *Watch) trigger(s election.Suspicion) {
	w.fx.Triggers = append(w.fx.Triggers, election.Request{
		Reporter: w.cfg.Self, Suspect: s.Member, SilentTicks: s.SilentTicks,
	})
}

// redeem counts the heartbeats that the image has caught up with, from when they were heard.
func (w *Watch) redeem() {
	for node, p := range w.ahead {
		if p.applied <= w.view.Known() {
			w.voucherAt[node] = max(w.voucherAt[node], p.at)
			delete(w.ahead, node)
		}
	}
	w.lease()
}

// Take refreshes everything that the sender claims. A sender whose data path hangs disclaims it: its
// heart beats, and it is silent all the same.
func (w *Watch) Take(b Beat, now time.Duration) {
	if b.Disclaims || w.cfg.mutant != HeartbeatsRefreshNothing && !w.watcher.HeardAfter(b.From, int((now-w.tickedAt)/w.cfg.Tick)) {
		return
	}
	w.heardAt[b.From] = now
	delete(w.toldAt, b.From)
	w.fx.Reports = append(w.fx.Reports, Report{Kind: ReportHeard, Member: b.From, At: now})
	// A node that was stopped for long hears its peers before it has read that it was deposed. Who is
	// ahead of this node's image does not vouch for what the image says.
	if at, heard := w.echoed(b.Heartbeat); heard {
		if b.Applied <= w.view.Known() {
			w.voucherAt[b.From.Node] = max(w.voucherAt[b.From.Node], at)
			w.lease()
		} else if _, waits := w.ahead[b.From.Node]; !waits {
			w.ahead[b.From.Node] = promise{applied: b.Applied, at: at}
		}
	}
	if !w.heard[b.From] {
		w.tellHeard(now)
	}
}

// echoed is when this session sent the newest heartbeat that the sender had heard.
func (w *Watch) echoed(hb frame.Heartbeat) (time.Duration, bool) {
	for _, p := range hb.Peers {
		if p.Node == w.cfg.Self.Node && p.Session == w.cfg.Self.Session {
			return time.Duration(p.SentMicros) * time.Microsecond, true
		}
	}
	return 0, false
}

// Tick lets time pass: suspicions, and who is no longer heard.
func (w *Watch) Tick(now time.Duration) {
	elapsed := int((now - w.tickedAt) / w.cfg.Tick)
	w.tickedAt += time.Duration(elapsed) * w.cfg.Tick
	suspicions := w.watcher.Tick(elapsed)
	// While nobody was suspected and nobody is, the table says what it said.
	if len(suspicions) > 0 || w.suspecting {
		table := w.watcher.Snapshot()
		w.suspecting = slices.ContainsFunc(table.Rows(), func(r election.Row) bool { return r.Suspected })
		w.fx.Table = &table
	}
	for _, s := range suspicions {
		w.fx.Fired++
		if at, told := w.toldAt[s.Member]; !told || now-at >= w.cfg.ToldAgain {
			w.toldAt[s.Member] = now
			w.fx.Silent = append(w.fx.Silent, s)
		}
		w.trigger(s)
	}
	w.tellHeard(now)
}

// Calm reports whether the next n ticks may pass in one call of Tick, at the end of their time.
func (w *Watch) Calm(n int) bool { return !w.suspecting && w.watcher.Calm(n) }

// Routes compares the nodes that routes lead to with those of the last call. A lost route shortens the
// wait; it is never proof.
func (w *Watch) Routes(routes map[topic.NodeID]bool) {
	for _, node := range slices.Sorted(maps.Keys(w.routes)) {
		if !routes[node] {
			w.watcher.Hint(node)
			w.fx.Reports = append(w.fx.Reports, Report{Kind: ReportHint, Member: topic.Member{Node: node}})
		}
	}
	w.routes = routes
}

// tellHeard tells which members were heard within the leader timeout, when that has changed.
func (w *Watch) tellHeard(now time.Duration) {
	if !w.heardChanged(now) {
		return
	}
	heard := map[topic.Member]bool{}
	for member, at := range w.heardAt {
		if now-at < w.cfg.LeaderTimeout {
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
	w.heard, w.fx.Heard = heard, heard
}

// heardChanged looks whether tellHeard has anything to tell; most ticks have not.
func (w *Watch) heardChanged(now time.Duration) bool {
	fresh := 0
	for member, at := range w.heardAt {
		if now-at < w.cfg.LeaderTimeout {
			if !w.heard[member] {
				return true
			}
			fresh++
		}
	}
	return fresh != len(w.heard)
}

// lease extends the right to act as leader: until one leader timeout after the controller, or enough
// members to commit with, last vouched. The mandate wants a majority of the voters in their place: a
// few deposed members may vouch for each other in a corner. Who votes is what the image's index says, and
// nobody vouches whose log holds a later change of that (see View.Told): whoever may be deposed behind this
// node's image needs one of the majority that vouched.
func (w *Watch) lease() {
	im := w.view.Image
	w.fx.LeaseSet = true
	anybody := slices.Sorted(maps.Values(w.voucherAt))
	w.fx.Lease = w.vouchedFor(anybody, min(int(im.Inherited().MinInSync), len(im.Registered()))-1)

	var electorate []topic.NodeID
	if w.view.Voters != nil {
		electorate = w.view.Voters.Nodes
	}
	needed := len(electorate)/2 + 1
	var voters []time.Duration
	for _, voter := range electorate {
		if at, ok := w.voucherAt[voter]; ok {
			voters = append(voters, at)
		} else if voter == w.cfg.Self.Node {
			needed--
		}
	}
	slices.Sort(voters)
	w.fx.Mandate = w.vouchedFor(voters, needed)
	if w.cfg.mutant == MandateNeverEnds {
		w.fx.Mandate = partition.Forever
	}
}

// vouchedFor is until when this node may act, if that takes the controller or n of those who vouched
// at times.
func (w *Watch) vouchedFor(times []time.Duration, n int) time.Duration {
	if n <= 0 {
		return partition.Forever // it needs nobody
	}
	var until time.Duration
	if len(times) >= n {
		until = times[len(times)-n] + w.cfg.LeaderTimeout
	}
	if at, ok := w.voucherAt[w.view.Controller]; ok {
		until = max(until, at+w.cfg.LeaderTimeout)
	}
	return until
}
