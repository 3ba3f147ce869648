package node

import (
	"errors"
	"iter"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/replica"
)

// ReplicationConfig is what a Replication is made of.
type ReplicationConfig struct {
	Self topic.Member
	// Cluster stands in every frame; see SetCluster.
	Cluster frame.Cluster
	// LagTicksMax is replica.lag.time.max.ms in ticks.
	LagTicksMax int64
	// RepeatTicks and RepeatTicksMax bound how long a leader waits before it asks again.
	RepeatTicks, RepeatTicksMax int64
	// WindowBytes bounds what is sent to one follower node and not acknowledged.
	WindowBytes int64
	// FrameBytes is the size at which a frame is sent although more is waiting.
	FrameBytes int
	// TicksPerSecond is how many ticks throttles take for a second. Default 20.
	TicksPerSecond int64
	// ScanBytes is how much of the WAL one catch-up read takes.
	ScanBytes int

	mutant        Mutant
	replicaMutant replica.Mutant
}

// Logs is the node's partition logs. It is called from the owner's goroutine.
type Logs interface {
	// Create returns the log of p and makes it if there is none. A removed one may be made anew.
	Create(p topic.Partition) PartitionLog
	// Remove drops the log of p: only on a committed tombstone or eviction. The error is retried.
	Remove(p topic.Partition) error
	// Partitions lists the logs that exist, sorted.
	Partitions() []topic.Partition
}

// PartitionLog is the sidecar's side of one partition log; see package partition.
type PartitionLog interface {
	Assume(partition.Role)
	State() partition.State
	Epochs() []partition.EpochStart
	AppendReplica(partition.Entry) error
	Truncate(topic.Offset) error
	SetHighWatermark(topic.Offset)
	ReadTail(from topic.Offset, bytesMax int) ([]partition.Entry, bool)
	Position(topic.Offset) (wal.Position, bool)
	// CutDamage cuts a follower's log before the first batch that the disk does not give back. The error
	// is retried.
	CutDamage() error
	// MoveStart moves the log start up, as far as what lies below is committed and durable.
	MoveStart(topic.Offset) error
	// Reset replaces a follower's log by an empty one that begins at the offset, behind a record of the
	// epoch.
	Reset(topic.Offset, topic.Epoch) error
	// SetLowWatermark tells what the log starts of all in-sync replicas have reached.
	SetLowWatermark(topic.Offset)
}

// Wire takes finished frames. Both methods may drop; neither keeps the bytes.
type Wire interface {
	// SendData sends one frame, in pieces, to one node, or to two (the lower one first). What goes to a node arrives in
	// the order of the calls, or not at all, as long as the way there stays the same: where that changes frames may
	// overtake each other, and the follower asks for what it misses.
	SendData(to []topic.NodeID, frame [][]byte)
	SendAcks(to topic.NodeID, frame []byte)
}

// Image is what replication reads of the cluster image.
type Image interface {
	// Level is the finalized format level.
	Level() uint16
	// Brokers lists the live ones.
	Brokers() []topic.Broker
	// All walks the topics by name, TopicCount counts them.
	All() iter.Seq[*topic.Topic]
	TopicCount() int
	TopicByID(topic.ID) (*topic.Topic, bool)
	// MinInSync is min(min.insync.replicas, replication factor) of a partition of the topic, MinInSyncWanted
	// what is configured whatever the replication factor.
	MinInSync(*topic.Topic, *topic.Placement) int
	MinInSyncWanted(*topic.Topic) int
	// Evicts reports whether a committed record took the node's replica of p away.
	Evicts(topic.NodeID, topic.Partition) bool
	// Throttles tells what bounds the filling of a follower's replica by a leader.
	Throttles(p topic.Partition, leader, follower topic.NodeID) cluster.Throttles
	// Feeders is how many leaders fill replicas on a node with a bound on what it may get.
	Feeders(topic.NodeID) int
	// Deleted reports whether a committed tombstone names the topic.
	Deleted(topic.ID) bool
}

