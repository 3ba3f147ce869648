package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/node"
	"outrigger/sidecar/replica"
)

// Times of a whole node. Production's defaults divided by fifteen: what matters is how they compare.
const (
	beatMicros      = 20_000
	leaderTimeout   = 80 * time.Millisecond
	balanceEvery    = 1500 * time.Millisecond
	balanceSoon     = 200 * time.Millisecond
	replicaTick     = 5 * time.Millisecond
	lagTicksMax     = 100
	repeatTicksMax  = 20
	storeTickMicros = 150_000
	walFileBytes    = 64 << 10
	walFilesMax     = 8
	walRecordMax    = 4 << 10
	walQueueBytes   = 24 << 10
	unackedBytesMax = 4 << 10
	flushInterval   = 100 * time.Millisecond
	scrubMicros     = 40_000
	drainMicros     = 30_000
)

// part is a goroutine of production: it owns its machines, and runs a little after it was woken, in
// whatever order.
type part uint8

const (
	partData part = iota
	partWatch
	partPropose
	partWorker
	partRegister
	partBeat
	partClock
	partWAL
	partDisk
	partDone
	partPrepare
	partStore
	partClaim
	partScrub
	partDrain
	parts
)

var partNames = [...]string{"data", "watch", "propose", "worker", "register", "beat", "clock", "wal", "disk", "done",
	"prepare", "store", "claim", "scrub", "drain"}

// broker is a whole node but for its metadata Raft, which is the host's: the partition logs over the
// node WAL on a simulated disk, and every part of the sidecar, each turned by itself.
type broker struct {
	w       *World
	h       *host
	session topic.Session
	begun   time.Duration

	store    *partition.Store
	drive    *partition.Driver
	meta     *node.Metadata
	watch    *node.Watch
	register node.Registrar
	claimant node.Claimant
	proposer *node.Proposer
	repl     *node.Replication
	pending  election.Pending
	table    election.Table
	// view is the newest published state.
	view node.View

	// What has come for a part and waits for its turn.
	due [parts]int64 // when a part's next turn is, 0 if it wants none
	// clockedAt is when the watch last had a tick of its own.
	clockedAt int64
	// clockPlanned is how many ticks the next one stands for.
	clockPlanned int
	in           node.Arrivals
	beats        []node.Beat
	triggers     []election.Request
	ticks        int64
	evicted      uint64
	spansCut     uint64

	beatAt      map[topic.NodeID]*node.Heartbeat
	asked       map[uint64]topic.Member
	registering bool
	claiming    bool
	// registered: the image has shown this run's session, fenced since or not.
	registered bool
	// leads are the partitions that this run was seen to lead, by epoch.
	leads map[topic.Partition]topic.Epoch
	// judged is how far each log was compared with what is known to be committed.
	judged map[topic.Partition]topic.Offset
	// epochs counts those in each log when it was last looked at.
	epochs map[topic.Partition]int
	err    error
}

func (m *mail) String() string {
	return fmt.Sprintf("mail %d from %d, %d bytes", m.kind, m.from+1, len(m.bytes))
}

// now is the host's own clock: it runs a little slow or fast.
func (b *broker) now() time.Duration { return b.h.clock() }

// clock is the host's monotonic clock.
func (h *host) clock() time.Duration {
	return time.Duration(h.world.now*(1000+int64(h.at%3-1)*50)/1000) * time.Microsecond
}

func (w *World) watcherConfig(id topic.NodeID) election.WatcherConfig {
	cfg := election.WatcherConfig{Self: id, TimeoutTicks: 8, HintTicksMin: 5}
	election.Break(&cfg, w.options.Mutant.watcher)
	return cfg
}

