package sidecar

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/node"
	"outrigger/sidecar/replica"
)

const (
	// replicaTick is the unit of time of replica machines, and the wait before a leader repeats
	// itself.
	replicaTick = 50 * time.Millisecond
	// repeatTicksMax is the longest wait between two repetitions: one second.
	repeatTicksMax = 20
	// frameBytes is the size at which a frame goes out although more is waiting (design.md section 4:
	// 256 to 512 KiB under load).
	frameBytes = 256 << 10
	// scanBytes is one catch-up read.
	scanBytes = 1 << 20
	// framesMax bounds the frames that wait for the replication goroutine. Leaders' windows bound
	// their bytes; what does not fit is lost and asked for again.
	framesMax = 1 << 14
)

// arrivals is what has come for the replication goroutine since it last looked. Log events are never
// refused: they are bounded by the WAL's queue and by the bytes a partition may hold unacknowledged.
type arrivals struct {
	frames  [][]byte
	sealed  []partition.Entry
	durable []topic.Partition
	scans   []scanned
	decided []decided
	asks    []func(*node.Replication)
}

// scanned is a catch-up read that has come back.
type scanned struct {
	to      topic.NodeID
	entries []partition.Entry
	next    wal.Position
	end     bool
	err     error
}

// decided is what became of one proposed in-sync set.
type decided struct {
	change  replica.Change
	verdict replica.Verdict
}

// replication owns node.Replication. It is also the observer of the partition logs.
type replication struct {
	s       *Sidecar
	machine *node.Replication
	signal  chan struct{}
	mu      struct {
		sync.Mutex
		arrivals
		// unsynced holds when each group that is not yet durable was sealed.
		unsynced []time.Duration
	}
	lost atomic.Uint64

	// echo is when each peer was last heard on the data path.
	echoMu struct {
		sync.Mutex
		at map[topic.Member]time.Duration
	}
	// swept: logs of topics that were deleted while this node was down have been removed. An image that
	// holds this session holds every tombstone from before it; the first image of all is empty.
	swept        bool
	scanRequests *mailbox[node.ScanRequest]
	changes      *mailbox[replica.Change]
}

func newReplication(s *Sidecar) *replication {
	r := &replication{
		s: s, signal: make(chan struct{}, 1),
		scanRequests: newMailbox[node.ScanRequest](1 << 10), changes: newMailbox[replica.Change](1 << 16),
	}
	r.echoMu.at = map[topic.Member]time.Duration{}
	r.machine = node.NewReplication(node.ReplicationConfig{
		Self:        s.self(),
		LagTicksMax: int64(s.cfg.ReplicaLagTimeMax / replicaTick),
		RepeatTicks: 1, RepeatTicksMax: repeatTicksMax,
		WindowBytes: s.cfg.WindowBytes, FrameBytes: frameBytes, ScanBytes: scanBytes,
	}, logs{s.cfg.Logs}, r)
	r.machine.Tap = s.tap
	return r
}

// logs narrows the partition store to what the node package asks for.
type logs struct{ store *partition.Store }

func (l logs) Create(p topic.Partition) node.PartitionLog { return l.store.Create(p) }
func (l logs) Remove(p topic.Partition) error             { return l.store.Remove(p) }
func (l logs) Partitions() []topic.Partition              { return l.store.Partitions() }

// SendData implements node.Wire.
func (r *replication) SendData(to topic.NodeID, bytes []byte) {
	if err := r.s.bus.Publish(bus.Replication, walSubject(to), bytes); err != nil {
		r.s.metrics.framesUnsent.Inc()
		return
	}
	r.s.metrics.framesSent.Inc()
	r.s.metrics.frameBytesSent.Add(float64(len(bytes)))
}

// SendAcks implements node.Wire.
func (r *replication) SendAcks(to topic.NodeID, bytes []byte) {
	if err := r.s.bus.Publish(bus.Acks, ackSubject(to), bytes); err != nil {
		r.s.metrics.framesUnsent.Inc()
	}
}

// Sealed implements partition.Observer.
func (r *replication) Sealed(entries []partition.Entry) {
	r.mu.Lock()
	r.mu.sealed = append(r.mu.sealed, entries...)
	r.mu.unsynced = append(r.mu.unsynced, r.s.cfg.Now())
	r.mu.Unlock()
	r.wake()
}

