package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
	"outrigger/sidecar/raftstore"
)

const (
	walDir       = "data/wal"
	metaDir      = "data/metadata"
	walFileBytes = 64 << 10
	partitions   = 4
	producers    = 3
)

// node is the stores of one node and what they must hold.
type node struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand
	disks  *disks
	trace  []string

	store   *partition.Store
	driver  *partition.Driver
	meta    *raftstore.Store
	now     time.Duration
	session topic.Session
	epoch   topic.Epoch
	roles   map[topic.Partition]partition.Role

	logs *logModel
	what *metaModel
	// amiss: a write has gone wrong unnoticed; what is read may be found damaged.
	amiss bool
	// stats
	counts map[string]int
}

func newNode(t *testing.T, seed uint64, counts map[string]int) *node {
	n := &node{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 17)), disks: newDisks(t),
		logs: newLogModel(), what: &metaModel{}, counts: counts}
	n.what.history, n.what.dead = []version{{}}, n.dead
	return n
}

func (n *node) note(format string, args ...any) {
	n.trace = append(n.trace, fmt.Sprintf(format, args...))
}

func (n *node) fatal(format string, args ...any) {
	n.t.Helper()
	for _, line := range n.trace[max(0, len(n.trace)-80):] {
		n.t.Log(line)
	}
	n.t.Fatalf("-storage.seed %d: %s", n.seed, fmt.Sprintf(format, args...))
}

func at(index int32) topic.Partition { return topic.Partition{Topic: topic.ID{7}, Index: index} }

// dead tells whether the machine has lost power: nothing that comes after it counts.
func (n *node) dead() bool { return n.disks.dead.Load() }

func (n *node) openWAL(fs *waltest.FS) (*partition.Store, error) {
	n.session++
	return partition.Open(partition.Config{
		WAL: wal.Config{FS: fs, Dir: walDir, Session: n.session, FileBytes: walFileBytes,
			GroupBytesMax: 16 << 10, QueueBytesMax: [2]int64{48 << 10, 48 << 10}},
		TailBytesMax: 4 << 10, HighWatermarkCheckpoint: time.Second,
		Observer: n, Now: func() time.Duration { return n.now },
	})
}

// open starts the node and compares what it finds; false means that the power failed again.
func (n *node) open() bool {
	n.roles = map[topic.Partition]partition.Role{}
	meta, err := raftstore.OpenFS(n.disks.metaFS(), metaDir, slog.New(slog.DiscardHandler), died)
	if err != nil {
		n.fatal("open metadata: %v", err)
	}
	n.meta = meta
	if err := n.what.settle(meta); err != nil {
		n.fatal("after %v: %v", n.counts, err)
	}
	if n.dead() {
		return false
	}
	records, err := survivors(n.disks.wal)
	if err != nil {
		n.fatal("recover a copy of the log: %v", err)
	}
	found, err := n.logs.match(records, n.logs.promised)
	if err != nil {
		n.fatal("write-ahead log: %v", err)
	}
	n.note("open: %d records found of %d, %d promised", found, len(n.logs.records), n.logs.promised)
	n.store, err = n.openWAL(n.disks.wal)
	if n.dead() {
		return false
	}
	if err != nil {
		n.fatal("open partition logs: %v", err)
	}
	n.counts["lost"] += len(n.logs.records) - found
	n.logs = n.logs.replay(records)
	n.compare()
	n.cross(records)
	n.store.SetLease(partition.Forever)
	if n.driver, err = n.store.Drive(); err != nil {
		n.fatal("drive: %v", err)
	}
	return true
}

// compare reads everything back and compares it with the model.
func (n *node) compare() {
	var want []topic.Partition
	var live []entry
	for p, m := range n.logs.logs {
		want = append(want, p)
		live = append(live, m.entries...)
	}
	slices.SortFunc(want, func(a, b topic.Partition) int { return int(a.Index - b.Index) })
	slices.SortFunc(live, func(a, b entry) int { return a.record - b.record })
	if got := n.store.Partitions(); !slices.Equal(got, want) {
		n.fatal("partitions %v, want %v", got, want)
	}
	for _, p := range want {
		n.compareLog(p, n.logs.logs[p])
	}
	var from wal.Position
	for end := false; !end; {
		var batches []partition.Entry
		var err error
		if batches, from, end, err = n.store.Scan(from, 20_000); err != nil {
			n.damaged(err)
			return
		}
		for _, b := range batches {
			if len(live) == 0 || !bytes.Equal(b.Payload, live[0].payload) {
				n.fatal("scan gives batch %d of %d out of place", b.Base, b.Partition.Index)
			}
			live = live[1:]
		}
	}
	if len(live) > 0 {
		n.fatal("scan ends before %d batches", len(live))
	}
}