// newBroker opens the logs, which a crash may have torn. The metadata comes after it.
func newBroker(h *host, session topic.Session) (*broker, error) {
	w := h.world
	b := &broker{
		w: w, h: h, session: session, begun: h.clock(),
		beatAt: map[topic.NodeID]*node.Heartbeat{}, asked: map[uint64]topic.Member{},
		leads: map[topic.Partition]topic.Epoch{}, judged: map[topic.Partition]topic.Offset{}, epochs: map[topic.Partition]int{},
		view: node.View{Image: cluster.Empty(), Controller: topic.NoNode},
	}
	cfg := partition.Config{
		WAL: wal.Config{
			FS: h.disk.fs, Dir: "wal", Session: session, FileBytes: walFileBytes, RecordBytesMax: walRecordMax,
			GroupBytesMax: 8 << 10, QueueBytesMax: [2]int64{walQueueBytes, walQueueBytes},
			FilesMax: walFilesMax, SparesMax: 1, DiscardBytes: walFileBytes / 4,
		},
		Catalog:      h.disk.catalog,
		ChunkBatches: []int{0, 2, 5}[w.seed/6%3],
		MayHead:      func() bool { return b.view.Image.Level() >= topic.HeadLevel },
		RollBackoff:  2 * storeTickMicros * time.Microsecond,
		TailBytesMax: w.mix.tailBytes, UnackedBytesMax: unackedBytesMax,
		HighWatermarkCheckpoint: 100 * time.Millisecond, Observer: b, Now: h.clock,
	}
	if w.mix.interval {
		cfg.WAL.Sync.Interval = flushInterval
	}
	h.disk.catalog.Durable = func(apply func()) error { return h.durable(func(*disk) { apply() }) }
	partition.Break(&cfg, w.options.Mutant.logs, w.options.Mutant.wal)
	store, err := b.openLogs(cfg)
	if err != nil {
		return nil, err
	}
	b.store = store
	store.CompactBy(b.compaction)
	if b.drive, err = store.Drive(); err != nil {
		return nil, err
	}
	self := topic.Member{Node: h.id, Session: session}
	watch := node.WatchConfig{
		Self: self, Watcher: w.watcherConfig(h.id), Tick: tickMicros * time.Microsecond, LeaderTimeout: leaderTimeout,
		ToldAgain: time.Hour,
	}
	node.BreakWatch(&watch, w.options.Mutant.node)
	b.watch = node.NewWatch(watch, h.clock())
	b.register = node.Registrar{Self: self, FreshFor: 3 * beatMicros * time.Microsecond}
	b.claimant = node.Claimant{Self: self}
	b.proposer = node.NewProposer(node.ProposerConfig{
		Self: h.id, AttemptTimeout: leaderTimeout, WaitMin: time.Millisecond, WaitMax: 40 * time.Millisecond,
		Seed: uint64(session),
	})
	repl := node.ReplicationConfig{
		Self: self, LagTicksMax: lagTicksMax, RepeatTicks: 1, RepeatTicksMax: repeatTicksMax,
		WindowBytes: w.mix.windowBytes, FrameBytes: 2 << 10, ScanBytes: 2 << 10,
	}
	node.BreakReplication(&repl, w.options.Mutant.node, w.options.Mutant.machine)
	b.repl = node.NewReplication(repl, node.StoreLogs{Store: store}, b)
	return b, nil
}

// openLogs is what a node does at its start: a damaged log is renamed and set aside from the damage on.
// The image never again takes it for the one that acknowledged what is missing.
func (b *broker) openLogs(cfg partition.Config) (*partition.Store, error) {
	store, err := partition.Open(cfg)
	if !errors.Is(err, wal.ErrDamaged) {
		return store, err
	}
	b.w.count.quarantines++
	disk := b.h.disk
	b.soundDisk(err.Error())
	if b.w.options.Mutant.name != keepsDamagedName {
		disk.logs = b.w.newDiskID()
	}
	disk.kept, disk.since, disk.latent = nil, uint64(b.session), false
	cfg.WAL.Sink, cfg.WAL.Replay = nil, nil
	if _, err := partition.Quarantine(cfg); err != nil {
		return nil, err
	}
	return partition.Open(cfg)
}

// soundDisk fails the run if damage is found on a disk that nothing has damaged: then it was made at home.
func (b *broker) soundDisk(found string) {
	if !b.h.disk.rotten {
		b.w.check.fail("%s finds damage on a sound disk: %s", b.h, found)
	}
}

