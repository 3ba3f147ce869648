package sim

import (
	"errors"
	"fmt"
	"slices"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
	"outrigger/sidecar/raft"
)

// errCrash is what a store returns at the durability point where its host dies.
var errCrash = errors.New("simulated crash")

// errDisk is an I/O error of a simulated disk: the process stops at it.
var errDisk = errors.New("simulated input/output error")

// image is what a disk holds at one moment. Its slices are shared between images and never changed
// in place.
type image struct {
	hard     raft.HardState
	snapshot raft.Snapshot
	data     []byte
	entries  []raft.Entry
	staged   raft.Snapshot
	pieces   []byte
}

// disk is one simulated disk: what it would show, and what would be left of that after a crash.
type disk struct {
	id topic.DiskID
	// logs is the identity of the partition logs, and fs holds them.
	logs topic.DiskID
	fs   *waltest.FS
	// catalog tells where what was drained lies.
	catalog *catalogtest.Catalog
	// kept is how far each log was durable when the host was last up. What sessions before since had is
	// lost.
	kept map[topic.Partition]topic.Offset
	// keptStarts is where each log durably started then.
	keptStarts map[topic.Partition]topic.Offset
	since      uint64
	// rotten: something on it was damaged; latent: and no start has found it yet.
	rotten, latent bool
	// synced survives a crash. Of the writes behind it, unsynced, a crash leaves any prefix.
	synced   image
	unsynced []raft.Batch
	now      image
}

func (m image) last() uint64 {
	if n := len(m.entries); n > 0 {
		return m.entries[n-1].Index
	}
	return m.snapshot.Index
}

// entry finds a stored entry.
func (m image) entry(index uint64) (raft.Entry, bool) {
	if len(m.entries) == 0 || index < m.entries[0].Index || index > m.last() {
		return raft.Entry{}, false
	}
	return m.entries[index-m.entries[0].Index], true
}

// termOf is the term at an index that the image knows of.
func (m image) termOf(index uint64) (term uint64, ok bool) {
	if e, held := m.entry(index); held {
		return e.Term, true
	}
	return m.snapshot.Term, index == m.snapshot.Index
}

// write applies a batch to an image.
func (m *image) write(b raft.Batch) {
	if b.HardState != nil {
		m.hard = *b.HardState
	}
	if b.TruncateFrom != 0 {
		at := slices.IndexFunc(m.entries, func(e raft.Entry) bool { return e.Index >= b.TruncateFrom })
		if at >= 0 {
			m.entries = m.entries[:at:at]
		}
	}
	if len(b.Entries) > 0 {
		if first := b.Entries[0].Index; first != m.last()+1 {
			panic(fmt.Sprintf("sim: entry %d written behind %d", first, m.last()))
		}
		m.entries = append(m.entries[:len(m.entries):len(m.entries)], b.Entries...)
	}
	for _, c := range b.Chunks {
		if c.Offset == 0 {
			m.staged, m.pieces = c.Snapshot, nil
		}
		if !c.Snapshot.Same(m.staged) || c.Offset != uint64(len(m.pieces)) {
			panic(fmt.Sprintf("sim: chunk at %d, %d bytes are staged", c.Offset, len(m.pieces)))
		}
		m.pieces = append(m.pieces[:len(m.pieces):len(m.pieces)], c.Data...)
	}
}

// crash loses what was not synced, but for a prefix.
func (d *disk) crash(kept int) {
	d.now = d.synced
	for _, b := range d.unsynced[:kept] {
		d.now.write(b)
	}
	d.synced, d.unsynced = d.now, nil
}

// remember notes what a host had promised when it went down.
func (d *disk) remember(b *broker) {
	d.kept, d.keptStarts = map[topic.Partition]topic.Offset{}, map[topic.Partition]topic.Offset{}
	for _, p := range b.store.Partitions() {
		d.kept[p] = b.store.Log(p).State().DurableEnd
		d.keptStarts[p] = b.store.Log(p).State().StartDurable
	}
}

// forget gives up what was promised of the logs before a loss of power, where that takes what was not
// synced.
func (d *disk) forget(w *World) {
	if w.mix.interval {
		w.count.unsyncedLosses++
		d.kept, d.keptStarts, d.since = nil, nil, w.sessions+1
	}
}

// storePort is a host's disk as its Quorum sees it.
type storePort struct{ h *host }

// Load implements node.Store.
func (s storePort) Load() (raft.State, error) {
	d := s.h.disk
	return raft.State{Hard: d.now.hard, Snapshot: d.now.snapshot, Entries: slices.Clone(d.now.entries),
		Staged: d.now.staged, StagedBytes: uint64(len(d.now.pieces))}, nil
}

// Save implements node.Store.
func (s storePort) Save(b raft.Batch) error {
	return s.h.durable(func(d *disk) {
		s.h.world.check.saves(s.h, d.now, b)
		d.now.write(b)
		if b.Sync {
			d.synced, d.unsynced = d.now, nil
		} else {
			d.unsynced = append(d.unsynced, b)
		}
	})
}

// SaveSnapshot implements node.Store.
func (s storePort) SaveSnapshot(snapshot raft.Snapshot, data []byte, compactTo uint64) error {
	return s.h.durable(func(d *disk) {
		s.h.world.check.committed(s.h, snapshot.Index)
		s.h.world.count.snapshots++
		d.now.snapshot, d.now.data = snapshot, data
		for len(d.now.entries) > 0 && d.now.entries[0].Index <= compactTo {
			d.now.entries = d.now.entries[1:]
		}
		d.synced, d.unsynced = d.now, nil
	})
}

// InstallSnapshot implements node.Store.
func (s storePort) InstallSnapshot(snapshot raft.Snapshot, hard raft.HardState) error {
	return s.h.durable(func(d *disk) {
		s.h.world.check.hard(s.h, d.now.hard, hard)
		s.h.world.count.installs++
		d.now = image{hard: hard, snapshot: snapshot, data: d.now.pieces}
		d.synced, d.unsynced = d.now, nil
	})
}

// ReadSnapshot implements node.Store.
func (s storePort) ReadSnapshot(index uint64, staged bool, offset uint64, length int) ([]byte, error) {
	d := s.h.disk
	held, data := d.now.snapshot, d.now.data
	if staged {
		held, data = d.now.staged, d.now.pieces
	}
	if held.Index != index || offset > uint64(len(data)) {
		return nil, fmt.Errorf("read snapshot %d at %d: held is %d", index, offset, held.Index)
	}
	piece := data[offset:min(offset+uint64(length), uint64(len(data)))]
	return piece[:len(piece):len(piece)], nil
}
