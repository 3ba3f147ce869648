package node

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/replica"
)

// memLog is a partition log whose disk and tail memory the test controls.
type memLog struct {
	host    *memHost
	part    topic.Partition
	role    partition.Role
	entries []partition.Entry
	at      []int
	// durable and warm count entries: those synced, and the first that is still in memory.
	durable, warm int
	hw            topic.Offset
	// damaged: the disk does not give back the entry at damagedAt.
	damaged   bool
	damagedAt topic.Offset
	// dropped and dropping are partition.State's, which the test moves.
	dropped, dropping topic.Offset
	// resets counts how often it began anew, anew says that this is not synced yet.
	resets int
	anew   bool
}

func (l *memLog) end() topic.Offset { return l.endOf(len(l.entries)) }

func (l *memLog) endOf(n int) topic.Offset {
	if n == 0 {
		return 0
	}
	e := l.entries[n-1]
	return e.Base + topic.Offset(e.Count)
}

func (l *memLog) tailEpoch() topic.Epoch {
	if len(l.entries) == 0 {
		return topic.NoEpoch
	}
	return l.entries[len(l.entries)-1].Epoch
}

// Assume ignores what is older, as the partition log does.
func (l *memLog) Assume(r partition.Role) {
	if r.Epoch >= l.role.Epoch {
		l.role = r
	}
}

func (l *memLog) State() partition.State {
	return partition.State{Damaged: l.damaged, DamagedAt: l.damagedAt, HighWatermark: l.hw, DurableEnd: l.endOf(l.durable), LogEnd: l.end(), TailEpoch: l.tailEpoch(), Role: l.role,
		Dropped: l.dropped, Dropping: l.dropping}
}

func (l *memLog) Epochs() []partition.EpochStart {
	var out []partition.EpochStart
	last := topic.NoEpoch
	for _, e := range l.entries {
		if e.Epoch != last {
			out = append(out, partition.EpochStart{Epoch: e.Epoch, Start: e.Base})
			last = e.Epoch
		}
	}
	return out
}

func (l *memLog) AppendReplica(e partition.Entry) error {
	if e.Base != l.end() || e.PrevEpoch != l.tailEpoch() {
		return partition.ErrGap
	}
	if l.host.full {
		return wal.ErrFull
	}
	e.Payload = bytes.Clone(e.Payload)
	l.append(e)
	return nil
}

func (l *memLog) append(e partition.Entry) {
	l.entries = append(l.entries, e)
	l.at = append(l.at, len(l.host.wal))
	l.host.wal = append(l.host.wal, e)
	l.host.sealed = append(l.host.sealed, e)
}

func (l *memLog) Truncate(to topic.Offset) error {
	if l.host.full {
		return wal.ErrFull
	}
	l.cut(to)
	return nil
}

func (l *memLog) cut(to topic.Offset) {
	for len(l.entries) > 0 && l.end() > to {
		l.entries, l.at = l.entries[:len(l.entries)-1], l.at[:len(l.at)-1]
	}
	l.durable, l.warm = min(l.durable, len(l.entries)), min(l.warm, len(l.entries))
	l.damaged = l.damaged && l.end() > l.damagedAt
}

func (l *memLog) CutDamage() error {
	if l.damaged {
		if l.role.Leading {
			return partition.ErrLeading
		}
		if err := l.Truncate(l.damagedAt); err != nil {
			return err
		}
		l.hw = min(l.hw, l.end())
	}
	return nil
}

// MoveStart and Reset are for logs of which something was deleted, which package sim plays with real ones.
func (l *memLog) MoveStart(to topic.Offset) error {
	l.host.world.t.Errorf("partition %d is to start at %d, and nobody deleted anything", l.part.Index, to)
	return nil
}