// Durable implements partition.Observer.
func (r *replication) Durable(ends []partition.DurableEnd) {
	r.mu.Lock()
	for _, end := range ends {
		r.mu.durable = append(r.mu.durable, end.Partition)
	}
	if len(r.mu.unsynced) > 0 {
		r.mu.unsynced = slices.Delete(r.mu.unsynced, 0, 1)
	}
	r.mu.Unlock()
	r.wake()
}

// unsyncedAge is how long the oldest group has been on its way to the disk. Sealed and Durable do not
// quite come in pairs: 1. a group is sealed, 2. its only topic is deleted, 3. the group is synced, and
// nobody is told, since it touched no log. So the WAL's own word, which also counts what has waited
// longer in its queue, has the last say.
func (r *replication) unsyncedAge() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.unsynced) == 0 {
		return 0
	}
	queued := r.s.cfg.Logs.UnsyncedAge()
	if queued == 0 {
		r.mu.unsynced = r.mu.unsynced[:0]
		return 0
	}
	return min(queued, r.s.cfg.Now()-r.mu.unsynced[0])
}

func (r *replication) wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// subscribe takes frames and acknowledgements, on connections of their own.
func (r *replication) subscribe() error {
	take := func(m bus.Message) {
		r.mu.Lock()
		room := len(r.mu.frames) < framesMax
		if room {
			r.mu.frames = append(r.mu.frames, m.Data)
		}
		r.mu.Unlock()
		if !room {
			r.lost.Add(1)
			return
		}
		r.wake()
	}
	if err := r.s.bus.Subscribe(bus.Replication, walSubject(r.s.cfg.Node), take); err != nil {
		return err
	}
	return r.s.bus.Subscribe(bus.Acks, ackSubject(r.s.cfg.Node), take)
}

// run feeds the machine with everything that has come, then lets it send.
func (r *replication) run(ctx context.Context) error {
	started := r.s.cfg.Now()
	ticks := int64(0)
	timer := time.NewTimer(replicaTick)
	defer timer.Stop()
	var image *published
	var in arrivals
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.signal:
		case <-timer.C:
		}
		now := int64((r.s.cfg.Now() - started) / replicaTick)
		r.machine.Tick(now - ticks)
		ticks = now
		if current := r.s.current(); current != image {
			r.reconfigure(image, current)
			image = current
		}
		in = r.collect(in)
		r.feed(&in)
		r.machine.Flush()
		r.handOut()
		if r.machine.Busy() {
			timer.Reset(replicaTick)
		}
	}
}

// reconfigure takes a newer image. The cluster's name comes first: no frame is read or sent under
// another.
func (r *replication) reconfigure(before, current *published) {
	if before != nil && before.Image == current.Image {
		return
	}
	r.machine.SetCluster(clusterKey(current.Image.ClusterID()))
	r.machine.SetImage(current.Image)
	if !r.swept && r.s.registered(current.Image) {
		r.swept = true
		r.machine.DropStrays()
	}
}

// collect swaps the arrivals for the emptied memory of the last ones.
func (r *replication) collect(spare arrivals) arrivals {
	clear(spare.frames)
	clear(spare.sealed)
	clear(spare.scans)
	clear(spare.decided)
	clear(spare.asks)
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.mu.arrivals
	r.mu.arrivals = arrivals{
		frames: spare.frames[:0], sealed: spare.sealed[:0], durable: spare.durable[:0],
		scans: spare.scans[:0], decided: spare.decided[:0], asks: spare.asks[:0],
	}
	return in
}

// feed steps the machine. What this node appended is known to it before an acknowledgement of it can
// be.
func (r *replication) feed(in *arrivals) {
	r.machine.Sealed(in.sealed)
	r.machine.Durable(in.durable)
	for _, bytes := range in.frames {
		if from, ok := r.machine.Frame(bytes); ok {
			r.heard(from)
		}
	}
	for i := range in.scans {
		s := &in.scans[i]
		r.machine.Scanned(s.to, s.entries, s.next, s.end, s.err)
	}
	for _, d := range in.decided {
		r.machine.Decided(d.change.Partition, d.change.PartitionEpoch, d.verdict)
	}
	for _, ask := range in.asks {
		ask(r.machine)
	}
}