// ScanRequest asks the owner to read the WAL for a follower that is further behind than the tail
// memory reaches. The answer goes to Scanned.
type ScanRequest struct {
	To       topic.NodeID
	From     wal.Position
	BytesMax int
}

// Replication is the data half of a node: one replica machine per partition that this node hosts,
// frames in and out, windows and catch-up. It has no goroutine, clock or lock: one owner feeds it
// what has come and then calls Flush once, so that everything fed shares frames.
type Replication struct {
	cfg   ReplicationConfig
	logs  Logs
	wire  Wire
	image Image
	now   int64

	slots map[topic.Partition]*slot
	// seen holds the topics of the last image as they were configured.
	seen map[topic.ID]seenTopic
	// lives is the live brokers' sessions of the last image.
	lives map[topic.NodeID]topic.Session
	peers map[topic.NodeID]*peer
	// order lists the peers by node, so that nothing depends on the order of a map.
	order []*peer
	// shipments are all destinations of frames, loaded those that hold sections, in the order in which they
	// got the first; spare are builders for those that will.
	shipments map[receivers]*shipment
	loaded    []*shipment
	spare     []*frame.Builder
	// busy holds the slots that ticks matter to.
	busy []*slot
	// heard tells which members were heard within the leader timeout.
	heard func(topic.Member) bool

	// fx is the memory of the last step, nil during a step.
	fx      *replica.Effects
	changes []replica.Change
	scans   []ScanRequest
	events  []replica.Event
	removed []topic.Partition
	// unmended are the slots that could not begin their epoch, since their logs could not be cut.
	unmended []*slot

	throttle throttle

	// Tap, when set, is told of every data section that is sent. It must not block.
	Tap func(topicName string, s *replica.Outgoing)

	// registered: an image has shown this session, and so all that an earlier session of this node could
	// have come to hold or to count for.
	registered bool
	// swept: logs of topics that were deleted while this node was down have been removed.
	swept bool
	// strays are logs of which the cluster knows nothing, neither that this node has a replica nor that it shall have
	// none: a topic whose tombstone is forgotten, for example. They are kept.
	strays   map[topic.Partition]bool
	counters Counters
}

// seenTopic is a topic as its partitions were last configured.
type seenTopic struct {
	*topic.Topic
	minInSync int
}

// slot is one hosted partition.
type slot struct {
	partition topic.Partition
	name      string
	machine   *replica.Machine
	log       PartitionLog
	// busy says that the slot is listed in Replication.busy.
	busy bool
	// ack is what is to be answered at the next Flush, nil if nothing.
	ack *frame.Ack
	// lagging says for which peers the slot is queued.
	lagging []topic.NodeID
	// packed are the loaded shipments that hold sections of this partition.
	packed []*shipment
}

// NewReplication makes a Replication that hosts nothing until the first image.
func NewReplication(cfg ReplicationConfig, logs Logs, wire Wire) *Replication {
	if cfg.TicksPerSecond == 0 {
		cfg.TicksPerSecond = 20
	}
	return &Replication{
		cfg: cfg, logs: logs, wire: wire,
		slots: map[topic.Partition]*slot{}, seen: map[topic.ID]seenTopic{},
		lives: map[topic.NodeID]topic.Session{}, peers: map[topic.NodeID]*peer{},
		shipments: map[receivers]*shipment{}, strays: map[topic.Partition]bool{},
	}
}

// SetCluster names the cluster, once it has an id. Until then frames carry the nil id, which only
// nodes that have none accept.
func (r *Replication) SetCluster(c frame.Cluster) { r.cfg.Cluster = c }

