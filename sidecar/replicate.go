package sidecar

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
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
	// framesMax bounds the frames that wait for the replication goroutine, and those that one turn takes.
	// Leaders' windows bound their bytes; what does not fit is lost and asked for again.
	framesMax = 1 << 14
)

// replication owns node.Replication. It is also the observer of the partition logs.
type replication struct {
	s       *Sidecar
	machine *node.Replication
	signal  chan struct{}
	mu      struct {
		sync.Mutex
		// in has no frames, and nothing in it is ever refused: log events are bounded by the WAL's queue and
		// by the bytes a partition may hold unacknowledged.
		in node.Arrivals
		// unsynced holds when each group that is not yet durable was sealed.
		unsynced []time.Duration
	}
	frames *bus.Inbox

	scanRequests *mailbox[node.ScanRequest]
	changes      *mailbox[replica.Change]
}

func newReplication(s *Sidecar) *replication {
	r := &replication{
		s: s, signal: make(chan struct{}, 1), frames: bus.NewInbox(framesMax),
		scanRequests: newMailbox[node.ScanRequest](1 << 10), changes: newMailbox[replica.Change](1 << 16),
	}
	r.machine = node.NewReplication(node.ReplicationConfig{
		Self:        s.self(),
		LagTicksMax: int64(s.cfg.ReplicaLagTimeMax / replicaTick),
		RepeatTicks: 1, RepeatTicksMax: repeatTicksMax, TicksPerSecond: int64(time.Second / replicaTick),
		WindowBytes: s.cfg.WindowBytes, FrameBytes: frameBytes, ScanBytes: scanBytes,
	}, node.StoreLogs{Store: s.cfg.Logs}, r)
	r.machine.Tap = s.tap
	return r
}

// SendData implements node.Wire.
func (r *replication) SendData(to []topic.NodeID, pieces [][]byte) {
	subject := walSubject(to)
	if r.s.feeds.reach(to) {
		subject = feedSubject(r.s.cfg.Node, to)
		r.s.metrics.framesFed.Add(1)
	}
	if err := r.s.bus.PublishFrame(subject, pieces); err != nil {
		r.s.metrics.framesUnsent.Inc()
		return
	}
	r.s.metrics.framesSent.Inc()
	for _, piece := range pieces {
		r.s.metrics.frameBytesSent.Add(float64(len(piece)))
	}
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
	r.mu.in.Sealed = append(r.mu.in.Sealed, entries...)
	r.mu.unsynced = append(r.mu.unsynced, r.s.cfg.Now())
	r.mu.Unlock()
	r.wake()
}

// Durable implements partition.Observer.
func (r *replication) Durable(ends []partition.DurableEnd) {
	r.mu.Lock()
	for _, end := range ends {
		r.mu.in.Durable = append(r.mu.in.Durable, end.Partition)
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
	for _, subject := range walSubjects(r.s.cfg.Node) {
		if err := r.s.bus.SubscribeInto(bus.Replication, subject, r.frames); err != nil {
			return err
		}
	}
	return r.s.bus.SubscribeInto(bus.Acks, ackSubject(r.s.cfg.Node), r.frames)
}

// run feeds the machine with everything that has come, then lets it send.
func (r *replication) run(ctx context.Context) error {
	started := r.s.cfg.Now()
	ticks := int64(0)
	timer := time.NewTimer(replicaTick)
	defer timer.Stop()
	var in node.Arrivals
	var frames [][]byte
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-r.frames.Messages():
			frames = append(frames, bus.Payload(m))
		case <-r.signal:
		case <-timer.C:
		}
		now := int64((r.s.cfg.Now() - started) / replicaTick)
		view := r.s.current().View
		in = r.collect(in)
		in.Frames = r.frames.Drain(frames, framesMax)
		r.machine.Turn(&in, view, now-ticks)
		ticks = now
		clear(in.Frames)
		frames, in.Frames = in.Frames[:0], nil
		r.handOut()
		if r.machine.Busy() {
			timer.Reset(replicaTick)
		}
	}
}

// collect swaps the arrivals for the emptied memory of the last ones.
func (r *replication) collect(spare node.Arrivals) node.Arrivals {
	clear(spare.Sealed)
	clear(spare.Scans)
	clear(spare.Decided)
	clear(spare.Asks)
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.mu.in
	r.mu.in = node.Arrivals{
		Sealed: spare.Sealed[:0], Durable: spare.Durable[:0],
		Scans: spare.Scans[:0], Decided: spare.Decided[:0], Asks: spare.Asks[:0],
	}
	return in
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
	if now := int64(r.machine.Strays()); r.s.metrics.strays.Swap(now) < now {
		r.s.log.Warn("logs here are of partitions that the cluster does not know, their topics may have been deleted while "+
			"this broker was away for long; they are kept, and their space is free once the directory of this broker is "+
			"emptied and filled again by the others", slog.Int64("logs", now))
	}
}

func ptr[T any](v T) *T { return &v }

func (r *replication) setHeard(heard func(topic.Member) bool) {
	r.ask(func(m *node.Replication) { m.SetHeard(heard) })
}

// ask runs fn in the replication goroutine.
func (r *replication) ask(fn func(*node.Replication)) {
	r.mu.Lock()
	r.mu.in.Asks = append(r.mu.in.Asks, fn)
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
			out := node.Scanned{To: q.To}
			out.Entries, out.Next, out.End, out.Err = r.s.cfg.Logs.Scan(q.From, q.BytesMax)
			r.mu.Lock()
			r.mu.in.Scans = append(r.mu.in.Scans, out)
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
		for part := range slices.Chunk(changes, node.ISRChangesMax) {
			r.decide(r.proposeChange(ctx, part))
		}
	}
}

func (r *replication) proposeChange(ctx context.Context, changes []replica.Change) []node.Decided {
	ctx, cancel := context.WithTimeout(ctx, 2*r.s.cfg.LeaderTimeout)
	defer cancel()
	result, err := r.s.proposeOnce(ctx, node.ISRCommand(r.s.self(), changes))
	if err != nil {
		r.s.log.Debug("in-sync sets not decided", slog.Int("partitions", len(changes)), slog.String("error", err.Error()))
	}
	return node.ISRVerdicts(changes, result, err)
}

func (r *replication) decide(decided []node.Decided) {
	r.mu.Lock()
	r.mu.in.Decided = append(r.mu.in.Decided, decided...)
	r.mu.Unlock()
	r.wake()
}