// handOut passes on what the machine wants from others.
func (r *replication) handOut() {
	for _, scan := range r.machine.Scans() {
		if !r.scanRequests.put(scan) {
			r.machine.Scanned(scan.To, nil, scan.From, true, nil)
		}
	}
	for _, change := range r.machine.Changes() {
		if !r.changes.put(change) {
			r.machine.Decided(change.Partition, change.PartitionEpoch, replica.Unknown)
		}
	}
	for _, e := range r.machine.Events() {
		r.s.replicaEvent(e)
	}
	r.s.metrics.replication.Store(ptr(r.machine.Counters()))
}

func ptr[T any](v T) *T { return &v }

// heard notes the last echo of a peer on the data path.
func (r *replication) heard(from topic.Member) {
	r.echoMu.Lock()
	defer r.echoMu.Unlock()
	r.echoMu.at[from] = r.s.cfg.Now()
	for member := range r.echoMu.at {
		if member.Node == from.Node && member != from {
			delete(r.echoMu.at, member)
		}
	}
}

// echoes tells when each peer was last heard on the data path.
func (r *replication) echoes() []frame.PeerEcho {
	r.echoMu.Lock()
	defer r.echoMu.Unlock()
	now := r.s.cfg.Now()
	var out []frame.PeerEcho
	for member, at := range r.echoMu.at {
		out = append(out, frame.PeerEcho{
			Node: member.Node, Session: member.Session, SilentMilli: uint32((now - at).Milliseconds()),
		})
	}
	return out
}

func (r *replication) setHeard(heard func(topic.Member) bool) {
	r.ask(func(m *node.Replication) { m.SetHeard(heard) })
}

// ask runs fn in the replication goroutine.
func (r *replication) ask(fn func(*node.Replication)) {
	r.mu.Lock()
	r.mu.asks = append(r.mu.asks, fn)
	r.mu.Unlock()
	r.wake()
}

// scan reads the WAL for followers that are far behind, one stretch at a time.
func (r *replication) scan(ctx context.Context) error {
	var requests []node.ScanRequest
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.scanRequests.signal:
		}
		requests = r.scanRequests.take(requests)
		for _, q := range requests {
			out := scanned{to: q.To}
			out.entries, out.next, out.end, out.err = r.s.cfg.Logs.Scan(q.From, q.BytesMax)
			r.mu.Lock()
			r.mu.scans = append(r.mu.scans, out)
			r.mu.Unlock()
			r.wake()
		}
	}
}

// proposeChanges brings in-sync sets to the controller, as many in one proposal as have come
// together.
func (r *replication) proposeChanges(ctx context.Context) error {
	var changes []replica.Change
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.changes.signal:
		}
		changes = r.changes.take(changes)
		for part := range slices.Chunk(changes, changesMax) {
			r.decide(part, r.proposeChange(ctx, part))
		}
	}
}

// changesMax keeps a proposal well under the Raft's limit on commands.
const changesMax = 2000

func (r *replication) proposeChange(ctx context.Context, changes []replica.Change) []replica.Verdict {
	ctx, cancel := context.WithTimeout(ctx, 2*r.s.cfg.LeaderTimeout)
	defer cancel()
	command := cluster.AlterISR{Changes: make([]cluster.ISRChange, len(changes))}
	for i, c := range changes {
		command.Changes[i] = cluster.ISRChange{
			Partition: c.Partition, LeaderEpoch: c.LeaderEpoch, PartitionEpoch: c.PartitionEpoch,
			Leader: r.s.self(), ISR: c.ISR,
		}
	}
	verdicts := make([]replica.Verdict, len(changes))
	result, err := r.s.proposeOnce(ctx, command)
	for i := range verdicts {
		switch {
		case err != nil || len(result.Items) != len(changes):
			verdicts[i] = replica.Unknown
		case result.Items[i] == cluster.OK:
			verdicts[i] = replica.Accepted
		case result.Items[i] == cluster.Stale:
			verdicts[i] = replica.Stale
		default:
			verdicts[i] = replica.Refused
		}
	}
	if err != nil {
		r.s.log.Debug("in-sync sets not decided", slog.Int("partitions", len(changes)), slog.String("error", err.Error()))
	}
	return verdicts
}

func (r *replication) decide(changes []replica.Change, verdicts []replica.Verdict) {
	r.mu.Lock()
	for i, c := range changes {
		r.mu.decided = append(r.mu.decided, decided{change: c, verdict: verdicts[i]})
	}
	r.mu.Unlock()
	r.wake()
}