func (l *memLog) Reset(to topic.Offset, epoch topic.Epoch) error {
	if l.host.world.compacts && to == 0 {
		l.cut(0)
		l.hw, l.durable = 0, 0
		l.resets, l.anew = l.resets+1, true
		return nil
	}
	l.host.world.t.Errorf("partition %d is reset to %d, epoch %d, and nobody deleted anything", l.part.Index, to, epoch)
	return nil
}

func (l *memLog) SetLowWatermark(topic.Offset) {}

func (l *memLog) SetHighWatermark(hw topic.Offset) { l.hw = max(l.hw, min(hw, l.end())) }

func (l *memLog) find(from topic.Offset) int {
	for i, e := range l.entries {
		if e.Base == from {
			return i
		}
	}
	return -1
}

func (l *memLog) ReadTail(from topic.Offset, bytesMax int) ([]partition.Entry, bool) {
	i := l.find(from)
	if i < 0 || i < l.warm {
		return nil, from == l.end()
	}
	return l.entries[i:min(len(l.entries), i+4)], true
}

func (l *memLog) Position(off topic.Offset) (wal.Position, bool) {
	i := l.find(off)
	if i < 0 || i >= l.durable || l.damaged && off == l.damagedAt {
		return wal.Position{}, false
	}
	return wal.Position{Offset: int64(l.at[i])}, true
}

// memHost is one node: its logs over one shared list that stands for the WAL.
type memHost struct {
	self   topic.Member
	logs   map[topic.Partition]*memLog
	order  []*memLog
	wal    []partition.Entry
	sealed []partition.Entry
	full   bool
	down   bool
	// disk counts the names that the host's logs have had.
	disk  byte
	rep   *Replication
	world *memWorld
}

func (h *memHost) Create(p topic.Partition) PartitionLog {
	l := h.logs[p]
	if l == nil {
		l = &memLog{host: h, part: p}
		h.logs[p] = l
		h.order = append(h.order, l)
	}
	return l
}

func (h *memHost) Remove(p topic.Partition) error {
	if h.full {
		return wal.ErrFull
	}
	delete(h.logs, p)
	return nil
}

func (h *memHost) Partitions() []topic.Partition { return nil }

func (h *memHost) SendData(to []topic.NodeID, pieces [][]byte) {
	for _, node := range to {
		h.world.post(h, node, slices.Concat(pieces...))
	}
}

func (h *memHost) SendAcks(to topic.NodeID, b []byte) { h.world.post(h, to, b) }

type memWorld struct {
	t     testing.TB
	r     *rand.Rand
	hosts []*memHost
	net   []memMessage
	batch *cluster.Batch
	index uint64
	image *cluster.Image
	// loss is how many of 100 frames are lost, slow how many of 100 syncs take another round.
	loss, slow int
	// spoilt counts the entries that disks have spoilt.
	spoilt int
	// compacts: logs may begin anew.
	compacts bool
}

type memMessage struct {
	to   topic.NodeID
	data []byte
}

func (w *memWorld) post(_ *memHost, to topic.NodeID, b []byte) {
	if w.loss > 0 && w.r.IntN(100) < w.loss {
		return
	}
	w.net = append(w.net, memMessage{to, bytes.Clone(b)})
}

func (w *memWorld) apply(c cluster.Command) cluster.Result {
	w.index++
	result := w.batch.Apply(w.index, c)
	w.image = w.batch.Image()
	return result
}

func newMemWorld(t testing.TB, seed uint64, partitions int32) *memWorld {
	w := &memWorld{t: t, r: rand.New(rand.NewPCG(seed, 7)), batch: cluster.Empty().Edit()}
	w.apply(cluster.SetDefaults{MinInSync: 2})
	for i := range 3 {
		h := &memHost{world: w, self: topic.Member{Node: topic.NodeID(i + 1), Session: topic.Session(100 + i)}}
		w.hosts = append(w.hosts, h)
		w.start(h)
	}
	result := w.apply(cluster.CreateTopics{Topics: []topic.Creation{{
		ID: topic.ID{1}, Name: "t", Partitions: partitions, ReplicationFactor: 3,
	}}})
	if result.Items[0] != cluster.OK {
		t.Fatalf("create topic: %v", result.Items[0])
	}
	return w
}

