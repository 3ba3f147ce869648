package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
	"outrigger/sidecar/raft"
)

// Time and sizes of a run, in microseconds of virtual time where they are times.
const (
	tickMicros    = 10_000
	electionTicks = 10
	inboxMax      = 1_000
	chaosTicks    = 400
	healTicks     = 600
	replaysKept   = 64
	// eventsMax is far above what any seed needs: a run beyond it stands still in time.
	eventsMax = 5_000_000
)

// Options of a run.
type Options struct {
	// Mutant puts a bug into every host.
	Mutant Mutant
	// Trace, when not nil, gets one line per event.
	Trace func(line string)
}

// Result is what a run comes to.
type Result struct {
	Seed   uint64
	Events uint64
	// Hash stands for the whole trace: the same seed gives the same one.
	Hash      uint64
	Violation *Violation
	Counters  Counters
}

// World is one simulated cluster.
type World struct {
	seed    uint64
	options Options
	rng     *rand.Rand
	mix     mix
	now     int64
	queue   queue
	hosts   []*host
	voters  []topic.NodeID
	net     network
	check   *checker
	count   counts
	healing bool
	// hopeless: more disks were lost than a majority can bear.
	hopeless bool
	sessions uint64
	values   uint64
	disks    uint64
	hash     uint64
	events   uint64

	// Of a run with brokers.
	producers           []*producer
	readers             []*reader
	quiet               bool
	asks, pids, fetches uint64
	markers             int32
	// suspicions counts election requests about nodes that are there.
	suspicions uint64
	// healedFrom is what was promised of each partition when healing began.
	healedFrom map[topic.Partition]topic.Offset
	// votedAt is when other voters were last asked for, 0 if never.
	votedAt int64
	// frail are the hosts whose disks were lost and not yet made good.
	frail []*host
}

// mix is a seed's own choice of faults: a run with everything at once never gets far.
type mix struct {
	heartbeatTicks int
	appendBytes    int64
	snapshotBytes  int64
	syncMicros     int64
	lossPercent    int
	dupPercent     int
	replayPercent  int
	delayMicros    int64
	slowPercent    int
	fifo           bool
	codec          bool
	cuts           bool
	crashes        bool
	wipes          bool
	massWipes      bool // more than a minority: nothing may be founded again
	pauses         bool
	changes        bool
	nemesisMicros  int64
	clientMicros   int64
	slowMicros     int64

	// brokers: whole nodes, with partition logs and clients.
	brokers           bool
	partitions        int32
	tailBytes         int64
	windowBytes       int64
	clientLossPercent int
	powerPercent      int
	silentDeaths      bool // a dead process is told by its silence alone
	badDisks          bool // errors, full and slow disks
	// interval: logs are synced now and then, and what was written is acknowledged before.
	interval bool
	// compacts: some topics are compacted.
	compacts bool
	// strides: while the parts of a node are calm, several ticks pass together, as in production.
	strides bool
}

func draw(r *rand.Rand) mix {
	chance := func(percent int) bool { return r.IntN(100) < percent }
	pick := func(values ...int) int { return values[r.IntN(len(values))] }
	m := mix{
		heartbeatTicks: pick(1, 1, 2, 3),
		appendBytes:    int64(pick(80, 200, 1_000)),
		snapshotBytes:  int64(pick(600, 2_000, 8_000, 1<<20)),
		syncMicros:     int64(pick(1, 500, 3_000, 15_000)),
		lossPercent:    pick(0, 0, 2, 10, 30),
		dupPercent:     pick(0, 0, 5, 30, 50),
		replayPercent:  pick(0, 0, 0, 1, 5, 50),
		delayMicros:    int64(pick(500, 2_000, 8_000, 20_000)),
		slowPercent:    pick(0, 0, 1, 5),
		fifo:           chance(50),
		codec:          chance(25),
		cuts:           chance(70),
		crashes:        chance(70),
		wipes:          chance(35),
		pauses:         chance(40),
		changes:        chance(40),
		nemesisMicros:  int64(pick(30, 80, 200)) * 1_000,
		clientMicros:   int64(pick(3, 10, 40)) * 1_000,
	}
	m.massWipes = m.wipes && chance(20)
	m.slowMicros = int64(pick(50, 50, 50, 400)) * tickMicros
	m.powerPercent = pick(0, 50, 100)
	if chance(wholePercent) {
		m.whole(r)
	}
	if chance(5) { // now and then nothing at all goes wrong
		m = mix{heartbeatTicks: 1, appendBytes: 200, snapshotBytes: 2_000, syncMicros: 500,
			delayMicros: 2_000, fifo: true, nemesisMicros: 1 << 40, clientMicros: 3_000}
		if chance(wholePercent) {
			m.whole(r)
		}
	}
	return m
}