// newMetadata joins the host's Raft with the image and the controller.
func (b *broker) newMetadata(cfg node.QuorumConfig) error {
	mc := node.MetadataConfig{
		Quorum: cfg, Watcher: b.w.watcherConfig(b.h.id), WatchTick: tickMicros * time.Microsecond,
		Defaults: cluster.SetDefaults{MinInSync: minInSync},
	}
	if b.w.seed/2%2 == 0 { // in half of those with moves, and of those without
		mc.Balance = node.Balance{Every: balanceEvery, Soon: balanceSoon, Percent: 10}
	}
	node.BreakMetadata(&mc, b.w.options.Mutant.rules)
	meta, err := node.NewMetadata(mc, storePort{b.h}, sendPort{b.h})
	if err != nil {
		return err
	}
	b.meta, b.h.quorum = meta, meta.Quorum()
	return nil
}

// begin wakes everything that runs by the clock.
func (b *broker) begin() {
	for _, p := range []part{partBeat, partClock, partRegister, partStore, partPrepare, partWAL, partDrain} {
		b.wantIn(p, b.w.between(0, beatMicros))
	}
	if b.w.mix.badDisks {
		b.wantIn(partScrub, b.w.between(0, scrubMicros))
	}
}

// want lets a part run a little later, so that inputs gather as they do when goroutines wake up.
func (b *broker) want(p part) { b.wantIn(p, b.w.between(0, 300)) }

func (b *broker) wantIn(p part, micros int64) {
	at := b.w.now + micros + 1
	if b.due[p] == 0 || at < b.due[p] {
		b.due[p] = at
		b.w.queue.push(event{at: at, kind: turnPart, host: b.h.at, run: b.h.run, part: p, planned: at})
	}
}

// wake lets everything that a pause has put off happen now.
func (h *host) wake() {
	if h.broker == nil {
		return
	}
	for p := range parts {
		if h.broker.due[p] != 0 {
			h.broker.wantIn(p, h.world.between(0, 300))
		}
	}
}

// turn runs one part, unless it has run since. An error ends the process.
func (b *broker) turn(p part, planned int64) error {
	if b.due[p] != planned {
		return nil
	}
	b.due[p] = 0
	switch p {
	case partData:
		b.turnData()
	case partWatch:
		b.turnWatch(false)
	case partClock:
		b.turnWatch(true)
	case partPropose:
		b.turnProposer()
	case partWorker:
		b.turnWorker()
	case partRegister:
		b.turnRegister()
	case partBeat:
		b.beat()
	case partStore:
		b.wantIn(partStore, storeTickMicros)
		rolled := b.store.Stats().Drain.Rolled
		b.store.Tick()
		b.w.count.rolled += uint64(b.store.Stats().Drain.Rolled - rolled)
		b.mend()
		b.want(partWAL)
		return b.drive.Tick()
	case partClaim:
		b.turnClaim()
	case partDrain:
		return b.turnDrain()
	case partScrub:
		b.turnScrub()
	default:
		return b.turnWAL(p)
	}
	return b.err
}

// turnMeta is the metadata goroutine.
func (b *broker) turnMeta() error {
	if err := b.meta.Turn(b.now()); err != nil {
		return err
	}
	if v := b.meta.View(); v != b.view {
		b.w.check.published(b, v)
		b.view = v
		for _, p := range []part{partData, partWatch, partPropose, partRegister, partClaim} {
			b.want(p)
		}
	}
	for _, v := range b.meta.Verdicts() {
		b.w.count.verdict(v)
		if v.Kind == election.Ask {
			b.w.asks++
			b.asked[b.w.asks] = v.Suspect
			b.w.post(b.h, int(v.Suspect.Node)-1, &mail{kind: mailPing, id: b.w.asks, run: b.h.run})
		}
	}
	return nil
}