// SetHeard says which members were heard within the leader timeout. The owner calls it when an answer
// changes.
func (r *Replication) SetHeard(heard func(topic.Member) bool) {
	r.heard = heard
	for t := range r.topics() {
		for i := range t.Partitions {
			if s := r.slots[topic.Partition{Topic: t.ID, Index: int32(i)}]; s != nil {
				r.step(s, func(fx *replica.Effects) { s.machine.SetHeard(heard, fx) })
			}
		}
	}
}

func (r *Replication) topics() iter.Seq[*topic.Topic] {
	if r.image == nil {
		return func(func(*topic.Topic) bool) {}
	}
	return r.image.All()
}

// SetImage takes a newer image and reconfigures what it changes.
func (r *Replication) SetImage(im Image) {
	livesChanged := r.updateLives(im)
	r.registered = r.registered || r.lives[r.cfg.Self.Node] == r.cfg.Self.Session
	r.image = im
	clear(r.throttle.feeders)
	clear(r.throttle.bounds)
	for t := range im.All() {
		// The minimum may come from the cluster's defaults, which change no topic.
		now := seenTopic{t, im.MinInSyncWanted(t)}
		if r.seen[t.ID] == now && !livesChanged {
			continue
		}
		r.configureTopic(t)
		r.seen[t.ID] = now
	}
	if len(r.seen) > im.TopicCount() {
		r.dropDeleted()
	}
}

// updateLives notes which sessions are live, and reports whether that has changed.
func (r *Replication) updateLives(im Image) bool {
	lives := map[topic.NodeID]topic.Session{}
	for _, b := range im.Brokers() {
		lives[b.ID] = b.Session
	}
	changed := len(lives) != len(r.lives)
	for node, session := range lives {
		changed = changed || r.lives[node] != session
	}
	r.lives = lives
	if changed {
		r.forgetShipments()
	}
	return changed
}

func (r *Replication) live(node topic.NodeID) (topic.Session, bool) {
	session, ok := r.lives[node]
	return session, ok
}

func (r *Replication) configureTopic(t *topic.Topic) {
	for i, placement := range t.Partitions {
		p := topic.Partition{Topic: t.ID, Index: int32(i)}
		s := r.slots[p]
		if !placement.Hosts(r.cfg.Self.Node) {
			if s != nil {
				r.evict(s)
			}
			continue
		}
		if s == nil {
			s = r.open(p, t.Name)
		}
		r.configure(s, r.view(t, placement))
	}
}

// view is what the image says of one partition of a topic.
func (r *Replication) view(t *topic.Topic, p *topic.Placement) replica.View {
	return replica.View{Placement: p, MinInSync: r.image.MinInSync(t, p), Live: r.live}
}

func (r *Replication) open(p topic.Partition, name string) *slot {
	log := r.logs.Create(p)
	s := &slot{partition: p, name: name, log: log}
	cfg := replica.Config{
		Self: r.cfg.Self, LagTicksMax: r.cfg.LagTicksMax,
		RepeatTicks: r.cfg.RepeatTicks, RepeatTicksMax: r.cfg.RepeatTicksMax,
		Now:    func() int64 { return r.now },
		Window: func(node topic.NodeID) *replica.Window { return &r.peer(node).window },
	}
	replica.Break(&cfg, r.cfg.replicaMutant)
	s.machine = replica.New(cfg, p, logState(log))
	r.slots[p] = s
	delete(r.strays, p)
	r.step(s, func(fx *replica.Effects) { s.machine.SetHeard(r.heard, fx) })
	return s
}

// configure ends an epoch before it reads where the log ends: a leader's appends race with this, and
// none may come between the reading and the next epoch. What the log has dropped is read in any case: the view
// may show a replica that is not in sync any more, and that compactions have counted on.
func (r *Replication) configure(s *slot, v replica.View) {
	state := replica.LogState{Extent: extent(s.log.State())}
	if s.machine.NeedsLog(v) {
		s.log.Assume(partition.Role{Epoch: v.Placement.LeaderEpoch})
		if !r.mend(s, v.Placement) {
			return
		}
		state = logState(s.log)
	}
	r.step(s, func(fx *replica.Effects) { s.machine.Configure(v, state, fx) })
}