// wholePercent of the seeds play whole nodes; the rest plays the metadata Raft alone, which reaches its
// deeper states sooner.
const wholePercent = 75

// whole makes it a run with brokers.
func (m *mix) whole(r *rand.Rand) {
	pick := func(values ...int) int { return values[r.IntN(len(values))] }
	m.brokers, m.massWipes = true, false
	m.heartbeatTicks = 2
	m.appendBytes, m.snapshotBytes = int64(pick(1_000, 8_000)), int64(pick(4_000, 16_000, 1<<20))
	m.partitions = int32(pick(1, 1, 2, 3))
	m.tailBytes, m.windowBytes = int64(pick(600, 4_000, 1<<20)), int64(pick(500, 2_000, 16_000))
	m.clientLossPercent = pick(0, 0, 2, 10)
	m.silentDeaths, m.badDisks = r.IntN(3) == 0, r.IntN(3) == 0
	m.interval, m.strides = r.IntN(4) == 0, r.IntN(2) == 0
	m.compacts = r.IntN(2) == 0
	m.syncMicros = int64(pick(100, 1_000, 4_000))
	m.clientMicros = int64(pick(1, 2, 5)) * 1_000
}

// Run plays one seed to its end or to its first violation.
func Run(seed uint64, options Options) Result {
	w := newWorld(seed, options)
	end := int64(chaosTicks * tickMicros)
	w.queue.push(event{at: w.between(0, w.mix.nemesisMicros), kind: nemesis})
	w.queue.push(event{at: w.between(0, w.mix.clientMicros), kind: client})
	for w.check.violation == nil && w.now < end {
		w.step()
	}
	if w.check.violation == nil {
		w.heal()
	}
	if w.check.violation == nil {
		w.check.finish()
	}
	return Result{Seed: seed, Events: w.events, Hash: w.hash, Violation: w.check.violation,
		Counters: w.count.export()}
}

func newWorld(seed uint64, options Options) *World {
	w := &World{seed: seed, options: options, rng: randOf(seed)}
	w.mix = draw(w.rng)
	w.check = newChecker(w)
	nodes := []int{1, 3, 3, 3, 4, 5, 5, 5}[w.rng.IntN(8)]
	if w.mix.brokers {
		nodes = []int{3, 3, 3, 3, 5, 5, 5, 7}[w.rng.IntN(8)]
	}
	voters := nodes
	switch {
	case nodes == 7:
		voters = 5 // the rest joins as learners
	case nodes == 4 || nodes == 5 && w.rng.IntN(3) == 0:
		voters = 3
	}
	for i := range nodes {
		h := &host{world: w, at: i, id: topic.NodeID(i + 1), fuse: -1}
		h.disk = w.newDisk()
		w.hosts = append(w.hosts, h)
		if i < voters {
			w.voters = append(w.voters, h.id)
		}
	}
	w.net.init(nodes)
	if w.mix.brokers {
		w.makeClients()
	}
	for _, h := range w.hosts {
		// Nodes start in any order and far apart.
		w.queue.push(event{at: w.between(0, 20*tickMicros), kind: restart, host: h.at})
	}
	return w
}

func randOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x6f75747269676765)) }

func (w *World) newDiskID() (id topic.DiskID) {
	w.disks++
	binary.BigEndian.PutUint64(id[:], w.rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], w.disks)
	return id
}

func (w *World) newDisk() *disk {
	d := &disk{id: w.newDiskID()}
	if w.mix.brokers {
		d.logs, d.fs, d.catalog, d.since = d.id, waltest.New(), &catalogtest.Catalog{}, w.sessions+1
	}
	return d
}

// between draws from [low, high).
func (w *World) between(low, high int64) int64 {
	if high <= low {
		return low
	}
	return low + w.rng.Int64N(high-low)
}

// step plays the next event and lets the checker look at whom it touched.
func (w *World) step() {
	e, ok := w.queue.pop()
	if !ok {
		w.check.fail("nothing is left to happen")
		return
	}
	w.now = max(w.now, e.at)
	if w.events++; w.events > eventsMax {
		w.check.fail("%d events by %d µs: time stands still", w.events, w.now)
	}
	h := w.hosts[e.host]
	if e.run != 0 && (e.run != h.run || !h.up()) {
		return
	}
	w.note(e, h)
	switch e.kind {
	case deliver:
		h.receive(*e.msg)
	case tick:
		w.tick(h, e)
	case turn:
		h.turn()
	case restart:
		if !h.up() && !h.lost {
			h.start()
		}
	case resume:
		h.drain()
	case letter, turnPart, call:
		w.stepBroker(h, e)
	case nemesis:
		w.nemesis()
		w.queue.push(event{at: w.now + w.between(1, 2*w.mix.nemesisMicros), kind: nemesis})
		return
	case client:
		if w.mix.brokers {
			w.clients()
		} else {
			w.client()
		}
		w.queue.push(event{at: w.now + w.between(1, 2*w.mix.clientMicros), kind: client})
		return
	}
	w.check.after(h)
}