// start registers a new session of a host over whatever its logs hold.
func (w *memWorld) start(h *memHost) {
	h.self.Session += 1000
	h.down = false
	h.sealed = nil
	for _, l := range h.order {
		l.role = partition.Role{Epoch: topic.NoEpoch}
		l.cut(l.endOf(l.durable))
		if l.damaged { // a damaged log is another one from now on, and ends before the damage
			h.disk++
			l.cut(l.damagedAt)
			l.hw = min(l.hw, l.end())
		}
	}
	if h.logs == nil {
		h.logs = map[topic.Partition]*memLog{}
	}
	h.rep = NewReplication(ReplicationConfig{
		Self: h.self, LagTicksMax: 1000, RepeatTicks: 1, RepeatTicksMax: 4,
		WindowBytes: 4 << 10, FrameBytes: 2 << 10, ScanBytes: 1 << 10, Cluster: frame.Cluster{1},
	}, h, h)
	before, _ := w.image.Broker(h.self.Node)
	w.apply(cluster.RegisterBroker{
		Replaces:    before.Session,
		Broker:      topic.Broker{ID: h.self.Node, Session: h.self.Session, Disk: topic.DiskID{byte(h.self.Node), h.disk}},
		FlushAlways: true,
	})
}

// spoil damages a committed entry of a log, which is not in memory, unless any other host has damage or
// has not got over it yet: two disks that lose records at once are beyond what three replicas survive.
func (w *memWorld) spoil(l *memLog) {
	for t := range w.image.All() {
		for _, p := range t.Partitions {
			if len(p.ISR) < 3 {
				return
			}
		}
	}
	for _, h := range w.hosts {
		for _, other := range h.order {
			if other.damaged && h != l.host {
				return
			}
		}
	}
	if l.hw == 0 || l.damaged {
		return
	}
	n := 0
	for l.endOf(n+1) < l.hw {
		n++
	}
	i := w.r.IntN(n + 1)
	l.damaged, l.damagedAt, l.warm = true, l.entries[i].Base, max(l.warm, i+1)
	w.spoilt++
}

// quarantine has a host ask for what its damaged logs need.
func (w *memWorld) quarantine(h *memHost) {
	var damaged []topic.Partition
	for _, l := range h.order {
		if l.damaged {
			damaged = append(damaged, l.part)
		}
	}
	if c := w.image.Quarantines(h.self, damaged, nil); len(c.Items) > 0 {
		w.apply(c)
	}
}

func (w *memWorld) turn(h *memHost) {
	if h.down {
		return
	}
	h.rep.Tick(1)
	h.rep.SetImage(w.image)
	sealed := h.sealed
	h.sealed = nil
	h.rep.Sealed(sealed)
	var touched []topic.Partition
	for _, l := range h.order {
		if (l.durable < len(l.entries) || l.anew) && w.r.IntN(100) >= w.slow {
			l.durable, l.anew = len(l.entries), false
			touched = append(touched, l.part)
		}
	}
	h.rep.Durable(touched)
	h.rep.Flush()
	for _, scan := range h.rep.Scans() {
		w.scan(h, scan)
	}
	h.rep.Flush()
	for _, c := range h.rep.Changes() {
		w.propose(h, c)
	}
}

func (w *memWorld) scan(h *memHost, q ScanRequest) {
	var entries []partition.Entry
	i, size := int(q.From.Offset), 0
	for ; i < len(h.wal) && size < q.BytesMax; i++ {
		size += len(h.wal[i].Payload)
		// What was cut is passed over, as the partition store does.
		if l := h.logs[h.wal[i].Partition]; l != nil && slices.Contains(l.at[:l.durable], i) &&
			(!l.damaged || h.wal[i].Base != l.damagedAt) {
			entries = append(entries, h.wal[i])
		}
	}
	h.rep.Scanned(q.To, entries, wal.Position{Offset: int64(i)}, i == len(h.wal), nil)
}