func logState(log PartitionLog) replica.LogState {
	state := log.State()
	out := replica.LogState{Extent: extent(state), End: state.LogEnd, HighWatermark: state.HighWatermark}
	for _, e := range log.Epochs() {
		out.Epochs = append(out.Epochs, replica.EpochStart{Epoch: e.Epoch, Start: e.Start})
	}
	return out
}

func extent(s partition.State) replica.Extent {
	return replica.Extent{Durable: s.DurableEnd, Start: s.LogStart, First: s.First, StartDurable: s.StartDurable,
		Dropped: s.Dropped, Dropping: s.Dropping}
}

// Sealed takes batches that entered a WAL group, in WAL order: what this node appended as leader goes
// out now, before its own sync ends.
func (r *Replication) Sealed(entries []partition.Entry) {
	for i := range entries {
		e := &entries[i]
		if s := r.slots[e.Partition]; s != nil && s.machine.Role().Leading {
			r.step(s, func(fx *replica.Effects) { s.machine.Appended(entry(e), fx) })
		}
	}
}

func entry(e *partition.Entry) replica.Entry {
	return replica.Entry{Epoch: e.Epoch, PrevEpoch: e.PrevEpoch, Base: e.Base, Count: e.Count, Payload: e.Payload}
}

// Durable takes the partitions that a synced group touched. How far each is durable is read from the
// log now: 1. a group with offsets 100 to 120 is synced, 2. the log is cut to 100 and takes other
// records, 3. the report of 1 is read here; it must not count for the new ones.
func (r *Replication) Durable(touched []topic.Partition) {
	for _, p := range touched {
		if s := r.slots[p]; s != nil {
			log := extent(s.log.State())
			r.step(s, func(fx *replica.Effects) { s.machine.Durable(log, fx) })
		}
	}
}

// Decided takes what became of a change that Changes returned.
func (r *Replication) Decided(p topic.Partition, partitionEpoch int32, v replica.Verdict) {
	if s := r.slots[p]; s != nil {
		r.step(s, func(fx *replica.Effects) { s.machine.Decided(partitionEpoch, v, fx) })
	}
}

// Tick passes time. Only partitions with something undecided are visited, and none when no time has
// passed: the owner calls this at every turn.
func (r *Replication) Tick(ticks int64) {
	if ticks == 0 {
		return
	}
	r.now += ticks
	busy := r.busy
	r.busy = nil
	for _, s := range busy {
		s.busy = false
		if s.machine.Compacting() {
			log := extent(s.log.State())
			r.step(s, func(fx *replica.Effects) { s.machine.Durable(log, fx) })
		}
		r.step(s, s.machine.Tick)
	}
	if len(r.removed) > 0 {
		r.removeLogs()
	}
	r.release()
	r.mendAgain()
}

// step runs one input of one machine and carries out its effects in their order.
func (r *Replication) step(s *slot, input func(*replica.Effects)) {
	fx := r.fx
	r.fx = nil
	if fx == nil { // this input is an effect of another
		fx = &replica.Effects{}
	}
	fx.Reset()
	input(fx)
	r.carryOut(s, fx)
	r.fx = fx
	if !s.busy && s.machine.Busy() {
		s.busy = true
		r.busy = append(r.busy, s)
	}
}