func (n *node) compareLog(p topic.Partition, m *partitionModel) {
	l := n.store.Log(p)
	state, epochs := l.State(), l.Epochs()
	if state.LogEnd != m.end() || state.HighWatermark != m.highWatermark ||
		state.DurableEnd != m.end() || state.TailEpoch != m.tailEpoch() {
		n.fatal("partition %d is %+v, want end %d, high watermark %d, epoch %d", p.Index, state, m.end(),
			m.highWatermark, m.tailEpoch())
	}
	for _, e := range m.entries {
		if len(epochs) == 0 || e.epoch < epochs[0].Epoch || len(epochs) > 1 && e.offset >= epochs[1].Start {
			n.fatal("partition %d: epochs %+v at %d of epoch %d", p.Index, epochs, e.offset, e.epoch)
		}
		if len(epochs) > 1 && e.offset+1 == epochs[1].Start {
			epochs = epochs[1:]
		}
	}
	n.readAll(l, m)
}

// readAll reads the committed front of a log.
func (n *node) readAll(l *partition.Log, m *partitionModel) {
	for from := topic.Offset(0); from < m.highWatermark; {
		count := n.read(l, m, from)
		if n.dead() {
			return
		}
		if count == 0 {
			n.fatal("partition %d: nothing to read at %d below %d", l.Partition().Index, from, m.highWatermark)
		}
		from += topic.Offset(count)
	}
}

// read reads from an offset on. Damage may be found only if there is some, and names its place.
func (n *node) read(l *partition.Log, m *partitionModel, from topic.Offset) int {
	got, err := l.Read(from, 6000, true)
	if err != nil {
		n.damaged(err)
		return 0
	}
	for i, b := range got.Batches {
		if e := m.entries[from+topic.Offset(i)]; !bytes.Equal(b, e.payload) {
			n.fatal("partition %d: read other bytes at %d", l.Partition().Index, e.offset)
		}
	}
	return len(got.Batches)
}

// damaged passes over damage that was done, if it is named.
func (n *node) damaged(err error) {
	var damage *wal.Damage
	switch {
	case n.dead():
		return
	case !n.amiss:
		n.fatal("read: %v", err)
	case !errors.As(err, &damage) || damage.File == "":
		n.fatal("read of damaged bytes: got %v, want a wal.Damage", err)
	}
	n.counts["damage read"]++
}

// cross compares the stores: whatever epoch or removal the logs bear, the metadata says so.
func (n *node) cross(records []logRecord) {
	decided := map[command]int{}
	for _, c := range n.what.now.commands() {
		decided[c]++
	}
	for _, r := range records {
		c := command{kind: grant, index: r.partition.Index, epoch: r.entry.epoch}
		switch r.kind {
		case wal.Data:
			if decided[c] == 0 {
				n.fatal("partition %d has a batch of epoch %d, which the metadata does not know",
					c.index, c.epoch)
			}
		case wal.Remove:
			c.kind, c.epoch = tombstone, 0
			if decided[c]--; decided[c] < 0 {
				n.fatal("partition %d is removed once more than the metadata says", c.index)
			}
		}
	}
}

// Sealed implements partition.Observer.
func (n *node) Sealed([]partition.Entry) {}

// Durable implements partition.Observer: what it says is promised.
func (n *node) Durable(ends []partition.DurableEnd) {
	n.logs.groupStart = n.logs.promised
	for _, e := range ends {
		m := n.logs.logs[e.Partition]
		if m == nil || e.DurableEnd > m.end() || e.LogEnd != m.end() {
			n.fatal("durable end %+v is beyond the log", e)
		}
		if e.DurableEnd > 0 {
			n.logs.promise(m.entries[e.DurableEnd-1])
		}
	}
}

// step does one thing. It returns what a store said that has stopped.
func (n *node) step() error {
	switch n.random.IntN(32) {
	case 0, 1, 2, 3, 4, 5:
		return n.append()
	case 6:
		return n.retry()
	case 7:
		return n.truncate()
	case 8, 9:
		n.commit()
	case 10, 11:
		return n.elect()
	case 12:
		n.now += 600 * time.Millisecond
		n.store.Tick()
	case 13:
		if n.random.IntN(4) == 0 {
			return n.remove()
		}
	case 14, 15, 16:
		return n.what.scribble(n.meta, n.random)
	case 17:
		n.lookup()
	case 18, 19:
		err := n.driver.Prepare()
		if errors.Is(err, wal.ErrNoSpace) && !errors.Is(err, wal.ErrFailed) {
			n.counts["no space"]++
			return nil
		}
		return err
	case 20, 21, 22, 23:
		return n.driver.Turn()
	case 24, 25, 26, 27:
		n.driver.Disk()
	default:
		return n.driver.Complete()
	}
	return nil
}

func (n *node) pick() (topic.Partition, *partitionModel, *partition.Log) {
	p := at(n.random.Int32N(partitions))
	return p, n.logs.log(p), n.store.Create(p)
}

// backPressure passes over a refusal for want of room.
func (n *node) backPressure(err error) error {
	if errors.Is(err, wal.ErrFull) {
		n.counts["refused"]++
		return nil
	}
	return err
}