func (w *memWorld) propose(h *memHost, c replica.Change) {
	result := w.apply(cluster.AlterISR{Changes: []cluster.ISRChange{{
		Partition: c.Partition, LeaderEpoch: c.LeaderEpoch, PartitionEpoch: c.PartitionEpoch, Leader: h.self, ISR: c.ISR,
	}}})
	verdict := map[cluster.Status]replica.Verdict{cluster.OK: replica.Accepted, cluster.Stale: replica.Stale}[result.Items[0]]
	if verdict == 0 {
		verdict = replica.Refused
	}
	h.rep.Decided(c.Partition, c.PartitionEpoch, verdict)
}

func (w *memWorld) deliver() {
	net := w.net
	w.net = nil
	for _, m := range net {
		if h := w.hosts[m.to-1]; !h.down {
			h.rep.Frame(m.data)
		}
	}
}

func (w *memWorld) produce(n int) {
	for range n {
		for _, h := range w.hosts {
			for _, l := range h.order {
				if h.down || !l.role.Leading || w.r.IntN(3) > 0 {
					continue
				}
				prev := l.tailEpoch()
				l.append(partition.Entry{
					Partition: l.part, Epoch: l.role.Epoch, PrevEpoch: prev, Base: l.end(), Count: 1 + w.r.Int32N(3),
					Payload: []byte(fmt.Sprintf("%d-%d-%d", h.self.Node, l.role.Epoch, len(l.entries))),
				})
			}
		}
		w.round()
	}
}

func (w *memWorld) round() {
	for _, h := range w.hosts {
		w.turn(h)
	}
	w.deliver()
}

// converge requires that all logs become equal, committed to their ends, with everybody in sync.
func (w *memWorld) converge() {
	w.t.Helper()
	for range 600 {
		w.round()
		if w.equal() == "" {
			return
		}
	}
	w.t.Fatal(w.equal())
}

func (w *memWorld) equal() string {
	first := w.hosts[0]
	for p, l := range first.logs {
		for _, h := range w.hosts[1:] {
			o := h.logs[p]
			if o == nil || len(o.entries) != len(l.entries) || o.hw != l.end() || l.hw != l.end() {
				return fmt.Sprintf("partition %d of node %d: %+v, node 1 has %+v", p.Index, h.self.Node, o.State(), l.State())
			}
			for i := range l.entries {
				if o.entries[i].Epoch != l.entries[i].Epoch || !bytes.Equal(o.entries[i].Payload, l.entries[i].Payload) {
					return fmt.Sprintf("partition %d entry %d differs", p.Index, i)
				}
			}
		}
		if placement, _ := w.image.Partition(p); len(placement.ISR) != 3 {
			return fmt.Sprintf("partition %d has in-sync set %v", p.Index, placement.ISR)
		}
	}
	return ""
}

func TestFramesCarryManyPartitionsToEveryFollower(t *testing.T) {
	w := newMemWorld(t, 1, 20)
	w.round()
	w.produce(30)
	w.converge()
	for _, h := range w.hosts {
		if c := h.rep.Counters(); c.Gaps != 0 || c.FramesRefused != 0 || c.Faults != 0 {
			t.Fatalf("node %d without any fault: %+v", h.self.Node, c)
		}
	}
}

// failure modes 22 to 24: lost frames leave no hole.
func TestLostFramesAreAskedForAgain(t *testing.T) {
	w := newMemWorld(t, 2, 10)
	w.round()
	w.loss = 30
	w.produce(60)
	w.loss = 0
	w.converge()
}