func (r *Replication) carryOut(s *slot, fx *replica.Effects) {
	if fx.Role != nil {
		s.log.Assume(partition.Role{
			Leading: fx.Role.Leading, Epoch: fx.Role.Epoch,
			AcceptAll: fx.Role.AcceptAll, AcceptOne: fx.Role.AcceptOne, Ready: fx.Role.Ready,
		})
	}
	if fx.Cut != topic.NoOffset && !r.cut(s, fx.Cut) {
		r.noteAll(fx.Events)
		return
	}
	if fx.Replace != nil && !r.replace(s, fx.Replace) {
		r.noteAll(fx.Events)
		return
	}
	if fx.Duplicate != nil && r.contradicts(s, fx.Duplicate) {
		return
	}
	if fx.Append != nil {
		r.append(s, fx.Append)
	}
	if fx.HighWatermark != topic.NoOffset {
		s.log.SetHighWatermark(fx.HighWatermark)
	}
	if fx.Start != topic.NoOffset && s.log.MoveStart(fx.Start) != nil {
		s.machine.StartStays(s.log.State().LogStart)
	}
	if fx.LowWatermark != topic.NoOffset {
		s.log.SetLowWatermark(fx.LowWatermark)
	}
	r.send(s, fx.Sections)
	if fx.Ack != nil {
		r.answer(s, fx.Ack, fx.AckTo)
	}
	for _, node := range fx.Lagging {
		r.peer(node).queue(s)
	}
	if fx.Change != nil {
		r.changes = append(r.changes, *fx.Change)
	}
	r.noteAll(fx.Events)
}

func (r *Replication) noteAll(events []replica.Event) {
	for _, e := range events {
		r.note(e)
	}
}

// cut truncates, and reports whether the machine was right about what follows. When the WAL has no room
// for the truncation the log stays as it is, and so must the machine: nothing is answered, and the
// leader's next probe finds the old tail. A cut may fall into a batch of another history than the
// leader's, which goes as a whole: then the answer is made anew, for where the log really ends.
func (r *Replication) cut(s *slot, to topic.Offset) bool {
	if err := s.log.Truncate(to); err != nil {
		s.machine.Reload(logState(s.log))
		return false
	}
	state := s.log.State()
	if state.LogEnd == to {
		return true
	}
	s.machine.Reload(logState(s.log))
	r.step(s, func(fx *replica.Effects) { s.machine.Durable(extent(state), fx) })
	return false
}

// replace begins a log anew, and reports whether there was room for that; if not, the leader's next probe
// finds the old tail. What waits to be answered speaks of the log that is gone.
func (r *Replication) replace(s *slot, with *replica.Replacement) bool {
	if s.log.Reset(with.Base, with.Epoch) != nil {
		s.machine.Reload(logState(s.log))
		return false
	}
	s.ack = nil
	return true
}

// contradicts compares a duplicate with what the log has at its offset, as far as that is in memory:
// one epoch has one leader, which writes each offset once.
func (r *Replication) contradicts(s *slot, section *frame.Section) bool {
	entries, ok := s.log.ReadTail(section.Base, len(section.Payload))
	if !ok || len(entries) == 0 {
		return false
	}
	have := &entries[0]
	if have.Base != section.Base || have.Epoch != section.RecordEpoch || have.Agrees(section.Payload) {
		return false
	}
	r.note(replica.Event{
		Kind: replica.EventFault, Partition: s.partition, Epoch: section.Epoch, Offset: section.Base,
		Detail: "a batch was sent again with other bytes",
	})
	s.machine.Contradicted()
	return true
}

// append hands a follower's batch to its log. A log without room refuses; the leader sends it again.
func (r *Replication) append(s *slot, section *frame.Section) {
	err := s.log.AppendReplica(partition.Entry{
		Partition: s.partition, Epoch: section.RecordEpoch, PrevEpoch: section.PrevEpoch,
		Base: section.Base, Count: section.Count, Payload: section.Payload,
	})
	if err == nil {
		return
	}
	if !errors.Is(err, wal.ErrFull) && !errors.Is(err, wal.ErrFailed) {
		r.note(replica.Event{
			Kind: replica.EventFault, Partition: s.partition, Epoch: section.Epoch, Offset: section.Base,
			Detail: err.Error(),
		})
	}
	r.step(s, func(fx *replica.Effects) { s.machine.Refused(logState(s.log), fx) })
}