func (n *node) append() error {
	p, m, l := n.pick()
	producer := n.random.Int64N(producers)
	e := entry{offset: m.end(), producer: producer}
	if last, ok := m.last(producer); ok {
		e.sequence = last.sequence + 1
	}
	size := n.random.IntN(1500)
	if n.random.IntN(16) == 0 {
		size = n.random.IntN(15_000)
	}
	e.payload = producerBatch(producer, e.sequence, noise(n.random, size))
	role := n.roles[p]
	e.epoch = max(role.Epoch, m.tailEpoch())
	var err error
	switch {
	case role.Epoch == 0:
		return nil
	case role.Leading:
		var a partition.Appended
		a, err = l.Append(ended, e.payload, partition.AppendOptions{Acks: 1})
		if err == nil && (a.Base != e.offset || a.Duplicate) {
			n.fatal("append to %d at %d: got %+v", p.Index, e.offset, a)
		}
	default:
		err = l.AppendReplica(partition.Entry{Partition: p, Epoch: e.epoch, PrevEpoch: m.tailEpoch(),
			Base: e.offset, Count: 1, Payload: place(e.payload, e.offset, e.epoch)})
	}
	n.note("append %d at %d, epoch %d, record %d: %v", p.Index, e.offset, e.epoch, len(n.logs.records), err)
	if err == nil {
		n.counts["appended"]++
		n.logs.add(logRecord{kind: wal.Data, partition: p, entry: e})
	}
	return n.backPressure(err)
}

// retry sends a producer's last batch once more.
func (n *node) retry() error {
	p, m, l := n.pick()
	last, ok := m.last(n.random.Int64N(producers))
	if !ok || !n.roles[p].Leading {
		return nil
	}
	b := bytes.Clone(last.payload)
	a, err := l.Append(ended, b, partition.AppendOptions{Acks: 1})
	if err == nil && (!a.Duplicate || a.Base != last.offset) {
		n.fatal("retry of %d at %d: got %+v", p.Index, last.offset, a)
	}
	return err
}

func (n *node) truncate() error {
	p, m, l := n.pick()
	if n.roles[p].Leading {
		return nil
	}
	to := topic.Offset(n.random.IntN(int(m.end()) + 2))
	if n.random.IntN(3) > 0 {
		to = max(to, m.highWatermark)
	}
	err := l.Truncate(to)
	n.note("truncate %d to %d of %d, record %d: %v", p.Index, to, m.end(), len(n.logs.records), err)
	if err == nil && to < m.end() {
		n.counts["truncated"]++
		n.logs.add(logRecord{kind: wal.Truncate, partition: p, base: to})
	}
	if n.amiss && errors.Is(err, wal.ErrDamaged) {
		return nil
	}
	return n.backPressure(err)
}

func (n *node) commit() {
	p, m, l := n.pick()
	to := topic.Offset(n.random.IntN(int(m.end()) + 1))
	l.SetHighWatermark(to)
	m.highWatermark = max(m.highWatermark, to)
	n.logs.marks[mark{p, m.highWatermark}] = true
}

// elect gives the node a role, once the metadata has it on stable storage.
func (n *node) elect() error {
	p, _, l := n.pick()
	n.epoch++
	role := partition.Role{Leading: n.random.IntN(2) == 0, Epoch: n.epoch, AcceptAll: true,
		AcceptOne: true, Ready: true}
	if err := n.what.decide(n.meta, command{grant, p.Index, role.Epoch}); err != nil || n.dead() {
		return err
	}
	n.note("assume %d: leading %t, epoch %d", p.Index, role.Leading, role.Epoch)
	l.Assume(role)
	n.roles[p] = role
	return nil
}

func (n *node) remove() error {
	p, _, _ := n.pick()
	if err := n.what.decide(n.meta, command{tombstone, p.Index, 0}); err != nil || n.dead() {
		return err
	}
	err := n.store.Remove(p)
	n.note("remove %d, record %d: %v", p.Index, len(n.logs.records), err)
	if err == nil {
		n.counts["removed"]++
		n.logs.add(logRecord{kind: wal.Remove, partition: p})
		delete(n.roles, p)
	}
	return n.backPressure(err)
}

// lookup reads somewhere.
func (n *node) lookup() {
	_, m, l := n.pick()
	state := l.State()
	if state.LogEnd != m.end() || state.HighWatermark != m.highWatermark {
		n.fatal("partition %d is %+v, want end %d, high watermark %d", l.Partition().Index, state, m.end(),
			m.highWatermark)
	}
	if m.highWatermark > 0 && !n.dead() {
		n.read(l, m, topic.Offset(n.random.IntN(int(m.highWatermark))))
	}
}

// died hears of a failure in a goroutine of Pebble's, which no test here brings about.
func died(err error) { panic(err) }

// ended is a context that has ended: an append with it is a try.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