// turnProposer brings commands to the controller.
func (b *broker) turnProposer() {
	requests, next := b.proposer.Turn(b.view, b.now())
	for _, r := range requests {
		if r.To != b.h.id {
			b.w.post(b.h, int(r.To)-1, &mail{kind: mailPropose, id: r.ID, run: b.h.run, bytes: r.Command})
			continue
		}
		b.meta.Propose(r.Command, func(result []byte, err error) {
			b.proposer.Answer(r.ID, node.AnswerOf(result, err), b.now())
			b.want(partPropose)
		})
		b.h.wantTurn()
	}
	if next != node.Never {
		b.wantIn(partPropose, max(100, int64((next-b.now())/time.Microsecond)))
	}
}

// propose has a command committed, or not.
func (b *broker) propose(c cluster.Command, patience time.Duration, once bool, done func(cluster.Result, error)) {
	b.proposer.Propose(cluster.Encode(c), b.now()+patience, once, done)
	b.want(partPropose)
}

// turnRegister keeps the session registered.
func (b *broker) turnRegister() {
	due := b.register.Due(b.view, b.beatAt[b.view.Controller], b.now())
	if !b.view.Registered(b.register.Self) {
		b.wantIn(partRegister, beatMicros)
	}
	if !due || b.registering || b.hangs() {
		return
	}
	before, _ := b.view.Image.Broker(b.h.id)
	if before.Session == b.session {
		b.registered = true
	} else if b.registered {
		b.w.check.fail("%s: session %s was registered, and %s of an earlier run took its place", b.h, b.session, before.Session)
	}
	b.registering = true
	c := cluster.RegisterBroker{
		Replaces:    before.Session,
		Broker:      topic.Broker{ID: b.h.id, Session: b.session, Disk: b.h.disk.logs, Levels: cluster.Supported()},
		FlushAlways: !b.w.mix.interval,
	}
	b.h.registration = cluster.Encode(c)
	b.propose(c, 4*leaderTimeout, false, func(result cluster.Result, err error) {
		b.registering = false
		b.want(partRegister)
		switch {
		case err != nil:
		case result.Status == cluster.Stale:
			b.w.check.fail("%s: its session %s has ended, and no later run of it ever was", b.h, b.session)
		case result.Status == cluster.Refused:
			b.w.count.replacedMeanwhile++
		default:
			b.registered = true
			b.w.count.registrations++
			b.repeatEarlier()
		}
	})
}

// lateRegistrationPercent is how often an earlier run's registration comes once more. Among all replays
// that would be too rare to show what it does.
const lateRegistrationPercent = 20

// repeatEarlier lets the network deliver a copy of an earlier run's registration, now that this run is
// registered.
func (b *broker) repeatEarlier() {
	to := b.view.Controller
	if b.w.mix.replayPercent == 0 || b.h.earlier == nil || to == topic.NoNode || to == b.h.id ||
		!b.w.chance(lateRegistrationPercent) {
		return
	}
	b.w.count.lateRegistrations++
	b.w.carry(&mail{kind: mailPropose, from: b.h.at, to: int(to) - 1, run: b.h.run - 1, bytes: b.h.earlier})
}

// beat is one heartbeat to everybody.
func (b *broker) beat() {
	b.wantIn(partBeat, beatMicros)
	var echoes []frame.PeerEcho
	for _, other := range b.w.hosts {
		if last := b.beatAt[other.id]; last != nil {
			echoes = append(echoes, last.Echo())
		}
	}
	bytes := frame.AppendHeartbeat(nil, frame.Header{
		Cluster: frame.ClusterOf(b.view.Image.ClusterID()), From: b.h.id, FromSession: b.session,
	}, frame.Heartbeat{Applied: b.view.Told(), Disclaims: b.hangs(),
		SentMicros: uint64(b.now() / time.Microsecond), Peers: echoes})
	for _, other := range b.w.hosts {
		if other != b.h {
			b.w.post(b.h, other.at, &mail{kind: mailBeat, bytes: bytes})
		}
	}
}

// hangs reports whether this node's data path does.
func (b *broker) hangs() bool { return b.store.UnsyncedAge() > 4*leaderTimeout }