// failure mode 24: a follower that was down for longer than any memory reaches catches up by scans of
// the WAL while produce goes on.
func TestFollowerThatWasDownCatchesUpFromTheWAL(t *testing.T) {
	w := newMemWorld(t, 3, 10)
	w.round()
	w.produce(10)
	down := w.hosts[2]
	down.down = true
	w.apply(cluster.FenceBroker{Node: down.self.Node, Session: down.self.Session})
	w.produce(200)
	for _, h := range w.hosts[:2] {
		for _, l := range h.order {
			l.warm = len(l.entries)
		}
	}
	w.start(down)
	w.produce(20)
	w.converge()
}

// failure mode 26: whoever returns with records that were never committed gives them up.
func TestDeposedLeaderGivesUpWhatWasNotCommitted(t *testing.T) {
	w := newMemWorld(t, 4, 10)
	w.round()
	w.produce(10)
	w.converge()
	old := w.hosts[0]
	for _, l := range old.order {
		for range 5 {
			if l.role.Leading {
				l.append(partition.Entry{Partition: l.part, Epoch: l.role.Epoch, PrevEpoch: l.tailEpoch(), Base: l.end(), Count: 1, Payload: []byte("lost")})
			}
		}
		l.durable = len(l.entries)
	}
	old.down = true
	w.apply(cluster.FenceBroker{Node: old.self.Node, Session: old.self.Session})
	w.produce(20)
	w.start(old)
	w.converge()
	if old.rep.Counters().Cuts == 0 {
		t.Fatal("the deposed leader cut nothing: the schedule proves nothing")
	}
	for _, l := range old.order {
		for _, e := range l.entries {
			if string(e.Payload) == "lost" {
				t.Fatal("a record that was never committed survived")
			}
		}
	}
}

// A follower without room refuses, and is fed again when there is room.
func TestFullFollowerIsFedAgain(t *testing.T) {
	w := newMemWorld(t, 5, 4)
	w.round()
	w.hosts[1].full = true
	w.produce(20)
	w.hosts[1].full = false
	w.converge()
}

// failure mode 21: frames come before the image that tells a follower of their partition. They are not
// taken, nothing counts them, and nothing is missing once the image has come.
func TestFramesBeforeTheirTopicAreNotCounted(t *testing.T) {
	w := newMemWorld(t, 10, 3)
	late := w.image
	w.image = cluster.Empty()
	for _, h := range w.hosts[1:] {
		h.rep.SetImage(w.image)
	}
	for range 10 {
		for i, h := range w.hosts {
			if w.image = late; i > 0 {
				w.image = cluster.Empty()
			}
			for _, l := range h.order {
				if l.role.Leading {
					l.append(partition.Entry{Partition: l.part, Epoch: l.role.Epoch, PrevEpoch: l.tailEpoch(), Base: l.end(), Count: 1, Payload: []byte("x")})
				}
			}
			w.turn(h)
		}
		w.deliver()
	}
	early := 0
	for _, l := range w.hosts[0].order {
		if early += len(l.entries); l.hw != 0 {
			t.Errorf("partition %d: high watermark %d with no follower that knows it", l.part.Index, l.hw)
		}
	}
	if early == 0 || w.hosts[1].rep.Counters().Stale+w.hosts[2].rep.Counters().Stale == 0 {
		t.Fatal("nothing came too early: the schedule proves nothing")
	}
	w.image = late
	w.converge()
}

// failure mode 44: incarnation and epoch are in every message.
func TestFramesOfAnotherLifeChangeNothing(t *testing.T) {
	w := newMemWorld(t, 6, 2)
	w.round()
	w.produce(5)
	w.converge()
	h := w.hosts[0]
	good := frame.Header{Cluster: frame.Cluster{1}, From: 2, To: 1, FromSession: w.hosts[1].self.Session, ReceiverSession: h.self.Session}
	section := frame.Section{Kind: frame.Data, Partition: topic.Partition{Topic: topic.ID{1}}, Epoch: 99, Base: 0, Count: 1, PrevEpoch: -1, Payload: []byte("x")}
	for name, change := range map[string]func(*frame.Header){
		"cluster":          func(h *frame.Header) { h.Cluster = frame.Cluster{2} },
		"receiver":         func(h *frame.Header) { h.To = 3 },
		"receiver session": func(h *frame.Header) { h.ReceiverSession++ },
		"sender session":   func(h *frame.Header) { h.FromSession++ },
		"epoch":            func(*frame.Header) {},
	} {
		header := good
		change(&header)
		var b frame.Builder
		b.Add(header, &section)
		before := h.logs[section.Partition].State()
		h.rep.Frame(slices.Concat(b.Take()...))
		if after := h.logs[section.Partition].State(); after != before {
			t.Errorf("wrong %s: log changed from %+v to %+v", name, before, after)
		}
	}
}