// stepBroker plays an event of a whole node. While its process is paused, everything waits.
func (w *World) stepBroker(h *host, e event) {
	if e.kind == call && e.run == 0 {
		e.call()
		return
	}
	if !h.up() {
		return
	}
	if h.paused() {
		e.at = h.pausedUntil
		if e.kind == turnPart && h.broker.due[e.part] == e.planned {
			h.broker.due[e.part], e.planned = e.at, e.at
		}
		w.queue.push(e)
		return
	}
	b := h.broker
	switch e.kind {
	case letter:
		b.take(e.mail)
		h.after(b.err)
	case turnPart:
		h.after(b.turn(e.part, e.planned))
	default:
		e.call()
		h.after(b.err)
	}
}

// later puts something off that ends with the host's run; laterAnywhere something that does not.
func (w *World) later(h *host, micros int64, fn func()) {
	w.queue.push(event{at: w.now + micros, kind: call, host: h.at, run: h.run, call: fn})
}

func (w *World) laterAnywhere(micros int64, fn func()) {
	w.queue.push(event{at: w.now + micros, kind: call, call: fn})
}

// note adds an event to the trace and its hash.
func (w *World) note(e event, h *host) {
	const prime = 1099511628211
	mixIn := func(v uint64) { w.hash = (w.hash ^ v) * prime }
	mixIn(uint64(e.at))
	mixIn(uint64(e.kind)<<8 | uint64(e.host))
	if e.mail != nil {
		mixIn(uint64(e.mail.kind)<<32 | uint64(e.mail.from)<<8 | uint64(len(e.mail.bytes)))
	}
	mixIn(uint64(e.part))
	if e.msg != nil {
		mixIn(uint64(e.msg.Type)<<32 | uint64(e.msg.From)<<8 | uint64(e.msg.To))
		mixIn(e.msg.Index<<20 ^ e.msg.Term<<8 ^ uint64(len(e.msg.Entries)))
	}
	if h.up() {
		b := h.quorum.Brief()
		mixIn(b.Term<<32 ^ b.Commit<<8 ^ uint64(b.Role))
	}
	if w.options.Trace != nil {
		w.options.Trace(w.line(e, h))
	}
}

var kindNames = [...]string{"deliver", "tick", "turn", "restart", "resume", "nemesis", "client", "letter", "part", "call"}

func (w *World) line(e event, h *host) string {
	text := fmt.Sprintf("%9d %-8s %d", w.now, kindNames[e.kind], h.id)
	if h.up() {
		b := h.quorum.Brief()
		text += fmt.Sprintf(" [%s term %d commit %d]", b.Role, b.Term, b.Commit)
		for _, ev := range h.quorum.Events() {
			w.options.Trace(fmt.Sprintf("%9d   event  %d: %s", w.now, h.id, ev))
			w.count.event(ev)
		}
	}
	if e.msg != nil {
		text += " " + e.msg.String()
	}
	if e.mail != nil {
		text += " " + e.mail.String()
	}
	if e.kind == turnPart {
		text += " " + partNames[e.part]
	}
	return text
}

// tick passes a host's time.
func (w *World) tick(h *host, e event) {
	if e.planned != h.pace.due {
		return // another came instead
	}
	if h.paused() {
		h.planTick(1)
		return
	}
	h.pass(h.pace.planned)
	if w.mix.strides && h.ticks%w.mix.heartbeatTicks == 0 {
		h.broker.meta.Beat()
	}
	for _, ev := range h.quorum.Events() {
		w.count.event(ev)
	}
	h.pace.fired = true
	h.planTick(1)
	h.wantTurn()
}

// client lets a random host take a proposal or a read.
func (w *World) client() {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if leader := w.leader(); leader != nil && w.rng.IntN(4) > 0 {
		h = leader
	}
	if !h.up() || h.paused() {
		return
	}
	switch w.rng.IntN(8) {
	case 0:
		h.read()
	default:
		for range 1 + w.rng.IntN(4) {
			h.propose()
		}
	}
	w.check.after(h)
}

// leader is a host that believes to lead, the newest term first.
func (w *World) leader() *host {
	var leader *host
	for _, h := range w.hosts {
		if h.up() && h.seen.Role == raft.Leader && (leader == nil || h.seen.Term > leader.seen.Term) {
			leader = h
		}
	}
	return leader
}