// turnData is the replication goroutine.
func (b *broker) turnData() {
	b.w.check.staleFrames(b)
	in := b.in
	b.in = node.Arrivals{}
	ticks := int64((b.now() - b.begun) / replicaTick)
	b.repl.Turn(&in, b.view, ticks-b.ticks)
	b.ticks = ticks
	b.w.count.evictedLogs += b.repl.Counters().Evicted - b.evicted
	b.evicted = b.repl.Counters().Evicted
	b.w.count.spansCut += b.repl.Counters().SpansCut - b.spansCut
	b.spansCut = b.repl.Counters().SpansCut
	for _, q := range b.repl.Scans() {
		b.w.later(b.h, b.w.between(100, 2_000), func() {
			out := node.Scanned{To: q.To}
			out.Entries, out.Next, out.End, out.Err = b.store.Scan(q.From, q.BytesMax)
			b.w.count.scans++
			b.in.Scans = append(b.in.Scans, out)
			b.want(partData)
		})
	}
	if changes := b.repl.Changes(); len(changes) > 0 {
		b.proposeChanges(changes)
	}
	for _, e := range b.repl.Events() {
		b.w.check.replicaEvent(b, e)
	}
	if b.repl.Busy() {
		b.wantIn(partData, int64(replicaTick/time.Microsecond))
	}
	b.want(partWAL)
	b.w.check.logs(b)
}

func (b *broker) proposeChanges(changes []replica.Change) {
	b.propose(node.ISRCommand(b.register.Self, changes), 2*leaderTimeout, true, func(result cluster.Result, err error) {
		decided := node.ISRVerdicts(changes, result, err)
		for _, d := range decided {
			b.w.count.decided(d.Verdict)
		}
		b.in.Decided = append(b.in.Decided, decided...)
		b.want(partData)
	})
}

// SendData implements node.Wire.
func (b *broker) SendData(to []topic.NodeID, pieces [][]byte) {
	for _, node := range to {
		b.w.post(b.h, int(node)-1, &mail{kind: mailData, bytes: slices.Concat(pieces...)})
	}
}

// SendAcks implements node.Wire.
func (b *broker) SendAcks(to topic.NodeID, bytes []byte) {
	b.w.check.acknowledges(b, bytes)
	b.w.post(b.h, int(to)-1, &mail{kind: mailAck, bytes: append([]byte(nil), bytes...)})
}

// Sealed implements partition.Observer.
func (b *broker) Sealed(entries []partition.Entry) {
	b.in.Sealed = append(b.in.Sealed, entries...)
	b.want(partData)
}

// Durable implements partition.Observer.
func (b *broker) Durable(ends []partition.DurableEnd) {
	for _, end := range ends {
		b.in.Durable = append(b.in.Durable, end.Partition)
	}
	b.want(partData)
}

// turnWAL is the writer of the node WAL, its disk and its maker of files.
func (b *broker) turnWAL(p part) error {
	var err error
	switch p {
	case partWAL:
		err = b.drive.Turn()
	case partDisk:
		b.drive.Disk()
	case partDone:
		for b.drive.Written() && err == nil {
			err = b.drive.Complete()
		}
	case partPrepare:
		if b.drive.Wanted() {
			if err = b.drive.Prepare(); errors.Is(err, wal.ErrNoSpace) && !errors.Is(err, wal.ErrFailed) {
				b.w.count.noSpace++
				b.wantIn(partPrepare, 20_000)
				err = nil
			}
		}
	}
	if err != nil {
		return err
	}
	if b.drive.Written() {
		b.want(partDone)
	}
	if b.drive.Writing() {
		b.wantIn(partDisk, b.w.between(50, b.h.diskMicros()))
	}
	if b.drive.Wanted() {
		b.wantIn(partPrepare, b.w.between(0, 2_000))
	}
	return nil
}

// diskMicros is how long a synced write takes at most.
func (h *host) diskMicros() int64 {
	if h.slowUntil > h.world.now {
		return h.world.mix.syncMicros + 100*tickMicros
	}
	return max(100, h.world.mix.syncMicros)
}