// A WAL without room keeps the log for now, but nobody appends to it any more.
func TestLeaderOfADeletedTopicTakesNothing(t *testing.T) {
	w := newMemWorld(t, 9, 3)
	w.round()
	w.produce(5)
	for _, h := range w.hosts {
		h.full = true
	}
	w.apply(cluster.DeleteTopics{IDs: []topic.ID{{1}}})
	w.round()
	for _, h := range w.hosts {
		for p, l := range h.logs {
			if l.role.Leading {
				t.Errorf("node %d still leads partition %d of a deleted topic", h.self.Node, p.Index)
			}
		}
		h.full = false
	}
	w.round()
	for _, h := range w.hosts {
		if len(h.logs) != 0 {
			t.Errorf("node %d still has %d logs", h.self.Node, len(h.logs))
		}
	}
}

func TestDeletedTopicsLogsGoOnlyWithATombstone(t *testing.T) {
	w := newMemWorld(t, 7, 2)
	w.round()
	w.apply(cluster.DeleteTopics{IDs: []topic.ID{{1}}})
	w.round()
	for _, h := range w.hosts {
		if len(h.logs) != 0 {
			t.Errorf("node %d still has %d logs", h.self.Node, len(h.logs))
		}
	}
	// failure mode 34: an image that merely lacks the topic deletes nothing.
	w2 := newMemWorld(t, 8, 2)
	w2.round()
	w2.hosts[0].rep.SetImage(cluster.Empty())
	if got := len(w2.hosts[0].logs); got != 2 {
		t.Errorf("got %d logs after an image without the topic, want 2", got)
	}
}

// A duplicate with other bytes is a loud fault, never an acknowledgement.
func TestDuplicateWithOtherBytesIsAFault(t *testing.T) {
	w := newMemWorld(t, 9, 1)
	w.round()
	w.produce(5)
	w.converge()
	p := topic.Partition{Topic: topic.ID{1}}
	placement, _ := w.image.Partition(p)
	leader := w.hosts[placement.Leader-1]
	follower := w.hosts[placement.Leader%3]
	batch := follower.logs[p].entries[0]
	for _, c := range []struct {
		payload []byte
		faults  uint64
		acks    int
	}{{batch.Payload, 0, 1}, {[]byte("other"), 1, 0}} {
		var b frame.Builder
		b.Add(frame.Header{
			Cluster: frame.Cluster{1}, From: leader.self.Node, To: follower.self.Node,
			FromSession: leader.self.Session, ReceiverSession: follower.self.Session,
		}, &frame.Section{
			Kind: frame.Data, Partition: p, Epoch: placement.LeaderEpoch, Base: batch.Base, Count: batch.Count,
			RecordEpoch: batch.Epoch, PrevEpoch: topic.NoEpoch, HighWatermark: topic.NoOffset, Payload: c.payload,
		})
		w.net = nil
		follower.rep.Frame(slices.Concat(b.Take()...))
		follower.rep.Flush()
		if got := follower.rep.Counters().Faults; got != c.faults || len(w.net) != c.acks {
			t.Errorf("payload %q: got %d faults and %d answers, want %d and %d", c.payload, got, len(w.net), c.faults, c.acks)
		}
	}
}
